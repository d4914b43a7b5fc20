//! Answers whose JSON form is not that of the stored record: without what is for stores only, and with what a reader of
//! the record would have to compute.

mod webhooks;

pub(super) use webhooks::{Delivery, MadeEndpoint, Received, WholeDelivery};

use agentprovision_core::audit::{AuditEntry, AuditRecord};
use agentprovision_core::event::{NumberedEvent, PlatformEvent};
use agentprovision_core::id::{AgentId, ApiKeyId, ProjectId, RequestId, RunId, SessionId, TenantId, UserId};
use agentprovision_core::identity;
use agentprovision_core::model::{Attempt, CallLog, ChatEvent, Continuation, FinishReason, Usage};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::page::{Cursor, Page};
use agentprovision_core::run::{self, Chain, ChainHash, JournalRow, RunStatus, RunTotals, StepError};
use agentprovision_core::{Context, Error, Result, Timestamp, agent, audit};
use agentprovision_llm::models::{ModelStream, Spent};
use agentprovision_tenancy::identity::NewApiKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

/// A part of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct PageOf<T> {
    /// The items.
    items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    next: Option<Cursor>,
}

impl<T> PageOf<T> {
    pub(super) fn from<S>(page: Page<S>) -> Self
    where
        T: From<S>,
    {
        Self { items: page.items.into_iter().map(T::from).collect(), next: page.next }
    }
}

/// An API key. The secret itself is nowhere.
#[derive(Serialize, JsonSchema)]
pub(super) struct ApiKey {
    /// The id, part of the key's text.
    id: ApiKeyId,
    /// Whose key it is.
    user: UserId,
    /// What it is for, in the user's words.
    name: String,
    /// What it is limited to, as permission names; everything the user may where absent.
    scopes: Option<Vec<String>>,
    /// When it ends.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
}

impl From<identity::ApiKey> for ApiKey {
    fn from(key: identity::ApiKey) -> Self {
        let identity::ApiKey { id, user, name, digest: _, scopes, expires_at, revoked_at, created_at } = key;
        Self { id, user, name, scopes, expires_at, revoked_at, created_at }
    }
}

/// A new API key, with the text that is shown this once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewApiKey")]
pub(super) struct MadeApiKey {
    /// The key as it is stored.
    record: ApiKey,
    /// The text to give to the client, `apk_<tenant>_<key>_<secret>`.
    #[schemars(extend("format" = "secret"))]
    secret: String,
}

impl From<NewApiKey> for MadeApiKey {
    fn from(new: NewApiKey) -> Self {
        Self { record: new.record.into(), secret: new.secret.expose_secret().to_owned() }
    }
}

/// A run, without its journal.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunRecord {
    /// The id.
    id: RunId,
    /// The tenant.
    tenant: TenantId,
    /// The agent.
    agent: AgentId,
    /// The version it is pinned to.
    version: agent::VersionHash,
    /// On whose behalf it runs.
    user: UserId,
    /// The project it belongs to.
    project_id: Option<ProjectId>,
    /// The session it is a turn of.
    session_id: Option<SessionId>,
    /// The run that started it.
    parent_run: Option<RunId>,
    /// The caller's idempotency key, unique per agent.
    idempotency_key: Option<String>,
    /// Another user the caller acts for, as the host says.
    on_behalf_of: Option<String>,
    /// Where it stands.
    status: RunStatus,
    /// Number of journal rows.
    seq: u64,
    /// Link of the last journal row.
    head: ChainHash,
    /// When it must be over.
    deadline: Timestamp,
    /// What it used, as of its last commit.
    totals: RunTotals,
    /// What that cost; absent when any part of it is unknown.
    cost_usd: Option<NanoUsd>,
    /// Its error.
    error: Option<StepError>,
    /// When it was accepted.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
    /// When it was over.
    finished_at: Option<Timestamp>,
}

impl From<run::RunRecord> for RunRecord {
    fn from(run: run::RunRecord) -> Self {
        Self {
            id: run.id,
            tenant: run.tenant,
            agent: run.agent,
            version: run.version,
            user: run.user,
            project_id: run.project_id,
            session_id: run.session_id,
            parent_run: run.parent_run,
            idempotency_key: run.idem_key,
            on_behalf_of: run.on_behalf_of,
            status: run.status,
            seq: run.seq,
            head: run.head,
            deadline: run.deadline,
            cost_usd: run.totals.cost_usd(),
            totals: run.totals,
            error: run.error,
            created_at: run.created_at,
            updated_at: run.updated_at,
            finished_at: run.finished_at,
        }
    }
}

