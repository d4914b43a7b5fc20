//! Moving a tenant: the steps, what undoes them, and how a move that was left is gone on with.

use agentprovision_core::archive::{ArchiveSummary, Layout, Part, Writer};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::effect::Effects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::TenantId;
use agentprovision_core::{Error, ErrorKind, OperatorContext, Result};
use serde_json::json;
use tokio::sync::mpsc;

use super::backend::{Member, PlacedBackend, Router};
use super::{Placement, PlacementState};

/// Parts that wait between the databases.
const PARTS: usize = 4;

/// A step of a move that is about to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "seen by tests alone"))]
pub enum Step {
    /// The directory is told that the tenant moves.
    Begin,
    /// The source freezes.
    Freeze,
    /// The rows are copied.
    Copy,
    /// What arrived is compared.
    Verify,
    /// The directory is told of the new home.
    Flip,
    /// The source is told that the tenant has left.
    Leave,
    /// The target is told that the tenant is at home.
    Settle,
    /// The source's rows are removed.
    Clear,
    /// The directory is told that it is over.
    Done,
    /// A move that is undone is taken over.
    TakeOver,
    /// The source thaws.
    Thaw,
    /// What arrived is removed from the target.
    Discard,
    /// The directory is told that the move is undone.
    Undone,
}

#[cfg(feature = "testing")]
impl Step {
    /// The steps of a move that goes well, in their order.
    pub const FORTH: [Self; 9] = [
        Self::Begin,
        Self::Freeze,
        Self::Copy,
        Self::Verify,
        Self::Flip,
        Self::Leave,
        Self::Settle,
        Self::Clear,
        Self::Done,
    ];
    /// The steps that undo a move.
    pub const BACK: [Self; 4] = [Self::TakeOver, Self::Thaw, Self::Discard, Self::Undone];
}

/// Holds a mover up before a step, for tests: one that is never let go is one whose process died there.
#[cfg(feature = "testing")]
#[derive(Clone, Debug)]
pub struct Pause(std::sync::Arc<Held>);

#[cfg(feature = "testing")]
#[derive(Debug)]
struct Held {
    at: Step,
    reached: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
}

#[cfg(feature = "testing")]
impl Pause {
    pub(super) fn new(at: Step) -> Self {
        let (reached, go_on) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        Self(std::sync::Arc::new(Held { at, reached, go_on }))
    }

    /// Waits until the mover is there.
    pub async fn reached(&self) {
        self.0.reached.notified().await;
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.0.go_on.notify_one();
    }

    async fn hold(&self, step: Step) {
        if step == self.0.at {
            self.0.reached.notify_one();
            self.0.go_on.notified().await;
        }
    }
}

/// Who moves, and on whose behalf.
pub(super) struct Mover<'a> {
    backend: &'a PlacedBackend,
    router: &'a Router,
    op: &'a OperatorContext,
}

impl<'a> Mover<'a> {
    pub(super) fn new(backend: &'a PlacedBackend, op: &'a OperatorContext) -> Self {
        Self { backend, router: &backend.router, op }
    }

    /// Tests hold a mover up here.
    async fn step(&self, step: Step) {
        #[cfg(feature = "testing")]
        if let Some(pause) = &self.backend.pause {
            pause.hold(step).await;
        }
        tracing::debug!(?step, "a tenant is moved");
    }

    /// Moves a tenant, or finishes or undoes a move that was begun.
    pub(super) async fn run(&self, tenant: TenantId, to: &str) -> Result<Placement> {
        self.router.index(to)?;
        let target = self.router.named(to)?;
        let mut at = self.backend.find(tenant).await?;
        let begun = at.state;
        if at.state == PlacementState::Leaving {
            at = self.finish(at).await?;
        }
        if at.state == PlacementState::Moving && at.other.as_deref() != Some(to) {
            at = self.undo(at).await?;
        }
        if at.shard == to {
            return match begun {
                PlacementState::Settled => Err(Error::conflict(format!("the tenant is in `{to}` already"))),
                _ => Ok(at),
            };
        }
        if at.state == PlacementState::Creating {
            return Err(Error::conflict("the tenant is being made"));
        }
        self.router.check_region(&target.shard, at.region.as_deref())?;
        if at.pin.as_deref().is_some_and(|pin| pin != to) {
            return Err(Error::conflict("the tenant is pinned to another shard"));
        }
        let at = self.begin(at, to).await?;
        if let Err(error) = self.transfer(&at, self.router.named(&at.shard)?, target).await {
            return Err(match self.undo(at).await {
                Ok(_) => error,
                // Somebody took over, and that is why.
                Err(left) if left.is(ErrorKind::Conflict) => left.with_source(error),
                Err(left) => {
                    tracing::warn!(error = ?left, "a move that failed waits to be undone or gone on with");
                    error
                }
            });
        }
        // From here on the directory alone says where the tenant is at home.
        let at = self.flip(at).await?;
        self.finish(at).await
    }

