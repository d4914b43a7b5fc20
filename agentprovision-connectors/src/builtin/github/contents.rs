//! Files, folders and references of a repository (<https://docs.github.com/rest/repos/contents>,
//! <https://docs.github.com/rest/git>).

use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::repos::Signature;
use crate::answer::Form;
use crate::mapping::Mapping;
use crate::operation::Page;
use crate::paging::Paging;
use crate::request::Body;

records! {
    /// A file with what it says, or a folder with what is in it.
    Content {
        /// `file`, `dir`, `symlink` or `submodule`.
        #[serde(rename = "type")]
        kind: String,
        /// The name, without the folder.
        name: String,
        /// The path from the root of the repository.
        path: String,
        /// The hash of the content, which changing or deleting a file asks for.
        sha: String,
        /// The size in bytes; 0 for folders.
        size: u64,
        /// What a file says, where it is text in UTF-8 of at most 1 MiB.
        text: Option<String>,
        /// What a file has, in base64, where it is no such text and has at most 1 MiB. Larger ones are at `download_url`.
        base64: Option<String>,
        /// What is in a folder.
        entries: Option<Vec<Entry>>,
        /// Where a symbolic link leads.
        target: Option<String>,
        /// Its page.
        html_url: Option<String>,
        /// Where the bytes are, as long as the link holds.
        download_url: Option<String>,
    }

    /// Something in a folder.
    Entry {
        /// `file`, `dir`, `symlink` or `submodule`.
        #[serde(rename = "type")]
        kind: String,
        /// The name, without the folder.
        name: String,
        /// The path from the root of the repository.
        path: String,
        /// The hash of the content.
        sha: String,
        /// The size in bytes; 0 for folders.
        size: u64,
    }

    /// A change of a file that was committed.
    FileCommit {
        /// The file as it is now; absent when it was deleted.
        content: Option<FileNow>,
        /// The commit.
        commit: NewCommit,
    }

    /// A file after a change.
    FileNow {
        /// The path from the root of the repository.
        path: Option<String>,
        /// The hash of the content.
        sha: Option<String>,
        /// The size in bytes.
        size: Option<u64>,
        /// Its page.
        html_url: Option<String>,
    }

    /// A commit that was just made.
    NewCommit {
        /// The hash.
        sha: Option<String>,
        /// The message.
        message: Option<String>,
        /// Who wrote the change.
        author: Option<Signature>,
        /// Its page.
        html_url: Option<String>,
    }

    /// Everything below a folder.
    Tree {
        /// The hash.
        sha: String,
        /// What is in it.
        tree: Vec<TreeEntry>,
        /// Whether there was more than an answer holds: 100,000 entries or 7 MB.
        truncated: bool,
    }

    /// Something below a folder.
    TreeEntry {
        /// The path from that folder.
        path: String,
        /// `100644` for a file, `100755` for a program, `040000` for a folder, `160000` for a submodule, `120000` for a link.
        mode: String,
        /// `blob` for a file, `tree` for a folder, `commit` for a submodule.
        #[serde(rename = "type")]
        kind: String,
        /// The hash of the content.
        sha: String,
        /// The size of a file in bytes.
        size: Option<u64>,
    }

    /// A name of a commit: a branch or a tag.
    Reference {
        /// The whole name, as `refs/heads/main`.
        #[serde(rename = "ref")]
        reference: String,
        /// What it leads to.
        object: ReferenceTarget,
    }

    /// What a reference leads to.
    ReferenceTarget {
        /// `commit`, or `tag` for a tag that says more.
        #[serde(rename = "type")]
        kind: String,
        /// The hash.
        sha: String,
    }

    /// Whoever makes a commit.
    Person {
        /// The name.
        name: String,
        /// The address.
        email: String,
    }
}

