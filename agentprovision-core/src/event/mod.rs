//! Platform events in the shape of CloudEvents 1.0, their contracts, and the in-process bus.
//!
//! An event is written to the outbox by the transaction of the change it tells of. The relay of the store numbers it
//! within its tenant, gap-free, and hands it to the sinks at least once; consumers tell repeats by the id.

mod bus;
mod relay;

pub use bus::EventBus;
pub use relay::{Events, relay};

use std::fmt;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Env, Timestamp};
use crate::context::Context;
use crate::error::Result;
use crate::id::{EventId, TenantId};

/// An event: CloudEvents 1.0 attributes with the extensions `tenantid`, `correlationid`, `causationid`, `userid`,
/// `traceparent` and `dataversion`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlatformEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique; a consumer drops an id it has seen.
    pub id: EventId,
    /// Where it comes from, as a URI reference such as `/agents`.
    pub source: String,
    /// What happened, as `agentprovision.noun.verb`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: the id of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened.
    pub time: Timestamp,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The tenant.
    pub tenantid: TenantId,
    /// The work it belongs to.
    pub correlationid: String,
    /// The event or request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// The user on whose behalf it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userid: Option<String>,
    /// The W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Version of the form of `data`.
    pub dataversion: String,
    /// Facts; an object.
    pub data: Value,
}

impl PlatformEvent {
    /// An event of the principal's request: `noun.verb` about a resource, now.
    pub fn of(ctx: &Context, env: &Env, kind: &str, subject: impl fmt::Display, data: Value) -> Self {
        Self::new(env, ctx.tenant(), kind, subject, data)
            .with_user(ctx.principal().user())
            .with_correlation(ctx.correlation_id().into_owned(), Some(ctx.request_id().to_string()))
            .with_traceparent(ctx.info().traceparent.clone())
    }

    /// An event of a tenant without a user.
    pub fn new(env: &Env, tenant: TenantId, kind: &str, subject: impl fmt::Display, data: Value) -> Self {
        let id: EventId = env.id();
        let noun = kind.split('.').next().unwrap_or(kind);
        Self {
            specversion: "1.0".into(),
            id,
            source: format!("/{noun}s"),
            kind: format!("agentprovision.{kind}"),
            subject: Some(subject.to_string()),
            time: env.now(),
            datacontenttype: "application/json".into(),
            tenantid: tenant,
            correlationid: id.to_string(),
            causationid: None,
            userid: None,
            traceparent: None,
            dataversion: "1".into(),
            data,
        }
    }

    /// The same event on behalf of a user.
    #[must_use]
    pub fn with_user(mut self, user: impl fmt::Display) -> Self {
        self.userid = Some(user.to_string());
        self
    }

    /// The same event within a piece of work.
    #[must_use]
    pub fn with_correlation(mut self, correlation: String, causation: Option<String>) -> Self {
        self.correlationid = correlation;
        self.causationid = causation;
        self
    }

    /// The same event within a trace.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }
}

/// An event with its number within its tenant: 1 for the first, without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedEvent {
    /// The number.
    pub seq: u64,
    /// The event.
    pub event: PlatformEvent,
}

/// Takes events out of the process, at least once, in order per tenant.
#[async_trait]
pub trait EventSink: fmt::Debug + Send + Sync + 'static {
    /// Delivers a batch. An error makes the relay deliver the same batch again later.
    async fn publish(&self, events: &[NumberedEvent]) -> Result<()>;
}

/// Follows a tenant's events.
#[async_trait]
pub trait EventSource: fmt::Debug + Send + Sync + 'static {
    /// The events after number `after` (0 for all that are kept), then those that come.
    async fn subscribe(&self, ctx: &Context, after: u64)
    -> Result<BoxStream<'static, Result<NumberedEvent>>>;
}

/// The durable side of events: what a backend offers to relays and subscribers.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// At most `limit` events of the tenant after number `after`; first numbers what is in the outbox.
    async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>>;
    /// Numbers what is in the outboxes of all tenants and returns at most `limit` events that no relay has confirmed.
    async fn unpublished(&self, limit: u32) -> Result<Vec<NumberedEvent>>;
    /// Confirms events that every sink has taken.
    async fn published(&self, events: &[NumberedEvent]) -> Result<()>;
}
