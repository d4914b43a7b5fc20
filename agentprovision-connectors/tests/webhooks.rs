//! Webhooks in, from outside: signatures, what events are made of, and the bodies of the conformance data.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[allow(dead_code, reason = "its `main` is for the terminal")]
#[path = "../examples/webhooks.rs"]
mod example;

use std::collections::BTreeMap;
use std::path::Path;

use agentprovision_connectors::webhook::event::GenericSource;
use agentprovision_connectors::webhook::{
    Algorithm, Encoding, EventBody, HmacScheme, Scheme, Secrets, TimestampPlace, Vendor, Verifier, Version,
    WebhookEvent, events,
};
use agentprovision_core::clock::SystemClock;
use agentprovision_core::{Clock as _, Error, ErrorKind, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);
const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + seconds * 1_000_000)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn own() -> HmacScheme {
    HmacScheme {
        prefix: "hmac ".to_owned(),
        algorithm: Algorithm::Sha512,
        encoding: Encoding::Base64,
        timestamp: Some(TimestampPlace::Header("x-acme-time".to_owned())),
        id_header: Some("x-acme-id".to_owned()),
        signed: "{id}|{timestamp}|{body}".to_owned(),
        tolerance_s: 60,
        ..HmacScheme::new("x-acme-signature")
    }
}

/// Every scheme, with secrets for it.
fn schemes() -> Vec<(Scheme, &'static str, &'static str)> {
    let text = ("a current secret", "a previous secret");
    let standard = (STANDARD, STANDARD_OLD);
    [
        (Scheme::Github, text),
        (Scheme::Slack, text),
        (Scheme::GitlabToken, text),
        (Scheme::GitlabSigned, standard),
        (Scheme::Jira, text),
        (Scheme::Pagerduty, text),
        (Scheme::Stripe, text),
        (Scheme::StandardWebhooks, standard),
        (Scheme::Bearer, text),
        (Scheme::Basic { user: "alerts".to_owned() }, text),
        (Scheme::Hmac(HmacScheme::new("x-acme-signature")), text),
        (Scheme::Hmac(own()), text),
    ]
    .into_iter()
    .map(|(scheme, (current, previous))| (scheme, current, previous))
    .collect()
}

fn kind(outcome: Result<(), Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Bodies that are other bytes once they were parsed and written again.
const BODIES: &[&str] = &[
    r#"{"escape":"\u001B"}"#,
    r#"{"emoji":"😀","escaped":"\ud83d\ude00"}"#,
    r#"{"number":1e2,"big":123456789012345678901234567890,"exact":0.10}"#,
    r#"{"twice":1,"twice":2}"#,
    "{\"line\":1}\n",
    "{ \"b\": 1,\t\"a\": \"\\/\" }",
    "",
    "not json \u{0}",
];

#[test]
fn the_bodies_of_the_conformance_data_are_events() {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        println!("skipped: AGENTPROVISION_CONFORMANCE is not set");
        return;
    };
    let report = example::check(&Path::new(&folder).join("webhooks")).unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(report.passed > 200, "{report:?}");
    for (vendor, [_, _, other]) in &report.bodies {
        assert_eq!(*other, 0, "{vendor} has bodies without a type");
    }
}

