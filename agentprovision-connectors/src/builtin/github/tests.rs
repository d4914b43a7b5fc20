//! Requests, answers and refusals, by the examples of GitHub's documentation.

use std::time::Duration;

use agentprovision_core::ErrorKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::*;
use crate::answer::{Category, Failure, Response};
use crate::builtin::probe::{self, NOW, response};

fn input(input: Value) -> Map<String, Value> {
    match input {
        Value::Object(fields) => fields,
        _ => panic!("an input is an object"),
    }
}

fn answer(name: &str, response: &Response) -> agentprovision_core::Result<Value> {
    probe::answer(&connector().unwrap(), name, response)
}

#[test]
fn requests_are_those_of_the_documentation() {
    let repo = |more: Value| {
        let mut fields = input(json!({ "owner": "octocat", "repo": "hello" }));
        fields.extend(input(more));
        Value::Object(fields)
    };
    for (name, fields, line, body) in [
        ("users.me", json!({}), "GET /user", Value::Null),
        (
            "issues.create",
            repo(json!({ "title": "It breaks", "labels": ["bug"], "type": "Bug", "body": null })),
            "POST /repos/octocat/hello/issues",
            json!({ "title": "It breaks", "labels": ["bug"], "type": "Bug" }),
        ),
        (
            "issues.update",
            repo(
                json!({ "issue_number": 7, "state": "closed", "state_reason": "not_planned", "labels": [] }),
            ),
            "PATCH /repos/octocat/hello/issues/7",
            json!({ "state": "closed", "state_reason": "not_planned", "labels": [] }),
        ),
        (
            "issues.list",
            repo(json!({ "state": "all", "labels": "bug,needs triage", "per_page": 100 })),
            "GET /repos/octocat/hello/issues?labels=bug%2Cneeds%20triage&per_page=100&state=all",
            Value::Null,
        ),
        (
            "issues.list_changed",
            repo(json!({ "since": "2026-05-01T00:00:00Z" })),
            "GET /repos/octocat/hello/issues?since=2026-05-01T00%3A00%3A00Z&sort=updated&direction=asc&state=all",
            Value::Null,
        ),
        (
            "issues.list_changed",
            repo(json!({ "since": "2026-05-01T00:00:00Z", "page": "since=2026-05-02T00%3A00%3A00Z" })),
            "GET /repos/octocat/hello/issues?sort=updated&direction=asc&state=all&since=2026-05-02T00%3A00%3A00Z",
            Value::Null,
        ),
        (
            "issues.unassign",
            repo(json!({ "issue_number": 7, "assignees": ["hubot"] })),
            "DELETE /repos/octocat/hello/issues/7/assignees",
            json!({ "assignees": ["hubot"] }),
        ),
        (
            "issues.remove_label",
            repo(json!({ "issue_number": 7, "name": "needs/triage now" })),
            "DELETE /repos/octocat/hello/issues/7/labels/needs%2Ftriage%20now",
            Value::Null,
        ),
        (
            "contents.get",
            repo(json!({ "path": "src/a b.rs", "ref": "feature/x" })),
            "GET /repos/octocat/hello/contents/src/a%20b.rs?ref=feature%2Fx",
            Value::Null,
        ),
        ("contents.get", repo(json!({ "path": "" })), "GET /repos/octocat/hello/contents/", Value::Null),
        (
            "contents.put",
            repo(json!({ "path": "notes.md", "message": "Note", "text": "Grüße\n", "branch": "main" })),
            "PUT /repos/octocat/hello/contents/notes.md",
            json!({ "message": "Note", "content": "R3LDvMOfZQo=", "branch": "main" }),
        ),
        (
            "contents.delete",
            repo(json!({ "path": "notes.md", "message": "No notes", "sha": "abc" })),
            "DELETE /repos/octocat/hello/contents/notes.md",
            json!({ "message": "No notes", "sha": "abc" }),
        ),
        (
            "refs.get",
            repo(json!({ "ref": "heads/main" })),
            "GET /repos/octocat/hello/git/ref/heads%2Fmain",
            Value::Null,
        ),
        (
            "commits.compare",
            repo(json!({ "base": "main", "head": "hubot:feature/x" })),
            "GET /repos/octocat/hello/compare/main...hubot%3Afeature%2Fx",
            Value::Null,
        ),
        (
            "pulls.merge",
            repo(json!({ "pull_number": 8, "merge_method": "squash", "sha": "abc" })),
            "PUT /repos/octocat/hello/pulls/8/merge",
            json!({ "merge_method": "squash", "sha": "abc" }),
        ),
        (
            "reviews.create",
            repo(
                json!({ "pull_number": 8, "event": "COMMENT", "body": "Hm.", "comments": [{ "path": "a", "body": "b", "line": 3 }] }),
            ),
            "POST /repos/octocat/hello/pulls/8/reviews",
            json!({ "event": "COMMENT", "body": "Hm.", "comments": [{ "path": "a", "body": "b", "line": 3 }] }),
        ),
        (
            "workflows.dispatch",
            repo(json!({ "workflow_id": 12, "ref": "main", "inputs": { "level": "debug" } })),
            "POST /repos/octocat/hello/actions/workflows/12/dispatches",
            json!({ "ref": "main", "inputs": { "level": "debug" } }),
        ),
        (
            "runs.cancel",
            repo(json!({ "run_id": 3 })),
            "POST /repos/octocat/hello/actions/runs/3/cancel",
            Value::Null,
        ),
        (
            "search.issues",
            json!({ "q": "crash is:open", "sort": "updated", "order": "asc" }),
            "GET /search/issues?order=asc&q=crash%20is%3Aopen&sort=updated",
            Value::Null,
        ),
    ] {
        let (sent, said) = probe::sent(&connector().unwrap(), name, fields);
        assert_eq!(sent.replacen("https://api.github.com", "", 1), line, "{name}");
        let body = if body.is_null() { json!("") } else { body };
        assert_eq!(said, body, "{name}");
    }
}

