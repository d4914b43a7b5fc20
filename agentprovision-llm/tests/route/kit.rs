//! Upstreams that do what a script says for each request, and a clock that follows the router.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::clock::Clock;
use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
use agentprovision_core::model::{
    Attempt, AttemptEnd, ChatEvent, ChatModel, ChatRequest, ChatStream, Message, ModelPrice, ModelResolver,
};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::testing::{ManualClock, SeededEntropy};
use agentprovision_core::{Env, Result, Timestamp};
use agentprovision_llm::providers::OpenAiCompatible;
use agentprovision_llm::route::{Router, RoutingConfig};
use agentprovision_llm::{Catalog, CatalogEntry, ModelRegistry};
use async_trait::async_trait;
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{Seen, context, finish_event, read_request, text_event, within};

/// Pauses up to this long are the router's own; limits of the tests' configurations are longer.
const PAUSES: Duration = Duration::from_secs(4000);
/// How long the body of an error is waited for: a limit, and no pause.
const ERROR_BODY: Duration = Duration::from_secs(2);
/// Longer than any pause, so that it is told from one, in milliseconds.
pub(crate) const LIMIT_MS: u64 = 10_000_000;

/// A clock that stands until somebody waits, and knows until when they do.
#[derive(Clone, Debug)]
pub(crate) struct Paced {
    clock: ManualClock,
    waits: Arc<Mutex<Vec<Duration>>>,
}

struct Wait(Arc<Mutex<Vec<Duration>>>, Duration);

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waits = self.0.lock().unwrap();
        let at = waits.iter().position(|at| *at == self.1).unwrap();
        waits.swap_remove(at);
    }
}

#[async_trait]
impl Clock for Paced {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    async fn sleep_until(&self, at: Duration) {
        self.waits.lock().unwrap().push(at);
        let _wait = Wait(Arc::clone(&self.waits), at);
        self.clock.sleep_until(at).await;
    }
}

impl Paced {
    pub(crate) fn new() -> Self {
        Self { clock: ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)), waits: Arc::default() }
    }

    pub(crate) fn env(&self, seed: u64) -> Env {
        Env::new(Arc::new(self.clone()), Arc::new(SeededEntropy::new(seed)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn next_wait(&self) -> Option<Duration> {
        let now = self.monotonic();
        self.waits.lock().unwrap().iter().filter(|at| **at > now).min().map(|at| *at - now)
    }
}

/// Fails a test that hangs, and lets every other task go on until the condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits for [`Upstream::go`].
    Gate,
    /// Says nothing more until the client has gone.
    Hang,
    /// Breaks the connection off before it has read the request.
    Reset,
}

#[derive(Debug, Default)]
struct State {
    /// Authorization headers and paths of the requests, in order.
    seen: Mutex<Vec<(String, String)>>,
    hanging: AtomicUsize,
    closed: AtomicUsize,
    go: Notify,
}

/// One provider at the loopback.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) base_url: String,
    state: Arc<State>,
}

impl Upstream {
    /// Answers each request as `script` says, by its number, from 0 on.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (held, script) = (Arc::clone(&state), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (state, script) = (Arc::clone(&held), Arc::clone(&script));
                tokio::spawn(async move {
                    let nothing = Seen { head: String::new(), body: Vec::new() };
                    let number = state.seen.lock().unwrap().len();
                    if matches!(script(number, &nothing).first(), Some(Act::Reset)) {
                        state.seen.lock().unwrap().push(Default::default());
                        // What was not read makes the close a reset.
                        stream.readable().await.unwrap();
                        return;
                    }
                    let seen = read_request(&mut stream).await;
                    let number = {
                        let mut all = state.seen.lock().unwrap();
                        let path = seen.head.split(' ').nth(1).unwrap_or_default().to_owned();
                        all.push((seen.header("authorization").unwrap_or_default().to_owned(), path));
                        all.len() - 1
                    };
                    for act in script(number, &seen) {
                        match act {
                            // A client that has gone is the test's business.
                            Act::Send(bytes) => drop(stream.write_all(&bytes).await),
                            Act::Gate => state.go.notified().await,
                            Act::Hang => {
                                state.hanging.fetch_add(1, Ordering::SeqCst);
                                let mut rest = [0; 16];
                                while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                                state.hanging.fetch_sub(1, Ordering::SeqCst);
                                state.closed.fetch_add(1, Ordering::SeqCst);
                            }
                            Act::Reset => return,
                        }
                    }
                });
            }
        });
        Self { base_url, state }
    }

    /// Answers every request alike.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(move |_, _| acts.clone()).await
    }

    /// Nobody listens.
    pub(crate) async fn refusing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        Self { base_url, state: Arc::default() }
    }

    /// How many requests came.
    pub(crate) fn calls(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// The credentials of the requests, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let all = self.state.seen.lock().unwrap();
        all.iter().map(|(key, _)| key.trim_start_matches("Bearer ").to_owned()).collect()
    }

    /// How many answers stand still at the moment.
    pub(crate) fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::SeqCst)
    }

    /// How many clients have gone from an answer that stood still.
    pub(crate) fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }

    /// Lets the script go on after [`Act::Gate`].
    pub(crate) fn go(&self) {
        self.state.go.notify_one();
    }
}

