//! The providers over OpenAI's formats, and embeddings, over real HTTP on the loopback: what is sent and what comes back.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/mod.rs"]
mod support;

use std::error::Error as _;

use agentprovision_core::ErrorKind;
use agentprovision_core::model::{ChatRequest, EmbedRequest, Message, ToolDefinition};
use agentprovision_llm::providers::{
    Azure, Cerebras, DeepSeek, Fireworks, Groq, Hosted, LlamaCpp, Mistral, OpenAi, OpenAiCompatible,
    OpenRouter, Perplexity, Together, Vllm, Xai,
};
use agentprovision_llm::wire::openai_embeddings::OpenAiEmbeddings;
use agentprovision_llm::{Catalog, Category, Provider, ProviderError};
use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{KEY, Server, Step, context, transport, within};

const JSON: &str = "content-type: application/json\r\n";

fn answer() -> String {
    let choice = json!({"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"});
    json!({"id": "1", "model": "m", "choices": [choice], "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]})
    .to_string()
}

fn hello() -> ChatRequest {
    let mut request = ChatRequest::new("whatever the agent calls it", vec![Message::user("hello")]);
    request.max_tokens = Some(5);
    request
}

/// What a provider sends, whole or streamed, and under which name it is registered.
async fn sent(provider: &dyn Provider, server: &mut Server, stream: bool) -> (String, Value) {
    let model = provider.model("some/model", transport(provider), &Catalog::shipped()).unwrap();
    assert_eq!(model.info().provider, provider.name());
    if stream {
        // The server answers with a document, which is an answer too.
        let stream = within(model.stream(&context(), hello())).await.unwrap();
        assert!(stream.count().await > 0);
    } else {
        assert_eq!(within(model.complete(&context(), hello())).await.unwrap().text, "hi");
    }
    let seen = within(server.seen()).await;
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    (seen.head.lines().next().unwrap().to_owned(), seen.json())
}

#[tokio::test]
async fn every_service_is_asked_in_its_own_way() {
    let mut server = Server::answering("200 OK", JSON, &answer()).await;
    let url = server.base_url.clone();
    let key = || KEY.into();
    let services: [(&str, Box<dyn Provider>, &str, bool); 11] = [
        ("mistral", Box::new(Mistral::at(&url, key()).unwrap()), "max_tokens", false),
        ("groq", Box::new(Groq::at(&url, key()).unwrap()), "max_completion_tokens", true),
        ("deepseek", Box::new(DeepSeek::at(&url, key()).unwrap()), "max_tokens", true),
        ("xai", Box::new(Xai::at(&url, key()).unwrap()), "max_completion_tokens", true),
        ("openrouter", Box::new(OpenRouter::at(&url, key()).unwrap()), "max_tokens", true),
        ("together", Box::new(Together::at(&url, key()).unwrap()), "max_tokens", true),
        ("perplexity", Box::new(Perplexity::at(&url, key()).unwrap()), "max_tokens", false),
        ("fireworks", Box::new(Fireworks::at(&url, key()).unwrap()), "max_tokens", false),
        ("cerebras", Box::new(Cerebras::at(&url, key()).unwrap()), "max_completion_tokens", true),
        ("vllm", Box::new(Vllm::at(&url, key()).unwrap()), "max_tokens", true),
        ("llamacpp", Box::new(LlamaCpp::at(&url, key()).unwrap()), "max_tokens", true),
    ];
    for (name, provider, limit, options) in services {
        assert_eq!(provider.name(), name);
        let (line, body) = sent(provider.as_ref(), &mut server, true).await;
        assert_eq!(line, "POST /v1/chat/completions HTTP/1.1", "{name}");
        let mut expected = json!({"model": "some/model", "stream": true,
            "messages": [{"role": "user", "content": "hello"}]});
        expected[limit] = json!(5);
        if options {
            expected["stream_options"] = json!({"include_usage": true});
        }
        assert_eq!(body, expected, "{name}");
    }
}

#[tokio::test]
async fn the_responses_format_is_asked_for_by_name() {
    let mut server = Server::answering("200 OK", JSON, &answer()).await;
    let url = server.base_url.clone();
    let key = || KEY.into();
    let own = OpenAiCompatible::new("own", &url).unwrap().key(key()).unwrap();
    let services: [(Box<dyn Provider>, bool); 4] = [
        (Box::new(OpenAi::at(&url, key()).unwrap().responses()), true),
        (Box::new(Xai::at(&url, key()).unwrap().responses()), true),
        (Box::new(own.responses()), true),
        (Box::new(Vllm::at(&url, key()).unwrap().responses()), false),
    ];
    for (provider, stateless) in services {
        let (line, body) = sent(provider.as_ref(), &mut server, false).await;
        assert_eq!(line, "POST /v1/responses HTTP/1.1", "{}", provider.name());
        let mut expected = json!({"model": "some/model", "max_output_tokens": 5,
            "input": [{"role": "user", "content": "hello"}]});
        if stateless {
            expected["store"] = json!(false);
            expected["include"] = json!(["reasoning.encrypted_content"]);
        }
        assert_eq!(body, expected, "{}", provider.name());
    }
}

#[tokio::test]
async fn azure_is_reached_in_both_of_its_apis() {
    let mut server = Server::answering("200 OK", JSON, &answer()).await;
    let resource = server.base_url.trim_end_matches("/v1").to_owned();
    let v1 = Azure::new(&format!("{resource}/openai/v1/"), KEY.into()).unwrap();
    let dated = v1.clone().api_version("2024-10-21").unwrap();
    for (provider, path, tokens) in [
        (v1.clone(), "/openai/v1/chat/completions", "max_completion_tokens"),
        (v1.responses(), "/openai/v1/responses", "max_output_tokens"),
        (
            dated.clone(),
            "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            "max_completion_tokens",
        ),
        (dated.clone().responses(), "/openai/responses?api-version=2024-10-21", "max_output_tokens"),
    ] {
        let model = provider.model("gpt", transport(&provider), &Catalog::shipped()).unwrap();
        assert_eq!(within(model.complete(&context(), hello())).await.unwrap().text, "hi");
        let seen = within(server.seen()).await;
        assert!(seen.head.starts_with(&format!("POST {path} HTTP/1.1\n")), "{}", seen.head);
        assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some(KEY), None));
        assert_eq!((&seen.json()["model"], &seen.json()[tokens]), (&json!("gpt"), &json!(5)));
        assert!(!format!("{provider:?} {model:?}").contains(KEY));
    }
    let error = dated.model("a/b", transport(&dated), &Catalog::shipped()).unwrap_err();
    assert_eq!(error.to_string(), "`a/b` is no name of a deployment");
    assert!(Azure::new(&resource, " ".into()).is_err());
    assert!(dated.api_version("2024&x=").is_err());
}

