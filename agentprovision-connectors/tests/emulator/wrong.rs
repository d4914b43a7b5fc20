//! Requests that the vendors refuse: whoever tests against something that takes them has tested nothing.

use agentprovision_connectors::emulator::{OAuthClient, Vendor};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Site, basic};

/// A request that is in order, and what of its body has to be there, as JSON pointers.
struct Good(Method, String, Value, &'static [&'static str]);

/// Who asks, and what shows that nothing has changed.
struct Desk<'a> {
    site: &'a Site,
    vendor: Vendor,
    base: String,
    authorization: String,
    /// Paths whose answers stay the same under requests that are refused.
    shown: &'a [String],
}

/// A value of another type.
fn of_another_type(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => json!("perhaps"),
        Value::Number(_) => json!("many"),
        Value::String(_) => json!({ "wrong": true }),
        Value::Array(_) => json!(7),
        Value::Object(_) => json!("text"),
    })
}

/// Every place of a body, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| places(item, &format!("{at}/{n}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, item)| places(item, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

fn without(body: &Value, place: &str) -> Value {
    let (mut body, (parent, name)) = (body.clone(), place.rsplit_once('/').unwrap());
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    body
}

impl Desk<'_> {
    async fn send(&self, method: &Method, path: &str, authorization: Option<&str>, body: String) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        self.site.send(method.clone(), &format!("{}{path}", self.base), &headers, body).await
    }

    async fn ask(&self, method: &Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, Some(&self.authorization), body).await
    }

    /// Whether a request was refused, in the vendor's form.
    fn refused(&self, answer: &Answer) -> bool {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match self.vendor {
            Vendor::Slack => answer.status == 200 && said["ok"] == false && said["error"].is_string(),
            Vendor::Jira if answer.status == 401 => true,
            Vendor::Jira => {
                (400..500).contains(&answer.status)
                    && said["errorMessages"].is_array()
                    && said["errors"].is_object()
            }
            _ => (400..500).contains(&answer.status) && said["message"].is_string(),
        }
    }

    async fn seen(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in self.shown {
            all.push(self.ask(&Method::GET, path, &Value::Null).await.ok());
        }
        all
    }

    /// What was taken of what is wrong with these requests; they themselves are taken then.
    async fn taken(&self, all: Vec<Good>) -> Vec<String> {
        let mut taken = Vec::new();
        for Good(method, path, body, required) in all {
            let before = self.seen().await;
            for nobody in [None, Some("Bearer nobody's"), Some(&*basic("nobody", "nobody's"))] {
                let answer = self.send(&method, &path, nobody, body.to_string()).await;
                if !self.refused(&answer) || (self.vendor != Vendor::Slack && answer.status != 401) {
                    taken.push(format!("{method} {path} as {nobody:?}: {} {:?}", answer.status, answer.body));
                }
            }
            let mut wrong = vec![("not JSON".to_owned(), "{".to_owned())];
            wrong.extend(required.iter().map(|at| (format!("without {at}"), without(&body, at).to_string())));
            let mut found = Vec::new();
            places(&body, "", &mut found);
            for place in found {
                let mut other = body.clone();
                let value = other.pointer_mut(&place).unwrap();
                let Some(another) = of_another_type(value) else { continue };
                *value = another;
                wrong.push((format!("`{place}` of another type"), other.to_string()));
            }
            for (what, wrong) in wrong {
                let answer = self.send(&method, &path, Some(&self.authorization), wrong).await;
                if !self.refused(&answer) {
                    taken.push(format!("{method} {path} {what}: {} {:?}", answer.status, answer.body));
                }
            }
            if self.seen().await != before {
                taken.push(format!("{method} {path}: what was refused has left a trace"));
            }
            let answer = self.ask(&method, &path, &body).await;
            if self.refused(&answer) || answer.status >= 300 {
                taken.push(format!("{method} {path} is not in order: {} {:?}", answer.status, answer.body));
            }
        }
        taken
    }

    /// What was taken of requests for which there is nothing.
    async fn taken_unknown(&self, all: &[(Method, &str)]) -> Vec<String> {
        let mut taken = Vec::new();
        for (method, path) in all {
            let answer = self.ask(method, path, &json!({})).await;
            if !self.refused(&answer) || (self.vendor != Vendor::Slack && !matches!(answer.status, 404 | 405))
            {
                taken.push(format!("{method} {path}: {} {:?}", answer.status, answer.body));
            }
        }
        taken
    }
}

