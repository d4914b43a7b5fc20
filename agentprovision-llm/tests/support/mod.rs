//! A real HTTP server on the loopback that answers byte for byte what a test scripts, and says what it saw.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::Env;
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::model::ChatModel;
use agentprovision_llm::providers::OpenAi;
use agentprovision_llm::{Catalog, Provider};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

/// A key that must not be seen anywhere but in the header.
pub(crate) const KEY: &str = "sk-test-0123456789-secret";

/// Fails a test that hangs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    Env::default().timeout(Duration::from_secs(30), future).await.expect("the test hangs")
}

/// A context of nobody in particular.
pub(crate) fn context() -> Context {
    let env = Env::default();
    let identity = Identity {
        tenant: env.id::<TenantId>(),
        principal: Principal::User(env.id::<UserId>()),
        scopes: PermissionSet::EMPTY,
        expires: None,
        key: None,
    };
    ContextIssuer::new(env).context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
}

/// A request as the server saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The request line and the headers, names in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What the server does with a connection after it has read the request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits until the test calls [`Server::go`].
    Wait,
    /// Waits until the client closes the connection, then says so.
    UntilClosed,
}

pub(crate) struct Server {
    pub(crate) base_url: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    closed: mpsc::UnboundedReceiver<()>,
    go: Arc<Notify>,
}

impl Server {
    /// Answers every connection with the script, then closes it.
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (seen_in, seen) = mpsc::unbounded_channel();
        let (closed_in, closed) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let gate = Arc::clone(&go);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, closed) = (seen_in.clone(), closed_in.clone());
                let (script, gate) = (script.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    seen.send(read_request(&mut stream).await).unwrap();
                    for step in script {
                        match step {
                            Step::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
                            Step::Wait => gate.notified().await,
                            Step::UntilClosed => {
                                let mut rest = [0; 16];
                                while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                                closed.send(()).unwrap();
                            }
                        }
                    }
                });
            }
        });
        Self { base_url, seen, closed, go }
    }

    /// Answers every connection with one whole answer.
    pub(crate) async fn answering(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self::start(vec![Step::Send(answer.into_bytes())]).await
    }

    /// Lets the script go on after [`Step::Wait`].
    pub(crate) fn go(&self) {
        self.go.notify_one();
    }

    /// The next request.
    pub(crate) async fn seen(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    /// Whether no request came so far.
    pub(crate) fn saw_nothing(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }

    /// Returns when a client has closed its connection.
    pub(crate) async fn closed(&mut self) {
        self.closed.recv().await.unwrap();
    }

    /// The model `gpt-4o` of OpenAI at this server.
    pub(crate) fn model(&self) -> Arc<dyn ChatModel> {
        let provider = OpenAi::at(&self.base_url, KEY.into()).unwrap();
        provider.model("gpt-4o", transport(&provider), &Catalog::shipped()).unwrap()
    }
}

/// A transport that may talk to the provider.
pub(crate) fn transport(provider: &dyn Provider) -> Arc<ReqwestTransport> {
    let transport = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
    provider.base_urls().iter().for_each(|url| transport.allow(url).unwrap());
    Arc::new(transport)
}

/// Reads one request.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace("\r\n", "\n");
            let body = bytes[end + 4..].to_vec();
            let mut seen = Seen { head, body };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            while seen.body.len() < length {
                assert!(stream.read_buf(&mut seen.body).await.unwrap() > 0, "the request is cut off");
            }
            return seen;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request is cut off");
    }
}

/// The head of a chunked stream of events.
pub(crate) fn stream_head() -> Step {
    // Deliberately without a content type: some gateways send none.
    Step::Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec())
}

/// One chunk.
pub(crate) fn chunk(text: &str) -> Step {
    Step::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// The last chunk.
pub(crate) fn stream_end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// An event with a text delta.
pub(crate) fn text_event(text: &str) -> String {
    let chunk = serde_json::json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

/// The event with the finish reason.
pub(crate) fn finish_event() -> String {
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".into()
}
