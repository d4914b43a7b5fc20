//! Runs: the journal, the state machine, the engine that drives it, and the contracts of the store under it.
//!
//! [`RunMachine`] is pure: journal entries in, commands out. [`LocalEngine`] carries the commands out and journals what
//! happened, before and after. [`RunStore`] is for workers, [`RunIndex`] for callers, [`Runs`] is the service.

mod journal;
mod signal;
mod store;

pub use journal::{
    ChainHash, DoneOutcome, JournalEntry, JournalRow, PayloadHash, RunTotals, STATE_VERSION, Salt, StepError, StepKind,
    decode_entry, encode_entry, idempotency_key, link, payload_hash,
};
pub use signal::Signal;
pub use store::{
    Created, Fence, JournalBatch, Lease, NewRun, Payload, Release, RunIndex, RunPatch, RunQuery, RunRecord, RunStatus,
    RunStore, RunTx, SessionRecord, SessionStore,
};
