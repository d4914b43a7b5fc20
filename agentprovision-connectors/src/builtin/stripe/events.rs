//! What happened, whom Stripe tells about it, and the account itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Deleted, Metadata, TimeRange, Usual as _};
use crate::operation::Page;
use crate::operations;

/// Something that happened in the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The id, as `evt_…`; what is delivered again has the same one.
    pub id: String,
    /// What happened, as `invoice.paid`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub created: i64,
    /// What it happened to.
    pub data: EventData,
    /// The version of the API that `data` is in.
    pub api_version: Option<String>,
    /// The request that caused it, if one did.
    pub request: Option<EventRequest>,
    /// Id of the connected account it happened in.
    pub account: Option<String>,
    /// Deliveries that have not succeeded yet.
    pub pending_webhooks: u64,
    /// Whether it was in live mode; otherwise it was in a sandbox.
    pub livemode: bool,
}

/// What an event happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventData {
    /// The object as it was then.
    pub object: Map<String, Value>,
    /// Of a change, what the changed fields were before.
    pub previous_attributes: Option<Map<String, Value>>,
}

/// The request that caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRequest {
    /// Its id, as `req_…`.
    pub id: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
}

/// A URL that Stripe tells what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookEndpoint {
    /// The id, as `we_…`.
    pub id: String,
    /// The URL.
    pub url: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// What it is told about; `*` is nearly all.
    pub enabled_events: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The version of the API that events are in; none is the account's.
    pub api_version: Option<String>,
    /// What deliveries are signed with. Only the answer of `webhook_endpoints.create` has it.
    pub secret: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// An account at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The id, as `acct_…`.
    pub id: String,
    /// The e-mail address of its owner.
    pub email: Option<String>,
    /// The country, in two letters.
    pub country: Option<String>,
    /// The usual currency, in three lower-case letters.
    pub default_currency: Option<String>,
    /// Whether it can charge.
    pub charges_enabled: Option<bool>,
    /// Whether it is paid out.
    pub payouts_enabled: Option<bool>,
    /// The business.
    pub business_profile: Option<BusinessProfile>,
    /// How it is set up.
    pub settings: Option<AccountSettings>,
}

/// The business of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BusinessProfile {
    /// The name that customers see.
    pub name: Option<String>,
    /// The web site.
    pub url: Option<String>,
    /// Where customers write to.
    pub support_email: Option<String>,
}

/// How an account is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountSettings {
    /// How the dashboard shows it.
    pub dashboard: Option<Dashboard>,
}

/// How the dashboard shows an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dashboard {
    /// The name.
    pub display_name: Option<String>,
    /// The zone of its times, as `Europe/Paris`.
    pub timezone: Option<String>,
}

operations! {
    /// Lists what happened in the last 30 days, the newest first.
    ListEvents "events.list" get("/v1/events") => Page<Event> [.list()] {
        /// Only this, as `invoice.paid`; `invoice.*` is all about invoices.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// Only one of these, up to 20; instead of `type`.
        types: Option<Vec<String>>,
        /// Only what happened in this range of time.
        created: Option<TimeRange>,
        /// Only what was delivered to all endpoints (true), or was not (false).
        delivery_success: Option<bool>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets an event of the last 30 days by id.
    GetEvent "events.get" get("/v1/events/{id}") => Event {
        /// Id of the event, as `evt_…`.
        id: String,
    }

    /// Has Stripe tell a URL what happens. The answer has the secret that deliveries are signed with, once.
    CreateWebhookEndpoint "webhook_endpoints.create" post("/v1/webhook_endpoints") => WebhookEndpoint [.form()] {
        /// The URL, with `https`.
        url: String,
        /// What to tell about, as `invoice.paid`; `*` is nearly all.
        enabled_events: Vec<String>,
        /// What it is for.
        description: Option<String>,
        /// Whether to tell about connected accounts instead of this one; default false.
        connect: Option<bool>,
        /// The version of the API that events shall be in; default is the account's.
        api_version: Option<String>,
        /// Key-value pairs to keep with it, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Lists the URLs that Stripe tells what happens, the newest first.
    ListWebhookEndpoints "webhook_endpoints.list" get("/v1/webhook_endpoints") => Page<WebhookEndpoint> [.list()] {
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lets Stripe no longer tell a URL.
    DeleteWebhookEndpoint "webhook_endpoints.delete" delete("/v1/webhook_endpoints/{webhook_endpoint}") => Deleted {
        /// Id of it, as `we_…`.
        webhook_endpoint: String,
    }

    /// Says whose account the key belongs to.
    GetAccount "account.get" get("/v1/account") => Account {}
}
