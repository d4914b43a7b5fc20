//! What Jira knows.

use std::collections::BTreeMap;

use agentprovision_core::Timestamp;
use serde_json::{Map, Value};

/// Statuses: id, name, and the key, name and number of their category.
pub(super) const STATUSES: [(&str, &str, (&str, &str, u64)); 3] = [
    ("10000", "To Do", ("new", "To Do", 2)),
    ("3", "In Progress", ("indeterminate", "In Progress", 4)),
    ("10001", "Done", ("done", "Done", 3)),
];
/// Ways to those statuses, from every one: id and name.
pub(super) const TRANSITIONS: [(&str, &str); 3] = [("11", "To Do"), ("21", "In Progress"), ("31", "Done")];
/// Types of issues: id, name, and whether they are parts of others.
pub(super) const TYPES: [(&str, &str, bool); 5] = [
    ("10001", "Task", false),
    ("10002", "Bug", false),
    ("10003", "Story", false),
    ("10004", "Epic", false),
    ("10005", "Subtask", true),
];
/// Priorities: id, name, colour.
pub(super) const PRIORITIES: [(&str, &str, &str); 5] = [
    ("1", "Highest", "#d04437"),
    ("2", "High", "#f15C75"),
    ("3", "Medium", "#f79232"),
    ("4", "Low", "#707070"),
    ("5", "Lowest", "#999999"),
];
/// The id of the site in Atlassian's cloud.
pub(super) const CLOUD: &str = "11223344-a1b2-3b33-c444-def123456789";

#[derive(Default)]
pub(in crate::emulator) struct Jira {
    pub(super) accounts: Vec<Account>,
    pub(super) projects: Vec<Project>,
    /// By their numbers, which go up over all projects.
    pub(super) issues: BTreeMap<u64, Issue>,
    pub(super) webhooks: Vec<Webhook>,
    /// What webhooks of apps are signed with.
    pub(super) signing: Option<String>,
}

impl Jira {
    pub(in crate::emulator) fn first_account(&self) -> Option<String> {
        self.accounts.first().map(|account| account.id.clone())
    }

    /// Whether an account has this address.
    pub(in crate::emulator) fn is_account(&self, id: &str, email: &str) -> bool {
        self.account(id).is_some_and(|account| account.email == email)
    }

    pub(super) fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    pub(super) fn project(&self, id_or_key: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.key == id_or_key || project.id.to_string() == id_or_key)
    }

    pub(super) fn issue(&self, id_or_key: &str) -> Option<&Issue> {
        self.issues.values().find(|issue| issue.is(id_or_key))
    }

    pub(super) fn issue_mut(&mut self, id_or_key: &str) -> Option<&mut Issue> {
        self.issues.values_mut().find(|issue| issue.is(id_or_key))
    }
}

pub(super) struct Account {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) name: String,
}

pub(super) struct Project {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) name: String,
    pub(super) lead: String,
    /// The number of its newest issue.
    pub(super) last: u64,
}

pub(super) struct Issue {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) project: String,
    /// The name of its type.
    pub(super) kind: &'static str,
    pub(super) summary: String,
    /// In Atlassian's document format.
    pub(super) description: Value,
    /// The name of its status.
    pub(super) status: &'static str,
    /// The name of its priority.
    pub(super) priority: &'static str,
    pub(super) labels: Vec<String>,
    pub(super) assignee: Option<String>,
    pub(super) reporter: String,
    pub(super) parent: Option<String>,
    pub(super) due: Option<String>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) resolved: Option<Timestamp>,
    pub(super) comments: Vec<Comment>,
    pub(super) history: Vec<Change>,
    /// Fields that a site adds, as they were given.
    pub(super) custom: Map<String, Value>,
}

impl Issue {
    fn is(&self, id_or_key: &str) -> bool {
        self.key.eq_ignore_ascii_case(id_or_key) || self.id.to_string() == id_or_key
    }
}

pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) author: String,
    pub(super) body: Value,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// A change of some fields at once.
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) author: String,
    pub(super) at: Timestamp,
    pub(super) items: Vec<Value>,
}

pub(super) struct Webhook {
    pub(super) id: u64,
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) events: Vec<String>,
    /// Issues it is told of; all without it.
    pub(super) jql: Option<String>,
    /// Who registered it, of one that was registered through the API and expires.
    pub(super) app: Option<(String, Timestamp)>,
}
