//! Leases, signals, sessions and transactions of runs.

use super::*;

#[tokio::test]
async fn the_end_of_a_lease_allows_a_claim_and_only_a_claim_fences() {
    let world = World::new().await;
    let lease = world.start().await;
    assert_eq!((lease.run.seq, lease.fence.epoch), (1, 1));
    assert_eq!(world.claim().await, []);

    world.clock.advance(LEASE);
    let batch = || JournalBatch { entries: vec![b"x".to_vec()], ..JournalBatch::default() };
    assert_eq!(world.commit(&lease.fence, batch()).await.unwrap(), 2);
    let taken = world.claim().await;
    assert_eq!(taken, [Fence { epoch: 2, ..lease.fence }]);
    refused(world.commit(&lease.fence, batch()).await, ErrorKind::Fenced);
    refused(world.stores.runs.renew(&lease.fence, lease.until).await, ErrorKind::Fenced);
    refused(world.stores.runs.begin(&lease.fence).await, ErrorKind::Fenced);

    assert_eq!(world.commit(&taken[0], release(Release::Ready)).await.unwrap(), 2);
    refused(world.commit(&taken[0], batch()).await, ErrorKind::Fenced);
    let again = world.claim().await;
    assert_eq!(again[0].epoch, 3);

    world.commit(&again[0], status(RunStatus::Completed)).await.unwrap();
    for fence in [lease.fence, again[0]] {
        refused(world.commit(&fence, batch()).await, ErrorKind::Conflict);
        refused(world.stores.runs.renew(&fence, lease.until).await, ErrorKind::Fenced);
    }
    let unknown = Fence { run: world.env.id(), ..lease.fence };
    refused(world.commit(&unknown, batch()).await, ErrorKind::Fenced);
    world.clock.advance(LEASE);
    assert_eq!(world.claim().await, []);

    let run = world.stores.index.get(&world.ctx, lease.run.id).await.unwrap();
    assert!(run.finished_at.is_some());
    let rows = world.stores.index.journal(&world.ctx, run.id, 0, 10).await.unwrap();
    JournalRow::verify(&run.salt, &rows, &run.head).unwrap();
    assert_eq!(run.seq, 2);
}

#[tokio::test]
async fn a_claim_takes_the_oldest_that_may_be_taken() {
    let world = World::new().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(world.start().await.fence);
    }
    let mut newer = world.new_run();
    newer.record.state_version = 2;
    world.create(newer).await.unwrap();
    for fence in waiting.iter().rev() {
        world.clock.advance(Duration::from_secs(1));
        world.commit(fence, release(Release::Ready)).await.unwrap();
    }
    world.clock.advance(LEASE);
    world.set_state(TenantState::Suspended, OperatorEffects::default()).await.unwrap();
    assert_eq!(world.claim().await, []);
    world.set_state(TenantState::Active, OperatorEffects::default()).await.unwrap();
    let until = world.env.now().after(LEASE);
    let two = world.stores.runs.claim(ClaimRequest::new(world.env.id(), until, 2, 1)).await.unwrap();
    assert_eq!(two.iter().map(|lease| lease.run.id).collect::<Vec<_>>(), [waiting[2].run, waiting[1].run]);
    assert_eq!(world.claim().await.iter().map(|fence| fence.run).collect::<Vec<_>>(), [waiting[0].run]);
    assert_eq!(world.claim().await, []);
}

/// Whether somebody who waits for runs hears of a change.
async fn heard(world: &World, change: impl Future<Output = ()>) -> bool {
    let mut woken = world.stores.runs.woken();
    assert!((&mut woken).now_or_never().is_none(), "nothing happened yet");
    change.await;
    woken.now_or_never().is_some()
}

#[tokio::test]
async fn whatever_makes_a_run_ready_is_heard() {
    let world = World::new().await;
    let Lease { fence, run, .. } = world.start().await;
    assert!(!heard(&world, async { drop(world.start().await) }).await, "it is held");
    let mut expired = world.new_run();
    expired.lease_until = world.env.now();
    assert!(heard(&world, async { drop(world.create(expired).await.unwrap()) }).await);
    let commit = async |fence, batch| {
        world.commit(&fence, batch).await.unwrap();
    };
    assert!(!heard(&world, commit(fence, JournalBatch::default())).await, "it is held");
    assert!(heard(&world, async { world.cancel(run.id).await.unwrap() }).await);
    assert!(heard(&world, commit(fence, release(Release::Ready))).await);
    let fence = world.claim().await[0];
    assert!(heard(&world, commit(fence, release(Release::UntilSignal))).await, "a signal waits");
    let state = |state| world.set_state(state, OperatorEffects::default());
    assert!(!heard(&world, async { state(TenantState::Suspended).await.unwrap() }).await);
    assert!(heard(&world, async { state(TenantState::Active).await.unwrap() }).await);
}