/// A whole answer with a status.
pub(crate) fn status(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    vec![Act::Send(text.into_bytes())]
}

/// The counts every complete answer has: 10 tokens in, 5 out.
fn usage() -> serde_json::Value {
    json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
}

/// What that costs at the price of [`Bench`], in nano-USD.
pub(crate) const ANSWER_COST: i64 = 20_000;

fn piece(text: &str) -> Act {
    Act::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

pub(crate) fn event(text: &str) -> Act {
    piece(text)
}

pub(crate) fn opened() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

pub(crate) fn ended() -> Act {
    Act::Send(b"0\r\n\r\n".to_vec())
}

/// A stream that begins with these pieces of text.
pub(crate) fn begun(words: &[&str]) -> Vec<Act> {
    std::iter::once(opened()).chain(words.iter().map(|word| piece(&text_event(word)))).collect()
}

/// A complete answer, streamed or whole as it was asked for.
pub(crate) fn fine(seen: &Seen, text: &str) -> Vec<Act> {
    if seen.body.windows(13).any(|part| part == b"\"stream\":true") {
        let mut acts = begun(&text.split_inclusive(' ').collect::<Vec<_>>());
        let usage = json!({"choices": [], "usage": usage()});
        acts.extend([
            piece(&finish_event()),
            piece(&format!("data: {usage}\n\n")),
            piece("data: [DONE]\n\n"),
        ]);
        acts.push(ended());
        return acts;
    }
    let body = json!({"id": "c", "model": "m", "usage": usage(), "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
    status(200, "content-type: application/json\r\n", &body.to_string())
}

/// A router over upstreams, each the model `m` of a provider named `a`, `b`, …, with a clock of its own.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) clock: Paced,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) router: Router,
    pub(crate) ctx: Context,
}

pub(crate) fn price() -> ModelPrice {
    ModelPrice::new(PicoUsd(1_000_000), PicoUsd(2_000_000))
}

/// Limits so long that only what hangs meets them, and one route `all` over every provider.
pub(crate) fn patient(providers: usize) -> RoutingConfig {
    let all: Vec<String> = (0..providers).map(|at| format!("{}/m", name(at))).collect();
    let config = json!({
        "routes": {"all": {"targets": all}},
        "timeout_ms": LIMIT_MS * 100, "first_event_ms": LIMIT_MS, "attempt_ms": LIMIT_MS, "idle_ms": LIMIT_MS,
        "wait_max_ms": 60_000,
    });
    serde_json::from_value(config).unwrap()
}

pub(crate) fn name(at: usize) -> char {
    char::from(b'a' + u8::try_from(at).unwrap())
}

impl Bench {
    pub(crate) fn new(upstreams: Vec<Upstream>, config: RoutingConfig) -> Self {
        Self::with(upstreams, 1, config, 1)
    }

    /// The same with so many credentials for each provider: `key-0`, `key-1`, ….
    pub(crate) fn with(
        upstreams: Vec<Upstream>,
        credentials: usize,
        config: RoutingConfig,
        seed: u64,
    ) -> Self {
        let clock = Paced::new();
        let transport = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
        let entry = |at| CatalogEntry::new(name(at), "m").with_price(price());
        let catalog = Catalog::empty().with((0..upstreams.len()).map(entry)).unwrap();
        let health = config.breaker.options();
        let mut builder = ModelRegistry::builder().env(clock.env(seed)).catalog(catalog).health(health);
        for (at, upstream) in upstreams.iter().enumerate() {
            transport.allow(&upstream.base_url.parse().unwrap()).unwrap();
            for credential in 0..credentials {
                let provider = OpenAiCompatible::new(&name(at).to_string(), &upstream.base_url).unwrap();
                let provider = Arc::new(provider.key(format!("key-{credential}-secret").into()).unwrap());
                builder = match credential {
                    0 => builder.provider(provider),
                    _ => builder.credential(provider),
                };
            }
        }
        let registry = builder.transport(Arc::new(transport)).build().unwrap();
        let router = Router::builder(registry).config(config).build().unwrap();
        Self { clock, upstreams, router, ctx: context() }
    }

    pub(crate) fn model(&self, name: &str) -> Arc<dyn ChatModel> {
        self.router.resolve(name).unwrap()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Requests that came to all upstreams.
    pub(crate) fn calls(&self) -> usize {
        self.upstreams.iter().map(Upstream::calls).sum()
    }

    fn hanging(&self) -> usize {
        self.upstreams.iter().map(Upstream::hanging).sum()
    }

    /// Waits for the future, and moves the clock to the end of each pause the router makes; to the end of a limit only
    /// when an upstream hangs.
    pub(crate) async fn drive<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut leaving = false;
        within(async {
            loop {
                tokio::select! {
                    biased;
                    out = &mut future => return out,
                    () = tokio::task::yield_now() => {}
                }
                let hanging = self.hanging();
                leaving &= hanging > 0;
                match self.clock.next_wait() {
                    Some(wait) if wait <= PAUSES && wait != ERROR_BODY => self.clock.advance(wait),
                    Some(wait) if hanging > 0 && !leaving => {
                        self.clock.advance(wait);
                        // The one that was left is not the next one's fault.
                        leaving = true;
                    }
                    _ => {}
                }
            }
        })
        .await
    }

    /// A whole answer's text.
    pub(crate) async fn complete(&self, request: ChatRequest) -> Result<String> {
        until(|| self.hanging() == 0).await;
        let model = self.model(&request.model);
        Ok(self.drive(model.complete(&self.ctx, request)).await?.text)
    }

    pub(crate) async fn open(&self, request: ChatRequest) -> Result<ChatStream> {
        until(|| self.hanging() == 0).await;
        let model = self.model(&request.model);
        self.drive(model.stream(&self.ctx, request)).await
    }

    /// What a stream says until its end, and the error it ends with.
    pub(crate) async fn rest(&self, stream: &mut ChatStream) -> (String, Option<agentprovision_core::Error>) {
        let mut text = String::new();
        loop {
            match self.drive(stream.next()).await {
                Some(Ok(ChatEvent::Text(more))) => text.push_str(&more),
                Some(Ok(_)) => {}
                Some(Err(error)) => return (text, Some(error)),
                None => return (text, None),
            }
        }
    }

    /// A streamed answer's text.
    pub(crate) async fn stream(&self, request: ChatRequest) -> Result<String> {
        let mut stream = self.open(request).await?;
        match self.rest(&mut stream).await {
            (text, None) => Ok(text),
            (_, Some(error)) => Err(error),
        }
    }
}

pub(crate) fn ask(model: &str) -> ChatRequest {
    ChatRequest::new(model, vec![Message::user("hi")])
}

/// The category of a failed attempt.
pub(crate) fn category(attempt: &Attempt) -> &str {
    match &attempt.end {
        AttemptEnd::Failed { category, .. } => category,
        AttemptEnd::Answered => "answered",
        AttemptEnd::Dropped => "dropped",
        _ => "unknown",
    }
}

pub(crate) fn categories(request: &ChatRequest) -> Vec<String> {
    request.log.attempts().iter().map(|attempt| category(attempt).to_owned()).collect()
}

/// A context whose request must be over by then.
pub(crate) fn context_until(deadline: Timestamp) -> Context {
    let mut info = RequestInfo::default();
    info.deadline = Some(deadline);
    context().with_info(info)
}
