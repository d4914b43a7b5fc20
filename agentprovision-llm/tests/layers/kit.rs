//! What the tests of several layers need.

use std::sync::Arc;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::model::{
    Attempt, AttemptEnd, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Message, ModelInfo,
};
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Env, Result, Timestamp};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};

/// A clock that stands, and what goes with it.
pub(crate) fn standing() -> (ManualClock, Env) {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(5)));
    (clock, env)
}

/// A context of another user of the tenant.
pub(crate) fn user_of(tenant: TenantId, info: RequestInfo) -> Context {
    let env = Env::default();
    let identity = Identity {
        tenant,
        principal: Principal::User(env.id::<UserId>()),
        scopes: PermissionSet::EMPTY,
        expires: None,
        key: None,
    };
    ContextIssuer::new(env).context(&identity, &PermissionSet::EMPTY, info)
}

/// A question that may be answered from a cache.
pub(crate) fn ask(text: &str) -> ChatRequest {
    let mut request = ChatRequest::new("m", vec![Message::user(text)]);
    request.temperature = Some(0.0);
    request
}

/// A model of which nothing is known but its name.
pub(crate) fn info(name: &str) -> ModelInfo {
    ScriptedModel::new(name, []).info().clone()
}

/// A model that numbers its answers, so that a stored one is told from a new one.
pub(crate) fn counting() -> Arc<ScriptedModel> {
    let count = std::sync::atomic::AtomicU64::new(0);
    Arc::new(ScriptedModel::from_fn("m", move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        Reply::text(format!("answer {number} in several words"))
    }))
}

/// All events of a stream, or its error.
pub(crate) async fn events(stream: Result<ChatStream>) -> Result<Vec<ChatEvent>> {
    crate::support::within(stream?.try_collect()).await
}

/// The text of a streamed answer.
pub(crate) fn text_of(events: &[ChatEvent]) -> String {
    let text = |event: &ChatEvent| match event {
        ChatEvent::Text(text) => text.clone(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

/// Stands in for a router: answers come from one of several targets, and who answered is in the log.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) inner: Arc<dyn ChatModel>,
    pub(crate) target: Arc<std::sync::Mutex<&'static str>>,
}

impl Routed {
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt {
            provider: "somebody".into(),
            model: (*self.target.lock().unwrap()).into(),
            credential: 0,
            started: Timestamp::default(),
            duration_us: 1,
            first_content_us: None,
            hedge: false,
            end: AttemptEnd::Answered,
            usage: None,
            estimated: false,
            cost: None,
        }
    }
}

#[async_trait]
impl ChatModel for Routed {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let log = request.log.clone();
        let answer = self.inner.complete(ctx, request).await?;
        log.push(self.attempt());
        Ok(answer)
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        /// Writes the attempt down when the stream is dropped, as a router does.
        struct OnDrop(agentprovision_core::model::CallLog, Option<Attempt>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.push(self.1.take().unwrap());
            }
        }
        let written = OnDrop(request.log.clone(), Some(self.attempt()));
        let events = self.inner.stream(ctx, request).await?;
        Ok(events.inspect(move |_| _ = &written).boxed())
    }
}
