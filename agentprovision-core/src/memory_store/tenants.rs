//! [`TenantStore`] in memory.

use async_trait::async_trait;
use serde_json::Map;

use super::{MemoryDb, State, page};
use crate::context::{Context, OperatorContext};
use crate::effect::OperatorEffects;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::page::{Cursor, Page, PageRequest};
use crate::tenant::{Revision, Tenant, TenantState, TenantStore};

impl State {
    fn tenant(&self, id: TenantId) -> Result<&Tenant> {
        self.tenants.get(&id).ok_or_else(|| Error::not_found("no such tenant"))
    }

    /// Refuses a domain that another tenant has.
    fn check_domain(&self, tenant: &Tenant) -> Result<()> {
        let taken = |other: &Tenant| other.id != tenant.id && other.domain == tenant.domain;
        if tenant.domain.is_some() && self.tenants.values().any(taken) {
            return Err(Error::already_exists("the domain is taken"));
        }
        Ok(())
    }
}

#[async_trait]
impl TenantStore for MemoryDb {
    async fn create(&self, _: &OperatorContext, tenant: Tenant, effects: OperatorEffects) -> Result<()> {
        self.open_metadata(tenant.id)?.change(tenant.id, effects.tenant, &effects.platform, |state| {
            if state.tenants.contains_key(&tenant.id) {
                return Err(Error::already_exists("the tenant exists"));
            }
            state.check_domain(&tenant)?;
            Ok(move |state: &mut State| {
                state.tenants.insert(tenant.id, tenant);
            })
        })
    }

    async fn get(&self, _: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.open()?.tenant(id).cloned()
    }

    async fn list(&self, _: &OperatorContext, request: PageRequest) -> Result<Page<Tenant>> {
        let position = |tenant: &Tenant| Cursor { created: tenant.created_at, id: tenant.id.uuid() };
        page(self.open()?.tenants.values(), request, position)
    }

    async fn replace(
        &self,
        _: &OperatorContext,
        mut tenant: Tenant,
        expected: Revision,
        effects: OperatorEffects,
    ) -> Result<()> {
        let active = tenant.state == TenantState::Active;
        let (id, deleted) = (tenant.id, tenant.state == TenantState::Deleted);
        let mut state = self.open_metadata(id)?;
        state.change(id, effects.tenant, &effects.platform, |state| {
            let old = state.tenant(tenant.id)?;
            if old.revision != expected {
                return Err(Error::conflict("the tenant was changed in the meantime"));
            }
            if old.state == TenantState::Deleted {
                return Err(Error::conflict("the tenant is deleted"));
            }
            if deleted {
                tenant.domain = None;
                tenant.settings = Map::new();
            }
            state.check_domain(&tenant)?;
            tenant.revision = expected + 1;
            Ok(move |state: &mut State| {
                if deleted {
                    state.data.remove(&tenant.id);
                }
                state.tenants.insert(tenant.id, tenant);
            })
        })?;
        if deleted {
            // With the record of the deletion, which the change has put there.
            state.logs.entry(id).or_default().erase();
        }
        if active {
            // Its runs may have waited for that.
            self.ready.notify_waiters();
        }
        Ok(())
    }

    async fn own(&self, ctx: &Context) -> Result<Tenant> {
        self.open()?.tenant(ctx.tenant()).cloned()
    }

    async fn state(&self, id: TenantId) -> Result<TenantState> {
        Ok(self.open()?.tenant(id)?.state)
    }
}