    /// Writes the directory's row, one epoch on, with a record of the platform log.
    async fn turn(&self, from: &Placement, to: Placement, record: Option<AuditRecord>) -> Result<Placement> {
        let to = Placement { epoch: from.epoch + 1, ..to };
        self.router.directory().change_placement(to.clone(), from.epoch, Vec::from_iter(record)).await?;
        self.router.remember(&to)?;
        Ok(to)
    }

    fn record(&self, log: Option<TenantId>, at: &Placement, action: &str) -> AuditRecord {
        let env = self.router.env();
        AuditRecord::of_operator(self.op, env, log, action, "tenants", at.tenant_id)
    }

    /// What tells of the move in the tenant: a record and an event.
    fn told(&self, at: &Placement, action: &str, event: &str, from: &str, to: &str) -> Effects {
        let record = self.record(Some(at.tenant_id), at, action).with("from", from).with("to", to);
        let request = self.op.request_id().to_string();
        let data = json!({ "from": from, "to": to });
        let event = PlatformEvent::new(self.router.env(), at.tenant_id, event, at.tenant_id, data)
            .with_correlation(request.clone(), Some(request));
        Effects { audit: vec![record], events: vec![event], ..Effects::none() }
    }

    async fn begin(&self, at: Placement, to: &str) -> Result<Placement> {
        self.step(Step::Begin).await;
        let record = self.record(None, &at, "placements.move_tenant").with("from", &*at.shard).with("to", to);
        let moving = Placement { state: PlacementState::Moving, other: Some(to.to_owned()), ..at.clone() };
        self.turn(&at, moving, Some(record)).await
    }

    /// Everything up to the flip.
    async fn transfer(&self, at: &Placement, source: &Member, target: &Member) -> Result<()> {
        let (tenant, epoch) = (at.tenant_id, at.epoch);
        self.step(Step::Freeze).await;
        let told =
            self.told(at, "placements.move_tenant", "tenant.moving", &source.shard.name, &target.shard.name);
        source.sql.freeze(tenant, epoch, told).await?;
        self.step(Step::Copy).await;
        let layout = source.sql.layout();
        let (parts, taken) = mpsc::channel(PARTS);
        let (copied, written) = mpsc::channel(PARTS);
        let (seen, digested) = mpsc::channel(PARTS);
        let (given, _, written, sent) = futures_util::join!(
            source.sql.copy_out(tenant, parts),
            both(taken, copied, seen),
            target.sql.copy_in(tenant, epoch, written),
            digest(digested, layout),
        );
        let sent = first([given, written], sent)?;
        self.step(Step::Verify).await;
        let (parts, arrived) = mpsc::channel(PARTS);
        let (given, arrived) =
            futures_util::join!(target.sql.copy_out(tenant, parts), digest(arrived, layout));
        let arrived = first([given], arrived)?;
        if sent.tables != arrived.tables || sent.header.audit != arrived.header.audit {
            let tables = sent.tables.iter().zip(&arrived.tables);
            let other = tables.filter(|(sent, arrived)| sent != arrived).map(|(sent, _)| &*sent.name);
            let message = "what arrived of the tenant is not what was sent";
            return Err(Error::corrupt(message).with_context("tables", Vec::from_iter(other).join(" ")));
        }
        Ok(())
    }

    async fn flip(&self, at: Placement) -> Result<Placement> {
        self.step(Step::Flip).await;
        let (Some(to), from) = (at.other.clone(), at.shard.clone()) else {
            return Err(Error::corrupt("the directory does not say where a tenant is moved to"));
        };
        let record = self.record(None, &at, "placements.moved").with("from", &*from).with("to", &*to);
        let moved = Placement { state: PlacementState::Leaving, shard: to, other: Some(from), ..at.clone() };
        self.turn(&at, moved, Some(record)).await
    }

