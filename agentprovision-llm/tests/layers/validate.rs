//! Answers that must match a schema, and files that must not be too large.

use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, Content, FinishReason, Message, ModelResolver, Source,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, ErrorKind, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::layers::{CacheConfig, CacheLayer, LayersConfig, ValidateConfig, ValidateLayer};
use agentprovision_llm::limit::MemoryLedger;
use agentprovision_llm::route::Router;
use base64::Engine;
use serde_json::json;
use tower::Layer;

use crate::kit::{ask, events};
use crate::support::{context, within};

fn typed() -> ChatRequest {
    let mut request = ask("what is it?");
    request.output_schema = Some(json!({
        "type": "object",
        "properties": { "id": { "type": "integer" }, "tags": { "type": "array", "items": { "type": "string" } } },
        "required": ["id"],
    }));
    request
}

fn validated(
    replies: impl IntoIterator<Item = Reply>,
    repairs: u32,
) -> (Arc<ScriptedModel>, Arc<dyn ChatModel>) {
    let scripted = Arc::new(ScriptedModel::new("m", replies));
    let config = ValidateConfig { output: true, repair_attempts: repairs, ..ValidateConfig::default() };
    let model = ValidateLayer::new(config).unwrap().layer(scripted.clone() as Arc<dyn ChatModel>);
    (scripted, model)
}

async fn whole(model: &Arc<dyn ChatModel>, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
    within(model.complete(ctx, request)).await
}

