//! Issues: made, changed, moved on, commented on, deleted.

use http::Method;
use serde_json::{Map, Value, json};

use super::hooks::Flow;
use super::route::{body, error, invalid, malformed, no_issue, object};
use super::store::{Change, Comment, Issue, PRIORITIES, STATUSES, TRANSITIONS, TYPES};
use crate::emulator::state::{Call, Outcome, Reply, World, text, texts};

/// A field that changed: its name, and the id and the words of what it was and is.
type Item = (String, (Option<String>, Option<String>), (Option<String>, Option<String>));

impl World {
    pub(super) fn jira_issues(&mut self, call: &Call, who: &str, path: &[&str]) -> Outcome {
        let (method, writer) = (call.method.clone(), self.jira_writer());
        let key = match path {
            [] if method == Method::POST => return self.create_jira_issue(call, who),
            [key, ..] => *key,
            [] => return Err(error(404, "Not found")),
        };
        let issue = self.jira.issue(key).ok_or_else(no_issue)?;
        let key = issue.key.clone();
        match (method, path.get(1..).unwrap_or_default()) {
            (Method::GET, []) => {
                let fields: Vec<String> = call
                    .query
                    .iter()
                    .filter(|(name, _)| name == "fields")
                    .flat_map(|(_, names)| names.split(',').map(str::to_owned))
                    .collect();
                let fields = if fields.is_empty() { vec!["*all".to_owned()] } else { fields };
                let mut value = writer.issue(issue, &fields);
                let expands = |name: &str| call.query("expand").is_some_and(|expand| expand.contains(name));
                if let Value::Object(value) = &mut value {
                    if expands("changelog") {
                        value.insert("changelog".to_owned(), self.changelog(issue));
                    }
                    if expands("transitions") {
                        value.insert("transitions".to_owned(), json!(writer.transitions()));
                    }
                }
                Ok(Reply::json(200, &value))
            }
            (Method::PUT, []) => {
                let body = body(call)?;
                self.change_jira_issue(who, &key, &body)?;
                Ok(Reply::empty(204))
            }
            (Method::DELETE, []) => {
                let comments: Vec<u64> = issue.comments.iter().map(|comment| comment.id).collect();
                self.tell_jira(&key, "jira:issue_deleted", who, json!({}));
                for comment in comments {
                    self.tell_jira_comment(&key, comment, "comment_deleted", who, Flow::Secondary);
                }
                self.jira.issues.retain(|_, issue| issue.key != key);
                Ok(Reply::empty(204))
            }
            (Method::GET, ["transitions"]) => {
                let body = json!({ "expand": "transitions", "transitions": writer.transitions() });
                Ok(Reply::json(200, &body))
            }
            (Method::POST, ["transitions"]) => self.transition(call, who, &key),
            (Method::PUT, ["assignee"]) => {
                let fields =
                    [("assignee".to_owned(), Value::Object(body(call)?))].into_iter().collect::<Map<_, _>>();
                let body = [("fields".to_owned(), Value::Object(fields))].into_iter().collect();
                self.change_jira_issue(who, &key, &body)?;
                Ok(Reply::empty(204))
            }
            (Method::GET, ["changelog"]) => Ok(self.changelog_page(call, issue)),
            (Method::GET, ["comment"]) => {
                let (start, size) =
                    (call.number("startAt").unwrap_or(0), call.number("maxResults").unwrap_or(100));
                let mut comments: Vec<&Comment> = issue.comments.iter().collect();
                if call.query("orderBy") == Some("-created") {
                    comments.reverse();
                }
                let total = comments.len();
                let comments = comments.into_iter().skip(start).take(size);
                let comments: Vec<Value> = comments.map(|comment| writer.comment(issue, comment)).collect();
                let body =
                    json!({ "startAt": start, "maxResults": size, "total": total, "comments": comments });
                Ok(Reply::json(200, &body))
            }
            (Method::POST, ["comment"]) => {
                let body = body(call)?;
                let body = adf(body.get("body"), "comment")?;
                let (id, now) = (self.id(), self.now());
                let author = who.to_owned();
                let issue = self.jira.issue_mut(&key).ok_or_else(no_issue)?;
                issue.comments.push(Comment { id, author, body, created: now, updated: now });
                issue.updated = now;
                self.tell_jira_comment(&key, id, "comment_created", who, Flow::Primary);
                self.comment_reply(201, &key, id)
            }
            (method, ["comment", id]) => self.jira_comment(call, who, &key, id, &method),
            _ => Err(error(404, "Not found")),
        }
    }

