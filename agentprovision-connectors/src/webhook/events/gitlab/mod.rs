//! Deliveries of GitLab: <https://docs.gitlab.com/user/project/integrations/webhook_events/> and, for system hooks,
//! <https://docs.gitlab.com/administration/system_hooks/>.

mod objects;

use agentprovision_core::Result;
use http::HeaderMap;

use super::{Facts, header, object, required};
use crate::webhook::event::{BEGUN, CHANGED, ENDED, EventBody, Version};
use crate::webhook::json::{Json, View, choice};

pub use objects::{
    Activity, Commit, DeploymentEvent, IssueAttributes, IssueEvent, JobEvent, Label, MergeRequestAttributes,
    MergeRequestEvent, NoteAttributes, NoteEvent, PipelineAttributes, PipelineEvent, Project, Push,
    ReleaseEvent, SystemEvent, User,
};

choice! {
    /// The body of a delivery, by its `object_kind`, else by its `event_name`.
    Body {
        otherwise {
            /// Any other kind: what all of them have, and the rest as it came.
            Activity(Activity)
        }
        /// `push` and `tag_push`
        Push(Push) = "push" | "tag_push",
        /// `issue` and `work_item`
        Issue(IssueEvent) = "issue" | "work_item",
        /// `merge_request`
        MergeRequest(MergeRequestEvent) = "merge_request",
        /// `note`
        Note(NoteEvent) = "note",
        /// `pipeline`
        Pipeline(PipelineEvent) = "pipeline",
        /// `build`, which is a job
        Job(JobEvent) = "build",
        /// `deployment`
        Deployment(DeploymentEvent) = "deployment",
        /// `release`
        Release(ReleaseEvent) = "release",
        /// What has no kind, only the name of an event
        System(SystemEvent) = "system",
    }
}

/// Where the body has what filters ask for.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("action", &["object_attributes.action", "action"]),
    (
        "project",
        &[
            "project.path_with_namespace",
            "path_with_namespace",
            "project_path_with_namespace",
            "project_name",
        ],
    ),
    ("group", &["group.full_path", "full_path", "group_path"]),
    ("user", &["user.username", "user_username", "username"]),
    ("state", &["object_attributes.state", "state"]),
    ("status", &["object_attributes.status", "build_status", "status"]),
    ("ref", &["ref", "object_attributes.ref"]),
    ("source_branch", &["object_attributes.source_branch", "merge_request.source_branch"]),
    ("target_branch", &["object_attributes.target_branch", "merge_request.target_branch"]),
    ("draft", &["object_attributes.draft", "object_attributes.work_in_progress"]),
    ("noteable_type", &["object_attributes.noteable_type"]),
    ("confidential", &["object_attributes.confidential"]),
    ("environment", &["environment"]),
    ("stage", &["build_stage"]),
    ("job", &["build_name"]),
    ("tag", &["tag"]),
];

/// The kind is `object_kind` with the action or status behind it (`merge_request.open`, `pipeline.success`), else
/// `event_name`. The delivery's id is `Idempotency-Key`, which a retry repeats. Versions before 17.4 do not send it; there
/// it is `X-Gitlab-Event-UUID` with the digest of the body behind it, because all webhooks that one webhook sets off share
/// the UUID.
///
/// Pushes, pipelines and releases say nothing by which states of them could be ordered.
pub(in crate::webhook) fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let name = view.text("event_name");
    let kind = required(view.text("object_kind").or_else(|| name.clone()), "an `object_kind`")?;
    let uuid = || {
        let digest = hex::encode(agentprovision_core::canonical::sha256(&[body]));
        header(headers, "x-gitlab-event-uuid").map(|uuid| format!("{uuid}.{digest}"))
    };
    let key = header(headers, "idempotency-key").or_else(|| header(headers, "webhook-id"));
    let mut facts = Facts { delivery_id: key.or_else(uuid), ..Facts::default() };
    facts.attributes(&view, ATTRIBUTES);
    // A job's `tag` is whether it is one.
    if kind != "release" {
        facts.attributes.remove("tag");
    }
    facts.attribute("hook", header(headers, "x-gitlab-event"));
    facts.account = header(headers, "x-gitlab-instance").or_else(|| view.host("project.web_url"));
    facts.subject = subject(&kind, &view, &facts);
    order(&mut facts, &kind, &view);
    facts.at = match &facts.ordering {
        Some(ordering) if ordering.version.time().micros() > 0 => Some(ordering.version.time()),
        _ => view.latest(&["object_attributes.finished_at", "object_attributes.created_at", "released_at"]),
    };
    let behind = match kind.as_str() {
        "pipeline" | "build" | "deployment" => "status",
        _ => "action",
    };
    // A push of a system hook has an `event_name` alone, and a member that joins has no kind.
    let known = view.text("object_kind").is_some() || kind == "push" || kind == "tag_push";
    let typed = if known { kind.as_str() } else { "system" };
    let body =
        Body::read(typed, raw).map_or_else(|| EventBody::Other(Json::from_raw(raw)), EventBody::Gitlab);
    facts.kind = match facts.attributes.get(behind) {
        Some(word) if known => format!("{kind}.{word}"),
        _ => kind,
    };
    Ok((facts, body))
}

