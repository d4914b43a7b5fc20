//! Pull requests (<https://docs.github.com/rest/pulls/pulls>).

use super::repos::Commit;
use super::types::{Account, Direction, Label, Milestone, State, Which};
use crate::answer::Form;
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A pull request.
    PullRequest {
        /// The id.
        id: u64,
        /// The number within the repository.
        number: u64,
        /// The title.
        title: String,
        /// `open` or `closed`.
        state: String,
        /// Whether it is a draft.
        draft: Option<bool>,
        /// Whether it is merged; only where one is asked for, otherwise see `merged_at`.
        merged: Option<bool>,
        /// Whether it can be merged; absent while GitHub finds out, and in lists.
        mergeable: Option<bool>,
        /// What keeps it from being merged, as `clean`, `dirty`, `blocked`, `behind` or `unstable`.
        mergeable_state: Option<String>,
        /// The text, in Markdown.
        body: Option<String>,
        /// Who opened it.
        user: Option<Account>,
        /// Its labels.
        labels: Vec<Label>,
        /// Its milestone.
        milestone: Option<Milestone>,
        /// Who works on it.
        assignees: Option<Vec<Account>>,
        /// Who is asked to review it.
        requested_reviewers: Option<Vec<Account>>,
        /// Teams that are asked to review it.
        requested_teams: Option<Vec<Team>>,
        /// Where its commits are.
        head: PullBranch,
        /// Where they go.
        base: PullBranch,
        /// The commit that it was merged by, or would be.
        merge_commit_sha: Option<String>,
        /// Who merged it.
        merged_by: Option<Account>,
        /// How many comments it has.
        comments: Option<u64>,
        /// How many comments on its lines it has.
        review_comments: Option<u64>,
        /// How many commits it has.
        commits: Option<u64>,
        /// Lines that come.
        additions: Option<u64>,
        /// Lines that go.
        deletions: Option<u64>,
        /// How many files it changes.
        changed_files: Option<u64>,
        /// When it was opened, in RFC 3339.
        created_at: String,
        /// When it was last changed.
        updated_at: String,
        /// When it was closed.
        closed_at: Option<String>,
        /// When it was merged.
        merged_at: Option<String>,
        /// Its page.
        html_url: String,
    }

    /// A team, in short.
    Team {
        /// The name.
        name: String,
        /// The name in URLs.
        slug: String,
    }

    /// A branch of a pull request.
    PullBranch {
        /// The name of the branch.
        #[serde(rename = "ref")]
        reference: String,
        /// The hash of its last commit.
        sha: String,
        /// Owner and branch, joined by a colon.
        label: Option<String>,
        /// Its repository; absent when that is gone.
        repo: Option<RepositoryName>,
    }

    /// Which repository.
    RepositoryName {
        /// Owner and name, joined by a slash.
        full_name: String,
    }

    /// A file that changes.
    ChangedFile {
        /// The path from the root of the repository.
        filename: String,
        /// `added`, `removed`, `modified`, `renamed`, `copied`, `changed` or `unchanged`.
        status: String,
        /// Lines that come.
        additions: u64,
        /// Lines that go.
        deletions: u64,
        /// Both.
        changes: u64,
        /// The change as a diff; absent for binary files and very large changes.
        patch: Option<String>,
        /// The path it had before.
        previous_filename: Option<String>,
        /// The hash of the content.
        sha: Option<String>,
    }

    /// What merging did.
    Merged {
        /// The commit that it was merged by.
        sha: String,
        /// Whether it is merged.
        merged: bool,
        /// What GitHub says about it.
        message: String,
    }

    /// What was begun.
    Begun {
        /// What GitHub says about it.
        message: Option<String>,
    }
}

choices! {
    /// What pull requests are sorted by.
    PullSort {
        /// When they were opened.
        Created "created",
        /// When they were last changed.
        Updated "updated",
        /// How many comments they have.
        Popularity "popularity",
        /// How long they are open, if something happened in the last month.
        LongRunning "long-running",
    }

    /// How a pull request is merged.
    MergeMethod {
        /// By a merge commit.
        Merge "merge",
        /// As one commit.
        Squash "squash",
        /// As its commits, on top of the others.
        Rebase "rebase",
    }
}

