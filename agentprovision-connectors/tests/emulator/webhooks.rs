//! Webhooks that the emulated vendors send.

use std::collections::BTreeSet;
use std::time::Duration;

use agentprovision_connectors::emulator::{OAuthClient, Rule, Vendor, WebhookFault};
use agentprovision_core::ErrorKind;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::receiver::{Message, Receiver};
use crate::support::{Site, within};

fn signature(secret: &str, signed: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed);
    hex::encode(mac.finalize().into_bytes())
}

impl Site {
    async fn settled(&self) {
        within(self.emulator.webhooks_settled()).await;
    }

    /// Moves the clock on once somebody waits for it, and lets happen what is due then.
    async fn later(&self, by: u64) {
        within(async {
            while self.clock.waiters() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.clock.advance(Duration::from_secs(by));
        self.settled().await;
    }
}

fn names(messages: &[Message], header: &str) -> Vec<String> {
    messages.iter().map(|message| message.header(header).unwrap_or("-").to_owned()).collect()
}

async fn github() -> (Site, Receiver) {
    let (site, receiver) = (Site::start().await, Receiver::start().await);
    site.emulator.github().add_token("octocat");
    site.emulator.github().add_repository("acme/app").unwrap();
    site.emulator.github().add_webhook("acme/app", &receiver.url, "secret", &["*"]).unwrap();
    site.settled().await;
    (site, receiver)
}

#[tokio::test]
async fn github_tells_of_what_happens_signed_and_in_order() {
    let (site, receiver) = github().await;
    let github = site.emulator.github();
    let number = github.add_issue("acme/app", json!({ "title": "é \u{1F600}", "labels": ["bug"] })).unwrap();
    github.edit_issue("acme/app", number, json!({ "labels": ["bug", "fresh"], "state": "closed" })).unwrap();
    github.add_comment("acme/app", number, "Hello").unwrap();
    github.add_file("acme/app", "topic", "a.txt", "a").unwrap();
    let pull = github.add_pull("acme/app", "Topic", "topic", "main").unwrap();
    github.add_file("acme/app", "topic", "b.txt", "b").unwrap();
    github.act(None, Method::PUT, &format!("/repos/acme/app/pulls/{pull}/merge"), json!({})).unwrap();
    site.settled().await;
    let messages = receiver.messages();
    let said: Vec<String> = messages
        .iter()
        .map(|message| {
            let action =
                message.json()["action"].as_str().map(|action| format!(".{action}")).unwrap_or_default();
            format!("{}{action}", message.header("x-github-event").unwrap())
        })
        .collect();
    assert_eq!(
        said.join(" "),
        "ping issues.opened issues.labeled issues.closed issue_comment.created push pull_request.opened push \
         pull_request.synchronize push pull_request.closed"
    );
    for message in &messages {
        let expected = format!("sha256={}", signature("secret", &message.body));
        assert_eq!(
            message.header("x-hub-signature-256"),
            Some(expected.as_str()),
            "over the bytes as they came"
        );
        assert!(message.header("user-agent").unwrap().starts_with("GitHub-Hookshot/"));
        assert_eq!(message.json()["repository"]["full_name"], "acme/app");
    }
    let ids: BTreeSet<_> = names(&messages, "x-github-delivery").into_iter().collect();
    assert_eq!(ids.len(), messages.len());
    assert!(String::from_utf8_lossy(&messages[1].body).contains('\u{1F600}'));
}

#[tokio::test]
async fn github_delivers_once_and_again_when_asked_with_the_same_id() {
    let (site, receiver) = github().await;
    receiver.clear();
    receiver.answer(&[500]);
    site.emulator.github().add_issue("acme/app", json!({ "title": "x" })).unwrap();
    site.settled().await;
    site.clock.advance(Duration::from_secs(86_400));
    site.settled().await;
    assert_eq!(receiver.messages().len(), 1, "github does not try again by itself");
    let failed = site.emulator.deliveries().pop().unwrap();
    assert!(!failed.delivered());
    assert_eq!((failed.attempts[0].status, failed.attempts[0].answer.as_str()), (Some(500), "received"));
    let hooks = site.emulator.github().act(None, Method::GET, "/repos/acme/app/hooks", Value::Null).unwrap();
    let path = format!("/repos/acme/app/hooks/{}/deliveries", hooks[0]["id"]);
    let listed = site.emulator.github().act(None, Method::GET, &path, Value::Null).unwrap();
    assert_eq!((&listed[0]["status_code"], &listed[0]["guid"]), (&json!(500), &json!(failed.id)));
    let again = format!("{path}/{}/attempts", listed[0]["id"]);
    site.emulator.github().act(None, Method::POST, &again, Value::Null).unwrap();
    site.settled().await;
    assert_eq!(names(&receiver.messages(), "x-github-delivery"), [failed.id.clone(), failed.id.clone()]);
    assert!(site.emulator.deliveries().pop().unwrap().delivered());
    assert_eq!(site.emulator.redeliver("none").unwrap_err().kind(), ErrorKind::NotFound);
}

async fn slack() -> (Site, Receiver) {
    let (site, receiver) = (Site::start().await, Receiver::start().await);
    site.emulator.slack().add_channel("general").unwrap();
    site.emulator.slack().add_bot_token("helper");
    site.emulator.slack().subscribe(&receiver.url, "signing secret");
    site.settled().await;
    (site, receiver)
}

#[tokio::test]
async fn slack_signs_with_the_time_and_asks_for_a_challenge_first() {
    let (site, receiver) = slack().await;
    let ts = site.emulator.slack().add_message("general", Some("helper"), "Hello").unwrap();
    site.settled().await;
    let messages = receiver.messages();
    assert_eq!(messages[0].json()["type"], "url_verification");
    let event = messages[1].json();
    assert_eq!((&event["type"], &event["event"]["ts"]), (&json!("event_callback"), &json!(ts)));
    for message in messages {
        let at = message.header("x-slack-request-timestamp").unwrap().to_owned();
        assert_eq!(at, "1700000000");
        let signed = [format!("v0:{at}:").as_bytes(), &message.body].concat();
        let expected = format!("v0={}", signature("signing secret", &signed));
        assert_eq!(message.header("x-slack-signature"), Some(expected.as_str()));
        assert_eq!(message.header("x-slack-retry-num"), None);
    }
}

#[tokio::test]
async fn pitfall_13_slack_tries_again_at_once_after_a_minute_and_after_five() {
    let (site, receiver) = slack().await;
    receiver.clear();
    receiver.answer(&[500, 500, 500]);
    site.emulator.slack().add_message("general", Some("helper"), "Hello").unwrap();
    site.settled().await;
    assert_eq!(names(&receiver.messages(), "x-slack-retry-num"), ["-", "1"]);
    site.later(59).await;
    assert_eq!(receiver.messages().len(), 2);
    site.later(1).await;
    assert_eq!(receiver.messages().len(), 3);
    site.later(300).await;
    let messages = receiver.messages();
    assert_eq!(names(&messages, "x-slack-retry-num"), ["-", "1", "2", "3"]);
    assert_eq!(names(&messages, "x-slack-retry-reason"), ["-", "http_error", "http_error", "http_error"]);
    let ids: BTreeSet<String> =
        messages.iter().map(|message| message.json()["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(names(&messages, "x-slack-request-timestamp")[3], "1700000360", "signed anew");
    assert!(site.emulator.deliveries().pop().unwrap().delivered());
    // One that nobody acknowledges in time.
    receiver.clear();
    receiver.fall_silent(true);
    site.emulator.slack().add_message("general", Some("helper"), "Hello?").unwrap();
    within(async {
        while receiver.messages().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    receiver.fall_silent(false);
    site.later(3).await;
    assert_eq!(names(&receiver.messages(), "x-slack-retry-reason"), ["-", "http_timeout"]);
}

#[tokio::test]
async fn webhooks_go_wrong_as_the_plan_says() {
    let (site, receiver) = slack().await;
    let slack = site.emulator.slack();
    let said = async |fault: WebhookFault| {
        receiver.clear();
        let rule = Rule::webhook(fault).vendor(Vendor::Slack).event("message").next(1);
        site.emulator.faults().add(rule);
        slack.add_message("general", Some("helper"), "one").unwrap();
        slack.add_message("general", Some("helper"), "two").unwrap();
        site.settled().await;
        let messages = receiver.messages();
        let texts: Vec<String> = messages
            .iter()
            .map(|message| message.json()["event"]["text"].as_str().unwrap().to_owned())
            .collect();
        (texts.join(" "), messages)
    };
    let (texts, messages) = said(WebhookFault::Duplicate).await;
    assert_eq!(texts, "one one two");
    assert_eq!(messages[0].json()["event_id"], messages[1].json()["event_id"]);
    assert_eq!(said(WebhookFault::AfterNext).await.0, "two one");
    let (texts, messages) = said(WebhookFault::DropFirst).await;
    assert_eq!(texts, "two one", "the retry comes after what is due");
    assert_eq!(messages[1].header("x-slack-retry-num"), Some("1"));
    assert_eq!(messages[1].header("x-slack-retry-reason"), Some("connection_failed"));
    assert_eq!(said(WebhookFault::Late(Duration::from_secs(100))).await.0, "two");
    site.later(100).await;
    assert_eq!(receiver.messages().len(), 2);
    let (_, messages) = said(WebhookFault::Skew(-301)).await;
    let at: i64 = messages[0].header("x-slack-request-timestamp").unwrap().parse().unwrap();
    assert_eq!(at, 1_700_000_100 - 301);
    let signed = [format!("v0:{at}:").as_bytes(), &messages[0].body].concat();
    let right = format!("v0={}", signature("signing secret", &signed));
    assert_eq!(messages[0].header("x-slack-signature"), Some(right.as_str()), "old, and rightly signed");
    let (_, messages) = said(WebhookFault::WrongSignature).await;
    let signed = [b"v0:1700000100:".as_slice(), &messages[0].body].concat();
    assert_ne!(
        messages[0].header("x-slack-signature"),
        Some(format!("v0={}", signature("signing secret", &signed)).as_str())
    );
    assert_eq!(said(WebhookFault::DropAll).await.0, "two");
    for wait in [60, 300] {
        site.later(wait).await;
    }
    assert_eq!(receiver.messages().len(), 1);
    let dropped = site.emulator.deliveries();
    let dropped = dropped.iter().find(|delivery| delivery.attempts.len() == 4).unwrap();
    assert!(dropped.attempts.iter().all(|attempt| attempt.failure.as_deref() == Some("dropped")));
}

#[tokio::test]
async fn jira_signs_identifies_and_tries_again() {
    let (site, receiver) = (Site::start().await, Receiver::start().await);
    let jira = site.emulator.jira();
    jira.add_project("OPS", "Operations").unwrap();
    jira.add_project("WEB", "Web").unwrap();
    let events = [
        "jira:issue_created",
        "jira:issue_updated",
        "jira:issue_deleted",
        "comment_created",
        "comment_deleted",
    ];
    jira.add_webhook(&receiver.url, "secret", &events, Some("project = OPS")).unwrap();
    assert_eq!(
        jira.add_webhook("x", "s", &[], Some("colour = red")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    receiver.answer(&[503]);
    jira.add_issue("WEB", "None of theirs", Value::Null).unwrap();
    let key = jira.add_issue("OPS", "Broken", Value::Null).unwrap();
    jira.edit_issue(&key, json!({ "summary": "Mended" })).unwrap();
    jira.add_comment(&key, "Yes").unwrap();
    site.settled().await;
    let messages = receiver.messages();
    let said: Vec<_> =
        messages.iter().map(|message| message.json()["webhookEvent"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["jira:issue_created", "jira:issue_updated", "comment_created"]);
    assert_eq!(messages[1].json()["changelog"]["items"][0]["toString"], "Mended");
    for message in &messages {
        let expected = format!("sha256={}", signature("secret", &message.body));
        assert_eq!(message.header("x-hub-signature"), Some(expected.as_str()));
    }
    site.later(300).await;
    let messages = receiver.messages();
    assert_eq!(messages.len(), 4);
    let ids = names(&messages, "x-atlassian-webhook-identifier");
    assert_eq!(ids[0], ids[3]);
    assert_eq!(names(&messages, "x-atlassian-webhook-retry"), ["-", "-", "-", "1"]);
    assert_eq!(messages[0].body, messages[3].body);
    receiver.clear();
    jira.act(None, Method::DELETE, &format!("/rest/api/3/issue/{key}"), Value::Null).unwrap();
    site.settled().await;
    let messages = receiver.messages();
    let said: Vec<_> =
        messages.iter().map(|message| message.json()["webhookEvent"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["jira:issue_deleted", "comment_deleted"]);
    assert_eq!(names(&messages, "x-atlassian-webhook-flow"), ["Primary", "Secondary"]);
}

#[tokio::test]
async fn pitfall_33_webhooks_of_apps_expire_unless_they_are_refreshed() {
    let (site, receiver) = (Site::start().await, Receiver::start().await);
    let jira = site.emulator.jira();
    jira.add_project("OPS", "Operations").unwrap();
    let client = OAuthClient::new("app", "secret").access_lifetime(Duration::from_secs(90 * 86_400));
    site.emulator.oauth(Vendor::Jira).add_client(client);
    let token = site.emulator.oauth(Vendor::Jira).grant("app", "ada@example.com").unwrap().access_token;
    let url = format!("{}/rest/api/3/webhook", site.emulator.jira_url());
    let hooks = json!({ "jqlFilter": "project = OPS", "events": ["jira:issue_created"] });
    let body = json!({ "url": receiver.url, "webhooks": [hooks, hooks] });
    let made = site.bearer(Method::POST, &url, &token, body).await.ok();
    let id = |at: usize| made["webhookRegistrationResult"][at]["createdWebhookId"].clone();
    let listed = async || {
        let page = site.bearer(Method::GET, &url, &token, Value::Null).await.ok();
        page["values"].as_array().unwrap().iter().map(|hook| hook["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [id(0), id(1)]);
    site.clock.advance(Duration::from_secs(29 * 86_400));
    let refresh = site
        .bearer(Method::PUT, &format!("{url}/refresh"), &token, json!({ "webhookIds": [id(1)] }))
        .await
        .ok();
    assert_eq!(refresh["expirationDate"], (1_700_000_000_u64 + 59 * 86_400) * 1000);
    jira.add_issue("OPS", "One", Value::Null).unwrap();
    site.settled().await;
    assert_eq!(
        receiver.messages()[0].json()["matchedWebhookIds"],
        json!([id(0), id(1)]),
        "one message for both"
    );
    site.clock.advance(Duration::from_secs(86_400));
    assert_eq!(listed().await, [id(1)]);
    site.clock.advance(Duration::from_secs(29 * 86_400));
    assert!(listed().await.is_empty());
    jira.add_issue("OPS", "Two", Value::Null).unwrap();
    site.settled().await;
    assert_eq!(receiver.messages().len(), 1);
    // People with API tokens register none.
    let basic = crate::support::basic("ada@example.com", &jira.add_token("ada@example.com"));
    assert_eq!(site.send(Method::GET, &url, &[("authorization", &basic)], "").await.status, 403);
}

/// What the vendors send is what this crate lets in and reads.
#[cfg(feature = "webhooks")]
#[tokio::test]
async fn what_is_sent_is_verified_and_read() {
    use agentprovision_connectors::webhook::{Secrets, Vendor as Sender, Verifier, WebhookEvent};

    let (site, receiver) = github().await;
    let github = site.emulator.github();
    let number = github.add_issue("acme/app", json!({ "title": "x", "labels": ["bug"] })).unwrap();
    github.add_comment("acme/app", number, "y").unwrap();
    let sha = github.add_file("acme/app", "topic", "a.txt", "a").unwrap();
    github.add_pull("acme/app", "Topic", "topic", "main").unwrap();
    let run = github.add_run("acme/app", "main", "completed", Some("failure"), "").unwrap();
    github.add_token("hubot");
    for (path, body) in [
        (format!("actions/runs/{run}/rerun"), Value::Null),
        ("pulls/2/reviews".to_owned(), json!({ "event": "APPROVE" })),
        ("check-runs".to_owned(), json!({ "name": "lint", "head_sha": sha, "conclusion": "success" })),
        (format!("statuses/{sha}"), json!({ "state": "success" })),
        ("releases".to_owned(), json!({ "tag_name": "v1" })),
    ] {
        github.act(Some("hubot"), Method::POST, &format!("/repos/acme/app/{path}"), body).unwrap();
    }
    let jira = site.emulator.jira();
    jira.add_project("OPS", "Operations").unwrap();
    jira.add_webhook(
        &receiver.url,
        "secret",
        &["jira:issue_created", "jira:issue_updated", "comment_created"],
        None,
    )
    .unwrap();
    let key = jira.add_issue("OPS", "Broken", Value::Null).unwrap();
    jira.edit_issue(&key, json!({ "summary": "Mended" })).unwrap();
    jira.add_comment(&key, "Yes").unwrap();
    let slack = site.emulator.slack();
    slack.add_channel("general").unwrap();
    slack.subscribe(&receiver.url, "secret");
    let ts = slack.add_message("general", None, "Hello").unwrap();
    for (method, arguments) in [
        ("reactions.add", json!({ "channel": "general", "timestamp": ts, "name": "eyes" })),
        ("chat.update", json!({ "channel": "general", "ts": ts, "text": "Hello there" })),
        ("chat.delete", json!({ "channel": "general", "ts": ts })),
        ("conversations.create", json!({ "name": "incident" })),
    ] {
        slack.act(None, method, arguments).unwrap();
    }
    site.settled().await;
    let now = agentprovision_core::Timestamp::from_micros(1_700_000_000_000_000);
    let secrets = || Secrets::new("secret".to_owned());
    let mut read = std::collections::BTreeMap::new();
    for message in receiver.messages() {
        let (sender, verifier) = match message.header("user-agent").unwrap().chars().next() {
            Some('G') => (Sender::Github, Verifier::github(secrets())),
            Some('A') => (Sender::Jira, Verifier::jira(secrets())),
            _ => (Sender::Slack, Verifier::slack(secrets())),
        };
        verifier.unwrap().verify(now, &message.headers, &message.body).unwrap();
        let event = WebhookEvent::read(sender, &message.headers, message.body.clone()).unwrap();
        assert!(event.body.is_typed(), "{event:?}");
        *read.entry(sender.as_str()).or_insert(0) += 1;
    }
    assert_eq!(read, [("github", 12), ("jira", 3), ("slack", 6)].into());
}
