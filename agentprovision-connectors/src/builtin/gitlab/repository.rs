//! Files, branches and commits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Diff;
use crate::answer::Form;
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// A file with its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// The path.
    pub file_path: String,
    /// The size, in bytes.
    pub size: u64,
    /// The content, in base64.
    pub content: String,
    /// `base64`.
    pub encoding: String,
    /// The checksum of the content.
    pub content_sha256: Option<String>,
    /// The branch, tag or commit it was read from.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit that last changed it: what `files.update` can hold on to.
    pub last_commit_id: Option<String>,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenFile {
    /// The path.
    pub file_path: String,
    /// The branch.
    pub branch: String,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeEntry {
    /// The id of the object.
    pub id: String,
    /// The name.
    pub name: String,
    /// The path.
    pub path: String,
    /// `blob` is a file, `tree` a folder, `commit` a submodule.
    #[serde(rename = "type")]
    pub kind: String,
    /// The mode, as `100644`.
    pub mode: Option<String>,
}

/// A branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Branch {
    /// The name.
    pub name: String,
    /// The commit at its end.
    pub commit: Commit,
    /// Whether it is the project's default branch.
    #[serde(rename = "default")]
    pub is_default: Option<bool>,
    /// Whether it is protected.
    pub protected: Option<bool>,
    /// Whether it is merged into the default branch.
    pub merged: Option<bool>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The id.
    pub id: String,
    /// Its beginning.
    pub short_id: Option<String>,
    /// The first line of the message.
    pub title: Option<String>,
    /// The message.
    pub message: Option<String>,
    /// Who wrote it.
    pub author_name: Option<String>,
    /// Their e-mail address.
    pub author_email: Option<String>,
    /// When it was written.
    pub authored_date: Option<String>,
    /// When it was committed.
    pub committed_date: Option<String>,
    /// The commits before it.
    pub parent_ids: Option<Vec<String>>,
    /// Its lines, counted.
    pub stats: Option<CommitStats>,
    /// The page about it.
    pub web_url: Option<String>,
}

/// Lines of a commit, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitStats {
    /// New ones.
    pub additions: u64,
    /// Those taken away.
    pub deletions: u64,
    /// Both.
    pub total: u64,
}

/// What is between two commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The commits, the oldest first.
    pub commits: Vec<Commit>,
    /// The files that were changed.
    pub diffs: Vec<Diff>,
    /// Whether it took too long, so that files are missing.
    pub compare_timeout: bool,
    /// Whether both are the same.
    pub compare_same_ref: bool,
    /// The page about it.
    pub web_url: Option<String>,
}

/// How content is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is.
    Text,
    /// In base64.
    Base64,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It gets other content.
    Update,
    /// It is taken away.
    Delete,
    /// It gets another path.
    Move,
    /// It can be executed, or no longer.
    Chmod,
}

/// A change of a file within a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileAction {
    /// What is done.
    pub action: Action,
    /// The path.
    pub file_path: String,
    /// The path before, of `move`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_path: Option<String>,
    /// The content, of `create`, `update`, or `move` where it changes too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// How the content is given; default `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The commit that last changed the file, as far as is known: where it was another one, nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_commit_id: Option<String>,
    /// Whether it can be executed, of `chmod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute_filemode: Option<bool>,
}

