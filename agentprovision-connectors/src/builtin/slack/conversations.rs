//! Channels, groups and direct messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cursor;
use super::types::{Conversation, InConversation, Message};
use crate::answer::Form;
use crate::operation::Page;
use crate::operations;
use crate::request::Body;

/// A conversation whose topic was set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TopicSet {
    /// The conversation.
    pub channel: Option<Conversation>,
    /// The topic.
    pub topic: Option<String>,
}

operations! {
    /// Lists the channels of the workspace and, with `types`, the groups and direct messages the account is in.
    List "conversations.list" get("/conversations.list") => Page<Conversation>
    [.page(cursor("/channels")).scopes(["channels:read", "groups:read", "im:read", "mpim:read"])] {
        /// Which ones, joined by commas: `public_channel`, `private_channel`, `mpim`, `im`; default `public_channel`.
        types: Option<String>,
        /// Leaves out closed ones; default false.
        exclude_archived: Option<bool>,
        /// How many of them a page has at most, up to 999; at best up to 200; default 100.
        limit: Option<u32>,
        /// The workspace's id, for tokens of a whole organization.
        team_id: Option<String>,
    }
    /// Tells about one conversation.
    Info "conversations.info" get("/conversations.info") => InConversation
    [.scopes(["channels:read", "groups:read", "im:read", "mpim:read"])] {
        /// The conversation's id.
        channel: String,
        /// Counts the members too; default false.
        include_num_members: Option<bool>,
    }
    /// Reads the messages of a conversation, the newest first, without the replies in threads.
    History "conversations.history" get("/conversations.history") => Page<Message>
    [.page(cursor("/messages")).scopes(["channels:history", "groups:history", "im:history", "mpim:history"])] {
        /// The conversation's id; the account has to be in it.
        channel: String,
        /// Only messages after this `ts`, or point in time in seconds since 1970.
        oldest: Option<String>,
        /// Only messages before this `ts`, or point in time in seconds since 1970; default now.
        latest: Option<String>,
        /// Messages at `oldest` and `latest` themselves too; default false.
        inclusive: Option<bool>,
        /// How many messages a page has at most, up to 999; default 100.
        limit: Option<u32>,
    }
    /// Reads a thread, beginning with its first message.
    Replies "conversations.replies" get("/conversations.replies") => Page<Message>
    [.page(cursor("/messages")).scopes(["channels:history", "groups:history", "im:history", "mpim:history"])] {
        /// The conversation's id; the account has to be in it.
        channel: String,
        /// The `ts` of the thread's first message.
        ts: String,
        /// Only messages after this `ts`.
        oldest: Option<String>,
        /// Only messages before this `ts`; default now.
        latest: Option<String>,
        /// Messages at `oldest` and `latest` themselves too; default false.
        inclusive: Option<bool>,
        /// How many messages a page has at most, up to 1000; default 1000.
        limit: Option<u32>,
    }
    /// Makes a channel. Its name must be new.
    Create "conversations.create" post("/conversations.create") => InConversation
    [.body(Body::FlatForm).scopes(["channels:manage", "groups:write"])] {
        /// The name: lower-case letters, digits, hyphens and underscores, up to 80.
        name: String,
        /// Makes one that only its members see; default false.
        is_private: Option<bool>,
        /// The workspace's id, for tokens of a whole organization.
        team_id: Option<String>,
    }
    /// Joins a public channel as the account.
    Join "conversations.join" post("/conversations.join") => InConversation
    [.body(Body::FlatForm).natural().scopes(["channels:join"])] {
        /// The channel's id.
        channel: String,
    }
    /// Brings people into a channel that the account is in.
    Invite "conversations.invite" post("/conversations.invite") => InConversation
    [.body(Body::FlatForm).natural().scopes(["channels:manage", "groups:write"])] {
        /// The channel's id.
        channel: String,
        /// The people's ids, joined by commas; up to 100.
        users: String,
        /// Brings in those that can be, where others cannot; default false.
        force: Option<bool>,
    }
    /// Lists the ids of those who are in a conversation.
    Members "conversations.members" get("/conversations.members") => Page<String>
    [.page(cursor("/members")).scopes(["channels:read", "groups:read", "im:read", "mpim:read"])] {
        /// The conversation's id.
        channel: String,
        /// How many a page has at most, up to 999; default 100.
        limit: Option<u32>,
    }
    /// Opens the direct message with one person, or with up to eight; answers the one that is there already.
    Open "conversations.open" post("/conversations.open") => InConversation
    [.body(Body::FlatForm).natural().scopes(["im:write", "mpim:write"])] {
        /// The people's ids, joined by commas, without the account's own.
        users: Option<String>,
        /// The id of the direct message, instead of `users`.
        channel: Option<String>,
        /// Answers all about the conversation instead of its id alone; default false.
        return_im: Option<bool>,
    }
    /// Says what is talked about in a channel.
    SetTopic "conversations.set_topic" post("/conversations.setTopic") => TopicSet
    [.body(Body::FlatForm).natural().scopes(["channels:manage", "groups:write"])] {
        /// The conversation's id.
        channel: String,
        /// The topic, without markup, up to 250 characters.
        topic: String,
    }
    /// Closes a channel. It can be opened again by people.
    Archive "conversations.archive" post("/conversations.archive") => ()
    [.body(Body::FlatForm).answers(Form::Ignored).natural().scopes(["channels:manage", "groups:write"])] {
        /// The channel's id.
        channel: String,
    }
}
