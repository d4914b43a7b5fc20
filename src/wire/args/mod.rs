//! The arguments of operations. Unknown keys are refused.

mod models;

pub(super) use integrations::{
    ConnectorByName, IntegrationAuthorize, IntegrationById, IntegrationChange, IntegrationConnect,
    IntegrationInvoke, IntegrationsListed,
};
pub(super) use models::{Said, ScoreBy};
pub(super) use tenants::{
    AdminCreate, ArchiveExport, ArchivePath, ArchiveRestore, BackupById, BackupsListed, PlacementMove,
    PlacementPin, TenantById, TenantChange, TenantCreate, TenantDelete,
};
pub(super) use webhooks::{
    DeliveriesListed, DeliveryById, EndpointById, EndpointChange, EndpointRotation, Received,
};

use agentprovision_core::agent::{AgentSpec, AgentState, VersionHash};
use agentprovision_core::context::RequestInfo;
use agentprovision_core::id::{AgentId, ApiKeyId, ApprovalId, RunId, SessionId, TenantId, UsageId, UserId};
use agentprovision_core::identity::Role;
use agentprovision_core::model::{EmbedPurpose, RouteHints, ToolChoice, ToolDefinition};
use agentprovision_core::page::{Cursor, PageRequest};
use agentprovision_core::run::{
    Answer, EventCursor, OnDisconnect, PayloadHash, RunInput, RunQuery, RunStatus,
};
use agentprovision_core::{Result, Timestamp};
use agentprovision_tenancy::identity::{NewUser, UserUpdate};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Arguments, all of them with `deny_unknown_fields` and absent `Option`s.
macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $key:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::wire) struct $name { $($(#[$field])* pub(in crate::wire) $key: $type,)* }
    )*};
}

mod integrations;
mod tenants;
mod webhooks;

/// Tells a value that is `null` from one that is absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

