//! A gateway over a model that answers what a test says and tells what it was asked.

use std::sync::{Arc, Mutex};

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::context::{Context, ContextIssuer, Credentials, Identity, Principal, RequestInfo};
use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{
    ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    EmbeddingModel, EmbeddingResolver, FinishReason, ModelInfo, ModelResolver, Usage,
};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use agentprovision_llm::gateway::{Gateway, GatewayBody, GatewayBuilder, ModelDirectory};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use secrecy::ExposeSecret;
use serde_json::Value;
use tower::Service;

/// The key of the tenant most tests are.
pub(crate) const KEY: &str = "key-of-acme";
/// The key of another one.
pub(crate) const OTHER_KEY: &str = "key-of-globex";

/// Knows two keys.
#[derive(Debug)]
pub(crate) struct Keys {
    issuer: ContextIssuer,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

#[async_trait]
impl Authenticate for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        let Credentials::ApiKey(key) = credentials else { panic!("another credential") };
        let tenant = match key.expose_secret() {
            KEY => self.acme,
            OTHER_KEY => self.globex,
            "key-of-suspended" => {
                return Err(Error::new(ErrorKind::TenantSuspended, "the tenant is suspended"));
            }
            _ => return Err(Error::new(ErrorKind::Unauthenticated, "the credential does not hold")),
        };
        let identity = Identity {
            tenant,
            principal: Principal::User(self.issuer.env().id()),
            scopes: PermissionSet::EMPTY,
            expires: None,
            key: None,
        };
        Ok(self.issuer.context(&identity, &PermissionSet::EMPTY, RequestInfo::default()))
    }
}

/// A model that gives these events to everybody.
pub(crate) struct Told {
    info: ModelInfo,
    events: Vec<Result<ChatEvent>>,
    /// Whether nothing comes after the events, not even the end.
    stalls: bool,
    pub(crate) asked: Mutex<Vec<(Context, ChatRequest)>>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Told").field(&self.info.name).finish()
    }
}

impl Told {
    pub(crate) fn last(&self) -> (Context, ChatRequest) {
        self.asked.lock().unwrap().last().expect("the model was asked").clone()
    }

    pub(crate) fn was_asked(&self) -> bool {
        !self.asked.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl ChatModel for Told {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let mut assembler = ChatAssembler::new();
        let mut events = self.stream(ctx, request).await?;
        while let Some(event) = events.next().await {
            assembler.push(&event?);
        }
        assembler.finish()
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.asked.lock().unwrap().push((ctx.clone(), request));
        let events = stream::iter(self.events.clone());
        Ok(if self.stalls { events.chain(stream::pending()).boxed() } else { events.boxed() })
    }
}

/// Gives every text a vector of its length.
#[derive(Debug)]
pub(crate) struct Lengths(ModelInfo);

#[async_trait]
impl EmbeddingModel for Lengths {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let vectors = request.inputs.iter().map(|text| vec![text.len() as f32, -0.5]).collect();
        let usage = Usage { input_tokens: Some(7), ..Usage::default() };
        Ok(EmbedResponse { vectors, model: None, usage: Some(usage) })
    }
}

#[derive(Debug)]
struct One(Arc<Told>);

impl ModelResolver for One {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        match name == self.0.info.name {
            true => Ok(self.0.clone()),
            false => Err(Error::not_found(format!("there is no model `{name}`"))),
        }
    }
}

impl EmbeddingResolver for One {
    fn embedder(&self, _: &str) -> Result<Arc<dyn EmbeddingModel>> {
        Ok(Arc::new(Lengths(self.0.info.clone())))
    }
}

#[async_trait]
impl ModelDirectory for One {
    async fn list(&self, _: &Context) -> Result<Vec<ModelInfo>> {
        Ok(vec![self.0.info.clone()])
    }
}

/// A gateway and its parts.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) model: Arc<Told>,
    pub(crate) keys: Arc<Keys>,
}

/// What a model is, by provider.
pub(crate) fn info(provider: &str) -> ModelInfo {
    ModelInfo {
        name: "m".into(),
        provider: provider.into(),
        context_window: Some(1000),
        max_output_tokens: None,
        price: None,
        capabilities: Default::default(),
    }
}

pub(crate) fn keys() -> Arc<Keys> {
    let env = Env::default();
    Arc::new(Keys { acme: env.id(), globex: env.id(), issuer: ContextIssuer::new(env) })
}

