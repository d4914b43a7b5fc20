//! Pull requests: their files, commits, reviews and merges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::issues::{in_state, sort};
use super::route::{Fields, custom, error, invalid, invalid_because, not_found, paged};
use super::store::{Commit, Issue, Pull, Repository, Review, Tree, blob_name, changes};
use crate::emulator::state::{Call, Outcome, Reply, World};

/// What a pull request changes of a file.
pub(super) struct FileChange {
    pub(super) path: String,
    pub(super) status: &'static str,
    pub(super) sha: String,
    pub(super) additions: usize,
    pub(super) deletions: usize,
    pub(super) patch: Option<String>,
}

/// The commit that a pull request began at.
fn began(repository: &Repository, pull: &Pull) -> Option<String> {
    repository.merge_base(&pull.base_sha, &pull.head_sha).map(str::to_owned)
}

pub(super) fn pull_changes(repository: &Repository, pull: &Pull) -> Vec<FileChange> {
    let from = began(repository, pull).map(|base| repository.tree(&base)).unwrap_or_default();
    tree_changes(&from, &repository.tree(&pull.head_sha))
}

pub(super) fn tree_changes(from: &BTreeMap<String, Bytes>, to: &BTreeMap<String, Bytes>) -> Vec<FileChange> {
    let change = |(path, old, new): (&str, Option<&Bytes>, Option<&Bytes>)| {
        let status = match (old, new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "modified",
        };
        let (additions, deletions, patch) = patch(old, new);
        let sha = blob_name(new.or(old).map(Bytes::as_ref).unwrap_or_default());
        FileChange { path: path.to_owned(), status, sha, additions, deletions, patch }
    };
    changes(from, to).into_iter().map(change).collect()
}

/// One hunk over all lines between those that stay at both ends; none of what is no text.
fn patch(old: Option<&Bytes>, new: Option<&Bytes>) -> (usize, usize, Option<String>) {
    let text = |content: Option<&Bytes>| {
        std::str::from_utf8(content.map_or(b"", |content| content)).map(str::to_owned)
    };
    let (Ok(old), Ok(new)) = (text(old), text(new)) else { return (0, 0, None) };
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let room = old.len().min(new.len()) - before;
    let after = old.iter().rev().zip(new.iter().rev()).take(room).take_while(|(old, new)| old == new).count();
    let (removed, added) = (old.len() - before - after, new.len() - before - after);
    let start = |count: usize| if count == 0 { before } else { before + 1 };
    let mut text = format!("@@ -{},{removed} +{},{added} @@", start(removed), start(added));
    for (mark, lines, count) in [('-', &old, removed), ('+', &new, added)] {
        for line in lines.iter().skip(before).take(count) {
            text.push('\n');
            text.push(mark);
            text.push_str(line);
        }
    }
    (added, removed, Some(text))
}

/// The commits of a pull request, the oldest first.
pub(super) fn pull_commits<'a>(repository: &'a Repository, pull: &Pull) -> Vec<&'a Commit> {
    let known: Vec<&str> =
        repository.history(&pull.base_sha).into_iter().map(|commit| commit.sha.as_str()).collect();
    let history = repository.history(&pull.head_sha).into_iter();
    let mut commits: Vec<&Commit> = history.filter(|commit| !known.contains(&commit.sha.as_str())).collect();
    commits.reverse();
    commits
}

/// What the base is after the merge; `None` where both sides changed a file, or the head is gone.
pub(super) fn merged_tree(repository: &Repository, pull: &Pull) -> Option<Tree> {
    let onto = repository.branch(&pull.base)?;
    let began = repository.merge_base(onto, &pull.head_sha)?;
    let (began, onto, head) =
        (repository.tree(began), repository.tree(onto), repository.tree(&pull.head_sha));
    let mut merged = BTreeMap::clone(&onto);
    for (path, old, new) in changes(&began, &head) {
        let there = onto.get(path);
        if there != old && there != new {
            return None;
        }
        match new {
            Some(content) => merged.insert(path.to_owned(), content.clone()),
            None => merged.remove(path),
        };
    }
    Some(Arc::new(merged))
}

