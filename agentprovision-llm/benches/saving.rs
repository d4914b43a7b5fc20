//! **Simulated**: what routing saves on a mixed workload, against the best single model.
//!
//! ```text
//! cargo bench -p agentprovision-llm --bench saving -- [--seed N]
//! ```
//!
//! Nobody is asked: models, prices, sizes and scores are those of `saving/table.rs`, requests are drawn from the seed, and
//! five seeds are printed, from N on. The choice is the router's own, by [`Router::explain`]. It is told what a host can
//! tell it: prices, the task as a tag, the prompt and the longest answer, and as quality how often each model was right
//! on 400 other requests of each kind. It knows neither the scores nor the length of the answers nor which of them will
//! be right.
//!
//! Four ways of routing: the strategies `cost`, `balanced` and `quality` as they are by default, and a selector of the
//! host's own, which takes the cheapest of those whose quality is within 3 % of the best.
//!
//! Two references, both over the same requests:
//! - `single`: the cheapest single model that scores at least as well as what was routed, or the one that scores best
//!   when none does;
//! - `mix`: the cheapest blind mix of two single models (so many of a hundred requests to one, the rest to the other)
//!   that scores exactly as well as what was routed. It is the stricter one, because a single model may be better than
//!   it had to be.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and its tables are as long as each other"
)]

#[path = "saving/table.rs"]
mod table;
#[path = "saving/workload.rs"]
mod workload;

