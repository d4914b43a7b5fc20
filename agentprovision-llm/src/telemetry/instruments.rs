//! The metrics.

use opentelemetry::metrics::{Histogram, Meter};

use super::names;

/// Boundaries the convention gives for counts of tokens.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Boundaries the convention gives for durations, in seconds.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The instruments of one meter.
pub(super) struct Instruments {
    pub(super) tokens: Histogram<u64>,
    pub(super) duration: Histogram<f64>,
    pub(super) first_chunk: Histogram<f64>,
    pub(super) between_chunks: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            meter
                .f64_histogram(name)
                .with_description(what)
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .build()
        };
        Self {
            tokens: meter
                .u64_histogram(names::CLIENT_TOKEN_USAGE)
                .with_description("Tokens that requests to models used")
                .with_unit("{token}")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            duration: seconds(names::CLIENT_OPERATION_DURATION, "How long requests to models took"),
            first_chunk: seconds(
                names::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
                "Time to the first piece of streamed answers",
            ),
            between_chunks: seconds(
                names::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK,
                "Time from one piece of streamed answers to the next",
            ),
        }
    }
}
