//! Runs of workflows, check runs and statuses of commits.

use http::Method;
use serde_json::{Value, json};

use super::route::{Fields, error, invalid, not_found, paged, paged_in};
use super::store::{Job, Repository, Run};
use super::zip::archive;
use crate::emulator::state::{Call, Outcome, Reply, Vendor, World, seconds};

/// The workflow that every repository has.
const WORKFLOW: (u64, &str, &str) = (101, "CI", ".github/workflows/ci.yml");

impl World {
    pub(super) fn add_run(
        &mut self,
        full_name: &str,
        branch: &str,
        status: &str,
        conclusion: Option<&str>,
        log: &str,
    ) -> Option<u64> {
        let (id, job, now, actor) = (self.id(), self.id(), self.now(), self.github_author(None));
        let repository = self.github.repository_mut(full_name)?;
        let sha = repository.branch(branch)?.clone();
        let number = repository.runs.len() as u64 + 1;
        repository.runs.push(Run {
            id,
            number,
            workflow_id: WORKFLOW.0,
            name: WORKFLOW.1.to_owned(),
            path: WORKFLOW.2.to_owned(),
            event: "push".to_owned(),
            branch: branch.to_owned(),
            sha,
            status: status.to_owned(),
            conclusion: conclusion.map(str::to_owned),
            attempt: 1,
            actor: actor.clone(),
            created: now,
            updated: now,
            jobs: vec![Job { id: job, name: "build".to_owned(), log: log.to_owned() }],
        });
        self.tell_run(full_name, id, &actor);
        Some(id)
    }

    fn tell_run(&mut self, full_name: &str, id: u64, who: &str) {
        let Some(repository) = self.repository(full_name) else { return };
        let Some(run) = repository.runs.iter().find(|run| run.id == id) else { return };
        let action = match run.status.as_str() {
            "completed" => "completed",
            "in_progress" => "in_progress",
            _ => "requested",
        };
        let (value, workflow) = (self.writer().run(repository, run), self.workflow(repository));
        let payload = json!({ "action": action, "workflow_run": value, "workflow": workflow });
        self.tell(full_name, "workflow_run", who, payload);
    }

    fn workflow(&self, repository: &Repository) -> Value {
        let (id, name, path) = WORKFLOW;
        let (root, full_name) = (self.writer().repository_url(repository), repository.full_name());
        let created = seconds(repository.created);
        json!({
            "id": id, "node_id": format!("W_{id}"), "name": name, "path": path, "state": "active",
            "created_at": created, "updated_at": created, "url": format!("{root}/actions/workflows/{id}"),
            "html_url": format!("https://github.com/{full_name}/blob/main/{path}"),
            "badge_url": format!("https://github.com/{full_name}/workflows/{name}/badge.svg"),
        })
    }

    pub(super) fn actions(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let writer = self.writer();
        match (call.method.clone(), rest) {
            (Method::GET, ["workflows"]) => {
                let workflows = vec![self.workflow(repository)];
                Ok(paged_in(self, call, "workflows", workflows, json!({})))
            }
            (Method::GET, ["runs"]) => {
                let state = call.query("status");
                let fits = |run: &&Run| {
                    call.query("branch").is_none_or(|branch| run.branch == branch)
                        && call.query("event").is_none_or(|event| run.event == event)
                        && call.query("head_sha").is_none_or(|sha| run.sha == sha)
                        && call.query("actor").is_none_or(|actor| run.actor == actor)
                        && state.is_none_or(|state| {
                            run.status == state || run.conclusion.as_deref() == Some(state)
                        })
                };
                let runs = repository.runs.iter().rev().filter(fits);
                let runs = runs.map(|run| writer.run(repository, run)).collect();
                Ok(paged_in(self, call, "workflow_runs", runs, json!({})))
            }
            (Method::GET, ["jobs", id, "logs"]) => {
                let jobs = repository.runs.iter().flat_map(|run| &run.jobs);
                let job = jobs.into_iter().find(|job| job.id.to_string() == *id).ok_or_else(not_found)?;
                Ok(self.log(job.id))
            }
            (Method::GET, ["jobs", id]) => {
                let jobs = repository.runs.iter().flat_map(|run| run.jobs.iter().map(move |job| (run, job)));
                let found = jobs.into_iter().find(|(_, job)| job.id.to_string() == *id);
                let (run, job) = found.ok_or_else(not_found)?;
                Ok(Reply::json(200, &writer.job(repository, run, job)))
            }
            (method, ["runs", id, rest @ ..]) => {
                let run =
                    repository.runs.iter().find(|run| run.id.to_string() == *id).ok_or_else(not_found)?;
                let id = run.id;
                match (method, rest) {
                    (Method::GET, []) => Ok(Reply::json(200, &writer.run(repository, run))),
                    (Method::GET, ["jobs"]) => {
                        let jobs = run.jobs.iter().map(|job| writer.job(repository, run, job)).collect();
                        Ok(paged_in(self, call, "jobs", jobs, json!({})))
                    }
                    (Method::GET, ["logs"]) => Ok(self.log(id)),
                    (Method::POST, ["rerun" | "rerun-failed-jobs"]) => self.rerun(full_name, id, who),
                    (Method::POST, ["cancel"]) => self.cancel(full_name, id, who),
                    _ => Err(not_found()),
                }
            }
            (Method::POST, ["workflows", workflow, "dispatches"]) => {
                let name = WORKFLOW.2.rsplit('/').next().unwrap_or_default();
                if *workflow != WORKFLOW.0.to_string() && *workflow != name {
                    return Err(not_found());
                }
                let reference = Fields::of(call)?.required("Workflow", "ref")?.to_owned();
                let branch = reference.trim_start_matches("refs/heads/");
                let run = self.add_run(full_name, branch, "queued", None, "");
                run.map(|_| Reply::empty(204))
                    .ok_or_else(|| error(422, &format!("No ref found for: {reference}")))
            }
            _ => Err(not_found()),
        }
    }

