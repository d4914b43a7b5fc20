//! The contracts of models: chat, embedding and rerank; and the vocabulary of a conversation with one.
//!
//! [`ChatModel`] is what the run engine calls and what every layer wraps. A streamed answer is a sequence of
//! [`ChatEvent`]s; [`ChatAssembler`] puts them together into the [`ChatResponse`] a non-streamed call would have given.

mod assemble;
mod embed;
mod format;
mod price;
mod rerank;
mod route;
mod tariff;

pub use assemble::ChatAssembler;
pub use embed::{EmbedPurpose, EmbedRequest, EmbedResponse, EmbeddingModel};
pub use format::WireFormat;
pub use price::{ModelPrice, PriceSheet, PriceVariant};
pub use rerank::{Ranked, RerankModel, RerankRequest, RerankResponse};
pub use route::{Attempt, AttemptEnd, CacheUse, CallLog, RouteHints};
pub use tariff::{PriceWindow, ServiceTier, TimeOfDay, Weekday};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::Result;
use crate::money::NanoUsd;

/// What a model is and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelInfo {
    /// The name agents use.
    pub name: String,
    /// The provider that serves it.
    pub provider: String,
    /// Longest input and output together, in tokens; absent when unknown.
    pub context_window: Option<u64>,
    /// Longest output in tokens; absent when unknown.
    pub max_output_tokens: Option<u64>,
    /// What it costs; absent when unknown, and unknown is never zero.
    pub price: Option<PriceSheet>,
    /// What it can do beside text.
    #[serde(default)]
    pub capabilities: Capabilities,
}

impl ModelInfo {
    /// What an answer with these counts costs to a request that began at `at`; `None` when the price is unknown.
    pub fn cost(&self, usage: &Usage, at: Timestamp) -> Option<NanoUsd> {
        self.price.as_ref().map(|price| price.cost(usage, at))
    }

    /// The most a request with at most these counts can cost, as [`PriceSheet::at_most`]; `None` when the price is
    /// unknown.
    pub fn at_most(&self, most: &Usage) -> Option<NanoUsd> {
        self.price.as_ref().map(|price| price.at_most(most))
    }
}

/// What a model can do beside text in, text out; an absent field is unknown, and unknown is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Capabilities {
    /// Calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Reads images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
    /// Reads documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<bool>,
    /// Keeps its answer to a JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<bool>,
    /// Reasons before it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// Here, in base64 (RFC 4648, section 4).
    Base64(String),
    /// Where the provider fetches them.
    Url(String),
}

/// What a provider wants to see again when its own answer is sent back to it: signed or encrypted reasoning, above all.
/// Another provider than the issuer would refuse it, so it is left out there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Continuation {
    /// Who can read it: the name of a dialect, or of a provider where its keys are its own.
    pub issuer: String,
    /// Parts of the answer in the issuer's own wire format.
    pub items: Vec<Value>,
}

/// A piece of a user's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Its media type, such as `image/png`.
        media_type: String,
        /// The bytes.
        source: Source,
    },
    /// A document.
    Document {
        /// Its media type, such as `application/pdf`.
        media_type: String,
        /// Its name, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The bytes.
        source: Source,
    },
}

/// A tool call as a model asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolRequest {
    /// The provider's id of the call, which the result names.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The exact argument bytes the model sent.
    pub arguments: String,
    /// Whether the arguments are whole: a call cut off in the middle is never executed.
    pub complete: bool,
}

impl ToolRequest {
    /// The arguments as JSON; an empty text is an empty object, as several providers send it. `None` when they are no JSON.
    pub fn json(&self) -> Option<Value> {
        if self.arguments.trim().is_empty() {
            return Some(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_str(&self.arguments).ok()
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Message {
    /// Instructions.
    System {
        /// The text.
        text: String,
    },
    /// What the user said.
    User {
        /// The pieces, in order.
        content: Vec<Content>,
    },
    /// What the model answered.
    Assistant {
        /// The text; may be empty.
        text: String,
        /// The tool calls it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolRequest>,
        /// What the provider that answered wants to see again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continuation: Option<Continuation>,
    },
    /// The result of a tool call.
    Tool {
        /// The id of the call.
        call_id: String,
        /// The tool.
        name: String,
        /// The result as text: JSON, or the message of an error.
        content: String,
        /// Whether the tool failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

impl Message {
    /// Instructions.
    pub fn system(text: impl Into<String>) -> Self {
        Self::System { text: text.into() }
    }

    /// A user's text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User { content: vec![Content::Text { text: text.into() }] }
    }

    /// A model's text.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::Assistant { text: text.into(), tool_calls: Vec::new(), continuation: None }
    }
}

/// A tool as a model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolDefinition {
    /// The name the model calls it by.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input.
    pub input_schema: Value,
}

/// Which tools a model may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Tool(String),
}

/// A request to a chat model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<ToolDefinition>,
    /// Which of them.
    pub tool_choice: ToolChoice,
    /// Sampling temperature; the provider's default where absent.
    pub temperature: Option<f64>,
    /// Longest answer in tokens; the provider's default where absent.
    pub max_tokens: Option<u64>,
    /// JSON Schema the answer must match.
    pub output_schema: Option<Value>,
    /// Sequences that end the answer.
    pub stop: Vec<String>,
    /// Seed for repeatable sampling, where the provider has it.
    pub seed: Option<i64>,
    /// Fields of the provider's own wire format, passed through unchanged.
    pub extra: serde_json::Map<String, Value>,
    /// The format `extra` is written in. A provider of another one is asked by its own names for these fields; hints
    /// that change no answer are left out, and where a field has no name the model cannot answer. Where this is absent,
    /// they are passed through whoever answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub extra_format: Option<WireFormat>,
    /// What the caller says about who answers.
    #[serde(default, skip_serializing_if = "RouteHints::is_default")]
    pub route: RouteHints,
    /// Where the attempts are recorded.
    #[serde(skip)]
    pub log: CallLog,
}

impl ChatRequest {
    /// A request of these messages to `model`.
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self { model: model.into(), messages, ..Self::default() }
    }
}

