//! Runs: the journal, the state machine, the engine that drives it, and the contracts of the store under it.
//!
//! [`RunMachine`] is pure: journal entries in, commands out. [`LocalEngine`] carries the commands out and journals what
//! happened, before and after. [`RunStore`] is for workers, [`RunIndex`] for callers, [`Runs`] is the service.

pub mod budget;
mod chain;
mod driver;
mod engine;
mod events;
mod feed;
mod handle;
mod history;
mod journal;
mod load;
mod machine;
mod room;
mod service;
mod sessions;
mod signal;
mod step;
mod store;
mod watch;

pub use chain::{Chain, ChainStep, ChainSummary};
pub use engine::{Engine, EngineOptions, EngineParts, LocalEngine};
pub use events::{EventCursor, RunEvent, RunEventKind, RunEvents};
pub use handle::{Outcome, Run};
pub use journal::{
    ChainHash, DoneOutcome, JournalEntry, JournalRow, PayloadHash, RunTotals, STATE_VERSION, Salt, StepError,
    StepKind, decode_entry, encode_entry, idempotency_key, link, payload_hash,
};
pub use machine::{Command, Input, OpenStep, Quote, RunMachine};
pub use service::{Answer, MAX_INPUT, OnDisconnect, RunInput, Runs};
pub use sessions::{Session, Sessions};
pub use signal::Signal;
pub use store::{
    ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, Payload, Release, RunIndex, RunPatch,
    RunQuery, RunRecord, RunStatus, RunStore, RunTx, SessionRecord, SessionStore,
};
