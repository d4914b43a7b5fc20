//! The events of a recording, told apart without the help of a dialect.

use agentprovision_llm::wire::sse::{SseEvent, SseParser};
use serde_json::{Value, json};

use super::Outcome;
use super::compare::{list, text};

/// How a stream is cut into events.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON document a line.
    Lines,
    /// AWS event stream messages.
    EventStream,
}

impl Framing {
    pub(crate) fn of(case: &Value) -> Outcome<Self> {
        match text(case, "framing") {
            "newline-delimited JSON" => Ok(Self::Lines),
            "application/vnd.amazon.eventstream bytes" => Ok(Self::EventStream),
            framing if framing == "text/event-stream bytes" || framing.starts_with("SSE data payloads") => {
                Ok(Self::Sse)
            }
            other => Err(format!("unknown framing {other}")),
        }
    }
}

/// One event of a recording and where the last byte it needs ends.
pub(crate) struct Frame {
    pub(crate) data: String,
    pub(crate) value: Value,
    /// The provider says by the framing that this is an error.
    pub(crate) error_field: bool,
    pub(crate) end: usize,
}

impl Frame {
    fn new(data: String, error_field: bool, end: usize) -> Self {
        Self { value: serde_json::from_str(&data).unwrap_or_default(), data, error_field, end }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    fn kind(&self) -> &str {
        text(&self.value, "type")
    }

    pub(crate) fn is_error(&self) -> bool {
        self.error_field
            || self.value.get("error").is_some_and(|error| !error.is_null())
            || matches!(self.kind(), "error" | "response.failed")
    }

    /// Whether the reason why the answer ends may be known from here on.
    fn may_finish(&self, api: &str) -> bool {
        let value = &self.value;
        let said = |value: Option<&Value>| {
            value.is_some_and(|value| !value.is_null() && value.as_str().is_none_or(|text| !text.is_empty()))
        };
        match api {
            "openai.chat" => list(value, "choices").iter().any(|choice| said(choice.get("finish_reason"))),
            "openai.responses" => {
                matches!(self.kind(), "response.completed" | "response.incomplete" | "response.failed")
            }
            "anthropic.messages" => {
                said(value.pointer("/delta/stop_reason")) || self.kind() == "message_stop"
            }
            "gemini.generateContent" => {
                list(value, "candidates").iter().any(|candidate| said(candidate.get("finishReason")))
                    || said(value.pointer("/promptFeedback/blockReason"))
            }
            "bedrock.converse" => said(value.get("stopReason")),
            "cohere.chat" => self.kind() == "message-end",
            "ollama.chat" => value.get("done") == Some(&json!(true)),
            _ => false,
        }
    }

    /// Whether it must be known from here on.
    fn must_finish(&self, api: &str) -> bool {
        match api {
            "anthropic.messages" => self.kind() == "message_stop",
            // The counts come after the reason.
            "bedrock.converse" => self.value.get("usage").is_some(),
            _ => self.may_finish(api),
        }
    }
}

/// Up to where a cut stream is incomplete, and from where on it is complete. In between it may be either.
pub(crate) fn bounds(api: &str, frames: &[Frame]) -> (Option<usize>, Option<usize>) {
    let may = frames.iter().find(|frame| frame.may_finish(api));
    let must = match api {
        // The model goes on after a finish reason, so only the last one ends the answer.
        "gemini.generateContent" => frames.iter().rfind(|frame| frame.must_finish(api)),
        _ => frames.iter().find(|frame| frame.must_finish(api)),
    };
    (may.map(|frame| frame.end), must.map(|frame| frame.end))
}

/// The events of a recording.
pub(crate) fn frames(framing: Framing, body: &[u8]) -> Outcome<Vec<Frame>> {
    match framing {
        Framing::Sse => sse(body),
        Framing::Lines => Ok(lines(body)),
        Framing::EventStream => messages(body),
    }
}

/// An event needs its bytes up to the end of its last line, without the line feed.
fn sse(body: &[u8]) -> Outcome<Vec<Frame>> {
    let mut parser = SseParser::default();
    let (mut frames, mut out, mut end) = (Vec::new(), Vec::new(), 0);
    let mut take = |out: &mut Vec<SseEvent>, end| {
        frames.extend(out.drain(..).map(|event| match event {
            SseEvent::Data { data, .. } => Frame::new(data, false, end),
            SseEvent::ErrorField(data) => Frame::new(data, true, end),
        }));
    };
    for (position, byte) in body.iter().enumerate() {
        parser.push(&[*byte], &mut out).map_err(|error| error.to_string())?;
        take(&mut out, end);
        if !matches!(byte, b'\n' | b'\r') {
            end = position + 1;
        }
    }
    parser.finish(&mut out).map_err(|error| error.to_string())?;
    take(&mut out, end);
    Ok(frames)
}

fn lines(body: &[u8]) -> Vec<Frame> {
    let (mut frames, mut start) = (Vec::new(), 0);
    for line in body.split(|byte| *byte == b'\n') {
        let data = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        if !data.is_empty() {
            frames.push(Frame::new(data, false, start + line.trim_ascii_end().len()));
        }
        start += line.len() + 1;
    }
    frames
}

/// AWS event stream: total length, length of the headers, checksum of both, headers, payload, checksum of all.
fn messages(body: &[u8]) -> Outcome<Vec<Frame>> {
    let (mut frames, mut start) = (Vec::new(), 0);
    while start < body.len() {
        let bad = || format!("no event stream message at {start}");
        let number = |at: usize| -> Outcome<usize> {
            let bytes = body.get(start + at..start + at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            Ok(u32::from_be_bytes(*bytes.ok_or_else(bad)?) as usize)
        };
        let (total, headers) = (number(0)?, number(4)?);
        let end = start + total;
        let payload = body.get(start + 12 + headers..end.saturating_sub(4)).ok_or_else(bad)?;
        let head = body.get(start + 12..start + 12 + headers).ok_or_else(bad)?;
        let head = String::from_utf8_lossy(head);
        let failed = head.contains(":exception-type") || head.contains(":error-code");
        frames.push(Frame::new(String::from_utf8_lossy(payload).into_owned(), failed, end));
        start = end;
    }
    Ok(frames)
}
