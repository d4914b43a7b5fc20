//! What an operation of a connector is: one description, from which the Rust method, the tool of a model, the MCP tool and
//! the REST operation are made.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::{Answer, Call};
use crate::mapping::Mapping;
use crate::paging::Paging;
use crate::request::{Body, HttpTemplate};

/// Text of a description, which is part of the program or was made at run time.
pub type Text = Cow<'static, str>;

/// What an operation does to what the vendor keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OperationEffect")]
pub enum Effect {
    /// It looks.
    Read,
    /// It makes or changes something.
    Write,
    /// It takes something away, which may not come back.
    Destroy,
}

/// Whether an operation can be repeated when its end is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Doing it twice is doing it once.
    Natural,
    /// The vendor tells repeats by a key in this header.
    Key(Text),
    /// Doing it twice is doing it twice.
    None,
}

/// A typed operation: its fields are the input.
///
/// [`operations!`](crate::operations) makes one of a few lines. The input's JSON form has the vendor's names; a field that is
/// `None` is left out of the request.
pub trait Operation: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// What it answers. Fields of the vendor's answer that it does not declare are dropped.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// The name within its connector: lower-case words joined by dots and underscores, as `issues.create`.
    const NAME: &'static str;

    /// The description.
    fn spec() -> OperationSpec;
}

/// A page of a list at a vendor: what paged operations answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give it as `page` to get the next page; absent on the last one.
    pub next: Option<String>,
}

/// Does what an operation is, where that is no exchange over HTTP that a template can describe.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// Carries out a call. Its input matches the schema.
    ///
    /// # Errors
    /// Whatever it cannot do.
    async fn handle(&self, call: &Call) -> Result<Answer>;
}

/// How an operation is carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Work {
    /// By one request over HTTP.
    Http(Box<HttpTemplate>),
    /// By code.
    Handler(Arc<dyn Handler>),
}

/// Brings an answer into the form that is given on.
pub(crate) type Shape = fn(Value) -> Result<Value>;

/// The description of an operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationSpec {
    /// The name within its connector, as `issues.create`.
    pub name: Text,
    /// What it does, in one or a few sentences.
    pub summary: Text,
    /// JSON Schema of the input, an object.
    pub input: Arc<Value>,
    /// JSON Schema of the output.
    pub output: Arc<Value>,
    /// What it does to what the vendor keeps.
    pub effect: Effect,
    /// Whether it can be repeated.
    pub idempotency: Idempotency,
    /// How it is carried out.
    pub work: Work,
    /// How lists go on.
    pub paging: Paging,
    /// By which field lists are read incrementally, if that is a thing here.
    pub incremental: Option<Incremental>,
    /// What the vendor's credential has to be granted, in the vendor's words.
    pub scopes: Vec<Text>,
    /// What a call counts as on the meter `integration.calls`; default 1.
    pub units: u64,
    /// The longest a call may take, with everything around it; default 30 s.
    pub timeout: Duration,
    /// Changes the input before it is sent.
    pub map_input: Option<Mapping>,
    /// Changes the answer before its schema is checked.
    pub map_output: Option<Mapping>,
    /// Whether answers may differ from the schema of the output, which then only says what to expect; default no.
    pub loose: bool,
    /// Of a typed operation: reads the answer as its type.
    pub(crate) shape: Option<Shape>,
    /// Expressions of the two mappings, compiled with the connector.
    pub(crate) reshape: [Option<Text>; 2],
}

/// A list that can be read from where the last reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incremental {
    /// The field that says when an item was last changed; lists are sorted by it.
    pub field: Text,
    /// The field that identifies an item.
    pub id: Text,
    /// The input that takes the point in time to begin at.
    pub since: Text,
    /// What is read again before that point, because clocks and commits are late: items that were seen are left out. Longer than
    /// what the vendor rounds times to.
    pub overlap: Duration,
}

/// The schema of a type without references out of itself.
fn schema_of<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let generator: SchemaGenerator = settings.into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// Reads a value as a type, naming the field that is wrong.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
        path if path == "." => error.inner().to_string(),
        path => format!("{} at `{path}`", error.inner()),
    })
}

fn shape<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value> {
    let typed: T = read(value).map_err(crate::answer::unexpected)?;
    serde_json::to_value(typed)
        .map_err(|error| Error::internal("the answer of an operation has no JSON form").with_source(error))
}

