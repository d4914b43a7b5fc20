//! The table of operations in their JSON form: one line each.

use agentprovision_connectors::webhook::{Endpoint, NewEndpoint};
use agentprovision_connectors::{Authorization, ConnectorDetails, ConnectorInfo, NewIntegration, TestResult};
use std::time::Duration;

use agentprovision_core::agent::{AgentQuery, AgentRecord, AgentSpec, Validation};
use agentprovision_core::archive::ArchiveSummary;
use agentprovision_core::audit::merkle::TreeHash;
use agentprovision_core::audit::{AuditEntry, Checkpoint, InclusionProof};
use agentprovision_core::backup::Backup;
use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::identity::User;
use agentprovision_core::integration::Integration;
use agentprovision_core::model::{
    ChatRequest, ChatResponse, EmbedRequest, EmbedResponse, RerankRequest, RerankResponse,
};
use agentprovision_core::run::{Chain, SessionRecord};
use agentprovision_core::tenant::Tenant;
use agentprovision_core::usage::{Period, UsageEvent, UsageSummary};
use agentprovision_core::{Error, Result};
use agentprovision_llm::experiment::Comparison;
use agentprovision_llm::models::{Answered, ModelEntry};
use agentprovision_llm::route::RouteDecision;
use agentprovision_tenancy::identity::ApiKeyRequest;
use agentprovision_tenancy::placement::{Placement, Rebalance};
use agentprovision_tenancy::tenant::{RestoreOptions, Restored};
use futures_util::future::BoxFuture;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{Caller, args, encode, views};
use crate::decode::{decode, nearest};
use crate::operations::OPERATIONS;
use crate::platform::Platform;

/// `operation (scope) Arguments => Answer { |platform, context, arguments| body }`, and after `elsewhere` those whose
/// answers are handles, contexts or streams, with what those carry.
macro_rules! operations {
    (
        $($name:literal ($scope:ident) $args:ty => $answer:ty { |$platform:ident, $ctx:ident, $given:pat_param| $body:expr })*
        elsewhere $($other:literal ($other_scope:ident) $other_args:ty => $other_answer:ty)*
    ) => {
        pub(super) fn dispatch<'a>(
            platform: &'a Platform,
            caller: Caller<'a>,
            operation: &str,
            text: &str,
        ) -> Result<BoxFuture<'a, Result<String>>> {
            match operation {
                $($name => {
                    let $ctx = $scope(caller, $name)?;
                    let $given: $args = decode(concat!("the arguments of `", $name, "`"), text)?;
                    let $platform = platform;
                    Ok(Box::pin(async move {
                        let answer: $answer = $body;
                        encode(&answer)
                    }))
                })*
                $($other => Err(Error::unsupported(format!(
                    "`{}` answers with a handle, a context or a stream, not with a value", $other
                ))),)*
                other => Err(unknown(other)),
            }
        }

        pub(super) fn schema() -> Value {
            let mut given = SchemaSettings::draft2020_12().for_deserialize().into_generator();
            let mut answered = SchemaSettings::draft2020_12().for_serialize().into_generator();
            let mut operations = Map::new();
            $(operations.insert($name.into(), entry::<$args, $answer>(stringify!($scope), &mut given, &mut answered));)*
            $(operations.insert(
                $other.into(),
                entry::<$other_args, $other_answer>(stringify!($other_scope), &mut given, &mut answered),
            );)*
            super::host::schema(&mut given, &mut answered);
            let (arguments, answers) = (given.take_definitions(true), answered.take_definitions(true));
            json!({ "operations": operations, "arguments": arguments, "answers": answers })
        }
    };
}

fn entry<A: schemars::JsonSchema, R: schemars::JsonSchema>(
    scope: &str,
    given: &mut SchemaGenerator,
    answered: &mut SchemaGenerator,
) -> Value {
    json!({
        "scope": scope,
        "arguments": given.subschema_for::<A>(),
        "answer": answered.subschema_for::<R>(),
    })
}

fn unknown(operation: &str) -> Error {
    let known = nearest(operation, OPERATIONS.iter().map(|operation| operation.name));
    let hint = known.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    Error::invalid(format!("unknown operation `{}`{hint}", crate::decode::clip(operation)))
}

