//! Channels: listed, read, made, joined.

use serde_json::{Value, json};

use super::route::{Arguments, error, ok, thread};
use super::store::{Channel, Message};
use crate::emulator::state::{Outcome, Reply, World};

impl World {
    pub(super) fn conversations(&mut self, who: &str, method: &str, with: &Arguments) -> Outcome {
        match method {
            "list" | "mine" => return self.list_channels(who, with, method == "mine"),
            "create" => return self.create_channel(who, with),
            _ => {}
        }
        let channel = self.seen_channel(who, with.required("channel", "channel_not_found")?)?;
        let id = channel.id.clone();
        match method {
            "info" => ok(json!({ "channel": self.slack_channel(channel, who) })),
            "members" => {
                let (members, next) = with.page(channel.members.clone(), 100)?;
                ok(json!({ "members": members, "response_metadata": { "next_cursor": next } }))
            }
            "history" => {
                self.member(channel, who)?;
                // Answers in threads are on no list of the channel's.
                let mut found: Vec<&Message> =
                    within(channel.messages.iter().filter(|message| message.thread.is_none()), with)?;
                found.reverse();
                let (found, next) = with.page(found, 100)?;
                let messages: Vec<Value> =
                    found.into_iter().map(|message| self.slack_message(channel, message)).collect();
                let mut body = json!({
                    "messages": messages, "has_more": !next.is_empty(), "pin_count": 0,
                    "channel_actions_ts": null, "channel_actions_count": 0,
                });
                if let (false, Value::Object(body)) = (next.is_empty(), &mut body) {
                    body.insert("response_metadata".to_owned(), json!({ "next_cursor": next }));
                }
                ok(body)
            }
            "replies" => {
                self.member(channel, who)?;
                let ts = with.required("ts", "thread_not_found")?;
                let first = channel.messages.iter().find(|message| message.ts == ts);
                let first = first.ok_or_else(|| error("thread_not_found"))?;
                let began = first.thread.as_deref().unwrap_or(&first.ts);
                let parent = channel.messages.iter().filter(|message| message.ts == began);
                let found = within(parent.chain(thread(channel, began)), with)?;
                let (found, next) = with.page(found, 1000)?;
                let messages: Vec<Value> =
                    found.into_iter().map(|message| self.slack_message(channel, message)).collect();
                let mut body = json!({ "messages": messages, "has_more": !next.is_empty() });
                if let (false, Value::Object(body)) = (next.is_empty(), &mut body) {
                    body.insert("response_metadata".to_owned(), json!({ "next_cursor": next }));
                }
                ok(body)
            }
            "join" => {
                if channel.archived {
                    return Err(error("is_archived"));
                }
                let there = self.member(channel, who).is_ok();
                self.add_member(&id, who);
                let mut body = json!({ "channel": self.slack_channel(self.seen_channel(who, &id)?, who) });
                if let (true, Value::Object(body)) = (there, &mut body) {
                    body.insert("warning".to_owned(), json!("already_in_channel"));
                    body.insert(
                        "response_metadata".to_owned(),
                        json!({ "warnings": ["already_in_channel"] }),
                    );
                }
                ok(body)
            }
            "leave" => {
                if let Some(channel) = self.slack.channel_mut(&id) {
                    channel.members.retain(|member| member != who);
                }
                ok(json!({}))
            }
            "invite" => {
                self.member(channel, who)?;
                let users: Vec<String> =
                    with.required("users", "no_user")?.split(',').map(str::to_owned).collect();
                if users.iter().any(|user| !self.slack.users.iter().any(|there| there.id == *user)) {
                    return Err(error("user_not_found"));
                }
                users.iter().for_each(|user| self.add_member(&id, user));
                ok(json!({ "channel": self.slack_channel(self.seen_channel(who, &id)?, who) }))
            }
            "archive" => {
                if channel.archived {
                    return Err(error("already_archived"));
                }
                if let Some(channel) = self.slack.channel_mut(&id) {
                    channel.archived = true;
                }
                ok(json!({}))
            }
            _ => Err(error("unknown_method")),
        }
    }

