//! A small model behind real HTTP on loopback, in OpenAI's wire format, for machines without a provider's key.
//!
//! It computes its answer from the request: it asks the tool for the issue whose number it reads in the conversation,
//! then labels it by the words that occur in it.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Starts the model on a free port and returns its base URL. It ends with the process.
pub(crate) async fn loopback_model() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A client that goes away in the middle is no concern of the model.
                let _ = answer(connection).await;
            });
        }
    });
    Ok(format!("http://{address}/v1"))
}

async fn answer(connection: TcpStream) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
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
    let reason = match think(&request) {
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
    let (prompt, completion) = (body.len() / 4, written / 4 + 1);
    event(
        json!([]),
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}),
    );
    events.push_str("data: [DONE]\n\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let connection = connection.get_mut();
    connection.write_all(head.as_bytes()).await?;
    // In pieces, as a provider sends them.
    for piece in events.as_bytes().chunks(97) {
        connection.write_all(piece).await?;
        connection.flush().await?;
    }
    connection.shutdown().await
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
