//! Answers in the shapes that Google sends. Written from its API reference.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn run_in(bytes: &[u8], size: usize) -> Run {
    let mut decoder = GeminiGenerate::new().decoder();
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn run(bytes: &[u8]) -> Run {
    run_in(bytes, 1)
}

fn sse(chunks: &[Value]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| format!("data: {chunk}\r\n\r\n").into_bytes()).collect()
}

fn chunk(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}],
        "modelVersion": "m", "responseId": "r"})
}

fn last(parts: Value, reason: &str) -> Value {
    let mut chunk = chunk(parts);
    chunk["candidates"][0]["finishReason"] = json!(reason);
    chunk
}

fn assemble((events, end): Run) -> ChatResponse {
    end.unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn answer(chunks: &[Value]) -> ChatResponse {
    assemble(run(&sse(chunks)))
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    GeminiGenerate::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

fn failure(bytes: &[u8]) -> Category {
    run(bytes).1.unwrap_err().category
}

/// Calls as `id name arguments complete`.
fn calls(answer: &ChatResponse) -> Vec<String> {
    let calls = answer.tool_calls.iter();
    calls.map(|call| format!("{} {} {} {}", call.id, call.name, call.arguments, call.complete)).collect()
}

fn items(answer: &ChatResponse) -> Value {
    json!(answer.continuation.as_ref().map(|continuation| &continuation.items))
}

#[test]
fn a_stream_a_list_and_a_whole_answer_of_the_same_content_are_the_same() {
    let usage = json!({"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 2, "totalTokenCount": 16});
    let call =
        json!({"functionCall": {"id": "g1", "name": "add", "args": {"x": 1}}, "thoughtSignature": "s"});
    let again = json!({"functionCall": {"name": "add", "args": {"x": 2}}});
    let mut end = last(json!([again]), "STOP");
    end["usageMetadata"] = usage.clone();
    let chunks = [
        chunk(json!([{"text": "hm", "thought": true}])),
        chunk(json!([{"text": "hé"}])),
        chunk(json!([{"text": "llo"}, call])),
        end,
    ];
    let streamed = answer(&chunks);
    let mut whole = last(json!([{"text": "hm", "thought": true}, {"text": "héllo"}, call, again]), "STOP");
    whole["usageMetadata"] = usage;
    assert_eq!(decode(&whole.to_string()).unwrap(), streamed);
    assert_eq!(assemble(run(json!(chunks).to_string().as_bytes())), streamed);
    assert_eq!(assemble(run(whole.to_string().as_bytes())), streamed);
    assert_eq!(decode(&json!(chunks).to_string()).unwrap(), streamed);

    assert_eq!(calls(&streamed), ["g1 add {\"x\":1} true", " add {\"x\":2} true"]);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hm"));
    assert_eq!((streamed.finish, streamed.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("STOP")));
    assert_eq!((streamed.id.as_deref(), streamed.model.as_deref()), (Some("r"), Some("m")));
    assert_eq!(items(&streamed), json!([{"text": "héllo"}, call, again]));
    assert_eq!(streamed.continuation.unwrap().issuer, "gemini.generateContent");
    let expected = Usage {
        input_tokens: Some(9),
        cache_read_tokens: Some(2),
        output_tokens: Some(7),
        reasoning_tokens: Some(3),
        ..Usage::default()
    };
    assert_eq!(streamed.usage, Some(expected));
}

#[test]
fn a_signature_stays_with_its_part_and_what_has_none_needs_nothing_again() {
    assert_eq!(items(&answer(&[last(json!([{"text": "hi"}]), "STOP")])), Value::Null);
    // An id has to come back with the result, and only its part knows it.
    let call = json!({"functionCall": {"id": "g1", "name": "f", "args": {}}});
    assert_eq!(items(&answer(&[last(json!([call]), "STOP")])), json!([call]));
    // A signature may come on a part without text, after the text.
    let late = answer(&[
        chunk(json!([{"text": "a"}])),
        chunk(json!([{"text": "b"}])),
        last(json!([{"text": "", "thoughtSignature": "s"}]), "STOP"),
    ]);
    assert_eq!(items(&late), json!([{"text": "ab"}, {"text": "", "thoughtSignature": "s"}]));
    let between = answer(&[
        chunk(json!([{"text": "a", "thoughtSignature": "s"}, {"text": "b"}])),
        last(json!([{"text": "c"}]), "STOP"),
    ]);
    assert_eq!(items(&between), json!([{"text": "a", "thoughtSignature": "s"}, {"text": "bc"}]));
    let vertex = GeminiGenerate::vertex()
        .decode(
            StatusCode::OK,
            &HeaderMap::new(),
            last(json!([{"text": "", "thoughtSignature": "s"}]), "STOP").to_string().as_bytes(),
        )
        .unwrap();
    assert_eq!(vertex.continuation.unwrap().issuer, "vertex.generateContent");
}

#[test]
fn text_may_follow_a_finish_reason_and_what_server_side_tools_did_goes_back() {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "print(1)"}});
    let result = json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}});
    let chunks =
        [last(json!([code]), "STOP"), chunk(json!([result])), last(json!([{"text": "one"}]), "STOP")];
    let (events, end) = run(&sse(&chunks));
    assert_eq!(
        events.last(),
        Some(&ChatEvent::Finished { reason: FinishReason::Stop, raw: Some("STOP".into()) })
    );
    let finishes = events.iter().filter(|event| matches!(event, ChatEvent::Finished { .. })).count();
    assert_eq!(finishes, 1);
    let answer = assemble((events, end));
    assert_eq!(answer.text, "one");
    assert_eq!(items(&answer), json!([code, result, {"text": "one"}]));
}

