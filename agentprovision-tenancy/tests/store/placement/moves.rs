//! Moving tenants: whole, in spite of movers that die at any step, and of two at once.

use agentprovision_core::ErrorKind;
use agentprovision_core::effect::Effects;
use agentprovision_core::error::Retry;
use agentprovision_core::run::{ClaimRequest, JournalBatch};
use agentprovision_tenancy::placement::{PlacementState, Step};
use agentprovision_tenancy::tenant::LastArchive;

use super::world::{Placed, Rows};
use crate::archives::world::{Full, end_held, kind};
use crate::filled::{path, sealed, work};
use crate::world::watchdog;

/// A tenant, where it is and where it is to go, and its rows as they will be copied.
async fn ready(placed: &Placed) -> (Full, String, String, Rows) {
    let (full, from, to) = placed.full("acme").await;
    let before = placed.rows(full.id).await;
    (full, from, to, before)
}

fn actions(records: &[agentprovision_core::audit::AuditRecord]) -> Vec<&str> {
    let actions = records.iter().map(|record| &*record.action);
    actions.filter(|action| action.starts_with("placements.")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_moves_with_everything_it_has() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (other, ..) = placed.full("other").await;
    let untouched = placed.rows(other.id).await;
    let (full, from, to, before) = ready(&placed).await;
    let moved = placed.placements.move_tenant(placed.op(), full.id, &to).await.unwrap();
    assert_eq!((&*moved.shard, moved.state), (&*to, PlacementState::Settled));
    placed.settled(&full, &to, &before).await;
    assert_eq!(actions(&placed.records(&full).await), ["placements.move_tenant", "placements.moved"]);
    assert_eq!(actions(&placed.platform().await), ["placements.move_tenant", "placements.moved"]);
    let events = placed.stores().events.read(&full.ctx, 0, 1000).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| &*event.event.kind).collect();
    assert!(kinds.ends_with(&["agentprovision.tenant.moving", "agentprovision.tenant.moved"]), "{kinds:?}");
    // Those that nobody had confirmed are handed over from the new home.
    let open = placed.stores().events.unpublished(1000).await.unwrap();
    let open: Vec<_> = open.iter().filter(|event| event.event.tenantid == full.id).collect();
    assert_eq!(open.len(), events.len() - 1);
    // The run goes on with the next worker, and not with the one from before.
    let stale = placed.stores().runs.commit(&full.held.fence, JournalBatch::default(), Effects::none()).await;
    assert_eq!(kind(stale), ErrorKind::Fenced);
    let world = &placed.home.world;
    let ask =
        ClaimRequest::new(world.env.id(), world.env.now().after(std::time::Duration::from_secs(30)), 9, 99);
    let leases = placed.stores().runs.claim(ask).await.unwrap();
    let lease = leases.iter().find(|lease| lease.run.id == full.held.run.id).unwrap();
    placed.stores().runs.commit(&lease.fence, JournalBatch::default(), Effects::none()).await.unwrap();
    // What was begun under a lease, or a key, is ended in the new home.
    let (secrets, keys) = (&placed.stores().secrets, &placed.stores().idempotency);
    secrets.put(&full.ctx, &path("leased"), sealed(2), Some(full.lease)).await.unwrap();
    keys.finish(&full.ctx, &work("open"), 1, None).await.unwrap();
    end_held(placed.stores(), &full.ctx).await.unwrap();
    assert_eq!(placed.rows(other.id).await, untouched);
    // And back again, with everything that came meanwhile.
    let before = placed.rows(full.id).await;
    placed.placements.move_tenant(placed.op(), full.id, &from).await.unwrap();
    placed.settled(&full, &from, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_moved_is_read_and_not_changed() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (full, from, to, before) = ready(&placed).await;
    let (mover, pause) = placed.pausing(Step::Copy);
    let (op, id, target) = (placed.op().clone(), full.id, to.clone());
    let moving = tokio::spawn(async move { mover.move_tenant(&op, id, target).await });
    pause.reached().await;
    let beside = placed.beside().await;
    for placed in [&placed, &beside] {
        let stores = placed.stores();
        assert_eq!(stores.users.list(&full.ctx, Default::default()).await.unwrap().items.len(), 1);
        let error = stores.effects.apply(&full.ctx, Effects::none()).await.unwrap_err();
        assert!(error.is(ErrorKind::Unavailable) && matches!(error.retry(), Retry::After(_)), "{error:?}");
        let (agent, version) = placed.home.world.new_agent("late");
        let late = stores.agents.insert(&full.ctx, agent, version, Effects::none()).await;
        assert_eq!(kind(late), ErrorKind::Unavailable);
        assert_eq!(stores.secrets.get(&full.ctx, &path("leased")).await.unwrap(), sealed(1));
        let late = stores.secrets.put(&full.ctx, &path("leased"), sealed(2), Some(full.lease)).await;
        assert_eq!(kind(late), ErrorKind::Unavailable);
        assert_eq!(kind(end_held(stores, &full.ctx).await), ErrorKind::Unavailable);
        let taken = stores
            .inbox
            .claim(placed.home.world.env.id(), std::time::Duration::from_micros(1), 9, None)
            .await
            .unwrap();
        assert!(taken.iter().all(|one| one.tenant != full.id));
        assert_eq!(stores.inbox.expire(std::time::Duration::ZERO, 9).await.unwrap(), 0);
        let held = stores.runs.commit(&full.held.fence, JournalBatch::default(), Effects::none()).await;
        assert_eq!(kind(held), ErrorKind::Fenced);
        let world = &placed.home.world;
        let until = world.env.now().after(std::time::Duration::from_secs(30));
        let claimed = stores.runs.claim(ClaimRequest::new(world.env.id(), until, 9, 99)).await.unwrap();
        assert_eq!(claimed.len(), 0);
        assert_eq!(stores.events.unpublished(100).await.unwrap(), []);
        // Confirming what was read before does no harm.
        let events = stores.events.read(&full.ctx, 0, 100).await.unwrap();
        stores.events.published(&events).await.unwrap();
        let tenants = stores.tenants.list(placed.op(), Default::default()).await.unwrap().items;
        assert_eq!(tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), [full.id]);
    }
    // Whoever knows one database only is refused by it too.
    for shard in [&from, &to] {
        let alone = placed.alone(shard).await.effects.apply(&full.ctx, Effects::none()).await;
        let expected = if *shard == from { ErrorKind::Unavailable } else { ErrorKind::NotFound };
        match alone {
            // The target knows nothing of the tenant yet, and effects without guards and records do nothing.
            Ok(()) => assert_eq!(*shard, to),
            Err(error) => assert_eq!(error.kind(), expected),
        }
    }
    pause.go_on();
    moving.await.unwrap().unwrap();
    placed.settled(&full, &to, &before).await;
    // The other process had found it in the old home.
    beside.settled(&full, &to, &before).await;
}