impl World {
    pub(super) fn pulls(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let (method, number) = (call.method.clone(), rest.first().and_then(|text| text.parse().ok()));
        match (method, rest.get(1..).unwrap_or_default(), number) {
            (Method::GET, [], None) if rest.is_empty() => self.list_pulls(call, full_name),
            (Method::POST, [], None) if rest.is_empty() => self.create_pull(call, who, full_name),
            (_, rest, Some(number)) => {
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let issue = repository.issues.get(&number).ok_or_else(not_found)?;
                let pull = issue.pull.as_ref().ok_or_else(not_found)?;
                let writer = self.writer();
                match (call.method.clone(), rest) {
                    (Method::GET, []) => Ok(Reply::json(200, &writer.pull(repository, issue, true))),
                    (Method::GET, ["files"]) => {
                        let files = pull_changes(repository, pull);
                        let files =
                            files.iter().map(|file| self.file_change(repository, &pull.head_sha, file));
                        Ok(paged(self, call, files.collect()))
                    }
                    (Method::GET, ["commits"]) => {
                        let commits = pull_commits(repository, pull);
                        let commits = commits.into_iter().map(|commit| writer.commit(repository, commit));
                        Ok(paged(self, call, commits.collect()))
                    }
                    (Method::GET, ["reviews"]) => {
                        let reviews =
                            pull.reviews.iter().map(|review| writer.review(repository, issue, review));
                        Ok(paged(self, call, reviews.collect()))
                    }
                    // Comments on lines cannot be made, so there are none.
                    (Method::GET, ["comments"]) => Ok(paged(self, call, Vec::new())),
                    (Method::GET, ["merge"]) => match pull.merged {
                        Some(_) => Ok(Reply::empty(204)),
                        None => Err(not_found()),
                    },
                    (Method::PATCH, []) => self.edit_pull(call, who, full_name, number),
                    (Method::POST, ["reviews"]) => self.add_review(call, who, full_name, number),
                    (Method::PUT, ["merge"]) => self.merge(call, who, full_name, number),
                    _ => Err(not_found()),
                }
            }
            _ => Err(not_found()),
        }
    }

    pub(super) fn file_change(&self, repository: &Repository, head: &str, file: &FileChange) -> Value {
        let (root, name) = (self.writer().repository_url(repository), repository.full_name());
        let path = percent_encoding::utf8_percent_encode(&file.path, super::contents::PATH);
        let mut value = json!({
            "sha": file.sha, "filename": file.path, "status": file.status, "additions": file.additions,
            "deletions": file.deletions, "changes": file.additions + file.deletions,
            "blob_url": format!("https://github.com/{name}/blob/{head}/{path}"),
            "raw_url": format!("https://github.com/{name}/raw/{head}/{path}"),
            "contents_url": format!("{root}/contents/{path}?ref={head}"),
        });
        if let (Some(patch), Value::Object(fields)) = (&file.patch, &mut value) {
            fields.insert("patch".to_owned(), json!(patch));
        }
        value
    }

    fn list_pulls(&self, call: &Call, full_name: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let head = call.query("head").map(|head| head.split_once(':').map_or(head, |(_, branch)| branch));
        let fits = |issue: &&Issue| {
            issue.pull.as_ref().is_some_and(|pull| {
                call.query("base").is_none_or(|base| pull.base == base)
                    && head.is_none_or(|head| pull.head == head)
            })
        };
        let mut found: Vec<&Issue> = repository
            .issues
            .values()
            .filter(fits)
            .filter(|issue| in_state(issue.open, call.query("state")))
            .collect();
        // What is sorted by anything but its making begins at the lowest.
        let lowest = matches!(call.query("sort"), Some("updated" | "popularity" | "long-running"));
        sort(&mut found, call.query("sort"), call.query("direction").or(lowest.then_some("asc")));
        let writer = self.writer();
        let found = found.into_iter().map(|issue| writer.pull(repository, issue, false)).collect();
        Ok(paged(self, call, found))
    }

