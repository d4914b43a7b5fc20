//! What machines say about a commit (<https://docs.github.com/rest/checks>, <https://docs.github.com/rest/commits/statuses>),
//! and what code scanning found (<https://docs.github.com/rest/code-scanning>).

use super::types::{Account, Direction};
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A check of a commit.
    CheckRun {
        /// The id.
        id: u64,
        /// The name.
        name: String,
        /// The hash of the commit.
        head_sha: String,
        /// `queued`, `in_progress`, `completed`, `waiting`, `requested` or `pending`.
        status: String,
        /// How it ended: `success`, `failure`, `neutral`, `cancelled`, `skipped`, `timed_out` or `action_required`.
        conclusion: Option<String>,
        /// When it began, in RFC 3339.
        started_at: Option<String>,
        /// When it ended.
        completed_at: Option<String>,
        /// What it says.
        output: Option<CheckOutput>,
        /// The page of what checks.
        details_url: Option<String>,
        /// Its page.
        html_url: Option<String>,
    }

    /// What a check says.
    CheckOutput {
        /// The title.
        title: Option<String>,
        /// In short, in Markdown.
        summary: Option<String>,
        /// At length, in Markdown.
        text: Option<String>,
        /// How many places of the code it is about.
        annotations_count: Option<u64>,
    }

    /// The states of a commit together.
    CombinedStatus {
        /// `failure` if one failed, `pending` if one is or there are none, otherwise `success`.
        state: String,
        /// The hash of the commit.
        sha: String,
        /// How many there are.
        total_count: u64,
        /// The last state of each context.
        statuses: Vec<Status>,
    }

    /// A state of a commit.
    Status {
        /// `error`, `failure`, `pending` or `success`.
        state: String,
        /// What it is about, as `ci/build`.
        context: String,
        /// What it says.
        description: Option<String>,
        /// The page of what says it.
        target_url: Option<String>,
        /// Who said it.
        creator: Option<Account>,
        /// When it was said first, in RFC 3339.
        created_at: String,
        /// When it last changed.
        updated_at: String,
    }

    /// Something that code scanning found.
    CodeAlert {
        /// The number within the repository.
        number: u64,
        /// `open`, `dismissed` or `fixed`.
        state: Option<String>,
        /// What was broken.
        rule: CodeRule,
        /// Where it was last seen.
        most_recent_instance: CodeInstance,
        /// Why it was dismissed.
        dismissed_reason: Option<String>,
        /// When it was found, in RFC 3339.
        created_at: String,
        /// When it last changed.
        updated_at: Option<String>,
        /// Its page.
        html_url: String,
    }

    /// A rule of code scanning.
    CodeRule {
        /// The id.
        id: Option<String>,
        /// What it is about.
        description: Option<String>,
        /// `none`, `note`, `warning` or `error`.
        severity: Option<String>,
        /// How dangerous it is: `low`, `medium`, `high` or `critical`.
        security_severity_level: Option<String>,
    }

    /// A place that code scanning found something in.
    CodeInstance {
        /// The branch or pull request, as `refs/heads/main`.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// The commit.
        commit_sha: Option<String>,
        /// What it says.
        message: Option<CodeMessage>,
        /// Where it is.
        location: Option<CodeLocation>,
    }

    /// What code scanning says.
    CodeMessage {
        /// The text.
        text: Option<String>,
    }

    /// A place in a file.
    CodeLocation {
        /// The path from the root of the repository.
        path: Option<String>,
        /// The first line.
        start_line: Option<u64>,
        /// The last line.
        end_line: Option<u64>,
    }
}

choices! {
    /// What a state of a commit is.
    CommitState {
        /// What says it could not find out.
        Error "error",
        /// It failed.
        Failure "failure",
        /// It is not known yet.
        Pending "pending",
        /// It succeeded.
        Success "success",
    }

    /// How far a check is.
    CheckStatus {
        /// It waits.
        Queued "queued",
        /// It runs.
        InProgress "in_progress",
        /// It ended.
        Completed "completed",
    }

    /// What became of something that was found.
    AlertState {
        /// Nothing yet.
        Open "open",
        /// Somebody says that it does not matter.
        Dismissed "dismissed",
        /// It is gone.
        Fixed "fixed",
    }

    /// How dangerous something is that was found.
    AlertSeverity {
        /// The most dangerous.
        Critical "critical",
        /// Very dangerous.
        High "high",
        /// Dangerous.
        Medium "medium",
        /// Hardly dangerous.
        Low "low",
        /// An error that is no danger.
        Error "error",
        /// A warning that is no danger.
        Warning "warning",
        /// A note that is no danger.
        Note "note",
    }
}

in_repository! {
    /// Lists the checks of a commit, as workflows and other apps make them.
    ListChecks "checks.list" get("/repos/{owner}/{repo}/commits/{ref}/check-runs") => Page<CheckRun> [
        .page(Paging::Link { items: "/check_runs".into() })
    ] {
        /// A hash, a branch or a tag.
        #[serde(rename = "ref")]
        reference: String,
        /// Only checks of this name.
        check_name: Option<String>,
        /// Only those that are so far.
        status: Option<CheckStatus>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets the states of a commit together, as older services report them. Checks are in `checks.list`.
    GetStatus "statuses.get" get("/repos/{owner}/{repo}/commits/{ref}/status") => CombinedStatus {
        /// A hash, a branch or a tag.
        #[serde(rename = "ref")]
        reference: String,
        /// How many states are answered, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Says the state of a commit in a context, in the place of what was said there before.
    CreateStatus "statuses.create" post("/repos/{owner}/{repo}/statuses/{sha}") => Status [.scopes(["repo:status"])] {
        /// The hash of the commit.
        sha: String,
        /// The state.
        state: CommitState,
        /// What it is about, as `ci/build`; `default` where absent.
        context: Option<String>,
        /// What it says, up to 140 characters.
        description: Option<String>,
        /// The page of what says it.
        target_url: Option<String>,
    }

    /// Lists what code scanning found in a repository.
    ListCodeAlerts "code_scanning.list_alerts" get("/repos/{owner}/{repo}/code-scanning/alerts") => Page<CodeAlert> [
        .page(Paging::LINK).scopes(["security_events"])
    ] {
        /// Which ones; all where absent.
        state: Option<AlertState>,
        /// Only of this severity.
        severity: Option<AlertSeverity>,
        /// The branch or pull request, as `refs/heads/main`; the default branch where absent.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Only what this tool found, as `CodeQL`.
        tool_name: Option<String>,
        /// In which direction of the time they were found; `desc` where absent.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }
}
