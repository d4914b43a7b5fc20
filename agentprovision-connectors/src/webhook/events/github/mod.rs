//! Deliveries of GitHub: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

mod bodies;
mod objects;

use agentprovision_core::{Error, Result};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::{Facts, header, required};
use crate::webhook::event::{BEGUN, CHANGED, ENDED, EventBody, Version};
use crate::webhook::json::{Json, View, choice};

pub use bodies::{
    Activity, Authorization, CheckRunEvent, CheckSuiteEvent, DeploymentEvent, InstallationEvent,
    IssueCommentEvent, IssueEvent, Meta, Ping, PullRequestEvent, Push, Ref, ReleaseEvent, RepositoryEvent,
    ReviewCommentEvent, ReviewEvent, Status, WorkflowJobEvent, WorkflowRunEvent,
};
pub use objects::{
    Author, Branch, Check, Comment, Commit, Installation, Issue, Label, PullRequest, Release, Repository,
    Review, User, WorkflowJob, WorkflowRun,
};

choice! {
    /// The body of a delivery, by the header `x-github-event`.
    Body {
        otherwise {
            /// Any other event: what all of them have, and the rest as it came.
            Activity(Activity)
        }
        /// `ping`
        Ping(Ping) = "ping",
        /// `push`
        Push(Push) = "push",
        /// `create` and `delete`
        Ref(Ref) = "create" | "delete",
        /// `issues`
        Issue(IssueEvent) = "issues",
        /// `issue_comment`
        IssueComment(IssueCommentEvent) = "issue_comment",
        /// `pull_request`
        PullRequest(PullRequestEvent) = "pull_request",
        /// `pull_request_review`
        Review(ReviewEvent) = "pull_request_review",
        /// `pull_request_review_comment`
        ReviewComment(ReviewCommentEvent) = "pull_request_review_comment",
        /// `workflow_run`
        WorkflowRun(WorkflowRunEvent) = "workflow_run",
        /// `workflow_job`
        WorkflowJob(WorkflowJobEvent) = "workflow_job",
        /// `check_run`
        CheckRun(CheckRunEvent) = "check_run",
        /// `check_suite`
        CheckSuite(CheckSuiteEvent) = "check_suite",
        /// `status`
        Status(Status) = "status",
        /// `release`
        Release(ReleaseEvent) = "release",
        /// `deployment` and `deployment_status`
        Deployment(DeploymentEvent) = "deployment" | "deployment_status",
        /// `repository`
        Repository(RepositoryEvent) = "repository",
        /// `installation` and `installation_repositories`
        Installation(InstallationEvent) = "installation" | "installation_repositories",
        /// `github_app_authorization`
        Authorization(Authorization) = "github_app_authorization",
        /// `meta`
        Meta(Meta) = "meta",
    }
}

/// Where the body has what filters ask for.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("action", &["action"]),
    ("repository", &["repository.full_name"]),
    ("organization", &["organization.login"]),
    ("sender", &["sender.login"]),
    ("sender_type", &["sender.type"]),
    ("ref", &["ref", "workflow_run.head_branch", "check_suite.head_branch", "deployment.ref"]),
    ("ref_type", &["ref_type"]),
    ("number", &["issue.number", "pull_request.number", "number"]),
    ("state", &["review.state", "pull_request.state", "issue.state", "deployment_status.state", "state"]),
    ("status", &["workflow_run.status", "workflow_job.status", "check_run.status", "check_suite.status"]),
    (
        "conclusion",
        &[
            "workflow_run.conclusion",
            "workflow_job.conclusion",
            "check_run.conclusion",
            "check_suite.conclusion",
        ],
    ),
    ("label", &["label.name"]),
    ("author", &["pull_request.user.login", "issue.user.login"]),
    ("assignee", &["assignee.login"]),
    ("base", &["pull_request.base.ref"]),
    ("head", &["pull_request.head.ref"]),
    ("draft", &["pull_request.draft", "release.draft"]),
    ("merged", &["pull_request.merged"]),
    ("workflow", &["workflow.name", "workflow_job.workflow_name"]),
    ("check", &["check_run.name", "context"]),
    ("environment", &["deployment.environment"]),
    ("tag", &["release.tag_name"]),
];

/// The kind is the header `x-github-event` with the action behind it; the delivery's id is `x-github-delivery`, which a
/// redelivery repeats. A body that was sent as a form has its JSON in `payload`.
///
/// Most things are ordered by their `updated_at`, in whole seconds.
pub(in crate::webhook) fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Facts, EventBody)> {
    let event = required(header(headers, "x-github-event"), "the header `x-github-event`")?;
    let raw = json(body)?;
    let view =
        View::new(&raw).ok_or_else(|| Error::invalid("the body of the delivery is not a JSON object"))?;
    let mut facts = Facts { delivery_id: header(headers, "x-github-delivery"), ..Facts::default() };
    facts.attributes(&view, ATTRIBUTES);
    facts.account = view.first(&["installation.id", "organization.login", "repository.owner.login"]);
    facts.subject = subject(&view);
    order(&mut facts, &event, &view);
    facts.at = facts.ordering.as_ref().map(|ordering| ordering.version.time());
    let body =
        Body::read(&event, &raw).map_or_else(|| EventBody::Other(Json::from_raw(&raw)), EventBody::Github);
    facts.kind = match facts.attributes.get("action") {
        Some(action) => format!("{event}.{action}"),
        None => event,
    };
    Ok((facts, body))
}

