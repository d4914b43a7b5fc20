use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::{NOT_IN_DESCRIPTION, connector};
use crate::builtin::probe::{
    answer, answered, assert_failures, assert_known, assert_samples, header, request, response, sent,
};

#[test]
fn every_operation_has_a_sample_that_makes_a_request() {
    let connector = connector().unwrap();
    assert_samples(&connector, include_str!("../../../tests/inputs/sendgrid.json"));
    assert_known(&connector, NOT_IN_DESCRIPTION);
}

#[test]
fn requests_are_as_sendgrid_documents_them() {
    let sendgrid = connector().unwrap();
    let input = json!({
        "personalizations": [{ "to": [{ "email": "ada@example.com" }] }], "from": { "email": "r@example.com" },
        "subject": "s", "content": [{ "type": "text/plain", "value": "ü" }], "template_id": null,
    });
    let made = request(&sendgrid, "mail.send", input.clone()).unwrap();
    assert_eq!(header(&made, "authorization"), "Bearer TOKEN");
    assert_eq!(header(&made, "content-type"), "application/json");
    let (line, body) = sent(&sendgrid, "mail.send", input.clone());
    assert_eq!(line, "POST https://api.sendgrid.com/v3/mail/send");
    let mut expected = input;
    expected.as_object_mut().unwrap().remove("template_id");
    assert_eq!(body, expected);
    assert!(!sendgrid.operation("mail.send").unwrap().spec.repeatable());

    for (operation, input, expected) in [
        (
            "bounces.list",
            json!({ "email": "ada%", "page": "500" }),
            "GET https://api.sendgrid.com/v3/suppression/bounces?email=ada%25&offset=500",
        ),
        (
            "bounces.delete",
            json!({ "email": "a/b+c@example.com" }),
            "DELETE https://api.sendgrid.com/v3/suppression/bounces/a%2Fb%2Bc%40example.com",
        ),
        (
            "templates.list",
            json!({ "generations": ["legacy", "dynamic"], "page_size": 2 }),
            "GET https://api.sendgrid.com/v3/templates?generations=legacy%2Cdynamic&page_size=2",
        ),
        (
            "templates.list",
            json!({ "page_size": 2, "page": "page_size=2&page_token=t%3D" }),
            "GET https://api.sendgrid.com/v3/templates?page_size=2&page_token=t%3D",
        ),
        (
            "stats.categories",
            json!({ "start_date": "2025-11-01", "categories": ["a", "b"] }),
            "GET https://api.sendgrid.com/v3/categories/stats?categories=a&categories=b&start_date=2025-11-01",
        ),
    ] {
        assert_eq!(sent(&sendgrid, operation, input).0, expected);
    }
}

#[test]
fn inputs_that_are_wrong_are_refused_by_their_field() {
    let sendgrid = connector().unwrap();
    let from = json!({ "email": "r@example.com" });
    for (operation, input, named) in [
        ("mail.send", json!({ "from": from }), "personalizations"),
        ("mail.send", json!({ "from": from, "personalizations": [] }), "personalizations"),
        ("mail.send", json!({ "from": from, "personalizations": [{ "to": [] }] }), "personalizations/0/to"),
        ("mail.send", json!({ "from": from, "personalizations": [{ "to": [{ "mail": "x" }] }] }), "mail"),
        ("mail.send", json!({ "from": "r@example.com", "personalizations": [{ "to": [from] }] }), "from"),
        ("templates.list", json!({}), "page_size"),
        ("stats.get", json!({ "start_date": "2025-11-01", "aggregated_by": "year" }), "aggregated_by"),
        ("bounces.delete", json!({ "email": "" }), "email"),
    ] {
        let error = request(&sendgrid, operation, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operation}");
        assert!(error.message().contains(named), "{operation}: {error:?}");
    }
}

