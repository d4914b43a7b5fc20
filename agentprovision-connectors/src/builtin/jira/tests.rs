use agentprovision_core::{ErrorKind, Retry, Timestamp};
use serde_json::{Map, Value, json};

use super::*;
use crate::builtin::probe::{answer, answered, assert_failures, header, request, response};

fn jira() -> Connector {
    connector().unwrap()
}

/// The line and the body of the request of an input, on the site `example`.
fn sent(operation: &str, input: Value) -> (String, Value) {
    let jira = jira();
    let settings = json!({ "site": "example" });
    let base = jira.base_of(settings.as_object().unwrap()).unwrap();
    let (request, _) = jira.operation(operation).unwrap().request(&base, input.as_object().unwrap()).unwrap();
    let uri = request.uri().to_string();
    let target = uri.strip_prefix("https://example.atlassian.net/rest/api/3").unwrap();
    let body = serde_json::from_slice(request.body()).unwrap_or_default();
    (format!("{} {target}", request.method()), body)
}

#[test]
fn requests_are_signed_by_address_and_token() {
    let jira = jira();
    let settings = json!({ "base_url": "https://jira.example" });
    assert_eq!(jira.base_of(settings.as_object().unwrap()).unwrap(), "https://jira.example");
    assert!(jira.base_of(&Default::default()).is_err());
    let operation = jira.operation("users.me").unwrap();
    assert!(operation.request("https://jira.example", &Default::default()).is_ok());
    let credentials = json!({ "username": "ada@example.com", "password": "t0ken" });
    let auth = jira.auth(None).unwrap();
    let credentials =
        crate::auth::Credentials::entered(&auth.fields, credentials.as_object().unwrap()).unwrap();
    let (mut request, _) = operation.request("https://jira.example", &Default::default()).unwrap();
    auth.apply(&credentials, &Map::new(), Timestamp::default(), &mut request).unwrap();
    assert_eq!(header(&request, "authorization"), "Basic YWRhQGV4YW1wbGUuY29tOnQwa2Vu");
    assert_eq!(request.uri(), "https://jira.example/rest/api/3/myself");
}

#[test]
fn files_go_in_parts_past_the_check_for_browsers() {
    let jira = jira();
    let operation = jira.operation("attachments.add").unwrap();
    let input =
        json!({ "issueIdOrKey": "PROJ-7", "file": { "filename": "plan.txt", "content_base64": "AP8=" } });
    let (request, place) = operation.request("https://jira.example", input.as_object().unwrap()).unwrap();
    assert_eq!(request.uri(), "https://jira.example/rest/api/3/issue/PROJ-7/attachments");
    assert_eq!(header(&request, "x-atlassian-token"), "no-check");
    assert!(header(&request, "content-type").starts_with("multipart/form-data; boundary="));
    let body = String::from_utf8_lossy(request.body());
    assert!(body.contains("name=\"file\"; filename=\"plan.txt\"\r\n"), "{body}");
    assert!(!body.contains("issueIdOrKey"), "{body}");
    let author = json!({ "accountId": "5b10", "displayName": "Mia", "active": true });
    let answer = json!([{
        "self": "https://jira.example/rest/api/3/attachments/10000", "id": "10001", "filename": "plan.txt",
        "author": author, "created": "2022-04-30T10:35:14.000+0000", "size": 2, "mimeType": "text/plain",
        "content": "https://jira.example/rest/api/3/attachment/content/10000",
    }]);
    let attached = operation.answer(&response(200, &[], answer), &place).unwrap();
    assert_eq!((&attached[0]["id"], &attached[0]["size"]), (&json!("10001"), &json!(2)));
    assert_eq!(attached[0]["created"], "2022-04-30T10:35:14.000+00:00");
}

