//! One backend over several shards: who goes where, and what is above tenants.

use std::sync::Arc;

use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Error, ErrorKind};
use agentprovision_tenancy::placement::{PlacementState, Shard};
use agentprovision_tenancy::tenant::NewTenant;
use futures_util::future::join_all;

use super::world::Placed;
use crate::archives::world::kind;
use crate::world::{Folder, watchdog};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_go_where_the_hash_says_and_stay() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let mut made = Vec::new();
    for _ in 0..24 {
        let tenant = placed.home.world.new_tenant("Acme");
        made.push(tenant.id);
        placed.stores().tenants.create(placed.op(), tenant, OperatorEffects::default()).await.unwrap();
    }
    for id in &made {
        let at = placed.at(*id).await;
        assert_eq!((&*at.shard, at.state), (placed.hashed(*id), PlacementState::Settled));
        let other = if at.shard == "one" { "two" } else { "one" };
        assert!(placed.alone(&at.shard).await.tenants.state(*id).await.is_ok());
        assert_eq!(kind(placed.alone(other).await.tenants.state(*id).await), ErrorKind::NotFound);
    }
    // Another weight and another shard move nobody.
    let before = placed.placements.list(placed.op(), PageRequest::limit(100)).await.unwrap().items;
    let mut shards = placed.shards.clone();
    shards[0].weight = 9.0;
    shards.push(Shard::new("three", placed.home.world.folder.url("three.db")));
    let again = Placed::open(placed.home.world.folder.clone(), shards, None).await.unwrap();
    assert_eq!(again.placements.list(again.op(), PageRequest::limit(100)).await.unwrap().items, before);
    for step in again.placements.plan(again.op()).await.unwrap() {
        assert_eq!(again.hashed(step.tenant_id), step.to);
        again.placements.move_tenant(again.op(), step.tenant_id, step.to).await.unwrap();
    }
    assert_eq!(again.placements.plan(again.op()).await.unwrap(), []);
    let listed = again.stores().tenants.list(again.op(), PageRequest::limit(100)).await.unwrap().items;
    made.sort();
    assert_eq!(listed.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_stay_in_their_regions() {
    let _watchdog = watchdog();
    let folder = Arc::new(Folder::new());
    let shards = vec![
        Shard::new("eu-1", folder.url("1.db")).region("eu"),
        Shard::new("eu-2", folder.url("2.db")).region("eu"),
        Shard::new("us-1", folder.url("3.db")).region("us").weight(50.0),
    ];
    let placed = Placed::open(folder, shards, None).await.unwrap();
    for place in 0..20 {
        let new = NewTenant::new("Acme", format!("d{place}.example")).region("eu");
        let id = placed.home.tenants().create(placed.op(), new).await.unwrap().id;
        let at = placed.at(id).await;
        assert!(at.shard.starts_with("eu-"), "{at:?}");
        let out = placed.placements.move_tenant(placed.op(), id, "us-1").await.unwrap_err();
        assert!(out.is(ErrorKind::InvalidInput) && out.message().contains("`eu-1` or `eu-2`"), "{out:?}");
        assert_eq!(
            kind(placed.placements.pin(placed.op(), id, Some("us-1".into())).await),
            ErrorKind::InvalidInput
        );
        // Nor does a change of the row take it out.
        let tenant = placed.stores().tenants.get(placed.op(), id).await.unwrap();
        let us = Tenant { region: Some("us".into()), ..tenant };
        let changed = placed.stores().tenants.replace(placed.op(), us, 1, OperatorEffects::default()).await;
        assert_eq!(kind(changed), ErrorKind::InvalidInput);
        assert_eq!(placed.at(id).await, at);
    }
    let new = NewTenant::new("Acme", "far.example").region("ap");
    let error = placed.home.tenants().create(placed.op(), new).await.unwrap_err();
    assert!(error.is(ErrorKind::InvalidInput) && error.message().contains("eu, us"), "{error:?}");
    assert_eq!(placed.placements.list(placed.op(), PageRequest::limit(100)).await.unwrap().items.len(), 20);
}

/// A tenant with a domain, for a shard.
fn with_domain(placed: &Placed, shard: &str, domain: &str) -> Tenant {
    Tenant { domain: Some(domain.into()), ..placed.tenant_of(shard) }
}

async fn create(placed: &Placed, tenant: Tenant) -> Result<(), Error> {
    placed.stores().tenants.create(placed.op(), tenant, OperatorEffects::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_has_one_tenant_among_all_shards() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let first = with_domain(&placed, "one", "a.example");
    create(&placed, first.clone()).await.unwrap();
    let second = with_domain(&placed, "two", "a.example");
    assert_eq!(kind(create(&placed, second.clone()).await), ErrorKind::AlreadyExists);
    assert_eq!(kind(placed.placements.get(placed.op(), second.id).await), ErrorKind::NotFound);
    // At once, from two processes: one of them gets it.
    let beside = placed.beside().await;
    for round in 0..8 {
        let domain = format!("{round}.example");
        let (one, two) = (with_domain(&placed, "one", &domain), with_domain(&placed, "two", &domain));
        let (one, two) = tokio::join!(create(&placed, one), create(&beside, two));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    }
    // It is free again when the tenant is deleted.
    let gone = Tenant { state: TenantState::Deleted, ..first };
    placed.stores().tenants.replace(placed.op(), gone, 1, OperatorEffects::default()).await.unwrap();
    create(&placed, second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_log_is_one() {
    let _watchdog = watchdog();
    let (placed, mut expected) = (Placed::new().await, Vec::new());
    let beside = placed.beside().await;
    for place in 0..12 {
        let new = NewTenant::new("Acme", format!("d{place}.example"));
        expected.push(placed.home.tenants().create(placed.op(), new).await.unwrap().id.to_string());
    }
    let logs = [&placed, &beside].map(|placed| placed.platform());
    let logs = join_all(logs).await;
    let again = placed.platform().await;
    for log in &logs {
        assert_eq!(log, &again);
    }
    let told: Vec<_> = again.iter().map(|record| record.resource_id.clone().unwrap()).collect();
    assert_eq!(told, expected);
    let at = placed.placements.list(placed.op(), PageRequest::limit(100)).await.unwrap().items;
    assert!(["one", "two"].iter().all(|shard| at.iter().any(|at| at.shard == *shard)), "{at:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_closed_does_not_stop_the_others() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (one, two) = (placed.tenant_of("one"), placed.tenant_of("two"));
    for tenant in [&one, &two] {
        create(&placed, tenant.clone()).await.unwrap();
        let ctx = placed.home.world.ctx(tenant);
        let event = agentprovision_core::event::PlatformEvent::of(
            &ctx,
            &placed.home.world.env,
            "trial.made",
            1,
            serde_json::json!({}),
        );
        let effects = Effects { events: vec![event], ..Effects::none() };
        placed.stores().effects.apply(&ctx, effects).await.unwrap();
    }
    assert_eq!(placed.stores().events.unpublished(9).await.unwrap().len(), 2);
    placed.backend.close_shard("two").await.unwrap();
    let left = placed.stores().events.unpublished(9).await.unwrap();
    assert_eq!(left.iter().map(|event| event.event.tenantid).collect::<Vec<_>>(), [one.id]);
    assert_eq!(kind(placed.stores().tenants.state(two.id).await), ErrorKind::Closed);
    assert_eq!(placed.stores().tenants.state(one.id).await.unwrap(), TenantState::Active);
}
