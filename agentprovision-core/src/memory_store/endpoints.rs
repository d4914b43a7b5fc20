//! [`EndpointStore`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, TenantData, page};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::{EndpointId, TenantId};
use crate::page::{Cursor, Page, PageRequest};
use crate::tenant::Revision;
use crate::webhook::{EndpointStore, WebhookEndpoint};

impl TenantData {
    pub(super) fn endpoint(&self, id: EndpointId) -> Result<&WebhookEndpoint> {
        self.endpoints.get(&id).ok_or_else(|| Error::not_found("no such endpoint"))
    }

    /// Refuses an endpoint that is not there, or whose revision is another.
    fn check_endpoint(&self, id: EndpointId, expected: Revision) -> Result<()> {
        if self.endpoint(id)?.revision != expected {
            return Err(Error::conflict("the endpoint was changed in the meantime"));
        }
        Ok(())
    }

    /// Refuses a name that another endpoint has.
    fn check_endpoint_name(&self, new: &WebhookEndpoint) -> Result<()> {
        if self.endpoints.values().any(|other| other.id != new.id && other.name == new.name) {
            return Err(Error::already_exists("the name is taken"));
        }
        Ok(())
    }
}

#[async_trait]
impl EndpointStore for MemoryDb {
    async fn insert(&self, ctx: &Context, endpoint: WebhookEndpoint, effects: Effects) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            if data.endpoints.contains_key(&endpoint.id) {
                return Err(Error::already_exists("the endpoint exists"));
            }
            data.check_endpoint_name(&endpoint)?;
            Ok(move |data: &mut TenantData| {
                data.endpoints.insert(endpoint.id, endpoint);
            })
        })
    }

    async fn get(&self, ctx: &Context, id: EndpointId) -> Result<WebhookEndpoint> {
        self.lookup(ctx.tenant(), id).await
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut endpoint: WebhookEndpoint,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.check_endpoint(endpoint.id, expected)?;
            data.check_endpoint_name(&endpoint)?;
            endpoint.revision = expected + 1;
            Ok(move |data: &mut TenantData| {
                data.endpoints.insert(endpoint.id, endpoint);
            })
        })
    }

    async fn list(&self, ctx: &Context, request: PageRequest) -> Result<Page<WebhookEndpoint>> {
        let all = self.open()?;
        let endpoints = all.of(ctx.tenant()).endpoints.values();
        page(endpoints, request, |endpoint| Cursor { created: endpoint.created_at, id: endpoint.id.uuid() })
    }

    async fn delete(
        &self,
        ctx: &Context,
        id: EndpointId,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.check_endpoint(id, expected)?;
            Ok(move |data: &mut TenantData| {
                data.endpoints.remove(&id);
                data.inbox.forget(id);
            })
        })
    }

    async fn lookup(&self, tenant: TenantId, id: EndpointId) -> Result<WebhookEndpoint> {
        self.open()?.of(tenant).endpoint(id).cloned()
    }
}
