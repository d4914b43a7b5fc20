//! Jira.

use std::time::Duration;

use agentprovision_connectors::emulator::{OAuthClient, Vendor};
use agentprovision_core::ErrorKind;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, basic};

async fn operations() -> (Site, String) {
    let site = Site::start().await;
    let token = site.emulator.jira().add_token("ada@example.com");
    site.emulator.jira().add_project("OPS", "Operations").unwrap();
    (site, basic("ada@example.com", &token))
}

impl Site {
    async fn jira(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
        body: Value,
    ) -> crate::support::Answer {
        let url = format!("{}/rest/api/3/{path}", self.emulator.jira_url());
        let headers = [("authorization", authorization), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &url, &headers, body).await
    }
}

#[tokio::test]
async fn who_asks_is_proved_in_jiras_form() {
    let (site, basic_ada) = operations().await;
    let jira = site.emulator.jira();
    let token = jira.add_token("ada@example.com");
    assert_eq!(
        site.jira(Method::GET, "myself", &basic_ada, Value::Null).await.ok()["emailAddress"],
        "ada@example.com"
    );
    for wrong in
        [basic("bob@example.com", &token), basic("ada@example.com", "wrong"), "Bearer wrong".to_owned()]
    {
        assert_eq!(site.jira(Method::GET, "myself", &wrong, Value::Null).await.status, 401, "{wrong}");
    }
    // The gateway of the cloud has the same site behind it.
    site.emulator.oauth(Vendor::Jira).add_client(OAuthClient::new("app", "secret"));
    let access = site.emulator.oauth(Vendor::Jira).grant("app", "ada@example.com").unwrap().access_token;
    let base = site.emulator.jira_url();
    let sites = site
        .bearer(Method::GET, &format!("{base}/oauth/token/accessible-resources"), &access, Value::Null)
        .await;
    let cloud = sites.ok()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(cloud, jira.cloud_id());
    let url = format!("{base}/ex/jira/{cloud}/rest/api/3/myself");
    assert_eq!(site.bearer(Method::GET, &url, &access, Value::Null).await.ok()["displayName"], "Ada");
    let url = format!("{base}/ex/jira/other/rest/api/3/myself");
    assert_eq!(site.bearer(Method::GET, &url, &access, Value::Null).await.status, 404);
}

#[tokio::test]
async fn issues_live_from_their_making_to_their_deletion() {
    let (site, ada) = operations().await;
    let jira = site.emulator.jira();
    let bob = jira.add_account("bob@example.com");
    let send = async |method: Method, path: &str, body: Value| site.jira(method, path, &ada, body).await;
    let fields = json!({ "project": { "key": "OPS" }, "issuetype": { "name": "Bug" }, "summary": "Broken" });
    let made = send(Method::POST, "issue", json!({ "fields": fields })).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["key"], "OPS-1");
    site.clock.advance(Duration::from_secs(90));
    let change = json!({ "fields": { "labels": ["urgent"] }, "update": { "labels": [{ "add": "now" }] } });
    assert_eq!(send(Method::PUT, "issue/OPS-1", change).await.status, 204);
    assert_eq!(send(Method::PUT, "issue/OPS-1/assignee", json!({ "accountId": bob })).await.status, 204);
    assert_eq!(
        send(Method::POST, "issue/OPS-1/transitions", json!({ "transition": { "id": "31" } })).await.status,
        204
    );
    let issue = jira.issue("OPS-1").unwrap();
    assert_eq!(issue["fields"]["status"]["name"], "Done");
    assert_eq!(issue["fields"]["assignee"]["accountId"], json!(bob));
    assert_eq!(
        issue["fields"]["labels"],
        json!(["now"]),
        "an operation on labels begins from those there are"
    );
    assert_eq!(issue["fields"]["updated"], "2023-11-14T22:14:50.000+0000");
    let changes = send(Method::GET, "issue/OPS-1/changelog", Value::Null).await.ok();
    let fields: Vec<_> =
        changes["values"].as_array().unwrap().iter().map(|change| &change["items"][0]["field"]).collect();
    assert_eq!(fields, ["labels", "assignee", "status"]);
    for (wrong, field) in [
        (json!({ "summary": "" }), "summary"),
        (json!({ "summary": 1 }), "summary"),
        (json!({ "description": "plain" }), "description"),
        (json!({ "labels": "urgent" }), "labels"),
        (json!({ "assignee": { "accountId": "nobody" } }), "assignee"),
        (json!({ "priority": { "name": "Huge" } }), "priority"),
        (json!({ "colour": "red" }), "colour"),
        (json!({ "summary": "New", "colour": "red" }), "colour"),
    ] {
        let refused = send(Method::PUT, "issue/OPS-1", json!({ "fields": wrong })).await;
        assert_eq!(refused.status, 400);
        assert!(refused.json()["errors"][field].is_string(), "{field}: {:?}", refused.json());
    }
    assert_eq!(
        jira.issue("OPS-1").unwrap()["fields"]["summary"],
        "Broken",
        "a refused change leaves no trace"
    );
    let comment = jira.add_comment("OPS-1", "Seen").unwrap();
    assert_eq!(jira.comments("OPS-1").unwrap()[0]["id"], json!(comment));
    assert_eq!(send(Method::DELETE, "issue/OPS-1", Value::Null).await.status, 204);
    assert_eq!(send(Method::GET, "issue/OPS-1", Value::Null).await.status, 404);
    assert_eq!(jira.issue("OPS-1").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(jira.add_issue("OPS", "Next", Value::Null).unwrap(), "OPS-2", "keys are used once");
}

