//! How every operation is called, in an order in which each of them can succeed once.

use agentprovision::agent::AgentQuery;
use agentprovision::connectors::webhook::EndpointUpdate;
use agentprovision::connectors::{CallOptions, IntegrationUpdate};
use agentprovision::id::UserId;
use agentprovision::integration::IntegrationQuery;
use agentprovision::llm::experiment::CompareOptions;
use agentprovision::model::{ChatRequest, EmbedRequest, Message, RerankRequest};
use agentprovision::prelude::*;
use agentprovision::run::EventCursor;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::tenancy::tenant::{LastArchive, RestoreInto, RestoreOptions};
use agentprovision::{OPERATIONS, Operation, Scope};
use futures_util::future::BoxFuture;

use super::world::Ids;

/// Who calls, and with what.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) platform: Platform,
    pub(super) ctx: Context,
    pub(super) op: OperatorContext,
    pub(super) ids: Ids,
}

impl Call {
    /// A text that was never used for anything.
    fn fresh(&self) -> String {
        format!("fresh-{}", self.platform.env().id::<UserId>().uuid().as_simple())
    }

    /// The tenant in a file.
    async fn archive(&self) -> Result<(std::path::PathBuf, agentprovision::archive::ArchiveSummary)> {
        let file = std::env::temp_dir().join(self.fresh());
        let summary = self.platform.archives().export(&self.op, self.ids.tenant, &file).await?;
        Ok((file, summary))
    }

    fn question(&self) -> ChatRequest {
        ChatRequest::new("m", vec![Message::user("say something")])
    }

    /// Calls an operation of the tenant's integration.
    async fn ticket(&self) -> Result<serde_json::Value> {
        let input = serde_json::json!({ "queue": "calls", "title": "a call" }).as_object().unwrap().clone();
        let options = CallOptions::key(self.fresh());
        let integrations = self.platform.integrations();
        integrations.invoke(&self.ctx, self.ids.integration, "tickets.create", input, options).await
    }

    /// Somebody grants access in a browser, as whoever the tenant is at the service.
    async fn granted(&self) -> Result<agentprovision::integration::Integration> {
        let (integrations, id) = (self.platform.integrations(), self.ids.in_browser);
        let begun = integrations.authorize(&self.ctx, id, "https://host.example/callback", None).await;
        // What cannot be begun cannot be ended either, by any state.
        let state = begun.as_ref().map_or_else(|_| format!("{id}.none"), |begun| begun.state.clone());
        let who = begun.map_or_else(|_| String::new(), |begun| who(&begun.url));
        integrations.connect(&self.ctx, id, &state, &format!("code-{who}")).await
    }

    fn spec(&self) -> AgentSpec {
        super::world::spec("fresh", &self.fresh(), "look")
    }
}

/// Whose place at the service a URL is in.
fn who(url: &str) -> String {
    url.split('/').nth(3).unwrap().to_owned()
}

/// Calls an operation; the text is everything it gave.
pub(super) type Do = fn(Call) -> BoxFuture<'static, Result<String>>;

macro_rules! calls {
    ($($name:literal => |$c:ident| $body:expr,)*) => {
        pub(super) const CALLS: &[(&str, Do)] = &[$(($name, |$c: Call| {
            Box::pin(async move { $body.await.map(|given| format!("{given:?}")) })
        }),)*];
    };
}

