//! Embedding and rerank go by the same rules as conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    EmbedRequest, EmbeddingResolver, ModelInfo, Ranked, RerankModel, RerankRequest, RerankResolver,
    RerankResponse,
};
use agentprovision_core::{Error, ErrorKind, Result, Retry};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::route::{Router, RoutingConfig};
use async_trait::async_trait;
use serde_json::json;

use crate::kit::{Act, Bench, Paced, Upstream, category, patient, price, status};
use crate::support::context;

fn vectors() -> Vec<Act> {
    let body = json!({"model": "m", "data": [{"index": 0, "embedding": [0.5, 0.25]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    status(200, "content-type: application/json\r\n", &body.to_string())
}

fn categories(log: &agentprovision_core::model::CallLog) -> Vec<String> {
    log.attempts().iter().map(|one| category(one).to_owned()).collect()
}

#[tokio::test]
async fn pitfall_19_embeddings_fail_over_and_are_recorded_like_conversations() {
    let unauthorized = status(401, "", "{}");
    let limited = status(429, "retry-after: 5\r\n", "{}");
    let bad = status(400, "", "{}");
    let broken = status(500, "", "{}");
    for (acts, expected, calls, seconds) in [
        (broken, vec!["server_error", "answered"], [1, 1], 0),
        (limited, vec!["rate_limit", "answered"], [1, 1], 0),
        (unauthorized, vec!["authentication", "answered"], [1, 1], 0),
        (vec![Act::Reset], vec!["unavailable", "answered"], [1, 1], 0),
        (vec![Act::Hang], vec!["deadline_exceeded", "answered"], [1, 1], 10_000),
        (bad, vec!["invalid_request"], [1, 0], 0),
    ] {
        let bench =
            Bench::new(vec![Upstream::always(acts).await, Upstream::always(vectors()).await], patient(2));
        let request = EmbedRequest::new("all", ["hi"]);
        let model = bench.router.embedder("all").unwrap();
        let answer = bench.drive(model.embed(&bench.ctx, request.clone())).await;
        assert_eq!(categories(&request.log), expected);
        assert_eq!([bench.upstreams[0].calls(), bench.upstreams[1].calls()], calls, "{expected:?}");
        assert_eq!(bench.now().as_secs(), seconds, "{expected:?}");
        if expected.len() == 2 {
            assert_eq!(answer.unwrap().vectors, [[0.5, 0.25]]);
            assert_eq!(request.log.attempts()[1].cost.unwrap().nanos(), 3000);
        } else {
            answer.unwrap_err();
        }
    }
}

#[tokio::test]
async fn pitfall_19_embeddings_keep_the_budget_the_deadline_and_the_breaker() {
    let bench = Bench::new(vec![Upstream::always(status(503, "", "{}")).await], patient(1));
    let model = bench.router.embedder("a/m").unwrap();
    let mut request = EmbedRequest::new("a/m", ["hi"]);
    request.route.max_attempts = Some(2);
    let error = bench.drive(model.embed(&bench.ctx, request.clone())).await.unwrap_err();
    assert!(error.is(ErrorKind::Unavailable), "{error}");
    assert_eq!((bench.calls(), request.log.len()), (2, 2));
    for _ in 0..3 {
        bench.drive(model.embed(&bench.ctx, EmbedRequest::new("a/m", ["hi"]))).await.unwrap_err();
    }
    let calls = bench.calls();
    bench.drive(model.embed(&bench.ctx, EmbedRequest::new("a/m", ["hi"]))).await.unwrap_err();
    assert!(bench.calls() <= calls + 1, "its breaker is open");
    let hang = Bench::new(vec![Upstream::always(vec![Act::Hang]).await], patient(1));
    let model = hang.router.embedder("a/m").unwrap();
    let mut request = EmbedRequest::new("a/m", ["hi"]);
    request.route.deadline =
        Some(hang.router.registry().env().now().after(std::time::Duration::from_secs(3)));
    let error = hang.drive(model.embed(&hang.ctx, request.clone())).await.unwrap_err();
    assert!(error.is(ErrorKind::DeadlineExceeded), "{error}");
    assert_eq!((hang.now().as_secs(), categories(&request.log)), (3, vec!["deadline_exceeded".to_owned()]));
}

/// Fails so often, then sorts.
#[derive(Debug)]
struct Sorts(ModelInfo, AtomicUsize, Error);

#[async_trait]
impl RerankModel for Sorts {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn rerank(&self, _: &Context, _: RerankRequest) -> Result<RerankResponse> {
        let left = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(self.2.clone()),
            Err(_) => Ok(RerankResponse {
                results: vec![Ranked { index: 0, score: 1.0 }],
                model: None,
                usage: None,
            }),
        }
    }
}

#[tokio::test]
async fn pitfall_19_rerank_fails_over_retries_and_is_recorded_like_conversations() {
    let sorts = |name: &str, failures: usize, error: Error| {
        let info = ModelInfo {
            name: name.into(),
            provider: "own".into(),
            context_window: None,
            max_output_tokens: None,
            price: Some(price().into()),
            capabilities: Default::default(),
        };
        Arc::new(Sorts(info, AtomicUsize::new(failures), error))
    };
    let down =
        || Error::new(ErrorKind::Unavailable, "down").with_retry(Retry::After(std::time::Duration::ZERO));
    for (first, second, expected) in [
        (1, 0, vec!["unavailable", "answered"]),
        (1, 1, vec!["unavailable", "unavailable", "answered"]),
        (9, 9, vec!["unavailable"; 4]),
    ] {
        let clock = Paced::new();
        let registry = ModelRegistry::builder()
            .env(clock.env(1))
            .reranker("one", sorts("one", first, down()))
            .reranker("two", sorts("two", second, down()));
        let config: RoutingConfig =
            serde_json::from_value(json!({"routes": {"any": {"targets": ["one", "two"]}}})).unwrap();
        let router = Router::builder(registry.build().unwrap()).config(config).build().unwrap();
        let request = RerankRequest::new("any", "q", ["d"]);
        let model = router.reranker("any").unwrap();
        let ctx = context();
        let asked = request.clone();
        let task = tokio::spawn(async move { model.rerank(&ctx, asked).await });
        crate::kit::until(|| {
            if let Some(wait) = clock.next_wait().filter(|wait| wait.as_secs() < 60) {
                clock.advance(wait);
            }
            task.is_finished()
        })
        .await;
        assert_eq!(task.await.unwrap().is_ok(), expected.last() == Some(&"answered"));
        assert_eq!(categories(&request.log), expected);
    }
}
