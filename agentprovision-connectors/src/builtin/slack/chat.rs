//! Messages.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::operation::Effect;
use crate::operations;
use crate::request::Body;

/// How much Slack looks for in a text.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parse {
    /// Nothing but Slack's markup.
    None,
    /// Links, channels and names too.
    Full,
}

/// Data of an application with a message, which people do not see.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// What it is, in lower case with underscores.
    pub event_type: String,
    /// The data.
    pub event_payload: Map<String, Value>,
}

/// A message that was posted or changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Posted {
    /// The channel's id.
    pub channel: String,
    /// The message's id within it.
    pub ts: String,
    /// What was made of it.
    pub message: Option<Content>,
}

/// What a posted message says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// The text, in Slack's markup.
    pub text: Option<String>,
    /// The user that it was posted as.
    pub user: Option<String>,
    /// The bot that it was posted as.
    pub bot_id: Option<String>,
    /// The thread it is in.
    pub thread_ts: Option<String>,
}

/// A message that is gone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// The channel's id.
    pub channel: String,
    /// The message's id within it.
    pub ts: String,
}

/// A message that one person was shown.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Its id, which nothing else takes.
    pub message_ts: String,
}

/// Where a message is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Permalink {
    /// The channel's id.
    pub channel: Option<String>,
    /// The URL.
    pub permalink: String,
}

/// A message that will be posted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Scheduled {
    /// The channel's id.
    pub channel: String,
    /// The id under which it can be taken back.
    pub scheduled_message_id: String,
    /// When it will be posted, in seconds since 1970.
    #[serde(deserialize_with = "number")]
    pub post_at: i64,
}

/// A number, which Slack writes as a text at times.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| D::Error::custom("this is no number"))
}

