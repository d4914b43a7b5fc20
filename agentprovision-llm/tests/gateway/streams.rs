//! Streamed answers.

use agentprovision_core::model::{ChatEvent, Continuation, FinishReason};
use agentprovision_core::{Error, ErrorKind, Retry};
use serde_json::{Value, json};

use super::world::*;

#[tokio::test]
async fn chat_completions_come_in_chunks_and_end_with_done() {
    let world = World::text("hello there");
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
        "stream_options": {"include_usage": true}});
    let answer = world.post("/v1/chat/completions", &body).await;
    let (chunks, done) = answer.chunks();
    assert!(done);
    assert!(
        chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["model"] == "m-2026")
    );
    let id = chunks[0]["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-") && chunks.iter().all(|chunk| chunk["id"] == id), "{id}");
    let deltas: Vec<&Value> = chunks[..3].iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(
        deltas,
        [&json!({"role": "assistant", "content": "hello "}), &json!({"content": "there"}), &json!({})]
    );
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    let last = &chunks[3];
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(15)));
    assert!(chunks[..3].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

/// Pitfall 31: what the platform asks a provider for is not what the caller asked for.
#[tokio::test]
async fn pitfall_31_usage_is_told_only_to_who_asked_for_it() {
    let world = World::text("hello");
    for body in [
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}),
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": false}}),
    ] {
        let (chunks, done) = world.post("/v1/chat/completions", &body).await.chunks();
        assert!(done && chunks.iter().all(|chunk| chunk.get("usage").is_none()), "{chunks:?}");
        assert!(chunks.iter().all(|chunk| chunk["choices"].as_array().unwrap().len() == 1));
    }
}

#[tokio::test]
async fn messages_come_as_blocks() {
    let mut events = vec![Ok(ChatEvent::Reasoning("hm".into()))];
    events.extend(answer("hello"));
    let world = World::of("anthropic", events);
    let [_, _, (path, body)] = small(true);
    let answer = world.post(path, &body).await;
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(answer.names(), expected);
    let (events, _) = answer.chunks();
    assert_eq!(events[1]["content_block"]["type"], "thinking");
    assert_eq!(events[5]["delta"], json!({"type": "text_delta", "text": "hello"}));
    assert_eq!((&events[4]["index"], &events[6]["index"]), (&json!(1), &json!(1)));
    assert_eq!(events[7]["delta"]["stop_reason"], "end_turn");
    let usage = json!({"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 4, "output_tokens": 5});
    assert_eq!(events[7]["usage"], usage);
}

#[tokio::test]
async fn responses_come_as_items_with_numbers_in_order() {
    let events = vec![
        Ok(ChatEvent::Reasoning("hm".into())),
        text("hello "),
        text("there"),
        piece(0, Some("add"), "{\"a\""),
        piece(0, None, ":1}"),
        finished(FinishReason::ToolCalls),
        usage(),
    ];
    let world = World::of("openai", events);
    let [_, (path, body), _] = small(true);
    let answer = world.post(path, &body).await;
    let names = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.output_item.done",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(answer.names(), names);
    let (events, _) = answer.chunks();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..events.len() as u64));
    let response = &events.last().unwrap()["response"];
    assert_eq!((&response["status"], &response["usage"]["total_tokens"]), (&json!("completed"), &json!(15)));
    // Every item of the whole is one that was told as done.
    let mut done: Vec<&Value> =
        events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    done.sort_by_key(|event| event["output_index"].as_u64());
    let items: Vec<&Value> = done.iter().map(|event| &event["item"]).collect();
    assert_eq!(items, response["output"].as_array().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(items[1]["content"][0]["text"], "hello there");
    assert_eq!(items[2]["arguments"], "{\"a\":1}");
}

/// Pitfall 15: an error within a stream that has begun is told, in the words of the format.
#[tokio::test]
async fn pitfall_15_an_error_after_content_is_an_event_of_the_format() {
    let broken = Error::new(ErrorKind::Unavailable, "the model provider is overloaded");
    let world = World::of("openai", vec![text("half "), Err(broken)]);
    let [chat, responses, messages] = small(true);

    let (chunks, done) = world.post(chat.0, &chat.1).await.chunks();
    assert!(!done, "the answer is not whole");
    assert_eq!(chunks[0]["choices"][0]["delta"]["content"], "half ");
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    let error = json!({"message": "the model provider is overloaded", "type": "server_error", "param": null, "code": "unavailable"});
    assert_eq!(chunks.last().unwrap()["error"], error);

    let answer = world.post(responses.0, &responses.1).await;
    let names = answer.names();
    assert_eq!(names[names.len() - 2..], ["response.failed", "error"]);
    let (events, _) = answer.chunks();
    let failed = &events[events.len() - 2]["response"];
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("unavailable")));
    assert_eq!(failed["output"][0]["status"], "incomplete");
    assert_eq!(events.last().unwrap()["message"], "the model provider is overloaded");

    let answer = world.post(messages.0, &messages.1).await;
    assert_eq!(answer.names().last().unwrap(), "error");
    let (events, _) = answer.chunks();
    let expected = json!({"type": "overloaded_error", "message": "the model provider is overloaded"});
    assert_eq!(events.last().unwrap()["error"], expected);
    assert!(events.iter().all(|event| event["type"] != "message_stop"));
}

