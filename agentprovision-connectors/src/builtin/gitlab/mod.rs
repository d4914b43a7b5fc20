//! GitLab: projects, repositories, issues, merge requests, pipelines and releases, by its REST API v4
//! (<https://docs.gitlab.com/api/rest/>), of gitlab.com or of an instance of one's own, whose `base_url` ends in `/api/v4`.
//!
//! A project is said by its number or its full path. Issues and merge requests are said by the number that people use
//! (`iid`), not by their id. Times are texts as ISO 8601 writes them. Lists go on by `Link` headers; where GitLab can go on
//! after the last item instead of counting (<https://docs.gitlab.com/api/rest/#keyset-based-pagination>), that is asked for.
//! Failures are by <https://docs.gitlab.com/api/rest/troubleshooting/>.
//!
//! There is no description of the vendor's to check against here: all of it is by documentation only.

pub mod issues;
pub mod merge_requests;
pub mod pipelines;
pub mod projects;
pub mod repository;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use http::header::LOCATION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::{Auth, Field, Grant, OAuth2};
use crate::connector::Connector;
use crate::quota::{Quota, Reset};

/// The connector `gitlab`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    let key = Auth::key_header("private-token", "")
        .titled("Access token")
        .fields(vec![Field::new("key", "An access token of a user, a group or a project (`glpat-…`).")]);
    let quota = Quota::new("requests").learned("ratelimit-remaining", "ratelimit-reset", Reset::Epoch);
    let oauth = OAuth2::new("{+oauth_url}/authorize", "{+oauth_url}/token").scopes(["api"]);
    Connector::builder("gitlab", "https://gitlab.com/api/v4")
        .about(
            "GitLab",
            "Projects, files, issues, merge requests, pipelines and releases at gitlab.com or an instance of one's own.",
        )
        .auth(key)
        .auth(Auth::bearer("OAuth access token"))
        .auth(Auth::tokens("oauth", "GitLab account", Grant::Code(oauth)))
        .setting_schema(
            "oauth_url",
            serde_json::json!({
                "type": "string",
                "description": "Where access is granted; another place for an instance of one's own.",
                "default": "https://gitlab.com/oauth",
                "maxLength": 2048,
            }),
        )
        .quota(quota)
        .whoami("users.me", "/id", "/username")
        .classify(classify)
        .operations(issues::operations())
        .operations(merge_requests::operations())
        .operations(pipelines::operations())
        .operations(projects::operations())
        .operations(repository::operations())
        .build()
}

/// Words of refusals that are about the state of a thing, whatever the status.
const STATES: [&str; 5] = [
    "already been taken",
    "already exists",
    "cannot be merged",
    "has changed since you started editing",
    "sha does not match",
];

/// What a failure of GitLab means. Statuses that say that a merge request cannot be merged or approved as it is are conflicts,
/// and so is what is there already. A thing that has moved is not where it was asked for.
fn classify(response: &Response, now: Timestamp) -> Option<Failure> {
    let status = response.status;
    if status.is_success() {
        return None;
    }
    if status.is_redirection() {
        let place = response.header(LOCATION.as_str()).unwrap_or("another place");
        return Some(Failure::new(Category::NotFound).message(format!("it has moved to {place}")));
    }
    let said = response.json().as_ref().and_then(words);
    let is_about_state = || {
        let said = said.as_deref().unwrap_or_default().to_ascii_lowercase();
        STATES.iter().any(|state| said.contains(state))
    };
    let category = match status.as_u16() {
        405 | 406 => Category::Conflict,
        400 | 422 if is_about_state() => Category::Conflict,
        _ => usual(status),
    };
    let mut failure = Failure::new(category);
    failure.message = said;
    let reset: Option<i64> = response.header("ratelimit-reset").and_then(|at| at.parse().ok());
    match (category, response.header("retry-after"), reset) {
        (Category::RateLimited, None, Some(at)) => {
            let left = at.saturating_sub(now.micros().div_euclid(1_000_000)).max(0);
            Some(failure.after(Duration::from_secs(left.unsigned_abs())))
        }
        _ => Some(failure),
    }
}

/// What GitLab says: a text, or texts by the field they are about.
fn words(body: &Value) -> Option<String> {
    let places = ["message", "error_description", "error"];
    let said = places.iter().find_map(|place| body.get(place).filter(|said| !said.is_null()))?;
    let mut texts = Vec::new();
    gather(said, "", &mut texts);
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn gather(said: &Value, about: &str, texts: &mut Vec<String>) {
    match said {
        Value::String(text) if about.is_empty() => texts.push(text.clone()),
        Value::String(text) => texts.push(format!("{about} {text}")),
        Value::Array(items) => items.iter().for_each(|item| gather(item, about, texts)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| gather(value, name, texts)),
        _ => {}
    }
}

/// A user, as far as others know them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The number.
    pub id: u64,
    /// The name to mention them by, without `@`.
    pub username: String,
    /// The name.
    pub name: Option<String>,
    /// `active` or `blocked`.
    pub state: Option<String>,
    /// The page about them.
    pub web_url: Option<String>,
}

/// Who may see something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its members.
    Private,
    /// Whoever is signed in.
    Internal,
    /// Everybody.
    Public,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// From the smallest or oldest.
    Asc,
    /// From the largest or newest.
    Desc,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// The number.
    pub id: u64,
    /// The text, in Markdown.
    pub body: String,
    /// Who wrote it.
    pub author: Option<User>,
    /// Whether GitLab wrote it, about something that was changed.
    pub system: Option<bool>,
    /// Whether only members see it.
    pub internal: Option<bool>,
    /// Whether it can be settled.
    pub resolvable: Option<bool>,
    /// Whether it is settled.
    pub resolved: Option<bool>,
    /// When it was written.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
}

/// A milestone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Milestone {
    /// The number.
    pub id: u64,
    /// The title.
    pub title: String,
    /// `active` or `closed`.
    pub state: Option<String>,
    /// The day it is due.
    pub due_date: Option<String>,
}

/// What was changed in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The path before.
    pub old_path: String,
    /// The path after.
    pub new_path: String,
    /// Whether the file is new.
    pub new_file: bool,
    /// Whether it has another path now.
    pub renamed_file: bool,
    /// Whether it is gone.
    pub deleted_file: bool,
    /// The lines that were changed, as `diff -u` shows them; empty where they are too many.
    pub diff: String,
    /// Whether the lines were left out because they are too many.
    pub too_large: Option<bool>,
}