#[tokio::test]
async fn what_a_service_lacks_is_refused_before_anything_is_sent() {
    let mut server = Server::answering("200 OK", JSON, &answer()).await;
    let refused = |provider: Box<dyn Provider>, change: fn(&mut ChatRequest)| {
        let model = provider.model("m", transport(provider.as_ref()), &Catalog::shipped()).unwrap();
        let mut request = hello();
        change(&mut request);
        async move {
            let error = within(model.complete(&context(), request)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            error.to_string()
        }
    };
    let perplexity = || Box::new(Perplexity::at(&server.base_url, KEY.into()).unwrap());
    let deepseek = || Box::new(DeepSeek::at(&server.base_url, KEY.into()).unwrap());
    let tool = |r: &mut ChatRequest| {
        let input_schema = json!({"type": "object"});
        r.tools = vec![ToolDefinition { name: "t".into(), description: String::new(), input_schema }];
    };
    assert_eq!(refused(perplexity(), tool).await, "the model provider has no tools");
    assert_eq!(refused(perplexity(), |r| r.seed = Some(1)).await, "the model provider has no seed");
    let stop = refused(perplexity(), |r| r.stop = vec!["x".into()]).await;
    assert_eq!(stop, "the model provider has no stop sequences");
    let schema = refused(deepseek(), |r| r.output_schema = Some(json!({}))).await;
    assert_eq!(schema, "the model provider has no output schema");
    let groq = Groq::new(KEY.into()).unwrap();
    let error = groq.embedder("m", transport(&groq), &Catalog::shipped()).unwrap_err();
    assert_eq!(error.to_string(), "the provider `groq` has no embedding models");
    assert!(server.saw_nothing());
}

#[test]
fn keys_are_needed_where_a_service_needs_them() {
    assert!(Mistral::new("".into()).is_err());
    assert!(Vllm::without_key("http://localhost:8000/v1").is_ok());
    assert!(Vllm::without_key("localhost").is_err());
    // No test sets these variables: others would see them too.
    let without = |outcome: agentprovision_core::Result<()>| outcome.err().map(|error| error.to_string());
    if std::env::var_os("CEREBRAS_API_KEY").is_none() {
        let error = without(Cerebras::from_env().map(drop));
        assert_eq!(error.as_deref(), Some("the environment variable `CEREBRAS_API_KEY` is not set"));
    }
    if std::env::var_os("LLAMA_API_KEY").is_none() {
        assert_eq!(without(LlamaCpp::from_env().map(drop)), None);
    }
    assert!(!format!("{:?}", Mistral::new(KEY.into()).unwrap()).contains(KEY));
}

fn vectors(vectors: &[&[f32]]) -> String {
    let data = vectors.iter().zip(0..).map(|(vector, index)| json!({"index": index, "embedding": vector}));
    json!({"model": "m-1", "data": data.collect::<Vec<_>>(), "usage": {"prompt_tokens": 3, "total_tokens": 3}})
        .to_string()
}

#[tokio::test]
async fn texts_are_embedded_in_batches_and_counted_together() {
    let mut server = Server::answering("200 OK", JSON, &vectors(&[&[1.0, 0.5], &[2.0, 0.25]])).await;
    let provider = OpenAiCompatible::new("own", &server.base_url)
        .unwrap()
        .key(KEY.into())
        .unwrap()
        .embeddings(OpenAiEmbeddings::new().with_largest_batch(2));
    let model = provider.embedder("e", transport(&provider), &Catalog::shipped()).unwrap();
    let request = EmbedRequest::new("whatever", ["a", "b", "c", "d"]);
    let answer = within(model.embed(&context(), request)).await.unwrap();
    assert_eq!(answer.vectors, [[1.0, 0.5], [2.0, 0.25], [1.0, 0.5], [2.0, 0.25]]);
    assert_eq!(answer.usage.unwrap().input_tokens, Some(6));
    for texts in [["a", "b"], ["c", "d"]] {
        let seen = within(server.seen()).await;
        assert!(seen.head.starts_with("POST /v1/embeddings HTTP/1.1\n"), "{}", seen.head);
        assert_eq!(seen.json(), json!({"model": "e", "input": texts}));
    }
    // Vectors that are not those of the texts are worse than none.
    let category = |error: &agentprovision_core::Error| {
        error.source().and_then(|source| source.downcast_ref::<ProviderError>()).unwrap().category
    };
    let mut request = EmbedRequest::new("e", ["a", "b", "c"]);
    let error = within(model.embed(&context(), request.clone())).await.unwrap_err();
    assert_eq!(category(&error), Category::Malformed);
    request.inputs.pop();
    request.dimensions = Some(3);
    let error = within(model.embed(&context(), request.clone())).await.unwrap_err();
    assert_eq!(category(&error), Category::Malformed);
    request.inputs.clear();
    let error = within(model.embed(&context(), request)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(within(model.embed(&context(), EmbedRequest::new("e", [""]))).await.is_err());
}

#[tokio::test]
async fn an_embedders_errors_are_classified_and_keep_the_key() {
    let body = json!({"error": {"message": format!("no {KEY}"), "code": "rate_limit_exceeded"}}).to_string();
    let server = Server::answering("429 Too Many Requests", "retry-after: 2\r\n", &body).await;
    let provider = Mistral::at(&server.base_url, KEY.into()).unwrap();
    let model = provider.embedder("mistral-embed", transport(&provider), &Catalog::shipped()).unwrap();
    let error = within(model.embed(&context(), EmbedRequest::new("e", ["a"]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(!format!("{error:?} {:?}", error.source()).contains(KEY));
    let cut = vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\"".to_vec())];
    let server = Server::start(cut).await;
    let provider = Hosted::clone(&Mistral::at(&server.base_url, KEY.into()).unwrap());
    let model = provider.embedder("mistral-embed", transport(&provider), &Catalog::shipped()).unwrap();
    let error = within(model.embed(&context(), EmbedRequest::new("e", ["a"]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
}
