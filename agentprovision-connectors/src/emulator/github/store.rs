//! What GitHub knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentprovision_core::Timestamp;
use bytes::Bytes;
use serde_json::Value;

use crate::emulator::state::object_name;

/// The requests that somebody has in an hour.
const REQUESTS: u64 = 5000;

#[derive(Default)]
pub(in crate::emulator) struct GitHub {
    pub(super) users: BTreeMap<String, User>,
    /// Logins in the order they came to be.
    pub(super) order: Vec<String>,
    pub(super) repositories: Vec<Repository>,
    pub(super) budget: Budget,
}

impl GitHub {
    pub(in crate::emulator) fn first_user(&self) -> Option<String> {
        let person = |login: &&String| self.users.get(*login).is_some_and(|user| !user.organization);
        self.order.iter().find(person).cloned()
    }

    pub(super) fn repository(&self, full_name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.full_name().eq_ignore_ascii_case(full_name))
    }

    pub(super) fn repository_mut(&mut self, full_name: &str) -> Option<&mut Repository> {
        self.repositories.iter_mut().find(|repository| repository.full_name().eq_ignore_ascii_case(full_name))
    }
}

/// How many requests each may send in an hour.
pub(super) struct Budget {
    pub(super) limit: u64,
    used: BTreeMap<String, (i64, u64)>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { limit: REQUESTS, used: BTreeMap::new() }
    }
}

impl Budget {
    /// Counts requests: whether it was there, how many are used and when there are new ones, in seconds since the epoch.
    pub(super) fn spend(&mut self, who: &str, now: i64, requests: u64) -> (bool, u64, i64) {
        let window = self.used.entry(who.to_owned()).or_insert((now + 3600, 0));
        if window.0 <= now {
            *window = (now + 3600, 0);
        }
        let there = window.1 < self.limit || requests == 0;
        window.1 += if there { requests } else { 0 };
        (there, window.1, window.0)
    }
}

pub(super) struct User {
    pub(super) id: u64,
    pub(super) login: String,
    pub(super) organization: bool,
    pub(super) created: Timestamp,
}

pub(super) struct Repository {
    pub(super) id: u64,
    pub(super) owner: String,
    pub(super) name: String,
    /// Who may see it, where not everybody may.
    pub(super) members: Option<BTreeSet<String>>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) pushed: Timestamp,
    pub(super) default_branch: String,
    pub(super) labels: Vec<Label>,
    /// Issues and pull requests by number: they share it.
    pub(super) issues: BTreeMap<u64, Issue>,
    pub(super) commits: BTreeMap<String, Commit>,
    /// `refs/heads/main` and the name of its commit.
    pub(super) refs: BTreeMap<String, String>,
    pub(super) runs: Vec<Run>,
    pub(super) checks: Vec<Value>,
    /// Statuses of commits: the commit and the status as it is answered, the newest first.
    pub(super) statuses: Vec<(String, Value)>,
    pub(super) releases: Vec<Value>,
    pub(super) hooks: Vec<Hook>,
}

impl Repository {
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(super) fn sees(&self, login: &str) -> bool {
        self.owner == login || self.members.as_ref().is_none_or(|members| members.contains(login))
    }

    /// The name of the commit that a branch, a tag, a reference or a name of a commit leads to.
    pub(super) fn commit_of(&self, name: &str) -> Option<&str> {
        let reference = |name: &str| self.refs.get(name).map(String::as_str);
        reference(name)
            .or_else(|| reference(&format!("refs/{name}")))
            .or_else(|| reference(&format!("refs/heads/{name}")))
            .or_else(|| reference(&format!("refs/tags/{name}")))
            .or_else(|| self.commits.get_key_value(name).map(|(name, _)| name.as_str()))
    }

    pub(super) fn branch(&self, name: &str) -> Option<&String> {
        self.refs.get(&format!("refs/heads/{name}"))
    }

    pub(super) fn tree(&self, commit: &str) -> Tree {
        self.commits.get(commit).map(|commit| Arc::clone(&commit.tree)).unwrap_or_default()
    }

