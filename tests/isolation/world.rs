//! Two tenants side by side, each with one of everything, on one store.

use std::sync::Arc;

use agentprovision::agent::{AgentRecord, VersionHash};
use agentprovision::audit::AuditEntry;
use agentprovision::authz::{Permission, PermissionSet};
use agentprovision::backend::Backend;
use agentprovision::connectors::webhook::{EndpointAddress, NewEndpoint};
use agentprovision::id::{
    AgentId, ApiKeyId, ApprovalId, DeliveryId, EndpointId, IntegrationId, RunId, SessionId, TenantId, UserId,
};
use agentprovision::model::{ChatRequest, Message};
use agentprovision::prelude::*;
use agentprovision::run::PayloadHash;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::tenancy::placement::{PlacedBackend, Shard};
use agentprovision::tenancy::rbac::{PLATFORM_ONLY, RoleSpec, Roles};
use agentprovision::tenancy::store;
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::webhook::DeliveryState;
use agentprovision::{Env, PlatformBuilder};
use serde_json::json;

use crate::support::desk::{self, Desk};
use crate::support::{Home, home, in_time};

pub(super) const STORES: [&str; 3] = ["memory", "database", "placed"];

/// What every piece of content of the first tenant has in it, and nothing else.
pub(super) const ZEBRA: &str = "zebrafish";
pub(super) const QUOKKA: &str = "quokkabird";

/// What the operations of the table are called with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) doomed_user: UserId,
    pub(super) key: ApiKeyId,
    /// Runs.
    pub(super) agent: AgentId,
    /// Its live version.
    pub(super) version: VersionHash,
    pub(super) draft: AgentId,
    pub(super) to_pause: AgentId,
    pub(super) paused: AgentId,
    pub(super) retiring: AgentId,
    pub(super) doomed: AgentId,
    /// Completed, with a tool call.
    pub(super) run: RunId,
    /// Waits for `approval`.
    pub(super) waiting: RunId,
    pub(super) approval: ApprovalId,
    pub(super) args_hash: PayloadHash,
    pub(super) cancellable: RunId,
    pub(super) session: SessionId,
    /// By a token.
    pub(super) integration: IntegrationId,
    /// To be granted in a browser.
    pub(super) in_browser: IntegrationId,
    pub(super) doomed_integration: IntegrationId,
    pub(super) endpoint: EndpointId,
    pub(super) doomed_endpoint: EndpointId,
    /// Over.
    pub(super) delivery: DeliveryId,
}

impl Ids {
    /// Ids that name nothing.
    pub(super) fn unknown(env: &Env) -> Self {
        Self {
            tenant: env.id(),
            user: env.id(),
            doomed_user: env.id(),
            key: env.id(),
            agent: env.id(),
            version: VersionHash::from_bytes(env.random()),
            draft: env.id(),
            to_pause: env.id(),
            paused: env.id(),
            retiring: env.id(),
            doomed: env.id(),
            run: env.id(),
            waiting: env.id(),
            approval: env.id(),
            args_hash: PayloadHash::from_bytes(env.random()),
            cancellable: env.id(),
            session: env.id(),
            integration: env.id(),
            in_browser: env.id(),
            doomed_integration: env.id(),
            endpoint: env.id(),
            doomed_endpoint: env.id(),
            delivery: env.id(),
        }
    }

    /// Every id in text form.
    pub(super) fn texts(&self) -> Vec<String> {
        vec![
            self.tenant.to_string(),
            self.user.to_string(),
            self.doomed_user.to_string(),
            self.key.to_string(),
            self.agent.to_string(),
            self.version.to_string(),
            self.draft.to_string(),
            self.to_pause.to_string(),
            self.paused.to_string(),
            self.retiring.to_string(),
            self.doomed.to_string(),
            self.run.to_string(),
            self.waiting.to_string(),
            self.approval.to_string(),
            self.args_hash.to_string(),
            self.cancellable.to_string(),
            self.session.to_string(),
            self.integration.to_string(),
            self.in_browser.to_string(),
            self.doomed_integration.to_string(),
            self.endpoint.to_string(),
            self.doomed_endpoint.to_string(),
            self.delivery.to_string(),
        ]
    }
}