    /// To where the text of a log is, as GitHub sends everybody who asks for one: a URL that takes no token.
    fn log(&self, id: u64) -> Reply {
        let url = format!("{}/_emulator/logs/{id}", self.base(Vendor::Github));
        Reply::empty(302).with("location", url)
    }

    /// The text of a job, or the archive of those of a run.
    pub(super) fn log_text(&self, id: &str) -> Outcome {
        let mut runs = self.github.repositories.iter().flat_map(|repository| &repository.runs);
        if let Some(run) = runs.clone().find(|run| run.id.to_string() == id) {
            let file = |(at, job): (usize, &'_ Job)| format!("{at}_{}.txt", job.name);
            let files: Vec<(String, &[u8])> =
                run.jobs.iter().enumerate().map(|job| (file(job), job.1.log.as_bytes())).collect();
            return Ok(Reply::text(200, "application/zip", archive(&files)));
        }
        let job = runs.find_map(|run| run.jobs.iter().find(|job| job.id.to_string() == id));
        let job = job.ok_or_else(not_found)?;
        Ok(Reply::text(200, "text/plain; charset=utf-8", job.log.as_str()))
    }

    fn rerun(&mut self, full_name: &str, id: u64, who: &str) -> Outcome {
        let now = self.now();
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        let run = repository.runs.iter_mut().find(|run| run.id == id).ok_or_else(not_found)?;
        if run.status != "completed" {
            return Err(error(403, "This workflow is already running"));
        }
        (run.status, run.conclusion, run.updated) = ("queued".to_owned(), None, now);
        run.attempt += 1;
        self.tell_run(full_name, id, who);
        Ok(Reply::json(201, &json!({})))
    }

    fn cancel(&mut self, full_name: &str, id: u64, who: &str) -> Outcome {
        let now = self.now();
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        let run = repository.runs.iter_mut().find(|run| run.id == id).ok_or_else(not_found)?;
        if run.status == "completed" {
            return Err(error(409, "Cannot cancel a workflow run that is completed."));
        }
        (run.status, run.updated) = ("completed".to_owned(), now);
        run.conclusion = Some("cancelled".to_owned());
        self.tell_run(full_name, id, who);
        Ok(Reply::json(202, &json!({})))
    }

    pub(super) fn check_runs(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let found = |repository: &Repository, id: &str| {
            repository
                .checks
                .iter()
                .position(|check| check.get("id").map(Value::to_string).as_deref() == Some(id))
        };
        match (call.method.clone(), rest) {
            (Method::POST, []) => {
                let fields = Fields::of(call)?;
                let name = fields.required("CheckRun", "name")?.to_owned();
                let sha = fields.required("CheckRun", "head_sha")?.to_owned();
                let (id, now) = (self.id(), seconds(self.now()));
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                if !repository.commits.contains_key(&sha) {
                    return Err(error(422, &format!("No commit found for SHA: {sha}")));
                }
                let url = format!("{}/check-runs/{id}", self.writer().repository_url(repository));
                let html = format!("https://github.com/{full_name}/runs/{id}");
                let mut check = json!({
                    "id": id, "node_id": format!("CR_{id}"), "head_sha": sha, "name": name, "url": url,
                    "external_id": "", "html_url": html, "details_url": html, "status": "queued",
                    "conclusion": null, "started_at": now, "completed_at": null, "pull_requests": [], "app": null,
                    "check_suite": { "id": id },
                    "output": {
                        "title": null, "summary": null, "text": null, "annotations_count": 0,
                        "annotations_url": format!("{url}/annotations"),
                    },
                });
                apply_check(&mut check, &fields, &now)?;
                let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
                repository.checks.push(check.clone());
                let payload = json!({ "action": "created", "check_run": check });
                self.tell(full_name, "check_run", who, payload);
                Ok(Reply::json(201, &check))
            }
            (Method::GET, [id]) => {
                let repository = self.repository(full_name).ok_or_else(not_found)?;
                let check = found(repository, id).and_then(|at| repository.checks.get(at));
                Ok(Reply::json(200, check.ok_or_else(not_found)?))
            }
            (Method::PATCH, [id]) => {
                let (fields, now) = (Fields::of(call)?, seconds(self.now()));
                let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
                let at = found(repository, id).ok_or_else(not_found)?;
                let check = repository.checks.get_mut(at).ok_or_else(not_found)?;
                apply_check(check, &fields, &now)?;
                let check = check.clone();
                if check.get("status").is_some_and(|status| status == "completed") {
                    let payload = json!({ "action": "completed", "check_run": check });
                    self.tell(full_name, "check_run", who, payload);
                }
                Ok(Reply::json(200, &check))
            }
            _ => Err(not_found()),
        }
    }

    pub(super) fn add_status(&mut self, call: &Call, who: &str, full_name: &str, sha: &str) -> Outcome {
        let fields = Fields::of(call)?;
        let state = fields.required("Status", "state")?.to_owned();
        if !["error", "failure", "pending", "success"].contains(&state.as_str()) {
            return Err(invalid("Status", "state", "invalid"));
        }
        let (id, now) = (self.id(), seconds(self.now()));
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        if !repository.commits.contains_key(sha) {
            return Err(error(422, &format!("No commit found for SHA: {sha}")));
        }
        let url = format!("{}/statuses/{sha}", self.writer().repository_url(repository));
        let context = fields.text("context")?.unwrap_or("default");
        let status = json!({
            "id": id, "node_id": format!("SC_{id}"), "url": url, "avatar_url": null, "state": state,
            "description": fields.text("description")?, "target_url": fields.text("target_url")?,
            "context": context, "created_at": now, "updated_at": now, "creator": self.writer().user(who),
        });
        let payload = json!({
            "id": id, "sha": sha, "name": full_name, "state": state, "context": context,
            "description": fields.text("description")?, "target_url": fields.text("target_url")?,
            "created_at": now, "updated_at": now,
        });
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        repository.statuses.insert(0, (sha.to_owned(), status.clone()));
        self.tell(full_name, "status", who, payload);
        Ok(Reply::json(201, &status))
    }

    /// Check runs or statuses of a commit, by `kind`.
    pub(super) fn checks_of(&self, call: &Call, full_name: &str, reference: &str, kind: &str) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let sha = repository.commit_of(reference).ok_or_else(not_found)?;
        let statuses: Vec<&Value> =
            repository.statuses.iter().filter(|(of, _)| of == sha).map(|(_, status)| status).collect();
        match kind {
            "check-runs" => {
                let of_commit = |check: &&Value| check.get("head_sha").and_then(Value::as_str) == Some(sha);
                let checks = repository.checks.iter().filter(of_commit).cloned().collect();
                Ok(paged_in(self, call, "check_runs", checks, json!({})))
            }
            "statuses" => Ok(paged(self, call, statuses.into_iter().cloned().collect())),
            _ => {
                // The newest of each context counts.
                let mut newest: Vec<&Value> = Vec::new();
                for status in statuses {
                    if !newest.iter().any(|there| there.get("context") == status.get("context")) {
                        newest.push(status);
                    }
                }
                let has = |state: &str| {
                    newest.iter().any(|status| status.get("state").is_some_and(|of| of == state))
                };
                let state = match () {
                    () if has("failure") || has("error") => "failure",
                    () if has("pending") || newest.is_empty() => "pending",
                    () => "success",
                };
                let root = self.writer().repository_url(repository);
                let body = json!({
                    "state": state, "statuses": newest, "sha": sha, "total_count": newest.len(),
                    "repository": self.writer().repository(repository),
                    "commit_url": format!("{root}/commits/{sha}"), "url": format!("{root}/commits/{sha}/status"),
                });
                Ok(Reply::json(200, &body))
            }
        }
    }
}

