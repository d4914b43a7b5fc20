//! Caches of vectors, and the cache that finds answers by them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{
    Attempt, AttemptEnd, CacheUse, Capabilities, ChatModel, ChatRequest, Content, EmbedRequest,
    EmbedResponse, EmbeddingModel, Message, ModelInfo, Source, ToolDefinition, Usage,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp};
use agentprovision_llm::layers::{
    CacheScope, EmbeddingCacheConfig, EmbeddingCacheLayer, SemanticCacheConfig, SemanticCacheLayer,
};
use async_trait::async_trait;
use serde_json::json;
use tower::Layer;

use crate::kit::{Routed, ask, counting, events, standing, text_of, user_of};
use crate::support::{context, within};

/// Turns a text into how often it has each of four letters; and notes what it was asked.
#[derive(Debug)]
struct Letters {
    info: ModelInfo,
    asked: Mutex<Vec<Vec<String>>>,
    /// Who answers, where it stands in for a router.
    target: Mutex<Option<&'static str>>,
    failing: Mutex<bool>,
}

fn letters() -> Arc<Letters> {
    let info = ModelInfo {
        name: "letters".into(),
        provider: "here".into(),
        context_window: None,
        max_output_tokens: None,
        price: None,
        capabilities: Capabilities::default(),
    };
    Arc::new(Letters { info, asked: Mutex::default(), target: Mutex::default(), failing: Mutex::default() })
}

#[async_trait]
impl EmbeddingModel for Letters {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        if *self.failing.lock().unwrap() {
            return Err(Error::new(ErrorKind::Unavailable, "not now"));
        }
        let target = *self.target.lock().unwrap();
        let shift = if target == Some("fallback") { 100.0 } else { 0.0 };
        let vector = |text: &String| {
            let count = |letter| text.matches(letter).count() as f32 + shift;
            ["a", "b", "c", "d"].map(count).to_vec()
        };
        let vectors = request.inputs.iter().map(vector).collect();
        let tokens = request.inputs.len() as u64;
        self.asked.lock().unwrap().push(request.inputs);
        if let Some(target) = target {
            request.log.push(Attempt {
                provider: "somebody".into(),
                model: target.into(),
                credential: 0,
                started: Timestamp::default(),
                duration_us: 1,
                first_content_us: None,
                hedge: false,
                end: AttemptEnd::Answered,
                usage: None,
                estimated: false,
                cost: None,
            });
        }
        let usage = Usage { input_tokens: Some(tokens), ..Usage::default() };
        Ok(EmbedResponse { vectors, model: Some("letters-2".into()), usage: Some(usage) })
    }
}

