//! From a good request to one that the vendor would refuse.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, Request, Uri};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::description::{Described, Description, Parameter};

/// What no number, truth value or choice is.
const WRONG: &str = "wrong";

pub(crate) enum Wrong {
    /// What is wrong, and the request.
    Request(String, Box<Request<Bytes>>),
    /// The same request without its credentials.
    NoCredentials,
    /// It takes nothing that can be wrong.
    Nothing,
}

/// Makes something in a request wrong. The body comes first: its schemas are what Prism may leave unused without a word.
pub(crate) fn wrong(described: &Described<'_>, request: &Request<Bytes>) -> Wrong {
    let made = body(described, request)
        .or_else(|| query(described, request))
        .or_else(|| header(described, request))
        .or_else(|| path(described, request));
    match made {
        Some((what, request)) => Wrong::Request(what, Box::new(request)),
        None if described.secured() => Wrong::NoCredentials,
        None => Wrong::Nothing,
    }
}

type Made = Option<(String, Request<Bytes>)>;

fn body(described: &Described<'_>, request: &Request<Bytes>) -> Made {
    let kind = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let schema = described.body(kind)?;
    let (what, body) = if kind.starts_with("application/x-www-form-urlencoded") {
        let pairs = form_urlencoded::parse(request.body()).into_owned().collect();
        let (what, pairs) = pairs_of(described.description(), schema, pairs)?;
        (what, form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    } else {
        let body = serde_json::from_slice(request.body()).ok()?;
        let (what, body) = json_of(described.description(), schema, body)?;
        (what, body.to_string())
    };
    let mut request = request.clone();
    *request.body_mut() = Bytes::from(body);
    Some((what, request))
}

/// A value of a type that is none of these.
fn other_than(types: &BTreeSet<&str>) -> Option<Value> {
    let values = [
        ("object", json!({ "wrong": true })),
        ("string", json!(WRONG)),
        ("boolean", json!(true)),
        ("integer", json!(17)),
        ("array", json!([])),
    ];
    values.into_iter().find(|(name, _)| !types.contains(name)).map(|(_, value)| value)
}

fn json_of(description: &Description, schema: &Value, mut body: Value) -> Option<(String, Value)> {
    let required = description.required(schema);
    if let Value::Object(fields) = &mut body {
        let mut names: Vec<String> = fields.keys().cloned().collect();
        names.sort_by_key(|name| !required.contains(&name.as_str()));
        for name in names {
            let types = description.field(schema, &name).and_then(|field| description.types(field));
            if let Some(value) = types.and_then(|types| other_than(&types)) {
                let what = format!("`{name}` of the body as {value}");
                fields.insert(name, value);
                return Some((what, body));
            }
        }
        if let Some(name) = required.into_iter().find(|name| fields.contains_key(*name)) {
            fields.remove(name);
            return Some((format!("no `{name}` in the body"), body));
        }
        if description.closed(schema) {
            fields.insert(WRONG.to_owned(), json!(true));
            return Some(("a field that is unknown in the body".to_owned(), body));
        }
    }
    let value = other_than(&description.types(schema)?)?;
    Some((format!("{value} as the body"), value))
}

/// Whether no text in general is such a value, as it stands in a query or a form.
fn refuses_text(description: &Description, schema: &Value) -> bool {
    const NO_TEXT: [&str; 4] = ["integer", "number", "boolean", "null"];
    let types = description.types(schema);
    types.is_some_and(|types| types.iter().all(|name| NO_TEXT.contains(name)))
        || description.choices(schema).is_some_and(|choices| !choices.iter().any(|choice| *choice == WRONG))
}

fn pairs_of(
    description: &Description,
    schema: &Value,
    mut pairs: Vec<(String, String)>,
) -> Option<(String, Vec<(String, String)>)> {
    for (name, value) in &mut pairs {
        if description.field(schema, name).is_some_and(|field| refuses_text(description, field)) {
            WRONG.clone_into(value);
            return Some((format!("`{name}` of the form as `{WRONG}`"), pairs));
        }
    }
    // What a form lacks Prism makes up where it is a list or an object, and what it does not know it leaves out.
    let plain = |name: &str| {
        let types = description.field(schema, name).and_then(|field| description.types(field));
        types.is_some_and(|types| !types.contains("object") && !types.contains("array"))
    };
    let has = |name: &str| pairs.iter().any(|(given, _)| given == name);
    if let Some(name) = description.required(schema).into_iter().find(|name| plain(name) && has(name)) {
        pairs.retain(|(given, _)| given != name);
        return Some((format!("no `{name}` in the form"), pairs));
    }
    let fields = description.fields(schema);
    let (name, _) = fields.into_iter().find(|(_, field)| refuses_text(description, field))?;
    pairs.push((name.to_owned(), WRONG.to_owned()));
    Some((format!("`{name}` of the form as `{WRONG}`"), pairs))
}

/// The request at another path and query.
fn moved(request: &Request<Bytes>, path_and_query: &str) -> Option<Request<Bytes>> {
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    let mut request = request.clone();
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(request)
}

fn query(described: &Described<'_>, request: &Request<Bytes>) -> Made {
    let given = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let mut given: Vec<(String, String)> = given.into_owned().collect();
    let parameters = described.parameters();
    // What is called with brackets Prism does not look at.
    let looked_at = |parameter: &&Parameter<'_>| parameter.place == "query" && !parameter.name.contains('[');
    let mut possible: Vec<_> = parameters.iter().filter(looked_at).collect();
    // Those that the sample has first.
    possible.sort_by_key(|parameter| !given.iter().any(|(name, _)| name == parameter.name));
    let refusing = |parameter: &&&Parameter<'_>| refuses_text(described.description(), parameter.schema);
    let what = if let Some(parameter) = possible.iter().find(refusing) {
        given.retain(|(name, _)| name != parameter.name);
        given.push((parameter.name.to_owned(), WRONG.to_owned()));
        format!("`{}` of the query as `{WRONG}`", parameter.name)
    } else {
        let parameter = possible.iter().find(|parameter| parameter.required)?;
        given.retain(|(name, _)| name != parameter.name);
        format!("no `{}` in the query", parameter.name)
    };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    Some((what, moved(request, &format!("{}?{query}", request.uri().path()))?))
}

fn header(described: &Described<'_>, request: &Request<Bytes>) -> Made {
    let parameters = described.parameters();
    // OpenAPI leaves these to other parts of a description.
    let elsewhere = |name: &HeaderName| [ACCEPT, CONTENT_TYPE, AUTHORIZATION].contains(name);
    let needed = parameters.iter().filter(|parameter| parameter.place == "header" && parameter.required);
    let name = needed.filter_map(|parameter| parameter.name.parse().ok()).find(|name| !elsewhere(name))?;
    let mut request = request.clone();
    request.headers_mut().remove(&name)?;
    Some((format!("no header `{name}`"), request))
}

fn path(described: &Described<'_>, request: &Request<Bytes>) -> Made {
    let parameters = described.parameters();
    let refusing = |segment: &str| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        parameters.iter().find(|parameter| {
            parameter.place == "path"
                && parameter.name == name
                && refuses_text(described.description(), parameter.schema)
        })
    };
    let at = described.path.split('/').position(|segment| refusing(segment).is_some())?;
    let mut segments: Vec<&str> = request.uri().path().split('/').collect();
    let what = format!("`{}` in the path as `{WRONG}`", described.path.split('/').nth(at)?);
    *segments.get_mut(at)? = WRONG;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Some((what, moved(request, &format!("{}{query}", segments.join("/")))?))
}
