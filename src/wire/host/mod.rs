//! What the host language writes and the platform calls: tools, chat models, connectors, authorizers and event sinks over one
//! callback, [`HostFunction`], that takes JSON text and answers through a [`Reply`].

mod connector;
mod tx;

pub use connector::{OperationCall, connector};
pub use tx::{tx_execute, tx_query};

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use agentprovision_core::authz::{Authorizer, Decision, Permission, Resource};
use agentprovision_core::event::{EventSink, NumberedEvent};
use agentprovision_core::model::{
    Capabilities, ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Continuation,
    FinishReason, ModelInfo, ModelPrice, PriceSheet, ServiceTier, Usage,
};
use agentprovision_core::money::{NanoUsd, PicoUsd};
use agentprovision_core::tool::{Approval, Effect, Tool, ToolCall, ToolSpec};
use agentprovision_core::{Context, Error, Result};
use agentprovision_tenancy::rbac::RbacAuthorizer;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{encode, views};
use crate::decode::decode;

/// A function of the host language.
pub trait HostFunction: fmt::Debug + Send + Sync + 'static {
    /// Begins a call and returns at once; the answer goes through [`HostCall::reply`], from anywhere.
    fn begin(&self, call: HostCall);
}

/// One call of a host's function.
#[derive(Debug)]
#[non_exhaustive]
pub struct HostCall {
    /// The input, in JSON.
    pub input: String,
    /// On whose behalf, where it is on somebody's.
    pub ctx: Option<Context>,
    /// The call as a tool sees it, for tools.
    pub tool: Option<ToolCall>,
    /// The call as an operation sees it, for operations of connectors.
    pub operation: Option<OperationCall>,
    /// Where the answer goes.
    pub reply: Reply,
}

#[derive(Debug)]
enum Part {
    Piece(String),
    Done(String),
    Fail(Error),
}

/// Where the answer of a host's function goes. Cheap to clone. When all clones are gone without an answer, the call
/// fails with `internal`.
#[derive(Clone, Debug)]
pub struct Reply(mpsc::UnboundedSender<Part>);

impl Reply {
    /// One piece of a stream, in JSON; whether anybody still listens.
    pub fn push(&self, json: String) -> bool {
        self.0.send(Part::Piece(json)).is_ok()
    }

    /// The answer, in JSON. The first answer counts.
    pub fn done(&self, json: String) {
        // Nobody listens to a call that was cancelled.
        let _ = self.0.send(Part::Done(json));
    }

    /// A failure. An exception of the host's in the error's source comes back with it.
    pub fn fail(&self, error: Error) {
        let _ = self.0.send(Part::Fail(error));
    }

    /// Returns when nobody waits for the answer any more: the run was cancelled, the deadline passed, or the answer was
    /// taken.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

#[derive(Debug)]
struct Answer(mpsc::UnboundedReceiver<Part>);

impl Answer {
    fn of(function: &dyn HostFunction, input: String, ctx: Option<Context>, tool: Option<ToolCall>) -> Self {
        Self::begin(function, |reply| HostCall { input, ctx, tool, operation: None, reply })
    }

    fn begin(function: &dyn HostFunction, call: impl FnOnce(Reply) -> HostCall) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        function.begin(call(Reply(sender)));
        Self(receiver)
    }

    async fn next(&mut self) -> Result<Part> {
        match self.0.recv().await {
            Some(Part::Fail(error)) => Err(error),
            Some(part) => Ok(part),
            None => Err(Error::internal("the host's function ended without an answer")),
        }
    }

    /// The whole answer, of a function that does not stream.
    async fn value<T: serde::de::DeserializeOwned>(mut self, what: &str) -> Result<T> {
        loop {
            if let Part::Done(json) = self.next().await? {
                return decode(what, &json);
            }
        }
    }
}

