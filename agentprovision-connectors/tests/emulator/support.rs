//! An emulator with a clock that stands, and a client of it.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::emulator::Emulator;
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use agentprovision_core::{Env, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request};
use serde_json::Value;

/// Longer than any test takes by far.
const WATCHDOG: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) emulator: Emulator,
    pub(crate) clock: ManualClock,
    http: ReqwestTransport,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The answer to a request that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {:?}", self.status, self.body);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

/// Runs a test that nothing holds up for ever.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    Env::default().timeout(WATCHDOG, test).await.expect("the test hangs")
}

impl Site {
    pub(crate) async fn start() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
        let emulator = Emulator::start(env).await.unwrap();
        let http = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
        for url in [emulator.github_url(), emulator.jira_url(), emulator.slack_url()] {
            http.allow(&url.parse().unwrap()).unwrap();
        }
        Self { emulator, clock, http }
    }

    /// Sends a request; its errors are those of the transport.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> agentprovision_core::Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.http.send(request.body(body.into()).unwrap()).await?;
        let (head, mut stream) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.freeze() })
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        within(self.try_send(method, url, headers, body)).await.unwrap()
    }

    /// The head of an answer and its body as a stream.
    pub(crate) async fn open(
        &self,
        url: &str,
        token: &str,
    ) -> http::Response<agentprovision_core::http::BodyStream> {
        let request = Request::get(url).header("authorization", format!("Bearer {token}"));
        within(self.http.send(request.body(Bytes::new()).unwrap())).await.unwrap()
    }

    /// A request with a bearer token, and a body in JSON unless it is `null`.
    pub(crate) async fn bearer(&self, method: Method, url: &str, token: &str, body: Value) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, url, &headers, body).await
    }

    /// A form, as token endpoints take them.
    pub(crate) async fn form(&self, url: &str, pairs: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, url, &headers, body).await
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The page that a `link` header leads to.
pub(crate) fn next_link(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?.split(", ").find(|link| link.ends_with("rel=\"next\""))?;
    Some(link.trim_start_matches('<').split('>').next().unwrap().to_owned())
}
