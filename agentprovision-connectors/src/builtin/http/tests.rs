use agentprovision_core::ErrorKind;
use http::header::{CONTENT_LENGTH, HOST};
use serde_json::json;

use super::*;
use crate::builtin::probe::{header, response};
use crate::connector::violations;

fn made(method: Method, asked: Value) -> Result<Request<Bytes>> {
    let name = format!("request.{}", method.as_str().to_ascii_lowercase());
    let connector = connector()?;
    if let Some(problems) = violations(&connector.operation(&name)?.input, &asked) {
        return Err(Error::invalid(problems));
    }
    request(&method, "https://x.example/api", &serde_json::from_value(asked).unwrap())
}

#[test]
fn requests_are_what_is_asked_for() {
    let get = made(
        Method::GET,
        json!({ "path": "/users", "query": { "q": "a&b", "ids": [1, 2], "on": true }, "headers": { "X-Trace": "t", "Accept": "text/csv" } }),
    )
    .unwrap();
    assert_eq!(get.uri(), "https://x.example/api/users?ids=1&ids=2&on=true&q=a%26b");
    assert_eq!((header(&get, "x-trace"), header(&get, "accept")), ("t", "text/csv"));
    assert!(get.body().is_empty() && !get.headers().contains_key(CONTENT_TYPE));
    let form = "application/x-www-form-urlencoded";
    for (body, headers, kind, expected) in [
        (json!({ "a": [1] }), json!({}), "application/json", r#"{"a":[1]}"#),
        (json!([1, null]), json!({}), "application/json", "[1,null]"),
        (json!("<a/>"), json!({ "content-type": "application/xml" }), "application/xml", "<a/>"),
        (json!("text"), json!({}), "text/plain; charset=utf-8", "text"),
        (
            json!({ "a": "x y", "b": [1, 2], "c": { "d": "&" } }),
            json!({ "Content-Type": form }),
            form,
            "a=x%20y&b=1&b=2&c%5Bd%5D=%26",
        ),
        (json!(false), json!({}), "application/json", "false"),
    ] {
        let post = made(Method::POST, json!({ "path": "/x", "headers": headers, "body": body })).unwrap();
        assert_eq!((header(&post, "content-type"), &post.body()[..]), (kind, expected.as_bytes()));
    }
    let nothing = made(Method::POST, json!({ "path": "/x", "body": null })).unwrap();
    assert!(nothing.body().is_empty() && !nothing.headers().contains_key(CONTENT_TYPE));
    assert!(!nothing.headers().contains_key(HOST) && !nothing.headers().contains_key(CONTENT_LENGTH));
}

#[test]
fn who_sends_it_is_not_for_the_caller_to_say() {
    for name in [
        "authorization",
        "Authorization",
        "COOKIE",
        "host",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
        "proxy-connection",
    ] {
        let error = made(Method::GET, json!({ "path": "/x", "headers": { name: "a" } })).unwrap_err();
        assert!(
            error.is(ErrorKind::InvalidInput) && error.message().contains(&name.to_ascii_lowercase()),
            "{error}"
        );
    }
    for headers in
        [json!({ "a b": "c" }), json!({ "": "c" }), json!({ "a": "b\r\nhost: c" }), json!({ "a": 1 })]
    {
        let error = made(Method::GET, json!({ "path": "/x", "headers": headers })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{headers}");
    }
    for asked in [
        json!({}),
        json!({ "path": 7 }),
        json!({ "path": "/x", "body": 1 }),
        json!({ "path": "/x", "query": { "a": { "b": 1 } } }),
        json!({ "path": "/x", "accept_statuses": [200] }),
        json!({ "path": "/x", "accept_statuses": ["404"] }),
        json!({ "path": "/x", "url": "https://evil.example" }),
    ] {
        let error = made(Method::GET, asked.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{asked}");
    }
}

#[test]
fn answers_have_no_cookies_and_an_end() {
    let headers = [
        ("content-type", "application/json"),
        ("set-cookie", "session=canary"),
        ("x-ratelimit-remaining", "3"),
        ("ratelimit", "limit=1"),
        ("server", "x"),
        ("authorization", "canary"),
        ("link", "<a>; rel=next"),
    ];
    let mut told = response(201, &headers, json!({ "a": 1 }));
    told.headers.append("link", HeaderValue::from_static("<b>; rel=last"));
    let expected = json!({
        "status": 201,
        "headers": {
            "content-type": "application/json", "link": "<a>; rel=next, <b>; rel=last", "ratelimit": "limit=1",
            "x-ratelimit-remaining": "3",
        },
        "body": { "a": 1 },
    });
    let value = answered(&told).unwrap();
    assert_eq!(value, expected);
    let typed: Answered = serde_json::from_value(value).unwrap();
    assert_eq!((typed.status, typed.body), (201, json!({ "a": 1 })));
    let long = Response::new(http::StatusCode::OK, HeaderMap::new(), Bytes::from(vec![b'x'; LONGEST + 1]));
    assert_eq!(answered(&long).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn keys_go_into_the_header_that_is_set() {
    let key = |header: &str| {
        let mut request = made(Method::GET, json!({ "path": "/x", "headers": { "x-key": "mine" } })).unwrap();
        put_key(&mut request, header, "Token ", "canary").map(|()| request)
    };
    for header in ["x-key", "X-Key", "authorization"] {
        let request = key(header).unwrap();
        let value = &request.headers()[header];
        assert!(value.is_sensitive() && value == "Token canary");
        assert_eq!(request.headers().get_all(header).iter().count(), 1);
    }
    for header in ["host", "Cookie", "content-length", "a b", "", "transfer-encoding"] {
        let error = key(header).unwrap_err();
        assert!(
            error.is(ErrorKind::InvalidInput) && !format!("{error:?}").contains("canary"),
            "{header}: {error:?}"
        );
    }
}
