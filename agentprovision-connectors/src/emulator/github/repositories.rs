//! People and repositories.

use agentprovision_core::{Error, Result};
use serde_json::{Value, json};

use super::route::{not_found, paged};
use super::store::{Label, Repository};
use crate::emulator::state::{Call, Outcome, Reply, World};

/// The labels that a new repository has.
const LABELS: [(&str, &str, &str); 3] = [
    ("bug", "d73a4a", "Something isn't working"),
    ("documentation", "0075ca", "Improvements or additions to documentation"),
    ("enhancement", "a2eeef", "New feature or request"),
];

impl World {
    pub(super) fn add_repository(&mut self, full_name: &str, members: Option<&[&str]>) -> Result<()> {
        let wrong = || Error::invalid(format!("`{full_name}` is no name of a repository, `owner/name`"));
        let (owner, name) = full_name.split_once('/').ok_or_else(wrong)?;
        if owner.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        if self.repository(full_name).is_some() {
            return Err(Error::conflict(format!("there is a repository `{full_name}`")));
        }
        let organization = !self.github.users.contains_key(owner);
        let owner = self.github_account(owner, organization);
        let members = members.map(|members| members.iter().map(|login| self.github_user(login)).collect());
        let (id, now, author) = (self.id(), self.now(), self.github_author(None));
        let labels = LABELS
            .iter()
            .map(|(name, color, description)| Label {
                id: self.id(),
                name: (*name).to_owned(),
                color: (*color).to_owned(),
                description: Some((*description).to_owned()),
            })
            .collect();
        let mut repository = Repository {
            id,
            owner,
            name: name.to_owned(),
            members,
            created: now,
            updated: now,
            pushed: now,
            default_branch: "main".to_owned(),
            labels,
            issues: Default::default(),
            commits: Default::default(),
            refs: Default::default(),
            runs: Vec::new(),
            checks: Vec::new(),
            statuses: Vec::new(),
            releases: Vec::new(),
            hooks: Vec::new(),
        };
        let readme = ("README.md".to_owned(), format!("# {name}\n").into());
        let tree = std::sync::Arc::new([readme].into_iter().collect());
        let sha = repository.commit(tree, Vec::new(), "Initial commit", &author, now);
        repository.refs.insert("refs/heads/main".to_owned(), sha);
        self.github.repositories.push(repository);
        Ok(())
    }

    pub(super) fn own_account(&self, who: &str) -> Outcome {
        let own = self.github.repositories.iter().filter(|repository| repository.owner == who).count();
        Ok(Reply::json(200, &self.writer().account(who, own)).with("x-oauth-scopes", "repo, read:org"))
    }

    pub(super) fn account_of(&self, login: &str) -> Outcome {
        match self.github.users.contains_key(login) {
            true => Ok(Reply::json(200, &self.writer().user(login))),
            false => Err(not_found()),
        }
    }

    /// Repositories that somebody sees, in the order of a list.
    fn listed(&self, call: &Call, who: &str, belongs: impl Fn(&Repository) -> bool) -> Vec<Value> {
        let mut found: Vec<&Repository> = self
            .github
            .repositories
            .iter()
            .filter(|repository| repository.sees(who) && belongs(repository))
            .collect();
        let by_name = matches!(call.query("sort"), None | Some("full_name"));
        match call.query("sort") {
            Some("created") => found.sort_by_key(|repository| repository.created),
            Some("updated") => found.sort_by_key(|repository| repository.updated),
            Some("pushed") => found.sort_by_key(|repository| repository.pushed),
            _ => found.sort_by_key(|repository| repository.full_name().to_lowercase()),
        }
        let descending = match call.query("direction") {
            Some(direction) => direction == "desc",
            None => !by_name,
        };
        if descending {
            found.reverse();
        }
        found.into_iter().map(|repository| self.writer().repository(repository)).collect()
    }

    pub(super) fn own_repositories(&self, call: &Call, who: &str) -> Outcome {
        // Public ones of others too, as for somebody who works on them.
        Ok(paged(self, call, self.listed(call, who, |_| true)))
    }

    pub(super) fn repositories_of(&self, call: &Call, who: &str, owner: &str) -> Outcome {
        if !self.github.users.contains_key(owner) {
            return Err(not_found());
        }
        Ok(paged(self, call, self.listed(call, who, |repository| repository.owner == owner)))
    }

    pub(super) fn one_repository(&self, full_name: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        Ok(Reply::json(200, &self.writer().whole_repository(repository)))
    }

    pub(super) fn rate_limit(&mut self, who: &str) -> Outcome {
        let now = crate::emulator::state::unix(self.now());
        let limit = self.github.budget.limit;
        let (_, used, reset) = self.github.budget.spend(who, now, 0);
        let core = json!({
            "limit": limit, "used": used, "remaining": limit.saturating_sub(used), "reset": reset,
        });
        let search = json!({ "limit": 30, "used": 0, "remaining": 30, "reset": now + 60 });
        Ok(Reply::json(200, &json!({ "resources": { "core": core, "search": search }, "rate": core })))
    }
}
