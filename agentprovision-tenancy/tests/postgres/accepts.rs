//! Deliveries of a tenant that come while others of it are being kept share a transaction; each has its own answer.

use agentprovision_core::effect::Effects;
use agentprovision_core::id::EndpointId;
use agentprovision_core::page::PageRequest;
use agentprovision_core::webhook::{Accepted, Delivery, EndpointState, NewDelivery, WebhookEndpoint};
use agentprovision_core::{Context, ErrorKind};
use futures_util::FutureExt as _;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Raw, World};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("accepts", "those_that_wait_share_transactions_of_their_tenant", together),
        trial("accepts", "one_that_is_refused_harms_no_other", refused),
    ]
}

async fn endpoint(world: &World, ctx: &Context, id: EndpointId) {
    let now = world.env.now();
    let endpoint = WebhookEndpoint {
        id,
        name: "code".into(),
        vendor: "github".into(),
        scheme: serde_json::json!({}),
        integration: None,
        triggers: serde_json::json!([]),
        state: EndpointState::Active,
        owner: world.env.id(),
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    world.stores.endpoints.insert(ctx, endpoint, Effects::none()).await.unwrap();
}

fn delivery(world: &World, endpoint: EndpointId, key: &str, digest: u8) -> NewDelivery {
    NewDelivery {
        id: world.env.id(),
        endpoint,
        key: key.into(),
        digest: [digest; 32],
        kind: "issues".into(),
        headers: "{}".into(),
        body: vec![digest; 3000],
        received_at: world.env.now(),
    }
}

/// Nobody keeps a delivery until this ends its transaction.
async fn holder(world: &World) -> Raw {
    let mut admin = world.admin().await;
    admin.run("BEGIN; LOCK TABLE agentprovision.deliveries IN SHARE ROW EXCLUSIVE MODE").await;
    admin
}

/// Waits until at least so many transactions wait for the holder.
async fn held(world: &World, transactions: usize) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    world.admin().await.until(&format!("SELECT ({waiting}) >= {transactions}")).await;
}

async fn kept(world: &World, ctx: &Context, endpoint: EndpointId) -> Vec<Delivery> {
    world.stores.inbox.list(ctx, endpoint, PageRequest::limit(100)).await.unwrap().items
}

async fn together() {
    let world = World::new("max_connections=10").await;
    let (acme, other) = (world.tenant().await, world.tenant().await);
    let [on, unknown]: [EndpointId; 2] = [world.env.id(), world.env.id()];
    endpoint(&world, &acme, on).await;
    endpoint(&world, &other, on).await;
    let mut admin = holder(&world).await;
    let mut calls = Vec::new();
    for round in 0..60 {
        let key = &*format!("key {round}");
        for (place, (ctx, endpoint, digest)) in
            [(&acme, on, 1), (&acme, on, 2), (&acme, unknown, 1), (&other, on, 3)].into_iter().enumerate()
        {
            let new = delivery(&world, endpoint, key, digest);
            let mut call = Box::pin(world.stores.inbox.accept(ctx.tenant(), new));
            assert!(call.as_mut().now_or_never().is_none());
            calls.push((round, place, call));
        }
    }
    held(&world, 2).await;
    // Of every third round nobody waits for the answers.
    calls.retain(|(round, ..)| round % 3 != 0);
    admin.run("COMMIT").await;
    let mut bodies = Vec::new();
    for (round, place, call) in calls {
        match (place, call.await.map_err(|error| error.kind())) {
            (0 | 1, Ok(accepted)) => bodies.push((round, accepted)),
            (2, result) => assert_eq!(result, Err(ErrorKind::NotFound)),
            (_, result) => assert_eq!(result, Ok(Accepted::New)),
        }
    }
    for pair in bodies.chunks(2) {
        let [(round, one), (_, two)] = pair else { panic!("{pair:?}") };
        let expected = [(Accepted::New, Accepted::Conflict), (Accepted::Conflict, Accepted::New)];
        assert!(expected.contains(&(*one, *two)), "{round}: {one:?}, {two:?}");
    }
    // Those whose callers have gone are on their way too.
    admin.until("SELECT count(*) = 120 AND sum(conflicts) = 60 FROM agentprovision.deliveries").await;
    for one in kept(&world, &acme, on).await {
        let other = if one.new.digest == [1; 32] { [2; 32] } else { [1; 32] };
        assert_eq!((one.repeats, one.conflicts, one.conflict_digest), (0, 1, Some(other)));
    }
    assert_eq!(kept(&world, &other, on).await.len(), 60);
    let transactions = admin.one("SELECT count(DISTINCT xmin::text) FROM agentprovision.delivery_work").await;
    assert!(transactions.parse::<usize>().unwrap() <= 24, "{transactions}");
    world.backend.close().await.unwrap();
}

async fn refused() {
    let world = World::new("max_connections=10").await;
    let ctx = world.tenant().await;
    let on: EndpointId = world.env.id();
    endpoint(&world, &ctx, on).await;
    let first = delivery(&world, on, "first", 1);
    let id = first.id;
    world.stores.inbox.accept(ctx.tenant(), first).await.unwrap();
    let mut admin = holder(&world).await;
    let mut calls = Vec::new();
    for place in 0..40 {
        let new = delivery(&world, on, &format!("key {place}"), 1);
        // Its id is the first one's, under another key.
        let new = if place == 20 { NewDelivery { id, ..new } } else { new };
        let mut call = Box::pin(world.stores.inbox.accept(ctx.tenant(), new));
        assert!(call.as_mut().now_or_never().is_none());
        calls.push(call);
    }
    held(&world, 1).await;
    admin.run("COMMIT").await;
    for (place, call) in calls.into_iter().enumerate() {
        let expected = if place == 20 { Err(ErrorKind::Conflict) } else { Ok(Accepted::New) };
        assert_eq!(call.await.map_err(|error| error.kind()), expected, "{place}");
    }
    assert_eq!(kept(&world, &ctx, on).await.len(), 40);
    world.backend.close().await.unwrap();
}
