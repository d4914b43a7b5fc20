//! A chat model over HTTP: a dialect, an endpoint and a transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use agentprovision_core::context::Context;
use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo, Usage,
};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode};

use crate::endpoint::Endpoint;
use crate::target::Target;
use crate::wire::fit::fit;
use crate::wire::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// A model of one provider, over HTTP.
///
/// The `model` of a request is replaced by the name this model has at its provider, so that the name an agent uses and
/// the provider's name may differ. An answer's deadline is the caller's to keep: dropping the future or the stream ends
/// the exchange.
#[derive(Clone, Debug)]
pub struct HttpModel {
    target: Arc<Target>,
    dialect: Arc<dyn Dialect>,
}

impl HttpModel {
    /// A model that is called what `info` calls it, here and at its provider.
    pub fn new(
        info: ModelInfo,
        endpoint: Endpoint,
        dialect: Arc<dyn Dialect>,
        transport: Arc<dyn HttpTransport>,
    ) -> Self {
        Self { target: Arc::new(Target::new(info, endpoint, transport)), dialect }
    }

    fn encode(&self, mut request: ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        request.model.clone_from(&self.target.wire_name);
        request.extra = fit(request.extra_format.take(), self.dialect.format(), request.extra)?;
        self.dialect.encode(&request, delivery)
    }

    fn classify(&self) -> impl Fn(StatusCode, &HeaderMap, &[u8]) -> ProviderError + Sync {
        |status, headers, body| self.dialect.classify(status, headers, body)
    }
}

#[async_trait]
impl ChatModel for HttpModel {
    fn info(&self) -> &ModelInfo {
        &self.target.info
    }

    async fn complete(&self, _ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let wire = self.encode(request, Delivery::Whole)?;
        let (head, body) = self.target.whole(wire, &self.classify()).await?;
        self.dialect.decode(head.status, &head.headers, &body).map_err(|error| self.target.failed(error))
    }

    async fn stream(&self, _ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let wire = self.encode(request, Delivery::Streamed)?;
        let response = self.target.open(wire, &self.classify()).await?;
        let mut exchange = Exchange {
            target: Arc::clone(&self.target),
            decoder: self.dialect.decoder(),
            body: Some(response.into_body()),
            events: VecDeque::new(),
            usage: None,
            decoded: Vec::new(),
            error: None,
        };
        // Until there is content, another model can still take over, so an error until then is an error of the call.
        while !exchange.committed() {
            poll_fn(|task| exchange.poll_read(task)).await;
        }
        if !exchange.has_content()
            && let Some(error) = exchange.error.take()
        {
            return Err(error);
        }
        Ok(exchange.boxed())
    }
}

/// A streamed answer as it arrives.
struct Exchange {
    target: Arc<Target>,
    decoder: Box<dyn StreamDecoder>,
    /// `None` once it is over; dropping it closes the exchange.
    body: Option<BodyStream>,
    events: VecDeque<ChatEvent>,
    /// The counts so far.
    usage: Option<Usage>,
    /// Kept for its room.
    decoded: Vec<ChatEvent>,
    /// Comes after the events.
    error: Option<Error>,
}

impl Exchange {
    fn has_content(&self) -> bool {
        self.events.iter().any(|event| event.is_content() || matches!(event, ChatEvent::Finished { .. }))
    }

    fn committed(&self) -> bool {
        self.body.is_none() || self.has_content()
    }

    /// Reads one piece of the body and decodes it.
    fn poll_read(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let Some(body) = &mut self.body else { return Poll::Ready(()) };
        let out = &mut self.decoded;
        let (broken, outcome) = match ready!(body.poll_next_unpin(task)) {
            Some(Ok(piece)) => (None, self.decoder.push(&piece, out)),
            end => {
                self.body = None;
                (end.and_then(Result::err), self.decoder.finish(out))
            }
        };
        for event in self.decoded.drain(..) {
            if let ChatEvent::Usage(usage) = &event {
                self.usage = Some(*usage);
            }
            self.events.push_back(event);
        }
        // An answer that is complete stays so when its connection breaks afterwards.
        if let Err(mut error) = outcome {
            self.body = None;
            // Of a call that fails nobody sees the events.
            error.usage = error.usage.or(self.usage.map(Box::new));
            self.error = Some(match broken {
                Some(broken) => self.target.broken(broken, error.usage),
                None => self.target.failed(error),
            });
        }
        Poll::Ready(())
    }
}

impl Stream for Exchange {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(error) = self.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if self.body.is_none() {
                return Poll::Ready(None);
            }
            ready!(self.poll_read(task));
        }
    }
}
