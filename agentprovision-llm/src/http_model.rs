//! A chat model over HTTP: a dialect, an endpoint and a transport.

use std::collections::VecDeque;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo, Usage,
};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
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
    target: Target,
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
        Self { target: Target::new(info, endpoint, transport), dialect }
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
            target: self.target.clone(),
            decoder: self.dialect.decoder(),
            body: Some(response.into_body()),
            events: VecDeque::new(),
            usage: None,
            error: None,
        };
        // Until there is content, another model can still take over, so an error until then is an error of the call.
        while !exchange.committed() {
            exchange.read().await;
        }
        if !exchange.has_content()
            && let Some(error) = exchange.error.take()
        {
            return Err(error);
        }
        Ok(stream::unfold(exchange, |mut exchange| async {
            let item = exchange.next().await?;
            Some((item, exchange))
        })
        .boxed())
    }
}

/// A streamed answer as it arrives.
struct Exchange {
    target: Target,
    decoder: Box<dyn StreamDecoder>,
    /// `None` once it is over; dropping it closes the exchange.
    body: Option<BodyStream>,
    events: VecDeque<ChatEvent>,
    /// The counts so far.
    usage: Option<Usage>,
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

    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            self.body.as_ref()?;
            self.read().await;
        }
    }

    /// Reads one piece of the body and decodes it.
    async fn read(&mut self) {
        let Some(body) = &mut self.body else { return };
        let mut out = Vec::new();
        let (broken, outcome) = match body.next().await {
            Some(Ok(piece)) => (None, self.decoder.push(&piece, &mut out)),
            end => {
                self.body = None;
                (end.and_then(Result::err), self.decoder.finish(&mut out))
            }
        };
        for event in &out {
            if let ChatEvent::Usage(usage) = event {
                self.usage = Some(*usage);
            }
        }
        self.events.extend(out);
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
    }
}