#[tokio::test]
async fn an_answer_that_does_not_match_its_schema_is_an_error_that_says_where() {
    let ctx = context();
    for (text, path, says) in [
        (r#"{"id": "seven"}"#, Some("/id"), "`/id`"),
        (r#"{"id": 7, "tags": ["a", 5]}"#, Some("/tags/1"), "`/tags/1`"),
        ("{}", Some(""), "id"),
        ("seven", None, "is not JSON"),
        (r#"```json {"id": 7} ```"#, None, "is not JSON"),
    ] {
        let (_, model) = validated([Reply::text(text), Reply::text(text)], 0);
        let error = whole(&model, &ctx, typed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderError);
        assert!(error.message().contains(says), "{error}");
        let named = error.context().iter().find(|(key, _)| *key == "path").map(|(_, path)| path.as_str());
        assert_eq!(named, path);
        // Streamed, the text is out already; that it is complete is never said.
        let streamed = events(model.stream(&ctx, typed()).await).await.unwrap_err();
        assert_eq!((streamed.kind(), streamed.message()), (error.kind(), error.message()));
    }
    let (_, model) = validated([Reply::text(r#"{"id": 7}"#), Reply::text(r#"{"id": 8}"#)], 0);
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap().text, r#"{"id": 7}"#);
    let streamed = events(model.stream(&ctx, typed()).await).await.unwrap();
    assert!(streamed.iter().any(|event| matches!(event, ChatEvent::Finished { .. })));
    assert!(streamed.iter().any(|event| matches!(event, ChatEvent::Usage(_))));
}

#[tokio::test]
async fn calls_of_tools_are_no_answers_and_a_schema_that_is_none_is_refused() {
    let ctx = context();
    let (_, model) = validated([Reply::tool("find", json!({})), Reply::CutOff("find".into(), "{".into())], 0);
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap().finish, FinishReason::ToolCalls);
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap().finish, FinishReason::Length);
    // Without a schema anything is an answer.
    let (_, model) = validated([Reply::text("seven")], 0);
    assert_eq!(whole(&model, &ctx, ask("x")).await.unwrap().text, "seven");
    // Nothing is sent with a schema that is none.
    let (scripted, model) = validated([Reply::text("{}")], 0);
    let mut bad = ask("x");
    bad.output_schema = Some(json!({ "type": "no such type" }));
    assert_eq!(whole(&model, &ctx, bad).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(scripted.requests().is_empty());
}

#[tokio::test]
async fn an_answer_is_asked_for_again_as_often_as_is_configured() {
    let ctx = context();
    let bad = || Reply::text(r#"{"id": "seven"}"#);
    let good = || Reply::text(r#"{"id": 7}"#);
    let (scripted, model) = validated([bad(), bad(), good()], 2);
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap().text, r#"{"id": 7}"#);
    let last = scripted.requests().pop().unwrap();
    assert_eq!(last.messages.len(), 5);
    let Message::User { content } = &last.messages[4] else { panic!() };
    assert!(matches!(&content[0], Content::Text { text } if text.contains("`/id`")), "{content:?}");

    let (scripted, model) = validated([bad(), bad(), good()], 1);
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap_err().kind(), ErrorKind::ProviderError);
    assert_eq!(scripted.requests().len(), 2);
    let (_, model) = validated([bad(), good()], 1);
    let streamed = events(model.stream(&ctx, typed()).await).await.unwrap();
    let texts = streamed.iter().filter(|event| matches!(event, ChatEvent::Text(_)));
    assert_eq!(texts.count(), 1, "nothing of the bad answer is seen: {streamed:?}");
}

#[tokio::test]
async fn a_cache_around_it_stores_no_answer_that_does_not_match() {
    let (_, model) = validated([Reply::text("no"), Reply::text("no"), Reply::text(r#"{"id": 7}"#)], 0);
    let cache = CacheLayer::new(CacheConfig::default(), Env::default()).unwrap();
    let (model, ctx) = (cache.layer(model), context());
    whole(&model, &ctx, typed()).await.unwrap_err();
    events(model.stream(&ctx, typed()).await).await.unwrap_err();
    assert_eq!(whole(&model, &ctx, typed()).await.unwrap().text, r#"{"id": 7}"#);
    assert_eq!(cache.stats().stored, 1);
}

#[tokio::test]
async fn files_that_are_too_large_or_no_base64_are_refused_before_anything_is_sent() {
    let ctx = context();
    let with = |source: Source, document: bool| {
        let media_type = "a/b".into();
        let file = match document {
            true => Content::Document { media_type, name: None, source },
            false => Content::Image { media_type, source },
        };
        ChatRequest::new("m", vec![Message::system("s"), Message::User { content: vec![file] }])
    };
    let encoded = |bytes: usize| base64::engine::general_purpose::STANDARD.encode(vec![7; bytes]);
    let scripted = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("ok")));
    let config = ValidateConfig { max_file_bytes: 1000, ..ValidateConfig::default() };
    let model = ValidateLayer::new(config).unwrap().layer(scripted.clone() as Arc<dyn ChatModel>);
    for document in [false, true] {
        for bytes in 998..=1003 {
            let result = whole(&model, &ctx, with(Source::Base64(encoded(bytes)), document)).await;
            assert_eq!(result.is_ok(), bytes <= 1000, "{bytes}");
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                assert!(error.message().contains("message 1 has"), "{error}");
            }
        }
        for data in ["", "A", "AAA", "AAAAA", "AA=A", "A===", "AA AA===", "AAA\n", "ÄÄ", "====", "AA-_"] {
            let bad = with(Source::Base64(data.into()), document);
            let error = whole(&model, &ctx, bad.clone()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{data}");
            assert!(error.message().contains("message 1"), "{error}");
            assert!(within(model.stream(&ctx, bad)).await.is_err());
        }
    }
    assert_eq!(scripted.requests().len(), 6);
    whole(&model, &ctx, with(Source::Url("https://a.example/a.png".into()), false)).await.unwrap();
    // The limit that is shipped.
    let model = ValidateLayer::new(ValidateConfig::default()).unwrap().layer(scripted as Arc<dyn ChatModel>);
    let size = 20 << 20;
    whole(&model, &ctx, with(Source::Base64(encoded(size)), false)).await.unwrap();
    let error = whole(&model, &ctx, with(Source::Base64(encoded(size + 1)), false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let bad = ValidateConfig { repair_attempts: 9, output: false, max_file_bytes: 0 };
    assert_eq!(bad.problems().len(), 3);
}

#[tokio::test]
async fn what_is_asked_again_keeps_to_pay_once_and_to_the_attempts_of_one_request() {
    let bad = |_: &ChatRequest| Reply::text("no");
    for (max_attempts, configured, pay_once, calls) in [
        (None, 4, true, 1),
        (Some(2), 4, false, 2),
        // The configured number is for one request too, and a request cannot raise it.
        (None, 3, false, 3),
        (Some(9), 3, false, 3),
        (None, 20, false, 9),
    ] {
        let scripted = Arc::new(ScriptedModel::from_fn("m", bad));
        let registry = ModelRegistry::builder().model("m", scripted.clone() as Arc<dyn ChatModel>);
        let routing = serde_json::from_value(json!({ "max_attempts": configured })).unwrap();
        let layers = json!({ "validate": { "output": true, "repair_attempts": 8 } });
        let layers: LayersConfig = serde_json::from_value(layers).unwrap();
        let router = Router::builder(registry.build().unwrap()).config(routing);
        let ledger = Arc::new(MemoryLedger::new(Env::default()));
        let model = layers.around(router, ledger).unwrap().build().unwrap().resolve("m").unwrap();
        for is_streamed in [false, true] {
            let before = scripted.requests().len();
            let mut request = typed();
            request.route.max_attempts = max_attempts;
            request.route.pay_once = pay_once;
            let log = request.log.clone();
            let error = match is_streamed {
                true => events(model.stream(&context(), request).await).await.map(drop).unwrap_err(),
                false => whole(&model, &context(), request).await.map(drop).unwrap_err(),
            };
            assert_eq!(error.kind(), ErrorKind::ProviderError, "{error}");
            assert_eq!((scripted.requests().len() - before, log.len()), (calls, calls));
        }
    }
    // Also over a model that keeps no log.
    let (scripted, model) = validated([Reply::text("no"), Reply::text("no"), Reply::text("no")], 8);
    let mut request = typed();
    request.route.max_attempts = Some(2);
    whole(&model, &context(), request).await.unwrap_err();
    assert_eq!(scripted.requests().len(), 2);
}

#[tokio::test]
async fn answers_are_not_checked_unless_that_is_configured() {
    let config: ValidateConfig = serde_json::from_str("{}").unwrap();
    let scripted = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("no")));
    let model = ValidateLayer::new(config).unwrap().layer(scripted as Arc<dyn ChatModel>);
    assert_eq!(whole(&model, &context(), typed()).await.unwrap().text, "no");
}

/// References that follow one another for as long as a request may be are no way to end the process.
#[tokio::test]
async fn a_long_chain_of_references_is_refused() {
    let ctx = context();
    for length in [1_000_usize, 20_000, 100_000] {
        let link = |at: usize| json!({"$ref": format!("#/$defs/d{at}")});
        let mut definitions: serde_json::Map<_, _> =
            (1..length).map(|at| (format!("d{}", at - 1), link(at))).collect();
        definitions.insert(format!("d{}", length - 1), json!({"type": "string"}));
        let mut request = ask("what is it?");
        request.output_schema = Some(json!({"$ref": "#/$defs/d0", "$defs": definitions}));
        let (scripted, model) = validated([Reply::text("7")], 0);
        let error = whole(&model, &ctx, request).await.unwrap_err();
        assert_eq!((error.kind(), scripted.requests().len()), (ErrorKind::InvalidInput, 0), "{length}");
    }
}
