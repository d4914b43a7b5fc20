//! The fault plan.

use std::collections::BTreeSet;
use std::time::Duration;

use agentprovision_connectors::emulator::{Fault, Gate, RetryAfter, Rule, Vendor};
use agentprovision_core::Env;
use futures_util::StreamExt;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Site, basic, next_link, within};

struct Asked {
    site: Site,
    token: String,
}

async fn asked() -> Asked {
    let site = Site::start().await;
    let token = site.emulator.github().add_token("octocat");
    site.emulator.github().add_repository("acme/app").unwrap();
    Asked { site, token }
}

impl Asked {
    fn plan(&self, fault: Fault) {
        self.site.emulator.faults().add(Rule::new(fault).vendor(Vendor::Github).next(1));
    }

    async fn user(&self) -> Answer {
        let url = format!("{}/user", self.site.emulator.github_url());
        self.site.bearer(Method::GET, &url, &self.token, Value::Null).await
    }
}

#[tokio::test]
async fn pitfall_11_a_limit_says_when_to_come_back_in_every_form() {
    let to = asked().await;
    for (after, header) in [
        (RetryAfter::None, None),
        (RetryAfter::Seconds(30), Some("30")),
        (RetryAfter::Seconds(0), Some("0")),
        (RetryAfter::Seconds(-5), Some("-5")),
        (RetryAfter::Seconds(999_999), Some("999999")),
        (RetryAfter::Date(Duration::from_secs(100)), Some("Tue, 14 Nov 2023 22:15:00 GMT")),
        (RetryAfter::Text("soon".to_owned()), Some("soon")),
    ] {
        to.plan(Fault::RateLimited(after));
        let answer = to.user().await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, header));
    }
    assert_eq!(to.user().await.status, 200, "the plan is over");
}

#[tokio::test]
async fn pitfall_10_githubs_limits_are_403_and_429() {
    let to = asked().await;
    for (status, after) in [(403, RetryAfter::Seconds(60)), (403, RetryAfter::None), (429, RetryAfter::None)]
    {
        to.plan(Fault::SecondaryLimit { status, retry_after: after });
        let answer = to.user().await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["message"].as_str().unwrap().contains("secondary rate limit"));
    }
    to.plan(Fault::PrimaryLimit { reset: Duration::from_secs(90) });
    let answer = to.user().await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (403, Some("0")));
    assert_eq!(answer.header("x-ratelimit-reset"), Some("1700000090"));
}

#[tokio::test]
async fn limits_of_the_others_have_their_forms() {
    let site = Site::start().await;
    site.emulator.faults().add(Rule::new(Fault::RateLimited(RetryAfter::Seconds(1))));
    let jira =
        site.send(Method::GET, &format!("{}/rest/api/3/myself", site.emulator.jira_url()), &[], "").await;
    assert!(jira.status == 429 && jira.json()["errorMessages"].is_array());
    let slack = site.send(Method::GET, &format!("{}/auth.test", site.emulator.slack_url()), &[], "").await;
    assert_eq!((slack.status, &slack.json()["error"]), (429, &json!("ratelimited")));
}

