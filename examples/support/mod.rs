//! Small models behind real HTTP on loopback, in OpenAI's wire format, for machines without a provider's key.
//!
//! One computes its answer from the request: it asks the tool for the issue whose number it reads in the conversation,
//! then labels it by the words that occur in it. Others say what they are told to.

#![allow(dead_code, reason = "each example has its own use for these models")]

mod server;

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use server::{Answer, Asked, serve};

/// Starts the model that thinks on a free port and returns its base URL. It ends with the process.
pub(crate) async fn loopback_model() -> io::Result<String> {
    let address = serve(|asked| stream(asked, think(&asked.body))).await?;
    Ok(format!("{address}/v1"))
}

/// Starts a model that always says the same, after a while, and returns its base URL.
pub(crate) async fn loopback_saying(text: &'static str, delay: Duration) -> io::Result<String> {
    let say = move |asked: &Asked| Answer { delay, ..stream(asked, Thought::Say(text.into())) };
    Ok(format!("{}/v1", serve(say).await?))
}

/// Starts a model that is always overloaded, and returns its base URL.
pub(crate) async fn loopback_busy() -> io::Result<String> {
    let error = json!({"error": {"message": "try again later", "type": "rate_limit_error"}});
    let busy = move |_: &Asked| Answer {
        status: "429 Too Many Requests",
        content_type: "application/json",
        body: error.to_string(),
        delay: Duration::ZERO,
    };
    Ok(format!("{}/v1", serve(busy).await?))
}

/// The streamed answer in OpenAI's format.
fn stream(asked: &Asked, thought: Thought) -> Answer {
    let request = &asked.body;
    let mut events = String::new();
    let id = format!("chatcmpl-loopback-{}", request["messages"].as_array().map_or(0, Vec::len));
    let mut event = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": 0, "model": request["model"],
            "choices": choices, "usage": usage,
        });
        events.push_str(&format!("data: {chunk}\n\n"));
    };
    let mut written = 0;
    let delta = |delta: Value| json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    let reason = match thought {
        Thought::Lookup(number) => {
            let arguments = json!({ "number": number }).to_string();
            written += arguments.len();
            let function = json!({"name": "lookup_issue", "arguments": arguments});
            let call = json!([{"index": 0, "id": format!("call_{number}"), "type": "function", "function": function}]);
            event(delta(json!({"role": "assistant", "content": null, "tool_calls": call})), Value::Null);
            "tool_calls"
        }
        Thought::Say(text) => {
            for word in text.split_inclusive(' ') {
                written += word.len();
                event(delta(json!({"content": word})), Value::Null);
            }
            "stop"
        }
    };
    event(json!([{"index": 0, "delta": {}, "finish_reason": reason}]), Value::Null);
    let (prompt, completion) = (asked.length / 4, written / 4 + 1);
    event(
        json!([]),
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}),
    );
    events.push_str("data: [DONE]\n\n");
    Answer { status: "200 OK", content_type: "text/event-stream", body: events, delay: Duration::ZERO }
}

enum Thought {
    Lookup(u64),
    Say(String),
}

/// What the model makes of the conversation.
fn think(request: &Value) -> Thought {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    if let Some(found) = messages.iter().rev().find(|message| message["role"] == "tool") {
        let text = found["content"].as_str().unwrap_or_default();
        let issue: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({ "title": text }));
        return Thought::Say(summary(&issue));
    }
    let asked = messages.iter().rev().find(|message| message["role"] == "user");
    let asked = asked.and_then(|message| message["content"].as_str()).unwrap_or_default();
    // The first number after a `#` is the issue's.
    let digits: String =
        asked.split_once('#').map_or("", |(_, rest)| rest).chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .map_or_else(|_| Thought::Say("There is no issue number to look up.".into()), Thought::Lookup)
}

const LABELS: &[(&str, &[&str])] = &[
    ("bug", &["bug", "error", "fail", "crash", "panic", "broken", "wrong", "typo", "spelling", "regression"]),
    ("documentation", &["doc", "readme", "typo", "spelling", "guide", "example"]),
    ("feature", &["feature", "support", "add ", "allow", "request", "would be"]),
    ("question", &["how ", "why ", "question", "?", "help"]),
];

fn summary(issue: &Value) -> String {
    let title = issue["title"].as_str().unwrap_or("untitled");
    let body = issue["body"].as_str().unwrap_or_default();
    let words = format!("{title}\n{body}").to_lowercase();
    let score = |known: &[&str]| known.iter().filter(|word| words.contains(**word)).count();
    let label = LABELS
        .iter()
        .map(|(label, known)| (score(known), *label))
        .rev()
        .max_by_key(|(score, _)| *score)
        .filter(|(score, _)| *score > 0)
        .map_or("triage", |(_, label)| label);
    let state = issue["state"].as_str().unwrap_or("open");
    let comments = issue["comments"].as_u64().unwrap_or(0);
    format!(
        "[{label}] {title}\nIssue {} is {state}, with {comments} comments and {} words of description.",
        issue["number"],
        body.split_whitespace().count(),
    )
}
