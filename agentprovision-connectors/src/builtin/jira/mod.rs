//! Jira Cloud, by its REST API v3 (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/>).
//!
//! Texts of several lines are documents there: see [`adf`]. Lists that are counted through can lose rows that change meanwhile, so
//! what has changed is read by `issues.list_changed`, which goes on by a token. Limits
//! (<https://developer.atlassian.com/cloud/jira/platform/rate-limiting/>) are per endpoint, told by 429 and `Retry-After`, and
//! for writing to one issue 20 requests in 2 s and 100 in 30 s.

pub mod adf;
pub mod comments;
pub mod issues;
pub mod projects;
pub mod search;
#[cfg(test)]
mod tests;
pub mod types;
pub mod webhooks;

use std::time::Duration;

use agentprovision_core::Result;

use super::{Lacking, atlassian};
use crate::connector::Connector;
use crate::paging::Paging;
use crate::quota::{Quota, Shared};

const TRIMMED: &str = "not among the operations of the trimmed description";

/// Operations that the description which requests are checked against does not have: Jira's own has them, and the trimmed one of
/// the check leaves them out.
pub const NOT_IN_DESCRIPTION: Lacking = &[
    ("attachments.download", TRIMMED),
    ("filters.search", TRIMMED),
    ("issues.get_bulk", TRIMMED),
    ("link_types.list", TRIMMED),
    ("projects.list_components", TRIMMED),
    ("projects.list_versions", TRIMMED),
    ("users.list_assignable", TRIMMED),
    ("watchers.remove", TRIMMED),
    ("worklogs.delete", TRIMMED),
    ("worklogs.update", TRIMMED),
];

const READ: &str = "read:jira-work";
const WRITE: &str = "write:jira-work";
const READ_USERS: &str = "read:jira-user";
const WEBHOOKS: &str = "manage:jira-webhook";

/// Operations that write to one issue.
const WRITES: [&str; 13] = [
    "attachments.add",
    "comments.add",
    "comments.delete",
    "comments.update",
    "issues.assign",
    "issues.delete",
    "issues.transition",
    "issues.update",
    "watchers.add",
    "watchers.remove",
    "worklogs.add",
    "worklogs.delete",
    "worklogs.update",
];

/// The connector.
///
/// # Errors
/// `invalid_input` if its description does not hold together, which tests rule out.
pub fn connector() -> Result<Connector> {
    let writes = |name: &'static str, requests: u32, seconds: u64| {
        Quota::new(name)
            .shared(Shared::Field("issueIdOrKey".into()))
            .operations(WRITES)
            .rate(requests, Duration::from_secs(seconds))
    };
    let scopes = [READ, WRITE, READ_USERS, WEBHOOKS, "offline_access"];
    atlassian::site(Connector::builder("jira", "https://{site}.atlassian.net"))
        .about("Jira", "Find, make, change and discuss issues, and follow them through their workflow.")
        .auth(atlassian::api_token())
        .auth(atlassian::account("https://api.atlassian.com/ex/jira/{cloud_id}", scopes))
        .quota(writes("writes to an issue", 20, 2))
        .quota(writes("writes to an issue, longer", 100, 30))
        .quota(Quota::new("endpoint").shared(Shared::Operation))
        .whoami("users.me", "/accountId", "/displayName")
        .classify(atlassian::classify)
        .operations(comments::operations())
        .operations(issues::operations())
        .operations(projects::operations())
        .operations(search::operations())
        .operations(webhooks::operations())
        .build()
}

/// Counted through, up to a number that is told.
fn offset(items: &'static str) -> Paging {
    Paging::Offset { items: items.into(), into: "startAt".into(), more: "/total".into(), last: false }
}

/// Counted through, until it is told that a page is the last one.
fn until_last() -> Paging {
    Paging::Offset { items: "/values".into(), into: "startAt".into(), more: "/isLast".into(), last: true }
}
