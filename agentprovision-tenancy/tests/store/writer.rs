//! One writer for many callers.

use std::sync::Arc;

use agentprovision_core::audit::{AuditRecord, merkle};
use agentprovision_core::effect::{Effects, Guard, OperatorEffects};
use agentprovision_core::run::{Fence, JournalRow, RunPatch, RunStatus, RunTotals};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::usage::{BudgetKey, Dimension, Reservation};
use agentprovision_core::{Context, ErrorKind};
use futures_util::future::join_all;

use crate::world::{World, batch, watchdog};

async fn verify(world: &World, ctx: &Context, run: &agentprovision_core::run::RunRecord, rows: u64) {
    let stored = world.stores.index.get(ctx, run.id).await.unwrap();
    assert_eq!(stored.seq, rows);
    let journal = world.stores.index.journal(ctx, run.id, 0, u32::MAX).await.unwrap();
    assert_eq!(journal.len() as u64, rows);
    JournalRow::verify(&run.salt, &journal, &stored.head).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_many_runs_and_several_of_one_run_are_written_together_and_in_order() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let other = world.tenant().await;
    let mut leases = Vec::new();
    for ctx in [&ctx, &other] {
        let agent = world.agent(ctx).await;
        for _ in 0..40 {
            leases.push((ctx.clone(), world.run(ctx, &agent).await));
        }
    }
    // Eight commits of each run wait at the same time: 640 for the writer to take together as it likes.
    let commits = leases.iter().flat_map(|(_, lease)| {
        (0..8).map(|turn| {
            let batch = batch(lease, 2, &format!("payload {turn}"));
            let effects = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
            let runs = world.stores.runs.clone();
            let fence = lease.fence;
            async move { runs.commit(&fence, batch, effects).await }
        })
    });
    let results: Vec<u64> = join_all(commits).await.into_iter().collect::<Result<_, _>>().unwrap();
    for (results, (ctx, lease)) in results.chunks(8).zip(&leases) {
        // Callers asked in this order.
        assert_eq!(results, [3, 5, 7, 9, 11, 13, 15, 17]);
        verify(&world, ctx, &lease.run, 17).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_commit_leaves_its_neighbours_alone() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    let suspended = world.tenant().await;
    let theirs = world.run(&suspended, &world.agent(&suspended).await).await;
    let state = Tenant {
        state: TenantState::Suspended,
        ..world.stores.tenants.get(&world.op, suspended.tenant()).await.unwrap()
    };
    world.stores.tenants.replace(&world.op, state, 1, OperatorEffects::default()).await.unwrap();
    let finished = world.run(&ctx, &agent).await;
    let patch = RunPatch { status: Some(RunStatus::Completed), ..RunPatch::default() };
    let end = agentprovision_core::run::JournalBatch { patch, ..batch(&finished, 1, "end") };
    world.stores.runs.commit(&finished.fence, end, Effects::none()).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..30 {
        leases.push(world.run(&ctx, &agent).await);
    }
    for _ in 0..20 {
        let commits = leases.iter().enumerate().map(|(place, lease)| {
            let (fence, batch, guards) = match place % 6 {
                0 => (Fence { epoch: 9, ..lease.fence }, batch(lease, 1, "stale"), vec![]),
                1 => (theirs.fence, batch(&theirs, 1, "suspended"), vec![Guard::TenantActive]),
                2 => (Fence { run: world.env.id(), ..lease.fence }, batch(lease, 1, "unknown"), vec![]),
                3 => (finished.fence, batch(&finished, 1, "over"), vec![]),
                _ => (lease.fence, batch(lease, 3, "good"), vec![Guard::TenantActive]),
            };
            let runs = world.stores.runs.clone();
            async move { runs.commit(&fence, batch, Effects { guards, ..Effects::none() }).await }
        });
        for (place, result) in join_all(commits).await.into_iter().enumerate() {
            let kind = result.map_err(|error| error.kind());
            match place % 6 {
                0 | 2 => assert_eq!(kind, Err(ErrorKind::Fenced)),
                1 => assert_eq!(kind, Err(ErrorKind::TenantSuspended)),
                3 => assert_eq!(kind, Err(ErrorKind::Conflict)),
                _ => assert!(kind.is_ok(), "{kind:?}"),
            }
        }
    }
    for (place, lease) in leases.iter().enumerate() {
        verify(&world, &ctx, &lease.run, if place % 6 < 4 { 1 } else { 61 }).await;
    }
    verify(&world, &suspended, &theirs.run, 1).await;
    verify(&world, &ctx, &finished.run, 2).await;
}

#[tokio::test]
async fn patches_of_one_transaction_add_up() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let lease = world.run(&ctx, &world.agent(&ctx).await).await;
    let totals = RunTotals { steps: 3, ..RunTotals::default() };
    let patches = [
        RunPatch { status: Some(RunStatus::Waiting), ..RunPatch::default() },
        RunPatch { totals: Some(totals), ..RunPatch::default() },
        RunPatch::default(),
    ];
    let commits = patches.map(|patch| {
        let batch = agentprovision_core::run::JournalBatch { patch, ..batch(&lease, 1, "x") };
        world.stores.runs.commit(&lease.fence, batch, Effects::none())
    });
    for result in join_all(commits).await {
        result.unwrap();
    }
    let run = world.stores.index.get(&ctx, lease.run.id).await.unwrap();
    assert_eq!((run.status, run.totals, run.seq), (RunStatus::Waiting, totals, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_reservations_for_room_for_10_exactly_10_get_it() {
    let _watchdog = watchdog();
    let world = Arc::new(World::new().await);
    let ctx = world.tenant().await;
    for round in 0..50 {
        let key = BudgetKey::new(format!("round {round}"), Dimension::Steps);
        world.stores.quota.define(&ctx, &key, Some(109)).await.unwrap();
        let tasks = (0..64).map(|_| {
            let (world, ctx, key) = (world.clone(), ctx.clone(), key.clone());
            tokio::spawn(async move {
                let (id, demand) = (world.env.id(), vec![(key, 10)]);
                let result = world.stores.quota.reserve(&ctx, id, demand.clone()).await;
                (Reservation { id, demand }, result.map_err(|error| error.kind()))
            })
        });
        let results = join_all(tasks).await.into_iter().map(Result::unwrap);
        let (held, refused): (Vec<_>, Vec<_>) = results.partition(|(_, result)| result.is_ok());
        assert_eq!(held.len(), 10);
        assert!(refused.iter().all(|(_, result)| *result == Err(ErrorKind::BudgetExceeded)));
        // Of a refused one nothing is left that could be settled.
        let (gone, _) = refused.into_iter().next().unwrap();
        world.stores.quota.settle(&ctx, gone, vec![(key.clone(), 1)]).await.unwrap();
        let state = world.stores.quota.state(&ctx, &key).await.unwrap().unwrap();
        assert_eq!((state.reserved, state.spent), (100, 0));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_undoes_nothing_that_was_enqueued() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    let lease = world.run(&ctx, &agent).await;
    for turn in 0..200 {
        let commit =
            world.stores.runs.commit(&lease.fence, batch(&lease, 1, &turn.to_string()), Effects::none());
        // Polled once: the request is in the queue, and nobody waits for the answer.
        assert!(futures_util::future::FutureExt::now_or_never(commit).is_none());
        if turn % 3 == 0 {
            let reserve = world.stores.quota.reserve(&ctx, world.env.id(), vec![]);
            assert!(futures_util::future::FutureExt::now_or_never(reserve).is_none());
        }
    }
    // Reads beside the writer see what is committed; a write behind the others knows that they are done.
    world.stores.runs.renew(&lease.fence, world.env.now()).await.unwrap();
    verify(&world, &ctx, &lease.run, 201).await;
}

#[tokio::test]
async fn audit_records_that_nobody_reads_are_sequenced_all_the_same() {
    use sqlx::{ConnectOptions, Row};
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let lease = world.run(&ctx, &world.agent(&ctx).await).await;
    for turn in 0..50 {
        let record = |part| AuditRecord::of(&ctx, &world.env, "trial.made", "trials", turn * 100 + part);
        let effects = Effects { audit: (0..100).map(record).collect(), ..Effects::none() };
        world.stores.runs.commit(&lease.fence, batch(&lease, 1, "x"), effects).await.unwrap();
    }
    // Sequencing comes after the answer of a commit, and before the next write.
    world.stores.runs.renew(&lease.fence, world.env.now()).await.unwrap();
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(world.folder.file("test.db"));
    let mut conn = file.connect().await.unwrap();
    let row = sqlx::query("SELECT count(*) FROM audit_pending").fetch_one(&mut conn).await.unwrap();
    assert!(row.get::<i64, _>(0) < 1500);
    let entries = world.stores.audit.entries(&ctx, 0, 5000).await.unwrap();
    assert_eq!(entries.len(), 5000);
    for (place, entry) in entries.iter().enumerate() {
        assert_eq!(entry.record().unwrap().resource_id, Some(place.to_string()));
    }
    let proof = world.stores.audit.prove(&ctx, 4100, 4321).await.unwrap();
    let (leaf, root) = (entries[4100].leaf(), proof.checkpoint.root);
    merkle::verify_inclusion(leaf, 4100, 4321, &proof.path, root).unwrap();
}

#[tokio::test]
async fn a_commit_whose_rows_the_database_refuses_fails_alone() {
    use sqlx::ConnectOptions;
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(world.folder.file("test.db"));
    let mut conn = file.connect().await.unwrap();
    let trigger = "CREATE TRIGGER poison BEFORE INSERT ON payloads WHEN new.bytes = CAST('poison' AS BLOB) \
                   BEGIN SELECT RAISE(ABORT, 'poison'); END";
    sqlx::raw_sql(trigger).execute(&mut conn).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..10 {
        leases.push(world.run(&ctx, &agent).await);
    }
    for others in [false, true] {
        let content = |place| if place == 4 { "poison" } else { "fine" };
        let commits = leases.iter().enumerate().map(|(place, lease)| {
            world.stores.runs.commit(&lease.fence, batch(lease, 2, content(place)), Effects::none())
        });
        let reserve = async {
            if others {
                world.stores.quota.reserve(&ctx, world.env.id(), vec![]).await.unwrap();
            }
        };
        let (results, ()) = futures_util::future::join(join_all(commits), reserve).await;
        for (place, result) in results.into_iter().enumerate() {
            match result {
                Ok(_) => assert_ne!(place, 4),
                Err(error) => assert_eq!((place, error.kind()), (4, ErrorKind::Internal)),
            }
        }
    }
    for (place, lease) in leases.iter().enumerate() {
        verify(&world, &ctx, &lease.run, if place == 4 { 1 } else { 5 }).await;
    }
}