impl Letters {
    fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn vectors_of(layer: &EmbeddingCacheLayer, model: &Arc<Letters>) -> Arc<dyn EmbeddingModel> {
    layer.layer(Arc::clone(model) as Arc<dyn EmbeddingModel>)
}

async fn embed(model: &Arc<dyn EmbeddingModel>, ctx: &Context, texts: &[&str]) -> EmbedResponse {
    within(model.embed(ctx, EmbedRequest::new("letters", texts.iter().copied()))).await.unwrap()
}

#[tokio::test]
async fn a_batch_asks_only_for_the_texts_that_are_not_known_and_keeps_their_order() {
    let (letters, ctx) = (letters(), context());
    let layer = EmbeddingCacheLayer::new(EmbeddingCacheConfig::default(), Env::default()).unwrap();
    let model = vectors_of(&layer, &letters);
    let first = embed(&model, &ctx, &["a", "bb"]).await;
    assert_eq!(first.usage.unwrap().total(), 2);
    let mixed = embed(&model, &ctx, &["c", "bb", "dd", "a", "c"]).await;
    assert_eq!(letters.asked(), [vec!["a", "bb"], vec!["c", "dd"]]);
    let expected = [[0., 0., 1., 0.], [0., 2., 0., 0.], [0., 0., 0., 2.], [1., 0., 0., 0.], [0., 0., 1., 0.]];
    assert_eq!(mixed.vectors, expected.map(|vector| vector.to_vec()));
    assert_eq!(mixed.usage.unwrap().total(), 2, "what was asked for");
    let known = embed(&model, &ctx, &["dd", "a"]).await;
    assert_eq!((known.usage.unwrap().total(), known.model.as_deref()), (0, Some("letters-2")));
    assert!(letters.asked().is_empty());
    assert_eq!((layer.stats().hits, layer.stats().misses, layer.stats().stored), (4, 4, 4));
}

#[tokio::test]
async fn vectors_are_kept_apart_by_tenant_parameters_and_use_and_grow_old() {
    let (clock, env) = standing();
    let (letters, ada, eve) = (letters(), context(), context());
    let layer = EmbeddingCacheLayer::new(EmbeddingCacheConfig::default(), env).unwrap();
    let model = vectors_of(&layer, &letters);
    let count = async |ctx: &Context, change: fn(&mut EmbedRequest)| {
        let mut request = EmbedRequest::new("letters", ["a"]);
        change(&mut request);
        within(model.embed(ctx, request)).await.unwrap();
        letters.asked().len()
    };
    assert_eq!(count(&ada, |_| ()).await, 1);
    assert_eq!(count(&user_of(ada.tenant(), RequestInfo::default()), |_| ()).await, 0);
    assert_eq!(count(&eve, |_| ()).await, 1, "another tenant");
    assert_eq!(count(&ada, |request| request.dimensions = Some(2)).await, 1);
    assert_eq!(count(&ada, |request| request.model = "other".into()).await, 1);
    assert_eq!(count(&ada, |request| _ = request.extra.insert("x".into(), json!(1))).await, 1);
    assert_eq!(
        count(&ada, |request| request.purpose = Some(agentprovision_core::model::EmbedPurpose::Query)).await,
        1
    );
    assert_eq!(count(&ada, |request| request.route.affinity = Some("s".into())).await, 0);
    assert_eq!(count(&ada, |request| request.route.cache = CacheUse::Never).await, 1);
    assert_eq!(count(&ada, |request| request.route.cache = CacheUse::Refresh).await, 1);
    assert_eq!(count(&ada, |_| ()).await, 0);
    layer.invalidate_tenant(ada.tenant());
    assert_eq!((count(&ada, |_| ()).await, count(&eve, |_| ()).await), (1, 0));
    layer.invalidate_model("letters");
    assert_eq!((count(&ada, |_| ()).await, count(&eve, |_| ()).await), (1, 1));
    clock.advance(Duration::from_secs(86_400));
    assert_eq!((count(&ada, |_| ()).await, count(&ada, |_| ()).await), (1, 0));
    layer.invalidate_all();
    assert_eq!(count(&ada, |_| ()).await, 1);
    let shared = EmbeddingCacheConfig { scope: CacheScope::Shared, ..EmbeddingCacheConfig::default() };
    let layer = EmbeddingCacheLayer::new(shared, Env::default()).unwrap();
    let model = vectors_of(&layer, &letters);
    embed(&model, &ada, &["a"]).await;
    embed(&model, &eve, &["a"]).await;
    assert_eq!(letters.asked().len(), 1);
}

#[tokio::test]
async fn vectors_of_two_models_never_stand_in_one_answer() {
    let (letters, ctx) = (letters(), context());
    let layer = EmbeddingCacheLayer::new(EmbeddingCacheConfig::default(), Env::default()).unwrap();
    let model = vectors_of(&layer.own_targets(|_, by| by.model == "primary"), &letters);
    *letters.target.lock().unwrap() = Some("primary");
    embed(&model, &ctx, &["a"]).await;
    *letters.target.lock().unwrap() = Some("fallback");
    let mixed = embed(&model, &ctx, &["a", "b"]).await;
    assert_eq!(mixed.vectors, [[101., 100., 100., 100.], [100., 101., 100., 100.]].map(|v| v.to_vec()));
    assert_eq!(mixed.usage.unwrap().total(), 3, "both requests were made");
    assert_eq!(letters.asked(), [vec!["a"], vec!["b"], vec!["a", "b"]]);
    // And what the fallback gave was not stored.
    *letters.target.lock().unwrap() = Some("primary");
    assert_eq!(embed(&model, &ctx, &["a", "b"]).await.vectors[1], [0., 1., 0., 0.]);
    assert_eq!(letters.asked(), [vec!["b"]]);
}

fn semantic(letters: &Arc<Letters>, change: impl FnOnce(&mut SemanticCacheConfig)) -> SemanticCacheLayer {
    let mut config = SemanticCacheConfig { threshold: 0.9, ..SemanticCacheConfig::default() };
    change(&mut config);
    let embedder = Arc::clone(letters) as Arc<dyn EmbeddingModel>;
    SemanticCacheLayer::new(config, embedder, standing().1).unwrap()
}

async fn text(model: &Arc<dyn ChatModel>, ctx: &Context, request: ChatRequest) -> String {
    within(model.complete(ctx, request)).await.unwrap().text
}

#[tokio::test]
async fn a_question_in_other_words_gets_the_answer_when_it_is_alike_enough() {
    let (scripted, letters, ctx) = (counting(), letters(), context());
    let model = semantic(&letters, |_| ()).layer(scripted.clone() as Arc<dyn ChatModel>);
    let first = text(&model, &ctx, ask("aaa b")).await;
    assert_eq!(text(&model, &ctx, ask("aaaa b")).await, first);
    let streamed = events(model.stream(&ctx, ask("b aaa")).await).await.unwrap();
    assert_eq!(text_of(&streamed), first);
    assert_ne!(text(&model, &ctx, ask("aaa bbb")).await, first, "not alike enough");
    assert_ne!(text(&model, &ctx, ask("ccc")).await, first);
    assert_eq!(scripted.requests().len(), 3);
    // What was streamed is stored as well.
    let streamed = text_of(&events(model.stream(&ctx, ask("ddd")).await).await.unwrap());
    assert_eq!(text(&model, &ctx, ask("dd")).await, streamed);
    // A question with no vector, and one whose vector cannot be had, is asked.
    assert_ne!(text(&model, &ctx, ask("x")).await, text(&model, &ctx, ask("x")).await);
    *letters.failing.lock().unwrap() = true;
    assert_ne!(text(&model, &ctx, ask("aaa b")).await, first);
}

#[tokio::test]
async fn everything_but_the_words_of_the_last_question_must_be_the_same_and_the_tenant_too() {
    let (scripted, letters, ada) = (counting(), letters(), context());
    let layer = semantic(&letters, |_| ());
    let model = layer.layer(scripted.clone() as Arc<dyn ChatModel>);
    let first = text(&model, &ada, ask("aaa")).await;
    let bob = user_of(ada.tenant(), RequestInfo::default());
    assert_eq!(text(&model, &bob, ask("aa")).await, first);
    assert_ne!(text(&model, &context(), ask("aaa")).await, first, "another tenant");
    let changes: [fn(&mut ChatRequest); 7] = [
        |request| request.messages.insert(0, Message::system("be brief")),
        |request| request.messages.insert(0, Message::user("before")),
        |request| {
            let (name, description, input_schema) = ("t".into(), "t".into(), json!({}));
            request.tools.push(ToolDefinition { name, description, input_schema });
        },
        |request| request.model = "n".into(),
        |request| request.max_tokens = Some(9),
        |request| request.seed = Some(1),
        |request| _ = request.extra.insert("top_p".into(), json!(0.5)),
    ];
    for change in changes {
        let mut request = ask("aaa");
        change(&mut request);
        assert_ne!(text(&model, &ada, request).await, first);
    }
    let mut pictured = ask("aaa");
    let Message::User { content } = &mut pictured.messages[0] else { panic!() };
    content.push(Content::Image { media_type: "image/png".into(), source: Source::Base64("AAAA".into()) });
    letters.asked();
    text(&model, &ada, pictured).await;
    assert!(letters.asked().is_empty(), "a question with more than words is not looked for");
    let mut warm = ask("aaa");
    warm.temperature = Some(1.0);
    assert_ne!(text(&model, &ada, warm).await, first);
    assert_eq!(text(&model, &ada, ask("aaa")).await, first);
    layer.invalidate_tenant(ada.tenant());
    assert_ne!(text(&model, &ada, ask("aaa")).await, first);

    let alone = semantic(&letters, |config| config.per_user = true).layer(scripted as Arc<dyn ChatModel>);
    assert_ne!(text(&alone, &ada, ask("aaa")).await, text(&alone, &bob, ask("aaa")).await);
}

#[tokio::test]
async fn a_semantic_cache_stores_no_calls_of_tools_and_nothing_of_a_fallback_and_has_a_limit() {
    let (letters, ctx) = (letters(), context());
    let replies = [Reply::tool("find", json!({ "id": 1 })), Reply::text("well")];
    let scripted = Arc::new(ScriptedModel::new("m", replies));
    let model = semantic(&letters, |_| ()).layer(scripted.clone() as Arc<dyn ChatModel>);
    text(&model, &ctx, ask("aaa")).await;
    assert_eq!(text(&model, &ctx, ask("aaa")).await, "well");

    let target = Arc::new(Mutex::new("fallback"));
    let routed = Routed { inner: counting(), target: Arc::clone(&target) };
    let layer = semantic(&letters, |_| ()).own_targets(|_, by| by.model == "primary");
    let model = layer.layer(Arc::new(routed) as Arc<dyn ChatModel>);
    assert_ne!(text(&model, &ctx, ask("a")).await, text(&model, &ctx, ask("a")).await);
    *target.lock().unwrap() = "primary";
    assert_eq!(text(&model, &ctx, ask("a")).await, text(&model, &ctx, ask("a")).await);

    let scripted = counting();
    let model =
        semantic(&letters, |config| config.max_entries = 2).layer(scripted.clone() as Arc<dyn ChatModel>);
    for question in ["a", "b", "c", "b", "c", "a"] {
        text(&model, &ctx, ask(question)).await;
    }
    assert_eq!(scripted.requests().len(), 4, "the oldest of three went");
    let embedder = Arc::clone(&letters) as Arc<dyn EmbeddingModel>;
    let config = SemanticCacheConfig { threshold: 1.5, max_entries: 0, ..SemanticCacheConfig::default() };
    let error = SemanticCacheLayer::new(config, embedder, Env::default()).unwrap_err();
    assert!(error.message().contains("`threshold`") && error.message().contains("`max_entries`"), "{error}");
}
