//! Files, branches, references and commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use agentprovision_core::Timestamp;

use super::pulls::tree_changes;
use super::route::{Fields, error, invalid, invalid_because, not_found, paged};
use super::store::{Commit, Repository, blob_name, tree_name};
use crate::emulator::state::{Call, Outcome, Reply, World, unix};

/// What stays as it is in the path of a URL.
pub(super) const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The name of a commit that is none, for references that come and go.
const NOTHING: &str = "0000000000000000000000000000000000000000";

impl World {
    /// Files, branches, references and commits: what is left below a repository.
    pub(super) fn contents(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let writer = self.writer();
        match (call.method.clone(), rest) {
            (Method::GET, ["contents", path @ ..]) => self.content(call, repository, &path.join("/")),
            (Method::PUT | Method::DELETE, ["contents", path @ ..]) if !path.is_empty() => {
                self.change_file(call, who, full_name, &path.join("/"))
            }
            (Method::GET, ["branches"]) => {
                let heads = repository
                    .refs
                    .iter()
                    .filter_map(|(name, sha)| Some((name.strip_prefix("refs/heads/")?, sha)));
                let root = writer.repository_url(repository);
                let branch = |(name, sha): (&str, &String)| {
                    let commit = json!({ "sha": sha, "url": format!("{root}/commits/{sha}") });
                    json!({ "name": name, "commit": commit, "protected": false })
                };
                Ok(paged(self, call, heads.map(branch).collect()))
            }
            (Method::GET, ["branches", name @ ..]) => {
                let name = name.join("/");
                let sha = repository.branch(&name).ok_or_else(|| error(404, "Branch not found"))?;
                let commit = repository.commits.get(sha).map(|commit| writer.commit(repository, commit));
                let url = format!(
                    "{}/branches/{}",
                    writer.repository_url(repository),
                    utf8_percent_encode(&name, PATH)
                );
                let links =
                    json!({ "self": url, "html": format!("https://github.com/{full_name}/tree/{name}") });
                let body = json!({
                    "name": name, "commit": commit, "_links": links, "protected": false,
                    "protection": { "enabled": false }, "protection_url": format!("{url}/protection"),
                });
                Ok(Reply::json(200, &body))
            }
            (Method::GET, ["git", "ref", name @ ..]) => {
                let name = format!("refs/{}", name.join("/"));
                let sha = repository.refs.get(&name).ok_or_else(not_found)?;
                Ok(Reply::json(200, &self.reference(repository, &name, sha)))
            }
            (Method::GET, ["git", "matching-refs", name @ ..]) => {
                let prefix = format!("refs/{}", name.join("/"));
                let found = repository.refs.iter().filter(|(name, _)| name.starts_with(&prefix));
                let found = found.map(|(name, sha)| self.reference(repository, name, sha)).collect();
                Ok(Reply::json(200, &Value::Array(found)))
            }
            (Method::POST, ["git", "refs"]) => self.create_ref(call, who, full_name),
            (Method::PATCH | Method::DELETE, ["git", "refs", name @ ..]) => {
                self.change_ref(call, who, full_name, &format!("refs/{}", name.join("/")))
            }
            (Method::GET, ["commits"]) => self.list_commits(call, repository),
            (Method::GET, ["commits", name @ ..]) => {
                let sha = repository.commit_of(&name.join("/"));
                let commit = sha.and_then(|sha| repository.commits.get(sha));
                let commit = commit
                    .ok_or_else(|| error(422, &format!("No commit found for SHA: {}", name.join("/"))))?;
                let parent = commit.parents.first().map(|sha| repository.tree(sha)).unwrap_or_default();
                let files = tree_changes(&parent, &commit.tree);
                let sum =
                    files.iter().fold((0, 0), |sum, file| (sum.0 + file.additions, sum.1 + file.deletions));
                let files: Vec<Value> =
                    files.iter().map(|file| self.file_change(repository, &commit.sha, file)).collect();
                let mut value = writer.commit(repository, commit);
                if let Value::Object(fields) = &mut value {
                    let stats = json!({ "additions": sum.0, "deletions": sum.1, "total": sum.0 + sum.1 });
                    fields.insert("stats".to_owned(), stats);
                    fields.insert("files".to_owned(), Value::Array(files));
                }
                Ok(Reply::json(200, &value))
            }
            (Method::GET, ["compare", both @ ..]) => self.compare(repository, &both.join("/")),
            _ => Err(not_found()),
        }
    }

