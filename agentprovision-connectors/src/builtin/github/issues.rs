//! Issues and their labels (<https://docs.github.com/rest/issues/issues>, <https://docs.github.com/rest/issues/labels>).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::types::{Account, Direction, Label, Milestone, State, Which};
use crate::operation::{Incremental, Page};
use crate::paging::Paging;

records! {
    /// An issue, or a pull request seen as one.
    Issue {
        /// The id.
        id: u64,
        /// The number within the repository.
        number: u64,
        /// The title.
        title: String,
        /// `open` or `closed`.
        state: String,
        /// Why it is in this state: `completed`, `not_planned`, `duplicate` or `reopened`.
        state_reason: Option<String>,
        /// The text, in Markdown.
        body: Option<String>,
        /// Who opened it.
        user: Option<Account>,
        /// Its labels.
        #[serde(default)]
        labels: Vec<IssueLabel>,
        /// Who works on it.
        #[serde(default)]
        assignees: Vec<Account>,
        /// Its milestone.
        milestone: Option<Milestone>,
        /// How many comments it has.
        comments: u64,
        /// Whether only collaborators may comment.
        locked: bool,
        /// When it was opened, in RFC 3339.
        created_at: String,
        /// When it was last changed.
        updated_at: String,
        /// When it was closed.
        closed_at: Option<String>,
        /// Its page.
        html_url: String,
        /// The URL of its repository at the API, in lists of several repositories.
        repository_url: Option<String>,
        /// There if it is a pull request.
        pull_request: Option<PullRequestLink>,
    }

    /// Where the pull request is that an issue is.
    PullRequestLink {
        /// Its page.
        html_url: Option<String>,
        /// When it was merged.
        merged_at: Option<String>,
    }
}

/// A label of an issue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum IssueLabel {
    /// With everything that is known about it.
    Label(Label),
    /// Its name.
    Name(String),
}

choices! {
    /// What issues are sorted by.
    IssueSort {
        /// When they were opened.
        Created "created",
        /// When they were last changed.
        Updated "updated",
        /// How many comments they have.
        Comments "comments",
    }

    /// Why an issue is closed or opened again.
    StateReason {
        /// It is done.
        Completed "completed",
        /// Nobody will do it.
        NotPlanned "not_planned",
        /// There is another issue about it.
        Duplicate "duplicate",
        /// It was closed, and is open again.
        Reopened "reopened",
    }
}

