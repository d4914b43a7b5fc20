//! Who asks, which handler answers, and what stands still.

use http::Method;
use serde_json::{Map, Value, json};

use super::jql::{self, Asker};
use super::store::{CLOUD, Issue, PRIORITIES, STATUSES, TYPES};
use crate::emulator::answers::{cursor_of, place_of};
use crate::emulator::oauth::Denied;
use crate::emulator::state::{Call, Outcome, Reply, World, text, texts};

/// Pages of a list and the longest ones.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 100;

/// An error of the whole request.
pub(super) fn error(status: u16, words: &str) -> Reply {
    Reply::json(status, &json!({ "errorMessages": [words], "errors": {} }))
}

/// An error of a field.
pub(super) fn invalid(field: &str, words: &str) -> Reply {
    Reply::json(400, &json!({ "errorMessages": [], "errors": { field: words } }))
}

pub(super) fn no_issue() -> Reply {
    error(404, "Issue does not exist or you do not have permission to see it.")
}

/// The body, which has to be an object.
pub(super) fn body(call: &Call) -> Result<Map<String, Value>, Reply> {
    call.object()
        .ok_or_else(|| error(400, "There was an error parsing JSON. Check that your request body is valid."))
}

/// A body that is not what it should be.
pub(super) fn malformed() -> Reply {
    error(400, "Invalid request payload. Refer to the REST API documentation and try again.")
}

/// An object of a body, if it is there.
pub(super) fn object<'a>(
    body: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, Reply> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_object().map(Some).ok_or_else(malformed),
    }
}

/// The part of a list that is asked for by number, as pages of the API are.
fn page(world: &World, call: &Call, values: Vec<Value>) -> Reply {
    let (start, size) = (call.number("startAt").unwrap_or(0), size(call.number("maxResults")));
    let total = values.len();
    let values: Vec<Value> = values.into_iter().skip(start).take(size).collect();
    let last = start.saturating_add(values.len()) >= total;
    let url =
        |start: usize| format!("{}{}?startAt={start}&maxResults={size}", world.base(call.vendor), call.path);
    let mut body = json!({
        "self": url(start), "maxResults": size, "startAt": start, "total": total, "isLast": last, "values": values,
    });
    if let (false, Value::Object(fields)) = (last, &mut body) {
        fields.insert("nextPage".to_owned(), json!(url(start + size)));
    }
    Reply::json(200, &body)
}

fn size(asked: Option<usize>) -> usize {
    asked.filter(|size| *size > 0).unwrap_or(PAGE).min(LONGEST_PAGE)
}

impl World {
    /// The answer of Jira.
    pub(in crate::emulator) fn jira_reply(&mut self, call: &Call) -> Outcome {
        let mut path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        // By way of the gateway of Atlassian's cloud.
        if let ["ex", "jira", cloud, rest @ ..] = path.as_slice() {
            if *cloud != CLOUD {
                return Err(Reply::json(404, &json!({ "code": 404, "message": "No message available" })));
            }
            path = rest.to_vec();
        }
        let who = self.proved(call).map_err(|denied| match (denied, call.bearer()) {
            (Some(Denied::Unknown | Denied::Expired | Denied::Revoked), Some(_)) => {
                Reply::json(401, &json!({ "code": 401, "message": "Unauthorized" }))
            }
            _ => {
                let words = "Client must be authenticated to access this resource.";
                Reply::text(401, "text/plain;charset=UTF-8", words)
                    .with("www-authenticate", "OAuth realm=\"https%3A%2F%2Fyour-domain.atlassian.net\"")
            }
        })?;
        let reply = match path.as_slice() {
            ["oauth", "token", "accessible-resources"] => {
                let url = self.base(call.vendor);
                let scopes = ["read:jira-work", "write:jira-work", "manage:jira-webhook"];
                let site = json!({
                    "id": CLOUD, "url": url, "name": "emulated", "scopes": scopes, "avatarUrl": format!("{url}/avatar.png"),
                });
                Ok(Reply::json(200, &json!([site])))
            }
            ["rest", "api", "3" | "latest", rest @ ..] => self.jira_route(call, &who, rest),
            _ => Err(Reply::json(404, &json!({ "message": "null for uri: unknown", "status-code": 404 }))),
        };
        let id = self.jira.account(&who).map(|account| account.id.clone()).unwrap_or_default();
        reply.map(|reply| reply.with("x-aaccountid", id))
    }