#[tokio::test]
async fn a_run_that_waits_is_made_ready_by_a_signal() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    let Lease { fence, until, run } = world.start().await;
    world.commit(&fence, release(Release::UntilSignal)).await.unwrap();
    world.clock.advance(LEASE * 2);
    assert_eq!(world.claim().await, []);

    let (id, signal) = (env.id(), Signal::Cancel { by: run.user });
    for _ in 0..2 {
        stores.index.signal(ctx, run.id, id, signal.clone(), world.effects(Vec::new())).await.unwrap();
    }
    assert_eq!(stores.audit.checkpoint(ctx).await.unwrap().size, 1, "the second signal has no effects");
    let fence = world.claim().await[0];
    world.cancel(run.id).await.unwrap();
    let signals = stores.runs.renew(&fence, until).await.unwrap();
    assert_eq!(signals.len(), 2);
    assert_eq!(signals[0], (id, signal));

    // One signal is taken up and the other still waits, so the run is ready at once.
    let consumed = JournalBatch { consumed: vec![id, env.id()], ..release(Release::UntilSignal) };
    world.commit(&fence, consumed).await.unwrap();
    let fence = world.claim().await[0];
    let rest = JournalBatch { consumed: vec![signals[1].0], ..release(Release::UntilSignal) };
    world.commit(&fence, rest).await.unwrap();
    assert_eq!(world.claim().await, []);

    world.cancel(run.id).await.unwrap();
    let fence = world.claim().await[0];
    world.commit(&fence, status(RunStatus::Cancelled)).await.unwrap();
    refused(world.cancel(run.id).await, ErrorKind::Conflict);
    refused(world.cancel(env.id()).await, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_run_is_created_once_and_has_its_sessions_turn() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    let session = SessionRecord {
        id: env.id(),
        agent: world.agent.id,
        user: ctx.principal().user(),
        active_run: None,
        created_at: env.now(),
    };
    stores.sessions.open(ctx, session.clone(), Effects::none()).await.unwrap();
    let keyed = |hash: u8, session: Option<SessionId>| {
        let mut run = world.new_run();
        run.record.idem_key = Some("k".into());
        run.record.idem_hash = Some([hash; 32]);
        run.record.session_id = session;
        run
    };
    let Created::New(lease) = world.create(keyed(1, Some(session.id))).await.unwrap() else { panic!() };
    assert_eq!(stores.sessions.get(ctx, session.id).await.unwrap().active_run, Some(lease.run.id));

    // A key that is known answers before anything else is looked at.
    let again = stores.runs.create(ctx, keyed(1, Some(env.id())), world.effects(Vec::new())).await.unwrap();
    assert!(matches!(again, Created::Existing(run) if run == lease.run.id));
    assert_eq!(stores.audit.checkpoint(ctx).await.unwrap().size, 0);
    refused(world.create(keyed(2, None)).await, ErrorKind::IdempotencyMismatch);

    let turn = |session: SessionId| {
        let mut run = world.new_run();
        run.record.session_id = Some(session);
        run
    };
    refused(world.create(turn(session.id)).await, ErrorKind::Conflict);
    refused(world.create(turn(env.id())).await, ErrorKind::NotFound);
    world.commit(&lease.fence, status(RunStatus::Failed)).await.unwrap();
    assert_eq!(stores.sessions.get(ctx, session.id).await.unwrap().active_run, None);
    assert!(matches!(world.create(turn(session.id)).await.unwrap(), Created::New(_)));
    refused(stores.agents.delete(ctx, world.agent.id, 1, Effects::none()).await, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_transaction_checks_its_fence_when_it_commits() {
    let world = World::new().await;
    let runs = &world.stores.runs;
    let lease = world.start().await;
    let entries = || JournalBatch { entries: vec![b"x".to_vec()], ..JournalBatch::default() };

    let tx = runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    refused(handle.execute("DELETE FROM notes", &[]).await, ErrorKind::Unsupported);
    refused(handle.query("SELECT 1", &[]).await, ErrorKind::Unsupported);
    assert_eq!(tx.commit(entries(), Effects::none()).await.unwrap(), 2);
    refused(handle.execute("DELETE FROM notes", &[]).await, ErrorKind::Closed);

    let tx = runs.begin(&lease.fence).await.unwrap();
    let handle = tx.handle();
    tx.rollback().await.unwrap();
    refused(handle.query("SELECT 1", &[]).await, ErrorKind::Closed);

    let tx = runs.begin(&lease.fence).await.unwrap();
    world.clock.advance(LEASE);
    world.claim().await;
    let before = world.snapshot().await;
    refused(tx.commit(entries(), world.effects(Vec::new())).await, ErrorKind::Fenced);
    assert_eq!(world.snapshot().await, before);
}

#[tokio::test]
async fn a_payload_that_does_not_have_its_name_is_not_handed_out() {
    let world = World::new().await;
    let World { stores, ctx, .. } = &world;
    let mut run = world.new_run();
    let [good, bad] = [b"good", b"evil"].map(|bytes| payload_hash(&run.record.salt, bytes));
    let payload = |hash, bytes: &[u8]| Payload { hash, bytes: bytes.to_vec() };
    run.payloads = vec![payload(good, b"good"), payload(bad, b"changed"), payload(good, b"again")];
    let id = run.record.id;
    world.create(run).await.unwrap();
    assert_eq!(stores.index.payloads(ctx, id, &[good, good]).await.unwrap(), [b"good", b"good"]);
    refused(stores.index.payloads(ctx, id, &[good, bad]).await, ErrorKind::Corrupt);
}
