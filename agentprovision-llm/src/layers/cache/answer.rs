//! A stored answer: events in one normal form, from which both a stream and a whole answer are made.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::model::{
    Attempt, AttemptEnd, CallLog, ChatAssembler, ChatEvent, ChatResponse, ChatStream, FinishReason,
    ModelInfo, Usage,
};
use futures_util::{StreamExt, stream};

use crate::layers::events::events;

/// Neighbouring pieces are joined up to this many bytes: pieces of a word each would be mostly overhead.
const PIECE: usize = 1024;

/// What an event takes beside its text.
const EVENT_BYTES: usize = size_of::<ChatEvent>();

/// The provider and model that gave an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answerer {
    /// The provider.
    pub provider: String,
    /// The model, by the provider's name for it.
    pub model: String,
}

impl Answerer {
    /// Who answered: the last attempt since the log had `start` entries that gave an answer, or the model itself where
    /// it records no attempts.
    pub(super) fn of(log: &CallLog, start: usize, info: &ModelInfo) -> Option<Self> {
        if log.len() <= start {
            return Some(Self { provider: info.provider.clone(), model: info.name.clone() });
        }
        let answered = |attempt: &Attempt| attempt.end == AttemptEnd::Answered;
        log.read(|attempts| {
            let last = attempts.iter().skip(start).rfind(|attempt| answered(attempt))?;
            Some(Self { provider: last.provider.clone(), model: last.model.clone() })
        })
    }

    /// Who was asked last since the log had `start` entries, or the model itself where it records no attempts.
    pub(super) fn last(log: &CallLog, start: usize, info: &ModelInfo) -> Self {
        match log.attempts().into_iter().skip(start).next_back() {
            Some(attempt) => Self { provider: attempt.provider, model: attempt.model },
            None => Self { provider: info.provider.clone(), model: info.name.clone() },
        }
    }

    pub(crate) fn is(&self, info: &ModelInfo) -> bool {
        self.provider == info.provider && self.model == info.name
    }
}

/// What a stored answer is said to have used: nothing, and that is known.
pub(super) const FREE: Usage = Usage {
    input_tokens: Some(0),
    cache_read_tokens: None,
    cache_write_tokens: None,
    cache_write_1h_tokens: None,
    output_tokens: Some(0),
    reasoning_tokens: None,
    billed_input_tokens: None,
    billed_output_tokens: None,
    search_units: None,
    service_tier: None,
};

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) by: Option<Answerer>,
    events: Arc<[ChatEvent]>,
    pub(super) bytes: usize,
}

impl Answer {
    /// The same answer, by this target.
    pub(super) fn by(self, by: Option<Answerer>) -> Self {
        Self { by, ..self }
    }

    /// Whether it calls tools.
    #[cfg(feature = "cache-semantic")]
    pub(super) fn has_calls(&self) -> bool {
        self.events.iter().any(|event| matches!(event, ChatEvent::ToolCall { .. }))
    }

    /// The answer as a whole, at no cost.
    pub(super) fn whole(&self) -> Result<ChatResponse> {
        let mut assembler = ChatAssembler::new();
        self.events.iter().for_each(|event| assembler.push(event));
        assembler.push(&ChatEvent::Usage(FREE));
        assembler.finish()
    }

    /// The answer as a stream, at no cost.
    pub(super) fn stream(&self) -> ChatStream {
        let events = Arc::clone(&self.events);
        let stored = (0..events.len()).filter_map(move |place| events.get(place).cloned());
        stream::iter(stored.chain([ChatEvent::Usage(FREE)]).map(Ok)).boxed()
    }
}

/// Takes an answer down as it passes by.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    events: Vec<ChatEvent>,
    whole: ChatAssembler,
}

impl Recorder {
    /// Takes the next piece down.
    pub(super) fn push(&mut self, event: &ChatEvent) {
        self.whole.push(event);
        if matches!(event, ChatEvent::Usage(_)) || self.joined(event) {
            return;
        }
        self.events.push(event.clone());
    }

    fn joined(&mut self, event: &ChatEvent) -> bool {
        let join = |held: &mut String, piece: &str| {
            let fits = held.len() + piece.len() <= PIECE;
            if fits {
                held.push_str(piece);
            }
            fits
        };
        match (self.events.last_mut(), event) {
            (Some(ChatEvent::Text(held)), ChatEvent::Text(piece))
            | (Some(ChatEvent::Reasoning(held)), ChatEvent::Reasoning(piece))
            | (Some(ChatEvent::Refusal(held)), ChatEvent::Refusal(piece)) => join(held, piece),
            (
                Some(ChatEvent::ToolCall { index: last, arguments: held, .. }),
                ChatEvent::ToolCall { index, id: None, name: None, arguments },
            ) if last == index => join(held, arguments),
            _ => false,
        }
    }

    /// Whether the answer is complete.
    pub(super) fn is_finished(&self) -> bool {
        self.whole.is_finished()
    }

    /// The answer, and whether it may be stored.
    pub(super) fn end(self) -> Result<(Answer, bool)> {
        let Self { events, whole } = self;
        let storable = storable(&whole.finish()?);
        Ok((answer(None, events), storable))
    }
}

fn answer(by: Option<Answerer>, events: Vec<ChatEvent>) -> Answer {
    let bytes = events.iter().map(|event| EVENT_BYTES + text_bytes(event)).sum();
    Answer { by, events: events.into(), bytes }
}

fn text_bytes(event: &ChatEvent) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match event {
        ChatEvent::Started { id, model } => length(id) + length(model),
        ChatEvent::Text(text) | ChatEvent::Reasoning(text) | ChatEvent::Refusal(text) => text.len(),
        ChatEvent::ToolCall { id, name, arguments, .. } => length(id) + length(name) + arguments.len(),
        ChatEvent::Continuation(items) => items.items.iter().map(|item| item.to_string().len()).sum(),
        ChatEvent::Finished { raw, .. } => length(raw),
        _ => 0,
    }
}

/// A whole answer in the form of a stored one.
pub(super) fn of_whole(response: &ChatResponse, by: Option<Answerer>) -> Answer {
    answer(by, events(ChatResponse { usage: None, ..response.clone() }))
}

/// Whether an answer may be given again: it says something, the model was done, and nothing cut or refused it.
pub(super) fn storable(response: &ChatResponse) -> bool {
    let done = match response.finish {
        FinishReason::Stop => !response.text.is_empty() || !response.tool_calls.is_empty(),
        FinishReason::ToolCalls => !response.tool_calls.is_empty(),
        _ => false,
    };
    done && response.refusal.is_none() && response.tool_calls.iter().all(|call| call.complete)
}
