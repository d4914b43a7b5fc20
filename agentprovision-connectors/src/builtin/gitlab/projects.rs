//! Projects, their members, labels and webhooks, searching, and whose the token is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issues::Issue;
use super::merge_requests::MergeRequest;
use super::repository::Commit;
use super::{Sort, User, Visibility};
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// The number.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The full path, as `group/project`.
    pub path_with_namespace: String,
    /// What it is.
    pub description: Option<String>,
    /// The branch that others start from; none in an empty repository.
    pub default_branch: Option<String>,
    /// `private`, `internal` or `public`.
    pub visibility: Option<String>,
    /// Whether it can only be read.
    pub archived: Option<bool>,
    /// Issues that are open.
    pub open_issues_count: Option<u64>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When something last happened in it.
    pub last_activity_at: Option<String>,
    /// The page about it.
    pub web_url: String,
    /// Where git finds it.
    pub http_url_to_repo: Option<String>,
}

/// Whose the token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CurrentUser {
    /// The number.
    pub id: u64,
    /// The name to mention them by, without `@`.
    pub username: String,
    /// The name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether it is no person: tokens of projects and groups have such a user.
    pub bot: Option<bool>,
    /// The page about them.
    pub web_url: Option<String>,
}

/// A member of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The number of the user.
    pub id: u64,
    /// The name to mention them by, without `@`.
    pub username: String,
    /// The name.
    pub name: Option<String>,
    /// `active` or `blocked`.
    pub state: Option<String>,
    /// What they may do: 10 guest, 15 planner, 20 reporter, 30 developer, 40 maintainer, 50 owner.
    pub access_level: u32,
    /// The day it ends.
    pub expires_at: Option<String>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    /// The number.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The color, as `#d9534f`.
    pub color: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// A URL that GitLab tells what happens in a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// The number.
    pub id: u64,
    /// The URL.
    pub url: String,
    /// Whether it is told of pushes.
    pub push_events: Option<bool>,
    /// Whether it is told of issues.
    pub issues_events: Option<bool>,
    /// Whether it is told of merge requests.
    pub merge_requests_events: Option<bool>,
    /// Whether it is told of comments.
    pub note_events: Option<bool>,
    /// Whether it is told of pipelines.
    pub pipeline_events: Option<bool>,
    /// Whether it is told of releases.
    pub releases_events: Option<bool>,
    /// Whether its certificate is checked.
    pub enable_ssl_verification: Option<bool>,
    /// `executable`, or `disabled` where it has failed too often.
    pub alert_status: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
}

/// A place in a file that has the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeHit {
    /// The path of the file.
    pub path: String,
    /// The lines around it.
    pub data: String,
    /// The number of the first of these lines.
    pub startline: Option<u64>,
    /// The branch or commit it was found in.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The number of the project.
    pub project_id: Option<u64>,
}

/// How lists of projects go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pagination {
    /// After the last item, whatever is changed meanwhile.
    Keyset,
}

/// By what projects are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectOrder {
    /// By number.
    Id,
    /// By name.
    Name,
    /// By path.
    Path,
    /// By when they were made.
    CreatedAt,
    /// By when they were changed.
    UpdatedAt,
    /// By when something last happened.
    LastActivityAt,
    /// By how many have starred them.
    StarCount,
}

