use agentprovision_core::{Error, ErrorKind, Retry};
use serde_json::{Value, json};

use super::*;
use crate::builtin::probe::{answer, answered, header, request, response, sent};

fn slack() -> Connector {
    connector().unwrap()
}

/// What an operation makes of a page of messages that it was asked for at a place.
fn page(operation: &str, input: Value, body: Value) -> (String, Value) {
    let slack = slack();
    let operation = slack.operation(operation).unwrap();
    let input = input.as_object().unwrap();
    let (request, place) = operation.request("https://slack.com/api", input).unwrap();
    let value = operation.answer(&response(200, &[], body), &place).unwrap();
    (format!("{} {}", request.method(), request.uri()), value)
}

#[test]
fn every_operation_has_a_tier() {
    let slack = slack();
    for operation in slack.operations() {
        let tiers = slack.quotas.iter().filter(|quota| quota.name != "posting");
        let tiers = tiers.filter(|quota| quota.operations.contains(&operation.name)).count();
        assert_eq!(tiers, 1, "{}", operation.name);
    }
    for name in slack.quotas.iter().flat_map(|quota| &quota.operations) {
        slack.operation(name).unwrap();
    }
}

#[test]
fn messages_are_posted_as_forms_whose_blocks_are_json() {
    let slack = slack();
    let input = json!({
        "channel": "C1", "text": "a & b", "thread_ts": "1503435956.000240", "reply_broadcast": true,
        "blocks": [{ "type": "divider" }],
    });
    let made = request(&slack, "chat.post_message", input.clone()).unwrap();
    assert_eq!(header(&made, "authorization"), "Bearer TOKEN");
    assert_eq!(header(&made, "content-type"), "application/x-www-form-urlencoded");
    let (line, body) = sent(&slack, "chat.post_message", input);
    assert_eq!(line, "POST https://slack.com/api/chat.postMessage");
    assert_eq!(
        body,
        "blocks=%5B%7B%22type%22%3A%22divider%22%7D%5D&channel=C1&reply_broadcast=true&text=a%20%26%20b\
         &thread_ts=1503435956.000240"
    );
    let posted = json!({
        "ok": true, "channel": "C1", "ts": "1503435956.000247",
        "message": { "text": "a &amp; b", "bot_id": "B1", "type": "message", "team": "T1" },
    });
    let value = answered(&slack, "chat.post_message", posted);
    assert_eq!(value["ts"], "1503435956.000247");
    assert_eq!(value["message"]["text"], "a &amp; b");
    assert_eq!(value["message"].get("team"), None);
}

#[test]
fn lists_go_on_by_their_cursor_until_it_is_empty() {
    let messages = |cursor: &str| {
        json!({
            "ok": true, "messages": [{ "type": "message", "user": "U1", "text": "hi", "ts": "1512085950.000216" }],
            "has_more": !cursor.is_empty(), "response_metadata": { "next_cursor": cursor },
        })
    };
    let input = json!({ "channel": "C1", "oldest": "1512085950.000200", "inclusive": true, "limit": 1 });
    let (line, value) = page("conversations.history", input, messages("bmV4dA=="));
    let query = "channel=C1&inclusive=true&limit=1&oldest=1512085950.000200";
    assert_eq!(line, format!("GET https://slack.com/api/conversations.history?{query}"));
    assert_eq!((&value["next"], &value["items"][0]["text"]), (&json!("bmV4dA=="), &json!("hi")));
    let input = json!({ "channel": "C1", "page": "bmV4dA==" });
    let (line, value) = page("conversations.history", input, messages(""));
    assert_eq!(line, "GET https://slack.com/api/conversations.history?channel=C1&cursor=bmV4dA%3D%3D");
    assert_eq!(value["next"], Value::Null);

    // Never without a limit, and with the one that is given.
    let people = json!({ "ok": true, "members": [{ "id": "U1", "profile": { "email": "a@b.c" } }] });
    let (line, value) = page("users.list", json!({}), people.clone());
    assert_eq!(line, "GET https://slack.com/api/users.list?limit=200");
    assert_eq!(value["items"][0]["profile"]["email"], "a@b.c");
    let (line, _) = page("users.list", json!({ "limit": 7, "page": "x" }), people);
    assert_eq!(line, "GET https://slack.com/api/users.list?limit=7&cursor=x");

    // Pages with numbers.
    let found = json!({ "ok": true, "messages": {
        "total": 3, "matches": [{ "ts": "1.2", "text": "x", "channel": { "id": "C1", "name": "general" } }],
        "paging": { "count": 1, "page": 2, "pages": 3, "total": 3 },
    }});
    let input = json!({ "query": "deploy", "sort": "timestamp", "page": "2" });
    let (line, value) = page("search.messages", input, found.clone());
    assert_eq!(line, "GET https://slack.com/api/search.messages?query=deploy&sort=timestamp&page=2");
    assert_eq!(value["next"], "3");
    let (_, value) = page("search.messages", json!({ "query": "x", "page": "3" }), found);
    assert_eq!(value["next"], Value::Null);
}

