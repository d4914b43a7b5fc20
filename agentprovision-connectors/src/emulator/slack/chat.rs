//! Messages and reactions.

use serde_json::{Value, json};

use super::route::{Arguments, error, ok};
use super::store::{Channel, Message};
use crate::emulator::state::{Outcome, Reply, World};

/// The longest text that is taken, in characters.
const LONGEST: usize = 40_000;

impl World {
    /// A channel that somebody sees: others do not exist.
    pub(super) fn seen_channel(&self, who: &str, id: &str) -> Result<&Channel, Reply> {
        let channel = self
            .slack
            .channel(id)
            .filter(|channel| !channel.private || channel.members.iter().any(|member| member == who));
        channel.ok_or_else(|| error("channel_not_found"))
    }

    fn own_message(&mut self, who: &str, channel: &str, ts: &str, code: &str) -> Result<&mut Message, Reply> {
        let id = self.seen_channel(who, channel)?.id.clone();
        let channel = self.slack.channel_mut(&id).ok_or_else(|| error("channel_not_found"))?;
        let message = channel.messages.iter_mut().find(|message| message.ts == ts);
        let message = message.ok_or_else(|| error("message_not_found"))?;
        if message.user == who { Ok(message) } else { Err(error(code)) }
    }

    /// A time that no other message has.
    fn next_ts(&mut self) -> String {
        let at = self.now().micros().max(self.slack.last_ts + 1);
        self.slack.last_ts = at;
        // Ten digits before the point, as every time of this century has.
        format!("{:010}.{:06}", at.div_euclid(1_000_000), at.rem_euclid(1_000_000))
    }

    pub(super) fn post_message(&mut self, who: &str, with: &Arguments) -> Outcome {
        let channel = with.required("channel", "channel_not_found")?;
        let found = self.seen_channel(who, channel)?;
        let (id, blocks) = (found.id.clone(), with.blocks()?);
        if found.archived {
            return Err(error("is_archived"));
        }
        if !found.members.iter().any(|member| member == who) {
            return Err(error("not_in_channel"));
        }
        let text = with.text("text")?.unwrap_or_default().to_owned();
        if text.is_empty() && blocks.is_none() {
            return Err(error("no_text"));
        }
        if text.chars().count() > LONGEST {
            return Err(error("msg_too_long"));
        }
        let thread = match with.text("thread_ts")? {
            None => None,
            Some(ts) => {
                let parent = found.messages.iter().find(|message| message.ts == ts);
                let parent = parent.ok_or_else(|| error("thread_not_found"))?;
                // An answer to an answer is one to what began the thread.
                Some(parent.thread.clone().unwrap_or_else(|| parent.ts.clone()))
            }
        };
        let (ts, user) = (self.next_ts(), who.to_owned());
        let message =
            Message { ts: ts.clone(), user, text, thread, blocks, edited: None, reactions: Vec::new() };
        let channel = self.slack.channel_mut(&id).ok_or_else(|| error("channel_not_found"))?;
        channel.messages.push(message);
        let value = self.message_value(&id, &ts);
        let mut event = value.clone();
        if let Value::Object(event) = &mut event {
            event.insert("channel".to_owned(), json!(id));
            event.insert("event_ts".to_owned(), json!(ts));
            event.insert("channel_type".to_owned(), json!("channel"));
        }
        self.tell_slack(event);
        ok(json!({ "channel": id, "ts": ts, "message": value }))
    }

    fn message_value(&self, channel: &str, ts: &str) -> Value {
        let found = self.slack.channel(channel).and_then(|channel| {
            let message = channel.messages.iter().find(|message| message.ts == ts)?;
            Some(self.slack_message(channel, message))
        });
        found.unwrap_or_default()
    }

