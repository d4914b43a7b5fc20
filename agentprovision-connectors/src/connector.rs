//! What a connector is: a value that describes a service and its operations. Built-in ones are made by functions of
//! [`builtin`](crate::builtin), others by a host, or at run time from an OpenAPI document.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use agentprovision_core::http::egress::Destination;
use agentprovision_core::{Error, Result, Timestamp};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use serde_json::{Map, Value, json};

use crate::answer::{Failure, Form, Response, unexpected, value};
use crate::auth::Auth;
use crate::mapping::Mapping;
use crate::operation::{OperationSpec, PAGE, Text, Work};
use crate::quota::Quota;
use crate::request::Body;

/// Says what a response stands for where its status does not; `None` leaves it to the status.
pub type Classify = fn(&Response, Timestamp) -> Option<Failure>;

/// Says where connections of an integration go, by its settings.
pub type Dials = fn(&Map<String, Value>) -> Result<Destination>;

/// How the account that an integration is connected to is found: by an operation without input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoAmI {
    /// The operation.
    pub operation: Text,
    /// Where its answer has the account's id, as a JSON pointer.
    pub id: Text,
    /// Where it has the name.
    pub name: Text,
}

/// An operation with its compiled schemas.
pub struct Compiled {
    /// The description.
    pub spec: Arc<OperationSpec>,
    pub(crate) input: jsonschema::Validator,
    /// Of an operation whose answers are no Rust type.
    pub(crate) output: Option<jsonschema::Validator>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compiled").field(&self.spec.name).finish()
    }
}

/// The place of a page, as parts of a query.
pub type Place = Vec<(Text, String)>;

impl Compiled {
    /// The request of an input, without credentials, and the place of the page that it asks for.
    ///
    /// # Errors
    /// `invalid_input` for an input that no request can be made of; `unsupported` for operations that code carries out.
    pub fn request(&self, base: &str, input: &Map<String, Value>) -> Result<(Request<Bytes>, Place)> {
        let Work::Http(template) = &self.spec.work else {
            return Err(Error::unsupported(format!("`{}` is no single request", self.spec.name)));
        };
        let mut input = input.clone();
        let place = self.spec.paging.place(&mut input)?;
        if let Some(mapping) = &self.spec.map_input {
            input = mapping.input(input)?;
        }
        let in_query = template.place(&self.spec.paging, &mut input, &place);
        Ok((template.request(base, &input, in_query)?, place))
    }

    /// The value of a response that is no failure: a page of a list, or what the operation's output is.
    ///
    /// # Errors
    /// `provider_error` for what is not as the description of the operation says.
    pub fn answer(&self, response: &Response, place: &[(Text, String)]) -> Result<Value> {
        let form = match &self.spec.work {
            Work::Http(template) => template.answer,
            Work::Handler(_) => Form::Json,
        };
        let mut answered = value(form, response)?;
        if let Some(mapping) = &self.spec.map_output {
            answered = mapping.apply(&answered)?;
        }
        if self.spec.paging.items().is_some() {
            let (items, next) = self.spec.paging.page(response, answered, place)?;
            answered = json!({ "items": items, "next": next });
        }
        match (self.spec.shape, &self.output) {
            (Some(shape), _) => shape(answered),
            (None, Some(schema)) => match violations(schema, &answered) {
                Some(problems) => Err(unexpected(problems)),
                None => Ok(answered),
            },
            (None, None) => Ok(answered),
        }
    }
}

/// A connector.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connector {
    /// The name: 1 to 32 of `a-z 0-9 -`.
    pub name: Text,
    /// How people call the service.
    pub title: Text,
    /// What it is good for, in a sentence.
    pub summary: Text,
    /// The version of this description: changes that break callers count up the first number.
    pub version: Text,
    /// The URL that operations go under, with settings in braces.
    pub base_url: Text,
    /// JSON Schema of the settings, an object; `base_url` is one of them where HTTP is spoken.
    pub settings: Arc<Value>,
    /// Ways to prove who asks; the first one is the usual one.
    pub auth: Vec<Auth>,
    /// Headers of every request.
    pub headers: Vec<(Text, Text)>,
    /// What the vendor limits.
    pub quotas: Vec<Quota>,
    /// Requests of one integration at the same time, at most; default 16.
    pub concurrency: usize,
    /// How the account is found.
    pub whoami: Option<WhoAmI>,
    /// What failures mean.
    pub classify: Option<Classify>,
    /// Where connections go, of a connector that speaks another protocol than HTTP.
    pub dials: Option<Dials>,
    operations: BTreeMap<Text, Arc<Compiled>>,
}

