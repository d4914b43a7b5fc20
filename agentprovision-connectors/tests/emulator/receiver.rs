//! A receiver of webhooks.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

/// What came, and what to answer to what comes next: 200 after that.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    state: Arc<Mutex<Received>>,
    pub(crate) url: String,
}

#[derive(Default)]
struct Received {
    messages: Vec<Message>,
    answers: Vec<u16>,
    silent: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks?from=vendor", listener.local_addr().unwrap());
        let receiver = Self { url, ..Self::default() };
        let app = axum::Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// Answers the next messages so.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.state.lock().unwrap().answers = statuses.to_vec();
    }

    /// Answers nothing at all.
    pub(crate) fn fall_silent(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.state.lock().unwrap().messages.clone()
    }

    pub(crate) fn clear(&self) {
        self.state.lock().unwrap().messages.clear();
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let (status, silent) = {
        let mut state = receiver.state.lock().unwrap();
        state.messages.push(Message { headers, body });
        let next = if state.answers.is_empty() { 200 } else { state.answers.remove(0) };
        (next, state.silent)
    };
    if silent {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), "received".to_owned())
}
