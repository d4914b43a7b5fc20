//! Conversations through the router: whole answers, and streams that are committed with their first content.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Content, Message, ModelInfo, RouteHints,
};
use agentprovision_core::{Alarm, Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt, stream};

use super::ask::{Ask, recorded};
use super::estimate;
use super::plan::Needs;
use super::record::Recorder;

/// Events that are held back before the first content.
const HELD: usize = 64;

/// What a conversation needs of whoever answers it.
pub(crate) fn needs(request: &ChatRequest) -> Needs {
    let input_tokens = estimate::input_tokens(request);
    let mut needs = Needs {
        capabilities: Vec::new(),
        input_tokens,
        at_once: input_tokens,
        max_tokens: request.max_tokens,
        usual_output: estimate::DEFAULT_OUTPUT,
    };
    let mut needed = |name, has: fn(&ModelInfo) -> Option<bool>| needs.capabilities.push((name, has));
    if !request.tools.is_empty() {
        needed("tools", |info| info.capabilities.tools);
    }
    if request.output_schema.is_some() {
        needed("structured output", |info| info.capabilities.output_schema);
    }
    let (mut images, mut documents) = (false, false);
    for message in &request.messages {
        if let Message::User { content } = message {
            images |= content.iter().any(|piece| matches!(piece, Content::Image { .. }));
            documents |= content.iter().any(|piece| matches!(piece, Content::Document { .. }));
        }
    }
    if images {
        needed("images", |info| info.capabilities.images);
    }
    if documents {
        needed("documents", |info| info.capabilities.documents);
    }
    needs
}

/// The request as one model is asked: no longer an answer than it can give.
fn fitted(request: &ChatRequest, info: &ModelInfo) -> ChatRequest {
    let mut request = request.clone();
    request.model.clone_from(&info.name);
    if let (Some(wanted), Some(limit)) = (request.max_tokens, info.max_output_tokens) {
        request.max_tokens = Some(wanted.min(limit));
    }
    request
}

pub(crate) fn too_slow() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the model did not answer in time")
        .with_retry(Retry::After(Duration::ZERO))
}

pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the deadline of the request has passed")
}

fn silent() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the model was silent for too long")
        .with_retry(Retry::After(Duration::ZERO))
}

fn cut_off() -> Error {
    Error::new(ErrorKind::Incomplete, "the model's answer ended before it was complete")
        .with_retry(Retry::After(Duration::ZERO))
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ctx: &'a Context,
    pub(crate) request: &'a ChatRequest,
    pub(crate) limit: Duration,
}

#[async_trait]
impl Ask for Whole<'_> {
    type Model = dyn ChatModel;
    type Answer = ChatResponse;

    async fn ask(
        &self,
        model: &dyn ChatModel,
        info: &ModelInfo,
        recorder: Recorder,
        limit: Duration,
    ) -> Result<ChatResponse> {
        let asked = async {
            let answer = model.complete(self.ctx, fitted(self.request, info)).await?;
            let calls = answer.tool_calls.iter().map(|call| call.arguments.len() + call.name.len());
            let written = answer.text.len() + answer.reasoning.len() + calls.sum::<usize>();
            Ok((answer.usage, written as u64, answer))
        };
        recorded(self.env, recorder, limit, self.limit, asked).await
    }

    fn limit(&self) -> Duration {
        self.limit
    }
}

/// A streamed answer, up to its first content.
#[derive(Debug)]
pub(crate) struct Streamed<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ctx: &'a Context,
    pub(crate) request: &'a ChatRequest,
    pub(crate) limit: Duration,
    pub(crate) idle: Duration,
    pub(crate) deadline: Duration,
    pub(crate) hedges: bool,
}

