//! What GitHub does that no template says.

use agentprovision_connectors::NewIntegration;
use agentprovision_connectors::builtin::github;
use agentprovision_core::ErrorKind;
use agentprovision_core::integration::Integration;
use serde_json::{Map, Value, json};

use super::world::World;

async fn world() -> (World, Integration) {
    let world = World::of(github::connector().unwrap()).await;
    let new = NewIntegration {
        name: "code".into(),
        connector: "github".into(),
        auth: None,
        // As at an Enterprise Server.
        settings: Map::from_iter([("base_url".into(), format!("{}/api/v3", world.url).into())]),
        credentials: Map::from_iter([("token".into(), "ghp_canary".into())]),
    };
    let integration = world.integrations.create(&world.ctx, new).await.unwrap();
    (world, integration)
}

fn job(more: Value) -> Value {
    let mut input = json!({ "owner": "octocat", "repo": "hello", "job_id": 99 });
    more.as_object().unwrap().iter().for_each(|(name, value)| input[name] = value.clone());
    input
}

#[tokio::test]
async fn logs_are_read_where_github_keeps_them_and_the_token_does_not_go_there() {
    let (world, code) = world().await;
    // Another origin.
    let kept = World::new().await;
    let place = format!("{}/kept/logs?sig=abc", kept.url);
    world.answers(302, &[("location", &place)], &Value::Null);
    kept.answers(200, &[], &json!("a log of one line"));
    let log = world.run(world.invoke(&code, "jobs.logs", job(json!({ "max_bytes": 9 })))).await.unwrap();
    assert_eq!(log, json!({ "text": "one line\"", "size": 19, "truncated": true }));
    let (asked, read) = (&world.seen()[0], &kept.seen()[0]);
    assert_eq!(asked.uri, "/api/v3/repos/octocat/hello/actions/jobs/99/logs");
    assert_eq!(asked.headers["authorization"], "Bearer ghp_canary");
    assert_eq!(asked.headers["x-github-api-version"], "2022-11-28");
    assert_eq!(read.uri, "/kept/logs?sig=abc");
    assert!(!read.headers.contains_key("authorization"));
}

#[tokio::test]
async fn logs_that_are_gone_are_not_found() {
    let (world, code) = world().await;
    world.answers(410, &[], &json!({ "message": "The logs for this run have expired" }));
    let error = world.run(world.invoke(&code, "jobs.logs", job(json!({})))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("expired"), "{error:?}");
    world.answers(302, &[("location", "http://10.0.0.7/logs")], &Value::Null);
    let error = world.run(world.invoke(&code, "jobs.logs", job(json!({})))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
}

#[tokio::test]
async fn pitfall_10_a_secondary_limit_is_waited_for_and_a_refusal_is_not() {
    let (world, code) = world().await;
    let limit = json!({ "message": "You have exceeded a secondary rate limit." });
    world.answers(403, &[("retry-after", "3")], &limit);
    world.answers(200, &[], &json!({ "id": 1, "login": "octocat" }));
    let began = world.env.now();
    let me = world.run(world.invoke(&code, "users.me", json!({}))).await.unwrap();
    assert_eq!(me["login"], "octocat");
    assert!(world.env.now().since(began).as_secs() >= 3);
    world.answers(403, &[], &json!({ "message": "Resource not accessible by integration" }));
    let error = world.run(world.invoke(&code, "users.me", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    // Nobody says how long: a minute, which is more than the call has.
    world.answers(403, &[], &limit);
    let error = world.run(world.invoke(&code, "users.me", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(world.seen().len(), 4);
}

/// An issue that changed at a second of a minute.
fn issue(number: u64, second: u64) -> Value {
    json!({
        "id": number, "number": number, "title": "t", "state": "open", "comments": 0, "locked": false, "html_url": "h",
        "created_at": "2026-05-01T00:00:00Z", "updated_at": format!("2026-05-01T00:00:{second:02}Z"),
    })
}

#[tokio::test]
async fn pitfall_07_an_issue_that_changes_between_pages_pushes_none_out() {
    let (world, code) = world().await;
    let more = r#"<https://api.github.com/repositories/1/issues?page=2>; rel="next""#;
    world.answers(200, &[("link", more)], &json!([issue(1, 1), issue(2, 2)]));
    // Then the first one changes: counted by pages, the third would be on the first page now.
    world.answers(200, &[("link", more)], &json!([issue(2, 2), issue(3, 3)]));
    world.answers(200, &[], &json!([issue(3, 3), issue(1, 4)]));
    let (mut read, mut page) = (Vec::new(), None);
    loop {
        let input =
            json!({ "owner": "octocat", "repo": "hello", "page": page, "since": "2026-05-01T00:00:00Z" });
        let input: Map<String, Value> =
            input.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let got = world.run(world.invoke(&code, "issues.list_changed", input.into())).await.unwrap();
        read.extend(got["items"].as_array().unwrap().iter().map(|issue| issue["number"].as_u64().unwrap()));
        page = got["next"].as_str().map(str::to_owned);
        if page.is_none() {
            break;
        }
    }
    assert_eq!(read, [1, 2, 2, 3, 3, 1]);
    let asked: Vec<String> = world.seen().iter().map(|seen| seen.uri.query().unwrap().to_owned()).collect();
    assert!(asked[1].contains("since=2026-05-01T00%3A00%3A02Z") && !asked[1].contains("page="), "{asked:?}");
    assert!(asked[2].contains("since=2026-05-01T00%3A00%3A03Z"), "{asked:?}");
}
