//! Webhooks in: the records and store contracts of endpoints and of the inbox. Who signs how, what a delivery says and what
//! comes of it is in `agentprovision-connectors`.
//!
//! A delivery is kept before it is acknowledged, and worked on afterwards: by one worker at a time, as often as it takes to
//! end. Its key decides which deliveries are one.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DeliveryId, EndpointId, IntegrationId, RunId, TenantId, UserId, WorkerId};
use crate::page::{Page, PageRequest};
use crate::tenant::Revision;
use crate::text;

/// The longest key of a delivery and of a mark, the longest version of a mark, and the longest kind, in bytes.
pub const MAX_TEXT: usize = 255;

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
#[derive(Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The id, which no other delivery of the tenant has.
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

impl fmt::Debug for NewDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Content stays out of logs.
        f.debug_struct("NewDelivery")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

impl NewDelivery {
    /// Refuses what cannot be stored.
    ///
    /// # Errors
    /// `invalid_input` for an empty key, and for U+0000 in the key, the kind or the headers; `too_large` for a key or a kind
    /// beyond [`MAX_TEXT`].
    pub fn check(&self) -> Result<()> {
        filled("key", &self.key)?;
        text::content("kind", &self.kind, MAX_TEXT)?;
        text::content("headers", &self.headers, usize::MAX)?;
        Ok(())
    }

    /// What became of keeping it, by how often it was there before: with the same body, and with another. `same` says which of
    /// them this one is.
    pub const fn accepted(repeats: u32, conflicts: u32, same: bool) -> Accepted {
        match (repeats, conflicts) {
            (0, 0) => Accepted::New,
            _ if same => Accepted::Again,
            _ => Accepted::Conflict,
        }
    }
}

/// Refuses a text that is empty or cannot be stored.
fn filled(field: &str, value: &str) -> Result<()> {
    if text::content(field, value, MAX_TEXT)?.is_empty() {
        return Err(Error::invalid(format!("`{field}` is empty")));
    }
    Ok(())
}

/// Refuses the key and the version of a mark that cannot be stored.
///
/// # Errors
/// `invalid_input` for an empty one or one with U+0000; `too_large` beyond [`MAX_TEXT`].
pub fn check_mark(key: &str, version: &str) -> Result<()> {
    filled("key", key)?;
    filled("version", version)
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What came.
    pub new: NewDelivery,
    /// What became of it.
    pub state: DeliveryState,
    /// How often work on it was begun, over all replays.
    pub attempts: u32,
    /// How the last attempt that ended has failed; none where it went well.
    pub error: Option<ErrorKind>,
    /// Runs that the last attempt that went well has started.
    pub runs: Vec<RunId>,
    /// How often it came again with the same body.
    pub repeats: u32,
    /// How often its key came with another body; none of these was kept.
    pub conflicts: u32,
    /// The SHA-256 of the last such body; none where there was none.
    pub conflict_digest: Option<[u8; 32]>,
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
    /// Its key was there with another body: it is counted, its digest is recorded, and it is not kept.
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

/// Whether deliveries can be taken for this long.
///
/// # Errors
/// `invalid_input` for zero.
pub fn check_term(term: Duration) -> Result<()> {
    if term.is_zero() {
        return Err(Error::invalid("a delivery is taken for longer than zero"));
    }
    Ok(())
}

/// Keeps deliveries until they are worked on, and after. Time is the store's own where several processes share it.
#[async_trait]
pub trait Inbox: fmt::Debug + Send + Sync + 'static {
    /// Keeps a delivery of an active tenant's endpoint, once: deciding whether it is new and keeping it are one thing. One that
    /// was there is counted, and stays as it is; of another body under its key the digest is recorded.
    ///
    /// # Errors
    /// `not_found` without such an endpoint, or with one that is disabled; those of a tenant that is not active; those of
    /// [`NewDelivery::check`].
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted>;
    /// Takes at most `limit` pending deliveries of active tenants whose time has come and that nobody else has, for `term`.
    /// Tenants have their turns in the order of their ids, beginning behind `after`: one delivery each before a second of any.
    /// Those of a tenant go in the order in which they came, or in which their time has come again.
    ///
    /// # Errors
    /// `invalid_input` for a term of zero: what is over at once could be given out twice.
    async fn claim(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>>;
    /// Ends an attempt, with what else is to be stored. That its term is over does not matter as long as nobody else has taken
    /// the delivery.
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
    ///
    /// # Errors
    /// `not_found` without such an endpoint; those of [`check_mark`].
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
    /// Removes deliveries of all tenants that have been over for longer than `keep`; at most `limit`. Answers how many.
    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32>;
    /// Returns when a delivery may have become ready in this process; others are found by looking.
    async fn woken(&self);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Env;

    #[test]
    fn texts_that_cannot_be_stored_are_refused() {
        let delivery = |key: &str, kind: &str, headers: &str| NewDelivery {
            id: Env::default().id(),
            endpoint: Env::default().id(),
            key: key.into(),
            digest: [0; 32],
            kind: kind.into(),
            headers: headers.into(),
            body: b"canary".to_vec(),
            received_at: Timestamp::from_micros(0),
        };
        let long = "k".repeat(256);
        assert!(delivery(&long[1..], &long[1..], "{}").check().is_ok());
        assert!(delivery("k", "", "").check().is_ok());
        for (delivery, kind) in [
            (delivery("", "", ""), ErrorKind::InvalidInput),
            (delivery("a\0", "", ""), ErrorKind::InvalidInput),
            (delivery("a", "\0", ""), ErrorKind::InvalidInput),
            (delivery("a", "", "\0"), ErrorKind::InvalidInput),
            (delivery(&long, "", ""), ErrorKind::TooLarge),
            (delivery("a", &long, ""), ErrorKind::TooLarge),
        ] {
            assert_eq!(delivery.check().unwrap_err().kind(), kind, "{delivery:?}");
        }
        for (key, version, kind) in [
            ("", "1", ErrorKind::InvalidInput),
            ("k", "", ErrorKind::InvalidInput),
            ("k", "\0", ErrorKind::InvalidInput),
            (&long, "1", ErrorKind::TooLarge),
            ("k", &long, ErrorKind::TooLarge),
        ] {
            assert_eq!(check_mark(key, version).unwrap_err().kind(), kind, "{key} {version}");
        }
        assert!(!format!("{:?}", delivery("k", "", "")).contains(&format!("{:?}", b"canary")));
    }
}
