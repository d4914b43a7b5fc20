//! Issues and their comments.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Milestone, Note, Sort, User};
use crate::operation::{Incremental, Page};
use crate::operations;
use crate::paging::Paging;

/// An issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Issue {
    /// The id, unique within GitLab.
    pub id: u64,
    /// The number that people use, unique within its project.
    pub iid: u64,
    /// The number of its project.
    pub project_id: u64,
    /// The title.
    pub title: String,
    /// The text, in Markdown.
    pub description: Option<String>,
    /// `opened` or `closed`.
    pub state: String,
    /// The labels.
    pub labels: Vec<String>,
    /// Who wrote it.
    pub author: Option<User>,
    /// Who has to deal with it.
    pub assignees: Option<Vec<User>>,
    /// The milestone.
    pub milestone: Option<Milestone>,
    /// The day it is due.
    pub due_date: Option<String>,
    /// Whether only members see it.
    pub confidential: Option<bool>,
    /// `issue`, `incident`, `test_case` or `task`.
    pub issue_type: Option<String>,
    /// Comments, counted.
    pub user_notes_count: Option<u64>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// The state of an issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssueState {
    /// Open.
    Opened,
    /// Closed.
    Closed,
}

/// Whose issues or merge requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those that the token's user wrote.
    CreatedByMe,
    /// Those that the token's user has to deal with.
    AssignedToMe,
    /// All.
    All,
}

/// By what issues and merge requests are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By when they were made.
    CreatedAt,
    /// By when they were changed.
    UpdatedAt,
    /// By title.
    Title,
}

/// What happens to the state of an issue or merge request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateEvent {
    /// It is closed.
    Close,
    /// It is opened again.
    Reopen,
}

/// What kind of issue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssueType {
    /// An issue.
    Issue,
    /// An incident.
    Incident,
    /// A test case.
    TestCase,
    /// A task.
    Task,
}

operations! {
    /// Lists issues of a project, the newest first.
    ListIssues "issues.list" get("/projects/{project}/issues") => Page<Issue> [.page(Paging::LINK).scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those in this state.
        state: Option<IssueState>,
        /// Only those with all of these labels, joined by commas; `None` is those without, `Any` those with one.
        labels: Option<String>,
        /// Only those of the milestone with this title; `None` is those without, `Any` those with one.
        milestone: Option<String>,
        /// Only those that the user with this name has to deal with.
        assignee_username: Option<String>,
        /// Only those that the user with this name wrote.
        author_username: Option<String>,
        /// Whose; default `all`.
        scope: Option<Scope>,
        /// Only those with this in their title or description.
        search: Option<String>,
        /// Only those made at this time or after, as `2025-11-01T00:00:00Z`.
        created_after: Option<String>,
        /// Only those changed at this time or after.
        updated_after: Option<String>,
        /// Only those changed at this time or before.
        updated_before: Option<String>,
        /// By what they are sorted; default `created_at`.
        order_by: Option<Order>,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists issues of a project from where the last reading ended, those that were not changed for longest first. GitLab before
    /// 18.3 counts through this list, so that issues that are changed meanwhile can be missing.
    ListChangedIssues "issues.changed" get("/projects/{project}/issues") => Page<Issue> [
        .fixed_query("pagination", "keyset")
        .fixed_query("order_by", "updated_at")
        .fixed_query("sort", "asc")
        .page(Paging::LINK)
        .incremental(Incremental {
            field: "updated_at".into(),
            id: "id".into(),
            since: "updated_after".into(),
            overlap: Duration::from_secs(60),
        })
        .scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those changed at this time or after, as `2025-11-01T00:00:00Z`.
        updated_after: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Gets an issue.
    GetIssue "issues.get" get("/projects/{project}/issues/{issue_iid}") => Issue [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        issue_iid: u64,
    }

    /// Makes an issue.
    CreateIssue "issues.create" post("/projects/{project}/issues") => Issue [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The title.
        title: String,
        /// The text, in Markdown.
        description: Option<String>,
        /// The labels, joined by commas; those that are not there are made.
        labels: Option<String>,
        /// Numbers of users who have to deal with it; more than one needs a paid plan.
        assignee_ids: Option<Vec<u64>>,
        /// The id of the milestone.
        milestone_id: Option<u64>,
        /// The day it is due, as `2025-11-22`.
        due_date: Option<String>,
        /// Whether only members see it; default false.
        confidential: Option<bool>,
        /// What kind it is; default `issue`.
        issue_type: Option<IssueType>,
    }

    /// Changes an issue; what is left out stays as it is.
    UpdateIssue "issues.update" put("/projects/{project}/issues/{issue_iid}") => Issue [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        issue_iid: u64,
        /// The title.
        title: Option<String>,
        /// The text, in Markdown.
        description: Option<String>,
        /// What happens to its state.
        state_event: Option<StateEvent>,
        /// The labels instead of those it has, joined by commas; empty takes all away.
        labels: Option<String>,
        /// Labels to add, joined by commas.
        add_labels: Option<String>,
        /// Labels to take away, joined by commas.
        remove_labels: Option<String>,
        /// Numbers of users who have to deal with it; 0 alone is nobody.
        assignee_ids: Option<Vec<u64>>,
        /// The id of the milestone; 0 is none.
        milestone_id: Option<u64>,
        /// The day it is due, as `2025-11-22`.
        due_date: Option<String>,
        /// Whether only members see it.
        confidential: Option<bool>,
    }

    /// Lists comments on an issue, the newest first.
    ListIssueNotes "issues.notes" get("/projects/{project}/issues/{issue_iid}/notes") => Page<Note> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        issue_iid: u64,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Writes a comment on an issue.
    CreateIssueNote "issues.add_note" post("/projects/{project}/issues/{issue_iid}/notes") => Note [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        issue_iid: u64,
        /// The text, in Markdown.
        body: String,
        /// Whether only members see it; default false.
        internal: Option<bool>,
    }
}
