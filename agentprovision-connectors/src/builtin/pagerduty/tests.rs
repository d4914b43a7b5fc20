use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::{NOT_IN_DESCRIPTION, connector, events};
use crate::builtin::probe::{
    answer, answered, assert_failures, assert_known, assert_samples, header, request, response, sent,
};
use crate::operation::Idempotency;

#[test]
fn every_operation_has_a_sample_that_makes_a_request() {
    let connector = connector().unwrap();
    assert_samples(&connector, include_str!("../../../tests/inputs/pagerduty.json"));
    assert_known(&connector, NOT_IN_DESCRIPTION);
    let events = events::connector().unwrap();
    assert_samples(&events, include_str!("../../../tests/inputs/pagerduty-events.json"));
}

#[test]
fn flat_inputs_become_what_pagerduty_takes() {
    let pagerduty = connector().unwrap();
    let input = json!({
        "from": "ada@example.com", "title": "On fire", "service_id": "P1", "details": "A disk is full.",
        "assignee_ids": ["U1", "U2"], "urgency": null,
    });
    let made = request(&pagerduty, "incidents.create", input.clone()).unwrap();
    assert_eq!(header(&made, "from"), "ada@example.com");
    assert_eq!(header(&made, "authorization"), "Token token=KEY");
    assert_eq!(header(&made, "accept"), "application/vnd.pagerduty+json;version=2");
    assert_eq!(header(&made, "content-type"), "application/json");
    let (line, body) = sent(&pagerduty, "incidents.create", input);
    assert_eq!(line, "POST https://api.pagerduty.com/incidents");
    let incident = json!({
        "type": "incident",
        "title": "On fire",
        "service": { "id": "P1", "type": "service_reference" },
        "body": { "type": "incident_body", "details": "A disk is full." },
        "assignments": [
            { "assignee": { "id": "U1", "type": "user_reference" } },
            { "assignee": { "id": "U2", "type": "user_reference" } },
        ],
    });
    assert_eq!(body, json!({ "incident": incident }));

    let (line, body) = sent(&pagerduty, "incidents.resolve", json!({ "from": "a@b.example", "id": "P/1" }));
    assert_eq!(line, "PUT https://api.pagerduty.com/incidents/P%2F1");
    assert_eq!(body, json!({ "incident": { "type": "incident_reference", "status": "resolved" } }));

    let input = json!({ "from": "a@b.example", "id": "P1", "source_incident_ids": ["P2"] });
    let (line, body) = sent(&pagerduty, "incidents.merge", input);
    assert_eq!(line, "PUT https://api.pagerduty.com/incidents/P1/merge");
    assert_eq!(body, json!({ "source_incidents": [{ "id": "P2", "type": "incident_reference" }] }));

    // What is nothing to an expression has to arrive all the same.
    let (_, body) = sent(&pagerduty, "services.update", json!({ "id": "P1", "auto_resolve_timeout": 0 }));
    assert_eq!(body, json!({ "service": { "type": "service", "auto_resolve_timeout": 0 } }));

    let (line, _) = sent(
        &pagerduty,
        "incidents.list",
        json!({ "statuses": ["triggered", "acknowledged"], "page": "25", "limit": 25 }),
    );
    assert_eq!(
        line,
        "GET https://api.pagerduty.com/incidents?limit=25&statuses%5B%5D=triggered&statuses%5B%5D=acknowledged&offset=25"
    );
}

#[test]
fn events_have_the_key_in_their_body() {
    let events = events::connector().unwrap();
    let (line, body) = sent(&events, "alerts.resolve", json!({ "dedup_key": "d1" }));
    assert_eq!(line, "POST https://events.pagerduty.com/v2/enqueue");
    assert_eq!(body, json!({ "event_action": "resolve", "dedup_key": "d1", "routing_key": "KEY" }));
    let input = json!({
        "summary": "s", "source": "h", "severity": "critical", "dedup_key": "d1", "custom_details": { "n": 1, "none": null },
        "links": [{ "href": "https://x.example" }],
    });
    let (_, body) = sent(&events, "alerts.trigger", input);
    let expected = json!({
        "event_action": "trigger", "dedup_key": "d1", "routing_key": "KEY", "links": [{ "href": "https://x.example" }],
        "payload": { "summary": "s", "source": "h", "severity": "critical", "custom_details": { "n": 1 } },
    });
    assert_eq!(body, expected);
    let (line, body) = sent(&events, "changes.send", json!({ "summary": "Deployed" }));
    assert_eq!(line, "POST https://events.pagerduty.com/v2/change/enqueue");
    assert_eq!(body, json!({ "payload": { "summary": "Deployed" }, "routing_key": "KEY" }));
    for spec in events.operations() {
        assert_eq!(spec.idempotency == Idempotency::Natural, spec.name != "changes.send", "{}", spec.name);
    }
    let taken = json!({ "status": "success", "message": "Event processed", "dedup_key": "d1" });
    let read = answer(&events, "alerts.trigger", &response(202, &[], &taken)).unwrap();
    assert_eq!(read, taken);
}

#[test]
fn inputs_that_are_wrong_are_refused_by_their_field() {
    let pagerduty = connector().unwrap();
    for (operation, input, named) in [
        ("incidents.create", json!({ "title": "t", "service_id": "P1" }), "from"),
        ("incidents.create", json!({ "from": "a\nb", "title": "t", "service_id": "P1" }), "from"),
        ("incidents.update", json!({ "from": "a", "id": "P1", "status": "closed" }), "status"),
        ("incidents.snooze", json!({ "from": "a", "id": "P1", "duration": 0 }), "duration"),
        (
            "incidents.merge",
            json!({ "from": "a", "id": "P1", "source_incident_ids": [] }),
            "source_incident_ids",
        ),
        ("incidents.get", json!({ "id": "" }), "id"),
        ("incidents.list", json!({ "page": "next" }), "page"),
    ] {
        let error = request(&pagerduty, operation, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operation}");
        assert!(error.message().contains(named), "{operation}: {error:?}");
    }
}

