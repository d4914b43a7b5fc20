//! Where tenants are kept, for operators: [`Placements`].

use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::{Error, OperatorContext, Result};

use super::backend::{PlacedBackend, Router};
use super::moving::Mover;
use super::{Placement, PlacementState, Rebalance, plan};

/// Placements that are read at a time.
const PAGE: u32 = 100;

/// Lists where tenants are kept, says which would be elsewhere, pins and moves them. Cheap to clone.
///
/// A platform with one store has no placements: `unsupported`.
#[derive(Clone, Debug)]
pub struct Placements {
    access: Access,
    router: Option<Arc<Router>>,
    #[cfg(feature = "testing")]
    pause: Option<super::Pause>,
}

impl Placements {
    /// The service over a placed backend, or for a platform without one.
    pub fn new(access: Access, backend: Option<&PlacedBackend>) -> Self {
        Self {
            access,
            router: backend.map(|backend| backend.0.clone()),
            #[cfg(feature = "testing")]
            pause: None,
        }
    }

    /// The same service, whose movers are held up before a step.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn pausing(&self, at: super::Step) -> (Self, super::Pause) {
        let pause = super::Pause::new(at);
        (Self { pause: Some(pause.clone()), ..self.clone() }, pause)
    }

    fn router(&self, op: &OperatorContext) -> Result<&Arc<Router>> {
        self.access.operator(op)?;
        self.router.as_ref().ok_or_else(|| {
            Error::unsupported("this platform keeps its tenants in one store: name several shards")
        })
    }

    /// Where a tenant is kept.
    ///
    /// # Errors
    /// `not_found`, `unsupported`, `foreign_context`.
    pub async fn get(&self, op: &OperatorContext, tenant: TenantId) -> Result<Placement> {
        let found = self.router(op)?.directory().placement(tenant).await?;
        found.ok_or_else(|| Error::not_found("no such tenant"))
    }

    /// Where all tenants are kept, oldest first.
    ///
    /// # Errors
    /// `invalid_input` for a bad page, `unsupported`, `foreign_context`.
    pub async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Placement>> {
        self.router(op)?.directory().placements(page).await
    }

    /// The tenants that belong elsewhere: where they are pinned, or where a new tenant of their id and region would go
    /// today. Nothing is moved. Of one new shard among `n` it is about one tenant in `n`.
    ///
    /// # Errors
    /// `unsupported`, `foreign_context`.
    pub async fn plan(&self, op: &OperatorContext) -> Result<Vec<Rebalance>> {
        let router = self.router(op)?;
        let (shards, mut found, mut ask) = (router.shards(), Vec::new(), PageRequest::limit(PAGE));
        loop {
            let Page { items, next } = router.directory().placements(ask).await?;
            found.extend(plan(&items, &shards));
            match next {
                Some(next) => ask = PageRequest::limit(PAGE).after(next),
                None => return Ok(found),
            }
        }
    }

    /// Moves a tenant to another shard, while it is read: changes are refused with `unavailable` and a hint when to try
    /// again, its runs stop between two steps and go on in the new home. Everything of it is copied as it is and compared
    /// by count and digest before the new home counts. Both logs tell of it, before and after.
    ///
    /// Where a mover died, the next call goes on: with the same shard it finishes, with the tenant's own it undoes what was
    /// begun, with another it does the one or the other and then moves. Of two at once the later one does it all and the
    /// earlier gets `conflict`. An error that leaves the directory as it was has been undone.
    ///
    /// # Errors
    /// `not_found`; `invalid_input` for an unknown shard, or one outside the tenant's region; `conflict` when the tenant is
    /// there already, is pinned elsewhere, or another call took over; `corrupt` when what arrived is not what was sent;
    /// `unavailable` when a database cannot be reached; `unsupported`; `foreign_context`.
    pub async fn move_tenant(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        to: impl Into<String>,
    ) -> Result<Placement> {
        let (router, op, to) = (self.router(op)?.clone(), op.clone(), to.into());
        #[cfg(feature = "testing")]
        let pause = self.pause.clone();
        detached(async move {
            let mover = Mover::new(&router, &op);
            #[cfg(feature = "testing")]
            let mover = Mover { pause, ..mover };
            mover.run(tenant, &to).await
        })
        .await
    }

    /// Says which shard a tenant belongs in, whatever the hash says; without one the hash says it again. The tenant is
    /// not moved: [`Placements::plan`] tells that it has to be. Recorded in the platform log.
    ///
    /// # Errors
    /// `not_found`; `invalid_input` for an unknown shard, or one outside the tenant's region; `conflict` while the tenant
    /// is being made or moved; `unsupported`; `foreign_context`.
    pub async fn pin(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        shard: Option<String>,
    ) -> Result<Placement> {
        let router = self.router(op)?;
        if let Some(shard) = &shard {
            router.index(shard)?;
        }
        let at = self.get(op, tenant).await?;
        if at.state != PlacementState::Settled {
            return Err(Error::conflict("the tenant is being made or moved"));
        }
        if let Some(shard) = &shard {
            router.check_region(&router.named(shard)?.shard, at.region.as_deref())?;
        }
        let env = self.access.env();
        let mut record = AuditRecord::of_operator(op, env, None, "placements.pin", "tenants", tenant);
        if let Some(shard) = &shard {
            record = record.with("shard", &**shard);
        }
        let pinned = Placement { pin: shard, epoch: at.epoch + 1, ..at.clone() };
        router.directory().change_placement(pinned.clone(), at.epoch, vec![record]).await?;
        Ok(pinned)
    }
}
