//! Repositories, their branches and commits (<https://docs.github.com/rest/repos>, <https://docs.github.com/rest/commits>).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pulls::ChangedFile;
use super::types::Account;
use crate::answer::Form;
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A repository.
    Repository {
        /// The id.
        id: u64,
        /// The name, without its owner.
        name: String,
        /// Owner and name, joined by a slash.
        full_name: String,
        /// The owner.
        owner: Account,
        /// Whether only some may see it.
        private: bool,
        /// `public`, `private` or `internal`.
        visibility: Option<String>,
        /// What it is.
        description: Option<String>,
        /// Whether it is a fork.
        fork: bool,
        /// Whether it can only be read any more.
        archived: Option<bool>,
        /// The branch that others start from.
        default_branch: Option<String>,
        /// The language that most of it is in.
        language: Option<String>,
        /// Its topics.
        topics: Option<Vec<String>>,
        /// How many have starred it.
        stargazers_count: Option<u64>,
        /// How many forks it has.
        forks_count: Option<u64>,
        /// How many issues and pull requests are open.
        open_issues_count: Option<u64>,
        /// Its size in KiB.
        size: Option<u64>,
        /// What the account may do with it.
        permissions: Option<Permissions>,
        /// Its page.
        html_url: String,
        /// When something was last pushed, in RFC 3339.
        pushed_at: Option<String>,
        /// When it was made.
        created_at: Option<String>,
        /// When it was last changed.
        updated_at: Option<String>,
    }

    /// What an account may do with a repository.
    Permissions {
        /// Everything.
        admin: bool,
        /// Manage it, without access to what is dangerous.
        maintain: Option<bool>,
        /// Push.
        push: bool,
        /// Manage issues and pull requests.
        triage: Option<bool>,
        /// Read.
        pull: bool,
    }

    /// The topics of a repository.
    Topics {
        /// The topics.
        names: Vec<String>,
    }

    /// Somebody who may work on a repository.
    Collaborator {
        /// The name in URLs.
        login: String,
        /// The id.
        id: u64,
        /// The role, as `read`, `triage`, `write`, `maintain`, `admin` or one of the organization's own.
        role_name: Option<String>,
        /// What they may do.
        permissions: Option<Permissions>,
        /// Their page.
        html_url: Option<String>,
    }

    /// A branch.
    Branch {
        /// The name.
        name: String,
        /// Its last commit.
        commit: CommitId,
        /// Whether rules keep it from being changed by everybody.
        protected: bool,
    }

    /// Which commit.
    CommitId {
        /// The hash.
        sha: String,
    }

    /// A commit.
    Commit {
        /// The hash.
        sha: String,
        /// Message and authors, as Git has them.
        commit: CommitDetail,
        /// The account of the author, where there is one; an empty object where it is gone.
        author: Option<MaybeAccount>,
        /// The account of the committer, where there is one.
        committer: Option<MaybeAccount>,
        /// The commits it comes after.
        parents: Vec<CommitId>,
        /// How many lines changed; only where one commit is asked for.
        stats: Option<CommitStats>,
        /// What changed; only where one commit is asked for.
        files: Option<Vec<ChangedFile>>,
        /// Its page.
        html_url: String,
    }

    /// An account that may be gone.
    MaybeAccount {
        /// The name in URLs.
        login: Option<String>,
        /// The id.
        id: Option<u64>,
    }

    /// A commit as Git has it.
    CommitDetail {
        /// The message.
        message: String,
        /// Who wrote the change, and when.
        author: Option<Signature>,
        /// Who committed it, and when.
        committer: Option<Signature>,
        /// How many comments it has.
        comment_count: Option<u64>,
        /// Whether its signature holds.
        verification: Option<Verification>,
    }

    /// Somebody as Git names them.
    Signature {
        /// The name.
        name: Option<String>,
        /// The address.
        email: Option<String>,
        /// When, in RFC 3339.
        date: Option<String>,
    }

    /// What is known about the signature of a commit.
    Verification {
        /// Whether it is signed, and the signature holds.
        verified: bool,
        /// Why, or why not, as `valid`, `unsigned` or `bad_email`.
        reason: String,
    }

    /// How many lines a commit changed.
    CommitStats {
        /// Lines that came.
        additions: Option<u64>,
        /// Lines that went.
        deletions: Option<u64>,
        /// Both.
        total: Option<u64>,
    }

    /// How two commits differ.
    Comparison {
        /// `ahead`, `behind`, `diverged` or `identical`.
        status: String,
        /// How many commits `head` has that `base` lacks.
        ahead_by: u64,
        /// How many commits `base` has that `head` lacks.
        behind_by: u64,
        /// How many commits are between them.
        total_commits: u64,
        /// The commit that both come after.
        merge_base_commit: CommitId,
        /// The commits that `head` has and `base` lacks, the oldest first; at most 250.
        commits: Vec<Commit>,
        /// What changed; at most 300 files.
        files: Option<Vec<ChangedFile>>,
        /// The page that shows it.
        html_url: String,
    }
}

