//! Identical questions at the same time are asked once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use agentprovision_llm::layers::{Answerer, CacheConfig, CacheLayer};
use agentprovision_llm::{Category, ProviderError};
use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower::Layer;

use crate::kit::{Routed, ask, events, standing, text_of};
use crate::support::{
    Server, Step, chunk, context, finish_event, stream_end, stream_head, text_event, within,
};

/// An answer that is held back until the test lets it go.
fn held(status: &str, body: &str) -> Vec<Step> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    vec![Step::Wait, Step::Send(head.into_bytes())]
}

const ANSWER: &str = r#"{"id":"1","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"well"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

struct World {
    server: Server,
    layer: CacheLayer,
    model: Arc<dyn ChatModel>,
}

async fn world(script: Vec<Step>, env: Env) -> World {
    let server = Server::start(script).await;
    let layer = CacheLayer::new(CacheConfig::default(), env).unwrap();
    let model = layer.layer(server.model());
    World { server, layer, model }
}

impl World {
    fn whole(&self, ctx: &Context, request: ChatRequest) -> JoinHandle<Result<ChatResponse>> {
        let (model, ctx) = (Arc::clone(&self.model), ctx.clone());
        tokio::spawn(async move { within(model.complete(&ctx, request)).await })
    }

    fn streamed(&self, ctx: &Context, request: ChatRequest) -> JoinHandle<Result<String>> {
        let (model, ctx) = (Arc::clone(&self.model), ctx.clone());
        tokio::spawn(async move { Ok(text_of(&events(within(model.stream(&ctx, request)).await).await?)) })
    }
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pitfall_27_concurrent_identical_questions_of_one_tenant_are_asked_once() {
    let mut world = world(held("200 OK", ANSWER), Env::default()).await;
    let (ada, eve) = (context(), context());
    let leader = world.whole(&ada, ask("x"));
    world.server.seen().await;
    let followers: Vec<_> = (0..10).map(|_| world.whole(&ada, ask("x"))).collect();
    let streamed = world.streamed(&ada, ask("x"));
    settle().await;
    assert!(world.server.saw_nothing(), "they wait");
    // Another tenant asks for itself.
    let other = world.whole(&eve, ask("x"));
    world.server.seen().await;
    world.server.go();
    assert_eq!(leader.await.unwrap().unwrap().usage.unwrap().total(), 4);
    for follower in followers {
        let answer = follower.await.unwrap().unwrap();
        assert_eq!((answer.text.as_str(), answer.usage.unwrap().total()), ("well", 0));
    }
    assert_eq!(streamed.await.unwrap().unwrap(), "well");
    world.server.go();
    other.await.unwrap().unwrap();
    assert!(world.server.saw_nothing());
    assert_eq!(world.layer.stats().shared, 11);
}

#[tokio::test]
async fn an_error_about_the_question_is_everybodys_and_one_about_who_asked_is_not() {
    let body = r#"{"error":{"message":"no such field","type":"invalid_request_error"}}"#;
    let mut refused = world(held("400 Bad Request", body), Env::default()).await;
    let ctx = context();
    let leader = refused.whole(&ctx, ask("x"));
    refused.server.seen().await;
    let follower = refused.whole(&ctx, ask("x"));
    settle().await;
    refused.server.go();
    for asked in [leader, follower] {
        assert_eq!(asked.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(refused.server.saw_nothing());
    assert_eq!(refused.layer.stats().stored, 0);

    let limited = world(held("429 Too Many Requests", body), Env::default()).await;
    let mut limited = limited;
    let leader = limited.whole(&ctx, ask("x"));
    limited.server.seen().await;
    let follower = limited.whole(&ctx, ask("x"));
    settle().await;
    limited.server.go();
    assert_eq!(leader.await.unwrap().unwrap_err().kind(), ErrorKind::RateLimited);
    limited.server.seen().await;
    limited.server.go();
    assert_eq!(follower.await.unwrap().unwrap_err().kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn a_leader_that_goes_away_hands_over() {
    let mut world = world(held("200 OK", ANSWER), Env::default()).await;
    let ctx = context();
    let leader = world.whole(&ctx, ask("x"));
    world.server.seen().await;
    let followers: Vec<_> = (0..3).map(|_| world.whole(&ctx, ask("x"))).collect();
    settle().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    // One of the three asks, and the others wait for it.
    within(world.server.seen()).await;
    settle().await;
    assert!(world.server.saw_nothing());
    // One permission for the connection of the leader, which is gone, and one for its successor.
    world.server.go();
    settle().await;
    world.server.go();
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap().text, "well");
    }
}

#[tokio::test]
async fn who_waits_for_a_stream_gets_it_when_it_is_complete_and_takes_over_when_it_is_dropped() {
    let body = format!("{}{}data: [DONE]\n\n", text_event(" of text"), finish_event());
    let script = vec![stream_head(), chunk(&text_event("some")), Step::Wait, chunk(&body), stream_end()];
    let mut world = world(script, Env::default()).await;
    let ctx = context();
    let mut leader = within(world.model.stream(&ctx, ask("x"))).await.unwrap();
    world.server.seen().await;
    within(leader.next()).await.unwrap().unwrap();
    let followers = [world.streamed(&ctx, ask("x")), world.streamed(&ctx, ask("x"))];
    settle().await;
    assert!(followers.iter().all(|follower| !follower.is_finished()));
    drop(leader);
    within(world.server.seen()).await;
    settle().await;
    assert!(world.server.saw_nothing());
    world.server.go();
    settle().await;
    world.server.go();
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap(), "some of text", "nothing of it twice");
    }
    assert_eq!(world.layer.stats().stored, 1);
}

#[tokio::test]
async fn who_waits_does_not_wait_for_ever() {
    let (clock, env) = standing();
    let mut world = world(held("200 OK", ANSWER), env).await;
    let ctx = context();
    let leader = world.whole(&ctx, ask("x"));
    world.server.seen().await;
    let wait = async |waiters: usize| {
        while clock.waiters() < waiters {
            tokio::task::yield_now().await;
        }
    };
    // Its own deadline.
    let mut hurried = ask("x");
    hurried.route.deadline = Some(agentprovision_core::Clock::now(&clock).after(Duration::from_secs(2)));
    let hurried = world.whole(&ctx, hurried);
    within(wait(1)).await;
    clock.advance(Duration::from_secs(2));
    assert_eq!(hurried.await.unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    // That of its context.
    let mut info = RequestInfo::default();
    info.deadline = Some(agentprovision_core::Clock::now(&clock).after(Duration::from_secs(1)));
    let by_context = world.whole(&ctx.with_info(info), ask("x"));
    within(wait(1)).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(by_context.await.unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    // And what is configured, after which it asks for itself.
    let patient = world.whole(&ctx, ask("x"));
    within(wait(1)).await;
    clock.advance(Duration::from_secs(30));
    within(world.server.seen()).await;
    world.server.go();
    settle().await;
    world.server.go();
    assert_eq!(patient.await.unwrap().unwrap().text, "well");
    assert_eq!(leader.await.unwrap().unwrap().text, "well");
}

/// Fails the first time, once it is let, and answers after that. What it records is by a target of this name.
#[derive(Debug)]
struct FailsOnce {
    scripted: ScriptedModel,
    first: Mutex<Option<Error>>,
    target: &'static str,
    gate: Notify,
}

#[async_trait]
impl ChatModel for FailsOnce {
    fn info(&self) -> &ModelInfo {
        self.scripted.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let first = self.first.lock().unwrap().take();
        let Some(error) = first else { return self.scripted.complete(ctx, request).await };
        self.gate.notified().await;
        let target = Arc::new(Mutex::new(self.target));
        request.log.push(Routed { inner: Arc::new(ScriptedModel::new("m", [])), target }.attempt());
        Err(error)
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.scripted.stream(ctx, request).await
    }
}

#[tokio::test]
async fn who_waits_gets_no_error_that_is_about_who_asked() {
    let plain = |kind| Error::new(kind, "about who asked");
    let said = |category| Error::from(ProviderError::new(category, "about the question"));
    for (error, target, is_shared) in [
        // The first one's limits, strategy, names and access; and the moment.
        (plain(ErrorKind::RateLimited), "m", false),
        (plain(ErrorKind::TooLarge), "m", false),
        (plain(ErrorKind::InvalidInput), "m", false),
        (plain(ErrorKind::NotFound), "m", false),
        (plain(ErrorKind::BudgetExceeded), "m", false),
        (said(Category::RateLimit), "m", false),
        (said(Category::ServerError), "m", false),
        (said(Category::InvalidRequest), "m", true),
        (said(Category::ContentPolicy), "m", true),
        (said(Category::ContextWindow), "m", true),
        // A fallback, which the others may not have.
        (said(Category::ContextWindow), "fallback", false),
    ] {
        let model = Arc::new(FailsOnce {
            scripted: ScriptedModel::from_fn("m", |_| Reply::text("well")),
            first: Mutex::new(Some(error.clone())),
            target,
            gate: Notify::new(),
        });
        let layer = CacheLayer::new(CacheConfig::default(), Env::default()).unwrap();
        let own = |_: &ChatRequest, by: &Answerer| by.model == "m";
        let cached = layer.own_targets(own).layer(model.clone() as Arc<dyn ChatModel>);
        let ctx = context();
        let ask = || {
            let (cached, ctx) = (Arc::clone(&cached), ctx.clone());
            tokio::spawn(async move { within(cached.complete(&ctx, ask("x"))).await })
        };
        let leader = ask();
        settle().await;
        let followers = [ask(), ask(), ask()];
        settle().await;
        model.gate.notify_one();
        assert_eq!(leader.await.unwrap().unwrap_err().kind(), error.kind());
        for follower in followers {
            match follower.await.unwrap() {
                Ok(answer) => assert!(!is_shared && answer.text == "well", "{error:?}"),
                Err(shared) => assert!(is_shared && shared.kind() == error.kind(), "{shared:?}"),
            }
        }
        // One of those who waited asked, and the others waited for it.
        assert_eq!(model.scripted.requests().len(), usize::from(!is_shared), "{error:?}");
    }
}
