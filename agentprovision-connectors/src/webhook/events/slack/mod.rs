//! Deliveries of Slack: events (<https://docs.slack.dev/apis/events-api>), slash commands and interactions.

mod objects;

use agentprovision_core::{Error, Result};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Facts, object, required};
use crate::webhook::event::{CHANGED, EventBody, Ordering, Version};
use crate::webhook::json::{Json, View, choice, time};

pub use objects::{
    Activity, Authorization, Callback, Channel, File, HomeOpened, Item, Link, Links, Member, Message, Person,
    Profile, RateLimited, Reaction, Tokens, TokensRevoked, Uninstalled, UrlVerification,
};

choice! {
    /// What happened, by its type.
    Event {
        otherwise {
            /// Anything else: who and where, and the rest as it came.
            Activity(Activity)
        }
        /// `message`
        Message(Message) = "message",
        /// `app_mention`
        Mention(Message) = "app_mention",
        /// `reaction_added` and `reaction_removed`
        Reaction(Reaction) = "reaction_added" | "reaction_removed",
        /// `member_joined_channel` and `member_left_channel`
        Member(Member) = "member_joined_channel" | "member_left_channel",
        /// `channel_created`, `channel_rename` and their like
        Channel(Channel) = "channel_created" | "channel_rename" | "channel_archive" | "channel_unarchive"
            | "channel_deleted" | "channel_left" | "channel_shared" | "channel_unshared" | "group_rename"
            | "group_archive" | "group_unarchive" | "group_deleted" | "group_left",
        /// `file_shared` and its like
        File(File) = "file_created" | "file_shared" | "file_unshared" | "file_change" | "file_deleted" | "file_public",
        /// `link_shared`
        Links(Links) = "link_shared",
        /// `team_join` and `user_change`
        Profile(Profile) = "team_join" | "user_change",
        /// `app_home_opened`
        HomeOpened(HomeOpened) = "app_home_opened",
        /// `tokens_revoked`
        TokensRevoked(TokensRevoked) = "tokens_revoked",
        /// `app_uninstalled`
        Uninstalled(Uninstalled) = "app_uninstalled",
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Json::deserialize(deserializer)?;
        let kind = event.text("type").unwrap_or_default();
        Self::read(&kind, event.raw()).ok_or_else(|| serde::de::Error::custom("an event is an object"))
    }
}

/// The fields of a form, in their order: a slash command, or anything else that Slack sends that is no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// The first field with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// The fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The body of a delivery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// An event.
    Callback(Box<Callback>),
    /// The question whether the endpoint is there.
    UrlVerification(Box<UrlVerification>),
    /// Events were held back.
    RateLimited(Box<RateLimited>),
    /// A slash command.
    Command(Form),
    /// Somebody used a button, a menu, a shortcut or a view; what the form has in `payload`.
    Interaction(Json),
}

impl Body {
    /// Whether the event has a type of its own; what is no event always has.
    pub fn is_typed(&self) -> bool {
        match self {
            Self::Callback(callback) => callback.event.is_typed(),
            _ => true,
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Callback(body) => body.serialize(serializer),
            Self::UrlVerification(body) => body.serialize(serializer),
            Self::RateLimited(body) => body.serialize(serializer),
            Self::Command(form) => form.serialize(serializer),
            Self::Interaction(payload) => payload.serialize(serializer),
        }
    }
}

/// The kind is the event's type, of a message with its subtype behind it (`message.message_changed`), so that `message`
/// alone is what people write; of a form `slash_command` or `interaction.<type>`. The delivery's id is `event_id`; of a form
/// `trigger_id`.
///
/// What is the state of something is ordered by `event_ts`.
pub(in crate::webhook) fn read(body: &[u8]) -> Result<(Facts, EventBody)> {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(_) => return read_form(body),
        None => return Err(Error::invalid("the delivery has no body")),
    }
    let (raw, view) = object(body)?;
    let mut facts = Facts {
        delivery_id: view.text("event_id"),
        at: view.time("event_time"),
        account: view.first(&["team_id", "enterprise_id"]),
        ..Facts::default()
    };
    // The events that are kept as examples have an empty type around them.
    let kind = match view.text("type") {
        None if view.at("event").is_some() => "event_callback".to_owned(),
        kind => required(kind, "a type")?,
    };
    let typed = match kind.as_str() {
        "event_callback" => {
            read_event(&mut facts, &view)?;
            parse(raw).map(Body::Callback)
        }
        "url_verification" => parse(raw).map(Body::UrlVerification),
        "app_rate_limited" => {
            facts.at = view.time("minute_rate_limited");
            parse(raw).map(Body::RateLimited)
        }
        _ => None,
    };
    if facts.kind.is_empty() {
        facts.kind = kind;
    }
    Ok((facts, typed.map_or_else(|| EventBody::Other(Json::from_raw(raw)), EventBody::Slack)))
}

fn parse<T: serde::de::DeserializeOwned>(raw: &RawValue) -> Option<Box<T>> {
    serde_json::from_str(raw.get()).ok().map(Box::new)
}

