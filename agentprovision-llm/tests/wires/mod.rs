//! Answers in every wire format, written out here, so that a test can ask the same of all of them.

use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse};
use agentprovision_core::{Error, Result};
use agentprovision_llm::wire::anthropic_messages::AnthropicMessages;
use agentprovision_llm::wire::bedrock_converse::BedrockConverse;
use agentprovision_llm::wire::cohere_chat::CohereChat;
use agentprovision_llm::wire::gemini_generate::GeminiGenerate;
use agentprovision_llm::wire::ollama_chat::OllamaChat;
use agentprovision_llm::wire::openai_chat::OpenAiChat;
use agentprovision_llm::wire::openai_responses::OpenAiResponses;
use agentprovision_llm::wire::{Dialect, ProviderError};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// Every wire format of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAiChat,
    OpenAiResponses,
    Anthropic,
    Gemini,
    Bedrock,
    Cohere,
    Ollama,
}

pub(crate) const ALL: [Wire; 7] = [
    Wire::OpenAiChat,
    Wire::OpenAiResponses,
    Wire::Anthropic,
    Wire::Gemini,
    Wire::Bedrock,
    Wire::Cohere,
    Wire::Ollama,
];

/// A call as the provider tells of it: its id, its name and the pieces its arguments come in.
pub(crate) type Call<'a> = (&'a str, &'a str, &'a [&'a str]);

impl Wire {
    pub(crate) fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::OpenAiChat => Box::new(OpenAiChat::new()),
            Self::OpenAiResponses => Box::new(OpenAiResponses::new()),
            Self::Anthropic => Box::new(AnthropicMessages::new()),
            Self::Gemini => Box::new(GeminiGenerate::new()),
            Self::Bedrock => Box::new(BedrockConverse::new()),
            Self::Cohere => Box::new(CohereChat::new()),
            Self::Ollama => Box::new(OllamaChat::new()),
        }
    }

    /// Whether arguments of calls come in pieces, so that they can be cut off.
    pub(crate) fn cuts_arguments(self) -> bool {
        self != Self::Ollama
    }

    /// Whether calls have ids of the provider.
    pub(crate) fn names_calls(self) -> bool {
        !matches!(self, Self::Gemini | Self::Ollama)
    }

    /// The bytes of a stream that says these texts, then makes these calls, then ends; without an end where `end` is none.
    pub(crate) fn stream(self, texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<u8> {
        let events = match self {
            Self::OpenAiChat => openai_chat(texts, calls, end),
            Self::OpenAiResponses => openai_responses(texts, calls, end),
            Self::Anthropic => anthropic(texts, calls, end),
            Self::Gemini => gemini(texts, calls, end),
            Self::Bedrock => return bedrock(texts, calls, end),
            Self::Cohere => cohere(texts, calls, end),
            Self::Ollama => ollama(texts, calls, end),
        };
        self.framed(&events)
    }

    /// Events as the format frames them.
    pub(crate) fn framed(self, events: &[Value]) -> Vec<u8> {
        let one = |event: &Value| match self {
            Self::Ollama => format!("{event}\n").into_bytes(),
            Self::Bedrock => {
                let kind = event.as_object().unwrap().keys().next().unwrap();
                frame(&[(":event-type", kind), (":message-type", "event")], &event[kind])
            }
            _ => format!("data: {event}\n\n").into_bytes(),
        };
        events.iter().flat_map(one).collect()
    }

    /// The provider's word for an answer that is done, asks for tools, or was cut by the token limit.
    pub(crate) fn ends(self) -> [&'static str; 3] {
        match self {
            Self::OpenAiChat => ["stop", "tool_calls", "length"],
            Self::OpenAiResponses => ["completed", "completed", "max_output_tokens"],
            Self::Anthropic => ["end_turn", "tool_use", "max_tokens"],
            Self::Gemini => ["STOP", "STOP", "MAX_TOKENS"],
            Self::Bedrock => ["end_turn", "tool_use", "max_tokens"],
            Self::Cohere => ["COMPLETE", "TOOL_CALL", "MAX_TOKENS"],
            Self::Ollama => ["stop", "stop", "length"],
        }
    }

    /// What the stream makes, fed in pieces of this size.
    pub(crate) fn run(self, bytes: &[u8], size: usize) -> (Vec<ChatEvent>, Result<(), ProviderError>) {
        let (mut decoder, mut events) = (self.dialect().decoder(), Vec::new());
        for piece in bytes.chunks(size) {
            if let Err(error) = decoder.push(piece, &mut events) {
                return (events, Err(error));
            }
        }
        let end = decoder.finish(&mut events);
        (events, end)
    }

    /// The answer of a stream that is whole.
    pub(crate) fn answer(self, bytes: &[u8]) -> ChatResponse {
        let (events, end) = self.run(bytes, bytes.len().max(1));
        end.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        assembled(&events).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// A whole answer with a success status.
    pub(crate) fn whole(self, body: &str) -> Result<ChatResponse, ProviderError> {
        self.dialect().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }
}

pub(crate) fn assembled(events: &[ChatEvent]) -> Result<ChatResponse, Error> {
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish()
}

fn openai_chat(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let chunk = |delta: Value, finish: Option<&str>| json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let mut out: Vec<Value> = texts.iter().map(|text| chunk(json!({"content": text}), None)).collect();
    for (index, (id, name, pieces)) in calls.iter().enumerate() {
        let function = json!({"name": name, "arguments": ""});
        out.push(chunk(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
            None,
        ));
        for piece in *pieces {
            let function = json!({"arguments": piece});
            out.push(chunk(json!({"tool_calls": [{"index": index, "function": function}]}), None));
        }
    }
    out.extend(end.map(|end| chunk(json!({}), Some(end))));
    out
}

fn openai_responses(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let mut out = vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}}),
    ];
    let mut output = Vec::new();
    if !texts.is_empty() {
        let added = json!({"type": "message", "content": []});
        out.push(json!({"type": "response.output_item.added", "output_index": 0, "item": added}));
        for text in texts {
            out.push(json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}));
        }
        let content = json!([{"type": "output_text", "text": texts.concat(), "annotations": []}]);
        output.push(json!({"type": "message", "role": "assistant", "content": content}));
    }
    for (id, name, pieces) in calls {
        let at = output.len();
        let begun = json!({"type": "function_call", "call_id": id, "name": name, "arguments": ""});
        out.push(json!({"type": "response.output_item.added", "output_index": at, "item": begun}));
        for piece in *pieces {
            out.push(
                json!({"type": "response.function_call_arguments.delta", "output_index": at, "delta": piece}),
            );
        }
        let mut done = begun;
        done["arguments"] = json!(pieces.concat());
        output.push(done);
    }
    let usage = json!({"input_tokens": 9, "output_tokens": 5});
    out.extend(end.map(|end| match end {
        "completed" => {
            let response = json!({"id": "resp_1", "status": end, "output": output, "usage": usage});
            json!({"type": "response.completed", "response": response})
        }
        why => {
            let response = json!({"id": "resp_1", "status": "incomplete", "output": output, "usage": usage,
                "incomplete_details": {"reason": why}});
            json!({"type": "response.incomplete", "response": response})
        }
    }));
    out
}

