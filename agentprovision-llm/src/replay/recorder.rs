//! Recording.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use agentprovision_core::Result;
use agentprovision_core::http::{BodyStream, HttpTransport};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::cassette::{
    Exchange, Piece, REDACTED, RecordedRequest, RecordedResponse, body_of, of_connection, path_of,
    without_secrets,
};

/// A transport that hands everything on to another one and records it.
///
/// Keys are not recorded: the values of headers that are marked sensitive or whose names speak of keys, tokens,
/// cookies or authorization, query fields of such names, and their echoes in answers. What people wrote in a
/// conversation is recorded as it is.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<dyn HttpTransport>,
    /// In the order of the requests; `None` until the body of a response has ended or was dropped.
    tape: Arc<Mutex<Vec<Option<Exchange>>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records what goes through `inner`.
    pub fn new(inner: Arc<dyn HttpTransport>) -> Self {
        Self { inner, tape: Arc::default() }
    }

    /// The exchanges that are over, in the order of their requests; [`save`](super::save) writes them. A request
    /// without a response is none.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }
}

#[async_trait]
impl HttpTransport for Recorder {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>> {
        let (headers, mut secrets) = without_secrets(request.headers());
        let recorded = RecordedRequest {
            method: request.method().to_string(),
            path: path_of(request.uri()),
            headers,
            body: body_of(request.body()),
        };
        let at = {
            let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
            tape.push(None);
            tape.len() - 1
        };
        let response = self.inner.send(request).await?;
        let (head, body) = response.into_parts();
        let (mut headers, more) = without_secrets(&head.headers);
        headers.retain(|(name, _)| !of_connection(name));
        secrets.extend(more);
        let body = Recording {
            body,
            tape: Arc::clone(&self.tape),
            at,
            request: recorded,
            response: RecordedResponse {
                status: head.status.as_u16(),
                headers,
                body: Vec::new(),
                // Until its end was seen.
                cut_off: true,
            },
            pieces: Vec::new(),
            secrets,
        };
        Ok(http::Response::from_parts(head, body.boxed()))
    }
}

/// A body that is being read. It is put on the tape when it is dropped, however far it was read.
struct Recording {
    body: BodyStream,
    tape: Arc<Mutex<Vec<Option<Exchange>>>>,
    at: usize,
    request: RecordedRequest,
    response: RecordedResponse,
    pieces: Vec<Bytes>,
    secrets: Vec<String>,
}

impl Stream for Recording {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = std::task::ready!(self.body.poll_next_unpin(cx));
        match &item {
            Some(Ok(piece)) => self.pieces.push(piece.clone()),
            Some(Err(_)) => {}
            None => self.response.cut_off = false,
        }
        Poll::Ready(item)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.response.body = self.pieces.iter().map(|piece| Piece::new(piece)).collect();
        // A secret may be cut in two, so it is looked for in the whole body.
        let mut whole = String::from_utf8_lossy(&self.pieces.concat()).into_owned();
        if self.secrets.iter().any(|secret| whole.contains(secret.as_str())) {
            for secret in &self.secrets {
                whole = whole.replace(secret.as_str(), REDACTED);
            }
            self.response.body = vec![Piece::Text(whole)];
        }
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = tape.get_mut(self.at) {
            *slot = Some(Exchange::new(self.request.clone(), self.response.clone()));
        }
    }
}
