//! How a request proves who asks.

#[cfg(feature = "sigv4")]
pub(crate) mod aws;
mod credentials;
mod grant;
mod oauth;

pub use credentials::{Credentials, Tokens};
pub use grant::{Assertion, Grant, Session, SessionToken};
pub(crate) use grant::{not_granted, random_text};
pub use oauth::{ClientAuth, OAuth2, OAuthApp};

use std::collections::BTreeMap;

use agentprovision_core::{Error, Result, Timestamp};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

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
    /// The field `key` in the body, which is an object in JSON.
    KeyBody {
        /// The field of the body.
        field: Text,
    },
    /// The field `token` as a bearer token (RFC 6750).
    Bearer,
    /// The fields `username` and `password` (RFC 7617).
    Basic,
    /// By tokens that expire and are renewed.
    Tokens(Box<Grant>),
    /// By a signature of AWS (version 4) with the fields `access_key_id`, `secret_access_key` and `session_token`, for the region
    /// that the setting `region` names.
    #[cfg(feature = "sigv4")]
    SigV4 {
        /// The service that is signed for, as `s3`.
        service: Text,
    },
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
    /// The URL that operations go under so, with settings in braces; the connector's where absent.
    pub base_url: Option<Text>,
    /// What is learned once access has been granted.
    pub learns: Option<Learned>,
}

/// A setting that the vendor tells once access has been granted, such as the id of the site that somebody has chosen there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Learned {
    /// The setting.
    pub setting: Text,
    /// Where the vendor lists what access was granted to.
    pub url: Text,
    /// Where an item of the list has the setting, as a JSON pointer.
    pub value: Text,
    /// Where an item has its URL, as a JSON pointer.
    pub place: Text,
    /// That URL of the item that is meant, with settings in braces. Without these settings there has to be one item alone.
    pub meant: Text,
}

impl Learned {
    /// A setting that is in the list at a URL.
    pub fn new(
        setting: impl Into<Text>,
        url: impl Into<Text>,
        value: impl Into<Text>,
        place: impl Into<Text>,
        meant: impl Into<Text>,
    ) -> Self {
        Self {
            setting: setting.into(),
            url: url.into(),
            value: value.into(),
            place: place.into(),
            meant: meant.into(),
        }
    }

    /// The setting, from the vendor's list; of several items it is that at the URL that is meant.
    ///
    /// # Errors
    /// `invalid_input`, with the URLs there are, where none of them is meant, or which one is not said.
    pub(crate) fn of(&self, list: &Value, meant: Option<String>) -> Result<String> {
        let text = |item: &Value, at: &str| item.pointer(at).and_then(Value::as_str).map(str::to_owned);
        // The same one is there once for each of the vendor's services.
        let found: BTreeMap<String, String> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| Some((text(item, &self.value)?, text(item, &self.place).unwrap_or_default())))
            .collect();
        let mut those = found.iter().filter(|(_, url)| meant.as_ref().is_none_or(|meant| meant == *url));
        match (those.next(), those.next()) {
            (Some((value, _)), None) => Ok(value.clone()),
            _ => {
                let places: Vec<&str> = found.values().map(String::as_str).collect();
                let places = if places.is_empty() { "nothing".to_owned() } else { places.join(", ") };
                Err(Error::invalid(format!(
                    "access was granted to {places}, and the settings of the integration name none of these, or not which one"
                )))
            }
        }
    }
}

impl Auth {
    fn new(
        name: impl Into<Text>,
        title: impl Into<Text>,
        scheme: Scheme,
        fields: impl Into<Vec<Field>>,
    ) -> Self {
        let (name, title, fields) = (name.into(), title.into(), fields.into());
        Self { name, title, scheme, fields, base_url: None, learns: None }
    }

    /// Nobody proves anything.
    pub fn none() -> Self {
        Self::new("none", "No credentials", Scheme::None, [])
    }

    /// By a bearer token.
    pub fn bearer(title: impl Into<Text>) -> Self {
        Self::new("token", title, Scheme::Bearer, [Field::new("token", "The token.")])
    }

    /// By user name and password.
    pub fn basic(title: impl Into<Text>) -> Self {
        let fields = [Field::new("username", "The user name."), Field::new("password", "The password.")];
        Self::new("basic", title, Scheme::Basic, fields)
    }

    /// By tokens that expire, under a name.
    pub fn tokens(name: impl Into<Text>, title: impl Into<Text>, grant: Grant) -> Self {
        let fields = grant.fields();
        Self::new(name, title, Scheme::Tokens(Box::new(grant)), fields)
    }

