//! Where tenants are kept, for operators: [`Placements`].

use agentprovision_core::access::Access;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::{Error, OperatorContext, Result};

use super::{PlacedBackend, Placement, Rebalance};

/// Lists where tenants are kept, says which would be elsewhere, pins and moves them. Cheap to clone.
///
/// A platform with one store has no placements: `unsupported`.
#[derive(Clone, Debug)]
pub struct Placements {
    access: Access,
    backend: Option<PlacedBackend>,
}

impl Placements {
    /// The service over a placed backend, or for a platform without one.
    pub fn new(access: Access, backend: Option<&PlacedBackend>) -> Self {
        Self { access, backend: backend.cloned() }
    }

    fn backend(&self, op: &OperatorContext) -> Result<&PlacedBackend> {
        self.access.operator(op)?;
        self.backend.as_ref().ok_or_else(|| {
            Error::unsupported("this platform keeps its tenants in one store: name several shards")
        })
    }

    /// Where a tenant is kept.
    ///
    /// # Errors
    /// `not_found`, `unsupported`, `foreign_context`.
    pub async fn get(&self, op: &OperatorContext, tenant: TenantId) -> Result<Placement> {
        self.backend(op)?.find(tenant).await
    }

    /// Where all tenants are kept, oldest first.
    ///
    /// # Errors
    /// `invalid_input` for a bad page, `unsupported`, `foreign_context`.
    pub async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Placement>> {
        self.backend(op)?.page(page).await
    }

    /// The tenants that belong elsewhere: where they are pinned, or where a new tenant of their id and region would go
    /// today. Nothing is moved. Of one new shard among `n` it is about one tenant in `n`.
    ///
    /// # Errors
    /// `unsupported`, `foreign_context`.
    pub async fn plan(&self, op: &OperatorContext) -> Result<Vec<Rebalance>> {
        self.backend(op)?.plan().await
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
        self.backend(op)?.move_to(op, tenant, to.into()).await
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
        self.backend(op)?.pin(op, tenant, shard).await
    }
}
