//! How GitHub writes what it knows.

use agentprovision_core::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::store::{Comment, Commit, Hook, Issue, Job, Label, Repository, Review, Run, User, tree_name};
use crate::emulator::state::seconds;

/// Writes with the base URL of the server, and of the page that stands for it.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) base: &'a str,
    pub(super) users: &'a std::collections::BTreeMap<String, User>,
}

/// Ids of GitHub's GraphQL: what it is and its number.
fn node(kind: &str, id: u64) -> String {
    format!("{kind}_{}", STANDARD.encode(id.to_string()).trim_end_matches('='))
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(seconds(at)))
}

/// The fields of an object, and more of them.
fn and(value: Value, more: Value) -> Value {
    match (value, more) {
        (Value::Object(mut fields), Value::Object(more)) => {
            fields.extend(more);
            Value::Object(fields)
        }
        (value, _) => value,
    }
}

impl Writer<'_> {
    pub(super) fn user(&self, login: &str) -> Value {
        let Some(user) = self.users.get(login) else { return Value::Null };
        let url = format!("{}/users/{}", self.base, user.login);
        json!({
            "login": user.login, "id": user.id, "node_id": node("U", user.id),
            "avatar_url": format!("https://avatars.githubusercontent.com/u/{}?v=4", user.id), "gravatar_id": "",
            "url": url, "html_url": format!("https://github.com/{}", user.login),
            "followers_url": format!("{url}/followers"), "following_url": format!("{url}/following{{/other_user}}"),
            "gists_url": format!("{url}/gists{{/gist_id}}"), "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{url}/subscriptions"), "organizations_url": format!("{url}/orgs"),
            "repos_url": format!("{url}/repos"), "events_url": format!("{url}/events{{/privacy}}"),
            "received_events_url": format!("{url}/received_events"),
            "type": if user.organization { "Organization" } else { "User" }, "site_admin": false,
        })
    }

    /// Somebody with what is on their own page.
    pub(super) fn account(&self, login: &str, repositories: usize) -> Value {
        let Some(user) = self.users.get(login) else { return Value::Null };
        let created = seconds(user.created);
        let more = json!({
            "name": user.login, "company": null, "blog": "", "location": null,
            "email": format!("{}@users.noreply.github.com", user.login), "hireable": null, "bio": null,
            "public_repos": repositories, "public_gists": 0, "followers": 0, "following": 0,
            "created_at": created, "updated_at": created,
            "private_gists": 0, "total_private_repos": 0, "owned_private_repos": 0, "disk_usage": 0,
            "collaborators": 0, "two_factor_authentication": true,
        });
        and(self.user(login), more)
    }

    pub(super) fn repository_url(&self, repository: &Repository) -> String {
        format!("{}/repos/{}", self.base, repository.full_name())
    }

    /// A repository as it stands in others.
    pub(super) fn repository(&self, repository: &Repository) -> Value {
        const TEMPLATES: [(&str, &str); 38] = [
            ("archive", "/{archive_format}{/ref}"),
            ("assignees", "/assignees{/user}"),
            ("blobs", "/git/blobs{/sha}"),
            ("branches", "/branches{/branch}"),
            ("collaborators", "/collaborators{/collaborator}"),
            ("comments", "/comments{/number}"),
            ("commits", "/commits{/sha}"),
            ("compare", "/compare/{base}...{head}"),
            ("contents", "/contents/{+path}"),
            ("contributors", "/contributors"),
            ("deployments", "/deployments"),
            ("downloads", "/downloads"),
            ("events", "/events"),
            ("forks", "/forks"),
            ("git_commits", "/git/commits{/sha}"),
            ("git_refs", "/git/refs{/sha}"),
            ("git_tags", "/git/tags{/sha}"),
            ("hooks", "/hooks"),
            ("issue_comment", "/issues/comments{/number}"),
            ("issue_events", "/issues/events{/number}"),
            ("issues", "/issues{/number}"),
            ("keys", "/keys{/key_id}"),
            ("labels", "/labels{/name}"),
            ("languages", "/languages"),
            ("merges", "/merges"),
            ("milestones", "/milestones{/number}"),
            ("notifications", "/notifications{?since,all,participating}"),
            ("pulls", "/pulls{/number}"),
            ("releases", "/releases{/id}"),
            ("stargazers", "/stargazers"),
            ("statuses", "/statuses/{sha}"),
            ("subscribers", "/subscribers"),
            ("subscription", "/subscription"),
            ("tags", "/tags"),
            ("teams", "/teams"),
            ("trees", "/git/trees{/sha}"),
            ("", ""),
            ("svn", ""),
        ];
        let (url, full_name) = (self.repository_url(repository), repository.full_name());
        let html = format!("https://github.com/{full_name}");
        let mut fields = Map::new();
        for (name, template) in TEMPLATES {
            let key = if name.is_empty() { "url".to_owned() } else { format!("{name}_url") };
            fields.insert(key, json!(format!("{url}{template}")));
        }
        let open = repository.issues.values().filter(|issue| issue.open).count();
        let private = repository.members.is_some();
        let more = json!({
            "id": repository.id, "node_id": node("R", repository.id), "name": repository.name,
            "full_name": full_name, "owner": self.user(&repository.owner), "private": private,
            "html_url": html, "svn_url": html, "description": null, "fork": false, "homepage": null,
            "git_url": format!("git://github.com/{full_name}.git"),
            "ssh_url": format!("git@github.com:{full_name}.git"), "clone_url": format!("{html}.git"),
            "mirror_url": null, "language": null, "license": null, "topics": [],
            "size": repository.commits.len(), "default_branch": repository.default_branch,
            "visibility": if private { "private" } else { "public" },
        });
        let more = and(
            more,
            json!({
                "has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false,
                "has_downloads": true, "has_discussions": false, "archived": false, "disabled": false,
                "is_template": false, "allow_forking": true, "web_commit_signoff_required": false,
                "forks": 0, "forks_count": 0, "watchers": 0, "watchers_count": 0, "stargazers_count": 0,
                "open_issues": open, "open_issues_count": open,
                "created_at": seconds(repository.created), "updated_at": seconds(repository.updated),
                "pushed_at": seconds(repository.pushed),
                "permissions": { "admin": true, "maintain": true, "push": true, "triage": true, "pull": true },
            }),
        );
        and(Value::Object(fields), more)
    }

    /// A repository on its own page.
    pub(super) fn whole_repository(&self, repository: &Repository) -> Value {
        and(self.repository(repository), json!({ "network_count": 0, "subscribers_count": 0 }))
    }

    pub(super) fn label(&self, repository: &Repository, label: &Label) -> Value {
        let name = percent_encoding::utf8_percent_encode(&label.name, percent_encoding::NON_ALPHANUMERIC);
        json!({
            "id": label.id, "node_id": node("LA", label.id),
            "url": format!("{}/labels/{name}", self.repository_url(repository)), "name": label.name,
            "description": label.description, "color": label.color, "default": false,
        })
    }

    pub(super) fn labels(&self, repository: &Repository, issue: &Issue) -> Vec<Value> {
        let known = |name: &String| repository.labels.iter().find(|label| label.name == *name);
        issue.labels.iter().filter_map(known).map(|label| self.label(repository, label)).collect()
    }

    fn association(repository: &Repository, login: &str) -> &'static str {
        if repository.owner == login { "OWNER" } else { "MEMBER" }
    }

    pub(super) fn issue(&self, repository: &Repository, issue: &Issue) -> Value {
        let (root, number) = (self.repository_url(repository), issue.number);
        let url = format!("{root}/issues/{number}");
        let pull = issue.pull.is_some();
        let kind = if pull { "pull" } else { "issues" };
        let html = format!("https://github.com/{}/{kind}/{number}", repository.full_name());
        let assignees: Vec<Value> = issue.assignees.iter().map(|login| self.user(login)).collect();
        let zero = json!({
            "url": format!("{url}/reactions"), "total_count": 0, "+1": 0, "-1": 0, "laugh": 0, "hooray": 0,
            "confused": 0, "heart": 0, "rocket": 0, "eyes": 0,
        });
        let mut value = json!({
            "id": issue.id, "node_id": node(if pull { "PR" } else { "I" }, issue.id), "url": url,
            "repository_url": root, "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"), "events_url": format!("{url}/events"), "html_url": html,
            "timeline_url": format!("{url}/timeline"), "number": number,
            "state": if issue.open { "open" } else { "closed" }, "state_reason": issue.state_reason,
            "title": issue.title, "body": issue.body, "user": self.user(&issue.user),
            "labels": self.labels(repository, issue), "assignee": assignees.first().cloned(),
            "assignees": assignees, "milestone": null, "locked": false, "active_lock_reason": null,
            "comments": issue.comments.len(), "closed_at": time(issue.closed),
            "created_at": seconds(issue.created), "updated_at": seconds(issue.updated), "closed_by": null,
            "author_association": Self::association(repository, &issue.user), "reactions": zero,
        });
        if let (Some(pull), Value::Object(fields)) = (&issue.pull, &mut value) {
            let api = format!("{root}/pulls/{number}");
            fields.insert("draft".to_owned(), json!(pull.draft));
            let links = json!({
                "url": api, "html_url": html, "diff_url": format!("{html}.diff"),
                "patch_url": format!("{html}.patch"), "merged_at": time(pull.merged.as_ref().map(|merged| merged.0)),
            });
            fields.insert("pull_request".to_owned(), links);
        }
        value
    }

    pub(super) fn comment(&self, repository: &Repository, issue: &Issue, comment: &Comment) -> Value {
        let root = self.repository_url(repository);
        let kind = if issue.pull.is_some() { "pull" } else { "issues" };
        json!({
            "id": comment.id, "node_id": node("IC", comment.id),
            "url": format!("{root}/issues/comments/{}", comment.id),
            "html_url": format!(
                "https://github.com/{}/{kind}/{}#issuecomment-{}",
                repository.full_name(), issue.number, comment.id
            ),
            "issue_url": format!("{root}/issues/{}", issue.number), "body": comment.body,
            "user": self.user(&comment.user), "created_at": seconds(comment.created),
            "updated_at": seconds(comment.updated),
            "author_association": Self::association(repository, &comment.user),
        })
    }

    /// A pull request; on its own page with what only that has.
    pub(super) fn pull(&self, repository: &Repository, issue: &Issue, own_page: bool) -> Value {
        let Some(pull) = &issue.pull else { return Value::Null };
        let (root, number) = (self.repository_url(repository), issue.number);
        let (url, issue_url) = (format!("{root}/pulls/{number}"), format!("{root}/issues/{number}"));
        let html = format!("https://github.com/{}/pull/{number}", repository.full_name());
        let assignees: Vec<Value> = issue.assignees.iter().map(|login| self.user(login)).collect();
        let side = |name: &str, sha: &str| {
            json!({
                "label": format!("{}:{name}", repository.owner), "ref": name, "sha": sha,
                "user": self.user(&repository.owner), "repo": self.repository(repository),
            })
        };
        let links: Map<String, Value> = [
            ("self", url.clone()),
            ("html", html.clone()),
            ("issue", issue_url.clone()),
            ("comments", format!("{issue_url}/comments")),
            ("review_comments", format!("{url}/comments")),
            ("review_comment", format!("{root}/pulls/comments{{/number}}")),
            ("commits", format!("{url}/commits")),
            ("statuses", format!("{root}/statuses/{}", pull.head_sha)),
        ]
        .into_iter()
        .map(|(name, href)| (name.to_owned(), json!({ "href": href })))
        .collect();
        let merged = pull.merged.as_ref();
        let value = json!({
            "url": url, "id": issue.id, "node_id": node("PR", issue.id), "html_url": html,
            "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "issue_url": issue_url,
            "commits_url": format!("{url}/commits"), "review_comments_url": format!("{url}/comments"),
            "review_comment_url": format!("{root}/pulls/comments{{/number}}"),
            "comments_url": format!("{issue_url}/comments"),
            "statuses_url": format!("{root}/statuses/{}", pull.head_sha), "number": number,
            "state": if issue.open { "open" } else { "closed" }, "locked": false, "title": issue.title,
            "user": self.user(&issue.user), "body": issue.body, "labels": self.labels(repository, issue),
            "milestone": null, "active_lock_reason": null, "created_at": seconds(issue.created),
            "updated_at": seconds(issue.updated), "closed_at": time(issue.closed),
            "merged_at": time(merged.map(|merged| merged.0)), "merge_commit_sha": merged.map(|merged| &merged.2),
            "assignee": assignees.first().cloned(), "assignees": assignees, "requested_reviewers": [],
            "requested_teams": [], "head": side(&pull.head, &pull.head_sha),
            "base": side(&pull.base, &pull.base_sha), "_links": links,
            "author_association": Self::association(repository, &issue.user), "auto_merge": null,
            "draft": pull.draft,
        });
        if !own_page {
            return value;
        }
        let files = super::pulls::pull_changes(repository, pull);
        let (added, removed) =
            files.iter().fold((0, 0), |sum, file| (sum.0 + file.additions, sum.1 + file.deletions));
        let mergeable = super::pulls::merged_tree(repository, pull).is_some();
        let more = json!({
            "merged": merged.is_some(), "mergeable": mergeable,
            "mergeable_state": if mergeable { "clean" } else { "dirty" }, "rebaseable": mergeable,
            "merged_by": merged.map_or(Value::Null, |merged| self.user(&merged.1)),
            "comments": issue.comments.len(), "review_comments": 0, "maintainer_can_modify": false,
            "commits": super::pulls::pull_commits(repository, pull).len(), "additions": added,
            "deletions": removed, "changed_files": files.len(),
        });
        and(value, more)
    }

    pub(super) fn review(&self, repository: &Repository, issue: &Issue, review: &Review) -> Value {
        let html = format!(
            "https://github.com/{}/pull/{}#pullrequestreview-{}",
            repository.full_name(),
            issue.number,
            review.id
        );
        let pull = format!("{}/pulls/{}", self.repository_url(repository), issue.number);
        let mut value = json!({
            "id": review.id, "node_id": node("PRR", review.id), "user": self.user(&review.user),
            "body": review.body, "state": review.state, "html_url": html, "pull_request_url": pull,
            "_links": { "html": { "href": html }, "pull_request": { "href": pull } }, "commit_id": review.commit,
            "author_association": Self::association(repository, &review.user),
        });
        if let (Some(at), Value::Object(fields)) = (review.submitted, &mut value) {
            fields.insert("submitted_at".to_owned(), json!(seconds(at)));
        }
        value
    }

    pub(super) fn commit(&self, repository: &Repository, commit: &Commit) -> Value {
        let root = self.repository_url(repository);
        let html = format!("https://github.com/{}/commit", repository.full_name());
        let parents: Vec<Value> = commit
            .parents
            .iter()
            .map(|sha| json!({ "sha": sha, "url": format!("{root}/commits/{sha}"), "html_url": format!("{html}/{sha}") }))
            .collect();
        json!({
            "sha": commit.sha, "node_id": format!("C_{}", commit.sha),
            "url": format!("{root}/commits/{}", commit.sha), "html_url": format!("{html}/{}", commit.sha),
            "comments_url": format!("{root}/commits/{}/comments", commit.sha),
            "commit": self.git_commit(repository, commit), "author": self.user(&commit.author),
            "committer": self.user(&commit.author), "parents": parents,
        })
    }

    /// What git itself has of a commit.
    fn git_commit(&self, repository: &Repository, commit: &Commit) -> Value {
        let root = self.repository_url(repository);
        let (person, tree) = (self.person(commit), tree_name(&commit.tree));
        json!({
            "url": format!("{root}/git/commits/{}", commit.sha), "author": person, "committer": person,
            "message": commit.message, "comment_count": 0,
            "tree": { "sha": tree, "url": format!("{root}/git/trees/{tree}") },
            "verification": {
                "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null,
            },
        })
    }

    /// What a change of a file answers of its commit.
    pub(super) fn file_commit(&self, repository: &Repository, commit: &Commit) -> Value {
        let whole = self.commit(repository, commit);
        let of_whole = |name: &str| whole.get(name).cloned().unwrap_or_default();
        let more = json!({
            "sha": commit.sha, "node_id": of_whole("node_id"), "html_url": of_whole("html_url"),
            "parents": of_whole("parents"),
        });
        and(self.git_commit(repository, commit), more)
    }

    fn person(&self, commit: &Commit) -> Value {
        let email = format!("{}@users.noreply.github.com", commit.author);
        json!({ "name": commit.author, "email": email, "date": seconds(commit.at) })
    }

    pub(super) fn run(&self, repository: &Repository, run: &Run) -> Value {
        let root = self.repository_url(repository);
        let url = format!("{root}/actions/runs/{}", run.id);
        let head = repository.commits.get(&run.sha).map(|commit| {
            let person = json!({
                "name": commit.author, "email": format!("{}@users.noreply.github.com", commit.author),
            });
            json!({
                "id": commit.sha, "tree_id": tree_name(&commit.tree), "message": commit.message,
                "timestamp": seconds(commit.at), "author": person, "committer": person,
            })
        });
        let (created, updated) = (seconds(run.created), seconds(run.updated));
        json!({
            "id": run.id, "name": run.name, "node_id": node("WFR", run.id), "head_branch": run.branch,
            "head_sha": run.sha, "path": run.path, "display_title": run.name, "run_number": run.number,
            "event": run.event, "status": run.status, "conclusion": run.conclusion,
            "workflow_id": run.workflow_id, "check_suite_id": run.id, "check_suite_node_id": node("CS", run.id),
            "url": url, "html_url": format!("https://github.com/{}/actions/runs/{}", repository.full_name(), run.id),
            "pull_requests": [], "created_at": created, "updated_at": updated, "run_started_at": created,
            "actor": self.user(&run.actor), "triggering_actor": self.user(&run.actor),
            "run_attempt": run.attempt, "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"),
            "check_suite_url": format!("{root}/check-suites/{}", run.id), "artifacts_url": format!("{url}/artifacts"),
            "cancel_url": format!("{url}/cancel"), "rerun_url": format!("{url}/rerun"),
            "previous_attempt_url": null,
            "workflow_url": format!("{root}/actions/workflows/{}", run.workflow_id), "head_commit": head,
            "repository": self.repository(repository), "head_repository": self.repository(repository),
        })
    }

    pub(super) fn job(&self, repository: &Repository, run: &Run, job: &Job) -> Value {
        let root = self.repository_url(repository);
        let html =
            format!("https://github.com/{}/actions/runs/{}/job/{}", repository.full_name(), run.id, job.id);
        let (started, updated) = (seconds(run.created), seconds(run.updated));
        let done = run.status == "completed";
        json!({
            "id": job.id, "run_id": run.id, "run_url": format!("{root}/actions/runs/{}", run.id),
            "run_attempt": run.attempt, "node_id": node("CR", job.id), "head_sha": run.sha,
            "head_branch": run.branch, "workflow_name": run.name, "url": format!("{root}/actions/jobs/{}", job.id),
            "html_url": html, "status": run.status, "conclusion": run.conclusion, "created_at": started,
            "started_at": started, "completed_at": done.then_some(&updated), "name": job.name,
            "steps": [{
                "name": "Run", "status": run.status, "conclusion": run.conclusion, "number": 1,
                "started_at": started, "completed_at": done.then_some(&updated),
            }],
            "check_run_url": format!("{root}/check-runs/{}", job.id), "labels": ["ubuntu-latest"],
            "runner_id": 1, "runner_name": "emulated", "runner_group_id": 1, "runner_group_name": "Default",
        })
    }

    pub(super) fn hook(&self, repository: &Repository, hook: &Hook) -> Value {
        let url = format!("{}/hooks/{}", self.repository_url(repository), hook.id);
        let mut config = json!({
            "url": hook.url, "content_type": if hook.form { "form" } else { "json" }, "insecure_ssl": "0",
        });
        if let (Some(_), Value::Object(config)) = (&hook.secret, &mut config) {
            config.insert("secret".to_owned(), json!("********"));
        }
        json!({
            "type": "Repository", "id": hook.id, "name": "web", "active": hook.active, "events": hook.events,
            "config": config, "updated_at": seconds(hook.updated), "created_at": seconds(hook.created),
            "url": url, "test_url": format!("{url}/tests"), "ping_url": format!("{url}/pings"),
            "deliveries_url": format!("{url}/deliveries"),
            "last_response": { "code": null, "status": "unused", "message": null },
        })
    }
}