fn read_event(facts: &mut Facts, view: &View<'_>) -> Result<()> {
    let kind = required(view.text("event.type"), "the type of its event")?;
    let subtype = view.text("event.subtype").filter(|_| kind == "message");
    facts.at = view.time("event.event_ts").or(facts.at);
    facts.attributes(
        view,
        &[
            ("channel", &["event.channel", "event.channel_id", "event.item.channel", "event.channel.id"]),
            ("channel_type", &["event.channel_type"]),
            ("user", &["event.user", "event.user_id", "event.user.id", "event.message.user"]),
            ("bot_id", &["event.bot_id", "event.message.bot_id"]),
            ("thread_ts", &["event.thread_ts", "event.message.thread_ts"]),
            ("reaction", &["event.reaction"]),
            ("subtype", &["event.subtype"]),
            ("team", &["team_id"]),
            ("app", &["api_app_id"]),
        ],
    );
    facts.subject = facts.attributes.get("channel").or(facts.attributes.get("user")).cloned();
    facts.ordering = order(&kind, subtype.as_deref(), view, facts);
    facts.kind = match subtype {
        Some(subtype) => format!("{kind}.{subtype}"),
        None => kind,
    };
    Ok(())
}

fn order(kind: &str, subtype: Option<&str>, view: &View<'_>, facts: &Facts) -> Option<Ordering> {
    let version = Version::at(facts.at?).with_step(CHANGED);
    let channel = || facts.attributes.get("channel");
    let user = || facts.attributes.get("user");
    let (key, version) = match (kind, subtype) {
        ("message", Some("message_deleted")) => {
            (format!("message/{}/{}", channel()?, view.text("event.deleted_ts")?), version.gone())
        }
        ("message", Some("message_changed" | "message_replied")) => {
            (format!("message/{}/{}", channel()?, view.text("event.message.ts")?), version)
        }
        ("message", _) => {
            let ts = view.text("event.ts")?;
            let written = Version::at(time(&ts)?);
            (format!("message/{}/{ts}", channel()?), written.with_step(0))
        }
        ("reaction_added" | "reaction_removed", _) => {
            let item = view.first(&["event.item.ts", "event.item.file"])?;
            let reaction = view.text("event.reaction")?;
            (
                format!("reaction/{}/{item}/{}/{reaction}", channel().map_or("", |c| c.as_str()), user()?),
                version,
            )
        }
        ("member_joined_channel" | "member_left_channel", _) => {
            (format!("member/{}/{}", channel()?, user()?), version)
        }
        ("channel_deleted" | "group_deleted", _) => (format!("channel/{}", channel()?), version.gone()),
        (kind, _) if kind.starts_with("channel_") || kind.starts_with("group_") => {
            (format!("channel/{}", channel()?), version)
        }
        ("team_join" | "user_change", _) => (format!("user/{}", user()?), version),
        ("file_deleted", _) => (format!("file/{}", view.text("event.file_id")?), version.gone()),
        ("file_created" | "file_change" | "file_shared" | "file_public" | "file_unshared", _) => {
            (format!("file/{}", view.first(&["event.file_id", "event.file.id"])?), version)
        }
        _ => return None,
    };
    Some(Ordering { key, version })
}

fn read_form(body: &[u8]) -> Result<(Facts, EventBody)> {
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let form = Form(fields);
    let mut facts = Facts::default();
    if let Some(payload) = form.get("payload") {
        let (raw, view) = object(payload.as_bytes())?;
        facts.kind = format!("interaction.{}", required(view.text("type"), "the type of its interaction")?);
        facts.delivery_id = view.text("trigger_id");
        facts.account = view.first(&["team.id", "enterprise.id"]);
        facts.at = view.first(&["action_ts", "actions.0.action_ts"]).as_deref().and_then(time);
        facts.attributes(
            &view,
            &[
                ("channel", &["channel.id", "container.channel_id"]),
                ("user", &["user.id"]),
                ("team", &["team.id"]),
                ("app", &["api_app_id"]),
                ("callback", &["callback_id", "view.callback_id"]),
                ("action", &["actions.0.action_id"]),
            ],
        );
        facts.subject = facts.attributes.get("channel").or(facts.attributes.get("user")).cloned();
        return Ok((facts, EventBody::Slack(Body::Interaction(Json::from_raw(raw)))));
    }
    let field = |name: &str| form.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let command = required(field("command"), "a type")?;
    facts.kind = "slash_command".to_owned();
    facts.delivery_id = field("trigger_id");
    facts.account = field("team_id").or_else(|| field("enterprise_id"));
    facts.subject = field("channel_id");
    facts.attribute("command", Some(command));
    for (name, from) in
        [("channel", "channel_id"), ("user", "user_id"), ("team", "team_id"), ("app", "api_app_id")]
    {
        facts.attribute(name, field(from));
    }
    Ok((facts, EventBody::Slack(Body::Command(form))))
}