/// What a tool is, as the host says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ToolSpec")]
struct ToolForm {
    /// The name agents and models use: 1 to 64 of `a-z A-Z 0-9 _ -`.
    name: String,
    /// What it does, for the model.
    description: String,
    /// JSON Schema of its input; an object.
    input_schema: Value,
    /// What calling it does to the world; default `unsafe`.
    #[serde(default)]
    effect: Effect,
    /// The longest a call may take, in milliseconds; default 60 000.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Whether a person must agree first; default `never`.
    #[serde(default)]
    approval: Approval,
    /// A permission the caller needs, and the agent among its capabilities, beside `agents:run`.
    #[serde(default)]
    permission: Option<String>,
}

#[derive(Debug)]
struct HostTool {
    spec: ToolSpec,
    function: Arc<dyn HostFunction>,
}

/// A tool over a host's function: the input is its arguments, the answer any JSON. `spec` is a JSON object with `name`,
/// `description`, `input_schema` and optionally `effect`, `timeout_ms`, `approval` and `permission`.
///
/// # Errors
/// `invalid_input` for a specification that cannot be read.
pub fn tool(spec: &str, function: Arc<dyn HostFunction>) -> Result<impl Tool> {
    let form: ToolForm = decode("the tool", spec)?;
    let mut spec = ToolSpec::new(form.name, form.description, form.input_schema);
    spec.effect = form.effect;
    spec.timeout_ms = form.timeout_ms.unwrap_or(spec.timeout_ms);
    spec.approval = form.approval;
    spec.permission = form.permission;
    Ok(HostTool { spec, function })
}

#[async_trait]
impl Tool for HostTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &ToolCall, input: Value) -> Result<Value> {
        let answer =
            Answer::of(&*self.function, input.to_string(), Some(call.ctx().clone()), Some(call.clone()));
        answer.value(&format!("the result of the tool `{}`", self.spec.name)).await
    }
}

/// What a model is, as the host says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelInfo")]
struct ModelForm {
    /// The name agents use.
    name: String,
    /// The provider that serves it; default `host`.
    provider: Option<String>,
    /// Longest input and output together, in tokens.
    context_window: Option<u64>,
    /// Longest output in tokens.
    max_output_tokens: Option<u64>,
    /// The price; without one its cost is unknown, and unknown is never zero.
    price: Option<PriceForm>,
}

/// Prices of a model, in US dollars per million tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelPrice")]
pub(super) struct PriceForm {
    /// Prompt tokens that come from no cache.
    input: NanoUsd,
    /// Completion tokens.
    output: NanoUsd,
    /// Prompt tokens read from a cache; the input price where absent.
    cache_read: Option<NanoUsd>,
    /// Prompt tokens written to a cache; the input price where absent.
    cache_write: Option<NanoUsd>,
    /// Prompt tokens written to a cache for an hour; the price of other writes where absent.
    cache_write_1h: Option<NanoUsd>,
    /// Those of the completion tokens that were reasoning; the output price where absent.
    reasoning: Option<NanoUsd>,
}

impl TryFrom<PriceForm> for ModelPrice {
    type Error = Error;

    fn try_from(form: PriceForm) -> Result<Self> {
        // Nano-dollars per million tokens are a thousandth of pico-dollars per token.
        let picos = |amount: NanoUsd| match amount.nanos() {
            nanos if nanos < 0 => Err(Error::invalid("a price is negative")),
            nanos if nanos % 1000 != 0 => {
                Err(Error::invalid("a price per million tokens has at most six decimals"))
            }
            nanos => Ok(PicoUsd(nanos / 1000)),
        };
        Ok(Self {
            input: picos(form.input)?,
            output: picos(form.output)?,
            cache_read: form.cache_read.map(picos).transpose()?,
            cache_write: form.cache_write.map(picos).transpose()?,
            cache_write_1h: form.cache_write_1h.map(picos).transpose()?,
            reasoning: form.reasoning.map(picos).transpose()?,
        })
    }
}

