//! The work: requests drawn from a seed, which answers to them would be right, and what they would cost.

use agentprovision_core::model::{ModelPrice, Usage};
use agentprovision_core::money::{NanoUsd, PicoUsd};

use crate::table::{MODELS, Model, TASKS};

/// Pseudo-random numbers (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`. The bias of the remainder is below 2⁻⁵⁰ for the limits used here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A size around `middle`, from a quarter of it to four times: half are above, and the far ends are rare.
    fn size(&mut self, middle: u64) -> u64 {
        // The mean of three numbers, as a power of two from -2 to 2 in steps of a hundredth, the fraction linear.
        let power = (0..3).map(|_| self.below(401)).sum::<u64>() / 3;
        let (whole, hundredths) = (power / 100, power % 100);
        (middle * (1 << whole) * (100 + hundredths) / 100 / 4).max(1)
    }
}

/// One request, with what only the simulation knows of it.
pub(crate) struct Request {
    /// Its place in [`TASKS`]; its name is the tag a caller gives.
    pub(crate) task: usize,
    /// Tokens of the prompt.
    pub(crate) input: u64,
    /// The longest answer the caller asks for; answers are shorter.
    pub(crate) max_tokens: u64,
    /// Tokens of a plain answer.
    output: u64,
    /// Whether each model's answer would be right.
    right: [bool; MODELS.len()],
}

impl Request {
    /// Whether the model's answer is right.
    pub(crate) fn right(&self, model: usize) -> bool {
        self.right[model]
    }

    /// What the model's answer costs.
    pub(crate) fn cost(&self, model: usize) -> NanoUsd {
        let tokens = self.output * MODELS[model].verbosity / 100;
        let usage = Usage { input_tokens: Some(self.input), output_tokens: Some(tokens), ..Usage::default() };
        price(&MODELS[model]).cost(&usage)
    }
}

/// The model's price, as a catalogue has it.
pub(crate) fn price(model: &Model) -> ModelPrice {
    ModelPrice::new(PicoUsd(model.input), PicoUsd(model.output))
}

fn request(random: &mut Random, task: usize) -> Request {
    let Some(kind) = TASKS.get(task) else { unreachable!("a task of the table") };
    // What is hard for one model is mostly hard for all: seven of ten draws are shared.
    let shared = random.below(1000);
    let right = kind.right.map(|right| {
        let own = random.below(1000);
        let draw = if random.below(10) < 7 { shared } else { own };
        draw < right
    });
    Request {
        task,
        input: random.size(kind.input),
        max_tokens: kind.output * 4,
        output: random.size(kind.output),
        right,
    }
}

/// So many requests, mixed as the shares of the tasks say.
pub(crate) fn workload(seed: u64, count: usize) -> Vec<Request> {
    let mut random = Random::new(seed);
    let of = |random: &mut Random| {
        let mut place = random.below(100);
        let task = TASKS.iter().position(|task| {
            let found = place < task.share;
            place = place.saturating_sub(task.share);
            found
        });
        task.unwrap_or(0)
    };
    (0..count)
        .map(|_| {
            let task = of(&mut random);
            request(&mut random, task)
        })
        .collect()
}

/// What somebody who tried the models before knows: how many of a thousand answers of a model to tasks of a kind were
/// right, over `count` requests of their own. It is an estimate, as far off as a sample is.
pub(crate) fn priors(seed: u64, count: usize) -> [[u64; TASKS.len()]; MODELS.len()] {
    let mut random = Random::new(seed);
    let mut priors = [[0; TASKS.len()]; MODELS.len()];
    for task in 0..TASKS.len() {
        let tried: Vec<Request> = (0..count).map(|_| request(&mut random, task)).collect();
        for (model, row) in priors.iter_mut().enumerate() {
            let right = tried.iter().filter(|request| request.right(model)).count();
            row[task] = (right * 1000 / count) as u64;
        }
    }
    priors
}