/// A row of a run's journal.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JournalRow")]
pub(super) struct Row {
    /// Its number, from 1.
    seq: u64,
    /// What happened: an object with its name in `entry`.
    entry: Map<String, Value>,
    /// The hash of the chain up to this row.
    hash: ChainHash,
}

/// The verified journal of a run.
#[derive(Serialize, JsonSchema)]
pub(super) struct Journal {
    /// The run.
    record: RunRecord,
    /// Its rows, in order.
    rows: Vec<Row>,
}

impl Journal {
    pub(super) fn new(record: run::RunRecord, rows: Vec<JournalRow>) -> Result<Self> {
        let rows = rows.into_iter().map(|row| {
            let entry = serde_json::from_slice(&row.body)
                .map_err(|error| Error::corrupt("a journal row cannot be read").with_source(error))?;
            Ok(Row { seq: row.seq, entry, hash: row.hash })
        });
        Ok(Self { record: record.into(), rows: rows.collect::<Result<_>>()? })
    }
}

/// How a run ended.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OutcomeRecord")]
pub(super) struct Outcome<'a> {
    /// The record of the run.
    record: RunRecord,
    /// Every step: what, how long, tokens, cost.
    chain: &'a Chain,
    /// The answer of a completed run.
    answer: Option<&'a str>,
}

impl<'a> Outcome<'a> {
    pub(super) fn new(outcome: &'a run::Outcome) -> Self {
        Self { record: outcome.record().clone().into(), chain: outcome.chain(), answer: outcome.text().ok() }
    }
}

/// A record in its place in the audit log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(super) struct Entry {
    /// Its place: 0 for the first record of the log, without gaps.
    seq: u64,
    /// What the stored bytes say; absent where the record was erased with its tenant.
    record: Option<AuditRecord>,
    /// The stored bytes, which are what is hashed; empty where the record was erased.
    #[schemars(extend("format" = "base64"))]
    bytes: String,
    /// The hash of the leaf (RFC 6962, section 2.1).
    leaf: audit::merkle::TreeHash,
}

impl TryFrom<&AuditEntry> for Entry {
    type Error = agentprovision_core::Error;

    fn try_from(entry: &AuditEntry) -> Result<Self> {
        let record = entry.erased.is_none().then(|| entry.record()).transpose()?;
        let leaf = entry.leaf();
        Ok(Self { seq: entry.seq, record, bytes: STANDARD.encode(&entry.bytes), leaf })
    }
}

/// An event with its number within its tenant.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NumberedEvent")]
pub(super) struct Event {
    /// The number: 1 for the first, without gaps.
    seq: u64,
    /// The event.
    event: PlatformEvent,
}

impl From<NumberedEvent> for Event {
    fn from(event: NumberedEvent) -> Self {
        Self { seq: event.seq, event: event.event }
    }
}

/// A piece of an answer of a model, and at its end what was spent on it.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ModelEvent {
    /// The provider's id and model of the answer; may come more than once.
    Started {
        /// The id of the answer.
        id: Option<String>,
        /// The model that answers, as the provider names it.
        model: Option<String>,
    },
    /// More text.
    Text {
        /// The text.
        text: String,
    },
    /// More reasoning.
    Reasoning {
        /// The text.
        text: String,
    },
    /// More of a refusal.
    Refusal {
        /// The text.
        text: String,
    },
    /// More of a tool call: the id and name when it begins, argument text as it comes.
    ToolCall {
        /// Which call of this answer, from 0, in the order they began.
        index: usize,
        /// The id, on its first piece.
        id: Option<String>,
        /// The tool, on its first piece.
        name: Option<String>,
        /// More argument text.
        arguments: String,
    },
    /// What the provider wants to see again when its answer is sent back; the last one holds.
    Continuation {
        /// It, for the `continuation` of an assistant's message.
        continuation: Continuation,
    },
    /// Token counts so far; the last one holds.
    Usage {
        /// The counts.
        usage: Usage,
    },
    /// The answer is complete; only usage and what was spent may follow.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The provider's word for it.
        raw: Option<String>,
    },
    /// The end: what was spent.
    Spent {
        /// The requests to providers, in the order they ended; none where a stored answer was given.
        attempts: Vec<Attempt>,
        /// Their token counts together; absent when nothing was billed.
        usage: Option<Usage>,
        /// What they cost together; absent when a price is unknown.
        cost_usd: Option<NanoUsd>,
    },
}