    fn comment_reply(&self, status: u16, key: &str, id: u64) -> Outcome {
        let issue = self.jira.issue(key).ok_or_else(no_issue)?;
        let comment = issue.comments.iter().find(|comment| comment.id == id).ok_or_else(|| no_comment(id))?;
        Ok(Reply::json(status, &self.jira_writer().comment(issue, comment)))
    }

    fn jira_comment(&mut self, call: &Call, who: &str, key: &str, id: &str, method: &Method) -> Outcome {
        let id: u64 = id.parse().map_err(|_| no_comment(0))?;
        self.comment_reply(200, key, id)?;
        let now = self.now();
        match *method {
            Method::GET => {}
            Method::PUT => {
                let body = body(call)?;
                let body = adf(body.get("body"), "comment")?;
                let issue = self.jira.issue_mut(key).ok_or_else(no_issue)?;
                for comment in issue.comments.iter_mut().filter(|comment| comment.id == id) {
                    (comment.body, comment.updated) = (body.clone(), now);
                }
                self.tell_jira_comment(key, id, "comment_updated", who, Flow::Primary);
            }
            Method::DELETE => {
                self.tell_jira_comment(key, id, "comment_deleted", who, Flow::Primary);
                let issue = self.jira.issue_mut(key).ok_or_else(no_issue)?;
                issue.comments.retain(|comment| comment.id != id);
                return Ok(Reply::empty(204));
            }
            _ => return Err(Reply::empty(405)),
        }
        self.comment_reply(200, key, id)
    }