arguments! {
    /// No arguments.
    Nothing {}

    /// A page of a list.
    Listed {
        /// At most this many items, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
    }

    /// Facts about a request; none of them is authority.
    Info {
        /// When the request must be over.
        deadline: Option<Timestamp>,
        /// The W3C `traceparent` of the caller.
        traceparent: Option<String>,
        /// The correlation id of the work this belongs to; the request id where absent.
        correlation_id: Option<String>,
        /// The caller's IP address, for the audit log.
        ip_address: Option<String>,
        /// The caller's user agent, for the audit log.
        user_agent: Option<String>,
    }

    /// An operator, as the host says.
    OperatorContext {
        /// Who acts.
        actor: String,
        /// Why; recorded in both logs.
        reason: String,
    }

    /// A user whom the host has authenticated itself.
    MemberContext {
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// Facts about the request.
        info: Option<Info>,
    }

    /// Somebody with a credential.
    Authenticate {
        /// An API key in text form.
        api_key: String,
        /// Facts about the request.
        info: Option<Info>,
    }

    /// A user to be made.
    UserCreate {
        /// The e-mail address, unique within the tenant.
        email: String,
        /// The full name, 1 to 255 characters.
        name: Option<String>,
        /// The roles, at most 64.
        roles: Option<Vec<Role>>,
    }

    /// A user by id.
    UserById {
        /// The user.
        user: UserId,
    }

    /// A change of a user: what is given is replaced, the rest stays.
    UserChange {
        /// The user.
        user: UserId,
        /// The new name; null for no name.
        #[serde(default, deserialize_with = "nullable")]
        #[schemars(with = "Option<String>")]
        name: Option<Option<String>>,
        /// Whether the user may do anything.
        active: Option<bool>,
        /// The new roles, instead of all the old ones.
        roles: Option<Vec<Role>>,
    }

    /// An API key to be made.
    KeyCreate {
        /// What the key is for, 1 to 255 characters.
        name: String,
        /// Whose key it is; the caller's where absent.
        user: Option<UserId>,
        /// Permissions the key is limited to.
        scopes: Option<Vec<String>>,
        /// When the key ends; never where absent.
        expires_at: Option<Timestamp>,
    }

    /// An API key by id.
    KeyById {
        /// The key.
        key: ApiKeyId,
    }

    /// What an agent is.
    AgentSpecified {
        /// The specification.
        spec: AgentSpec,
    }

    /// An agent by id.
    AgentById {
        /// The agent.
        agent: AgentId,
    }

    /// A version of an agent.
    AgentVersion {
        /// The agent.
        agent: AgentId,
        /// The version.
        version: VersionHash,
    }

    /// A new version of an agent.
    AgentChange {
        /// The agent.
        agent: AgentId,
        /// The specification.
        spec: AgentSpec,
    }

    /// An older version to be made live.
    AgentRollback {
        /// The agent.
        agent: AgentId,
        /// The version.
        to: VersionHash,
    }

    /// Which agents to list.
    AgentList {
        /// Only those in this state.
        state: Option<AgentState>,
        /// At most this many items, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
    }

    /// A run to be started.
    RunStart {
        /// The agent.
        agent: AgentId,
        /// Text, or JSON that matches the agent's input schema: `{"text": "…"}` or `{"json": …}`.
        input: Input,
        /// A second start of the same agent with the same key and input gives the same run.
        idempotency_key: Option<String>,
        /// The session the run is a turn of.
        session: Option<SessionId>,
        /// When it must be over, if before what the agent allows.
        deadline: Option<Timestamp>,
        /// Another user the caller acts for, as the host says; recorded with the run.
        on_behalf_of: Option<String>,
        /// What becomes of it when nobody watches it any more; default `continue`.
        on_disconnect: Option<OnDisconnect>,
    }

    /// A turn of a session.
    Turn {
        /// The session.
        session: SessionId,
        /// Text, or JSON that matches the agent's input schema: `{"text": "…"}` or `{"json": …}`.
        input: Input,
        /// A second turn with the same key and input gives the same run.
        idempotency_key: Option<String>,
        /// When it must be over, if before what the agent allows.
        deadline: Option<Timestamp>,
        /// Another user the caller acts for, as the host says; recorded with the run.
        on_behalf_of: Option<String>,
        /// What becomes of it when nobody watches it any more; default `continue`.
        on_disconnect: Option<OnDisconnect>,
    }

    /// A run by id.
    RunById {
        /// The run.
        run: RunId,
    }

    /// Which runs to list.
    RunList {
        /// Only those of this agent.
        agent: Option<AgentId>,
        /// Only the turns of this session.
        session: Option<SessionId>,
        /// Only those that stand here.
        status: Option<RunStatus>,
        /// Only those that were started with this idempotency key.
        idempotency_key: Option<String>,
        /// At most this many items, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
    }

    /// The events of a run.
    RunEvents {
        /// The run.
        run: RunId,
        /// The place to resume after; from the beginning where absent.
        after: Option<EventCursor>,
    }

    /// An answer to an approval.
    RunApprove {
        /// The run.
        run: RunId,
        /// The approval, as the request named it.
        approval: ApprovalId,
        /// The hash of the arguments, as the request named it.
        args_hash: PayloadHash,
        /// The answer.
        answer: Answer,
    }

    /// What a chat model or a route is asked.
    ModelAsk {
        /// The name of the model or the route.
        model: String,
        /// The conversation so far; a text alone is what the user says.
        messages: Said,
        /// Tools the model may call.
        tools: Option<Vec<ToolDefinition>>,
        /// Which of them; default `auto`.
        tool_choice: Option<ToolChoice>,
        /// Sampling temperature; the provider's default where absent.
        temperature: Option<f64>,
        /// Longest answer in tokens; the provider's default where absent.
        max_tokens: Option<u64>,
        /// JSON Schema the answer must match.
        output_schema: Option<Map<String, Value>>,
        /// Sequences that end the answer.
        stop: Option<Vec<String>>,
        /// Seed for repeatable sampling, where the provider has it.
        seed: Option<i64>,
        /// Fields of the provider's own wire format, passed through unchanged.
        extra: Option<Map<String, Value>>,
        /// What the caller says about who answers.
        route: Option<RouteHints>,
    }

    /// What several models are asked side by side.
    ModelCompare {
        /// The names of the models or routes, at most 64.
        models: Vec<String>,
        /// The conversation so far; a text alone is what the user says.
        messages: Said,
        /// Sampling temperature; the provider's default where absent.
        temperature: Option<f64>,
        /// Longest answer in tokens; the provider's default where absent.
        max_tokens: Option<u64>,
        /// JSON Schema the answers must match.
        output_schema: Option<Map<String, Value>>,
        /// How often each model is asked, at most 100; default 1.
        repetitions: Option<u32>,
        /// When everything is over, in milliseconds; what has no answer by then has failed. Default 120000.
        timeout_ms: Option<u64>,
        /// How many requests run at one time; default 16.
        concurrency: Option<usize>,
        /// How answers are scored; not at all where absent.
        score: Option<ScoreBy>,
    }

    /// Texts for an embedding model.
    ModelEmbed {
        /// The name of the model or the route.
        model: String,
        /// The texts, none of them empty.
        inputs: Vec<String>,
        /// What the vectors are for; models that know no difference ignore it.
        purpose: Option<EmbedPurpose>,
        /// Length of the vectors; the model's default where absent.
        dimensions: Option<u32>,
        /// Fields of the provider's own wire format, passed through unchanged.
        extra: Option<Map<String, Value>>,
        /// What the caller says about who answers.
        route: Option<RouteHints>,
    }

    /// Documents for a rerank model.
    ModelRerank {
        /// The name of the model or the route.
        model: String,
        /// What is searched for.
        query: String,
        /// The documents to sort.
        documents: Vec<String>,
        /// How many of the best to name; all where absent.
        top_n: Option<u32>,
        /// Fields of the provider's own wire format, passed through unchanged.
        extra: Option<Map<String, Value>>,
        /// What the caller says about who answers.
        route: Option<RouteHints>,
    }

    /// A session by id.
    SessionById {
        /// The session.
        session: SessionId,
    }

    /// A part of a log.
    Entries {
        /// The first place; default 0.
        from: Option<u64>,
        /// At most this many entries, 1 to 500; default 100.
        limit: Option<u32>,
    }

    /// A record to be proved.
    Prove {
        /// Its place.
        seq: u64,
        /// The size of the log the proof leads to.
        size: u64,
    }

    /// Two sizes of a log.
    Consistency {
        /// The smaller size.
        old: u64,
        /// The larger size.
        new: u64,
    }

    /// A span of time.
    Span {
        /// First point in time; with `to` also absent, the start of this month in UTC.
        from: Option<Timestamp>,
        /// First point in time after it; with `from` also absent, the end of this month in UTC.
        to: Option<Timestamp>,
    }

    /// A part of the usage events.
    UsageEvents {
        /// The event to begin after; from the first where absent.
        after: Option<UsageId>,
        /// At most this many events, 1 to 500; default 100.
        limit: Option<u32>,
    }

    /// Where to begin in a tenant's events.
    Follow {
        /// The number to begin after; default 0, for all that are kept.
        after: Option<u64>,
    }

    /// A part of a tenant's events.
    EventRead {
        /// The number to begin after; default 0.
        after: Option<u64>,
        /// At most this many events, 1 to 500; default 100.
        limit: Option<u32>,
    }
}