    fn content(&self, call: &Call, repository: &Repository, path: &str) -> Outcome {
        let reference = call.query("ref").unwrap_or(&repository.default_branch);
        let commit = repository.commit_of(reference);
        let commit = commit.ok_or_else(|| error(404, &format!("No commit found for the ref {reference}")))?;
        let tree = repository.tree(commit);
        if let Some(content) = tree.get(path) {
            let mut value = self.entry(repository, reference, path, Some(content));
            if let Value::Object(fields) = &mut value {
                // In lines of 60 characters.
                let text: Vec<char> = STANDARD.encode(content).chars().collect();
                let lines: String =
                    text.chunks(60).flat_map(|line| line.iter().copied().chain(['\n'])).collect();
                fields.insert("content".to_owned(), json!(lines));
                fields.insert("encoding".to_owned(), json!("base64"));
            }
            if call.header("accept").is_some_and(|accept| accept.contains("raw")) {
                return Ok(Reply::text(200, "application/vnd.github.raw; charset=utf-8", content.to_vec()));
            }
            return Ok(Reply::json(200, &value));
        }
        let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries: BTreeMap<String, Option<&Bytes>> = BTreeMap::new();
        for (there, content) in tree.iter() {
            let Some(below) = there.strip_prefix(&folder) else { continue };
            match below.split_once('/') {
                Some((name, _)) => entries.insert(format!("{folder}{name}"), None),
                None => entries.insert(there.clone(), Some(content)),
            };
        }
        if entries.is_empty() {
            return Err(not_found());
        }
        let entries = entries.iter().map(|(path, content)| self.entry(repository, reference, path, *content));
        Ok(Reply::json(200, &Value::Array(entries.collect())))
    }

    /// A file, or a folder where it has no content.
    fn entry(&self, repository: &Repository, reference: &str, path: &str, content: Option<&Bytes>) -> Value {
        let (root, full_name) = (self.writer().repository_url(repository), repository.full_name());
        let encoded = utf8_percent_encode(path, PATH);
        let (kind, at, sha) = match content {
            Some(content) => ("file", "blob", blob_name(content)),
            None => {
                let tree = repository.commit_of(reference).map(|commit| repository.tree(commit));
                let below = |(there, _): &(&String, &Bytes)| there.starts_with(&format!("{path}/"));
                let within = tree.iter().flat_map(|tree| tree.iter()).filter(below);
                let within = within.map(|(path, content)| (path.clone(), content.clone())).collect();
                ("dir", "tree", tree_name(&within))
            }
        };
        let url = format!("{root}/contents/{encoded}?ref={}", utf8_percent_encode(reference, PATH));
        let git = format!("{root}/git/{at}s/{sha}");
        let html = format!("https://github.com/{full_name}/{at}/{reference}/{encoded}");
        let download =
            content.map(|_| format!("https://raw.githubusercontent.com/{full_name}/{reference}/{encoded}"));
        json!({
            "type": kind, "size": content.map_or(0, Bytes::len), "name": path.rsplit('/').next(), "path": path,
            "sha": sha, "url": url, "git_url": git, "html_url": html, "download_url": download,
            "_links": { "self": url, "git": git, "html": html },
        })
    }

    fn change_file(&mut self, call: &Call, who: &str, full_name: &str, path: &str) -> Outcome {
        // Deletions also come with a query in place of a body.
        let mut fields = Fields::of(call)?;
        for (name, value) in &call.query {
            fields.0.entry(name.clone()).or_insert_with(|| json!(value));
        }
        let message = fields.required("Commit", "message")?.to_owned();
        let content = match (call.method == Method::PUT, fields.text("content")?) {
            (false, _) => None,
            (true, None) => return Err(invalid("Commit", "content", "missing_field")),
            (true, Some(text)) => {
                let text: String = text.split_ascii_whitespace().collect();
                let content = STANDARD.decode(text);
                Some(content.map_err(|_| error(422, "content is not valid Base64"))?)
            }
        };
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let branch = fields.text("branch")?.unwrap_or(&repository.default_branch).to_owned();
        let head =
            repository.branch(&branch).ok_or_else(|| error(404, &format!("Branch {branch} not found")))?;
        let there = repository.tree(head).get(path).map(|content| blob_name(content));
        match (&there, fields.text("sha")?) {
            (None, None) if content.is_some() => {}
            (None, _) if content.is_none() => return Err(not_found()),
            (Some(_), None) => {
                return Err(error(422, "Invalid request.\n\n\"sha\" wasn't supplied."));
            }
            (there, Some(sha)) if there.as_deref() != Some(sha) => {
                return Err(error(409, &format!("{path} does not match {sha}")));
            }
            _ => {}
        }
        let status = if content.is_some() && there.is_none() { 201 } else { 200 };
        let sha = self
            .commit_file(full_name, &branch, path, content.as_deref(), &message, who)
            .ok_or_else(not_found)?;
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let commit = repository.commits.get(&sha).ok_or_else(not_found)?;
        let entry = commit.tree.get(path).map(|content| self.entry(repository, &branch, path, Some(content)));
        let commit = self.writer().file_commit(repository, commit);
        Ok(Reply::json(status, &json!({ "content": entry, "commit": commit })))
    }