#[test]
fn arguments_may_come_in_pieces() {
    let part = |call: Value| chunk(json!([{"functionCall": call}]));
    let piece = |text: &str, more: bool| {
        part(json!({"willContinue": true, "partialArgs": [
            {"jsonPath": "$.city", "stringValue": text, "willContinue": more}]}))
    };
    let mut begin = part(json!({"name": "f", "willContinue": true}));
    begin["candidates"][0]["content"]["parts"][0]["thoughtSignature"] = json!("s");
    let all = [
        begin.clone(),
        piece("Bos", true),
        piece("ton", false),
        part(json!({})),
        part(json!({"name": "f", "willContinue": true})),
        last(json!([{"functionCall": {}}]), "STOP"),
    ];
    let whole = answer(&all);
    assert_eq!(calls(&whole), [" f {\"city\":\"Boston\"} true", " f {} true"]);
    let expected = json!([
        {"functionCall": {"name": "f", "args": {"city": "Boston"}}, "thoughtSignature": "s"},
        {"functionCall": {"name": "f", "args": {}}},
    ]);
    assert_eq!(items(&whole), expected);
    // Cut off by the limit they are not whole, whatever there was.
    for cut in [vec![begin.clone()], vec![begin, piece("Bos", true)]] {
        let cut = answer(&[cut, vec![last(json!([]), "MAX_TOKENS")]].concat());
        assert_eq!((cut.finish, cut.tool_calls[0].complete), (FinishReason::Length, false));
    }
    // Another call begins before the first one ended.
    let merged = answer(&[all[0].clone(), last(json!([{"functionCall": {"name": "g"}}]), "STOP")]);
    assert_eq!(calls(&merged), [" f { false", " g {} true"]);
}

#[test]
fn finish_reasons_are_mapped_and_kept() {
    use FinishReason::*;
    for (raw, reason) in [
        ("STOP", Stop),
        ("MAX_TOKENS", Length),
        ("SAFETY", ContentFilter),
        ("RECITATION", ContentFilter),
        ("PROHIBITED_CONTENT", ContentFilter),
        ("SPII", ContentFilter),
        ("LANGUAGE", Other),
        ("BRAND_NEW", Other),
    ] {
        let answer = answer(&[last(json!([]), raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    for failed in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"] {
        assert_eq!(failure(&sse(&[last(json!([]), failed)])), Category::ServerError);
        let mut whole = last(json!([]), failed);
        whole["usageMetadata"] = json!({"promptTokenCount": 3, "thoughtsTokenCount": 2});
        let error = decode(&whole.to_string()).unwrap_err();
        assert_eq!(error.category, Category::ServerError);
        let usage = error.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(3), Some(2)), "it is billed");
    }
    let mut number = last(json!([]), "");
    number["candidates"][0]["finishReason"] = json!(2);
    assert_eq!(answer(&[number]).finish, Length);
    let blocked =
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}});
    for blocked in [answer(std::slice::from_ref(&blocked)), decode(&blocked.to_string()).unwrap()] {
        assert_eq!(blocked.finish, ContentFilter);
        assert_eq!(blocked.finish_raw.as_deref(), Some("PROMPT_BLOCKED:SAFETY"));
        assert_eq!(blocked.usage.unwrap().input_tokens, Some(3));
    }
    // A whole answer has an end although it names no reason.
    assert_eq!(decode(&chunk(json!([{"text": "x"}])).to_string()).unwrap().finish, Other);
}

