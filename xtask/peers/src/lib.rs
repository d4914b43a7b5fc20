//! What the benchmarks share: an upstream on the loopback that answers at once, and how times are taken.
//!
//! Everybody sends the same question to the same upstream and reads the whole answer, one request at a time. Rounds take
//! turns, and a figure is the median of its rounds, so that a busy machine changes the figures but hardly the ratios.

pub mod process;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentprovision_core::Context;
use agentprovision_core::effect::{EffectStore, Effects};
use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
use agentprovision_core::model::ChatModel;
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::layers::{LayersConfig, TimeoutConfig, TimeoutLayer};
use agentprovision_llm::limit::MemoryLedger;
use agentprovision_llm::models::UsageWriter;
use agentprovision_llm::providers::OpenAi;
use agentprovision_llm::route::Router;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;

/// The key everybody sends.
pub const KEY: &str = "sk-0123456789abcdef";
/// The model everybody asks for.
pub const MODEL: &str = "gpt-4o-mini";
/// Events with text in a streamed answer.
pub const EVENTS: usize = 64;

/// The question: about 2 kB.
pub fn question() -> String {
    "Which of these sentences is about the weather, and which is about the sea? ".repeat(27)
}

fn whole() -> Bytes {
    let text = "The first one is about the weather. ".repeat(20);
    let answer = serde_json::json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000,
        "model": MODEL, "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": text, "refusal": null}}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 160, "total_tokens": 660}});
    Bytes::from(answer.to_string())
}

/// Each event in a piece of its own.
fn pieces(events: usize) -> Vec<Bytes> {
    let chunk = |delta: serde_json::Value, reason: Option<&str>| {
        serde_json::json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": MODEL, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let text = (0..events).map(|_| chunk(serde_json::json!({"content": "some words "}), None));
    let last = chunk(serde_json::json!({}), Some("stop"));
    let usage = serde_json::json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": MODEL, "choices": [],
        "usage": {"prompt_tokens": 500, "completion_tokens": 160, "total_tokens": 660}});
    let events = text.chain([last, usage]).map(|event| format!("data: {event}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).map(Bytes::from).collect()
}

/// How the upstream answers a streamed request.
#[derive(Clone, Copy)]
pub enum Streams {
    /// Everything at once.
    AtOnce,
    /// The first event, and then nothing for ever.
    Stall,
}

/// Starts an upstream on a thread of its own; it ends with the process.
pub fn upstream(streams: Streams) -> SocketAddr {
    counting_upstream(streams).0
}

/// An upstream that counts what it answers, to see who answers for it or asks it twice.
pub fn counting_upstream(streams: Streams) -> (SocketAddr, Arc<AtomicUsize>) {
    let answered = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&answered);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            send.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let (whole, pieces) = (whole(), pieces(EVENTS));
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("no delay");
                let (whole, pieces, count) = (whole.clone(), pieces.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request: Request<Incoming>| {
                        let (whole, pieces, count) = (whole.clone(), pieces.clone(), Arc::clone(&count));
                        async move {
                            let body = request.into_body().collect().await.expect("a body").to_bytes();
                            count.fetch_add(1, Ordering::Relaxed);
                            let streamed = contains(&body, b"\"stream\":true");
                            Ok::<_, Infallible>(answer(streamed, whole, pieces, streams))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    (receive.recv().expect("the upstream starts"), answered)
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn answer(streamed: bool, whole: Bytes, pieces: Vec<Bytes>, streams: Streams) -> Response<Body> {
    if !streamed {
        let body = http_body_util::Full::new(whole).boxed();
        return Response::builder().header("content-type", "application/json").body(body).expect("an answer");
    }
    let frames = |pieces: Vec<Bytes>| stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece))));
    let body = match streams {
        Streams::AtOnce => BodyExt::boxed(StreamBody::new(frames(pieces))),
        Streams::Stall => {
            let first = pieces.into_iter().take(1).collect();
            let rest = futures_util::StreamExt::chain(frames(first), stream::pending());
            BodyExt::boxed(StreamBody::new(rest))
        }
    };
    Response::builder().header("content-type", "text/event-stream").body(body).expect("an answer")
}

/// Times of one client.
pub struct Times {
    /// Its name.
    pub name: &'static str,
    rounds: Vec<(Duration, Duration)>,
}