in_repository! {
    /// Lists the pull requests of a repository.
    ListPulls "pulls.list" get("/repos/{owner}/{repo}/pulls") => Page<PullRequest> [.page(Paging::LINK)] {
        /// Which ones; only open ones where absent.
        state: Option<Which>,
        /// Only those from this branch, as `owner:branch`.
        head: Option<String>,
        /// Only those into this branch.
        base: Option<String>,
        /// What they are sorted by; `created` where absent.
        sort: Option<PullSort>,
        /// In which direction; `desc` where absent, if they are sorted by `created`, otherwise `asc`.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a pull request.
    GetPull "pulls.get" get("/repos/{owner}/{repo}/pulls/{pull_number}") => PullRequest {
        /// The number of the pull request.
        pull_number: u64,
    }

    /// Gets what a pull request changes as a diff, at most 20,000 lines or 300 files; `pulls.list_files` has more.
    GetPullDiff "pulls.diff" get("/repos/{owner}/{repo}/pulls/{pull_number}") => String [
        .answers(Form::Text).fixed_header("accept", "application/vnd.github.diff")
    ] {
        /// The number of the pull request.
        pull_number: u64,
    }

    /// Opens a pull request.
    CreatePull "pulls.create" post("/repos/{owner}/{repo}/pulls") => PullRequest {
        /// The title; needed unless `issue` is given.
        title: Option<String>,
        /// The branch with the commits; of another repository as `owner:branch`.
        head: String,
        /// The branch that they go into.
        base: String,
        /// The text, in Markdown. `Closes #7` closes the issue with it.
        body: Option<String>,
        /// Whether it is a draft.
        draft: Option<bool>,
        /// Whether those who may push to `base` may push to `head`.
        maintainer_can_modify: Option<bool>,
        /// The number of an issue that becomes the pull request.
        issue: Option<u64>,
        /// The name of the repository of `head`, where both belong to one organization.
        head_repo: Option<String>,
    }

    /// Changes a pull request: only what is given changes. Labels, assignees and milestones are those of the issue of the same
    /// number.
    UpdatePull "pulls.update" patch("/repos/{owner}/{repo}/pulls/{pull_number}") => PullRequest [.natural()] {
        /// The number of the pull request.
        pull_number: u64,
        /// The title.
        title: Option<String>,
        /// The text, in Markdown.
        body: Option<String>,
        /// Whether it is open.
        state: Option<State>,
        /// The branch that its commits go into.
        base: Option<String>,
        /// Whether those who may push to its base may push to its head.
        maintainer_can_modify: Option<bool>,
    }

    /// Merges a pull request. A conflict when it cannot be merged, or `sha` is not its last commit.
    MergePull "pulls.merge" put("/repos/{owner}/{repo}/pulls/{pull_number}/merge") => Merged {
        /// The number of the pull request.
        pull_number: u64,
        /// How; `merge` where absent.
        merge_method: Option<MergeMethod>,
        /// The hash of the commit that is known as its last one: nothing else is merged.
        sha: Option<String>,
        /// The first line of the commit's message.
        commit_title: Option<String>,
        /// The rest of the commit's message.
        commit_message: Option<String>,
    }

    /// Brings a pull request up to date: merges its base into its head, in the background.
    UpdatePullBranch "pulls.update_branch" put("/repos/{owner}/{repo}/pulls/{pull_number}/update-branch") => Begun {
        /// The number of the pull request.
        pull_number: u64,
        /// The hash of the commit that is known as its last one.
        expected_head_sha: Option<String>,
    }

    /// Lists the files that a pull request changes, each with its diff; at most 3,000.
    ListPullFiles "pulls.list_files" get("/repos/{owner}/{repo}/pulls/{pull_number}/files") => Page<ChangedFile> [
        .page(Paging::LINK)
    ] {
        /// The number of the pull request.
        pull_number: u64,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Lists the commits of a pull request; at most 250.
    ListPullCommits "pulls.list_commits" get("/repos/{owner}/{repo}/pulls/{pull_number}/commits") => Page<Commit> [
        .page(Paging::LINK)
    ] {
        /// The number of the pull request.
        pull_number: u64,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }
}
