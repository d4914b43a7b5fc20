//! Connectors made at run time, of OpenAPI documents of version 3.0 and 3.1
//! (<https://spec.openapis.org/oas/v3.1.1.html>).
//!
//! ```
//! use agentprovision_connectors::openapi::{Filter, Import, Match};
//!
//! # fn main() -> agentprovision_core::Result<()> {
//! let document = r#"
//! openapi: 3.1.0
//! info: { title: Petstore, version: 1.4.0 }
//! servers: [{ url: "https://pets.example/v1" }]
//! paths:
//!   /pets/{id}:
//!     get:
//!       operationId: pets/get
//!       tags: [pets]
//!       parameters: [{ name: id, in: path, required: true, schema: { type: integer } }]
//!       responses: { "200": { description: A pet. } }
//! "#;
//! let imported = Import::new("petstore").filter(Filter::default().allow(Match::default().tag("pets"))).read(document)?;
//! assert_eq!(imported.connector.operation("pets.get")?.spec.summary, "GET /pets/{id}.");
//! for skipped in &imported.skipped {
//!     eprintln!("{}: {}", skipped.operation, skipped.why);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Who imports.** The host does, and gives the connector to the platform as any other
//! (`PlatformBuilder::connector(imported.connector)`); then tenants make integrations of it. A tenant cannot import a document:
//! what it describes becomes tools of every tenant. A host that lets its customers bring documents imports each under a name of its
//! own, with a filter, and has policies for calls say whose it is.
//!
//! **What an operation takes.** One object with all parameters and the fields of the body. A body that is no plain object, or whose
//! fields are called like parameters, is the field `body` (`body_of_request` where that is taken), and of two parameters of one name
//! the later is called `id_query` or `id_header`. Fields that nobody described are refused, unless the body says that it takes others.
//!
//! **What it answers.** The first 2xx response in JSON. Vendors often answer something else than they describe, so answers are not
//! held to the description unless [`Import::strict`] says so.
//!
//! **What is not imported.** Operations that need a cookie, a body of several parts, or several credentials at once, and those
//! with references out of the document: nothing but the document itself is ever fetched. [`Imported::skipped`] has them, and why.
//! Names are made of the whole document, so a filter changes none.
//!
//! **Where requests go.** To the first server; its variables are settings. Every URL is checked when an integration is made, and every
//! request goes through the guarded transport, so a document that names an inner address names a connector that reaches nothing.

mod body;
mod document;
mod filter;
mod name;
mod operation;
mod schema;
mod security;
mod server;
#[cfg(test)]
mod tests;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::ACCEPT;
use http::{Method, Request};
use serde_json::{Map, Value};
use url::Url;

pub use self::filter::{Filter, Match};

use self::document::{Document, short, text, too_large};
use self::filter::Candidate;
use self::name::Origin;
use self::operation::Found;
use self::schema::Schemas;
use self::server::Server;
use crate::answer::usual;
use crate::auth::Auth;
use crate::connector::Connector;
use crate::operation::OperationSpec;

/// The methods of operations, as documents name them.
const METHODS: &[(&str, Method)] = &[
    ("delete", Method::DELETE),
    ("get", Method::GET),
    ("head", Method::HEAD),
    ("options", Method::OPTIONS),
    ("patch", Method::PATCH),
    ("post", Method::POST),
    ("put", Method::PUT),
];

/// An import: how a document becomes a connector.
#[derive(Clone, Debug)]
pub struct Import {
    name: String,
    title: Option<String>,
    base_url: Option<String>,
    auth: Vec<Auth>,
    filter: Filter,
    strict: bool,
    max_bytes: usize,
    max_schema_bytes: usize,
}

/// What came of an import.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The connector.
    pub connector: Connector,
    /// Operations that the filter lets through and that could not be imported.
    pub skipped: Vec<Skipped>,
    /// Security schemes that the operations ask for and that are not spoken.
    pub skipped_auth: Vec<SkippedAuth>,
}

/// A security scheme that is not spoken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SkippedAuth {
    /// Its name in the document.
    pub name: String,
    /// Why, as with [`Skipped::why`].
    pub why: Error,
}

/// An operation that could not be imported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Skipped {
    /// Its method and path, as `GET /pets/{id}`, or the path alone where all of it is meant.
    pub operation: String,
    /// Why. `unsupported` for what is not spoken, `blocked` for what is outside of the document, `invalid_input` for what is wrong,
    /// `too_large`.
    pub why: Error,
}