    /// How tokens are got, where they are.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.scheme {
            Scheme::Tokens(grant) => Some(grant),
            _ => None,
        }
    }

    fn key(scheme: Scheme) -> Self {
        Self::new("key", "API key", scheme, [Field::new("key", "The key.")])
    }

    /// By a key in a header.
    pub fn key_header(header: impl Into<Text>, prefix: impl Into<Text>) -> Self {
        Self::key(Scheme::KeyHeader { header: header.into(), prefix: prefix.into() })
    }

    /// By a key in the query.
    pub fn key_query(name: impl Into<Text>) -> Self {
        Self::key(Scheme::KeyQuery { name: name.into() })
    }

    /// By a key in bodies, which are objects in JSON.
    pub fn key_body(field: impl Into<Text>) -> Self {
        Self::key(Scheme::KeyBody { field: field.into() })
    }

    /// By a signature with keys of AWS, for a service.
    #[cfg(feature = "sigv4")]
    pub fn sigv4(service: impl Into<Text>) -> Self {
        let fields = [
            Field::new("access_key_id", "The id of the access key."),
            Field::new("secret_access_key", "The secret of the access key."),
            Field::new("session_token", "The session token, of temporary keys.").optional(),
        ];
        Self::new("keys", "Access keys", Scheme::SigV4 { service: service.into() }, fields)
    }

    /// Called otherwise among people.
    #[must_use]
    pub fn titled(mut self, title: impl Into<Text>) -> Self {
        self.title = title.into();
        self
    }

    /// In a way of the operations' own handlers.
    pub fn handler(name: impl Into<Text>, title: impl Into<Text>, fields: Vec<Field>) -> Self {
        Self::new(name, title, Scheme::Handler, fields)
    }

    /// With operations under another URL than that of the connector.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<Text>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Learning a setting once access has been granted.
    #[must_use]
    pub fn learns(mut self, learned: Learned) -> Self {
        self.learns = Some(learned);
        self
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

    /// Whether these settings lack one that is learned when access is granted.
    pub(crate) fn awaits(&self, settings: &Map<String, Value>) -> bool {
        let learned = self.learns.as_ref().is_some_and(|learned| !settings.contains_key(&*learned.setting));
        learned && !settings.contains_key("base_url")
    }

    /// Puts the proof into a request of an integration with these settings, as of a time.
    ///
    /// # Errors
    /// `conflict` where the credentials lack a field; `invalid_input` where one cannot be in a request.
    #[cfg_attr(
        not(feature = "sigv4"),
        expect(unused_variables, reason = "signatures alone look at settings and time")
    )]
    pub fn apply(
        &self,
        credentials: &Credentials,
        settings: &Map<String, Value>,
        now: Timestamp,
        request: &mut Request<Bytes>,
    ) -> Result<()> {
        match &self.scheme {
            #[cfg(feature = "sigv4")]
            Scheme::SigV4 { service } => {
                aws::signer(service, settings).sign(request, &aws::keys(credentials)?, now)
            }
            Scheme::None | Scheme::Handler => Ok(()),
            Scheme::Bearer => {
                let token = credentials.field("token")?.expose_secret();
                set(request, AUTHORIZATION, &format!("Bearer {token}"))
            }
            Scheme::Tokens(grant) => {
                let tokens = credentials.tokens.as_ref().ok_or_else(not_granted)?;
                let (name, value) = grant.header(tokens.access.expose_secret());
                let name: HeaderName =
                    name.parse().map_err(|_| Error::invalid(format!("`{name}` is no name of a header")))?;
                set(request, name, &value)
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
            Scheme::KeyBody { field } => {
                let key = credentials.field("key")?.expose_secret();
                let mut fields: Map<String, Value> = match request.body().is_empty() {
                    true => Map::new(),
                    // Not the parser's words: they can quote the body.
                    false => serde_json::from_slice(request.body())
                        .map_err(|_| Error::internal("a body that takes a key is no object in JSON"))?,
                };
                fields.insert(field.to_string(), Value::from(key));
                *request.body_mut() = Value::Object(fields).to_string().into();
                request
                    .headers_mut()
                    .entry(CONTENT_TYPE)
                    .or_insert(HeaderValue::from_static("application/json"));
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

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use http::Method;
    use serde_json::json;

    use super::*;

    fn apply(auth: &Auth, body: &'static str) -> Result<Request<Bytes>> {
        let entered = json!({ "key": "canary-1234" });
        let credentials = Credentials::entered(&auth.fields, entered.as_object().unwrap()).unwrap();
        let request = Request::builder().method(Method::POST).uri("https://x.example/v2/enqueue");
        let mut request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
        auth.apply(&credentials, &Map::new(), Timestamp::default(), &mut request).map(|()| request)
    }

    #[test]
    fn a_key_goes_into_the_body_and_replaces_what_stands_there() {
        let auth = Auth::key_body("routing_key");
        for (body, expected) in [
            ("", json!({ "routing_key": "canary-1234" })),
            (r#"{"a":1,"routing_key":"x"}"#, json!({ "a": 1, "routing_key": "canary-1234" })),
        ] {
            let request = apply(&auth, body).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), expected);
            assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
            assert!(!request.uri().to_string().contains("canary"));
        }
        for bad in ["[1]", "a=canary-1234"] {
            let error = apply(&auth, bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}
