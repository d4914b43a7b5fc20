//! The bytes of what is stored and sent: fixed from the first version on.

use agentprovision::audit::{Actor, AuditRecord, AuditResult};
use agentprovision::event::PlatformEvent;
use agentprovision::id::{AgentId, Id, SessionId, UserId};
use agentprovision::model::Usage;
use agentprovision::money::NanoUsd;
use agentprovision::prelude::*;
use agentprovision::run::{
    DoneOutcome, JournalEntry, PayloadHash, RunTotals, STATE_VERSION, StepError, StepKind, decode_entry,
    encode_entry,
};
use agentprovision::{Timestamp, agent::VersionHash};
use serde_json::{Value, json};

use super::frozen;

/// The same id in every run of the test.
fn id<I: Id + std::str::FromStr<Err = Error>>(number: u8) -> I {
    format!("{}_0190a0b0c0d07e8f9a0b0c0d0e0f10{number:02x}", I::PREFIX).parse().unwrap()
}

/// 2024-07-11T00:00:00.000001Z and so many milliseconds.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_720_656_000_000_001 + millis * 1000)
}

fn hash(byte: u8) -> PayloadHash {
    PayloadHash::from_bytes([byte; 32])
}

fn record() -> AuditRecord {
    AuditRecord {
        v: 1,
        id: id(1),
        tenant_id: Some(id(2)),
        actor: Actor::new("user", id::<UserId>(3)),
        action: "agents.deploy".into(),
        resource: "agents".into(),
        resource_id: Some(id::<AgentId>(4).to_string()),
        timestamp: at(0),
        ip_address: Some("192.0.2.1".into()),
        user_agent: Some("curl/8".into()),
        result: AuditResult::Failure,
        reason: Some("conflict".into()),
        request_id: id(5),
        details: json!({"version": "ab", "state": "running"}).as_object().unwrap().clone(),
    }
}

fn smallest_record() -> AuditRecord {
    AuditRecord {
        tenant_id: None,
        resource_id: None,
        ip_address: None,
        user_agent: None,
        result: AuditResult::Success,
        reason: None,
        details: serde_json::Map::new(),
        ..record()
    }
}

