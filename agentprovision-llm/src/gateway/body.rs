//! Bodies: of requests, with a limit, and of answers.

use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use agentprovision_core::http::inbound::is_json;
use agentprovision_core::{Env, Error, Result};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;

use super::load::{Busy, Permit};
use super::stall::Watched;
use super::stream::SentEvents;

/// The body of an answer: one piece, or a stream of events that ends the model's work when it is dropped.
pub struct GatewayBody(Inner);

enum Inner {
    Whole(Bytes),
    SentEvents(Watched),
}

impl fmt::Debug for GatewayBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Inner::Whole(_) => "Whole",
            Inner::SentEvents(_) => "Events",
        };
        f.debug_tuple("GatewayBody").field(&name).finish()
    }
}

impl GatewayBody {
    pub(super) fn json(value: &Value) -> Self {
        // A value without maps of other keys than text can always be written.
        Self(Inner::Whole(serde_json::to_vec(value).unwrap_or_default().into()))
    }

    pub(super) fn text(text: &'static str) -> Self {
        Self(Inner::Whole(Bytes::from_static(text.as_bytes())))
    }

    pub(super) fn events(events: SentEvents) -> Self {
        Self(Inner::SentEvents(Watched::new(events)))
    }

    /// Counts the request as under way until a stream is over; a whole answer is over when it is there.
    pub(super) fn hold(&mut self, permit: Permit) {
        if let Inner::SentEvents(events) = &mut self.0 {
            events.hold(permit);
        }
    }

    /// Ends a stream that nobody reads for so long, also when it is never polled again.
    pub(super) fn watch(&mut self, env: &Env, limit: Duration) {
        if let Inner::SentEvents(events) = &mut self.0 {
            events.watch(env.clone(), limit);
        }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::SentEvents(events) => {
                events.poll(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::SentEvents(_) => SizeHint::default(),
        }
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is no JSON by its content type.
    MediaType,
    /// It did not arrive in time.
    Slow,
    /// There is no room for it.
    Busy(Busy),
    /// Anything else.
    Refused(Error),
}

/// Reads a JSON body of at most `limit` bytes, for which the permit holds room; what is announced as longer is not read at
/// all.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    permit: &mut Permit,
    limit: usize,
) -> Result<Value, BodyError>
where
    B: Body,
    B::Error: fmt::Display,
{
    let media_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if media_type.is_some_and(|media_type| !is_json(media_type)) {
        return Err(BodyError::MediaType);
    }
    let too_large = || {
        BodyError::Refused(Error::too_large(format!("the body is larger than the limit of {limit} bytes")))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error = Error::invalid("the body broke off").with_context("cause", clip_cause(&error));
            BodyError::Refused(error)
        })?;
        if let Ok(mut data) = frame.into_data() {
            use bytes::Buf;
            if bytes.len().saturating_add(data.remaining()) > limit {
                return Err(too_large());
            }
            permit.hold(data.remaining()).map_err(BodyError::Busy)?;
            while data.has_remaining() {
                let chunk = data.chunk();
                bytes.extend_from_slice(chunk);
                let taken = chunk.len();
                data.advance(taken);
            }
        }
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        BodyError::Refused(Error::invalid(format!("the body is not JSON: {} at {place}", reason(&error))))
    })
}

fn clip_cause(error: &impl fmt::Display) -> String {
    crate::clip(&error.to_string())
}

/// What kind of mistake it is. The reader's own words may quote the body.
fn reason(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "there is a mistake",
    }
}
