//! Streamed answers: events of the model in, server-sent events of a format out.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use agentprovision_core::model::{ChatEvent, ChatStream};
use agentprovision_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::Value;

use super::load::Permit;

/// Server-sent events as they are written.
#[derive(Debug, Default)]
pub(super) struct Sse(BytesMut);

impl Sse {
    /// An event without a name.
    pub(super) fn data(&mut self, data: &Value) {
        self.text(&data.to_string());
    }

    /// An event with a name.
    pub(super) fn event(&mut self, name: &str, data: &Value) {
        self.0.extend_from_slice(b"event: ");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\n");
        self.data(data);
    }

    /// An event of one line of text.
    pub(super) fn text(&mut self, line: &str) {
        self.0.extend_from_slice(b"data: ");
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(b"\n\n");
    }
}

/// Writes one streamed answer in a format.
pub(super) trait Encoder: Send {
    /// The next event of the model.
    fn event(&mut self, event: ChatEvent, out: &mut Sse);
    /// The answer is whole.
    fn end(&mut self, out: &mut Sse);
    /// The answer broke off, which the format says in its own words.
    fn fail(&mut self, error: &Error, out: &mut Sse);
}

/// The most events and bytes of text that are put into one piece of the body.
const PIECE: usize = 16 * 1024;

/// One streamed answer. Dropping it drops the model's stream first, and with it the request to the provider.
pub(super) struct SentEvents {
    /// `None` once it is over.
    stream: Option<ChatStream>,
    ahead: VecDeque<Result<ChatEvent>>,
    encoder: Box<dyn Encoder>,
    finished: bool,
    out: Sse,
    /// The last field, because what is under way is over when the stream is gone.
    permit: Option<Permit>,
}

impl SentEvents {
    /// Waits until there is content or the end, so that an answer that fails before that has the status of its error.
    ///
    /// # Errors
    /// The error that came before any content.
    pub(super) async fn open(mut stream: ChatStream, encoder: Box<dyn Encoder>) -> Result<Self> {
        let mut ahead = VecDeque::new();
        // Models hold back what is no content themselves, so these are few.
        while ahead.len() < 64 {
            match stream.next().await {
                None => return Err(incomplete()),
                Some(Err(error)) => return Err(error),
                Some(Ok(event)) => {
                    let enough = event.is_content() || matches!(event, ChatEvent::Finished { .. });
                    ahead.push_back(Ok(event));
                    if enough {
                        break;
                    }
                }
            }
        }
        let stream = Some(stream);
        Ok(Self { stream, ahead, encoder, finished: false, out: Sse::default(), permit: None })
    }

    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Ends the answer where it is. What held it is given back, to be dropped.
    pub(super) fn cut(&mut self, error: &Error) -> (Option<ChatStream>, Option<Permit>) {
        let held = (self.stream.take(), self.permit.take());
        if held.0.is_some() {
            self.encoder.fail(error, &mut self.out);
        }
        held
    }

    /// Whether there will be no more than what is written.
    pub(super) fn is_over(&self) -> bool {
        self.stream.is_none()
    }

    /// The next piece of the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.out.0.len() < PIECE {
            match self.next(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => break,
                Poll::Pending if self.out.0.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let piece = self.out.0.split().freeze();
        Poll::Ready((!piece.is_empty()).then_some(piece))
    }

    /// Writes the next event; false when there is none.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(false) };
        let event = match self.ahead.pop_front() {
            Some(event) => Some(event),
            None => ready!(stream.poll_next_unpin(cx)),
        };
        match event {
            Some(Ok(event)) => {
                self.finished |= matches!(event, ChatEvent::Finished { .. });
                self.encoder.event(event, &mut self.out);
                return Poll::Ready(true);
            }
            // An answer that is complete stays so whatever happens afterwards.
            Some(Err(_)) | None if self.finished => self.encoder.end(&mut self.out),
            Some(Err(error)) => self.encoder.fail(&error, &mut self.out),
            None => self.encoder.fail(&incomplete(), &mut self.out),
        }
        self.stream = None;
        self.permit = None;
        Poll::Ready(false)
    }
}

fn incomplete() -> Error {
    Error::new(ErrorKind::Incomplete, "the model's answer ended before it was complete")
}
