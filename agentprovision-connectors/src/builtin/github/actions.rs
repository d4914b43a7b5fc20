//! Workflows, their runs and jobs (<https://docs.github.com/rest/actions>).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::logs::JobLogs;
use super::types::Account;
use crate::answer::Form;
use crate::operation::Page;
use crate::paging::Paging;
use crate::request::Body;

records! {
    /// A workflow.
    Workflow {
        /// The id.
        id: u64,
        /// The name.
        name: String,
        /// The path of its file.
        path: String,
        /// `active`, `deleted`, `disabled_fork`, `disabled_inactivity` or `disabled_manually`.
        state: String,
        /// Its page.
        html_url: String,
    }

    /// A run of a workflow.
    Run {
        /// The id.
        id: u64,
        /// The name of the workflow.
        name: Option<String>,
        /// The title of this run.
        display_title: String,
        /// How many runs of this workflow there were up to it.
        run_number: u64,
        /// How often it was run.
        run_attempt: Option<u64>,
        /// What started it, as `push` or `workflow_dispatch`.
        event: String,
        /// `queued`, `in_progress`, `completed`, `waiting`, `requested` or `pending`.
        status: Option<String>,
        /// How it ended: `success`, `failure`, `cancelled`, `skipped`, `timed_out`, `neutral`, `action_required` or `stale`.
        conclusion: Option<String>,
        /// The id of the workflow.
        workflow_id: u64,
        /// The branch.
        head_branch: Option<String>,
        /// The hash of the commit.
        head_sha: String,
        /// Who started it first.
        actor: Option<Account>,
        /// When it was made, in RFC 3339.
        created_at: String,
        /// When it last changed.
        updated_at: String,
        /// When the last attempt began.
        run_started_at: Option<String>,
        /// Its page.
        html_url: String,
    }

    /// A job of a run.
    Job {
        /// The id.
        id: u64,
        /// The run.
        run_id: u64,
        /// The name.
        name: String,
        /// `queued`, `in_progress`, `completed`, `waiting`, `requested` or `pending`.
        status: String,
        /// How it ended, as of a run.
        conclusion: Option<String>,
        /// Its steps.
        steps: Option<Vec<Step>>,
        /// The hash of the commit.
        head_sha: String,
        /// What runs it.
        runner_name: Option<String>,
        /// When it began, in RFC 3339.
        started_at: Option<String>,
        /// When it ended.
        completed_at: Option<String>,
        /// Its page.
        html_url: Option<String>,
    }

    /// A step of a job.
    Step {
        /// The number within the job.
        number: u64,
        /// The name.
        name: String,
        /// `queued`, `in_progress` or `completed`.
        status: String,
        /// How it ended.
        conclusion: Option<String>,
        /// When it began, in RFC 3339.
        started_at: Option<String>,
        /// When it ended.
        completed_at: Option<String>,
    }

    /// The end of a log.
    Log {
        /// The last lines.
        text: String,
        /// How many bytes the whole log has.
        size: u64,
        /// Whether something before them was left out.
        truncated: bool,
    }
}

choices! {
    /// A state or an end of runs.
    RunStatus {
        /// It ended.
        Completed "completed",
        /// It waits for somebody.
        ActionRequired "action_required",
        /// It was cancelled.
        Cancelled "cancelled",
        /// It failed.
        Failure "failure",
        /// It ended without a verdict.
        Neutral "neutral",
        /// It was left out.
        Skipped "skipped",
        /// GitHub has forgotten it.
        Stale "stale",
        /// It succeeded.
        Success "success",
        /// It took too long.
        TimedOut "timed_out",
        /// It runs.
        InProgress "in_progress",
        /// It waits for a runner.
        Queued "queued",
        /// It was asked for.
        Requested "requested",
        /// It waits for a rule.
        Waiting "waiting",
        /// It waits for other runs.
        Pending "pending",
    }

    /// Of which attempts.
    Attempts {
        /// Of the last one.
        Latest "latest",
        /// Of all of them.
        All "all",
    }
}