/// Bodies in the form of the examples of SendGrid's reference.
#[test]
fn answers_are_read_and_lists_go_on() {
    let sendgrid = connector().unwrap();
    let taken = response(202, &[("x-message-id", "14c5d75ce93.dfd.64b469")], "");
    assert_eq!(
        answer(&sendgrid, "mail.send", &taken).unwrap(),
        json!({ "message_id": "14c5d75ce93.dfd.64b469" })
    );
    let checked = answer(&sendgrid, "mail.send", &response(200, &[], "")).unwrap();
    assert_eq!(checked, json!({ "message_id": null }));
    assert_eq!(answer(&sendgrid, "bounces.delete", &response(204, &[], "")).unwrap(), Value::Null);

    let bounce = json!({ "created": 1250337600, "email": "example@example.com", "reason": "550 5.1.1", "status": "5.1.1" });
    let page = answered(&sendgrid, "bounces.list", json!([bounce, bounce]));
    assert_eq!((&page["next"], &page["items"][0]["status"]), (&json!("2"), &json!("5.1.1")));
    assert_eq!(answered(&sendgrid, "spam_reports.list", json!([])), json!({ "items": [], "next": null }));

    let template = json!({ "id": "d-1", "name": "n", "generation": "dynamic", "updated_at": "2020-11-12 12:00:09",
        "versions": [{ "id": "v", "template_id": "d-1", "active": 1, "name": "v1", "thumbnail_url": "//x" }] });
    let next = "https://api.sendgrid.com/v3/templates?page_size=1&page_token=x";
    let page = answered(
        &sendgrid,
        "templates.list",
        json!({ "result": [template], "_metadata": { "self": "https://api.sendgrid.com/v3/templates", "next": next } }),
    );
    assert_eq!(page["next"], "page_size=1&page_token=x");
    assert_eq!(page["items"][0]["versions"][0]["active"], 1);

    let senders = json!({ "results": [{ "id": 1234, "nickname": "Orders", "from_email": "o@example.com", "verified": true }] });
    assert_eq!(answered(&sendgrid, "senders.list", senders)["next"], "1234");
    assert_eq!(answered(&sendgrid, "senders.list", json!({ "results": [] }))["next"], Value::Null);

    let stats = json!([{ "date": "2015-11-03", "stats": [{ "metrics": { "delivered": 7, "opens": 3, "new_one": 1 } }] }]);
    let page = answered(&sendgrid, "stats.get", stats);
    assert_eq!(page["items"][0]["stats"][0]["metrics"]["delivered"], 7);
    assert_eq!(page["items"][0]["stats"][0]["metrics"]["bounces"], 0);
}

#[test]
fn failures_are_what_sendgrid_says_they_are() {
    let error = |message: &str, field: Value| json!({ "errors": [{ "message": message, "field": field, "help": null }] });
    assert_failures(
        &connector().unwrap(),
        &[
            (
                400,
                &[],
                error("The to array is required.", json!("personalizations.0.to")),
                "invalid",
                None,
                "The to array is required. (field: personalizations.0.to)",
            ),
            (
                401,
                &[],
                error("The provided authorization grant is invalid, expired, or revoked", Value::Null),
                "credentials",
                None,
                "revoked",
            ),
            (
                401,
                &[],
                error("Maximum credits exceeded", Value::Null),
                "forbidden",
                None,
                "Maximum credits exceeded",
            ),
            (
                403,
                &[],
                error("The from address does not match a verified Sender Identity.", json!("from")),
                "forbidden",
                None,
                "(field: from)",
            ),
            (404, &[], error("Resource not found", Value::Null), "not_found", None, "Resource not found"),
            (
                413,
                &[],
                error("The JSON payload you have included in your request is too large.", Value::Null),
                "too_large",
                None,
                "too large",
            ),
            // The clock of the tests is at 1700000000.
            (
                429,
                &[("x-ratelimit-reset", "1700000030")],
                error("too many requests", Value::Null),
                "rate_limited",
                Some(30),
                "",
            ),
            (
                429,
                &[("x-ratelimit-reset", "1699999990")],
                error("too many requests", Value::Null),
                "rate_limited",
                Some(0),
                "",
            ),
            (
                429,
                &[("x-ratelimit-reset", "1700000030"), ("retry-after", "2")],
                json!({ "errors": [] }),
                "rate_limited",
                Some(2),
                "",
            ),
            (
                500,
                &[],
                json!({ "errors": [{ "message": "internal error" }] }),
                "failed",
                None,
                "internal error",
            ),
            (503, &[], json!("busy"), "unavailable", None, ""),
        ],
    );
}