impl Connector {
    /// Begins a connector whose operations go under a URL.
    pub fn builder(name: impl Into<Text>, base_url: impl Into<Text>) -> ConnectorBuilder {
        ConnectorBuilder(
            Self {
                name: name.into(),
                title: Text::Borrowed(""),
                summary: Text::Borrowed(""),
                version: Text::Borrowed("1.0.0"),
                base_url: base_url.into(),
                settings: Arc::new(Value::Null),
                auth: Vec::new(),
                headers: Vec::new(),
                quotas: Vec::new(),
                concurrency: 16,
                whoami: None,
                classify: None,
                dials: None,
                operations: BTreeMap::new(),
            },
            Map::new(),
            Vec::new(),
            Vec::new(),
        )
    }

    /// Its operations, by name.
    pub fn operations(&self) -> impl Iterator<Item = &Arc<OperationSpec>> {
        self.operations.values().map(|compiled| &compiled.spec)
    }

    /// An operation.
    ///
    /// # Errors
    /// `not_found`, naming one that is called similarly.
    pub fn operation(&self, name: &str) -> Result<&Arc<Compiled>> {
        self.operations.get(name).ok_or_else(|| {
            let known = self.operations.keys().map(|known| &**known);
            unknown(&format!("operation of `{}`", self.name), name, known)
        })
    }

    /// A way to prove who asks; the usual one where none is named.
    ///
    /// # Errors
    /// `invalid_input`, naming those there are.
    pub fn auth(&self, name: Option<&str>) -> Result<&Auth> {
        let found = match name {
            Some(name) => self.auth.iter().find(|auth| auth.name == name),
            None => self.auth.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.auth.iter().map(|auth| &*auth.name).collect();
            Error::invalid(format!("`{}` proves who asks by one of: {}", self.name, names.join(", ")))
        })
    }

    /// The URL that the operations of an integration go under, proved in a way that has none of its own.
    ///
    /// # Errors
    /// `invalid_input` for settings that do not say it.
    pub fn base_of(&self, settings: &Map<String, Value>) -> Result<String> {
        self.base(&self.base_url, settings)
    }

    /// The URL that the operations of an integration go under, proved in this way.
    ///
    /// # Errors
    /// `invalid_input` for settings that do not say it.
    pub fn base_by(&self, auth: &Auth, settings: &Map<String, Value>) -> Result<String> {
        self.base(auth.base_url.as_ref().unwrap_or(&self.base_url), settings)
    }

    fn base(&self, usual: &str, settings: &Map<String, Value>) -> Result<String> {
        let mut url =
            self.fill(settings.get("base_url").and_then(Value::as_str).unwrap_or(usual), settings)?;
        url.truncate(url.trim_end_matches('/').len());
        Ok(url)
    }

    /// A setting, or its default.
    fn setting<'a>(&'a self, settings: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
        let default = || self.settings.get("properties")?.get(name)?.get("default");
        settings.get(name).or_else(default)?.as_str()
    }

    /// Whether settings lead a URL elsewhere than where the connector has it.
    pub(crate) fn is_moved(&self, template: &str, settings: &Map<String, Value>) -> bool {
        let name = match template.strip_prefix("{+").and_then(|rest| rest.split_once('}')) {
            Some((name, _)) => name,
            None if template.starts_with("{base_url}") => "base_url",
            None => return false,
        };
        self.setting(settings, name) != self.setting(&Map::new(), name)
    }

    /// A URL with settings in the place of their names in braces; at its beginning `{base_url}` is the URL that operations go
    /// under, and `{+name}` a setting that is a URL itself.
    ///
    /// # Errors
    /// `invalid_input` for a setting that is missing or is no part of a URL.
    pub(crate) fn fill(&self, template: &str, settings: &Map<String, Value>) -> Result<String> {
        if let Some(rest) = template.strip_prefix("{base_url}") {
            return Ok(self.base_of(settings)? + &self.fill(rest, settings)?);
        }
        if let Some((name, rest)) = template.strip_prefix("{+").and_then(|rest| rest.split_once('}')) {
            let Some(url) = self.setting(settings, name).filter(|url| !url.is_empty()) else {
                return Err(Error::invalid(format!("the setting `{name}` is missing")));
            };
            return Ok(url.to_owned() + &self.fill(rest, settings)?);
        }
        let mut url = String::with_capacity(template.len());
        let mut parts = template.split('{');
        url.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, after) = part.split_once('}').unwrap_or((part, ""));
            let value = self.setting(settings, name).unwrap_or_default();
            // What a setting can add is a part of a name, not another host.
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if value.trim_matches('.').is_empty() || !value.bytes().all(fits) {
                return Err(Error::invalid(format!(
                    "the setting `{name}` is missing, or is no part of a URL"
                )));
            }
            url.push_str(value);
            url.push_str(after);
        }
        Ok(url)
    }
}

