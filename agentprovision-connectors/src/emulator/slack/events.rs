//! Events, as they go to the URLs that subscribed.

use serde_json::{Value, json};

use crate::emulator::state::{Vendor, World, unix};
use crate::emulator::webhooks::Message;

/// The app whose events they are.
const APP: &str = "A0000000001";

impl World {
    /// Tells every subscriber of an event.
    pub(super) fn tell_slack(&mut self, event: Value) {
        let urls: Vec<(String, String)> =
            self.slack.subscriptions.iter().map(|to| (to.url.clone(), to.secret.clone())).collect();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (url, secret) in urls {
            let id = format!("Ev{:010X}", self.id());
            let team = &self.slack.team_id;
            let bot = self.slack.users.iter().find(|user| user.bot.is_some()).map(|user| user.id.clone());
            let channel = event.get("channel").and_then(Value::as_str).unwrap_or_default();
            let body = json!({
                "token": "emulated-verification-token", "team_id": team, "context_team_id": team,
                "context_enterprise_id": null, "api_app_id": APP, "event": event, "type": "event_callback",
                "event_id": id, "event_time": unix(self.now()), "is_ext_shared_channel": false,
                "authorizations": [{
                    "enterprise_id": null, "team_id": team, "user_id": bot, "is_bot": true,
                    "is_enterprise_install": false,
                }],
                "event_context": format!("4-{}", hex::encode(format!("{kind}{team}{channel}"))),
            });
            self.send_slack(id, &kind, url, secret, &body);
        }
    }

    /// Asks a new subscriber for its challenge.
    pub(super) fn verify_url(&mut self, url: &str, secret: &str) {
        let challenge = self.secret("");
        let body = json!({
            "token": "emulated-verification-token", "challenge": challenge, "type": "url_verification",
        });
        self.send_slack(challenge, "url_verification", url.to_owned(), secret.to_owned(), &body);
    }

    fn send_slack(&mut self, id: String, event: &str, url: String, secret: String, body: &Value) {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", "*/*".to_owned()),
            ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)".to_owned()),
        ];
        let (vendor, event, secret) = (Vendor::Slack, event.to_owned(), Some(secret));
        self.send(Message { vendor, id, event, url, secret, headers, body: body.to_string() });
    }
}
