//! Merge requests: what is talked over before it is merged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issues::{Order, Scope, StateEvent};
use super::{Diff, Milestone, Note, Sort, User};
use crate::answer::Form;
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// A merge request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergeRequest {
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
    /// `opened`, `closed`, `locked` or `merged`.
    pub state: String,
    /// Whether it is a draft.
    pub draft: Option<bool>,
    /// The branch that is merged.
    pub source_branch: String,
    /// The branch that it is merged into.
    pub target_branch: String,
    /// The commit at the end of the branch that is merged.
    pub sha: Option<String>,
    /// The commit that merged it.
    pub merge_commit_sha: Option<String>,
    /// Whether it can be merged: `mergeable`, or why not, as `ci_must_pass`, `conflict`, `discussions_not_resolved`,
    /// `draft_status` or `not_approved`.
    pub detailed_merge_status: Option<String>,
    /// Whether it conflicts with the branch it is merged into.
    pub has_conflicts: Option<bool>,
    /// Whether all threads are settled that have to be.
    pub blocking_discussions_resolved: Option<bool>,
    /// The labels.
    pub labels: Vec<String>,
    /// Who wrote it.
    pub author: Option<User>,
    /// Who has to deal with it.
    pub assignees: Option<Vec<User>>,
    /// Who looks it over.
    pub reviewers: Option<Vec<User>>,
    /// The milestone.
    pub milestone: Option<Milestone>,
    /// The pipeline of its last commit.
    pub head_pipeline: Option<HeadPipeline>,
    /// Comments, counted.
    pub user_notes_count: Option<u64>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// When it was merged.
    pub merged_at: Option<String>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// The pipeline of the last commit of a merge request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadPipeline {
    /// The number.
    pub id: u64,
    /// Its state, as `success`, `failed` or `running`.
    pub status: String,
    /// The page about it.
    pub web_url: Option<String>,
}

/// A thread of comments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discussion {
    /// The id.
    pub id: String,
    /// Whether it is a single comment that cannot be answered.
    pub individual_note: bool,
    /// The comments, the first one first.
    pub notes: Vec<Note>,
}

/// The state of a merge request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeRequestState {
    /// Open.
    Opened,
    /// Closed without being merged.
    Closed,
    /// Being merged.
    Locked,
    /// Merged.
    Merged,
}

/// Whether to list drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drafts {
    /// Only drafts.
    Yes,
    /// No drafts.
    No,
}