fn json(body: &[u8]) -> Result<Box<RawValue>> {
    let begin = body.iter().find(|b| !b.is_ascii_whitespace());
    if begin != Some(&b'{')
        && let Some((_, payload)) = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload")
    {
        return serde_json::from_str(&payload).map_err(no_json);
    }
    serde_json::from_slice(body).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> Error {
    Error::invalid("the body of the delivery is not JSON").with_source(error)
}

fn subject(view: &View<'_>) -> Option<String> {
    let Some(repository) = view.text("repository.full_name") else {
        return view.first(&["installation.account.login", "organization.login", "sender.login"]);
    };
    if let Some(number) = view.first(&["issue.number", "pull_request.number", "discussion.number"]) {
        return Some(format!("{repository}#{number}"));
    }
    Some(match view.first(&["ref", "release.tag_name", "workflow_run.head_branch", "sha"]) {
        Some(name) => format!("{repository}@{name}"),
        None => repository,
    })
}

fn order(facts: &mut Facts, event: &str, view: &View<'_>) {
    let action = view.text("action").unwrap_or_default();
    // What it is called, where its id is, and where its time may be.
    let (thing, id, times): (&str, &str, &[&str]) = match event {
        "issues" => ("issue", "issue.id", &["issue.updated_at"]),
        "issue_comment" | "commit_comment" | "pull_request_review_comment" => {
            (event, "comment.id", &["comment.updated_at"])
        }
        "pull_request" => (event, "pull_request.id", &["pull_request.updated_at"]),
        // A review that is edited or dismissed keeps its time, and moves that of its pull request.
        "pull_request_review" => {
            (event, "review.id", &["review.updated_at", "review.submitted_at", "pull_request.updated_at"])
        }
        "workflow_run" => (event, "workflow_run.id", &["workflow_run.updated_at"]),
        "workflow_job" => (
            event,
            "workflow_job.id",
            &["workflow_job.created_at", "workflow_job.started_at", "workflow_job.completed_at"],
        ),
        "check_run" => (event, "check_run.id", &["check_run.started_at", "check_run.completed_at"]),
        "check_suite" => (event, "check_suite.id", &["check_suite.updated_at"]),
        "release" => {
            (event, "release.id", &["release.updated_at", "release.published_at", "release.created_at"])
        }
        "deployment" => (event, "deployment.id", &["deployment.updated_at"]),
        "deployment_status" => (event, "deployment_status.id", &["deployment_status.updated_at"]),
        "discussion" => (event, "discussion.id", &["discussion.updated_at"]),
        "discussion_comment" => (event, "comment.id", &["comment.updated_at"]),
        "milestone" => (event, "milestone.id", &["milestone.updated_at"]),
        "repository" => (event, "repository.id", &["repository.updated_at"]),
        "installation" => (event, "installation.id", &["installation.updated_at"]),
        "push" | "create" | "delete" => return order_ref(facts, event, view),
        "status" => {
            let parts = [view.text("repository.id"), view.text("sha"), view.text("context")];
            if let ([Some(repository), Some(sha), Some(context)], Some(at)) = (parts, view.time("updated_at"))
            {
                facts.order(format!("status/{repository}/{sha}/{context}"), Version::at(at));
            }
            return;
        }
        _ => return,
    };
    let (Some(id), Some(at)) = (view.text(id), view.latest(times)) else { return };
    let version = match action.as_str() {
        "deleted" | "transferred" => Version::at(at).gone(),
        "opened" | "created" | "requested" | "queued" | "waiting" | "submitted" => {
            Version::at(at).with_step(BEGUN)
        }
        "completed" => Version::at(at).with_step(ENDED),
        _ => Version::at(at).with_step(CHANGED),
    };
    // A repository that is handed on is still there.
    let version = if event == "repository" && action == "transferred" { Version::at(at) } else { version };
    facts.order(format!("{thing}/{id}"), version);
}

/// A branch or tag of one name can come again, so its end is a step and not the last word.
fn order_ref(facts: &mut Facts, event: &str, view: &View<'_>) {
    let parts = (view.text("repository.id"), view.text("ref"), view.time("repository.pushed_at"));
    let (Some(repository), Some(name), Some(at)) = parts else { return };
    let full = match view.text("ref_type").as_deref() {
        Some("branch") => format!("refs/heads/{name}"),
        Some(_) => format!("refs/tags/{name}"),
        None => name,
    };
    let step = match event {
        "create" => BEGUN,
        "delete" => ENDED,
        _ if view.text("deleted").as_deref() == Some("true") => ENDED,
        _ => CHANGED,
    };
    facts.order(format!("ref/{repository}/{full}"), Version::at(at).with_step(step));
}
