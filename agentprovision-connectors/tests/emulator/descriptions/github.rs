//! GitHub.

use http::Method;
use serde_json::{Value, json};

use super::{Contradiction, Description, Driver, Repair, contradiction, folder};
use crate::support::Site;

const CONTRADICTIONS: &[Contradiction] = &[
    contradiction(
        "/pulls",
        "/*/labels/*/description",
        Repair::Text,
        "labels have no description unless they were given one; every other operation says that it may be null",
    ),
    contradiction(
        "/contents/{path}",
        "/message",
        Repair::Forgo,
        "409 is one of two forms, all of whose fields are optional, so that whatever fits one fits both",
    ),
];

#[tokio::test]
async fn github_answers_as_its_description_says() {
    let Some(folder) = folder() else { return };
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_token("hubot");
    github.add_repository("acme/app").unwrap();
    let description = Description::load(&folder, "github", CONTRADICTIONS);
    let authorization = format!("Bearer {token}");
    let mut to = Driver { site: &site, base: site.emulator.github_url(), authorization, description };
    for path in
        ["/user", "/user/repos", "/orgs/acme/repos", "/rate_limit", "/repos/acme/app", "/repos/acme/none"]
    {
        to.get(path).await;
    }
    let repo = "/repos/acme/app";
    // Files and history.
    let content = json!({ "message": "Add", "content": "SGVsbG8K", "branch": "main" });
    let made = to.go(Method::PUT, &format!("{repo}/contents/src/a.txt"), content.clone()).await;
    to.go(Method::PUT, &format!("{repo}/contents/src/a.txt"), content).await;
    let sha = made["content"]["sha"].as_str().unwrap();
    let content = json!({ "message": "Change", "content": "SG8K", "sha": sha });
    let made = to.go(Method::PUT, &format!("{repo}/contents/src/a.txt"), content).await;
    to.go(
        Method::PUT,
        &format!("{repo}/contents/src/a.txt"),
        json!({ "message": "x", "content": "", "sha": "0" }),
    )
    .await;
    for path in [
        "contents/src/a.txt",
        "contents/src",
        "contents/none",
        "branches",
        "commits",
        "commits/main",
        "commits/none",
    ] {
        to.get(&format!("{repo}/{path}")).await;
    }
    let head = made["commit"]["sha"].as_str().unwrap().to_owned();
    to.post(&format!("{repo}/git/refs"), json!({ "ref": "refs/heads/topic", "sha": head })).await;
    to.post(&format!("{repo}/git/refs"), json!({ "ref": "refs/heads/topic", "sha": head })).await;
    to.get(&format!("{repo}/git/ref/heads/topic")).await;
    to.get(&format!("{repo}/git/ref/heads/none")).await;
    to.get(&format!("{repo}/git/matching-refs/heads/t")).await;
    let sha = made["content"]["sha"].as_str().unwrap();
    let gone = json!({ "message": "Remove", "sha": sha, "branch": "topic" });
    to.go(Method::DELETE, &format!("{repo}/contents/src/a.txt"), gone).await;
    to.get(&format!("{repo}/compare/main...topic")).await;
    // Issues.
    let hook = json!({ "config": { "url": "http://127.0.0.1:9/", "content_type": "json", "secret": "s" }, "events": ["*"] });
    let hook = to.post(&format!("{repo}/hooks"), hook).await["id"].to_string();
    let issue =
        json!({ "title": "Broken", "body": "All of it", "labels": ["bug", "fresh"], "assignees": ["hubot"] });
    to.post(&format!("{repo}/issues"), issue).await;
    to.post(&format!("{repo}/issues"), json!({ "title": 1 })).await;
    to.post(&format!("{repo}/issues"), json!({})).await;
    to.get(&format!("{repo}/issues?state=all&per_page=1")).await;
    to.get(&format!("{repo}/issues/1")).await;
    to.get(&format!("{repo}/issues/99")).await;
    to.go(Method::PATCH, &format!("{repo}/issues/1"), json!({ "state": "closed", "title": "Mended" })).await;
    let comment =
        to.post(&format!("{repo}/issues/1/comments"), json!({ "body": "Yes" })).await["id"].to_string();
    to.get(&format!("{repo}/issues/1/comments")).await;
    to.get(&format!("{repo}/issues/comments/{comment}")).await;
    to.go(Method::PATCH, &format!("{repo}/issues/comments/{comment}"), json!({ "body": "No" })).await;
    to.go(Method::DELETE, &format!("{repo}/issues/comments/{comment}"), Value::Null).await;
    to.post(&format!("{repo}/issues/1/labels"), json!({ "labels": ["bug", "other"] })).await;
    to.get(&format!("{repo}/issues/1/labels")).await;
    to.go(Method::DELETE, &format!("{repo}/issues/1/labels/other"), Value::Null).await;
    to.post(&format!("{repo}/issues/1/assignees"), json!({ "assignees": ["octocat"] })).await;
    to.get(&format!("{repo}/labels")).await;
    to.post(&format!("{repo}/labels"), json!({ "name": "mine", "color": "ffffff" })).await;
    to.post(&format!("{repo}/labels"), json!({ "name": "mine", "color": "ffffff" })).await;
    to.get("/search/issues?q=repo:acme/app+is:issue+state:closed").await;
    to.get("/search/issues?q=colour:red").await;
    // Pull requests.
    let pull = json!({ "title": "Remove it", "head": "topic", "base": "main", "body": "For good" });
    to.post(&format!("{repo}/pulls"), pull.clone()).await;
    to.post(&format!("{repo}/pulls"), pull).await;
    for path in [
        "pulls",
        "pulls/2",
        "pulls/1",
        "pulls/2/files",
        "pulls/2/commits",
        "pulls/2/reviews",
        "pulls/2/comments",
        "issues/2",
    ] {
        to.get(&format!("{repo}/{path}")).await;
    }
    to.go(Method::PATCH, &format!("{repo}/pulls/2"), json!({ "title": "Remove it all" })).await;
    to.post(&format!("{repo}/issues/2/labels"), json!({ "labels": ["mine"] })).await;
    to.get(&format!("{repo}/pulls")).await;
    to.post(&format!("{repo}/pulls/2/reviews"), json!({ "event": "COMMENT", "body": "Hm" })).await;
    to.post(&format!("{repo}/pulls/2/reviews"), json!({ "event": "APPROVE" })).await;
    to.get(&format!("{repo}/pulls/2/reviews")).await;
    to.go(Method::PUT, &format!("{repo}/pulls/2/merge"), json!({ "sha": "0" })).await;
    to.go(Method::PUT, &format!("{repo}/pulls/2/merge"), json!({ "merge_method": "squash" })).await;
    to.go(Method::PUT, &format!("{repo}/pulls/2/merge"), json!({})).await;
    to.get(&format!("{repo}/pulls/2")).await;
    // Actions, checks, releases, hooks.
    let run =
        github.add_run("acme/app", "main", "completed", Some("failure"), "It broke").unwrap().to_string();
    for path in ["actions/runs", "actions/workflows", "releases"] {
        to.get(&format!("{repo}/{path}")).await;
    }
    to.get(&format!("{repo}/actions/runs/{run}")).await;
    to.get(&format!("{repo}/actions/runs/{run}/jobs")).await;
    to.post(&format!("{repo}/actions/runs/{run}/rerun"), Value::Null).await;
    to.post(&format!("{repo}/actions/runs/{run}/cancel"), Value::Null).await;
    to.post(&format!("{repo}/actions/runs/{run}/cancel"), Value::Null).await;
    to.post(&format!("{repo}/actions/workflows/ci.yml/dispatches"), json!({ "ref": "main" })).await;
    let check = json!({ "name": "lint", "head_sha": head, "conclusion": "success" });
    to.post(&format!("{repo}/check-runs"), check).await;
    to.get(&format!("{repo}/commits/main/check-runs")).await;
    to.post(&format!("{repo}/statuses/{head}"), json!({ "state": "success" })).await;
    to.get(&format!("{repo}/commits/main/status")).await;
    to.post(&format!("{repo}/releases"), json!({ "tag_name": "v1", "name": "One" })).await;
    to.post(&format!("{repo}/releases"), json!({ "tag_name": "v1" })).await;
    to.get(&format!("{repo}/releases")).await;
    to.get(&format!("{repo}/releases/latest")).await;
    to.get(&format!("{repo}/hooks")).await;
    to.get(&format!("{repo}/hooks/{hook}")).await;
    to.go(Method::PATCH, &format!("{repo}/hooks/{hook}"), json!({ "active": true })).await;
    site.emulator.webhooks_settled().await;
    let deliveries = to.get(&format!("{repo}/hooks/{hook}/deliveries")).await;
    let delivery = deliveries[0]["id"].to_string();
    to.post(&format!("{repo}/hooks/{hook}/deliveries/{delivery}/attempts"), Value::Null).await;
    to.post(&format!("{repo}/hooks"), json!({ "name": "email", "config": {} })).await;
    to.go(Method::DELETE, &format!("{repo}/hooks/{hook}"), Value::Null).await;
    to.authorization = "Bearer wrong".to_owned();
    to.get("/user").await;
    to.finish(DRIVEN, UNDESCRIBED);
}

