//! From an input to a request: a template says where each field goes.

use std::collections::BTreeSet;

use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::answer::Form;
pub use crate::multipart::File;
use crate::multipart::multipart;
use crate::operation::{Effect, Idempotency, Text};
use crate::paging::Paging;
use crate::param::{In, Param};

/// What is not encoded in a path or a query: unreserved characters (RFC 3986, section 2.3).
pub(crate) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, and brackets, which lead into objects and lists in the names of a form.
const PLAIN_NAME: &AsciiSet = &PLAIN.remove(b'[').remove(b']');
/// The same as the first, and the slash.
const PLAIN_PATH: &AsciiSet = &PLAIN.remove(b'/');

/// What the body of a request is made of: the fields that go nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// There is none; fields that go nowhere else go into the query.
    None,
    /// An object in JSON.
    Json,
    /// A form (`application/x-www-form-urlencoded`); objects and lists within it are written with brackets, as
    /// `items[0][price]=1`.
    Form,
    /// A form whose objects and lists are texts in JSON, as `blocks=[{"type":"divider"}]`.
    FlatForm,
    /// A form in parts (`multipart/form-data`, RFC 7578): fields that are a [`File`] are files, of lists each item is a part.
    Multipart,
    /// What one field has, in JSON.
    Field(Text),
    /// The text of one field as it is, with this content type.
    Text(Text, Text),
    /// The bytes of one field, which has them in base64, with this content type.
    Bytes(Text, Text),
}

/// How a list is written in a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lists {
    /// `a=1&a=2`
    #[default]
    Repeated,
    /// `a=1,2`
    Commas,
    /// `a[]=1&a[]=2`
    Brackets,
}

/// How a request is made of an input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpTemplate {
    /// The method.
    pub method: Method,
    /// The path under the base URL, with fields in braces: `{name}` is one segment, `{+name}` may have slashes.
    pub path: Text,
    /// Fields that go into the query; where there is no body, all of those that go nowhere else.
    pub query: Vec<Text>,
    /// Fields that go into headers: field and header.
    pub headers: Vec<(Text, Text)>,
    /// Headers of every request.
    pub fixed_headers: Vec<(Text, Text)>,
    /// Parts of the query of every request.
    pub fixed_query: Vec<(Text, Text)>,
    /// The form of the body.
    pub body: Body,
    /// How lists are written in the query.
    pub lists: Lists,
    /// Fields that are written in forms of their own, instead of all that is above.
    pub params: Vec<Param>,
    /// Whether there is no body where none of its fields is given.
    pub optional_body: bool,
    /// The form of the answer.
    pub answer: Form,
}

