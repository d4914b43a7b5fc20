//! Projects, people, and what issues are made of.

use serde_json::Value;

use super::types::{IssueType, Named, Person, Status, Time};
use super::{READ, READ_USERS, until_last};
use crate::operation::Page;
use crate::operations;

records! {
    /// A project.
    Project {
        /// The id.
        id: String,
        /// The key, with which those of its issues begin.
        key: String,
        /// The name.
        name: String,
        /// What it is about.
        description: Option<String>,
        /// `software`, `service_desk` or `business`.
        #[serde(rename = "projectTypeKey")]
        kind: Option<String>,
        /// Who leads it.
        lead: Option<Person>,
        /// Whether it is closed.
        archived: Option<bool>,
        /// Whether only its members see it.
        #[serde(rename = "isPrivate")]
        is_private: Option<bool>,
        /// The types of issues it has.
        #[serde(rename = "issueTypes")]
        issue_types: Option<Vec<IssueType>>,
    }
    /// A version of a project.
    Version {
        /// The id.
        id: String,
        /// The name.
        name: String,
        /// What it is about.
        description: Option<String>,
        /// Whether it is released.
        released: Option<bool>,
        /// Whether it is closed.
        archived: Option<bool>,
        /// The day it is released, as `2026-01-31`.
        #[serde(rename = "releaseDate")]
        release_date: Option<String>,
        /// Whether that day is over.
        overdue: Option<bool>,
    }
    /// A part of a project.
    Component {
        /// The id.
        id: String,
        /// The name.
        name: String,
        /// What it is.
        description: Option<String>,
        /// Who leads it.
        lead: Option<Person>,
    }
    /// The statuses of a type of issues in a project.
    TypeStatuses {
        /// The type's id.
        id: String,
        /// The type's name.
        name: String,
        /// The statuses.
        statuses: Vec<Status>,
    }
    /// A field of issues.
    Field {
        /// The id, as other operations take it.
        id: String,
        /// The name.
        name: String,
        /// Whether it is the site's own.
        custom: Option<bool>,
        /// The type: `type`, `items` of lists, and `custom`, which of the site's own types it is.
        schema: Option<Value>,
        /// How queries in JQL can call it.
        #[serde(rename = "clauseNames")]
        clause_names: Option<Vec<String>>,
    }
    /// A query that somebody keeps.
    Filter {
        /// The id.
        id: String,
        /// The name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The query, where it was asked for.
        jql: Option<String>,
        /// Whose it is, where that was asked for.
        owner: Option<Person>,
    }
    /// A site.
    Server {
        /// The URL.
        #[serde(rename = "baseUrl")]
        base_url: String,
        /// The version.
        version: Option<String>,
        /// `Cloud` or `Server`.
        #[serde(rename = "deploymentType")]
        deployment: Option<String>,
        /// The name.
        #[serde(rename = "serverTitle")]
        title: Option<String>,
        /// The time there.
        #[serde(rename = "serverTime")]
        time: Option<Time>,
    }
}

choices! {
    /// Whether a version is released.
    VersionStatus {
        /// It is.
        Released "released",
        /// It is not.
        Unreleased "unreleased",
        /// It is closed.
        Archived "archived",
    }
}

operations! {
    /// Lists the projects that the account sees.
    Search "projects.search" get("/rest/api/3/project/search") => Page<Project> [.page(until_last()).scopes([READ])] {
        /// Only those whose key or name has this in it.
        query: Option<String>,
        /// Only those with these keys, up to 50.
        keys: Option<Vec<String>>,
        /// What to tell of each beyond its name, joined by commas: `description`, `lead`, `issueTypes`, `url`.
        expand: Option<String>,
        /// How many a page has at most, up to 100; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Tells about a project, with the types of issues it has.
    Get "projects.get" get("/rest/api/3/project/{projectIdOrKey}") => Project [.scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
    }
    /// Lists the versions of a project.
    ListVersions "projects.list_versions" get("/rest/api/3/project/{projectIdOrKey}/version") => Page<Version>
    [.page(until_last()).scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
        /// Only those whose name or description has this in it.
        query: Option<String>,
        /// Only those of this status.
        status: Option<VersionStatus>,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lists the parts of a project.
    ListComponents "projects.list_components" get("/rest/api/3/project/{projectIdOrKey}/component") => Page<Component>
    [.page(until_last()).scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
        /// Only those whose name or description has this in it.
        query: Option<String>,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lists the statuses of a project, by type of issues.
    ListStatuses "projects.list_statuses" get("/rest/api/3/project/{projectIdOrKey}/statuses") => Vec<TypeStatuses>
    [.scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
    }
    /// Tells whose credentials they are.
    Me "users.me" get("/rest/api/3/myself") => Person [.scopes([READ_USERS])] {}
    /// Tells about a person.
    GetUser "users.get" get("/rest/api/3/user") => Person [.scopes([READ_USERS])] {
        /// The account's id.
        #[serde(rename = "accountId")]
        account_id: String,
    }
    /// Finds people by the beginning of their name or e-mail address, among the first thousand. Can answer fewer than it has
    /// looked at; `startAt` counts those it has looked at.
    SearchUsers "users.search" get("/rest/api/3/user/search") => Vec<Person> [.scopes([READ_USERS])] {
        /// The beginning of the name or address.
        query: String,
        /// How many people to leave out; default 0.
        #[serde(rename = "startAt")]
        start_at: Option<u32>,
        /// How many people to look at; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Finds people who can work on an issue, or on new issues of a project: one of `issueKey` and `project` is needed. Can
    /// answer fewer than it has looked at; `startAt` counts those it has looked at.
    ListAssignable "users.list_assignable" get("/rest/api/3/user/assignable/search") => Vec<Person>
    [.scopes([READ_USERS])] {
        /// The issue's key.
        #[serde(rename = "issueKey")]
        issue_key: Option<String>,
        /// The project's key or id.
        project: Option<String>,
        /// Only those whose name or e-mail address begins so.
        query: Option<String>,
        /// How many people to leave out; default 0.
        #[serde(rename = "startAt")]
        start_at: Option<u32>,
        /// How many people to look at, up to 1000; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lists the fields that issues of the site can have, with their ids and types.
    ListFields "fields.list" get("/rest/api/3/field") => Vec<Field> [.scopes([READ])] {}
    /// Lists the types of issues that the account sees.
    ListIssueTypes "issue_types.list" get("/rest/api/3/issuetype") => Vec<IssueType> [.scopes([READ])] {}
    /// Lists the priorities of issues.
    ListPriorities "priorities.list" get("/rest/api/3/priority") => Vec<Named> [.scopes([READ])] {}
    /// Lists the statuses of issues in the workflows of the site.
    ListAllStatuses "statuses.list" get("/rest/api/3/status") => Vec<Status> [.scopes([READ])] {}
    /// Finds queries that people keep.
    SearchFilters "filters.search" get("/rest/api/3/filter/search") => Page<Filter>
    [.page(until_last()).fixed_query("expand", "jql,owner,description").scopes([READ])] {
        /// Only those whose name has this in it.
        #[serde(rename = "filterName")]
        filter_name: Option<String>,
        /// Only those of this person, by the account's id.
        #[serde(rename = "accountId")]
        account_id: Option<String>,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Tells which site it is, and its version.
    ServerInfo "server.info" get("/rest/api/3/serverInfo") => Server {}
}
