//! Lists that are read from where the last reading ended, against vendors whose rows move meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::builtin::github::comments::ListComments;
use agentprovision_connectors::builtin::github::issues::ListChangedIssues;
use agentprovision_connectors::builtin::jira::search::ListChanged;
use agentprovision_connectors::builtin::{github, jira};
use agentprovision_connectors::connector::Connector;
use agentprovision_connectors::emulator::{Emulator, Fault, Rule};
use agentprovision_connectors::operation::{Incremental, OperationSpec, Work};
use agentprovision_connectors::paging::Paging;
use agentprovision_connectors::request::HttpTemplate;
use agentprovision_connectors::{NewIntegration, Watermark};
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::integration::Integration;
use agentprovision_core::{Env, ErrorKind, Result, Timestamp};
use futures_util::TryStreamExt as _;
use serde_json::{Map, Value, json};

use super::world::World;

/// A tenant with an integration of a vendor that has six issues, each a minute younger than the one before.
struct Desk {
    emulator: Emulator,
    clock: ManualClock,
    world: World,
    integration: Integration,
}

async fn emulator() -> (Emulator, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
    (Emulator::start(env).await.unwrap(), clock)
}

async fn integration(connector: Connector, url: String, credentials: Value) -> (World, Integration) {
    let new = NewIntegration {
        name: "it".into(),
        connector: connector.name.to_string(),
        auth: None,
        settings: Map::from_iter([("base_url".into(), url.into())]),
        credentials: credentials.as_object().unwrap().clone(),
    };
    let world = World::of(connector).await;
    let integration = world.integrations.create(&world.ctx, new).await.unwrap();
    (world, integration)
}

async fn code() -> Desk {
    let (emulator, clock) = emulator().await;
    let token = emulator.github().add_token("octocat");
    emulator.github().add_repository("acme/app").unwrap();
    for number in 1..=6 {
        clock.advance(Duration::from_secs(60));
        emulator.github().add_issue("acme/app", json!({ "title": format!("issue {number}") })).unwrap();
    }
    let url = emulator.github_url();
    let (world, integration) =
        integration(github::connector().unwrap(), url, json!({ "token": token })).await;
    Desk { emulator, clock, world, integration }
}

fn list_changed() -> ListChangedIssues {
    ListChangedIssues { owner: "acme".into(), repo: "app".into(), since: None, per_page: Some(2) }
}

/// Changes the title of an issue, a minute later.
fn edit(clock: &ManualClock, number: u64) -> Fault {
    let clock = clock.clone();
    Fault::change(move |emulator| {
        clock.advance(Duration::from_secs(60));
        let change = json!({ "title": format!("issue {number}, edited") });
        emulator.github().edit_issue("acme/app", number, change).unwrap();
    })
}

impl Desk {
    /// Reads to the end, confirming everything: number and title of each, and where it ended.
    async fn read(&self, from: Watermark) -> (Vec<(u64, String)>, Watermark) {
        let (integrations, ctx) = (&self.world.integrations, &self.world.ctx);
        let mut changes = integrations.changes(ctx, self.integration.id, &list_changed(), from).unwrap();
        let mut read = Vec::new();
        let all = async {
            while let Some(issue) = changes.try_next().await.unwrap() {
                read.push((issue.number, issue.title));
                changes.confirm();
            }
        };
        self.world.run(all).await;
        // As whoever reads keeps it.
        let kept = serde_json::to_string(changes.watermark()).unwrap();
        (read, serde_json::from_str(&kept).unwrap())
    }
}

#[tokio::test]
async fn pitfall_07_rows_that_move_between_pages_are_read_all_and_none_twice() {
    let desk = code().await;
    let path = "/repos/acme/app/issues";
    // Behind the first page one of its rows moves to the end, behind the second one of those that are to come.
    desk.emulator.faults().add(Rule::new(edit(&desk.clock, 1)).path(path).nth(1));
    desk.emulator.faults().add(Rule::new(edit(&desk.clock, 6)).path(path).nth(2));
    let (read, at) = desk.read(Watermark::default()).await;
    let numbers: Vec<u64> = read.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 1, 6], "in the order of changes");
    assert_eq!(read[5].1, "issue 1, edited");
    assert_eq!(read[6].1, "issue 6, edited");
    let once: BTreeSet<_> = read.iter().collect();
    assert_eq!(once.len(), read.len());
    assert_eq!(at.at().unwrap().to_string(), "2023-11-14T22:21:20.000000Z");

    // Nothing has changed since, though the end is read again.
    desk.emulator.faults().clear();
    let (none, same) = desk.read(at.clone()).await;
    assert_eq!((none, &same), (vec![], &at));
    // A change within the second in which the issue was read: its time does not tell.
    desk.emulator.github().edit_issue("acme/app", 6, json!({ "title": "issue 6, again" })).unwrap();
    let (again, at) = desk.read(at).await;
    assert_eq!(again, [(6, "issue 6, again".to_owned())]);
    desk.clock.advance(Duration::from_secs(3600));
    desk.emulator.github().edit_issue("acme/app", 3, json!({ "title": "issue 3, edited" })).unwrap();
    let (later, at) = desk.read(at).await;
    assert_eq!(later, [(3, "issue 3, edited".to_owned())]);
    // What is kept does not grow with what was read.
    let kept = serde_json::to_value(&at).unwrap();
    assert_eq!(kept["seen"].as_object().unwrap().len(), 1, "{kept}");
}

