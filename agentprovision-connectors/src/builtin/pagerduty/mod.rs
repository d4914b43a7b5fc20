//! PagerDuty: incidents, services, who is on call, by its REST API
//! (<https://developer.pagerduty.com/api-reference/>), and what monitoring tells it, by its Events API v2 ([`events`]).
//!
//! Inputs are flat, with ids where PagerDuty takes references; the operations make of them what PagerDuty takes. Times are texts
//! as ISO 8601 writes them. What is written needs `from`, the e-mail address of the user in whose name it is
//! (<https://developer.pagerduty.com/docs/rest-api-v2/rest-api/>). Quotas are by
//! <https://developer.pagerduty.com/docs/rest-api-v2/rate-limiting/>, failures by
//! <https://developer.pagerduty.com/docs/rest-api-v2/errors/>. Accounts in the EU have `https://api.eu.pagerduty.com` as `base_url`.

pub mod events;
pub mod incidents;
pub mod people;
pub mod services;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::{Auth, Field};
use crate::connector::Connector;
use crate::operation::OperationSpec;
use crate::paging::Paging;
use crate::quota::{Quota, Reset};
use crate::request::Lists;

/// Operations that the reduced description of the vendor does not have, with why; they are by its full one.
pub const NOT_IN_DESCRIPTION: &[(&str, &str)] = &[
    ("escalation_policies.get", "the reduced description only lists them"),
    ("schedules.get", "the reduced description only lists them"),
    ("schedules.users", "the reduced description only lists schedules"),
    ("teams.list", "the reduced description has no teams"),
];

/// The connector `pagerduty`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    let about = "A REST API key: of a user, or of the account.";
    let key = Auth::key_header("authorization", "Token token=").fields(vec![Field::new("key", about)]);
    Connector::builder("pagerduty", "https://api.pagerduty.com")
        .about(
            "PagerDuty",
            "Incidents, services, escalation policies, schedules and who is on call at PagerDuty.",
        )
        .auth(key)
        .auth(Auth::bearer("OAuth access token"))
        .header("accept", "application/vnd.pagerduty+json;version=2")
        .header("content-type", "application/json")
        .quota(Quota::new("requests").rate(960, Duration::from_secs(60)).learned(
            "ratelimit-remaining",
            "ratelimit-reset",
            Reset::After,
        ))
        // A key of the account is nobody's; PagerDuty refuses the question then.
        .whoami("users.me", "/id", "/name")
        .classify(classify)
        .operations(incidents::operations())
        .operations(people::operations())
        .operations(services::operations())
        .build()
}

/// What many operations here have in common.
trait Usual {
    /// A list under a name, which goes on by counting.
    fn list(self, items: &'static str) -> Self;
}

impl Usual for OperationSpec {
    fn list(self, items: &'static str) -> Self {
        self.lists(Lists::Brackets).page(Paging::Offset {
            items: items.into(),
            into: "offset".into(),
            more: "/more".into(),
            last: false,
        })
    }
}

/// What a failure of PagerDuty means. An incident that is resolved already is a conflict. Both APIs say in a list what is wrong,
/// and where it is the events' key, that is the credentials.
fn classify(response: &Response, _: Timestamp) -> Option<Failure> {
    if response.status.is_success() {
        return None;
    }
    let body = response.json()?;
    let error = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
    let said = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let details = error.get("errors").and_then(Value::as_array);
    let details: Vec<&str> = details.into_iter().flatten().filter_map(Value::as_str).collect();
    let message = match details.is_empty() {
        true => said.to_owned(),
        false => format!("{said}: {}", details.join("; ")),
    };
    let names_key = || message.to_ascii_lowercase().replace('_', " ").contains("routing key");
    let category = match error.get("code").and_then(Value::as_u64) {
        Some(RESOLVED) => Category::Conflict,
        _ if response.status == StatusCode::BAD_REQUEST && names_key() => Category::Credentials,
        _ => usual(response.status),
    };
    let failure = Failure::new(category).message(message);
    let reset = response.header("ratelimit-reset").and_then(|seconds| seconds.parse().ok());
    match (category, response.header("retry-after"), reset) {
        (Category::RateLimited, None, Some(seconds)) => Some(failure.after(Duration::from_secs(seconds))),
        _ => Some(failure),
    }
}

/// The code of an incident that is resolved already.
const RESOLVED: u64 = 1001;

/// Something at PagerDuty, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// The id.
    pub id: String,
    /// What it is, as `user_reference`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it is called.
    pub summary: Option<String>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// People are notified until somebody acknowledges.
    High,
    /// People are notified without haste.
    Low,
}