/// A piece of a streamed answer.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "ChatEvent")]
enum EventForm {
    /// The provider's id and model of the answer.
    Started {
        /// The id of the answer.
        id: Option<String>,
        /// The model that answers.
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
        index: u16,
        /// The id, on its first piece.
        id: Option<String>,
        /// The tool, on its first piece.
        name: Option<String>,
        /// More argument text.
        #[serde(default)]
        arguments: String,
    },
    /// Token counts so far; the last one holds.
    Usage {
        /// Prompt tokens, including cache reads and writes.
        input_tokens: Option<u64>,
        /// Those of the prompt tokens that were read from the provider's cache.
        cache_read_tokens: Option<u64>,
        /// Those of the prompt tokens that were written to the provider's cache.
        cache_write_tokens: Option<u64>,
        /// Those of the cache writes that are kept for an hour.
        cache_write_1h_tokens: Option<u64>,
        /// Billable completion tokens, including reasoning.
        output_tokens: Option<u64>,
        /// Those of the completion tokens that were reasoning.
        reasoning_tokens: Option<u64>,
        /// Prompt tokens that are billed, where that is said apart from what the model read.
        billed_input_tokens: Option<u64>,
        /// Completion tokens that are billed, where that is said apart from what the model wrote.
        billed_output_tokens: Option<u64>,
        /// Searches that are billed.
        search_units: Option<u64>,
        /// The service tier that answered.
        service_tier: Option<ServiceTier>,
    },
    /// The answer is complete; only usage may follow.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The provider's word for it.
        raw: Option<String>,
    },
}

impl From<EventForm> for ChatEvent {
    fn from(form: EventForm) -> Self {
        match form {
            EventForm::Started { id, model } => Self::Started { id, model },
            EventForm::Text { text } => Self::Text(text),
            EventForm::Reasoning { text } => Self::Reasoning(text),
            EventForm::Refusal { text } => Self::Refusal(text),
            EventForm::ToolCall { index, id, name, arguments } => {
                Self::ToolCall { index: index.into(), id, name, arguments }
            }
            EventForm::Usage {
                input_tokens,
                cache_read_tokens,
                cache_write_tokens,
                cache_write_1h_tokens,
                output_tokens,
                reasoning_tokens,
                billed_input_tokens,
                billed_output_tokens,
                search_units,
                service_tier,
            } => Self::Usage(Usage {
                input_tokens,
                cache_read_tokens,
                cache_write_tokens,
                cache_write_1h_tokens,
                output_tokens,
                reasoning_tokens,
                billed_input_tokens,
                billed_output_tokens,
                search_units,
                service_tier,
            }),
            EventForm::Finished { reason, raw } => Self::Finished { reason, raw },
        }
    }
}

/// A tool call a model asks for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelToolCall")]
struct CallForm {
    /// The id, which the result names; made up where absent.
    id: Option<String>,
    /// The tool.
    name: String,
    /// The arguments: a JSON object, or its text.
    #[serde(default)]
    arguments: Value,
}

/// A whole answer of a model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelAnswer")]
struct AnswerForm {
    /// The provider's id of the answer.
    id: Option<String>,
    /// The model that answered, as the provider names it.
    model: Option<String>,
    /// The text.
    #[serde(default)]
    text: String,
    /// Reasoning the provider showed.
    #[serde(default)]
    reasoning: String,
    /// A refusal, in the model's words.
    refusal: Option<String>,
    /// Tool calls, in the order of the answer.
    #[serde(default)]
    tool_calls: Vec<CallForm>,
    /// Why it ended; where absent, `tool_calls` with any of them and otherwise `stop`.
    finish: Option<FinishReason>,
    /// Token counts; absent when the provider sent none.
    usage: Option<Usage>,
    /// What the model wants to see again when this answer is sent back to it.
    continuation: Option<Continuation>,
}

