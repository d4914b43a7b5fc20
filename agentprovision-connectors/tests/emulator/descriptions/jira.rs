//! Jira.

use agentprovision_connectors::emulator::{OAuthClient, Vendor};
use http::Method;
use serde_json::{Value, json};

use super::{Contradiction, Description, Driver, Repair, contradiction, folder};
use crate::support::{Site, basic};

const CONTRADICTIONS: &[Contradiction] = &[
    contradiction(
        "*",
        "/**",
        Repair::Zone,
        "times are documented as `2021-01-17T12:34:00.000+0000`, which is not RFC 3339 and so no `date-time`",
    ),
    contradiction(
        "/changelog",
        "/values/*/items/*/*",
        Repair::Text,
        "what was or is nothing is documented as `null`",
    ),
    contradiction(
        "/issue/{issueIdOrKey}",
        "/changelog/histories/*/items/*/*",
        Repair::Text,
        "what was or is nothing is documented as `null` here too",
    ),
];

#[tokio::test]
async fn jira_answers_as_its_description_says() {
    let Some(folder) = folder() else { return };
    let site = Site::start().await;
    let jira = site.emulator.jira();
    let token = jira.add_token("ada@example.com");
    let other = jira.add_account("bob@example.com");
    jira.add_project("OPS", "Operations").unwrap();
    let description = Description::load(&folder, "jira", CONTRADICTIONS);
    let authorization = basic("ada@example.com", &token);
    let mut to = Driver { site: &site, base: site.emulator.jira_url(), authorization, description };
    let api = "/rest/api/3";
    for path in [
        "myself",
        "serverInfo",
        "status",
        "priority",
        "issuetype",
        "field",
        "project/search",
        "project/OPS",
        "project/NONE",
        "project/OPS/statuses",
    ] {
        to.get(&format!("{api}/{path}")).await;
    }
    to.get(&format!("{api}/user?accountId={other}")).await;
    to.get(&format!("{api}/user?accountId=none")).await;
    to.get(&format!("{api}/user/search?query=bob")).await;
    let text = json!({ "type": "doc", "version": 1, "content": [{ "type": "paragraph", "content": [{ "type": "text", "text": "Now" }] }] });
    let fields = json!({
        "project": { "key": "OPS" }, "issuetype": { "name": "Bug" }, "summary": "It is broken", "description": text,
        "labels": ["urgent"], "customfield_10030": 7,
    });
    to.post(&format!("{api}/issue"), json!({ "fields": fields })).await;
    to.post(&format!("{api}/issue"), json!({ "fields": {} })).await;
    for _ in 0..3 {
        jira.add_issue("OPS", "More", Value::Null).unwrap();
    }
    let issue = format!("{api}/issue/OPS-1");
    to.get(&issue).await;
    to.get(&format!("{api}/issue/OPS-9")).await;
    to.go(Method::PUT, &issue, json!({ "fields": { "summary": "Still", "priority": { "name": "High" } } }))
        .await;
    to.go(Method::PUT, &issue, json!({ "fields": { "colour": "red" } })).await;
    to.go(Method::PUT, &format!("{issue}/assignee"), json!({ "accountId": other })).await;
    to.get(&format!("{issue}/transitions")).await;
    to.post(&format!("{issue}/transitions"), json!({ "transition": { "id": "31" } })).await;
    to.post(&format!("{issue}/transitions"), json!({ "transition": { "id": "99" } })).await;
    let comment = to.post(&format!("{issue}/comment"), json!({ "body": text })).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    to.post(&format!("{issue}/comment"), json!({ "body": "plain" })).await;
    to.get(&format!("{issue}/comment")).await;
    to.get(&format!("{issue}/comment/{comment}")).await;
    to.go(Method::PUT, &format!("{issue}/comment/{comment}"), json!({ "body": text })).await;
    to.go(Method::DELETE, &format!("{issue}/comment/{comment}"), Value::Null).await;
    to.get(&format!("{issue}?expand=changelog,transitions")).await;
    to.get(&format!("{issue}/changelog")).await;
    to.get(&format!("{api}/search/jql?jql=project%20%3D%20OPS&maxResults=2&fields=*all")).await;
    to.post(
        &format!("{api}/search/jql"),
        json!({ "jql": "project = OPS order by updated", "fields": ["summary"] }),
    )
    .await;
    to.post(&format!("{api}/search/jql"), json!({ "jql": "colour = red" })).await;
    to.post(&format!("{api}/search/jql"), json!({ "jql": "project = OPS", "maxResults": "ten" })).await;
    to.post(&format!("{api}/search/approximate-count"), json!({ "jql": "project = OPS" })).await;
    to.go(Method::DELETE, &issue, Value::Null).await;
    // An app's webhooks.
    to.get(&format!("{api}/webhook")).await;
    let basic_authorization = to.authorization.clone();
    site.emulator.oauth(Vendor::Jira).add_client(OAuthClient::new("app", "secret"));
    let tokens = site.emulator.oauth(Vendor::Jira).grant("app", "ada@example.com").unwrap();
    to.authorization = format!("Bearer {}", tokens.access_token);
    let hook = json!({ "jqlFilter": "project = OPS", "events": ["jira:issue_created"] });
    let wrong = json!({ "jqlFilter": "colour = red", "events": ["jira:issue_created"] });
    let body = json!({ "url": "http://127.0.0.1:9/", "webhooks": [hook, wrong] });
    let made = to.post(&format!("{api}/webhook"), body).await;
    let id = made["webhookRegistrationResult"][0]["createdWebhookId"].clone();
    to.get(&format!("{api}/webhook")).await;
    to.get(&format!("{api}/webhook/failed")).await;
    to.go(Method::PUT, &format!("{api}/webhook/refresh"), json!({ "webhookIds": [id] })).await;
    to.go(Method::DELETE, &format!("{api}/webhook"), json!({ "webhookIds": [id] })).await;
    to.go(Method::DELETE, &format!("{api}/webhook"), json!({})).await;
    to.authorization = basic_authorization.replace("Basic", "Bearer");
    to.get(&format!("{api}/myself")).await;
    to.finish(DRIVEN, UNDESCRIBED);
}