operations! {
    /// Says whose the token is.
    GetCurrentUser "users.me" get("/user") => CurrentUser [.scopes(["read_user"])] {}

    /// Gets a project.
    GetProject "projects.get" get("/projects/{project}") => Project [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
    }

    /// Lists or searches projects.
    ListProjects "projects.list" get("/projects") => Page<Project> [.page(Paging::LINK).scopes(["read_api"])] {
        /// Only those with this in their name, path or description.
        search: Option<String>,
        /// Only those that the token's user is a member of; without it, public ones are listed too.
        membership: Option<bool>,
        /// Only those that the token's user owns.
        owned: Option<bool>,
        /// Only those that are archived, or are not.
        archived: Option<bool>,
        /// Only those that these may see.
        visibility: Option<Visibility>,
        /// By what they are sorted; default `created_at`.
        order_by: Option<ProjectOrder>,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// How the list goes on; `keyset` is needed beyond 50000 projects, with `order_by` being `id`.
        pagination: Option<Pagination>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists members of a project, those of its groups too.
    ListMembers "members.list" get("/projects/{project}/members/all") => Page<Member> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those with this in their name, user name or e-mail address.
        query: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists labels of a project, those of its groups too.
    ListLabels "labels.list" get("/projects/{project}/labels") => Page<Label> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those with this in their name.
        search: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Makes a label in a project.
    CreateLabel "labels.create" post("/projects/{project}/labels") => Label [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The name, which has no comma.
        name: String,
        /// The color, as `#d9534f` or `red`.
        color: String,
        /// What it is for.
        description: Option<String>,
    }

    /// Lists the URLs that GitLab tells what happens in a project.
    ListHooks "hooks.list" get("/projects/{project}/hooks") => Page<Hook> [.page(Paging::LINK).scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Has GitLab tell a URL what happens in a project.
    CreateHook "hooks.create" post("/projects/{project}/hooks") => Hook [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The URL.
        url: String,
        /// What deliveries have in the header `X-Gitlab-Token`; GitLab never shows it again.
        token: Option<String>,
        /// Of pushes; default true.
        push_events: Option<bool>,
        /// Of pushes to branches that look so alone, as `release/*`.
        push_events_branch_filter: Option<String>,
        /// Of pushed tags.
        tag_push_events: Option<bool>,
        /// Of issues.
        issues_events: Option<bool>,
        /// Of merge requests.
        merge_requests_events: Option<bool>,
        /// Of comments.
        note_events: Option<bool>,
        /// Of jobs.
        job_events: Option<bool>,
        /// Of pipelines.
        pipeline_events: Option<bool>,
        /// Of releases.
        releases_events: Option<bool>,
        /// Whether the certificate is checked; default true.
        enable_ssl_verification: Option<bool>,
    }

    /// Lets GitLab no longer tell a URL.
    DeleteHook "hooks.delete" delete("/projects/{project}/hooks/{hook_id}") => () [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of it.
        hook_id: u64,
    }

    /// Searches the files of a project.
    SearchCode "search.code" get("/projects/{project}/search") => Page<CodeHit> [
        .fixed_query("scope", "blobs").page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The words; `filename:`, `path:` and `extension:` narrow them down, as in `retry extension:rs`.
        search: String,
        /// Branch or tag; default is the project's.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Searches the messages of a project's commits.
    SearchCommits "search.commits" get("/projects/{project}/search") => Page<Commit> [
        .fixed_query("scope", "commits").page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The words.
        search: String,
        /// Branch or tag; default is the project's.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Searches titles and descriptions of issues of all projects that the token's user can see.
    SearchIssues "search.issues" get("/search") => Page<Issue> [
        .fixed_query("scope", "issues").page(Paging::LINK).scopes(["read_api"])
    ] {
        /// The words.
        search: String,
        /// Only those that are `opened` or `closed`.
        state: Option<super::issues::IssueState>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Searches titles and descriptions of merge requests of all projects that the token's user can see.
    SearchMergeRequests "search.merge_requests" get("/search") => Page<MergeRequest> [
        .fixed_query("scope", "merge_requests").page(Paging::LINK).scopes(["read_api"])
    ] {
        /// The words.
        search: String,
        /// Only those in this state.
        state: Option<super::merge_requests::MergeRequestState>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists users, or finds one by the name to mention them by.
    ListUsers "users.list" get("/users") => Page<User> [.page(Paging::LINK).scopes(["read_api"])] {
        /// Only the one with this user name.
        username: Option<String>,
        /// Only those with this in their name, user name or public e-mail address.
        search: Option<String>,
        /// Only those that are not blocked.
        active: Option<bool>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }
}