#[test]
fn requests_say_who_asks_and_in_which_version() {
    let connector = connector().unwrap();
    let accepts = |name: &str, fields: Value| {
        let operation = connector.operation(name).unwrap();
        let (request, _) = operation.request("https://x.example", &input(fields)).unwrap();
        assert_eq!(request.headers()["x-github-api-version"], "2022-11-28");
        assert_eq!(request.headers()["user-agent"], "agentprovision");
        request.headers()["accept"].to_str().unwrap().to_owned()
    };
    let repo = |more: (&str, Value)| json!({ "owner": "o", "repo": "r", more.0: more.1 });
    assert_eq!(accepts("users.me", json!({})), "application/vnd.github+json");
    assert_eq!(accepts("pulls.get", repo(("pull_number", json!(1)))), "application/vnd.github+json");
    assert_eq!(accepts("pulls.diff", repo(("pull_number", json!(1)))), "application/vnd.github.diff");
    assert_eq!(accepts("hooks.delete", repo(("hook_id", json!(1)))), "application/vnd.github+json");
    assert_eq!(accepts("contents.get", repo(("path", json!("a")))), "application/vnd.github.object+json");
    let settings = input(json!({ "base_url": "https://github.example.com/api/v3/" }));
    assert_eq!(connector.base_of(&settings).unwrap(), "https://github.example.com/api/v3");
}