impl AnswerForm {
    fn events(self, conversation: usize) -> VecDeque<ChatEvent> {
        let mut events = VecDeque::new();
        if self.id.is_some() || self.model.is_some() {
            events.push_back(ChatEvent::Started { id: self.id, model: self.model });
        }
        if !self.reasoning.is_empty() {
            events.push_back(ChatEvent::Reasoning(self.reasoning));
        }
        if !self.text.is_empty() {
            events.push_back(ChatEvent::Text(self.text));
        }
        events.extend(self.refusal.map(ChatEvent::Refusal));
        let called = !self.tool_calls.is_empty();
        for (index, call) in self.tool_calls.into_iter().enumerate() {
            let arguments = match call.arguments {
                Value::String(text) => text,
                Value::Null => String::new(),
                value => value.to_string(),
            };
            let id = call.id.unwrap_or_else(|| format!("call_{conversation}_{index}"));
            events.push_back(ChatEvent::ToolCall { index, id: Some(id), name: Some(call.name), arguments });
        }
        let usual = if called { FinishReason::ToolCalls } else { FinishReason::Stop };
        events.extend(self.continuation.map(ChatEvent::Continuation));
        events.push_back(ChatEvent::Finished { reason: self.finish.unwrap_or(usual), raw: None });
        events.extend(self.usage.map(ChatEvent::Usage));
        events
    }
}

#[derive(Debug)]
struct HostModel {
    info: ModelInfo,
    function: Arc<dyn HostFunction>,
}

/// A chat model over a host's function. `info` is a JSON object with `name` and optionally `provider`,
/// `context_window`, `max_output_tokens` and `price` (`input`, `output`, `cache_read`, `cache_write`: US dollars per
/// million tokens as decimal text). The input is a [`ChatRequest`]. The answer is a text, or an object with `text`,
/// `tool_calls` and so on, or null after pieces: texts, or objects with a `type` (`text`, `reasoning`, `refusal`,
/// `tool_call`, `usage`, `started`, `finished`). An answer in pieces that ends without `finished` is complete.
///
/// # Errors
/// `invalid_input` for an info that cannot be read.
pub fn model(info: &str, function: Arc<dyn HostFunction>) -> Result<impl ChatModel> {
    let form: ModelForm = decode("the model", info)?;
    let info = ModelInfo {
        name: form.name,
        provider: form.provider.unwrap_or_else(|| "host".into()),
        context_window: form.context_window,
        max_output_tokens: form.max_output_tokens,
        price: form.price.map(ModelPrice::try_from).transpose()?.map(PriceSheet::from),
        capabilities: Capabilities::default(),
    };
    Ok(HostModel { info, function })
}

struct Speech {
    answer: Answer,
    what: String,
    conversation: usize,
    ready: VecDeque<ChatEvent>,
    called: bool,
    finished: bool,
    over: bool,
}

impl Speech {
    async fn next(&mut self) -> Result<Option<ChatEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.called |= matches!(event, ChatEvent::ToolCall { .. });
                self.finished |= matches!(event, ChatEvent::Finished { .. });
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            match self.answer.next().await? {
                Part::Piece(json) if json.starts_with('"') => {
                    self.ready.push_back(ChatEvent::Text(decode(&self.what, &json)?));
                }
                Part::Piece(json) => self.ready.push_back(decode::<EventForm>(&self.what, &json)?.into()),
                Part::Done(json) => {
                    self.over = true;
                    self.ready = match json.trim() {
                        "null" if self.finished => VecDeque::new(),
                        "null" => {
                            let reason =
                                if self.called { FinishReason::ToolCalls } else { FinishReason::Stop };
                            [ChatEvent::Finished { reason, raw: None }].into()
                        }
                        text if text.starts_with('"') => [
                            ChatEvent::Text(decode(&self.what, text)?),
                            ChatEvent::Finished { reason: FinishReason::Stop, raw: None },
                        ]
                        .into(),
                        object => decode::<AnswerForm>(&self.what, object)?.events(self.conversation),
                    };
                }
                Part::Fail(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl ChatModel for HostModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let mut assembler = ChatAssembler::new();
        let mut events = self.stream(ctx, request).await?;
        while let Some(event) = events.next().await {
            assembler.push(&event?);
        }
        assembler.finish()
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let speech = Speech {
            answer: Answer::of(&*self.function, encode(&request)?, Some(ctx.clone()), None),
            what: format!("the answer of the model `{}`", self.info.name),
            conversation: request.messages.len(),
            ready: VecDeque::new(),
            called: false,
            finished: false,
            over: false,
        };
        Ok(Box::pin(stream::try_unfold(speech, |mut speech| async move {
            Ok(speech.next().await?.map(|event| (event, speech)))
        })))
    }
}

struct HostAuthorizer {
    roles: Arc<RbacAuthorizer>,
    function: Arc<dyn HostFunction>,
}

impl fmt::Debug for HostAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostAuthorizer").field(&self.function).finish()
    }
}

