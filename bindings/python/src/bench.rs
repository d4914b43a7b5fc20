//! The reference of the benchmark: the same calls made in Rust, in the same process and against the same platform.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use agentprovision::authz::PermissionRegistry;
use agentprovision::id::AgentId;
use agentprovision::run::RunInput;
use agentprovision::tool::{Effect, Tool, ToolCall, tool};
use agentprovision::{Context, Error, Platform, Result, wire};
use serde_json::Value;

/// A tool of the native module, for runs without the host's.
pub(crate) fn native_tool() -> impl Tool {
    let echo = |_: ToolCall, input: HashMap<String, Value>| async move { Ok::<_, Error>(input) };
    tool("bench_native", "Gives back its input", echo).effect(Effect::Pure)
}

/// Nanoseconds per call.
pub(crate) async fn time(
    platform: &Platform,
    permissions: &PermissionRegistry,
    ctx: &Context,
    what: &str,
    agent: AgentId,
    times: u32,
) -> Result<f64> {
    let start = Instant::now();
    match what {
        "can" => {
            for _ in 0..times {
                black_box(wire::can(permissions, black_box(ctx), black_box("agents:run"))?);
            }
        }
        "get" => {
            for _ in 0..times {
                black_box(platform.agents().get(ctx, agent).await?);
            }
        }
        "run" => {
            for _ in 0..times {
                let run = platform.runs().start(ctx, agent, RunInput::text("go")).await?;
                black_box(run.wait().await?);
            }
        }
        other => return Err(Error::invalid(format!("there is no benchmark `{other}`"))),
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(times))
}