/// A tenant with one of everything.
pub(super) struct Estate {
    pub(super) home: Home,
    pub(super) ids: Ids,
    pub(super) key_secret: secrecy::SecretString,
}

/// A platform on a store, and a second one on the same store with an issuer of its own.
pub(super) struct World {
    pub(super) platform: Platform,
    pub(super) other: Platform,
    pub(super) operator: OperatorContext,
    pub(super) zebra: Estate,
    pub(super) quokka: Estate,
    pub(super) desk: Desk,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new(store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = if store == "placed" {
            let backend = placed(&folder).await;
            (builder().placed(backend.clone()), builder().placed(backend))
        } else {
            let backend = open(store, &folder).await;
            (builder().backend(backend.clone()), builder().backend(backend))
        };
        let backups = agentprovision::tenancy::tenant::BackupOptions::new(folder.path());
        let one = one.backups(backups);
        let (platform, other) = (one.build().await.unwrap(), two.build().await.unwrap());
        let operator = platform.operator("ops@host.example", "isolation").unwrap();
        let desk = Desk::open().await;
        let zebra = in_time(estate(&platform, &desk, ZEBRA)).await;
        let quokka = in_time(estate(&platform, &desk, QUOKKA)).await;
        Self { platform, other, operator, zebra, quokka, desk, _folder: folder }
    }

    pub(super) async fn close(self) {
        in_time(self.platform.close()).await.unwrap();
        in_time(self.other.close()).await.unwrap();
    }
}

/// The store of a name.
pub(super) async fn open(store: &str, folder: &tempfile::TempDir) -> Arc<dyn Backend> {
    let url = match store {
        "placed" => return Arc::new(placed(folder).await),
        "memory" => "memory://".to_owned(),
        _ => crate::support::store::new(&folder.path().join("platform.db")),
    };
    store::connect(&url, Env::default()).await.unwrap()
}

