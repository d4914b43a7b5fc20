//! Service hooks of Azure DevOps: <https://learn.microsoft.com/azure/devops/service-hooks/events>.

use agentprovision_core::Result;

use super::{Facts, object, required};
use crate::webhook::event::{BEGUN, CHANGED, ENDED, EventBody, Version};
use crate::webhook::json::{Json, View, choice, object, plain, walk};

/// Events with what is around every one of them.
macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident { needs { $($need:tt)* } has { $($have:tt)* } })*) => {
        object! {$(
            $(#[$meta])*
            $name {
                needs { $($need)* }
                has {
                    $($have)*
                    /// The id, the same in every attempt.
                    id: String,
                    /// What happened, as `git.push`.
                    event_type "eventType": String,
                    /// What published it.
                    publisher_id "publisherId": String,
                    /// What happened, in a sentence.
                    message: Text,
                    /// The same with more in it.
                    detailed_message "detailedMessage": Text,
                    /// Where: the organization, collection and project.
                    resource_containers "resourceContainers": Json,
                    /// When the event was made.
                    created_date "createdDate": String,
                }
            }
        )*}
    };
}

bodies! {
    /// Commits were pushed.
    PushEvent {
        needs {
            /// The push.
            resource: Push,
        }
        has {}
    }

    /// A pull request changed.
    PullRequestEvent {
        needs {
            /// The pull request.
            resource: PullRequest,
        }
        has {}
    }

    /// A build ended.
    BuildEvent {
        needs {
            /// The build.
            resource: Build,
        }
        has {}
    }

    /// Anything else: work items, releases, pipelines and so on.
    Activity {
        needs {}
        has {
            /// What it is about.
            resource: Json,
        }
    }
}

object! {
    /// A sentence in three forms.
    Text {
        needs {}
        has {
            /// Plain.
            text: String,
            /// As HTML.
            html: String,
            /// As Markdown.
            markdown: String,
        }
    }

    /// A person.
    Identity {
        needs {}
        has {
            /// The id.
            id: String,
            /// How people are called.
            display_name "displayName": String,
            /// The name they log in by.
            unique_name "uniqueName": String,
        }
    }

    /// A project.
    Project {
        needs {
            /// The id.
            id: String,
        }
        has {
            /// The name.
            name: String,
        }
    }

    /// A repository.
    Repository {
        needs {
            /// The id.
            id: String,
        }
        has {
            /// The name.
            name: String,
            /// The project it is in.
            project: Project,
            /// The branch that others are made from, as `refs/heads/main`.
            default_branch "defaultBranch": String,
            /// Where it is cloned from.
            remote_url "remoteUrl": String,
        }
    }

    /// A commit.
    Commit {
        needs {
            /// The hash.
            commit_id "commitId": String,
        }
        has {
            /// The message.
            comment: String,
            /// Where the API has it.
            url: String,
        }
    }

    /// A branch or tag that moved.
    RefUpdate {
        needs {
            /// Its name, as `refs/heads/main`.
            name: String,
        }
        has {
            /// The commit it was at; forty zeros for a new one.
            old_object_id "oldObjectId": String,
            /// The commit it is at; forty zeros for one that is gone.
            new_object_id "newObjectId": String,
        }
    }

    /// A push.
    Push {
        needs {
            /// What moved.
            ref_updates "refUpdates": Vec<RefUpdate>,
        }
        has {
            /// The number of the push within the repository.
            push_id "pushId": u64,
            /// The commits.
            commits: Vec<Commit>,
            /// The repository.
            repository: Repository,
            /// Who pushed.
            pushed_by "pushedBy": Identity,
            /// When.
            date: String,
        }
    }

    /// A pull request.
    PullRequest {
        needs {
            /// The number.
            pull_request_id "pullRequestId": u64,
        }
        has {
            /// The repository.
            repository: Repository,
            /// `active`, `completed` or `abandoned`.
            status: String,
            /// The title.
            title: String,
            /// The text, in Markdown.
            description: String,
            /// Who opened it.
            created_by "createdBy": Identity,
            /// When.
            creation_date "creationDate": String,
            /// When it was closed.
            closed_date "closedDate": String,
            /// The branch it brings, as `refs/heads/topic`.
            source_ref_name "sourceRefName": String,
            /// Where it goes.
            target_ref_name "targetRefName": String,
            /// Whether it can be merged.
            merge_status "mergeStatus": String,
            /// Who reviews it, with votes.
            reviewers: Json,
        }
    }

