//! Answers in JSON that keep to their schema, and files that are not too large.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use agentprovision_core::canonical;
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Content, FinishReason,
    Message, ModelInfo, RouteHints, Source,
};
use agentprovision_core::{Error, ErrorKind, Result, Timestamp, references};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use jsonschema::Validator;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::Layer;

use super::events::events;
use super::refuse;

/// The most violations of a schema that an error names.
const NAMED: usize = 5;

/// Compiled schemas that are kept.
const KEPT: u64 = 256;

/// What is checked of requests and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateConfig {
    /// Whether an answer to a request with an output schema must match it; not by default, since the run of an agent
    /// checks its last answer itself and asks again, which this keeps it from.
    pub output: bool,
    /// How often the model is asked again when its answer does not match; not at all by default. All of it together
    /// makes no more attempts and takes no longer than one request may, and a request that says `pay_once` is never
    /// asked again. A streamed answer is held until it matches.
    pub repair_attempts: u32,
    /// The most bytes of one image or document; 20 MiB by default.
    pub max_file_bytes: u64,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        Self { output: false, repair_attempts: 0, max_file_bytes: 20 << 20 }
    }
}

impl ValidateConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.repair_attempts > 8 {
            problems.push(format!("`repair_attempts` is {}, more than 8", self.repair_attempts));
        }
        if self.repair_attempts > 0 && !self.output {
            problems.push("`repair_attempts` has no meaning without `output`".to_owned());
        }
        if self.max_file_bytes == 0 {
            problems.push("`max_file_bytes` must be more than 0".to_owned());
        }
        problems
    }
}

/// Checks files before anything is sent, and answers against the schema of their request. An answer that does not match
/// is a `provider_error` that says where, and is never given as if it did.
///
/// Put it inside of the cache, which then stores only answers that match, and outside of the budget, which pays for
/// every attempt.
///
/// Refusals, tool calls, and what the provider's content policy cut are no answers in JSON, and pass.
#[derive(Clone)]
pub struct ValidateLayer {
    config: ValidateConfig,
    schemas: moka::sync::Cache<[u8; 32], Arc<Validator>>,
    bounds: Option<Arc<Bounds>>,
}

/// What one request may take from now on: attempts, and until when.
type Bounds = dyn Fn() -> (u32, Timestamp) + Send + Sync;

impl fmt::Debug for ValidateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ValidateLayer {
    /// These checks.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: ValidateConfig) -> Result<Self> {
        refuse("the validation", &config.problems())?;
        Ok(Self { config, schemas: moka::sync::Cache::new(KEPT), bounds: None })
    }

    /// What one request to the model within may take at most, by its configuration: attempts, and until when. Without it
    /// only what requests say themselves bounds how often they are asked again.
    pub(crate) fn bounds(mut self, bounds: impl Fn() -> (u32, Timestamp) + Send + Sync + 'static) -> Self {
        self.bounds = Some(Arc::new(bounds));
        self
    }
}

impl Layer<Arc<dyn ChatModel>> for ValidateLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Arc::new(Validated { inner, layer: self.clone() })
    }
}

#[derive(Clone, Debug)]
struct Validated {
    inner: Arc<dyn ChatModel>,
    layer: ValidateLayer,
}

impl Validated {
    /// The schema of a request, compiled.
    fn schema(&self, request: &ChatRequest) -> Result<Option<Arc<Validator>>> {
        let Some(schema) = request.output_schema.as_ref().filter(|_| self.layer.config.output) else {
            return Ok(None);
        };
        let key = canonical::sha256(&[&canonical::json_bytes(schema)]);
        if let Some(known) = self.layer.schemas.get(&key) {
            return Ok(Some(known));
        }
        references::circular(schema)?;
        let made = jsonschema::validator_for(schema)
            .map_err(|error| Error::invalid(format!("the output schema is not a JSON Schema: {error}")))?;
        let made = Arc::new(made);
        self.layer.schemas.insert(key, Arc::clone(&made));
        Ok(Some(made))
    }

    /// Asks until the answer matches, or as often as is allowed.
    async fn repaired(
        &self,
        ctx: &Context,
        mut request: ChatRequest,
        schema: &Validator,
    ) -> Result<ChatResponse> {
        let (log, start) = (request.log.clone(), request.log.len());
        let bounds = self.layer.bounds.as_ref().map(|bounds| bounds());
        let most = bounds.map(|(attempts, _)| attempts).into_iter().chain(request.route.max_attempts).min();
        let until = bounds.map(|(_, until)| until);
        let mut asked = 0;
        loop {
            asked += 1;
            let response = self.inner.complete(ctx, request.clone()).await?;
            let Err(error) = check(schema, &response) else { return Ok(response) };
            // A model that is no router keeps no log; then every answer was one attempt.
            let made = u32::try_from(log.len().saturating_sub(start)).unwrap_or(u32::MAX).max(asked);
            let left = most.map(|most| most.saturating_sub(made));
            // An answer is paid for, whether it matches or not.
            if request.route.pay_once || asked > self.layer.config.repair_attempts || left == Some(0) {
                return Err(error);
            }
            request.route.max_attempts = left;
            request.route.deadline = request.route.deadline.into_iter().chain(until).min();
            request.messages.push(Message::Assistant {
                text: response.text,
                tool_calls: Vec::new(),
                continuation: response.continuation,
            });
            request.messages.push(Message::user(format!(
                "Your answer was not accepted: {error}. Answer again with JSON that matches the schema, and nothing else."
            )));
        }
    }
}

