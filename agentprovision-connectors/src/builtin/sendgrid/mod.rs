//! SendGrid: sending e-mail, and what became of it, by its API v3
//! (<https://www.twilio.com/docs/sendgrid/api-reference>).
//!
//! Dates are texts as `2025-11-22`, times are seconds since 1970. Accounts in the EU have `https://api.eu.sendgrid.com` as
//! `base_url`. Quotas are by <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits>.

pub mod account;
pub mod mail;
pub mod suppressions;
pub mod templates;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use http::StatusCode;
use serde_json::Value;

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::{Auth, Field};
use crate::connector::Connector;
use crate::quota::{Quota, Reset};

const BY_DOCUMENTATION: &str = "the description is about sending alone";

/// Operations that the description of sending does not have, with why; they are by the vendor's documentation.
pub const NOT_IN_DESCRIPTION: &[(&str, &str)] = &[
    ("account.get", BY_DOCUMENTATION),
    ("account.profile", BY_DOCUMENTATION),
    ("account.scopes", BY_DOCUMENTATION),
    ("batches.stop", BY_DOCUMENTATION),
    ("blocks.delete", BY_DOCUMENTATION),
    ("blocks.list", BY_DOCUMENTATION),
    ("bounces.delete", BY_DOCUMENTATION),
    ("bounces.list", BY_DOCUMENTATION),
    ("senders.list", BY_DOCUMENTATION),
    ("spam_reports.delete", BY_DOCUMENTATION),
    ("spam_reports.list", BY_DOCUMENTATION),
    ("stats.categories", BY_DOCUMENTATION),
    ("stats.get", BY_DOCUMENTATION),
    ("templates.get", BY_DOCUMENTATION),
    ("templates.list", BY_DOCUMENTATION),
    ("unsubscribes.create", BY_DOCUMENTATION),
    ("unsubscribes.delete", BY_DOCUMENTATION),
    ("unsubscribes.list", BY_DOCUMENTATION),
];

/// The connector `sendgrid`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    let key = Auth::bearer("API key").fields(vec![Field::new("token", "An API key (`SG.…`).")]);
    let quota = Quota::new("requests").learned("x-ratelimit-remaining", "x-ratelimit-reset", Reset::Epoch);
    Connector::builder("sendgrid", "https://api.sendgrid.com")
        .about(
            "SendGrid",
            "Sends e-mail by SendGrid, and says what became of it: bounces, complaints, statistics.",
        )
        .auth(key)
        .quota(quota)
        .whoami("account.get", "/user_id", "/username")
        .classify(classify)
        .operations(account::operations())
        .operations(mail::operations())
        .operations(suppressions::operations())
        .operations(templates::operations())
        .build()
}

/// What a failure of SendGrid means. An account that has sent all it may is refused with 401, though its key is right.
fn classify(response: &Response, now: Timestamp) -> Option<Failure> {
    if response.status.is_success() {
        return None;
    }
    let body = response.json()?;
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let said: Vec<String> = errors.filter_map(words).collect();
    let category = match response.status {
        StatusCode::UNAUTHORIZED if said.iter().any(|said| said.contains("credits exceeded")) => {
            Category::Forbidden
        }
        status => usual(status),
    };
    let failure = Failure::new(category);
    let failure = if said.is_empty() { failure } else { failure.message(said.join("; ")) };
    let reset: Option<i64> = response.header("x-ratelimit-reset").and_then(|at| at.parse().ok());
    match (category, response.header("retry-after"), reset) {
        (Category::RateLimited, None, Some(at)) => {
            let left = at.saturating_sub(now.micros().div_euclid(1_000_000)).max(0);
            Some(failure.after(Duration::from_secs(left.unsigned_abs())))
        }
        _ => Some(failure),
    }
}

/// What is said about one thing that is wrong, with the field it is about.
fn words(error: &Value) -> Option<String> {
    let message = error.get("message").and_then(Value::as_str)?;
    Some(match error.get("field").and_then(Value::as_str).filter(|field| !field.is_empty()) {
        Some(field) => format!("{message} (field: {field})"),
        None => message.to_owned(),
    })
}
