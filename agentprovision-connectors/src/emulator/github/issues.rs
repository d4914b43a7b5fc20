//! Issues, their comments, labels and assignees.

use http::Method;
use serde_json::{Value, json};

use agentprovision_core::Timestamp;

use super::route::{Fields, error, invalid, not_found, paged};
use super::store::{Comment, Issue, Label, Repository};
use crate::emulator::state::{Call, Outcome, Reply, World, unix};

/// A filter of a query that names a state.
pub(super) fn in_state(open: bool, state: Option<&str>) -> bool {
    match state.unwrap_or("open") {
        "all" => true,
        "closed" => !open,
        _ => open,
    }
}

impl World {
    pub(super) fn issues(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let number = |text: &str| text.parse::<u64>().map_err(|_| not_found());
        match (call.method.clone(), rest) {
            (Method::GET, []) => self.list_issues(call, full_name),
            (Method::POST, []) => self.create_issue(call, who, full_name),
            (Method::GET, ["comments"]) => self.all_comments(call, full_name),
            (_, ["comments", id]) => self.one_comment(call, who, full_name, number(id)?),
            (Method::GET, [at]) => {
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let issue = repository.issues.get(&number(at)?).ok_or_else(not_found)?;
                Ok(Reply::json(200, &self.writer().issue(repository, issue)))
            }
            (Method::PATCH, [at]) => self.edit_issue(call, who, full_name, number(at)?),
            (_, [at, "comments"]) => self.comments(call, who, full_name, number(at)?),
            (_, [at, "labels", rest @ ..]) => self.issue_labels(call, who, full_name, number(at)?, rest),
            (Method::POST | Method::DELETE, [at, "assignees"]) => {
                self.assign(call, who, full_name, number(at)?)
            }
            _ => Err(not_found()),
        }
    }

    fn list_issues(&self, call: &Call, full_name: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let since = match call.query("since") {
            None => None,
            Some(text) => {
                let time: Timestamp = text.parse().map_err(|_| invalid("Issue", "since", "invalid"))?;
                Some(unix(time))
            }
        };
        let labels: Vec<&str> =
            call.query("labels").map(|text| text.split(',').collect()).unwrap_or_default();
        let has_label = |issue: &Issue, label: &&str| {
            issue.labels.iter().any(|there| there.eq_ignore_ascii_case(label.trim()))
        };
        let assigned = |issue: &Issue| match call.query("assignee") {
            None | Some("*") => call.query("assignee").is_none() || !issue.assignees.is_empty(),
            Some("none") => issue.assignees.is_empty(),
            Some(login) => issue.assignees.iter().any(|assignee| assignee == login),
        };
        let mut found: Vec<&Issue> = repository
            .issues
            .values()
            .filter(|issue| in_state(issue.open, call.query("state")))
            .filter(|issue| since.is_none_or(|since| unix(issue.updated) >= since))
            .filter(|issue| labels.iter().all(|label| has_label(issue, label)))
            .filter(|issue| call.query("creator").is_none_or(|login| issue.user == login))
            .filter(|issue| assigned(issue))
            .collect();
        sort(&mut found, call.query("sort"), call.query("direction"));
        let writer = self.writer();
        let found = found.into_iter().map(|issue| writer.issue(repository, issue)).collect();
        Ok(paged(self, call, found))
    }