impl ModelEvent {
    /// `None` for a kind of piece that has no form here.
    fn of(event: ChatEvent) -> Option<Self> {
        Some(match event {
            ChatEvent::Started { id, model } => Self::Started { id, model },
            ChatEvent::Text(text) => Self::Text { text },
            ChatEvent::Reasoning(text) => Self::Reasoning { text },
            ChatEvent::Refusal(text) => Self::Refusal { text },
            ChatEvent::ToolCall { index, id, name, arguments } => {
                Self::ToolCall { index, id, name, arguments }
            }
            ChatEvent::Continuation(continuation) => Self::Continuation { continuation },
            ChatEvent::Usage(usage) => Self::Usage { usage },
            ChatEvent::Finished { reason, raw } => Self::Finished { reason, raw },
            _ => return None,
        })
    }
}

impl From<Spent> for ModelEvent {
    fn from(spent: Spent) -> Self {
        let Spent { attempts, usage, cost_usd, .. } = spent;
        Self::Spent { attempts, usage, cost_usd }
    }
}

/// The pieces of an answer, and then what was spent, also when it broke off: before the error.
pub(super) fn model_events(answer: ModelStream) -> impl Stream<Item = Result<ModelEvent>> + Send {
    enum At {
        Answer(ModelStream),
        Error(Error),
    }
    stream::unfold(Some(At::Answer(answer)), |at| async {
        let mut answer = match at? {
            At::Answer(answer) => answer,
            At::Error(error) => return Some((Err(error), None)),
        };
        loop {
            match answer.next().await {
                Some(Ok(event)) => {
                    if let Some(event) = ModelEvent::of(event) {
                        return Some((Ok(event), Some(At::Answer(answer))));
                    }
                }
                Some(Err(error)) => {
                    let Some(spent) = answer.spent() else { return Some((Err(error), None)) };
                    let error = with_spent(error, spent);
                    return Some((Ok(spent.clone().into()), Some(At::Error(error))));
                }
                None => return Some((Ok(answer.spent()?.clone().into()), None)),
            }
        }
    })
}

/// The fact of an [`Error`] that says what was spent before it, in the form of the event.
pub(super) const SPENT: &str = "spent";

/// The same error with what was spent before it, where there was an attempt.
pub(super) fn with_spent(error: Error, spent: &Spent) -> Error {
    match serde_json::to_string(&ModelEvent::from(spent.clone())) {
        Ok(text) if !spent.attempts.is_empty() => error.with_context(SPENT, text),
        _ => error,
    }
}

/// Waits for an answer; its error says what was spent, as the log of the request tells.
pub(super) async fn spending<T>(log: CallLog, work: impl Future<Output = Result<T>>) -> Result<T> {
    work.await.map_err(|error| with_spent(error, &Spent::of(&log)))
}

/// Who acts, for which tenant, with which grants.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ContextRecord")]
pub(super) struct Caller {
    /// The tenant.
    tenant: TenantId,
    /// The user.
    user: UserId,
    /// The permissions, by name.
    grants: Vec<String>,
    /// The API key behind it, where it was one.
    key: Option<ApiKeyId>,
    /// The agent that acts on the user's behalf, in a run.
    agent: Option<AgentId>,
    /// When the credential behind it ends.
    expires: Option<Timestamp>,
    /// When the request must be over.
    deadline: Option<Timestamp>,
    /// The id of the request.
    request_id: RequestId,
    /// The work it belongs to.
    correlation_id: String,
}

impl Caller {
    pub(super) fn new(permissions: &agentprovision_core::authz::PermissionRegistry, ctx: &Context) -> Self {
        let name = |permission| permissions.name(permission).map(str::to_owned);
        Self {
            tenant: ctx.tenant(),
            user: ctx.principal().user(),
            grants: ctx.grants().iter().filter_map(name).collect(),
            key: ctx.key(),
            agent: ctx.agent(),
            expires: ctx.expires(),
            deadline: ctx.deadline(),
            request_id: ctx.request_id(),
            correlation_id: ctx.correlation_id().into_owned(),
        }
    }
}