    /// Commits a file to a branch, or its end where it has no content; the branch comes off the default one where it is not there.
    pub(super) fn commit_file(
        &mut self,
        full_name: &str,
        branch: &str,
        path: &str,
        content: Option<&[u8]>,
        message: &str,
        who: &str,
    ) -> Option<String> {
        let now = self.now();
        let repository = self.github.repository_mut(full_name)?;
        let parent =
            repository.branch(branch).or_else(|| repository.branch(&repository.default_branch))?.clone();
        let mut tree = BTreeMap::clone(&repository.tree(&parent));
        match content {
            Some(content) => tree.insert(path.to_owned(), Bytes::copy_from_slice(content)),
            None => tree.remove(path),
        };
        let sha = repository.commit(Arc::new(tree), vec![parent], message, who, now);
        self.move_ref(full_name, &format!("refs/heads/{branch}"), &sha, who);
        Some(sha)
    }

    fn reference(&self, repository: &Repository, name: &str, sha: &str) -> Value {
        let root = self.writer().repository_url(repository);
        json!({
            "ref": name, "node_id": format!("REF_{name}"), "url": format!("{root}/git/{name}"),
            "object": { "type": "commit", "sha": sha, "url": format!("{root}/git/commits/{sha}") },
        })
    }

    fn create_ref(&mut self, call: &Call, who: &str, full_name: &str) -> Outcome {
        let fields = Fields::of(call)?;
        let name = fields.required("Reference", "ref")?.to_owned();
        let sha = fields.required("Reference", "sha")?.to_owned();
        if !name.starts_with("refs/") || name.matches('/').count() < 2 {
            return Err(error(422, "Reference name must start with 'refs/' and have at least two slashes"));
        }
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        if repository.refs.contains_key(&name) {
            return Err(error(422, "Reference already exists"));
        }
        if !repository.commits.contains_key(&sha) {
            return Err(error(422, "Object does not exist"));
        }
        self.move_ref(full_name, &name, &sha, who);
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        Ok(Reply::json(201, &self.reference(repository, &name, &sha)))
    }

    fn change_ref(&mut self, call: &Call, who: &str, full_name: &str, name: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let was = repository.refs.get(name).ok_or_else(|| error(422, "Reference does not exist"))?.clone();
        if call.method == Method::DELETE {
            if let Some(repository) = self.github.repository_mut(full_name) {
                repository.refs.remove(name);
            }
            self.tell_push(full_name, name, &was, NOTHING, who);
            return Ok(Reply::empty(204));
        }
        let fields = Fields::of(call)?;
        let sha = fields.required("Reference", "sha")?.to_owned();
        if !repository.commits.contains_key(&sha) {
            return Err(error(422, "Object does not exist"));
        }
        let forward = repository.history(&sha).iter().any(|commit| commit.sha == was);
        if !forward && !fields.flag("force")?.unwrap_or(false) {
            return Err(error(422, "Update is not a fast forward"));
        }
        self.move_ref(full_name, name, &sha, who);
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        Ok(Reply::json(200, &self.reference(repository, name, &sha)))
    }

    /// Has a reference lead to a commit, with the pull requests of its branch, and tells of it.
    pub(super) fn move_ref(&mut self, full_name: &str, name: &str, sha: &str, who: &str) {
        let now = self.now();
        let Some(repository) = self.github.repository_mut(full_name) else { return };
        let was = repository.refs.insert(name.to_owned(), sha.to_owned());
        let branch = name.strip_prefix("refs/heads/").unwrap_or_default();
        let mut moved = Vec::new();
        for issue in repository.issues.values_mut().filter(|issue| issue.open) {
            let Some(pull) = issue.pull.as_mut().filter(|pull| pull.head == branch) else { continue };
            let before = std::mem::replace(&mut pull.head_sha, sha.to_owned());
            issue.updated = now;
            moved.push((issue.number, json!({ "before": before, "after": sha })));
        }
        self.tell_push(full_name, name, was.as_deref().unwrap_or(NOTHING), sha, who);
        for (number, more) in moved {
            self.tell_issue(full_name, number, "synchronize", who, more);
        }
    }