#[tokio::test]
async fn the_search_goes_on_by_tokens() {
    let (site, ada) = operations().await;
    let jira = site.emulator.jira();
    for number in 0..5 {
        site.clock.advance(Duration::from_secs(60));
        let priority = if number < 2 { "High" } else { "Low" };
        jira.add_issue("OPS", &format!("Issue {number}"), json!({ "priority": { "name": priority } }))
            .unwrap();
    }
    let search = async |jql: &str| {
        let (mut keys, mut token, mut pages) = (Vec::new(), Value::Null, 0);
        loop {
            let body = json!({ "jql": jql, "maxResults": 2, "fields": ["summary"], "nextPageToken": token });
            let page = site.jira(Method::POST, "search/jql", &ada, body).await.ok();
            keys.extend(
                page["issues"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|issue| issue["key"].as_str().unwrap().to_owned()),
            );
            pages += 1;
            token = page["nextPageToken"].clone();
            assert_eq!(page["isLast"], json!(token.is_null()));
            if token.is_null() {
                return (keys, pages);
            }
        }
    };
    let (keys, pages) = search("project = OPS order by created asc").await;
    assert_eq!((keys.join(" "), pages), ("OPS-1 OPS-2 OPS-3 OPS-4 OPS-5".to_owned(), 3));
    assert_eq!(search("priority = High").await.0, ["OPS-2", "OPS-1"]);
    assert_eq!(search("project = OPS and created >= -3m order by key").await.0.len(), 4);
    assert_eq!(search("summary ~ 'issue 3'").await.0, ["OPS-4"]);
    assert_eq!(search("project = OPS and not priority in (High, Low)").await.0.len(), 0);
    for wrong in ["", "order by created", "colour = red", "project = "] {
        let answer = site.jira(Method::POST, "search/jql", &ada, json!({ "jql": wrong })).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    let bare =
        site.jira(Method::GET, "search/jql?jql=project=OPS&maxResults=1", &ada, Value::Null).await.ok();
    assert_eq!(
        bare["issues"][0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id"],
        "without fields there are ids"
    );
    let wrong = json!({ "jql": "project = OPS", "nextPageToken": "made up" });
    assert_eq!(site.jira(Method::POST, "search/jql", &ada, wrong).await.status, 400);
    assert_eq!(site.jira(Method::GET, "search?jql=project=OPS", &ada, Value::Null).await.status, 410);
}

#[tokio::test]
async fn projects_come_in_pages() {
    let (site, ada) = operations().await;
    for key in ["AA", "BB", "CC"] {
        site.emulator.jira().add_project(key, key).unwrap();
    }
    assert_eq!(site.emulator.jira().add_project("AA", "x").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(site.emulator.jira().add_project("a", "x").unwrap_err().kind(), ErrorKind::InvalidInput);
    let page = site.jira(Method::GET, "project/search?startAt=2&maxResults=3", &ada, Value::Null).await.ok();
    let keys: Vec<_> =
        page["values"].as_array().unwrap().iter().map(|project| project["key"].as_str().unwrap()).collect();
    assert_eq!((keys, &page["isLast"], &page["total"]), (vec!["CC", "OPS"], &json!(true), &json!(4)));
    let page = site.jira(Method::GET, "project/search?maxResults=3", &ada, Value::Null).await.ok();
    assert_eq!(page["isLast"], false);
}