    fn jira_route(&mut self, call: &Call, who: &str, path: &[&str]) -> Outcome {
        let get = call.method == Method::GET;
        let post = call.method == Method::POST;
        let writer = self.jira_writer();
        let ok = |value: Value| Ok(Reply::json(200, &value));
        match path {
            ["myself"] if get => {
                let mut own = writer.user(who);
                if let Value::Object(fields) = &mut own {
                    let empty = json!({ "size": 0, "items": [] });
                    fields.insert("locale".to_owned(), json!("en_US"));
                    fields.insert("groups".to_owned(), empty.clone());
                    fields.insert("applicationRoles".to_owned(), empty);
                    fields.insert("expand".to_owned(), json!("groups,applicationRoles"));
                }
                ok(own)
            }
            ["user"] if get => {
                let id = call.query("accountId").filter(|id| self.jira.account(id).is_some());
                let id = id.ok_or_else(|| {
                    error(404, "Specified user does not exist or you do not have required permissions")
                })?;
                ok(writer.user(id))
            }
            ["user", "search"] if get => {
                let asked = call.query("query").unwrap_or_default().to_lowercase();
                let fits = |text: &str| text.to_lowercase().contains(&asked);
                let accounts = self.jira.accounts.iter().filter(|account| match call.query("accountId") {
                    Some(id) => account.id == id,
                    None => fits(&account.email) || fits(&account.name),
                });
                let (start, size) = (call.number("startAt").unwrap_or(0), size(call.number("maxResults")));
                ok(accounts.skip(start).take(size).map(|account| writer.user(&account.id)).collect())
            }
            ["serverInfo"] if get => ok(json!({
                "baseUrl": writer.base, "version": "1001.0.0-SNAPSHOT", "versionNumbers": [1001, 0, 0],
                "deploymentType": "Cloud", "buildNumber": 100_275, "buildDate": "2024-01-01T00:00:00.000+0000",
                "serverTime": crate::emulator::state::millis(self.now()), "scmInfo": "emulated", "serverTitle": "Jira",
                "serverTimeZone": "Etc/UTC", "displayUrl": writer.base,
            })),
            ["status"] if get => ok(STATUSES.iter().map(|(_, name, _)| writer.status(name)).collect()),
            ["priority"] if get => ok(PRIORITIES.iter().map(|(_, name, _)| writer.priority(name)).collect()),
            ["issuetype"] if get => ok(TYPES.iter().map(|(_, name, _)| writer.kind(name)).collect()),
            ["field"] if get => ok(fields()),
            ["project", "search"] if get => {
                let asked = call.query("query").unwrap_or_default().to_lowercase();
                let keys: Vec<&str> = call
                    .query
                    .iter()
                    .filter(|(name, _)| name == "keys")
                    .map(|(_, key)| key.as_str())
                    .collect();
                let mut found: Vec<_> = self
                    .jira
                    .projects
                    .iter()
                    .filter(|project| keys.is_empty() || keys.contains(&project.key.as_str()))
                    .filter(|project| {
                        format!("{} {}", project.key, project.name).to_lowercase().contains(&asked)
                    })
                    .collect();
                found.sort_by(|one, other| one.key.cmp(&other.key));
                Ok(page(self, call, found.into_iter().map(|project| writer.project(project)).collect()))
            }
            ["project", key, rest @ ..] if get => {
                let project = self.jira.project(key);
                let words = format!("No project could be found with key '{key}'.");
                let project = project.ok_or_else(|| error(404, &words))?;
                match rest {
                    [] => ok(writer.whole_project(project)),
                    ["statuses"] => {
                        let statuses: Vec<Value> =
                            STATUSES.iter().map(|(_, name, _)| writer.status(name)).collect();
                        let kind = |(id, name, part): &(&str, &str, bool)| {
                            let url = format!("{}/rest/api/3/issuetype/{id}", writer.base);
                            json!({ "self": url, "id": id, "name": name, "subtask": part, "statuses": statuses })
                        };
                        ok(TYPES.iter().map(kind).collect())
                    }
                    _ => Err(error(404, "Not found")),
                }
            }
            ["search"] => Err(error(
                410,
                "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API.",
            )),
            ["search", "jql"] if get || post => self.search(call, who),
            ["search", "approximate-count"] if post => {
                let body = body(call)?;
                let found = self.found(text(&body, "jql").unwrap_or_default(), who)?.len();
                ok(json!({ "count": found }))
            }
            ["webhook", rest @ ..] => self.jira_webhooks(call, who, rest),
            ["issue", rest @ ..] => self.jira_issues(call, who, rest),
            _ => Err(error(404, "Not found")),
        }
    }

    /// The issues that a query finds.
    fn found(&self, jql: &str, who: &str) -> Result<Vec<&Issue>, Reply> {
        let query = jql::read(jql).map_err(|words| error(400, &words))?;
        if !query.is_bounded() {
            let words =
                "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.";
            return Err(error(400, words));
        }
        query.find(Asker { jira: &self.jira, who, now: self.now() }).map_err(|words| error(400, &words))
    }

