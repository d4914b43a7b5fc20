//! The native half of the Node package `agentprovision`. Private: people use the hand-written half beside it.
//!
//! Everything crosses as JSON text, and every answer comes back through one function per platform; read [`Bridge`]
//! first.

mod bench;
mod bridge;
mod handles;
mod host;
mod mailbox;

pub use bridge::{Bridge, Clock, Scripted};
pub use handles::{Caller, RunHandle, StreamHandle};
pub use host::Call;

use napi_derive::napi;

/// The codes of every kind of error, as JSON.
#[napi]
pub fn error_kinds() -> String {
    serde_json::json!(agentprovision::wire::error_kinds()).to_string()
}

/// The JSON Schemas of all operations, as JSON.
#[napi]
pub fn schema() -> String {
    agentprovision::wire::schema().to_string()
}

/// An error for a call that throws at once; the other half reads the JSON in its message.
fn thrown(error: &agentprovision::Error) -> napi::Error {
    napi::Error::from_reason(agentprovision::wire::error_json(error))
}