    pub(super) fn update_message(&mut self, who: &str, with: &Arguments) -> Outcome {
        let channel = with.required("channel", "channel_not_found")?;
        let id = self.seen_channel(who, channel)?.id.clone();
        let ts = with.required("ts", "message_not_found")?;
        let (text, blocks) = (with.text("text")?.map(str::to_owned), with.blocks()?);
        if text.is_none() && blocks.is_none() {
            return Err(error("no_text"));
        }
        let before = self.message_value(&id, ts);
        let edited = self.next_ts();
        let message = self.own_message(who, &id, ts, "cant_update_message")?;
        message.text = text.unwrap_or_else(|| message.text.clone());
        message.blocks = blocks.or_else(|| message.blocks.take());
        message.edited = Some(edited.clone());
        let (text, value) = (message.text.clone(), self.message_value(&id, ts));
        self.tell_slack(json!({
            "type": "message", "subtype": "message_changed", "hidden": true, "channel": id, "ts": edited,
            "event_ts": edited, "channel_type": "channel", "message": value, "previous_message": before,
        }));
        ok(json!({ "channel": id, "ts": ts, "text": text, "message": value }))
    }

    pub(super) fn delete_message(&mut self, who: &str, with: &Arguments) -> Outcome {
        let channel = with.required("channel", "channel_not_found")?;
        let id = self.seen_channel(who, channel)?.id.clone();
        let ts = with.required("ts", "message_not_found")?;
        let before = self.message_value(&id, ts);
        self.own_message(who, &id, ts, "cant_delete_message")?;
        if let Some(channel) = self.slack.channel_mut(&id) {
            channel.messages.retain(|message| message.ts != ts);
        }
        let at = self.next_ts();
        self.tell_slack(json!({
            "type": "message", "subtype": "message_deleted", "hidden": true, "channel": id, "ts": at,
            "deleted_ts": ts, "event_ts": at, "channel_type": "channel", "previous_message": before,
        }));
        ok(json!({ "channel": id, "ts": ts }))
    }

    pub(super) fn permalink(&self, who: &str, with: &Arguments) -> Outcome {
        let channel = self.seen_channel(who, with.required("channel", "channel_not_found")?)?;
        let ts = with.required("message_ts", "message_not_found")?;
        if !channel.messages.iter().any(|message| message.ts == ts) {
            return Err(error("message_not_found"));
        }
        let (domain, number) = (&self.slack.domain, ts.replace('.', ""));
        let url = format!("https://{domain}.slack.com/archives/{}/p{number}", channel.id);
        ok(json!({ "channel": channel.id, "permalink": url }))
    }

    pub(super) fn react(&mut self, who: &str, with: &Arguments, add: bool) -> Outcome {
        let name = with.required("name", "invalid_name")?.trim_matches(':').to_owned();
        let channel = with.required("channel", "no_item_specified")?;
        let ts = with.required("timestamp", "no_item_specified")?;
        let id = self.seen_channel(who, channel)?.id.clone();
        let channel = self.slack.channel_mut(&id).ok_or_else(|| error("channel_not_found"))?;
        let message = channel.messages.iter_mut().find(|message| message.ts == ts);
        let message = message.ok_or_else(|| error("message_not_found"))?;
        let author = message.user.clone();
        let there = message.reactions.iter_mut().find(|(there, _)| *there == name);
        match (there, add) {
            (Some((_, users)), true) if users.iter().any(|user| user == who) => {
                return Err(error("already_reacted"));
            }
            (Some((_, users)), true) => users.push(who.to_owned()),
            (None, true) => message.reactions.push((name.clone(), vec![who.to_owned()])),
            (Some((_, users)), false) if users.iter().any(|user| user == who) => {
                users.retain(|user| user != who);
                message.reactions.retain(|(_, users)| !users.is_empty());
            }
            (_, false) => return Err(error("no_reaction")),
        }
        let at = self.next_ts();
        self.tell_slack(json!({
            "type": if add { "reaction_added" } else { "reaction_removed" }, "user": who, "reaction": name,
            "item_user": author, "item": { "type": "message", "channel": id, "ts": ts }, "event_ts": at,
        }));
        ok(json!({}))
    }

    pub(super) fn reactions(&self, who: &str, with: &Arguments) -> Outcome {
        let channel = self.seen_channel(who, with.required("channel", "no_item_specified")?)?;
        let ts = with.required("timestamp", "no_item_specified")?;
        if !channel.messages.iter().any(|message| message.ts == ts) {
            return Err(error("message_not_found"));
        }
        ok(
            json!({ "type": "message", "channel": channel.id, "message": self.message_value(&channel.id, ts) }),
        )
    }
}
