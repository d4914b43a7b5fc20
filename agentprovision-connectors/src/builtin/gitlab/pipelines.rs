//! Pipelines, their jobs, and releases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{Sort, User};
use crate::answer::Form;
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;
use crate::request::Lists;

/// A pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    /// The number.
    pub id: u64,
    /// The number within its project.
    pub iid: Option<u64>,
    /// The number of its project.
    pub project_id: Option<u64>,
    /// `created`, `waiting_for_resource`, `preparing`, `pending`, `running`, `success`, `failed`, `canceling`, `canceled`,
    /// `skipped`, `manual` or `scheduled`.
    pub status: String,
    /// Why there is one, as `push` or `schedule`.
    pub source: Option<String>,
    /// The branch or tag.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// Who has caused it.
    pub user: Option<User>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How many seconds it ran.
    pub duration: Option<Number>,
    /// What is wrong in its description.
    pub yaml_errors: Option<String>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// A job of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The number.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The stage.
    pub stage: Option<String>,
    /// `created`, `pending`, `running`, `success`, `failed`, `canceled`, `skipped` or `manual`.
    pub status: String,
    /// Why it failed, as `script_failure`.
    pub failure_reason: Option<String>,
    /// Whether the pipeline goes on though it fails.
    pub allow_failure: Option<bool>,
    /// The branch or tag.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How many seconds it ran.
    pub duration: Option<Number>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The tag.
    pub tag_name: String,
    /// The title.
    pub name: Option<String>,
    /// What is new, in Markdown.
    pub description: Option<String>,
    /// Who made it.
    pub author: Option<User>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it was released, or will be.
    pub released_at: Option<String>,
    /// Whether it will be released only later.
    pub upcoming_release: Option<bool>,
}

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PipelineStatus {
    /// Made.
    Created,
    /// Waits for something that another one has.
    WaitingForResource,
    /// Is made ready.
    Preparing,
    /// Waits for a runner.
    Pending,
    /// Runs.
    Running,
    /// Has succeeded.
    Success,
    /// Has failed.
    Failed,
    /// Was canceled.
    Canceled,
    /// Was left out.
    Skipped,
    /// Waits for somebody.
    Manual,
    /// Waits for its time.
    Scheduled,
}

/// A variable of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// How jobs get it; default `env_var`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable_type: Option<VariableType>,
}

/// How jobs get a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VariableType {
    /// In their environment.
    EnvVar,
    /// In a file, whose path is in their environment.
    File,
}

operations! {
    /// Lists pipelines of a project, the newest first.
    ListPipelines "pipelines.list" get("/projects/{project}/pipelines") => Page<Pipeline> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those in this state.
        status: Option<PipelineStatus>,
        /// Only those of this branch or tag.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Only those of this commit.
        sha: Option<String>,
        /// Only those that this has caused, as `push`, `schedule` or `merge_request_event`.
        source: Option<String>,
        /// Only those that the user with this name has caused.
        username: Option<String>,
        /// Only those changed at this time or after, as `2025-11-01T00:00:00Z`.
        updated_after: Option<String>,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Gets a pipeline.
    GetPipeline "pipelines.get" get("/projects/{project}/pipelines/{pipeline_id}") => Pipeline [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the pipeline.
        pipeline_id: u64,
    }

    /// Runs a new pipeline of a branch or tag.
    CreatePipeline "pipelines.create" post("/projects/{project}/pipeline") => Pipeline [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Branch or tag.
        #[serde(rename = "ref")]
        reference: String,
        /// Variables of it.
        variables: Option<Vec<Variable>>,
    }

    /// Runs the jobs of a pipeline again that failed or were canceled.
    RetryPipeline "pipelines.retry" post("/projects/{project}/pipelines/{pipeline_id}/retry") => Pipeline [
        .natural().scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the pipeline.
        pipeline_id: u64,
    }

    /// Cancels the jobs of a pipeline that have not ended.
    CancelPipeline "pipelines.cancel" post("/projects/{project}/pipelines/{pipeline_id}/cancel") => Pipeline [
        .natural().scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the pipeline.
        pipeline_id: u64,
    }

    /// Lists the jobs of a pipeline.
    ListJobs "jobs.list" get("/projects/{project}/pipelines/{pipeline_id}/jobs") => Page<Job> [
        .lists(Lists::Brackets).page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the pipeline.
        pipeline_id: u64,
        /// Only those in one of these states, as `failed`.
        scope: Option<Vec<PipelineStatus>>,
        /// Whether to list those too that were run again; default false.
        include_retried: Option<bool>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Gets a job.
    GetJob "jobs.get" get("/projects/{project}/jobs/{job_id}") => Job [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the job.
        job_id: u64,
    }

    /// Gets what a job has written, as text with terminal codes.
    GetJobTrace "jobs.trace" get("/projects/{project}/jobs/{job_id}/trace") => String [
        .answers(Form::Text).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the job.
        job_id: u64,
    }

    /// Runs a job again; the answer is the new job.
    RetryJob "jobs.retry" post("/projects/{project}/jobs/{job_id}/retry") => Job [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The number of the job.
        job_id: u64,
    }

    /// Lists releases of a project, the newest first.
    ListReleases "releases.list" get("/projects/{project}/releases") => Page<Release> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// In which direction; default `desc`.
        sort: Option<Sort>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Makes a release of a tag, and the tag where it is not there.
    CreateRelease "releases.create" post("/projects/{project}/releases") => Release [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The tag.
        tag_name: String,
        /// Branch or commit that a new tag is put on.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// The message of a new tag.
        tag_message: Option<String>,
        /// The title; default is the tag.
        name: Option<String>,
        /// What is new, in Markdown.
        description: Option<String>,
        /// Titles of milestones.
        milestones: Option<Vec<String>>,
        /// When it was released, or will be, as `2025-11-22T20:00:00Z`; default is now.
        released_at: Option<String>,
    }
}
