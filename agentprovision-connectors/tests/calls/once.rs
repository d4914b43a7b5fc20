//! Keys of callers, what is counted and what is recorded.

use std::sync::Arc;

use agentprovision_connectors::CallOptions;
use agentprovision_core::audit::AuditResult;
use agentprovision_core::backend::Backend as _;
use agentprovision_core::usage::{Meter, Period};
use agentprovision_core::{ErrorKind, Result};
use serde_json::{Value, json};

use super::world::World;

async fn create(
    world: &World,
    id: agentprovision_core::id::IntegrationId,
    key: &str,
    title: &str,
) -> Result<Value> {
    let input = json!({ "queue": "q", "title": title }).as_object().unwrap().clone();
    world.integrations.invoke(&world.ctx, id, "tickets.create", input, CallOptions::key(key)).await
}

#[tokio::test]
async fn a_call_with_a_key_is_made_once() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(201, &[], &json!({ "number": 1, "title": "a" }));
    world.answers(201, &[], &json!({ "number": 2, "title": "a" }));
    let first = create(&world, desk.id, "k1", "a").await.unwrap();
    assert_eq!(create(&world, desk.id, "k1", "a").await.unwrap(), first);
    assert_eq!(world.seen().len(), 1);
    assert_eq!(create(&world, desk.id, "k1", "b").await.unwrap_err().kind(), ErrorKind::IdempotencyMismatch);
    assert_ne!(create(&world, desk.id, "k2", "a").await.unwrap(), first);
    // Refused by the vendor: it was not carried out, and the key is free.
    world.answers(422, &[], &json!({ "message": "no" }));
    world.answers(201, &[], &json!({ "number": 3, "title": "c" }));
    assert_eq!(create(&world, desk.id, "k3", "c").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(create(&world, desk.id, "k3", "c").await.unwrap()["number"], 3);
    // Whether it was carried out is not known: it is not done again.
    world.answers(502, &[], &json!({}));
    assert_eq!(create(&world, desk.id, "k4", "d").await.unwrap_err().kind(), ErrorKind::Unavailable);
    world.clock.advance(std::time::Duration::from_secs(120));
    assert_eq!(create(&world, desk.id, "k4", "d").await.unwrap_err().kind(), ErrorKind::Uncertain);
    assert_eq!(world.seen().len(), 5);
    for bad in [String::new(), "k".repeat(256)] {
        assert_eq!(create(&world, desk.id, &bad, "a").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn the_vendor_gets_one_key_for_all_attempts_of_a_call() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(503, &[], &json!({}));
    world.answers(200, &[], &json!({ "paid": true }));
    world.run(world.invoke(&desk, "payments.create", json!({ "amount": 5 }))).await.unwrap();
    world.answers(200, &[], &json!({ "paid": true }));
    world.run(world.invoke(&desk, "payments.create", json!({ "amount": 5 }))).await.unwrap();
    let keys: Vec<_> = world.seen().iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    let input = json!({ "amount": 5 }).as_object().unwrap().clone();
    world.answers(200, &[], &json!({ "paid": true }));
    let paid =
        world.integrations.invoke(&world.ctx, desk.id, "payments.create", input, CallOptions::key("mine"));
    paid.await.unwrap();
    assert_eq!(world.seen().pop().unwrap().headers["idempotency-key"], "mine");
}

#[tokio::test]
async fn what_was_called_is_counted_and_recorded_however_it_ended() {
    let world = Arc::new(World::new().await);
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
    world.get(&desk).await.unwrap();
    world.answers(201, &[], &json!({ "number": 8, "title": "t" }));
    world.invoke(&desk, "tickets.create", json!({ "queue": "q", "title": "t" })).await.unwrap();
    world.answers(404, &[], &json!({ "message": "no" }));
    world.get(&desk).await.unwrap_err();
    // Refused before it left: recorded nowhere, counted nowhere.
    world.invoke(&desk, "tickets.get", json!({ "queue": "q" })).await.unwrap_err();
    // Given up by whoever asked.
    world.script.lock().unwrap().held = Some(Arc::new(tokio::sync::Semaphore::new(0)));
    let given_up = tokio::spawn({
        let (world, desk) = (world.clone(), desk.clone());
        async move { world.get(&desk).await }
    });
    while world.seen().len() < 4 {
        tokio::task::yield_now().await;
    }
    given_up.abort();
    given_up.await.unwrap_err();
    world.writer.close().await;
    let stores = world.db.stores();
    let usage = stores.usage.summary(&world.ctx, Period::ALL).await.unwrap();
    assert_eq!(usage.meters[&Meter::IntegrationCalls], 4);
    assert_eq!(usage.meters[&Meter::EgressBytes], r#"{"title":"t"}"#.len() as u64);
    let entries = stores.audit.entries(&world.ctx, 0, 100).await.unwrap();
    let records: Vec<_> = entries.iter().map(|entry| entry.record().unwrap()).collect();
    let calls: Vec<_> = records.iter().filter(|record| record.action == "integrations.invoke").collect();
    let ended: Vec<_> = calls
        .iter()
        .map(|record| {
            (record.details["operation"].as_str().unwrap(), record.result, record.reason.as_deref())
        })
        .collect();
    assert_eq!(
        ended,
        [
            ("tickets.get", AuditResult::Success, None),
            ("tickets.create", AuditResult::Success, None),
            ("tickets.get", AuditResult::Failure, Some("not_found")),
            ("tickets.get", AuditResult::Failure, Some("cancelled")),
        ]
    );
    // Facts, never content.
    assert!(!format!("{records:?}").contains("canary") && !format!("{records:?}").contains("\"t\""));
    let error = world.get(&desk).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
