//! The journal of a run: entries, their stored bytes, and the hash chain over them.
//!
//! A step is journaled before it is carried out ([`JournalEntry::Intent`]) and after ([`JournalEntry::Done`]). What was
//! asked and answered is kept apart, as payloads named by their content, so that the journal itself holds facts only and
//! a payload can be erased without breaking the chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::agent::VersionHash;
use crate::canonical;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AgentId, ApprovalId, RunId, SessionId, SignalId, TenantId, UserId};
use crate::model::Usage;
use crate::money::NanoUsd;
use crate::tool::Effect;

/// Version of the machine's state and of the journal's form. A run with a higher one is left to a newer worker.
pub const STATE_VERSION: u32 = 1;

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The hash over these bytes, as read from a store.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| Error::invalid(format!("`{}` is not a hash", crate::money::clip(text))))?;
                Ok(Self(bytes))
            }
        }

        crate::schema::text_schema!($name, stringify!($name), "sha256", "64 hexadecimal digits.");

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash! {
    /// The name of a payload: SHA-256 over the run's salt and the payload's bytes.
    PayloadHash
}

hash! {
    /// A link of the hash chain over a run's journal; zero before the first row.
    ChainHash
}

impl ChainHash {
    /// What the first row links to.
    pub const START: Self = Self([0; 32]);
}

/// Random bytes of a run that every hash over its content begins with; erasing them makes the hashes say nothing.
pub type Salt = [u8; 16];

/// The name of a payload.
pub fn payload_hash(salt: &Salt, bytes: &[u8]) -> PayloadHash {
    PayloadHash(canonical::sha256(&[salt, bytes]))
}

/// The link of a row: SHA-256 over the run's salt, the previous link, the row's number (8 bytes, big endian) and its
/// stored bytes.
pub fn link(salt: &Salt, previous: &ChainHash, seq: u64, body: &[u8]) -> ChainHash {
    ChainHash(canonical::sha256(&[salt, &previous.0, &seq.to_be_bytes(), body]))
}

/// The idempotency key of a step: the same for every attempt of it, different for every other step.
pub fn idempotency_key(tenant: TenantId, run: RunId, step: u32) -> String {
    let digest = canonical::sha256(&[
        b"agentprovision step key 1",
        tenant.uuid().as_bytes(),
        run.uuid().as_bytes(),
        &step.to_be_bytes(),
    ]);
    hex::encode(digest)
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepKind {
    /// Asks a model.
    Model,
    /// Calls a tool.
    Tool,
}

impl StepKind {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tool => "tool",
        }
    }

    /// The longer name used by execution chains.
    pub const fn step_type(self) -> &'static str {
        match self {
            Self::Model => "llm_invocation",
            Self::Tool => "tool_execution",
        }
    }
}

/// An error as it is journaled: what a tenant may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepError {
    /// The kind.
    pub kind: ErrorKind,
    /// The message.
    pub message: String,
}