impl HttpTemplate {
    /// A template with the usual places: see [`OperationSpec::typed`](crate::operation::OperationSpec::typed).
    pub fn new(method: Method, path: impl Into<Text>) -> Self {
        let body = match method {
            Method::GET | Method::HEAD | Method::DELETE => Body::None,
            _ => Body::Json,
        };
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            fixed_headers: Vec::new(),
            fixed_query: Vec::new(),
            body,
            lists: Lists::default(),
            params: Vec::new(),
            optional_body: false,
            answer: Form::default(),
        }
    }

    /// Effect and idempotency of requests of this method (RFC 9110, section 9.2).
    pub(crate) fn usual(&self) -> (Effect, Idempotency) {
        match self.method {
            Method::GET | Method::HEAD | Method::OPTIONS => (Effect::Read, Idempotency::Natural),
            Method::DELETE => (Effect::Destroy, Idempotency::Natural),
            Method::PUT => (Effect::Write, Idempotency::Natural),
            _ => (Effect::Write, Idempotency::None),
        }
    }

    /// The fields that the path names.
    pub(crate) fn path_fields(&self) -> BTreeSet<&str> {
        let parts = self.path.split('{').skip(1);
        parts.filter_map(|part| part.split_once('}')).map(|(name, _)| name.trim_start_matches('+')).collect()
    }

    /// The request of an input. `base` is the URL that the path goes under, without a slash at its end; `more` is added to
    /// the query.
    ///
    /// # Errors
    /// `invalid_input` for a field that cannot be where it belongs.
    pub fn request(
        &self,
        base: &str,
        input: &Map<String, Value>,
        more: &[(Text, String)],
    ) -> Result<Request<Bytes>> {
        let mut url = String::with_capacity(base.len() + self.path.len() + 64);
        url.push_str(base);
        self.push_path(&mut url, input)?;
        let mut placed = self.path_fields();
        placed.extend(self.headers.iter().map(|(field, _)| &**field));
        placed.extend(self.params.iter().map(|param| &*param.field));
        let given = input.iter().filter(|(name, value)| !value.is_null() && !placed.contains(name.as_str()));
        let (mut query, mut rest) = (Vec::new(), Map::new());
        for (name, value) in given {
            if self.body == Body::None || self.query.iter().any(|field| *field == *name) {
                self.push_query(&mut query, name, value);
            } else {
                rest.insert(name.clone(), value.clone());
            }
        }
        let fixed = self.fixed_query.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        query.extend(fixed);
        let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let mut query: Vec<_> = query.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
        query.extend(self.written(In::Query, input));
        for (name, value) in more {
            let name = encoded(name);
            query.retain(|(there, _)| *there != name);
            query.push((name, encoded(value)));
        }
        for (at, (name, value)) in query.iter().enumerate() {
            // What pages go on with may be in the base URL's stead already.
            url.push(if at == 0 && !url.contains('?') { '?' } else { '&' });
            url.extend([name, "=", value]);
        }
        let mut request = Request::builder().method(self.method.clone()).uri(url);
        if let Some(headers) = request.headers_mut() {
            headers.insert(ACCEPT, HeaderValue::from_static(self.answer.accept()));
            for (name, value) in &self.fixed_headers {
                headers.insert(header_name(name)?, header_value(name, value)?);
            }
            for (field, name) in &self.headers {
                if let Some(value) = input.get(&**field).filter(|value| !value.is_null()) {
                    headers.insert(header_name(name)?, header_value(field, &plain(value))?);
                }
            }
            for param in self.params.iter().filter(|param| param.place == In::Header) {
                if let Some(value) = input.get(&*param.field).filter(|value| !value.is_null()) {
                    let value = param.text(value, &str::to_owned);
                    headers.insert(header_name(&param.name)?, header_value(&param.field, &value)?);
                }
            }
        }
        let (body, kind) = self.body(rest, self.written(In::Form, input))?;
        if let (Some(kind), Some(headers)) = (kind, request.headers_mut()) {
            headers.entry(CONTENT_TYPE).or_insert(header_value("content-type", &kind)?);
        }
        request
            .body(body)
            .map_err(|error| Error::invalid("the request has no URL that can be sent").with_source(error))
    }

    /// The pairs of the fields that are written into a query or a form in forms of their own, encoded.
    fn written(&self, place: In, input: &Map<String, Value>) -> Vec<(String, String)> {
        let here = self.params.iter().filter(|param| param.place == place);
        here.filter_map(|param| Some(param.pairs(input.get(&*param.field)?))).flatten().collect()
    }

    /// Puts the place of a page into the input, where that goes into a body with fields, and answers what goes into the
    /// query: the rest, and parts of URLs always.
    pub(crate) fn place<'a>(
        &self,
        paging: &Paging,
        input: &mut Map<String, Value>,
        place: &'a [(Text, String)],
    ) -> &'a [(Text, String)] {
        let in_body = matches!(self.body, Body::Json | Body::Form | Body::FlatForm);
        if !in_body || paging.is_query() {
            return place;
        }
        for (name, value) in place {
            let value = match value.parse::<u64>() {
                Ok(number) if paging.counts() => Value::from(number),
                _ => Value::from(value.clone()),
            };
            input.insert(name.to_string(), value);
        }
        &[]
    }

    fn push_path(&self, url: &mut String, input: &Map<String, Value>) -> Result<()> {
        let mut parts = self.path.split('{');
        url.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, after) = part.split_once('}').unwrap_or((part, ""));
            let (name, plain_set) = match name.strip_prefix('+') {
                Some(name) => (name, PLAIN_PATH),
                None => (name, PLAIN),
            };
            let given = input.get(name);
            let value = given.map(plain).unwrap_or_default();
            let param = self.params.iter().find(|param| param.place == In::Path && param.field == name);
            if let (Some(param), Some(given @ (Value::Array(_) | Value::Object(_)))) = (param, given) {
                let text = param.text(given, &|text| utf8_percent_encode(text, PLAIN).to_string());
                if text.is_empty() || text == "." || text == ".." {
                    return Err(Error::invalid(format!("`{name}` cannot be a part of a path")));
                }
                url.push_str(&text);
                url.push_str(after);
                continue;
            }
            let leads_away = |part: &str| part == "." || part == "..";
            let parts_of = value.split('/');
            // A segment that is empty or leads upwards would be another path.
            let bad = match plain_set {
                set if std::ptr::eq(set, PLAIN_PATH) => {
                    parts_of.clone().any(leads_away) || value.starts_with('/')
                }
                _ => value.is_empty() || leads_away(&value),
            };
            if bad {
                return Err(Error::invalid(format!("`{name}` cannot be a part of a path")));
            }
            url.extend(utf8_percent_encode(&value, plain_set));
            url.push_str(after);
        }
        Ok(())
    }

    fn push_query(&self, query: &mut Vec<(String, String)>, name: &str, value: &Value) {
        match (value, self.lists) {
            (Value::Array(items), Lists::Repeated) => {
                query.extend(items.iter().map(|item| (name.to_owned(), plain(item))));
            }
            (Value::Array(items), Lists::Brackets) => {
                query.extend(items.iter().map(|item| (format!("{name}[]"), plain(item))));
            }
            (Value::Array(items), Lists::Commas) => {
                let items: Vec<String> = items.iter().map(plain).collect();
                query.push((name.to_owned(), items.join(",")));
            }
            (value @ Value::Object(_), _) => push_form(query, name, value),
            (value, _) => query.push((name.to_owned(), plain(value))),
        }
    }

    /// The body and its content type.
    fn body(
        &self,
        mut rest: Map<String, Value>,
        written: Vec<(String, String)>,
    ) -> Result<(Bytes, Option<String>)> {
        if self.optional_body && rest.is_empty() && written.is_empty() {
            return Ok((Bytes::new(), None));
        }
        let json = |value: &Value| {
            let text = serde_json::to_vec(value)
                .map_err(|error| Error::internal("an input has no JSON form").with_source(error))?;
            Ok((Bytes::from(text), Some("application/json".to_owned())))
        };
        let text = |value: Option<Value>, field: &str| match value {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Error::invalid(format!("`{field}` is not a text"))),
        };
        match &self.body {
            Body::None => Ok((Bytes::new(), None)),
            Body::Json => json(&Value::Object(rest)),
            Body::Form | Body::FlatForm => {
                let mut form = Vec::new();
                rest.iter().for_each(|(name, value)| match self.body {
                    Body::FlatForm => form.push((name.clone(), plain(value))),
                    _ => push_form(&mut form, name, value),
                });
                let encoded = |text: &str, plain| utf8_percent_encode(text, plain).to_string();
                let form =
                    form.iter().map(|(name, value)| (encoded(name, PLAIN_NAME), encoded(value, PLAIN)));
                let pairs: Vec<String> =
                    form.chain(written).map(|(name, value)| format!("{name}={value}")).collect();
                Ok((Bytes::from(pairs.join("&")), Some("application/x-www-form-urlencoded".to_owned())))
            }
            Body::Multipart => {
                let (bytes, boundary) = multipart(&rest)?;
                Ok((bytes, Some(format!("multipart/form-data; boundary={boundary}"))))
            }
            Body::Field(field) => json(&rest.remove(&**field).unwrap_or(Value::Null)),
            Body::Text(field, kind) => {
                Ok((Bytes::from(text(rest.remove(&**field), field)?), Some(kind.to_string())))
            }
            Body::Bytes(field, kind) => {
                let bytes = STANDARD.decode(text(rest.remove(&**field), field)?);
                let bytes = bytes.map_err(|_| Error::invalid(format!("`{field}` is not base64")))?;
                Ok((Bytes::from(bytes), Some(kind.to_string())))
            }
        }
    }
}