impl World {
    /// Over the model `m` of a provider, which gives these events.
    pub(crate) fn of(provider: &str, events: Vec<Result<ChatEvent>>) -> Self {
        Self::with(provider, events, false, |builder| builder)
    }

    pub(crate) fn with(
        provider: &str,
        events: Vec<Result<ChatEvent>>,
        stalls: bool,
        change: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let model = Arc::new(Told { info: info(provider), events, stalls, asked: Mutex::default() });
        let keys = keys();
        let one = Arc::new(One(Arc::clone(&model)));
        let builder = Gateway::builder(keys.clone(), one.clone()).embeddings(one.clone()).directory(one);
        Self { gateway: change(builder).build().unwrap(), model, keys }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::of("openai", answer(text))
    }

    /// The response to a request with the usual key.
    pub(crate) async fn raw(&self, request: Request<Full<Bytes>>) -> Response<GatewayBody> {
        self.gateway.clone().call(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::of(self.raw(request).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(post(path, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut request = post(path, &Value::Null);
        *request.method_mut() = Method::GET;
        self.send(request).await
    }
}

/// A request with the usual key.
pub(crate) fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("authorization", format!("Bearer {KEY}"));
    let body = Full::new(Bytes::from(body.to_string()));
    request.header("content-type", "application/json").body(body).unwrap()
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<GatewayBody>) -> Self {
        let (head, body) = response.into_parts();
        let body = super::support::within(body.collect()).await.unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The events of a stream: name and data.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        assert_eq!(self.headers["content-type"], "text/event-stream; charset=utf-8");
        let text = std::str::from_utf8(&self.body).unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        let event = |block: &str| {
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            (field("event: ").unwrap_or_default(), field("data: ").expect("an event has data"))
        };
        text.trim_end().split("\n\n").map(event).collect()
    }

    /// The data of the events, as JSON, and whether `[DONE]` came last.
    pub(crate) fn chunks(&self) -> (Vec<Value>, bool) {
        let mut all: Vec<String> = self.events().into_iter().map(|(_, data)| data).collect();
        let done = all.pop_if(|last| last == "[DONE]").is_some();
        (all.iter().map(|data| serde_json::from_str(data).unwrap()).collect(), done)
    }

    /// The names of the events; each is the type in its data too.
    pub(crate) fn names(&self) -> Vec<String> {
        let events = self.events();
        for (name, data) in &events {
            assert_eq!(serde_json::from_str::<Value>(data).unwrap()["type"], **name);
        }
        events.into_iter().map(|(name, _)| name).collect()
    }
}

pub(crate) fn text(text: &str) -> Result<ChatEvent> {
    Ok(ChatEvent::Text(text.into()))
}

pub(crate) fn finished(reason: FinishReason) -> Result<ChatEvent> {
    Ok(ChatEvent::Finished { reason, raw: None })
}

pub(crate) fn usage() -> Result<ChatEvent> {
    Ok(ChatEvent::Usage(Usage {
        input_tokens: Some(10),
        cache_read_tokens: Some(4),
        cache_write_tokens: Some(1),
        output_tokens: Some(5),
        reasoning_tokens: Some(2),
        ..Usage::default()
    }))
}

/// A piece of a tool call; the first has the name.
pub(crate) fn piece(index: usize, name: Option<&str>, arguments: &str) -> Result<ChatEvent> {
    Ok(ChatEvent::ToolCall {
        index,
        id: name.map(|_| format!("call_{index}")),
        name: name.map(str::to_owned),
        arguments: arguments.into(),
    })
}

/// The events of an answer that is a text.
pub(crate) fn answer(words: &str) -> Vec<Result<ChatEvent>> {
    let started = ChatEvent::Started { id: Some("up-1".into()), model: Some("m-2026".into()) };
    let mut events = vec![Ok(started)];
    events.extend(words.split_inclusive(' ').map(text));
    events.extend([finished(FinishReason::Stop), usage()]);
    events
}

/// The paths of the three formats, each with the smallest request that it takes.
pub(crate) fn small(stream: bool) -> [(&'static str, Value); 3] {
    let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
    let chat = serde_json::json!({"model": "m", "messages": messages, "stream": stream});
    let mut anthropic = chat.clone();
    anthropic["max_tokens"] = 100.into();
    let responses = serde_json::json!({"model": "m", "input": "hi", "stream": stream});
    [("/v1/chat/completions", chat), ("/v1/responses", responses), ("/v1/messages", anthropic)]
}