    fn member(&self, channel: &Channel, who: &str) -> Result<(), Reply> {
        match channel.members.iter().any(|member| member == who) {
            true => Ok(()),
            false => Err(error("not_in_channel")),
        }
    }

    fn add_member(&mut self, channel: &str, who: &str) {
        let team = self.slack.team_id.clone();
        let Some(channel) = self.slack.channel_mut(channel) else { return };
        if channel.members.iter().any(|member| member == who) {
            return;
        }
        channel.members.push(who.to_owned());
        let id = channel.id.clone();
        self.tell_slack(json!({
            "type": "member_joined_channel", "user": who, "channel": id, "channel_type": "C", "team": team,
        }));
    }

    fn list_channels(&self, who: &str, with: &Arguments, mine: bool) -> Outcome {
        let kinds = with.text("types")?.unwrap_or("public_channel");
        let kinds: Vec<&str> = kinds.split(',').map(str::trim).collect();
        const KINDS: [&str; 4] = ["public_channel", "private_channel", "mpim", "im"];
        if kinds.iter().any(|kind| !KINDS.contains(kind)) {
            return Err(error("invalid_types"));
        }
        let all = !with.flag("exclude_archived")?;
        let wanted = |channel: &&Channel| {
            let kind = if channel.private { "private_channel" } else { "public_channel" };
            let member = self.member(channel, who).is_ok();
            kinds.contains(&kind) && (member || !(mine || channel.private)) && (all || !channel.archived)
        };
        let found: Vec<Value> = self
            .slack
            .channels
            .iter()
            .filter(wanted)
            .map(|channel| self.slack_channel(channel, who))
            .collect();
        let (channels, next) = with.page(found, 100)?;
        ok(json!({ "channels": channels, "response_metadata": { "next_cursor": next } }))
    }

    fn create_channel(&mut self, who: &str, with: &Arguments) -> Outcome {
        let name = with.required("name", "invalid_name_required")?.to_owned();
        let fits = |letter: char| letter.is_alphanumeric() && !letter.is_uppercase() || "-_".contains(letter);
        if !name.chars().all(fits) {
            return Err(error("invalid_name_specials"));
        }
        if name.chars().count() > 80 {
            return Err(error("invalid_name_maxlength"));
        }
        if self.slack.channel(&name).is_some() {
            return Err(error("name_taken"));
        }
        let private = with.flag("is_private")?;
        let (id, now) = (format!("C{:09X}", self.id()), self.now());
        self.slack.channels.push(Channel {
            id: id.clone(),
            name: name.clone(),
            private,
            archived: false,
            creator: who.to_owned(),
            created: now,
            members: vec![who.to_owned()],
            messages: Vec::new(),
        });
        let created = crate::emulator::state::unix(now);
        let channel = json!({ "id": id, "name": name, "created": created, "creator": who });
        self.tell_slack(json!({ "type": "channel_created", "channel": channel }));
        ok(json!({ "channel": self.slack_channel(self.seen_channel(who, &id)?, who) }))
    }
}

/// Messages of the time that is asked for: after `oldest` and before `latest`, with both where they are `inclusive`.
fn within<'a>(
    messages: impl Iterator<Item = &'a Message>,
    with: &Arguments,
) -> Result<Vec<&'a Message>, Reply> {
    let time = |name: &str| -> Result<Option<f64>, Reply> {
        let wrong = || error(&format!("invalid_ts_{name}"));
        with.text(name)?.map(|text| text.parse::<f64>().map_err(|_| wrong())).transpose()
    };
    let (oldest, latest, inclusive) = (time("oldest")?, time("latest")?, with.flag("inclusive")?);
    let fits = |message: &&Message| {
        let ts: f64 = message.ts.parse().unwrap_or(0.0);
        let after = oldest.is_none_or(|oldest| ts > oldest || (inclusive && ts >= oldest));
        after && latest.is_none_or(|latest| ts < latest || (inclusive && ts <= latest))
    };
    Ok(messages.filter(fits).collect())
}
