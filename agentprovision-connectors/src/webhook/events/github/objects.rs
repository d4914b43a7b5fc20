//! The things GitHub's deliveries are about.

use std::collections::BTreeMap;

use crate::webhook::json::{Json, object};

object! {
    /// A person, an organization or an app.
    User {
        needs {
            /// The id, which stays when the name changes.
            id: u64,
            /// The name.
            login: String,
        }
        has {
            /// `User`, `Organization` or `Bot`.
            kind "type": String,
            /// Where people see it.
            html_url: String,
        }
    }

    /// A repository.
    Repository {
        needs {
            /// The id, which stays when the name changes.
            id: u64,
            /// The name with the owner's before it, as `octo/repo`.
            full_name: String,
        }
        has {
            /// The name.
            name: String,
            /// Whose it is.
            owner: User,
            /// Whether it is private.
            private: bool,
            /// Where people see it.
            html_url: String,
            /// Where it is cloned from.
            clone_url: String,
            /// The branch that others are made from.
            default_branch: String,
        }
    }

    /// An installation of an app.
    Installation {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// At whom it is installed.
            account: User,
            /// The app.
            app_id: u64,
            /// `all` or `selected`.
            repository_selection: String,
            /// What it may do, by resource.
            permissions: BTreeMap<String, String>,
            /// What it is told of.
            events: Vec<String>,
        }
    }

    /// A label.
    Label {
        needs {
            /// The name.
            name: String,
        }
        has {
            /// The id.
            id: u64,
            /// The color, in hex.
            color: String,
            /// What it stands for.
            description: String,
        }
    }

    /// An issue, which a pull request is too.
    Issue {
        needs {
            /// The id.
            id: u64,
            /// The number within the repository.
            number: u64,
        }
        has {
            /// The title.
            title: String,
            /// `open` or `closed`.
            state: String,
            /// Why it was closed.
            state_reason: String,
            /// The text, in Markdown.
            body: String,
            /// Who opened it.
            user: User,
            /// Its labels.
            labels: Vec<Label>,
            /// Whom it is assigned to.
            assignees: Vec<User>,
            /// How many comments it has.
            comments: u64,
            /// Where people see it.
            html_url: String,
            /// When it was opened.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
            /// When it was closed.
            closed_at: String,
            /// There for a pull request.
            pull_request: Json,
        }
    }

    /// A comment.
    Comment {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// The text, in Markdown.
            body: String,
            /// Who wrote it.
            user: User,
            /// Where people see it.
            html_url: String,
            /// The file it is on.
            path: String,
            /// The commit it is on.
            commit_id: String,
            /// When it was written.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// An end of a pull request.
    Branch {
        needs {
            /// The branch.
            name "ref": String,
            /// The commit at its tip.
            sha: String,
        }
        has {
            /// The branch with the owner's name before it.
            label: String,
            /// The repository it is in.
            repo: Repository,
        }
    }

    /// A pull request.
    PullRequest {
        needs {
            /// The id.
            id: u64,
            /// The number within the repository.
            number: u64,
        }
        has {
            /// The title.
            title: String,
            /// `open` or `closed`.
            state: String,
            /// The text, in Markdown.
            body: String,
            /// Who opened it.
            user: User,
            /// What it brings.
            head: Branch,
            /// Where it goes.
            base: Branch,
            /// Whether it is not ready for review.
            draft: bool,
            /// Whether it was merged.
            merged: bool,
            /// Its labels.
            labels: Vec<Label>,
            /// Whom it is assigned to.
            assignees: Vec<User>,
            /// Who is asked to review it.
            requested_reviewers: Vec<User>,
            /// Where people see it.
            html_url: String,
            /// When it was opened.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
            /// When it was merged.
            merged_at: String,
            /// When it was closed.
            closed_at: String,
            /// The commit it was merged as, or would be.
            merge_commit_sha: String,
        }
    }

    /// A review of a pull request.
    Review {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// `approved`, `changes_requested`, `commented` or `dismissed`.
            state: String,
            /// The text, in Markdown.
            body: String,
            /// Who reviewed.
            user: User,
            /// The commit that was reviewed.
            commit_id: String,
            /// When it was submitted.
            submitted_at: String,
            /// Where people see it.
            html_url: String,
        }
    }

    /// A commit.
    Commit {
        needs {
            /// The hash.
            id: String,
        }
        has {
            /// The message.
            message: String,
            /// When its author made it.
            timestamp: String,
            /// Where people see it.
            url: String,
            /// Who wrote it.
            author: Author,
            /// Who committed it.
            committer: Author,
            /// Files that are new.
            added: Vec<String>,
            /// Files that are gone.
            removed: Vec<String>,
            /// Files that changed.
            modified: Vec<String>,
        }
    }

    /// Whom Git names.
    Author {
        needs {}
        has {
            /// The name.
            name: String,
            /// The address.
            email: String,
            /// The name at GitHub.
            username: String,
        }
    }

    /// A run of a workflow.
    WorkflowRun {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// The workflow's name.
            name: String,
            /// The workflow.
            workflow_id: u64,
            /// What made it run.
            event: String,
            /// `queued`, `in_progress`, `completed` and others.
            status: String,
            /// `success`, `failure` and others, when it is completed.
            conclusion: String,
            /// The branch it runs on.
            head_branch: String,
            /// The commit it runs on.
            head_sha: String,
            /// Which run of the workflow it is.
            run_number: u64,
            /// Which attempt at it.
            run_attempt: u64,
            /// Where people see it.
            html_url: String,
            /// When it was asked for.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// A job of a run.
    WorkflowJob {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// The run.
            run_id: u64,
            /// The name.
            name: String,
            /// `queued`, `in_progress`, `completed` and others.
            status: String,
            /// `success`, `failure` and others, when it is completed.
            conclusion: String,
            /// The commit it runs on.
            head_sha: String,
            /// When it began.
            started_at: String,
            /// When it ended.
            completed_at: String,
        }
    }

    /// A check, or a suite of them.
    Check {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// The name of a check.
            name: String,
            /// `queued`, `in_progress`, `completed` and others.
            status: String,
            /// `success`, `failure` and others, when it is completed.
            conclusion: String,
            /// The branch it is on.
            head_branch: String,
            /// The commit it is on.
            head_sha: String,
            /// When a check began.
            started_at: String,
            /// When a check ended.
            completed_at: String,
            /// When a suite was changed last.
            updated_at: String,
            /// Where its maker tells more.
            details_url: String,
        }
    }

    /// A release.
    Release {
        needs {
            /// The id.
            id: u64,
            /// Its tag.
            tag_name: String,
        }
        has {
            /// The name.
            name: String,
            /// The notes, in Markdown.
            body: String,
            /// Whether it is not out yet.
            draft: bool,
            /// Whether it is not meant for everybody.
            prerelease: bool,
            /// Who made it.
            author: User,
            /// Where people see it.
            html_url: String,
            /// When it was made.
            created_at: String,
            /// When it came out.
            published_at: String,
        }
    }
}
