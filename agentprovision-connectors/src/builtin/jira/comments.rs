//! What people add to issues: comments, work, files, and watching.

use super::adf::{PlainText, RichText, documents};
use super::types::{Attachment, Person, Time};
use super::{READ, WRITE, offset};
use crate::answer::{Blob, Form};
use crate::mapping::Mapping;
use crate::operation::Page;
use crate::operations;
use crate::request::{Body, File};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who sees a comment or work, where not everybody does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Visibility {
    /// Who is meant.
    #[serde(rename = "type")]
    pub kind: Circle,
    /// The name of the role or group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The id of the group, instead of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
}

choices! {
    /// Kinds of circles of people.
    Circle {
        /// Those with a role in the project.
        Role "role",
        /// The members of a group.
        Group "group",
    }
    /// In which order.
    Order {
        /// The oldest first.
        Oldest "created",
        /// The newest first.
        Newest "-created",
    }
}

records! {
    /// A comment.
    Comment {
        /// The id.
        id: String,
        /// Who wrote it.
        author: Option<Person>,
        /// The text.
        body: Option<PlainText>,
        /// When it was written.
        created: Option<Time>,
        /// When it was last changed.
        updated: Option<Time>,
        /// Who sees it, where not everybody does.
        visibility: Option<SeenBy>,
        /// Whether customers of a service desk see it.
        #[serde(rename = "jsdPublic")]
        public: Option<bool>,
    }
    /// Who sees a comment.
    SeenBy {
        /// `role` or `group`.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// The name of it.
        value: Option<String>,
    }
    /// Work on an issue.
    Worklog {
        /// The id.
        id: String,
        /// Who worked.
        author: Option<Person>,
        /// What was done.
        comment: Option<PlainText>,
        /// When it began.
        started: Option<Time>,
        /// How long it took, as `3h 20m`.
        #[serde(rename = "timeSpent")]
        time_spent: Option<String>,
        /// How long it took, in seconds.
        #[serde(rename = "timeSpentSeconds")]
        seconds: Option<i64>,
        /// When it was last changed.
        updated: Option<Time>,
    }
    /// Who watches an issue.
    Watchers {
        /// Whether the account does.
        #[serde(rename = "isWatching")]
        is_watching: Option<bool>,
        /// How many do.
        #[serde(rename = "watchCount")]
        count: Option<u64>,
        /// Those that the account may see.
        #[serde(default)]
        watchers: Vec<Person>,
    }
}

operations! {
    /// Lists the comments of an issue.
    List "comments.list" get("/rest/api/3/issue/{issueIdOrKey}/comment") => Page<Comment>
    [.page(offset("/comments")).scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// In which order; default the oldest first.
        #[serde(rename = "orderBy")]
        order_by: Option<Order>,
        /// How many a page has at most; default 100.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Reads a comment.
    Get "comments.get" get("/rest/api/3/issue/{issueIdOrKey}/comment/{id}") => Comment [.scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The comment's id.
        id: String,
    }
    /// Adds a comment to an issue.
    Add "comments.add" post("/rest/api/3/issue/{issueIdOrKey}/comment") => Comment
    [.map_input(Mapping::function(documents)).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The text.
        body: RichText,
        /// Who sees it; default everybody who sees the issue.
        visibility: Option<Visibility>,
    }
    /// Changes the text of a comment.
    Update "comments.update" put("/rest/api/3/issue/{issueIdOrKey}/comment/{id}") => Comment
    [.map_input(Mapping::function(documents)).query(["notifyUsers"]).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The comment's id.
        id: String,
        /// The new text.
        body: RichText,
        /// Who sees it.
        visibility: Option<Visibility>,
        /// Whether people who watch the issue get an e-mail; default true.
        #[serde(rename = "notifyUsers")]
        notify_users: Option<bool>,
    }
    /// Deletes a comment.
    Delete "comments.delete" delete("/rest/api/3/issue/{issueIdOrKey}/comment/{id}") => ()
    [.answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The comment's id.
        id: String,
    }
    /// Lists the work that was logged on an issue, the oldest first.
    ListWork "worklogs.list" get("/rest/api/3/issue/{issueIdOrKey}/worklog") => Page<Worklog>
    [.page(offset("/worklogs")).scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// Only what began after then, in milliseconds since 1970.
        #[serde(rename = "startedAfter")]
        started_after: Option<i64>,
        /// Only what began before then, in milliseconds since 1970.
        #[serde(rename = "startedBefore")]
        started_before: Option<i64>,
        /// How many a page has at most; default 5000.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Logs work on an issue. One of `timeSpent` and `timeSpentSeconds` is needed.
    AddWork "worklogs.add" post("/rest/api/3/issue/{issueIdOrKey}/worklog") => Worklog
    [.map_input(Mapping::function(documents)).query(["notifyUsers"]).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// How long it took, in days, hours and minutes, as `3h 20m`.
        #[serde(rename = "timeSpent")]
        time_spent: Option<String>,
        /// How long it took, in seconds.
        #[serde(rename = "timeSpentSeconds")]
        time_spent_seconds: Option<u64>,
        /// When it began, as `2026-01-31T12:34:00.000+0000`; default now.
        started: Option<String>,
        /// What was done.
        comment: Option<RichText>,
        /// Whether people who watch the issue get an e-mail; default true.
        #[serde(rename = "notifyUsers")]
        notify_users: Option<bool>,
    }
    /// Changes work that was logged.
    UpdateWork "worklogs.update" put("/rest/api/3/issue/{issueIdOrKey}/worklog/{id}") => Worklog
    [.map_input(Mapping::function(documents)).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The work's id.
        id: String,
        /// How long it took, as `3h 20m`.
        #[serde(rename = "timeSpent")]
        time_spent: Option<String>,
        /// How long it took, in seconds.
        #[serde(rename = "timeSpentSeconds")]
        time_spent_seconds: Option<u64>,
        /// When it began, as `2026-01-31T12:34:00.000+0000`.
        started: Option<String>,
        /// What was done.
        comment: Option<RichText>,
    }
    /// Takes back work that was logged.
    DeleteWork "worklogs.delete" delete("/rest/api/3/issue/{issueIdOrKey}/worklog/{id}") => ()
    [.answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The work's id.
        id: String,
    }
    /// Tells who watches an issue.
    ListWatchers "watchers.list" get("/rest/api/3/issue/{issueIdOrKey}/watchers") => Watchers [.scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
    }
    /// Lets somebody watch an issue.
    AddWatcher "watchers.add" post("/rest/api/3/issue/{issueIdOrKey}/watchers") => ()
    [.body(Body::Field("accountId".into())).natural().answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The account's id.
        #[serde(rename = "accountId")]
        account_id: String,
    }
    /// Lets somebody watch an issue no longer.
    RemoveWatcher "watchers.remove" delete("/rest/api/3/issue/{issueIdOrKey}/watchers") => ()
    [.answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The account's id.
        #[serde(rename = "accountId")]
        account_id: String,
    }
    /// Attaches a file to an issue. What is attached twice is there twice.
    Attach "attachments.add" post("/rest/api/3/issue/{issueIdOrKey}/attachments") => Vec<Attachment>
    [.body(Body::Multipart).fixed_header("x-atlassian-token", "no-check").scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The file.
        file: File,
    }
    /// Reads the bytes of a file at an issue. `issues.get` tells which files there are.
    Download "attachments.download" get("/rest/api/3/attachment/content/{id}") => Blob
    [.fixed_query("redirect", "false").answers(Form::Bytes).scopes([READ])] {
        /// The file's id.
        id: String,
    }
}