/// Pitfall 16: a stream that ends without saying that it is over was cut off.
#[tokio::test]
async fn pitfall_16_an_answer_without_its_end_is_incomplete() {
    let world = World::of("openai", vec![text("half ")]);
    for (path, body) in small(true) {
        let answer = world.post(path, &body).await;
        assert_eq!(answer.status, 200);
        let (events, done) = answer.chunks();
        let last = events.last().unwrap();
        assert!(
            !done && last["error"]["message"].as_str().unwrap().contains("before it was complete"),
            "{last}"
        );
    }
    let world = World::of("openai", Vec::new());
    for (path, body) in small(true) {
        assert_eq!(world.post(path, &body).await.status, 502);
    }
}

/// Pitfall 18: what fails before there is content has the status of its error.
#[tokio::test]
async fn pitfall_18_an_error_before_content_is_no_stream() {
    let limited = Error::new(ErrorKind::RateLimited, "no more for now")
        .with_retry(Retry::After(std::time::Duration::from_secs(7)));
    let started = || Ok(ChatEvent::Started { id: None, model: None });
    let world = World::of("openai", vec![started(), usage(), Err(limited)]);
    for (path, body) in small(true) {
        let answer = world.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"7".parse().unwrap()));
        assert_eq!(answer.json()["error"]["message"], "no more for now");
    }
}

/// Pitfall 29: calls that come beside each other stay apart.
#[tokio::test]
async fn pitfall_29_parallel_calls_are_not_merged() {
    let sequential = vec![
        piece(0, Some("add"), "{\"a\":"),
        piece(0, None, "1}"),
        piece(1, Some("add"), "{\"a\":2}"),
        piece(2, Some("now"), ""),
    ];
    let interleaved = vec![
        piece(0, Some("add"), "{\"a\":"),
        piece(1, Some("add"), "{\"a\":"),
        piece(0, None, "1}"),
        piece(2, Some("now"), ""),
        piece(1, None, "2}"),
    ];
    for mut events in [sequential, interleaved] {
        events.push(finished(FinishReason::ToolCalls));
        let world = World::of("openai", events);
        let [chat, responses, messages] = small(true);
        let expected = [("add", json!({"a": 1})), ("add", json!({"a": 2})), ("now", json!({}))];
        let read = |name: &str, arguments: &str| {
            let arguments = if arguments.is_empty() { "{}" } else { arguments };
            (name.to_owned(), serde_json::from_str::<Value>(arguments).unwrap())
        };
        let expected: Vec<(String, Value)> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();

        let (chunks, _) = world.post(chat.0, &chat.1).await.chunks();
        let mut calls = vec![(String::new(), String::new()); 3];
        for call in chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")) {
            let (name, arguments) = &mut calls[call["index"].as_u64().unwrap() as usize];
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            arguments.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        let calls: Vec<_> = calls.iter().map(|(name, arguments)| read(name, arguments)).collect();
        assert_eq!(calls, expected);

        let (events, _) = world.post(responses.0, &responses.1).await.chunks();
        let output = events.last().unwrap()["response"]["output"].as_array().unwrap().clone();
        let calls: Vec<_> = output
            .iter()
            .map(|item| read(item["name"].as_str().unwrap(), item["arguments"].as_str().unwrap()))
            .collect();
        assert_eq!(calls, expected);
        assert_eq!(output[1]["call_id"], "call_1");

        let (events, _) = world.post(messages.0, &messages.1).await.chunks();
        let mut blocks: Vec<(String, String)> = Vec::new();
        let mut open = Vec::new();
        for event in &events {
            let index = event["index"].as_u64().map(|index| index as usize);
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert_eq!(index.unwrap(), blocks.len());
                    blocks.push((event["content_block"]["name"].as_str().unwrap().into(), String::new()));
                    open.push(index.unwrap());
                }
                "content_block_delta" => {
                    assert!(open.contains(&index.unwrap()), "{events:#?}");
                    blocks[index.unwrap()].1.push_str(event["delta"]["partial_json"].as_str().unwrap());
                }
                "content_block_stop" => open.retain(|open| *open != index.unwrap()),
                _ => {}
            }
        }
        assert!(open.is_empty());
        let calls: Vec<_> = blocks.iter().map(|(name, arguments)| read(name, arguments)).collect();
        assert_eq!(calls, expected);
    }
}

