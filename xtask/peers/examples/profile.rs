//! One client, so many times over the loopback upstream, for a profiler:
//!
//! ```text
//! cargo build --profile bench --example profile
//! valgrind --tool=callgrind --separate-threads=yes …/release/examples/profile router whole 300
//! perf record -g …/release/examples/profile layers streamed 10000
//! ```
//!
//! The first thread is the client, the other one the upstream. Two counts of requests, and the difference of their
//! instructions, leave out the start; unlike times, instructions are the same on a busy machine.

use agentprovision_core::model::{Message, ModelResolver};
use futures_util::StreamExt;
use peers::{
    MODEL, Streams, bare, context, layered, metered, models, plain, request, router, times, upstream,
};

const USAGE: &str = "profile bare|model|router|layers whole|streamed COUNT";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [client, delivery, count] = args.as_slice() else { panic!("{USAGE}") };
    let (streamed, count) = (delivery == "streamed", count.parse().expect(USAGE));
    let upstream = upstream(Streams::AtOnce);
    let (ctx, body) = (context(), plain(streamed));
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let model = match client.as_str() {
        "bare" => None,
        "model" => models(upstream).resolve(MODEL).ok(),
        "router" => router(models(upstream)).resolve(MODEL).ok(),
        "layers" => layered(models(upstream)).resolve(MODEL).ok().map(metered),
        _ => panic!("{USAGE}"),
    };
    let asked = std::cell::Cell::new(0);
    let one = || async {
        let Some(model) = &model else {
            let mut answer = bare(&http, upstream, body.clone()).await;
            if !streamed {
                let _: serde_json::Value = answer.json().await.expect("JSON");
                return;
            }
            while answer.chunk().await.expect("bytes").is_some() {}
            return;
        };
        let mut request = request();
        // Another question each time, so that no cache answers.
        asked.set(asked.get() + 1);
        request.messages.push(Message::user(asked.get().to_string()));
        if !streamed {
            model.complete(&ctx, request).await.expect("an answer");
            return;
        }
        let mut events = model.stream(&ctx, request).await.expect("an answer");
        while let Some(event) = events.next().await {
            event.expect("an event");
        }
    };
    let mut taken = times(count, one).await;
    taken.sort_unstable();
    println!("{client} {delivery} p50 {:?}", taken[count / 2]);
}
