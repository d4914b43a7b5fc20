//! What GitLab tells of.

use crate::webhook::json::{Json, object};

object! {
    /// A person.
    User {
        needs {}
        has {
            /// The id.
            id: u64,
            /// How people are called.
            name: String,
            /// The name they log in by.
            username: String,
            /// The address.
            email: String,
        }
    }

    /// A project.
    Project {
        needs {}
        has {
            /// The id.
            id: u64,
            /// The name.
            name: String,
            /// The path with those of its groups before it.
            path_with_namespace: String,
            /// Where people see it.
            web_url: String,
            /// Where it is cloned from.
            git_http_url: String,
            /// The branch that others are made from.
            default_branch: String,
        }
    }

    /// A label.
    Label {
        needs {
            /// The id.
            id: u64,
            /// The name.
            title: String,
        }
        has {
            /// The color, with `#`.
            color: String,
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
            /// Its first line.
            title: String,
            /// When its author made it.
            timestamp: String,
            /// Where people see it.
            url: String,
            /// Who wrote it.
            author: User,
            /// Files that are new.
            added: Vec<String>,
            /// Files that changed.
            modified: Vec<String>,
            /// Files that are gone.
            removed: Vec<String>,
        }
    }

    /// What there is of an issue.
    IssueAttributes {
        needs {
            /// The id.
            id: u64,
            /// The number within the project.
            iid: u64,
        }
        has {
            /// How it changed.
            action: String,
            /// The title.
            title: String,
            /// The text, in Markdown.
            description: String,
            /// `opened` or `closed`.
            state: String,
            /// Whether few may see it.
            confidential: bool,
            /// Who opened it.
            author_id: u64,
            /// Where people see it.
            url: String,
            /// When it was opened.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// What there is of a merge request.
    MergeRequestAttributes {
        needs {
            /// The id.
            id: u64,
            /// The number within the project.
            iid: u64,
        }
        has {
            /// How it changed.
            action: String,
            /// The title.
            title: String,
            /// The text, in Markdown.
            description: String,
            /// `opened`, `closed`, `merged` or `locked`.
            state: String,
            /// The branch it brings.
            source_branch: String,
            /// Where it goes.
            target_branch: String,
            /// Whether it is not ready for review.
            draft: bool,
            /// Who opened it.
            author_id: u64,
            /// The commit at its tip.
            last_commit: Commit,
            /// Where people see it.
            url: String,
            /// When it was opened.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// What there is of a comment.
    NoteAttributes {
        needs {
            /// The id.
            id: u64,
            /// The text, in Markdown.
            note: String,
        }
        has {
            /// How it changed.
            action: String,
            /// `Commit`, `MergeRequest`, `Issue` or `Snippet`.
            noteable_type: String,
            /// Who wrote it.
            author_id: u64,
            /// Whether GitLab wrote it.
            system: bool,
            /// Where people see it.
            url: String,
            /// When it was written.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
        }
    }

    /// What there is of a pipeline.
    PipelineAttributes {
        needs {
            /// The id.
            id: u64,
        }
        has {
            /// `pending`, `running`, `success`, `failed` and others.
            status: String,
            /// The branch or tag.
            name "ref": String,
            /// The commit.
            sha: String,
            /// What made it run.
            source: String,
            /// When it was made.
            created_at: String,
            /// When it ended.
            finished_at: String,
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
            /// `push` or `tag_push`.
            object_kind: String,
            /// Who pushed.
            user_id: u64,
            /// The name they log in by.
            user_username: String,
            /// The project.
            project: Project,
            /// The newest of the commits, at most twenty.
            commits: Vec<Commit>,
            /// How many there are.
            total_commits_count: u64,
        }
    }

    /// An issue changed.
    IssueEvent {
        needs {
            /// The issue.
            object_attributes: IssueAttributes,
        }
        has {
            /// `issue` or `work_item`.
            object_kind: String,
            /// `issue` or `confidential_issue`.
            event_type: String,
            /// Who did it.
            user: User,
            /// The project.
            project: Project,
            /// Its labels.
            labels: Vec<Label>,
            /// Whom it is assigned to.
            assignees: Vec<User>,
            /// What fields were and are.
            changes: Json,
        }
    }

    /// A merge request changed.
    MergeRequestEvent {
        needs {
            /// The merge request.
            object_attributes: MergeRequestAttributes,
        }
        has {
            /// `merge_request`.
            object_kind: String,
            /// Who did it.
            user: User,
            /// The project.
            project: Project,
            /// Its labels.
            labels: Vec<Label>,
            /// Whom it is assigned to.
            assignees: Vec<User>,
            /// Who is asked to review it.
            reviewers: Vec<User>,
            /// What fields were and are.
            changes: Json,
        }
    }

    /// A comment was written or changed.
    NoteEvent {
        needs {
            /// The comment.
            object_attributes: NoteAttributes,
        }
        has {
            /// `note`.
            object_kind: String,
            /// Who did it.
            user: User,
            /// The project.
            project: Project,
            /// The commit it is on.
            commit: Commit,
            /// The issue it is on.
            issue: IssueAttributes,
            /// The merge request it is on.
            merge_request: MergeRequestAttributes,
            /// The snippet it is on.
            snippet: Json,
        }
    }

    /// A pipeline went on.
    PipelineEvent {
        needs {
            /// The pipeline.
            object_attributes: PipelineAttributes,
        }
        has {
            /// `pipeline`.
            object_kind: String,
            /// Who made it run.
            user: User,
            /// The project.
            project: Project,
            /// The commit.
            commit: Commit,
            /// Its jobs.
            builds: Json,
        }
    }

    /// A job went on.
    JobEvent {
        needs {
            /// The id.
            build_id: u64,
            /// `created`, `pending`, `running`, `success`, `failed` and others.
            build_status: String,
        }
        has {
            /// `build`.
            object_kind: String,
            /// The name.
            build_name: String,
            /// The stage.
            build_stage: String,
            /// When it was made.
            build_created_at: String,
            /// When it began.
            build_started_at: String,
            /// When it ended.
            build_finished_at: String,
            /// Why it failed.
            build_failure_reason: String,
            /// The pipeline it is in.
            pipeline_id: u64,
            /// The branch or tag.
            name "ref": String,
            /// The commit.
            sha: String,
            /// The project.
            project_id: u64,
            /// Its path.
            project_name: String,
            /// Who made it run.
            user: User,
        }
    }

    /// A deployment went on.
    DeploymentEvent {
        needs {
            /// The id.
            deployment_id: u64,
            /// `running`, `success`, `failed` and others.
            status: String,
        }
        has {
            /// `deployment`.
            object_kind: String,
            /// When it came to that.
            status_changed_at: String,
            /// Where it is deployed to.
            environment: String,
            /// The project.
            project: Project,
            /// Who made it run.
            user: User,
            /// The commit, short.
            short_sha: String,
        }
    }

    /// A release was made, changed or deleted.
    ReleaseEvent {
        needs {
            /// Its tag.
            tag: String,
            /// `create`, `update` or `delete`.
            action: String,
        }
        has {
            /// `release`.
            object_kind: String,
            /// The id.
            id: u64,
            /// The name.
            name: String,
            /// The notes, in Markdown.
            description: String,
            /// The project.
            project: Project,
            /// When it came out.
            released_at: String,
            /// Where people see it.
            url: String,
            /// What it is made of.
            commit: Commit,
        }
    }

    /// Something happened in the instance, in a group or to a member.
    SystemEvent {
        needs {
            /// What.
            event_name: String,
        }
        has {
            /// When what it is about was made.
            created_at: String,
            /// When it was changed last.
            updated_at: String,
            /// The name of what it is about.
            name: String,
            /// Its path.
            path: String,
            /// The project.
            project_id: u64,
            /// The group.
            group_id: u64,
            /// The person.
            user_id: u64,
        }
    }

    /// Anything else.
    Activity {
        needs {}
        has {
            /// What changed.
            object_kind: String,
            /// What happened.
            event_name: String,
            /// Who did it.
            user: User,
            /// The project.
            project: Project,
            /// What there is of what changed.
            object_attributes: Json,
        }
    }
}