in_repository! {
    /// Gets a file with its text, or a folder with the list of what is in it (at most 1,000 entries).
    GetContent "contents.get" get("/repos/{owner}/{repo}/contents/{+path}") => Content [
        .fixed_header("accept", "application/vnd.github.object+json").map_output(Mapping::function(decoded))
    ] {
        /// The path from the root of the repository; empty for the root.
        path: String,
        /// A branch, a tag or a hash; the default branch where absent.
        #[serde(rename = "ref")]
        reference: Option<String>,
    }

    /// Gets the README of a repository with its text.
    GetReadme "contents.readme" get("/repos/{owner}/{repo}/readme") => Content [
        .map_output(Mapping::function(decoded))
    ] {
        /// A branch, a tag or a hash; the default branch where absent.
        #[serde(rename = "ref")]
        reference: Option<String>,
    }

    /// Makes or changes one file, and commits that. One of `text` and `content` is needed; changing a file needs its `sha`.
    PutContent "contents.put" put("/repos/{owner}/{repo}/contents/{+path}") => FileCommit [
        .map_input(Mapping::function(encoded))
    ] {
        /// The path from the root of the repository.
        path: String,
        /// The message of the commit.
        message: String,
        /// What the file says from now on.
        text: Option<String>,
        /// What the file has from now on, in base64, where it is no text.
        content: Option<String>,
        /// The hash of the content that is replaced, from `contents.get`; absent for a new file.
        sha: Option<String>,
        /// The branch; the default branch where absent.
        branch: Option<String>,
        /// Who wrote the change; the account where absent.
        author: Option<Person>,
        /// Who commits it; the account where absent.
        committer: Option<Person>,
    }

    /// Deletes one file, and commits that.
    DeleteContent "contents.delete" delete("/repos/{owner}/{repo}/contents/{+path}") => FileCommit [.body(Body::Json)] {
        /// The path from the root of the repository.
        path: String,
        /// The message of the commit.
        message: String,
        /// The hash of the content, from `contents.get`.
        sha: String,
        /// The branch; the default branch where absent.
        branch: Option<String>,
    }

    /// Lists what is below a folder: with `recursive`, every file at any depth.
    GetTree "trees.get" get("/repos/{owner}/{repo}/git/trees/{tree_sha}") => Tree {
        /// A branch, a tag or the hash of a tree or commit.
        tree_sha: String,
        /// `1` for every depth; only what is right in it where absent.
        recursive: Option<u8>,
    }

    /// Gets a branch or tag as the commit it names.
    GetReference "refs.get" get("/repos/{owner}/{repo}/git/ref/{ref}") => Reference {
        /// `heads/<branch>` or `tags/<tag>`.
        #[serde(rename = "ref")]
        reference: String,
    }

    /// Lists the branches or tags whose names begin with something.
    ListReferences "refs.list" get("/repos/{owner}/{repo}/git/matching-refs/{ref}") => Page<Reference> [
        .page(Paging::LINK)
    ] {
        /// What the names begin with: `heads/<beginning>` or `tags/<beginning>`.
        #[serde(rename = "ref")]
        reference: String,
    }

    /// Makes a branch or tag.
    CreateReference "refs.create" post("/repos/{owner}/{repo}/git/refs") => Reference {
        /// The whole name: `refs/heads/<branch>` or `refs/tags/<tag>`.
        #[serde(rename = "ref")]
        reference: String,
        /// The hash of the commit that it names.
        sha: String,
    }

    /// Lets a branch or tag name another commit.
    UpdateReference "refs.update" patch("/repos/{owner}/{repo}/git/refs/{ref}") => Reference [.natural()] {
        /// `heads/<branch>` or `tags/<tag>`.
        #[serde(rename = "ref")]
        reference: String,
        /// The hash of the commit that it names from now on.
        sha: String,
        /// Whether commits may get lost by it; not where absent.
        force: Option<bool>,
    }

    /// Deletes a branch or tag.
    DeleteReference "refs.delete" delete("/repos/{owner}/{repo}/git/refs/{ref}") => () [.answers(Form::Ignored)] {
        /// `heads/<branch>` or `tags/<tag>`.
        #[serde(rename = "ref")]
        reference: String,
    }
}

/// Text as the base64 that is sent.
fn encoded(input: &Value) -> Result<Value> {
    let mut input = input.clone();
    let Value::Object(fields) = &mut input else { return Ok(input) };
    let given = |value: Option<Value>| value.filter(|value| !value.is_null());
    match (given(fields.remove("text")), given(fields.get("content").cloned())) {
        (Some(Value::String(text)), None) => {
            fields.insert("content".to_owned(), STANDARD.encode(text).into());
            Ok(input)
        }
        (None, Some(_)) => Ok(input),
        _ => Err(Error::invalid("one of `text` and `content` is needed, and not both")),
    }
}

/// The base64 that is answered as text, where it is one.
fn decoded(answer: &Value) -> Result<Value> {
    let mut answer = answer.clone();
    let Value::Object(fields) = &mut answer else { return Ok(answer) };
    let encoding = fields.remove("encoding");
    let content = fields.remove("content");
    if let (Some(Value::String(encoding)), Some(Value::String(content))) = (encoding, content)
        && encoding == "base64"
    {
        // It comes in lines.
        let content: String = content.split_ascii_whitespace().collect();
        let text = STANDARD.decode(&content).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (field, value) = text.map_or(("base64", content), |text| ("text", text));
        fields.insert(field.to_owned(), value.into());
    }
    Ok(answer)
}