operations! {
    /// Gets a file with its content in base64.
    GetFile "files.get" get("/projects/{project}/repository/files/{file_path}") => File [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The path, as `src/lib.rs`.
        file_path: String,
        /// Branch, tag or commit; `HEAD` is the default branch.
        #[serde(rename = "ref")]
        reference: String,
    }

    /// Gets the content of a file as text.
    GetRawFile "files.raw" get("/projects/{project}/repository/files/{file_path}/raw") => String [
        .answers(Form::Text).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The path, as `src/lib.rs`.
        file_path: String,
        /// Branch, tag or commit; default is the default branch.
        #[serde(rename = "ref")]
        reference: Option<String>,
    }

    /// Makes a file, with a commit of its own.
    CreateFile "files.create" post("/projects/{project}/repository/files/{file_path}") => WrittenFile [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The path, as `src/lib.rs`.
        file_path: String,
        /// The branch to commit to.
        branch: String,
        /// The branch to start a new `branch` from.
        start_branch: Option<String>,
        /// The message of the commit.
        commit_message: String,
        /// The content.
        content: String,
        /// How the content is given; default `text`.
        encoding: Option<Encoding>,
        /// The name of who wrote it.
        author_name: Option<String>,
        /// The e-mail address of who wrote it.
        author_email: Option<String>,
    }

    /// Gives a file other content, with a commit of its own.
    UpdateFile "files.update" put("/projects/{project}/repository/files/{file_path}") => WrittenFile [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The path, as `src/lib.rs`.
        file_path: String,
        /// The branch to commit to.
        branch: String,
        /// The branch to start a new `branch` from.
        start_branch: Option<String>,
        /// The message of the commit.
        commit_message: String,
        /// The content.
        content: String,
        /// How the content is given; default `text`.
        encoding: Option<Encoding>,
        /// `last_commit_id` of `files.get`: where somebody has changed the file since, nothing is done.
        last_commit_id: Option<String>,
        /// The name of who wrote it.
        author_name: Option<String>,
        /// The e-mail address of who wrote it.
        author_email: Option<String>,
    }

    /// Takes a file away, with a commit of its own.
    DeleteFile "files.delete" delete("/projects/{project}/repository/files/{file_path}") => () [
        .answers(Form::Ignored).scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The path, as `src/lib.rs`.
        file_path: String,
        /// The branch to commit to.
        branch: String,
        /// The message of the commit.
        commit_message: String,
        /// The commit that last changed the file, as far as is known: where it was another one, nothing is done.
        last_commit_id: Option<String>,
    }

    /// Lists files and folders.
    ListTree "tree.list" get("/projects/{project}/repository/tree") => Page<TreeEntry> [
        .fixed_query("pagination", "keyset").page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The folder; default is the root.
        path: Option<String>,
        /// Branch, tag or commit; default is the default branch.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Whether to go into folders; default false.
        recursive: Option<bool>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Lists branches.
    ListBranches "branches.list" get("/projects/{project}/repository/branches") => Page<Branch> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Only those with this in their name; `^` stands for the begin, `$` for the end.
        search: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Gets a branch.
    GetBranch "branches.get" get("/projects/{project}/repository/branches/{branch}") => Branch [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The name.
        branch: String,
    }

    /// Makes a branch.
    CreateBranch "branches.create" post("/projects/{project}/repository/branches") => Branch [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The name.
        branch: String,
        /// Branch, tag or commit that it starts from.
        #[serde(rename = "ref")]
        reference: String,
    }

    /// Takes a branch away. Protected ones cannot be taken away.
    DeleteBranch "branches.delete" delete("/projects/{project}/repository/branches/{branch}") => () [
        .answers(Form::Ignored).scopes(["api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The name.
        branch: String,
    }

    /// Lists commits, the newest first.
    ListCommits "commits.list" get("/projects/{project}/repository/commits") => Page<Commit> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Branch, tag, or range as `v1..main`; default is the default branch.
        ref_name: Option<String>,
        /// Only those that have changed this file or folder.
        path: Option<String>,
        /// Only those by this author.
        author: Option<String>,
        /// Only those at this time or after, as `2025-11-01T00:00:00Z`.
        since: Option<String>,
        /// Only those at this time or before.
        until: Option<String>,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Gets a commit.
    GetCommit "commits.get" get("/projects/{project}/repository/commits/{sha}") => Commit [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Id, branch or tag.
        sha: String,
    }

    /// Lists the files that a commit has changed.
    GetCommitDiff "commits.diff" get("/projects/{project}/repository/commits/{sha}/diff") => Page<Diff> [
        .page(Paging::LINK).scopes(["read_api"])
    ] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Id, branch or tag.
        sha: String,
        /// Items on a page, 1 to 100; default 20.
        #[schemars(range(min = 1, max = 100))]
        per_page: Option<u32>,
    }

    /// Makes a commit that changes many files at once, or none where one of the changes cannot be made.
    CreateCommit "commits.create" post("/projects/{project}/repository/commits") => Commit [.scopes(["api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// The branch to commit to.
        branch: String,
        /// The branch to start a new `branch` from.
        start_branch: Option<String>,
        /// The message.
        commit_message: String,
        /// The changes.
        actions: Vec<FileAction>,
        /// The name of who wrote it.
        author_name: Option<String>,
        /// The e-mail address of who wrote it.
        author_email: Option<String>,
    }

    /// Says what is between two branches, tags or commits.
    Compare "commits.compare" get("/projects/{project}/repository/compare") => Comparison [.scopes(["read_api"])] {
        /// Number, or full path as `group/project`.
        project: String,
        /// Where it begins.
        from: String,
        /// Where it ends.
        to: String,
        /// Whether to compare with `from` as it is, instead of with where both parted; default false.
        straight: Option<bool>,
    }
}
