//! Jira: what tests set up and inspect.

mod hooks;
mod issues;
mod jql;
mod json;
mod route;
pub(super) mod store;

use agentprovision_core::{Error, ErrorKind, Result};
use http::Method;
use serde_json::{Map, Value, json};

use self::json::Writer;
use self::store::{Account, CLOUD, Project, Webhook};
use super::Shared;
use super::state::{Call, Vendor, World, refused};

/// The Jira of an emulator. Values have the form in which version 3 of the REST API answers them.
///
/// It speaks, below [`Emulator::jira_url`](super::Emulator::jira_url) and also with `/ex/jira/<cloud id>` before: `myself`, users, issues
/// with their fields, transitions, assignees, comments and change logs, the search by JQL (`search/jql` and `search/approximate-count`),
/// projects, the lists of fields, statuses, priorities and types, and webhooks that apps register and that expire after 30 days.
///
/// Every project has the statuses To Do, In Progress and Done, each reached from each; the types Task, Bug, Story, Epic and
/// Subtask; and the priorities Highest, High, Medium, Low and Lowest. Documents have to be in Atlassian's document format.
#[derive(Debug)]
pub struct JiraWorld<'a>(pub(super) &'a Shared);

impl JiraWorld<'_> {
    /// An API token of an account, which is made where there is none: the password of basic authentication, with the address as the user.
    pub fn add_token(&self, email: &str) -> String {
        let mut world = self.0.world();
        let account = world.jira_account(email);
        let token = world.secret("ATATT");
        world.accounts(Vendor::Jira).keep(&token, &account);
        token
    }

    /// An account, and its id; the same id for the same address.
    pub fn add_account(&self, email: &str) -> String {
        self.0.world().jira_account(email)
    }

    /// The id of the site in Atlassian's cloud, as `/oauth/token/accessible-resources` has it.
    pub fn cloud_id(&self) -> &'static str {
        CLOUD
    }

    /// A project by its key, such as `OPS`, and its name. It is led by the first account there is.
    ///
    /// # Errors
    /// `invalid_input` when the key is none; `conflict` when there is one by this key.
    pub fn add_project(&self, key: &str, name: &str) -> Result<()> {
        let mut world = self.0.world();
        let letters = key.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit());
        if key.len() < 2 || !letters || !key.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            return Err(Error::invalid(format!("`{key}` is no key of a project")));
        }
        if world.jira.project(key).is_some() {
            return Err(Error::conflict(format!("there is a project `{key}`")));
        }
        let (id, lead) = (world.id(), world.jira_author(None));
        let (key, name) = (key.to_owned(), name.to_owned());
        world.jira.projects.push(Project { id, key, name, lead, last: 0 });
        Ok(())
    }

    /// An issue of a project: its summary, and more fields as `POST /rest/api/3/issue` takes them; a task where no type is among
    /// them. Its key.
    ///
    /// # Errors
    /// `invalid_input`, as Jira refuses it.
    pub fn add_issue(&self, project: &str, summary: &str, fields: Value) -> Result<String> {
        let mut all = Map::new();
        all.insert("project".to_owned(), json!({ "key": project }));
        all.insert("issuetype".to_owned(), json!({ "name": "Task" }));
        all.insert("summary".to_owned(), json!(summary));
        all.extend(fields.as_object().cloned().unwrap_or_default());
        let made = self.act(None, Method::POST, "/rest/api/3/issue", json!({ "fields": all }))?;
        Ok(made.get("key").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Changes fields of an issue, as `PUT /rest/api/3/issue/{key}` takes them.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as Jira refuses it.
    pub fn edit_issue(&self, key: &str, fields: Value) -> Result<()> {
        let path = format!("/rest/api/3/issue/{key}");
        self.act(None, Method::PUT, &path, json!({ "fields": fields })).map(|_| ())
    }

    /// A comment of a plain text. Its id.
    ///
    /// # Errors
    /// `not_found`, as Jira refuses it.
    pub fn add_comment(&self, key: &str, text: &str) -> Result<String> {
        let path = format!("/rest/api/3/issue/{key}/comment");
        let made = self.act(None, Method::POST, &path, json!({ "body": document(text) }))?;
        Ok(made.get("id").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A webhook as an administrator registers it: it does not expire, and is signed with `secret`. It is told of `events`, such as
    /// `jira:issue_updated`, of the issues that `jql` finds, or of all. Its id.
    ///
    /// # Errors
    /// `invalid_input` when the query is none.
    pub fn add_webhook(&self, url: &str, secret: &str, events: &[&str], jql: Option<&str>) -> Result<u64> {
        jql::read(jql.unwrap_or_default()).map_err(Error::invalid)?;
        let mut world = self.0.world();
        let id = world.id();
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        let (url, secret, jql) = (url.to_owned(), Some(secret.to_owned()), jql.map(str::to_owned));
        world.jira.webhooks.push(Webhook { id, url, secret, events, jql, app: None });
        Ok(id)
    }

    /// What webhooks that apps register are signed with from now on; nothing at first.
    pub fn sign_dynamic_webhooks(&self, secret: &str) {
        let mut world = self.0.world();
        world.jira.signing = Some(secret.to_owned());
    }

    /// Carries out any request as an account, by its address, without HTTP, the fault plan and the log; as the first account there
    /// is without one.
    ///
    /// # Errors
    /// `not_found`, `conflict` and `invalid_input`, as Jira refuses it.
    pub fn act(&self, email: Option<&str>, method: Method, target: &str, body: Value) -> Result<Value> {
        let mut world = self.0.world();
        let who = world.jira_author(email);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut call = Call::new(Vendor::Jira, method, target, http::HeaderMap::new(), body.into());
        call.acting = Some(who);
        let reply = world.perform(&call);
        drop(world);
        self.0.wake.notify_one();
        match reply.status {
            200..300 => Ok(reply.value().unwrap_or_default()),
            _ => Err(refused(Vendor::Jira, &reply)),
        }
    }

    /// An issue with all its fields.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn issue(&self, key: &str) -> Result<Value> {
        let world = self.0.world();
        let issue = world.jira.issue(key).ok_or_else(|| absent(key))?;
        Ok(world.jira_writer().issue(issue, &["*all".to_owned()]))
    }

    /// The issues of a project in the order they were made, with all their fields.
    ///
    /// # Errors
    /// `not_found` when there is no such project.
    pub fn issues(&self, project: &str) -> Result<Vec<Value>> {
        let world = self.0.world();
        let project = world.jira.project(project).ok_or_else(|| absent(project))?;
        let issues = world.jira.issues.values().filter(|issue| issue.project == project.key);
        Ok(issues.map(|issue| world.jira_writer().issue(issue, &["*all".to_owned()])).collect())
    }

    /// The comments of an issue.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn comments(&self, key: &str) -> Result<Vec<Value>> {
        let world = self.0.world();
        let issue = world.jira.issue(key).ok_or_else(|| absent(key))?;
        Ok(issue.comments.iter().map(|comment| world.jira_writer().comment(issue, comment)).collect())
    }
}

fn absent(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the emulated jira has no `{what}`"))
}

/// A text in Atlassian's document format.
fn document(text: &str) -> Value {
    let text = json!({ "type": "text", "text": text });
    json!({ "type": "doc", "version": 1, "content": [{ "type": "paragraph", "content": [text] }] })
}

impl World {
    fn jira_writer(&self) -> Writer<'_> {
        Writer { base: self.base(Vendor::Jira), jira: &self.jira }
    }

    /// The id of an account by its id or its address, made where there is none.
    pub(super) fn jira_account(&mut self, who: &str) -> String {
        let known = self.jira.accounts.iter().find(|account| account.id == who || account.email == who);
        if let Some(account) = known {
            return account.id.clone();
        }
        let id = format!("5b10a2844c20165700{:06x}", self.id());
        let name = who.split('@').next().unwrap_or(who);
        let mut letters = name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        let name = first.into_iter().chain(letters).collect();
        self.jira.accounts.push(Account { id: id.clone(), email: who.to_owned(), name });
        id
    }

    /// Who acts where the emulator itself does.
    fn jira_author(&mut self, email: Option<&str>) -> String {
        match (email, self.jira.first_account()) {
            (Some(email), _) => self.jira_account(email),
            (None, Some(first)) => first,
            (None, None) => self.jira_account("ada@example.com"),
        }
    }
}
