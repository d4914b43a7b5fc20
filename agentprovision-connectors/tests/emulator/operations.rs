//! The operations of the connectors, at an emulator that has nothing of what they are about.

use agentprovision_connectors::builtin;
use agentprovision_connectors::operation::Work;
use serde_json::{Map, Value};

use crate::support::{Answer, Site, basic};

/// What is answered where there is little but a repository, a project and a channel; everything else is an error.
const ANSWERED: [(&str, &[&str]); 3] = [("github", GITHUB), ("jira", JIRA), ("slack", SLACK)];
const GITHUB: &[&str] = &[
    "branches.list",
    "checks.list",
    "comments.list_changed",
    "commits.get",
    "commits.list",
    "contents.get",
    "hooks.create",
    "hooks.list",
    "issues.create",
    "issues.list",
    "issues.list_changed",
    "labels.create",
    "labels.list",
    "pulls.list",
    "rate_limit.get",
    "refs.get",
    "refs.list",
    "releases.create",
    "releases.get_by_tag",
    "releases.latest",
    "releases.list",
    "repos.get",
    "repos.list",
    "repos.list_user",
    "runs.list",
    "search.issues",
    "statuses.get",
    "users.get",
    "users.me",
    "workflows.list",
];
const JIRA: &[&str] = &[
    "fields.list",
    "issue_types.list",
    "issues.count",
    "issues.list_changed",
    "priorities.list",
    "projects.search",
    "server.info",
    "statuses.list",
    "users.me",
    "users.search",
];
const SLACK: &[&str] = &[
    "auth.test",
    "conversations.create",
    "team.info",
    "users.conversations",
    "users.list",
    "users.lookup_by_email",
];

/// Whether this is a success, or an error in the vendor's form.
fn success(vendor: &str, answer: &Answer) -> Result<bool, String> {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (vendor, answer.status) {
        ("slack", 200) if said["ok"] == true => Ok(true),
        ("slack", 200) if said["ok"] == false && said["error"].is_string() => Ok(false),
        ("github" | "jira", 200..400) => Ok(true),
        ("github", 400..500) if said["message"].is_string() => Ok(false),
        ("jira", 400..500) if said["errorMessages"].is_array() => Ok(false),
        _ => Err(format!("{} {:?}", answer.status, answer.body)),
    }
}

#[tokio::test]
async fn pitfall_34_what_the_emulator_does_not_know_is_an_error() {
    let site = Site::start().await;
    let (github, jira, slack) = (site.emulator.github(), site.emulator.jira(), site.emulator.slack());
    let octocat = github.add_token("octocat");
    github.add_repository("octocat/hello-world").unwrap();
    let ada = basic("ada@example.com", &jira.add_token("ada@example.com"));
    jira.add_project("OPS", "Operations").unwrap();
    slack.add_channel("general").unwrap();
    let bot = slack.add_bot_token("helper");
    for (name, answered) in ANSWERED {
        let connector = builtin::all().into_iter().find(|builtin| builtin.name == name).unwrap();
        let connector = (connector.connector)().unwrap();
        let (base, authorization) = match name {
            "github" => (site.emulator.github_url(), format!("Bearer {octocat}")),
            "jira" => (site.emulator.jira_url(), ada.clone()),
            _ => (site.emulator.slack_url(), format!("Bearer {bot}")),
        };
        let samples =
            std::fs::read(format!("{}/tests/inputs/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let samples: Value = serde_json::from_slice(&samples).unwrap();
        let (mut found, mut wrong, mut asked) = (Vec::new(), Vec::new(), 0);
        for spec in connector.operations() {
            if !matches!(spec.work, Work::Http(_)) {
                continue;
            }
            let sample = samples[&*spec.name].as_object().cloned().unwrap_or_else(Map::new);
            let (request, _) = connector.operation(&spec.name).unwrap().request(&base, &sample).unwrap();
            let (head, body) = request.into_parts();
            let mut headers = vec![("authorization", authorization.as_str())];
            headers.extend(head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())));
            let answer = site.send(head.method, &head.uri.to_string(), &headers, body).await;
            asked += 1;
            match success(name, &answer) {
                Ok(true) => found.push(spec.name.to_string()),
                Ok(false) => {}
                Err(answer) => wrong.push(format!("{}: {answer}", spec.name)),
            }
        }
        found.sort();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        assert!(asked > answered.len());
        assert_eq!(found, answered, "{name}");
    }
}