operations! {
    /// Lists merge requests of a project, the newest first.
    ListMergeRequests "merge_requests.list" get("/projects/{project}/merge_requests") => Page<MergeRequest> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those in this state.
        state: Option<MergeRequestState>,
        /// Only those with all of these labels, joined by commas; `None` is those without, `Any` those with one.
        labels: Option<String>,
        /// Only those that merge this branch.
        source_branch: Option<String>,
        /// Only those that merge into this branch.
        target_branch: Option<String>,
        /// Only those that the user with this name wrote.
        author_username: Option<String>,
        /// Only those that the user with this name looks over.
        reviewer_username: Option<String>,
        /// Whose; default `all`.
        scope: Option<Scope>,
        /// Only those with this in their title or description.
        search: Option<String>,
        /// Only drafts, or none of them.
        wip: Option<Drafts>,
        /// Only those changed at this time or after, as `2025-11-01T00:00:00Z`.
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

    /// Gets a merge request, with whether it can be merged.
    GetMergeRequest "merge_requests.get" get("/projects/{project}/merge_requests/{merge_request_iid}") => MergeRequest [
        .scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
    }

    /// Makes a merge request.
    CreateMergeRequest "merge_requests.create" post("/projects/{project}/merge_requests") => MergeRequest [
        .scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The branch that is merged.
        source_branch: String,
        /// The branch that it is merged into.
        target_branch: String,
        /// The title; one that begins with `Draft:` makes a draft.
        title: String,
        /// The text, in Markdown.
        description: Option<String>,
        /// The labels, joined by commas.
        labels: Option<String>,
        /// Numbers of users who have to deal with it.
        assignee_ids: Option<Vec<u64>>,
        /// Numbers of users who look it over.
        reviewer_ids: Option<Vec<u64>>,
        /// The number of the project to merge into, where that is another one.
        target_project_id: Option<u64>,
        /// The id of the milestone.
        milestone_id: Option<u64>,
        /// Whether the branch is taken away once it is merged.
        remove_source_branch: Option<bool>,
        /// Whether its commits become one.
        squash: Option<bool>,
    }

    /// Changes a merge request; what is left out stays as it is.
    UpdateMergeRequest "merge_requests.update" put("/projects/{project}/merge_requests/{merge_request_iid}") => MergeRequest [
        .scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// The title.
        title: Option<String>,
        /// The text, in Markdown.
        description: Option<String>,
        /// What happens to its state.
        state_event: Option<StateEvent>,
        /// The branch that it is merged into.
        target_branch: Option<String>,
        /// The labels instead of those it has, joined by commas; empty takes all away.
        labels: Option<String>,
        /// Labels to add, joined by commas.
        add_labels: Option<String>,
        /// Labels to take away, joined by commas.
        remove_labels: Option<String>,
        /// Numbers of users who have to deal with it; 0 alone is nobody.
        assignee_ids: Option<Vec<u64>>,
        /// Numbers of users who look it over; 0 alone is nobody.
        reviewer_ids: Option<Vec<u64>>,
        /// The id of the milestone; 0 is none.
        milestone_id: Option<u64>,
        /// Whether the branch is taken away once it is merged.
        remove_source_branch: Option<bool>,
        /// Whether its commits become one.
        squash: Option<bool>,
    }

    /// Merges a merge request, or has it merged as soon as its pipeline succeeds. GitLab answers 401 where the token's user may
    /// not merge it.
    Merge "merge_requests.merge" put("/projects/{project}/merge_requests/{merge_request_iid}/merge") => MergeRequest [
        .scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// The commit that was looked over: where another one is at the end of the branch, nothing is merged.
        sha: Option<String>,
        /// Whether to wait for the pipeline to succeed; default false.
        merge_when_pipeline_succeeds: Option<bool>,
        /// Whether its commits become one.
        squash: Option<bool>,
        /// The message of the commit that merges.
        merge_commit_message: Option<String>,
        /// The message of the one commit that all become.
        squash_commit_message: Option<String>,
        /// Whether the branch is taken away.
        should_remove_source_branch: Option<bool>,
    }

    /// Approves a merge request. GitLab answers 401 where the token's user may not approve it, or has done so already.
    ApproveMergeRequest "merge_requests.approve" post("/projects/{project}/merge_requests/{merge_request_iid}/approve") => () [
        .answers(Form::Ignored).scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// The commit that was looked over: where another one is at the end of the branch, it is not approved.
        sha: Option<String>,
    }

    /// Lists the files that a merge request changes.
    ListMergeRequestChanges "merge_requests.changes" get("/projects/{project}/merge_requests/{merge_request_iid}/diffs") => Page<Diff> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists comments on a merge request, the newest first.
    ListMergeRequestNotes "merge_requests.notes" get("/projects/{project}/merge_requests/{merge_request_iid}/notes") => Page<Note> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Writes a comment on a merge request.
    CreateMergeRequestNote "merge_requests.add_note" post("/projects/{project}/merge_requests/{merge_request_iid}/notes") => Note [
        .scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// The text, in Markdown.
        body: String,
        /// Whether only members see it; default false.
        internal: Option<bool>,
    }

    /// Lists threads of comments on a merge request, those on lines of files too.
    ListDiscussions "merge_requests.discussions" get("/projects/{project}/merge_requests/{merge_request_iid}/discussions") => Page<Discussion> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number that people use.
        merge_request_iid: u64,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }
}
