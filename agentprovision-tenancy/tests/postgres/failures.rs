//! A server that restarts, fills up, is only read from, is newer, or lets transactions get in each other's way.

use std::sync::Arc;

use agentprovision_core::usage::{BudgetKey, Dimension};
use agentprovision_core::{Env, Error, ErrorKind};
use agentprovision_tenancy::store::connect;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{World, database};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("failures", "connections_a_restart_killed_are_not_handed_out", restart),
        trial("failures", "a_database_that_is_only_read_from_is_read", read_only),
        trial("failures", "a_full_disk_refuses_whole_changes", full),
        trial("failures", "a_newer_schema_is_refused_unless_it_says_otherwise", newer),
        trial("failures", "a_deadlock_is_tried_again", deadlock),
        trial("failures", "what_gets_in_each_others_way_is_tried_again_and_given_up", attempts),
        trial("failures", "an_error_of_one_step_is_not_the_next_ones", leftover),
        trial("failures", "a_lock_that_is_not_free_in_time_is_unavailable", lock),
    ]
}

/// Kills every connection of the platform; returns when they are gone.
async fn kill(world: &World) {
    let mut admin = world.admin().await;
    let killed = "SELECT count(pg_terminate_backend(pid, 10000)) > 0 FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'agentprovision'";
    assert_eq!(admin.one(killed).await, "t", "the platform has no connection");
    admin
        .until(
            "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'agentprovision')",
        )
        .await;
}

async fn restart() {
    let world = World::new("max_connections=4").await;
    let ctx = world.tenant().await;
    let fence = world.run(&ctx).await;
    world.add(&ctx, "alice").await.unwrap();
    // Several are idle.
    futures_util::future::join_all((0..8).map(|_| world.names(&ctx))).await;
    kill(&world).await;
    assert_eq!(world.names(&ctx).await.unwrap(), ["alice"]);
    kill(&world).await;
    world.add(&ctx, "bob").await.unwrap();
    kill(&world).await;
    let tx = world.stores.runs.begin(&fence).await.unwrap();
    tx.rollback().await.unwrap();
    kill(&world).await;
    let all = futures_util::future::join_all((0..8).map(|_| world.names(&ctx))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    world.has(&ctx, &["alice", "bob"]).await;
}

async fn read_only() {
    let world = World::new("").await;
    let ctx = world.tenant().await;
    world.add(&ctx, "alice").await.unwrap();
    world.has(&ctx, &["alice"]).await;
    let mut admin = world.admin().await;
    let name = admin.one("SELECT current_database()").await;
    admin.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    kill(&world).await;
    assert_eq!(world.names(&ctx).await.unwrap(), ["alice"]);
    let refused = |result: Result<(), Error>| assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnly);
    refused(world.add(&ctx, "bob").await);
    // Also for a platform that starts now.
    let backend = connect(world.database.url(), Env::default()).await.unwrap();
    assert_eq!(backend.stores().audit.checkpoint(&ctx).await.unwrap().size, 1);
    refused(backend.stores().quota.define(&ctx, &budget("a"), Some(1)).await);
    admin.run(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    kill(&world).await;
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["alice", "bob"]).await;
}

/// Lets every insert into a table fail with a code, the first `times` times.
async fn fail(world: &World, table: &str, code: &str, times: &str) {
    let mut admin = world.admin().await;
    admin
        .run(&format!(
            "CREATE SEQUENCE public.tries; GRANT USAGE ON SEQUENCE public.tries TO agentprovision_app;
             CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('public.tries') <= {times} THEN RAISE EXCEPTION 'planted' USING ERRCODE = '{code}'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER planted BEFORE INSERT ON agentprovision.{table} FOR EACH ROW EXECUTE FUNCTION public.fail()"
        ))
        .await;
}

async fn tries(world: &World) -> String {
    world.admin().await.one("SELECT last_value FROM public.tries").await
}

async fn full() {
    let world = World::new("").await;
    let ctx = world.tenant().await;
    world.add(&ctx, "alice").await.unwrap();
    // The last table a change writes to; what was written before must go.
    fail(&world, "outbox", "53100", "3").await;
    for _ in 0..3 {
        let error = world.add(&ctx, "bob").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("no space"), "{error:?}");
    }
    world.add(&ctx, "carol").await.unwrap();
    world.has(&ctx, &["alice", "carol"]).await;
}