/// Bodies in the form of the examples of PagerDuty's reference.
#[test]
fn answers_come_out_of_their_wrapping() {
    let pagerduty = connector().unwrap();
    let service = json!({
        "id": "PIJ90N7", "type": "service_reference", "summary": "My Mail Service", "self": "https://api.pagerduty.com/x",
        "html_url": "https://subdomain.pagerduty.com/x",
    });
    let incident = json!({
        "id": "PT4KHLK", "type": "incident", "summary": "[#1234] On fire", "incident_number": 1234, "title": "On fire",
        "created_at": "2015-10-06T21:30:42Z", "status": "resolved", "urgency": "high", "service": service,
        "assignments": [{ "at": "2015-11-10T00:31:52Z", "assignee": { "id": "PXPGF42", "type": "user_reference",
            "summary": "Earline" } }],
        "alert_counts": { "all": 2, "triggered": 0, "resolved": 2 }, "priority": null, "resolve_reason": null,
    });
    let list =
        json!({ "incidents": [incident.clone()], "limit": 1, "offset": 0, "more": true, "total": null });
    let page = answered(&pagerduty, "incidents.list", list);
    assert_eq!((&page["next"], &page["items"][0]["incident_number"]), (&json!("1"), &json!(1234)));
    let got = answered(&pagerduty, "incidents.get", json!({ "incident": incident }));
    assert_eq!(got, page["items"][0]);
    assert_eq!(got["assignments"][0]["assignee"]["summary"], "Earline");
    assert_eq!(got["service"].get("self"), None);

    let notes = json!({ "notes": [{ "id": "N1", "content": "c", "created_at": "2013-03-06T15:28:51-05:00",
        "user": { "id": "U1", "type": "bot_user_reference", "summary": "A rule" } }] });
    let page = answered(&pagerduty, "incidents.notes", notes);
    assert_eq!((&page["items"][0]["content"], &page["next"]), (&json!("c"), &Value::Null));
    let calls = json!({ "oncalls": [{ "user": null, "schedule": null, "escalation_policy": { "id": "E1" },
        "escalation_level": 2, "start": null, "end": null }], "limit": 25, "offset": 0, "more": false });
    let page = answered(&pagerduty, "oncalls.list", calls);
    assert_eq!((&page["items"][0]["escalation_level"], &page["next"]), (&json!(2), &Value::Null));
    // What is not wrapped is not what was asked for.
    let wrong = answer(&pagerduty, "users.me", &response(200, &[], json!({ "id": "U1" }))).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::ProviderError);
}

#[test]
fn failures_are_what_pagerduty_says_they_are() {
    let error = |code: u64, message: &str, errors: Value| json!({ "error": { "code": code, "message": message, "errors": errors } });
    assert_failures(
        &connector().unwrap(),
        &[
            (
                400,
                &[],
                error(2001, "Invalid Input Provided", json!(["Title cannot be blank.", "No service."])),
                "invalid",
                None,
                "Invalid Input Provided: Title cannot be blank.; No service.",
            ),
            (
                400,
                &[],
                error(1001, "Incident Already Resolved", json!([])),
                "conflict",
                None,
                "Incident Already Resolved",
            ),
            (401, &[], json!({ "error": "unauthorized" }), "credentials", None, ""),
            (402, &[], error(2014, "Account Lacks Ability", json!([])), "forbidden", None, "Lacks"),
            (403, &[], error(2010, "Access Denied", json!([])), "forbidden", None, "Access Denied"),
            (404, &[], error(2100, "Not Found", json!([])), "not_found", None, "Not Found"),
            (
                409,
                &[],
                error(2002, "Conflict", json!(["Open incident with matching dedup key already exists"])),
                "conflict",
                None,
                "already exists",
            ),
            (
                429,
                &[("ratelimit-reset", "42")],
                error(2020, "Rate Limit Exceeded", json!([])),
                "rate_limited",
                Some(42),
                "",
            ),
            (
                429,
                &[("ratelimit-reset", "42"), ("retry-after", "5")],
                error(2020, "Rate Limit Exceeded", json!([])),
                "rate_limited",
                Some(5),
                "",
            ),
            (429, &[], json!(""), "rate_limited", None, ""),
            (500, &[], error(2000, "Internal Error", json!([])), "failed", None, "Internal Error"),
            (503, &[], json!("<html>"), "unavailable", None, ""),
        ],
    );
    let bad = |errors: Value| json!({ "status": "invalid event", "message": "Event object is invalid", "errors": errors });
    assert_failures(
        &events::connector().unwrap(),
        &[
            (
                400,
                &[],
                bad(json!(["'payload.severity' is invalid (must be one of: …)"])),
                "invalid",
                None,
                "payload.severity",
            ),
            (
                400,
                &[],
                bad(json!(["Length of 'routing_key' is incorrect (should be 32 characters)"])),
                "credentials",
                None,
                "routing_key",
            ),
            (
                429,
                &[],
                json!({ "status": "throttle exceeded", "message": "Requests are arriving too quickly." }),
                "rate_limited",
                None,
                "too quickly",
            ),
        ],
    );
}
