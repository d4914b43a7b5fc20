//! Deadlines.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason, ModelInfo,
};
use agentprovision_core::testing::ManualClock;
use agentprovision_core::{Clock, Env, ErrorKind, Result};
use agentprovision_llm::layers::{TimeoutConfig, TimeoutLayer};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use tower::Layer;

use crate::kit::{ask, info, standing};
use crate::support::{Server, Step, chunk, context, finish_event, stream_head, text_event, within};

fn timed(server: &Server, config: TimeoutConfig, env: Env) -> Arc<dyn ChatModel> {
    TimeoutLayer::new(config, env).unwrap().layer(server.model())
}

fn only(total_ms: Option<u64>, first_event_ms: Option<u64>, idle_ms: Option<u64>) -> TimeoutConfig {
    TimeoutConfig { total_ms, first_event_ms, idle_ms }
}

/// Returns when somebody waits for the clock.
async fn waited_for(clock: &ManualClock) {
    let waiting = async {
        while clock.waiters() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(waiting).await;
}

/// Reads on, in a task where nothing is there yet, and gives the stream back with what came. Its time begins at once: a
/// timer of an earlier wait may still stand, so that waiting for one would not tell.
fn next(mut stream: ChatStream) -> tokio::task::JoinHandle<(Option<Result<ChatEvent>>, ChatStream)> {
    let there = stream.next().now_or_never();
    tokio::spawn(async move {
        match there {
            Some(event) => (event, stream),
            None => (within(stream.next()).await, stream),
        }
    })
}

#[tokio::test]
async fn an_answer_that_takes_too_long_ends_and_its_exchange_is_closed() {
    for streamed in [false, true] {
        let (clock, env) = standing();
        let mut server = Server::start(vec![Step::UntilClosed]).await;
        let model = timed(&server, only(Some(1000), streamed.then_some(500), None), env);
        let asked = tokio::spawn(async move {
            let ctx = context();
            if streamed {
                within(model.stream(&ctx, ask("x"))).await.map(|_| ())
            } else {
                within(model.complete(&ctx, ask("x"))).await.map(|_| ())
            }
        });
        server.seen().await;
        waited_for(&clock).await;
        clock.advance(Duration::from_millis(if streamed { 500 } else { 1000 }));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(error.message().contains("did not begin"), streamed, "{error}");
        within(server.closed()).await;
    }
}

#[tokio::test]
async fn the_earliest_of_the_deadlines_holds() {
    let (clock, env) = standing();
    let server = Server::start(vec![Step::UntilClosed]).await;
    let model = timed(&server, TimeoutConfig::default(), env);
    for by_context in [false, true] {
        let mut request = ask("x");
        let mut info = RequestInfo::default();
        let deadline = Some(clock.now().after(Duration::from_secs(3)));
        if by_context {
            info.deadline = deadline;
        } else {
            request.route.deadline = deadline;
        }
        let (model, ctx) = (Arc::clone(&model), context().with_info(info));
        let asked = tokio::spawn(async move { within(model.complete(&ctx, request)).await });
        waited_for(&clock).await;
        clock.advance(Duration::from_secs(3));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.message().contains("deadline of the request"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_stops_in_the_middle_ends_and_signs_of_life_are_no_pieces() {
    let (clock, env) = standing();
    // Comments and an event with token counts alone keep a connection alive, and say nothing.
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    let script = vec![
        stream_head(),
        chunk(&text_event("some")),
        Step::Wait,
        chunk(&text_event(" more")),
        Step::Wait,
        chunk(&format!(": ping\n\n{usage}")),
        Step::UntilClosed,
    ];
    let mut server = Server::start(script).await;
    let model = timed(&server, only(None, None, Some(1000)), env);
    let mut stream = within(model.stream(&context(), ask("x"))).await.unwrap();
    let text = async |stream: &mut ChatStream| {
        while let Some(event) = within(stream.next()).await {
            if let ChatEvent::Text(text) = event.unwrap() {
                return text;
            }
        }
        panic!("no text");
    };
    assert_eq!(text(&mut stream).await, "some");
    // A reader that is slow is not a model that is.
    clock.advance(Duration::from_secs(5));
    let reading = next(stream);
    waited_for(&clock).await;
    clock.advance(Duration::from_millis(999));
    server.go();
    let (event, mut stream) = reading.await.unwrap();
    let mut event = event;
    while matches!(event, Some(Ok(ChatEvent::Started { .. }))) {
        (event, stream) = next(stream).await.unwrap();
    }
    assert!(matches!(event, Some(Ok(ChatEvent::Text(text))) if text == " more"));
    let reading = next(stream);
    waited_for(&clock).await;
    clock.advance(Duration::from_millis(600));
    server.go();
    let (event, stream) = reading.await.unwrap();
    let reading = match event {
        Some(Ok(ChatEvent::Usage(_) | ChatEvent::Started { .. })) => next(stream),
        other => panic!("{other:?}"),
    };
    waited_for(&clock).await;
    clock.advance(Duration::from_millis(400));
    let (event, mut stream) = reading.await.unwrap();
    let error = event.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.message().contains("stopped in the middle"), "{error}");
    within(server.closed()).await;
    assert!(within(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_though_more_is_there() {
    let (clock, env) = standing();
    let script = vec![stream_head(), chunk(&text_event("some")), chunk(&finish_event()), Step::UntilClosed];
    let mut server = Server::start(script).await;
    let model = timed(&server, only(Some(1000), None, None), env);
    let mut stream = within(model.stream(&context(), ask("x"))).await.unwrap();
    within(stream.next()).await.unwrap().unwrap();
    clock.advance(Duration::from_millis(1000));
    let error = within(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    within(server.closed()).await;
}

#[test]
fn timeouts_that_cannot_hold_are_refused_with_all_their_problems() {
    let config = serde_json::from_str(r#"{"total_ms": 10, "first_event_ms": 20, "idle_ms": 0}"#).unwrap();
    let error = TimeoutLayer::new(config, Env::default()).unwrap_err();
    assert!(
        error.message().contains("`first_event_ms` is 20") && error.message().contains("`idle_ms`"),
        "{error}"
    );
    let none: TimeoutConfig = serde_json::from_str(r#"{"total_ms": null}"#).unwrap();
    assert_eq!((none.total_ms, none.idle_ms), (None, Some(60_000)));
}

/// Gives a whole answer, and then keeps the connection open.
#[derive(Debug)]
struct Lingering(ModelInfo);

#[async_trait]
impl ChatModel for Lingering {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        std::future::pending().await
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        let end = ChatEvent::Finished { reason: FinishReason::Stop, raw: None };
        let events = stream::iter([Ok(ChatEvent::Text("all of it".into())), Ok(end)]);
        Ok(events.chain(stream::pending()).boxed())
    }
}

#[tokio::test]
async fn after_its_last_piece_an_answer_ends_and_does_not_fail() {
    for config in [only(None, None, Some(1000)), only(Some(1000), None, None)] {
        let (clock, env) = standing();
        let model = Arc::new(Lingering(info("m"))) as Arc<dyn ChatModel>;
        let model = TimeoutLayer::new(config, env).unwrap().layer(model);
        let mut stream = within(model.stream(&context(), ask("x"))).await.unwrap();
        within(stream.next()).await.unwrap().unwrap();
        let (event, stream) = next(stream).await.unwrap();
        assert!(matches!(event, Some(Ok(ChatEvent::Finished { .. }))), "{event:?}");
        let reading = next(stream);
        waited_for(&clock).await;
        clock.advance(Duration::from_millis(1000));
        let (event, _) = reading.await.unwrap();
        assert!(event.is_none(), "{event:?}");
    }
}
