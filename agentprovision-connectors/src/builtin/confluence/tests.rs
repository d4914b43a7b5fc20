use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::builtin::probe::{answered, assert_failures, response};

fn confluence() -> Connector {
    connector().unwrap()
}

/// The line and the body of the request of an input, and what is made of an answer to it.
fn exchange(operation: &str, input: Value, body: Value) -> (String, Value, Value) {
    let confluence = confluence();
    let base = confluence.base_of(json!({ "site": "example" }).as_object().unwrap()).unwrap();
    let operation = confluence.operation(operation).unwrap();
    let (request, place) = operation.request(&base, input.as_object().unwrap()).unwrap();
    let uri = request.uri().to_string();
    let target = uri.strip_prefix("https://example.atlassian.net/wiki").unwrap();
    let sent = serde_json::from_slice(request.body()).unwrap_or_default();
    let value = operation.answer(&response(200, &[], body), &place).unwrap();
    (format!("{} {target}", request.method()), sent, value)
}

/// A page as v2 answers it.
fn page(version: u64) -> Value {
    json!({
        "id": "98319", "status": "current", "title": "Runbook", "spaceId": "98306", "parentId": "98307",
        "parentType": "page", "position": 12, "authorId": "5b10", "ownerId": "5b10", "lastOwnerId": null,
        "createdAt": "2026-01-31T12:00:00.000Z",
        "version": { "createdAt": "2026-02-01T12:00:00.000Z", "message": "", "number": version, "minorEdit": false, "authorId": "5b10" },
        "body": { "storage": { "representation": "storage", "value": "<p>First, look.</p>" } },
        "_links": { "webui": "/spaces/DOC/pages/98319/Runbook", "editui": "/pages/resumedraft.action?draftId=98319", "tinyui": "/x/D4AB" },
    })
}

#[test]
fn pages_are_read_with_their_text() {
    let (line, _, value) = exchange("pages.get", json!({ "id": "98319" }), page(3));
    assert_eq!(line, "GET /api/v2/pages/98319?body-format=storage");
    assert_eq!(value["body"]["storage"]["value"], "<p>First, look.</p>");
    assert_eq!((&value["version"]["number"], &value["spaceId"]), (&json!(3), &json!("98306")));
    assert_eq!(value["_links"]["webui"], "/spaces/DOC/pages/98319/Runbook");
    assert_eq!(value.get("position"), None);
    let input = json!({ "id": "98319", "body-format": "atlas_doc_format", "version": 2 });
    let (line, _, _) = exchange("pages.get", input, page(2));
    let typed = pages::Get { id: "1".into(), body_format: None, version: None };
    let (again, _, _) = exchange("pages.get", serde_json::to_value(typed).unwrap(), page(2));
    assert_eq!(again, "GET /api/v2/pages/1?body-format=storage");
    assert_eq!(line, "GET /api/v2/pages/98319?body-format=atlas_doc_format&version=2");
    let read: pages::Page = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), value);
}

#[test]
fn a_change_names_the_page_twice_and_the_version_it_will_be() {
    let input = json!({
        "id": "98319", "title": "Runbook", "status": "current", "version": { "number": 4, "message": "Calmer" },
        "body": { "representation": "storage", "value": "<p>Breathe.</p>" },
    });
    let (line, sent, value) = exchange("pages.update", input.clone(), page(4));
    assert_eq!((line.as_str(), &sent), ("PUT /api/v2/pages/98319", &input));
    let typed: pages::Update = serde_json::from_value(input.clone()).unwrap();
    let (_, again, _) = exchange("pages.update", serde_json::to_value(typed).unwrap(), page(4));
    assert_eq!(again, input);
    assert_eq!(value["version"]["number"], 4);
    let input = json!({
        "spaceId": "98306", "title": "New", "body": { "representation": "storage", "value": "<p/>" },
    });
    let (line, sent, _) = exchange("pages.create", input.clone(), page(1));
    assert_eq!((line.as_str(), &sent), ("POST /api/v2/pages", &input));
}

#[test]
fn lists_go_on_by_the_query_of_a_url() {
    let list = |next: Value| json!({ "results": [page(1)], "_links": { "next": next, "base": "https://example.atlassian.net/wiki" } });
    let input = json!({ "space-id": ["1", "2"], "title": "Runbook", "limit": 1 });
    let next = json!("/wiki/api/v2/pages?title=Runbook&limit=1&cursor=eyJpZCI6Ijk4MzE5In0%3D");
    let (line, _, value) = exchange("pages.list", input.clone(), list(next));
    assert_eq!(line, "GET /api/v2/pages?limit=1&space-id=1%2C2&title=Runbook");
    assert_eq!(value["next"], "title=Runbook&limit=1&cursor=eyJpZCI6Ijk4MzE5In0%3D");
    let mut second = input;
    second["page"] = value["next"].clone();
    let (line, _, value) = exchange("pages.list", second, list(Value::Null));
    assert_eq!(line, "GET /api/v2/pages?space-id=1%2C2&title=Runbook&limit=1&cursor=eyJpZCI6Ijk4MzE5In0%3D");
    assert_eq!((&value["next"], &value["items"][0]["title"]), (&Value::Null, &json!("Runbook")));
}

