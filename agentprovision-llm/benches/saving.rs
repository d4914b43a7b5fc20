//! **Simulated**: what routing saves on a mixed workload, against the best single model.
//!
//! ```text
//! cargo bench -p agentprovision-llm --bench saving -- [--seed N]
//! ```
//!
//! Nobody is asked: models, prices, sizes and scores are those of `saving/table.rs`, requests are drawn from the seed, and
//! five seeds are printed, from N on. Whoever routes sees what a router sees: the tag of the task, the estimated size of
//! the prompt, the longest answer asked for, the prices, and how often each model was right on 400 other requests of each
//! kind. It sees neither the scores nor the length of the answers nor which of them will be right.
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

use agentprovision_core::money::NanoUsd;

use crate::table::{MODELS, TASKS};
use crate::workload::{Request, priors, workload};

const REQUESTS: usize = 4000;
/// Requests of each kind that the priors are from.
const TRIED: usize = 400;
/// The priors are of another draw than the work.
const PRIOR_SEED: u64 = 0x7072_696f_7273;

/// What a router sees of a request.
pub(crate) struct Seen<'a> {
    pub(crate) tag: &'a str,
    pub(crate) input: u64,
    pub(crate) max_tokens: u64,
    /// How many of a thousand answers of each model were right where it was tried on this kind of task.
    pub(crate) priors: [u64; MODELS.len()],
}

/// Picks a model for a request: its place in [`MODELS`].
pub(crate) trait Choose {
    fn choose(&self, seen: &Seen<'_>) -> usize;
}

/// What a workload came to.
#[derive(Clone, Copy)]
struct Outcome {
    cost: NanoUsd,
    right: usize,
}

fn run(requests: &[Request], model: impl Fn(&Request) -> usize) -> Outcome {
    let mut outcome = Outcome { cost: NanoUsd::ZERO, right: 0 };
    for request in requests {
        let model = model(request);
        outcome.cost = outcome.cost + request.cost(model);
        outcome.right += usize::from(request.right(model));
    }
    outcome
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
    let dollars = |outcome: &Outcome| outcome.cost.nanos() as f64;
    let pairs = singles.iter().flat_map(|low| singles.iter().map(move |high| (low, high)));
    pairs
        .filter(|(low, high)| low.right <= routed.right && routed.right <= high.right)
        .map(|(low, high)| {
            let span = (high.right - low.right).max(1) as f64;
            let share = (routed.right - low.right) as f64 / span;
            dollars(low) + (dollars(high) - dollars(low)) * share
        })
        .min_by(f64::total_cmp)
}

fn percent(outcome: Outcome) -> f64 {
    outcome.right as f64 * 100.0 / REQUESTS as f64
}

/// The cheapest by price of those whose prior is within so many thousandths of the best one: what one would write by
/// hand, and what the strategies of the router are held against.
struct ByHand {
    tolerance: u64,
}

impl Choose for ByHand {
    fn choose(&self, seen: &Seen<'_>) -> usize {
        let best = seen.priors.iter().copied().max().unwrap_or(0);
        let price = |place: usize| workload::price(&MODELS[place]).at_most(seen.input, seen.max_tokens);
        let good = (0..MODELS.len()).filter(|place| seen.priors[*place] + self.tolerance >= best);
        good.min_by_key(|place| price(*place)).unwrap_or(0)
    }
}

fn main() {
    let mut first = 1;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => match args.next().and_then(|seed| seed.parse().ok()) {
                Some(seed) => first = seed,
                None => {
                    println!("--seed needs a number");
                    std::process::exit(2);
                }
            },
            // Cargo's own.
            "--bench" => {}
            _ => {
                println!("unknown option {arg}; known is --seed N");
                std::process::exit(2);
            }
        }
    }
    println!("simulated: {REQUESTS} requests a seed, nobody is asked");
    let known = priors(PRIOR_SEED, TRIED);
    let ways: Vec<(String, Box<dyn Choose>)> = vec![
        ("by hand, 1 %".into(), Box::new(ByHand { tolerance: 10 })),
        ("by hand, 3 %".into(), Box::new(ByHand { tolerance: 30 })),
    ];
    let mut ratios = vec![Vec::new(); ways.len()];
    for seed in (0..5).map(|place| first + place) {
        let requests = workload(seed, REQUESTS);
        let singles: Vec<Outcome> = (0..MODELS.len()).map(|model| run(&requests, |_| model)).collect();
        println!("\nseed {seed}");
        for (model, outcome) in MODELS.iter().zip(&singles) {
            println!("  {:24} {:6.2} %  ${}", model.name, percent(*outcome), outcome.cost);
        }
        for ((name, way), ratios) in ways.iter().zip(&mut ratios) {
            let routed = run(&requests, |request| {
                way.choose(&Seen {
                    tag: TASKS[request.task].name,
                    input: request.input,
                    max_tokens: request.max_tokens,
                    priors: known.map(|row| row[request.task]),
                })
            });
            let reference = single(&singles, routed);
            let cost = routed.cost.nanos() as f64;
            let ratio = cost / singles[reference].cost.nanos() as f64;
            let mix = mixed(&singles, routed).map_or_else(
                || "no mix is as good".to_owned(),
                |mix| format!("{:.3} of a mix as good", cost / mix),
            );
            println!(
                "  {name:24} {:6.2} %  ${}  {ratio:.3} of `{}` alone, {mix}",
                percent(routed),
                routed.cost,
                MODELS[reference].name
            );
            ratios.push(ratio);
        }
    }
    println!();
    for ((name, _), ratios) in ways.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        println!("ratio saving_simulated/{} {:.3}", name.replace([' ', ','], "_"), ratios[ratios.len() / 2]);
    }
}
