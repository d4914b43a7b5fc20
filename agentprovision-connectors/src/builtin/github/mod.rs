//! GitHub, by its REST API v3 (<https://docs.github.com/rest>, version 2022-11-28).
//!
//! GitHub Enterprise Server is the same under another URL: the setting `base_url`, as `https://github.example.com/api/v3`.
//!
//! Limits are those of <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>: 5,000 requests an hour
//! for a user (more for apps and Enterprise, so they are learned from the answers), 30 searches and 10 searches for code a
//! minute, and secondary limits that answer 403 or 429 and are told from a lack of permission by their message.

/// Makes operations on a repository: to the fields of each come its owner and its name, and the scope is `repo` where no
/// other is said.
macro_rules! in_repository {
    ($(
        $(#[doc = $doc:literal])+
        $operation:ident $name:literal $method:ident($path:literal) => $output:ty $([$($more:tt)*])? { $($fields:tt)* }
    )*) => {
        $crate::operations! {$(
            $(#[doc = $doc])+
            $operation $name $method($path) => $output [.scopes(["repo"]) $($($more)*)?] {
                /// The owner of the repository: a user or an organization.
                owner: String,
                /// The name of the repository, without its owner.
                repo: String,
                $($fields)*
            }
        )*}
    };
}

pub mod accounts;
pub mod actions;
pub mod checks;
pub mod comments;
pub mod contents;
mod errors;
pub mod hooks;
pub mod issues;
mod logs;
pub mod pulls;
pub mod releases;
pub mod repos;
pub mod reviews;
pub mod search;
#[cfg(test)]
mod tests;
pub mod types;

use std::time::Duration;

use agentprovision_core::Result;

use super::Lacking;
use crate::auth::{Auth, Grant, OAuth2};
use crate::connector::Connector;
use crate::operation::{OperationSpec, Text};
use crate::quota::{Quota, Reset};

/// GitHub's own description has these; that of the check, which is a part of it, leaves them out.
const TRIMMED: &str = "the description of the check is a part of GitHub's";

/// Operations that the description which requests are checked against does not have.
pub const NOT_IN_DESCRIPTION: Lacking = &[
    ("branches.get", TRIMMED),
    ("checks.list", TRIMMED),
    ("comments.list_changed", TRIMMED),
    ("contents.readme", TRIMMED),
    ("hooks.ping", TRIMMED),
    ("issues.remove_label", TRIMMED),
    ("issues.unassign", TRIMMED),
    ("jobs.get", TRIMMED),
    ("orgs.list_members", TRIMMED),
    ("pulls.update_branch", TRIMMED),
    ("refs.delete", TRIMMED),
    ("refs.update", TRIMMED),
    ("releases.get_by_tag", TRIMMED),
    ("releases.latest", TRIMMED),
    ("releases.update", TRIMMED),
    ("repos.create", TRIMMED),
    ("repos.create_org", TRIMMED),
    ("repos.languages", TRIMMED),
    ("repos.list_collaborators", TRIMMED),
    ("repos.list_user", TRIMMED),
    ("repos.set_topics", TRIMMED),
    ("repos.topics", TRIMMED),
    ("reviews.dismiss", TRIMMED),
    ("reviews.reply", TRIMMED),
    ("reviews.request", TRIMMED),
    ("reviews.submit", TRIMMED),
    ("runs.rerun_failed", TRIMMED),
    ("statuses.create", TRIMMED),
    ("statuses.get", TRIMMED),
    ("trees.get", TRIMMED),
    ("users.get", TRIMMED),
];

const MINUTE: Duration = Duration::from_secs(60);

/// The connector.
///
/// # Errors
/// `invalid_input` if its description does not hold together, which tests rule out.
pub fn connector() -> Result<Connector> {
    let about = "Read and change code, issues, pull requests and releases, and run and watch workflows.";
    let operations: Vec<OperationSpec> = [
        accounts::operations(),
        actions::operations(),
        checks::operations(),
        comments::operations(),
        contents::operations(),
        hooks::operations(),
        issues::operations(),
        pulls::operations(),
        releases::operations(),
        repos::operations(),
        reviews::operations(),
        search::operations(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let oauth =
        OAuth2::new("{+oauth_url}/authorize", "{+oauth_url}/access_token").scopes(["repo", "read:user"]);
    Connector::builder("github", "https://api.github.com")
        .about("GitHub", about)
        .auth(Auth::bearer("Personal access token"))
        .auth(Auth::tokens("app", "Installation of a GitHub App", Grant::GithubApp))
        .auth(Auth::tokens("oauth", "GitHub account", Grant::Code(oauth)))
        .setting_schema(
            "oauth_url",
            serde_json::json!({
                "type": "string",
                "description": "Where access is granted; another place for GitHub Enterprise.",
                "default": "https://github.com/login/oauth",
                "maxLength": 2048,
            }),
        )
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28")
        // GitHub refuses requests without one.
        .header("user-agent", "agentprovision")
        .quota(core_quota(&operations))
        .quota(learned(
            Quota::new("search").operations(["search.issues", "search.repositories"]).rate(30, MINUTE),
        ))
        .quota(learned(Quota::new("code_search").operations(["search.code"]).rate(10, MINUTE)))
        // Of the 100 that GitHub takes from one account, which others may use too.
        .concurrency(20)
        .classify(errors::classify)
        .whoami("users.me", "/id", "/login")
        .operations(operations)
        .build()
}

/// What GitHub says is left, which is that of the kind of the request that was answered.
fn learned(quota: Quota) -> Quota {
    quota.learned("x-ratelimit-remaining", "x-ratelimit-reset", Reset::Epoch)
}

/// The limit of everything but searches, which differs between accounts: only GitHub knows it.
fn core_quota(operations: &[OperationSpec]) -> Quota {
    let topic = |spec: &OperationSpec| spec.name.split_once('.').map(|(topic, _)| format!("{topic}."));
    let mut topics: Vec<String> = operations.iter().filter_map(topic).collect();
    topics.sort();
    topics.dedup();
    let mut quota = learned(Quota::new("core"));
    quota.operations = topics.into_iter().filter(|topic| topic != "search.").map(Text::Owned).collect();
    quota
}