async fn newer() {
    let world = World::new("").await;
    let ctx = world.tenant().await;
    let mut admin = world.admin().await;
    admin.run("INSERT INTO agentprovision.schema_version VALUES (2, 1, 0)").await;
    let backend = connect(world.database.url(), Env::default()).await.unwrap();
    backend.stores().quota.define(&ctx, &BudgetKey::new("a", Dimension::Steps), Some(1)).await.unwrap();
    admin.run("INSERT INTO agentprovision.schema_version VALUES (3, 2, 0)").await;
    let error = connect(world.database.url(), Env::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaTooNew);
    assert!(error.message().contains("version 3"), "{error:?}");
    admin.run("DELETE FROM agentprovision.schema_version").await;
    let error = connect(world.database.url(), Env::default()).await.unwrap_err();
    assert!(error.message().contains("version 0") && error.message().contains("migrate"), "{error:?}");
}

fn budget(name: &str) -> BudgetKey {
    BudgetKey::new(name, Dimension::Tokens)
}

async fn deadlock() {
    let database = database().await;
    database
        .admin(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''2s''', current_database()); END $$",
        )
        .await
        .unwrap();
    let url = database.url().to_owned();
    let world = Arc::new(World::over(database, &url, Env::default()).await);
    let ctx = world.tenant().await;
    for name in ["a", "b"] {
        world.stores.quota.define(&ctx, &budget(name), Some(10)).await.unwrap();
    }
    let lock = |name: &str| {
        format!(
            "SELECT 1 FROM agentprovision.budgets WHERE tenant_id = '{}' AND scope = '{name}' FOR UPDATE",
            ctx.tenant().uuid()
        )
    };
    let mut other = world.admin().await;
    // This one looks for a deadlock so much later that the platform is the one that gives way.
    other.run("SET deadlock_timeout = '60s'; BEGIN").await;
    other.run(&lock("b")).await;
    let reserve = tokio::spawn({
        let (world, ctx) = (world.clone(), ctx.clone());
        async move {
            let demand = vec![(budget("a"), 1), (budget("b"), 1)];
            world.stores.quota.reserve(&ctx, world.env.id(), demand).await
        }
    });
    world
        .admin()
        .await
        .until(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND usename = 'agentprovision_app' AND wait_event_type = 'Lock')",
        )
        .await;
    other.run(&lock("a")).await;
    other.run("COMMIT").await;
    reserve.await.unwrap().unwrap();
    for name in ["a", "b"] {
        let state = world.stores.quota.state(&ctx, &budget(name)).await.unwrap().unwrap();
        assert_eq!(state.reserved, 1);
    }
}

async fn attempts() {
    for (code, name) in [("40001", "serialization"), ("40P01", "deadlock")] {
        let world = World::new("attempts=3").await;
        let ctx = world.tenant().await;
        fail(&world, "outbox", code, "2").await;
        world.add(&ctx, name).await.unwrap();
        assert_eq!(tries(&world).await, "3");
        world.has(&ctx, &[name]).await;

        let world = World::new("attempts=3").await;
        let ctx = world.tenant().await;
        fail(&world, "outbox", code, "100").await;
        let error = world.add(&ctx, name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("busy"), "{error:?}");
        assert_eq!(tries(&world).await, "3");
        world.has(&ctx, &[]).await;
    }
}

async fn leftover() {
    let world = World::new("max_connections=1&lock_timeout_ms=20").await;
    let ctx = world.tenant().await;
    let fence = world.run(&ctx).await;
    let mut other = world.admin().await;
    other.run("BEGIN; LOCK TABLE agentprovision.run_leases").await;
    // The transaction of the step is lost before it begins.
    let error = world.stores.runs.begin(&fence).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    other.run("ROLLBACK").await;
    // The only connection has nothing of it left.
    world.add(&ctx, "alice").await.unwrap();
    world.has(&ctx, &["alice"]).await;

    let tx = world.stores.runs.begin(&fence).await.unwrap();
    kill(&world).await;
    tx.handle().query("SELECT $1", &[]).await.unwrap_err();
    drop(tx);
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["alice", "bob"]).await;
}

async fn lock() {
    let world = World::new("lock_timeout_ms=20").await;
    let ctx = world.tenant().await;
    let mut admin = world.admin().await;
    admin.run("BEGIN; LOCK TABLE agentprovision.users").await;
    let error = world.add(&ctx, "alice").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("lock"), "{error:?}");
    admin.run("ROLLBACK").await;
    world.add(&ctx, "alice").await.unwrap();
    world.has(&ctx, &["alice"]).await;
}
