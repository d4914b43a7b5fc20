//! Stripe: customers, invoices, metered billing, subscriptions, products and payments, by its REST API
//! (<https://docs.stripe.com/api>) in version `2026-07-29.dahlia`.
//!
//! Amounts are whole numbers of the smallest unit of their currency (<https://docs.stripe.com/currencies>): 1050 `usd` are 10.50
//! dollars, 1050 `jpy` are 1050 yen. Times are seconds since 1970. What makes or changes something carries the caller's
//! idempotency key (<https://docs.stripe.com/api/idempotent_requests>). Failures are classified by
//! <https://docs.stripe.com/api/errors> and <https://docs.stripe.com/error-codes>.
//!
//! Bodies are forms with brackets. A mock that is made from the vendor's description can take objects that a form does not have
//! for empty ones and miss required fields in them (`from_invoice.action` of `invoices.create`): what it finds about fields that
//! were not sent is no finding.

pub mod customers;
pub mod events;
pub mod invoices;
pub mod meters;
pub mod payments;
pub mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::{Auth, Field};
use crate::connector::Connector;
use crate::operation::OperationSpec;
use crate::paging::Paging;
use crate::quota::{Quota, Shared};
use crate::request::{Body, Lists};

/// The version of the API that requests ask for and answers are read as.
pub const VERSION: &str = "2026-07-29.dahlia";

/// Operations that the reduced description of the vendor does not have, with why; they are by its documentation.
pub const NOT_IN_DESCRIPTION: &[(&str, &str)] = &[
    ("account.get", "the reduced description has no accounts"),
    ("charges.list", "the reduced description has no charges"),
    ("customers.search", "the reduced description has no search"),
    ("invoices.preview", "younger than the description"),
    ("meter_events.create", "younger than the description"),
    ("meters.create", "younger than the description"),
    ("meters.deactivate", "younger than the description"),
    ("meters.get", "younger than the description"),
    ("meters.list", "younger than the description"),
    ("meters.summaries", "younger than the description"),
    ("meters.update", "younger than the description"),
    ("payment_intents.get", "the reduced description has no payment intents"),
    ("payment_intents.list", "the reduced description has no payment intents"),
    ("prices.create", "the reduced description has no prices"),
    ("prices.get", "the reduced description has no prices"),
    ("prices.list", "the reduced description has no prices"),
    ("products.create", "the reduced description has no products"),
    ("products.get", "the reduced description has no products"),
    ("products.list", "the reduced description has no products"),
    ("refunds.create", "the reduced description has no refunds"),
    ("subscriptions.cancel", "the reduced description has no subscriptions"),
    ("subscriptions.create", "the reduced description has no subscriptions"),
    ("subscriptions.get", "the reduced description has no subscriptions"),
    ("subscriptions.list", "the reduced description has no subscriptions"),
    ("subscriptions.update", "the reduced description has no subscriptions"),
];

/// The connector `stripe`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    let key = Auth::bearer("Secret or restricted key")
        .fields(vec![Field::new("token", "A secret key (`sk_…`), or a restricted one (`rk_…`).")]);
    // What one endpoint takes (https://docs.stripe.com/rate-limits); meter events have a limit of their own, 1000 a second.
    let endpoint = Quota::new("endpoint").shared(Shared::Operation).rate(25, SECOND).operations([
        "account.",
        "balance.",
        "charges.",
        "customers.",
        "events.",
        "invoice_items.",
        "invoices.",
        "meters.",
        "payment_intents.",
        "prices.",
        "products.",
        "refunds.",
        "subscriptions.",
        "webhook_endpoints.",
    ]);
    Connector::builder("stripe", "https://api.stripe.com")
        .about(
            "Stripe",
            "Customers, invoices, metered billing, subscriptions, products, payments and refunds at Stripe.",
        )
        .auth(key)
        .header("stripe-version", VERSION)
        .quota(endpoint)
        .quota(Quota::new("search").rate(20, SECOND).operations(["customers.search"]))
        .whoami("account.get", "/id", "/settings/dashboard/display_name")
        .classify(classify)
        .operations(customers::operations())
        .operations(events::operations())
        .operations(invoices::operations())
        .operations(meters::operations())
        .operations(payments::operations())
        .operations(subscriptions::operations())
        .build()
}

