//! A model whose target is left alone while it is unwell.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo};
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::health::{Blocked, Health, Permit, Reason, Verdict};
use crate::wire::{Category, ProviderError};

/// A probe that says nothing for so long gives its place up.
const LEASE: Duration = Duration::from_secs(120);

/// The longest pause a provider can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A [`ChatModel`] that is not asked while its [`Health`] forbids it. What each request came to counts: failures of the
/// target open its breaker, and a pause it asks for is kept by every run of the process.
#[derive(Clone, Debug)]
pub struct Watched {
    inner: Arc<dyn ChatModel>,
    health: Health,
    env: Env,
}

impl Watched {
    /// The model, watched.
    pub fn new(inner: Arc<dyn ChatModel>, health: Health, env: Env) -> Self {
        Self { inner, health, env }
    }

    fn admit(&self) -> Result<Permit> {
        self.health.admit(LEASE).map_err(|Blocked { reason, retry_at }| {
            let wait = retry_at.saturating_sub(self.env.monotonic());
            let (words, wait) = match reason {
                Reason::Cooling => ("the model provider asked for a pause", wait),
                Reason::Open => ("the model provider failed too often and is left alone for a while", wait),
                // Its probes will usually have ended long before their places expire.
                Reason::Probing => {
                    ("the model provider is being tried out after failures", wait.min(Duration::from_secs(1)))
                }
            };
            Error::new(ErrorKind::Unavailable, words)
                .with_retry(Retry::After(wait))
                .with_context("provider", &self.info().provider)
                .with_context("model", &self.info().name)
        })
    }

    /// What an error says of the target, and the pause it asks for.
    fn learn(&self, error: &Error) -> Verdict {
        let Some(said) = error.source().and_then(|source| source.downcast_ref::<ProviderError>()) else {
            return match error.kind() {
                ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Incomplete => {
                    Verdict::Failure
                }
                _ => Verdict::Nothing,
            };
        };
        if matches!(said.category, Category::RateLimit | Category::Overloaded)
            && let Some(pause) = said.retry_after()
        {
            self.health.cool(pause.min(LONGEST_PAUSE));
        }
        if said.policy().counts_against_target_health { Verdict::Failure } else { Verdict::Success }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Watched {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let permit = self.admit()?;
        let answer = self.inner.complete(ctx, request).await;
        permit.record(answer.as_ref().map_or_else(|error| self.learn(error), |_| Verdict::Success));
        answer
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let permit = self.admit()?;
        let events = match self.inner.stream(ctx, request).await {
            Ok(events) => events,
            Err(error) => {
                permit.record(self.learn(&error));
                return Err(error);
            }
        };
        let following = (events, self.clone(), Some(permit));
        Ok(stream::unfold(following, |(mut events, watched, mut permit)| async move {
            let event = events.next().await;
            let verdict = match &event {
                Some(Ok(ChatEvent::Finished { .. })) => Some(Verdict::Success),
                Some(Err(error)) => Some(watched.learn(error)),
                // Whoever reads it sees that it is incomplete.
                None => Some(Verdict::Failure),
                Some(Ok(_)) => None,
            };
            if let Some(verdict) = verdict
                && let Some(permit) = permit.take()
            {
                permit.record(verdict);
            }
            event.map(|event| (event, (events, watched, permit)))
        })
        .boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use agentprovision_core::ContextIssuer;
    use agentprovision_core::Timestamp;
    use agentprovision_core::authz::PermissionSet;
    use agentprovision_core::context::{Identity, Principal, RequestInfo};
    use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};

    use super::*;
    use crate::wire::{HintSource, RetryHint};

    struct World {
        model: Watched,
        scripted: Arc<ScriptedModel>,
        clock: ManualClock,
        ctx: Context,
    }

    fn world(replies: impl IntoIterator<Item = Reply>) -> World {
        let clock = ManualClock::new(Timestamp::default());
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(3)));
        let issuer = ContextIssuer::new(env.clone());
        let identity = Identity {
            tenant: env.id(),
            principal: Principal::User(env.id()),
            scopes: PermissionSet::EMPTY,
            expires: None,
            key: None,
        };
        let ctx = issuer.context(&identity, &PermissionSet::EMPTY, RequestInfo::default());
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        let scripted = Arc::new(ScriptedModel::from_fn("m", move |_| {
            replies.lock().unwrap().pop_front().unwrap_or_else(|| Reply::text("well"))
        }));
        let health = Health::new(env.clone(), Arc::default());
        World { model: Watched::new(scripted.clone(), health, env), scripted, clock, ctx }
    }

    impl World {
        async fn ask(&self) -> Result<String> {
            self.model.complete(&self.ctx, ChatRequest::default()).await.map(|answer| answer.text)
        }

        async fn stream(&self) -> Result<()> {
            let mut events = self.model.stream(&self.ctx, ChatRequest::default()).await?;
            while let Some(event) = events.next().await {
                event?;
            }
            Ok(())
        }
    }

    fn said(category: Category, after: Option<u64>) -> Error {
        let mut error = ProviderError::new(category, "x");
        error.hints = after
            .map(|after| RetryHint { after: Duration::from_secs(after), source: HintSource::RetryAfter })
            .into_iter()
            .collect();
        error.into()
    }

    #[tokio::test]
    async fn a_target_that_fails_is_left_alone_and_tried_again_later() {
        let failing = || Reply::Fail(said(Category::ServerError, None));
        let broken = || Reply::Break("wel".into(), said(Category::Incomplete, None));
        let world = world([failing(), broken(), failing(), broken(), failing()]);
        for _ in 0..2 {
            world.ask().await.unwrap_err();
            world.stream().await.unwrap_err();
        }
        world.ask().await.unwrap_err();
        assert_eq!(world.scripted.requests().len(), 5);
        let error = world.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("left alone"), "{error}");
        let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
        assert_eq!(world.scripted.requests().len(), 5, "nothing was sent");
        world.clock.advance(wait);
        assert_eq!(world.ask().await.unwrap(), "well");
        world.stream().await.unwrap();
        assert_eq!(world.ask().await.unwrap(), "well");
    }

    #[tokio::test]
    async fn bad_requests_say_nothing_against_the_target() {
        let world = world((0..20).map(|_| Reply::Fail(said(Category::InvalidRequest, None))));
        for _ in 0..20 {
            assert_eq!(world.ask().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(world.ask().await.unwrap(), "well");
    }

    #[tokio::test]
    async fn a_pause_the_provider_asks_for_is_kept() {
        let world = world([Reply::Fail(said(Category::RateLimit, Some(30)))]);
        world.ask().await.unwrap_err();
        let error = world.ask().await.unwrap_err();
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(30)));
        assert!(error.message().contains("pause"), "{error}");
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(world.ask().await.unwrap(), "well");
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_says_nothing() {
        let world = world((0..20).map(|_| Reply::text("a b c")));
        for _ in 0..20 {
            let mut events = world.model.stream(&world.ctx, ChatRequest::default()).await.unwrap();
            events.next().await.unwrap().unwrap();
        }
        assert_eq!(world.ask().await.unwrap(), "well");
    }
}
