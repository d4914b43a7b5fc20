//! The audit log: records, the reader contract and the Merkle tree under it.
//!
//! A record is written by the transaction that makes the change it tells of, then moved gap-free into its tenant's log
//! by the sequencer of the store. What is hashed is the record's canonical bytes, which are what is stored.

mod log;
pub mod merkle;

pub use log::AuditLog;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::clock::Timestamp;
use crate::context::{Context, OperatorContext};
use crate::error::{Error, Result};
use crate::id::{AuditId, RequestId, TenantId};
use merkle::TreeHash;

/// Who did something: a type (`user`, `agent`, `operator`, `system`) and an id in text form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Actor {
    /// `user`, `agent`, `operator` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id in text form; for an operator the name the host gave.
    pub id: String,
}

impl Actor {
    /// An actor of `kind` with this id.
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string() }
    }
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// It was done.
    Success,
    /// It was refused or failed; `reason` says why.
    Failure,
}

/// One record of the audit log: facts, never content.
///
/// Its canonical JSON bytes (absent fields left out) are what is stored and hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditRecord {
    /// Version of this form, 1.
    pub v: u32,
    /// The id of the record.
    pub id: AuditId,
    /// The tenant whose log it is in; absent in the platform log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Who acted.
    pub actor: Actor,
    /// What was done: the name of the operation, such as `agents.deploy`, or of what it led to, such as `tools.call`.
    pub action: String,
    /// The kind of resource, in the plural of the permissions.
    pub resource: String,
    /// The id of the resource in text form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// The caller's IP address, where the host gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// The caller's user agent, where the host gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether it was done.
    pub result: AuditResult,
    /// Why it was refused or failed: an error code; or the operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request it belongs to.
    pub request_id: RequestId,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl AuditRecord {
    /// A record of something `ctx` did to a resource of its tenant, now.
    pub fn of(ctx: &Context, env: &crate::Env, action: &str, resource: &str, id: impl fmt::Display) -> Self {
        Self {
            v: 1,
            id: env.id(),
            tenant_id: Some(ctx.tenant()),
            actor: ctx.actor(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            resource_id: Some(id.to_string()),
            timestamp: env.now(),
            ip_address: ctx.info().ip_address.clone(),
            user_agent: ctx.info().user_agent.clone(),
            result: AuditResult::Success,
            reason: None,
            request_id: ctx.request_id(),
            details: Map::new(),
        }
    }

    /// A record of something an operator did, for the log of `tenant` or, without one, for the platform log.
    pub fn of_operator(
        ctx: &OperatorContext,
        env: &crate::Env,
        tenant: Option<TenantId>,
        action: &str,
        resource: &str,
        id: impl fmt::Display,
    ) -> Self {
        Self {
            v: 1,
            id: env.id(),
            tenant_id: tenant,
            actor: ctx.actor(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            resource_id: Some(id.to_string()),
            timestamp: env.now(),
            ip_address: ctx.info().ip_address.clone(),
            user_agent: ctx.info().user_agent.clone(),
            result: AuditResult::Success,
            reason: Some(ctx.reason().to_owned()),
            request_id: ctx.request_id(),
            details: Map::new(),
        }
    }

    /// The same record with one more fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The same record of something that was refused or failed with `error`.
    #[must_use]
    pub fn failed(mut self, error: &Error) -> Self {
        self.result = AuditResult::Failure;
        self.reason = Some(error.kind().code().to_owned());
        self
    }

    /// The bytes that are stored and hashed.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        canonical::to_bytes(self)
    }
}

/// A record in its place in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its place: 0 for the first record of the log, without gaps.
    pub seq: u64,
    /// The stored bytes; none where the record was erased.
    pub bytes: Vec<u8>,
    /// The leaf hash of a record that was erased with its tenant: what is left of it, so that every proof still holds.
    pub erased: Option<TreeHash>,
}

impl AuditEntry {
    /// An entry as a store keeps it: erased records have no bytes.
    pub fn stored(seq: u64, leaf: TreeHash, bytes: Vec<u8>) -> Self {
        let erased = bytes.is_empty().then_some(leaf);
        Self { seq, bytes, erased }
    }

    /// The record in the bytes.
    ///
    /// # Errors
    /// `not_found` when it was erased; `corrupt` when the bytes are no record.
    pub fn record(&self) -> Result<AuditRecord> {
        if self.erased.is_some() {
            return Err(Error::not_found(format!("audit record {} was erased with its tenant", self.seq)));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| {
            Error::corrupt(format!("audit record {} cannot be read", self.seq)).with_source(error)
        })
    }

    /// The leaf hash of the bytes, or what is left of those that were erased.
    pub fn leaf(&self) -> TreeHash {
        self.erased.unwrap_or_else(|| merkle::leaf_hash(&self.bytes))
    }
}

/// A tree head: so many records, with this root (RFC 6962, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Checkpoint {
    /// Number of records.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: TreeHash,
}

/// A proof that a record is in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InclusionProof {
    /// Place of the record.
    pub seq: u64,
    /// The tree head the proof leads to.
    pub checkpoint: Checkpoint,
    /// The audit path (RFC 6962, section 2.1.1), from the leaf's sibling up.
    pub path: Vec<TreeHash>,
}

/// Reads a tenant's audit log. Every method first waits for what was pending at the call.
#[async_trait]
pub trait AuditReader: fmt::Debug + Send + Sync + 'static {
    /// At most `limit` entries from place `from` on, erased ones too.
    async fn entries(&self, ctx: &Context, from: u64, limit: u32) -> Result<Vec<AuditEntry>>;
    /// The current tree head.
    async fn checkpoint(&self, ctx: &Context) -> Result<Checkpoint>;
    /// A proof that the record at `seq` is in the log as it was at `size` records.
    ///
    /// # Errors
    /// `invalid_input` when `seq` is not below `size` or `size` is beyond the log.
    async fn prove(&self, ctx: &Context, seq: u64, size: u64) -> Result<InclusionProof>;
    /// A proof that the log of `old` records is a prefix of the log of `new` records.
    ///
    /// # Errors
    /// `invalid_input` when the sizes are out of order or beyond the log.
    async fn consistency(&self, ctx: &Context, old: u64, new: u64) -> Result<Vec<TreeHash>>;
    /// At most `limit` entries of the platform log from place `from` on.
    async fn platform_entries(&self, ctx: &OperatorContext, from: u64, limit: u32)
    -> Result<Vec<AuditEntry>>;
    /// The current tree head of the platform log.
    async fn platform_checkpoint(&self, ctx: &OperatorContext) -> Result<Checkpoint>;
}
