//! A store with all services and an engine, and what its tenants look like from outside.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::agent::{AgentRecord, AgentSpec, Agents, Behaviour, Budget};
use agentprovision_core::archive::{ArchiveSummary, Reader, Value};
use agentprovision_core::audit::AuditLog;
use agentprovision_core::authz::PermissionRegistry;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::id::{ApprovalId, RunId, TenantId, UserId};
use agentprovision_core::identity::Role;
use agentprovision_core::model::{ChatModel, Message};
use agentprovision_core::run::{
    Engine as _, EngineOptions, EngineParts, LocalEngine, PayloadHash, Run, RunEventKind, RunInput,
    RunStatus, Runs, Sessions, Signal,
};
use agentprovision_core::testing::{ModelMap, Reply, ScriptedModel};
use agentprovision_core::tool::{Approval, Effect, Tool, ToolCall, ToolSet, tool};
use agentprovision_core::{Context, ContextIssuer, Effects, Env, OperatorContext, Result};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{ApiKeyRequest, NewUser, Pepper};
use agentprovision_tenancy::rbac::Roles;
use agentprovision_tenancy::store::connect;
use agentprovision_tenancy::tenant::NewTenant;
use futures_util::TryStreamExt as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::filled::fill;
use crate::world::Raw;

/// All rows of an archive, table by table.
pub(super) type Rows = BTreeMap<String, Vec<Vec<Value>>>;
/// All rows of a store's tenant as text, table by table.
pub(super) type Dump = BTreeMap<String, Vec<String>>;

pub(super) struct Side {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) stores: Stores,
    pub(super) env: Env,
    pub(super) tenancy: Tenancy,
    pub(super) op: OperatorContext,
    pub(super) audit: AuditLog,
    agents: Agents,
    parts: EngineParts,
    /// Where its rows can be looked at.
    raw: String,
}

/// A tenant that has everything.
pub(super) struct Full {
    pub(super) id: TenantId,
    pub(super) admin: UserId,
    /// The model had not answered.
    pub(super) slow: RunId,
    /// Waits for an approval.
    pub(super) asking: RunId,
    pub(super) approval: (ApprovalId, PayloadHash),
    /// Waited for an approval when somebody cancelled it.
    pub(super) doomed: RunId,
    pub(super) done: RunId,
    pub(super) key: agentprovision_core::id::ApiKeyId,
}