/// An operation of the document.
struct Listed<'d> {
    found: Found<'d>,
    id: Option<&'d str>,
    tags: Vec<&'d str>,
    named: &'static str,
}

impl Import {
    /// An import as the connector of this name: 1 to 32 of `a-z 0-9 -`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            title: None,
            base_url: None,
            auth: Vec::new(),
            filter: Filter::default(),
            strict: false,
            max_bytes: 16 * 1024 * 1024,
            max_schema_bytes: 128 * 1024,
        }
    }

    /// How people call the service, where that is not the document's title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Only what a filter lets through.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The URL that operations go under, instead of the document's first server.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// A way to prove who asks, instead of the document's security schemes; any number, the usual one first.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth.push(auth);
        self
    }

    /// Holds answers to their description: one that differs is an error.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The longest document, in bytes; default 16 MiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The longest description of one input or output, in bytes of JSON; default 128 KiB. Of a longer one, what is furthest from
    /// its beginning is left out, and anything will do there.
    #[must_use]
    pub fn max_schema_bytes(mut self, bytes: usize) -> Self {
        self.max_schema_bytes = bytes;
        self
    }

    /// Imports a document in JSON or YAML.
    ///
    /// # Errors
    /// `invalid_input` for what is no OpenAPI document, for a name that no connector has, for a filter that names what is not there,
    /// and where nothing is left to import; `unsupported` for another version of OpenAPI, as Swagger 2.0; `blocked` for a
    /// server that nobody reaches; `too_large`. Where no operation can be imported, the kind is that of the first one's reason.
    pub fn read(&self, document: impl AsRef<[u8]>) -> Result<Imported> {
        self.import(document.as_ref(), None)
    }

    /// Fetches a document and imports it. Servers that are relative are under its URL.
    ///
    /// # Errors
    /// Those of [`Import::read`] and of the transport, as `blocked`; `invalid_input` for what is no URL; those of the status where the server
    /// answers with another than 200.
    pub async fn fetch(&self, transport: &dyn HttpTransport, url: &str) -> Result<Imported> {
        let url =
            Url::parse(url).map_err(|_| Error::invalid("the URL of the document is no absolute URL"))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(Error::new(ErrorKind::Blocked, "the URL of the document begins with `https`"));
        }
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json, application/yaml, */*;q=0.5")
            .body(Bytes::new())
            .map_err(|error| Error::invalid("the URL of the document cannot be sent").with_source(error))?;
        let response = transport.send(request).await?;
        let status = response.status();
        if status != http::StatusCode::OK {
            let message = format!("the document cannot be fetched: the server answers {}", status.as_u16());
            return Err(Error::new(usual(status).kind(), message));
        }
        let most = self.max_bytes;
        let document = response.into_body().try_fold(Vec::new(), async |mut all, piece| {
            if all.len() + piece.len() > most {
                return Err(too_large(most));
            }
            all.extend_from_slice(&piece);
            Ok(all)
        });
        self.import(&document.await?, Some(&url))
    }

    fn import(&self, bytes: &[u8], location: Option<&Url>) -> Result<Imported> {
        let document = Document::read(bytes, self.max_bytes)?;
        let paths = document.object("paths")?;
        let paths =
            paths.ok_or_else(|| Error::invalid("the document has no `paths`, so nothing to import"))?;
        let mut skipped = Vec::new();
        let listed = list(&document, paths, &mut skipped);
        let origins: Vec<_> = listed.iter().map(Listed::origin).collect();
        let names = name::names(&self.name, &origins);
        let candidates: Vec<_> =
            listed.iter().zip(&names).map(|(listed, name)| listed.candidate(name)).collect();
        self.filter.check(&candidates)?;

        let schemas = Schemas::new(&document, self.max_schema_bytes);
        let (mut specs, mut needed) = (Vec::new(), Vec::new());
        for ((listed, name), candidate) in listed.iter().zip(&names).zip(&candidates) {
            if !self.filter.lets(candidate) {
                continue;
            }
            let made = name
                .clone()
                .ok_or_else(|| Error::invalid("no name is left for it"))
                .and_then(|name| operation::operation(&document, &schemas, listed.found, name, self.strict));
            match made {
                Ok((spec, needs)) => {
                    specs.push(spec);
                    needed.push(needs);
                }
                Err(why) => skipped.push(Skipped { operation: listed.words(), why }),
            }
        }
        let server = match &self.base_url {
            Some(url) => Server::named(url)?,
            None => Server::of(&document, location)?,
        };
        let (mut auth, mut skipped_auth) = (self.auth.clone(), Vec::new());
        if auth.is_empty() {
            (auth, skipped_auth) = security::ways(&document, &server.base_url, &needed)?;
        }
        let connector = self.connector(&document, server, auth, specs, &mut |name, why| {
            let of = names.iter().position(|known| known.as_deref() == Some(name));
            let operation = of.and_then(|of| listed.get(of)).map(Listed::words);
            skipped.push(Skipped { operation: operation.unwrap_or_else(|| name.to_owned()), why });
        })?;
        if connector.operations().next().is_none() {
            return Err(nothing(&skipped));
        }
        Ok(Imported { connector, skipped, skipped_auth })
    }

    fn connector(
        &self,
        document: &Document,
        server: Server,
        auth: Vec<Auth>,
        operations: Vec<OperationSpec>,
        without: &mut dyn FnMut(&str, Error),
    ) -> Result<Connector> {
        let none = Map::new();
        let info = document.object("info")?.unwrap_or(&none);
        let title = match &self.title {
            Some(title) => title.clone(),
            None => text(info, "title").map_or_else(|| self.name.clone(), |title| short(title, 100)),
        };
        let about = text(info, "summary").or_else(|| text(info, "description"));
        let about = about.map_or_else(|| format!("The operations of {title}."), |about| short(about, 300));
        let version = text(info, "version").map_or_else(|| "0".to_owned(), |version| short(version, 64));
        let mut builder =
            Connector::builder(self.name.clone(), server.base_url).about(title, about).version(version);
        for (name, schema) in server.settings {
            builder = builder.setting_schema(&name, schema);
        }
        for name in &server.required {
            builder = builder.required([name]);
        }
        for auth in auth {
            builder = builder.auth(auth);
        }
        builder.operations(operations).build_without(&mut |name, why| {
            without(name, why);
            Ok(())
        })
    }
}

/// That there is nothing to import, and why.
fn nothing(skipped: &[Skipped]) -> Error {
    match skipped.first() {
        None => Error::invalid(
            "there is no operation to import: the document has none, or the filter lets none through",
        ),
        Some(Skipped { operation, why }) => Error::new(
            why.kind(),
            format!(
                "none of the {} operations can be imported; `{}`: {}",
                skipped.len(),
                short(operation, 100),
                why.message()
            ),
        ),
    }
}

/// The operations of a document, in the order of their paths and methods.
fn list<'d>(
    document: &'d Document,
    paths: &'d Map<String, Value>,
    skipped: &mut Vec<Skipped>,
) -> Vec<Listed<'d>> {
    let mut listed = Vec::new();
    let mut skip = |operation: String, why| skipped.push(Skipped { operation: short(&operation, 200), why });
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let item = match document.followed(item, path) {
            Ok(item) => item,
            Err(why) => {
                skip(path.clone(), why);
                continue;
            }
        };
        for (named, method) in METHODS {
            let own = match item.get(*named) {
                None => continue,
                Some(Value::Object(own)) => own,
                Some(_) => {
                    skip(format!("{method} {path}"), Error::invalid("it is no object"));
                    continue;
                }
            };
            let tags = own.get("tags").and_then(Value::as_array).into_iter().flatten();
            listed.push(Listed {
                found: Found { method, path, shared: item, own },
                id: text(own, "operationId"),
                tags: tags.filter_map(Value::as_str).collect(),
                named,
            });
        }
    }
    listed
}

impl<'d> Listed<'d> {
    fn words(&self) -> String {
        format!("{} {}", self.found.method, short(self.found.path, 200))
    }

    fn origin(&self) -> Origin<'d> {
        Origin { id: self.id, method: self.named, path: self.found.path }
    }

    fn candidate<'a>(&'a self, name: &'a Option<String>) -> Candidate<'a> {
        Candidate {
            name: name.as_deref().unwrap_or_default(),
            id: self.id,
            tags: &self.tags,
            path: self.found.path,
            method: self.found.method,
        }
    }
}
