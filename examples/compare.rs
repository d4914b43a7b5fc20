//! Several models side by side: how good, how fast, how dear, and which to take.
//!
//! ```text
//! cargo run --example compare -- [--json] [--repetitions N] [--question TEXT] [--expect TEXT] [MODEL…]
//! ```
//!
//! Without names it asks four small models on loopback, over real HTTP: one that is careful, one that is quick, one that
//! is wrong and one that is busy. With names such as `openai/gpt-4o-mini groq/llama-3.3-70b-versatile` it asks those; their
//! keys come from the environment (`OPENAI_API_KEY`, `GROQ_API_KEY`, …).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

mod support;

use std::time::Duration;

use agentprovision::llm::experiment::{CompareOptions, Contains, Contender, compare};
use agentprovision::llm::providers::{
    Cerebras, DeepSeek, Fireworks, Groq, Mistral, OpenRouter, Perplexity, Together, Xai,
};
use agentprovision::llm::{Catalog, CatalogEntry};
use agentprovision::model::{ChatRequest, Message, ModelPrice, ModelResolver};
use agentprovision::money::PicoUsd;
use agentprovision::prelude::*;

const QUESTION: &str = "A train leaves at 14:05 and arrives at 17:50. How many minutes does it take? Answer with the number and its unit.";

struct Options {
    json: bool,
    repetitions: u32,
    question: String,
    expect: String,
    models: Vec<String>,
}

fn options() -> std::result::Result<Options, String> {
    let mut options = Options {
        json: false,
        repetitions: 1,
        question: QUESTION.into(),
        expect: "225".into(),
        models: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => options.json = true,
            "--repetitions" => {
                options.repetitions =
                    value()?.parse().map_err(|_| "--repetitions needs a number".to_owned())?;
            }
            "--question" => options.question = value()?,
            "--expect" => options.expect = value()?,
            name if !name.starts_with('-') => options.models.push(arg),
            _ => {
                return Err(format!(
                    "unknown option {arg}; known are --json, --repetitions N, --question TEXT and --expect TEXT"
                ));
            }
        }
    }
    Ok(options)
}

/// A provider by its name, with its key from the environment.
fn with_provider(platform: PlatformBuilder, name: &str) -> Result<PlatformBuilder> {
    Ok(match name {
        "openai" => platform.provider(OpenAi::from_env()?),
        "cerebras" => platform.provider(Cerebras::from_env()?),
        "deepseek" => platform.provider(DeepSeek::from_env()?),
        "fireworks" => platform.provider(Fireworks::from_env()?),
        "groq" => platform.provider(Groq::from_env()?),
        "mistral" => platform.provider(Mistral::from_env()?),
        "openrouter" => platform.provider(OpenRouter::from_env()?),
        "perplexity" => platform.provider(Perplexity::from_env()?),
        "together" => platform.provider(Together::from_env()?),
        "xai" => platform.provider(Xai::from_env()?),
        #[cfg(feature = "llm-anthropic")]
        "anthropic" => platform.provider(agentprovision::llm::providers::Anthropic::from_env()?),
        #[cfg(feature = "llm-gemini")]
        "gemini" => platform.provider(agentprovision::llm::providers::Gemini::from_env()?),
        #[cfg(feature = "llm-cohere")]
        "cohere" => platform.provider(agentprovision::llm::providers::Cohere::from_env()?),
        #[cfg(feature = "llm-ollama")]
        "ollama" => platform.provider(agentprovision::llm::providers::Ollama::from_env()?),
        _ => {
            return Err(Error::not_found(format!(
                "this example has no provider `{name}`; models are named provider/model"
            )));
        }
    })
}

/// A price in pico-USD per token: 1 000 000 is one dollar per million tokens.
fn price(input: i64, output: i64) -> ModelPrice {
    ModelPrice::new(PicoUsd(input), PicoUsd(output))
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("compare: {error}");
        std::process::exit(1);
    }
}

async fn run() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut options = options()?;
    let mut platform = Platform::builder();
    if options.models.is_empty() {
        let said = [
            (
                "careful",
                "From 14:05 to 17:05 are 180 minutes, and 45 more: 225 minutes.",
                120,
                price(2_500_000, 10_000_000),
            ),
            ("quick", "225 minutes.", 15, price(150_000, 600_000)),
            ("hasty", "345 minutes.", 5, price(50_000, 200_000)),
        ];
        let mut known = Vec::new();
        for (name, text, delay, price) in said {
            let url = support::loopback_saying(text, Duration::from_millis(delay)).await?;
            platform = platform.provider(OpenAiCompatible::new(name, &url)?);
            known.push(CatalogEntry::new(name, "demo").with_price(price));
            options.models.push(format!("{name}/demo"));
        }
        platform = platform.provider(OpenAiCompatible::new("busy", &support::loopback_busy().await?)?);
        options.models.push("busy/demo".into());
        platform = platform.catalog(Catalog::shipped().with(known)?);
    } else {
        let mut there: Vec<&str> = Vec::new();
        for model in &options.models {
            let provider = model.split('/').next().unwrap_or_default();
            if !there.contains(&provider) {
                there.push(provider);
                platform = with_provider(platform, provider)?;
            }
        }
    }
    let platform = platform.build().await?;

    // Whoever asks a model acts within a tenant.
    let operator = platform.operator("ops@host.example", "example")?;
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let root =
        platform.tenants().bootstrap_admin(&operator, acme.id, NewUser::new("root@acme.example")).await?;
    let ctx = platform.context(acme.id, root.id).await?;

    let mut contenders = Vec::new();
    for name in &options.models {
        contenders.push(Contender::new(name, platform.router().resolve(name)?));
    }
    let mut request = ChatRequest::new("", vec![Message::user(&options.question)]);
    request.max_tokens = Some(1000);
    // The model itself is compared, and not how patiently it is asked again.
    request.route.max_attempts = Some(1);
    let how = CompareOptions::default()
        .repetitions(options.repetitions)
        .timeout(Duration::from_secs(60))
        .scorer(Contains::new([&options.expect])?);
    let comparison = compare(&ctx, &contenders, &request, &how).await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        println!("{comparison}");
    }
    platform.close().await?;
    Ok(())
}