/// A model that looks, asks for a payment, or says nothing at all while `stalls`.
fn model(stalls: bool) -> Arc<dyn ChatModel> {
    let script = move |request: &agentprovision_core::model::ChatRequest| {
        let said = serde_json::to_string(&request.messages).unwrap();
        let over = matches!(request.messages.last(), Some(Message::Tool { .. }));
        match () {
            () if over => Reply::text("it is done"),
            () if said.contains("slow") && stalls => Reply::Stall("well".into()),
            () if said.contains("pay") => Reply::tool("pay", json!({ "what": "all of it" })),
            () if said.contains("look") => Reply::tool("look", json!({ "what": "there" })),
            () => Reply::text("at last"),
        }
    };
    Arc::new(ScriptedModel::from_fn("m", script))
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct What {
    what: String,
}

fn made(name: &str, approval: Approval) -> Arc<dyn Tool> {
    let call = |_: ToolCall, input: What| async move { Result::Ok(format!("done: {}", input.what)) };
    Arc::new(tool(name, "Does something", call).effect(Effect::Pure).approval(approval))
}

impl Side {
    /// A platform over a store; `raw` is how a test looks into it.
    pub(super) async fn open(url: &str, raw: String, stalls: bool) -> Self {
        let env = Env::default();
        let backend = connect(url, env.clone()).await.unwrap();
        let stores = backend.stores();
        let issuer = ContextIssuer::new(env.clone());
        let pepper = Pepper::new(&"sixteen bytes and more".to_owned().into()).unwrap();
        let tenancy = Tenancy::new(issuer.clone(), &stores, Roles::default(), pepper);
        let mut tools = ToolSet::default();
        tools.add(made("pay", Approval::Always)).unwrap();
        tools.add(made("look", Approval::Never)).unwrap();
        let (tools, models) = (Arc::new(tools), Arc::new(ModelMap::new([model(stalls)])));
        let permissions = Arc::new(PermissionRegistry::default());
        let access = tenancy.access().clone();
        let mut options = EngineOptions::default();
        options.close_grace = Duration::from_millis(1);
        options.poll = Duration::from_millis(50);
        Self {
            agents: Agents::new(
                stores.agents.clone(),
                tools.clone(),
                models.clone(),
                permissions.clone(),
                access.clone(),
            ),
            parts: EngineParts {
                stores: stores.clone(),
                tools,
                models,
                principals: Arc::new(tenancy.contexts().clone()),
                access: access.clone(),
                permissions,
                options,
            },
            audit: AuditLog::new(stores.audit.clone(), access),
            op: issuer.operator("ops@host.example", "moving house").unwrap(),
            backend,
            stores,
            env,
            tenancy,
            raw,
        }
    }

    pub(super) fn engine(&self) -> LocalEngine {
        LocalEngine::start(self.parts.clone())
    }

    async fn agent(&self, ctx: &Context, spec: AgentSpec) -> AgentRecord {
        let agent = self.agents.create(ctx, spec).await.unwrap();
        self.agents.deploy(ctx, agent.id).await.unwrap()
    }

    /// A tenant with rows in every table, whose engine has gone in the middle of the work.
    pub(super) async fn full(&self, name: &str) -> Full {
        let new = NewTenant::new(name, format!("{name}.example"));
        let tenants = self.tenancy.tenants();
        let id = tenants.create(&self.op, new).await.unwrap().id;
        let admin = NewUser::new(format!("root@{name}.example")).name("Ünïcödé — \u{1F980}");
        let admin = tenants.bootstrap_admin(&self.op, id, admin).await.unwrap().id;
        let ctx = self.tenancy.contexts().context(id, admin).await.unwrap();
        let ann = NewUser::new(format!("ann@{name}.example")).role(Role::TENANT_USER);
        self.tenancy.users().create(&ctx, ann).await.unwrap();
        let keys = self.tenancy.keys();
        let key = keys.create(&ctx, ApiKeyRequest::new("kept")).await.unwrap().record.id;
        let revoked = keys.create(&ctx, ApiKeyRequest::new("revoked")).await.unwrap();
        keys.revoke(&ctx, revoked.record.id).await.unwrap();

        let budget = Budget::default()
            .per_run(|limits| limits.steps = Some(20))
            .total(|limits| limits.steps = Some(10_000));
        let spec = AgentSpec::new("desk").instructions(name).model("m").tools(["pay", "look"]).budget(budget);
        let desk = self.agent(&ctx, spec.clone()).await;
        self.agents.update(&ctx, desk.id, spec.instructions("Second version.")).await.unwrap();
        let desk = self.agents.deploy(&ctx, desk.id).await.unwrap();
        let chat =
            AgentSpec::new("chat").instructions("Talk.").model("m").behaviour(Behaviour::Conversational);
        let chat = self.agent(&ctx, chat).await;

        let engine = self.engine();
        let runs = Runs::new(&engine);
        let done = runs.start(&ctx, desk.id, RunInput::text("look").idempotency_key("once")).await.unwrap();
        assert_eq!(done.wait().await.unwrap().status(), RunStatus::Completed);
        let session = Sessions::new(runs.clone()).open(&ctx, chat.id).await.unwrap();
        session.send(RunInput::text("hello")).await.unwrap().wait().await.unwrap();
        let start = async |text: &str| runs.start(&ctx, desk.id, RunInput::text(text)).await.unwrap();
        let (asking, doomed, slow) = (start("pay").await, start("pay").await, start("slow").await);
        let approval = asked(&asking).await;
        asked(&doomed).await;
        while slow.record().await.unwrap().seq < 2 {
            tokio::task::yield_now().await;
        }
        engine.close().await;
        let cancel = Signal::Cancel { by: admin };
        self.stores.index.signal(&ctx, doomed.id(), self.env.id(), cancel, Effects::none()).await.unwrap();
        fill(&self.stores, &self.env, &ctx).await;
        let events = self.stores.events.read(&ctx, 0, 100).await.unwrap();
        self.stores.events.published(&events[..3]).await.unwrap();
        Full {
            id,
            admin,
            slow: slow.id(),
            asking: asking.id(),
            approval,
            doomed: doomed.id(),
            done: done.id(),
            key,
        }
    }

    pub(super) async fn export(&self, tenant: TenantId, to: &Path) -> Archived {
        let summary = self.tenancy.archives().export(&self.op, tenant, to).await.unwrap();
        self.read(to, summary).await
    }

    /// What an archive holds, which is what whoever wrote it said.
    pub(super) async fn read(&self, file: &Path, summary: ArchiveSummary) -> Archived {
        assert_eq!(self.tenancy.archives().verify(&self.op, file).await.unwrap(), summary);
        let layout = self.stores.archives.layout().unwrap();
        let mut reader = Reader::open(BufReader::new(std::fs::File::open(file).unwrap()), layout).unwrap();
        let mut rows: Rows = layout.tables.iter().map(|table| (table.name.to_owned(), Vec::new())).collect();
        while let Some((place, row)) = reader.row().unwrap() {
            rows.get_mut(layout.tables[place].name).unwrap().push(row);
        }
        Archived { file: file.to_owned(), summary, rows }
    }

    /// What was done to a tenant, as the platform's log tells it.
    pub(super) async fn told(&self, tenant: TenantId) -> Vec<String> {
        self.audit.verify_platform(&self.op).await.unwrap();
        let entries = self.audit.platform_entries(&self.op, 0, 500).await.unwrap();
        let records = entries.iter().map(|entry| entry.record().unwrap());
        let about = records.filter(|record| record.resource_id.as_deref() == Some(&tenant.to_string()));
        about.map(|record| record.action).collect()
    }

    /// The rows of a tenant in every table, as the database itself writes them.
    pub(super) async fn dump(&self, tenant: TenantId) -> Dump {
        let tables = self.stores.archives.layout().unwrap().tables;
        let mut dump = Dump::new();
        if let Some(file) = self.raw.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
            let mut conn = options.connect().await.unwrap();
            for table in tables {
                let columns: Vec<String> =
                    table.columns.iter().map(|column| format!("quote({})", column.name)).collect();
                let (owner, columns) = (table.columns[0].name, columns.join("||' '||"));
                let sql = format!("SELECT {columns} FROM {} WHERE {owner} = $1 ORDER BY 1", table.name);
                let query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.uuid().as_bytes().to_vec());
                let rows = query.fetch_all(&mut conn).await.unwrap();
                dump.insert(table.name.to_owned(), rows.iter().map(|row| row.get(0)).collect());
            }
            conn.close().await.unwrap();
            return dump;
        }
        let mut raw = Raw::open(&self.raw).await;
        for (table, owner) in
            tables.iter().map(|table| (table.name, table.columns[0].name)).chain([("due", "tenant_id")])
        {
            let sql = format!(
                "SELECT t::text FROM agentprovision.{table} t WHERE {owner} = '{}' ORDER BY 1",
                tenant.uuid()
            );
            let rows = raw.ask(&sql).await.unwrap();
            dump.insert(table.to_owned(), rows.into_iter().filter_map(|mut row| row.remove(0)).collect());
        }
        dump
    }
}

/// An archive, read.
pub(super) struct Archived {
    pub(super) file: PathBuf,
    pub(super) summary: ArchiveSummary,
    pub(super) rows: Rows,
}

async fn asked(run: &Run) -> (ApprovalId, PayloadHash) {
    let mut events = run.events();
    while let Some(event) = events.try_next().await.unwrap() {
        if let RunEventKind::ApprovalRequested { approval, args_hash, .. } = event.kind {
            while run.record().await.unwrap().status != RunStatus::Waiting {
                tokio::task::yield_now().await;
            }
            return (approval, args_hash);
        }
    }
    panic!("the run ended without asking");
}
