//! What nearly all answers and chunks of answers are: one choice with some text. They are read without making a tree of
//! values, which costs several times as much. Whatever differs in anything is left to [`super::decode`] and
//! [`super::stream`].

use std::borrow::Cow;

use agentprovision_core::model::{ChatEvent, ServiceTier, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::decode::finished;
use super::usage::usage;
use crate::wire::json;

/// What such a chunk says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usual<'a> {
    pub(super) tier: Option<&'a str>,
    pub(super) said: Said<'a>,
}

/// What a message or a delta says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    reasoning: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
}

impl Said<'_> {
    /// The events it makes.
    pub(super) fn events(self, out: &mut Vec<ChatEvent>) {
        out.extend(self.reasoning.map(|text| ChatEvent::Reasoning(text.into_owned())));
        out.extend(self.text.map(|text| ChatEvent::Text(text.into_owned())));
    }
}

/// What surrounds the text of a chunk. Most servers send the same around every piece of an answer, and then the text is
/// all that has to be looked at.
#[derive(Debug)]
pub(super) struct Frame {
    /// Up to the quotation mark that opens the text.
    before: String,
    /// From the quotation mark that closes it.
    after: String,
    event: fn(String) -> ChatEvent,
}

impl Frame {
    /// The frame of a chunk that says one thing, where that is written as it is.
    pub(super) fn of(data: &str, said: &Said<'_>) -> Option<Self> {
        let (text, event): (_, fn(String) -> ChatEvent) = match (&said.reasoning, &said.text) {
            (None, Some(Cow::Borrowed(text))) => (*text, ChatEvent::Text),
            (Some(Cow::Borrowed(text)), None) => (*text, ChatEvent::Reasoning),
            _ => return None,
        };
        let start = (text.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
        let (before, rest) = data.split_at_checked(start)?;
        Some(Self { before: before.into(), after: rest.strip_prefix(text)?.into(), event })
    }

    /// The event of a chunk in the same frame. A text without anything that is escaped ends where the frame goes on, so
    /// the chunk is the one the frame was taken from, with another text.
    pub(super) fn event(&self, data: &str) -> Option<ChatEvent> {
        let text = data.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        (!text.is_empty() && json::is_plain(text)).then(|| (self.event)(text.to_owned()))
    }
}

/// A text, borrowed where it is written as it is.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Every field that means something anywhere in a chunk; others are ignored there too.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: [Choice<'a>; 1],
    #[serde(borrow)]
    service_tier: Option<&'a str>,
    usage: Option<IgnoredAny>,
    x_groq: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Message<'a>,
    finish_reason: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// The same of a whole answer.
#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    choices: [WholeChoice<'a>; 1],
    #[serde(borrow)]
    service_tier: Option<&'a str>,
    usage: Option<Value>,
    x_groq: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow)]
    message: Message<'a>,
    #[serde(borrow)]
    finish_reason: Option<&'a str>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    refusal: Option<IgnoredAny>,
    #[serde(rename = "tool_calls")]
    _tool_calls: Option<[IgnoredAny; 0]>,
}

impl<'a> Message<'a> {
    fn said(self) -> Option<Said<'a>> {
        if self.refusal.is_some() {
            return None;
        }
        let said = |text: Option<Text<'a>>| text.map(|text| text.0).filter(|text| !text.is_empty());
        let reasoning = said(self.reasoning_content).or_else(|| said(self.reasoning));
        Some(Said { reasoning, text: said(self.content) })
    }
}

/// What a chunk says that has text, reasoning or nothing to say; `None` for any other.
pub(super) fn chunk(data: &str) -> Option<Usual<'_>> {
    let Chunk { choices: [choice], service_tier, usage, x_groq, error } = serde_json::from_str(data).ok()?;
    let Choice { index, delta, finish_reason, error: failed } = choice;
    let more = [usage, x_groq, error, finish_reason, failed];
    if index.unwrap_or(0) != 0 || more.iter().any(Option::is_some) {
        return None;
    }
    Some(Usual { tier: service_tier, said: delta.said()? })
}

