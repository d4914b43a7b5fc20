//! GitHub.

use std::collections::BTreeSet;
use std::time::Duration;

use agentprovision_core::ErrorKind;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, basic, next_link};

#[tokio::test]
async fn who_asks_is_proved_in_githubs_form() {
    let site = Site::start().await;
    let token = site.emulator.github().add_token("octocat");
    let url = format!("{}/user", site.emulator.github_url());
    assert_eq!(site.bearer(Method::GET, &url, &token, Value::Null).await.ok()["login"], "octocat");
    let as_basic = site.send(Method::GET, &url, &[("authorization", &basic("anybody", &token))], "").await;
    assert_eq!(as_basic.ok()["login"], "octocat");
    for (headers, words) in [
        (vec![], "Requires authentication"),
        (vec![("authorization", "Bearer wrong")], "Bad credentials"),
        (vec![("authorization", "token wrong")], "Bad credentials"),
    ] {
        let answer = site.send(Method::GET, &url, &headers, "").await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (401, Some(words)));
    }
    let log = site.emulator.requests();
    let seen: Vec<_> = log
        .iter()
        .map(|seen| (seen.method.as_str(), seen.path.as_str(), seen.who.as_deref(), seen.status))
        .collect();
    assert_eq!(seen[0], ("GET", "/user", Some("octocat"), Some(200)));
    assert_eq!(seen[3], ("GET", "/user", None, Some(401)));
}

#[tokio::test]
async fn two_runs_of_one_seed_are_the_same() {
    let run = async || {
        let site = Site::start().await;
        let github = site.emulator.github();
        let token = github.add_token("octocat");
        github.add_repository("acme/app").unwrap();
        github.add_file("acme/app", "topic", "a.txt", "a\n").unwrap();
        github.add_issue("acme/app", json!({ "title": "One" })).unwrap();
        github.add_pull("acme/app", "Two", "topic", "main").unwrap();
        let base = site.emulator.github_url();
        let pulls =
            site.bearer(Method::GET, &format!("{base}/repos/acme/app/pulls/2"), &token, Value::Null).await;
        (token, String::from_utf8(pulls.body.to_vec()).unwrap().replace(&base, ""))
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test]
async fn issues_are_filtered_sorted_and_cut_into_pages() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    for number in 0..7 {
        site.clock.advance(Duration::from_secs(60));
        let labels = if number % 2 == 0 { json!(["bug"]) } else { json!([]) };
        github
            .add_issue("acme/app", json!({ "title": format!("Issue {number}"), "labels": labels }))
            .unwrap();
    }
    site.clock.advance(Duration::from_secs(60));
    github.edit_issue("acme/app", 2, json!({ "state": "closed" })).unwrap();
    let base = format!("{}/repos/acme/app/issues", site.emulator.github_url());
    let list = async |query: &str| {
        let mut url = format!("{base}?{query}");
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let answer = site.bearer(Method::GET, &url, &token, Value::Null).await;
            let next = next_link(&answer);
            let numbers = answer.ok();
            found.extend(numbers.as_array().unwrap().iter().map(|issue| issue["number"].as_u64().unwrap()));
            pages += 1;
            match next {
                Some(next) => url = next,
                None => return (found, pages),
            }
        }
    };
    assert_eq!(list("").await, (vec![7, 6, 5, 4, 3, 1], 1));
    assert_eq!(list("state=all&per_page=3&sort=created&direction=asc").await, ((1..=7).collect(), 3));
    assert_eq!(list("state=all&sort=updated&per_page=2").await, (vec![2, 7, 6, 5, 4, 3, 1], 4));
    assert_eq!(list("labels=bug&state=all&per_page=100").await, (vec![7, 5, 3, 1], 1));
    assert_eq!(list("state=closed").await.0, [2]);
    // 1700000000 + 5 minutes: the fifth issue, and the one that was closed later.
    assert_eq!(list("state=all&since=2023-11-14T22:18:20Z&direction=asc").await.0, [2, 5, 6, 7]);
    let found = site
        .bearer(
            Method::GET,
            &format!(
                "{}/search/issues?q=is:issue+label:bug+repo:acme/app&per_page=2",
                site.emulator.github_url()
            ),
            &token,
            Value::Null,
        )
        .await;
    assert!(next_link(&found).is_some());
    assert_eq!(found.ok()["total_count"], 4);
}