/// Moves a tenant with a mover that dies before a step.
async fn dies(placed: &Placed, full: &Full, to: &str, step: Step) {
    let (mover, pause) = placed.pausing(step);
    let (op, id, to) = (placed.op().clone(), full.id, to.to_owned());
    tokio::spawn(async move { mover.move_tenant(&op, id, to).await });
    pause.reached().await;
}

/// Whether a mover that dies before this step leaves the tenant at home in its source.
fn before_flip(step: Step) -> bool {
    Step::FORTH.iter().position(|other| *other == step).unwrap() <= 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_finished_wherever_its_mover_died() {
    for step in Step::FORTH {
        let _watchdog = watchdog();
        let placed = Placed::new().await;
        let (full, from, to, before) = ready(&placed).await;
        dies(&placed, &full, &to, step).await;
        // Other processes find it where it is at home, and read it there; between leaving and settling nobody does.
        let beside = placed.beside().await;
        let at = beside.at(full.id).await;
        assert_eq!(&at.shard, if before_flip(step) { &from } else { &to }, "{step:?}");
        let users = beside.stores().users.list(&full.ctx, Default::default()).await.unwrap();
        assert_eq!(users.items.len(), 1, "{step:?}");
        let moved = beside.placements.move_tenant(beside.op(), full.id, &to).await.unwrap();
        assert_eq!(moved.state, PlacementState::Settled, "{step:?}");
        for placed in [&placed, &beside] {
            placed.settled(&full, &to, &before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_undone_wherever_its_mover_died() {
    for step in Step::FORTH {
        let _watchdog = watchdog();
        let placed = Placed::new().await;
        let (full, from, to, before) = ready(&placed).await;
        dies(&placed, &full, &to, step).await;
        let beside = placed.beside().await;
        match beside.placements.move_tenant(beside.op(), full.id, &from).await {
            Ok(back) => assert_eq!(back.state, PlacementState::Settled, "{step:?}"),
            // Nothing had begun.
            Err(error) => {
                assert!(error.is(ErrorKind::Conflict) && step == Step::Begin, "{step:?}: {error:?}")
            }
        }
        for placed in [&placed, &beside] {
            placed.settled(&full, &from, &before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undoing_that_died_is_gone_on_with() {
    for step in Step::BACK {
        for finish in [true, false] {
            let _watchdog = watchdog();
            let placed = Placed::new().await;
            let (full, from, to, before) = ready(&placed).await;
            dies(&placed, &full, &to, Step::Verify).await;
            dies(&placed, &full, &from, step).await;
            let beside = placed.beside().await;
            let shard = if finish { &to } else { &from };
            let at = beside.placements.move_tenant(beside.op(), full.id, shard).await.unwrap();
            assert_eq!((&at.shard, at.state), (shard, PlacementState::Settled), "{step:?}");
            beside.settled(&full, shard, &before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_movers_the_later_one_does_it() {
    for step in Step::FORTH {
        let _watchdog = watchdog();
        let placed = Placed::new().await;
        let (full, from, to, before) = ready(&placed).await;
        let (mover, pause) = placed.pausing(step);
        let (op, id, target) = (placed.op().clone(), full.id, to.clone());
        let first = tokio::spawn(async move { mover.move_tenant(&op, id, target).await });
        pause.reached().await;
        let beside = placed.beside().await;
        beside.placements.move_tenant(beside.op(), full.id, &to).await.unwrap();
        beside.settled(&full, &to, &before).await;
        let now = beside.rows(full.id).await;
        pause.go_on();
        let first = first.await.unwrap();
        if before_flip(step) {
            assert_eq!(kind(first), ErrorKind::Conflict, "{step:?}");
        } else {
            assert_eq!(first.unwrap().shard, to, "{step:?}");
        }
        // It did nothing more: the tenant is where the other one brought it, as it was.
        assert_eq!(beside.rows(full.id).await, now, "{step:?}");
        beside.settled(&full, &to, &now).await;
        // Nor does one that wakes when the tenant is back where it was.
        beside.placements.move_tenant(beside.op(), full.id, &from).await.unwrap();
        placed.settled(&full, &from, &now).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_wakes_after_the_undoing_does_nothing() {
    for step in [Step::Freeze, Step::Copy, Step::Verify, Step::Flip] {
        let _watchdog = watchdog();
        let placed = Placed::new().await;
        let (full, from, to, before) = ready(&placed).await;
        let (mover, pause) = placed.pausing(step);
        let (op, id, target) = (placed.op().clone(), full.id, to.clone());
        let first = tokio::spawn(async move { mover.move_tenant(&op, id, target).await });
        pause.reached().await;
        let beside = placed.beside().await;
        beside.placements.move_tenant(beside.op(), full.id, &from).await.unwrap();
        pause.go_on();
        assert!(first.await.unwrap().is_err(), "{step:?}");
        placed.settled(&full, &from, &before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_is_refused_and_stays() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (full, from, to, before) = ready(&placed).await;
    let (placements, op) = (&placed.placements, placed.op());
    let unknown = placements.move_tenant(op, full.id, "three").await.unwrap_err();
    assert!(unknown.is(ErrorKind::InvalidInput) && unknown.message().contains("`one`, `two`"), "{unknown:?}");
    assert_eq!(kind(placements.move_tenant(op, full.id, &from).await), ErrorKind::Conflict);
    let nobody = placed.home.world.env.id();
    assert_eq!(kind(placements.move_tenant(op, nobody, &to).await), ErrorKind::NotFound);
    assert_eq!(kind(placements.pin(op, nobody, None).await), ErrorKind::NotFound);
    assert_eq!(kind(placements.pin(op, full.id, Some("x".into())).await), ErrorKind::InvalidInput);
    placements.pin(op, full.id, Some(from.clone())).await.unwrap();
    assert_eq!(kind(placements.move_tenant(op, full.id, &to).await), ErrorKind::Conflict);
    placed.settled(&full, &from, &before).await;
    // A pin elsewhere is a plan, and the move that follows it is none any more.
    placements.pin(op, full.id, Some(to.clone())).await.unwrap();
    let plan = placements.plan(op).await.unwrap();
    assert_eq!((plan.len(), &plan[0].to), (1, &to));
    placements.move_tenant(op, full.id, &to).await.unwrap();
    assert_eq!(placements.plan(op).await.unwrap(), []);
    assert_eq!(
        actions(&placed.platform().await).iter().filter(|action| **action == "placements.pin").count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_otherwise_is_not_taken_for_the_tenant() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (full, from, _, before) = ready(&placed).await;
    // What is done to the copy below is done to a file.
    if from == "one" {
        placed.placements.move_tenant(placed.op(), full.id, "two").await.unwrap();
    }
    let (from, to) = ("two", "one");
    let (mover, pause) = placed.pausing(Step::Verify);
    let (op, id) = (placed.op().clone(), full.id);
    let moving = tokio::spawn(async move { mover.move_tenant(&op, id, to).await });
    pause.reached().await;
    use sqlx::{ConnectOptions as _, Connection as _};
    let file = placed.shards.iter().find(|shard| shard.name == to).unwrap().url.replace("sqlite://", "");
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query("UPDATE users SET name = 'Mallory'").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    pause.go_on();
    let error = moving.await.unwrap().unwrap_err();
    assert!(error.is(ErrorKind::Corrupt), "{error:?}");
    assert_eq!(error.context(), [("tables", "users".to_owned())]);
    placed.settled(&full, from, &before).await;
    assert!(
        actions(&placed.platform().await).ends_with(&["placements.move_tenant", "placements.move_undone"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_goes_away_holds_nobody_up() {
    for step in [Step::Freeze, Step::Copy, Step::Verify] {
        let _watchdog = watchdog();
        let placed = Placed::new().await;
        let (full, from, _) = placed.full("acme").await;
        if from == "two" {
            placed.placements.move_tenant(placed.op(), full.id, "one").await.unwrap();
        }
        let before = placed.rows(full.id).await;
        let (mover, pause) = placed.pausing(step);
        let (op, id) = (placed.op().clone(), full.id);
        let moving = tokio::spawn(async move { mover.move_tenant(&op, id, "two").await });
        pause.reached().await;
        placed.backend.close_shard("two").await.unwrap();
        pause.go_on();
        assert_eq!(kind(moving.await.unwrap()), ErrorKind::Closed, "{step:?}");
        let beside = placed.beside().await;
        beside.stays(&full, "one", &before).await;
        beside.placements.move_tenant(beside.op(), full.id, "two").await.unwrap();
        beside.settled(&full, "two", &before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_deleted_tenant_moves_too() {
    let _watchdog = watchdog();
    let placed = Placed::new().await;
    let (full, _, to, _) = ready(&placed).await;
    placed.home.tenants().delete(placed.op(), full.id, LastArchive::Nothing).await.unwrap();
    let log = placed.stores().audit.entries(&full.ctx, 0, 1000).await.unwrap();
    let events = placed.stores().events.read(&full.ctx, 0, 1000).await.unwrap();
    placed.placements.move_tenant(placed.op(), full.id, &to).await.unwrap();
    assert_eq!(placed.at(full.id).await.shard, to);
    assert_eq!(placed.stores().audit.entries(&full.ctx, 0, 1000).await.unwrap(), log);
    assert_eq!(placed.stores().events.read(&full.ctx, 0, 1000).await.unwrap(), events);
    assert_eq!(placed.home.tenants().get(placed.op(), full.id).await.unwrap().revision, 2);
}
