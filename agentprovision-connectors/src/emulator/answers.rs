//! Answers that go wrong: what a vendor says in place of an answer, and what becomes of one.

use agentprovision_core::Timestamp;
use serde_json::{Map, Value, json};

use super::faults::{Fault, RetryAfter};
use super::state::{Call, Reply, Vendor, http_date, unix};

/// The answer to a request that is not carried out, if this fault is one.
pub(super) fn in_place_of(call: &Call, fault: &Fault, now: Timestamp) -> Option<Reply> {
    Some(match fault {
        Fault::RateLimited(after) => waiting(limited(call.vendor), after, now),
        Fault::SecondaryLimit { status, retry_after } => {
            let words =
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            let about = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits";
            let body = json!({ "documentation_url": about, "message": words });
            waiting(Reply::json(*status, &body), retry_after, now)
        }
        Fault::PrimaryLimit { reset } => primary_limit(5000, unix(now.after(*reset))),
        Fault::Status(status) => {
            let page =
                format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>");
            Reply::text(*status, "text/html", page)
        }
        Fault::Answer { status, content_type, body } => Reply::text(*status, content_type, body.as_str()),
        _ => return None,
    })
}

/// What GitHub says to one who has used up the hour's requests.
pub(super) fn primary_limit(limit: u64, reset: i64) -> Reply {
    let body = json!({
        "message": "API rate limit exceeded for user.",
        "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
    });
    Reply::json(403, &body)
        .with("x-ratelimit-limit", limit.to_string())
        .with("x-ratelimit-remaining", "0")
        .with("x-ratelimit-used", limit.to_string())
        .with("x-ratelimit-reset", reset.to_string())
        .with("x-ratelimit-resource", "core")
}

fn limited(vendor: Vendor) -> Reply {
    let body = match vendor {
        Vendor::Github => json!({
            "message": "API rate limit exceeded.",
            "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
        }),
        Vendor::Jira => json!({ "errorMessages": ["Rate limit exceeded."], "errors": {} }),
        Vendor::Slack => json!({ "ok": false, "error": "ratelimited" }),
    };
    Reply::json(429, &body)
}

fn waiting(reply: Reply, after: &RetryAfter, now: Timestamp) -> Reply {
    match after {
        RetryAfter::None => reply,
        RetryAfter::Seconds(seconds) => reply.with("retry-after", seconds.to_string()),
        RetryAfter::Date(after) => reply.with("retry-after", http_date(now.after(*after))),
        RetryAfter::Text(text) => reply.with("retry-after", text.as_str()),
    }
}

/// What a fault makes of an answer.
pub(super) fn changed(call: &Call, reply: Reply, fault: &Fault) -> Reply {
    match fault {
        Fault::BreakSchema => match reply.value() {
            Some(value) => with_body(reply, &broken(value)),
            None => reply,
        },
        Fault::WrongBody => {
            let page = b"<!DOCTYPE html><html><body>Please sign in.</body></html>".to_vec();
            Reply { body: page, ..reply }
        }
        Fault::SameCursor if reply.status < 300 => same_cursor(call, reply),
        Fault::EmptyPage if reply.status < 300 => empty_page(call, reply),
        _ => reply,
    }
}

fn with_body(reply: Reply, value: &Value) -> Reply {
    Reply { body: value.to_string().into_bytes(), ..reply }
}

fn broken(value: Value) -> Value {
    const IDS: [&str; 6] = ["id", "key", "ts", "sha", "login", "accountId"];
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Bool(value) => json!(u8::from(value)),
        Value::Array(items) => items.into_iter().map(broken).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !IDS.contains(&name.as_str()))
            .map(|(name, value)| (name, broken(value)))
            .collect::<Map<_, _>>()
            .into(),
        value => value,
    }
}

/// The place in a list that a cursor of Jira or Slack stands for.
pub(super) fn place_of(cursor: &str) -> Option<usize> {
    let bytes = hex::decode(cursor).ok()?;
    String::from_utf8(bytes).ok()?.split(':').next()?.parse().ok()
}

/// A cursor for a place in a list. The `turn` makes another cursor of the same place.
pub(super) fn cursor_of(place: usize, turn: usize) -> String {
    hex::encode(format!("{place}:{turn}"))
}

