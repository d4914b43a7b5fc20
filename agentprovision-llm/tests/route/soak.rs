//! Many requests: nothing grows, and nothing is left behind.

use std::process::Command;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason, ModelInfo, ModelResolver,
    Usage,
};
use agentprovision_core::{Error, ErrorKind, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::route::{Router, RoutingConfig};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::kit::{ask, price};
use crate::support::context;

/// The first one fails every tenth request; otherwise each says a word and ends, or stands still. Keeps nothing.
#[derive(Debug)]
struct Word(ModelInfo, std::sync::atomic::AtomicU64);

#[async_trait]
impl ChatModel for Word {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        Err(Error::new(ErrorKind::Unsupported, "streams only"))
    }

    async fn stream(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        let number = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.0.name == "one" && number % 10 == 9 {
            return Err(Error::new(ErrorKind::NotFound, "not here"));
        }
        let word = stream::iter([Ok(ChatEvent::Text("word".into()))]);
        if request.max_tokens == Some(1) {
            return Ok(word.chain(stream::pending()).boxed());
        }
        let usage = Usage { input_tokens: Some(1), output_tokens: Some(1), ..Usage::default() };
        let end =
            [Ok(ChatEvent::Finished { reason: FinishReason::Stop, raw: None }), Ok(ChatEvent::Usage(usage))];
        Ok(word.chain(stream::iter(end)).boxed())
    }
}

/// Resident memory in KiB, on Linux.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

async fn requests(router: &Router, ctx: &Context, times: usize) {
    let model = router.resolve("chat").unwrap();
    for n in 0..times {
        let mut request = ask("chat");
        request.route.affinity = Some(format!("session {}", n % 1000));
        // Every fourth one is left in its middle.
        request.max_tokens = (n % 4 == 0).then_some(1);
        let mut stream = model.stream(ctx, request.clone()).await.unwrap();
        stream.next().await.unwrap().unwrap();
        if request.max_tokens.is_none() {
            while let Some(event) = stream.next().await {
                event.unwrap();
            }
        }
        drop(stream);
        assert!((1..=2).contains(&request.log.len()));
    }
}

/// Alone in its process, where the memory is its own.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn soak() {
    let word = |name: &str| {
        let info = ModelInfo {
            name: name.into(),
            provider: "soak".into(),
            context_window: None,
            max_output_tokens: None,
            price: Some(price().into()),
            capabilities: Default::default(),
        };
        Arc::new(Word(info, Default::default()))
    };
    let registry =
        ModelRegistry::builder().model("one", word("one")).model("two", word("two")).build().unwrap();
    let config: RoutingConfig = serde_json::from_value(
        json!({"routes": {"chat": {"targets": ["one", "two"], "strategy": "balanced"}}}),
    )
    .unwrap();
    let router = Router::builder(registry).config(config).build().unwrap();
    let ctx = context();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // Fills the caches: a thousand sessions, and the averages.
    requests(&router, &ctx, 10_000).await;
    let before = resident();
    requests(&router, &ctx, 100_000).await;
    // Room for the allocator's own ups and downs; a single pointer kept of each request would be 800 KiB, an attempt
    // record 20 MiB.
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("grew by {} KiB", after.saturating_sub(before));
        assert!(after < before + 700, "{before} KiB before, {after} KiB after");
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    for target in router.status() {
        assert_eq!(target.blocked, 0);
    }
}

#[test]
fn pitfall_34_a_hundred_thousand_requests_leave_nothing_behind() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let out = alone.args(["--exact", "soak::soak", "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
