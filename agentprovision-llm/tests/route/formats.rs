//! Targets that speak different formats: what one has no form for, and what each says a failure cost.

use std::sync::{Arc, Mutex};

use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
use agentprovision_core::model::{ChatRequest, EmbedRequest, EmbeddingResolver, ToolDefinition, WireFormat};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::{ErrorKind, Result};
use agentprovision_llm::providers::{Anthropic, Gemini, OpenAi, OpenAiCompatible};
use agentprovision_llm::route::Router;
use agentprovision_llm::wire::cohere_embed::CohereEmbed;
use agentprovision_llm::wire::openai_embeddings::OpenAiEmbeddings;
use agentprovision_llm::{Catalog, CatalogEntry, ModelRegistry, Provider};
use serde_json::{Value, json};

use crate::kit::{
    Act, Bench, Paced, Upstream, ask, categories, ended, event, fine, opened, patient, price, status, until,
};
use crate::support::{Seen, context, within};

/// A router over the model `m` of each provider; the route `all` goes through them in order.
fn bench(providers: Vec<(Arc<dyn Provider>, Upstream)>) -> Bench {
    let clock = Paced::new();
    let transport = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
    let entry = |(provider, _): &(Arc<dyn Provider>, Upstream)| {
        CatalogEntry::new(provider.name(), "m").with_price(price())
    };
    let catalog = Catalog::empty().with(providers.iter().map(entry)).unwrap();
    let mut builder = ModelRegistry::builder().env(clock.env(1)).catalog(catalog);
    let mut config = patient(0);
    let (mut upstreams, mut targets) = (Vec::new(), Vec::new());
    for (provider, upstream) in providers {
        provider.base_urls().iter().for_each(|url| transport.allow(url).unwrap());
        targets.push(json!(format!("{}/m", provider.name())));
        builder = builder.provider(provider);
        upstreams.push(upstream);
    }
    config.routes.insert("all".into(), serde_json::from_value(json!({"targets": targets})).unwrap());
    let registry = builder.transport(Arc::new(transport)).build().unwrap();
    let router = Router::builder(registry).config(config).build().unwrap();
    Bench { clock, upstreams, router, ctx: context() }
}

fn open_ai(upstream: Upstream) -> (Arc<dyn Provider>, Upstream) {
    (Arc::new(OpenAi::at(&upstream.base_url, "key-0-secret".to_owned().into()).unwrap()), upstream)
}

fn anthropic(upstream: Upstream) -> (Arc<dyn Provider>, Upstream) {
    (Arc::new(Anthropic::at(&upstream.base_url, "key-0-secret".to_owned().into()).unwrap()), upstream)
}

fn gemini(upstream: Upstream) -> (Arc<dyn Provider>, Upstream) {
    (Arc::new(Gemini::at(&upstream.base_url, "key-0-secret".to_owned().into()).unwrap()), upstream)
}

fn message(text: &str) -> Vec<Act> {
    let body = json!({"type": "message", "id": "x", "model": "m", "role": "assistant", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 10, "output_tokens": 5}});
    status(200, "content-type: application/json\r\n", &body.to_string())
}

/// An upstream that keeps the bodies of its requests.
async fn keeping(
    answer: impl Fn(usize, &Seen) -> Vec<Act> + Send + Sync + 'static,
) -> (Upstream, Arc<Mutex<Vec<Value>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::clone(&bodies);
    let upstream = Upstream::start(move |n, seen| {
        // The script is looked at once before the request is read.
        if seen.head.is_empty() {
            return Vec::new();
        }
        held.lock().unwrap().push(seen.json());
        answer(n, seen)
    });
    (upstream.await, bodies)
}

