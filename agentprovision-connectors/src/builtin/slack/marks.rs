//! What people and bots put on messages and channels: reactions, pins, bookmarks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{File, Message};
use crate::answer::Form;
use crate::operation::Effect;
use crate::operations;
use crate::request::Body;

/// A message with all reactions to it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reacted {
    /// The channel's id.
    pub channel: Option<String>,
    /// The message.
    pub message: Option<Message>,
}

/// Something that is pinned to a channel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// `message` or `file`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was pinned, in seconds since 1970.
    pub created: Option<i64>,
    /// Who pinned it.
    pub created_by: Option<String>,
    /// The message.
    pub message: Option<Message>,
    /// The file.
    pub file: Option<File>,
}

/// What is pinned to a channel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pins {
    /// All of it.
    #[serde(default)]
    pub items: Vec<Pin>,
}

/// A link at the top of a channel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bookmark {
    /// The id.
    pub id: String,
    /// The channel's id.
    pub channel_id: Option<String>,
    /// The title.
    pub title: String,
    /// Where it leads.
    pub link: Option<String>,
    /// Its emoji.
    pub emoji: Option<String>,
    /// `link`, `message` or `file`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// What the method about one bookmark answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InBookmark {
    /// The bookmark.
    pub bookmark: Bookmark,
}

/// The bookmarks of a channel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bookmarks {
    /// All of them.
    #[serde(default)]
    pub bookmarks: Vec<Bookmark>,
}

/// What a bookmark leads to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BookmarkType {
    /// A URL.
    Link,
}

operations! {
    /// Reacts to a message with an emoji.
    AddReaction "reactions.add" post("/reactions.add") => ()
    [.body(Body::FlatForm).answers(Form::Ignored).natural().scopes(["reactions:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        timestamp: String,
        /// The emoji's name without colons, as `thumbsup`.
        name: String,
    }
    /// Takes back a reaction of the account.
    RemoveReaction "reactions.remove" post("/reactions.remove") => ()
    [.body(Body::FlatForm).answers(Form::Ignored).natural().scopes(["reactions:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        timestamp: String,
        /// The emoji's name without colons.
        name: String,
    }
    /// Reads a message with the reactions to it.
    GetReactions "reactions.get" get("/reactions.get") => Reacted [.scopes(["reactions:read"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        timestamp: String,
        /// Names everybody who reacted; default false, which names some.
        full: Option<bool>,
    }
    /// Pins a message to its channel.
    AddPin "pins.add" post("/pins.add") => ()
    [.body(Body::FlatForm).answers(Form::Ignored).natural().scopes(["pins:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        timestamp: String,
    }
    /// Takes the pin off a message.
    RemovePin "pins.remove" post("/pins.remove") => ()
    [.body(Body::FlatForm).answers(Form::Ignored).natural().scopes(["pins:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        timestamp: String,
    }
    /// Lists what is pinned to a channel.
    ListPins "pins.list" get("/pins.list") => Pins [.scopes(["pins:read"])] {
        /// The channel's id.
        channel: String,
    }
    /// Puts a link at the top of a channel.
    AddBookmark "bookmarks.add" post("/bookmarks.add") => InBookmark
    [.body(Body::FlatForm).scopes(["bookmarks:write"])] {
        /// The channel's id.
        channel_id: String,
        /// The title.
        title: String,
        /// What it leads to.
        #[serde(rename = "type")]
        kind: BookmarkType,
        /// The URL.
        link: String,
        /// An emoji, as `:books:`.
        emoji: Option<String>,
    }
    /// Lists the links at the top of a channel.
    ListBookmarks "bookmarks.list" post("/bookmarks.list") => Bookmarks
    [.body(Body::FlatForm).effect(Effect::Read).scopes(["bookmarks:read"])] {
        /// The channel's id.
        channel_id: String,
    }
}