in_repository! {
    /// Lists the issues of a repository. Pull requests are among them, recognized by `pull_request`.
    ListIssues "issues.list" get("/repos/{owner}/{repo}/issues") => Page<Issue> [.page(Paging::LINK)] {
        /// Which ones; only open ones where absent.
        state: Option<Which>,
        /// Names of labels that all of them have, separated by commas.
        labels: Option<String>,
        /// The login of who works on them; `none` for nobody, `*` for anybody.
        assignee: Option<String>,
        /// The login of who opened them.
        creator: Option<String>,
        /// The login of somebody they mention.
        mentioned: Option<String>,
        /// The number of their milestone; `none` for those without, `*` for those with any.
        milestone: Option<String>,
        /// Only those changed at or after this time, in RFC 3339 with `Z`, as `2026-05-01T00:00:00Z`.
        since: Option<String>,
        /// What they are sorted by; `created` where absent.
        sort: Option<IssueSort>,
        /// In which direction; `desc` where absent.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Lists the issues and pull requests of a repository that changed at or after a time, open and closed, in the order in
    /// which they last changed. Made to be read from where the last reading ended.
    ListChangedIssues "issues.list_changed" get("/repos/{owner}/{repo}/issues") => Page<Issue> [
        .fixed_query("sort", "updated")
        .fixed_query("direction", "asc")
        .fixed_query("state", "all")
        .page(Paging::Since { items: "".into(), field: "updated_at".into(), into: "since".into() })
        .incremental(changed_since())
    ] {
        /// Only those changed at or after this time, in RFC 3339 with `Z`; all where absent.
        since: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets an issue, or a pull request as an issue.
    GetIssue "issues.get" get("/repos/{owner}/{repo}/issues/{issue_number}") => Issue {
        /// The number of the issue.
        issue_number: u64,
    }

    /// Opens an issue.
    CreateIssue "issues.create" post("/repos/{owner}/{repo}/issues") => Issue {
        /// The title.
        title: String,
        /// The text, in Markdown.
        body: Option<String>,
        /// The number of its milestone. Only those who may push can set it.
        milestone: Option<u64>,
        /// Names of its labels. Only those who may push can set them; others' are dropped without a word.
        labels: Option<Vec<String>>,
        /// Logins of who works on it. Only those who may push can set them.
        assignees: Option<Vec<String>>,
        /// The name of its issue type, where the organization has some.
        #[serde(rename = "type")]
        kind: Option<String>,
    }

    /// Changes an issue: only what is given changes. Closing is `state` `closed`; labels and assignees replace all there are.
    UpdateIssue "issues.update" patch("/repos/{owner}/{repo}/issues/{issue_number}") => Issue [
        .natural()
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// The title.
        title: Option<String>,
        /// The text, in Markdown.
        body: Option<String>,
        /// Whether it is open.
        state: Option<State>,
        /// Why the state changes; only with `state`.
        state_reason: Option<StateReason>,
        /// The number of its milestone.
        milestone: Option<u64>,
        /// Names of all labels it has from now on; none where the list is empty.
        labels: Option<Vec<String>>,
        /// Logins of all who work on it from now on; nobody where the list is empty.
        assignees: Option<Vec<String>>,
    }

    /// Adds people who work on an issue, up to 10 in all. Those who cannot be assigned are left out without a word.
    AssignIssue "issues.assign" post("/repos/{owner}/{repo}/issues/{issue_number}/assignees") => Issue [
        .natural()
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// Logins of people.
        assignees: Vec<String>,
    }

    /// Takes people off an issue.
    UnassignIssue "issues.unassign" delete("/repos/{owner}/{repo}/issues/{issue_number}/assignees") => Issue [
        .body(crate::request::Body::Json).effect(crate::operation::Effect::Write)
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// Logins of people.
        assignees: Vec<String>,
    }

    /// Lists the labels of an issue.
    ListIssueLabels "issues.list_labels" get("/repos/{owner}/{repo}/issues/{issue_number}/labels") => Page<Label> [
        .page(Paging::LINK)
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Adds labels to an issue and answers all it has. A label that the repository lacks is made.
    AddLabels "issues.add_labels" post("/repos/{owner}/{repo}/issues/{issue_number}/labels") => Vec<Label> [
        .natural()
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// Names of labels.
        labels: Vec<String>,
    }

    /// Takes a label off an issue and answers those it still has.
    RemoveLabel "issues.remove_label" delete("/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}") => Vec<Label> [
        .effect(crate::operation::Effect::Write)
    ] {
        /// The number of the issue.
        issue_number: u64,
        /// The name of the label.
        name: String,
    }

    /// Lists the labels of a repository.
    ListLabels "labels.list" get("/repos/{owner}/{repo}/labels") => Page<Label> [.page(Paging::LINK)] {
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Makes a label of a repository.
    CreateLabel "labels.create" post("/repos/{owner}/{repo}/labels") => Label {
        /// The name of the label. Emoji can be written as `:strawberry:`.
        name: String,
        /// The color, six hexadecimal digits without `#`.
        color: Option<String>,
        /// What it is for, up to 100 characters.
        description: Option<String>,
    }
}

/// How issues and comments are read incrementally. GitHub's times are whole seconds, and its list is a little behind.
pub(super) fn changed_since() -> Incremental {
    Incremental {
        field: "updated_at".into(),
        id: "id".into(),
        since: "since".into(),
        overlap: Duration::from_secs(60),
    }
}