impl OperationSpec {
    /// The description of a typed operation, carried out by a request of this method to this path under the base URL.
    ///
    /// Fields of the input that the path names, as `{owner}`, go there; of the others those of a `GET`, `HEAD` or `DELETE`
    /// go into the query and all else into a JSON body. What looks is `Read`, `DELETE` is `Destroy`, everything else
    /// `Write`; all but `POST` and `PATCH` can be repeated.
    pub fn typed<O: Operation>(summary: &'static str, method: Method, path: &'static str) -> Self {
        let mut input = schema_of::<O>(SchemaSettings::draft2020_12().for_deserialize());
        let output = schema_of::<O::Output>(SchemaSettings::draft2020_12().for_serialize());
        if let Some(fields) = input.as_object_mut() {
            fields.remove("title");
            fields.remove("description");
        }
        let shape = Some(shape::<O::Output> as Shape);
        Self {
            shape,
            ..Self::new(
                O::NAME,
                summary,
                input,
                output,
                Work::Http(Box::new(HttpTemplate::new(method, path))),
            )
        }
    }

    /// The description of an operation that is made at run time.
    pub fn new(
        name: impl Into<Text>,
        summary: impl Into<Text>,
        input: Value,
        output: Value,
        work: Work,
    ) -> Self {
        let (effect, idempotency) = match &work {
            Work::Http(template) => template.usual(),
            Work::Handler(_) => (Effect::Write, Idempotency::None),
        };
        Self {
            name: name.into(),
            summary: summary.into(),
            input: Arc::new(input),
            output: Arc::new(output),
            effect,
            idempotency,
            work,
            paging: Paging::None,
            incremental: None,
            scopes: Vec::new(),
            units: 1,
            timeout: Duration::from_secs(30),
            map_input: None,
            map_output: None,
            loose: false,
            shape: None,
            reshape: [None, None],
        }
    }

    /// Carried out by code instead of a request.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn Handler>) -> Self {
        self.work = Work::Handler(handler);
        self
    }

    /// With another effect than its method says.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Repeating it does no harm.
    #[must_use]
    pub fn natural(mut self) -> Self {
        self.idempotency = Idempotency::Natural;
        self
    }

    /// The vendor tells repeats by a key in this header.
    #[must_use]
    pub fn key_header(mut self, header: impl Into<Text>) -> Self {
        self.idempotency = Idempotency::Key(header.into());
        self
    }

    /// With lists that go on so. The input gets a field `page`.
    #[must_use]
    pub fn page(mut self, paging: Paging) -> Self {
        self.paging = paging;
        let mut input = Value::clone(&self.input);
        if let Some(fields) = input.as_object_mut() {
            let properties = fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
            if let Some(properties) = properties.as_object_mut() {
                let page = serde_json::json!({
                    "type": "string",
                    "description": "`next` of the page before; absent for the first page.",
                });
                properties.insert(PAGE.to_owned(), page);
            }
        }
        self.input = Arc::new(input);
        self
    }

    /// With lists that can be read from where the last reading ended.
    #[must_use]
    pub fn incremental(mut self, by: Incremental) -> Self {
        self.incremental = Some(by);
        self
    }

    /// Needs these scopes at the vendor.
    #[must_use]
    pub fn scopes<const N: usize>(mut self, scopes: [&'static str; N]) -> Self {
        self.scopes = scopes.into_iter().map(Text::Borrowed).collect();
        self
    }

    /// Counts as so many units.
    #[must_use]
    pub fn units(mut self, units: u64) -> Self {
        self.units = units;
        self
    }

    /// With another time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Changes the input before it is sent.
    #[must_use]
    pub fn map_input(mut self, mapping: Mapping) -> Self {
        self.map_input = Some(mapping);
        self
    }

    /// Changes the answer before its schema is checked.
    #[must_use]
    pub fn map_output(mut self, mapping: Mapping) -> Self {
        self.map_output = Some(mapping);
        self
    }

    /// Changes the input by this JMESPath expression before it is sent; fields it makes `null` are left out. The expression is
    /// compiled with the connector.
    #[must_use]
    pub fn sends(mut self, expression: impl Into<Text>) -> Self {
        self.reshape[0] = Some(expression.into());
        self
    }

    /// Changes the answer by this JMESPath expression before its schema is checked. The expression is compiled with the
    /// connector.
    #[must_use]
    pub fn takes(mut self, expression: impl Into<Text>) -> Self {
        self.reshape[1] = Some(expression.into());
        self
    }

    /// Answers may differ from the schema of the output.
    #[must_use]
    pub fn loose(mut self) -> Self {
        self.loose = true;
        self
    }

    /// These fields go into the query, whatever the method.
    #[must_use]
    pub fn query<const N: usize>(self, fields: [&'static str; N]) -> Self {
        self.template(|template| template.query.extend(fields.map(Text::Borrowed)))
    }

    /// This field goes into a header.
    #[must_use]
    pub fn header(self, field: &'static str, header: &'static str) -> Self {
        self.template(|template| template.headers.push((field.into(), header.into())))
    }

    /// Every request has this header.
    #[must_use]
    pub fn fixed_header(self, header: &'static str, value: &'static str) -> Self {
        self.template(|template| template.fixed_headers.push((header.into(), value.into())))
    }

    /// Every request has this in its query.
    #[must_use]
    pub fn fixed_query(self, name: &'static str, value: &'static str) -> Self {
        self.template(|template| template.fixed_query.push((name.into(), value.into())))
    }

    /// With a body of this form.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        self.template(|template| template.body = body)
    }

    /// Lists in the query are written so.
    #[must_use]
    pub fn lists(self, lists: crate::request::Lists) -> Self {
        self.template(|template| template.lists = lists)
    }

    /// Answers that are no JSON.
    #[must_use]
    pub fn answers(self, form: crate::answer::Form) -> Self {
        self.template(|template| template.answer = form)
    }

    fn template(mut self, change: impl FnOnce(&mut HttpTemplate)) -> Self {
        if let Work::Http(template) = &mut self.work {
            change(template);
        }
        self
    }

    /// Whether it can be sent again when its end is not known.
    pub fn repeatable(&self) -> bool {
        self.effect == Effect::Read || self.idempotency != Idempotency::None
    }
}

