//! Webhooks of repositories: who is told of what, and what was delivered.

use http::Method;
use serde_json::{Value, json};

use super::route::{Fields, custom, error, not_found, paged};
use super::store::Hook;
use crate::emulator::state::{Call, Outcome, Reply, World, seconds};
use crate::emulator::webhooks::Message;

impl World {
    /// Sends an event to the hooks of a repository that are there for it.
    pub(super) fn tell(&mut self, full_name: &str, event: &str, sender: &str, payload: Value) {
        let Some(repository) = self.repository(full_name) else { return };
        let wanted =
            |hook: &&Hook| hook.active && hook.events.iter().any(|name| name == event || name == "*");
        let hooks: Vec<u64> = repository.hooks.iter().filter(wanted).map(|hook| hook.id).collect();
        for hook in hooks {
            self.tell_hook(full_name, hook, event, sender, payload.clone());
        }
    }

    fn tell_hook(&mut self, full_name: &str, hook: u64, event: &str, sender: &str, payload: Value) {
        let (number, guid) = (self.id(), self.uuid());
        let Some(repository) = self.repository(full_name) else { return };
        let writer = self.writer();
        let mut payload = payload;
        if let Value::Object(fields) = &mut payload {
            fields.insert("repository".to_owned(), writer.repository(repository));
            fields.insert("sender".to_owned(), writer.user(sender));
        }
        let action = payload.get("action").and_then(Value::as_str).map(str::to_owned);
        let target = repository.id;
        let Some(repository) = self.github.repository_mut(full_name) else { return };
        let Some(hook) = repository.hooks.iter_mut().find(|there| there.id == hook) else { return };
        hook.deliveries.push((number, guid.clone(), event.to_owned(), action));
        let (kind, body) = match hook.form {
            false => ("application/json", payload.to_string()),
            true => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("payload", &payload.to_string());
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        let headers = vec![
            ("content-type", kind.to_owned()),
            ("accept", "*/*".to_owned()),
            ("user-agent", "GitHub-Hookshot/emulated".to_owned()),
            ("x-github-delivery", guid.clone()),
            ("x-github-event", event.to_owned()),
            ("x-github-hook-id", hook.id.to_string()),
            ("x-github-hook-installation-target-id", target.to_string()),
            ("x-github-hook-installation-target-type", "repository".to_owned()),
        ];
        let (url, secret) = (hook.url.clone(), hook.secret.clone());
        let (vendor, event) = (crate::emulator::state::Vendor::Github, event.to_owned());
        self.send(Message { vendor, id: guid, event, url, secret, headers, body });
    }

    pub(super) fn hooks(&mut self, call: &Call, who: &str, full_name: &str, rest: &[&str]) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let found =
            |id: &str| repository.hooks.iter().find(|hook| hook.id.to_string() == id).ok_or_else(not_found);
        let writer = self.writer();
        match (call.method.clone(), rest) {
            (Method::GET, []) => {
                let hooks = repository.hooks.iter().map(|hook| writer.hook(repository, hook)).collect();
                Ok(paged(self, call, hooks))
            }
            (Method::POST, []) => self.create_hook(call, who, full_name),
            (Method::GET, [id]) => Ok(Reply::json(200, &writer.hook(repository, found(id)?))),
            (Method::PATCH, [id]) => {
                let id = found(id)?.id;
                self.edit_hook(call, full_name, id)
            }
            (Method::DELETE, [id]) => {
                let id = found(id)?.id;
                let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
                repository.hooks.retain(|hook| hook.id != id);
                Ok(Reply::empty(204))
            }
            (Method::POST, [id, "pings" | "tests"]) => {
                let id = found(id)?.id;
                self.ping(full_name, id, who);
                Ok(Reply::empty(204))
            }
            (Method::GET, [id, "deliveries"]) => {
                let attempts = found(id)?.deliveries.iter().rev().flat_map(|(number, guid, event, action)| {
                    let attempts = self.outbox.attempts(guid);
                    attempts.into_iter().enumerate().rev().map(move |(at, attempt)| {
                        let code = attempt.status.unwrap_or(0);
                        let words = if (200..300).contains(&code) { "OK" } else { "failed to connect to host" };
                        json!({
                            "id": number, "guid": guid, "delivered_at": seconds(attempt.at), "redelivery": at > 0,
                            "duration": 0.1, "status": words, "status_code": code, "event": event,
                            "action": action, "installation_id": null, "repository_id": repository.id,
                            "throttled_at": null,
                        })
                    })
                });
                Ok(paged(self, call, attempts.collect()))
            }
            (Method::POST, [id, "deliveries", number, "attempts"]) => {
                let deliveries = &found(id)?.deliveries;
                let delivery = deliveries.iter().find(|(there, ..)| there.to_string() == *number);
                let guid = delivery.ok_or_else(not_found)?.1.clone();
                let now = self.env.monotonic();
                self.outbox.redeliver(&guid, now);
                Ok(Reply::json(202, &json!({})))
            }
            _ => Err(not_found()),
        }
    }