#[test]
fn texts_of_inputs_go_as_documents() {
    let (line, body) = sent(
        "issues.create",
        json!({ "fields": {
            "project": { "key": "PROJ" }, "issuetype": { "name": "Bug" }, "summary": "Slow",
            "description": "a\n\nb", "customfield_10010": "web",
        }}),
    );
    assert_eq!(line, "POST /issue");
    assert_eq!(body["fields"]["description"], adf::document("a\n\nb"));
    assert_eq!(body["fields"]["customfield_10010"], "web");
    let document = adf::document("x");
    let (line, body) = sent("comments.add", json!({ "issueIdOrKey": "PROJ-7", "body": document.clone() }));
    assert_eq!((line.as_str(), &body), ("POST /issue/PROJ-7/comment", &json!({ "body": document })));
    let (line, body) = sent(
        "worklogs.add",
        json!({ "issueIdOrKey": "7", "timeSpent": "1h", "comment": "c", "notifyUsers": false }),
    );
    assert_eq!(line, "POST /issue/7/worklog?notifyUsers=false");
    assert_eq!(body, json!({ "timeSpent": "1h", "comment": adf::document("c") }));
    let (_, body) = sent(
        "issues.transition",
        json!({
            "issueIdOrKey": "PROJ-7", "transition": { "id": "5" },
            "update": { "comment": [{ "add": { "body": "Done." } }] },
        }),
    );
    assert_eq!(body["update"]["comment"][0]["add"]["body"], adf::document("Done."));
}

#[test]
fn fields_are_cleared_by_null_and_nobody_is_said() {
    let (line, body) = sent(
        "issues.update",
        json!({ "issueIdOrKey": "PROJ-7", "fields": { "duedate": null }, "notifyUsers": false }),
    );
    assert_eq!(line, "PUT /issue/PROJ-7?notifyUsers=false");
    assert_eq!(body, json!({ "fields": { "duedate": null } }));
    let (line, body) = sent("issues.assign", json!({ "issueIdOrKey": "PROJ-7" }));
    assert_eq!((line.as_str(), &body), ("PUT /issue/PROJ-7/assignee", &json!({ "accountId": null })));
    let (_, body) = sent("issues.assign", json!({ "issueIdOrKey": "PROJ-7", "accountId": "5b10" }));
    assert_eq!(body, json!({ "accountId": "5b10" }));
    let (line, body) = sent("watchers.add", json!({ "issueIdOrKey": "PROJ-7", "accountId": "5b10" }));
    assert_eq!((line.as_str(), &body), ("POST /issue/PROJ-7/watchers", &json!("5b10")));
    let (line, body) = sent("webhooks.delete", json!({ "webhookIds": [1, 2] }));
    assert_eq!((line.as_str(), &body), ("DELETE /webhook", &json!({ "webhookIds": [1, 2] })));
    // A typed input says the same as its JSON form.
    let fields = issues::ChangedFields {
        summary: Some("s".into()),
        more: issues::Fields { labels: Some(vec!["l".into()]), ..Default::default() },
    };
    assert_eq!(serde_json::to_value(fields).unwrap(), json!({ "summary": "s", "labels": ["l"] }));
}

#[test]
fn searches_go_on_by_a_token_in_the_body() {
    let (line, body) =
        sent("issues.search", json!({ "jql": "project = PROJ", "fields": ["summary"], "page": "CAEa" }));
    assert_eq!(line, "POST /search/jql");
    assert_eq!(body, json!({ "jql": "project = PROJ", "fields": ["summary"], "nextPageToken": "CAEa" }));
    let typed = search::Search { jql: "project = PROJ".into(), fields: None, max_results: None };
    let (_, body) = sent("issues.search", serde_json::to_value(typed).unwrap());
    assert!(body["fields"].as_array().unwrap().contains(&json!("updated")), "{body}");
    let page = json!({ "issues": [{ "id": "1", "key": "P-1", "fields": { "summary": "s" } }], "nextPageToken": "t" });
    let value = answered(&jira(), "issues.search", page);
    assert_eq!((&value["items"][0]["summary"], &value["next"]), (&json!("s"), &json!("t")));
    let last = json!({ "issues": [], "isLast": true });
    assert_eq!(answered(&jira(), "issues.search", last), json!({ "items": [], "next": null }));
}

