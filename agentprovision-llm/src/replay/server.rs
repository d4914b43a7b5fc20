//! Replaying.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use agentprovision_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::cassette::{Exchange, RecordedResponse, body_of, of_connection, path_of};

/// How requests are compared with the recorded ones.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// JSON pointers (RFC 6901) of fields of the body that may differ, such as `/seed`; none by default.
    pub ignore: Vec<String>,
}

/// Serves a cassette over HTTP on the loopback, each exchange once and in order.
///
/// Method, path and query, and the body as JSON must equal the recorded ones; headers are not compared. A request that
/// differs gets status 500 and is remembered for [`ReplayServer::finish`]. Dropping the server closes it.
pub struct ReplayServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl fmt::Debug for ReplayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayServer").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    exchanges: Vec<Exchange>,
    next: usize,
    options: ReplayOptions,
    mismatch: Option<String>,
}

impl ReplayServer {
    /// Serves these exchanges at a free port, on the runtime this is called on.
    ///
    /// # Errors
    /// `unavailable` when there is no port; `corrupt` when a recorded response cannot be served.
    pub async fn start(exchanges: Vec<Exchange>, options: ReplayOptions) -> Result<Self> {
        for exchange in &exchanges {
            answer(&exchange.response)?;
        }
        let unavailable = |error: io::Error| {
            Error::new(ErrorKind::Unavailable, "there is no port for the replay").with_source(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unavailable)?;
        let address = listener.local_addr().map_err(unavailable)?;
        let state = Arc::new(Mutex::new(State { exchanges, next: 0, options, mismatch: None }));
        let task = tokio::spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { address, state, task })
    }

    /// The URL of a path at the server: the base URL of a provider, such as `url("/v1")`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Closes the server and says whether everything went as recorded.
    ///
    /// # Errors
    /// `conflict` when a request differed, saying where, or when recorded exchanges were not asked for.
    pub fn finish(self) -> Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mismatch) = &state.mismatch {
            return Err(Error::conflict(mismatch.clone()));
        }
        match state.exchanges.len().saturating_sub(state.next) {
            0 => Ok(()),
            left => Err(Error::conflict(format!("{left} recorded exchanges were not asked for"))),
        }
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // Owned here, so that connections end with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(handle(request, &state).await) }
        });
        connections.spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
        while connections.try_join_next().is_some() {}
    }
}

async fn handle(request: Request<Incoming>, state: &Mutex<State>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body_of(&body.to_bytes()),
        // Whoever sends half a request does not wait for the answer.
        Err(_) => Value::Null,
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let matched = state.take(head.method.as_str(), &path_of(&head.uri), body);
    match matched.and_then(|response| answer(&response).map_err(|error| error.to_string())) {
        Ok(response) => response,
        Err(mismatch) => {
            let response = refusal(&mismatch);
            state.mismatch.get_or_insert(mismatch);
            response
        }
    }
}

impl State {
    /// The next response, when the request is the recorded one.
    fn take(&mut self, method: &str, path: &str, mut body: Value) -> Result<RecordedResponse, String> {
        let number = self.next + 1;
        let Some(exchange) = self.exchanges.get(self.next) else {
            return Err(format!("request {number} ({method} {path}) was not recorded"));
        };
        let recorded = &exchange.request;
        if (recorded.method.as_str(), recorded.path.as_str()) != (method, path) {
            return Err(format!(
                "request {number} is `{method} {path}`; recorded is `{} {}`",
                recorded.method, recorded.path
            ));
        }
        let mut expected = recorded.body.clone();
        for pointer in &self.options.ignore {
            remove(&mut body, pointer);
            remove(&mut expected, pointer);
        }
        if let Some(place) = difference(&expected, &body) {
            return Err(format!("the body of request {number} differs from the recorded one at `{place}`"));
        }
        self.next += 1;
        Ok(exchange.response.clone())
    }
}

/// Removes what a JSON pointer points at.
fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    let last = last.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&last);
        }
        Some(Value::Array(items)) => {
            if let Some(at) = last.parse().ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        _ => {}
    }
}

/// A JSON pointer to the first place where two values differ; `/` for the whole.
fn difference(expected: &Value, found: &Value) -> Option<String> {
    let below = |name: &str, expected: Option<&Value>, found: Option<&Value>| match (expected, found) {
        (Some(expected), Some(found)) => {
            difference(expected, found).map(|rest| format!("/{name}{}", if rest == "/" { "" } else { &rest }))
        }
        (None, None) => None,
        _ => Some(format!("/{name}")),
    };
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().chain(b.keys()).find_map(|name| below(name, a.get(name), b.get(name)))
        }
        (Value::Array(a), Value::Array(b)) => {
            (0..a.len().max(b.len())).find_map(|at| below(&at.to_string(), a.get(at), b.get(at)))
        }
        _ => (expected != found).then(|| "/".to_owned()),
    }
}

fn answer(recorded: &RecordedResponse) -> Result<Response<Body>> {
    let bad = || Error::corrupt("a recorded response cannot be served");
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(recorded.status).map_err(|error| bad().with_source(error))?;
    for (name, value) in recorded.headers.iter().filter(|(name, _)| !of_connection(name)) {
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        response.headers_mut().append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    let mut pieces = recorded.body.iter().map(|piece| piece.bytes().map(Ok)).collect::<Result<Vec<_>>>()?;
    if recorded.cut_off {
        // An error in the middle of a body makes hyper break the connection off.
        pieces.push(Err(io::Error::other("the recording ends here")));
    }
    let body = stream::iter(pieces).then(|piece| async {
        // Gives way once per piece, so that each is written out before the next.
        tokio::task::yield_now().await;
        piece.map(Frame::data)
    });
    Ok(response.map(|()| StreamBody::new(body).boxed_unsync()))
}

fn refusal(mismatch: &str) -> Response<Body> {
    let body = json!({"error": {"type": "replay_mismatch", "message": mismatch}}).to_string();
    let body = stream::iter([Ok(Frame::data(Bytes::from(body)))]);
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let base = json!({"a": [1, {"b": 2}], "c": null});
        for (other, place) in [
            (json!({"a": [1, {"b": 2}], "c": null}), None),
            (json!({"a": [1, {"b": 3}], "c": null}), Some("/a/1/b")),
            (json!({"a": [1], "c": null}), Some("/a/1")),
            (json!({"a": [1, {"b": 2}]}), Some("/c")),
            (json!({"a": [1, {"b": 2}], "c": null, "d": 1}), Some("/d")),
            (json!("x"), Some("/")),
        ] {
            assert_eq!(difference(&base, &other).as_deref(), place, "{other}");
        }
        let mut value = base.clone();
        for pointer in ["/a/1/b", "/a/7", "/x/y", "", "c"] {
            remove(&mut value, pointer);
        }
        assert_eq!(value, json!({"a": [1, {}], "c": null}));
    }
}
