//! A chat model with a cache.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CacheUse, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo, RouteHints,
};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};

use super::answer::{Answer, Answerer, Recorder, of_whole, storable};
use super::flight::Joined;
use super::store::{State, Ticket, count};
use super::{OwnTarget, millis};
use crate::route::provider_error;
use crate::wire::Category;

#[derive(Clone)]
pub(super) struct CachedChat {
    pub(super) inner: Arc<dyn ChatModel>,
    pub(super) state: Arc<State>,
    pub(super) own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for CachedChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedChat").field(&self.inner).finish()
    }
}

/// What is done about a request.
enum Plan {
    /// It gets this answer.
    Give(Arc<Answer>),
    /// It is passed on, and its answer stored.
    Ask(Ticket),
    /// It is passed on.
    Pass,
}

impl CachedChat {
    async fn plan(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Plan> {
        let config = &self.state.config;
        let read = match request.route.cache {
            CacheUse::Default => {
                if request.temperature != Some(0.0) && !config.any_temperature {
                    return Ok(Plan::Pass);
                }
                true
            }
            CacheUse::Always => true,
            CacheUse::Refresh => false,
            // Also what this version does not know.
            _ => return Ok(Plan::Pass),
        };
        let key = self.state.key(ctx, request)?;
        let ticket = Ticket {
            key,
            tenant: ctx.tenant(),
            model: request.model.clone(),
            epoch: self.state.epoch(),
            lead: None,
        };
        if read { self.find(ctx, request, ticket).await } else { Ok(Plan::Ask(ticket)) }
    }

    /// The stored answer, that of another who asks already, or the right to ask.
    async fn find(&self, ctx: &Context, request: &ChatRequest, mut ticket: Ticket) -> Result<Plan> {
        let state = &self.state;
        let stored = || state.get(&ticket.key).filter(|answer| self.gave(request, answer));
        let hit = |answer| {
            count(&state.counts.hits);
            Ok(Plan::Give(answer))
        };
        let began = state.env.monotonic();
        let longest = millis(state.config.max_wait_ms);
        loop {
            if let Some(answer) = stored() {
                return hit(answer);
            }
            let waited = state.env.monotonic().saturating_sub(began);
            if waited >= longest {
                break;
            }
            let follow = match state.flights.join(ticket.key) {
                Joined::Lead(lead) => {
                    // The answer may have come between the look and the lead.
                    if let Some(answer) = stored() {
                        return hit(answer);
                    }
                    ticket.lead = Some(lead);
                    break;
                }
                Joined::Follow(follow) => follow,
            };
            let left = time_left(ctx, request, state.env.now());
            let wait = (longest - waited).min(left.unwrap_or(Duration::MAX));
            match state.env.timeout(wait, follow.outcome()).await {
                // Whoever asked went away: the next to join takes over.
                Some(None) => {}
                Some(Some(Ok(answer))) if self.gave(request, &answer) => {
                    count(&state.counts.shared);
                    return Ok(Plan::Give(answer));
                }
                // A fallback answered, which this request may not have.
                Some(Some(Ok(_))) => break,
                Some(Some(Err(error))) => {
                    count(&state.counts.shared);
                    return Err(error);
                }
                None if left.is_some_and(|left| left <= wait) => {
                    let words = "the deadline passed while an identical request was under way";
                    return Err(Error::new(ErrorKind::DeadlineExceeded, words));
                }
                None => break,
            }
        }
        count(&state.counts.misses);
        Ok(Plan::Ask(ticket))
    }

    /// Whether an answer is by a target the requested model stands for.
    fn gave(&self, request: &ChatRequest, answer: &Answer) -> bool {
        answer.by.as_ref().is_some_and(|by| self.is_own(request, by))
    }

    /// Whether the requested model stands for this target.
    fn is_own(&self, request: &ChatRequest, by: &Answerer) -> bool {
        match &self.own {
            Some(own) => own(request, by),
            None => by.is(self.inner.info()),
        }
    }
}

/// How long the caller waits at most.
fn time_left(ctx: &Context, request: &ChatRequest, now: agentprovision_core::Timestamp) -> Option<Duration> {
    let deadlines = [ctx.deadline(), request.route.deadline];
    deadlines.into_iter().flatten().min().map(|deadline| deadline.since(now))
}

/// Whether an error is what a provider says of the question itself, so that all who asked it may have it. Everything
/// else may be about who asked, whom they let answer, or the moment.
fn is_shared(error: &Error) -> bool {
    provider_error(error).is_some_and(|said| {
        matches!(said.category, Category::InvalidRequest | Category::ContentPolicy | Category::ContextWindow)
    })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for CachedChat {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        let ticket = match self.plan(ctx, &mut request).await? {
            Plan::Give(answer) => return answer.whole(),
            Plan::Pass => return self.inner.complete(ctx, request).await,
            Plan::Ask(ticket) => ticket,
        };
        let asked = Asked::new(self, ticket, &request);
        let response = self.inner.complete(ctx, request).await;
        match &response {
            Ok(response) => asked.end(storable(response), |by| Ok(of_whole(response, by))),
            Err(error) => asked.fail(error),
        }
        response
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        let ticket = match self.plan(ctx, &mut request).await? {
            Plan::Give(answer) => return Ok(answer.stream()),
            Plan::Pass => return self.inner.stream(ctx, request).await,
            Plan::Ask(ticket) => ticket,
        };
        let asked = Asked::new(self, ticket, &request);
        match self.inner.stream(ctx, request).await {
            Ok(events) => {
                let recording =
                    Recording { inner: Some(events), asked: Some(asked), recorder: Recorder::default() };
                Ok(recording.boxed())
            }
            Err(error) => {
                asked.fail(&error);
                Err(error)
            }
        }
    }
}

/// A request that was passed on. Dropped, it leaves the question to another who waits.
struct Asked {
    model: CachedChat,
    ticket: Ticket,
    /// The question's own words on routing, to tell who may answer.
    request: ChatRequest,
    log: CallLog,
    /// Attempts that were in the log before.
    start: usize,
}

impl Asked {
    fn new(model: &CachedChat, ticket: Ticket, request: &ChatRequest) -> Self {
        // Who may answer depends on the name and on what is said of routing, not on the conversation.
        let mut hints = ChatRequest::new(request.model.clone(), Vec::new());
        hints.route = request.route.clone();
        Self {
            model: model.clone(),
            ticket,
            request: hints,
            log: request.log.clone(),
            start: request.log.len(),
        }
    }