#[tokio::test]
async fn what_is_refused_is_not_carried_out_and_what_is_cut_off_is() {
    let to = asked().await;
    let url = format!("{}/repos/acme/app/issues", to.site.emulator.github_url());
    let authorization = format!("Bearer {}", to.token);
    let issues = || to.site.emulator.github().issues("acme/app").unwrap().len();
    let headers = [("authorization", authorization.as_str())];
    for (fault, arrives) in [
        (Fault::Status(500), true),
        (Fault::Status(502), true),
        (Fault::Status(503), true),
        (Fault::Close, false),
    ] {
        to.plan(fault);
        let answer = within(to.site.try_send(Method::POST, &url, &headers, r#"{"title":"x"}"#)).await;
        assert_eq!((answer.is_ok_and(|answer| answer.status >= 500), issues()), (arrives, 0));
    }
    to.plan(Fault::CloseMidBody);
    let cut = within(to.site.try_send(Method::POST, &url, &headers, r#"{"title":"x"}"#)).await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(issues(), 1);
    let seen = to.site.emulator.requests();
    assert_eq!(
        seen.iter().map(|seen| seen.status).collect::<Vec<_>>(),
        [Some(500), Some(502), Some(503), None, Some(201)]
    );
}

#[tokio::test]
async fn the_head_of_a_cut_off_answer_arrives() {
    let to = asked().await;
    to.plan(Fault::CloseMidBody);
    let response = to.site.open(&format!("{}/user", to.site.emulator.github_url()), &to.token).await;
    assert_eq!(response.status(), 200);
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = response.into_body();
    let mut read = 0;
    let end = within(async {
        loop {
            match body.next().await {
                Some(Ok(piece)) => read += piece.len(),
                other => break other,
            }
        }
    })
    .await;
    assert!(matches!(end, Some(Err(_))), "it is no end");
    assert!(read < length, "{read} of {length}");
}

#[tokio::test]
async fn answers_that_are_none() {
    let to = asked().await;
    to.plan(Fault::BreakSchema);
    let broken = to.user().await.json();
    assert!(broken["login"].is_null() && broken["followers"].is_string() && broken["site_admin"].is_number());
    to.plan(Fault::WrongBody);
    let wrong = to.user().await;
    assert!(wrong.header("content-type").unwrap().starts_with("application/json"));
    assert!(wrong.body.starts_with(b"<!DOCTYPE html>"));
    let answer = Fault::Answer { status: 418, content_type: "text/plain".to_owned(), body: "tea".to_owned() };
    to.plan(answer);
    assert_eq!(to.user().await.status, 418);
    to.plan(Fault::EndlessBody);
    let response = to.site.open(&format!("{}/user", to.site.emulator.github_url()), &to.token).await;
    let mut body = response.into_body();
    let mut read = 0;
    while read < 8 << 20 {
        read += within(body.next()).await.unwrap().unwrap().len();
    }
    drop(body);
    assert_eq!(to.user().await.status, 200, "the emulator goes on");
}

#[tokio::test]
async fn a_slow_body_comes_by_the_clock() {
    let to = asked().await;
    to.plan(Fault::SlowBody(Duration::from_secs(10)));
    let response = to.site.open(&format!("{}/user", to.site.emulator.github_url()), &to.token).await;
    let mut body = response.into_body();
    let real = Env::default();
    assert!(real.timeout(Duration::from_millis(50), body.next()).await.is_none(), "not before it is time");
    for _ in 0..3 {
        within(async {
            while to.site.clock.waiters() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        to.site.clock.advance(Duration::from_secs(10));
        assert_eq!(within(body.next()).await.unwrap().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_request_is_held_before_it_is_carried_out() {
    let to = asked().await;
    let gate = Gate::new();
    to.site.emulator.faults().add(Rule::new(Fault::Hold(gate.clone())).method("POST").path("/repos"));
    let url = format!("{}/repos/acme/app/issues", to.site.emulator.github_url());
    let post = || to.site.bearer(Method::POST, &url, &to.token, json!({ "title": "x" }));
    let issues = || to.site.emulator.github().issues("acme/app").unwrap().len();
    let meanwhile = async {
        gate.arrived(2).await;
        assert_eq!(issues(), 0);
        assert_eq!(to.user().await.status, 200, "nobody else is held up");
        gate.release();
    };
    let (one, two, ()) = within(async { tokio::join!(post(), post(), meanwhile) }).await;
    assert_eq!((one.status, two.status, issues()), (201, 201, 2));
}

#[tokio::test]
async fn pitfall_07_rows_move_between_pages() {
    let to = asked().await;
    let github = to.site.emulator.github();
    for number in 0..6 {
        to.site.clock.advance(Duration::from_secs(60));
        github.add_issue("acme/app", json!({ "title": format!("{number}") })).unwrap();
    }
    let clock = to.site.clock.clone();
    let edit = Fault::change(move |emulator| {
        clock.advance(Duration::from_secs(60));
        // The last of the list becomes its first.
        emulator.github().edit_issue("acme/app", 1, json!({ "title": "edited" })).unwrap();
    });
    to.site.emulator.faults().add(Rule::new(edit).path("/repos/acme/app/issues").nth(1));
    let mut url = format!("{}/repos/acme/app/issues?sort=updated&per_page=2", to.site.emulator.github_url());
    let mut numbers = Vec::new();
    loop {
        let answer = to.site.bearer(Method::GET, &url, &to.token, Value::Null).await;
        let next = next_link(&answer);
        numbers.extend(answer.ok().as_array().unwrap().iter().map(|issue| issue["number"].as_u64().unwrap()));
        match next {
            Some(next) => url = next,
            None => break,
        }
    }
    assert_eq!(numbers, [6, 5, 5, 4, 3, 2], "one came twice, and one not at all");
}

#[tokio::test]
async fn pitfall_09_pages_that_never_end() {
    let site = Site::start().await;
    let (github, jira, slack) = (site.emulator.github(), site.emulator.jira(), site.emulator.slack());
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    let ada = basic("ada@example.com", &jira.add_token("ada@example.com"));
    jira.add_project("OPS", "Operations").unwrap();
    let channel = slack.add_channel("general").unwrap();
    let bot = slack.add_bot_token("helper");
    for number in 0..6 {
        github.add_issue("acme/app", json!({ "title": format!("{number}") })).unwrap();
        jira.add_issue("OPS", "x", Value::Null).unwrap();
        slack.add_message("general", Some("helper"), "x").unwrap();
    }
    // The items of pages, and what leads on from each.
    let walk = async |pages: usize| {
        let mut found: Vec<(usize, Option<String>)> = Vec::new();
        let mut url = format!("{}/repos/acme/app/issues?per_page=2", site.emulator.github_url());
        for _ in 0..pages {
            let answer = site.bearer(Method::GET, &url, &token, Value::Null).await;
            let next = next_link(&answer);
            found.push((answer.ok().as_array().unwrap().len(), next.clone()));
            url = next.unwrap();
        }
        let mut cursor = Value::Null;
        for _ in 0..pages {
            let body =
                json!({ "jql": "project = OPS", "maxResults": 2, "nextPageToken": cursor }).to_string();
            let url = format!("{}/rest/api/3/search/jql", site.emulator.jira_url());
            let page = site.send(Method::POST, &url, &[("authorization", &ada)], body).await.ok();
            assert_eq!(page["isLast"], false);
            cursor = page["nextPageToken"].clone();
            found.push((page["issues"].as_array().unwrap().len(), cursor.as_str().map(str::to_owned)));
        }
        let mut cursor = String::new();
        for _ in 0..pages {
            let url = format!(
                "{}/conversations.history?channel={channel}&limit=2&cursor={cursor}",
                site.emulator.slack_url()
            );
            let page = site.bearer(Method::GET, &url, &bot, Value::Null).await.ok();
            assert_eq!(page["has_more"], true);
            cursor = page["response_metadata"]["next_cursor"].as_str().unwrap().to_owned();
            found.push((page["messages"].as_array().unwrap().len(), Some(cursor.clone())));
        }
        found
    };
    let faults = site.emulator.faults();
    let rule = faults.add(Rule::new(Fault::SameCursor));
    let found = walk(5).await;
    for vendor in found.chunks(5) {
        let cursors: BTreeSet<_> = vendor.iter().map(|(_, cursor)| cursor).collect();
        assert_eq!(cursors.len(), 1, "one cursor for ever: {vendor:?}");
        assert!(vendor.iter().all(|(items, _)| *items == 2));
    }
    assert_eq!(faults.hits(rule), 15);
    faults.remove(rule);
    faults.add(Rule::new(Fault::EmptyPage));
    let found = walk(5).await;
    for vendor in found.chunks(5) {
        let cursors: BTreeSet<_> = vendor.iter().map(|(_, cursor)| cursor).collect();
        assert_eq!(cursors.len(), 5, "always another cursor: {vendor:?}");
        assert!(vendor.iter().all(|(items, _)| *items == 0));
    }
    faults.clear();
    // Rows are still there behind an empty page.
    faults.add(Rule::new(Fault::EmptyPage).vendor(Vendor::Slack).next(1));
    let found = walk(2).await;
    assert_eq!(found[4..].iter().map(|(items, _)| *items).collect::<Vec<_>>(), [0, 2]);
}

#[tokio::test]
async fn a_closed_emulator_is_gone_with_its_connections() {
    let to = asked().await;
    let gate = Gate::new();
    to.plan(Fault::Hold(gate.clone()));
    let url = to.site.emulator.github_url();
    let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let request = b"GET /user HTTP/1.1\r\nhost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    within(gate.arrived(1)).await;
    to.site.emulator.close();
    let mut rest = Vec::new();
    // Closed, by an end or a reset, with a request under way.
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await;
    assert!(rest.is_empty());
    let refused = within(tokio::net::TcpStream::connect(url.trim_start_matches("http://"))).await;
    assert!(refused.is_err());
}
