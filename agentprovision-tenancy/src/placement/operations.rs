//! What operators do with placements, over the directory.

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::{Error, OperatorContext, Result};

use super::backend::PlacedBackend;
use super::moving::Mover;
use super::{Placement, PlacementState, Rebalance, plan};

/// Placements that are read at a time.
const PAGE: u32 = 100;

impl PlacedBackend {
    /// Where a tenant is kept.
    pub(super) async fn find(&self, tenant: TenantId) -> Result<Placement> {
        let found = self.router.directory().placement(tenant).await?;
        found.ok_or_else(|| Error::not_found("no such tenant"))
    }

    /// Where all tenants are kept, a page of them.
    pub(super) async fn page(&self, page: PageRequest) -> Result<Page<Placement>> {
        self.router.directory().placements(page).await
    }

    /// Who belongs elsewhere.
    pub(super) async fn plan(&self) -> Result<Vec<Rebalance>> {
        let (shards, mut found, mut ask) = (self.shards(), Vec::new(), PageRequest::limit(PAGE));
        loop {
            let Page { items, next } = self.page(ask).await?;
            found.extend(plan(&items, &shards));
            match next {
                Some(next) => ask = PageRequest::limit(PAGE).after(next),
                None => return Ok(found),
            }
        }
    }

    /// Moves a tenant, whether somebody waits for it or not.
    pub(super) async fn move_to(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        to: String,
    ) -> Result<Placement> {
        let (backend, op) = (self.clone(), op.clone());
        detached(async move { Mover::new(&backend, &op).run(tenant, &to).await }).await
    }

    /// Says where a tenant belongs.
    pub(super) async fn pin(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        shard: Option<String>,
    ) -> Result<Placement> {
        let router = &self.router;
        if let Some(shard) = &shard {
            router.index(shard)?;
        }
        let at = self.find(tenant).await?;
        if at.state != PlacementState::Settled {
            return Err(Error::conflict("the tenant is being made or moved"));
        }
        let mut record =
            AuditRecord::of_operator(op, router.env(), None, "placements.pin", "tenants", tenant);
        if let Some(shard) = &shard {
            router.check_region(&router.named(shard)?.shard, at.region.as_deref())?;
            record = record.with("shard", &**shard);
        }
        let pinned = Placement { pin: shard, epoch: at.epoch + 1, ..at.clone() };
        router.directory().change_placement(pinned.clone(), at.epoch, vec![record]).await?;
        Ok(pinned)
    }
}