    fn pull_reply(&self, status: u16, full_name: &str, number: u64) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let issue = repository.issues.get(&number).ok_or_else(not_found)?;
        Ok(Reply::json(status, &self.writer().pull(repository, issue, true)))
    }

    fn create_pull(&mut self, call: &Call, who: &str, full_name: &str) -> Outcome {
        let fields = Fields::of(call)?;
        let title = fields.required("PullRequest", "title")?.to_owned();
        let head = fields.required("PullRequest", "head")?;
        let head = head.split_once(':').map_or(head, |(_, branch)| branch).to_owned();
        let base = fields.required("PullRequest", "base")?.to_owned();
        let body = fields.text("body")?.map(str::to_owned);
        let draft = fields.flag("draft")?.unwrap_or(false);
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let head_sha =
            repository.branch(&head).ok_or_else(|| invalid("PullRequest", "head", "invalid"))?.clone();
        let base_sha =
            repository.branch(&base).ok_or_else(|| invalid("PullRequest", "base", "invalid"))?.clone();
        let same =
            |issue: &Issue| issue.pull.as_ref().is_some_and(|pull| pull.head == head && pull.base == base);
        if repository.issues.values().any(|issue| issue.open && same(issue)) {
            let words = format!("A pull request already exists for {}:{head}.", repository.owner);
            return Err(custom("PullRequest", &words));
        }
        let pull = Pull { head, base, head_sha, base_sha, draft, merged: None, reviews: Vec::new() };
        if pull_commits(repository, &pull).is_empty() {
            let words = format!("No commits between {} and {}", pull.base, pull.head);
            return Err(custom("PullRequest", &words));
        }
        let number = self.add_issue(full_name, who, title, body).ok_or_else(not_found)?;
        if let Some(issue) = self.github_issue(full_name, number) {
            issue.pull = Some(pull);
        }
        self.tell_issue(full_name, number, "opened", who, Value::Null);
        self.pull_reply(201, full_name, number)
    }

    fn edit_pull(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        let base = Fields::of(call)?.text("base")?.map(str::to_owned);
        if let Some(base) = base {
            let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
            let sha =
                repository.branch(&base).ok_or_else(|| invalid("PullRequest", "base", "invalid"))?.clone();
            let pull = repository.issues.get_mut(&number).and_then(|issue| issue.pull.as_mut());
            let pull = pull.ok_or_else(not_found)?;
            (pull.base, pull.base_sha) = (base, sha);
        }
        self.apply_issue(call, who, full_name, number)?;
        self.pull_reply(200, full_name, number)
    }

    fn add_review(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        let fields = Fields::of(call)?;
        let body = fields.text("body")?.unwrap_or_default().to_owned();
        let state = match fields.text("event")? {
            None => "PENDING",
            Some("APPROVE") => "APPROVED",
            Some("REQUEST_CHANGES") => "CHANGES_REQUESTED",
            Some("COMMENT") => "COMMENTED",
            Some(_) => return Err(invalid("PullRequestReview", "event", "invalid")),
        };
        if matches!(state, "CHANGES_REQUESTED" | "COMMENTED") && body.is_empty() {
            return Err(invalid_because("Body can't be blank"));
        }
        let commit = fields.text("commit_id")?.map(str::to_owned);
        let (id, now) = (self.id(), self.now());
        let issue = self.github_issue(full_name, number).ok_or_else(not_found)?;
        if issue.user == who && matches!(state, "APPROVED" | "CHANGES_REQUESTED") {
            return Err(invalid_because("Can not approve or request changes on your own pull request"));
        }
        let pull = issue.pull.as_mut().ok_or_else(not_found)?;
        let commit = commit.unwrap_or_else(|| pull.head_sha.clone());
        let submitted = (state != "PENDING").then_some(now);
        pull.reviews.push(Review {
            id,
            user: who.to_owned(),
            body,
            state: state.to_owned(),
            commit,
            submitted,
        });
        issue.updated = now;
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let issue = repository.issues.get(&number).ok_or_else(not_found)?;
        let review = issue.pull.as_ref().and_then(|pull| pull.reviews.last()).ok_or_else(not_found)?;
        let value = self.writer().review(repository, issue, review);
        if submitted.is_some() {
            let pull = self.writer().pull(repository, issue, false);
            // Events have states in small letters.
            let mut review = value.clone();
            if let Value::Object(review) = &mut review {
                review.insert("state".to_owned(), json!(state.to_lowercase()));
            }
            let payload = json!({ "action": "submitted", "review": review, "pull_request": pull });
            self.tell(full_name, "pull_request_review", who, payload);
        }
        Ok(Reply::json(200, &value))
    }

    fn merge(&mut self, call: &Call, who: &str, full_name: &str, number: u64) -> Outcome {
        let fields = Fields::of(call)?;
        let squash = match fields.text("merge_method")?.unwrap_or("merge") {
            "merge" => false,
            "squash" | "rebase" => true,
            _ => return Err(invalid("PullRequest", "merge_method", "invalid")),
        };
        let (wanted, title) = (fields.text("sha")?, fields.text("commit_title")?);
        let now = self.now();
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        let issue = repository.issues.get(&number).ok_or_else(not_found)?;
        let pull = issue.pull.as_ref().ok_or_else(not_found)?;
        if wanted.is_some_and(|wanted| wanted != pull.head_sha) {
            return Err(error(409, "Head branch was modified. Review and try the merge again."));
        }
        let ready = issue.open && !pull.draft;
        let tree = merged_tree(repository, pull).filter(|_| ready);
        let tree = tree.ok_or_else(|| error(405, "Pull Request is not mergeable"))?;
        let (head, base) = (pull.head_sha.clone(), pull.base.clone());
        let usual = format!("Merge pull request #{number} from {}/{}", repository.owner, pull.head);
        let title =
            title.map_or(if squash { format!("{} (#{number})", issue.title) } else { usual }, str::to_owned);
        let onto = repository.branch(&base).cloned().unwrap_or_default();
        let parents = if squash { vec![onto.clone()] } else { vec![onto.clone(), head] };
        let sha = repository.commit(tree, parents, &title, who, now);
        if let Some(issue) = repository.issues.get_mut(&number) {
            (issue.open, issue.closed, issue.updated) = (false, Some(now), now);
            if let Some(pull) = &mut issue.pull {
                pull.merged = Some((now, who.to_owned(), sha.clone()));
            }
        }
        self.move_ref(full_name, &format!("refs/heads/{base}"), &sha, who);
        self.tell_issue(full_name, number, "closed", who, Value::Null);
        let body = json!({ "sha": sha, "merged": true, "message": "Pull Request successfully merged" });
        Ok(Reply::json(200, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_the_lines_between_those_that_stay() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let of = |old: &'static str, new: &'static str| patch(Some(&bytes(old)), Some(&bytes(new)));
        assert_eq!(of("a\nb\nc\n", "a\nx\ny\nc\n"), (2, 1, Some("@@ -2,1 +2,2 @@\n-b\n+x\n+y".to_owned())));
        assert_eq!(of("a\n", "a\na\n"), (1, 0, Some("@@ -1,0 +2,1 @@\n+a".to_owned())));
        assert_eq!(patch(None, Some(&bytes("a\n"))), (1, 0, Some("@@ -0,0 +1,1 @@\n+a".to_owned())));
        assert_eq!(patch(None, Some(&Bytes::from_static(b"\xff"))), (0, 0, None));
    }
}