fn event() -> PlatformEvent {
    PlatformEvent {
        specversion: "1.0".into(),
        id: id(6),
        source: "/agents".into(),
        kind: "agentprovision.agent.deployed".into(),
        subject: Some(id::<AgentId>(4).to_string()),
        time: at(0),
        datacontenttype: "application/json".into(),
        tenantid: id(2),
        correlationid: "order-77".into(),
        causationid: Some("req".into()),
        userid: Some(id::<UserId>(3).to_string()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        dataversion: "1".into(),
        data: json!({"state": "running"}),
    }
}

/// Every variant, with and without what may be absent.
fn entries() -> Vec<(&'static str, JournalEntry)> {
    let failed = || DoneOutcome::Failed {
        error: StepError { kind: ErrorKind::RateLimited, message: "slow down".into() },
    };
    let totals = RunTotals {
        steps: 3,
        tool_calls: 1,
        input_tokens: 120,
        output_tokens: 30,
        cost: NanoUsd::from_nanos(36_000),
        unpriced: 1,
    };
    let usage = Usage {
        input_tokens: Some(100),
        cache_read_tokens: Some(20),
        output_tokens: Some(30),
        ..Usage::default()
    };
    let (created, intent, done) = (
        // Read from text, because a field that is added later is absent in what is stored now.
        |more: Value| {
            let mut entry = json!({
                "entry": "created",
                "v": STATE_VERSION,
                "agent": id::<AgentId>(4),
                "version": VersionHash::from_bytes([1; 32]),
                "user": id::<UserId>(3),
                "input": hash(2),
                "deadline": at(60_000),
                "at": at(0),
            });
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<JournalEntry>(entry).unwrap()
        },
        |kind, call_id, max_tokens, effect| JournalEntry::Intent {
            step: 1,
            kind,
            name: "find_order".into(),
            args_hash: hash(3),
            effect,
            call_id,
            max_tokens,
            at: at(1),
        },
        |outcome, usage, cost, model| JournalEntry::Done {
            step: 1,
            outcome,
            usage,
            cost,
            model,
            attempts: 2,
            started: at(2),
            at: at(3),
        },
    );
    vec![
        ("created", created(json!({}))),
        ("created-with-scopes", created(json!({"scopes": ["agents:run", "runs:read"]}))),
        ("created-in-session", created(json!({"session": id::<SessionId>(7)}))),
        ("intent-model", intent(StepKind::Model, None, Some(100), Effect::Idempotent)),
        ("intent-tool", intent(StepKind::Tool, Some("call_1".into()), None, Effect::Transactional)),
        (
            "done-model",
            done(
                DoneOutcome::Ok { output: hash(4) },
                Some(usage),
                Some(NanoUsd::from_nanos(105)),
                Some("m".into()),
            ),
        ),
        ("done-failed", done(failed(), None, None, None)),
        ("done-uncertain", done(DoneOutcome::Uncertain, None, None, None)),
        (
            "approval-asked",
            JournalEntry::ApprovalAsked {
                approval: id(8),
                call_id: "call_2".into(),
                tool: "pay".into(),
                args_hash: hash(5),
                at: at(4),
            },
        ),
        (
            "approval-answered",
            JournalEntry::ApprovalAnswered { approval: id(8), approved: false, by: id(3), at: at(5) },
        ),
        ("cancel-asked", JournalEntry::CancelAsked { signal: id(9), by: id(3), at: at(6) }),
        (
            "finished",
            JournalEntry::Finished {
                outcome: DoneOutcome::Ok { output: hash(6) },
                cancelled: false,
                totals,
                at: at(7),
            },
        ),
        (
            "finished-cancelled",
            JournalEntry::Finished { outcome: failed(), cancelled: true, totals, at: at(7) },
        ),
    ]
}

#[test]
fn stored_bytes_are_what_they_always_were() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut lines = vec![
        format!("audit-record {}", text(record().to_bytes().unwrap())),
        format!("audit-record-smallest {}", text(smallest_record().to_bytes().unwrap())),
        format!("event {}", text(agentprovision::canonical::to_bytes(&event()).unwrap())),
    ];
    for (name, entry) in entries() {
        lines.push(format!("journal-{name} {}", text(encode_entry(&entry).unwrap())));
    }
    frozen("stored_forms.txt", &lines);
}

#[test]
fn stored_bytes_read_back_as_what_they_were() {
    for (name, entry) in entries() {
        let bytes = encode_entry(&entry).unwrap();
        assert_eq!(decode_entry(&bytes).unwrap(), entry, "{name}");
    }
    for record in [record(), smallest_record()] {
        let entry =
            agentprovision::audit::AuditEntry { seq: 0, bytes: record.to_bytes().unwrap(), erased: None };
        assert_eq!(entry.record().unwrap(), record);
    }
    let bytes = serde_json::to_vec(&event()).unwrap();
    assert_eq!(serde_json::from_slice::<PlatformEvent>(&bytes).unwrap(), event());
}

/// CloudEvents 1.0, sections 3.1 to 3.3: required and optional attributes by name, extensions in lower-case letters and
/// digits.
#[test]
fn an_event_has_the_attributes_of_cloudevents() {
    let value = serde_json::to_value(event()).unwrap();
    let attributes = value.as_object().unwrap();
    for required in ["id", "source", "specversion", "type"] {
        assert!(attributes[required].as_str().is_some_and(|text| !text.is_empty()), "{required}");
    }
    assert_eq!(attributes["specversion"], "1.0");
    assert_eq!(attributes["datacontenttype"], "application/json");
    assert_eq!(attributes["time"], "2024-07-11T00:00:00.000001Z");
    assert!(attributes["data"].is_object());
    let extensions = ["tenantid", "correlationid", "causationid", "userid", "traceparent", "dataversion"];
    for (name, value) in attributes {
        assert!(
            name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "{name}"
        );
        let known = ["id", "source", "specversion", "type", "subject", "time", "datacontenttype", "data"];
        assert!(known.contains(&name.as_str()) || extensions.contains(&name.as_str()), "{name}");
        assert!(name == "data" || matches!(value, Value::String(_)), "{name} is text");
    }
    assert_eq!(attributes.len(), 14);
}
