//! Writes what work left behind, in the background: usage and audit records of what stored nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{EffectStore, Effects, Guard};
use crate::audit::AuditRecord;
use crate::clock::Env;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;
use crate::money::NanoUsd;
use crate::usage::UsageEvent;

/// Work under way at one time; more of it waits for its turn.
const UNDER_WAY: usize = 16_384;
/// Pieces of work that are written in one commit, at most.
const AT_ONCE: usize = 256;
/// Bills that are kept for another try, at most; beyond that the oldest are given up.
const KEPT: usize = 65_536;
/// The first pause before what could not be written is tried again; it doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bills of one round that may fail by themselves. When so many do, it is the store, and the others need not be tried.
const FAILURES: usize = 3;
/// How long work under way may go on when a platform is closed.
const GRACE: Duration = Duration::from_secs(10);
/// How long it has to end once it was told.
const LAST: Duration = Duration::from_secs(1);

/// Writes usage and audit records in the background: one task, which takes what waits into one commit. What the store does
/// not take is kept and tried again. Cheap to clone; every clone is the same writer.
#[derive(Clone, Debug)]
pub struct EffectWriter {
    bills: mpsc::Sender<Bill>,
    env: Env,
    /// No more work is taken.
    closing: CancellationToken,
    /// Work under way ends.
    cutoff: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl EffectWriter {
    /// Starts the task. Must be called within a tokio runtime.
    pub fn start(store: Arc<dyn EffectStore>, env: Env) -> Self {
        let (bills, queue) = mpsc::channel(UNDER_WAY);
        let (closing, cutoff) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(Writer::new(store, env.clone()).run(queue, closing.clone(), cutoff.clone()));
        Self { bills, env, closing, cutoff, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Clock, entropy and ids.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Fires when work under way has to end, because the writer is closed and has waited for a while.
    pub fn cutoff(&self) -> &CancellationToken {
        &self.cutoff
    }

    /// Takes no more work, waits a while for what is under way, ends what is left, and returns when all is written, or when
    /// the store has refused it for too long. Closing twice is harmless, and so is giving up waiting: the writing goes on, and
    /// another call waits for its end. The store must be open until then.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            if let Err(error) = running.await {
                tracing::error!(%error, "the writer of usage was lost");
            }
            // Only now: whoever stops waiting before leaves it to the next one.
            *task = None;
        }
    }

    /// Room for what a piece of work leaves behind, kept from its beginning, so that its end needs neither to wait nor to fail.
    /// The writer does not close before it is used or dropped.
    ///
    /// # Errors
    /// `closed`.
    pub async fn room(&self) -> Result<Room> {
        let room = self.bills.clone().reserve_owned().await;
        room.map(Room).map_err(|_| Error::closed("the platform is closed"))
    }
}

/// Room for what one piece of work leaves behind.
#[derive(Debug)]
pub struct Room(mpsc::OwnedPermit<Bill>);

impl Room {
    /// Hands it on. What comes back ends with a value when it is written, and with an error when the store did not take it at
    /// once, which then tries again by itself.
    pub fn send(
        self,
        ctx: Context,
        usage: Vec<UsageEvent>,
        audit: Vec<AuditRecord>,
    ) -> oneshot::Receiver<()> {
        let (written, wait) = oneshot::channel();
        self.0.send(Bill { ctx, usage, audit, written: Some(written), alone: false });
        wait
    }
}

/// What one piece of work left behind, on its way to the store. The store knows usage by its id, so writing it twice is
/// harmless.
struct Bill {
    ctx: Context,
    usage: Vec<UsageEvent>,
    audit: Vec<AuditRecord>,
    /// Who waits until it is written.
    written: Option<oneshot::Sender<()>>,
    /// Whether it failed with others more than once, so that it is tried alone.
    alone: bool,
}

/// What happened while the task waited.
enum Woken {
    /// There are new bills.
    Bills,
    /// What is kept is to be tried again.
    Retry,
    /// There will be no more bills.
    Ended,
    /// The time is over.
    Late,
}

struct Writer {
    store: Arc<dyn EffectStore>,
    env: Env,
    /// Taken from the queue and not tried yet.
    new: Vec<Bill>,
    /// What the store did not take, the oldest first.
    kept: VecDeque<Bill>,
    pause: Duration,
    /// When what is kept is tried again, by the monotonic clock.
    retry_at: Duration,
}

impl Writer {
    fn new(store: Arc<dyn EffectStore>, env: Env) -> Self {
        let (new, kept) = (Vec::new(), VecDeque::new());
        Self { store, env, new, kept, pause: PAUSE, retry_at: Duration::ZERO }
    }

