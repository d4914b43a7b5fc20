//! The guards of a layer, and what they look at.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatRequest, ChatResponse, Content, Continuation, Message, RouteHints,
};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use serde_json::Value;

use super::json::Leaves;
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

/// Who asks, and what the models come to that guards ask meanwhile.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) ctx: Context,
    route: RouteHints,
    /// Of the models that guards ask. Apart from the request's own, by which the layers within settle, until these are
    /// done.
    log: CallLog,
    theirs: CallLog,
    told: usize,
}

impl Asker {
    pub(super) fn new(ctx: &Context, route: &RouteHints, log: &CallLog) -> Self {
        let (ctx, route, theirs) = (ctx.clone(), route.clone(), log.clone());
        Self { ctx, route, log: CallLog::default(), theirs, told: 0 }
    }

    /// Writes what guards spent into the request's log.
    pub(super) fn tell(&mut self) {
        for attempt in self.log.attempts().into_iter().skip(self.told) {
            self.theirs.push(attempt);
            self.told += 1;
        }
    }

    pub(super) fn inspected<'a>(
        &'a self,
        side: Side,
        part: Part,
        before: usize,
        text: &'a str,
    ) -> Inspected<'a> {
        Inspected { side, part, before, text, route: &self.route, log: &self.log }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Set {
    pub(super) fn has(&self, side: Side) -> bool {
        self.entries.iter().any(|entry| entry.sides.contains(&side))
    }

    /// What all guards of a side say of a text, each after the replacements of those before it.
    pub(super) async fn look(&self, asker: &Asker, what: &Inspected<'_>) -> Result<Spans> {
        let mut spans = Spans::default();
        if what.text.is_empty() {
            return Ok(spans);
        }
        for entry in self.entries.iter().filter(|entry| entry.sides.contains(&what.side)) {
            let verdict = {
                let replaced = spans.apply(what.text);
                let now = Inspected { text: &replaced, ..what.clone() };
                self.env.timeout(entry.timeout, entry.guard.inspect(&asker.ctx, &now)).await
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
        asker: &Asker,
        side: Side,
        part: Part,
        before: &mut usize,
        text: &mut String,
    ) -> Result<bool> {
        let spans = self.look(asker, &asker.inspected(side, part, *before, text)).await?;
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
        asker: &Asker,
        side: Side,
        part: Part,
        before: &mut usize,
        text: &mut String,
    ) -> Result<bool> {
        let Some(leaves) = Leaves::of(text) else {
            return self.plain(asker, side, part, before, text).await;
        };
        let spans = self.look(asker, &asker.inspected(side, part, *before, leaves.text())).await?;
        *before += text.len();
        if spans.is_empty() {
            return Ok(false);
        }
        *text = leaves.replaced(text, &spans);
        Ok(true)
    }

    /// Whether something is to be replaced in what a provider wants to see again of its answer; nothing in it can be,
    /// because it may be signed.
    async fn continuation(
        &self,
        asker: &Asker,
        before: &mut usize,
        continuation: &Continuation,
    ) -> Result<bool> {
        let mut text = String::new();
        continuation.items.iter().for_each(|item| strings(item, &mut text));
        let spans = self.look(asker, &asker.inspected(Side::Input, Part::Assistant, *before, &text)).await?;
        *before += text.len();
        Ok(!spans.is_empty())
    }

    /// Looks at a request and replaces in it what must be.
    pub(super) async fn request(&self, asker: &Asker, request: &mut ChatRequest) -> Result<()> {
        let mut before = 0;
        for (index, message) in request.messages.iter_mut().enumerate() {
            let looked = self.message(asker, &mut before, message).await;
            looked.map_err(|error| error.with_context("message", index))?;
        }
        Ok(())
    }

    async fn message(&self, asker: &Asker, before: &mut usize, message: &mut Message) -> Result<()> {
        let side = Side::Input;
        match message {
            Message::System { text } => _ = self.plain(asker, side, Part::System, before, text).await?,
            Message::User { content } => {
                for piece in content {
                    if let Content::Text { text } = piece {
                        self.plain(asker, side, Part::User, before, text).await?;
                    }
                }
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let mut changed = self.plain(asker, side, Part::Assistant, before, text).await?;
                for call in tool_calls {
                    changed |=
                        self.json(asker, side, Part::ToolArguments, before, &mut call.arguments).await?;
                }
                if let Some(items) = continuation {
                    // It says the same again in the provider's own form, or whatever a caller wrote into it.
                    if changed || self.continuation(asker, before, items).await? {
                        *continuation = None;
                    }
                }
            }
            Message::Tool { content, .. } => {
                self.json(asker, side, Part::ToolResult, before, content).await?;
            }
            // A kind of message this version does not know holds nothing it could look at.
            _ => {}
        }
        Ok(())
    }

    /// Looks at a whole answer and replaces in it what must be. Whether there was anything.
    pub(super) async fn response(&self, asker: &Asker, response: &mut ChatResponse) -> Result<bool> {
        let (side, mut before) = (Side::Output, 0);
        let mut changed =
            self.plain(asker, side, Part::Reasoning, &mut before, &mut response.reasoning).await?;
        changed |= self.plain(asker, side, Part::Text, &mut before, &mut response.text).await?;
        if let Some(refusal) = &mut response.refusal {
            changed |= self.plain(asker, side, Part::Refusal, &mut before, refusal).await?;
        }
        for call in &mut response.tool_calls {
            changed |= self.json(asker, side, Part::ToolArguments, &mut before, &mut call.arguments).await?;
        }
        if changed {
            response.continuation = None;
        }
        Ok(changed)
    }

    /// Looks at texts that are called `what` in errors, after so many bytes of others.
    pub(super) async fn texts(
        &self,
        asker: &Asker,
        what: &'static str,
        texts: &mut [String],
        mut before: usize,
    ) -> Result<()> {
        for (index, text) in texts.iter_mut().enumerate() {
            let looked = self.plain(asker, Side::Input, Part::User, &mut before, text).await;
            looked.map_err(|error| error.with_context(what, index))?;
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

/// The strings in a JSON value, a line each.
fn strings(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, text)),
        Value::Object(map) => map.values().for_each(|item| strings(item, text)),
        _ => {}
    }
}
