//! The transaction of a transactional step.

use std::time::Duration;

use agentprovision_core::effect::{Effects, QuotaOp};
use agentprovision_core::run::{Fence, Lease};
use agentprovision_core::tool::{SqlValue, TxHandle};
use agentprovision_core::usage::{BudgetKey, Dimension};
use agentprovision_core::{Context, ErrorKind};

use crate::world::{World, batch, on_server, watchdog};

const INSERT: &str = "INSERT INTO notes (tenant_id, text) VALUES ($1, $2)";
const SELECT: &str = "SELECT text FROM notes WHERE tenant_id = $1 ORDER BY text";

async fn started(world: &World) -> (Context, Lease) {
    let ctx = world.tenant().await;
    let lease = world.run(&ctx, &world.agent(&ctx).await).await;
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    if !on_server() {
        let table =
            "CREATE TABLE IF NOT EXISTS notes (tenant_id BLOB NOT NULL, text TEXT, UNIQUE (tenant_id, text))";
        tx.handle().execute(table, &[]).await.unwrap();
    }
    tx.commit(batch(&lease, 1, "table"), Effects::none()).await.unwrap();
    (ctx, lease)
}

async fn notes(world: &World, lease: &Lease) -> Vec<SqlValue> {
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let rows = tx.handle().query(SELECT, &[]).await.unwrap();
    tx.rollback().await.unwrap();
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

fn text(text: &str) -> SqlValue {
    SqlValue::from(text)
}

async fn closed(handle: &TxHandle) {
    for result in
        [handle.execute(INSERT, &[text("late")]).await.map(drop), handle.query(SELECT, &[]).await.map(drop)]
    {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn writes_and_the_batch_commit_together_or_vanish_together() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (ctx, lease) = started(&world).await;

    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    assert_eq!(handle.execute(INSERT, &[text("kept")]).await.unwrap(), 1);
    assert_eq!(handle.query(SELECT, &[]).await.unwrap(), [[text("kept")]]);
    assert_eq!(tx.commit(batch(&lease, 2, "done"), Effects::none()).await.unwrap(), 4);
    closed(&handle).await;

    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("rolled back")]).await.unwrap();
    tx.rollback().await.unwrap();
    closed(&handle).await;

    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("dropped")]).await.unwrap();
    drop(tx);
    closed(&handle).await;

    // A refused effect takes the statements and the rows with it.
    let key = BudgetKey::new("agent", Dimension::Steps);
    world.stores.quota.define(&ctx, &key, Some(1)).await.unwrap();
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    tx.handle().execute(INSERT, &[text("refused")]).await.unwrap();
    let effects = Effects::none().quota(QuotaOp::Reserve(world.env.id(), vec![(key, 2)]));
    let error = tx.commit(batch(&lease, 1, "refused"), effects).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded);

    assert_eq!(notes(&world, &lease).await, [text("kept")]);
    assert_eq!(world.stores.index.get(&ctx, lease.run.id).await.unwrap().seq, 4);
}

#[tokio::test]
async fn the_tenant_is_bound_and_statements_of_the_platform_are_refused() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (_, mine) = started(&world).await;
    let (_, theirs) = started(&world).await;
    let tx = world.stores.runs.begin(&mine.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("mine")]).await.unwrap();
    for sql in [
        "COMMIT",
        "SELECT 1; COMMIT",
        "/**/rollback",
        "PRAGMA foreign_keys = 0",
        "ATTACH 'x' AS x",
        "SELECT $0",
    ] {
        assert_eq!(handle.execute(sql, &[]).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{sql}");
    }
    let values = [
        SqlValue::Null,
        SqlValue::Int(-1),
        SqlValue::Real(0.5),
        // PostgreSQL has no text with this character.
        text(if on_server() { "a b" } else { "a\0b" }),
        SqlValue::Bytes(vec![]),
        text(""),
    ];
    // Bytes take their type from where they stand.
    let sql = if on_server() {
        "SELECT $2, $3, $4, $5, CAST($6 AS bytea), $7, $1"
    } else {
        "SELECT $2, $3, $4, $5, $6, $7, $1"
    };
    let rows = handle.query(sql, &values).await.unwrap();
    assert_eq!(rows[0][..6], values);
    assert_eq!(rows[0][6], SqlValue::Bytes(mine.fence.tenant.uuid().into_bytes().into()));
    tx.commit(batch(&mine, 1, "x"), Effects::none()).await.unwrap();
    assert_eq!(notes(&world, &theirs).await, []);
    assert_eq!(notes(&world, &mine).await, [text("mine")]);
}

#[tokio::test]
async fn a_failed_statement_is_undone_alone() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (_, lease) = started(&world).await;
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("first")]).await.unwrap();
    for sql in [INSERT, "SELECT * FROM missing", "SELECT FROM WHERE"] {
        assert_eq!(
            handle.execute(sql, &[text("first")]).await.unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{sql}"
        );
    }
    handle.execute(INSERT, &[text("second")]).await.unwrap();
    tx.commit(batch(&lease, 1, "x"), Effects::none()).await.unwrap();
    assert_eq!(notes(&world, &lease).await, [text("first"), text("second")]);

    if on_server() {
        return;
    }
    // One that ends the transaction ends everything behind it.
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("third")]).await.unwrap();
    let sql = "INSERT OR ROLLBACK INTO notes (tenant_id, text) VALUES ($1, 'first')";
    assert_eq!(handle.execute(sql, &[]).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    closed(&handle).await;
    let error = tx.commit(batch(&lease, 1, "y"), Effects::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(notes(&world, &lease).await, [text("first"), text("second")]);
}

#[tokio::test]
async fn only_the_holder_of_a_run_begins() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (_, lease) = started(&world).await;
    let stale = Fence { epoch: lease.fence.epoch + 1, ..lease.fence };
    assert_eq!(world.stores.runs.begin(&stale).await.unwrap_err().kind(), ErrorKind::Fenced);
    // And the writer is free again.
    world.stores.runs.renew(&lease.fence, world.env.now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_takes_too_long_is_rolled_back_and_others_go_on() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (ctx, lease) = started(&world).await;
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    handle.execute(INSERT, &[text("late")]).await.unwrap();
    // Another writer waits behind it, where there is one writer.
    let (runs, fence) = (world.stores.runs.clone(), lease.fence);
    let other = tokio::spawn({
        let batch = batch(&lease, 1, "other");
        async move { runs.commit(&fence, batch, Effects::none()).await }
    });
    while world.clock.waiters() == 0 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(4));
    handle.query(SELECT, &[]).await.unwrap();
    assert!(on_server() || !other.is_finished());
    world.clock.advance(Duration::from_secs(1));
    other.await.unwrap().unwrap();
    closed(&handle).await;
    assert_eq!(
        tx.commit(batch(&lease, 1, "x"), Effects::none()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(notes(&world, &lease).await, []);
    assert_eq!(world.stores.index.get(&ctx, lease.run.id).await.unwrap().seq, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_without_end_is_interrupted() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let (_, lease) = started(&world).await;
    let tx = world.stores.runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    let endless = tokio::spawn(async move {
        let sql = "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        handle.query(sql, &[]).await
    });
    while world.clock.waiters() == 0 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(5));
    endless.await.unwrap().unwrap_err();
    drop(tx);
    world.stores.runs.commit(&lease.fence, batch(&lease, 1, "next"), Effects::none()).await.unwrap();
}