#[tokio::test]
async fn pitfall_07_cursors_that_count_lose_nothing_either() {
    let (emulator, clock) = emulator().await;
    let token = emulator.jira().add_token("ada@example.com");
    emulator.jira().add_project("OPS", "Operations").unwrap();
    for number in 0..6 {
        clock.advance(Duration::from_secs(60));
        emulator.jira().add_issue("OPS", &format!("issue {number}"), Value::Null).unwrap();
    }
    let credentials = json!({ "username": "ada@example.com", "password": token });
    let (world, jira) = integration(jira::connector().unwrap(), emulator.jira_url(), credentials).await;
    let list = ListChanged { updated_since: None, jql: None, fields: None, max_results: Some(2) };
    let moves = || {
        let clock = clock.clone();
        let edit = Fault::change(move |emulator| {
            clock.advance(Duration::from_secs(60));
            emulator.jira().edit_issue("OPS-1", json!({ "summary": "edited" })).unwrap();
        });
        emulator.faults().clear();
        emulator.faults().add(Rule::new(edit).path("/rest/api/3/search/jql").next(1));
    };
    let ids = |issues: Vec<jira::types::Issue>| issues.into_iter().map(|issue| issue.key).collect::<Vec<_>>();
    // Page after page, as the vendor has it.
    moves();
    let pages = world.integrations.pages(&world.ctx, jira.id, &list).try_collect();
    let paged = ids(world.run(pages).await.unwrap());
    assert_eq!(paged, ["OPS-1", "OPS-2", "OPS-4", "OPS-5", "OPS-6", "OPS-1"], "one is lost");
    // The first is the last now, and moves from behind.
    moves();
    let changes = world.integrations.changes(&world.ctx, jira.id, &list, Watermark::default()).unwrap();
    let read = ids(world.run(changes.try_collect()).await.unwrap());
    assert_eq!(read, ["OPS-2", "OPS-3", "OPS-4", "OPS-5", "OPS-6", "OPS-1"]);
    let edit_read = clock.clone();
    let edit = Fault::change(move |emulator| {
        edit_read.advance(Duration::from_secs(60));
        emulator.jira().edit_issue("OPS-2", json!({ "summary": "edited" })).unwrap();
    });
    emulator.faults().clear();
    emulator.faults().add(Rule::new(edit).path("/rest/api/3/search/jql").next(1));
    let changes = world.integrations.changes(&world.ctx, jira.id, &list, Watermark::default()).unwrap();
    let read = ids(world.run(changes.try_collect()).await.unwrap());
    assert_eq!(read, ["OPS-2", "OPS-3", "OPS-4", "OPS-5", "OPS-6", "OPS-1", "OPS-2"]);
}

#[tokio::test]
async fn pitfall_08_a_failed_child_holds_the_watermark_back() {
    let desk = code().await;
    let github = desk.emulator.github();
    for number in 1..=6 {
        github.add_comment("acme/app", number, &format!("comment {number}")).unwrap();
    }
    let failing = Rule::new(Fault::Status(500)).path("/repos/acme/app/issues/3/comments");
    desk.emulator.faults().add(failing);
    let (integrations, ctx, id) = (&desk.world.integrations, &desk.world.ctx, desk.integration.id);
    // Reads issues with their comments; the watermark, what was read, and how it ended.
    let with_comments = async |from: Watermark| {
        let mut changes = integrations.changes(ctx, id, &list_changed(), from).unwrap();
        let mut read = Vec::new();
        let all: Result<()> = async {
            while let Some(issue) = changes.try_next().await? {
                let comments = ListComments {
                    owner: "acme".into(),
                    repo: "app".into(),
                    issue_number: issue.number,
                    since: None,
                    per_page: None,
                };
                let comments: Vec<_> = integrations.pages(ctx, id, &comments).try_collect().await?;
                assert_eq!(comments.len(), 1);
                read.push(issue.number);
                changes.confirm();
            }
            Ok(())
        }
        .await;
        (changes.watermark().clone(), read, all)
    };
    let (kept, read, ended) = desk.world.run(with_comments(Watermark::default())).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ProviderError);
    assert_eq!(read, [1, 2]);
    let third = github.issue("acme/app", 3).unwrap()["updated_at"].as_str().unwrap().parse().unwrap();
    assert!(kept.at().unwrap() <= third, "{kept:?}");
    // Again, and nothing moves.
    let (same, none, ended) = desk.world.run(with_comments(kept.clone())).await;
    assert!(ended.is_err() && none.is_empty());
    assert_eq!(same, kept);
    desk.emulator.faults().clear();
    let (_, read, ended) = desk.world.run(with_comments(kept)).await;
    ended.unwrap();
    assert_eq!(read, [3, 4, 5, 6]);
}