/// The field of inputs that takes a place in a list.
pub(crate) const PAGE: &str = "page";

/// Makes typed operations, and a function with the descriptions of all of them.
///
/// ```
/// use agentprovision_connectors::operations;
/// use agentprovision_connectors::paging::Paging;
/// use agentprovision_connectors::operation::{Operation, Page};
///
/// /// A ticket.
/// #[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// pub struct Ticket {
///     /// The number.
///     pub number: u64,
///     /// The title.
///     pub title: String,
/// }
///
/// operations! {
///     /// Makes a ticket in a queue.
///     CreateTicket "tickets.create" post("/queues/{queue}/tickets") => Ticket [.key_header("idempotency-key")] {
///         /// The queue.
///         queue: String,
///         /// The title.
///         title: String,
///         /// Who works on it.
///         assignee: Option<String>,
///     }
///     /// Lists the tickets of a queue.
///     ListTickets "tickets.list" get("/queues/{queue}/tickets") => Page<Ticket> [.page(Paging::LINK)] {
///         /// The queue.
///         queue: String,
///     }
/// }
///
/// let all = operations();
/// assert_eq!(all.len(), 2);
/// assert_eq!(all[0].name, CreateTicket::NAME);
/// ```
#[macro_export]
macro_rules! operations {
    ($(
        $(#[doc = $doc:literal])+
        $operation:ident $name:literal $method:ident($path:literal) => $output:ty $([$($more:tt)*])? {
            $($(#[$attribute:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $operation {
                $($(#[$attribute])* pub $field: $type,)*
            }

            impl $crate::operation::Operation for $operation {
                type Output = $output;
                const NAME: &'static str = $name;

                fn spec() -> $crate::operation::OperationSpec {
                    let summary = concat!($($doc, "\n"),+).trim();
                    $crate::operation::OperationSpec::typed::<Self>(summary, $crate::method!($method), $path)
                        $($($more)*)?
                }
            }
        )*

        /// The descriptions of the operations here, in their order.
        pub fn operations() -> ::std::vec::Vec<$crate::operation::OperationSpec> {
            ::std::vec![$(<$operation as $crate::operation::Operation>::spec()),*]
        }
    };
}

/// The method of a name in lower case.
#[doc(hidden)]
#[macro_export]
macro_rules! method {
    (get) => {
        ::http::Method::GET
    };
    (head) => {
        ::http::Method::HEAD
    };
    (post) => {
        ::http::Method::POST
    };
    (put) => {
        ::http::Method::PUT
    };
    (patch) => {
        ::http::Method::PATCH
    };
    (delete) => {
        ::http::Method::DELETE
    };
}
