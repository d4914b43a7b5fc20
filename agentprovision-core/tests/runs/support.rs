//! A small platform: one tenant, one user with every permission, MemoryDb, the real engine.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::{Access, Principals};
use agentprovision_core::agent::{AgentRecord, AgentSpec, Agents};
use agentprovision_core::authz::{ContextAuthorizer, PermissionRegistry, PermissionSet};
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::context::{Identity, Principal, RequestInfo};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::model::ChatModel;
use agentprovision_core::run::{Engine, EngineOptions, EngineParts, LocalEngine, Runs, Sessions};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::testing::{ManualClock, ModelMap, SeededEntropy};
use agentprovision_core::tool::{Tool, ToolSet};
use agentprovision_core::{Context, ContextIssuer, Env, MemoryDb, OperatorContext, Result, Timestamp};
use async_trait::async_trait;

pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) clock: ManualClock,
    pub(crate) issuer: ContextIssuer,
    pub(crate) op: OperatorContext,
    pub(crate) ctx: Context,
    pub(crate) stores: Stores,
    pub(crate) agents: Agents,
    pub(crate) runs: Runs,
    pub(crate) sessions: Sessions,
    pub(crate) engine: LocalEngine,
    pub(crate) parts: EngineParts,
}

#[derive(Debug)]
struct Everybody(ContextIssuer);

#[async_trait]
impl Principals for Everybody {
    async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        Ok(self.0.context(&identity(tenant, user), &PermissionSet::ALL, RequestInfo::default()))
    }
}

fn identity(tenant: TenantId, user: UserId) -> Identity {
    Identity {
        tenant,
        principal: Principal::User(user),
        scopes: PermissionSet::ALL,
        expires: None,
        key: None,
    }
}

fn new_tenant(env: &Env, name: &str) -> Tenant {
    Tenant {
        id: env.id(),
        name: name.into(),
        domain: Some(format!("{name}.example")),
        state: TenantState::Active,
        plan: None,
        region: None,
        settings: Default::default(),
        created_at: env.now(),
        updated_at: env.now(),
        revision: 1,
    }
}

pub(crate) async fn world(
    models: impl IntoIterator<Item = Arc<dyn ChatModel>>,
    tools: impl IntoIterator<Item = Arc<dyn Tool>>,
) -> World {
    world_with(EngineOptions::default(), models, tools).await
}

pub(crate) async fn world_with(
    options: EngineOptions,
    models: impl IntoIterator<Item = Arc<dyn ChatModel>>,
    tools: impl IntoIterator<Item = Arc<dyn Tool>>,
) -> World {
    let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(7)));
    let stores = MemoryDb::new(env.clone()).stores();
    let issuer = ContextIssuer::new(env.clone());
    let op = issuer.operator("ops", "test").unwrap();
    let tenant = new_tenant(&env, "acme");
    let tenant_id = tenant.id;
    stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
    let access = Access::new(issuer.clone(), Arc::new(ContextAuthorizer));
    let permissions = Arc::new(PermissionRegistry::default());
    let mut set = ToolSet::default();
    for tool in tools {
        set.add(tool).unwrap();
    }
    let tools = Arc::new(set);
    let models = Arc::new(ModelMap::new(models));
    let agents = Agents::new(
        stores.agents.clone(),
        tools.clone(),
        models.clone(),
        permissions.clone(),
        access.clone(),
    );
    let parts = EngineParts {
        stores: stores.clone(),
        tools,
        models,
        principals: Arc::new(Everybody(issuer.clone())),
        access,
        permissions,
        options,
    };
    let engine = LocalEngine::start(parts.clone());
    let runs = Runs::new(&engine);
    let ctx = issuer.context(&identity(tenant_id, env.id()), &PermissionSet::ALL, RequestInfo::default());
    let sessions = Sessions::new(runs.clone());
    World { env, clock, issuer, op, ctx, stores, agents, runs, sessions, engine, parts }
}

impl World {
    pub(crate) async fn deploy(&self, spec: AgentSpec) -> AgentRecord {
        self.deploy_as(&self.ctx, spec).await
    }

    pub(crate) async fn deploy_as(&self, ctx: &Context, spec: AgentSpec) -> AgentRecord {
        let agent = self.agents.create(ctx, spec).await.unwrap();
        self.agents.deploy(ctx, agent.id).await.unwrap()
    }

    /// A user of another tenant.
    pub(crate) async fn tenant(&self, name: &str) -> Context {
        let tenant = new_tenant(&self.env, name);
        let identity = identity(tenant.id, self.env.id());
        self.stores.tenants.create(&self.op, tenant, OperatorEffects::default()).await.unwrap();
        self.issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default())
    }

    pub(crate) async fn set_tenant(&self, state: TenantState) {
        let mut tenant = self.stores.tenants.own(&self.ctx).await.unwrap();
        let expected = tenant.revision;
        tenant.state = state;
        tenant.revision += 1;
        self.stores.tenants.replace(&self.op, tenant, expected, OperatorEffects::default()).await.unwrap();
    }

    /// Another engine over the same stores, as another process would have it.
    pub(crate) fn second_engine(&self) -> (LocalEngine, Runs) {
        let engine = LocalEngine::start(self.parts.clone());
        let runs = Runs::new(&engine);
        (engine, runs)
    }

    pub(crate) async fn stop(self) {
        // Closing waits by the clock, which somebody has to move.
        let clock = self.clock.clone();
        let mover = tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        });
        in_time(self.engine.close()).await;
        mover.abort();
    }
}

/// A test that hangs fails.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing happened for 30 s")
}

/// Gives other tasks the floor until `done`.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    in_time(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