pub(super) fn tenant<'a>(caller: Caller<'a>, operation: &str) -> Result<&'a Context> {
    match caller {
        Caller::Tenant(ctx) => Ok(ctx),
        _ => Err(Error::invalid(format!("`{operation}` is called with a tenant's context"))),
    }
}

fn operator<'a>(caller: Caller<'a>, operation: &str) -> Result<&'a OperatorContext> {
    match caller {
        Caller::Operator(op) => Ok(op),
        _ => Err(Error::invalid(format!("`{operation}` is called with an operator's context"))),
    }
}

/// The default of a `limit`.
fn limit(limit: Option<u32>) -> u32 {
    limit.unwrap_or(100)
}

fn entries(entries: &[AuditEntry]) -> Result<Vec<views::Entry>> {
    entries.iter().map(views::Entry::try_from).collect()
}

operations! {
    "tenants.create" (operator) args::TenantCreate => Tenant { |p, op, a| p.tenants().create(op, a.into()).await? }
    "tenants.get" (operator) args::TenantById => Tenant { |p, op, a| p.tenants().get(op, a.tenant).await? }
    "tenants.list" (operator) args::Listed => views::PageOf<Tenant> {
        |p, op, a| views::PageOf::from(p.tenants().list(op, a.into()).await?)
    }
    "tenants.own" (tenant) args::Nothing => Tenant { |p, ctx, _| p.tenants().own(ctx).await? }
    "tenants.update" (operator) args::TenantChange => Tenant {
        |p, op, a| { let tenant = a.tenant; p.tenants().update(op, tenant, a.into()).await? }
    }
    "tenants.suspend" (operator) args::TenantById => Tenant { |p, op, a| p.tenants().suspend(op, a.tenant).await? }
    "tenants.resume" (operator) args::TenantById => Tenant { |p, op, a| p.tenants().resume(op, a.tenant).await? }
    "tenants.delete" (operator) args::TenantDelete => Tenant {
        |p, op, a| { let last = a.last()?; p.tenants().delete(op, a.tenant, last).await? }
    }
    "archives.export" (operator) args::ArchiveExport => ArchiveSummary {
        |p, op, a| p.archives().export(op, a.tenant, a.path).await?
    }
    "archives.verify" (operator) args::ArchivePath => ArchiveSummary {
        |p, op, a| p.archives().verify(op, a.path).await?
    }
    "archives.restore" (operator) args::ArchiveRestore => Restored {
        |p, op, a| {
            let options = RestoreOptions::new().into_tenant(a.into.unwrap_or_default());
            p.archives().restore(op, a.path, options).await?
        }
    }
    "backups.run" (operator) args::TenantById => Backup { |p, op, a| p.backups().run(op, a.tenant).await? }
    "backups.list" (operator) args::BackupsListed => views::PageOf<Backup> {
        |p, op, a| { let tenant = a.tenant; views::PageOf::from(p.backups().list(op, tenant, a.into()).await?) }
    }
    "backups.get" (operator) args::BackupById => Backup { |p, op, a| p.backups().get(op, a.tenant, a.backup).await? }
    "placements.get" (operator) args::TenantById => Placement {
        |p, op, a| p.placements().get(op, a.tenant).await?
    }
    "placements.list" (operator) args::Listed => views::PageOf<Placement> {
        |p, op, a| views::PageOf::from(p.placements().list(op, a.into()).await?)
    }
    "placements.plan" (operator) args::Nothing => Vec<Rebalance> { |p, op, _| p.placements().plan(op).await? }
    "placements.move_tenant" (operator) args::PlacementMove => Placement {
        |p, op, a| p.placements().move_tenant(op, a.tenant, a.to).await?
    }
    "placements.pin" (operator) args::PlacementPin => Placement {
        |p, op, a| p.placements().pin(op, a.tenant, a.shard).await?
    }
    "tenants.bootstrap_admin" (operator) args::AdminCreate => User {
        |p, op, a| { let tenant = a.tenant; p.tenants().bootstrap_admin(op, tenant, a.into()).await? }
    }
    "users.create" (tenant) args::UserCreate => User { |p, ctx, a| p.users().create(ctx, a.into()).await? }
    "users.get" (tenant) args::UserById => User { |p, ctx, a| p.users().get(ctx, a.user).await? }
    "users.list" (tenant) args::Listed => views::PageOf<User> {
        |p, ctx, a| views::PageOf::from(p.users().list(ctx, a.into()).await?)
    }
    "users.update" (tenant) args::UserChange => User {
        |p, ctx, a| { let user = a.user; p.users().update(ctx, user, a.into()).await? }
    }
    "users.delete" (tenant) args::UserById => () { |p, ctx, a| p.users().delete(ctx, a.user).await? }
    "keys.create" (tenant) args::KeyCreate => views::MadeApiKey {
        |p, ctx, a| {
            let mut request = ApiKeyRequest::new(a.name);
            request.user = a.user;
            request.scopes = a.scopes.map(|names| p.permissions().set(&names)).transpose()?;
            request.expires_at = a.expires_at;
            p.keys().create(ctx, request).await?.into()
        }
    }
    "keys.get" (tenant) args::KeyById => views::ApiKey { |p, ctx, a| p.keys().get(ctx, a.key).await?.into() }
    "keys.list" (tenant) args::Listed => views::PageOf<views::ApiKey> {
        |p, ctx, a| views::PageOf::from(p.keys().list(ctx, a.into()).await?)
    }
    "keys.list_own" (tenant) args::Listed => views::PageOf<views::ApiKey> {
        |p, ctx, a| views::PageOf::from(p.keys().list_own(ctx, a.into()).await?)
    }
    "keys.revoke" (tenant) args::KeyById => () { |p, ctx, a| p.keys().revoke(ctx, a.key).await? }
    "agents.validate" (tenant) args::AgentSpecified => Validation {
        |p, ctx, a| p.agents().validate(ctx, &a.spec).await?
    }
    "agents.create" (tenant) args::AgentSpecified => AgentRecord { |p, ctx, a| p.agents().create(ctx, a.spec).await? }
    "agents.get" (tenant) args::AgentById => AgentRecord { |p, ctx, a| p.agents().get(ctx, a.agent).await? }
    "agents.version" (tenant) args::AgentVersion => AgentSpec {
        |p, ctx, a| p.agents().version(ctx, a.agent, a.version).await?
    }
    "agents.list" (tenant) args::AgentList => views::PageOf<AgentRecord> {
        |p, ctx, a| {
            let mut query = AgentQuery::page(args::page(a.limit, a.after));
            query.state = a.state;
            views::PageOf::from(p.agents().list(ctx, query).await?)
        }
    }
    "agents.update" (tenant) args::AgentChange => AgentRecord {
        |p, ctx, a| p.agents().update(ctx, a.agent, a.spec).await?
    }
    "agents.deploy" (tenant) args::AgentById => AgentRecord { |p, ctx, a| p.agents().deploy(ctx, a.agent).await? }
    "agents.rollback" (tenant) args::AgentRollback => AgentRecord {
        |p, ctx, a| p.agents().rollback(ctx, a.agent, a.to).await?
    }
    "agents.pause" (tenant) args::AgentById => AgentRecord { |p, ctx, a| p.agents().pause(ctx, a.agent).await? }
    "agents.resume" (tenant) args::AgentById => AgentRecord { |p, ctx, a| p.agents().resume(ctx, a.agent).await? }
    "agents.retire" (tenant) args::AgentById => AgentRecord { |p, ctx, a| p.agents().retire(ctx, a.agent).await? }
    "agents.delete" (tenant) args::AgentById => () { |p, ctx, a| p.agents().delete(ctx, a.agent).await? }
    "runs.record" (tenant) args::RunById => views::RunRecord { |p, ctx, a| p.runs().record(ctx, a.run).await?.into() }
    "runs.list" (tenant) args::RunList => views::PageOf<views::RunRecord> {
        |p, ctx, a| views::PageOf::from(p.runs().list(ctx, a.into()).await?)
    }
    "runs.chain" (tenant) args::RunById => Chain { |p, ctx, a| p.runs().chain(ctx, a.run).await? }
    "runs.journal" (tenant) args::RunById => views::Journal {
        |p, ctx, a| { let (record, rows) = p.runs().journal(ctx, a.run).await?; views::Journal::new(record, rows)? }
    }
    "runs.cancel" (tenant) args::RunById => () { |p, ctx, a| p.runs().cancel(ctx, a.run).await? }
    "runs.approve" (tenant) args::RunApprove => () {
        |p, ctx, a| p.runs().approve(ctx, a.run, a.approval, a.args_hash, a.answer).await?
    }
    "sessions.open" (tenant) args::AgentById => SessionRecord {
        |p, ctx, a| p.sessions().open(ctx, a.agent).await?.record().clone()
    }
    "sessions.get" (tenant) args::SessionById => SessionRecord {
        |p, ctx, a| p.sessions().get(ctx, a.session).await?.record().clone()
    }
    "sessions.list" (tenant) args::Listed => views::PageOf<SessionRecord> {
        |p, ctx, a| views::PageOf::from(p.sessions().list(ctx, a.into()).await?)
    }
    "models.list" (tenant) args::Nothing => Vec<ModelEntry> { |p, ctx, _| p.models().list(ctx).await? }
    "models.explain" (tenant) args::ModelAsk => RouteDecision { |p, ctx, a| p.models().explain(ctx, &a.into()).await? }
    "models.complete" (tenant) args::ModelAsk => Answered<ChatResponse> {
        |p, ctx, a| {
            let request: ChatRequest = a.into();
            views::spending(request.log.clone(), p.models().complete(ctx, request)).await?
        }
    }
    "models.embed" (tenant) args::ModelEmbed => Answered<EmbedResponse> {
        |p, ctx, a| {
            let request: EmbedRequest = a.into();
            views::spending(request.log.clone(), p.models().embed(ctx, request)).await?
        }
    }
    "models.rerank" (tenant) args::ModelRerank => Answered<RerankResponse> {
        |p, ctx, a| {
            let request: RerankRequest = a.into();
            views::spending(request.log.clone(), p.models().rerank(ctx, request)).await?
        }
    }
    "models.compare" (tenant) args::ModelCompare => Comparison {
        |p, ctx, a| { let (models, request, options) = a.parts()?; p.models().compare(ctx, &models, &request, options).await? }
    }
    "connectors.list" (tenant) args::Nothing => Vec<ConnectorInfo> { |p, ctx, _| p.connectors().list(ctx).await? }
    "connectors.get" (tenant) args::ConnectorByName => ConnectorDetails {
        |p, ctx, a| p.connectors().get(ctx, &a.name).await?
    }
    "integrations.create" (tenant) NewIntegration => Integration {
        |p, ctx, a| p.integrations().create(ctx, a).await?
    }
    "integrations.get" (tenant) args::IntegrationById => Integration {
        |p, ctx, a| p.integrations().get(ctx, a.integration).await?
    }
    "integrations.list" (tenant) args::IntegrationsListed => views::PageOf<Integration> {
        |p, ctx, a| views::PageOf::from(p.integrations().list(ctx, a.into()).await?)
    }
    "integrations.update" (tenant) args::IntegrationChange => Integration {
        |p, ctx, a| { let id = a.integration; p.integrations().update(ctx, id, a.into()).await? }
    }
    "integrations.delete" (tenant) args::IntegrationById => () {
        |p, ctx, a| p.integrations().delete(ctx, a.integration).await?
    }
    "integrations.test" (tenant) args::IntegrationById => TestResult {
        |p, ctx, a| p.integrations().test(ctx, a.integration).await?
    }
    "integrations.authorize" (tenant) args::IntegrationAuthorize => Authorization {
        |p, ctx, a| p.integrations().authorize(ctx, a.integration, &a.redirect_uri, a.scopes).await?
    }
    "integrations.connect" (tenant) args::IntegrationConnect => Integration {
        |p, ctx, a| p.integrations().connect(ctx, a.integration, &a.state, &a.code).await?
    }
    "integrations.invoke" (tenant) args::IntegrationInvoke => Value {
        |p, ctx, a| {
            let (id, operation) = (a.integration, a.operation.clone());
            let (input, options) = a.parts();
            p.integrations().invoke(ctx, id, &operation, input, options).await?
        }
    }
    "webhooks.create" (tenant) NewEndpoint => views::MadeEndpoint {
        |p, ctx, a| p.webhooks().create(ctx, a).await?.into()
    }
    "webhooks.get" (tenant) args::EndpointById => Endpoint { |p, ctx, a| p.webhooks().get(ctx, a.endpoint).await? }
    "webhooks.list" (tenant) args::Listed => views::PageOf<Endpoint> {
        |p, ctx, a| views::PageOf::from(p.webhooks().list(ctx, a.into()).await?)
    }
    "webhooks.update" (tenant) args::EndpointChange => Endpoint {
        |p, ctx, a| { let id = a.endpoint; p.webhooks().update(ctx, id, a.into()).await? }
    }
    "webhooks.rotate" (tenant) args::EndpointRotation => views::MadeEndpoint {
        |p, ctx, a| {
            let overlap = a.overlap_s.map(Duration::from_secs);
            p.webhooks().rotate(ctx, a.endpoint, a.secret.map(SecretString::from), overlap).await?.into()
        }
    }
    "webhooks.delete" (tenant) args::EndpointById => () {
        |p, ctx, a| p.webhooks().delete(ctx, a.endpoint).await?
    }
    "webhooks.deliveries" (tenant) args::DeliveriesListed => views::PageOf<views::Delivery> {
        |p, ctx, a| {
            let (id, page) = a.into();
            views::PageOf::from(p.webhooks().deliveries(ctx, id, page).await?)
        }
    }
    "webhooks.delivery" (tenant) args::DeliveryById => views::WholeDelivery {
        |p, ctx, a| p.webhooks().delivery(ctx, a.delivery).await?.into()
    }
    "webhooks.replay" (tenant) args::DeliveryById => () { |p, ctx, a| p.webhooks().replay(ctx, a.delivery).await? }
    "audit.entries" (tenant) args::Entries => Vec<views::Entry> {
        |p, ctx, a| entries(&p.audit().entries(ctx, a.from.unwrap_or(0), limit(a.limit)).await?)?
    }
    "audit.checkpoint" (tenant) args::Nothing => Checkpoint { |p, ctx, _| p.audit().checkpoint(ctx).await? }
    "audit.prove" (tenant) args::Prove => InclusionProof { |p, ctx, a| p.audit().prove(ctx, a.seq, a.size).await? }
    "audit.consistency" (tenant) args::Consistency => Vec<TreeHash> {
        |p, ctx, a| p.audit().consistency(ctx, a.old, a.new).await?
    }
    "audit.verify" (tenant) args::Nothing => Checkpoint { |p, ctx, _| p.audit().verify(ctx).await? }
    "audit.platform_entries" (operator) args::Entries => Vec<views::Entry> {
        |p, op, a| entries(&p.audit().platform_entries(op, a.from.unwrap_or(0), limit(a.limit)).await?)?
    }
    "audit.verify_platform" (operator) args::Nothing => Checkpoint { |p, op, _| p.audit().verify_platform(op).await? }
    "usage.summary" (tenant) args::Span => UsageSummary {
        |p, ctx, a| {
            let period = match (a.from, a.to) {
                (None, None) => Period::month(p.env().now()),
                (from, to) => Period { start: from.unwrap_or(Period::ALL.start), end: to.unwrap_or(Period::ALL.end) },
            };
            p.usage().summary(ctx, period).await?
        }
    }
    "usage.events" (tenant) args::UsageEvents => Vec<UsageEvent> {
        |p, ctx, a| p.usage().events(ctx, a.after, limit(a.limit)).await?
    }
    "events.read" (tenant) args::EventRead => Vec<views::Event> {
        |p, ctx, a| {
            let events = p.events().read(ctx, a.after.unwrap_or(0), limit(a.limit)).await?;
            events.into_iter().map(views::Event::from).collect()
        }
    }
    elsewhere
    "platform.operator" (host) args::OperatorContext => ()
    "platform.context" (host) args::MemberContext => views::Caller
    "platform.authenticate" (host) args::Authenticate => views::Caller
    "platform.close" (host) args::Nothing => ()
    "webhooks.receive" (host) args::Received => views::Received
    "runs.start" (tenant) args::RunStart => views::Outcome<'static>
    "runs.get" (tenant) args::RunById => views::Outcome<'static>
    "runs.events" (tenant) args::RunEvents => agentprovision_core::run::RunEvent
    "models.stream" (tenant) args::ModelAsk => views::ModelEvent
    "sessions.send" (tenant) args::Turn => views::Outcome<'static>
    "events.subscribe" (tenant) args::Follow => views::Event
}
