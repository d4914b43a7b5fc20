//! What Slack's methods answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id within its channel, a point in time: seconds since 1970 with six digits.
    pub ts: String,
    /// What kind of message it is, such as `bot_message` or `channel_join`; absent for what people write.
    pub subtype: Option<String>,
    /// Who wrote it.
    pub user: Option<String>,
    /// The bot that wrote it.
    pub bot_id: Option<String>,
    /// The name it was written under, where that is another.
    pub username: Option<String>,
    /// The text, in Slack's markup.
    pub text: Option<String>,
    /// The thread it is in: the `ts` of the first message there.
    pub thread_ts: Option<String>,
    /// How many replies its thread has.
    pub reply_count: Option<u64>,
    /// The last reply's `ts`.
    pub latest_reply: Option<String>,
    /// When it was last edited, and by whom.
    pub edited: Option<Edited>,
    /// Reactions to it.
    pub reactions: Option<Vec<Reaction>>,
    /// Files in it.
    pub files: Option<Vec<File>>,
    /// What integrations have attached to it.
    pub attachments: Option<Vec<Attachment>>,
}

/// The last edit of a message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Edited {
    /// Who edited it.
    pub user: Option<String>,
    /// When.
    pub ts: Option<String>,
}

/// What an integration has attached to a message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// The title.
    pub title: Option<String>,
    /// Where the title leads.
    pub title_link: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// All of it as plain text.
    pub fallback: Option<String>,
}

/// A reaction to a message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reaction {
    /// The emoji's name, without colons.
    pub name: String,
    /// How many people reacted with it.
    pub count: u64,
    /// Some of them, by id.
    #[serde(default)]
    pub users: Vec<String>,
}

/// A channel, a group or a direct message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// The id.
    pub id: String,
    /// The name, without `#`; direct messages have none.
    pub name: Option<String>,
    /// Whether it is a channel everybody can join.
    pub is_channel: Option<bool>,
    /// Whether only its members see it.
    pub is_private: Option<bool>,
    /// Whether it is a direct message.
    pub is_im: Option<bool>,
    /// Whether it is a direct message among several.
    pub is_mpim: Option<bool>,
    /// Whether it is closed.
    pub is_archived: Option<bool>,
    /// Whether it is the channel that everybody is in.
    pub is_general: Option<bool>,
    /// Whether the account is in it.
    pub is_member: Option<bool>,
    /// Whether it is shared with other organizations.
    pub is_ext_shared: Option<bool>,
    /// Of a direct message: the other one.
    pub user: Option<String>,
    /// Who made it.
    pub creator: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// What is talked about at the moment.
    pub topic: Option<Words>,
    /// What it is for.
    pub purpose: Option<Words>,
    /// How many members it has, where that was asked for.
    pub num_members: Option<u64>,
}

/// A topic or purpose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Words {
    /// The text.
    pub value: Option<String>,
}

/// What methods about one conversation answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InConversation {
    /// The conversation.
    pub channel: Conversation,
}

/// A person, or a bot's user.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The id.
    pub id: String,
    /// The workspace.
    pub team_id: Option<String>,
    /// The short name.
    pub name: Option<String>,
    /// The full name.
    pub real_name: Option<String>,
    /// Whether the account is closed.
    pub deleted: Option<bool>,
    /// The time zone, as `Europe/Berlin`.
    pub tz: Option<String>,
    /// Whether it is a bot.
    pub is_bot: Option<bool>,
    /// Whether it administers the workspace.
    pub is_admin: Option<bool>,
    /// Whether it owns the workspace.
    pub is_owner: Option<bool>,
    /// Whether it is a guest.
    pub is_restricted: Option<bool>,
    /// The language, where that was asked for.
    pub locale: Option<String>,
    /// What it says about itself.
    pub profile: Option<Profile>,
}

/// What people say about themselves.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The name that is shown.
    pub display_name: Option<String>,
    /// The full name.
    pub real_name: Option<String>,
    /// The e-mail address, where the token may see it.
    pub email: Option<String>,
    /// The telephone number.
    pub phone: Option<String>,
    /// The position.
    pub title: Option<String>,
    /// What they are doing.
    pub status_text: Option<String>,
    /// The emoji of that.
    pub status_emoji: Option<String>,
}

/// What methods about one person answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InUser {
    /// The person.
    pub user: User,
}

/// A file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// The title.
    pub title: Option<String>,
    /// The content type.
    pub mimetype: Option<String>,
    /// Slack's name of the type, as `pdf`.
    pub filetype: Option<String>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// Who uploaded it.
    pub user: Option<String>,
    /// When it was uploaded, in seconds since 1970.
    pub created: Option<i64>,
    /// Public channels it is shared in.
    pub channels: Option<Vec<String>>,
    /// Where people find it.
    pub permalink: Option<String>,
    /// Where its content is, for requests with the token.
    pub url_private: Option<String>,
}