/// Whether an answer matches, where it is one that has to.
fn check(schema: &Validator, response: &ChatResponse) -> Result<()> {
    let calls = response.finish == FinishReason::ToolCalls || !response.tool_calls.is_empty();
    if calls || response.refusal.is_some() || response.finish == FinishReason::ContentFilter {
        return Ok(());
    }
    let bad = |words: String| Error::new(ErrorKind::ProviderError, words);
    let value: Value = serde_json::from_str(&response.text).map_err(|error| {
        let cut = if response.finish == FinishReason::Length { ", cut off by the token limit," } else { "" };
        bad(format!("the model's answer{cut} is not JSON: {error}"))
    })?;
    let mut problems = String::new();
    let mut first = None;
    for error in schema.iter_errors(&value).take(NAMED) {
        let path = error.instance_path().to_string();
        let separator = if problems.is_empty() { "" } else { "; " };
        _ = write!(problems, "{separator}{error} at `{path}`");
        first.get_or_insert(path);
    }
    match first {
        None => Ok(()),
        Some(path) => Err(bad(format!("the model's answer does not match its schema: {problems}"))
            .with_context("path", path)),
    }
}

/// Refuses files that are too large or no base64, naming the message.
fn check_files(request: &ChatRequest, max: u64) -> Result<()> {
    for (index, message) in request.messages.iter().enumerate() {
        let Message::User { content } = message else { continue };
        for piece in content {
            let (what, source) = match piece {
                Content::Image { source, .. } => ("image", source),
                Content::Document { source, .. } => ("document", source),
                _ => continue,
            };
            let Source::Base64(data) = source else { continue };
            let Some(bytes) = decoded_len(data) else {
                let words = format!("the {what} in message {index} is not base64");
                return Err(Error::invalid(words).with_context("message", index));
            };
            if bytes > max {
                let words = format!("the {what} in message {index} has {bytes} bytes, more than {max}");
                return Err(Error::too_large(words).with_context("message", index));
            }
        }
    }
    Ok(())
}

/// How many bytes a base64 text (RFC 4648, section 4, padded) stands for; `None` when it is none or stands for nothing.
fn decoded_len(data: &str) -> Option<u64> {
    let digits = data.trim_end_matches('=');
    let padding = data.len() - digits.len();
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let whole = data.len().is_multiple_of(4) && padding <= 2 && !digits.is_empty();
    (whole && digits.bytes().all(alphabet)).then(|| (data.len() / 4 * 3 - padding) as u64)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Validated {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        check_files(&request, self.layer.config.max_file_bytes)?;
        match self.schema(&request)? {
            Some(schema) => self.repaired(ctx, request, &schema).await,
            None => self.inner.complete(ctx, request).await,
        }
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        check_files(&request, self.layer.config.max_file_bytes)?;
        let Some(schema) = self.schema(&request)? else { return self.inner.stream(ctx, request).await };
        if self.layer.config.repair_attempts > 0 {
            let answer = self.repaired(ctx, request, &schema).await?;
            return Ok(stream::iter(events(answer).into_iter().map(Ok)).boxed());
        }
        let inner = self.inner.stream(ctx, request).await?;
        let checked = Checked { inner: Some(inner), answer: ChatAssembler::new(), schema };
        Ok(stream::unfold(checked, |mut checked| async {
            let item = checked.next().await?;
            Some((item, checked))
        })
        .boxed())
    }
}

/// A streamed answer whose end is held until it is known to match.
struct Checked {
    inner: Option<ChatStream>,
    answer: ChatAssembler,
    schema: Arc<Validator>,
}

impl Checked {
    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        let event = self.inner.as_mut()?.next().await?;
        if let Ok(event) = &event {
            self.answer.push(event);
            if matches!(event, ChatEvent::Finished { .. }) {
                let answer = std::mem::take(&mut self.answer);
                if let Err(error) = answer.finish().and_then(|answer| check(&self.schema, &answer)) {
                    // What may follow are token counts, which the layers within have to see.
                    if let Some(inner) = self.inner.take() {
                        _ = inner.try_for_each(|_| async { Ok(()) }).await;
                    }
                    return Some(Err(error));
                }
            }
        }
        Some(event)
    }
}