    /// Writes bills until `closing`; then for a while those of requests under way, which `cutoff` ends.
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Bill>,
        closing: CancellationToken,
        cutoff: CancellationToken,
    ) {
        // Only the wait is given up: what was taken from the queue is written.
        while let Some(woken) = closing.run_until_cancelled(self.wait(&mut queue, None)).await {
            match woken {
                Woken::Bills => self.write().await,
                Woken::Retry => self.retry().await,
                Woken::Ended | Woken::Late => break,
            }
        }
        queue.close();
        (self.pause, self.retry_at) = (PAUSE, self.env.monotonic());
        let over = self.env.monotonic().saturating_add(GRACE);
        // The queue ends with the last request that is under way.
        let mut ended = self.until(&mut queue, over).await;
        cutoff.cancel();
        if !ended {
            let last = self.env.monotonic().saturating_add(LAST);
            ended = self.until(&mut queue, last).await;
        }
        if !ended {
            tracing::error!("work was still under way when the platform closed; what it used is lost");
        }
        while !self.kept.is_empty() && self.retry_at <= over {
            self.env.sleep(self.retry_at.saturating_sub(self.env.monotonic())).await;
            self.retry().await;
        }
        for bill in &self.kept {
            lost(bill, "what was used could not be written before the platform closed");
        }
    }

    /// Writes until the queue ends, which is true, or the time is over.
    async fn until(&mut self, queue: &mut mpsc::Receiver<Bill>, over: Duration) -> bool {
        loop {
            match self.wait(queue, Some(over)).await {
                Woken::Bills => self.write().await,
                Woken::Retry => self.retry().await,
                Woken::Ended => return true,
                Woken::Late => return false,
            }
        }
    }

    /// Waits for something to do. Nothing is lost when this is dropped.
    async fn wait(&mut self, queue: &mut mpsc::Receiver<Bill>, over: Option<Duration>) -> Woken {
        let retry = (!self.kept.is_empty()).then_some(self.retry_at);
        let bills = queue.recv_many(&mut self.new, AT_ONCE);
        let count = match [retry, over].into_iter().flatten().min() {
            Some(at) => self.env.timeout(at.saturating_sub(self.env.monotonic()), bills).await,
            None => Some(bills.await),
        };
        match count {
            Some(0) => Woken::Ended,
            Some(_) => Woken::Bills,
            None if retry.is_some_and(|at| at <= self.env.monotonic()) => Woken::Retry,
            None => Woken::Late,
        }
    }

    /// Writes new bills, those of a tenant together.
    async fn write(&mut self) {
        let bills = std::mem::take(&mut self.new);
        let was_empty = self.kept.is_empty();
        for (tenant, bills) in by_tenant(bills) {
            if let Some(bills) = self.together(tenant, bills).await {
                self.keep(bills);
            }
        }
        if was_empty {
            self.pause = PAUSE;
            self.retry_at = self.env.monotonic().saturating_add(self.pause);
        }
    }

    /// Tries again what is kept: those of a tenant together, and alone those that failed so again.
    async fn retry(&mut self) {
        let (alone, fresh): (VecDeque<Bill>, _) = self.kept.drain(..).partition(|bill| bill.alone);
        self.kept = alone;
        let mut failed = 0;
        for (tenant, bills) in by_tenant(fresh) {
            if let Some(mut bills) = self.together(tenant, bills).await {
                bills.iter_mut().for_each(|bill| bill.alone = true);
                self.keep(bills);
            }
        }
        for _ in 0..self.kept.len() {
            // Those that fail go to the end, so that they are not in the way of the others next time.
            let Some(bill) = self.kept.pop_front() else { break };
            if let Some(bills) = self.together(bill.ctx.tenant(), vec![bill]).await {
                self.keep(bills);
                failed += 1;
                if failed == FAILURES {
                    break;
                }
            }
        }
        self.pause = if failed == 0 { PAUSE } else { self.pause.saturating_mul(2).min(LONGEST_PAUSE) };
        self.retry_at = self.env.monotonic().saturating_add(self.pause);
    }

    /// Writes the bills of a tenant in one commit; gives them back when the store may take them another time.
    async fn together(&self, tenant: TenantId, mut bills: Vec<Bill>) -> Option<Vec<Bill>> {
        let ctx = bills.first()?.ctx.clone();
        let usage = bills.iter().flat_map(|bill| bill.usage.iter().cloned()).collect();
        let audit = bills.iter().flat_map(|bill| bill.audit.iter().cloned()).collect();
        let effects = Effects { guards: vec![Guard::TenantExists], usage, audit, ..Effects::none() };
        let written = self.store.apply(&ctx, effects).await;
        for waiting in bills.iter_mut().filter_map(|bill| bill.written.take()) {
            if written.is_ok() {
                // Whoever waited may be gone.
                let _ = waiting.send(());
            }
        }
        let error = written.err()?;
        if error.is(ErrorKind::NotFound) {
            bills.iter().for_each(|bill| lost(bill, "what was used is of a tenant that is gone"));
            return None;
        }
        warn(tenant, &error, bills.len());
        Some(bills)
    }

    fn keep(&mut self, bills: Vec<Bill>) {
        self.kept.extend(bills);
        let over = self.kept.len().saturating_sub(KEPT);
        for bill in self.kept.drain(..over) {
            lost(&bill, "what was used could not be written, and there is too much to keep all of it");
        }
    }
}

