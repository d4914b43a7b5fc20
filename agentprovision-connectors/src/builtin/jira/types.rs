//! What Jira answers.

use agentprovision_core::{Result, Timestamp};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::adf::{self, PlainText};

/// A point in time, as RFC 3339 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Time(pub String);

impl<'de> Deserialize<'de> for Time {
    /// Jira leaves the colon out of offsets, as in `2021-01-17T12:34:00.000+0000`, or tells milliseconds since 1970.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            value => match value.as_i64().and_then(|millis| millis.checked_mul(1000)) {
                Some(micros) => Timestamp::from_micros(micros).to_string(),
                None => return Err(D::Error::custom("this is no point in time")),
            },
        };
        let is_offset = |offset: &str| {
            let digits = offset.strip_prefix(['+', '-']);
            digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        };
        if text.len().checked_sub(5).and_then(|at| text.get(at..)).is_some_and(is_offset) {
            text.insert(text.len() - 2, ':');
        }
        Ok(Self(text))
    }
}

/// A text, which Jira writes as a number at times.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom("this is no text")),
    }
}

records! {
    /// A person, an application or a customer.
    Person {
        /// The account's id, which other operations take.
        #[serde(rename = "accountId")]
        account_id: String,
        /// The name.
        #[serde(rename = "displayName")]
        display_name: Option<String>,
        /// The e-mail address, where the person shows it.
        #[serde(rename = "emailAddress")]
        email_address: Option<String>,
        /// `atlassian`, `app` or `customer`.
        #[serde(rename = "accountType")]
        account_type: Option<String>,
        /// Whether the account can be used.
        active: Option<bool>,
        /// The time zone, as `Europe/Berlin`, where the person shows it.
        #[serde(rename = "timeZone")]
        time_zone: Option<String>,
    }
    /// Something with an id and a name.
    Named {
        /// The id.
        id: String,
        /// The name.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
    }
    /// A status of issues.
    Status {
        /// The id.
        id: Option<String>,
        /// The name.
        name: String,
        /// Which kind of status it is.
        #[serde(rename = "statusCategory")]
        category: Option<StatusCategory>,
    }
    /// A kind of statuses.
    StatusCategory {
        /// `new`, `indeterminate` or `done`.
        key: String,
        /// The name.
        name: Option<String>,
    }
    /// A type of issues.
    IssueType {
        /// The id.
        id: String,
        /// The name, as `Bug`.
        name: String,
        /// What it is.
        description: Option<String>,
        /// Whether its issues are parts of others.
        subtask: Option<bool>,
    }
    /// The project of an issue.
    InProject {
        /// The id.
        id: String,
        /// The key, with which those of its issues begin.
        key: String,
        /// The name.
        name: Option<String>,
    }
    /// Another issue.
    IssueRef {
        /// The id.
        id: String,
        /// The key.
        key: String,
        /// The title.
        summary: Option<String>,
        /// The status.
        status: Option<Status>,
    }
    /// A type of links.
    LinkType {
        /// The id.
        id: Option<String>,
        /// The name, as `Blocks`.
        name: String,
        /// What the issue that the link comes from does, as `blocks`.
        outward: Option<String>,
        /// What happens to the issue that the link leads to, as `is blocked by`.
        inward: Option<String>,
    }
    /// A link to another issue, which is one of the two.
    IssueLink {
        /// The id.
        id: String,
        /// The type.
        #[serde(rename = "type")]
        kind: LinkType,
        /// The issue it comes from.
        #[serde(rename = "inwardIssue")]
        inward: Option<IssueRef>,
        /// The issue it leads to.
        #[serde(rename = "outwardIssue")]
        outward: Option<IssueRef>,
    }
    /// A file at an issue.
    Attachment {
        /// The id, by which it is downloaded.
        #[serde(deserialize_with = "text")]
        id: String,
        /// The name.
        filename: String,
        /// The size in bytes.
        size: Option<u64>,
        /// The content type.
        #[serde(rename = "mimeType")]
        mime_type: Option<String>,
        /// Who attached it.
        author: Option<Person>,
        /// When.
        created: Option<Time>,
    }
    /// An issue; fields that were not asked for are absent.
    Issue {
        /// The id.
        id: String,
        /// The key, as `PROJ-7`.
        key: String,
        /// The title.
        summary: Option<String>,
        /// The text.
        description: Option<PlainText>,
        /// The status.
        status: Option<Status>,
        /// The type.
        issuetype: Option<IssueType>,
        /// The project.
        project: Option<InProject>,
        /// The priority.
        priority: Option<Named>,
        /// How it was resolved; absent while it is not.
        resolution: Option<Named>,
        /// Who works on it.
        assignee: Option<Person>,
        /// Who reported it.
        reporter: Option<Person>,
        /// The labels.
        labels: Option<Vec<String>>,
        /// The parts of the project it is about.
        components: Option<Vec<Named>>,
        /// The versions it is resolved in.
        #[serde(rename = "fixVersions")]
        fix_versions: Option<Vec<Named>>,
        /// The issue it is a part of.
        parent: Option<IssueRef>,
        /// Its parts.
        subtasks: Option<Vec<IssueRef>>,
        /// Links to others.
        issuelinks: Option<Vec<IssueLink>>,
        /// Files.
        attachment: Option<Vec<Attachment>>,
        /// The day it is due, as `2026-01-31`.
        duedate: Option<String>,
        /// When it was made.
        created: Option<Time>,
        /// When it was last changed.
        updated: Option<Time>,
        /// When it was resolved.
        resolutiondate: Option<Time>,
        /// Fields of the site's own that have a value, by id, as `customfield_10010`; `fields.list` tells their names.
        #[serde(default)]
        custom: Map<String, Value>,
    }
}

/// What Jira answers about issues, with their fields beside their keys.
pub(super) fn issues(answered: &Value) -> Result<Value> {
    let mut answered = answered.clone();
    match answered.get_mut("issues").and_then(Value::as_array_mut) {
        Some(issues) => issues.iter_mut().for_each(lift),
        None => lift(&mut answered),
    }
    Ok(answered)
}

fn lift(issue: &mut Value) {
    let Some(issue) = issue.as_object_mut() else { return };
    let Some(Value::Object(fields)) = issue.remove("fields") else { return };
    let mut custom = Map::new();
    for (name, mut value) in fields {
        if value.is_null() {
            continue;
        }
        if name.starts_with("customfield_") {
            if value.get("type").and_then(Value::as_str) == Some("doc") {
                value = Value::from(adf::text(&value));
            }
            custom.insert(name, value);
            continue;
        }
        match &mut value {
            Value::Object(_) if name == "parent" => lift(&mut value),
            Value::Array(others) if name == "subtasks" => others.iter_mut().for_each(lift),
            Value::Array(links) if name == "issuelinks" => {
                for link in links {
                    for side in ["inwardIssue", "outwardIssue"] {
                        if let Some(other) = link.get_mut(side) {
                            lift(other);
                        }
                    }
                }
            }
            _ => {}
        }
        // The id and the key stay those of the issue.
        issue.entry(name).or_insert(value);
    }
    issue.insert("custom".to_owned(), Value::Object(custom));
}
