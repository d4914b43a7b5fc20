//! Models as operations of a platform: asked by a user, without an agent.
//!
//! [`Models`] checks the context at its door, asks through the [`Router`], and writes what was used as usage of the
//! tenant, whatever became of the answer: every attempt that a provider may bill counts, also of a request that failed
//! and of a stream that nobody read to its end.

mod counted;
mod entry;
mod spend;
mod stream;

#[cfg(feature = "gateway")]
pub(crate) use entry::list as entries;
pub use entry::{ModelEntry, ModelKind, ModelStatus};
pub use spend::{Answered, Spent, UsageWriter};
pub use stream::ModelStream;

use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatRequest, ChatResponse, EmbedRequest, EmbedResponse, EmbeddingResolver, ModelResolver,
    RerankRequest, RerankResolver, RerankResponse,
};
use agentprovision_core::tenant::{TenantState, TenantStore};
use agentprovision_core::{Error, ErrorKind, Result};

use crate::experiment::{CompareOptions, Comparison, Contender, compare};
use crate::route::{RouteDecision, Router};
use spend::Tab;

/// Asks models, and says which there are. Cheap to clone.
///
/// Dropping the future of a request, or the stream of an answer, ends it at once; what was used until then counts.
#[derive(Clone, Debug)]
pub struct Models {
    router: Router,
    tenants: Arc<dyn TenantStore>,
    access: Access,
    writer: UsageWriter,
}

impl Models {
    /// The service over a router; what is used is written by `writer`.
    pub fn new(router: Router, tenants: Arc<dyn TenantStore>, access: Access, writer: UsageWriter) -> Self {
        Self { router, tenants, access, writer }
    }

    async fn may_read(&self, ctx: &Context) -> Result<()> {
        self.access.list(ctx, Permission::AGENTS_READ, "models").await
    }

    /// Models may be asked; the tenant must be active.
    async fn may_ask(&self, ctx: &Context) -> Result<()> {
        self.access.check(ctx, Permission::AGENTS_RUN, Resource::all("models")).await?;
        match self.tenants.state(ctx.tenant()).await? {
            TenantState::Active => Ok(()),
            TenantState::Suspended => Err(Error::new(ErrorKind::TenantSuspended, "the tenant is suspended")),
            TenantState::Deleted => Err(Error::not_found("no such tenant")),
        }
    }

    /// Opens the tab of a request.
    async fn open(&self, ctx: &Context, log: &mut CallLog) -> Result<Tab> {
        self.may_ask(ctx).await?;
        self.writer.open(ctx, log).await
    }

    /// The routes, the models of the host's own, and those the catalogue knows of its providers, as far as the tenant may
    /// use them. Other models of a provider can be asked by `provider/model`.
    ///
    /// # Errors
    /// `permission_denied` without `agents:read`.
    pub async fn list(&self, ctx: &Context) -> Result<Vec<ModelEntry>> {
        self.may_read(ctx).await?;
        Ok(entry::list(&self.router, ctx))
    }

    /// Who would be asked for a request, in which order, and why not the others; asks nobody.
    ///
    /// # Errors
    /// `permission_denied` without `agents:read`, or when the tenant may use none of the models; otherwise as
    /// [`Models::complete`] where nobody can be asked.
    pub async fn explain(&self, ctx: &Context, request: &ChatRequest) -> Result<RouteDecision> {
        self.may_read(ctx).await?;
        self.router.explain(ctx, request)
    }

    /// A whole answer of a chat model or a route.
    ///
    /// # Errors
    /// `permission_denied` without `agents:run`, or when the tenant may use none of the models; `tenant_suspended`;
    /// `not_found` for a name that stands for no model; `unsupported`, `context_window` or `price_unknown` when no model
    /// can answer such a request; `closed`; otherwise what the last attempt failed with.
    pub async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<Answered<ChatResponse>> {
        let tab = self.open(ctx, &mut request.log).await?;
        let model = self.router.resolve(&request.model)?;
        tab.ask(model.complete(ctx, request)).await
    }

    /// The answer of a chat model or a route in pieces.
    ///
    /// # Errors
    /// As [`Models::complete`]. An error after the first piece comes in the stream, and ends it.
    pub async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ModelStream> {
        let tab = self.open(ctx, &mut request.log).await?;
        let model = self.router.resolve(&request.model)?;
        tab.follow(model.stream(ctx, request)).await
    }

    /// The vectors of texts.
    ///
    /// # Errors
    /// As [`Models::complete`]; `unsupported` when the provider has no embedding models.
    pub async fn embed(&self, ctx: &Context, mut request: EmbedRequest) -> Result<Answered<EmbedResponse>> {
        let tab = self.open(ctx, &mut request.log).await?;
        let model = self.router.embedder(&request.model)?;
        tab.ask(model.embed(ctx, request)).await
    }

    /// Documents in the order of how well they answer a query.
    ///
    /// # Errors
    /// As [`Models::complete`]; `unsupported` when the provider has no rerank models.
    pub async fn rerank(
        &self,
        ctx: &Context,
        mut request: RerankRequest,
    ) -> Result<Answered<RerankResponse>> {
        let tab = self.open(ctx, &mut request.log).await?;
        let model = self.router.reranker(&request.model)?;
        tab.ask(model.rerank(ctx, request)).await
    }

    /// Asks several models or routes the same, side by side, and says which to take, and why. The request's own model is
    /// ignored. A model that fails has its error in its place.
    ///
    /// # Errors
    /// As [`compare`]; `permission_denied` without `agents:run`; `tenant_suspended`; `not_found` for a name that stands for
    /// no model; `closed`.
    pub async fn compare(
        &self,
        ctx: &Context,
        models: &[String],
        request: &ChatRequest,
        options: CompareOptions,
    ) -> Result<Comparison> {
        self.may_ask(ctx).await?;
        let contender =
            |name: &String| Ok(Contender::new(name, self.writer.chat(self.router.resolve(name)?)));
        let contenders = models.iter().map(contender).collect::<Result<Vec<_>>>()?;
        compare(ctx, &contenders, request, &options.env(self.access.env().clone())).await
    }
}
