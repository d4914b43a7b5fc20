//! Opening shards: they are who the directory says they are, or nothing is opened.

use std::sync::Arc;

use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::Tenant;
use agentprovision_core::{Error, ErrorKind};
use agentprovision_tenancy::placement::Shard;

use super::world::Placed;
use crate::archives::world::kind;
use crate::world::{Folder, World, watchdog};

async fn refused(folder: &Arc<Folder>, shards: Vec<Shard>) -> Error {
    match Placed::open(folder.clone(), shards, None).await {
        Ok(_) => panic!("the shards were opened"),
        Err(error) => error,
    }
}

fn says(error: &Error, expected: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), expected, "{error:?}");
    for part in parts {
        assert!(error.message().contains(part), "{error:?}");
    }
}

#[tokio::test]
async fn a_bad_list_of_shards_is_refused() {
    let _watchdog = watchdog();
    let folder = Arc::new(Folder::new());
    let shard = |name: &str| Shard::new(name, folder.url(&format!("{name}.db")));
    for (shards, part) in [
        (vec![], "1 to 1000 shards"),
        (vec![shard("")], "the name of a shard"),
        (vec![shard("EU")], "`EU`"),
        (vec![shard(&"x".repeat(65))], "1 to 64"),
        (vec![shard("a"), shard("b"), shard("a")], "two shards have the name `a`"),
        (vec![shard("a").weight(0.0)], "`a`"),
        (vec![shard("a").weight(-1.0)], "weight"),
        (vec![shard("a").weight(f64::NAN)], "NaN"),
        (vec![shard("a").weight(f64::INFINITY)], "weight"),
        (vec![shard("a").region("")], "region"),
        (vec![Shard::new("a", "memory://")], "`memory://`"),
        (vec![shard("a"), Shard::new("b", "redis://x")], "the shard `b`"),
    ] {
        says(&refused(&folder, shards).await, ErrorKind::InvalidInput, &[part]);
    }
    // A bad list makes no files.
    assert_eq!(
        std::fs::read_dir(&folder.0)
            .unwrap()
            .filter(|file| {
                let name = file.as_ref().unwrap().file_name();
                name.to_string_lossy().ends_with("b.db")
            })
            .count(),
        0
    );
}

#[tokio::test]
async fn shards_are_who_the_directory_knows() {
    let _watchdog = watchdog();
    let folder = Arc::new(Folder::new());
    let shard = |name: &str, file: &str| Shard::new(name, folder.url(file));
    let both = || vec![shard("one", "1.db"), shard("two", "2.db")];
    says(
        &refused(&folder, vec![shard("one", "1.db"), shard("two", "1.db")]).await,
        ErrorKind::Conflict,
        &["`two`", "same database", "`one`"],
    );
    let placed = Placed::open(folder.clone(), both(), None).await.unwrap();
    let tenant = placed.tenant_of("two");
    placed.stores().tenants.create(placed.op(), tenant.clone(), OperatorEffects::default()).await.unwrap();
    // The same again, in whatever order behind the first.
    Placed::open(folder.clone(), [both(), vec![shard("three", "3.db")]].concat(), None).await.unwrap();
    let turned = vec![shard("one", "1.db"), shard("three", "3.db"), shard("two", "2.db")];
    Placed::open(folder.clone(), turned, None).await.unwrap();
    for (shards, parts) in [
        (vec![shard("one", "1.db")], ["`two`", "not configured"]),
        (vec![shard("one", "1.db"), shard("2", "2.db")], ["`2`", "known as `two`"]),
        (vec![shard("first", "1.db"), shard("two", "2.db")], ["`first`", "known as `one`"]),
        (vec![shard("one", "1.db"), shard("two", "new.db")], ["`two`", "another database"]),
        (vec![shard("one", "1.db"), shard("two", "3.db")], ["`two`", "known as `three`"]),
        (vec![shard("two", "2.db"), shard("one", "1.db")], ["`two`", "another directory"]),
        (vec![shard("other", "other.db"), shard("two", "2.db")], ["`two`", "another directory"]),
        (
            vec![shard("one", "1.db"), shard("two", "2.db"), shard("more", "2.db")],
            ["`more`", "same database"],
        ),
    ] {
        says(&refused(&folder, shards).await, ErrorKind::Conflict, &parts);
    }
    // None of them has changed who is who.
    let again = Placed::open(folder.clone(), both(), None).await.unwrap();
    assert_eq!(again.at(tenant.id).await.shard, "two");
    // One that nobody is kept in may go.
    Placed::open(folder.clone(), both(), None).await.unwrap();
    let missing = vec![
        shard("one", "1.db"),
        Shard::new("two", format!("sqlite://{}", folder.0.join("no/2.db").display())),
    ];
    says(&refused(&folder, missing).await, ErrorKind::Unavailable, &["the shard `two`"]);
}

#[tokio::test]
async fn a_store_that_was_used_alone_becomes_the_first_shard() {
    let _watchdog = watchdog();
    let folder = Arc::new(Folder::new());
    let (clock, env) = crate::world::manual_env();
    let backend = agentprovision_tenancy::store::connect(&folder.url("1.db"), env.clone()).await.unwrap();
    let world = World::over(backend, clock, env, folder.clone(), None);
    let mut tenants = Vec::new();
    for place in 0..5 {
        let tenant = Tenant { domain: Some(format!("{place}.example")), ..world.new_tenant("Acme") };
        tenants.push(tenant.id);
        world.stores.tenants.create(&world.op, tenant, OperatorEffects::default()).await.unwrap();
    }
    let shards = || vec![Shard::new("one", folder.url("1.db")), Shard::new("two", folder.url("2.db"))];
    for _ in 0..2 {
        let placed = Placed::open(folder.clone(), shards(), None).await.unwrap();
        let page = placed.placements.list(placed.op(), PageRequest::limit(100)).await.unwrap();
        tenants.sort();
        assert_eq!(page.items.iter().map(|at| at.tenant_id).collect::<Vec<_>>(), tenants);
        assert!(page.items.iter().all(|at| at.shard == "one"));
        // Their domains are taken everywhere.
        let other = Tenant { domain: Some("3.example".into()), ..placed.tenant_of("two") };
        let made = placed.stores().tenants.create(placed.op(), other, OperatorEffects::default()).await;
        assert_eq!(kind(made), ErrorKind::AlreadyExists);
    }
    let placed = Placed::open(folder.clone(), shards(), None).await.unwrap();
    placed.placements.move_tenant(placed.op(), tenants[0], "two").await.unwrap();
    assert_eq!(placed.at(tenants[0]).await.shard, "two");
    // A used one is no second shard: its tenants would be nobody's.
    let used = vec![Shard::new("new", folder.url("new.db")), Shard::new("one", folder.url("1.db"))];
    says(&refused(&folder, used).await, ErrorKind::Conflict, &["`one`"]);
    let alone = agentprovision_tenancy::store::connect(&folder.url("a.db"), world.env.clone()).await.unwrap();
    let tenant = world.new_tenant("Acme");
    alone.stores().tenants.create(&world.op, tenant, OperatorEffects::default()).await.unwrap();
    let used = vec![Shard::new("new", folder.url("new.db")), Shard::new("a", folder.url("a.db"))];
    says(&refused(&folder, used).await, ErrorKind::Conflict, &["`a`", "tenants of its own"]);
}