fn anthropic(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let mut out = vec![
        json!({"type": "message_start", "message": {"type": "message", "id": "msg_1", "role": "assistant",
        "model": "m", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}}),
    ];
    let block = |out: &mut Vec<Value>, index: usize, begin: Value, deltas: Vec<Value>, whole: bool| {
        out.push(json!({"type": "content_block_start", "index": index, "content_block": begin}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        out.extend(deltas.into_iter().map(delta));
        if whole {
            out.push(json!({"type": "content_block_stop", "index": index}));
        }
    };
    if !texts.is_empty() {
        let deltas = texts.iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
        block(&mut out, 0, json!({"type": "text", "text": ""}), deltas, true);
    }
    for (place, (id, name, pieces)) in calls.iter().enumerate() {
        let deltas = pieces.iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        let begin = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let last = place + 1 == calls.len();
        block(&mut out, place + 1, begin, deltas.collect(), !last || end == Some("tool_use"));
    }
    if let Some(end) = end {
        out.push(
            json!({"type": "message_delta", "delta": {"stop_reason": end}, "usage": {"output_tokens": 5}}),
        );
        out.push(json!({"type": "message_stop"}));
    }
    out
}

fn gemini(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let chunk = |part: Value| json!({"candidates": [{"content": {"parts": [part]}}], "responseId": "r", "modelVersion": "m"});
    let mut out: Vec<Value> = texts.iter().map(|text| chunk(json!({"text": text}))).collect();
    for (_, name, pieces) in calls {
        let whole = serde_json::from_str::<Value>(&pieces.concat());
        out.push(chunk(match whole {
            Ok(arguments) => json!({"functionCall": {"name": name, "args": arguments}}),
            // Half of them: the format sends one value at a time.
            Err(_) => json!({"functionCall": {"name": name, "willContinue": true,
                "partialArgs": [{"jsonPath": "$.x", "stringValue": "ha", "willContinue": true}]}}),
        }));
    }
    out.extend(end.map(|end| json!({"candidates": [{"content": {"parts": []}, "finishReason": end}]})));
    out
}

fn bedrock(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<u8> {
    let mut out = vec![json!({"messageStart": {"role": "assistant"}})];
    for text in texts {
        out.push(json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}}));
    }
    for (place, (id, name, pieces)) in calls.iter().enumerate() {
        let begin = json!({"toolUse": {"toolUseId": id, "name": name}});
        out.push(json!({"contentBlockStart": {"contentBlockIndex": place + 1, "start": begin}}));
        for piece in *pieces {
            let delta = json!({"toolUse": {"input": piece}});
            out.push(json!({"contentBlockDelta": {"contentBlockIndex": place + 1, "delta": delta}}));
        }
        out.push(json!({"contentBlockStop": {"contentBlockIndex": place + 1}}));
    }
    out.extend(end.map(|end| json!({"messageStop": {"stopReason": end}})));
    Wire::Bedrock.framed(&out)
}