    fn fail(self, error: &Error) {
        let Some(lead) = self.ticket.lead else { return };
        // What a fallback says is no word of the model that others asked.
        let by = Answerer::last(&self.log, self.start, self.model.inner.info());
        if is_shared(error) && self.model.is_own(&self.request, &by) {
            lead.end(|| Err(error.clone()));
        }
    }

    fn end(mut self, storable: bool, answer: impl FnOnce(Option<Answerer>) -> Result<Answer>) {
        let by = Answerer::of(&self.log, self.start, self.model.inner.info());
        let lead = self.ticket.lead.take();
        if !storable {
            if let Some(lead) = lead {
                lead.end(|| answer(by).map(Arc::new));
            }
            return;
        }
        let answer = answer(by).map(Arc::new);
        if let Ok(answer) = &answer
            && self.model.gave(&self.request, answer)
        {
            self.model.state.put(&self.ticket, Arc::clone(answer));
        }
        // Only now may others ask: whoever looks next finds it stored.
        if let Some(lead) = lead {
            lead.end(|| answer);
        }
    }
}

/// A streamed answer that is taken down as it passes.
struct Recording {
    /// `None` once it is over.
    inner: Option<ChatStream>,
    /// `None` once its outcome is known.
    asked: Option<Asked>,
    recorder: Recorder,
}

impl Recording {
    /// The end of the stream, or of the caller's interest in it.
    fn end(&mut self) {
        // First, because its end is what writes down who answered.
        self.inner = None;
        let Some(asked) = self.asked.take() else { return };
        if !self.recorder.is_finished() {
            // Dropped or cut off: another one who waits asks anew.
            return;
        }
        let recorder = std::mem::take(&mut self.recorder);
        match recorder.end() {
            Ok((whole, storable)) => asked.end(storable, |by| Ok(whole.by(by))),
            Err(error) => asked.fail(&error),
        }
    }
}

impl Stream for Recording {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let event = ready!(inner.poll_next_unpin(task));
        match &event {
            Some(Ok(event)) => self.recorder.push(event),
            Some(Err(error)) => {
                self.inner = None;
                if let Some(asked) = self.asked.take() {
                    asked.fail(error);
                }
            }
            None => self.end(),
        }
        Poll::Ready(event)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
    }
}