    fn search(&self, call: &Call, who: &str) -> Outcome {
        let asked = match call.method {
            Method::POST => body(call)?,
            _ => {
                // Numbers of the query are texts.
                let mut asked = Map::new();
                for (name, value) in &call.query {
                    let value = match name.as_str() {
                        "maxResults" => {
                            json!(value.parse::<u64>().map_err(|_| error(400, "maxResults is no number"))?)
                        }
                        "fields" => {
                            let before = texts(&asked, "fields");
                            json!(
                                before
                                    .into_iter()
                                    .chain(value.split(',').map(str::to_owned))
                                    .collect::<Vec<_>>()
                            )
                        }
                        _ => json!(value),
                    };
                    asked.insert(name.clone(), value);
                }
                asked
            }
        };
        let wrong =
            |name: &str| error(400, &format!("Invalid request payload: `{name}` has the wrong type."));
        let count = match asked.get("maxResults") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| wrong("maxResults"))?),
        };
        let is_text = |value: &Value| value.is_string() || value.is_null();
        for name in ["jql", "nextPageToken", "expand"] {
            if asked.get(name).is_some_and(|value| !is_text(value)) {
                return Err(wrong(name));
            }
        }
        let is_list =
            |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
        if asked.get("fields").is_some_and(|fields| !fields.is_null() && !is_list(fields)) {
            return Err(wrong("fields"));
        }
        let found = self.found(text(&asked, "jql").unwrap_or_default(), who)?;
        let start = match text(&asked, "nextPageToken").filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => {
                place_of(token).ok_or_else(|| error(400, "The nextPageToken is invalid or expired."))?
            }
        };
        let size = size(count.and_then(|count| usize::try_from(count).ok()));
        // Without a list of fields there are ids alone.
        let fields = match texts(&asked, "fields") {
            fields if fields.is_empty() => vec!["id".to_owned()],
            fields => fields,
        };
        let bare = fields == ["id"];
        let (writer, total) = (self.jira_writer(), found.len());
        let with_changes =
            asked.get("expand").and_then(Value::as_str).is_some_and(|expand| expand.contains("changelog"));
        let issue = |issue: &&Issue| match bare {
            true => json!({ "id": issue.id.to_string() }),
            false => {
                let mut value = writer.issue(issue, &fields);
                if let (true, Value::Object(value)) = (with_changes, &mut value) {
                    value.insert("changelog".to_owned(), self.changelog(issue));
                }
                value
            }
        };
        let issues: Vec<Value> = found.iter().skip(start).take(size).map(issue).collect();
        let next = start.saturating_add(issues.len());
        let mut body = json!({ "issues": issues, "isLast": next >= total });
        if let (true, Value::Object(body)) = (next < total, &mut body) {
            body.insert("nextPageToken".to_owned(), json!(cursor_of(next, 0)));
        }
        Ok(Reply::json(200, &body))
    }

    /// The changes of an issue as they come with it: the newest first.
    pub(super) fn changelog(&self, issue: &Issue) -> Value {
        let mut changes = self.jira_writer().changes(issue);
        changes.reverse();
        let total = changes.len();
        json!({ "startAt": 0, "maxResults": total, "total": total, "histories": changes })
    }

    /// The changes of an issue as a list of their own: the oldest first.
    pub(super) fn changelog_page(&self, call: &Call, issue: &Issue) -> Reply {
        page(self, call, self.jira_writer().changes(issue))
    }

    /// The webhooks of an app.
    pub(super) fn webhook_page(&self, call: &Call, values: Vec<Value>) -> Reply {
        page(self, call, values)
    }
}

/// The fields that every site has.
fn fields() -> Value {
    const FIELDS: [(&str, &str, &str); 14] = [
        ("summary", "Summary", "string"),
        ("description", "Description", "string"),
        ("project", "Project", "project"),
        ("issuetype", "Issue Type", "issuetype"),
        ("status", "Status", "status"),
        ("priority", "Priority", "priority"),
        ("labels", "Labels", "array"),
        ("assignee", "Assignee", "user"),
        ("reporter", "Reporter", "user"),
        ("created", "Created", "datetime"),
        ("updated", "Updated", "datetime"),
        ("resolutiondate", "Resolved", "datetime"),
        ("duedate", "Due date", "date"),
        ("comment", "Comment", "comments-page"),
    ];
    let field = |(id, name, kind): &(&str, &str, &str)| {
        let mut schema = json!({ "type": kind, "system": id });
        if let (&"array", Value::Object(schema)) = (kind, &mut schema) {
            schema.insert("items".to_owned(), json!("string"));
        }
        json!({
            "id": id, "key": id, "name": name, "custom": false, "orderable": true, "navigable": true,
            "searchable": true, "clauseNames": [id], "schema": schema,
        })
    };
    FIELDS.iter().map(field).collect()
}
