//! Searching issues.

use agentprovision_core::{Result, Timestamp};
use serde_json::Value;
use std::time::Duration;

use super::READ;
use super::types::{Issue, issues};
use crate::builtin::with_default;
use crate::mapping::Mapping;
use crate::operation::{Effect, Incremental, Page};
use crate::operations;
use crate::paging::Paging;

/// What is read of issues that were found, where nothing else is asked for.
const FIELDS: [&str; 14] = [
    "summary",
    "status",
    "issuetype",
    "project",
    "priority",
    "resolution",
    "assignee",
    "reporter",
    "labels",
    "parent",
    "duedate",
    "created",
    "updated",
    "resolutiondate",
];

/// Lists go on by a token (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-search/>).
fn token() -> Paging {
    let token = "nextPageToken";
    Paging::Cursor { items: "/issues".into(), from: "/nextPageToken".into(), into: token.into() }
}

/// With fields: without any Jira answers ids alone.
fn with_fields(input: &Value) -> Result<Value> {
    Ok(with_default(input, "fields", FIELDS.as_slice().into()))
}

/// The query of what has changed. A date in a query is read in the time zone of whoever asks and to the minute; a number of
/// milliseconds is a point in time.
fn changed_since(input: &Value) -> Result<Value> {
    let mut input = with_fields(input)?;
    let Some(fields) = input.as_object_mut() else { return Ok(input) };
    let since = match fields.remove("updated_since") {
        Some(Value::String(since)) => since.parse::<Timestamp>()?.micros().div_euclid(1000),
        _ => 0,
    };
    let filter = match fields.remove("jql") {
        Some(Value::String(jql)) if !jql.trim().is_empty() => format!("({}) AND ", jql.trim()),
        _ => String::new(),
    };
    fields
        .insert("jql".to_owned(), format!("{filter}updated >= {since} ORDER BY updated ASC, key ASC").into());
    Ok(input)
}

records! {
    /// How many issues there are.
    Count {
        /// About so many.
        count: u64,
    }
}

operations! {
    /// Finds issues by a query in JQL, as `project = PROJ AND status != Done ORDER BY updated DESC`. A query without any
    /// condition is refused. What was changed in the last seconds may not be found yet.
    Search "issues.search" post("/rest/api/3/search/jql") => Page<Issue>
    [
        .effect(Effect::Read)
        .page(token())
        .map_input(Mapping::function(with_fields))
        .map_output(Mapping::function(issues))
        .scopes([READ])
    ] {
        /// The query.
        jql: String,
        /// Fields to read, by id; default those that say what and whose it is, without the text. `*navigable` is what people see.
        fields: Option<Vec<String>>,
        /// How many a page has at most, up to 5000 with few fields; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lists issues in the order of their last change, from a point in time on.
    ListChanged "issues.list_changed" post("/rest/api/3/search/jql") => Page<Issue>
    [
        .effect(Effect::Read)
        .page(token())
        .incremental(Incremental {
            field: "updated".into(),
            id: "id".into(),
            since: "updated_since".into(),
            // The search is behind by some seconds, and by more when there is much to do.
            overlap: Duration::from_secs(300),
        })
        .map_input(Mapping::function(changed_since))
        .map_output(Mapping::function(issues))
        .scopes([READ])
    ] {
        /// Since when, as `2026-01-31T12:00:00Z`; default from the beginning.
        updated_since: Option<String>,
        /// Only issues that fit this condition in JQL, without an order.
        jql: Option<String>,
        /// Fields to read, by id; default those that say what and whose it is, without the text.
        fields: Option<Vec<String>>,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Tells about how many issues a query in JQL finds.
    Approximate "issues.count" post("/rest/api/3/search/approximate-count") => Count
    [.effect(Effect::Read).scopes([READ])] {
        /// The query.
        jql: String,
    }
}
