//! The README's table of providers, against what the providers do.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{
    ChatRequest, Content, EmbedRequest, Message, RerankRequest, Source, ToolDefinition,
};
use agentprovision_core::{Error, ErrorKind, Result};
use agentprovision_llm::providers::{
    Anthropic, Azure, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Groq, LlamaCpp, Mistral,
    Ollama, OpenAi, OpenAiCompatible, OpenRouter, Perplexity, Together, TokenFn, Vertex, Vllm, Xai,
};
use agentprovision_llm::{Catalog, Provider};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use support::{KEY, context, within};

/// Counts what is sent, and answers nothing.
#[derive(Debug, Default)]
struct Nowhere(AtomicUsize);

#[async_trait]
impl HttpTransport for Nowhere {
    async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<BodyStream>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(ErrorKind::Unavailable, "nobody is there"))
    }
}

/// The provider of each file below `src/providers`.
fn provider(file: &str) -> Box<dyn Provider> {
    let key = || KEY.into();
    match file {
        "anthropic" => Box::new(Anthropic::new(key()).unwrap()),
        "azure" => Box::new(Azure::new("https://name.openai.azure.com", key()).unwrap()),
        "bedrock" => Box::new(Bedrock::with_api_key("us-east-1", key()).unwrap()),
        "cerebras" => Box::new(Cerebras::new(key()).unwrap()),
        "cohere" => Box::new(Cohere::new(key()).unwrap()),
        "deepseek" => Box::new(DeepSeek::new(key()).unwrap()),
        "fireworks" => Box::new(Fireworks::new(key()).unwrap()),
        "gemini" => Box::new(Gemini::new(key()).unwrap()),
        "groq" => Box::new(Groq::new(key()).unwrap()),
        "llamacpp" => Box::new(LlamaCpp::new(key()).unwrap()),
        "mistral" => Box::new(Mistral::new(key()).unwrap()),
        "ollama" => Box::new(Ollama::new("http://localhost:11434").unwrap()),
        "openai" => Box::new(OpenAi::new(key()).unwrap()),
        "openai_compatible" => {
            Box::new(OpenAiCompatible::new("openai_compatible", "http://localhost:1/v1").unwrap())
        }
        "openrouter" => Box::new(OpenRouter::new(key()).unwrap()),
        "perplexity" => Box::new(Perplexity::new(key()).unwrap()),
        "together" => Box::new(Together::new(key()).unwrap()),
        "vertex" => {
            let tokens = TokenFn::new(|| async { Ok(KEY.into()) });
            Box::new(Vertex::new("project", "europe-west4", Arc::new(tokens)).unwrap())
        }
        "vllm" => Box::new(Vllm::new(key()).unwrap()),
        "xai" => Box::new(Xai::new(key()).unwrap()),
        other => panic!("say how the provider of {other}.rs is made, and give it a row in README.md"),
    }
}

/// Whether the provider sends a request of this kind.
async fn sends(provider: &dyn Provider, what: &str) -> bool {
    let transport = Arc::new(Nowhere::default());
    let (ctx, catalog) = (context(), Catalog::default());
    let mut request = ChatRequest::new("m", vec![Message::user("hello")]);
    match what {
        "tools" => {
            let input_schema = json!({"type": "object", "properties": {}});
            request.tools =
                vec![ToolDefinition { name: "t".into(), description: "does".into(), input_schema }];
        }
        "structured output" => {
            let properties = json!({"a": {"type": "string"}});
            request.output_schema = Some(json!({"type": "object", "properties": properties,
                "required": ["a"], "additionalProperties": false}));
        }
        "images" => {
            let image =
                Content::Image { media_type: "image/png".into(), source: Source::Base64("QUJD".into()) };
            request.messages = vec![Message::User { content: vec![image] }];
        }
        _ => {}
    }
    let refused = match what {
        "embeddings" => match provider.embedder("m", transport.clone(), &catalog) {
            Ok(model) => within(model.embed(&ctx, EmbedRequest::new("m", ["a"]))).await.err(),
            Err(error) => Some(error),
        },
        "rerank" => match provider.reranker("m", transport.clone(), &catalog) {
            Ok(model) => within(model.rerank(&ctx, RerankRequest::new("m", "a", ["b"]))).await.err(),
            Err(error) => Some(error),
        },
        "stream" => {
            let model = provider.model("m", transport.clone(), &catalog).unwrap();
            within(model.stream(&ctx, request)).await.err()
        }
        _ => {
            let model = provider.model("m", transport.clone(), &catalog).unwrap();
            within(model.complete(&ctx, request)).await.err()
        }
    };
    let (refused, sent) = (refused.unwrap(), transport.0.load(Ordering::SeqCst));
    let expected = if sent == 0 { ErrorKind::Unsupported } else { ErrorKind::Unavailable };
    assert_eq!(refused.kind(), expected, "{} {what}: {refused:?}", provider.name());
    sent > 0
}

#[tokio::test]
async fn every_provider_has_a_row_that_says_what_it_sends() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("../README.md")).unwrap();
    let table = readme.split("\n| provider | feature |").nth(1).expect("a table of providers");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let columns = cells(table.lines().next().unwrap());
    let rows: Vec<Vec<String>> =
        table.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
    let manifest = std::fs::read_to_string(root.join("../Cargo.toml")).unwrap();
    let module = std::fs::read_to_string(root.join("src/providers/mod.rs")).unwrap();

    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("src/providers")).unwrap() {
        let file = entry.unwrap().path();
        let file = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if !["mod", "hosted"].contains(&file.as_str()) {
            names.insert(file);
        }
    }
    let listed: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed.len(), rows.len(), "a provider has two rows");
    assert_eq!(listed, names, "the rows of README.md and the files of src/providers");

    for row in &rows {
        let provider = provider(&row[0]);
        assert_eq!(provider.name(), row[0]);
        let feature = row[1].strip_prefix("llm-").unwrap();
        let line = format!("\n{} = [\"agentprovision-llm/{feature}\"]\n", row[1]);
        assert!(manifest.contains(&line), "{}: there is no feature `{}`", row[0], row[1]);
        let gated = format!("#[cfg(feature = \"{feature}\")]\nmod {};\n", row[0]);
        assert!(module.contains(&gated), "{} is not behind `{feature}`", row[0]);
        for (what, cell) in columns.iter().zip(&row[2..9]) {
            assert!(["R", "D", "–"].contains(&cell.as_str()), "{} {what}: {cell}", row[0]);
            assert_eq!(
                sends(&*provider, what).await,
                cell != "–",
                "{} {what}: the table says {cell}",
                row[0]
            );
        }
    }
}
