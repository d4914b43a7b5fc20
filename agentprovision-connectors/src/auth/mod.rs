//! How a request proves who asks.

mod credentials;

pub use credentials::{Credentials, Tokens};

use agentprovision_core::{Error, Result};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;

use crate::operation::Text;

/// One thing that whoever connects an integration is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the credentials.
    pub name: Text,
    /// What it is.
    pub about: Text,
    /// Whether it can be left out.
    pub optional: bool,
}

impl Field {
    /// A field that is needed.
    pub fn new(name: impl Into<Text>, about: impl Into<Text>) -> Self {
        Self { name: name.into(), about: about.into(), optional: false }
    }

    /// The same field, which can be left out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// How a request proves who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// It does not.
    None,
    /// The field `key` in a header, behind a prefix.
    KeyHeader {
        /// The header.
        header: Text,
        /// What stands before the key, as `Token token=`.
        prefix: Text,
    },
    /// The field `key` in the query.
    KeyQuery {
        /// The name in the query.
        name: Text,
    },
    /// The field `token` as a bearer token (RFC 6750).
    Bearer,
    /// The fields `username` and `password` (RFC 7617).
    Basic,
    /// In a way of the operations' own handlers, which get the credentials.
    Handler,
}

/// A way to prove who asks, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Auth {
    /// The name within the connector.
    pub name: Text,
    /// What it is called among people.
    pub title: Text,
    /// The way.
    pub scheme: Scheme,
    /// What whoever connects an integration is asked for.
    pub fields: Vec<Field>,
}

impl Auth {
    /// Nobody proves anything.
    pub fn none() -> Self {
        Self { name: "none".into(), title: "No credentials".into(), scheme: Scheme::None, fields: Vec::new() }
    }

    /// By a bearer token.
    pub fn bearer(title: impl Into<Text>) -> Self {
        let fields = vec![Field::new("token", "The token.")];
        Self { name: "token".into(), title: title.into(), scheme: Scheme::Bearer, fields }
    }

    /// By user name and password.
    pub fn basic(title: impl Into<Text>) -> Self {
        let fields = vec![Field::new("username", "The user name."), Field::new("password", "The password.")];
        Self { name: "basic".into(), title: title.into(), scheme: Scheme::Basic, fields }
    }

    /// By a key in a header.
    pub fn key_header(header: impl Into<Text>, prefix: impl Into<Text>) -> Self {
        let scheme = Scheme::KeyHeader { header: header.into(), prefix: prefix.into() };
        Self {
            name: "key".into(),
            title: "API key".into(),
            scheme,
            fields: vec![Field::new("key", "The key.")],
        }
    }

    /// By a key in the query.
    pub fn key_query(name: impl Into<Text>) -> Self {
        let scheme = Scheme::KeyQuery { name: name.into() };
        Self {
            name: "key".into(),
            title: "API key".into(),
            scheme,
            fields: vec![Field::new("key", "The key.")],
        }
    }

    /// In a way of the operations' own handlers.
    pub fn handler(name: impl Into<Text>, title: impl Into<Text>, fields: Vec<Field>) -> Self {
        Self { name: name.into(), title: title.into(), scheme: Scheme::Handler, fields }
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Text>) -> Self {
        self.name = name.into();
        self
    }

    /// Asking for other fields, with what they are.
    #[must_use]
    pub fn fields(mut self, fields: Vec<Field>) -> Self {
        self.fields = fields;
        self
    }

    /// Puts the proof into a request.
    ///
    /// # Errors
    /// `conflict` where the credentials lack a field; `invalid_input` where one cannot be in a request.
    pub fn apply(&self, credentials: &Credentials, request: &mut Request<Bytes>) -> Result<()> {
        match &self.scheme {
            Scheme::None | Scheme::Handler => Ok(()),
            Scheme::Bearer => {
                let token = credentials.field("token")?.expose_secret();
                set(request, AUTHORIZATION, &format!("Bearer {token}"))
            }
            Scheme::Basic => {
                use base64::Engine as _;
                let (user, password) = (credentials.field("username")?, credentials.field("password")?);
                let pair = format!("{}:{}", user.expose_secret(), password.expose_secret());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                set(request, AUTHORIZATION, &format!("Basic {pair}"))
            }
            Scheme::KeyHeader { header, prefix } => {
                let name: HeaderName = header
                    .parse()
                    .map_err(|_| Error::invalid(format!("`{header}` is no name of a header")))?;
                let key = credentials.field("key")?.expose_secret();
                set(request, name, &format!("{prefix}{key}"))
            }
            Scheme::KeyQuery { name } => {
                let key = credentials.field("key")?.expose_secret();
                let uri = request.uri().to_string();
                let separator = if uri.contains('?') { '&' } else { '?' };
                let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
                let uri = format!("{uri}{separator}{name}={key}").parse();
                *request.uri_mut() = uri.map_err(|_| Error::invalid("the key cannot be in a URL"))?;
                Ok(())
            }
        }
    }
}

/// Sets a header that is not shown in logs and does not follow a redirect to somebody else.
fn set(request: &mut Request<Bytes>, name: HeaderName, value: &str) -> Result<()> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::invalid("the credentials have characters that no header can have"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(())
}