#[test]
fn what_is_told_only_as_ok_answers_nothing_and_numbers_may_be_texts() {
    let slack = slack();
    let input = json!({ "channel": "C1", "timestamp": "1.2", "name": "thumbsup" });
    let (_, body) = sent(&slack, "reactions.add", input);
    assert_eq!(body, "channel=C1&name=thumbsup&timestamp=1.2");
    assert_eq!(answered(&slack, "reactions.add", json!({ "ok": true })), Value::Null);
    for post_at in [json!(1_562_180_400), json!("1562180400")] {
        let body = json!({ "ok": true, "channel": "C1", "scheduled_message_id": "Q1", "post_at": post_at });
        assert_eq!(answered(&slack, "chat.schedule_message", body)["post_at"], 1_562_180_400);
    }
    let account = json!({
        "ok": true, "url": "https://x.slack.com/", "team": "X", "user": "bot", "team_id": "T1", "user_id": "U1",
    });
    assert_eq!(answered(&slack, "auth.test", account)["user_id"], "U1");
}

fn failed(status: u16, headers: &[(&'static str, &str)], body: impl ToString) -> Error {
    answer(&slack(), "chat.post_message", &response(status, headers, body)).unwrap_err()
}

#[test]
fn errors_behind_a_good_status_are_told_apart() {
    for (error, reason, kind) in [
        ("invalid_auth", "credentials", ErrorKind::ProviderError),
        ("not_authed", "credentials", ErrorKind::ProviderError),
        ("account_inactive", "credentials", ErrorKind::ProviderError),
        ("token_revoked", "credentials", ErrorKind::ProviderError),
        ("token_expired", "credentials", ErrorKind::ProviderError),
        ("missing_scope", "forbidden", ErrorKind::ProviderError),
        ("not_in_channel", "forbidden", ErrorKind::ProviderError),
        ("restricted_action", "forbidden", ErrorKind::ProviderError),
        ("restricted_action_read_only_channel", "forbidden", ErrorKind::ProviderError),
        ("channel_not_found", "not_found", ErrorKind::NotFound),
        ("users_not_found", "not_found", ErrorKind::NotFound),
        ("message_not_found", "not_found", ErrorKind::NotFound),
        ("already_reacted", "conflict", ErrorKind::Conflict),
        ("name_taken", "conflict", ErrorKind::Conflict),
        ("is_archived", "conflict", ErrorKind::Conflict),
        ("msg_too_long", "too_large", ErrorKind::TooLarge),
        ("view_too_large", "too_large", ErrorKind::TooLarge),
        ("ratelimited", "rate_limited", ErrorKind::RateLimited),
        ("internal_error", "unavailable", ErrorKind::Unavailable),
        ("service_unavailable", "unavailable", ErrorKind::Unavailable),
        ("fatal_error", "unavailable", ErrorKind::Unavailable),
        ("no_text", "invalid", ErrorKind::InvalidInput),
        ("something_of_next_year", "invalid", ErrorKind::InvalidInput),
    ] {
        let failed = failed(200, &[], json!({ "ok": false, "error": error }));
        assert_eq!(failed.kind(), kind, "{error}");
        let named = |(name, value): &(&str, String)| *name == "reason" && value == reason;
        assert!(failed.context().iter().any(named), "{failed:?}");
        let later = matches!(reason, "rate_limited" | "unavailable");
        assert_eq!(failed.retry() != Retry::Never, later, "{error}");
        assert!(failed.message().ends_with(&format!(": {error}")), "{}", failed.message());
    }
}

#[test]
fn failures_say_what_would_help() {
    let scope =
        json!({ "ok": false, "error": "missing_scope", "needed": "chat:write", "provided": "identify" });
    let message = failed(200, &[], scope).message().to_owned();
    assert!(message.ends_with("missing_scope (the scope it needs is chat:write)"), "{message}");
    let details = json!({
        "ok": false, "error": "invalid_arguments",
        "response_metadata": { "messages": ["[ERROR] missing required field: channel"] },
    });
    let message = failed(200, &[], details).message().to_owned();
    assert!(message.ends_with("invalid_arguments ([ERROR] missing required field: channel)"), "{message}");
    let limited = failed(429, &[("retry-after", "30")], json!({ "ok": false, "error": "ratelimited" }));
    assert_eq!(limited.retry(), Retry::After(Duration::from_secs(30)));
    // The status knows better where the error is not known, or there is none.
    assert_eq!(failed(503, &[], "<html>").kind(), ErrorKind::Unavailable);
    let unknown = json!({ "ok": false, "error": "maintenance" });
    assert_eq!(failed(503, &[], unknown).kind(), ErrorKind::Unavailable);
}