/// An error that names what is called similarly.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let near = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = near.map(|(_, known)| format!("; did you mean `{known}`?")).unwrap_or_default();
    let name: String = name.chars().take(64).collect();
    Error::not_found(format!("there is no {what} called `{name}`{hint}"))
}

/// Puts a connector together.
#[derive(Debug)]
#[must_use]
pub struct ConnectorBuilder(Connector, Map<String, Value>, Vec<OperationSpec>, Vec<String>);

impl ConnectorBuilder {
    /// How people call the service, and what it is good for.
    pub fn about(mut self, title: impl Into<Text>, summary: impl Into<Text>) -> Self {
        (self.0.title, self.0.summary) = (title.into(), summary.into());
        self
    }

    /// The version of the description.
    pub fn version(mut self, version: impl Into<Text>) -> Self {
        self.0.version = version.into();
        self
    }

    /// A setting that is a text, with what it is; without a default where the base URL needs it.
    pub fn setting(mut self, name: &str, about: &str) -> Self {
        self.1.insert(name.to_owned(), json!({ "type": "string", "description": about, "maxLength": 2048 }));
        self
    }

    /// A setting with a schema of its own.
    pub fn setting_schema(mut self, name: &str, schema: Value) -> Self {
        self.1.insert(name.to_owned(), schema);
        self
    }

    /// Settings that every integration has to have.
    pub fn required<const N: usize>(mut self, settings: [&str; N]) -> Self {
        self.3.extend(settings.map(str::to_owned));
        self
    }

