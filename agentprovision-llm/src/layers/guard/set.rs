//! The guards of a layer, and what they look at.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{ChatRequest, ChatResponse, Content, Message};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use serde_json::Value;

use super::spans::Spans;
use super::{Guard, GuardVerdict, Inspected, OnFailure, Part, Side};
use crate::clip;

/// A guard and how it is used.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) guard: Arc<dyn Guard>,
    pub(super) sides: Vec<Side>,
    pub(super) timeout: Duration,
    pub(super) on_failure: OnFailure,
}

/// All guards of a layer.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) env: Env,
    pub(super) entries: Vec<Entry>,
    /// Bytes of a streamed answer from one look to the next.
    pub(super) window: usize,
    /// Bytes that are looked at again, and held back until then.
    pub(super) overlap: usize,
}

impl Set {
    pub(super) fn has(&self, side: Side) -> bool {
        self.entries.iter().any(|entry| entry.sides.contains(&side))
    }

    /// What all guards of a side say of a text, each after the replacements of those before it.
    pub(super) async fn look(&self, ctx: &Context, what: &Inspected<'_>) -> Result<Spans> {
        let mut spans = Spans::default();
        if what.text.is_empty() {
            return Ok(spans);
        }
        for entry in self.entries.iter().filter(|entry| entry.sides.contains(&what.side)) {
            let verdict = {
                let replaced = spans.apply(what.text);
                let now = Inspected { text: &replaced, ..what.clone() };
                self.env.timeout(entry.timeout, entry.guard.inspect(ctx, &now)).await
            };
            let cause = match verdict {
                Some(Ok(GuardVerdict::Allow)) => continue,
                Some(Ok(GuardVerdict::Redact(found))) => {
                    spans.add(what.text, found);
                    continue;
                }
                Some(Ok(GuardVerdict::Block(reason))) => {
                    return Err(blocked(entry.guard.name(), what.side, &reason));
                }
                Some(Err(cause)) => cause,
                None => Error::new(ErrorKind::DeadlineExceeded, "the guard took too long"),
            };
            if entry.on_failure == OnFailure::Block {
                let words = format!("the guard `{}` could not decide", clip(entry.guard.name()));
                return Err(Error::new(ErrorKind::Unavailable, words)
                    .with_context("guard", entry.guard.name())
                    .with_source(cause));
            }
        }
        Ok(spans)
    }

    /// Looks at a text and replaces in it what must be. Whether there was anything.
    async fn plain(
        &self,
        ctx: &Context,
        side: Side,
        part: Part,
        before: &mut usize,
        text: &mut String,
    ) -> Result<bool> {
        let spans = self.look(ctx, &Inspected { side, part, before: *before, text }).await?;
        *before += text.len();
        if spans.is_empty() {
            return Ok(false);
        }
        *text = spans.apply(text).into_owned();
        Ok(true)
    }