/// Requests that the messages format has no form for and chat completions has.
fn only_chat_completions() -> Vec<ChatRequest> {
    let choice = json!({"anyOf": [{"type": "object", "properties": {}}]});
    let mut tools = ask("all");
    tools.tools = vec![ToolDefinition { name: "t".into(), description: "t".into(), input_schema: choice }];
    let mut schema = ask("all");
    schema.output_schema = Some(json!({"type": "object", "properties": {"x": {"not": {"type": "null"}}}}));
    let mut field = ask("all");
    field.extra.insert("logit_bias".into(), json!({"1": 2}));
    field.extra_format = Some(WireFormat::ChatCompletions);
    vec![tools, schema, field]
}

#[tokio::test]
async fn what_one_format_cannot_express_is_asked_of_the_others() {
    for request in only_chat_completions() {
        let up = || Upstream::start(|_, seen| fine(seen, "here"));
        let never = || Upstream::always(message("never"));
        let first = bench(vec![anthropic(never().await), open_ai(up().await)]);
        let mut asked = request.clone();
        asked.log = Default::default();
        // No attempt is taken by what is not sent.
        asked.route.max_attempts = Some(1);
        assert_eq!(first.complete(asked.clone()).await.unwrap(), "here");
        assert_eq!(categories(&asked), ["invalid_input", "answered"]);
        // The first one's retries are still its own.
        let late = Upstream::start(|n, seen| if n == 0 { status(500, "", "{}") } else { fine(seen, "late") });
        let second = bench(vec![open_ai(late.await), anthropic(never().await)]);
        let mut asked = request.clone();
        asked.log = Default::default();
        assert_eq!(second.complete(asked.clone()).await.unwrap(), "late");
        assert_eq!(categories(&asked), ["server_error", "invalid_input", "answered"]);
        let nobody = bench(vec![anthropic(never().await)]);
        let mut asked = request.clone();
        asked.log = Default::default();
        let error = nobody.complete(asked.clone()).await.unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput), "{error}");
        assert_eq!((first.upstreams[0].calls(), second.upstreams[1].calls(), nobody.calls()), (0, 0, 0));
        assert_eq!(asked.log.cost(), Cost::Known(NanoUsd::ZERO));
    }
}

/// What a caller wrote in one format reaches a target of another by its own names or not at all.
#[tokio::test]
async fn fields_of_one_format_are_fitted_to_each_target() {
    let (failing, first) = keeping(|_, _| status(500, "", "{}")).await;
    let (upstream, second) = keeping(|_, _| message("there")).await;
    let bench = bench(vec![open_ai(failing), anthropic(upstream)]);
    let mut request = ask("all");
    request.extra.insert("user".into(), json!("u-1"));
    request.extra.insert("top_p".into(), json!(0.5));
    request.extra_format = Some(WireFormat::ChatCompletions);
    assert_eq!(bench.complete(request).await.unwrap(), "there");
    let (first, second) = (first.lock().unwrap(), second.lock().unwrap());
    assert_eq!((&first[0]["user"], &first[0]["top_p"]), (&json!("u-1"), &json!(0.5)));
    assert_eq!((second[0].get("user"), &second[0]["top_p"]), (None, &json!(0.5)));
}