/// What a run is about: text, `{"text": …}`, or `{"json": …}`.
#[derive(Debug)]
pub(super) enum Input {
    /// Text.
    Text(String),
    /// JSON that matches the agent's input schema.
    Json(Value),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bad = || serde::de::Error::custom("a text, `{\"text\": …}` or `{\"json\": …}` is needed");
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(map) => {
                let mut entries = map.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((key, Value::String(text))), None) if key == "text" => Ok(Self::Text(text)),
                    (Some((key, value)), None) if key == "json" => Ok(Self::Json(value)),
                    _ => Err(bad()),
                }
            }
            _ => Err(bad()),
        }
    }
}

impl JsonSchema for Input {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RunInput".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Text, or JSON that matches the agent's input schema.",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] },
                { "type": "object", "properties": { "json": true }, "required": ["json"] },
            ],
        })
    }
}

impl From<Input> for RunInput {
    fn from(input: Input) -> Self {
        match input {
            Input::Text(text) => Self::text(text),
            Input::Json(value) => Self::json(value),
        }
    }
}

impl From<RunStart> for (AgentId, RunInput) {
    fn from(start: RunStart) -> Self {
        let mut input = RunInput::from(start.input);
        input.idempotency_key = start.idempotency_key;
        input.session = start.session;
        input.deadline = start.deadline;
        input.on_behalf_of = start.on_behalf_of;
        input.on_disconnect = start.on_disconnect.unwrap_or_default();
        (start.agent, input)
    }
}

impl From<Turn> for (SessionId, RunInput) {
    fn from(turn: Turn) -> Self {
        let mut input = RunInput::from(turn.input);
        input.idempotency_key = turn.idempotency_key;
        input.deadline = turn.deadline;
        input.on_behalf_of = turn.on_behalf_of;
        input.on_disconnect = turn.on_disconnect.unwrap_or_default();
        (turn.session, input)
    }
}

pub(super) fn page(limit: Option<u32>, after: Option<Cursor>) -> PageRequest {
    let mut page = PageRequest::default();
    page.limit = limit.unwrap_or(page.limit);
    page.after = after;
    page
}

impl From<Listed> for PageRequest {
    fn from(listed: Listed) -> Self {
        page(listed.limit, listed.after)
    }
}

impl From<Info> for RequestInfo {
    fn from(info: Info) -> Self {
        let mut facts = Self::default();
        facts.deadline = info.deadline;
        facts.traceparent = info.traceparent;
        facts.correlation_id = info.correlation_id;
        facts.ip_address = info.ip_address;
        facts.user_agent = info.user_agent;
        facts
    }
}

impl From<UserCreate> for NewUser {
    fn from(args: UserCreate) -> Self {
        let mut new = Self::new(args.email);
        new.name = args.name;
        new.roles = args.roles.unwrap_or_default();
        new
    }
}

impl From<UserChange> for UserUpdate {
    fn from(args: UserChange) -> Self {
        let mut update = Self::new();
        update.name = args.name;
        update.active = args.active;
        update.roles = args.roles;
        update
    }
}

impl From<RunList> for RunQuery {
    fn from(args: RunList) -> Self {
        let mut query = Self::default();
        query.page = page(args.limit, args.after);
        query.agent = args.agent;
        query.session = args.session;
        query.status = args.status;
        query.idem_key = args.idempotency_key;
        query
    }
}