fn cohere(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let mut out =
        vec![json!({"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}})];
    if !texts.is_empty() {
        let content = json!({"type": "text", "text": ""});
        out.push(json!({"type": "content-start", "index": 0, "delta": {"message": {"content": content}}}));
        for text in texts {
            out.push(json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}));
        }
        out.push(json!({"type": "content-end", "index": 0}));
    }
    for (index, (id, name, pieces)) in calls.iter().enumerate() {
        let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        out.push(
            json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}),
        );
        for piece in *pieces {
            let call = json!({"function": {"arguments": piece}});
            out.push(json!({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": call}}}));
        }
        out.push(json!({"type": "tool-call-end", "index": index}));
    }
    out.extend(end.map(|end| json!({"type": "message-end", "delta": {"finish_reason": end}})));
    out
}

fn ollama(texts: &[&str], calls: &[Call<'_>], end: Option<&str>) -> Vec<Value> {
    let piece = |message: Value| json!({"model": "m", "message": message, "done": false});
    let mut out: Vec<Value> =
        texts.iter().map(|text| piece(json!({"role": "assistant", "content": text}))).collect();
    for (_, name, pieces) in calls {
        let arguments = serde_json::from_str::<Value>(&pieces.concat()).unwrap_or_default();
        let calls = json!([{"function": {"name": name, "arguments": arguments}}]);
        out.push(piece(json!({"role": "assistant", "content": "", "tool_calls": calls})));
    }
    let message = json!({"role": "assistant", "content": ""});
    out.extend(end.map(|end| json!({"model": "m", "message": message, "done": true, "done_reason": end})));
    out
}

/// A message of an AWS event stream: lengths and their checksum, headers of text, payload, checksum.
pub(crate) fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(name.len() as u8);
        head.extend(name.as_bytes());
        head.push(7);
        head.extend((value.len() as u16).to_be_bytes());
        head.extend(value.as_bytes());
    }
    let payload = payload.to_string();
    let total = 16 + head.len() + payload.len();
    let mut out = (total as u32).to_be_bytes().to_vec();
    out.extend((head.len() as u32).to_be_bytes());
    out.extend(crc32(&out).to_be_bytes());
    out.extend(head);
    out.extend(payload.as_bytes());
    out.extend(crc32(&out).to_be_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