#[test]
fn each_scheme_signs_what_it_verifies_and_refuses_every_flipped_byte() {
    for (scheme, secret, _) in schemes() {
        let verifier = Verifier::new(scheme.clone(), Secrets::new(secret)).unwrap();
        let covers_body = !matches!(scheme, Scheme::GitlabToken | Scheme::Bearer | Scheme::Basic { .. });
        for body in BODIES {
            let body = body.as_bytes();
            let headers = verifier.sign(NOW, "msg_1", body).unwrap();
            verifier.verify(NOW, &headers, body).unwrap();
            for (place, bit) in (0..body.len()).flat_map(|place| [(place, 1), (place, 0x20), (place, 0x80)]) {
                let mut other = body.to_vec();
                other[place] ^= bit;
                let expected = covers_body.then_some(ErrorKind::Unauthenticated);
                assert_eq!(kind(verifier.verify(NOW, &headers, &other)), expected, "{scheme:?} {place}");
            }
            for (name, value) in &headers {
                for (place, bit) in
                    (0..value.len()).flat_map(|place| [(place, 1), (place, 0x20), (place, 0x80)])
                {
                    let mut bytes = value.as_bytes().to_vec();
                    bytes[place] ^= bit;
                    // Not all bytes can be sent, and names of authentication schemes have no case.
                    let Ok(changed) = http::HeaderValue::from_bytes(&bytes) else { continue };
                    if name == "authorization" && place < value.to_str().unwrap().find(' ').unwrap() {
                        continue;
                    }
                    let mut headers = headers.clone();
                    headers.insert(name, changed);
                    let refused = verifier.verify(NOW, &headers, body).map_err(|error| error.kind());
                    assert!(
                        matches!(refused, Err(ErrorKind::Unauthenticated | ErrorKind::InvalidInput)),
                        "{scheme:?} {name} {place} {bit}: {refused:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_signature_is_over_bytes_and_not_over_what_they_mean() {
    for (scheme, secret, _) in schemes() {
        if matches!(scheme, Scheme::GitlabToken | Scheme::Bearer | Scheme::Basic { .. }) {
            continue;
        }
        let verifier = Verifier::new(scheme, Secrets::new(secret)).unwrap();
        let mut written_again = 0;
        for body in BODIES {
            let Ok(parsed) = serde_json::from_str::<Value>(body) else { continue };
            let headers = verifier.sign(NOW, "msg_1", body.as_bytes()).unwrap();
            let again = parsed.to_string();
            assert_ne!(again, *body);
            let refused = kind(verifier.verify(NOW, &headers, again.as_bytes()));
            assert_eq!(refused, Some(ErrorKind::Unauthenticated), "{body}");
            written_again += 1;
        }
        assert_eq!(written_again, 6);
    }
}

#[test]
fn headers_that_are_missing_doubled_or_malformed_are_bad_input() {
    for (scheme, secret, _) in schemes() {
        let verifier = Verifier::new(scheme.clone(), Secrets::new(secret)).unwrap();
        let good = verifier.sign(NOW, "msg_1", b"{}").unwrap();
        for name in good.keys() {
            let mut less = good.clone();
            less.remove(name);
            assert_eq!(
                kind(verifier.verify(NOW, &less, b"{}")),
                Some(ErrorKind::InvalidInput),
                "{scheme:?} {name}"
            );
            let mut twice = good.clone();
            twice.append(name, good[name].clone());
            assert_eq!(
                kind(verifier.verify(NOW, &twice, b"{}")),
                Some(ErrorKind::InvalidInput),
                "{scheme:?} {name}"
            );
        }
    }
    let text = || Secrets::new("secret");
    let bad = [
        (Verifier::github(text()), vec![("x-hub-signature-256", "sha1=00")]),
        (Verifier::github(text()), vec![("x-hub-signature", "sha1=00")]),
        (Verifier::jira(text()), vec![("x-hub-signature", "sha1=00")]),
        (
            Verifier::slack(text()),
            vec![("x-slack-signature", "v0=00"), ("x-slack-request-timestamp", "soon")],
        ),
        (Verifier::slack(text()), vec![("x-slack-signature", "v0=00"), ("x-slack-request-timestamp", "-1")]),
        (Verifier::slack(text()), vec![("x-slack-signature", "v1=00"), ("x-slack-request-timestamp", "1")]),
        (Verifier::stripe(text()), vec![("stripe-signature", "v1=00")]),
        (Verifier::stripe(text()), vec![("stripe-signature", "t=1,t=2,v1=00")]),
        (Verifier::stripe(text()), vec![("stripe-signature", "t=1,v0=00")]),
        (Verifier::pagerduty(text()), vec![("x-pagerduty-signature", "v2=00")]),
        (Verifier::bearer(text()), vec![("authorization", "Basic c2VjcmV0")]),
        (Verifier::basic("", text()), vec![("authorization", "Basic ???")]),
    ];
    for (verifier, pairs) in bad {
        let verifier = verifier.unwrap();
        assert_eq!(
            kind(verifier.verify(NOW, &headers(&pairs), b"{}")),
            Some(ErrorKind::InvalidInput),
            "{pairs:?}"
        );
    }
    // The SHA-1 signature of GitHub beside a good one changes nothing.
    let github = Verifier::github(text()).unwrap();
    let mut both = github.sign(NOW, "", b"{}").unwrap();
    both.insert("x-hub-signature", "sha1=00".parse().unwrap());
    github.verify(NOW, &both, b"{}").unwrap();
}

#[test]
fn what_does_not_hold_has_one_message_and_what_is_too_old_says_so() {
    let mut messages = Vec::new();
    for (scheme, secret, other) in schemes() {
        let verifier = Verifier::new(scheme.clone(), Secrets::new(secret)).unwrap();
        let stranger = Verifier::new(scheme.clone(), Secrets::new(other)).unwrap();
        let forged = stranger.sign(NOW, "msg_1", b"{}").unwrap();
        let error = verifier.verify(NOW, &forged, b"{}").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.context().is_empty());
        messages.push(error.message().to_owned());

        let (limit, aged) = match &scheme {
            Scheme::Slack | Scheme::Stripe | Scheme::StandardWebhooks | Scheme::GitlabSigned => (300, true),
            Scheme::Hmac(own) if own.timestamp.is_some() => (60, true),
            _ => (300, false),
        };
        let sent = verifier.sign(NOW, "msg_1", b"{}").unwrap();
        for offset in [limit - 1, 1 - limit, limit, -limit] {
            verifier.verify(after(offset), &sent, b"{}").unwrap();
        }
        for offset in [limit + 1, -limit - 1, 86_400, -86_400] {
            let outcome = verifier.verify(after(offset), &sent, b"{}");
            if aged {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{scheme:?}");
                assert_eq!(error.context(), [("reason", "timestamp".to_owned())]);
            } else {
                outcome.unwrap();
            }
        }
        // A forger is not told that the time is wrong too.
        assert!(verifier.verify(after(86_400), &forged, b"{}").unwrap_err().context().is_empty());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[test]
fn two_secrets_hold_until_the_older_one_ends() {
    let end = after(100);
    for (scheme, new, old) in schemes() {
        let rotating = Verifier::new(scheme.clone(), Secrets::new(new).with_previous(old, end)).unwrap();
        let before = Verifier::new(scheme.clone(), Secrets::new(old)).unwrap();
        let since = Verifier::new(scheme.clone(), Secrets::new(new)).unwrap();
        for (at, old_holds) in [(after(0), true), (after(99), true), (end, false), (after(101), false)] {
            rotating.verify(at, &since.sign(at, "msg_1", b"{}").unwrap(), b"{}").unwrap();
            let by_old = kind(rotating.verify(at, &before.sign(at, "msg_1", b"{}").unwrap(), b"{}"));
            assert_eq!(by_old, (!old_holds).then_some(ErrorKind::Unauthenticated), "{scheme:?} at {at}");
            // What it sends the new secret opens, and, where there is room for two signatures, the old one too.
            let sent = rotating.sign(at, "msg_1", b"{}").unwrap();
            since.verify(at, &sent, b"{}").unwrap();
            let carries = matches!(
                scheme,
                Scheme::Pagerduty | Scheme::Stripe | Scheme::StandardWebhooks | Scheme::GitlabSigned
            );
            assert_eq!(before.verify(at, &sent, b"{}").is_ok(), carries && old_holds, "{scheme:?} at {at}");
        }
    }
    // Several signatures of which one is good, among them versions that nobody knows.
    let rotating =
        Verifier::standard_webhooks(Secrets::new(STANDARD).with_previous(STANDARD_OLD, end)).unwrap();
    let old = Verifier::standard_webhooks(Secrets::new(STANDARD_OLD)).unwrap();
    let mut sent = old.sign(NOW, "msg_1", b"{}").unwrap();
    let good = sent["webhook-signature"].to_str().unwrap().to_owned();
    let mixed = format!("v1,AAAA {good} v2,x v1a,y");
    sent.insert("webhook-signature", mixed.parse().unwrap());
    rotating.verify(NOW, &sent, b"{}").unwrap();
    rotating.verify(after(99), &sent, b"{}").unwrap();
    assert_eq!(kind(rotating.verify(end, &sent, b"{}")), Some(ErrorKind::Unauthenticated));
}

#[test]
fn the_library_of_standard_webhooks_and_this_one_understand_each_other() {
    let ours = Verifier::standard_webhooks(Secrets::new(STANDARD)).unwrap();
    let theirs = standardwebhooks::Webhook::new(STANDARD).unwrap();
    // Theirs reads the clock of the machine.
    let now = SystemClock::default().now();
    let seconds = now.micros() / 1_000_000;
    for body in BODIES {
        let sent = ours.sign(now, "msg_1", body.as_bytes()).unwrap();
        theirs.verify(body.as_bytes(), &sent).unwrap();
        let signature = theirs.sign("msg_2", seconds, body.as_bytes()).unwrap();
        for brand in ["webhook", "svix"] {
            let sent = headers(&[
                (&format!("{brand}-id"), "msg_2"),
                (&format!("{brand}-timestamp"), &seconds.to_string()),
                (&format!("{brand}-signature"), &signature),
            ]);
            ours.verify(now, &sent, body.as_bytes()).unwrap();
            assert_eq!(kind(ours.verify(now, &sent, b"other")), Some(ErrorKind::Unauthenticated));
        }
    }
    let both = Verifier::standard_webhooks(
        Secrets::new(STANDARD_OLD).with_previous(STANDARD, now.after(std::time::Duration::from_secs(60))),
    )
    .unwrap();
    theirs.verify(b"{}", &both.sign(now, "msg_3", b"{}").unwrap()).unwrap();
}

#[test]
fn secrets_and_schemes_are_checked_when_they_are_made_and_never_shown() {
    let canary = "canary-5d1f";
    let verifier = Verifier::slack(Secrets::new(canary).with_previous(canary, NOW)).unwrap();
    let shown = format!("{verifier:?} {:?} {:?}", Secrets::new(canary), verifier.sign(NOW, "", b"").unwrap());
    assert!(!shown.contains(canary), "{shown}");
    for scheme in [Scheme::GitlabToken, Scheme::Bearer, Scheme::Basic { user: String::new() }] {
        let signed = Verifier::new(scheme, Secrets::new(canary)).unwrap().sign(NOW, "", b"").unwrap();
        assert!(!format!("{signed:?}").contains(canary), "the values are marked as sensitive");
    }

    for refused in [
        Verifier::github(Secrets::new("")),
        Verifier::github(Secrets::new("x").with_previous("", NOW)),
        Verifier::standard_webhooks(Secrets::new("whsec_")),
        Verifier::standard_webhooks(Secrets::new(canary)),
        Verifier::basic("a:b", Secrets::new(canary)),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains(canary));
    }
    let cases: [(&str, HmacScheme); 8] = [
        ("no body", HmacScheme { signed: "{timestamp}".to_owned(), ..own() }),
        ("two bodies", HmacScheme { signed: "{id}{timestamp}{body}{body}".to_owned(), ..own() }),
        ("an unsigned time", HmacScheme { signed: "{id}{body}".to_owned(), ..own() }),
        ("an unsigned id", HmacScheme { signed: "{timestamp}{body}".to_owned(), ..own() }),
        ("a time from nowhere", HmacScheme { timestamp: None, ..own() }),
        ("an unknown word", HmacScheme { signed: "{id}{timestamp}{body}{url}".to_owned(), ..own() }),
        ("a name that is none", HmacScheme { header: "x y".to_owned(), ..own() }),
        ("a time among one", HmacScheme { timestamp: Some(TimestampPlace::Entry("t=".to_owned())), ..own() }),
    ];
    for (what, scheme) in cases {
        let refused = Verifier::hmac(scheme, Secrets::new("x")).map(drop);
        assert_eq!(kind(refused), Some(ErrorKind::InvalidInput), "{what}");
    }
    // Schemes are data: what is kept is what was given.
    for (scheme, ..) in schemes() {
        let text = serde_json::to_string(&scheme).unwrap();
        assert_eq!(serde_json::from_str::<Scheme>(&text).unwrap(), scheme, "{text}");
    }
    let least: Scheme = serde_json::from_str(r#"{"scheme":"hmac","header":"X-Sig"}"#).unwrap();
    assert_eq!(least, Scheme::Hmac(HmacScheme::new("X-Sig")));
    assert!(serde_json::from_str::<Scheme>(r#"{"scheme":"hmac","header":"x","algorithm":"sha1"}"#).is_err());
}

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
            state.insert(ordering.key, (ordering.version, event.kind.clone()));
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
fn every_order_of_arrival_ends_in_one_state() {
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
                // A comment leaves the time of the issue alone.
                jira("jira:issue_updated", "2026-01-01T12:00:00.000+0100", 1_767_265_300_000),
                jira("jira:issue_deleted", "2026-01-01T12:00:00.000+0100", 1_767_265_400_000),
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
        assert_eq!(expected.values().next().unwrap().1, last);
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