impl Times {
    /// Nothing yet.
    pub fn of(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    /// Takes the times of one round.
    pub fn add(&mut self, mut times: Vec<Duration>) {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        self.rounds.push((at(50), at(99)));
    }

    fn median(&self, of: impl Fn(&(Duration, Duration)) -> Duration) -> f64 {
        median(self.rounds.iter().map(|round| of(round).as_secs_f64() * 1e6))
    }

    /// The median of how much longer the rounds' medians are than those of others in the same rounds, in microseconds.
    pub fn added(&self, to: &Self) -> f64 {
        let medians = |(ours, theirs): (&(Duration, Duration), &(Duration, Duration))| {
            (ours.0.as_secs_f64() - theirs.0.as_secs_f64()) * 1e6
        };
        median(self.rounds.iter().zip(&to.rounds).map(medians))
    }

    /// The least and the greatest of the rounds' medians, in microseconds.
    pub fn range(&self) -> (f64, f64) {
        let medians = || self.rounds.iter().map(|round| round.0.as_secs_f64() * 1e6);
        (medians().fold(f64::INFINITY, f64::min), medians().fold(0.0, f64::max))
    }

    /// The median of the rounds' medians, in microseconds.
    pub fn p50(&self) -> f64 {
        self.median(|round| round.0)
    }

    /// The median of the rounds' 99th percentiles, in microseconds.
    pub fn p99(&self) -> f64 {
        self.median(|round| round.1)
    }
}

/// The one in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs `one` so many times and gives the time of each.
pub async fn times<F: Future<Output = ()>>(requests: usize, mut one: impl FnMut() -> F) -> Vec<Duration> {
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let begun = Instant::now();
        one().await;
        times.push(begun.elapsed());
    }
    times
}

/// The resident memory of this process, in bytes.
pub fn resident() -> u64 {
    resident_of("self").expect("Linux")
}

/// The resident memory of a process, by its number, in bytes; nothing where there is none.
fn resident_of(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// A context of nobody in particular.
pub fn context() -> Context {
    use agentprovision_core::authz::PermissionSet;
    use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
    let env = agentprovision_core::Env::default();
    let identity = Identity {
        tenant: env.id(),
        principal: Principal::User(env.id()),
        scopes: PermissionSet::EMPTY,
        expires: None,
        key: None,
    };
    ContextIssuer::new(env).context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
}

/// The request, for this platform.
pub fn request() -> agentprovision_core::model::ChatRequest {
    use agentprovision_core::model::{ChatRequest, Message};
    ChatRequest::new(MODEL, vec![Message::user(question())])
}

/// The upstream behind this platform, without a router.
pub fn models(upstream: SocketAddr) -> ModelRegistry {
    let provider = OpenAi::at(&format!("http://{upstream}/v1"), KEY.to_owned().into()).expect("a provider");
    let transport = ReqwestTransport::new(&ReqwestOptions::default()).expect("a transport");
    let registry = ModelRegistry::builder().provider(Arc::new(provider));
    let registry = registry.transport(Arc::new(transport.clone())).build().expect("models");
    registry.base_urls().iter().for_each(|url| transport.allow(url).expect("an address"));
    registry
}

/// These models behind the router alone.
pub fn router(models: ModelRegistry) -> Router {
    Router::builder(models).build().expect("a router")
}

/// These models behind the router with every layer there is: trace, guards, cache, validation, rate limits, budgets and
/// deadlines.
pub fn layered(models: ModelRegistry) -> Router {
    let layers = serde_json::json!({
        "guards": {"guards": [{"name": "personal data", "check": {"pii": {"kinds": ["email"]}}}]},
        "cache": {"any_temperature": true},
        "validate": {},
        "rate_limits": {"limits": [{"of": {"scope": "tenant"}, "requests_per_minute": 1_000_000_000,
            "tokens_per_minute": 1_000_000_000_000_u64}]},
        "budgets": {"unknown_price": "allow", "limits": [{"of": {"scope": "tenant"}, "per": "day",
            "requests": 1_000_000_000, "cost_usd": "1000000"}]},
    });
    let layers: LayersConfig = serde_json::from_value(layers).expect("a configuration");
    let env = models.env().clone();
    let ledger = Arc::new(MemoryLedger::new(env.clone()));
    let deadlines = TimeoutLayer::new(TimeoutConfig::default(), env).expect("deadlines");
    let router = layers.around(Router::builder(models), ledger).expect("layers").layer(deadlines);
    router.build().expect("a router")
}

/// The meter around a model: what it used is written to a store that keeps nothing.
pub fn metered(model: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait::async_trait]
    impl EffectStore for Nowhere {
        async fn apply(&self, _: &Context, _: Effects) -> agentprovision_core::Result<()> {
            Ok(())
        }
    }

    UsageWriter::start(Arc::new(Nowhere), agentprovision_core::Env::default()).chat(model)
}

/// The request as everybody else sends it.
pub fn plain(streamed: bool) -> Bytes {
    let mut body = serde_json::json!({"model": MODEL, "messages": [{"role": "user", "content": question()}]});
    if streamed {
        body["stream"] = true.into();
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    Bytes::from(body.to_string())
}

/// Sends the plain request with a client and nothing around it.
pub async fn bare(client: &reqwest::Client, upstream: SocketAddr, body: Bytes) -> reqwest::Response {
    let request = client.post(format!("http://{upstream}/v1/chat/completions")).bearer_auth(KEY);
    let answer = request.header("content-type", "application/json").body(body).send().await;
    answer.expect("an answer")
}