/// Operations that are described and answered.
const DRIVEN: &[&str] = &[
    "DELETE /repos/{owner}/{repo}/contents/{path}",
    "DELETE /repos/{owner}/{repo}/hooks/{hook_id}",
    "DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}",
    "GET /orgs/{org}/repos",
    "GET /rate_limit",
    "GET /repos/{owner}/{repo}",
    "GET /repos/{owner}/{repo}/actions/runs",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
    "GET /repos/{owner}/{repo}/actions/workflows",
    "GET /repos/{owner}/{repo}/branches",
    "GET /repos/{owner}/{repo}/commits",
    "GET /repos/{owner}/{repo}/commits/{ref}",
    "GET /repos/{owner}/{repo}/compare/{basehead}",
    "GET /repos/{owner}/{repo}/contents/{path}",
    "GET /repos/{owner}/{repo}/git/matching-refs/{ref}",
    "GET /repos/{owner}/{repo}/git/ref/{ref}",
    "GET /repos/{owner}/{repo}/hooks",
    "GET /repos/{owner}/{repo}/hooks/{hook_id}",
    "GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries",
    "GET /repos/{owner}/{repo}/issues",
    "GET /repos/{owner}/{repo}/issues/comments/{comment_id}",
    "GET /repos/{owner}/{repo}/issues/{issue_number}",
    "GET /repos/{owner}/{repo}/issues/{issue_number}/comments",
    "GET /repos/{owner}/{repo}/issues/{issue_number}/labels",
    "GET /repos/{owner}/{repo}/labels",
    "GET /repos/{owner}/{repo}/pulls",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/comments",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/commits",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/files",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews",
    "GET /repos/{owner}/{repo}/releases",
    "GET /search/issues",
    "GET /user",
    "GET /user/repos",
    "PATCH /repos/{owner}/{repo}/hooks/{hook_id}",
    "PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}",
    "PATCH /repos/{owner}/{repo}/issues/{issue_number}",
    "PATCH /repos/{owner}/{repo}/pulls/{pull_number}",
    "POST /repos/{owner}/{repo}/actions/runs/{run_id}/cancel",
    "POST /repos/{owner}/{repo}/actions/runs/{run_id}/rerun",
    "POST /repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
    "POST /repos/{owner}/{repo}/git/refs",
    "POST /repos/{owner}/{repo}/hooks",
    "POST /repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts",
    "POST /repos/{owner}/{repo}/issues",
    "POST /repos/{owner}/{repo}/issues/{issue_number}/assignees",
    "POST /repos/{owner}/{repo}/issues/{issue_number}/comments",
    "POST /repos/{owner}/{repo}/issues/{issue_number}/labels",
    "POST /repos/{owner}/{repo}/labels",
    "POST /repos/{owner}/{repo}/pulls",
    "POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews",
    "POST /repos/{owner}/{repo}/releases",
    "PUT /repos/{owner}/{repo}/contents/{path}",
    "PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge",
];

/// Operations that the emulator answers and no description of this vendor's has.
const UNDESCRIBED: &[&str] = &[
    "DELETE /repos/acme/app/issues/{}/labels/other",
    "GET /repos/acme/app/commits/main/check-runs",
    "GET /repos/acme/app/commits/main/status",
    "GET /repos/acme/app/releases/latest",
    "POST /repos/acme/app/check-runs",
    "POST /repos/acme/app/statuses/{}",
];