    /// A build.
    Build {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// The number, as people see it.
            build_number "buildNumber": String,
            /// How it ended, or how far it is.
            status: String,
            /// How it ended, where that is told apart.
            result: String,
            /// What made it run.
            reason: String,
            /// What it was made by.
            definition: Json,
            /// When it began.
            start_time "startTime": String,
            /// When it ended.
            finish_time "finishTime": String,
        }
    }
}

choice! {
    /// The body of an event, by its `eventType`.
    Body {
        otherwise {
            /// Any other event: what all of them have, and the rest as it came.
            Activity(Activity)
        }
        /// `git.push`
        Push(PushEvent) = "git.push",
        /// `git.pullrequest.created`, `git.pullrequest.updated` and `git.pullrequest.merged`
        PullRequest(PullRequestEvent)
            = "git.pullrequest.created" | "git.pullrequest.updated" | "git.pullrequest.merged",
        /// `build.complete`
        Build(BuildEvent) = "build.complete",
    }
}

/// Where the body has what filters ask for.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("publisher", &["publisherId"]),
    ("repository", &["resource.repository.name"]),
    ("project", &["resource.repository.project.name", "resource.project.name"]),
    ("project_id", &["resourceContainers.project.id"]),
    ("status", &["resource.status"]),
    ("result", &["resource.result"]),
    ("definition", &["resource.definition.name", "resource.pipeline.name"]),
    ("ref", &["resource.refUpdates.0.name", "resource.sourceRefName"]),
    ("target", &["resource.targetRefName"]),
    (
        "user",
        &[
            "resource.pushedBy.uniqueName",
            "resource.createdBy.uniqueName",
            "resource.lastChangedBy.uniqueName",
        ],
    ),
];

/// The kind is `eventType`, the delivery's id the body's `id`. Work items are ordered by their revision, everything else by
/// when the event was made.
pub(in crate::webhook) fn read(body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let kind = required(view.text("eventType"), "an `eventType`")?;
    let mut facts = Facts {
        delivery_id: view.text("id"),
        at: view.time("createdDate"),
        account: view.first(&["resourceContainers.account.id", "resourceContainers.collection.id"]),
        ..Facts::default()
    };
    facts.attributes(&view, ATTRIBUTES);
    for (name, field) in
        [("project", "System.TeamProject"), ("state", "System.State"), ("type", "System.WorkItemType")]
    {
        facts.attribute(name, field_of_item(&view, field));
    }
    let repository = facts.attributes.get("repository").cloned();
    facts.subject = match (repository, view.text("resource.pullRequestId")) {
        (Some(repository), Some(number)) => Some(format!("{repository}!{number}")),
        (repository, _) => repository.or_else(|| view.first(&["resource.buildNumber", "resource.id"])),
    };
    order(&mut facts, &kind, &view);
    let body =
        Body::read(&kind, raw).map_or_else(|| EventBody::Other(Json::from_raw(raw)), EventBody::AzureDevops);
    facts.kind = kind;
    Ok((facts, body))
}

/// A field of a work item: as it is, or, of an update, as its revision has it.
fn field_of_item(view: &View<'_>, name: &str) -> Option<String> {
    let fields = ["resource.revision.fields", "resource.fields"];
    fields.iter().find_map(|fields| plain(walk(view.at(fields)?, std::iter::once(name))?))
}

fn order(facts: &mut Facts, kind: &str, view: &View<'_>) {
    let Some(at) = facts.at else { return };
    let repository = view.text("resource.repository.id");
    if kind.starts_with("git.pullrequest.") {
        let step = if kind.ends_with(".created") { BEGUN } else { CHANGED };
        if let (Some(repository), Some(number)) = (repository, view.text("resource.pullRequestId")) {
            facts.order(format!("pullrequest/{repository}/{number}"), Version::at(at).with_step(step));
        }
    } else if kind.starts_with("build.") {
        if let Some(id) = view.text("resource.id") {
            facts.order(format!("build/{id}"), Version::at(at).with_step(ENDED));
        }
    } else if kind.starts_with("workitem.") {
        // The revision counts up, also when an item that was deleted comes back.
        let id = view.first(&["resource.workItemId", "resource.id"]);
        let revision =
            view.first(&["resource.rev", "resource.revision.rev"]).and_then(|text| text.parse().ok());
        if let (Some(id), Some(revision)) = (id, revision) {
            let revision = agentprovision_core::Timestamp::from_micros(revision);
            facts.order(format!("workitem/{id}"), Version::at(revision));
        }
    }
}