/// The events of a whole answer; `None` where it has more than text and reasoning.
pub(super) fn whole(body: &[u8]) -> Option<Vec<ChatEvent>> {
    let Answer { id, model, choices: [choice], service_tier, usage: counts, x_groq, error } =
        serde_json::from_slice(body).ok()?;
    let WholeChoice { message, finish_reason, error: failed } = choice;
    if [x_groq, error, failed].iter().any(Option::is_some) {
        return None;
    }
    let known = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut out = vec![ChatEvent::Started { id: known(id), model: known(model) }];
    message.said()?.events(&mut out);
    let tier = service_tier.and_then(ServiceTier::from_wire);
    let counts = counts.as_ref().and_then(usage);
    let counts = counts.map(|counts| Usage { service_tier: tier.or(counts.service_tier), ..counts });
    out.extend(counts.map(ChatEvent::Usage));
    out.push(finished(finish_reason.filter(|raw| !raw.is_empty())).ok()?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::decode;
    use super::super::stream::Chunks;
    use super::*;
    use crate::wire::streamed::Events;

    /// A stream that has begun.
    fn begun() -> Chunks {
        let mut chunks = Chunks::new(None);
        chunks.data(&json!({"id": "a", "model": "m"}), &mut Vec::new()).unwrap();
        chunks
    }

    fn with(delta: Value) -> Value {
        json!({"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": null,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]})
    }

    #[test]
    fn usual_chunks_say_the_same_both_ways() {
        let mut flex = with(json!({"content": "a"}));
        flex["service_tier"] = json!("flex");
        let mut bare = with(json!({"content": "a"}));
        bare["choices"] = json!([{"delta": {"content": "a"}}]);
        for chunk in [
            with(json!({"content": "a"})),
            with(
                json!({"role": "assistant", "content": "\n\"é\" \u{1f600}", "refusal": null, "tool_calls": []}),
            ),
            with(json!({"content": null, "reasoning_content": "hm"})),
            with(json!({"content": "", "reasoning_content": "", "reasoning": "hm"})),
            with(json!({"content": "a", "reasoning_content": "hm", "reasoning": "hm", "tool_calls": null})),
            with(json!({})),
            flex,
            bare,
        ] {
            let (mut one, mut other) = (begun(), begun());
            let (mut quick, mut slow) = (Vec::new(), Vec::new());
            assert!(one.usual(&chunk.to_string(), &mut quick), "{chunk}");
            other.data(&chunk, &mut slow).unwrap();
            assert_eq!(quick, slow, "{chunk}");
            // What comes later depends on what was learned.
            let last = json!({"choices": [], "usage": {"prompt_tokens": 1}});
            for chunks in [(&mut one, &mut quick), (&mut other, &mut slow)] {
                chunks.0.data(&last, chunks.1).unwrap();
            }
            assert_eq!(quick, slow, "{chunk}");
        }
    }

    #[test]
    fn a_frame_is_used_only_for_what_differs_in_nothing_but_its_text() {
        let chunk = |id: &str, name: &str, text: &str| {
            let mut chunk = with(json!({ name: text }));
            chunk["id"] = json!(id);
            chunk.to_string()
        };
        let first = chunk("a", "content", "some");
        let frame = Frame::of(&first, &super::chunk(&first).unwrap().said).unwrap();
        for text in ["some", " more", "é", "\u{1f600}"] {
            let event = frame.event(&chunk("a", "content", text));
            assert_eq!(event, Some(ChatEvent::Text(text.into())));
        }
        for other in [
            chunk("a", "content", ""),
            chunk("a", "content", "a\nb"),
            chunk("a", "content", "a\"b"),
            chunk("a", "content", "\\"),
            chunk("b", "content", "some"),
            chunk("a", "reasoning", "some"),
            first.replace("some", "a\",\"refusal\":\"b"),
            first.replace("some", "a\u{1}"),
            first.replace("null", "\"stop\""),
            first[1..].to_owned(),
        ] {
            assert_eq!(frame.event(&other), None, "{other}");
        }
        let hm = chunk("a", "reasoning", "hm");
        let frame = Frame::of(&hm, &super::chunk(&hm).unwrap().said).unwrap();
        assert_eq!(frame.event(&hm), Some(ChatEvent::Reasoning("hm".into())));
        for none in [
            with(json!({})),
            with(json!({"content": "a\nb"})),
            with(json!({"content": "a", "reasoning": "b"})),
        ] {
            let none = none.to_string();
            assert!(Frame::of(&none, &super::chunk(&none).unwrap().said).is_none(), "{none}");
        }
    }

    fn answer(message: Value) -> Value {
        json!({"id": "a", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}})
    }

    #[test]
    fn usual_answers_say_the_same_both_ways() {
        let said = || json!({"role": "assistant", "content": "a\n\"é\"", "refusal": null});
        let without = |name: &str| {
            let mut answer = answer(said());
            answer.as_object_mut().unwrap().remove(name);
            answer
        };
        let mut flex = answer(said());
        flex["service_tier"] = json!("flex");
        let mut silent = answer(said());
        silent["choices"][0]["finish_reason"] = Value::Null;
        silent["usage"] = json!({});
        for answer in [
            answer(said()),
            answer(json!({"content": "a", "reasoning": "hm", "reasoning_content": "", "tool_calls": []})),
            answer(json!({"content": null})),
            without("usage"),
            without("id"),
            flex,
            silent,
        ] {
            let quick = whole(answer.to_string().as_bytes());
            assert_eq!(quick.unwrap(), decode::whole(&answer, None).unwrap(), "{answer}");
        }
    }

    #[test]
    fn other_answers_are_left_alone() {
        let change = |path: &str, value: Value| {
            let mut answer = answer(json!({"content": "a"}));
            *answer.pointer_mut(path).unwrap() = value;
            answer
        };
        let call = json!({"id": "c", "function": {"name": "t", "arguments": "{}"}});
        for answer in [
            change("/choices/0/message", Value::Null),
            change("/choices/0/message", json!({"content": "a", "tool_calls": [call]})),
            change("/choices/0/message", json!({"content": [{"type": "text", "text": "a"}]})),
            change("/choices/0/message", json!({"refusal": "no"})),
            change("/choices/0/finish_reason", json!("error")),
            change("/choices", json!([])),
            change("", json!({"error": {"message": "no"}})),
            change("", json!([])),
        ] {
            assert_eq!(whole(answer.to_string().as_bytes()), None, "{answer}");
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        let change = |path: &str, value: Value| {
            let mut chunk = with(json!({"content": "a"}));
            *chunk.pointer_mut(path).unwrap() = value;
            chunk
        };
        let beside = |name: &str, value: Value| {
            let mut chunk = with(json!({"content": "a"}));
            chunk[name] = value;
            chunk
        };
        let call = json!([{"index": 0, "id": "c", "function": {"name": "t"}}]);
        for chunk in [
            beside("usage", json!({"prompt_tokens": 1})),
            beside("x_groq", json!({"usage": {"prompt_tokens": 1}})),
            beside("error", json!({"message": "no"})),
            beside("service_tier", json!(1)),
            change("/choices", json!([])),
            change("/choices", json!([{"delta": {"content": "a"}}, {"delta": {"content": "b"}}])),
            change("/choices/0/index", json!(1)),
            change("/choices/0/finish_reason", json!("stop")),
            change("/choices/0/delta", Value::Null),
            change("/choices/0/delta", json!({"content": [{"type": "text", "text": "a"}]})),
            change("/choices/0/delta", json!({"refusal": "no"})),
            change("/choices/0/delta", json!({"tool_calls": call})),
            json!([]),
        ] {
            let mut out: Vec<ChatEvent> = Vec::new();
            assert!(!begun().usual(&chunk.to_string(), &mut out), "{chunk}");
            assert!(out.is_empty());
        }
        let plain = with(json!({"content": "a"})).to_string();
        assert!(!begun().usual(&plain[..plain.len() - 1], &mut Vec::new()));
        assert!(!Chunks::new(None).usual(&plain, &mut Vec::new()), "who answers is not known");
    }
}
