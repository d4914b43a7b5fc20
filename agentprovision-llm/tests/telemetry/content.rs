//! What was said, which is told only where somebody asked for it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use agentprovision_core::model::{
    AttemptEnd, ChatModel, ChatRequest, Content, Message, Source, ToolChoice, ToolDefinition,
};
use agentprovision_core::testing::Reply;
use agentprovision_core::{Error, ErrorKind};
use agentprovision_llm::layers::{TraceConfig, TraceLayer};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::Layer;

use super::support::within;
use super::world::*;

/// A conversation in which everything that is content has a word in it.
fn secrets() -> ChatRequest {
    let call = agentprovision_core::model::ToolRequest {
        id: "call_1".into(),
        name: "find".into(),
        arguments: "{\"q\":\"secret\"}".into(),
        complete: true,
    };
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("secret rules"),
            Message::User {
                content: vec![
                    Content::Text { text: "secret question".into() },
                    Content::Image {
                        media_type: "image/png".into(),
                        source: Source::Base64("c2VjcmV0".into()),
                    },
                    Content::Document {
                        media_type: "application/pdf".into(),
                        name: None,
                        source: Source::Url("https://h.example/secret".into()),
                    },
                ],
            },
            Message::Assistant { text: "secret plan".into(), tool_calls: vec![call], continuation: None },
            Message::Tool {
                call_id: "call_1".into(),
                name: "find".into(),
                content: "secret result".into(),
                is_error: false,
            },
        ],
    );
    request.tools = vec![ToolDefinition {
        name: "find".into(),
        description: "finds a secret".into(),
        input_schema: json!({"type": "object", "title": "secret"}),
    }];
    request.tool_choice = ToolChoice::Auto;
    request
}

fn reply() -> Reply {
    Reply::Both("secret answer".into(), vec![("find".into(), json!({"q": "secret too"}))])
}

#[tokio::test]
async fn nothing_that_was_said_is_recorded_unless_asked_for() {
    for streamed in [false, true] {
        for capture in [false, true] {
            let world = World::new();
            let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply(), vec![]));
            let model = world.layer(capture).layer(model);
            if streamed {
                let events = within(model.stream(&world.ctx, secrets())).await.unwrap();
                within(events.collect::<Vec<_>>()).await;
            } else {
                within(model.complete(&world.ctx, secrets())).await.unwrap();
            }
            let span = world.span("chat m");
            let attributes = text(&span.attributes);
            assert!(!format!("{:?}", world.points()).contains("secret"));
            if !capture {
                assert!(!format!("{:?}", world.finished()).contains("secret"));
                assert!(!attributes.contains_key("gen_ai.input.messages"));
                continue;
            }
            let read = |name: &str| serde_json::from_str::<Value>(&attributes[name]).unwrap();
            let expected = json!([
                {"role": "system", "parts": [{"type": "text", "content": "secret rules"}]},
                {"role": "user", "parts": [
                    {"type": "text", "content": "secret question"},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": ""},
                    {"type": "uri", "modality": "document", "mime_type": "application/pdf",
                        "uri": "https://h.example/secret"},
                ]},
                {"role": "assistant", "parts": [
                    {"type": "text", "content": "secret plan"},
                    {"type": "tool_call", "id": "call_1", "name": "find", "arguments": {"q": "secret"}},
                ]},
                {"role": "tool", "parts": [
                    {"type": "tool_call_response", "id": "call_1", "response": "secret result"},
                ]},
            ]);
            assert_eq!(read("gen_ai.input.messages"), expected);
            let expected = json!([{"role": "assistant", "finish_reason": "tool_calls", "parts": [
                {"type": "text", "content": "secret answer"},
                {"type": "tool_call", "id": "call_4_0", "name": "find", "arguments": {"q": "secret too"}},
            ]}]);
            assert_eq!(read("gen_ai.output.messages"), expected);
            let expected = json!([{"type": "function", "name": "find", "description": "finds a secret",
                "parameters": {"type": "object", "title": "secret"}}]);
            assert_eq!(read("gen_ai.tool.definitions"), expected);
        }
    }
}

#[tokio::test]
async fn what_came_of_a_broken_answer_is_recorded_where_content_is() {
    let world = World::new();
    let reply = Reply::Break("half ".into(), Error::new(ErrorKind::Unavailable, "gone"));
    let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply, vec![]));
    let events = within(world.layer(true).layer(model).stream(&world.ctx, secrets())).await.unwrap();
    within(events.collect::<Vec<_>>()).await;
    let attributes = text(&world.span("chat m").attributes);
    let said: Value = serde_json::from_str(&attributes["gen_ai.output.messages"]).unwrap();
    assert_eq!(said[0]["finish_reason"], "error");
    assert_eq!(said[0]["parts"], json!([{"type": "text", "content": "half "}]));
}

/// What a subscriber of `tracing` writes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tracing_is_told_facts_and_never_content() {
    // Other tests go on in other threads without a subscriber: whatever they reach first would count as not wanted by
    // anybody.
    drop(tracing::subscriber::set_global_default(tracing_subscriber::registry()));
    let world = World::new();
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let attempts =
        vec![attempt(failed(), 0, 7, None), attempt(AttemptEnd::Answered, 0, 9, Some(tokens(10, 6)))];
    let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply(), attempts));
    let model = TraceLayer::new(world.env.clone(), TraceConfig::default()).layer(model);
    let guard = tracing::subscriber::set_default(subscriber);
    within(model.complete(&world.ctx, secrets())).await.unwrap();
    drop(guard);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let tenant = world.ctx.tenant().to_string();
    for fact in [
        "chat m",
        &tenant,
        "gen_ai.request.model=\"m\"",
        "gen_ai.response.model=\"gemini-x-001\"",
        "gen_ai.usage.input_tokens=10",
        "gen_ai.usage.output_tokens=6",
        "attempts=2",
        "category=\"rate_limit\"",
        "end=\"answered\"",
        "duration_us=500000",
    ] {
        assert!(text.contains(fact), "{fact} is missing in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}
