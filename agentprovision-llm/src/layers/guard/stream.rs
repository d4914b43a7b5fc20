//! Guards on a streamed answer: pieces are held, looked at in windows, and let go.

use std::collections::VecDeque;
use std::sync::Arc;

use agentprovision_core::model::{ChatEvent, ChatStream, Continuation, ToolRequest};
use agentprovision_core::{ErrorKind, Result};
use futures_util::{StreamExt, stream};

use super::set::{Asker, Set};
use super::{Forget, Part, Side};

/// A replacement that goes on for so many windows is let go in parts.
const LONGEST: usize = 4;

/// The text of one kind that is under way. Its front is out already and stays only as what comes before the rest.
#[derive(Debug)]
struct Window {
    part: Part,
    text: String,
    /// Bytes of it that are out.
    released: usize,
    /// Bytes of it that were looked at.
    seen: usize,
    /// Bytes of the answer before it.
    before: usize,
}

struct Guarded {
    /// Dropped first: its end is what inner layers settle by.
    source: Source,
    set: Arc<Set>,
    /// After the source: what guards spent is told when the layers within have settled.
    asker: Asker,
    ready: VecDeque<Result<ChatEvent>>,
    window: Option<Window>,
    /// Calls are let go at the end, whole: nobody may act on half of one anyway.
    calls: Vec<ToolRequest>,
    continuation: Option<Continuation>,
}

/// The inner stream, and what is to be done when it is over.
struct Source {
    inner: Option<ChatStream>,
    /// Whether something was replaced or blocked.
    redacted: bool,
    forget: Forget,
}

impl Source {
    fn close(&mut self) {
        self.inner = None;
        if self.redacted {
            self.forget.now();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.close();
    }
}

/// The stream with guards.
pub(super) fn guarded(inner: ChatStream, set: Arc<Set>, asker: Asker, forget: Forget) -> ChatStream {
    let guarded = Guarded {
        source: Source { inner: Some(inner), redacted: false, forget },
        set,
        asker,
        ready: VecDeque::new(),
        window: None,
        calls: Vec::new(),
        continuation: None,
    };
    stream::unfold(guarded, |mut guarded| async {
        let item = guarded.next().await?;
        Some((item, guarded))
    })
    .boxed()
}

impl Guarded {
    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let event = self.source.inner.as_mut()?.next().await;
            let taken = match event {
                Some(Ok(event)) => self.take(event).await,
                // What was held is judged like the rest; calls that are not whole go with the stream.
                Some(Err(error)) => self.flush().await.and(Err(error)),
                None => {
                    let flushed = self.flush().await;
                    self.source.close();
                    self.asker.tell();
                    flushed
                }
            };
            if let Err(error) = taken {
                self.source.redacted |= error.is(ErrorKind::ContentPolicy);
                // Closes the exchange with the provider, and drops what is held.
                self.source.close();
                self.asker.tell();
                self.ready.push_back(Err(error));
            }
        }
    }

    async fn take(&mut self, event: ChatEvent) -> Result<()> {
        match event {
            ChatEvent::Text(text) => self.push(Part::Text, &text).await,
            ChatEvent::Reasoning(text) => self.push(Part::Reasoning, &text).await,
            ChatEvent::Refusal(text) => self.push(Part::Refusal, &text).await,
            ChatEvent::ToolCall { index, id, name, arguments } => {
                self.flush().await?;
                self.call(index, id, name, &arguments);
                Ok(())
            }
            ChatEvent::Continuation(items) => {
                self.continuation = Some(items);
                Ok(())
            }
            ChatEvent::Finished { .. } => {
                self.flush().await?;
                self.release_calls().await?;
                let items = self.continuation.take();
                // It says the same again, in the provider's own form.
                if let Some(items) = items.filter(|_| !self.source.redacted) {
                    self.ready.push_back(Ok(ChatEvent::Continuation(items)));
                }
                self.ready.push_back(Ok(event));
                Ok(())
            }
            other => {
                self.ready.push_back(Ok(other));
                Ok(())
            }
        }
    }

    async fn push(&mut self, part: Part, text: &str) -> Result<()> {
        if self.window.as_ref().is_none_or(|window| window.part != part) {
            self.flush().await?;
            let before = self.window.take().map_or(0, |window| window.before + window.text.len());
            self.window = Some(Window { part, text: String::new(), released: 0, seen: 0, before });
        }
        let Some(window) = &mut self.window else { return Ok(()) };
        window.text.push_str(text);
        if window.text.len() - window.seen >= self.set.window { self.look(false).await } else { Ok(()) }
    }

    /// Lets everything go that is held as text, after a look at it.
    async fn flush(&mut self) -> Result<()> {
        match &self.window {
            Some(window) if window.released < window.text.len() => self.look(true).await,
            _ => Ok(()),
        }
    }

    /// Looks at the window, and lets go what no later text can change; all of it when no more follows.
    async fn look(&mut self, last: bool) -> Result<()> {
        let Some(window) = &mut self.window else { return Ok(()) };
        let what = self.asker.inspected(Side::Output, window.part, window.before, &window.text);
        let spans = self.set.look(&self.asker, &what).await?;
        let length = window.text.len();
        let mut cut = length;
        if !last {
            cut = window.text.floor_char_boundary(length.saturating_sub(self.set.overlap));
            // What is replaced is let go as one, unless it never ends.
            if let Some(span) = spans.across(cut) {
                let held = length - window.released;
                let longest = LONGEST * (self.set.window + self.set.overlap);
                cut = if held < longest { span.start } else { span.end };
            }
            cut = cut.max(window.released);
        }
        let out = window.released..cut;
        if !out.is_empty() {
            self.source.redacted |= spans.touches(&out);
            let text = spans.part(&window.text, out);
            if !text.is_empty() {
                self.ready.push_back(Ok(match window.part {
                    Part::Reasoning => ChatEvent::Reasoning(text),
                    Part::Refusal => ChatEvent::Refusal(text),
                    _ => ChatEvent::Text(text),
                }));
            }
        }
        // As much of what is out stays before the rest as is held back at the end.
        let gone = window.text.floor_char_boundary(cut.saturating_sub(self.set.overlap));
        window.text.drain(..gone);
        window.before += gone;
        window.released = cut - gone;
        window.seen = length - gone;
        Ok(())
    }

    fn call(&mut self, index: usize, id: Option<String>, name: Option<String>, arguments: &str) {
        while self.calls.len() <= index {
            let (id, name, arguments) = Default::default();
            self.calls.push(ToolRequest { id, name, arguments, complete: false });
        }
        if let Some(call) = self.calls.get_mut(index) {
            if let Some(id) = id {
                call.id = id;
            }
            call.name.push_str(&name.unwrap_or_default());
            call.arguments.push_str(arguments);
        }
    }

    async fn release_calls(&mut self) -> Result<()> {
        let mut before = self.window.as_ref().map_or(0, |window| window.before + window.text.len());
        for (index, mut call) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            let looked = self.set.json(
                &self.asker,
                Side::Output,
                Part::ToolArguments,
                &mut before,
                &mut call.arguments,
            );
            self.source.redacted |= looked.await?;
            let ToolRequest { id, name, arguments, .. } = call;
            let event = ChatEvent::ToolCall { index, id: Some(id), name: Some(name), arguments };
            self.ready.push_back(Ok(event));
        }
        Ok(())
    }
}