fn by_tenant(bills: impl IntoIterator<Item = Bill>) -> BTreeMap<TenantId, Vec<Bill>> {
    let mut tenants: BTreeMap<TenantId, Vec<Bill>> = BTreeMap::new();
    for bill in bills {
        tenants.entry(bill.ctx.tenant()).or_default().push(bill);
    }
    tenants
}

fn warn(tenant: TenantId, error: &Error, requests: usize) {
    tracing::warn!(%tenant, requests, ?error, "what was used could not be written; it is tried again");
}

/// Says what is not written any more.
fn lost(bill: &Bill, why: &str) {
    let (usage, records) = (bill.usage.len(), bill.audit.len());
    let cost: NanoUsd = bill.usage.iter().filter_map(|event| event.cost).sum();
    tracing::error!(tenant = %bill.ctx.tenant(), usage, records, %cost, "{why}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    use async_trait::async_trait;

    use super::*;
    use crate::authz::PermissionSet;
    use crate::clock::{ManualClock, OsEntropy, Timestamp};
    use crate::context::{ContextIssuer, Identity, Principal, RequestInfo};
    use crate::id::UsageId;
    use crate::usage::Meter;

    /// Takes usage, but for what a test wants it to refuse.
    #[derive(Debug, Default)]
    struct Store {
        /// How many commits fail from now on, and with what.
        failing: Mutex<Vec<ErrorKind>>,
        /// An event that never gets in.
        poison: Mutex<Option<UsageId>>,
        written: Mutex<Vec<(TenantId, UsageId)>>,
    }

    #[async_trait]
    impl EffectStore for Store {
        async fn apply(&self, ctx: &Context, effects: Effects) -> Result<()> {
            assert_eq!(effects.guards, [Guard::TenantExists]);
            let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let poison = *self.poison.lock().unwrap();
            let is_poisoned = effects.usage.iter().any(|event| Some(event.id) == poison);
            if let Some(kind) = failing.or_else(|| is_poisoned.then_some(ErrorKind::Corrupt)) {
                return Err(Error::new(kind, "no"));
            }
            let events = effects.usage.into_iter().map(|event| (ctx.tenant(), event.id));
            self.written.lock().unwrap().extend(events);
            Ok(())
        }
    }

    struct World {
        clock: ManualClock,
        env: Env,
        store: Arc<Store>,
        tenants: [Context; 2],
    }

    impl World {
        fn new(failing: impl Into<Vec<ErrorKind>>) -> Self {
            let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
            let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
            let issuer = ContextIssuer::new(env.clone());
            let tenants = [(); 2].map(|()| {
                let (tenant, principal) = (env.id(), Principal::User(env.id()));
                let scopes = PermissionSet::EMPTY;
                let identity = Identity { tenant, principal, scopes, expires: None, key: None };
                issuer.context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
            });
            let store = Arc::new(Store { failing: Mutex::new(failing.into()), ..Store::default() });
            Self { clock, env, store, tenants }
        }

        /// A bill of one event, with the event's id and what tells that it is written.
        fn bill(&self, tenant: usize) -> (Bill, UsageId, oneshot::Receiver<()>) {
            let (written, wait) = oneshot::channel();
            let event = UsageEvent {
                id: self.env.id(),
                meter: Meter::LlmRequests,
                quantity: 1,
                at: self.env.now(),
                user: None,
                agent: None,
                run: None,
                model: Some("m".into()),
                cost: Some(NanoUsd::from_nanos(7)),
            };
            let id = event.id;
            (
                Bill {
                    ctx: self.tenants[tenant].clone(),
                    usage: vec![event],
                    audit: Vec::new(),
                    written: Some(written),
                    alone: false,
                },
                id,
                wait,
            )
        }

        /// Moves the clock on, second by second, until something is so.
        async fn until(&self, mut is: impl FnMut() -> bool) {
            let waiting = async {
                while !is() {
                    self.clock.advance(Duration::from_millis(500));
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                }
            };
            Env::default().timeout(Duration::from_secs(30), waiting).await.expect("the test hangs");
        }

        fn written(&self) -> Vec<(TenantId, UsageId)> {
            self.store.written.lock().unwrap().clone()
        }

        /// The task, with its queue and what closes it.
        fn start(
            &self,
        ) -> (mpsc::Sender<Bill>, CancellationToken, CancellationToken, tokio::task::JoinHandle<()>) {
            let (bills, queue) = mpsc::channel(16);
            let (closing, cutoff) = (CancellationToken::new(), CancellationToken::new());
            let writer = Writer::new(self.store.clone(), self.env.clone());
            let task = tokio::spawn(writer.run(queue, closing.clone(), cutoff.clone()));
            (bills, closing, cutoff, task)
        }
    }

    #[tokio::test]
    async fn what_the_store_refuses_for_a_while_is_written_later_and_once() {
        // Three tries of the first tenant's, together and alone.
        let world = World::new([ErrorKind::Unavailable; 3]);
        let (bills, closing, _, task) = world.start();
        let (mut expected, mut waits) = (BTreeSet::new(), Vec::new());
        for _ in 0..3 {
            let (bill, id, wait) = world.bill(0);
            expected.insert((world.tenants[0].tenant(), id));
            waits.push(wait);
            bills.send(bill).await.unwrap();
        }
        for wait in waits {
            assert!(wait.await.is_err(), "nobody is told that it is written, nor waits for it");
        }
        assert!(world.written().is_empty());
        world.until(|| world.written().len() == 3).await;
        // Meanwhile and afterwards others are written as ever.
        let (bill, id, wait) = world.bill(1);
        bills.send(bill).await.unwrap();
        wait.await.unwrap();
        expected.insert((world.tenants[1].tenant(), id));
        drop(bills);
        closing.cancel();
        task.await.unwrap();
        let written = world.written();
        assert_eq!((written.len(), written.into_iter().collect::<BTreeSet<_>>()), (4, expected));
    }

    #[tokio::test]
    async fn a_bill_that_is_never_taken_does_not_keep_the_others_out() {
        let world = World::new([]);
        let (bills, closing, _, task) = world.start();
        let mut ids = Vec::new();
        for at in 0..3 {
            let (bill, id, _) = world.bill(0);
            ids.push(id);
            if at == 1 {
                *world.store.poison.lock().unwrap() = Some(id);
            }
            // In one commit: the task has not run yet.
            bills.try_send(bill).unwrap();
        }
        world.until(|| world.written().len() == 2).await;
        drop(bills);
        closing.cancel();
        // It is tried until the grace is over, and then given up.
        world.until(|| task.is_finished()).await;
        let written: Vec<UsageId> = world.written().into_iter().map(|(_, id)| id).collect();
        assert_eq!(written, [ids[0], ids[2]]);
    }

    #[tokio::test]
    async fn a_close_goes_on_trying_for_a_while() {
        let world = World::new([ErrorKind::Unavailable; 4]);
        let (bills, closing, cutoff, task) = world.start();
        let (bill, id, _) = world.bill(0);
        bills.try_send(bill).unwrap();
        drop(bills);
        closing.cancel();
        world.until(|| task.is_finished()).await;
        assert_eq!(world.written(), [(world.tenants[0].tenant(), id)]);
        assert!(cutoff.is_cancelled());
    }

    #[tokio::test]
    async fn usage_of_a_tenant_that_is_gone_is_not_kept() {
        let world = World::new([ErrorKind::NotFound]);
        let (bills, closing, _, task) = world.start();
        let ((bill, ..), (other, id, _)) = (world.bill(0), world.bill(1));
        bills.send(bill).await.unwrap();
        while !world.store.failing.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        bills.send(other).await.unwrap();
        drop(bills);
        closing.cancel();
        // Nothing is left to try, so nobody waits for the clock.
        Env::default().timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        assert_eq!(world.written(), [(world.tenants[1].tenant(), id)]);
    }

    #[tokio::test]
    async fn a_close_that_nobody_waits_for_is_waited_for_by_the_next() {
        let world = World::new([]);
        let writer = EffectWriter::start(world.store.clone(), world.env.clone());
        let room = writer.room().await.unwrap();
        for _ in 0..2 {
            let mut closing = Box::pin(writer.close());
            for _ in 0..20 {
                assert!(futures_util::poll!(&mut closing).is_pending(), "a request is under way");
                tokio::task::yield_now().await;
            }
        }
        drop(room);
        Env::default().timeout(Duration::from_secs(30), writer.close()).await.unwrap();
    }
}
