//! GitHub: what tests set up and inspect.

mod actions;
mod contents;
mod hooks;
mod issues;
mod json;
mod pulls;
mod releases;
mod repositories;
mod route;
mod search;
pub(super) mod store;
mod zip;

use agentprovision_core::{Error, ErrorKind, Result};
use http::Method;
use serde_json::{Value, json};

use self::json::Writer;
use self::store::{Issue, Repository, User};
use super::Shared;
use super::state::{Call, Vendor, World, refused};

/// The GitHub of an emulator. Values have the form in which the REST API answers them.
///
/// It speaks, below [`Emulator::github_url`](super::Emulator::github_url): `user`, `users`, `rate_limit`, repositories, contents, branches,
/// references, commits and comparisons, issues, comments, labels and assignees, pull requests with their files, commits, reviews
/// and merges, runs and jobs of actions, check runs, statuses, releases, the search of issues, and webhooks of repositories with
/// their deliveries. Answers to `GET` have an `etag` and honour `if-none-match`. A merge by rebase makes one commit, as one by squash.
#[derive(Debug)]
pub struct GithubWorld<'a>(pub(super) &'a Shared);

impl GithubWorld<'_> {
    /// A personal access token of somebody, who is made where there is none. It is sent as `Bearer`, as `token`, or as the password
    /// of basic authentication.
    pub fn add_token(&self, login: &str) -> String {
        let mut world = self.0.world();
        let login = world.github_user(login);
        let token = world.secret("ghp_");
        world.accounts(Vendor::Github).keep(&token, &login);
        token
    }

    /// A public repository, `owner/name`, with a first commit on its branch `main` that holds `README.md`. An owner who is not there
    /// is made, as an organisation.
    ///
    /// # Errors
    /// `invalid_input` when the name is none; `conflict` when there is one by this name.
    pub fn add_repository(&self, full_name: &str) -> Result<()> {
        self.0.world().add_repository(full_name, None)
    }

    /// A repository that only its owner and these people see, and that for all others is not found.
    ///
    /// # Errors
    /// As [`GithubWorld::add_repository`].
    pub fn add_private_repository(&self, full_name: &str, members: &[&str]) -> Result<()> {
        self.0.world().add_repository(full_name, Some(members))
    }

    /// An issue by the repository's first user, of the body that `POST /repos/{owner}/{repo}/issues` takes. Its number.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as GitHub refuses it.
    pub fn add_issue(&self, full_name: &str, issue: Value) -> Result<u64> {
        let made = self.act(None, Method::POST, &format!("/repos/{full_name}/issues"), issue)?;
        Ok(made.get("number").and_then(Value::as_u64).unwrap_or_default())
    }

    /// Changes an issue or a pull request, by the body that `PATCH /repos/{owner}/{repo}/issues/{number}` takes.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as GitHub refuses it.
    pub fn edit_issue(&self, full_name: &str, number: u64, change: Value) -> Result<Value> {
        self.act(None, Method::PATCH, &format!("/repos/{full_name}/issues/{number}"), change)
    }

    /// A comment on an issue or a pull request. Its id.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as GitHub refuses it.
    pub fn add_comment(&self, full_name: &str, number: u64, body: &str) -> Result<u64> {
        let path = format!("/repos/{full_name}/issues/{number}/comments");
        let made = self.act(None, Method::POST, &path, json!({ "body": body }))?;
        Ok(made.get("id").and_then(Value::as_u64).unwrap_or_default())
    }

    /// Commits a file to a branch, in place of one that is there; the branch comes off the default one where there is none. The
    /// name of the commit.
    ///
    /// # Errors
    /// `not_found` when there is no such repository.
    pub fn add_file(
        &self,
        full_name: &str,
        branch: &str,
        path: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<String> {
        let mut world = self.0.world();
        let author = world.github_author(None);
        let commit = world.commit_file(full_name, branch, path, Some(content.as_ref()), "Change", &author);
        drop(world);
        self.0.wake.notify_one();
        commit.ok_or_else(|| absent(full_name))
    }

    /// A pull request of one branch into another. Its number.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as GitHub refuses it.
    pub fn add_pull(&self, full_name: &str, title: &str, head: &str, base: &str) -> Result<u64> {
        let body = json!({ "title": title, "head": head, "base": base });
        let made = self.act(None, Method::POST, &format!("/repos/{full_name}/pulls"), body)?;
        Ok(made.get("number").and_then(Value::as_u64).unwrap_or_default())
    }

    /// A run of a workflow on a branch's newest commit, with one job: `status` is `queued`, `in_progress` or `completed`, with
    /// `conclusion`, such as `failure`, when it is over. Its id.
    ///
    /// # Errors
    /// `not_found` when there is no such repository or branch.
    pub fn add_run(
        &self,
        full_name: &str,
        branch: &str,
        status: &str,
        conclusion: Option<&str>,
        log: &str,
    ) -> Result<u64> {
        let run = self.0.world().add_run(full_name, branch, status, conclusion, log);
        self.0.wake.notify_one();
        run.ok_or_else(|| absent(full_name))
    }

    /// A webhook of a repository: events such as `issues`, or `*` for all, to a URL on the loopback, signed with `secret`. Its id.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as GitHub refuses it.
    pub fn add_webhook(&self, full_name: &str, url: &str, secret: &str, events: &[&str]) -> Result<u64> {
        let config = json!({ "url": url, "content_type": "json", "secret": secret });
        let body = json!({ "name": "web", "active": true, "events": events, "config": config });
        let made = self.act(None, Method::POST, &format!("/repos/{full_name}/hooks"), body)?;
        Ok(made.get("id").and_then(Value::as_u64).unwrap_or_default())
    }

    /// How many requests each may send in an hour; 5000 at first.
    pub fn limit_requests(&self, an_hour: u64) {
        self.0.world().github.budget.limit = an_hour;
    }

    /// Carries out any request as somebody, without HTTP, the fault plan and the log; as the first user there is without a name.
    ///
    /// # Errors
    /// `not_found`, `conflict` and `invalid_input`, as GitHub refuses it.
    pub fn act(&self, login: Option<&str>, method: Method, target: &str, body: Value) -> Result<Value> {
        let mut world = self.0.world();
        let who = world.github_author(login);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut call = Call::new(Vendor::Github, method, target, http::HeaderMap::new(), body.into());
        call.acting = Some(who);
        let reply = world.perform(&call);
        drop(world);
        self.0.wake.notify_one();
        match reply.status {
            200..300 => Ok(reply.value().unwrap_or_default()),
            _ => Err(refused(Vendor::Github, &reply)),
        }
    }

    /// The issues of a repository, by number; without its pull requests.
    ///
    /// # Errors
    /// `not_found` when there is no such repository.
    pub fn issues(&self, full_name: &str) -> Result<Vec<Value>> {
        self.read(full_name, |writer, repository| {
            let issues = repository.issues.values().filter(|issue| issue.pull.is_none());
            issues.map(|issue| writer.issue(repository, issue)).collect()
        })
    }

    /// An issue or a pull request as an issue.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn issue(&self, full_name: &str, number: u64) -> Result<Value> {
        let found = self.read(full_name, |writer, repository| {
            repository.issues.get(&number).map(|issue| writer.issue(repository, issue))
        })?;
        found.ok_or_else(|| absent(&format!("{full_name}#{number}")))
    }

    /// The comments of an issue or a pull request.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn comments(&self, full_name: &str, number: u64) -> Result<Vec<Value>> {
        let found = self.read(full_name, |writer, repository| {
            let issue = repository.issues.get(&number)?;
            Some(issue.comments.iter().map(|comment| writer.comment(repository, issue, comment)).collect())
        })?;
        found.ok_or_else(|| absent(&format!("{full_name}#{number}")))
    }

    /// The pull requests of a repository, by number.
    ///
    /// # Errors
    /// `not_found` when there is no such repository.
    pub fn pulls(&self, full_name: &str) -> Result<Vec<Value>> {
        self.read(full_name, |writer, repository| {
            let pulls = repository.issues.values().filter(|issue| issue.pull.is_some());
            pulls.map(|issue| writer.pull(repository, issue, true)).collect()
        })
    }

    /// A file of a branch, or of any commit.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn file(&self, full_name: &str, branch: &str, path: &str) -> Result<Vec<u8>> {
        let found = self.read(full_name, |_, repository| {
            let commit = repository.commit_of(branch)?;
            repository.tree(commit).get(path).map(|content| content.to_vec())
        })?;
        found.ok_or_else(|| absent(path))
    }

    fn read<T>(&self, full_name: &str, read: impl FnOnce(&Writer<'_>, &Repository) -> T) -> Result<T> {
        let world = self.0.world();
        let repository = world.github.repository(full_name).ok_or_else(|| absent(full_name))?;
        Ok(read(&world.writer(), repository))
    }
}

