//! Deliveries of Jira: <https://developer.atlassian.com/cloud/jira/platform/webhooks/>.

use agentprovision_core::Result;
use http::HeaderMap;

use super::{Facts, header, object, required};
use crate::webhook::event::{BEGUN, CHANGED, EventBody, Version};
use crate::webhook::json::{Json, choice, object};

object! {
    /// A person.
    User {
        needs {}
        has {
            /// The id in Jira Cloud.
            account_id "accountId": String,
            /// The key in Jira Data Center.
            key: String,
            /// The name they log in by, in Jira Data Center.
            name: String,
            /// How people are called.
            display_name "displayName": String,
            /// The address, where they let it be seen.
            email_address "emailAddress": String,
            /// Whether they can log in.
            active: bool,
        }
    }

    /// Something that has a name: a status, a priority, a type, a component.
    Named {
        needs {
            /// The name.
            name: String,
        }
        has {
            /// The id.
            id: String,
        }
    }

    /// A project.
    Project {
        needs {
            /// The key, as `DESK`.
            key: String,
        }
        has {
            /// The id.
            id: String,
            /// The name.
            name: String,
        }
    }

    /// An issue.
    Issue {
        needs {
            /// The id.
            id: String,
            /// The key, as `DESK-12`.
            key: String,
        }
        has {
            /// Where the API has it.
            link "self": String,
            /// Its fields.
            fields: IssueFields,
        }
    }

    /// The fields of an issue. Those of one's own are `customfield_…` among the rest.
    IssueFields {
        needs {}
        has {
            /// The title.
            summary: String,
            /// The text.
            description: String,
            /// How far it is.
            status: Named,
            /// What it is.
            issue_type "issuetype": Named,
            /// The project.
            project: Project,
            /// How urgent it is.
            priority: Named,
            /// How it ended.
            resolution: Named,
            /// Whom it is assigned to.
            assignee: User,
            /// Who reported it.
            reporter: User,
            /// Who made it.
            creator: User,
            /// Its labels.
            labels: Vec<String>,
            /// Its components.
            components: Vec<Named>,
            /// When it was made.
            created: String,
            /// When it was changed last.
            updated: String,
            /// When it is due, as a date.
            due_date "duedate": String,
        }
    }

    /// A comment.
    Comment {
        needs {
            /// The id.
            id: String,
        }
        has {
            /// Where the API has it.
            link "self": String,
            /// The text.
            body: String,
            /// Who wrote it.
            author: User,
            /// Who changed it last.
            update_author "updateAuthor": User,
            /// When it was written.
            created: String,
            /// When it was changed last.
            updated: String,
        }
    }

    /// What an update changed.
    Changelog {
        needs {
            /// The fields.
            items: Vec<Change>,
        }
        has {
            /// The id.
            id: String,
        }
    }

    /// A field that changed. What it was and is are a text for people, and an id where there is one.
    Change {
        needs {
            /// The field.
            field: String,
        }
        has {
            /// The id of the field.
            field_id "fieldId": String,
            /// The id it was.
            from: String,
            /// The text it was.
            from_text "fromString": String,
            /// The id it is.
            to: String,
            /// The text it is.
            to_text "toString": String,
        }
    }

    /// An issue changed.
    IssueEvent {
        needs {
            /// What happened, as `jira:issue_updated`.
            webhook_event "webhookEvent": String,
            /// The issue as it is.
            issue: Issue,
        }
        has {
            /// When, in milliseconds since 1970.
            timestamp: i64,
            /// What happened more exactly, as `issue_commented`.
            issue_event_type_name: String,
            /// Who did it.
            user: User,
            /// What changed.
            changelog: Changelog,
            /// The comment, if one was made with it.
            comment: Comment,
        }
    }

    /// A comment changed.
    CommentEvent {
        needs {
            /// What happened, as `comment_created`.
            webhook_event "webhookEvent": String,
            /// The comment.
            comment: Comment,
        }
        has {
            /// When, in milliseconds since 1970.
            timestamp: i64,
            /// Who did it.
            user: User,
            /// The issue, with few of its fields.
            issue: Issue,
        }
    }

    /// Anything else: sprints, versions, work logs, links, projects, people.
    Activity {
        needs {}
        has {
            /// What happened.
            webhook_event "webhookEvent": String,
            /// When, in milliseconds since 1970.
            timestamp: i64,
            /// Who did it.
            user: User,
            /// The issue.
            issue: Issue,
        }
    }
}

choice! {
    /// The body of a delivery, by its `webhookEvent`.
    Body {
        otherwise {
            /// Any other event: what all of them have, and the rest as it came.
            Activity(Activity)
        }
        /// `jira:issue_created`, `jira:issue_updated` and `jira:issue_deleted`
        Issue(IssueEvent) = "jira:issue_created" | "jira:issue_updated" | "jira:issue_deleted",
        /// `comment_created`, `comment_updated` and `comment_deleted`
        Comment(CommentEvent) = "comment_created" | "comment_updated" | "comment_deleted",
    }
}

/// Where the body has what filters ask for.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("event", &["issue_event_type_name"]),
    ("issue", &["issue.key"]),
    ("project", &["issue.fields.project.key", "project.key"]),
    ("status", &["issue.fields.status.name"]),
    ("issue_type", &["issue.fields.issuetype.name"]),
    ("priority", &["issue.fields.priority.name"]),
    ("resolution", &["issue.fields.resolution.name"]),
    ("assignee", &["issue.fields.assignee.accountId", "issue.fields.assignee.name"]),
    ("user", &["user.accountId", "user.name", "comment.updateAuthor.accountId", "comment.updateAuthor.name"]),
];

/// The kind is `webhookEvent`; the delivery's id is `X-Atlassian-Webhook-Identifier`, which a retry repeats and which Data
/// Center does not send. Issues and comments are ordered by when they were changed last, or by when the event happened, whichever is later.
pub(in crate::webhook) fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let kind = required(view.text("webhookEvent"), "a `webhookEvent`")?;
    let mut facts = Facts {
        delivery_id: header(headers, "x-atlassian-webhook-identifier"),
        at: view.time("timestamp"),
        subject: view.first(&["issue.key", "project.key", "version.name", "sprint.name"]),
        ..Facts::default()
    };
    facts.account = ["issue.self", "comment.self", "user.self"].iter().find_map(|path| view.host(path));
    facts.attributes(&view, ATTRIBUTES);
    let (thing, _) = kind.trim_start_matches("jira:").split_once('_').unwrap_or((&kind, ""));
    let (key, updated) = match thing {
        "issue" => (view.text("issue.id"), view.time("issue.fields.updated")),
        "comment" => (view.text("comment.id"), view.time("comment.updated")),
        "worklog" => (view.text("worklog.id"), view.time("worklog.updated")),
        "sprint" => (view.text("sprint.id"), None),
        "version" => (view.text("version.id"), None),
        "project" => (view.text("project.id"), None),
        _ => (None, None),
    };
    // A comment moves the time of an event, and not always that of its issue.
    if let (Some(id), Some(at)) = (key, updated.max(facts.at)) {
        let version = if kind.ends_with("_deleted") {
            Version::at(at).gone()
        } else {
            Version::at(at).with_step(if kind.ends_with("_created") { BEGUN } else { CHANGED })
        };
        facts.order(format!("{thing}/{id}"), version);
    }
    let body = Body::read(&kind, raw).map_or_else(|| EventBody::Other(Json::from_raw(raw)), EventBody::Jira);
    facts.kind = kind;
    Ok((facts, body))
}