/// A workflow, by its id or the name of its file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum WorkflowId {
    /// The id.
    Id(u64),
    /// The name of the file, as `build.yml`.
    File(String),
}

in_repository! {
    /// Lists the workflows of a repository.
    ListWorkflows "workflows.list" get("/repos/{owner}/{repo}/actions/workflows") => Page<Workflow> [
        .page(Paging::Link { items: "/workflows".into() })
    ] {
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Starts a workflow that has the trigger `workflow_dispatch`. The run is in `runs.list` some seconds later.
    DispatchWorkflow "workflows.dispatch" post("/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches") => () [
        .answers(Form::Ignored)
    ] {
        /// The id of the workflow, or the name of its file, as `build.yml`.
        workflow_id: WorkflowId,
        /// The branch or tag that it runs on.
        #[serde(rename = "ref")]
        reference: String,
        /// What the workflow asks for, by name: an object of texts.
        inputs: Option<Map<String, Value>>,
    }

    /// Lists the runs of all workflows of a repository, the newest first; at most 1,000 with a filter.
    ListRuns "runs.list" get("/repos/{owner}/{repo}/actions/runs") => Page<Run> [
        .page(Paging::Link { items: "/workflow_runs".into() })
    ] {
        /// The login of who started them.
        actor: Option<String>,
        /// The branch.
        branch: Option<String>,
        /// What started them, as `push`, `pull_request` or `workflow_dispatch`.
        event: Option<String>,
        /// Their state or end.
        status: Option<RunStatus>,
        /// When they were made, as `>=2026-05-01` or `2026-05-01..2026-05-31`.
        created: Option<String>,
        /// The hash of the commit.
        head_sha: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a run.
    GetRun "runs.get" get("/repos/{owner}/{repo}/actions/runs/{run_id}") => Run {
        /// The id of the run.
        run_id: u64,
    }

    /// Lists the jobs of a run with their steps.
    ListJobs "runs.list_jobs" get("/repos/{owner}/{repo}/actions/runs/{run_id}/jobs") => Page<Job> [
        .page(Paging::Link { items: "/jobs".into() })
    ] {
        /// The id of the run.
        run_id: u64,
        /// Of which attempts; of the last one where absent.
        filter: Option<Attempts>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Runs all jobs of a run again.
    Rerun "runs.rerun" post("/repos/{owner}/{repo}/actions/runs/{run_id}/rerun") => () [.answers(Form::Ignored)] {
        /// The id of the run.
        run_id: u64,
        /// Whether the logs say more.
        enable_debug_logging: Option<bool>,
    }

    /// Runs the jobs of a run that failed again, and those that need them.
    RerunFailed "runs.rerun_failed" post("/repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs") => () [
        .answers(Form::Ignored)
    ] {
        /// The id of the run.
        run_id: u64,
        /// Whether the logs say more.
        enable_debug_logging: Option<bool>,
    }

    /// Cancels a run that has not ended. A conflict when it has.
    CancelRun "runs.cancel" post("/repos/{owner}/{repo}/actions/runs/{run_id}/cancel") => () [
        .answers(Form::Ignored).body(Body::None).natural()
    ] {
        /// The id of the run.
        run_id: u64,
    }

    /// Gets a job with its steps.
    GetJob "jobs.get" get("/repos/{owner}/{repo}/actions/jobs/{job_id}") => Job {
        /// The id of the job.
        job_id: u64,
    }

    /// Gets the end of the log of a job, where failures are.
    GetJobLogs "jobs.logs" get("/repos/{owner}/{repo}/actions/jobs/{job_id}/logs") => Log [
        .handler(Arc::new(JobLogs))
    ] {
        /// The id of the job.
        job_id: u64,
        /// How many bytes at most, from the end, rounded to whole lines; 65536 where absent.
        max_bytes: Option<u32>,
    }
}