/// The parts of a form that a value is, the names of objects' fields and the places in lists in brackets.
pub(crate) fn push_form(form: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| push_form(form, &format!("{name}[{field}]"), value));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| push_form(form, &format!("{name}[{at}]"), value));
        }
        Value::Null => {}
        value => form.push((name.to_owned(), plain(value))),
    }
}

/// A value as it stands in a path, a query or a header.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Headers that say who sends a request, how it travels or whose host it is for (RFC 9110, section 7.6.1), in lower case: they are
/// nobody's to set who calls an operation.
#[cfg(any(feature = "http", feature = "openapi"))]
const SENDERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is the sender's alone.
#[cfg(any(feature = "http", feature = "openapi"))]
pub(crate) fn is_senders(name: &str) -> bool {
    SENDERS.iter().any(|senders| senders.eq_ignore_ascii_case(name))
}

fn header_name(name: &str) -> Result<HeaderName> {
    name.parse().map_err(|_| Error::invalid(format!("`{name}` is no name of a header")))
}

pub(crate) fn header_value(field: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value)
        .map_err(|_| Error::invalid(format!("`{field}` has characters that no header can have")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_have_brackets_between_names_and_nothing_else_unencoded() {
        let template = HttpTemplate { body: Body::Form, ..HttpTemplate::new(Method::POST, "/x") };
        let input = json!({ "a": [{ "b c": "[&]" }], "d": null, "e": { "f": true, "g": null } });
        let request = template.request("https://x.example", input.as_object().unwrap(), &[]).unwrap();
        assert_eq!(&request.body()[..], b"a[0][b%20c]=%5B%26%5D&e[f]=true");
    }

    #[test]
    fn flat_forms_keep_what_is_nested_as_json() {
        let template = HttpTemplate { body: Body::FlatForm, ..HttpTemplate::new(Method::POST, "/x") };
        let input = json!({ "a": [{ "b": 1 }], "c": true, "d": null, "e": "ü&" });
        let request = template.request("https://x.example", input.as_object().unwrap(), &[]).unwrap();
        assert_eq!(&request.body()[..], b"a=%5B%7B%22b%22%3A1%7D%5D&c=true&e=%C3%BC%26");
    }

    #[test]
    fn places_go_where_the_fields_go() {
        let cursor = Paging::Cursor { items: "/i".into(), from: "/n".into(), into: "token".into() };
        let offset =
            Paging::Offset { items: "/i".into(), into: "startAt".into(), more: "".into(), last: false };
        let place = |method: Method, paging: &Paging, name: &'static str| {
            let mut input = Map::new();
            let place = [(Text::Borrowed(name), "50".to_owned())];
            let query = HttpTemplate::new(method, "/x").place(paging, &mut input, &place).len();
            (query, Value::Object(input))
        };
        assert_eq!(place(Method::GET, &cursor, "token"), (1, json!({})));
        assert_eq!(place(Method::POST, &cursor, "token"), (0, json!({ "token": "50" })));
        assert_eq!(place(Method::POST, &offset, "startAt"), (0, json!({ "startAt": 50 })));
        assert_eq!(place(Method::POST, &Paging::LINK, "page"), (1, json!({})));
    }
}