/// Two databases, with tenants in both.
async fn placed(folder: &tempfile::TempDir) -> PlacedBackend {
    let shard = |name: &str| Shard::new(name, crate::support::store::new(&folder.path().join(name)));
    PlacedBackend::open(vec![shard("one"), shard("two")], Env::default()).await.unwrap()
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Note {
    text: String,
}

/// A platform's parts: a model that calls the agent's first tool with what it was asked and then repeats its result, one
/// tool that needs nobody, one that needs a person, a connector, and the roles the scenarios ask for.
pub(super) fn builder() -> PlatformBuilder {
    let model = Arc::new(ScriptedModel::from_fn("m", |request| {
        let asked = last_text(request);
        match (request.tools.first(), ScriptedModel::tool_results(request)) {
            (Some(tool), 0) => Reply::tool(&tool.name, json!({ "text": format!("looked up for: {asked}") })),
            _ => Reply::text(asked),
        }
    }));
    // Makes a ticket by the integration it is asked for.
    let tickets =
        Arc::new(ScriptedModel::from_fn("tickets", |request| match ScriptedModel::tool_results(request) {
            0 => Reply::tool(
                "desk_tickets_create",
                json!({ "queue": "q", "title": "t", "integration": last_text(request) }),
            ),
            _ => Reply::text("done"),
        }));
    let look = |name: &str| {
        tool(name, "Finds a note", |_: ToolCall, note: Note| async move {
            Result::Ok(format!("found by a tool: {}", note.text))
        })
    };
    let mut builder = desk::with_desk(Platform::builder())
        .pepper("a pepper for these tests only")
        .sealing_keys(desk::keys())
        .model("m", model.clone())
        .model("tickets", tickets)
        .embedder("m", model.clone())
        .reranker("m", model)
        .tool(look("look").effect(Effect::Pure))
        .tool(look("pay").approval(Approval::Always));
    for role in special_roles() {
        builder = builder.role(role);
    }
    builder
}

/// The last thing said to the model.
pub(super) fn last_text(request: &ChatRequest) -> String {
    match request.messages.last() {
        Some(Message::Tool { content, .. }) => content.clone(),
        Some(Message::User { content }) => content
            .iter()
            .filter_map(|piece| serde_json::to_value(piece).ok()?["text"].as_str().map(str::to_owned))
            .collect(),
        _ => String::new(),
    }
}

/// What an admin may do.
fn admin_grants() -> PermissionSet {
    Roles::default().grants_of(&Role::TENANT_ADMIN).unwrap()
}

fn all_but(missing: &[Permission]) -> impl Iterator<Item = Permission> {
    let grants: Vec<Permission> = admin_grants().iter().filter(|grant| !missing.contains(grant)).collect();
    grants.into_iter()
}

/// The permission that lets one see a kind of resource.
pub(super) fn reads(resource: &str) -> Permission {
    match resource {
        "tenants" => Permission::TENANTS_READ,
        "users" | "api_keys" => Permission::USERS_READ,
        "agents" | "models" => Permission::AGENTS_READ,
        "runs" | "sessions" => Permission::RUNS_READ,
        "audit" | "events" => Permission::AUDIT_READ,
        "usage" => Permission::USAGE_READ,
        "integrations" | "webhooks" => Permission::INTEGRATIONS_READ,
        other => panic!("say which permission lets one see `{other}`"),
    }
}

/// `only`: this permission alone. `without`: everything but it. `blind`: nor the one to see the resource.
pub(super) fn special_role(kind: &str, permission: Permission, resource: &str) -> String {
    let name = |permission: Permission| permission.builtin_name().unwrap().replace(':', "_");
    match kind {
        "blind" => format!("blind_{}_{}", name(permission), name(reads(resource))),
        kind => format!("{kind}_{}", name(permission)),
    }
}

fn special_roles() -> Vec<RoleSpec> {
    let mut roles = std::collections::BTreeMap::new();
    for operation in agentprovision::OPERATIONS {
        let Some(permission) = operation.permission.filter(|permission| !PLATFORM_ONLY.contains(permission))
        else {
            continue;
        };
        for (kind, grants) in [
            ("only", vec![permission]),
            ("without", all_but(&[permission]).collect()),
            ("blind", all_but(&[permission, reads(operation.resource)]).collect()),
        ] {
            roles.insert(special_role(kind, permission, operation.resource), grants);
        }
    }
    roles.into_iter().map(|(name, grants)| RoleSpec::new(name).permissions(grants)).collect()
}

/// A context for a user of the tenant with one special role, made when it is first asked for.
pub(super) async fn special(platform: &Platform, home: &Home, role: String) -> Context {
    let email = format!("{role}@{}.example", home.tenant.name);
    let users = platform.users().list(&home.admin, PageRequest::limit(100)).await.unwrap();
    assert!(users.next.is_none(), "too many users for one page");
    if let Some(user) = users.items.iter().find(|user| user.email == email) {
        return platform.context(home.tenant.id, user.id).await.unwrap();
    }
    home.user(platform, &role.clone(), Role::new(role)).await.1
}

/// Every entry of a tenant's audit log.
pub(super) async fn audit_log(platform: &Platform, ctx: &Context) -> Vec<AuditEntry> {
    let mut log: Vec<AuditEntry> = Vec::new();
    loop {
        let more = platform.audit().entries(ctx, log.len() as u64, 500).await.unwrap();
        if more.is_empty() {
            return log;
        }
        log.extend(more);
    }
}

/// An agent's specification with the tag in everything that can hold it.
pub(super) fn spec(tag: &str, name: &str, tool: &str) -> AgentSpec {
    let mut spec = AgentSpec::new(format!("{tag} {name}"))
        .description(format!("about {tag}"))
        .instructions(format!("You work for {tag}."))
        .model("m")
        .tools([tool]);
    spec.metadata.insert("owner".into(), tag.into());
    spec
}

async fn estate(platform: &Platform, desk: &Desk, tag: &str) -> Estate {
    let home = home(platform, tag).await;
    let admin = &home.admin;
    let user = home.user(platform, "ada", Role::AGENT_VIEWER).await.0;
    let doomed_user = home.user(platform, "doomed", Role::AGENT_VIEWER).await.0;
    let key = platform.keys().create(admin, ApiKeyRequest::new(format!("key of {tag}"))).await.unwrap();
    let agents = platform.agents();
    let create = async |name: &str, tool: &str| agents.create(admin, spec(tag, name, tool)).await.unwrap();
    let deploy = async |agent: AgentRecord| agents.deploy(admin, agent.id).await.unwrap();

    let agent = deploy(create("desk", "look").await).await;
    let careful = deploy(create("careful", "pay").await).await;
    let paused = deploy(create("paused", "look").await).await;
    agents.pause(admin, paused.id).await.unwrap();
    let session = platform.sessions().open(admin, agent.id).await.unwrap().id();

    let ask = |what: &str| RunInput::text(format!("{what} for {tag}"));
    let run = platform.runs().start(admin, agent.id, ask("look").idempotency_key("k")).await.unwrap();
    let outcome = run.wait().await.unwrap();
    assert!(outcome.text().unwrap().contains("found by a tool: looked up for"), "{outcome:?}");
    let waiting = platform.runs().start(admin, careful.id, ask("pay")).await.unwrap();
    let cancellable = platform.runs().start(admin, careful.id, ask("pay later")).await.unwrap();
    let (approval, args_hash) = approval_of(&waiting).await;
    approval_of(&cancellable).await;

    let integrations = platform.integrations();
    let token = format!("canary-{tag}");
    let named = |name: &str| format!("{name} of {tag}");
    let connect = async |new| integrations.create(admin, new).await.unwrap().id;
    let integration = connect(desk.by_token(&named("desk"), tag, &token)).await;
    integrations.test(admin, integration).await.unwrap();

    let endpoint = platform.webhooks().create(admin, hook(&named("hook"))).await.unwrap().endpoint.id;

    let ids = Ids {
        tenant: home.tenant.id,
        user: user.id,
        doomed_user: doomed_user.id,
        key: key.record.id,
        agent: agent.id,
        version: agent.latest,
        draft: create("draft", "look").await.id,
        to_pause: deploy(create("to pause", "look").await).await.id,
        paused: paused.id,
        retiring: deploy(create("retiring", "look").await).await.id,
        doomed: create("doomed", "look").await.id,
        run: run.id(),
        waiting: waiting.id(),
        approval,
        args_hash,
        cancellable: cancellable.id(),
        session,
        integration,
        in_browser: connect(desk.in_browser(&named("browser"), tag)).await,
        doomed_integration: connect(desk.by_token(&named("doomed"), tag, &token)).await,
        endpoint,
        doomed_endpoint: platform
            .webhooks()
            .create(admin, hook(&named("doomed hook")))
            .await
            .unwrap()
            .endpoint
            .id,
        delivery: delivered(platform, admin, endpoint, tag).await,
    };
    Estate { home, ids, key_secret: key.secret }
}

/// What an endpoint's sender says to prove itself.
const HOOK_SECRET: &str = "canary-of-a-sender";

/// An endpoint whose sender shows a token.
pub(super) fn hook(name: &str) -> NewEndpoint {
    let new =
        json!({ "name": name, "vendor": "generic", "scheme": { "scheme": "bearer" }, "secret": HOOK_SECRET });
    serde_json::from_value(new).unwrap()
}

/// Sends a delivery to an endpoint, as its sender would.
pub(super) async fn send(
    platform: &Platform,
    tenant: TenantId,
    endpoint: EndpointId,
    body: &str,
) -> Result<Option<String>> {
    let address = EndpointAddress { tenant, endpoint }.to_string();
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {HOOK_SECRET}").parse().unwrap());
    platform.webhooks().receive(&address, &headers, body.to_owned().into()).await
}

/// A delivery of an endpoint that is over.
async fn delivered(platform: &Platform, admin: &Context, endpoint: EndpointId, tag: &str) -> DeliveryId {
    send(platform, admin.tenant(), endpoint, &format!(r#"{{"about":"{tag}"}}"#)).await.unwrap();
    let webhooks = platform.webhooks();
    let id = webhooks.deliveries(admin, endpoint, PageRequest::default()).await.unwrap().items[0].new.id;
    while webhooks.delivery(admin, id).await.unwrap().state == DeliveryState::Pending {
        tokio::task::yield_now().await;
    }
    id
}

/// Follows a run until it waits for a person, in the store too.
async fn approval_of(run: &agentprovision::run::Run) -> (ApprovalId, PayloadHash) {
    let mut events = run.events();
    while let Some(event) = events.try_next().await.unwrap() {
        if let RunEventKind::ApprovalRequested { approval, args_hash, .. } = event.kind {
            return (approval, args_hash);
        }
    }
    panic!("the run ended without asking");
}