#[test]
fn what_changed_is_asked_for_by_a_point_in_time_whatever_the_time_zone() {
    let jql = |input: Value| sent("issues.list_changed", input).1["jql"].as_str().unwrap().to_owned();
    let since = json!({ "updated_since": "2026-11-22T11:00:00.5+01:00", "jql": " a = 1 OR b = 2 " });
    assert_eq!(jql(since), "(a = 1 OR b = 2) AND updated >= 1795341600500 ORDER BY updated ASC, key ASC");
    assert_eq!(jql(json!({})), "updated >= 0 ORDER BY updated ASC, key ASC");
    let bad = json!({ "updated_since": "yesterday" });
    let bad = jira()
        .operation("issues.list_changed")
        .unwrap()
        .request("https://x.example", bad.as_object().unwrap());
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (_, body) = sent("issues.list_changed", json!({ "page": "t" }));
    assert_eq!((&body["nextPageToken"], &body["updated_since"]), (&json!("t"), &Value::Null));
}

#[test]
fn an_issue_is_its_fields_and_its_text() {
    let value = answered(
        &jira(),
        "issues.get",
        json!({
            "id": "10002", "key": "PROJ-7", "self": "https://example.atlassian.net/rest/api/3/issue/10002",
            "fields": {
                "summary": "Slow", "description": adf::document("a\n\nb"), "resolution": null,
                "status": { "id": "3", "name": "Doing", "self": "…", "statusCategory": { "id": 4, "key": "indeterminate", "name": "In Progress" } },
                "assignee": { "accountId": "5b10", "displayName": "Ada", "avatarUrls": {}, "active": true },
                "parent": { "id": "1", "key": "PROJ-1", "fields": { "summary": "Epic", "status": { "id": "1", "name": "Open" } } },
                "issuelinks": [{ "id": "9", "type": { "id": "1", "name": "Blocks", "inward": "is blocked by", "outward": "blocks" },
                    "outwardIssue": { "id": "8", "key": "PROJ-8", "fields": { "summary": "Other" } } }],
                "updated": "2021-01-17T12:34:00.000+0000", "created": "2021-01-17T12:34:00.000-0530",
                "customfield_10010": adf::document("mine"), "customfield_10011": null, "customfield_10012": 3.5,
                "votes": { "votes": 0 }, "key": "not this one",
            },
        }),
    );
    assert_eq!((&value["key"], &value["summary"]), (&json!("PROJ-7"), &json!("Slow")));
    assert_eq!(value["description"], "a\n\nb");
    assert_eq!(value["status"]["statusCategory"]["key"], "indeterminate");
    assert_eq!(value["assignee"]["accountId"], "5b10");
    assert_eq!((&value["parent"]["key"], &value["parent"]["summary"]), (&json!("PROJ-1"), &json!("Epic")));
    assert_eq!(value["issuelinks"][0]["outwardIssue"]["summary"], "Other");
    assert_eq!(value["updated"], "2021-01-17T12:34:00.000+00:00");
    assert_eq!(value["created"], "2021-01-17T12:34:00.000-05:30");
    assert_eq!(value["custom"], json!({ "customfield_10010": "mine", "customfield_10012": 3.5 }));
    assert_eq!(value.get("votes"), None);
    // What is answered can be read again as what it is.
    let again: types::Issue = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), value);
}

