//! Webhooks in: the records and store contracts of endpoints and of the inbox. Who signs how, what a delivery says and what
//! comes of it is in `agentprovision-connectors`.
//!
//! A delivery is kept before it is acknowledged, and worked on afterwards: by one worker at a time, as often as it takes to
//! end. What its id says decides which deliveries are one.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{ErrorKind, Result};
use crate::id::{DeliveryId, EndpointId, IntegrationId, RunId, TenantId, UserId, WorkerId};
use crate::page::{Page, PageRequest};
use crate::tenant::Revision;

/// Whether an endpoint takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndpointState {
    /// It does.
    Active,
    /// It is as if it were not there.
    Disabled,
}

impl EndpointState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Disabled];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.name() == name)
    }
}

/// Where a vendor sends what happens there. Its secret is kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WebhookEndpoint {
    /// The id; in text form the last part of its URL, with the tenant before it.
    pub id: EndpointId,
    /// The name, unique within the tenant.
    pub name: String,
    /// Who sends, and so how deliveries are read.
    pub vendor: String,
    /// How deliveries prove whose they are.
    pub scheme: Value,
    /// The integration that it belongs to.
    pub integration: Option<IntegrationId>,
    /// What comes of deliveries.
    pub triggers: Value,
    /// Whether it takes deliveries.
    pub state: EndpointState,
    /// On whose behalf deliveries are worked on.
    pub owner: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts the changes.
    pub revision: Revision,
}

/// Keeps endpoints.
#[async_trait]
pub trait EndpointStore: fmt::Debug + Send + Sync + 'static {
    /// Adds an endpoint.
    ///
    /// # Errors
    /// `already_exists` when the id or the name is taken in the tenant.
    async fn insert(&self, ctx: &Context, endpoint: WebhookEndpoint, effects: Effects) -> Result<()>;
    /// An endpoint.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: EndpointId) -> Result<WebhookEndpoint>;
    /// Replaces an endpoint whose revision is `expected`; the stored revision is `expected + 1`.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another; `already_exists` for a taken name.
    async fn replace(
        &self,
        ctx: &Context,
        endpoint: WebhookEndpoint,
        expected: Revision,
        effects: Effects,
    ) -> Result<()>;
    /// All endpoints by (created, id).
    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<WebhookEndpoint>>;
    /// Removes an endpoint whose revision is `expected`, with its deliveries and marks.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another.
    async fn delete(&self, ctx: &Context, id: EndpointId, expected: Revision, effects: Effects)
    -> Result<()>;
    /// An endpoint by the tenant and id in its URL, for whoever receives deliveries.
    ///
    /// # Errors
    /// `not_found`.
    async fn lookup(&self, tenant: TenantId, id: EndpointId) -> Result<WebhookEndpoint>;
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryState {
    /// It is worked on, or will be.
    Pending,
    /// It was worked on.
    Done,
    /// It was given up; the error says why. Replaying it makes it pending again.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Done, Self::Failed];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.name() == name)
    }
}

/// A delivery to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The id.
    pub id: DeliveryId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// By which repeats are told, within the endpoint: 1 to 255 bytes.
    pub key: String,
    /// The SHA-256 of the body.
    pub digest: [u8; 32],
    /// What happened, in the vendor's words: at most 255 bytes.
    pub kind: String,
    /// The headers that are kept, as JSON.
    pub headers: String,
    /// The body as it came.
    pub body: Vec<u8>,
    /// When it came.
    pub received_at: Timestamp,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What came.
    pub new: NewDelivery,
    /// What became of it.
    pub state: DeliveryState,
    /// How often work on it was begun.
    pub attempts: u32,
    /// The last error.
    pub error: Option<ErrorKind>,
    /// Runs that were started.
    pub runs: Vec<RunId>,
    /// How often it came again with the same body.
    pub repeats: u32,
    /// How often its id came with another body; none of these was kept.
    pub conflicts: u32,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

/// What came of keeping a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is new.
    New,
    /// It was there, with the same body.
    Again,
    /// Its id was there with another body: it is counted and not kept.
    Conflict,
}

/// A delivery that is a worker's for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Whose it is.
    pub tenant: TenantId,
    /// The delivery; its attempts count this one.
    pub delivery: Delivery,
    /// Counts its workers: what an earlier one brings is refused.
    pub epoch: u64,
}

/// How an attempt at a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// It is done, and these runs were started.
    Done(Vec<RunId>),
    /// It is tried again after this time.
    Retry(Duration, ErrorKind),
    /// It is given up.
    Failed(ErrorKind),
}

/// Keeps deliveries until they are worked on, and after. Time is the store's own where several processes share it.
#[async_trait]
pub trait Inbox: fmt::Debug + Send + Sync + 'static {
    /// Keeps a delivery of an active tenant's endpoint, once: deciding whether it is new and keeping it are one thing.
    ///
    /// # Errors
    /// `not_found` without such an endpoint; those of a tenant that is not active.
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted>;
    /// Takes at most `limit` pending deliveries of active tenants whose time has come and that nobody else has, for `term`:
    /// tenant by tenant, and of an endpoint in the order they came.
    async fn claim(&self, worker: WorkerId, term: Duration, limit: u32) -> Result<Vec<ClaimedDelivery>>;
    /// Ends an attempt, with what else is to be stored.
    ///
    /// # Errors
    /// `fenced` when it is somebody else's, or over; `not_found` when it is gone; what a guard refuses.
    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        effects: Effects,
    ) -> Result<()>;
    /// Moves a mark of an endpoint to `version`, if it is greater (by bytes) than what is there; says whether it was. Of one key
    /// the newest state is known by it, in whatever order deliveries come.
    async fn advance(&self, tenant: TenantId, endpoint: EndpointId, key: &str, version: &str)
    -> Result<bool>;
    /// What a mark of an endpoint is at.
    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>>;
    /// A delivery.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery>;
    /// The deliveries of an endpoint by (received, id), without their bodies.
    async fn list(&self, ctx: &Context, endpoint: EndpointId, page: PageRequest) -> Result<Page<Delivery>>;
    /// Makes a delivery that is over pending again, under its old id.
    ///
    /// # Errors
    /// `not_found`; `conflict` for one that is pending.
    async fn replay(&self, ctx: &Context, id: DeliveryId, effects: Effects) -> Result<()>;
    /// Removes deliveries of a tenant that were over before this time; at most `limit`. Answers how many.
    async fn expire(&self, tenant: TenantId, before: Timestamp, limit: u32) -> Result<u32>;
    /// Returns when a delivery may have become ready in this process; others are found by looking.
    async fn woken(&self);
}
