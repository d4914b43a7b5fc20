//! A provider of your own: a service whose HTTP format nobody here has heard of, used by an agent like any other.
//!
//! ```text
//! cargo run --example custom_provider
//! ```
//!
//! A provider is two things. A [`Dialect`] translates between the vocabulary of conversations and the service's format: it
//! is pure, does no I/O and never retries, so it is easy to test. A [`Provider`] says what the service is called and where
//! it is, and joins the dialect with an [`Endpoint`] into a model. Sending, streaming, timeouts, redaction of keys and
//! closing the connection when nobody reads any more are [`HttpModel`]'s.
//!
//! The service of this example is invented. `POST /letters` takes
//!
//! ```json
//! {"to": "courier-1", "letters": [{"from": "user", "text": "…"}], "errands": [{"name": "…", "about": "…", "form": {}}], "most": 200}
//! ```
//!
//! and answers with one JSON object a line, each a part of the answer:
//!
//! ```json
//! {"text": "some words"}
//! {"errand": {"id": "e1", "name": "find_order", "form": {"id": 7}}}
//! {"end": "done", "read": 41, "wrote": 12}
//! ```
//!
//! or, with an error status, with `{"trouble": "busy", "again_in_ms": 200, "words": "…"}`.

#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "a program that talks to a terminal")]

#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, StatusCode, Uri};
use agentprovision::http::HttpTransport;
use agentprovision::llm::wire::{Delivery, Dialect, HintSource, RetryHint, StreamDecoder, WireRequest};
use agentprovision::llm::{Catalog, CatalogEntry, Category, Endpoint, HttpModel, Provider, ProviderError};
use agentprovision::model::{
    ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, Content, EmbeddingModel, FinishReason,
    Message, ModelPrice, RerankModel, Usage,
};
use agentprovision::money::PicoUsd;
use agentprovision::prelude::*;
use serde_json::{Value, json};

/// The format of the service.
#[derive(Debug)]
struct Letters;

impl Dialect for Letters {
    /// What is said in the vocabulary of conversations, said in the service's words. What the format cannot say is
    /// refused, and never silently left out.
    fn encode(&self, request: &ChatRequest, _: Delivery) -> Result<WireRequest> {
        let mut letters = Vec::new();
        for message in &request.messages {
            letters.push(match message {
                Message::System { text } => json!({"from": "house", "text": text}),
                Message::User { content } => json!({"from": "user", "text": text_of(content)?}),
                Message::Assistant { text, tool_calls, .. } => {
                    let errands: Vec<Value> = tool_calls
                        .iter()
                        .map(|call| json!({"id": call.id, "name": call.name, "form": call.json()}))
                        .collect();
                    json!({"from": "courier", "text": text, "errands": errands})
                }
                Message::Tool { call_id, content, is_error, .. } => {
                    json!({"from": "errand", "id": call_id, "text": content, "failed": is_error})
                }
                _ => return Err(Error::unsupported("the courier takes no such message")),
            });
        }
        if request.output_schema.is_some() {
            return Err(Error::unsupported("the courier keeps to no schema"));
        }
        let errands: Vec<Value> = request
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "about": tool.description, "form": tool.input_schema}))
            .collect();
        // `request.model` is the name at the service.
        let mut body = json!({"to": request.model, "letters": letters, "errands": errands});
        if let Some(most) = request.max_tokens {
            body["most"] = most.into();
        }
        // Fields of the service's own that a caller passes through.
        for (field, value) in &request.extra {
            body[field] = value.clone();
        }
        Ok(WireRequest { path: "/letters".into(), headers: HeaderMap::new(), body: body.to_string().into() })
    }

    /// The service answers in lines in any case, so a whole answer is its events put together.
    fn decode(&self, _: StatusCode, _: &HeaderMap, body: &[u8]) -> Result<ChatResponse, ProviderError> {
        let (mut decoder, mut events) = (Lines::default(), Vec::new());
        decoder.push(body, &mut events)?;
        decoder.finish(&mut events)?;
        let mut answer = ChatAssembler::new();
        events.iter().for_each(|event| answer.push(event));
        answer.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::<Lines>::default()
    }

    /// What an error means decides everything after it: whether it is tried again, where, and whether the service's
    /// health suffers. Its own words go into the error's source, which no tenant sees.
    fn classify(&self, status: StatusCode, _: &HeaderMap, body: &[u8]) -> ProviderError {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let category = match (said["trouble"].as_str(), status.as_u16()) {
            (Some("busy"), _) => Category::Overloaded,
            (Some("unknown_courier"), _) => Category::NotFound,
            (Some("too_many_letters"), _) => Category::ContextWindow,
            (_, 401) => Category::Authentication,
            (_, 400..500) => Category::InvalidRequest,
            _ => Category::ServerError,
        };
        let mut error = ProviderError::new(category, said["words"].as_str().unwrap_or_default());
        error.status = Some(status.as_u16());
        error.provider_code = said["trouble"].as_str().map(str::to_owned);
        if let Some(after) = said["again_in_ms"].as_u64() {
            // When to come back: kept by retries and by the breaker.
            error.hints =
                vec![RetryHint { after: Duration::from_millis(after), source: HintSource::Message }];
        }
        error
    }
}

fn text_of(content: &[Content]) -> Result<String> {
    let text = |piece: &Content| match piece {
        Content::Text { text } => Ok(text.clone()),
        _ => Err(Error::unsupported("the courier carries text alone")),
    };
    content.iter().map(text).collect()
}

/// Reads the lines of one answer, however its bytes are cut.
#[derive(Debug, Default)]
struct Lines {
    held: Vec<u8>,
    errands: usize,
    ended: bool,
}