    fn create_hook(&mut self, call: &Call, who: &str, full_name: &str) -> Outcome {
        let fields = Fields::of(call)?;
        if !matches!(fields.text("name")?, None | Some("web")) {
            return Err(custom("Hook", "name must be 'web'"));
        }
        let config = fields.object("config")?;
        let config = config.ok_or_else(|| error(422, "Invalid request.\n\n\"config\" wasn't supplied."))?;
        let url = config.text("url")?.ok_or_else(|| custom("Hook", "url is missing a scheme"))?.to_owned();
        let secret = config.text("secret")?.filter(|secret| !secret.is_empty()).map(str::to_owned);
        let form = config.text("content_type")?.unwrap_or("form") != "json";
        let events = fields.names("events")?.unwrap_or_else(|| vec!["push".to_owned()]);
        let active = fields.flag("active")?.unwrap_or(true);
        let (id, now) = (self.id(), self.now());
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        if repository.hooks.iter().any(|hook| hook.url == url && hook.events == events) {
            return Err(custom("Hook", "Hook already exists on this repository"));
        }
        let deliveries = Vec::new();
        repository.hooks.push(Hook {
            id,
            url,
            secret,
            form,
            events,
            active,
            created: now,
            updated: now,
            deliveries,
        });
        self.ping(full_name, id, who);
        self.hook_reply(201, full_name, id)
    }

    fn hook_reply(&self, status: u16, full_name: &str, id: u64) -> Outcome {
        let repository = self.repository(full_name).ok_or_else(not_found)?;
        let hook = repository.hooks.iter().find(|hook| hook.id == id).ok_or_else(not_found)?;
        Ok(Reply::json(status, &self.writer().hook(repository, hook)))
    }

    /// The first that a hook hears.
    fn ping(&mut self, full_name: &str, id: u64, who: &str) {
        let hook = self.hook_reply(200, full_name, id).ok().and_then(|reply| reply.value());
        let payload = json!({ "zen": "Keep it logically awesome.", "hook_id": id, "hook": hook });
        self.tell_hook(full_name, id, "ping", who, payload);
    }

    fn edit_hook(&mut self, call: &Call, full_name: &str, id: u64) -> Outcome {
        let fields = Fields::of(call)?;
        let (events, active) = (fields.names("events")?, fields.flag("active")?);
        let (more, fewer) = (fields.names("add_events")?, fields.names("remove_events")?.unwrap_or_default());
        let config = match fields.object("config")? {
            Some(config) => {
                let [url, form, secret] = ["url", "content_type", "secret"].map(|name| config.text(name));
                let (url, form, secret) = (url?, form?.map(|kind| kind != "json"), secret?);
                // The whole configuration is replaced: one without a secret has none.
                let secret = secret.filter(|secret| !secret.is_empty()).map(str::to_owned);
                Some((url.map(str::to_owned), form, secret))
            }
            None => None,
        };
        let now = self.now();
        let repository = self.github.repository_mut(full_name).ok_or_else(not_found)?;
        let hook = repository.hooks.iter_mut().find(|hook| hook.id == id).ok_or_else(not_found)?;
        hook.events = events.unwrap_or_else(|| hook.events.clone());
        hook.events.extend(more.unwrap_or_default());
        hook.events.retain(|event| !fewer.contains(event));
        hook.active = active.unwrap_or(hook.active);
        if let Some((url, form, secret)) = config {
            hook.url = url.unwrap_or_else(|| hook.url.clone());
            (hook.form, hook.secret) = (form.unwrap_or(hook.form), secret);
        }
        hook.updated = now;
        self.hook_reply(200, full_name, id)
    }
}