#[tokio::test]
async fn pitfall_08_a_page_that_fails_is_read_again() {
    let desk = code().await;
    desk.emulator.faults().add(Rule::new(Fault::Status(403)).path("/repos/acme/app/issues").nth(3));
    let (integrations, ctx, id) = (&desk.world.integrations, &desk.world.ctx, desk.integration.id);
    let mut changes = integrations.changes(ctx, id, &list_changed(), Watermark::default()).unwrap();
    let mut read = Vec::new();
    let ended = desk
        .world
        .run(async {
            loop {
                match changes.try_next().await {
                    Ok(Some(issue)) => read.push(issue.number),
                    other => break other.map(|_| ()),
                }
            }
        })
        .await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ProviderError);
    // The end of a failed reading is the end, and what nobody confirmed did not happen.
    assert!(desk.world.run(changes.try_next()).await.unwrap().is_none());
    assert_eq!(changes.watermark(), &Watermark::default());
    let at = changes.confirm().clone();
    let (rest, _) = desk.read(at).await;
    read.extend(rest.into_iter().map(|(number, _)| number));
    assert_eq!(read, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_is_no_list_of_changes_is_not_read_as_one() {
    let (world, code) =
        integration(github::connector().unwrap(), "http://127.0.0.1:9".into(), json!({ "token": "t" })).await;
    let comments = ListComments {
        owner: "acme".into(),
        repo: "app".into(),
        issue_number: 1,
        since: None,
        per_page: None,
    };
    let refused =
        world.integrations.changes(&world.ctx, code.id, &comments, Watermark::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.message().contains("`comments.list`"), "{refused}");
}

#[tokio::test]
async fn a_list_that_is_in_another_order_is_an_error() {
    let ((world, _vendor), code) = {
        let vendor = World::new().await;
        let url = vendor.url.clone();
        let issue = |number: u64, at: &str| {
            json!({
                "id": number, "number": number, "title": "t", "state": "open", "comments": 0, "locked": false,
                "html_url": "h", "created_at": at, "updated_at": at,
            })
        };
        // A little is late, and much is not.
        let list = json!([
            issue(1, "2026-05-01T01:00:00Z"),
            issue(2, "2026-05-01T00:59:30Z"),
            issue(3, "2026-05-01T00:00:00Z")
        ]);
        vendor.answers(200, &[], &list);
        let (world, code) = integration(github::connector().unwrap(), url, json!({ "token": "t" })).await;
        ((world, vendor), code)
    };
    let changes = world.integrations.changes(&world.ctx, code.id, &list_changed(), Watermark::default());
    let error = world.run(changes.unwrap().try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert!(error.message().contains("not in the order of `updated_at`"), "{error}");
}

#[test]
fn pitfall_07_counting_through_changes_is_refused_at_registration() {
    let list = |paging: Paging, since: &'static str| {
        let item = json!({ "type": "object" });
        let spec = OperationSpec::new(
            "rows.list",
            "Lists rows.",
            json!({ "type": "object", "properties": { "since": { "type": "string" } } }),
            json!({ "type": "object", "properties": { "items": { "type": "array", "items": item } } }),
            Work::Http(Box::new(HttpTemplate::new(http::Method::GET, "/rows"))),
        );
        let by = Incremental {
            field: "updated".into(),
            id: "id".into(),
            since: since.into(),
            overlap: Duration::from_secs(60),
        };
        let spec = spec.page(paging).incremental(by);
        Connector::builder("rows", "https://rows.example").operations([spec]).build()
    };
    list(Paging::LINK, "since").unwrap();
    for (bad, since) in [
        (Paging::Offset { items: "".into(), into: "offset".into(), more: "".into(), last: false }, "since"),
        (Paging::Page { items: "".into(), into: "page".into(), pages: "".into() }, "since"),
        (Paging::None, "since"),
        (Paging::LINK, "from"),
    ] {
        let refused = list(bad, since).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.message().contains("read incrementally"), "{refused}");
    }
}