impl Lines {
    fn line(&mut self, line: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let part: Value = serde_json::from_slice(line)
            .map_err(|error| ProviderError::new(Category::Malformed, error.to_string()))?;
        if let Some(text) = part["text"].as_str() {
            out.push(ChatEvent::Text(text.into()));
        } else if let Some(errand) = part.get("errand") {
            out.push(ChatEvent::ToolCall {
                index: self.errands,
                id: errand["id"].as_str().map(str::to_owned),
                name: errand["name"].as_str().map(str::to_owned),
                arguments: errand["form"].to_string(),
            });
            self.errands += 1;
        } else if let Some(end) = part["end"].as_str() {
            self.ended = true;
            let reason = match end {
                "done" => FinishReason::Stop,
                "errands" => FinishReason::ToolCalls,
                "full" => FinishReason::Length,
                // A word this version does not know is no error; it is kept as `raw`.
                _ => FinishReason::Other,
            };
            out.push(ChatEvent::Finished { reason, raw: Some(end.into()) });
            // What was not counted stays absent: unknown is not zero.
            out.push(ChatEvent::Usage(Usage {
                input_tokens: part["read"].as_u64(),
                output_tokens: part["wrote"].as_u64(),
                ..Usage::default()
            }));
        } else if let Some(trouble) = part["trouble"].as_str() {
            // An error within an answer that began well is an error all the same.
            return Err(ProviderError::new(Category::ServerError, trouble));
        }
        Ok(())
    }
}

impl StreamDecoder for Lines {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        self.held.extend_from_slice(bytes);
        while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.held.drain(..=end).collect();
            self.line(&line, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        // The last line may have no end.
        let rest = std::mem::take(&mut self.held);
        self.line(&rest, out)?;
        if self.ended {
            return Ok(());
        }
        // An answer without its end was cut off; taken for whole, it would be acted upon.
        Err(ProviderError::new(Category::Incomplete, "no line with an end"))
    }
}

/// The service: its name, where it is, and what its models are.
#[derive(Debug)]
struct Courier {
    endpoint: Endpoint,
}

impl Courier {
    fn at(base_url: &str, key: &str) -> Result<Self> {
        // The key goes into `Authorization: Bearer …`; `with_header` and `with_credential` are for other ways.
        Ok(Self { endpoint: Endpoint::new("courier", base_url)?.with_key(key.into())? })
    }
}

impl Provider for Courier {
    fn name(&self) -> &str {
        self.endpoint.provider()
    }

    /// The platform talks to these hosts and no others.
    fn base_urls(&self) -> Vec<Uri> {
        vec![self.endpoint.base_url().clone()]
    }

    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>> {
        let info = catalog.info(self.name(), model);
        Ok(Arc::new(HttpModel::new(info, self.endpoint.clone(), Arc::new(Letters), transport)))
    }

    fn embedder(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn EmbeddingModel>> {
        Err(Error::unsupported("couriers do not embed"))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(Error::unsupported("couriers do not rank"))
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    /// The order's number.
    id: i64,
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let base_url = server::serve(service).await?;

    // Without a price costs are unknown, and an agent with a budget in money is refused.
    let price = ModelPrice::new(PicoUsd(200_000), PicoUsd(800_000)); // $0.20 and $0.80 per million tokens
    let find_order =
        tool("find_order", "Finds an order by its number", |_: ToolCall, order: Order| async move {
            Ok(format!("order {} left the warehouse on Monday", order.id))
        });
    let platform = Platform::builder()
        .provider(Courier::at(&base_url, "a key the service gave us")?)
        .catalog(Catalog::shipped().with([CatalogEntry::new("courier", "courier-1").with_price(price)])?)
        .tool(find_order.effect(Effect::Pure))
        .build()
        .await?;

    let operator = platform.operator("ops@host.example", "example")?;
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let root =
        platform.tenants().bootstrap_admin(&operator, acme.id, NewUser::new("root@acme.example")).await?;
    let ctx = platform.context(acme.id, root.id).await?;

    // From here on nothing knows that the provider is not one of the built-in ones.
    let spec = AgentSpec::new("order desk")
        .instructions("Look orders up before you speak of them.")
        .model("courier/courier-1")
        .tools(["find_order"])
        .budget(Budget::usd("0.01"));
    let agent = platform.agents().create(&ctx, spec).await?;
    platform.agents().deploy(&ctx, agent.id).await?;
    let run = platform.runs().start(&ctx, agent.id, RunInput::text("Where is order 7?")).await?;
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        print!("{event}");
    }
    let outcome = run.wait().await?;
    println!("\n{}", outcome.chain());
    outcome.text()?;
    platform.close().await?;
    Ok(())
}

/// The service itself: it sends for the order, and then says what it heard.
fn service(asked: &server::Asked) -> server::Answer {
    let empty = Vec::new();
    let letters = asked.body["letters"].as_array().unwrap_or(&empty);
    let heard = letters.iter().rev().find(|letter| letter["from"] == "errand");
    let mut parts = Vec::new();
    let end = match heard {
        Some(heard) => {
            let text = heard["text"].as_str().unwrap_or_default().trim_matches('"');
            parts.extend(["I asked: ", text, "."].map(|text| json!({ "text": text })));
            "done"
        }
        None => {
            parts.push(json!({"errand": {"id": "e1", "name": "find_order", "form": {"id": 7}}}));
            "errands"
        }
    };
    parts.push(json!({"end": end, "read": asked.length / 4, "wrote": 12}));
    server::Answer {
        status: "200 OK",
        content_type: "application/x-ndjson",
        body: parts.iter().map(|part| format!("{part}\n")).collect(),
        delay: Duration::ZERO,
    }
}