    /// Everything behind the flip.
    async fn finish(&self, at: Placement) -> Result<Placement> {
        let (tenant, epoch) = (at.tenant_id, at.epoch);
        let target = self.router.named(&at.shard)?;
        let source = self.router.named(at.other.as_deref().unwrap_or_default())?;
        let result = async {
            self.step(Step::Leave).await;
            source.sql.leave(tenant, epoch).await?;
            self.step(Step::Settle).await;
            let told =
                self.told(&at, "placements.moved", "tenant.moved", &source.shard.name, &target.shard.name);
            target.sql.settle(tenant, epoch, told).await?;
            self.step(Step::Clear).await;
            source.sql.discard(tenant, epoch).await?;
            self.step(Step::Done).await;
            let done = Placement { state: PlacementState::Settled, other: None, ..at.clone() };
            self.turn(&at, done, None).await
        };
        match result.await {
            // Somebody else may have been faster with the same steps.
            Err(error) if error.is(ErrorKind::Conflict) => {
                let now = self.backend.find(tenant).await?;
                if now.state == PlacementState::Settled && now.shard == at.shard {
                    Ok(now)
                } else {
                    Err(error)
                }
            }
            result => result,
        }
    }

    /// Undoes a move before its flip: the source is the tenant's home as before.
    async fn undo(&self, at: Placement) -> Result<Placement> {
        self.step(Step::TakeOver).await;
        // Whoever was at it does nothing more.
        let at = self.turn(&at, at.clone(), None).await?;
        let (tenant, epoch) = (at.tenant_id, at.epoch);
        let source = self.router.named(&at.shard)?;
        let target = self.router.named(at.other.as_deref().unwrap_or_default())?;
        self.step(Step::Thaw).await;
        let told = self.told(
            &at,
            "placements.move_undone",
            "tenant.move_undone",
            &source.shard.name,
            &target.shard.name,
        );
        source.sql.settle(tenant, epoch, told).await?;
        self.step(Step::Discard).await;
        // What stays there is nobody's, and the next copy takes its place: a target that is gone holds nobody up.
        if let Err(error) = target.sql.discard(tenant, epoch).await {
            tracing::warn!(shard = target.shard.name, ?error, "rows of a tenant that did not move are left");
        }
        self.step(Step::Undone).await;
        let record = self
            .record(None, &at, "placements.move_undone")
            .with("from", &*source.shard.name)
            .with("to", &*target.shard.name);
        let settled = Placement { state: PlacementState::Settled, other: None, ..at.clone() };
        self.turn(&at, settled, Some(record)).await
    }
}

/// Gives every part to both.
async fn both(mut from: mpsc::Receiver<Part>, one: mpsc::Sender<Part>, two: mpsc::Sender<Part>) {
    while let Some(part) = from.recv().await {
        if two.send(part.clone()).await.is_err() || one.send(part).await.is_err() {
            return;
        }
    }
}

/// Counts and digests of what is copied, as an archive of it would have them.
async fn digest(mut parts: mpsc::Receiver<Part>, layout: &'static Layout) -> Result<ArchiveSummary> {
    let unread = || Error::new(ErrorKind::Cancelled, "the tenant was not copied to its end");
    let counted = tokio::task::spawn_blocking(move || {
        let Some(Part::Header(header)) = parts.blocking_recv() else { return Err(unread()) };
        let mut writer = Writer::new(std::io::sink(), header, layout)?;
        loop {
            match parts.blocking_recv() {
                Some(Part::Rows(table, rows)) => {
                    rows.iter().try_for_each(|row| writer.row(table, row))?;
                }
                Some(Part::End) => return Ok(writer.finish()?.0),
                _ => return Err(unread()),
            }
        }
    });
    counted.await.map_err(|error| Error::internal("the work was interrupted").with_source(error))?
}

/// What all sides of a copy came to: the one that stopped first says why, the others only that they were left.
fn first<T, const N: usize>(sides: [Result<()>; N], digest: Result<T>) -> Result<T> {
    let mut left = None;
    let mut digested = None;
    let errors = sides.into_iter().filter_map(Result::err);
    for error in errors.chain(match digest {
        Ok(value) => {
            digested = Some(value);
            None
        }
        Err(error) => Some(error),
    }) {
        if !error.is(ErrorKind::Cancelled) {
            return Err(error);
        }
        left = Some(error);
    }
    match (left, digested) {
        (None, Some(value)) => Ok(value),
        (Some(error), _) => Err(error),
        (None, None) => Err(Error::internal("a copy has no digest")),
    }
}