#[test]
fn lists_that_are_counted_through_end() {
    let jira = jira();
    let page = |operation: &str, input: Value, body: Value| {
        let operation = jira.operation(operation).unwrap();
        let (request, place) = operation.request("https://x.example", input.as_object().unwrap()).unwrap();
        let value = operation.answer(&response(200, &[], body), &place).unwrap();
        (request.uri().query().unwrap_or_default().to_owned(), value["next"].clone())
    };
    let comments = |total: u64| {
        let comment =
            json!({ "id": "1", "body": adf::document("x"), "created": "2021-01-17T12:34:00.000+0000" });
        json!({ "startAt": 20, "maxResults": 1, "total": total, "comments": [comment] })
    };
    let input = json!({ "issueIdOrKey": "P-1", "page": "20" });
    assert_eq!(page("comments.list", input.clone(), comments(22)), ("startAt=20".into(), json!("21")));
    assert_eq!(page("comments.list", input, comments(21)).1, Value::Null);
    let projects = |last: bool| json!({ "isLast": last, "values": [{ "id": "1", "key": "P", "name": "n" }] });
    let input = json!({ "keys": ["P", "Q"] });
    assert_eq!(page("projects.search", input, projects(false)), ("keys=P&keys=Q".into(), json!("1")));
    assert_eq!(page("projects.search", json!({}), projects(true)).1, Value::Null);
}

#[test]
fn webhooks_tell_when_they_end() {
    let jira = jira();
    for (end, read) in [
        (json!("2019-06-01T12:42:30.000+0000"), "2019-06-01T12:42:30.000+00:00"),
        (json!(1_559_392_950_000_i64), "2019-06-01T12:42:30.000000Z"),
    ] {
        let answer = answered(&jira, "webhooks.refresh", json!({ "expirationDate": end }));
        assert_eq!(answer["expirationDate"], read);
    }
    let made = json!({ "webhookRegistrationResult": [{ "createdWebhookId": 1000 }, { "errors": ["The clause watchCount is unsupported"] }] });
    let answer = answered(&jira, "webhooks.register", made);
    assert_eq!(answer["webhookRegistrationResult"][0]["createdWebhookId"], 1000);
    let none = answer_of(&jira, "webhooks.refresh", json!({ "expirationDate": {} }));
    assert_eq!(none, ErrorKind::ProviderError);
}

fn answer_of(jira: &Connector, operation: &str, body: Value) -> ErrorKind {
    answer(jira, operation, &response(200, &[], body)).unwrap_err().kind()
}

#[test]
fn refusals_are_told_apart_with_all_their_words() {
    let jira = jira();
    let said = |text: &str| json!({ "errorMessages": [text], "errors": {} });
    let missing =
        json!({ "errorMessages": [], "errors": { "summary": "You must specify a summary of the issue." } });
    assert_failures(
        &jira,
        &[
            (400, &[], missing, "invalid", None, "`summary`: You must specify a summary of the issue."),
            (401, &[], json!("Client must be authenticated"), "credentials", None, "connected again"),
            (403, &[], said("No permission."), "forbidden", None, "No permission."),
            (404, &[], said("Issue does not exist."), "not_found", None, "Issue does not exist."),
            (404, &[("x-seraph-loginreason", "AUTHENTICATED_FAILED")], said("x"), "credentials", None, "x"),
            (403, &[("x-seraph-loginreason", "AUTHENTICATION_DENIED")], json!({}), "credentials", None, ""),
            (404, &[("x-seraph-loginreason", "OK")], said("x"), "not_found", None, "x"),
            (409, &[], said("The issue is being changed."), "conflict", None, "being changed"),
            (413, &[], said("Too large."), "too_large", None, "Too large."),
            (
                429,
                &[("retry-after", "7"), ("ratelimit-reason", "jira-per-issue-on-write")],
                json!({ "errorMessages": ["Rate limit exceeded."] }),
                "rate_limited",
                Some(7),
                "Rate limit exceeded.; the limit is jira-per-issue-on-write",
            ),
            (503, &[("retry-after", "2")], json!("<html>"), "unavailable", Some(2), ""),
        ],
    );
    let some = request(&jira, "users.me", json!({}));
    assert_eq!(some.unwrap_err().kind(), ErrorKind::InvalidInput, "a site is needed");
    let wait = answer(&jira, "users.me", &response(429, &[], "")).unwrap_err();
    assert_eq!(wait.retry(), Retry::After(Duration::ZERO));
}
