//! What GitHub's refusals mean where the status alone does not tell.

use std::time::Duration;

use agentprovision_core::Timestamp;
use serde_json::Value;

use crate::answer::{Category, Failure, Response, retry_after};

/// How long to wait where GitHub does not say it ("wait for at least one minute").
const UNSAID: Duration = Duration::from_secs(60);

/// Rate limits, which come as 403 or 429, lists of what is wrong with a request, and repositories that have moved.
pub(super) fn classify(response: &Response, now: Timestamp) -> Option<Failure> {
    match response.status.as_u16() {
        403 | 429 => limited(response, now),
        400 | 422 => Some(refused(&response.json()?)),
        // A pull request that cannot be merged.
        405 => Some(Failure::new(Category::Conflict)),
        301 | 302 | 307 | 308 => Some(
            Failure::new(Category::NotFound)
                .message("it has been renamed or transferred, and has to be asked for by its new name"),
        ),
        _ => None,
    }
}

fn limited(response: &Response, now: Timestamp) -> Option<Failure> {
    let asked = retry_after(&response.headers, now);
    let exhausted = response.header("x-ratelimit-remaining").map(str::trim) == Some("0");
    let said = response.json().unwrap_or_default();
    let said = said.get("message").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    // The second name is the older one.
    let secondary = said.contains("secondary rate limit") || said.contains("abuse detection");
    let too_many = response.status.as_u16() == 429;
    if !(secondary || exhausted || too_many || asked.is_some()) {
        return None;
    }
    let reset = || {
        let seconds: i64 = response.header("x-ratelimit-reset")?.trim().parse().ok()?;
        Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?).since(now))
    };
    let after = asked.or_else(|| exhausted.then(reset).flatten()).unwrap_or(UNSAID);
    Some(Failure::new(Category::RateLimited).after(after))
}

/// The message and the list of what is wrong, in words.
fn refused(body: &Value) -> Failure {
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let errors = body.get("errors");
    // One text in the place of the list, as from some older endpoints.
    let errors = match errors {
        Some(Value::Array(errors)) => errors.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let mut category = Category::Invalid;
    let words = errors.iter().filter_map(|error| {
        if let Value::String(text) = error {
            return Some(text.clone());
        }
        let code = text(error, "code").unwrap_or_default();
        if code == "already_exists" {
            category = Category::Conflict;
        }
        if let Some(message) = text(error, "message") {
            return Some(message);
        }
        let what = text(error, "field").or_else(|| text(error, "resource"))?;
        let of = text(error, "resource").filter(|resource| *resource != what);
        let of = of.map(|resource| format!(" of {resource}")).unwrap_or_default();
        let verdict = match code.as_str() {
            "missing" => "does not exist",
            "missing_field" => "is missing",
            "already_exists" => "exists already",
            "invalid" => "is not of the right form",
            "unprocessable" => "cannot be processed",
            _ => "is refused",
        };
        Some(format!("`{what}`{of} {verdict}"))
    });
    let words: Vec<String> = words.collect();
    let message = text(body, "message").unwrap_or_else(|| "it refused the request".to_owned());
    if message.starts_with("Reference already exists") {
        category = Category::Conflict;
    }
    let message = if words.is_empty() { message } else { format!("{message}: {}", words.join("; ")) };
    Failure::new(category).message(message)
}
