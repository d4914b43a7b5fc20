//! The servers: reads requests, applies the fault plan, sends answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::faults::Fault;
use super::state::{Call, Reply, SeenRequest, Vendor, http_date};
use super::{Emulator, Shared, answers};

/// More than any request of a test has.
const LARGEST_BODY: usize = 32 << 20;
/// A piece of a body that never ends.
const PIECE: &[u8] = &[b' '; 16 << 10];

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection is closed on the request.
type Closed = io::Error;

pub(super) async fn serve(listener: TcpListener, vendor: Vendor, shared: Arc<Shared>) {
    // Owned here, so that connections end with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), vendor, request));
        // The date is the one of the `Env`.
        let mut http = hyper::server::conn::http1::Builder::new();
        http.auto_date_header(false);
        connections.spawn(http.serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    vendor: Vendor,
    request: Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let call = Call::new(vendor, head.method, target, head.headers, body);
    let (place, faults) = {
        let mut world = shared.world();
        let who = world.who(&call);
        let (method, path) = (call.method.as_str().to_owned(), call.path.clone());
        let faults = world.plan.of_request(vendor, &method, &path);
        let (query, when) = (call.raw_query.clone(), world.now());
        world.requests.push(SeenRequest { vendor, method, path, query, who, when, status: None });
        (world.requests.len() - 1, faults)
    };
    let answered = go(&shared, &call, &faults).await;
    if let (Ok(response), Some(seen)) = (&answered, shared.world().requests.get_mut(place)) {
        seen.status = Some(response.status().as_u16());
    }
    answered
}

async fn go(shared: &Arc<Shared>, call: &Call, faults: &[Fault]) -> Result<Response<Body>, Closed> {
    let mut refused = None;
    for fault in faults {
        match fault {
            Fault::Hold(gate) => gate.pass().await,
            Fault::Close => return Err(io::Error::other("closed by the fault plan")),
            fault if refused.is_none() => refused = answers::in_place_of(call, fault, shared.env.now()),
            _ => {}
        }
    }
    let mut reply = match refused {
        Some(reply) => reply,
        None => {
            let reply = shared.world().perform(call);
            shared.wake.notify_one();
            faults.iter().fold(reply, |reply, fault| answers::changed(call, reply, fault))
        }
    };
    for fault in faults {
        match fault {
            Fault::Change(change) => change.run(&Emulator::borrowed(shared)),
            Fault::HoldAnswer(gate) => gate.pass().await,
            _ => {}
        }
    }
    reply.headers.push(("date", http_date(shared.env.now())));
    Ok(response(shared, reply, faults))
}

fn response(shared: &Arc<Shared>, reply: Reply, faults: &[Fault]) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let length = reply.body.len();
    let mut full_length = false;
    let bytes = Bytes::from(reply.body);
    let body = match faults.iter().find_map(Shape::of) {
        None => Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync(),
        Some(Shape::Cut) => {
            full_length = true;
            // Of an answer without a body the head is what there is to close on.
            let half = bytes.slice(..length / 2);
            let cut = Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed by the fault plan"));
            // The first half goes out before the connection is closed.
            let pieces = stream::iter([Ok(half)]).chain(stream::once(async move {
                tokio::task::yield_now().await;
                cut
            }));
            StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
        }
        Some(Shape::Endless) => {
            let first = bytes.slice(..length.min(1));
            let pieces = stream::iter([first]).chain(stream::repeat(Bytes::from_static(PIECE)));
            StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
        }
        Some(Shape::Slow(pause)) => {
            full_length = true;
            let env = shared.env.clone();
            let pieces = stream::iter(0..length).then(move |at| {
                let (env, piece) = (env.clone(), bytes.slice(at..at + 1));
                async move {
                    env.sleep(pause).await;
                    Ok(Frame::data(piece))
                }
            });
            StreamBody::new(pieces).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    if full_length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// How a body goes out.
enum Shape {
    Cut,
    Endless,
    Slow(Duration),
}

impl Shape {
    fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::CloseMidBody => Some(Self::Cut),
            Fault::EndlessBody => Some(Self::Endless),
            Fault::SlowBody(pause) => Some(Self::Slow(*pause)),
            _ => None,
        }
    }
}
