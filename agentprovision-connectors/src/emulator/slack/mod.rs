//! Slack: what tests set up and inspect.

mod chat;
mod conversations;
mod events;
mod route;
pub(super) mod store;

use agentprovision_core::{Error, ErrorKind, Result};
use http::Method;
use serde_json::{Value, json};

use self::store::{Channel, Subscription, User};
use super::Shared;
use super::state::{Call, Vendor, World, refused};

/// The Slack of an emulator: one workspace. Values have the form in which the Web API answers them.
///
/// It speaks, below [`Emulator::slack_url`](super::Emulator::slack_url): `auth.test`, `auth.revoke`, `team.info`, `chat.postMessage`,
/// `chat.update`, `chat.delete`, `chat.getPermalink`, `conversations.list`, `.info`, `.history`, `.replies`, `.members`, `.create`, `.join`,
/// `.leave`, `.invite`, `.archive`, `users.list`, `.info`, `.lookupByEmail`, `.conversations`, and `reactions.add`, `.remove`, `.get`.
/// Arguments come in a form, in the query, or in JSON where Slack takes it: methods that only read ignore JSON, as Slack's do.
///
/// Who posts in a channel has to be a member of it. Events go to what [`SlackWorld::subscribe`] names: messages that are posted,
/// changed and deleted, reactions, channels and members.
#[derive(Debug)]
pub struct SlackWorld<'a>(pub(super) &'a Shared);

