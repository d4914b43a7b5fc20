//! What the transport makes of a server that is slow, and what that costs.

use std::time::Duration;

use agentprovision_core::ErrorKind;
use agentprovision_core::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use bytes::Bytes;
use tokio::net::{TcpSocket, TcpStream};

use crate::kit::{Act, Upstream, status, until};
use crate::support::within;

fn request(url: &str) -> http::Request<Bytes> {
    http::Request::post(format!("{url}/x")).body(Bytes::new()).unwrap()
}

fn transport(options: &ReqwestOptions, url: &str) -> ReqwestTransport {
    let transport = ReqwestTransport::new(options).unwrap();
    transport.allow(&url.parse().unwrap()).unwrap();
    transport
}

/// No request went out: nobody can have billed it.
#[tokio::test]
async fn a_connection_that_takes_too_long_is_no_answer_that_is_late() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The queue of connections that nobody accepts is full when one more takes long.
    let mut held = Vec::new();
    let queue = async {
        while let Ok(connection) = TcpStream::connect(address).await {
            held.push(connection);
        }
    };
    let _ = agentprovision_core::Env::default().timeout(Duration::from_millis(300), queue).await;
    assert!(!held.is_empty());
    let mut options = ReqwestOptions::default();
    options.connect_timeout = Duration::from_millis(200);
    let url = format!("http://{address}");
    let error = within(transport(&options, &url).send(request(&url))).await.map(drop).unwrap_err();
    assert!(error.is(ErrorKind::Unavailable), "{error:?}");
    drop(listener);
}

/// A model that thinks for long is not cut off by the transport: routers and layers have limits of their own.
#[tokio::test]
async fn a_silent_answer_is_cut_off_only_where_a_limit_is_set() {
    assert_eq!(ReqwestOptions::default().read_timeout, None);
    let slow = [vec![Act::Gate], status(200, "", "late")].concat();
    let upstream = Upstream::always(slow).await;
    let url = upstream.base_url.clone();
    let patient = transport(&ReqwestOptions::default(), &url);
    let (waiting, to) = (upstream.clone(), url.clone());
    let answer = tokio::spawn(async move { patient.send(request(&to)).await.map(|answer| answer.status()) });
    until(|| waiting.calls() == 1).await;
    let mut options = ReqwestOptions::default();
    options.read_timeout = Some(Duration::from_millis(50));
    let error = within(transport(&options, &url).send(request(&url))).await.map(drop).unwrap_err();
    assert!(error.is(ErrorKind::DeadlineExceeded), "{error:?}");
    assert!(!answer.is_finished(), "the other one has waited for longer");
    upstream.go();
    upstream.go();
    assert_eq!(within(answer).await.unwrap().unwrap(), 200);
}
