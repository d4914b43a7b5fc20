//! [`IntegrationStore`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, TenantData, page};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::IntegrationId;
use crate::integration::{Integration, IntegrationQuery, IntegrationStore};
use crate::page::{Cursor, Page};
use crate::tenant::Revision;

impl TenantData {
    fn integration(&self, id: IntegrationId) -> Result<&Integration> {
        self.integrations.get(&id).ok_or_else(|| Error::not_found("no such integration"))
    }

    /// Refuses an integration that is not there, or whose revision is another.
    fn check_integration(&self, id: IntegrationId, expected: Revision) -> Result<()> {
        if self.integration(id)?.revision != expected {
            return Err(Error::conflict("the integration was changed in the meantime"));
        }
        Ok(())
    }

    /// Refuses a name that another integration has.
    fn check_integration_name(&self, new: &Integration) -> Result<()> {
        if self.integrations.values().any(|other| other.id != new.id && other.name == new.name) {
            return Err(Error::already_exists("the name is taken"));
        }
        Ok(())
    }
}

#[async_trait]
impl IntegrationStore for MemoryDb {
    async fn insert(&self, ctx: &Context, integration: Integration, effects: Effects) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            if data.integrations.contains_key(&integration.id) {
                return Err(Error::already_exists("the integration exists"));
            }
            data.check_integration_name(&integration)?;
            Ok(move |data: &mut TenantData| {
                data.integrations.insert(integration.id, integration);
            })
        })
    }

    async fn get(&self, ctx: &Context, id: IntegrationId) -> Result<Integration> {
        self.open()?.of(ctx.tenant()).integration(id).cloned()
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut integration: Integration,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.check_integration(integration.id, expected)?;
            data.check_integration_name(&integration)?;
            integration.revision = expected + 1;
            Ok(move |data: &mut TenantData| {
                data.integrations.insert(integration.id, integration);
            })
        })
    }

    async fn list(&self, ctx: &Context, query: IntegrationQuery) -> Result<Page<Integration>> {
        let IntegrationQuery { page: request, connector, state } = query;
        let all = self.open()?;
        let wanted = all.of(ctx.tenant()).integrations.values().filter(|integration| {
            connector.as_ref().is_none_or(|name| integration.connector == *name)
                && state.is_none_or(|state| integration.state == state)
        });
        page(wanted, request, |integration| Cursor {
            created: integration.created_at,
            id: integration.id.uuid(),
        })
    }

    async fn delete(
        &self,
        ctx: &Context,
        id: IntegrationId,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.check_integration(id, expected)?;
            Ok(move |data: &mut TenantData| {
                data.integrations.remove(&id);
            })
        })
    }
}
