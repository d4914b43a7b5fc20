//! Streams, fed and cut in every way.

use agentprovision_core::model::{ChatAssembler, ChatEvent, FinishReason};
use agentprovision_llm::wire::{Category, Dialect, ProviderError};
use serde_json::{Value, json};

use super::Outcome;
use super::compare::text;
use super::frames::{Frame, Framing, bounds, frames};
use super::observe::{response, stream_error};

/// Streams up to this size are cut at every position, longer ones around every event.
const CUT_EVERYWHERE: usize = 16 * 1024;

/// The events and the end of one run of a decoder.
type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn feed<'a>(dialect: &dyn Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut decoder = dialect.decoder();
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

/// What the dialect makes of a stream, in the form of `expected`.
pub(crate) fn stream(case: &Value, body: &[u8], dialect: &dyn Dialect) -> Outcome<Value> {
    let (framing, api) = (Framing::of(case)?, text(case, "api"));
    let frames = frames(framing, body)?;
    let run = feed(dialect, [body]);
    if feed(dialect, body.chunks(1)) != run {
        return Err("fed byte by byte it gives something else".into());
    }
    for at in cuts(body, &frames) {
        let (first, second) = body.split_at(at);
        if feed(dialect, [first, second]) != run {
            return Err(format!("fed in two pieces, cut at {at}, it gives something else"));
        }
    }
    for (name, other) in rewritten(framing, body, &frames) {
        if feed(dialect, [other.as_slice()]) != run || feed(dialect, other.chunks(1)) != run {
            return Err(format!("with {name} it gives something else"));
        }
    }
    cut_off(api, body, dialect, &frames, &run)?;

    let (events, end) = run;
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    let finished = assembler.is_finished();
    if !finished {
        // What was there before the failure is compared too.
        assembler.push(&ChatEvent::Finished { reason: FinishReason::Other, raw: None });
    }
    let answer = assembler.finish().map_err(|error| error.to_string())?;
    let parsed: Vec<Value> = frames.iter().map(|frame| frame.value.clone()).collect();
    let mut fields = response(api, &answer, &parsed);
    let failed = parsed.iter().find(|event| text(event, "type") == "response.failed");
    fields.insert("terminated".into(), json!(finished || failed.is_some()));
    // An exception is a message of an AWS event stream, but no event.
    let is_event =
        |frame: &&Frame| !frame.is_done() && (framing != Framing::EventStream || !frame.error_field);
    fields.insert("events".into(), json!(frames.iter().filter(is_event).count()));
    fields.insert("saw_done_marker".into(), json!(frames.iter().any(Frame::is_done)));
    let mut warn = |warning: &str| {
        if let Some(Value::Array(warnings)) = fields.get_mut("warnings") {
            warnings.push(json!(warning));
        }
    };
    if api == "anthropic.messages" {
        if parsed.iter().filter(|event| text(event, "type") == "message_start").count() > 1 {
            warn("second message_start in one stream: earlier blocks discarded");
        }
        if frames.iter().any(Frame::is_done) {
            warn("[DONE] marker in an Anthropic stream");
        }
    }
    if let Err(error) = end {
        if framing == Framing::Sse && frames.iter().any(|frame| frame.error_field) {
            warn("non-standard SSE `error:` field carried the failure");
        }
        fields.insert("finish_reason".into(), json!("error"));
        fields.insert("stream_error".into(), stream_error(&error));
        if let Some(failed) = failed.and_then(|event| event.get("response")) {
            // The decoder ended at the error before; these are for whoever reads the recording.
            fields.insert("finish_reason_raw".into(), failed.get("status").cloned().unwrap_or_default());
            fields.insert("response_error".into(), failed.get("error").cloned().unwrap_or_default());
        }
    }
    Ok(Value::Object(fields))
}

/// Where to cut.
fn cuts(body: &[u8], frames: &[Frame]) -> Vec<usize> {
    if body.len() <= CUT_EVERYWHERE {
        return (0..=body.len()).collect();
    }
    let around = |frame: &Frame| [frame.end.saturating_sub(1), frame.end, frame.end + 1];
    frames.iter().flat_map(around).filter(|at| *at <= body.len()).collect()
}

/// The same stream as other servers and proxies would write it.
fn rewritten(framing: Framing, body: &[u8], frames: &[Frame]) -> Vec<(&'static str, Vec<u8>)> {
    if framing == Framing::EventStream {
        return Vec::new();
    }
    let plain: Vec<u8> = body.iter().copied().filter(|byte| *byte != b'\r').collect();
    let lines = |end: &[u8]| -> Vec<u8> {
        plain.split_inclusive(|byte| *byte == b'\n').fold(Vec::new(), |mut out, line| {
            match line.strip_suffix(b"\n") {
                Some(line) => out.extend([line, end].concat()),
                None => out.extend(line),
            }
            out
        })
    };
    let between = |filler: &[u8]| -> Vec<u8> {
        let (mut out, mut from) = (filler.to_vec(), 0);
        for frame in frames {
            out.extend(body.get(from..frame.end).unwrap_or_default());
            out.extend(filler);
            from = frame.end;
        }
        out.extend(body.get(from..).unwrap_or_default());
        out
    };
    let bare = body.trim_ascii_end().to_vec();
    let mut all = vec![("CR LF", lines(b"\r\n")), ("no last line end", bare)];
    if framing == Framing::Sse {
        all.push(("CR alone", lines(b"\r")));
        all.push(("keep-alive comments", between(b"\n\n: keep-alive\n\n")));
    } else {
        all.push(("empty lines", between(b"\n\r\n\n")));
    }
    all
}

/// What comes with the content, without what may also be said at the end.
fn content(events: &[ChatEvent]) -> &[ChatEvent] {
    let last = events.iter().rposition(ChatEvent::is_content);
    events.get(..last.map_or(0, |last| last + 1)).unwrap_or_default()
}

/// Cut off before the finish reason a stream is incomplete; from there on it is complete, with what was seen.
fn cut_off(api: &str, body: &[u8], dialect: &dyn Dialect, frames: &[Frame], (all, end): &Run) -> Outcome<()> {
    let (may, must) = bounds(api, frames);
    // From the first byte of an error on, the cut stream may already tell of it.
    let error = frames.iter().position(Frame::is_error);
    let error = error.map(|at| at.checked_sub(1).and_then(|at| frames.get(at)).map_or(0, |frame| frame.end));
    if error.is_some() && end.is_ok() {
        return Err("an error in the recording was not noticed".into());
    }
    for at in cuts(body, frames) {
        let (events, outcome) = feed(dialect, [body.get(..at).unwrap_or_default()]);
        let incomplete = outcome.as_ref().is_err_and(|error| error.category == Category::Incomplete);
        let complete =
            outcome.is_ok() && events.iter().any(|event| matches!(event, ChatEvent::Finished { .. }));
        if error.is_none_or(|error| at <= error) {
            if must.is_some_and(|must| at >= must) && !complete {
                return Err(format!("cut at {at}, after the finish reason, it is not complete: {outcome:?}"));
            }
            if may.is_none_or(|may| at < may) && !incomplete {
                return Err(format!(
                    "cut at {at}, before the finish reason, it is not incomplete: {outcome:?}"
                ));
            }
            if !complete && !incomplete {
                return Err(format!("cut at {at}, it is neither complete nor incomplete: {outcome:?}"));
            }
        }
        if !all.starts_with(content(&events)) {
            return Err(format!("cut at {at}, it gives events the whole stream does not give"));
        }
    }
    Ok(())
}