/// Pitfall 30: half an argument list never looks as if it were to be executed.
#[tokio::test]
async fn pitfall_30_a_call_that_was_cut_off_does_not_end_as_a_call() {
    for reason in [FinishReason::Length, FinishReason::ToolCalls] {
        let world = World::of("openai", vec![piece(0, Some("pay"), "{\"to\": \"a"), finished(reason)]);
        let [chat, responses, messages] = small(true);
        let (chunks, _) = world.post(chat.0, &chat.1).await.chunks();
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
        let (events, _) = world.post(responses.0, &responses.1).await.chunks();
        let response = &events.last().unwrap()["response"];
        assert_eq!(
            (&response["status"], &response["output"][0]["status"]),
            (&json!("incomplete"), &json!("incomplete"))
        );
        let (events, _) = world.post(messages.0, &messages.1).await.chunks();
        let delta = events.iter().find(|event| event["type"] == "message_delta").unwrap();
        assert_eq!(delta["delta"]["stop_reason"], "max_tokens");

        let [chat, responses, messages] = small(false);
        let answer = world.post(chat.0, &chat.1).await.json();
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["choices"][0]["message"].get("tool_calls"), None);
        let answer = world.post(responses.0, &responses.1).await.json();
        assert_eq!((&answer["status"], &answer["output"]), (&json!("incomplete"), &json!([])));
        let answer = world.post(messages.0, &messages.1).await.json();
        assert_eq!((&answer["stop_reason"], &answer["content"]), (&json!("max_tokens"), &json!([])));
    }
}

/// What the providers want to see again, and how each format carries it: whole and streamed.
#[tokio::test]
async fn pitfall_32_reasoning_comes_back_to_its_issuer_through_every_format() {
    let items =
        vec![json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"})];
    let continuation = Continuation { issuer: "openai".into(), items };
    let events = vec![
        Ok(ChatEvent::Reasoning("hm".into())),
        text("hello"),
        piece(0, Some("add"), "{}"),
        Ok(ChatEvent::Continuation(continuation.clone())),
        finished(FinishReason::ToolCalls),
    ];
    let world = World::of("openai", events);
    for stream in [false, true] {
        for (path, mut body) in small(stream) {
            let answer = world.post(path, &body).await;
            let said = if stream { assembled(path, answer.chunks().0) } else { answer.json() };
            let (field, turns) = match path {
                "/v1/chat/completions" => ("messages", vec![said["choices"][0]["message"].clone()]),
                "/v1/responses" => ("input", said["output"].as_array().unwrap().clone()),
                _ => ("messages", vec![json!({"role": "assistant", "content": said["content"]})]),
            };
            let mut all = vec![json!({"role": "user", "content": "hi"})];
            all.extend(turns);
            body[field] = all.into();
            let answer = world.post(path, &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let (_, request) = world.model.last();
            let expected = agentprovision_core::model::Message::Assistant {
                text: "hello".into(),
                tool_calls: vec![agentprovision_core::model::ToolRequest {
                    id: "call_0".into(),
                    name: "add".into(),
                    arguments: "{}".into(),
                    complete: true,
                }],
                continuation: Some(continuation.clone()),
            };
            assert_eq!(request.messages[1..], [expected], "{path} {stream}");
        }
    }
}

/// What a client makes of a stream.
fn assembled(path: &str, events: Vec<Value>) -> Value {
    match path {
        "/v1/responses" => events.last().unwrap()["response"].clone(),
        "/v1/chat/completions" => {
            let mut message = json!({"role": "assistant", "content": ""});
            for delta in events.iter().map(|event| &event["choices"][0]["delta"]) {
                let text = delta["content"].as_str().unwrap_or_default();
                message["content"] = format!("{}{text}", message["content"].as_str().unwrap()).into();
                for name in ["tool_calls", "reasoning_details"] {
                    if delta.get(name).is_some() {
                        message[name] = delta[name].clone();
                    }
                }
            }
            json!({"choices": [{ "message": message }]})
        }
        _ => {
            let mut content: Vec<Value> = Vec::new();
            for event in &events {
                let at = event["index"].as_u64().unwrap_or(0) as usize;
                let add = |block: &mut Value, name: &str, more: &Value| {
                    let more = more.as_str().unwrap_or_default();
                    block[name] = format!("{}{more}", block[name].as_str().unwrap_or_default()).into();
                };
                match event["type"].as_str().unwrap() {
                    "content_block_start" => content.push(event["content_block"].clone()),
                    "content_block_delta" => {
                        let (delta, block) = (&event["delta"], &mut content[at]);
                        match delta["type"].as_str().unwrap() {
                            "text_delta" => add(block, "text", &delta["text"]),
                            "thinking_delta" => add(block, "thinking", &delta["thinking"]),
                            _ => {}
                        }
                    }
                    _ => {}
                }
            }
            json!({ "content": content })
        }
    }
}
