//! What the tests of built-in connectors share: the request that an operation makes of an input, and what it makes of a
//! response, without a network between.

use agentprovision_core::{Error, Result, Timestamp};
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::{Map, Value, json};

use crate::answer::{Response, failure};
use crate::auth::Credentials;
use crate::connector::{Connector, violations};

/// The time at which responses are read.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// The credentials of a way to prove who asks: each field has its name in capitals.
fn credentials(connector: &Connector) -> Credentials {
    let fields = &connector.auth(None).unwrap().fields;
    let entered: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_string(), Value::from(field.name.to_uppercase()))).collect();
    Credentials::entered(fields, &entered).unwrap()
}

/// The request of an input, as it is sent.
pub(crate) fn request(connector: &Connector, name: &str, input: Value) -> Result<Request<Bytes>> {
    let operation = connector.operation(name)?;
    if let Some(problems) = violations(&operation.input, &input) {
        return Err(Error::invalid(format!("{name}: {problems}")));
    }
    let Value::Object(input) = input else { panic!("{name} has an input that is no object") };
    let base = connector.base_of(&Map::new())?;
    let (mut request, _) = operation.request(&base, &input)?;
    connector.auth(None)?.apply(&credentials(connector), &mut request)?;
    Ok(request)
}

/// The line, the headers (but for those of every request, which are `usual`) and the body of a request, to compare with.
pub(crate) fn sent(connector: &Connector, name: &str, input: Value) -> (String, Value) {
    let request = request(connector, name, input).unwrap();
    let body = request.body();
    let body = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::from(String::from_utf8(body.to_vec()).unwrap()));
    (format!("{} {}", request.method(), request.uri()), body)
}

/// A header of a request.
pub(crate) fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// A response.
pub(crate) fn response(status: u16, headers: &[(&'static str, &str)], body: impl ToString) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    Response::new(StatusCode::from_u16(status).unwrap(), headers, Bytes::from(body.to_string()))
}

/// What an operation answers on a response.
pub(crate) fn answer(connector: &Connector, name: &str, response: &Response) -> Result<Value> {
    let operation = connector.operation(name)?;
    match failure(connector, response, NOW) {
        Some(failure) => Err(failure.into_error(response.status, &[])),
        None => operation.answer(response, &[]),
    }
}

/// What an operation answers on a response with a body in JSON.
pub(crate) fn answered(connector: &Connector, name: &str, body: Value) -> Value {
    answer(connector, name, &response(200, &[], body)).unwrap()
}

/// Goes through rows of a status, headers, a body, and what they stand for: the reason of the error, how long it asks to wait in
/// seconds, and a part of its message.
pub(crate) fn assert_failures(connector: &Connector, rows: &[Row<'_>]) {
    let any = connector.operations().next().unwrap().name.clone();
    for (status, headers, body, reason, wait, part) in rows {
        let error = answer(connector, &any, &response(*status, headers, body)).unwrap_err();
        let row = format!("{status} {body}: {error:?}");
        assert_eq!(context(&error, "reason"), *reason, "{row}");
        assert!(error.message().contains(part), "{row}");
        let waits = context(&error, "retry_after_ms");
        assert_eq!(waits, wait.map(|wait| (wait * 1000).to_string()).unwrap_or_default(), "{row}");
    }
}

/// A row of [`assert_failures`].
pub(crate) type Row<'a> =
    (u16, &'a [(&'static str, &'a str)], Value, &'static str, Option<u64>, &'static str);

fn context(error: &Error, name: &str) -> String {
    let found = error.context().iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.to_string()).unwrap_or_default()
}

/// Makes the request of each sample: there is one for each operation, and no other. With `--nocapture` it shows them, one JSON
/// object a line, as a look at a contract mock needs them.
pub(crate) fn assert_samples(connector: &Connector, samples: &str) {
    let samples: Map<String, Value> = serde_json::from_str(samples).unwrap();
    let names: Vec<String> = connector.operations().map(|spec| spec.name.to_string()).collect();
    let mut sampled: Vec<String> = samples.keys().cloned().collect();
    sampled.sort();
    assert_eq!(sampled, names, "the samples of {} are not those of its operations", connector.name);
    for (name, input) in samples {
        let request = request(connector, &name, input).unwrap();
        let headers: Map<String, Value> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap())))
            .collect();
        let shown = json!({
            "connector": connector.name, "operation": name, "method": request.method().as_str(),
            "url": request.uri().to_string(), "headers": headers,
            "body": String::from_utf8(request.body().to_vec()).unwrap(),
        });
        println!("{shown}");
    }
}

/// That an operation that is said not to be in the vendor's description is one.
pub(crate) fn assert_known(connector: &Connector, missing: &[(&str, &str)]) {
    for (name, why) in missing {
        assert!(connector.operation(name).is_ok() && !why.is_empty(), "{name}");
    }
}
