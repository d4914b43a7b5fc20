//! What is accepted and what is not.

use agentprovision_connectors::webhook::{
    Algorithm, Encoding, HmacScheme, Scheme, Secrets, TimestampPlace, Verifier,
};
use agentprovision_core::clock::SystemClock;
use agentprovision_core::{Clock as _, Error, ErrorKind, Timestamp};
use serde_json::Value;

use super::{NOW, headers};

const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + seconds * 1_000_000)
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
fn pitfall_15_a_signature_is_over_bytes_and_not_over_what_they_mean() {
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
fn pitfall_16_what_does_not_hold_has_one_message_and_what_is_too_old_says_so() {
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
fn pitfall_17_two_secrets_hold_until_the_older_one_ends() {
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
    // An asymmetric one, as in the example of the specification, is none that a shared secret can prove.
    let asymmetric =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    for (signatures, expected) in [
        (format!("{asymmetric} {good}"), None),
        (format!("{good} {asymmetric}"), None),
        (format!("{asymmetric} v1,AAAA"), Some(ErrorKind::Unauthenticated)),
        (asymmetric.to_owned(), Some(ErrorKind::InvalidInput)),
    ] {
        sent.insert("webhook-signature", signatures.parse().unwrap());
        assert_eq!(kind(rotating.verify(NOW, &sent, b"{}")), expected, "{signatures}");
    }
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
        Verifier::standard_webhooks(Secrets::new(STANDARD.replace("whsec_", "whpk_"))),
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
