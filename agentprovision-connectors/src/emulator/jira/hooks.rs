//! Webhooks: those of administrators, and those that apps register and that expire.

use std::time::Duration;

use agentprovision_core::Timestamp;
use http::Method;
use serde_json::{Map, Value, json};

use super::jql::{self, Asker};
use super::route::{body, error, malformed};
use super::store::Webhook;
use crate::emulator::state::{Call, Outcome, Reply, Vendor, World, text, texts};
use crate::emulator::webhooks::Message;

/// How long a webhook lives that an app registered.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What an app can be told of.
const EVENTS: [&str; 8] = [
    "jira:issue_created",
    "jira:issue_updated",
    "jira:issue_deleted",
    "comment_created",
    "comment_updated",
    "comment_deleted",
    "issue_property_set",
    "issue_property_deleted",
];

/// By which way a webhook goes: what follows from another change goes by the slower one.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    Primary,
    Secondary,
}

fn since_epoch(time: Timestamp) -> i64 {
    time.micros().div_euclid(1000)
}

impl World {
    /// Tells of a change of an issue.
    pub(super) fn tell_jira(&mut self, key: &str, event: &str, who: &str, more: Value) {
        let Some(issue) = self.jira.issue(key) else { return };
        let writer = self.jira_writer();
        let kind = match event {
            "jira:issue_created" => "issue_created",
            "jira:issue_deleted" => "issue_deleted",
            _ => "issue_generic",
        };
        let mut body = json!({
            "timestamp": since_epoch(self.now()), "webhookEvent": event, "issue_event_type_name": kind,
            "user": writer.user(who), "issue": writer.issue(issue, &["*all".to_owned()]),
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.tell_webhooks(key, event, body, Flow::Primary);
    }

    /// Tells of a comment.
    pub(super) fn tell_jira_comment(&mut self, key: &str, id: u64, event: &str, who: &str, flow: Flow) {
        let Some(issue) = self.jira.issue(key) else { return };
        let Some(comment) = issue.comments.iter().find(|comment| comment.id == id) else { return };
        let writer = self.jira_writer();
        let fields = ["summary", "issuetype", "project", "assignee", "priority", "status"].map(str::to_owned);
        let body = json!({
            "timestamp": since_epoch(self.now()), "webhookEvent": event, "comment": writer.comment(issue, comment),
            "issue": writer.issue(issue, &fields), "eventType": "primaryAction", "author": writer.user(who),
        });
        self.tell_webhooks(key, event, body, flow);
    }

    fn tell_webhooks(&mut self, key: &str, event: &str, body: Value, flow: Flow) {
        let flow = match flow {
            Flow::Primary => "Primary",
            Flow::Secondary => "Secondary",
        };
        let now = self.now();
        let Some(issue) = self.jira.issue(key) else { return };
        let wanted = |webhook: &&Webhook| {
            let who = webhook.app.as_ref().map_or("", |(who, _)| who.as_str());
            let query = jql::read(webhook.jql.as_deref().unwrap_or_default());
            webhook.app.as_ref().is_none_or(|(_, expires)| *expires > now)
                && webhook.events.iter().any(|wanted| wanted == event)
                && query
                    .and_then(|query| query.fits(issue, Asker { jira: &self.jira, who, now }))
                    .unwrap_or(false)
        };
        // One message to a URL, however many of its webhooks want it.
        let mut urls: Vec<(String, Option<String>, Vec<u64>)> = Vec::new();
        for webhook in self.jira.webhooks.iter().filter(wanted) {
            let secret = webhook.secret.clone().or(self.jira.signing.clone());
            match urls.iter_mut().find(|(url, of, _)| *url == webhook.url && *of == secret) {
                Some((_, _, ids)) => ids.push(webhook.id),
                None => urls.push((webhook.url.clone(), secret, vec![webhook.id])),
            }
        }
        for (url, secret, ids) in urls {
            let id = self.uuid();
            let mut body = body.clone();
            if let Value::Object(body) = &mut body {
                body.insert("matchedWebhookIds".to_owned(), json!(ids));
            }
            let headers = vec![
                ("content-type", "application/json; charset=UTF-8".to_owned()),
                ("user-agent", "Atlassian Webhook HTTP Client".to_owned()),
                ("x-atlassian-webhook-identifier", id.clone()),
                ("x-atlassian-webhook-flow", flow.to_owned()),
            ];
            let (vendor, event, body) = (Vendor::Jira, event.to_owned(), body.to_string());
            self.send(Message { vendor, id, event, url, secret, headers, body });
        }
    }

    pub(super) fn jira_webhooks(&mut self, call: &Call, who: &str, path: &[&str]) -> Outcome {
        // API tokens stand for people, and people register webhooks at the site.
        if call.basic().is_some() {
            return Err(error(403, "Only Connect and OAuth 2.0 apps can use this operation."));
        }
        let now = self.now();
        // What has expired is gone.
        self.jira.webhooks.retain(|webhook| webhook.app.as_ref().is_none_or(|(_, expires)| *expires > now));
        let own = |webhook: &Webhook| webhook.app.as_ref().is_some_and(|(app, _)| app == who);
        match (call.method.clone(), path) {
            (Method::GET, []) => {
                let value = |webhook: &Webhook| {
                    let expires = webhook.app.as_ref().map(|(_, expires)| since_epoch(*expires));
                    json!({
                        "id": webhook.id, "jqlFilter": webhook.jql, "events": webhook.events, "url": webhook.url,
                        "expirationDate": expires,
                    })
                };
                let values = self.jira.webhooks.iter().filter(|webhook| own(webhook)).map(value).collect();
                Ok(self.webhook_page(call, values))
            }
            (Method::POST, []) => {
                let body = body(call)?;
                let url = text(&body, "url").filter(|url| url.contains("://"));
                let url = url.ok_or_else(|| error(400, "The webhook URL is invalid."))?.to_owned();
                let details = body.get("webhooks").and_then(Value::as_array);
                let details = details.ok_or_else(|| error(400, "webhooks is missing"))?.clone();
                let results: Vec<Value> =
                    details.iter().map(|details| self.register(who, &url, details)).collect();
                Ok(Reply::json(200, &json!({ "webhookRegistrationResult": results })))
            }
            (Method::DELETE, []) => {
                let ids = ids(call)?;
                self.jira.webhooks.retain(|webhook| !(own(webhook) && ids.contains(&webhook.id)));
                Ok(Reply::empty(202))
            }
            (Method::PUT, ["refresh"]) => {
                let (ids, until) = (ids(call)?, now.after(LIFETIME));
                for webhook in self.jira.webhooks.iter_mut().filter(|webhook| ids.contains(&webhook.id)) {
                    if let Some((_, expires)) = webhook.app.as_mut().filter(|(app, _)| app == who) {
                        *expires = until;
                    }
                }
                Ok(Reply::json(200, &json!({ "expirationDate": since_epoch(until) })))
            }
            (Method::GET, ["failed"]) => {
                let size = call.number("maxResults").unwrap_or(100);
                let failed = self.outbox.deliveries().into_iter().filter(|delivery| {
                    // All the attempts that Jira makes.
                    delivery.vendor == Vendor::Jira && !delivery.delivered() && delivery.attempts.len() > 5
                });
                let value = |delivery: crate::emulator::Delivery| {
                    let at = delivery.attempts.last().map(|attempt| since_epoch(attempt.at));
                    let body = String::from_utf8_lossy(&delivery.body).into_owned();
                    json!({ "id": delivery.id, "url": delivery.url, "failureTime": at, "body": body })
                };
                let values: Vec<Value> = failed.map(value).take(size).collect();
                Ok(Reply::json(200, &json!({ "values": values, "maxResults": size })))
            }
            _ => Err(error(404, "Not found")),
        }
    }

    fn register(&mut self, who: &str, url: &str, details: &Value) -> Value {
        let none = Map::new();
        let details = details.as_object().unwrap_or(&none);
        let refused = |words: String| json!({ "errors": [words] });
        let events = texts(details, "events");
        if let Some(event) = events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
            return refused(format!("The event '{event}' is not supported."));
        }
        if events.is_empty() {
            return refused("At least one event must be specified.".to_owned());
        }
        let Some(jql) = text(details, "jqlFilter") else {
            return refused("The JQL filter must be specified.".to_owned());
        };
        if let Err(words) = jql::read(jql) {
            return refused(words);
        }
        let (id, expires) = (self.id(), self.now().after(LIFETIME));
        let (url, jql, app) = (url.to_owned(), Some(jql.to_owned()), Some((who.to_owned(), expires)));
        self.jira.webhooks.push(Webhook { id, url, secret: None, events, jql, app });
        json!({ "createdWebhookId": id })
    }
}

fn ids(call: &Call) -> Result<Vec<u64>, Reply> {
    let body = body(call)?;
    let ids = body.get("webhookIds").and_then(Value::as_array);
    let ids = ids.ok_or_else(|| error(400, "webhookIds is missing"))?;
    ids.iter().map(|id| id.as_u64().ok_or_else(malformed)).collect()
}