    fn tell_push(&mut self, full_name: &str, name: &str, before: &str, after: &str, who: &str) {
        let Some(repository) = self.repository(full_name) else { return };
        let known: Vec<&str> =
            repository.history(before).into_iter().map(|commit| commit.sha.as_str()).collect();
        let mut commits: Vec<&Commit> = repository.history(after);
        commits.retain(|commit| !known.contains(&commit.sha.as_str()));
        commits.reverse();
        let person =
            |login: &str| json!({ "name": login, "email": format!("{login}@users.noreply.github.com") });
        let commit = |commit: &&Commit| {
            let parent = commit.parents.first().map(|sha| repository.tree(sha)).unwrap_or_default();
            let files = tree_changes(&parent, &commit.tree);
            let of = |status: &str| -> Vec<&str> {
                files.iter().filter(|file| file.status == status).map(|file| file.path.as_str()).collect()
            };
            json!({
                "id": commit.sha, "tree_id": tree_name(&commit.tree), "distinct": true, "message": commit.message,
                "timestamp": crate::emulator::state::seconds(commit.at), "author": person(&commit.author),
                "url": format!("https://github.com/{full_name}/commit/{}", commit.sha),
                "committer": person(&commit.author), "added": of("added"), "removed": of("removed"),
                "modified": of("modified"),
            })
        };
        let commits: Vec<Value> =
            if before == NOTHING { Vec::new() } else { commits.iter().map(commit).collect() };
        let head = repository.commits.get(after).map(|head| commit(&head));
        let payload = json!({
            "ref": name, "before": before, "after": after, "base_ref": null, "created": before == NOTHING,
            "deleted": after == NOTHING, "forced": false, "pusher": person(who),
            "compare": format!("https://github.com/{full_name}/compare/{before}...{after}"),
            "commits": commits, "head_commit": head,
        });
        self.tell(full_name, "push", who, payload);
    }

    fn list_commits(&self, call: &Call, repository: &Repository) -> Outcome {
        let reference = call.query("sha").unwrap_or(&repository.default_branch);
        let sha = repository.commit_of(reference).ok_or_else(not_found)?;
        let time = |name: &str| call.query(name).and_then(|text| text.parse::<Timestamp>().ok()).map(unix);
        let (since, until) = (time("since"), time("until"));
        let touches = |commit: &Commit| {
            call.query("path").is_none_or(|path| {
                let parent = commit.parents.first().map(|sha| repository.tree(sha)).unwrap_or_default();
                tree_changes(&parent, &commit.tree).iter().any(|file| file.path.starts_with(path))
            })
        };
        let commits = repository
            .history(sha)
            .into_iter()
            .filter(|commit| since.is_none_or(|since| unix(commit.at) >= since))
            .filter(|commit| until.is_none_or(|until| unix(commit.at) <= until))
            .filter(|commit| call.query("author").is_none_or(|author| commit.author == author))
            .filter(|commit| touches(commit))
            .map(|commit| self.writer().commit(repository, commit))
            .collect();
        Ok(paged(self, call, commits))
    }

    fn compare(&self, repository: &Repository, both: &str) -> Outcome {
        let (base, head) = both.split_once("...").ok_or_else(not_found)?;
        let commit = |name: &str| repository.commit_of(name).and_then(|sha| repository.commits.get(sha));
        let (base, head) = (commit(base).ok_or_else(not_found)?, commit(head).ok_or_else(not_found)?);
        let began = repository.merge_base(&base.sha, &head.sha).and_then(|sha| repository.commits.get(sha));
        let began = began.ok_or_else(|| invalid_because("No common ancestor"))?;
        let beyond = |of: &Commit, other: &Commit| -> Vec<&Commit> {
            let known: Vec<&str> =
                repository.history(&other.sha).into_iter().map(|commit| commit.sha.as_str()).collect();
            repository
                .history(&of.sha)
                .into_iter()
                .filter(|commit| !known.contains(&commit.sha.as_str()))
                .collect()
        };
        let (mut ahead, behind) = (beyond(head, base), beyond(base, head).len());
        ahead.reverse();
        let status = match (ahead.len(), behind) {
            (0, 0) => "identical",
            (_, 0) => "ahead",
            (0, _) => "behind",
            _ => "diverged",
        };
        let writer = self.writer();
        let name = repository.full_name();
        let html = format!("https://github.com/{name}/compare/{}...{}", base.sha, head.sha);
        let files = tree_changes(&began.tree, &head.tree);
        let files: Vec<Value> =
            files.iter().map(|file| self.file_change(repository, &head.sha, file)).collect();
        let commits: Vec<Value> = ahead.iter().map(|commit| writer.commit(repository, commit)).collect();
        let body = json!({
            "url": format!("{}/compare/{}...{}", writer.repository_url(repository), base.sha, head.sha),
            "html_url": html, "permalink_url": html, "diff_url": format!("{html}.diff"),
            "patch_url": format!("{html}.patch"), "base_commit": writer.commit(repository, base),
            "merge_base_commit": writer.commit(repository, began), "status": status, "ahead_by": commits.len(),
            "behind_by": behind, "total_commits": commits.len(), "commits": commits, "files": files,
        });
        Ok(Reply::json(200, &body))
    }
}