#[test]
fn what_v2_lacks_is_asked_of_v1() {
    let found = json!({
        "results": [{
            "content": { "id": "98319", "type": "page", "status": "current", "title": "Runbook", "_expandable": {} },
            "title": "@@@hl@@@Runbook@@@endhl@@@", "excerpt": "First, look", "url": "/spaces/DOC/pages/98319/Runbook",
            "resultGlobalContainer": { "title": "Docs", "displayUrl": "/spaces/DOC" }, "breadcrumbs": [],
            "entityType": "content", "lastModified": "2026-02-01T12:00:00.000Z", "score": 1.5,
        }],
        "start": 0, "limit": 1, "size": 1, "totalSize": 3, "cqlQuery": "text ~ \"x\"", "searchDuration": 9,
        "_links": { "base": "https://example.atlassian.net/wiki", "context": "/wiki",
            "next": "/rest/api/search?next=true&cursor=_sa_WyJ%3D&limit=1&start=1&cql=text+~+%22x%22" },
    });
    let (line, _, value) = exchange("content.search", json!({ "cql": "text ~ \"x\"", "limit": 1 }), found);
    assert_eq!(line, "GET /rest/api/search?cql=text%20~%20%22x%22&limit=1");
    assert_eq!(
        (&value["items"][0]["content"]["id"], &value["items"][0]["entityType"]),
        (&json!("98319"), &json!("content"))
    );
    assert_eq!(value["next"], "next=true&cursor=_sa_WyJ%3D&limit=1&start=1&cql=text+%7E+%22x%22");

    let labels = json!([{ "prefix": "global", "name": "runbook" }]);
    let all = json!({ "results": [{ "prefix": "global", "name": "runbook", "id": "7", "label": "runbook" }], "start": 0, "limit": 200, "size": 1, "_links": {} });
    let (line, sent, value) = exchange("labels.add", json!({ "id": "98319", "labels": labels }), all);
    assert_eq!((line.as_str(), &sent), ("POST /rest/api/content/98319/label", &labels));
    assert_eq!(value["results"][0]["id"], "7");

    let account = json!({ "type": "known", "accountId": "5b10", "accountType": "atlassian", "email": "", "publicName": "Ada", "displayName": "Ada" });
    assert_eq!(answered(&confluence(), "users.me", account)["accountId"], "5b10");
}

#[test]
fn comments_have_texts_and_answers() {
    let comment = json!({
        "id": "98400", "status": "current", "title": "Re: Runbook", "pageId": "98319",
        "version": { "number": 1, "createdAt": "2026-02-01T12:00:00.000Z", "authorId": "5b10" },
        "body": { "storage": { "representation": "storage", "value": "<p>Good.</p>" } }, "_links": { "webui": "/x" },
    });
    let list =
        json!({ "results": [comment.clone()], "_links": { "base": "https://example.atlassian.net/wiki" } });
    let (line, _, value) = exchange("comments.list", json!({ "id": "98319", "sort": "created-date" }), list);
    assert_eq!(line, "GET /api/v2/pages/98319/footer-comments?body-format=storage&sort=created-date");
    assert_eq!(value["items"][0]["body"]["storage"]["value"], "<p>Good.</p>");
    let input = json!({ "parentCommentId": "98400", "body": { "representation": "storage", "value": "<p>Yes.</p>" } });
    let (line, sent, _) = exchange("comments.create", input.clone(), comment);
    assert_eq!((line.as_str(), &sent), ("POST /api/v2/footer-comments", &input));
}

#[test]
fn refusals_are_told_apart_in_both_versions_words() {
    let confluence = confluence();
    let v2 = |status: u64, code: &str, title: &str| json!({ "errors": [{ "status": status, "code": code, "title": title, "detail": null }] });
    let v1 = json!({ "statusCode": 400, "data": { "authorized": false }, "message": "Could not parse cql : text ~" });
    assert_failures(
        &confluence,
        &[
            (400, &[], v1, "invalid", None, "Could not parse cql"),
            (401, &[], v2(401, "UNAUTHORIZED", "Unauthorized"), "credentials", None, "Unauthorized"),
            (403, &[], v2(403, "FORBIDDEN", "Forbidden"), "forbidden", None, "Forbidden"),
            (404, &[], v2(404, "NOT_FOUND", "Page not found"), "not_found", None, "Page not found"),
            (409, &[], v2(409, "CONFLICT", "Version must be incremented"), "conflict", None, "Version must"),
            (429, &[("retry-after", "5")], json!({}), "rate_limited", Some(5), ""),
        ],
    );
    let settings = json!({ "site": "example.com/evil" });
    let refused = confluence.base_of(settings.as_object().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}