    fn create_issue(&mut self, call: &Call, who: &str, full_name: &str) -> Outcome {
        let fields = Fields::of(call)?;
        let title = fields.required("Issue", "title")?.to_owned();
        let body = fields.text("body")?.map(str::to_owned);
        let labels = fields.names("labels")?.unwrap_or_default();
        let assignees = fields.names("assignees")?.unwrap_or_default();
        let assignees = self.known_logins(assignees)?;
        let labels = self.known_labels(full_name, labels)?;
        let number = self.add_issue(full_name, who, title, body).ok_or_else(not_found)?;
        if let Some(issue) = self.github_issue(full_name, number) {
            (issue.labels, issue.assignees) = (labels, assignees);
        }
        self.tell_issue(full_name, number, "opened", who, Value::Null);
        let value = self.issue_value(full_name, number)?;
        let url = value.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Reply::json(201, &value).with("location", url))
    }

    fn issue_value(&self, full_name: &str, number: u64) -> Result<Value, Reply> {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let issue = repository.issues.get(&number).ok_or_else(not_found)?;
        Ok(self.writer().issue(repository, issue))
    }

    /// An issue with the next number of its repository.
    pub(super) fn add_issue(
        &mut self,
        full_name: &str,
        who: &str,
        title: String,
        body: Option<String>,
    ) -> Option<u64> {
        let (id, now) = (self.id(), self.now());
        let repository = self.github.repository_mut(full_name)?;
        let number = repository.issues.keys().next_back().unwrap_or(&0) + 1;
        let issue = Issue {
            id,
            number,
            title,
            body,
            open: true,
            state_reason: None,
            user: who.to_owned(),
            assignees: Vec::new(),
            labels: Vec::new(),
            comments: Vec::new(),
            created: now,
            updated: now,
            closed: None,
            pull: None,
        };
        repository.issues.insert(number, issue);
        repository.updated = now;
        Some(number)
    }

    /// Who can be assigned: those there are.
    fn known_logins(&self, logins: Vec<String>) -> Result<Vec<String>, Reply> {
        match logins.iter().all(|login| self.github.users.contains_key(login)) {
            true => Ok(logins),
            false => Err(invalid("Issue", "assignees", "invalid")),
        }
    }

    /// Labels by these names; those that are not there are made, as GitHub makes them.
    fn known_labels(&mut self, full_name: &str, names: Vec<String>) -> Result<Vec<String>, Reply> {
        let mut known: Vec<String> = Vec::new();
        for name in names {
            let id = self.id();
            let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
            let there = repository.labels.iter().find(|label| label.name.eq_ignore_ascii_case(&name));
            let name = match there {
                Some(label) => label.name.clone(),
                None => {
                    let label =
                        Label { id, name: name.clone(), color: "ededed".to_owned(), description: None };
                    repository.labels.push(label);
                    name
                }
            };
            if !known.contains(&name) {
                known.push(name);
            }
        }
        Ok(known)
    }

    fn edit_issue(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        self.apply_issue(call, who, full_name, number)?;
        Ok(Reply::json(200, &self.issue_value(full_name, number)?))
    }

    /// Changes what issues and pull requests have in common, and tells of it.
    pub(super) fn apply_issue(
        &mut self,
        call: &Call,
        who: &str,
        full_name: &str,
        number: u64,
    ) -> Result<(), Reply> {
        let fields = Fields::of(call)?;
        let (title, body) =
            (fields.text("title")?.map(str::to_owned), fields.text("body")?.map(str::to_owned));
        let state = fields.text("state")?.map(str::to_owned);
        if !matches!(state.as_deref(), None | Some("open" | "closed")) {
            return Err(invalid("Issue", "state", "invalid"));
        }
        let reason = fields.text("state_reason")?.map(str::to_owned);
        let labels = match fields.names("labels")? {
            Some(names) => Some(self.known_labels(full_name, names)?),
            None => None,
        };
        let assignees = match fields.names("assignees")? {
            Some(logins) => Some(self.known_logins(logins)?),
            None => None,
        };
        let now = self.now();
        let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
        if issue.pull.as_ref().is_some_and(|pull| pull.merged.is_some()) && state.as_deref() == Some("open") {
            return Err(invalid("PullRequest", "state", "invalid"));
        }
        let mut actions: Vec<(&str, Value)> = Vec::new();
        let mut from = serde_json::Map::new();
        if let Some(title) = title.filter(|title| *title != issue.title) {
            from.insert("title".to_owned(), json!({ "from": issue.title }));
            issue.title = title;
        }
        if fields.has("body") && body != issue.body {
            from.insert("body".to_owned(), json!({ "from": issue.body.clone().unwrap_or_default() }));
            issue.body = body;
        }
        if !from.is_empty() {
            actions.push(("edited", json!({ "changes": from })));
        }
        let was = (issue.labels.clone(), issue.assignees.clone());
        if let Some(labels) = labels {
            issue.labels = labels;
        }
        if let Some(assignees) = assignees {
            issue.assignees = assignees;
        }
        match state.as_deref() {
            Some("closed") if issue.open => {
                (issue.open, issue.closed) = (false, Some(now));
                issue.state_reason =
                    issue.pull.is_none().then(|| reason.unwrap_or_else(|| "completed".to_owned()));
                actions.push(("closed", Value::Null));
            }
            Some("open") if !issue.open => {
                (issue.open, issue.closed) = (true, None);
                issue.state_reason = issue.pull.is_none().then(|| "reopened".to_owned());
                actions.push(("reopened", Value::Null));
            }
            _ => {}
        }
        issue.updated = now;
        self.tell_changes(full_name, number, who, was);
        for (action, more) in actions {
            self.tell_issue(full_name, number, action, who, more);
        }
        Ok(())
    }

    /// Tells of labels and assignees that came and went.
    fn tell_changes(&mut self, full_name: &str, number: u64, who: &str, was: (Vec<String>, Vec<String>)) {
        let Some(issue) = self.github_issue(full_name, number) else { return };
        let (labels, assignees) = (issue.labels.clone(), issue.assignees.clone());
        let without = |of: &[String], those: &[String]| -> Vec<String> {
            of.iter().filter(|name| !those.contains(name)).cloned().collect()
        };
        for (action, names) in
            [("labeled", without(&labels, &was.0)), ("unlabeled", without(&was.0, &labels))]
        {
            for name in names {
                let label = self.repository(full_name).and_then(|repository| {
                    let label = repository.labels.iter().find(|label| label.name == name)?;
                    Some(self.writer().label(repository, label))
                });
                self.tell_issue(full_name, number, action, who, json!({ "label": label }));
            }
        }
        for (action, logins) in
            [("assigned", without(&assignees, &was.1)), ("unassigned", without(&was.1, &assignees))]
        {
            for login in logins {
                let assignee = self.writer().user(&login);
                self.tell_issue(full_name, number, action, who, json!({ "assignee": assignee }));
            }
        }
    }

    fn assign(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        let logins = Fields::of(call)?.names("assignees")?.unwrap_or_default();
        let now = self.now();
        // Those that are not there are left out, as GitHub does here.
        let logins: Vec<String> =
            logins.into_iter().filter(|login| self.github.users.contains_key(login)).collect();
        let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
        let was = (issue.labels.clone(), issue.assignees.clone());
        issue.assignees.retain(|login| !logins.contains(login));
        let status = match call.method {
            Method::POST => {
                issue.assignees.extend(logins);
                201
            }
            _ => 200,
        };
        issue.updated = now;
        self.tell_changes(full_name, number, who, was);
        Ok(Reply::json(status, &self.issue_value(full_name, number)?))
    }

    fn issue_labels(
        &mut self,
        call: &Call,
        who: &str,
        full_name: &str,
        number: u64,
        rest: &[&str],
    ) -> Outcome {
        let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
        let was = (issue.labels.clone(), issue.assignees.clone());
        let labels = match (call.method.clone(), rest) {
            (Method::GET, []) => None,
            (Method::POST | Method::PUT, []) => {
                // The labels themselves, or an object that has them.
                let named = match serde_json::from_slice::<Value>(&call.body) {
                    Ok(list @ Value::Array(_)) => Fields([("labels".to_owned(), list)].into_iter().collect()),
                    _ => Fields::of(call)?,
                };
                let named =
                    named.names("labels")?.ok_or_else(|| invalid("Label", "labels", "missing_field"))?;
                let named = self.known_labels(full_name, named)?;
                let before = if call.method == Method::POST { was.0.clone() } else { Vec::new() };
                let fresh = named.into_iter().filter(|name| !before.contains(name)).collect::<Vec<_>>();
                Some([before.as_slice(), fresh.as_slice()].concat())
            }
            (Method::DELETE, []) => Some(Vec::new()),
            (Method::DELETE, [name]) => {
                let there = was.0.iter().any(|label| label.eq_ignore_ascii_case(name));
                if !there {
                    return Err(error(404, "Label does not exist"));
                }
                Some(was.0.iter().filter(|label| !label.eq_ignore_ascii_case(name)).cloned().collect())
            }
            _ => return Err(not_found()),
        };
        if let Some(labels) = labels {
            let now = self.now();
            let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
            (issue.labels, issue.updated) = (labels, now);
            self.tell_changes(full_name, number, who, was);
        }
        if call.method == Method::DELETE && rest.is_empty() {
            return Ok(Reply::empty(204));
        }
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let issue = repository.issues.get(&number).ok_or_else(not_found)?;
        Ok(paged(self, call, self.writer().labels(repository, issue)))
    }

    pub(super) fn labels(&mut self, call: &Call, full_name: &str, rest: &[&str]) -> Outcome {
        match (call.method.clone(), rest) {
            (Method::GET, []) => {
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let labels =
                    repository.labels.iter().map(|label| self.writer().label(repository, label)).collect();
                Ok(paged(self, call, labels))
            }
            (Method::POST, []) => {
                let fields = Fields::of(call)?;
                let name = fields.required("Label", "name")?.to_owned();
                let color = fields.text("color")?.unwrap_or("ededed").to_owned();
                let description = fields.text("description")?.map(str::to_owned);
                let id = self.id();
                let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
                if repository.labels.iter().any(|label| label.name.eq_ignore_ascii_case(&name)) {
                    return Err(invalid("Label", "name", "already_exists"));
                }
                repository.labels.push(Label { id, name, color, description });
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let label = repository.labels.last().map(|label| self.writer().label(repository, label));
                Ok(Reply::json(201, &label.unwrap_or_default()))
            }
            _ => Err(not_found()),
        }
    }

    fn comments(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        match call.method {
            Method::GET => {
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let issue = repository.issues.get(&number).ok_or_else(not_found)?;
                let since = call.query("since").and_then(|text| text.parse::<Timestamp>().ok()).map(unix);
                let comments = issue
                    .comments
                    .iter()
                    .filter(|comment| since.is_none_or(|since| unix(comment.updated) >= since))
                    .map(|comment| self.writer().comment(repository, issue, comment))
                    .collect();
                Ok(paged(self, call, comments))
            }
            Method::POST => {
                let body = Fields::of(call)?.required("IssueComment", "body")?.to_owned();
                let (id, now) = (self.id(), self.now());
                let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
                let user = who.to_owned();
                issue.comments.push(Comment { id, user, body, created: now, updated: now });
                issue.updated = now;
                self.tell_comment(full_name, id, "created", who);
                Ok(Reply::json(201, &self.comment_value(full_name, id).ok_or_else(not_found)?.1))
            }
            _ => Err(not_found()),
        }
    }

    /// The comments of all issues and pull requests, the oldest first unless asked otherwise.
    fn all_comments(&self, call: &Call, full_name: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let since = call.query("since").and_then(|text| text.parse::<Timestamp>().ok()).map(unix);
        let mut found: Vec<(&Issue, &Comment)> = repository
            .issues
            .values()
            .flat_map(|issue| issue.comments.iter().map(move |comment| (issue, comment)))
            .filter(|(_, comment)| since.is_none_or(|since| unix(comment.updated) >= since))
            .collect();
        match call.query("sort") {
            Some("updated") => found.sort_by_key(|(_, comment)| (comment.updated, comment.id)),
            _ => found.sort_by_key(|(_, comment)| (comment.created, comment.id)),
        }
        if call.query("direction") == Some("desc") {
            found.reverse();
        }
        let value = |(issue, comment): (&Issue, &Comment)| self.writer().comment(repository, issue, comment);
        Ok(paged(self, call, found.into_iter().map(value).collect()))
    }

    /// The issue and the value of a comment.
    fn comment_value(&self, full_name: &str, id: u64) -> Option<(u64, Value)> {
        let repository = self.repository(full_name)?;
        let (issue, comment) = find_comment(repository, id)?;
        Some((issue.number, self.writer().comment(repository, issue, comment)))
    }

    fn tell_comment(&mut self, full_name: &str, id: u64, action: &str, who: &str) {
        let Some((number, comment)) = self.comment_value(full_name, id) else { return };
        let issue = self.issue_value(full_name, number).unwrap_or_default();
        let payload = json!({ "action": action, "issue": issue, "comment": comment });
        self.tell(full_name, "issue_comment", who, payload);
    }

    fn one_comment(&mut self, call: &Call, who: &str, full_name: &str, id: u64) -> Outcome {
        let (number, value) = self.comment_value(full_name, id).ok_or_else(not_found)?;
        let now = self.now();
        match call.method {
            Method::GET => return Ok(Reply::json(200, &value)),
            Method::PATCH => {
                let body = Fields::of(call)?.required("IssueComment", "body")?.to_owned();
                let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
                for comment in issue.comments.iter_mut().filter(|comment| comment.id == id) {
                    (comment.body, comment.updated) = (body.clone(), now);
                }
                self.tell_comment(full_name, id, "edited", who);
            }
            Method::DELETE => {
                self.tell_comment(full_name, id, "deleted", who);
                let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
                issue.comments.retain(|comment| comment.id != id);
                return Ok(Reply::empty(204));
            }
            _ => return Err(not_found()),
        }
        Ok(Reply::json(200, &self.comment_value(full_name, id).ok_or_else(not_found)?.1))
    }
}

fn find_comment(repository: &Repository, id: u64) -> Option<(&Issue, &Comment)> {
    let in_issue = |issue: &Issue, id: u64| issue.comments.iter().position(|comment| comment.id == id);
    repository.issues.values().find_map(|issue| Some((issue, issue.comments.get(in_issue(issue, id)?)?)))
}

/// Sorts as lists of issues and pull requests are: the newest first, unless asked otherwise.
pub(super) fn sort(issues: &mut [&Issue], by: Option<&str>, direction: Option<&str>) {
    // The number tells those of one moment apart.
    match by {
        Some("updated") => issues.sort_by_key(|issue| (issue.updated, issue.number)),
        Some("comments" | "popularity") => issues.sort_by_key(|issue| (issue.comments.len(), issue.number)),
        _ => issues.sort_by_key(|issue| (issue.created, issue.number)),
    }
    if direction != Some("asc") {
        issues.reverse();
    }
}