choices! {
    /// Who may see a repository.
    Visibility {
        /// Everybody.
        Public "public",
        /// Only some.
        Private "private",
    }

    /// Which collaborators.
    Affiliation {
        /// Those who are no members of the organization.
        Outside "outside",
        /// Those who were added to the repository itself.
        Direct "direct",
        /// All who may.
        All "all",
    }
}

in_repository! {
    /// Gets a repository.
    GetRepository "repos.get" get("/repos/{owner}/{repo}") => Repository {
    }

    /// Changes a repository: only what is given changes.
    UpdateRepository "repos.update" patch("/repos/{owner}/{repo}") => Repository [.natural()] {
        /// Its new name, without the owner.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
        /// Its home page.
        homepage: Option<String>,
        /// Who may see it.
        visibility: Option<Visibility>,
        /// The branch that others start from.
        default_branch: Option<String>,
        /// Whether it has issues.
        has_issues: Option<bool>,
        /// Whether it has a wiki.
        has_wiki: Option<bool>,
        /// Whether it can only be read from now on.
        archived: Option<bool>,
        /// Whether pull requests can be squashed into one commit.
        allow_squash_merge: Option<bool>,
        /// Whether pull requests can be merged by a merge commit.
        allow_merge_commit: Option<bool>,
        /// Whether pull requests can be rebased.
        allow_rebase_merge: Option<bool>,
        /// Whether branches of merged pull requests go away by themselves.
        delete_branch_on_merge: Option<bool>,
    }

    /// Tells the languages of a repository, each with its bytes of code.
    ListLanguages "repos.languages" get("/repos/{owner}/{repo}/languages") => BTreeMap<String, u64> {
    }

    /// Tells the topics of a repository.
    GetTopics "repos.topics" get("/repos/{owner}/{repo}/topics") => Topics {
    }

    /// Replaces the topics of a repository.
    SetTopics "repos.set_topics" put("/repos/{owner}/{repo}/topics") => Topics {
        /// All topics it has from now on, each of lower-case letters, digits and hyphens; at most 20.
        names: Vec<String>,
    }

    /// Lists those who may work on a repository. Only those who may push can ask.
    ListCollaborators "repos.list_collaborators" get("/repos/{owner}/{repo}/collaborators") => Page<Collaborator> [
        .page(Paging::LINK)
    ] {
        /// Which ones; `all` where absent.
        affiliation: Option<Affiliation>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Starts the workflows of a repository that wait for an event of this name (`repository_dispatch`).
    DispatchEvent "repos.dispatch" post("/repos/{owner}/{repo}/dispatches") => () [.answers(Form::Ignored)] {
        /// The name of the event, up to 100 characters.
        event_type: String,
        /// What the workflows get with it: an object with at most 10 fields.
        client_payload: Option<Map<String, Value>>,
    }

    /// Lists the branches of a repository.
    ListBranches "branches.list" get("/repos/{owner}/{repo}/branches") => Page<Branch> [.page(Paging::LINK)] {
        /// Only protected ones, or only those that are not.
        protected: Option<bool>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a branch.
    GetBranch "branches.get" get("/repos/{owner}/{repo}/branches/{branch}") => Branch {
        /// The name of the branch.
        branch: String,
    }

    /// Lists commits, the newest first.
    ListCommits "commits.list" get("/repos/{owner}/{repo}/commits") => Page<Commit> [.page(Paging::LINK)] {
        /// The branch or hash to begin at; the default branch where absent.
        sha: Option<String>,
        /// Only those that changed this file, or something in this folder.
        path: Option<String>,
        /// The login or address of the author.
        author: Option<String>,
        /// The login or address of the committer.
        committer: Option<String>,
        /// Only those after this time, in RFC 3339 with `Z`.
        since: Option<String>,
        /// Only those before this time, in RFC 3339 with `Z`.
        until: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a commit with what it changed.
    GetCommit "commits.get" get("/repos/{owner}/{repo}/commits/{ref}") => Commit {
        /// A hash, a branch or a tag.
        #[serde(rename = "ref")]
        reference: String,
    }

    /// Tells how one commit differs from another: the commits between them, and what they changed.
    Compare "commits.compare" get("/repos/{owner}/{repo}/compare/{base}...{head}") => Comparison {
        /// What is compared with: a branch, a tag or a hash; of another repository as `owner:branch`.
        base: String,
        /// What is compared: a branch, a tag or a hash; of another repository as `owner:branch`.
        head: String,
        /// How many commits are answered, 1 to 100; up to 250 where absent.
        per_page: Option<u8>,
    }
}