impl SlackWorld<'_> {
    /// A token of a bot by this name, which is made where there is none and is a member of every public channel there is.
    pub fn add_bot_token(&self, name: &str) -> String {
        let mut world = self.0.world();
        let bot = world.slack_person(name, true);
        for channel in world.slack.channels.iter_mut().filter(|channel| !channel.private) {
            if !channel.members.contains(&bot) {
                channel.members.push(bot.clone());
            }
        }
        let token = world.secret("xoxb-");
        world.accounts(Vendor::Slack).keep(&token, &bot);
        token
    }

    /// A token of somebody, who is made where there is none.
    pub fn add_user_token(&self, name: &str) -> String {
        let mut world = self.0.world();
        let user = world.slack_user(name);
        let token = world.secret("xoxp-");
        world.accounts(Vendor::Slack).keep(&token, &user);
        token
    }

    /// Somebody by their name, with the address `<name>@example.com`; the id.
    pub fn add_user(&self, name: &str) -> String {
        self.0.world().slack_user(name)
    }

    /// A public channel, with everybody there is as its members; the id.
    ///
    /// # Errors
    /// `conflict` when there is one by this name.
    pub fn add_channel(&self, name: &str) -> Result<String> {
        self.add_any_channel(name, false, None)
    }

    /// A private channel with these members, by their names or ids: nobody else finds it. The id.
    ///
    /// # Errors
    /// `conflict` when there is one by this name.
    pub fn add_private_channel(&self, name: &str, members: &[&str]) -> Result<String> {
        self.add_any_channel(name, true, Some(members))
    }

    fn add_any_channel(&self, name: &str, private: bool, members: Option<&[&str]>) -> Result<String> {
        let mut world = self.0.world();
        if world.slack.channel(name).is_some() {
            return Err(Error::conflict(format!("there is a channel `{name}`")));
        }
        let (creator, now) = (world.slack_author(None), world.now());
        let members = match members {
            Some(members) => members.iter().map(|member| world.slack_user(member)).collect(),
            None => world.slack.users.iter().map(|user| user.id.clone()).collect(),
        };
        let id = format!("C{:09X}", world.id());
        let channel = Channel {
            id: id.clone(),
            name: name.to_owned(),
            private,
            archived: false,
            creator,
            created: now,
            members,
            messages: Vec::new(),
        };
        world.slack.channels.push(channel);
        Ok(id)
    }

    /// A message of somebody, by their name or id, in a channel, by its name or id; the first user there is without one. Its `ts`.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as Slack refuses it.
    pub fn add_message(&self, channel: &str, who: Option<&str>, text: &str) -> Result<String> {
        self.post(channel, who, json!({ "text": text }))
    }

    /// The same in a thread.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as Slack refuses it.
    pub fn add_reply(&self, channel: &str, thread: &str, who: Option<&str>, text: &str) -> Result<String> {
        self.post(channel, who, json!({ "text": text, "thread_ts": thread }))
    }

    fn post(&self, channel: &str, who: Option<&str>, mut body: Value) -> Result<String> {
        if let Value::Object(fields) = &mut body {
            fields.insert("channel".to_owned(), json!(channel));
        }
        let made = self.act(who, "chat.postMessage", body)?;
        Ok(made.get("ts").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Sends events to a URL on the loopback from now on, signed with `secret`; what it is first told is `url_verification`.
    pub fn subscribe(&self, url: &str, secret: &str) {
        let mut world = self.0.world();
        let (url, secret) = (url.to_owned(), secret.to_owned());
        world.slack.subscriptions.push(Subscription { url: url.clone(), secret: secret.clone() });
        world.verify_url(&url, &secret);
        drop(world);
        self.0.wake.notify_one();
    }

    /// Archives a channel, which then takes no messages.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn archive(&self, channel: &str) -> Result<()> {
        let mut world = self.0.world();
        let found = world.slack.channel_mut(channel).ok_or_else(|| absent(channel))?;
        found.archived = true;
        Ok(())
    }

    /// Carries out any method as somebody, by their name or id, without HTTP, the fault plan and the log; as the first user there
    /// is without a name.
    ///
    /// # Errors
    /// `not_found` and `invalid_input`, as Slack refuses it.
    pub fn act(&self, who: Option<&str>, method: &str, arguments: Value) -> Result<Value> {
        let mut world = self.0.world();
        let who = world.slack_author(who);
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in arguments.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form.append_pair(name, &text);
        }
        let mut headers = http::HeaderMap::new();
        let kind = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(http::header::CONTENT_TYPE, kind);
        let body = form.finish();
        let mut call =
            Call::new(Vendor::Slack, Method::POST, &format!("/api/{method}"), headers, body.into());
        call.acting = Some(who);
        let reply = world.perform(&call);
        drop(world);
        self.0.wake.notify_one();
        let value = reply.value().unwrap_or_default();
        if value.get("ok") == Some(&json!(true)) {
            return Ok(value);
        }
        let error = value.get("error").and_then(Value::as_str).unwrap_or_default();
        let status = if error.ends_with("_not_found") { 404 } else { 400 };
        Err(refused(Vendor::Slack, &super::state::Reply { status, ..reply }))
    }

    /// The id of the workspace.
    pub fn team_id(&self) -> String {
        self.0.world().slack.team_id.clone()
    }

    /// The messages of a channel, by its name or id, with those in threads, the oldest first.
    ///
    /// # Errors
    /// `not_found` when there is no such channel.
    pub fn messages(&self, channel: &str) -> Result<Vec<Value>> {
        let world = self.0.world();
        let channel = world.slack.channel(channel).ok_or_else(|| absent(channel))?;
        Ok(channel.messages.iter().map(|message| world.slack_message(channel, message)).collect())
    }

    /// The channels of the workspace, in the order they came to be.
    pub fn channels(&self) -> Vec<Value> {
        let world = self.0.world();
        world.slack.channels.iter().map(|channel| world.slack_channel(channel, "")).collect()
    }
}

fn absent(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the emulated slack has no `{what}`"))
}

impl World {
    /// The workspace that is there from the beginning.
    pub(super) fn open_slack(&mut self) {
        self.slack.team_id = format!("T{:09X}", self.id());
        self.slack.team_name = "Emulated".to_owned();
        self.slack.domain = "emulated".to_owned();
    }

    /// The id of somebody by their id or name, made where there is none.
    pub(super) fn slack_user(&mut self, who: &str) -> String {
        self.slack_person(who, false)
    }

    fn slack_person(&mut self, who: &str, bot: bool) -> String {
        if let Some(user) = self.slack.user(who) {
            return user.id.clone();
        }
        let id = format!("U{:09X}", self.id());
        let bot = bot.then(|| format!("B{:09X}", self.id()));
        let email = bot.is_none().then(|| format!("{who}@example.com"));
        let updated = self.now();
        self.slack.users.push(User { id: id.clone(), name: who.to_owned(), email, bot, updated });
        id
    }

    /// Who acts where the emulator itself does.
    fn slack_author(&mut self, who: Option<&str>) -> String {
        match (who, self.slack.first_user()) {
            (Some(who), _) => self.slack_user(who),
            (None, Some(first)) => first,
            (None, None) => self.slack_user("ada"),
        }
    }
}