calls! {
    "platform.operator" => |c| async { c.platform.operator("ops", "a call") },
    "platform.context" => |c| c.platform.context(c.ctx.tenant(), c.ids.user),
    "platform.authenticate" => |c| async {
        // A key of the caller's own, so that it can succeed.
        let key = c.platform.keys().create(&c.ctx, ApiKeyRequest::new(c.fresh())).await?;
        c.platform.authenticate(&agentprovision::context::Credentials::ApiKey(key.secret)).await
    },
    "tenants.create" => |c| c.platform.tenants().create(&c.op, NewTenant::without_domain(c.fresh())),
    "tenants.get" => |c| c.platform.tenants().get(&c.op, c.ids.tenant),
    "tenants.list" => |c| c.platform.tenants().list(&c.op, PageRequest::default()),
    "tenants.own" => |c| c.platform.tenants().own(&c.ctx),
    "tenants.update" => |c| c.platform.tenants().update(&c.op, c.ids.tenant, TenantUpdate::new().plan("gold")),
    "users.create" => |c| c.platform.users().create(&c.ctx, NewUser::new(format!("{}@new.example", c.fresh()))),
    "users.get" => |c| c.platform.users().get(&c.ctx, c.ids.user),
    "users.list" => |c| c.platform.users().list(&c.ctx, PageRequest::default()),
    "users.update" => |c| c.platform.users().update(&c.ctx, c.ids.user, UserUpdate::new().name("Ada")),
    "users.delete" => |c| c.platform.users().delete(&c.ctx, c.ids.doomed_user),
    "keys.create" => |c| c.platform.keys().create(&c.ctx, ApiKeyRequest::new(c.fresh())),
    "keys.get" => |c| c.platform.keys().get(&c.ctx, c.ids.key),
    "keys.list" => |c| c.platform.keys().list(&c.ctx, PageRequest::default()),
    "keys.list_own" => |c| c.platform.keys().list_own(&c.ctx, PageRequest::default()),
    "keys.revoke" => |c| c.platform.keys().revoke(&c.ctx, c.ids.key),
    "agents.validate" => |c| async { c.platform.agents().validate(&c.ctx, &c.spec()).await },
    "agents.create" => |c| c.platform.agents().create(&c.ctx, c.spec()),
    "agents.get" => |c| c.platform.agents().get(&c.ctx, c.ids.agent),
    "agents.version" => |c| c.platform.agents().version(&c.ctx, c.ids.agent, c.ids.version),
    "agents.list" => |c| c.platform.agents().list(&c.ctx, AgentQuery::default()),
    "agents.update" => |c| c.platform.agents().update(&c.ctx, c.ids.agent, c.spec()),
    "agents.deploy" => |c| c.platform.agents().deploy(&c.ctx, c.ids.draft),
    "agents.rollback" => |c| c.platform.agents().rollback(&c.ctx, c.ids.agent, c.ids.version),
    "agents.pause" => |c| c.platform.agents().pause(&c.ctx, c.ids.to_pause),
    "agents.resume" => |c| c.platform.agents().resume(&c.ctx, c.ids.paused),
    "agents.retire" => |c| c.platform.agents().retire(&c.ctx, c.ids.retiring),
    "agents.delete" => |c| c.platform.agents().delete(&c.ctx, c.ids.doomed),
    "runs.start" => |c| c.platform.runs().start(&c.ctx, c.ids.agent, RunInput::text("more")),
    "runs.get" => |c| c.platform.runs().get(&c.ctx, c.ids.run),
    "runs.record" => |c| c.platform.runs().record(&c.ctx, c.ids.run),
    "runs.list" => |c| c.platform.runs().list(&c.ctx, RunQuery::default()),
    "runs.events" => |c| async {
        let events = c.platform.runs().events(&c.ctx, c.ids.run, EventCursor::default()).await?;
        events.try_collect::<Vec<_>>().await
    },
    "runs.chain" => |c| c.platform.runs().chain(&c.ctx, c.ids.run),
    "runs.journal" => |c| async {
        let (record, rows) = c.platform.runs().journal(&c.ctx, c.ids.run).await?;
        let bodies: Vec<String> = rows.iter().map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect();
        Result::Ok((record, bodies))
    },
    "runs.cancel" => |c| c.platform.runs().cancel(&c.ctx, c.ids.cancellable),
    "runs.approve" => |c| {
        c.platform.runs().approve(&c.ctx, c.ids.waiting, c.ids.approval, c.ids.args_hash, Answer::Approve)
    },
    "sessions.open" => |c| c.platform.sessions().open(&c.ctx, c.ids.agent),
    "sessions.get" => |c| c.platform.sessions().get(&c.ctx, c.ids.session),
    "sessions.list" => |c| c.platform.sessions().list(&c.ctx, PageRequest::default()),
    "models.list" => |c| c.platform.models().list(&c.ctx),
    "models.explain" => |c| async { c.platform.models().explain(&c.ctx, &c.question()).await },
    "models.complete" => |c| c.platform.models().complete(&c.ctx, c.question()),
    "models.stream" => |c| async {
        let events = c.platform.models().stream(&c.ctx, c.question()).await?;
        events.try_collect::<Vec<_>>().await
    },
    "models.embed" => |c| c.platform.models().embed(&c.ctx, EmbedRequest::new("m", ["a text"])),
    "models.rerank" => |c| c.platform.models().rerank(&c.ctx, RerankRequest::new("m", "a", ["a text", "another"])),
    "models.compare" => |c| async {
        c.platform.models().compare(&c.ctx, &["m".into()], &c.question(), CompareOptions::default()).await
    },
    "connectors.list" => |c| c.platform.connectors().list(&c.ctx),
    "connectors.get" => |c| c.platform.connectors().get(&c.ctx, "desk"),
    "integrations.create" => |c| async {
        let mut new = agentprovision::connectors::NewIntegration::default();
        (new.name, new.connector) = (c.fresh(), "desk".into());
        new.credentials.insert("token".into(), "a-token".into());
        c.platform.integrations().create(&c.ctx, new).await
    },
    "integrations.get" => |c| c.platform.integrations().get(&c.ctx, c.ids.integration),
    "integrations.list" => |c| c.platform.integrations().list(&c.ctx, IntegrationQuery::default()),
    "integrations.update" => |c| async {
        let update = IntegrationUpdate { name: Some(c.fresh()), ..Default::default() };
        c.platform.integrations().update(&c.ctx, c.ids.integration, update).await
    },
    "integrations.test" => |c| async {
        let tested = c.platform.integrations().test(&c.ctx, c.ids.integration).await?;
        assert!(tested.healthy, "{tested:?}");
        Result::Ok(tested)
    },
    "integrations.authorize" => |c| {
        c.platform.integrations().authorize(&c.ctx, c.ids.in_browser, "https://host.example/callback", None)
    },
    "integrations.connect" => |c| c.granted(),
    "integrations.invoke" => |c| c.ticket(),
    "integrations.delete" => |c| c.platform.integrations().delete(&c.ctx, c.ids.doomed_integration),
    "webhooks.receive" => |c| async {
        super::world::send(&c.platform, c.ids.tenant, c.ids.endpoint, &format!("{:?}", c.fresh())).await
    },
    "webhooks.create" => |c| async {
        let made = c.platform.webhooks().create(&c.ctx, super::world::hook(&c.fresh())).await?;
        Result::Ok(made.endpoint)
    },
    "webhooks.get" => |c| c.platform.webhooks().get(&c.ctx, c.ids.endpoint),
    "webhooks.list" => |c| c.platform.webhooks().list(&c.ctx, PageRequest::default()),
    "webhooks.update" => |c| async {
        let update = EndpointUpdate { name: Some(c.fresh()), ..Default::default() };
        c.platform.webhooks().update(&c.ctx, c.ids.endpoint, update).await
    },
    "webhooks.rotate" => |c| c.platform.webhooks().rotate(&c.ctx, c.ids.endpoint, None, None),
    "webhooks.deliveries" => |c| c.platform.webhooks().deliveries(&c.ctx, c.ids.endpoint, PageRequest::default()),
    "webhooks.delivery" => |c| c.platform.webhooks().delivery(&c.ctx, c.ids.delivery),
    "webhooks.replay" => |c| c.platform.webhooks().replay(&c.ctx, c.ids.delivery),
    "webhooks.delete" => |c| c.platform.webhooks().delete(&c.ctx, c.ids.doomed_endpoint),
    "audit.entries" => |c| async {
        let entries = c.platform.audit().entries(&c.ctx, 0, 500).await?;
        entries.iter().map(agentprovision::audit::AuditEntry::record).collect::<Result<Vec<_>>>()
    },
    "audit.checkpoint" => |c| c.platform.audit().checkpoint(&c.ctx),
    "audit.prove" => |c| c.platform.audit().prove(&c.ctx, 0, 1),
    "audit.consistency" => |c| c.platform.audit().consistency(&c.ctx, 1, 2),
    "audit.verify" => |c| c.platform.audit().verify(&c.ctx),
    "audit.platform_entries" => |c| c.platform.audit().platform_entries(&c.op, 0, 500),
    "audit.verify_platform" => |c| c.platform.audit().verify_platform(&c.op),
    "usage.summary" => |c| c.platform.usage().summary(&c.ctx, Period::ALL),
    "usage.events" => |c| c.platform.usage().events(&c.ctx, None, 500),
    "events.subscribe" => |c| async { c.platform.events().subscribe(&c.ctx, 0).await?.try_next().await },
    "events.read" => |c| c.platform.events().read(&c.ctx, 0, 500),
    // The tenant is at its end with these.
    "tenants.bootstrap_admin" => |c| async {
        // The first admin of a tenant that has none.
        let tenant = match c.platform.tenants().get(&c.op, c.ids.tenant).await {
            Ok(found) if found.state == agentprovision::tenant::TenantState::Active => {
                c.platform.tenants().create(&c.op, NewTenant::without_domain(c.fresh())).await?.id
            }
            _ => c.ids.tenant,
        };
        c.platform.tenants().bootstrap_admin(&c.op, tenant, NewUser::new("first@new.example")).await
    },
    "tenants.suspend" => |c| c.platform.tenants().suspend(&c.op, c.ids.tenant),
    "tenants.resume" => |c| c.platform.tenants().resume(&c.op, c.ids.tenant),
    "archives.export" => |c| async {
        let (file, summary) = c.archive().await?;
        std::fs::remove_file(file).unwrap();
        Result::Ok(summary)
    },
    "archives.verify" => |c| async {
        let file = c.archive().await?.0;
        let verified = c.platform.archives().verify(&c.op, &file).await;
        std::fs::remove_file(file).unwrap();
        verified
    },
    "archives.restore" => |c| async {
        let file = c.archive().await?.0;
        let options = RestoreOptions::new().into_tenant(RestoreInto::New);
        let restored = c.platform.archives().restore(&c.op, &file, options).await;
        std::fs::remove_file(file).unwrap();
        restored
    },
    "backups.run" => |c| c.platform.backups().run(&c.op, c.ids.tenant),
    "backups.list" => |c| c.platform.backups().list(&c.op, c.ids.tenant, PageRequest::default()),
    "backups.get" => |c| async {
        let made = c.platform.backups().run(&c.op, c.ids.tenant).await?;
        c.platform.backups().get(&c.op, c.ids.tenant, made.id).await
    },
    "placements.get" => |c| c.platform.placements().get(&c.op, c.ids.tenant),
    "placements.list" => |c| c.platform.placements().list(&c.op, PageRequest::default()),
    "placements.plan" => |c| c.platform.placements().plan(&c.op),
    "placements.move_tenant" => |c| async {
        let at = c.platform.placements().get(&c.op, c.ids.tenant).await?;
        let to = if at.shard == "one" { "two" } else { "one" };
        c.platform.placements().move_tenant(&c.op, c.ids.tenant, to).await
    },
    "placements.pin" => |c| async {
        let at = c.platform.placements().get(&c.op, c.ids.tenant).await?;
        c.platform.placements().pin(&c.op, c.ids.tenant, Some(at.shard)).await
    },
    "tenants.delete" => |c| c.platform.tenants().delete(&c.op, c.ids.tenant, LastArchive::Nothing),
    "platform.close" => |c| c.platform.close(),
}

/// The operation of a name.
pub(super) fn operation(name: &str) -> &'static Operation {
    OPERATIONS
        .iter()
        .find(|operation| operation.name == name)
        .unwrap_or_else(|| panic!("there is no operation `{name}`"))
}

/// The calls of a scope.
pub(super) fn calls(scope: Scope) -> impl Iterator<Item = (&'static Operation, Do)> {
    CALLS
        .iter()
        .map(|(name, call)| (operation(name), *call))
        .filter(move |(operation, _)| operation.scope == scope)
}

#[test]
fn every_operation_is_called_once_and_nothing_else_is() {
    for (name, _) in CALLS {
        operation(name);
        assert_eq!(CALLS.iter().filter(|(other, _)| other == name).count(), 1, "`{name}` is there twice");
    }
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .map(|operation| operation.name)
        .filter(|name| !CALLS.iter().any(|(called, _)| called == name))
        .collect();
    assert!(missing.is_empty(), "no isolation test calls {missing:?}: name them in CALLS");
}