fn none(taken: Vec<String>) {
    assert!(taken.is_empty(), "{} were taken:\n{}", taken.len(), taken.join("\n"));
}

#[tokio::test]
async fn pitfall_34_github_refuses_what_is_wrong() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    let sha = github.add_file("acme/app", "main", "a.txt", "a\n").unwrap();
    for branch in ["topic", "other"] {
        github.add_file("acme/app", branch, "b.txt", format!("{branch}\n")).unwrap();
    }
    github.add_issue("acme/app", json!({ "title": "One" })).unwrap();
    let comment = github.add_comment("acme/app", 1, "Seen").unwrap();
    let pull = github.add_pull("acme/app", "Two", "topic", "main").unwrap();
    let hook = github.add_webhook("acme/app", "http://127.0.0.1:9/", "s", &["push"]).unwrap();
    site.emulator.webhooks_settled().await;
    let of = |path: String| format!("/repos/acme/app/{path}");
    let shown =
        ["issues?state=all", "labels", "pulls?state=all", "issues/comments", "hooks", "releases", "branches"]
            .map(|path| of(path.to_owned()));
    let desk = Desk {
        site: &site,
        vendor: Vendor::Github,
        base: site.emulator.github_url(),
        authorization: format!("Bearer {token}"),
        shown: &shown,
    };
    let good = |method, path: &str, body, required| Good(method, of(path.to_owned()), body, required);
    let config = json!({ "url": "http://127.0.0.1:9/hook", "content_type": "json", "secret": "s" });
    let issue = json!({ "title": "T", "body": "B", "labels": ["bug"], "assignees": ["octocat"] });
    let change = json!({
        "title": "T", "body": "B", "state": "closed", "state_reason": "not_planned", "labels": ["bug"],
        "assignees": ["octocat"],
    });
    let new_pull = json!({ "title": "T", "head": "other", "base": "main", "body": "B", "draft": true });
    let file = json!({ "message": "m", "content": "b25lCg==", "branch": "main" });
    let release = json!({
        "tag_name": "v1", "target_commitish": "main", "name": "n", "body": "b", "draft": false, "prerelease": true,
    });
    let status =
        json!({ "state": "success", "context": "ci", "description": "d", "target_url": "https://ci" });
    let run = json!({
        "name": "ci", "head_sha": sha, "status": "completed", "conclusion": "success",
        "output": { "title": "t", "summary": "s" },
    });
    let new_hook = json!({ "name": "web", "active": true, "events": ["push"], "config": config });
    let new_label = json!({ "name": "new", "color": "ff0000", "description": "d" });
    let reference = json!({ "ref": "refs/heads/new", "sha": sha });
    let (post, put, patch) = (Method::POST, Method::PUT, Method::PATCH);
    none(
        desk.taken(vec![
            good(post.clone(), "issues", issue, &["/title"]),
            good(patch.clone(), "issues/1", change, &[]),
            good(post.clone(), "issues/1/comments", json!({ "body": "b" }), &["/body"]),
            good(patch.clone(), &format!("issues/comments/{comment}"), json!({ "body": "c" }), &["/body"]),
            good(post.clone(), "issues/1/labels", json!({ "labels": ["bug"] }), &["/labels"]),
            good(put.clone(), "issues/1/labels", json!({ "labels": ["bug"] }), &["/labels"]),
            good(post.clone(), "issues/1/assignees", json!({ "assignees": ["octocat"] }), &[]),
            good(post.clone(), "labels", new_label, &["/name"]),
            good(post.clone(), "pulls", new_pull, &["/title", "/head", "/base"]),
            good(patch.clone(), &format!("pulls/{pull}"), json!({ "title": "T", "base": "main" }), &[]),
            good(
                post.clone(),
                &format!("pulls/{pull}/reviews"),
                json!({ "event": "COMMENT", "body": "b" }),
                &[],
            ),
            good(put.clone(), "contents/c.txt", file, &["/message", "/content"]),
            good(post.clone(), "git/refs", reference, &["/ref", "/sha"]),
            good(post.clone(), "hooks", new_hook, &["/config", "/config/url"]),
            good(
                patch,
                &format!("hooks/{hook}"),
                json!({ "active": false, "add_events": ["issues"], "config": config }),
                &[],
            ),
            good(post.clone(), "releases", release, &["/tag_name"]),
            good(post.clone(), &format!("statuses/{sha}"), status, &["/state"]),
            good(post, "check-runs", run, &["/name", "/head_sha"]),
            good(
                put,
                &format!("pulls/{pull}/merge"),
                json!({ "merge_method": "squash", "commit_title": "t" }),
                &[],
            ),
        ])
        .await,
    );
    none(
        desk.taken_unknown(&[
            (Method::GET, "/nothing"),
            (Method::GET, "/repos/acme/app/nothing"),
            (Method::GET, "/repos/acme/none"),
            (Method::DELETE, "/repos/acme/app/issues"),
            (Method::PUT, "/repos/acme/app/issues/1"),
            (Method::POST, "/repos/acme/app"),
            (Method::DELETE, "/user"),
            (Method::POST, "/rate_limit"),
            (Method::POST, "/search/issues"),
            (Method::GET, "/repos/acme/app/issues/one"),
            (Method::GET, "/repos/acme/app/issues/99"),
        ])
        .await,
    );
}