#[tokio::test]
async fn what_breaks_githubs_rules_is_refused_in_its_form() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    github.add_private_repository("acme/secret", &["hubot"]).unwrap();
    let base = site.emulator.github_url();
    let post = async |path: &str, body: Value| {
        let answer = site.bearer(Method::POST, &format!("{base}{path}"), &token, body).await;
        (answer.status, answer.json())
    };
    let issues = "/repos/acme/app/issues";
    let (status, body) = post(issues, json!({})).await;
    assert_eq!((status, &body["errors"][0]["field"]), (422, &json!("title")));
    for wrong in [
        json!({ "title": 5 }),
        json!({ "title": "a", "labels": "bug" }),
        json!({ "title": "a", "assignees": ["nobody"] }),
    ] {
        assert_eq!(post(issues, wrong).await.0, 422);
    }
    assert_eq!(post(issues, json!("text")).await.0, 400);
    assert_eq!(
        post("/repos/acme/secret/issues", json!({ "title": "a" })).await.0,
        404,
        "what one may not see is not there"
    );
    assert_eq!(post("/repos/acme/none/issues", json!({ "title": "a" })).await.0, 404);
    assert_eq!(post("/nowhere", json!({})).await.0, 404);
    assert!(github.issues("acme/app").unwrap().is_empty());
    assert_eq!(github.issues("acme/none").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(github.add_repository("acme/app").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(github.add_repository("app").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(github.add_issue("acme/app", json!({})).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn files_change_only_from_what_they_are() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    let url = format!("{}/repos/acme/app/contents/docs/a%20b.txt", site.emulator.github_url());
    let put = async |body: Value| site.bearer(Method::PUT, &url, &token, body).await;
    let one = put(json!({ "message": "one", "content": "b25lCg==" })).await;
    assert_eq!(one.status, 201);
    let sha = one.json()["content"]["sha"].as_str().unwrap().to_owned();
    assert_eq!(put(json!({ "message": "two", "content": "dHdvCg==" })).await.status, 422, "no sha");
    assert_eq!(put(json!({ "message": "two", "content": "dHdvCg==", "sha": "0000" })).await.status, 409);
    assert_eq!(put(json!({ "message": "two", "content": "not base64!", "sha": sha })).await.status, 422);
    assert_eq!(put(json!({ "message": "two", "content": "dHdvCg==", "sha": sha })).await.status, 200);
    assert_eq!(github.file("acme/app", "main", "docs/a b.txt").unwrap(), b"two\n");
    assert_eq!(
        put(json!({ "message": "three", "content": "", "sha": sha })).await.status,
        409,
        "of the version before"
    );
    let read = site.bearer(Method::GET, &url, &token, Value::Null).await;
    let etag = read.header("etag").unwrap().to_owned();
    let sha = read.ok()["sha"].as_str().unwrap().to_owned();
    let authorization = format!("Bearer {token}");
    let again = site
        .send(Method::GET, &url, &[("authorization", &authorization), ("if-none-match", &etag)], "")
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let gone =
        site.bearer(Method::DELETE, &format!("{url}?message=gone&sha={sha}"), &token, Value::Null).await;
    assert_eq!(gone.ok()["content"], Value::Null);
    assert_eq!(github.file("acme/app", "main", "docs/a b.txt").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn pull_requests_are_merged_unless_both_sides_changed_a_file() {
    let site = Site::start().await;
    let github = site.emulator.github();
    github.add_token("octocat");
    let token = github.add_token("hubot");
    github.add_repository("acme/app").unwrap();
    github.add_file("acme/app", "main", "shared.txt", "one\ntwo\n").unwrap();
    for branch in ["first", "second"] {
        github.add_file("acme/app", branch, "shared.txt", format!("one\n{branch}\n")).unwrap();
    }
    let (one, two) = (
        github.add_pull("acme/app", "One", "first", "main").unwrap(),
        github.add_pull("acme/app", "Two", "second", "main").unwrap(),
    );
    let base = format!("{}/repos/acme/app/pulls", site.emulator.github_url());
    let files = site.bearer(Method::GET, &format!("{base}/{one}/files"), &token, Value::Null).await.ok();
    assert_eq!((files.as_array().unwrap().len(), &files[0]["status"]), (1, &json!("modified")));
    assert_eq!(files[0]["patch"], "@@ -2,1 +2,1 @@\n-two\n+first");
    let review = json!({ "event": "APPROVE", "body": "Fine" });
    assert_eq!(
        site.bearer(Method::POST, &format!("{base}/{one}/reviews"), &token, review).await.ok()["state"],
        "APPROVED"
    );
    let merge = async |number: u64, body: Value| {
        site.bearer(Method::PUT, &format!("{base}/{number}/merge"), &token, body).await
    };
    assert_eq!(merge(one, json!({ "sha": "0".repeat(40) })).await.status, 409);
    assert_eq!(merge(one, json!({})).await.ok()["merged"], true);
    assert_eq!(merge(one, json!({})).await.status, 405, "it is merged");
    assert_eq!(merge(two, json!({})).await.status, 405, "both changed the second line");
    assert_eq!(github.file("acme/app", "main", "shared.txt").unwrap(), b"one\nfirst\n");
    let pulls = github.pulls("acme/app").unwrap();
    assert_eq!((&pulls[0]["merged"], &pulls[0]["merged_by"]["login"]), (&json!(true), &json!("hubot")));
    assert_eq!((&pulls[1]["mergeable"], &pulls[1]["state"]), (&json!(false), &json!("open")));
}

#[tokio::test]
async fn runs_have_jobs_and_logs_and_run_again() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    let run = github.add_run("acme/app", "main", "completed", Some("failure"), "line 1\nboom\n").unwrap();
    let base = format!("{}/repos/acme/app/actions", site.emulator.github_url());
    let get =
        async |path: &str| site.bearer(Method::GET, &format!("{base}/{path}"), &token, Value::Null).await;
    assert_eq!(get("runs?status=failure").await.ok()["total_count"], 1);
    assert_eq!(get("runs?status=success").await.ok()["total_count"], 0);
    let job = get(&format!("runs/{run}/jobs")).await.ok()["jobs"][0]["id"].to_string();
    for (path, begins) in [(format!("jobs/{job}/logs"), "line 1"), (format!("runs/{run}/logs"), "PK")] {
        let to = get(&path).await;
        assert_eq!(to.status, 302);
        // Where it leads takes no token.
        let log = site.send(Method::GET, to.header("location").unwrap(), &[], "").await;
        assert!(log.status == 200 && log.body.starts_with(begins.as_bytes()), "{log:?}");
    }
    let rerun = async || {
        site.bearer(Method::POST, &format!("{base}/runs/{run}/rerun"), &token, Value::Null).await.status
    };
    assert_eq!((rerun().await, rerun().await), (201, 403));
    assert_eq!(get(&format!("runs/{run}")).await.ok()["run_attempt"], 2);
}

#[tokio::test]
async fn checks_statuses_and_releases_are_there_for_a_commit() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.add_repository("acme/app").unwrap();
    let sha = github.add_file("acme/app", "main", "a.txt", "a").unwrap();
    let base = format!("{}/repos/acme/app", site.emulator.github_url());
    let post = async |path: &str, body: Value| {
        site.bearer(Method::POST, &format!("{base}/{path}"), &token, body).await
    };
    let get =
        async |path: &str| site.bearer(Method::GET, &format!("{base}/{path}"), &token, Value::Null).await;
    assert_eq!(get("commits/main/status").await.ok()["state"], "pending");
    post(&format!("statuses/{sha}"), json!({ "state": "failure", "context": "ci" })).await.ok();
    post(&format!("statuses/{sha}"), json!({ "state": "success", "context": "lint" })).await.ok();
    assert_eq!(get("commits/main/status").await.ok()["state"], "failure");
    post(&format!("statuses/{sha}"), json!({ "state": "success", "context": "ci" })).await.ok();
    assert_eq!(get("commits/main/status").await.ok()["state"], "success");
    assert_eq!(post(&format!("statuses/{sha}"), json!({ "state": "great" })).await.status, 422);
    let check =
        post("check-runs", json!({ "name": "lint", "head_sha": sha, "status": "in_progress" })).await.ok();
    let url = format!("{base}/check-runs/{}", check["id"]);
    let done = site.bearer(Method::PATCH, &url, &token, json!({ "conclusion": "success" })).await.ok();
    assert_eq!((&done["status"], &done["conclusion"]), (&json!("completed"), &json!("success")));
    assert_eq!(get("commits/main/check-runs").await.ok()["total_count"], 1);
    assert_eq!(get("releases/latest").await.status, 404);
    post("releases", json!({ "tag_name": "v1" })).await.ok();
    post("releases", json!({ "tag_name": "v2", "prerelease": true })).await.ok();
    assert_eq!(get("releases/latest").await.ok()["tag_name"], "v1");
    assert_eq!(post("releases", json!({ "tag_name": "v1" })).await.status, 422);
    assert_eq!(get("git/ref/tags/v1").await.ok()["object"]["sha"], json!(sha));
}

#[tokio::test]
async fn the_hour_has_as_many_requests_as_it_has() {
    let site = Site::start().await;
    let github = site.emulator.github();
    let token = github.add_token("octocat");
    github.limit_requests(2);
    let url = format!("{}/user", site.emulator.github_url());
    let ask = async || site.bearer(Method::GET, &url, &token, Value::Null).await;
    assert_eq!(ask().await.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(ask().await.status, 200);
    let refused = ask().await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (403, Some("0")));
    assert_eq!(refused.header("x-ratelimit-reset"), Some("1700003600"));
    assert_eq!(refused.header("date"), Some("Tue, 14 Nov 2023 22:13:20 GMT"), "of the clock of the `Env`");
    site.clock.advance(Duration::from_secs(3600));
    assert_eq!(ask().await.status, 200);
}

#[tokio::test]
async fn ids_are_of_one_thing_each() {
    let site = Site::start().await;
    let github = site.emulator.github();
    github.add_repository("acme/app").unwrap();
    let (mut ids, mut comments) = (BTreeSet::new(), Vec::new());
    for _ in 0..20 {
        let number = github.add_issue("acme/app", json!({ "title": "x" })).unwrap();
        let comment = github.add_comment("acme/app", number, "y").unwrap();
        let issue = github.issue("acme/app", number).unwrap()["id"].as_u64().unwrap();
        assert!(ids.insert(comment) && ids.insert(issue));
        comments.push(comment);
    }
    assert_eq!(github.comments("acme/app", 3).unwrap()[0]["body"], "y");
    let all = "/repos/acme/app/issues/comments?direction=desc&per_page=5";
    let all = github.act(None, Method::GET, all, Value::Null).unwrap();
    let listed: Vec<u64> =
        all.as_array().unwrap().iter().map(|comment| comment["id"].as_u64().unwrap()).collect();
    assert_eq!(listed, comments.iter().rev().take(5).copied().collect::<Vec<_>>());
}