#[test]
fn inputs_that_no_request_can_be_made_of_are_refused() {
    let connector = connector().unwrap();
    let refused = |name: &str, fields: Value| {
        let error =
            connector.operation(name).unwrap().request("https://x.example", &input(fields)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.message().to_owned()
    };
    let put = |more: Value| {
        let mut fields = input(json!({ "owner": "o", "repo": "r", "path": "a", "message": "m" }));
        fields.extend(input(more));
        Value::Object(fields)
    };
    for (more, named) in [
        (json!({}), "`text` and `content`"),
        (json!({ "text": "a", "content": "YQ==" }), "`text` and `content`"),
        (json!({ "text": "a", "path": "../../../user" }), "`path`"),
        (json!({ "text": "a", "owner": ".." }), "`owner`"),
        (json!({ "text": "a", "repo": "" }), "`repo`"),
    ] {
        let said = refused("contents.put", put(more.clone()));
        assert!(said.contains(named), "{more}: {said}");
    }
    assert_eq!(
        connector
            .operation("jobs.logs")
            .unwrap()
            .request("https://x.example", &Map::new())
            .unwrap_err()
            .kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn answers_keep_what_matters() {
    let issue = json!({
        "id": 1, "node_id": "x", "url": "u", "number": 1347, "state": "open", "title": "Found a bug", "body": null,
        "user": { "login": "octocat", "id": 1, "type": "User", "html_url": "https://github.com/octocat", "gravatar_id": "" },
        "labels": [{ "id": 2, "name": "bug", "color": "f29513", "description": null, "default": true }, "old"],
        "assignees": [], "milestone": null, "locked": false, "comments": 3, "html_url": "h",
        "created_at": "2011-04-22T13:33:48Z", "updated_at": "2011-04-22T13:33:48Z", "closed_at": null, "reactions": {},
    });
    let link = r#"<https://api.github.com/repositories/1/issues?per_page=1&page=2>; rel="next""#;
    let page = answer("issues.list", &response(200, &[("link", link)], json!([issue]))).unwrap();
    assert_eq!(page["next"], "per_page=1&page=2");
    assert_eq!(
        page["items"][0]["user"],
        json!({ "login": "octocat", "id": 1, "type": "User", "html_url": "https://github.com/octocat" })
    );
    assert_eq!(
        page["items"][0]["labels"],
        json!([{ "name": "bug", "color": "f29513", "description": null }, "old"])
    );
    assert!(page["items"][0].get("node_id").is_none());

    let runs = json!({ "total_count": 0, "workflow_runs": [] });
    assert_eq!(
        answer("runs.list", &response(200, &[], &runs)).unwrap(),
        json!({ "items": [], "next": null })
    );
    let found = json!({ "total_count": 1, "incomplete_results": false, "items": [{
        "name": "a.rs", "path": "src/a.rs", "sha": "abc", "html_url": "h", "score": 1.0,
        "repository": { "id": 1, "full_name": "octocat/hello", "private": false },
        "text_matches": [{ "fragment": "fn main", "matches": [] }],
    }] });
    let found = answer("search.code", &response(200, &[], &found)).unwrap();
    assert_eq!(found["items"][0]["text_matches"], json!([{ "fragment": "fn main" }]));

    assert_eq!(answer("runs.rerun", &response(201, &[], json!({}))).unwrap(), Value::Null);
    let empty = Response::new(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new());
    assert_eq!(answer("comments.delete", &empty).unwrap(), Value::Null);
    let diff = Response::new(StatusCode::OK, HeaderMap::new(), Bytes::from_static(b"diff --git a/a b/a\n"));
    assert_eq!(answer("pulls.diff", &diff).unwrap(), "diff --git a/a b/a\n");
    let languages = json!({ "Rust": 78769, "C": 7769 });
    assert_eq!(answer("repos.languages", &response(200, &[], &languages)).unwrap(), languages);

    let error = answer("issues.get", &response(200, &[], json!({ "number": "x" }))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
}

#[test]
fn files_are_answered_as_text_and_folders_as_lists() {
    let file = |bytes: &[u8]| {
        // As GitHub does it: in lines of 60 characters.
        let encoded = STANDARD.encode(bytes);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).unwrap()).collect();
        json!({
            "type": "file", "encoding": "base64", "size": bytes.len(), "name": "a", "path": "a", "sha": "abc",
            "content": lines.join("\n") + "\n", "html_url": "h", "download_url": null, "url": "u", "_links": {},
        })
    };
    let get = |body: &Value| answer("contents.get", &response(200, &[], body)).unwrap();
    let text = "Grüße 👋\n".repeat(20);
    assert_eq!(
        (&get(&file(text.as_bytes()))["text"], &get(&file(text.as_bytes()))["base64"]),
        (&json!(text), &Value::Null)
    );
    let binary = get(&file(b"\x89PNG\r\n\xff"));
    assert_eq!((&binary["text"], &binary["base64"]), (&Value::Null, &json!("iVBORw0K/w==")));
    // Larger than 1 MiB: GitHub sends nothing.
    let mut large = file(b"");
    large["encoding"] = json!("none");
    large["content"] = json!("");
    assert_eq!((&get(&large)["text"], &get(&large)["base64"]), (&Value::Null, &Value::Null));
    let folder = json!({
        "type": "dir", "size": 0, "name": "src", "path": "src", "sha": "abc", "url": "u", "html_url": "h", "download_url": null,
        "entries": [{ "type": "file", "size": 5, "name": "a.rs", "path": "src/a.rs", "sha": "def", "url": "u" }],
    });
    assert_eq!(
        get(&folder)["entries"],
        json!([{ "type": "file", "size": 5, "name": "a.rs", "path": "src/a.rs", "sha": "def" }])
    );
    // What is answered can be read again as the type.
    let again: contents::Content = serde_json::from_value(get(&file(text.as_bytes()))).unwrap();
    assert_eq!(again.text.as_deref(), Some(text.as_str()));
}

/// What becomes of a refusal: its kind, its time and its words.
fn refusal(status: u16, headers: &[(&'static str, &str)], body: &Value) -> (Category, Option<u64>, String) {
    let connector = connector().unwrap();
    let failure = crate::answer::failure(&connector, &response(status, headers, body), NOW).unwrap();
    let Failure { category, message, after } = failure;
    (category, after.map(|after| after.as_secs()), message.unwrap_or_default())
}

#[test]
fn pitfall_10_a_limit_is_told_from_a_lack_of_permission() {
    use Category::{Forbidden, RateLimited};
    let reset = (NOW.micros() / 1_000_000 + 1234).to_string();
    let past = (NOW.micros() / 1_000_000 - 5).to_string();
    let secondary =
        json!({ "message": "You have exceeded a secondary rate limit. Please wait a few minutes." });
    let abuse = json!({ "message": "You have triggered an abuse detection mechanism." });
    let primary = json!({ "message": "API rate limit exceeded for user ID 1." });
    let forbidden = json!({ "message": "Resource not accessible by personal access token" });
    let (remaining, reset_at) = ("x-ratelimit-remaining", "x-ratelimit-reset");
    for (status, headers, body, category, after) in [
        (403, vec![("retry-after", "17"), (remaining, "4000")], &secondary, RateLimited, Some(17)),
        (429, vec![("retry-after", "17")], &secondary, RateLimited, Some(17)),
        (403, vec![(remaining, "0"), (reset_at, reset.as_str())], &secondary, RateLimited, Some(1234)),
        (403, vec![(remaining, "4000"), (reset_at, reset.as_str())], &secondary, RateLimited, Some(60)),
        (403, vec![], &secondary, RateLimited, Some(60)),
        (403, vec![], &abuse, RateLimited, Some(60)),
        (403, vec![(remaining, "0"), (reset_at, reset.as_str())], &primary, RateLimited, Some(1234)),
        (429, vec![(remaining, "0"), (reset_at, reset.as_str())], &primary, RateLimited, Some(1234)),
        (403, vec![(remaining, "0"), (reset_at, past.as_str())], &primary, RateLimited, Some(0)),
        (403, vec![(remaining, "0"), (reset_at, "soon")], &primary, RateLimited, Some(60)),
        (403, vec![(remaining, "0"), (reset_at, "9223372036854775807")], &primary, RateLimited, Some(60)),
        (429, vec![], &Value::Null, RateLimited, Some(60)),
        (403, vec![("retry-after", "5")], &Value::Null, RateLimited, Some(5)),
        (403, vec![(remaining, "4999"), (reset_at, reset.as_str())], &forbidden, Forbidden, None),
        (403, vec![], &forbidden, Forbidden, None),
    ] {
        let (found, wait, _) = refusal(status, &headers, body);
        assert_eq!((found, wait), (category, after), "{status} {headers:?} {body}");
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    use Category::{Conflict, Credentials, Failed, Invalid, NotFound, Unavailable};
    let errors =
        |errors: Value| json!({ "message": "Validation Failed", "errors": errors, "documentation_url": "d" });
    for (status, body, category, words) in [
        (401, json!({ "message": "Bad credentials" }), Credentials, "Bad credentials"),
        (404, json!({ "message": "Not Found" }), NotFound, "Not Found"),
        (
            410,
            json!({ "message": "Issues are disabled for this repo" }),
            NotFound,
            "Issues are disabled for this repo",
        ),
        (
            405,
            json!({ "message": "Pull Request is not mergeable" }),
            Conflict,
            "Pull Request is not mergeable",
        ),
        (409, json!({ "message": "Head branch was modified" }), Conflict, "Head branch was modified"),
        (
            422,
            errors(json!([
                { "resource": "Issue", "field": "title", "code": "missing_field" },
                { "resource": "Issue", "field": "assignees", "code": "invalid", "value": ["x"] },
            ])),
            Invalid,
            "Validation Failed: `title` of Issue is missing; `assignees` of Issue is not of the right form",
        ),
        (
            422,
            errors(
                json!([{ "resource": "PullRequest", "code": "custom", "message": "No commits between main and mend" }]),
            ),
            Invalid,
            "Validation Failed: No commits between main and mend",
        ),
        (
            422,
            errors(json!([{ "resource": "Release", "code": "already_exists", "field": "tag_name" }])),
            Conflict,
            "Validation Failed: `tag_name` of Release exists already",
        ),
        (
            422,
            errors(json!(["Could not add requested reviewers"])),
            Invalid,
            "Validation Failed: Could not add requested reviewers",
        ),
        (422, errors(json!("Only one label")), Invalid, "Validation Failed: Only one label"),
        (422, json!({ "message": "Reference already exists" }), Conflict, "Reference already exists"),
        (422, json!({ "message": "No ref found for: x", "errors": [{}] }), Invalid, "No ref found for: x"),
        (400, json!({ "message": "Problems parsing JSON" }), Invalid, "Problems parsing JSON"),
        (500, json!({ "message": "Server Error" }), Failed, "Server Error"),
        (503, json!({ "message": "Service unavailable" }), Unavailable, "Service unavailable"),
    ] {
        let (found, _, said) = refusal(status, &[], &body);
        assert_eq!((found, said.as_str()), (category, words), "{status} {body}");
    }
    let moved = refusal(
        301,
        &[("location", "https://api.github.com/repositories/1")],
        &json!({ "message": "Moved Permanently" }),
    );
    assert_eq!(moved.0, NotFound);
    assert!(moved.2.contains("renamed"), "{}", moved.2);
}

#[test]
fn every_operation_counts_against_one_limit() {
    let connector = connector().unwrap();
    let limits = |name: &str| {
        let about = connector.quotas.iter().filter(|quota| quota.is_about(name));
        about.map(|quota| quota.name.to_string()).collect::<Vec<_>>()
    };
    for spec in connector.operations() {
        let expected = match &*spec.name {
            "search.code" => "code_search",
            "search.issues" | "search.repositories" => "search",
            _ => "core",
        };
        assert_eq!(limits(&spec.name), [expected], "{}", spec.name);
    }
    assert!(connector.quotas.iter().all(|quota| quota.learned.is_some()));
    let rate = |name: &str| connector.quotas.iter().find(|quota| quota.name == name).unwrap().rate;
    assert_eq!((rate("search"), rate("code_search")), (Some((30, MINUTE)), Some((10, MINUTE))));
    assert_eq!(MINUTE, Duration::from_secs(60));
}

#[test]
fn effects_are_those_of_what_happens() {
    use crate::operation::Effect::{Destroy, Read, Write};
    let connector = connector().unwrap();
    for (name, effect, repeatable) in [
        ("issues.list", Read, true),
        ("jobs.logs", Read, true),
        ("issues.create", Write, false),
        ("issues.update", Write, true),
        ("issues.add_labels", Write, true),
        ("issues.remove_label", Write, true),
        ("issues.unassign", Write, true),
        ("comments.create", Write, false),
        ("comments.delete", Destroy, true),
        ("contents.delete", Destroy, true),
        ("pulls.merge", Write, true),
        ("workflows.dispatch", Write, false),
        ("hooks.delete", Destroy, true),
    ] {
        let spec = &connector.operation(name).unwrap().spec;
        assert_eq!((spec.effect, spec.repeatable()), (effect, repeatable), "{name}");
    }
}

#[test]
fn changes_are_read_by_when_they_happened() {
    let connector = connector().unwrap();
    for name in ["issues.list_changed", "comments.list_changed"] {
        let operation = connector.operation(name).unwrap();
        let by = operation.spec.incremental.as_ref().unwrap();
        assert_eq!((&*by.field, &*by.id, &*by.since), ("updated_at", "id", "since"));
        assert!(operation.spec.input.pointer("/properties/since").is_some());
    }
}
