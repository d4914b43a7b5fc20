//! What one caller may take, and what is given up so that the others are served.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::clock::{ManualClock, OsEntropy};
use agentprovision_core::{Env, Timestamp};
use agentprovision_llm::gateway::{Gateway, GatewayBody, GatewayConfig};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tokio::task::JoinHandle;
use tower::Service;

use super::support::within;
use super::world::*;

const SECOND: Duration = Duration::from_secs(1);

/// A gateway with a clock that stands.
fn still(stalls: bool, config: GatewayConfig) -> (World, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
    let events = if stalls { vec![text("half")] } else { answer("ok") };
    (World::with("openai", events, stalls, |builder| builder.config(config).env(env)), clock)
}

/// A request of the usual key whose body begins and does not go on.
fn stalled(gateway: &Gateway, begins: usize) -> JoinHandle<Response<GatewayBody>> {
    let first = Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; begins])));
    let body = StreamBody::new(stream::once(async { first }).chain(stream::pending()).boxed());
    let request = Request::post("/v1/chat/completions").header("authorization", format!("Bearer {KEY}"));
    let answer = gateway.clone().call(request.body(body).unwrap());
    tokio::spawn(async { answer.await.unwrap() })
}

/// Waits until something is so, while other tasks run.
async fn until(mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    within(waiting).await;
}

/// Moves the clock on while somebody sleeps, and lets them look around and sleep again.
async fn tick(clock: &ManualClock) {
    until(|| clock.waiters() == 1).await;
    clock.advance(SECOND);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn as_other(world: &World, path: &str, body: &Value) -> Answer {
    let mut request = post(path, body);
    request.headers_mut().insert("authorization", format!("Bearer {OTHER_KEY}").parse().unwrap());
    world.send(request).await
}

#[tokio::test]
async fn bodies_that_do_not_arrive_keep_nobody_else_out_and_are_given_up() {
    let mut config = GatewayConfig::default();
    // Two of them for one tenant.
    config.max_requests = 3;
    config.body_timeout_ms = 5_000;
    let (world, clock) = still(false, config);
    let bodies = [stalled(&world.gateway, 10), stalled(&world.gateway, 0)];
    until(|| clock.waiters() == 2).await;
    assert_eq!(world.gateway.under_way(), 2);

    let [(path, body), _, messages] = small(false);
    let refused = world.post(path, &body).await;
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(world.post(messages.0, &messages.1).await.json()["error"]["type"], "rate_limit_error");
    assert_eq!(as_other(&world, path, &body).await.status, 200);
    assert_eq!(world.gateway.under_way(), 2);

    clock.advance(4 * SECOND);
    assert!(!bodies.iter().any(JoinHandle::is_finished));
    clock.advance(SECOND);
    for body in bodies {
        let answer = Answer::of(within(body).await.unwrap()).await;
        assert_eq!(answer.status, 408);
        assert_eq!(answer.json()["error"]["message"], "the body did not arrive in time");
    }
    assert_eq!(world.gateway.under_way(), 0);
    assert_eq!(world.post(path, &body).await.status, 200);
}

#[tokio::test]
async fn the_bodies_of_a_tenant_have_half_of_the_room() {
    let mut config = GatewayConfig::default();
    config.max_body_bytes = 200;
    config.max_bytes_under_way = 400;
    let (world, clock) = still(false, config);
    let body = stalled(&world.gateway, 150);
    until(|| clock.waiters() == 1).await;
    let [(path, small), ..] = small(false);
    assert_eq!(world.post(path, &small).await.status, 429);
    assert_eq!(as_other(&world, path, &small).await.status, 200);
    body.abort();
    until(|| world.gateway.under_way() == 0).await;
    assert_eq!(world.post(path, &small).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let mut config = GatewayConfig::default();
    config.write_stall_timeout_ms = 1_000;
    let (world, clock) = still(true, config);
    for (path, body) in small(true) {
        // Never polled at all, and not polled again.
        for pieces in 0..2 {
            let mut unread = world.raw(post(path, &body)).await.into_body();
            let mut told = Vec::new();
            for _ in 0..pieces {
                told.extend(within(unread.frame()).await.unwrap().unwrap().into_data().unwrap());
            }
            for _ in 0..=pieces {
                assert_eq!(world.gateway.under_way(), 1);
                tick(&clock).await;
            }
            until(|| world.gateway.under_way() == 0).await;
            // Whoever comes back is told that there is no more.
            told.extend(within(unread.collect()).await.unwrap().to_bytes());
            let told = String::from_utf8(told).unwrap();
            assert!(told.contains("the answer was not read in time"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_model_that_takes_its_time_is_no_client_that_does_not_read() {
    let mut config = GatewayConfig::default();
    config.write_stall_timeout_ms = 1_000;
    let (world, clock) = still(true, config);
    let [(path, body), ..] = small(true);
    let mut reading = world.raw(post(path, &body)).await.into_body();
    within(reading.frame()).await.unwrap().unwrap();
    assert!(futures_util::poll!(reading.frame()).is_pending());
    for _ in 0..5 {
        tick(&clock).await;
    }
    until(|| clock.waiters() == 1).await;
    assert_eq!(world.gateway.under_way(), 1);
    drop(reading);
    // Nobody looks after it any more.
    until(|| world.gateway.under_way() == 0 && clock.waiters() == 0).await;
}

/// A body may hold very many calls; what is done for each must not grow with their number.
#[test]
fn many_calls_and_results_are_read_in_time() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        const CALLS: usize = 100_000;
        let call = |at: usize| format!(r#"{{"id":"c{at}","function":{{"name":"f{at}"}}}}"#);
        let result = |at: usize| format!(r#"{{"role":"tool","tool_call_id":"c{at}","content":""}}"#);
        let all = |one: &dyn Fn(usize) -> String| (0..CALLS).map(one).collect::<Vec<_>>().join(",");
        let (calls, results) = (all(&call), all(&result));
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{calls}]}},{results}]}}"#
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::text("ok");
            let mut request = post("/v1/chat/completions", &Value::Null);
            *request.body_mut() = Full::new(Bytes::from(body));
            assert_eq!(world.send(request).await.status, 200);
            let (_, request) = world.model.last();
            assert_eq!(request.messages.len(), CALLS + 1);
            let agentprovision_core::model::Message::Tool { name, .. } = &request.messages[CALLS] else {
                panic!("not a result")
            };
            assert_eq!(*name, format!("f{}", CALLS - 1));
        });
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(30)).expect("they are read in time");
}