/// An authorizer over a host's function, for [`PlatformBuilder::authorizer`](crate::PlatformBuilder::authorizer). The
/// input is `{"permission", "resource": {"kind", "id"}, "default": {"allow", "reason"}}`, where the default is what the
/// roles say; the answer is null for the default, a boolean, or `{"allow", "reason"}`. A failure denies.
pub fn authorizer(
    function: Arc<dyn HostFunction>,
) -> impl FnOnce(Arc<RbacAuthorizer>) -> Arc<dyn Authorizer> + Send + 'static {
    |roles| Arc::new(HostAuthorizer { roles, function })
}

/// What an authorizer says: null, a boolean, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Default(()),
    Allow(bool),
    Decision {
        allow: bool,
        #[serde(default)]
        reason: Option<String>,
    },
}

#[async_trait]
impl Authorizer for HostAuthorizer {
    async fn decide(&self, ctx: &Context, permission: Permission, resource: &Resource) -> Result<Decision> {
        let default = self.roles.decide(ctx, permission, resource).await?;
        let (allow, reason) = match &default {
            Decision::Allow => (true, None),
            Decision::Deny(reason) => (false, Some(reason.as_ref())),
        };
        let input = json!({
            "permission": self.roles.permissions().name(permission),
            "resource": { "kind": resource.kind, "id": resource.id },
            "default": { "allow": allow, "reason": reason },
        });
        let answer = Answer::of(&*self.function, input.to_string(), Some(ctx.clone()), None);
        let deny = |reason: Option<String>| {
            Decision::Deny(reason.map_or("the host's authorizer does not allow it".into(), Into::into))
        };
        Ok(match answer.value("the authorizer's decision").await? {
            Said::Default(()) => default,
            Said::Allow(true) | Said::Decision { allow: true, .. } => Decision::Allow,
            Said::Allow(false) => deny(None),
            Said::Decision { reason, .. } => deny(reason),
        })
    }
}

#[derive(Debug)]
struct HostSink(Arc<dyn HostFunction>);

/// An event sink over a host's function. The input is an array of `{"seq", "event"}`; any answer confirms the batch, and
/// a failure makes the same batch come again later.
pub fn event_sink(function: Arc<dyn HostFunction>) -> impl EventSink {
    HostSink(function)
}

#[async_trait]
impl EventSink for HostSink {
    async fn publish(&self, events: &[NumberedEvent]) -> Result<()> {
        let events: Vec<views::Event> = events.iter().cloned().map(views::Event::from).collect();
        let answer = Answer::of(&*self.0, encode(&events)?, None, None);
        answer.value::<serde::de::IgnoredAny>("the subscriber's answer").await.map(|_| ())
    }
}

/// Adds what crosses to and from a host's functions.
pub(super) fn schema(given: &mut SchemaGenerator, answered: &mut SchemaGenerator) {
    given.subschema_for::<ToolForm>();
    given.subschema_for::<connector::ConnectorForm>();
    given.subschema_for::<ModelForm>();
    given.subschema_for::<EventForm>();
    given.subschema_for::<AnswerForm>();
    answered.subschema_for::<ChatRequest>();
    answered.subschema_for::<ChatResponse>();
}