operations! {
    /// Posts a message to a channel, a thread (with `thread_ts`) or, with a person's id as the channel, to that person.
    PostMessage "chat.post_message" post("/chat.postMessage") => Posted
    [.body(Body::FlatForm).scopes(["chat:write"])] {
        /// The channel's id (`C…`), a direct message's (`D…`), a person's (`U…`), or a public channel's name with `#`.
        channel: String,
        /// The text in Slack's markup (`*bold*`, `<https://…|words>`, `<@U…>`), at best up to 4000 characters; with `blocks` what
        /// notifications show.
        text: Option<String>,
        /// The text in Markdown, up to 12000 characters, instead of `text` and `blocks`.
        markdown_text: Option<String>,
        /// Block Kit blocks, at most 50.
        blocks: Option<Vec<Map<String, Value>>>,
        /// Attachments, the older form of blocks.
        attachments: Option<Vec<Map<String, Value>>>,
        /// Answers in the thread of this message: the `ts` of its first message.
        thread_ts: Option<String>,
        /// Shows an answer in a thread to the whole channel too; default false.
        reply_broadcast: Option<bool>,
        /// Whether Slack reads its markup in `text`; default true.
        mrkdwn: Option<bool>,
        /// What else Slack looks for in `text`.
        parse: Option<Parse>,
        /// Whether names of groups in `text` become links.
        link_names: Option<bool>,
        /// Whether links to pages are shown with a preview.
        unfurl_links: Option<bool>,
        /// Whether links to media are shown with a preview; default true.
        unfurl_media: Option<bool>,
        /// Posts under this name; needs the scope `chat:write.customize`.
        username: Option<String>,
        /// Posts with this emoji as the picture, as `:robot_face:`; needs the scope `chat:write.customize`.
        icon_emoji: Option<String>,
        /// Posts with the picture at this URL; needs the scope `chat:write.customize`.
        icon_url: Option<String>,
        /// Data for applications.
        metadata: Option<Metadata>,
    }
    /// Changes a message that the account has posted. What is not given is taken away, except the attachments of a `text`.
    Update "chat.update" post("/chat.update") => Posted
    [.body(Body::FlatForm).natural().scopes(["chat:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        ts: String,
        /// The new text, in Slack's markup.
        text: Option<String>,
        /// The new text in Markdown, instead of `text` and `blocks`.
        markdown_text: Option<String>,
        /// The new blocks; an empty list takes them away.
        blocks: Option<Vec<Map<String, Value>>>,
        /// The new attachments; an empty list takes them away.
        attachments: Option<Vec<Map<String, Value>>>,
        /// What else Slack looks for in `text`.
        parse: Option<Parse>,
        /// Data for applications; what is there is taken away by an empty object.
        metadata: Option<Map<String, Value>>,
    }
    /// Deletes a message that the account has posted.
    Delete "chat.delete" post("/chat.delete") => Deleted
    [.body(Body::FlatForm).effect(Effect::Destroy).natural().scopes(["chat:write"])] {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        ts: String,
    }
    /// Shows a message to one person in a channel; nobody else sees it, and it does not stay.
    PostEphemeral "chat.post_ephemeral" post("/chat.postEphemeral") => Shown
    [.body(Body::FlatForm).scopes(["chat:write"])] {
        /// The channel's id.
        channel: String,
        /// The person's id; it has to be in the channel.
        user: String,
        /// The text in Slack's markup; with `blocks` what notifications show.
        text: Option<String>,
        /// The text in Markdown, instead of `text` and `blocks`.
        markdown_text: Option<String>,
        /// Block Kit blocks, at most 50.
        blocks: Option<Vec<Map<String, Value>>>,
        /// Attachments, the older form of blocks.
        attachments: Option<Vec<Map<String, Value>>>,
        /// Shows it in the thread of this message: the `ts` of its first message.
        thread_ts: Option<String>,
        /// What else Slack looks for in `text`.
        parse: Option<Parse>,
        /// Whether names in `text` become links.
        link_names: Option<bool>,
        /// Shows it under this name; needs the scope `chat:write.customize`.
        username: Option<String>,
        /// Shows it with this emoji as the picture; needs the scope `chat:write.customize`.
        icon_emoji: Option<String>,
        /// Shows it with the picture at this URL; needs the scope `chat:write.customize`.
        icon_url: Option<String>,
    }
    /// Tells the URL of a message, for people.
    GetPermalink "chat.get_permalink" get("/chat.getPermalink") => Permalink {
        /// The channel's id.
        channel: String,
        /// The message's `ts`.
        message_ts: String,
    }
    /// Posts a message later, at most 120 days from now. Answers the id under which it can be taken back until then.
    ScheduleMessage "chat.schedule_message" post("/chat.scheduleMessage") => Scheduled
    [.body(Body::FlatForm).scopes(["chat:write"])] {
        /// The channel's id, a direct message's, or a public channel's name with `#`.
        channel: String,
        /// When, in seconds since 1970.
        post_at: i64,
        /// The text in Slack's markup; with `blocks` what notifications show.
        text: Option<String>,
        /// The text in Markdown, instead of `text` and `blocks`.
        markdown_text: Option<String>,
        /// Block Kit blocks, at most 50.
        blocks: Option<Vec<Map<String, Value>>>,
        /// Attachments, the older form of blocks.
        attachments: Option<Vec<Map<String, Value>>>,
        /// Answers in the thread of this message: the `ts` of its first message.
        thread_ts: Option<String>,
        /// Shows an answer in a thread to the whole channel too; default false.
        reply_broadcast: Option<bool>,
        /// What else Slack looks for in `text`.
        parse: Option<Parse>,
        /// Whether names of groups in `text` become links.
        link_names: Option<bool>,
        /// Whether links to pages are shown with a preview.
        unfurl_links: Option<bool>,
        /// Whether links to media are shown with a preview.
        unfurl_media: Option<bool>,
        /// Data for applications.
        metadata: Option<Metadata>,
    }
    /// Takes back a message that was to be posted later; not in its last minute.
    DeleteScheduledMessage "chat.delete_scheduled_message" post("/chat.deleteScheduledMessage") => ()
    [
        .body(Body::FlatForm)
        .answers(crate::answer::Form::Ignored)
        .effect(Effect::Destroy)
        .natural()
        .scopes(["chat:write"])
    ] {
        /// The channel's id.
        channel: String,
        /// The id that scheduling it answered.
        scheduled_message_id: String,
    }
}
