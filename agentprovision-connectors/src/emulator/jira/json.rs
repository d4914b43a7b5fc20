//! How Jira writes what it knows.

use serde_json::{Map, Value, json};

use super::store::{Comment, Issue, Jira, PRIORITIES, Project, STATUSES, TRANSITIONS, TYPES};
use crate::emulator::state::millis;

/// Writes with the base URL of the server.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) base: &'a str,
    pub(super) jira: &'a Jira,
}

impl Writer<'_> {
    fn api(&self, path: &str) -> String {
        format!("{}/rest/api/3/{path}", self.base)
    }

    fn avatars(&self, kind: &str) -> Value {
        let sizes = ["16x16", "24x24", "32x32", "48x48"].into_iter();
        sizes
            .map(|size| (size.to_owned(), json!(format!("{}/avatars/{kind}/{size}.png", self.base))))
            .collect::<Map<_, _>>()
            .into()
    }

    pub(super) fn user(&self, id: &str) -> Value {
        let Some(account) = self.jira.account(id) else { return Value::Null };
        json!({
            "self": self.api(&format!("user?accountId={id}")), "accountId": id, "accountType": "atlassian",
            "emailAddress": account.email, "avatarUrls": self.avatars("user"), "displayName": account.name,
            "active": true, "timeZone": "Etc/UTC",
        })
    }

    pub(super) fn status(&self, name: &str) -> Value {
        let Some((id, name, (key, words, number))) = STATUSES.iter().find(|status| status.1 == name) else {
            return Value::Null;
        };
        let colors = [("new", "blue-gray"), ("indeterminate", "yellow"), ("done", "green")];
        let color = colors.iter().find(|(of, _)| of == key).map(|(_, color)| color);
        let category = json!({
            "self": self.api(&format!("statuscategory/{number}")), "id": number, "key": key, "colorName": color,
            "name": words,
        });
        json!({
            "self": self.api(&format!("status/{id}")), "description": "", "iconUrl": format!("{}/", self.base),
            "name": name, "id": id, "statusCategory": category,
        })
    }

    pub(super) fn kind(&self, name: &str) -> Value {
        let Some((id, name, part)) = TYPES.iter().find(|kind| kind.1 == name) else { return Value::Null };
        let level = if *part { -1 } else { i8::from(*name == "Epic") };
        json!({
            "self": self.api(&format!("issuetype/{id}")), "id": id, "description": "", "name": name,
            "iconUrl": format!("{}/avatars/issuetype/{id}.svg", self.base), "subtask": part, "avatarId": 10318,
            "hierarchyLevel": level,
        })
    }

    pub(super) fn priority(&self, name: &str) -> Value {
        let Some((id, name, color)) = PRIORITIES.iter().find(|priority| priority.1 == name) else {
            return Value::Null;
        };
        json!({
            "self": self.api(&format!("priority/{id}")), "statusColor": color, "description": "",
            "iconUrl": format!("{}/avatars/priority/{id}.svg", self.base), "name": name, "id": id,
            "isDefault": *name == "Medium",
        })
    }

    /// A project as it stands in others.
    pub(super) fn project(&self, project: &Project) -> Value {
        json!({
            "self": self.api(&format!("project/{}", project.id)), "id": project.id.to_string(), "key": project.key,
            "name": project.name, "projectTypeKey": "software", "simplified": false,
            "avatarUrls": self.avatars("project"),
        })
    }

    /// A project on its own page.
    pub(super) fn whole_project(&self, project: &Project) -> Value {
        let mut value = self.project(project);
        let more = json!({
            "expand": "description,lead,issueTypes,url,projectKeys,permissions,insight", "description": "",
            "lead": self.user(&project.lead), "components": [], "versions": [], "assigneeType": "UNASSIGNED",
            "issueTypes": TYPES.iter().map(|(_, name, _)| self.kind(name)).collect::<Vec<_>>(), "roles": {},
            "style": "classic", "isPrivate": false, "properties": {},
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }

    pub(super) fn transitions(&self) -> Vec<Value> {
        let transition = |(id, name): &(&str, &str)| {
            json!({
                "id": id, "name": name, "to": self.status(name), "hasScreen": false, "isGlobal": true,
                "isInitial": false, "isAvailable": true, "isConditional": false, "isLooped": false,
            })
        };
        TRANSITIONS.iter().map(transition).collect()
    }

    pub(super) fn comment(&self, issue: &Issue, comment: &Comment) -> Value {
        let author = self.user(&comment.author);
        json!({
            "self": self.api(&format!("issue/{}/comment/{}", issue.id, comment.id)), "id": comment.id.to_string(),
            "author": author, "body": comment.body, "updateAuthor": author, "created": millis(comment.created),
            "updated": millis(comment.updated), "jsdPublic": true,
        })
    }

    /// Every field of an issue.
    pub(super) fn fields(&self, issue: &Issue) -> Map<String, Value> {
        let project = self.jira.project(&issue.project).map(|project| self.project(project));
        let person = |id: Option<&String>| id.map_or(Value::Null, |id| self.user(id));
        let comments: Vec<Value> =
            issue.comments.iter().map(|comment| self.comment(issue, comment)).collect();
        let total = comments.len();
        let parent = issue.parent.as_ref().and_then(|key| self.jira.issue(key)).map(|parent| {
            json!({
                "id": parent.id.to_string(), "key": parent.key,
                "self": self.api(&format!("issue/{}", parent.id)),
                "fields": { "summary": parent.summary, "status": self.status(parent.status) },
            })
        });
        let resolution = issue.resolved.map(|_| {
            json!({ "self": self.api("resolution/10000"), "id": "10000", "name": "Done", "description": "" })
        });
        let fields = json!({
            "summary": issue.summary, "description": issue.description, "project": project,
            "issuetype": self.kind(issue.kind), "status": self.status(issue.status),
            "priority": self.priority(issue.priority), "labels": issue.labels,
            "assignee": person(issue.assignee.as_ref()), "reporter": self.user(&issue.reporter),
            "creator": self.user(&issue.reporter), "created": millis(issue.created),
            "updated": millis(issue.updated), "duedate": issue.due, "resolution": resolution,
            "resolutiondate": issue.resolved.map(millis), "components": [], "fixVersions": [], "versions": [],
            "issuelinks": [], "subtasks": [], "attachment": [], "environment": null,
            "comment": {
                "comments": comments, "self": self.api(&format!("issue/{}/comment", issue.id)),
                "maxResults": total, "total": total, "startAt": 0,
            },
        });
        let Value::Object(mut fields) = fields else { return Map::new() };
        fields.extend(parent.map(|parent| ("parent".to_owned(), parent)));
        fields.extend(issue.custom.clone());
        fields
    }

    /// An issue with the fields that are asked for: names, `*all`, `*navigable`, and those to leave out with a minus.
    pub(super) fn issue(&self, issue: &Issue, asked: &[String]) -> Value {
        let all = asked.iter().any(|name| name == "*all");
        let usual = all
            || asked.iter().any(|name| name == "*navigable")
            || asked.iter().all(|name| name.starts_with('-'));
        let mut fields = self.fields(issue);
        let left_out =
            |name: &String| asked.iter().any(|asked| asked.strip_prefix('-') == Some(name.as_str()));
        // Comments are on no list of issues.
        let wanted = |name: &String| asked.contains(name) || (usual && (all || name != "comment"));
        fields.retain(|name, _| wanted(name) && !left_out(name));
        json!({
            "expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
            "id": issue.id.to_string(), "self": self.api(&format!("issue/{}", issue.id)), "key": issue.key,
            "fields": fields,
        })
    }

    pub(super) fn changes(&self, issue: &Issue) -> Vec<Value> {
        let change = |change: &super::store::Change| {
            json!({
                "id": change.id.to_string(), "author": self.user(&change.author), "created": millis(change.at),
                "items": change.items,
            })
        };
        issue.history.iter().map(change).collect()
    }
}