fn subject(kind: &str, view: &View<'_>, facts: &Facts) -> Option<String> {
    let project = facts.attributes.get("project");
    let Some(project) = project else {
        return view.first(&["full_path", "path", "group_path", "user_username", "username", "name"]);
    };
    let in_project = |sign: char, path: &str| Some(format!("{project}{sign}{}", view.text(path)?));
    let found = match kind {
        "issue" | "work_item" => in_project('#', "object_attributes.iid"),
        "merge_request" => in_project('!', "object_attributes.iid"),
        "note" => in_project('!', "merge_request.iid").or_else(|| in_project('#', "issue.iid")),
        "release" => in_project('@', "tag"),
        _ => in_project('@', "ref").or_else(|| in_project('@', "object_attributes.ref")),
    };
    found.or_else(|| Some(project.clone()))
}

fn order(facts: &mut Facts, kind: &str, view: &View<'_>) {
    let keyed = |thing: &str, path: &str| Some(format!("{thing}/{}", view.text(path)?));
    let action = facts.attributes.get("action").cloned().unwrap_or_default();
    let updated = view.time("object_attributes.updated_at").map(Version::at);
    let (key, version) = match kind {
        "issue" | "work_item" | "merge_request" | "note" => {
            let thing = if kind == "work_item" { "issue" } else { kind };
            let step = if matches!(action.as_str(), "open" | "create") { BEGUN } else { CHANGED };
            (keyed(thing, "object_attributes.id"), updated.map(|version| version.with_step(step)))
        }
        "build" => {
            // A retried job is another one, so the times of one only grow.
            let times = view
                .latest(&["build_created_at", "build_started_at", "build_finished_at"])
                .unwrap_or_default();
            let step = match view.text("build_status").as_deref() {
                Some("created") => BEGUN,
                Some("success" | "failed" | "canceled" | "skipped") => ENDED + 2,
                Some("canceling") => ENDED + 1,
                Some("running") => ENDED,
                _ => CHANGED,
            };
            (keyed("build", "build_id"), Some(Version::at(times).with_step(step)))
        }
        "deployment" => {
            (keyed("deployment", "deployment_id"), view.time("status_changed_at").map(Version::at))
        }
        kind => order_system(kind, view),
    };
    if let (Some(key), Some(version)) = (key, version) {
        facts.order(key, version);
    }
}

fn order_system(kind: &str, view: &View<'_>) -> (Option<String>, Option<Version>) {
    let keyed = |thing: &str, path: &str| Some(format!("{thing}/{}", view.text(path)?));
    let version = view.time("updated_at").map(Version::at);
    // Projects, groups, people and keys have ids that do not come back; a member can.
    match kind {
        "project_destroy" => (keyed("project", "project_id"), version.map(Version::gone)),
        "project_create" | "project_rename" | "project_transfer" | "project_update" => {
            (keyed("project", "project_id"), version)
        }
        "group_destroy" => (keyed("group", "group_id"), version.map(Version::gone)),
        "group_create" | "group_rename" => (keyed("group", "group_id"), version),
        "user_destroy" => (keyed("user", "user_id"), version.map(Version::gone)),
        "user_create" | "user_rename" => (keyed("user", "user_id"), version),
        "key_destroy" => (keyed("key", "id"), version.map(Version::gone)),
        "key_create" => (keyed("key", "id"), version),
        _ => (None, None),
    }
}
