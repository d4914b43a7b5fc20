//! Tenants above all shards: made in one of them, listed from the directory, their domains unique among all.
//!
//! The directory's row comes before the tenant and its domain's claim before the change, so nothing is anywhere twice.
//! Who dies in between leaves a claim that whoever needs the domain next gives up.

use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::effect::{Guard, OperatorEffects};
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::tenant::{Revision, Tenant, TenantState, TenantStore};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::future::join_all;

use super::backend::{PlacedBackend, Router};
use super::{Placement, PlacementState};
use crate::store::sql::directory::Claimed;
use crate::store::sql::residence::is_away;

/// How often an abandoned claim is given up before the next one is believed.
const TRIES: usize = 3;

fn taken(tenant: TenantId, holder: TenantId) -> Error {
    Error::already_exists(match tenant == holder {
        true => "the id of the tenant is taken",
        false => "the domain is taken",
    })
}

/// Whether an error leaves open what became of the change.
fn is_open(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Internal
            | ErrorKind::Uncertain
            | ErrorKind::Closed
            | ErrorKind::DeadlineExceeded
    )
}

impl Router {
    /// Names a new tenant in the directory.
    pub(super) async fn name(&self, placement: &Placement, domain: Option<&str>) -> Result<()> {
        let tenant = placement.tenant_id;
        for _ in 0..TRIES {
            let named = self.directory().add_placement(placement.clone(), domain.map(str::to_owned)).await?;
            match named {
                None => return Ok(()),
                Some(holder) if self.abandoned(holder, tenant).await? => {}
                Some(holder) => return Err(taken(tenant, holder)),
            }
        }
        Err(super::backend::busy("others are making tenants of the same name"))
    }

    /// Claims a domain for a tenant that is there.
    pub(super) async fn claim_domain(&self, tenant: TenantId, domain: &str) -> Result<Claimed> {
        let mut claimed = Claimed::Before;
        for _ in 0..TRIES {
            claimed = self.directory().claim_domain(tenant, domain.to_owned()).await?;
            match claimed {
                Claimed::By(holder) if self.abandoned(holder, tenant).await? => {}
                _ => break,
            }
        }
        Ok(claimed)
    }

    /// Whether whoever holds the id or the domain of a tenant holds it no more, which is written down: it was never made
    /// and cannot be any more, or, as for the domain, it is deleted.
    async fn abandoned(&self, holder: TenantId, tenant: TenantId) -> Result<bool> {
        let Some(placement) = self.directory().placement(holder).await? else { return Ok(true) };
        if placement.state != PlacementState::Creating {
            return match self.on(holder, |stores| stores.tenants.state(holder)).await? {
                TenantState::Deleted if holder != tenant => {
                    self.directory().keep_domain(holder, None).await.map(|()| true)
                }
                _ => Ok(false),
            };
        }
        if self.named(&placement.shard)?.sql.vacate(holder, placement.epoch).await? {
            self.settle_new(placement).await?;
            return Ok(false);
        }
        self.directory().remove_placement(holder, placement.epoch).await?;
        Ok(true)
    }

    /// Says in the directory that a tenant was made.
    pub(super) async fn settle_new(&self, placement: Placement) -> Result<()> {
        let expected = placement.epoch;
        let placement = Placement { state: PlacementState::Settled, epoch: expected + 1, ..placement };
        self.directory().change_placement(placement, expected, Vec::new()).await
    }

    async fn create(&self, op: &OperatorContext, tenant: Tenant, effects: OperatorEffects) -> Result<()> {
        let place = self.choose(tenant.id, tenant.region.as_deref())?;
        let member = self.member(place);
        let placement = Placement {
            tenant_id: tenant.id,
            shard: member.shard.name.clone(),
            state: PlacementState::Creating,
            other: None,
            region: tenant.region.clone(),
            pin: None,
            epoch: 1,
            created_at: tenant.created_at,
        };
        self.name(&placement, tenant.domain.as_deref()).await?;
        if let Err(error) = member.stores.tenants.create(op, tenant, effects).await {
            if is_away(&error) {
                // Somebody needed the domain and did not wait.
                return Err(Error::already_exists("the domain is taken").with_source(error));
            }
            if !is_open(&error) {
                self.directory().remove_placement(placement.tenant_id, placement.epoch).await?;
            }
            return Err(error);
        }
        self.seen(placement.tenant_id, place);
        if let Err(error) = self.settle_new(placement).await {
            // It is there and found; who asks for its id or domain next says so.
            tracing::warn!(?error, "a tenant was made and is not settled in the directory");
        }
        self.carry_on(op, member).await;
        Ok(())
    }

