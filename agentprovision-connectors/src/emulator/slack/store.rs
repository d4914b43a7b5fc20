//! What Slack knows.

use agentprovision_core::Timestamp;
use serde_json::Value;

#[derive(Default)]
pub(in crate::emulator) struct Slack {
    pub(in crate::emulator) team_id: String,
    pub(in crate::emulator) team_name: String,
    pub(super) domain: String,
    pub(super) users: Vec<User>,
    pub(super) channels: Vec<Channel>,
    pub(super) subscriptions: Vec<Subscription>,
    /// The last time that a message has, in microseconds: no two have the same.
    pub(super) last_ts: i64,
}

impl Slack {
    pub(in crate::emulator) fn first_user(&self) -> Option<String> {
        self.users.iter().find(|user| user.bot.is_none()).map(|user| user.id.clone())
    }

    pub(super) fn user(&self, id_or_name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id_or_name || user.name == id_or_name)
    }

    pub(super) fn channel(&self, id_or_name: &str) -> Option<&Channel> {
        let name = id_or_name.trim_start_matches('#');
        self.channels.iter().find(|channel| channel.id == id_or_name || channel.name == name)
    }

    pub(super) fn channel_mut(&mut self, id_or_name: &str) -> Option<&mut Channel> {
        let name = id_or_name.trim_start_matches('#');
        self.channels.iter_mut().find(|channel| channel.id == id_or_name || channel.name == name)
    }
}

pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: Option<String>,
    /// The id of the bot, of one that is one.
    pub(super) bot: Option<String>,
    pub(super) updated: Timestamp,
}

pub(super) struct Channel {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) private: bool,
    pub(super) archived: bool,
    pub(super) creator: String,
    pub(super) created: Timestamp,
    pub(super) members: Vec<String>,
    /// The oldest first.
    pub(super) messages: Vec<Message>,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) ts: String,
    pub(super) user: String,
    pub(super) text: String,
    /// The message that began the thread, of one that is in one.
    pub(super) thread: Option<String>,
    pub(super) blocks: Option<Value>,
    /// When it was changed, as a `ts`.
    pub(super) edited: Option<String>,
    /// Names, and who reacted so.
    pub(super) reactions: Vec<(String, Vec<String>)>,
}

pub(super) struct Subscription {
    pub(super) url: String,
    pub(super) secret: String,
}