fn same_cursor(call: &Call, reply: Reply) -> Reply {
    match call.vendor {
        Vendor::Github => {
            let page = call.number("page").unwrap_or(2);
            link_to(call, reply, page)
        }
        Vendor::Jira => {
            let asked = asked_cursor(call, "nextPageToken");
            lead_on(reply, "nextPageToken", asked)
        }
        Vendor::Slack => {
            let asked = asked_cursor(call, "cursor");
            lead_on(reply, "next_cursor", asked)
        }
    }
}

fn empty_page(call: &Call, reply: Reply) -> Reply {
    const LISTS: [&str; 10] = [
        "issues",
        "values",
        "messages",
        "channels",
        "members",
        "comments",
        "items",
        "workflow_runs",
        "jobs",
        "check_runs",
    ];
    let emptied = match reply.value() {
        Some(Value::Array(_)) => with_body(reply, &json!([])),
        Some(Value::Object(mut fields)) => {
            for list in LISTS {
                if let Some(items @ Value::Array(_)) = fields.get_mut(list) {
                    *items = json!([]);
                }
            }
            with_body(reply, &Value::Object(fields))
        }
        _ => return reply,
    };
    let next = |name: &str| {
        let asked = asked_cursor(call, name);
        let bytes = asked.as_deref().and_then(|cursor| hex::decode(cursor).ok()).unwrap_or_default();
        let turn =
            String::from_utf8(bytes).ok().and_then(|text| text.split(':').nth(1)?.parse::<usize>().ok());
        let place = asked.as_deref().and_then(place_of).unwrap_or(0);
        Some(cursor_of(place, turn.unwrap_or(0) + 1))
    };
    match call.vendor {
        Vendor::Github => link_to(call, emptied, call.number("page").unwrap_or(1) + 1),
        Vendor::Jira => lead_on(emptied, "nextPageToken", next("nextPageToken")),
        Vendor::Slack => lead_on(emptied, "next_cursor", next("cursor")),
    }
}

/// The cursor that a request asks with, in its query or its body.
fn asked_cursor(call: &Call, name: &str) -> Option<String> {
    let in_query = call.query(name).map(str::to_owned);
    in_query.or_else(|| match call.is_form() {
        true => super::state::pairs(&call.body)
            .into_iter()
            .find(|(there, _)| there == name)
            .map(|(_, value)| value),
        false => call.object().and_then(|fields| Some(fields.get(name)?.as_str()?.to_owned())),
    })
}

/// The answer with a link to this page as its next one.
fn link_to(call: &Call, mut reply: Reply, page: usize) -> Reply {
    let host = call.header("host").unwrap_or("localhost");
    let others: Vec<_> = call.query.iter().filter(|(name, _)| name != "page").collect();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(others)
        .append_pair("page", &page.to_string())
        .finish();
    reply.headers.retain(|(name, _)| *name != "link");
    reply.with("link", format!("<http://{host}{}?{query}>; rel=\"next\"", call.path))
}

/// The answer with this cursor as its next one; without one its own, or one to the beginning.
fn lead_on(reply: Reply, field: &str, cursor: Option<String>) -> Reply {
    let Some(Value::Object(mut fields)) = reply.value() else { return reply };
    let place = match field {
        "next_cursor" => "/response_metadata/next_cursor",
        _ => "/nextPageToken",
    };
    let whole = Value::Object(fields.clone());
    let own = whole.pointer(place).and_then(Value::as_str).filter(|own| !own.is_empty()).map(str::to_owned);
    let cursor = json!(cursor.or(own).unwrap_or_else(|| cursor_of(0, 1)));
    if field == "next_cursor" {
        fields.insert("response_metadata".to_owned(), json!({ "next_cursor": cursor }));
        if fields.contains_key("has_more") {
            fields.insert("has_more".to_owned(), json!(true));
        }
    } else {
        fields.insert("isLast".to_owned(), json!(false));
        // Lists with numbered places have no cursor.
        if !fields.contains_key("startAt") {
            fields.insert(field.to_owned(), cursor);
        }
    }
    with_body(reply, &Value::Object(fields))
}