    async fn replace(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        expected: Revision,
        effects: OperatorEffects,
    ) -> Result<()> {
        let id = tenant.id;
        let deleted = tenant.state == TenantState::Deleted;
        let domain = tenant.domain.clone().filter(|_| !deleted);
        let placement = self.directory().placement(id).await?;
        let claimed = match &domain {
            // A tenant that is not there claims nothing.
            Some(domain) if placement.is_some() => self.claim_domain(id, domain).await?,
            _ => Claimed::Before,
        };
        if let Claimed::By(holder) = claimed {
            return Err(self.refusal(op, &tenant, expected, &effects, holder).await?);
        }
        if let Some(placement) = placement.filter(|placement| placement.region != tenant.region) {
            self.check_region(&self.named(&placement.shard)?.shard, tenant.region.as_deref())?;
        }
        let region = tenant.region.clone();
        let replaced =
            self.on(id, |stores| stores.tenants.replace(op, tenant.clone(), expected, effects.clone())).await;
        if let Err(error) = replaced {
            if let (Claimed::New, Some(domain), false) = (claimed, domain, is_open(&error)) {
                self.directory().drop_domain(id, domain).await?;
            }
            return Err(error);
        }
        // Neither can undo the change; both are done again with the next one.
        if let Err(error) = self.follow(id, domain, region).await {
            tracing::warn!(?error, "the directory does not know of a tenant's change");
        }
        self.carry_on(op, self.member(self.place(id).await?)).await;
        Ok(())
    }

    /// Writes down what the directory has to know of a tenant that was changed.
    pub(super) async fn follow(
        &self,
        tenant: TenantId,
        domain: Option<String>,
        region: Option<String>,
    ) -> Result<()> {
        self.directory().keep_domain(tenant, domain).await?;
        match self.directory().placement(tenant).await? {
            Some(placement) if placement.region != region => {
                let expected = placement.epoch;
                let placement = Placement { region, epoch: expected + 1, ..placement };
                self.directory().change_placement(placement, expected, Vec::new()).await
            }
            _ => Ok(()),
        }
    }

    /// Why a change to a taken domain is refused: what a store looks at before the domain comes first.
    async fn refusal(
        &self,
        op: &OperatorContext,
        tenant: &Tenant,
        expected: Revision,
        effects: &OperatorEffects,
        holder: TenantId,
    ) -> Result<Error> {
        let id = tenant.id;
        let found = self.on(id, |stores| stores.tenants.get(op, id)).await?;
        let guarded = effects.tenant.guards.contains(&Guard::TenantActive);
        Ok(match found.state {
            TenantState::Suspended if guarded => {
                Error::new(ErrorKind::TenantSuspended, "the tenant is suspended")
            }
            TenantState::Deleted => Error::conflict("the tenant is deleted"),
            _ if found.revision != expected => Error::conflict("the tenant was changed since it was read"),
            _ => taken(id, holder),
        })
    }
}

#[async_trait]
impl TenantStore for PlacedBackend {
    async fn create(&self, op: &OperatorContext, tenant: Tenant, effects: OperatorEffects) -> Result<()> {
        let (router, op) = (self.router.clone(), op.clone());
        detached(async move { router.create(&op, tenant, effects).await }).await
    }

    async fn get(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.router.on(id, |stores| stores.tenants.get(op, id)).await
    }

    async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Tenant>> {
        let limit = page.clone().checked()?.limit;
        let (mut items, mut ask) = (Vec::new(), page);
        loop {
            let Page { items: placements, next } = self.router.directory().placements(ask.clone()).await?;
            let tenants = placements.iter().map(|placement| {
                let id = placement.tenant_id;
                self.router.on(id, move |stores| stores.tenants.get(op, id))
            });
            for found in join_all(tenants).await {
                match found {
                    Ok(tenant) => items.push(tenant),
                    // It is being made.
                    Err(error) if error.is(ErrorKind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            let left = limit.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
            match next {
                Some(next) if left > 0 => ask = PageRequest::limit(left).after(next),
                next => return Ok(Page { items, next }),
            }
        }
    }

    async fn replace(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        expected: Revision,
        effects: OperatorEffects,
    ) -> Result<()> {
        let (router, op) = (self.router.clone(), op.clone());
        detached(async move { router.replace(&op, tenant, expected, effects).await }).await
    }

    async fn own(&self, ctx: &Context) -> Result<Tenant> {
        self.router.on(ctx.tenant(), |stores| stores.tenants.own(ctx)).await
    }

    async fn state(&self, id: TenantId) -> Result<TenantState> {
        self.router.on(id, |stores| stores.tenants.state(id)).await
    }
}