    /// A way to prove who asks; the first one is the usual one.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.0.auth.push(auth);
        self
    }

    /// A header of every request.
    pub fn header(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.0.headers.push((name.into(), value.into()));
        self
    }

    /// Something the vendor limits.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.0.quotas.push(quota);
        self
    }

    /// Requests of one integration at the same time, at most.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.0.concurrency = requests.max(1);
        self
    }

    /// How the account is found: the operation, and where its answer has the account's id and name.
    pub fn whoami(mut self, operation: impl Into<Text>, id: impl Into<Text>, name: impl Into<Text>) -> Self {
        self.0.whoami = Some(WhoAmI { operation: operation.into(), id: id.into(), name: name.into() });
        self
    }

    /// What failures mean, where statuses do not say it.
    pub fn classify(mut self, classify: Classify) -> Self {
        self.0.classify = Some(classify);
        self
    }

    /// Where connections go: for a connector whose handlers speak another protocol than HTTP. It then has no `base_url`.
    pub fn dials(mut self, dials: Dials) -> Self {
        self.0.dials = Some(dials);
        self
    }

    /// Operations.
    pub fn operations(mut self, operations: impl IntoIterator<Item = OperationSpec>) -> Self {
        self.2.extend(operations);
        self
    }

    /// Checks everything and compiles the schemas.
    ///
    /// # Errors
    /// `invalid_input` for a bad name, schema, template or header, naming it, and for an incremental list that is counted
    /// through; `already_exists` for two operations of one name.
    pub fn build(self) -> Result<Connector> {
        self.build_without(&mut |_, error| Err(error))
    }

    /// The same, where an operation that cannot be used need not be the end of it: `without` is told.
    pub(crate) fn build_without(
        self,
        without: &mut dyn FnMut(&str, Error) -> Result<()>,
    ) -> Result<Connector> {
        let Self(mut connector, mut settings, operations, required) = self;
        let name = &connector.name;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(fits) {
            let name: String = name.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "`{name}` is no name of a connector: 1 to 32 of `a-z 0-9 -`"
            )));
        }
        for (header, value) in &connector.headers {
            if header.parse::<HeaderName>().is_err() || HeaderValue::from_str(value).is_err() {
                return Err(Error::invalid(format!("`{header}` is no header of the connector `{name}`")));
            }
        }
        if connector.auth.is_empty() {
            connector.auth.push(Auth::none());
        }
        if connector.dials.is_none() {
            let about = "The URL of the service, where it is another than the usual one.";
            settings
                .entry("base_url")
                .or_insert_with(|| json!({ "type": "string", "description": about, "maxLength": 2048 }));
        }
        let mut described =
            json!({ "type": "object", "properties": settings, "additionalProperties": false });
        if let (Some(fields), false) = (described.as_object_mut(), required.is_empty()) {
            fields.insert("required".to_owned(), required.into());
        }
        connector.settings = Arc::new(described);
        for spec in operations {
            let name = spec.name.clone();
            let compiled = match compile(&connector, spec) {
                Ok(compiled) => compiled,
                Err(error) => {
                    without(&name, error)?;
                    continue;
                }
            };
            if connector.operations.insert(name.clone(), Arc::new(compiled)).is_some() {
                return Err(Error::already_exists(format!(
                    "`{}` has two operations called `{name}`",
                    connector.name
                )));
            }
        }
        if let Some(whoami) = &connector.whoami {
            connector.operation(&whoami.operation)?;
        }
        Ok(connector)
    }
}

fn compile(connector: &Connector, mut spec: OperationSpec) -> Result<Compiled> {
    let what = format!("the operation `{}` of `{}`", spec.name, connector.name);
    let bad = |why: String| Error::invalid(format!("{what} {why}"));
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
    if !(1..=64).contains(&spec.name.len()) || !spec.name.bytes().all(fits) {
        return Err(bad("has a name that is not 1 to 64 of `a-z 0-9 _ .`".to_owned()));
    }
    if spec.input.get("type").and_then(Value::as_str) != Some("object") {
        return Err(bad("has an input that is no object".to_owned()));
    }
    if spec.timeout.is_zero() {
        return Err(bad("has no time".to_owned()));
    }
    if let Work::Http(template) = &mut spec.work {
        // First, so that those of the operation win.
        template.fixed_headers.splice(0..0, connector.headers.iter().cloned());
        let properties = spec.input.get("properties").and_then(Value::as_object);
        let has = |field: &str| properties.is_some_and(|properties| properties.contains_key(field));
        let placed = template.path_fields();
        let body = match &template.body {
            Body::Field(field) | Body::Text(field, _) | Body::Bytes(field, _) => Some(&**field),
            _ => None,
        };
        let named = placed.into_iter().chain(template.query.iter().map(|field| &**field));
        let named = named.chain(template.headers.iter().map(|(field, _)| &**field)).chain(body);
        let named = named.chain(template.params.iter().map(|param| &*param.field));
        for field in named {
            if !has(field) {
                return Err(bad(format!("names `{field}`, which its input does not have")));
            }
        }
    }
    let [sends, takes] = &spec.reshape;
    let mapping = |expression: &Option<Text>| {
        let compiled = expression.as_ref().map(|expression| Mapping::jmespath(expression)).transpose();
        compiled.map_err(|error| bad(format!("has a mapping that cannot be used: {}", error.message())))
    };
    let (sends, takes) = (mapping(sends)?, mapping(takes)?);
    (spec.map_input, spec.map_output) = (spec.map_input.or(sends), spec.map_output.or(takes));
    // What is counted through while it changes loses rows.
    if spec.incremental.is_some() && spec.paging.counts() {
        return Err(bad(
            "is read incrementally and goes on by counting: rows that change meanwhile would be lost"
                .to_owned(),
        ));
    }
    if let Some(by) = &spec.incremental
        && (spec.paging.items().is_none()
            || spec.input.pointer(&format!("/properties/{}", by.since)).is_none())
    {
        return Err(bad(format!("is read incrementally, and is no list or has no field `{}`", by.since)));
    }
    if spec.paging.items().is_some() && spec.input.pointer(&format!("/properties/{PAGE}")).is_none() {
        return Err(bad("has pages, and no field `page`".to_owned()));
    }
    let input = compile_schema(&format!("the input of {what}"), &spec.input)?;
    let output = match spec.shape {
        _ if spec.loose => None,
        Some(_) => None,
        None => Some(compile_schema(&format!("the output of {what}"), &spec.output)?),
    };
    Ok(Compiled { spec: Arc::new(spec), input, output })
}