/// Operations that are described and answered.
const DRIVEN: &[&str] = &[
    "DELETE /rest/api/3/issue/{issueIdOrKey}",
    "DELETE /rest/api/3/issue/{issueIdOrKey}/comment/{id}",
    "DELETE /rest/api/3/webhook",
    "GET /rest/api/3/field",
    "GET /rest/api/3/issue/{issueIdOrKey}",
    "GET /rest/api/3/issue/{issueIdOrKey}/changelog",
    "GET /rest/api/3/issue/{issueIdOrKey}/comment",
    "GET /rest/api/3/issue/{issueIdOrKey}/comment/{id}",
    "GET /rest/api/3/issue/{issueIdOrKey}/transitions",
    "GET /rest/api/3/issuetype",
    "GET /rest/api/3/myself",
    "GET /rest/api/3/priority",
    "GET /rest/api/3/project/search",
    "GET /rest/api/3/project/{projectIdOrKey}",
    "GET /rest/api/3/project/{projectIdOrKey}/statuses",
    "GET /rest/api/3/search/jql",
    "GET /rest/api/3/serverInfo",
    "GET /rest/api/3/status",
    "GET /rest/api/3/user",
    "GET /rest/api/3/user/search",
    "GET /rest/api/3/webhook",
    "GET /rest/api/3/webhook/failed",
    "POST /rest/api/3/issue",
    "POST /rest/api/3/issue/{issueIdOrKey}/comment",
    "POST /rest/api/3/issue/{issueIdOrKey}/transitions",
    "POST /rest/api/3/search/approximate-count",
    "POST /rest/api/3/search/jql",
    "POST /rest/api/3/webhook",
    "PUT /rest/api/3/issue/{issueIdOrKey}",
    "PUT /rest/api/3/issue/{issueIdOrKey}/assignee",
    "PUT /rest/api/3/issue/{issueIdOrKey}/comment/{id}",
    "PUT /rest/api/3/webhook/refresh",
];

/// Operations that the emulator answers and no description of this vendor's has.
const UNDESCRIBED: &[&str] = &[];