/// What an answer is paid by, as the provider reported it: token counts above all. A field that was not reported is
/// absent, never invented as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Usage {
    /// Prompt tokens, including cache reads and writes.
    pub input_tokens: Option<u64>,
    /// Those of the prompt tokens that were read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Those of the prompt tokens that were written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Those of the cache writes that are kept for an hour, where the provider prices these apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_tokens: Option<u64>,
    /// Billable completion tokens, including reasoning.
    pub output_tokens: Option<u64>,
    /// Those of the completion tokens that were reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Prompt tokens that are billed, where the provider says so apart from what the model read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_input_tokens: Option<u64>,
    /// Completion tokens that are billed, where the provider says so apart from what the model wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_output_tokens: Option<u64>,
    /// Searches that are billed, where the provider bills by these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// The service tier that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

impl Usage {
    /// Input and output tokens together.
    pub fn total(&self) -> u64 {
        self.input_tokens.unwrap_or(0).saturating_add(self.output_tokens.unwrap_or(0))
    }

    /// The sum; a count is absent when both are, and so is the service tier when it is not the same.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let plus = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            input_tokens: plus(self.input_tokens, other.input_tokens),
            cache_read_tokens: plus(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: plus(self.cache_write_tokens, other.cache_write_tokens),
            cache_write_1h_tokens: plus(self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            output_tokens: plus(self.output_tokens, other.output_tokens),
            reasoning_tokens: plus(self.reasoning_tokens, other.reasoning_tokens),
            billed_input_tokens: plus(self.billed_input_tokens, other.billed_input_tokens),
            billed_output_tokens: plus(self.billed_output_tokens, other.billed_output_tokens),
            search_units: plus(self.search_units, other.search_units),
            service_tier: self.service_tier.filter(|tier| other.service_tier == Some(*tier)),
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model asks for tools.
    ToolCalls,
    /// The provider's content policy cut the answer.
    ContentFilter,
    /// A reason this version does not know; the provider's word is in `finish_raw`.
    Other,
}

/// A whole answer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChatResponse {
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The text.
    #[serde(default)]
    pub text: String,
    /// Reasoning the provider showed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// A refusal, in the model's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tool calls, in the order of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolRequest>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The provider's word for it.
    pub finish_raw: Option<String>,
    /// Token counts; absent when the provider sent none.
    pub usage: Option<Usage>,
    /// What the provider wants to see again when this answer is sent back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Continuation>,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ChatEvent {
    /// The provider's id and model of the answer; may come more than once.
    Started {
        /// The id of the answer.
        id: Option<String>,
        /// The model that answers.
        model: Option<String>,
    },
    /// More text.
    Text(String),
    /// More reasoning.
    Reasoning(String),
    /// More of a refusal.
    Refusal(String),
    /// More of the tool call at `index`: the id and name when it begins, argument text as it comes.
    ToolCall {
        /// Which call of this answer, in the order they began.
        index: usize,
        /// The id, on its first piece.
        id: Option<String>,
        /// The tool, on its first piece.
        name: Option<String>,
        /// More argument text.
        arguments: String,
    },
    /// What the provider wants to see again; the last one holds.
    Continuation(Continuation),
    /// Token counts so far; the last one holds.
    Usage(Usage),
    /// The answer is complete; only usage may follow.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The provider's word for it.
        raw: Option<String>,
    },
}

impl ChatEvent {
    /// Whether the event carries a piece of the answer: from the first such event on, no other model may take over.
    pub fn is_content(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Reasoning(_) | Self::Refusal(_) | Self::ToolCall { .. })
    }
}

/// A stream of the pieces of an answer. Dropping it ends the request.
pub type ChatStream = BoxStream<'static, Result<ChatEvent>>;

/// Answers conversations. Providers implement it, layers wrap it.
#[async_trait]
pub trait ChatModel: fmt::Debug + Send + Sync + 'static {
    /// What the model is and can do.
    fn info(&self) -> &ModelInfo;
    /// The models that may answer a request in this one's place, with what they cost the context's tenant now: the model
    /// alone where nothing routes it. Whoever holds room for a request reckons with the dearest of them.
    fn answerers(&self, _ctx: &Context, _route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        vec![Arc::new(self.info().clone())]
    }
    /// A whole answer.
    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse>;
    /// The answer in pieces. A stream that ends without [`ChatEvent::Finished`] was cut off.
    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream>;
}

/// Finds models by the names agents use.
pub trait ModelResolver: fmt::Debug + Send + Sync + 'static {
    /// The model with this name.
    ///
    /// # Errors
    /// `not_found`, naming the models there are.
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>>;
}

/// Finds embedding models by name.
pub trait EmbeddingResolver: fmt::Debug + Send + Sync + 'static {
    /// The model with this name.
    ///
    /// # Errors
    /// `not_found`, naming the models there are; `unsupported` when the provider has no embedding models.
    fn embedder(&self, name: &str) -> Result<Arc<dyn EmbeddingModel>>;
}

/// Finds rerank models by name.
pub trait RerankResolver: fmt::Debug + Send + Sync + 'static {
    /// The model with this name.
    ///
    /// # Errors
    /// `not_found`, naming the models there are; `unsupported` when the provider has no rerank models.
    fn reranker(&self, name: &str) -> Result<Arc<dyn RerankModel>>;
}
