//! What a streamed answer costs over reading its bytes: until the first piece, and per event.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use agentprovision_core::model::{ChatEvent, ModelResolver};
use futures_util::StreamExt;
use peers::{EVENTS, MODEL, Streams, Times, bare, context, models, plain, request, router, times, upstream};

const ROUNDS: usize = 9;
const REQUESTS: usize = 600;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let upstream = upstream(Streams::AtOnce);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = plain(true);
    let model = router(models(upstream)).resolve(MODEL).expect("a model");
    let (ctx, request) = (context(), request());
    let mut all = ["bare", "router"].map(Times::of);
    let mut first = ["bare first", "router first"].map(Times::of);
    for round in 0..=ROUNDS {
        for turn in 0..all.len() {
            let which = (round + turn) % all.len();
            let firsts: RefCell<Vec<Duration>> = RefCell::default();
            let taken = if which == 0 {
                let one = || async {
                    let begun = Instant::now();
                    let mut bytes = bare(&client, upstream, body.clone()).await.bytes_stream();
                    let mut read = 0;
                    while let Some(piece) = bytes.next().await {
                        if read == 0 {
                            firsts.borrow_mut().push(begun.elapsed());
                        }
                        read += piece.expect("bytes").len();
                    }
                    assert!(read > 1000);
                };
                times(REQUESTS, one).await
            } else {
                let one = || async {
                    let begun = Instant::now();
                    let mut events = model.stream(&ctx, request.clone()).await.expect("an answer");
                    let mut read = 0;
                    while let Some(event) = events.next().await {
                        if matches!(event.expect("an event"), ChatEvent::Text(_)) {
                            if read == 0 {
                                firsts.borrow_mut().push(begun.elapsed());
                            }
                            read += 1;
                        }
                    }
                    assert_eq!(read, EVENTS);
                };
                times(REQUESTS, one).await
            };
            // The first round warms up.
            if round > 0 {
                all[which].add(taken);
                first[which].add(firsts.into_inner());
            }
        }
    }
    for times in first.iter().chain(&all) {
        println!("{:14} p50 {:7.1} µs   p99 {:7.1} µs", times.name, times.p50(), times.p99());
    }
    let per_event = (all[1].p50() - all[0].p50()) / EVENTS as f64;
    println!("added per event {per_event:.2} µs");
    println!("added to the first piece {:.1} µs", first[1].p50() - first[0].p50());
    println!("ratio stream_overhead_vs_bare {:.3}", all[1].p50() / all[0].p50());
    println!("ratio stream_first_vs_bare {:.3}", first[1].p50() / first[0].p50());
}
