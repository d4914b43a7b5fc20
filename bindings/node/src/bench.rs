//! The reference of the benchmark: the same calls in the same process without JavaScript.

use std::hint::black_box;
use std::time::Instant;

use agentprovision::id::AgentId;
use agentprovision::run::RunInput;
use agentprovision::tool::{Effect, Tool, ToolCall, ToolSpec};
use agentprovision::{Context, Error, Platform, Result, wire};
use async_trait::async_trait;
use serde_json::{Value, json};

/// The tool of the runs that are timed.
pub(crate) fn tool() -> impl Tool {
    let mut spec = ToolSpec::new("bench_native", "Echoes", json!({"type": "object"}));
    spec.effect = Effect::Pure;
    Echo(spec)
}

#[derive(Debug)]
struct Echo(ToolSpec);

#[async_trait]
impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &ToolCall, input: Value) -> Result<Value> {
        Ok(input)
    }
}

/// Nanoseconds of each of so many calls: `can`, `get`, or `run` with its events and its end.
pub(crate) async fn time(
    platform: &Platform,
    ctx: &Context,
    what: &str,
    agent: &str,
    times: u32,
) -> Result<f64> {
    let agent: AgentId = agent.parse()?;
    let start = Instant::now();
    for _ in 0..times {
        match what {
            "can" => {
                black_box(wire::can(platform.permissions(), black_box(ctx), black_box("agents:run"))?);
            }
            "get" => {
                black_box(platform.agents().get(ctx, agent).await?);
            }
            "run" => {
                let run = platform.runs().start(ctx, agent, RunInput::text("go")).await?;
                black_box(run.wait().await?);
            }
            _ => return Err(Error::invalid("there is `can`, `get` and `run` to time")),
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(times.max(1)))
}
