//! The bodies of GitHub's deliveries.

use super::objects::{
    Author, Check, Comment, Commit, Installation, Issue, Label, PullRequest, Release, Repository, Review,
    User, WorkflowJob, WorkflowRun,
};
use crate::webhook::json::{Json, object};

/// Objects that have what every delivery has.
macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident { needs { $($need:tt)* } has { $($have:tt)* } })*) => {
        object! {$(
            $(#[$meta])*
            $name {
                needs { $($need)* }
                has {
                    $($have)*
                    /// The repository it happened in.
                    repository: Repository,
                    /// The organization it happened in.
                    organization: User,
                    /// The installation of the app that is told.
                    installation: Installation,
                    /// Who did it.
                    sender: User,
                }
            }
        )*}
    };
}

bodies! {
    /// A webhook was made.
    Ping {
        needs {}
        has {
            /// A saying.
            zen: String,
            /// The webhook.
            hook_id: u64,
            /// What it is configured with.
            hook: Json,
        }
    }

    /// Commits or a tag were pushed, or a branch or tag was deleted.
    Push {
        needs {
            /// The branch or tag, as `refs/heads/main`.
            name "ref": String,
            /// The commit it was at; forty zeros for a new one.
            before: String,
            /// The commit it is at; forty zeros for one that is gone.
            after: String,
        }
        has {
            /// Whether it is new.
            created: bool,
            /// Whether it is gone.
            deleted: bool,
            /// Whether commits were taken away.
            forced: bool,
            /// What changed, as people see it.
            compare: String,
            /// The commits, at most 2048.
            commits: Vec<Commit>,
            /// The commit at the tip.
            head_commit: Commit,
            /// Who pushed, as Git names them.
            pusher: Author,
        }
    }

    /// A branch or tag was made or deleted.
    Ref {
        needs {
            /// Its name, without `refs/`.
            name "ref": String,
            /// `branch` or `tag`.
            ref_type: String,
        }
        has {
            /// The branch that others are made from.
            master_branch: String,
            /// What the repository is.
            description: String,
            /// Who pushed: `user` or a deploy key.
            pusher_type: String,
        }
    }

    /// An issue changed.
    IssueEvent {
        needs {
            /// How.
            action: String,
            /// The issue.
            issue: Issue,
        }
        has {
            /// The label that was put on or taken off.
            label: Label,
            /// Who was assigned or no longer is.
            assignee: User,
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// A comment on an issue or a pull request changed.
    IssueCommentEvent {
        needs {
            /// How.
            action: String,
            /// The comment.
            comment: Comment,
            /// What it is on.
            issue: Issue,
        }
        has {
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// A pull request changed.
    PullRequestEvent {
        needs {
            /// How.
            action: String,
            /// The pull request.
            pull_request: PullRequest,
        }
        has {
            /// Its number.
            number: u64,
            /// The label that was put on or taken off.
            label: Label,
            /// Who is asked to review, or no longer is.
            requested_reviewer: User,
            /// What edited fields were before.
            changes: Json,
            /// The commit its head was at before it was pushed to.
            before: String,
            /// The commit its head is at since.
            after: String,
        }
    }

    /// A review changed.
    ReviewEvent {
        needs {
            /// How.
            action: String,
            /// The review.
            review: Review,
            /// Of what.
            pull_request: PullRequest,
        }
        has {
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// A comment of a review changed.
    ReviewCommentEvent {
        needs {
            /// How.
            action: String,
            /// The comment.
            comment: Comment,
            /// On what.
            pull_request: PullRequest,
        }
        has {
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// A run of a workflow went on.
    WorkflowRunEvent {
        needs {
            /// `requested`, `in_progress` or `completed`.
            action: String,
            /// The run.
            workflow_run: WorkflowRun,
        }
        has {
            /// Of what.
            workflow: Json,
        }
    }

    /// A job of a workflow went on.
    WorkflowJobEvent {
        needs {
            /// `waiting`, `queued`, `in_progress` or `completed`.
            action: String,
            /// The job.
            workflow_job: WorkflowJob,
        }
        has {
            /// What it deploys.
            deployment: Json,
        }
    }

    /// A check went on.
    CheckRunEvent {
        needs {
            /// How.
            action: String,
            /// The check.
            check_run: Check,
        }
        has {
            /// The button that somebody pressed.
            requested_action: Json,
        }
    }

    /// A suite of checks went on.
    CheckSuiteEvent {
        needs {
            /// How.
            action: String,
            /// The suite.
            check_suite: Check,
        }
        has {}
    }

    /// A commit got a status.
    Status {
        needs {
            /// The id of the status.
            id: u64,
            /// The commit.
            sha: String,
            /// `pending`, `success`, `failure` or `error`.
            state: String,
        }
        has {
            /// Who says so.
            context: String,
            /// What they say.
            description: String,
            /// Where they tell more.
            target_url: String,
            /// When it was made.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// A release changed.
    ReleaseEvent {
        needs {
            /// How.
            action: String,
            /// The release.
            release: Release,
        }
        has {
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// A deployment was asked for.
    DeploymentEvent {
        needs {
            /// The deployment.
            deployment: Json,
        }
        has {
            /// How.
            action: String,
            /// What it says of itself, when that is what changed.
            deployment_status: Json,
        }
    }

    /// A repository changed.
    RepositoryEvent {
        needs {
            /// How.
            action: String,
        }
        has {
            /// What edited fields were before.
            changes: Json,
        }
    }

    /// An app was installed or uninstalled, or can see other repositories.
    InstallationEvent {
        needs {
            /// How.
            action: String,
        }
        has {
            /// The repositories it can see from the beginning.
            repositories: Vec<Repository>,
            /// `all` or `selected`.
            repository_selection: String,
            /// Those it can see from now on.
            repositories_added: Vec<Repository>,
            /// Those it can see no more.
            repositories_removed: Vec<Repository>,
            /// Who asked for it.
            requester: User,
        }
    }

    /// The webhook itself was deleted.
    Meta {
        needs {
            /// Always `deleted`.
            action: String,
            /// The webhook.
            hook_id: u64,
        }
        has {
            /// What it was configured with.
            hook: Json,
        }
    }

    /// Somebody took back what they let an app do.
    Authorization {
        needs {
            /// Always `revoked`.
            action: String,
        }
        has {}
    }

    /// Anything else.
    Activity {
        needs {}
        has {
            /// How.
            action: String,
        }
    }
}