#[tokio::test]
async fn pitfall_34_jira_refuses_what_is_wrong() {
    let site = Site::start().await;
    let jira = site.emulator.jira();
    let (token, bob) = (jira.add_token("ada@example.com"), jira.add_account("bob@example.com"));
    jira.add_project("OPS", "Operations").unwrap();
    jira.add_issue("OPS", "One", json!({})).unwrap();
    let comment = jira.add_comment("OPS-1", "Seen").unwrap();
    let of = |path: &str| format!("/rest/api/3/{path}");
    let shown =
        [of("issue/OPS-1"), of("issue/OPS-1/changelog"), of("search/jql?jql=project=OPS&fields=*all")];
    let desk = Desk {
        site: &site,
        vendor: Vendor::Jira,
        base: site.emulator.jira_url(),
        authorization: basic("ada@example.com", &token),
        shown: &shown,
    };
    let good = |method, path: &str, body, required| Good(method, of(path), body, required);
    let text = json!({ "type": "text", "text": "Broken" });
    let document =
        json!({ "type": "doc", "version": 1, "content": [{ "type": "paragraph", "content": [text] }] });
    let fields = json!({
        "project": { "key": "OPS" }, "issuetype": { "name": "Bug" }, "summary": "Broken", "description": document,
        "labels": ["urgent"], "assignee": { "accountId": bob }, "priority": { "name": "High" }, "duedate": "2026-01-01",
    });
    let search =
        json!({ "jql": "project = OPS", "maxResults": 5, "fields": ["summary"], "expand": "changelog" });
    let change = json!({
        "fields": { "summary": "New", "assignee": { "accountId": bob } }, "update": { "labels": [{ "add": "now" }] },
    });
    let (post, put) = (Method::POST, Method::PUT);
    none(
        desk.taken(vec![
            good(
                post.clone(),
                "issue",
                json!({ "fields": fields }),
                &["/fields", "/fields/project", "/fields/issuetype", "/fields/summary"],
            ),
            good(put.clone(), "issue/OPS-1", change, &[]),
            good(put.clone(), "issue/OPS-1/assignee", json!({ "accountId": bob }), &[]),
            good(post.clone(), "issue/OPS-1/comment", json!({ "body": document }), &["/body"]),
            good(put, &format!("issue/OPS-1/comment/{comment}"), json!({ "body": document }), &["/body"]),
            good(
                post.clone(),
                "issue/OPS-1/transitions",
                json!({ "transition": { "id": "31" }, "fields": { "summary": "Done" } }),
                &["/transition", "/transition/id"],
            ),
            good(post.clone(), "search/jql", search, &["/jql"]),
            good(post.clone(), "search/approximate-count", json!({ "jql": "project = OPS" }), &["/jql"]),
        ])
        .await,
    );
    none(
        desk.taken_unknown(&[
            (Method::GET, "/rest/api/3/nothing"),
            (Method::GET, "/rest/api/3/issue/OPS-1/nothing"),
            (Method::GET, "/rest/api/3/issue/OPS-9"),
            (Method::DELETE, "/rest/api/3/myself"),
            (Method::PATCH, "/rest/api/3/issue/OPS-1"),
            (Method::PATCH, "/rest/api/3/issue/OPS-1/comment/1"),
            (Method::POST, "/rest/api/3/project/search"),
            (Method::DELETE, "/rest/api/3/search/jql"),
        ])
        .await,
    );
    // Webhooks are an app's. What is wrong with one of several is told in the answer.
    site.emulator.oauth(Vendor::Jira).add_client(OAuthClient::new("app", "secret"));
    let access = site.emulator.oauth(Vendor::Jira).grant("app", "ada@example.com").unwrap().access_token;
    let desk = Desk { authorization: format!("Bearer {access}"), shown: &[of("webhook")], ..desk };
    let webhook = json!({ "events": ["jira:issue_created"], "jqlFilter": "project = OPS" });
    for wrong in
        [json!({ "events": "all" }), json!({ "events": [7] }), json!({ "jqlFilter": 7 }), json!("text")]
    {
        let mut details = webhook.clone();
        match wrong.as_object() {
            Some(wrong) => details.as_object_mut().unwrap().extend(wrong.clone()),
            None => details = wrong,
        }
        let body = json!({ "url": "http://127.0.0.1:9/", "webhooks": [details] });
        let answer = desk.ask(&Method::POST, &of("webhook"), &body).await.ok();
        assert!(answer["webhookRegistrationResult"][0]["errors"].is_array(), "{details}: {answer}");
    }
    for (method, path, body) in [
        (Method::POST, "webhook", json!({ "url": 7, "webhooks": [webhook] })),
        (Method::POST, "webhook", json!({ "url": "http://127.0.0.1:9/", "webhooks": webhook })),
        (Method::DELETE, "webhook", json!({ "webhookIds": ["one"] })),
        (Method::DELETE, "webhook", json!({ "webhookIds": 1 })),
        (Method::PUT, "webhook/refresh", json!({ "webhookIds": [true] })),
        (Method::PUT, "webhook/refresh", json!({})),
    ] {
        let answer = desk.ask(&method, &of(path), &body).await;
        assert!(desk.refused(&answer), "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(desk.seen().await[0]["total"], 0);
}

#[tokio::test]
async fn pitfall_34_slack_refuses_what_is_wrong() {
    let site = Site::start().await;
    let slack = site.emulator.slack();
    let general = slack.add_channel("general").unwrap();
    let token = slack.add_bot_token("helper");
    let ann = slack.add_user("ann");
    let ts = slack.add_message("general", Some("helper"), "Hello").unwrap();
    let shown = [format!("/conversations.history?channel={general}"), "/conversations.list".to_owned()];
    let desk = Desk {
        site: &site,
        vendor: Vendor::Slack,
        base: site.emulator.slack_url(),
        authorization: format!("Bearer {token}"),
        shown: &shown,
    };
    let good = |method: &str, body, required| Good(Method::POST, format!("/{method}"), body, required);
    let blocks = json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "Hello" } }]);
    let post = json!({ "channel": general, "text": "Yes", "thread_ts": ts, "blocks": blocks });
    let change = json!({ "channel": general, "ts": ts, "text": "Hello all", "blocks": blocks });
    let reaction = json!({ "channel": general, "timestamp": ts, "name": "eyes" });
    let required: &[&str] = &["/channel", "/timestamp", "/name"];
    none(
        desk.taken(vec![
            good("chat.postMessage", post, &["/channel"]),
            good("chat.update", change, &["/channel", "/ts"]),
            good("reactions.add", reaction.clone(), required),
            good("reactions.remove", reaction, required),
            good("conversations.create", json!({ "name": "incident", "is_private": true }), &["/name"]),
            good(
                "conversations.invite",
                json!({ "channel": general, "users": ann }),
                &["/channel", "/users"],
            ),
            good("chat.delete", json!({ "channel": general, "ts": ts }), &["/channel", "/ts"]),
        ])
        .await,
    );
    none(
        desk.taken_unknown(&[
            (Method::POST, "/nothing"),
            (Method::POST, "/chat.nothing"),
            (Method::POST, "/conversations.nothing"),
            (Method::GET, "/conversations.history"),
            (Method::GET, "/users.info"),
        ])
        .await,
    );
    for wrong in ["limit=many", "cursor=nothing", "oldest=yesterday"] {
        let path = format!("/conversations.history?channel={general}&{wrong}");
        let answer = desk.ask(&Method::GET, &path, &Value::Null).await;
        assert!(desk.refused(&answer), "{wrong}: {answer:?}");
    }
}