/// What a check run is said to be.
fn apply_check(check: &mut Value, fields: &Fields, now: &str) -> Result<(), Reply> {
    let conclusion = fields.text("conclusion")?;
    let status = match (fields.text("status")?, conclusion) {
        (_, Some(_)) => Some("completed"),
        (status @ (None | Some("queued" | "in_progress")), None) => status,
        // What is over has a conclusion.
        (Some("completed"), None) => return Err(invalid("CheckRun", "conclusion", "missing_field")),
        (Some(_), None) => return Err(invalid("CheckRun", "status", "invalid")),
    };
    let output = fields.object("output")?;
    let Value::Object(check) = check else { return Ok(()) };
    if let Some(status) = status {
        check.insert("status".to_owned(), json!(status));
    }
    if conclusion.is_some() {
        check.insert("conclusion".to_owned(), json!(conclusion));
        check.insert("completed_at".to_owned(), json!(now));
    }
    for name in ["name", "details_url", "external_id"] {
        if let Some(text) = fields.text(name)? {
            check.insert(name.to_owned(), json!(text));
        }
    }
    if let (Some(output), Some(Value::Object(there))) = (output, check.get_mut("output")) {
        for name in ["title", "summary", "text"] {
            there.insert(name.to_owned(), json!(output.text(name)?));
        }
    }
    Ok(())
}