#[test]
fn a_stream_is_complete_from_its_finish_reason_on() {
    let head = sse(&[chunk(json!([{"text": "hi"}]))]);
    let all = [head, sse(&[last(json!([{"text": "!"}]), "STOP")])].concat();
    let complete = all.len() - 4;
    for at in 0..=all.len() {
        let outcome = run(&all[..at]).1.map_err(|error| error.category);
        let expected = if at < complete { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome, expected, "cut at {at}");
    }
    // In the array form an object is whole when its bracket closes.
    let list = json!([chunk(json!([{"text": "hi"}])), last(json!([]), "STOP")]).to_string();
    for at in 0..=list.len() {
        let outcome = run(&list.as_bytes()[..at]).1.map_err(|error| error.category);
        let expected = if at < list.len() - 1 { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome, expected, "cut at {at}");
    }
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let error = json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}});
    let hi = chunk(json!([{"text": "hi"}]));
    let mut beside = hi.clone();
    beside["error"] = error["error"].clone();
    for body in [
        sse(&[hi.clone(), error.clone()]),
        json!([hi, error]).to_string().into_bytes(),
        sse(&[beside]),
        [
            sse(std::slice::from_ref(&hi)),
            b"error: {\"error\": {\"code\": 503, \"message\": \"x\"}}\n".to_vec(),
        ]
        .concat(),
    ] {
        let (events, outcome) = run(&body);
        assert_eq!(outcome.unwrap_err().category, Category::Overloaded);
        assert!(events.contains(&ChatEvent::Text("hi".into())));
        assert_eq!(run_in(&body, 1 << 20), run(&body));
    }
    assert_eq!(failure(json!([error]).to_string().as_bytes()), Category::Overloaded);
    for (body, category) in [
        ("<html>\n<p>welcome</p>\n", Category::Malformed),
        ("{nonsense}", Category::Malformed),
        ("[5]", Category::Malformed),
        ("data: {nonsense\n\n", Category::Malformed),
        ("{\"candidates\": [", Category::Incomplete),
        ("[]", Category::Incomplete),
        ("", Category::Incomplete),
        (": ping\n\n", Category::Incomplete),
    ] {
        assert_eq!(failure(body.as_bytes()), category, "{body}");
    }
}

#[test]
fn a_success_status_without_an_answer_is_an_error() {
    for (body, category) in [
        ("", Category::Malformed),
        ("hello", Category::Malformed),
        ("null", Category::Malformed),
        ("{}", Category::Malformed),
        ("[]", Category::Malformed),
        ("{\"candidates\": []}", Category::Malformed),
        ("{\"candidates\": 5}", Category::Malformed),
        ("{\"error\": {\"code\": 401, \"message\": \"no\"}}", Category::Authentication),
    ] {
        assert_eq!(decode(body).unwrap_err().category, category, "{body}");
    }
    let refused = GeminiGenerate::new().decode(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"{}");
    assert_eq!(refused.unwrap_err().category, Category::RateLimit);
}

#[test]
fn only_the_first_candidate_is_used_and_odd_shapes_do_no_harm() {
    let mut two = last(json!([{"text": "no"}]), "MAX_TOKENS");
    two["candidates"][0]["index"] = json!(1);
    let first = last(json!([{"text": "yes"}]), "STOP")["candidates"][0].clone();
    two["candidates"].as_array_mut().unwrap().push(first);
    assert_eq!(answer(&[two]).text, "yes");
    let odd = json!([5, null, "x", {}, {"text": 5}, {"functionCall": 5}, {"functionCall": {"args": null}},
        {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}, {"thoughtSignature": 5}]);
    let odd = answer(&[chunk(odd), last(json!("x"), "STOP")]);
    assert_eq!((odd.text.as_str(), odd.tool_calls.len(), odd.continuation), ("", 0, None));
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let chunks = [
        chunk(json!([{"text": "hé", "thoughtSignature": "s"}])),
        chunk(json!([{"functionCall": {"name": "f", "willContinue": true}}])),
        chunk(json!([{"functionCall": {"partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "x"}]}}])),
        last(json!([{"functionCall": {"name": "g", "args": {"x": [1, 2]}}}]), "STOP"),
    ];
    let entropy = SeededEntropy::new(7);
    let random = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        usize::from_le_bytes(bytes)
    };
    for whole in [sse(&chunks), json!(chunks).to_string().into_bytes()] {
        let (mut complete, mut failed) = (0, 0);
        for _ in 0..2000 {
            let mut damaged = whole.clone();
            for _ in 0..=random() % 3 {
                let (at, other) = (random() % damaged.len(), random() % whole.len());
                match random() % 4 {
                    0 => damaged[at] = random() as u8,
                    1 => drop(damaged.drain(at..(at + random() % 40).min(damaged.len()))),
                    2 => damaged.insert(at, b"\r\n:{}[]\""[random() % 8]),
                    _ => damaged.splice(at..at, whole[other..].iter().copied().take(30)).for_each(drop),
                }
            }
            let outcome = run(&damaged);
            match &outcome.1 {
                Ok(()) => complete += 1,
                Err(_) => failed += 1,
            }
            assert_eq!(run_in(&damaged, damaged.len()), outcome, "{}", String::from_utf8_lossy(&damaged));
            let _ = GeminiGenerate::new().decode(StatusCode::OK, &HeaderMap::new(), &damaged);
            let _ = GeminiGenerate::new().classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), &damaged);
        }
        assert!(complete > 100 && failed > 100, "{complete} {failed}");
    }
}
