//! Puts the pieces of a streamed answer together.

use super::{ChatEvent, ChatResponse, Continuation, FinishReason, ToolRequest, Usage};
use crate::error::{Error, ErrorKind, Result};

/// Collects [`ChatEvent`]s into the [`ChatResponse`] a non-streamed call would have given.
#[derive(Clone, Debug, Default)]
pub struct ChatAssembler {
    id: Option<String>,
    model: Option<String>,
    text: String,
    reasoning: String,
    refusal: Option<String>,
    tool_calls: Vec<ToolRequest>,
    finish: Option<(FinishReason, Option<String>)>,
    usage: Option<Usage>,
    continuation: Option<Continuation>,
}

impl ChatAssembler {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn push(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Started { id, model } => {
                self.id = self.id.take().or_else(|| id.clone());
                self.model = self.model.take().or_else(|| model.clone());
            }
            ChatEvent::Text(text) => self.text.push_str(text),
            ChatEvent::Reasoning(text) => self.reasoning.push_str(text),
            ChatEvent::Refusal(text) => self.refusal.get_or_insert_default().push_str(text),
            ChatEvent::ToolCall { index, id, name, arguments } => {
                while self.tool_calls.len() <= *index {
                    self.tool_calls.push(ToolRequest {
                        id: String::new(),
                        name: String::new(),
                        arguments: String::new(),
                        complete: false,
                    });
                }
                if let Some(call) = self.tool_calls.get_mut(*index) {
                    if let Some(id) = id {
                        call.id.clone_from(id);
                    }
                    if let Some(name) = name {
                        call.name.push_str(name);
                    }
                    call.arguments.push_str(arguments);
                }
            }
            ChatEvent::Continuation(items) => self.continuation = Some(items.clone()),
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Finished { reason, raw } => self.finish = Some((*reason, raw.clone())),
        }
    }

    /// Token counts so far, for settling an answer that was cut off.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Bytes of text, reasoning, refusal and arguments so far.
    pub fn written(&self) -> usize {
        let arguments: usize = self.tool_calls.iter().map(|call| call.arguments.len()).sum();
        self.text.len() + self.reasoning.len() + self.refusal.as_ref().map_or(0, String::len) + arguments
    }

    /// Whether the answer is complete.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The whole answer.
    ///
    /// # Errors
    /// `incomplete` when no [`ChatEvent::Finished`] was seen.
    pub fn finish(mut self) -> Result<ChatResponse> {
        let Some((finish, finish_raw)) = self.finish else {
            return Err(Error::new(ErrorKind::Incomplete, "the model's answer ended before it was complete"));
        };
        for call in &mut self.tool_calls {
            // A call cut off by the token limit has half its arguments; half an argument list must not be executed.
            call.complete = call.json().is_some() && !call.name.is_empty();
        }
        if matches!(finish, FinishReason::Length | FinishReason::ContentFilter)
            && let Some(last) = self.tool_calls.last_mut()
            && last.arguments.trim().is_empty()
        {
            // Cut off before its arguments began; elsewhere no arguments are an empty object.
            last.complete = false;
        }
        Ok(ChatResponse {
            id: self.id,
            model: self.model,
            text: self.text,
            reasoning: self.reasoning,
            refusal: self.refusal.filter(|refusal| !refusal.is_empty()),
            tool_calls: self.tool_calls,
            finish,
            finish_raw,
            usage: self.usage,
            continuation: self.continuation,
        })
    }
}