    fn create_jira_issue(&mut self, call: &Call, who: &str) -> Outcome {
        let body = body(call)?;
        let none = Map::new();
        let fields = object(&body, "fields")?.unwrap_or(&none);
        let project = fields.get("project").and_then(Value::as_object).unwrap_or(&none);
        let project = text(project, "key").or(text(project, "id")).and_then(|key| self.jira.project(key));
        let project =
            project.ok_or_else(|| invalid("project", "Specify a valid project ID or key"))?.key.clone();
        let kind = fields.get("issuetype").and_then(Value::as_object).unwrap_or(&none);
        let (id, name) = (text(kind, "id"), text(kind, "name"));
        let kind = TYPES
            .iter()
            .find(|kind| Some(kind.0) == id || name.is_some_and(|name| kind.1.eq_ignore_ascii_case(name)));
        let kind = kind.ok_or_else(|| invalid("issuetype", "Specify a valid issue type"))?;
        let summary = text(fields, "summary").filter(|text| !text.trim().is_empty());
        let summary =
            summary.ok_or_else(|| invalid("summary", "You must specify a summary of the issue."))?;
        let (id, now) = (self.id(), self.now());
        let mut issue = Issue {
            id,
            key: String::new(),
            project: project.clone(),
            kind: kind.1,
            summary: summary.to_owned(),
            description: Value::Null,
            status: STATUSES.first().map_or("", |status| status.1),
            priority: "Medium",
            labels: Vec::new(),
            assignee: None,
            reporter: who.to_owned(),
            parent: None,
            due: None,
            created: now,
            updated: now,
            resolved: None,
            comments: Vec::new(),
            history: Vec::new(),
            custom: Map::new(),
        };
        if kind.2 && !fields.contains_key("parent") {
            return Err(invalid(
                "parent",
                "Issue type is a sub-task but parent issue key or id not specified.",
            ));
        }
        let rest: Map<String, Value> = fields
            .iter()
            .filter(|(name, _)| !["project", "issuetype"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.apply_fields(&mut issue, &rest)?;
        let project = self.jira.projects.iter_mut().find(|there| there.key == project);
        if let Some(project) = project {
            project.last += 1;
            issue.key = format!("{}-{}", project.key, project.last);
        }
        let key = issue.key.clone();
        self.jira.issues.insert(id, issue);
        self.tell_jira(&key, "jira:issue_created", who, json!({}));
        let url = format!("{}/rest/api/3/issue/{id}", self.jira_writer().base);
        Ok(Reply::json(201, &json!({ "id": id.to_string(), "key": key, "self": url })))
    }

    /// Applies fields to an issue: what changed.
    fn apply_fields(&self, issue: &mut Issue, fields: &Map<String, Value>) -> Result<Vec<Item>, Reply> {
        let mut items: Vec<Item> = Vec::new();
        let words = |value: &str| (None, Some(value.to_owned()));
        for (name, value) in fields {
            let item = |was: (Option<String>, Option<String>), is| (name.clone(), was, is);
            match name.as_str() {
                "summary" => {
                    let summary = value.as_str().filter(|text| !text.trim().is_empty());
                    let summary =
                        summary.ok_or_else(|| invalid(name, "You must specify a summary of the issue."))?;
                    items.push(item(words(&issue.summary), words(summary)));
                    issue.summary = summary.to_owned();
                }
                "description" => {
                    let document = if value.is_null() { Value::Null } else { adf(Some(value), name)? };
                    items.push(item(words(&plain(&issue.description)), words(&plain(&document))));
                    issue.description = document;
                }
                "labels" => {
                    let all = value.as_array().is_some_and(|labels| labels.iter().all(Value::is_string));
                    let labels = if all {
                        texts(fields, name)
                    } else {
                        return Err(invalid(name, "data was not an array"));
                    };
                    if let Some(label) = labels.iter().find(|label| label.contains(' ')) {
                        return Err(invalid(
                            name,
                            &format!("The label '{label}' contains spaces which is invalid."),
                        ));
                    }
                    items.push(item(words(&issue.labels.join(" ")), words(&labels.join(" "))));
                    issue.labels = labels;
                }
                "assignee" => {
                    if !value.is_object() && !value.is_null() {
                        return Err(invalid(name, "data was not an object"));
                    }
                    let account = match value.get("accountId").or(value.get("id")) {
                        None | Some(Value::Null) => None,
                        Some(Value::String(id)) if id == "-1" => None,
                        Some(id) => {
                            let account = id.as_str().and_then(|id| self.jira.account(id));
                            Some(account.ok_or_else(|| invalid(name, "Specify a valid value for assignee"))?)
                        }
                    };
                    let both = |id: Option<&str>| {
                        let account = id.and_then(|id| self.jira.account(id));
                        (
                            account.map(|account| account.id.clone()),
                            account.map(|account| account.name.clone()),
                        )
                    };
                    let is = account.map(|account| account.id.clone());
                    items.push(item(both(issue.assignee.as_deref()), both(is.as_deref())));
                    issue.assignee = is;
                }
                "priority" => {
                    let (id, named) = (value.get("id"), value.get("name"));
                    let is = |given: Option<&Value>, text: &str| given.and_then(Value::as_str) == Some(text);
                    let found =
                        PRIORITIES.iter().find(|priority| is(id, priority.0) || is(named, priority.1));
                    let found = found.ok_or_else(|| invalid(name, "The priority selected is invalid."))?;
                    items.push(item(
                        words(issue.priority),
                        (Some(found.0.to_owned()), Some(found.1.to_owned())),
                    ));
                    issue.priority = found.1;
                }
                "parent" => {
                    let key = value.get("key").or(value.get("id")).and_then(Value::as_str);
                    let parent = key.and_then(|key| self.jira.issue(key));
                    let parent = parent.ok_or_else(|| invalid(name, "Could not find issue by id or key."))?;
                    issue.parent = Some(parent.key.clone());
                }
                "duedate" => {
                    let day = value.as_str().filter(|day| day.len() == 10);
                    if !value.is_null() && day.is_none() {
                        return Err(invalid(name, "Error parsing date string: use the format yyyy-MM-dd"));
                    }
                    let is = day.map(str::to_owned);
                    items.push(item((issue.due.clone(), issue.due.clone()), (is.clone(), is.clone())));
                    issue.due = is;
                }
                custom if custom.starts_with("customfield_") => {
                    let was = issue.custom.insert(name.clone(), value.clone()).map(|was| was.to_string());
                    items.push(item((None, was), words(&value.to_string())));
                }
                _ => {
                    let words = format!(
                        "Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
                    );
                    return Err(invalid(name, &words));
                }
            }
        }
        items.retain(|(_, was, is)| was != is);
        Ok(items)
    }

    fn change_jira_issue(&mut self, who: &str, key: &str, body: &Map<String, Value>) -> Result<(), Reply> {
        let mut fields = object(body, "fields")?.cloned().unwrap_or_default();
        for (name, operations) in object(body, "update")?.into_iter().flatten() {
            if name != "labels" {
                return Err(invalid(name, &format!("Field '{name}' cannot be changed by operations here.")));
            }
            let issue = self.jira.issue(key).ok_or_else(no_issue)?;
            let labels = operate(issue.labels.clone(), operations)?;
            fields.insert(name.clone(), json!(labels));
        }
        let id = self.jira.issue(key).ok_or_else(no_issue)?.id;
        let mut issue = self.jira.issues.remove(&id).ok_or_else(no_issue)?;
        // A change that is refused leaves no trace.
        let before =
            (issue.summary.clone(), issue.description.clone(), issue.labels.clone(), issue.custom.clone());
        let more = (issue.assignee.clone(), issue.priority, issue.parent.clone(), issue.due.clone());
        let outcome = self.apply_fields(&mut issue, &fields);
        if outcome.is_err() {
            (issue.summary, issue.description, issue.labels, issue.custom) = before;
            (issue.assignee, issue.priority, issue.parent, issue.due) = more;
        }
        self.jira.issues.insert(id, issue);
        self.changed(who, key, outcome?);
        Ok(())
    }

    /// Takes down what changed and tells of it.
    fn changed(&mut self, who: &str, key: &str, items: Vec<Item>) {
        let (id, now) = (self.id(), self.now());
        let Some(issue) = self.jira.issue_mut(key) else { return };
        issue.updated = now;
        if items.is_empty() {
            return;
        }
        let item = |(field, was, is): Item| {
            json!({
                "field": field, "fieldtype": "jira", "fieldId": field, "from": was.0, "fromString": was.1,
                "to": is.0, "toString": is.1,
            })
        };
        let items: Vec<Value> = items.into_iter().map(item).collect();
        issue.history.push(Change { id, author: who.to_owned(), at: now, items: items.clone() });
        let changelog = json!({ "changelog": { "id": id.to_string(), "items": items } });
        self.tell_jira(key, "jira:issue_updated", who, changelog);
    }

    fn transition(&mut self, call: &Call, who: &str, key: &str) -> Outcome {
        let body = body(call)?;
        let asked = body.get("transition").and_then(|transition| transition.get("id"));
        let asked = asked.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let asked = asked.ok_or_else(|| error(400, "Missing 'transition' identifier"))?;
        let found = TRANSITIONS.iter().find(|(id, _)| *id == asked);
        let words =
            format!("It seems that you have tried to perform an illegal workflow operation ({asked}).");
        let (_, to) = found.ok_or_else(|| error(400, &words))?;
        if body.contains_key("fields") || body.contains_key("update") {
            self.change_jira_issue(who, key, &body)?;
        }
        let now = self.now();
        let issue = self.jira.issue_mut(key).ok_or_else(no_issue)?;
        let (was, is) =
            (issue.status, STATUSES.iter().find(|status| status.1 == *to).map_or("", |status| status.1));
        issue.status = is;
        issue.resolved = (is == "Done").then_some(now);
        let both = |name: &str| {
            let id = STATUSES.iter().find(|status| status.1 == name).map(|status| status.0.to_owned());
            (id, Some(name.to_owned()))
        };
        let items = if was == is { Vec::new() } else { vec![("status".to_owned(), both(was), both(is))] };
        self.changed(who, key, items);
        Ok(Reply::empty(204))
    }
}

fn no_comment(id: u64) -> Reply {
    error(404, &format!("Can not find a comment for the id: {id}."))
}

/// What operations make of labels: each adds one, removes one, or sets them all.
fn operate(mut labels: Vec<String>, operations: &Value) -> Result<Vec<String>, Reply> {
    for operation in operations.as_array().ok_or_else(malformed)? {
        for (name, value) in operation.as_object().ok_or_else(malformed)? {
            match (name.as_str(), value) {
                ("add", Value::String(label)) => labels.push(label.clone()),
                ("remove", Value::String(label)) => labels.retain(|there| there != label),
                ("set", Value::Array(all)) => {
                    let all = all.iter().map(|label| label.as_str().map(str::to_owned));
                    labels = all.collect::<Option<_>>().ok_or_else(malformed)?;
                }
                _ => return Err(malformed()),
            }
        }
    }
    Ok(labels)
}

/// A document in Atlassian's format, which has to be one.
fn adf(value: Option<&Value>, field: &str) -> Result<Value, Reply> {
    let value = value.ok_or_else(|| invalid(field, "Comment body can not be empty!"))?;
    let is = |name: &str, what: Value| value.get(name) == Some(&what);
    match is("type", json!("doc"))
        && is("version", json!(1))
        && value.get("content").is_some()
        && is_node(value)
    {
        true => Ok(value.clone()),
        false => Err(invalid(
            field,
            "Operation value must be an Atlassian Document (see the Atlassian Document Format)",
        )),
    }
}

/// Whether this is a part of a document: with a type, and parts and a text that are such.
fn is_node(value: &Value) -> bool {
    let parts = |parts: &Value| parts.as_array().is_some_and(|parts| parts.iter().all(is_node));
    value.get("type").is_some_and(Value::is_string)
        && value.get("content").is_none_or(parts)
        && value.get("marks").is_none_or(parts)
        && value.get("text").is_none_or(Value::is_string)
        && value.get("attrs").is_none_or(Value::is_object)
}

/// The texts of a document, one after the other.
fn plain(document: &Value) -> String {
    match document {
        Value::Object(fields) => match fields.get("text") {
            Some(Value::String(text)) => text.clone(),
            _ => fields.get("content").map(plain).unwrap_or_default(),
        },
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(""),
        _ => String::new(),
    }
}