impl From<&Error> for StepError {
    fn from(error: &Error) -> Self {
        // A message can hold a model's or a tool's words; the journal keeps no more than a few of them.
        Self { kind: error.kind(), message: error.message().chars().take(2000).collect() }
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        Error::new(error.kind, error.message)
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DoneOutcome {
    /// It gave a result.
    Ok {
        /// The result: the model's answer or the tool's JSON, as a payload.
        output: PayloadHash,
    },
    /// It failed.
    Failed {
        /// With what.
        error: StepError,
    },
    /// It was under way when its worker was lost, and may or may not have had its effect. Never repeated.
    Uncertain,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunTotals {
    /// Model calls and tool calls.
    pub steps: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Cost of the model calls whose price is known.
    pub cost: NanoUsd,
    /// Model calls whose price is unknown; with any, the run's cost is unknown.
    pub unpriced: u32,
}

impl RunTotals {
    /// The run's cost; absent when any part of it is unknown.
    pub fn cost_usd(&self) -> Option<NanoUsd> {
        (self.unpriced == 0).then_some(self.cost)
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
#[non_exhaustive]
pub enum JournalEntry {
    /// The run was accepted. Always the first entry, and only that.
    Created {
        /// Version of the machine and the journal.
        v: u32,
        /// The agent.
        agent: AgentId,
        /// The version it is pinned to.
        version: VersionHash,
        /// On whose behalf it runs.
        user: UserId,
        /// Its input, as a payload.
        input: PayloadHash,
        /// The session it is a turn of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// What the credential it was started with was limited to, as permission names; no limit where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scopes: Option<Vec<String>>,
        /// When it must be over.
        deadline: Timestamp,
        /// When it was accepted.
        at: Timestamp,
    },
    /// A step is about to be carried out.
    Intent {
        /// Its number, from 0.
        step: u32,
        /// What it does.
        kind: StepKind,
        /// The model or the tool.
        name: String,
        /// SHA-256 over the run's salt and the exact bytes of the request or the arguments.
        args_hash: PayloadHash,
        /// The tool's effect class; a model call is idempotent in effect: repeated, but billed into the run once.
        effect: Effect,
        /// The model's id of the tool call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// Longest answer asked for, where a budget limits it, in tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
        /// When it became ready.
        at: Timestamp,
    },
    /// A step ended.
    Done {
        /// Its number.
        step: u32,
        /// How.
        #[serde(flatten)]
        outcome: DoneOutcome,
        /// Token counts of a model call; of all its attempts that reported some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// Its cost; absent for a tool, and for a model without a price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<NanoUsd>,
        /// The model that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// How often it was tried, 1 without retries.
        attempts: u32,
        /// When the attempt that ended it began.
        started: Timestamp,
        /// When it ended.
        at: Timestamp,
    },
    /// A tool call waits for a person.
    ApprovalAsked {
        /// The approval.
        approval: ApprovalId,
        /// The model's id of the tool call.
        call_id: String,
        /// The tool.
        tool: String,
        /// Hash of the exact arguments the approval is bound to.
        args_hash: PayloadHash,
        /// When.
        at: Timestamp,
    },
    /// A person answered.
    ApprovalAnswered {
        /// The approval.
        approval: ApprovalId,
        /// Whether the call may go ahead.
        approved: bool,
        /// Who answered.
        by: UserId,
        /// When the answer was taken up.
        at: Timestamp,
    },
    /// Somebody asked for the run to end.
    CancelAsked {
        /// The signal.
        signal: SignalId,
        /// Who.
        by: UserId,
        /// When it was taken up.
        at: Timestamp,
    },
    /// The run is over. Always the last entry, and only that.
    Finished {
        /// How it ended.
        #[serde(flatten)]
        outcome: DoneOutcome,
        /// Whether it was cancelled.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cancelled: bool,
        /// What it used.
        totals: RunTotals,
        /// When.
        at: Timestamp,
    },
}

/// The stored bytes of an entry.
///
/// # Errors
/// None in practice: every entry has a JSON form.
pub fn encode_entry(entry: &JournalEntry) -> Result<Vec<u8>> {
    canonical::to_bytes(entry)
}

/// The entry in stored bytes.
///
/// # Errors
/// `corrupt` when the bytes are no entry.
pub fn decode_entry(body: &[u8]) -> Result<JournalEntry> {
    serde_json::from_slice(body)
        .map_err(|error| Error::corrupt("a journal row cannot be read").with_source(error))
}

/// A row of a journal as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Its number, from 1 without gaps.
    pub seq: u64,
    /// The canonical bytes of the entry.
    pub body: Vec<u8>,
    /// Its link of the chain.
    pub hash: ChainHash,
}

impl JournalRow {
    /// Verifies a run's journal: numbers without gaps, every link, and the head that the run's record names.
    ///
    /// # Errors
    /// `corrupt`, naming the row.
    pub fn verify(salt: &Salt, rows: &[JournalRow], head: &ChainHash) -> Result<()> {
        let mut previous = ChainHash::START;
        for (row, seq) in rows.iter().zip(1..) {
            if row.seq != seq || link(salt, &previous, seq, &row.body) != row.hash {
                return Err(Error::corrupt(format!("the journal does not verify at row {seq}")));
            }
            previous = row.hash;
        }
        if previous == *head {
            Ok(())
        } else {
            Err(Error::corrupt("the journal does not end where the run's record says"))
        }
    }
}