    /// The commits that lead to one, it being the first.
    pub(super) fn history(&self, commit: &str) -> Vec<&Commit> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut next = vec![commit];
        while let Some(name) = next.pop() {
            let Some(commit) = self.commits.get(name).filter(|_| seen.insert(name)) else { continue };
            next.extend(commit.parents.iter().map(String::as_str));
            found.push(commit);
        }
        // The order of their making, which also tells those of one moment apart.
        found.sort_by_key(|commit| std::cmp::Reverse(commit.order));
        found
    }

    /// The newest commit that leads to both.
    pub(super) fn merge_base(&self, one: &str, other: &str) -> Option<&str> {
        let of_other: BTreeSet<&str> = self.history(other).iter().map(|commit| commit.sha.as_str()).collect();
        self.history(one).iter().map(|commit| commit.sha.as_str()).find(|sha| of_other.contains(sha))
    }

    /// Adds a commit, and gives its name.
    pub(super) fn commit(
        &mut self,
        tree: Tree,
        parents: Vec<String>,
        message: &str,
        by: &str,
        at: Timestamp,
    ) -> String {
        let order = self.commits.len() as u64;
        let stamp = format!("{order} {by} {at} {}", parents.join(" "));
        let sha =
            object_name(&[b"commit", tree_name(&tree).as_bytes(), stamp.as_bytes(), message.as_bytes()]);
        let (message, author) = (message.to_owned(), by.to_owned());
        let commit = Commit { sha: sha.clone(), order, tree, parents, message, author, at };
        self.commits.insert(sha.clone(), commit);
        self.pushed = at;
        self.updated = at;
        sha
    }
}

/// The files of a commit, by their paths.
pub(super) type Tree = Arc<BTreeMap<String, Bytes>>;

pub(super) fn blob_name(content: &[u8]) -> String {
    object_name(&[b"blob", content])
}

pub(super) fn tree_name(tree: &BTreeMap<String, Bytes>) -> String {
    let parts: Vec<&[u8]> =
        tree.iter().flat_map(|(path, content)| [path.as_bytes(), content.as_ref()]).collect();
    object_name(&[&[b"tree".as_slice()], parts.as_slice()].concat())
}

/// The paths at which two trees differ, with what each has there.
pub(super) fn changes<'a>(
    from: &'a BTreeMap<String, Bytes>,
    to: &'a BTreeMap<String, Bytes>,
) -> Vec<(&'a str, Option<&'a Bytes>, Option<&'a Bytes>)> {
    let paths: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let both = paths.into_iter().map(|path| (path.as_str(), from.get(path), to.get(path)));
    both.filter(|(_, from, to)| from != to).collect()
}

pub(super) struct Commit {
    pub(super) sha: String,
    pub(super) order: u64,
    pub(super) tree: Tree,
    pub(super) parents: Vec<String>,
    pub(super) message: String,
    pub(super) author: String,
    pub(super) at: Timestamp,
}

pub(super) struct Label {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) color: String,
    pub(super) description: Option<String>,
}

pub(super) struct Issue {
    pub(super) id: u64,
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) open: bool,
    pub(super) state_reason: Option<String>,
    pub(super) user: String,
    pub(super) assignees: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) comments: Vec<Comment>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) closed: Option<Timestamp>,
    pub(super) pull: Option<Pull>,
}

pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) body: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

pub(super) struct Pull {
    pub(super) head: String,
    pub(super) base: String,
    /// The commit of the head, as long as its branch is there.
    pub(super) head_sha: String,
    /// The commit of the base when it was opened or merged.
    pub(super) base_sha: String,
    pub(super) draft: bool,
    /// When, by whom, and as which commit.
    pub(super) merged: Option<(Timestamp, String, String)>,
    pub(super) reviews: Vec<Review>,
}

pub(super) struct Review {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) body: String,
    pub(super) state: String,
    pub(super) commit: String,
    pub(super) submitted: Option<Timestamp>,
}

pub(super) struct Run {
    pub(super) id: u64,
    pub(super) number: u64,
    pub(super) workflow_id: u64,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) event: String,
    pub(super) branch: String,
    pub(super) sha: String,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) attempt: u64,
    pub(super) actor: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) jobs: Vec<Job>,
}

pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) log: String,
}

pub(super) struct Hook {
    pub(super) id: u64,
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) form: bool,
    pub(super) events: Vec<String>,
    pub(super) active: bool,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    /// Numbers and ids of what was sent, with event and action.
    pub(super) deliveries: Vec<(u64, String, String, Option<String>)>,
}
