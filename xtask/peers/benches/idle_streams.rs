//! What a thousand streamed answers that have begun and stand still hold in memory: through the router, and with the bare
//! HTTP client. Each is measured in a process of its own, because freed memory is not given back.

use agentprovision_core::model::ModelResolver;
use futures_util::StreamExt;
use peers::{MODEL, Streams, bare, context, models, plain, request, resident, router, upstream};

const STREAMS: usize = 1000;

async fn routed() -> u64 {
    let upstream = upstream(Streams::Stall);
    let model = router(models(upstream)).resolve(MODEL).expect("a model");
    let ctx = context();
    let mut held = Vec::with_capacity(STREAMS);
    let mut before = 0;
    for n in 0..=STREAMS {
        let mut events = model.stream(&ctx, request()).await.expect("an answer");
        events.next().await.expect("an event").expect("text");
        held.push(events);
        if n == 0 {
            before = resident();
        }
    }
    resident() - before
}

async fn plainly() -> u64 {
    let upstream = upstream(Streams::Stall);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = plain(true);
    let mut held = Vec::with_capacity(STREAMS);
    let mut before = 0;
    for n in 0..=STREAMS {
        let mut bytes = bare(&client, upstream, body.clone()).await.bytes_stream();
        bytes.next().await.expect("bytes").expect("bytes");
        held.push(bytes);
        if n == 0 {
            before = resident();
        }
    }
    resident() - before
}

fn measured(which: &str) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let out = std::process::Command::new(program).env("IDLE_STREAMS", which).output().expect("a process");
    let text = String::from_utf8(out.stdout).expect("text");
    text.trim().parse().unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&out.stderr)))
}

fn main() {
    if let Ok(which) = std::env::var("IDLE_STREAMS") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let bytes =
            runtime.block_on(async { if which == "router" { routed().await } else { plainly().await } });
        println!("{bytes}");
        return;
    }
    let (routed, plainly) = (measured("router"), measured("bare"));
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    println!("{STREAMS} idle streams hold {:.1} MiB, the upstream's side included", mib(routed));
    println!("with the bare client {:.1} MiB, the upstream's side included", mib(plainly));
    println!("ratio idle_streams_vs_bare {:.3}", routed as f64 / plainly as f64);
}