fn absent(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the emulated github has no `{what}`"))
}

impl World {
    fn writer(&self) -> Writer<'_> {
        Writer { base: self.base(Vendor::Github), users: &self.github.users }
    }

    /// The login of somebody, who is made where there is none.
    pub(super) fn github_user(&mut self, login: &str) -> String {
        self.github_account(login, false)
    }

    fn github_account(&mut self, login: &str, organization: bool) -> String {
        if !self.github.users.contains_key(login) {
            let (id, created) = (self.id(), self.now());
            let user = User { id, login: login.to_owned(), organization, created };
            self.github.users.insert(login.to_owned(), user);
            self.github.order.push(login.to_owned());
        }
        login.to_owned()
    }

    /// Who acts where the emulator itself does.
    fn github_author(&mut self, login: Option<&str>) -> String {
        let first = self.github.first_user();
        let login = login.map(str::to_owned).or(first);
        self.github_user(login.as_deref().unwrap_or("octocat"))
    }

    /// Tells of a change of an issue or a pull request.
    fn tell_issue(&mut self, full_name: &str, number: u64, action: &str, sender: &str, more: Value) {
        let writer = self.writer();
        let Some(repository) = self.github.repository(full_name) else { return };
        let Some(issue) = repository.issues.get(&number) else { return };
        let (event, mut payload) = match issue.pull {
            None => ("issues", json!({ "action": action, "issue": writer.issue(repository, issue) })),
            Some(_) => {
                let pull = writer.pull(repository, issue, true);
                ("pull_request", json!({ "action": action, "number": number, "pull_request": pull }))
            }
        };
        if let (Value::Object(payload), Value::Object(more)) = (&mut payload, more) {
            payload.extend(more);
        }
        self.tell(full_name, event, sender, payload);
    }

    fn repository(&self, full_name: &str) -> Option<&Repository> {
        self.github.repository(full_name)
    }

    fn github_issue(&mut self, full_name: &str, number: u64) -> Option<&mut Issue> {
        self.github.repository_mut(full_name)?.issues.get_mut(&number)
    }
}