#[async_trait]
impl Ask for Streamed<'_> {
    type Model = dyn ChatModel;
    type Answer = ChatStream;

    async fn ask(
        &self,
        model: &dyn ChatModel,
        info: &ModelInfo,
        mut recorder: Recorder,
        limit: Duration,
    ) -> Result<ChatStream> {
        let opening = async {
            let mut events = model.stream(self.ctx, fitted(self.request, info)).await?;
            let mut held = VecDeque::new();
            while held.len() < HELD {
                let event = events.next().await.ok_or_else(cut_off)??;
                recorder.event(&event);
                let committed = event.is_content() || matches!(event, ChatEvent::Finished { .. });
                held.push_back(event);
                if committed {
                    break;
                }
            }
            Ok((events, held))
        };
        match self.env.timeout(limit, opening).await {
            Some(Ok((events, held))) => {
                let finished = held.iter().any(|event| matches!(event, ChatEvent::Finished { .. }));
                let committed = Committed {
                    events,
                    held,
                    recorder: Some(recorder),
                    alarm: Alarm::new(self.env.clone()),
                    env: self.env.clone(),
                    idle: self.idle,
                    deadline: self.deadline,
                    since: None,
                    finished,
                };
                Ok(committed.boxed())
            }
            Some(Err(error)) => {
                recorder.failed(&error);
                Err(error)
            }
            None => {
                recorder.given_up(&too_slow(), limit, self.limit);
                Err(too_slow())
            }
        }
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn hedges(&self) -> bool {
        self.hedges
    }

    fn streams(&self) -> bool {
        true
    }
}

/// An answer that is given by one target to its end.
struct Committed {
    // Dropped first: whoever stops reading stops the provider before anything is counted.
    events: ChatStream,
    held: VecDeque<ChatEvent>,
    /// `None` once the end is recorded.
    recorder: Option<Recorder>,
    env: Env,
    alarm: Alarm,
    idle: Duration,
    deadline: Duration,
    /// Since when the next piece is waited for.
    since: Option<Duration>,
    finished: bool,
}

impl Stream for Committed {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.recorder.is_none() {
            return Poll::Ready(None);
        }
        let event = match self.events.poll_next_unpin(task) {
            Poll::Ready(event) => event,
            // What may follow the end of the answer is only waited for.
            Poll::Pending => match ready!(self.poll_silence(task)) {
                Ok(()) => None,
                Err(error) => return Poll::Ready(Some(Err(error))),
            },
        };
        self.since = None;
        Poll::Ready(self.arrived(event))
    }
}

impl Committed {
    /// Ready when it was silent for too long, which is an error before its end.
    fn poll_silence(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        let env = &self.env;
        let since = *self.since.get_or_insert_with(|| env.monotonic());
        let (idle, left) = (self.idle, self.deadline.saturating_sub(since));
        let limit = idle.min(left);
        ready!(self.alarm.poll(task, since.saturating_add(limit)));
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        self.stop();
        let error = if left < idle { too_late() } else { silent() };
        self.recorder.take().into_iter().for_each(|recorder| recorder.given_up(&error, limit, idle));
        Poll::Ready(Err(error))
    }

    /// What becomes of the next piece, or of the end.
    fn arrived(&mut self, event: Option<Result<ChatEvent>>) -> Option<Result<ChatEvent>> {
        match event {
            Some(Ok(event)) => {
                self.finished |= matches!(event, ChatEvent::Finished { .. });
                self.recorder.iter_mut().for_each(|recorder| recorder.event(&event));
                Some(Ok(event))
            }
            Some(Err(error)) => Some(Err(self.fail(error))),
            None if self.finished => {
                self.stop();
                self.recorder.take().into_iter().for_each(Recorder::complete);
                None
            }
            None => Some(Err(self.fail(cut_off()))),
        }
    }

    /// Closes the exchange.
    fn stop(&mut self) {
        self.events = stream::empty().boxed();
    }

    fn fail(&mut self, error: Error) -> Error {
        self.stop();
        self.recorder.take().into_iter().for_each(|recorder| recorder.failed(&error));
        error
    }
}

/// A name that stands for whoever the router finds.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) core: Arc<super::core::Core>,
    pub(crate) info: Arc<ModelInfo>,
    pub(crate) name: String,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Routed {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.core.answerers(ctx, &self.name, route, &|name| self.core.registry.chat(name))
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        request.model.clone_from(&self.name);
        self.core.complete(ctx, &request).await
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        request.model.clone_from(&self.name);
        self.core.stream(ctx, &request).await
    }
}