#[tokio::test]
async fn fields_of_one_format_of_embeddings_are_fitted_to_each_target() {
    let (failing, first) = keeping(|_, _| status(500, "", "{}")).await;
    let (upstream, second) = keeping(|_, _| {
        let body = json!({"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 3}}});
        status(200, "content-type: application/json\r\n", &body.to_string())
    })
    .await;
    let cohere = OpenAiCompatible::new("other", &upstream.base_url).unwrap().embeddings(CohereEmbed::new());
    let bench = bench(vec![open_ai(failing), (Arc::new(cohere), upstream)]);
    let mut request = EmbedRequest::new("all", ["hi"]);
    request.extra.insert("user".into(), json!("u-1"));
    request.extra_format = Some(WireFormat::ChatCompletions);
    let model = bench.router.embedder("all").unwrap();
    let answer = bench.drive(model.embed(&bench.ctx, request.clone())).await.unwrap();
    assert_eq!(answer.vectors, [[0.5]]);
    assert_eq!(first.lock().unwrap()[0]["user"], "u-1");
    assert_eq!(second.lock().unwrap()[0].get("user"), None);
}

async fn answer(bench: &Bench, request: ChatRequest, streamed: bool) -> Result<String> {
    if streamed { bench.stream(request).await } else { bench.complete(request).await }
}

/// Counts that come with a failure are paid for, however the answer was to come.
#[tokio::test]
async fn what_a_failure_used_is_paid_for() {
    let body = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "content": {}}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}});
    // Counts in an event of their own, and then an error.
    let started = json!({"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}});
    let error = json!({"error": {"code": 500, "message": "no", "status": "INTERNAL"}});
    let whole = status(200, "content-type: application/json\r\n", &body.to_string());
    let streamed = vec![opened(), event(&format!("data: {body}\n\n")), ended()];
    let in_two =
        vec![opened(), event(&format!("data: {started}\n\n")), event(&format!("data: {error}\n\n")), ended()];
    for (acts, is_stream) in [(whole, false), (streamed, true), (in_two, true)] {
        for pay_once in [true, false] {
            let failing = Upstream::always(acts.clone()).await;
            let other = Upstream::start(|_, seen| fine(seen, "other")).await;
            let bench = bench(vec![gemini(failing), open_ai(other)]);
            let mut request = ask("all");
            request.route.pay_once = pay_once;
            let answer = answer(&bench, request.clone(), is_stream).await;
            assert_eq!((answer.is_ok(), bench.calls()), (!pay_once, if pay_once { 1 } else { 2 }));
            let first = request.log.attempts().remove(0);
            assert_eq!(categories(&request)[0], "server_error");
            assert_eq!(first.usage.unwrap().total(), 15, "{is_stream}");
            assert!(!first.estimated && first.cost > Some(NanoUsd::ZERO));
        }
    }
}

/// The vectors of one text each, `[1.0]`, counted as three tokens.
fn vectors(seen: &Seen) -> Vec<Act> {
    let texts = seen.json()["input"].as_array().map_or(1, Vec::len);
    let data: Vec<Value> = (0..texts).map(|at| json!({"index": at, "embedding": [1.0]})).collect();
    let body = json!({"model": "m", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    status(200, "content-type: application/json\r\n", &body.to_string())
}

fn batches(name: &str, upstream: Upstream, largest: usize) -> (Arc<dyn Provider>, Upstream) {
    let provider = OpenAiCompatible::new(name, &upstream.base_url).unwrap();
    let dialect = OpenAiEmbeddings::new().with_largest_batch(largest);
    (Arc::new(provider.embeddings(dialect)), upstream)
}

fn texts(bodies: &Mutex<Vec<Value>>) -> Vec<String> {
    let inputs = |body: &Value| match &body["input"] {
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
        text => vec![text.as_str().unwrap().to_owned()],
    };
    bodies.lock().unwrap().iter().map(|body| inputs(body).join(" ")).collect()
}

/// A batch that fails is asked for again by itself: those before it are paid for once, and every request is recorded.
#[tokio::test]
async fn batches_of_texts_are_asked_for_and_paid_one_by_one() {
    let (upstream, bodies) =
        keeping(|n, seen| if n == 1 { status(429, "retry-after: 1\r\n", "{}") } else { vectors(seen) }).await;
    let bench = bench(vec![batches("a", upstream, 2)]);
    let request = EmbedRequest::new("a/m", ["t1", "t2", "t3", "t4"]);
    let model = bench.router.embedder("a/m").unwrap();
    let answer = bench.drive(model.embed(&bench.ctx, request.clone())).await.unwrap();
    assert_eq!((answer.vectors.len(), answer.usage.unwrap().input_tokens), (4, Some(6)));
    assert_eq!(texts(&bodies), ["t1 t2", "t3 t4", "t3 t4"]);
    let attempts = request.log.attempts();
    let costs: Vec<i64> = attempts.iter().map(|one| one.cost.unwrap().nanos()).collect();
    assert_eq!(costs, [3000, 0, 3000], "{attempts:?}");
}

/// A batch that nobody answers is reckoned as itself, and not as all texts.
#[tokio::test]
async fn the_estimate_of_a_batch_is_that_of_its_texts() {
    let (upstream, _) = keeping(|n, seen| if n == 1 { vec![Act::Hang] } else { vectors(seen) }).await;
    let bench = bench(vec![batches("a", upstream, 1)]);
    let request = EmbedRequest::new("a/m", ["x".repeat(3000), "y".repeat(30), "z".repeat(3000)]);
    let model = bench.router.embedder("a/m").unwrap();
    bench.drive(model.embed(&bench.ctx, request.clone())).await.unwrap_err();
    let attempt = request.log.attempts().pop().unwrap();
    assert!(attempt.estimated && request.log.len() == 2);
    assert_eq!(
        (attempt.usage.unwrap().input_tokens, attempt.usage.unwrap().output_tokens),
        (Some(10), Some(0))
    );
}

/// Where a batch fails for good its predecessors are in the log; another model begins from the first text, with the
/// attempts that are left.
#[tokio::test]
async fn a_batch_that_fails_for_good_leaves_the_cost_of_those_before_it() {
    let failing = |_: usize, seen: &Seen| {
        if seen.body.windows(2).any(|part| part == b"t3") { status(500, "", "{}") } else { vectors(seen) }
    };
    for (max, calls) in [(2, [3, 0]), (4, [4, 2])] {
        let (one, _) = keeping(failing).await;
        let (two, bodies) = keeping(|_, seen| vectors(seen)).await;
        let bench = bench(vec![batches("a", one, 2), batches("b", two, 3)]);
        let mut request = EmbedRequest::new("all", ["t1", "t2", "t3", "t4"]);
        request.route.max_attempts = Some(max);
        let model = bench.router.embedder("all").unwrap();
        let answer = bench.drive(model.embed(&bench.ctx, request.clone())).await;
        assert_eq!([bench.upstreams[0].calls(), bench.upstreams[1].calls()], calls);
        assert_eq!(request.log.len(), bench.calls(), "every request is in the log");
        assert_eq!(request.log.attempts()[0].cost.unwrap().nanos(), 3000);
        if max == 4 {
            assert_eq!(answer.unwrap().vectors.len(), 4);
            assert_eq!(texts(&bodies), ["t1 t2 t3", "t4"], "vectors of one request are those of one model");
        } else {
            answer.unwrap_err();
        }
    }
}

/// The head of an error says enough: a body that does not come is no answer that is late.
#[tokio::test]
async fn an_error_whose_body_hangs_is_that_error() {
    for streamed in [false, true] {
        let head = b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\n{\"err".to_vec();
        let bench = bench(vec![open_ai(Upstream::always(vec![Act::Send(head), Act::Hang]).await)]);
        let mut request = ask("openai/m");
        request.route.max_attempts = Some(1);
        let (model, ctx, asked) = (bench.model("openai/m"), bench.ctx.clone(), request.clone());
        let task = tokio::spawn(async move {
            match streamed {
                true => model.stream(&ctx, asked).await.map(drop),
                false => model.complete(&ctx, asked).await.map(drop),
            }
        });
        // The limit of the attempt is far away.
        until(|| bench.clock.next_wait().is_some_and(|wait| wait.as_secs() <= 2)).await;
        bench.clock.advance(std::time::Duration::from_secs(2));
        let error = within(task).await.unwrap().unwrap_err();
        assert!(error.is(ErrorKind::RateLimited), "{error}");
        assert_eq!(categories(&request), ["rate_limit"]);
        assert_eq!(request.log.cost(), Cost::Known(NanoUsd::ZERO));
        let status = bench.router.status();
        assert_eq!(status.iter().map(|one| one.blocked).sum::<usize>(), 1, "it cools");
    }
}