const SECOND: Duration = Duration::from_secs(1);

/// What many operations here have in common.
trait Usual {
    /// Sent as a form, with the caller's idempotency key.
    fn form(self) -> Self;
    /// A list that goes on after its last item.
    fn list(self) -> Self;
}

impl Usual for OperationSpec {
    fn form(self) -> Self {
        self.body(Body::Form).key_header("idempotency-key")
    }

    fn list(self) -> Self {
        self.lists(Lists::Brackets).page(Paging::LastItem {
            items: "/data".into(),
            field: "id".into(),
            into: "starting_after".into(),
            more: "/has_more".into(),
        })
    }
}

/// Codes of requests that are right and do not fit the state of what they are about, where the status is 400.
const STATES: [&str; 12] = [
    "charge_already_captured",
    "charge_already_refunded",
    "charge_disputed",
    "invoice_no_customer_line_items",
    "invoice_not_editable",
    "invoice_upcoming_none",
    "no_account",
    "payment_intent_unexpected_state",
    "product_inactive",
    "resource_already_exists",
    "setup_intent_unexpected_state",
    "status_transition_invalid",
];

/// What an error of Stripe means. A payment that is declined (402) is a conflict: the request is right, and the payment method
/// does not allow it. A request that runs into another one of its idempotency key can be sent again.
fn classify(response: &Response, _: Timestamp) -> Option<Failure> {
    if response.status.is_success() {
        return None;
    }
    let body = response.json()?;
    let error = body.get("error")?;
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (kind, code) = (text("type").unwrap_or_default(), text("code").unwrap_or_default());
    let again = response.header("stripe-should-retry") == Some("true");
    let category = match (response.status.as_u16(), kind, code) {
        (429, ..) | (_, _, "lock_timeout" | "rate_limit") => Category::RateLimited,
        (409, ..) if again || code == "idempotency_key_in_use" => Category::Unavailable,
        (424, ..) => Category::Unavailable,
        (402, ..) | (_, "card_error" | "idempotency_error", _) => Category::Conflict,
        (400, _, "resource_missing") => Category::NotFound,
        (400, _, code) if STATES.contains(&code) => Category::Conflict,
        _ => usual(response.status),
    };
    let mut message = text("message").unwrap_or_default().to_owned();
    let facts = [("", "code"), ("declined: ", "decline_code"), ("parameter: ", "param")];
    let facts: Vec<String> =
        facts.iter().filter_map(|(what, name)| Some(format!("{what}{}", text(name)?))).collect();
    if !facts.is_empty() {
        message.push_str(&format!(" ({})", facts.join(", ")));
    }
    Some(Failure::new(category).message(message.trim()))
}

/// A range of time, in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// After this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gt: Option<i64>,
    /// At this time or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gte: Option<i64>,
    /// Before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lt: Option<i64>,
    /// At this time or before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lte: Option<i64>,
}

/// What callers keep with an object: up to 50 keys of 40 characters, with values of 500. A value that is empty removes its key.
pub type Metadata = BTreeMap<String, String>;

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Street and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line1: Option<String>,
    /// Apartment, suite or building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Country, in two letters (ISO 3166-1 alpha-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// A period of time, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    /// Its begin.
    pub start: i64,
    /// Its end, at or after the begin.
    pub end: i64,
}

/// What is left of something that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// The id it had.
    pub id: String,
    /// Whether it is deleted.
    pub deleted: bool,
}

/// How invoices are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectionMethod {
    /// By the customer's default payment method, without their doing.
    ChargeAutomatically,
    /// By the customer, who gets the invoice by e-mail.
    SendInvoice,
}
