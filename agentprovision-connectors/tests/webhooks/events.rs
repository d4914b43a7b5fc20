//! What events are made of.

use std::collections::BTreeMap;

use agentprovision_connectors::webhook::event::GenericSource;
use agentprovision_connectors::webhook::{EventBody, Vendor, Version, WebhookEvent, events};
use agentprovision_core::ErrorKind;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{NOW, headers};

fn read(vendor: Vendor, pairs: &[(&str, &str)], body: &Value) -> WebhookEvent {
    WebhookEvent::read(vendor, &headers(pairs), Bytes::from(body.to_string())).unwrap()
}

#[test]
fn repeats_are_told_by_the_id_the_vendor_repeats() {
    let digest = |body: &Value| {
        let hash = agentprovision_core::canonical::sha256(&[body.to_string().as_bytes()]);
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let github = json!({ "zen": "x" });
    let event = read(Vendor::Github, &[("x-github-event", "ping"), ("x-github-delivery", "d-1")], &github);
    assert_eq!((event.delivery_id.as_str(), event.kind.as_str()), ("d-1", "ping"));
    assert_eq!(event.digest, digest(&github));

    let slack = json!({ "type": "event_callback", "event_id": "Ev1", "event_time": 1, "event": { "type": "message", "ts": "1.2" } });
    assert_eq!(read(Vendor::Slack, &[], &slack).delivery_id, "Ev1");

    let gitlab = json!({ "object_kind": "push", "ref": "x" });
    let uuid = ("x-gitlab-event-uuid", "u-1");
    let event = read(Vendor::Gitlab, &[uuid, ("idempotency-key", "i-1")], &gitlab);
    assert_eq!(event.delivery_id, "i-1");
    // A UUID is shared by webhooks that set each other off.
    assert_eq!(read(Vendor::Gitlab, &[uuid], &gitlab).delivery_id, format!("u-1.{}", digest(&gitlab)));

    let jira = json!({ "webhookEvent": "jira:issue_updated" });
    let event = read(Vendor::Jira, &[("x-atlassian-webhook-identifier", "j-1")], &jira);
    assert_eq!(event.delivery_id, "j-1");
    assert_eq!(read(Vendor::Jira, &[], &jira).delivery_id, format!("sha256:{}", digest(&jira)));

    let pagerduty = json!({ "event": { "id": "01B", "event_type": "incident.triggered", "data": { "id": "P", "type": "incident" } } });
    assert_eq!(read(Vendor::Pagerduty, &[], &pagerduty).delivery_id, "01B");

    let stripe = json!({ "id": "evt_1", "type": "invoice.paid", "data": { "object": {} } });
    assert_eq!(read(Vendor::Stripe, &[], &stripe).delivery_id, "evt_1");

    let standard = json!({ "type": "user.created", "data": {} });
    for name in ["webhook-id", "svix-id"] {
        let event = read(Vendor::Standard, &[(name, "msg_1")], &standard);
        assert_eq!((event.delivery_id.as_str(), event.kind.as_str()), ("msg_1", "user.created"));
    }

    let azure = json!({ "id": "a-1", "eventType": "git.push" });
    assert_eq!(read(Vendor::AzureDevops, &[], &azure).delivery_id, "a-1");
}

#[test]
fn a_notification_is_told_by_what_its_alerts_are_in() {
    let alert = |name: &str, status: &str, starts: &str| json!({ "fingerprint": name, "status": status, "startsAt": starts, "endsAt": "0001-01-01T00:00:00Z" });
    let notification = |status: &str, alerts: &[Value]| {
        let body = json!({ "version": "4", "groupKey": "{}:{}", "status": status, "alerts": alerts });
        read(Vendor::Alertmanager, &[], &body)
    };
    let (a, b) = (alert("a", "firing", "2026-01-01T00:00:00Z"), alert("b", "firing", "2026-01-01T00:00:00Z"));
    let first = notification("firing", &[a.clone(), b.clone()]);
    assert_eq!(first.kind, "alert.firing");
    assert_eq!(
        notification("firing", &[b.clone(), a.clone()]).delivery_id,
        first.delivery_id,
        "order says nothing"
    );
    let others = [
        notification("firing", std::slice::from_ref(&a)),
        notification("resolved", &[a.clone(), b.clone()]),
        notification("firing", &[a.clone(), alert("b", "resolved", "2026-01-01T00:00:00Z")]),
        notification("firing", &[a, alert("b", "firing", "2026-01-02T00:00:00Z")]),
    ];
    let mut ids: Vec<&str> = others.iter().map(|event| event.delivery_id.as_str()).collect();
    ids.push(&first.delivery_id);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

/// Applies events in an order, as somebody who keeps the state of things does.
fn applied<'a>(events: impl Iterator<Item = &'a WebhookEvent>) -> BTreeMap<String, (Version, String)> {
    let mut state: BTreeMap<String, (Version, String)> = BTreeMap::new();
    for event in events {
        let ordering = event.ordering.clone().unwrap();
        let newer = state.get(&ordering.key).is_none_or(|(seen, _)| ordering.version > *seen);
        if newer {
            state.insert(ordering.key, (ordering.version, format!("{} {}", event.kind, event.digest)));
        }
    }
    state
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(count - 1) {
        for place in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
fn pitfall_25_every_order_of_arrival_ends_in_one_state() {
    let github = |action: &str, updated: &str| {
        let body = json!({ "action": action, "issue": { "id": 1, "number": 1, "updated_at": updated } });
        read(Vendor::Github, &[("x-github-event", "issues")], &body)
    };
    let jira = |kind: &str, updated: &str, at: i64| {
        let issue = json!({ "id": "1", "key": "A-1", "fields": { "updated": updated } });
        read(Vendor::Jira, &[], &json!({ "webhookEvent": kind, "timestamp": at, "issue": issue }))
    };
    let slack = |event: Value, time: &str| {
        let mut event = event;
        event["channel"] = "C1".into();
        event["event_ts"] = time.into();
        read(Vendor::Slack, &[], &json!({ "type": "event_callback", "event_id": time, "event": event }))
    };
    let stripe = |kind: &str, created: i64| {
        let object = json!({ "id": "sub_1", "object": "subscription" });
        read(
            Vendor::Stripe,
            &[],
            &json!({ "id": kind, "type": kind, "created": created, "data": { "object": object } }),
        )
    };
    let pagerduty = |kind: &str, at: &str| {
        let data = json!({ "id": "P1", "type": "incident" });
        let event = json!({ "id": kind, "event_type": kind, "occurred_at": at, "data": data });
        read(Vendor::Pagerduty, &[], &json!({ "event": event }))
    };
    let gitlab = |status: &str, started: Option<&str>, finished: Option<&str>| {
        let body = json!({ "object_kind": "build", "build_id": 1, "build_status": status, "build_started_at": started,
            "build_finished_at": finished });
        read(Vendor::Gitlab, &[], &body)
    };
    let start = Some("2026-01-01 10:00:00 UTC");
    for (last, events) in [
        (
            // Created and changed in one second, and a deletion that carries the time of the last change.
            "issues.deleted",
            vec![
                github("opened", "2026-01-01T10:00:00Z"),
                github("labeled", "2026-01-01T10:00:00Z"),
                github("edited", "2026-01-01T10:00:05Z"),
                github("deleted", "2026-01-01T10:00:05Z"),
            ],
        ),
        (
            "jira:issue_deleted",
            vec![
                jira("jira:issue_created", "2026-01-01T11:00:00.000+0100", 1_767_261_600_000),
                jira("jira:issue_updated", "2026-01-01T12:00:00.000+0100", 1_767_265_200_000),
                jira("jira:issue_updated", "2026-01-01T12:00:00.000+0100", 1_767_265_300_000),
                jira("jira:issue_deleted", "2026-01-01T12:00:00.000+0100", 1_767_265_400_000),
            ],
        ),
        (
            // The last is a comment, which leaves the time of the issue alone.
            "jira:issue_updated",
            vec![
                jira("jira:issue_created", "2026-01-01T11:00:00.000+0100", 1_767_261_600_000),
                jira("jira:issue_updated", "2026-01-01T12:00:00.000+0100", 1_767_265_200_000),
                jira("jira:issue_updated", "2026-01-01T12:00:00.000+0100", 1_767_265_300_000),
            ],
        ),
        (
            "message.message_deleted",
            vec![
                slack(json!({ "type": "message", "ts": "1760000000.000100" }), "1760000000.000100"),
                slack(
                    json!({ "type": "message", "subtype": "message_changed", "message": { "ts": "1760000000.000100" } }),
                    "1760000009.000100",
                ),
                slack(
                    json!({ "type": "message", "subtype": "message_deleted", "deleted_ts": "1760000000.000100" }),
                    "1760000009.000200",
                ),
            ],
        ),
        (
            "customer.subscription.deleted",
            vec![
                stripe("customer.subscription.created", 100),
                stripe("customer.subscription.updated", 100),
                stripe("customer.subscription.deleted", 100),
            ],
        ),
        (
            "incident.resolved",
            vec![
                pagerduty("incident.triggered", "2026-01-01T10:00:00Z"),
                pagerduty("incident.acknowledged", "2026-01-01T10:00:00Z"),
                pagerduty("incident.resolved", "2026-01-01T10:00:00Z"),
            ],
        ),
        (
            "build.success",
            vec![
                gitlab("created", None, None),
                gitlab("pending", None, None),
                gitlab("running", start, None),
                gitlab("success", start, Some("2026-01-01 10:00:00 UTC")),
            ],
        ),
    ] {
        let expected = applied(events.iter());
        assert_eq!(expected.len(), 1, "{last}: all is about one thing");
        assert_eq!(expected.values().next().unwrap().1.split(' ').next(), Some(last));
        for order in permutations(events.len()) {
            assert_eq!(applied(order.iter().map(|place| &events[*place])), expected, "{last} {order:?}");
        }
    }
    // A branch can come again after its end.
    let push = |deleted: bool, at: i64| {
        let body = json!({ "ref": "refs/heads/x", "before": "0", "after": "1", "deleted": deleted,
            "repository": { "id": 1, "full_name": "a/b", "pushed_at": at } });
        read(Vendor::Github, &[("x-github-event", "push")], &body).ordering.unwrap()
    };
    assert!(push(true, 100).version < push(false, 101).version);
    assert!(push(false, 100).version < push(true, 100).version);
}

#[test]
fn slack_asks_for_its_challenge_and_sends_forms() {
    let body = json!({ "token": "x", "type": "url_verification", "challenge": "3eZbrw1a" });
    let event = read(Vendor::Slack, &[], &body);
    assert_eq!((event.kind.as_str(), event.challenge()), ("url_verification", Some("3eZbrw1a")));

    let form =
        "token=t&team_id=T1&channel_id=C1&user_id=U1&command=%2Fask&text=who+is+%26+why&trigger_id=1.2.3";
    let event = WebhookEvent::read(Vendor::Slack, &HeaderMap::new(), Bytes::from(form)).unwrap();
    assert_eq!((event.kind.as_str(), event.delivery_id.as_str()), ("slash_command", "1.2.3"));
    assert_eq!(event.account.as_deref(), Some("T1"));
    assert_eq!(event.attributes["command"], "/ask");
    let EventBody::Slack(events::slack::Body::Command(form)) = &event.body else {
        panic!("{:?}", event.body)
    };
    assert_eq!(form.get("text"), Some("who is & why"));

    let payload = r#"{"type":"block_actions","trigger_id":"9","team":{"id":"T1"},"user":{"id":"U1"},"actions":[{"action_id":"go","n":1e2}]}"#;
    let form: String =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish();
    let event = WebhookEvent::read(Vendor::Slack, &HeaderMap::new(), Bytes::from(form)).unwrap();
    assert_eq!((event.kind.as_str(), event.delivery_id.as_str()), ("interaction.block_actions", "9"));
    assert_eq!(event.attributes["action"], "go");
    assert_eq!(event.body.to_json().unwrap().as_str(), payload);
}

#[test]
fn a_body_that_is_none_is_refused_and_one_of_another_shape_is_kept() {
    for vendor in Vendor::ALL.iter().copied().filter(|vendor| *vendor != Vendor::Generic) {
        let given = headers(&[("x-github-event", "issues")]);
        for body in ["", "nothing", "[]", "\"x\"", "{", "null"] {
            let error = WebhookEvent::read(vendor, &given, Bytes::from(body)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{vendor} {body}");
        }
    }
    let error = WebhookEvent::read(Vendor::Github, &HeaderMap::new(), Bytes::from("{}")).unwrap_err();
    assert!(error.message().contains("x-github-event"), "{error}");

    // Things that an issue needs are missing or wrong: it is what all bodies of the vendor are, and nothing is lost.
    let body = r#"{"action":"opened","issue":{"id":"1e2","n":1e2},"sender":{"id":1,"login":"a"}}"#;
    let given = headers(&[("x-github-event", "issues")]);
    let event = WebhookEvent::read(Vendor::Github, &given, Bytes::from(body)).unwrap();
    assert!(!event.body.is_typed() && matches!(event.body, EventBody::Github(_)));
    assert_eq!(event.kind, "issues.opened");
    let written: BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(event.body.to_json().unwrap().as_str()).unwrap();
    assert_eq!(written["issue"].get(), r#"{"id":"1e2","n":1e2}"#);
    assert_eq!(event.raw(), body.as_bytes());

    // GitHub can send its JSON in a form.
    let form: String =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", body).finish();
    let event = WebhookEvent::read(Vendor::Github, &given, Bytes::from(form)).unwrap();
    assert_eq!(event.kind, "issues.opened");
}

#[test]
fn other_senders_are_read_as_they_are_described() {
    let source: GenericSource = serde_json::from_value(json!({
        "id_header": "x-acme-id", "kind": "/type", "subject": "/thing/a~1b", "time": "/at",
        "attributes": { "size": "/thing/sizes/1" },
    }))
    .unwrap();
    let body = r#"{"type":"thing.made","at":1760000000,"thing":{"a/b":"x","sizes":[1,2.50]}}"#;
    let given = headers(&[("x-acme-id", "7")]);
    let event = WebhookEvent::read_as(&source, &given, Bytes::from(body)).unwrap();
    assert_eq!((event.kind.as_str(), event.delivery_id.as_str()), ("thing.made", "7"));
    assert_eq!((event.subject.as_deref(), event.at), (Some("x"), Some(NOW)));
    assert_eq!(event.attributes["size"], "2.50");
    assert_eq!(event.ordering.unwrap().version, Version::at(NOW));
    assert_eq!(event.body.to_json().unwrap().as_str(), body);

    let missing = WebhookEvent::read_as(&source, &HeaderMap::new(), Bytes::from(body)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidInput);
    let event =
        WebhookEvent::read(Vendor::Generic, &HeaderMap::new(), Bytes::from_static(b"\xff\x00")).unwrap();
    assert_eq!((event.kind.as_str(), &event.body), ("delivery", &EventBody::Opaque));
    assert!(event.delivery_id.starts_with("sha256:"));
}