    /// The same for a text that may be JSON, as arguments and results of tools are: the strings and numbers in it are
    /// looked at as what they mean, not as they are escaped, and what is written back is JSON again.
    pub(super) async fn json(
        &self,
        ctx: &Context,
        side: Side,
        part: Part,
        before: &mut usize,
        text: &mut String,
    ) -> Result<bool> {
        let Ok(mut value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(text) else {
            return self.plain(ctx, side, part, before, text).await;
        };
        let (mut leaves, mut places) = (String::new(), Vec::new());
        collect(&value, &mut leaves, &mut places);
        let spans = self.look(ctx, &Inspected { side, part, before: *before, text: &leaves }).await?;
        *before += text.len();
        if spans.is_empty() {
            return Ok(false);
        }
        replace(&mut value, &leaves, &spans, &mut places.into_iter());
        *text = value.to_string();
        Ok(true)
    }

    /// Looks at a request and replaces in it what must be.
    pub(super) async fn request(&self, ctx: &Context, request: &mut ChatRequest) -> Result<()> {
        let mut before = 0;
        for (index, message) in request.messages.iter_mut().enumerate() {
            let looked = self.message(ctx, &mut before, message).await;
            looked.map_err(|error| error.with_context("message", index))?;
        }
        Ok(())
    }

    async fn message(&self, ctx: &Context, before: &mut usize, message: &mut Message) -> Result<()> {
        let side = Side::Input;
        match message {
            Message::System { text } => _ = self.plain(ctx, side, Part::System, before, text).await?,
            Message::User { content } => {
                for piece in content {
                    if let Content::Text { text } = piece {
                        self.plain(ctx, side, Part::User, before, text).await?;
                    }
                }
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let mut changed = self.plain(ctx, side, Part::Assistant, before, text).await?;
                for call in tool_calls {
                    changed |= self.json(ctx, side, Part::ToolArguments, before, &mut call.arguments).await?;
                }
                if changed {
                    // It says the same again, in the provider's own form.
                    *continuation = None;
                }
            }
            Message::Tool { content, .. } => {
                self.json(ctx, side, Part::ToolResult, before, content).await?;
            }
            // A kind of message this version does not know holds nothing it could look at.
            _ => {}
        }
        Ok(())
    }

    /// Looks at a whole answer and replaces in it what must be. Whether there was anything.
    pub(super) async fn response(&self, ctx: &Context, response: &mut ChatResponse) -> Result<bool> {
        let (side, mut before) = (Side::Output, 0);
        let mut changed =
            self.plain(ctx, side, Part::Reasoning, &mut before, &mut response.reasoning).await?;
        changed |= self.plain(ctx, side, Part::Text, &mut before, &mut response.text).await?;
        if let Some(refusal) = &mut response.refusal {
            changed |= self.plain(ctx, side, Part::Refusal, &mut before, refusal).await?;
        }
        for call in &mut response.tool_calls {
            changed |= self.json(ctx, side, Part::ToolArguments, &mut before, &mut call.arguments).await?;
        }
        if changed {
            response.continuation = None;
        }
        Ok(changed)
    }

    /// Looks at the texts of an embedding request.
    pub(super) async fn texts(&self, ctx: &Context, texts: &mut [String]) -> Result<()> {
        let mut before = 0;
        for (index, text) in texts.iter_mut().enumerate() {
            let looked = self.plain(ctx, Side::Input, Part::User, &mut before, text).await;
            looked.map_err(|error| error.with_context("input", index))?;
        }
        Ok(())
    }
}

fn blocked(guard: &str, side: Side, reason: &str) -> Error {
    let what = match side {
        Side::Input => "request",
        Side::Output => "answer",
    };
    let words = format!("the guard `{}` refused the {what}: {}", clip(guard), clip(reason));
    Error::new(ErrorKind::ContentPolicy, words).with_context("guard", guard).with_context("reason", reason)
}

/// The strings and numbers of a JSON value, a line each, and where each is.
fn collect(value: &Value, leaves: &mut String, places: &mut Vec<Range<usize>>) {
    let mut push = |text: &str| {
        let start = leaves.len();
        leaves.push_str(text);
        places.push(start..leaves.len());
        leaves.push('\n');
    };
    match value {
        Value::String(text) => push(text),
        Value::Number(number) => push(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, leaves, places)),
        Value::Object(map) => map.values().for_each(|item| collect(item, leaves, places)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Writes what was replaced back, in the order of [`collect`]. A number something is replaced in becomes a string.
fn replace(value: &mut Value, leaves: &str, spans: &Spans, places: &mut impl Iterator<Item = Range<usize>>) {
    match value {
        Value::String(_) | Value::Number(_) => {
            if let Some(place) = places.next()
                && spans.touches(&place)
            {
                *value = Value::String(spans.part(leaves, place));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, leaves, spans, places)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, leaves, spans, places)),
        Value::Null | Value::Bool(_) => {}
    }
}
