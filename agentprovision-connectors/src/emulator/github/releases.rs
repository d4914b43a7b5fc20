//! Releases.

use http::Method;
use serde_json::{Value, json};

use super::route::{Fields, invalid, not_found, paged};
use crate::emulator::state::{Call, Outcome, Reply, World, seconds};

impl World {
    pub(super) fn releases(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let flag = |release: &Value, name: &str| release.get(name) == Some(&json!(true));
        let whole = |release: &&Value| !flag(release, "draft") && !flag(release, "prerelease");
        let found = match (call.method.clone(), rest) {
            (Method::GET, []) => {
                return Ok(paged(self, call, repository.releases.iter().rev().cloned().collect()));
            }
            (Method::POST, []) => return self.create_release(call, who, full_name),
            (Method::GET, ["latest"]) => repository.releases.iter().rev().find(whole),
            (Method::GET, ["tags", tag]) => {
                repository.releases.iter().find(|release| release.get("tag_name") == Some(&json!(tag)))
            }
            (Method::GET, [id]) => {
                let has = |release: &&Value| release.get("id").map(Value::to_string).as_deref() == Some(id);
                repository.releases.iter().find(has)
            }
            _ => None,
        };
        Ok(Reply::json(200, found.ok_or_else(not_found)?))
    }

    fn create_release(&mut self, call: &Call, who: &str, full_name: &str) -> Outcome {
        let fields = Fields::of(call)?;
        let tag = fields.required("Release", "tag_name")?.to_owned();
        let (draft, early) =
            (fields.flag("draft")?.unwrap_or(false), fields.flag("prerelease")?.unwrap_or(false));
        let (id, now) = (self.id(), seconds(self.now()));
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        if repository.releases.iter().any(|release| release.get("tag_name") == Some(&json!(tag))) {
            return Err(invalid("Release", "tag_name", "already_exists"));
        }
        let target = fields.text("target_commitish")?.unwrap_or(&repository.default_branch).to_owned();
        let sha =
            repository.commit_of(&target).ok_or_else(|| invalid("Release", "target_commitish", "invalid"))?;
        let (sha, root) = (sha.to_owned(), self.writer().repository_url(repository));
        let html = format!("https://github.com/{full_name}/releases/tag/{tag}");
        let upload =
            format!("https://uploads.github.com/repos/{full_name}/releases/{id}/assets{{?name,label}}");
        let release = json!({
            "url": format!("{root}/releases/{id}"), "html_url": html, "upload_url": upload,
            "assets_url": format!("{root}/releases/{id}/assets"), "tarball_url": format!("{root}/tarball/{tag}"),
            "zipball_url": format!("{root}/zipball/{tag}"), "id": id, "node_id": format!("RE_{id}"),
            "tag_name": tag, "target_commitish": target, "name": fields.text("name")?,
            "body": fields.text("body")?, "draft": draft, "prerelease": early, "created_at": now,
            "published_at": (!draft).then_some(&now), "author": self.writer().user(who), "assets": [],
        });
        let reference = format!("refs/tags/{tag}");
        let there = repository.refs.contains_key(&reference);
        let kept = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        kept.releases.push(release.clone());
        if !draft && !there {
            self.move_ref(full_name, &reference, &sha, who);
        }
        if !draft {
            self.tell(full_name, "release", who, json!({ "action": "published", "release": release }));
        }
        Ok(Reply::json(201, &release))
    }
}