/// Compiles a JSON Schema (draft 2020-12 unless it says otherwise); references leave the document never.
pub(crate) fn compile_schema(what: &str, schema: &Value) -> Result<jsonschema::Validator> {
    jsonschema::validator_for(schema)
        .map_err(|error| Error::invalid(format!("{what} is described by no JSON Schema: {error}")))
}

/// The first violations of a schema, naming the fields.
pub(crate) fn violations(schema: &jsonschema::Validator, value: &Value) -> Option<String> {
    let problems: Vec<String> = schema
        .iter_errors(value)
        .take(5)
        .map(|error| match error.instance_path().to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{error} at `{path}`"),
        })
        .collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// The connectors of a platform, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalog(BTreeMap<Text, Arc<Connector>>);

impl Catalog {
    /// Adds a connector.
    ///
    /// # Errors
    /// `already_exists` when there is one of its name.
    pub fn add(&mut self, connector: Connector) -> Result<()> {
        let name = connector.name.clone();
        if self.0.contains_key(&name) {
            return Err(Error::already_exists(format!("there is already a connector `{name}`")));
        }
        self.0.insert(name, Arc::new(connector));
        Ok(())
    }

    /// A connector.
    ///
    /// # Errors
    /// `not_found`, naming one that is called similarly.
    pub fn get(&self, name: &str) -> Result<&Arc<Connector>> {
        self.0.get(name).ok_or_else(|| unknown("connector", name, self.0.keys().map(|known| &**known)))
    }

    /// All of them, by name.
    pub fn connectors(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use http::Method;

    use super::*;
    use crate::request::HttpTemplate;

    #[test]
    fn expressions_of_operations_are_compiled_with_their_connector() {
        let spec = |expression: &'static str| {
            let input = json!({ "type": "object", "properties": { "name": {} } });
            let work = Work::Http(Box::new(HttpTemplate::new(Method::POST, "/things")));
            OperationSpec::new("things.create", "Makes a thing.", input, json!(true), work).sends(expression)
        };
        let build = |spec| Connector::builder("x", "https://x.example").operations([spec]).build();
        let good = build(spec("{thing: {name: name, size: size}}")).unwrap();
        let input = json!({ "name": "n" });
        let operation = good.operation("things.create").unwrap();
        let (request, _) = operation.request("https://x.example", input.as_object().unwrap()).unwrap();
        assert_eq!(&request.body()[..], br#"{"thing":{"name":"n"}}"#);
        let error = build(spec("{thing:")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("`things.create` of `x`"), "{error:?}");
    }
}