use std::sync::Arc;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::model::{ChatRequest, Message};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::testing::ScriptedModel;
use agentprovision_core::{Env, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::route::{Candidate, RouteRequest, Router, RoutingConfig, Selector};
use serde_json::json;

use crate::table::{MODELS, TASKS};
use crate::workload::{Request, priors, workload};

const REQUESTS: usize = 4000;
/// Requests of each kind that the priors are from.
const TRIED: usize = 400;
/// The priors are of another draw than the work.
const PRIOR_SEED: u64 = 0x7072_696f_7273;

/// How the requests are routed.
const WAYS: [&str; 4] = ["cost", "balanced", "quality", "within_3_percent"];

/// The cheapest of those whose quality is near the best.
#[derive(Debug)]
struct Within {
    per_mille: u32,
}

impl Selector for Within {
    fn rank(&self, _: &RouteRequest, candidates: &[Candidate]) -> Vec<usize> {
        let best = candidates.iter().map(|candidate| candidate.quality).max().unwrap_or(0);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        // The others come after them, the best first.
        order.sort_by_key(|place| {
            let candidate = &candidates[*place];
            let near = candidate.quality + self.per_mille >= best;
            (!near, if near { 0 } else { best - candidate.quality }, candidate.cost)
        });
        order
    }
}

/// The router over the models of the table, told what was found by trying them.
fn router(known: &[[u64; TASKS.len()]; MODELS.len()]) -> Result<Router> {
    let mut registry = ModelRegistry::builder();
    let mut quality = serde_json::Map::new();
    for (model, row) in MODELS.iter().zip(known) {
        // It has no answers: nobody is asked.
        let scripted = ScriptedModel::new(model.name, []).price(Some(workload::price(model)));
        registry = registry.model(model.name, Arc::new(scripted));
        for (task, right) in TASKS.iter().zip(row) {
            quality.insert(format!("task={}:{}", task.name, model.name), json!(right));
        }
    }
    let targets: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    let config = json!({ "routes": { "any": { "targets": targets } }, "quality": quality });
    let config: RoutingConfig = serde_json::from_value(config)
        .map_err(|error| agentprovision_core::Error::invalid(error.to_string()))?;
    let router = Router::builder(registry.build()?).config(config);
    router.selector(WAYS[3], Arc::new(Within { per_mille: 30 })).build()
}

/// A context of nobody in particular.
fn context() -> Context {
    let env = Env::default();
    let identity = Identity {
        tenant: env.id(),
        principal: Principal::User(env.id()),
        scopes: PermissionSet::EMPTY,
        expires: None,
        key: None,
    };
    ContextIssuer::new(env).context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
}

/// The request as the router gets it: four bytes to a token, as English has them.
fn asked(request: &Request, way: &str) -> ChatRequest {
    let prompt = "word".repeat(usize::try_from(request.input).unwrap_or(0));
    let mut asked = ChatRequest::new("any", vec![Message::user(prompt)]);
    asked.max_tokens = Some(request.max_tokens);
    asked.route.strategy = Some(way.into());
    asked.route.tags.insert("task".into(), TASKS[request.task].name.into());
    asked
}

/// The place in [`MODELS`] of the one the router asks first.
fn choose(router: &Router, ctx: &Context, request: &Request, way: &str) -> Result<usize> {
    let decision = router.explain(ctx, &asked(request, way))?;
    let first = &decision.candidates[0].target;
    Ok(MODELS.iter().position(|model| model.name == first).unwrap_or(0))
}

/// What a workload came to.
#[derive(Clone, Copy)]
struct Outcome {
    cost: NanoUsd,
    right: usize,
}

fn run(requests: &[Request], model: impl Fn(&Request) -> Result<usize>) -> Result<Outcome> {
    let mut outcome = Outcome { cost: NanoUsd::ZERO, right: 0 };
    for request in requests {
        let model = model(request)?;
        outcome.cost = outcome.cost + request.cost(model);
        outcome.right += usize::from(request.right(model));
    }
    Ok(outcome)
}

/// The cheapest single model that is as good as `routed`, else the best.
fn single(singles: &[Outcome], routed: Outcome) -> usize {
    let places = 0..singles.len();
    let reached = places.clone().filter(|place| singles[*place].right >= routed.right);
    let cheapest = reached.min_by_key(|place| singles[*place].cost);
    let best = || places.max_by_key(|place| (singles[*place].right, std::cmp::Reverse(singles[*place].cost)));
    cheapest.or_else(best).unwrap_or(0)
}

/// What the cheapest blind mix of two single models costs that scores as `routed` does; `None` when no mix is as good.
fn mixed(singles: &[Outcome], routed: Outcome) -> Option<f64> {
    let pairs = singles.iter().flat_map(|low| singles.iter().map(move |high| (low, high)));
    pairs
        .filter(|(low, high)| low.right <= routed.right && routed.right <= high.right)
        .map(|(low, high)| {
            let span = (high.right - low.right).max(1) as f64;
            let share = (routed.right - low.right) as f64 / span;
            dollars(*low) + (dollars(*high) - dollars(*low)) * share
        })
        .min_by(f64::total_cmp)
}

/// For ratios and for printing alone.
fn dollars(outcome: Outcome) -> f64 {
    outcome.cost.nanos() as f64 / 1e9
}

fn percent(outcome: Outcome) -> f64 {
    outcome.right as f64 * 100.0 / REQUESTS as f64
}

fn main() -> Result<()> {
    let mut first = 1;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => match args.next().and_then(|seed| seed.parse().ok()) {
                Some(seed) => first = seed,
                None => return Err(agentprovision_core::Error::invalid("--seed needs a number")),
            },
            // Cargo's own.
            "--bench" => {}
            _ => {
                let unknown = format!("unknown option {arg}; known is --seed N");
                return Err(agentprovision_core::Error::invalid(unknown));
            }
        }
    }
    println!("simulated: {REQUESTS} requests a seed, nobody is asked");
    let (router, ctx) = (router(&priors(PRIOR_SEED, TRIED))?, context());
    let mut ratios: [(Vec<f64>, Vec<f64>); WAYS.len()] = Default::default();
    for seed in (0..5).map(|place| first + place) {
        let requests = workload(seed, REQUESTS);
        let singles = (0..MODELS.len()).map(|model| run(&requests, |_| Ok(model)));
        let singles = singles.collect::<Result<Vec<Outcome>>>()?;
        println!("\nseed {seed}");
        for (model, outcome) in MODELS.iter().zip(&singles) {
            println!("  {:18} {:6.2} %  ${:.4}", model.name, percent(*outcome), dollars(*outcome));
        }
        for (way, ratios) in WAYS.iter().zip(&mut ratios) {
            let routed = run(&requests, |request| choose(&router, &ctx, request, way))?;
            let reference = single(&singles, routed);
            let ratio = dollars(routed) / dollars(singles[reference]);
            let mix = mixed(&singles, routed).map(|mix| dollars(routed) / mix);
            let against_mix = mix.map_or_else(
                || "no mix is as good".to_owned(),
                |ratio| format!("{ratio:.3} of a mix as good"),
            );
            println!(
                "  {way:18} {:6.2} %  ${:<9.4} {ratio:.3} of `{}` alone ({:.2} %), {against_mix}",
                percent(routed),
                dollars(routed),
                MODELS[reference].name,
                percent(singles[reference]),
            );
            ratios.0.push(ratio);
            ratios.1.extend(mix);
        }
    }
    println!();
    for (way, (single, mix)) in WAYS.iter().zip(ratios) {
        for (name, mut ratios) in [("single", single), ("mix", mix)] {
            ratios.sort_by(f64::total_cmp);
            // Where it is better than every single model, no mix is as good, and there is no ratio.
            if let Some(middle) = ratios.get(ratios.len() / 2) {
                println!("ratio saving_simulated/{way}/{name} {middle:.3}");
            }
        }
    }
    Ok(())
}
