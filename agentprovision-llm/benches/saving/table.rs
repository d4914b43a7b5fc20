//! What the simulation takes as given: models, kinds of work, and how often which model is right.
//!
//! All of it is invented. The prices spread as public price lists do; the scores grow with the price, flat where the work
//! is easy and steep where it is hard. The table came before any strategy was tried on it, and is not to be changed to
//! suit one.

/// A model that could be asked.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// Pico-USD per token of input.
    pub(crate) input: i64,
    /// Pico-USD per token of output.
    pub(crate) output: i64,
    /// Output tokens per token of a plain answer, in hundredths: a model that thinks bills its thoughts.
    pub(crate) verbosity: u64,
}

pub(crate) const MODELS: [Model; 6] = [
    Model { name: "tiny", input: 50_000, output: 200_000, verbosity: 100 },
    Model { name: "small", input: 150_000, output: 600_000, verbosity: 100 },
    Model { name: "mid", input: 400_000, output: 1_600_000, verbosity: 100 },
    Model { name: "coder", input: 900_000, output: 3_600_000, verbosity: 110 },
    Model { name: "large", input: 2_500_000, output: 10_000_000, verbosity: 100 },
    Model { name: "thinker", input: 1_250_000, output: 10_000_000, verbosity: 300 },
];

/// A kind of work.
pub(crate) struct Task {
    /// The tag a caller puts on the request.
    pub(crate) name: &'static str,
    /// How many of a hundred requests are of it.
    pub(crate) share: u64,
    /// Tokens of the prompt, in the middle.
    pub(crate) input: u64,
    /// Tokens of a plain answer, in the middle.
    pub(crate) output: u64,
    /// How many of a thousand answers are right, by model in the order of [`MODELS`].
    pub(crate) right: [u64; MODELS.len()],
}

pub(crate) const TASKS: [Task; 6] = [
    Task { name: "classify", share: 25, input: 600, output: 20, right: [900, 945, 955, 940, 962, 960] },
    Task { name: "extract", share: 20, input: 1800, output: 250, right: [820, 915, 945, 950, 958, 955] },
    Task { name: "summarize", share: 15, input: 4000, output: 350, right: [850, 925, 945, 920, 958, 950] },
    Task { name: "chat", share: 20, input: 900, output: 300, right: [830, 900, 930, 905, 950, 940] },
    Task { name: "code", share: 12, input: 2500, output: 900, right: [520, 680, 790, 880, 850, 900] },
    Task { name: "reason", share: 8, input: 1200, output: 700, right: [380, 520, 640, 700, 740, 890] },
];
