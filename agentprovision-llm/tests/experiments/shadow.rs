//! Copies that nobody who waits for the main answer notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::model::{ChatEvent, ChatModel, ChatRequest};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Context, Env, Error, ErrorKind};
use agentprovision_llm::layers::{ShadowBudget, ShadowConfig, ShadowLayer, ShadowSink, Shadowed};
use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tower::Layer;

use crate::support::{Server, Step, chunk, context, finish_event, stream_head, text_event, within};
use crate::{Panics, Recording, ask, events, scripted};

#[derive(Debug)]
struct Allow(AtomicBool);

#[async_trait]
impl ShadowBudget for Allow {
    async fn allow(&self, _: &Context, copy: &ChatRequest) -> bool {
        assert_eq!(copy.route.tags["shadow"], "true");
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Sink(mpsc::UnboundedSender<Shadowed>);

#[async_trait]
impl ShadowSink for Sink {
    async fn record(&self, _: &Context, pair: Shadowed) {
        self.0.send(pair).unwrap();
    }
}

struct World {
    layer: ShadowLayer,
    model: Arc<dyn ChatModel>,
    pairs: mpsc::UnboundedReceiver<Shadowed>,
    clock: ManualClock,
    budget: Arc<Allow>,
}

fn world(main: Arc<dyn ChatModel>, shadow: Arc<dyn ChatModel>, config: ShadowConfig) -> World {
    let clock = ManualClock::new(Timestamp::default());
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
    let (sink, pairs) = mpsc::unbounded_channel();
    let budget = Arc::new(Allow(AtomicBool::new(true)));
    let layer = ShadowLayer::new(config, shadow, budget.clone(), Arc::new(Sink(sink)), env).unwrap();
    let model = layer.layer(main);
    World { layer, model, pairs, clock, budget }
}

fn all() -> ShadowConfig {
    ShadowConfig::new("other", 10_000)
}

async fn until(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn both_answers_reach_the_sink_with_what_they_took() {
    let (main, other) = (scripted("m", "forty two"), scripted("other", "42"));
    let main: Arc<dyn ChatModel> = Arc::new(Recording(main));
    let mut world = world(main, other.clone(), all());
    let mut request = ask("m");
    request.route.fallbacks = vec!["f".into()];
    request.route.deadline = Some(Timestamp::default());
    let log = request.log.clone();
    // What the caller did before with the same log is not of this request.
    let _ = Recording(scripted("m", "x")).complete(&context(), request.clone()).await;
    for streamed in [false, true] {
        if streamed {
            let stream = world.model.stream(&context(), request.clone()).await.unwrap();
            assert_eq!(events(stream).await.len(), 4);
        } else {
            assert_eq!(world.model.complete(&context(), request.clone()).await.unwrap().text, "forty two");
        }
        let pair = within(world.pairs.recv()).await.unwrap();
        assert_eq!(pair.main_model, "m");
        assert_eq!(pair.main.response.text, "forty two");
        assert_eq!(pair.main.cost, Cost::Known(NanoUsd::from_nanos(123)));
        assert_eq!(pair.main.first_content.is_some(), streamed);
        let shadow = pair.shadow.unwrap();
        assert_eq!(shadow.response.text, "42");
        assert_eq!(shadow.first_content.is_some(), streamed);
        assert_eq!(shadow.cost, other.info().cost(&shadow.usage.unwrap(), Timestamp::default()).into());
        assert_eq!((pair.request.model.as_str(), pair.request.route.fallbacks.len()), ("other", 0));
        assert_eq!(pair.request.route.deadline, None);
    }
    assert_eq!(log.len(), 6, "a copy is not in the caller's log");
    within(world.layer.idle()).await;
    let counts = world.layer.counts();
    assert_eq!((counts.sampled, counts.recorded, counts.left_out), (2, 2, 0));
    assert!(other.requests().iter().all(|request| request.log.is_empty() && request.model == "other"));
}

/// Whatever becomes of the copy, the caller sees what it would have seen without one.
#[tokio::test]
async fn the_main_answer_is_the_same_whatever_the_shadow_does() {
    let text = "one two three";
    let without = {
        let model = scripted("m", text);
        events(model.stream(&context(), ask("m")).await.unwrap()).await
    };
    let error = || Error::new(ErrorKind::Unavailable, "no");
    let fails = Arc::new(ScriptedModel::from_fn("other", move |_| Reply::Fail(error())));
    let breaks = Arc::new(ScriptedModel::from_fn("other", move |_| Reply::Break("o ".into(), error())));
    let stalls = Arc::new(ScriptedModel::from_fn("other", |_| Reply::Stall("o ".into())));
    let panics = Arc::new(Panics(fails.info().clone()));
    let shadows: [(Arc<dyn ChatModel>, ErrorKind); 4] = [
        (fails, ErrorKind::Unavailable),
        (breaks, ErrorKind::Unavailable),
        (panics, ErrorKind::Internal),
        (stalls, ErrorKind::DeadlineExceeded),
    ];
    for (shadow, kind) in shadows {
        let mut world = world(scripted("m", text), shadow, all());
        let stream = within(world.model.stream(&context(), ask("m"))).await.unwrap();
        let with = within(events(stream)).await;
        assert_eq!(format!("{with:?}"), format!("{without:?}"));
        assert_eq!(within(world.model.complete(&context(), ask("m"))).await.unwrap().text, text);
        if kind == ErrorKind::DeadlineExceeded {
            until(|| world.clock.waiters() == 2).await;
            assert!(world.pairs.try_recv().is_err(), "it hangs, and nobody waits for it");
            world.clock.advance(Duration::from_secs(60));
        }
        for _ in 0..2 {
            let pair = within(world.pairs.recv()).await.unwrap();
            assert_eq!(pair.main.response.text, text);
            assert_eq!(pair.shadow.unwrap_err().kind(), kind);
        }
        within(world.layer.idle()).await;
    }
}

#[tokio::test]
async fn a_copy_begins_with_the_first_piece_of_the_main_answer() {
    let other = scripted("other", "42");
    let mut world = world(scripted("m", "one two"), other.clone(), all());
    let mut stream = world.model.stream(&context(), ask("m")).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.requests().len(), 0, "nothing was answered yet");
    assert!(matches!(stream.next().await, Some(Ok(ChatEvent::Text(_)))));
    until(|| other.requests().len() == 1).await;
    assert!(world.pairs.try_recv().is_err());
    // A reader that has seen the end may leave before the last counts.
    while !matches!(stream.next().await, Some(Ok(ChatEvent::Finished { .. }))) {}
    drop(stream);
    assert_eq!(within(world.pairs.recv()).await.unwrap().main.response.text, "one two");
}

#[tokio::test]
async fn a_main_answer_that_fails_has_no_shadow() {
    let error = || Error::new(ErrorKind::Unavailable, "no");
    let other = scripted("other", "42");
    let fails = Arc::new(ScriptedModel::from_fn("m", move |_| Reply::Fail(error())));
    let one = world(fails, other.clone(), all());
    assert_eq!(one.model.complete(&context(), ask("m")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(one.model.stream(&context(), ask("m")).await.is_err());
    within(one.layer.idle()).await;
    assert_eq!(other.requests().len(), 0);

    let stalls = Arc::new(ScriptedModel::from_fn("other", |_| Reply::Stall("o ".into())));
    let breaks = Arc::new(ScriptedModel::from_fn("m", move |_| Reply::Break("a b".into(), error())));
    let mut two = world(breaks, stalls.clone(), all());
    let seen = events(two.model.stream(&context(), ask("m")).await.unwrap()).await;
    assert_eq!(seen.len(), 3);
    assert!(seen[2].is_err());
    within(two.layer.idle()).await;
    assert_eq!((two.layer.counts().given_up, two.layer.counts().recorded), (1, 0));
    assert!(two.pairs.try_recv().is_err());
}

#[tokio::test]
async fn what_finds_no_place_is_left_out() {
    let stalls = Arc::new(ScriptedModel::from_fn("other", |_| Reply::Stall("o ".into())));
    let config = ShadowConfig { concurrency: 2, queue: 3, ..all() };
    let mut world = world(scripted("m", "yes"), stalls.clone(), config);
    for _ in 0..9 {
        assert_eq!(within(world.model.complete(&context(), ask("m"))).await.unwrap().text, "yes");
    }
    until(|| stalls.requests().len() == 2).await;
    assert_eq!((world.layer.counts().sampled, world.layer.counts().left_out), (9, 4));
    for done in 1..=5 {
        if done % 2 == 1 {
            let running = if done < 5 { 2 } else { 1 };
            until(|| world.clock.waiters() == running).await;
            world.clock.advance(Duration::from_secs(60));
        }
        within(world.pairs.recv()).await.unwrap().shadow.unwrap_err();
    }
    within(world.layer.idle()).await;
    assert_eq!(stalls.requests().len(), 5);
    within(world.model.complete(&context(), ask("m"))).await.unwrap();
    until(|| stalls.requests().len() == 6).await;
    assert_eq!(world.layer.counts().left_out, 4, "there is room again");
}

#[tokio::test]
async fn a_budget_of_its_own_decides() {
    let other = scripted("other", "42");
    let mut world = world(scripted("m", "yes"), other.clone(), all());
    world.budget.0.store(false, Ordering::SeqCst);
    world.model.complete(&context(), ask("m")).await.unwrap();
    within(world.layer.idle()).await;
    assert_eq!((world.layer.counts().refused, other.requests().len()), (1, 0));
    world.budget.0.store(true, Ordering::SeqCst);
    world.model.complete(&context(), ask("m")).await.unwrap();
    within(world.pairs.recv()).await.unwrap();
    assert_eq!(world.layer.counts().given_up, 0);
}

#[tokio::test]
async fn the_share_that_is_copied_is_drawn_by_hash() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    for share in [0, 2500] {
        let other = scripted("other", "42");
        let config = ShadowConfig { share, queue: 2000, ..all() };
        let world = world(scripted("m", "yes"), other.clone(), config);
        for _ in 0..1000 {
            let ctx = context();
            world.model.complete(&ctx, ask("m")).await.unwrap();
            let first = world.layer.counts().sampled;
            // Asked again, the same request of the same context is drawn alike.
            world.model.complete(&ctx, ask("m")).await.unwrap();
            let again = world.layer.counts().sampled;
            asked.lock().unwrap().push((first, again));
        }
        within(world.layer.idle()).await;
        let sampled = world.layer.counts().sampled;
        let twice =
            asked.lock().unwrap().windows(2).all(|pair| (pair[1].0 - pair[0].1) == (pair[1].1 - pair[1].0));
        assert!(twice);
        assert_eq!(other.requests().len() as u64, sampled);
        assert!(if share == 0 { sampled == 0 } else { (420..580).contains(&sampled) }, "{sampled}");
        asked.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn closing_or_dropping_the_layer_ends_the_copies() {
    for close in [true, false] {
        let mut server = Server::start(vec![stream_head(), chunk(&text_event("4")), Step::UntilClosed]).await;
        let world = world(scripted("m", "yes"), server.model(), all());
        let World { layer, model, mut pairs, .. } = world;
        let stream = model.stream(&context(), ask("m")).await.unwrap();
        assert_eq!(within(events(stream)).await.len(), 3);
        within(server.seen()).await;
        if close {
            within(layer.close()).await;
            model.complete(&context(), ask("m")).await.unwrap();
            assert_eq!(layer.counts().sampled, 1, "main answers go on, without copies");
        }
        drop((layer, model));
        within(server.closed()).await;
        assert!(within(pairs.recv()).await.is_none(), "nothing is recorded");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_closes_both_connections() {
    let script = || vec![stream_head(), chunk(&text_event("4")), Step::UntilClosed];
    let (mut main, mut other) = (Server::start(script()).await, Server::start(script()).await);
    let world = world(main.model(), other.model(), all());
    let mut stream = world.model.stream(&context(), ask("m")).await.unwrap();
    while !matches!(within(stream.next()).await, Some(Ok(ChatEvent::Text(_)))) {}
    within(other.seen()).await;
    drop(stream);
    within(main.closed()).await;
    within(other.closed()).await;
    within(world.layer.idle()).await;
    assert_eq!(world.layer.counts().given_up, 1);
    assert!(!finish_event().is_empty());
}

#[test]
fn without_a_runtime_there_are_no_copies_and_the_answer_is_there() {
    let world = world(scripted("m", "yes"), scripted("other", "42"), all());
    let answer = futures_util::FutureExt::now_or_never(world.model.complete(&context(), ask("m")));
    assert_eq!(answer.unwrap().unwrap().text, "yes");
    assert_eq!(world.layer.counts().left_out, 1);
}
