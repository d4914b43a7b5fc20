//! Two backends on one file, as two processes have them.

use std::sync::Arc;

use agentprovision_core::audit::{AuditRecord, merkle};
use agentprovision_core::effect::Effects;
use agentprovision_core::run::{JournalBatch, JournalRow, Release, RunPatch, Signal};
use agentprovision_core::usage::{BudgetKey, Dimension};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::world::{World, batch, watchdog};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals_logs_and_budgets_stay_whole() {
    let _watchdog = watchdog();
    let one = Arc::new(World::new().await);
    let two = Arc::new(World::open(one.folder.clone()).await);
    let ctx = one.tenant().await;
    let agent = one.agent(&ctx).await;
    let lease = one.run(&ctx, &agent).await;
    let key = BudgetKey::new("agent", Dimension::Steps);
    one.stores.quota.define(&ctx, &key, Some(25)).await.unwrap();
    let tasks = (0..100).map(|turn| {
        let world = if turn % 2 == 0 { one.clone() } else { two.clone() };
        let (ctx, lease, key) = (ctx.clone(), lease.clone(), key.clone());
        tokio::spawn(async move {
            let record = AuditRecord::of(&ctx, &world.env, "trial.made", "trials", turn);
            let effects = Effects { audit: vec![record], ..Effects::none() };
            let batch = batch(&lease, 1, &turn.to_string());
            world.stores.runs.commit(&lease.fence, batch, effects).await.unwrap();
            if turn % 10 == 0 {
                world.stores.audit.checkpoint(&ctx).await.unwrap();
            }
            world.stores.quota.reserve(&ctx, world.env.id(), vec![(key, 1)]).await.is_ok()
        })
    });
    let held = join_all(tasks).await.into_iter().filter(|held| *held.as_ref().unwrap()).count();
    assert_eq!(held, 25);
    let run = two.stores.index.get(&ctx, lease.run.id).await.unwrap();
    let rows = two.stores.index.journal(&ctx, lease.run.id, 0, 1000).await.unwrap();
    assert_eq!(rows.len(), 101);
    JournalRow::verify(&run.salt, &rows, &run.head).unwrap();
    let entries = two.stores.audit.entries(&ctx, 0, 1000).await.unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(0..100));
    let leaves: Vec<_> = entries.iter().map(|entry| entry.leaf()).collect();
    assert_eq!(one.stores.audit.checkpoint(&ctx).await.unwrap().root, merkle::root(&leaves));
    two.backend.close().await.unwrap();
    one.backend.close().await.unwrap();
}

#[tokio::test]
async fn workers_of_a_process_hear_of_runs_that_become_ready() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    let lease = world.run(&ctx, &agent).await;
    // Another worker over the same backend.
    let other = world.backend.stores().runs;
    let mut woken = other.woken();
    assert!((&mut woken).now_or_never().is_none());
    let (id, signal) = (world.env.id(), Signal::Cancel { by: world.env.id() });
    world.stores.index.signal(&ctx, lease.run.id, id, signal, Effects::none()).await.unwrap();
    assert!(woken.now_or_never().is_some(), "somebody said something to it");
    let mut woken = other.woken();
    assert!((&mut woken).now_or_never().is_none());
    world.stores.runs.commit(&lease.fence, JournalBatch::default(), Effects::none()).await.unwrap();
    assert!((&mut woken).now_or_never().is_none(), "it is held");
    let patch = RunPatch { release: Some(Release::Ready), ..RunPatch::default() };
    let batch = JournalBatch { patch, ..JournalBatch::default() };
    world.stores.runs.commit(&lease.fence, batch, Effects::none()).await.unwrap();
    assert!(woken.now_or_never().is_some(), "it was given back");
    world.backend.close().await.unwrap();
}
