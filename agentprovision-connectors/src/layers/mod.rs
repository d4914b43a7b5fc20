//! What surrounds every call, one concern each, as `tower::Layer<Arc<dyn Invoke>>`. From the outside in:
//!
//! trace → policy → meter and audit → deadline → idempotency → retry → quota → concurrency → the exchange itself, which proves who
//! asks and goes through the guarded client.
//!
//! The order is not free. A repeat that waits for a quota must not hold a place among those that run at the same time, so
//! retry and quota are outside of concurrency; what a key stands for is decided before a repeat, so that a repeat is not
//! taken for somebody else's; and whatever happens further in is metered once.

mod concurrency;
mod deadline;
mod idempotency;
mod meter;
mod policy;
mod quota;
mod retry;
mod trace;

pub use concurrency::ConcurrencyLayer;
pub use deadline::DeadlineLayer;
pub use idempotency::IdempotencyLayer;
pub use meter::MeterLayer;
pub use policy::{CallPolicy, PolicyLayer, Verdict};
pub(crate) use quota::Gates;
pub use quota::QuotaLayer;
pub use retry::{RetryLayer, RetryOptions};
pub use trace::TraceLayer;
