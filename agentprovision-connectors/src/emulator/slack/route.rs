//! Who asks, what with, which method answers, and how Slack writes what it knows.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::store::{Channel, Message, User};
use crate::emulator::answers::{cursor_of, place_of};
use crate::emulator::oauth::Denied;
use crate::emulator::state::{Call, Outcome, Reply, Vendor, World, pairs, unix};

/// Methods that only read, and take no JSON.
const READS: [&str; 12] = [
    "team.info",
    "chat.getPermalink",
    "conversations.list",
    "conversations.info",
    "conversations.history",
    "conversations.replies",
    "conversations.members",
    "users.list",
    "users.info",
    "users.lookupByEmail",
    "users.conversations",
    "reactions.get",
];

/// An error as Slack writes one: with status 200.
pub(super) fn error(code: &str) -> Reply {
    Reply::json(200, &json!({ "ok": false, "error": code }))
}

/// A success, and what it says.
pub(super) fn ok(more: Value) -> Outcome {
    let mut body = Map::new();
    body.insert("ok".to_owned(), json!(true));
    body.extend(more.as_object().cloned().unwrap_or_default());
    Ok(Reply::json(200, &Value::Object(body)))
}

/// The arguments of a call, whichever way they came.
pub(super) struct Arguments(BTreeMap<String, Value>);

impl Arguments {
    fn of(call: &Call, method: &str) -> Result<Self, Reply> {
        let mut found: BTreeMap<String, Value> =
            call.query.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let json = call.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if call.is_form() {
            found.extend(pairs(&call.body).into_iter().map(|(name, value)| (name, json!(value))));
        } else if json && !READS.contains(&method) {
            found.extend(match serde_json::from_slice(&call.body) {
                Ok(Value::Object(fields)) => fields,
                Ok(_) => return Err(error("json_not_object")),
                Err(_) if call.body.is_empty() => Map::new(),
                Err(_) => return Err(error("invalid_json")),
            });
        }
        Ok(Self(found))
    }

    /// A text; one that is of another type, in JSON, is refused.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Reply> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(error("invalid_arguments")),
        }
    }

    /// A text that has to be there; `code` otherwise.
    pub(super) fn required(&self, name: &str, code: &str) -> Result<&str, Reply> {
        self.text(name)?.ok_or_else(|| error(code))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Reply> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(set)) => Ok(*set),
            // As forms and queries have it.
            Some(Value::String(text)) if text == "true" || text == "1" => Ok(true),
            Some(Value::String(text)) if text == "false" || text == "0" || text.is_empty() => Ok(false),
            Some(_) => Err(error("invalid_arguments")),
        }
    }

    /// The blocks of a message, in JSON or as a text of it.
    pub(super) fn blocks(&self) -> Result<Option<Value>, Reply> {
        let blocks = match self.0.get("blocks") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => {
                serde_json::from_str(text).map_err(|_| error("invalid_blocks_format"))?
            }
            Some(value) => value.clone(),
        };
        let is_text = |value: &Value, name: &str| value.get(name).is_some_and(Value::is_string);
        let is_block = |block: &Value| {
            let says = |text: &Value| match block.get("type").and_then(Value::as_str) {
                Some("markdown") => text.is_string(),
                _ => is_text(text, "type") && is_text(text, "text"),
            };
            is_text(block, "type") && block.get("text").is_none_or(says)
        };
        match blocks.as_array() {
            None => Err(error("invalid_blocks_format")),
            Some(all) if !all.iter().all(is_block) => Err(error("invalid_blocks")),
            Some(_) => Ok(Some(blocks)),
        }
    }

    /// The part of a list that is asked for, and the cursor of what comes after it, empty at its end.
    pub(super) fn page<T>(&self, items: Vec<T>, usual: usize) -> Result<(Vec<T>, String), Reply> {
        let number = |value: &Value| value.as_str().map_or(value.as_u64(), |text| text.parse().ok());
        let limit = match self.0.get("limit") {
            None | Some(Value::Null) => usual,
            Some(limit) => {
                let limit = number(limit).and_then(|limit| usize::try_from(limit).ok());
                limit.filter(|limit| *limit <= 1000).ok_or_else(|| error("invalid_limit"))?
            }
        };
        let limit = if limit == 0 { usual } else { limit };
        let start = match self.text("cursor")? {
            None => 0,
            Some(cursor) => place_of(cursor).ok_or_else(|| error("invalid_cursor"))?,
        };
        let total = items.len();
        let items: Vec<T> = items.into_iter().skip(start).take(limit).collect();
        let next = start.saturating_add(items.len());
        Ok((items, if next < total { cursor_of(next, 0) } else { String::new() }))
    }
}

impl World {
    /// The answer of Slack.
    pub(in crate::emulator) fn slack_reply(&mut self, call: &Call) -> Outcome {
        let method = match call.segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["api", method] => (*method).to_owned(),
            _ => return Err(Reply::text(404, "text/plain", "not found")),
        };
        let who = self.proved(call).map_err(|denied| {
            error(match denied {
                None => "not_authed",
                Some(Denied::Unknown) => "invalid_auth",
                Some(Denied::Expired) => "token_expired",
                Some(Denied::Revoked) => "token_revoked",
            })
        })?;
        let with = Arguments::of(call, &method)?;
        let reply = match method.as_str() {
            "auth.test" => self.auth_test(&who),
            "auth.revoke" => {
                let token = call.bearer().map(str::to_owned).unwrap_or_default();
                let revoked = self.accounts(Vendor::Slack).revoke(&token);
                ok(json!({ "revoked": revoked }))
            }
            "team.info" => ok(json!({
                "team": {
                    "id": self.slack.team_id, "name": self.slack.team_name, "domain": self.slack.domain,
                    "email_domain": "", "icon": { "image_default": true },
                },
            })),
            "users.list" => self.users_list(&with),
            "users.info" => {
                let user = with.required("user", "user_not_found")?;
                let user = self.slack.users.iter().find(|there| there.id == user);
                ok(json!({ "user": self.slack_profile(user.ok_or_else(|| error("user_not_found"))?) }))
            }
            "users.lookupByEmail" => {
                let email = with.required("email", "users_not_found")?;
                let user = self.slack.users.iter().find(|there| there.email.as_deref() == Some(email));
                ok(json!({ "user": self.slack_profile(user.ok_or_else(|| error("users_not_found"))?) }))
            }
            "chat.postMessage" => self.post_message(&who, &with),
            "chat.update" => self.update_message(&who, &with),
            "chat.delete" => self.delete_message(&who, &with),
            "chat.getPermalink" => self.permalink(&who, &with),
            "reactions.add" | "reactions.remove" => self.react(&who, &with, method == "reactions.add"),
            "reactions.get" => self.reactions(&who, &with),
            method => match method.strip_prefix("conversations.") {
                Some(method) => self.conversations(&who, method, &with),
                None if method == "users.conversations" => self.conversations(&who, "mine", &with),
                None => Err(error("unknown_method")),
            },
        };
        reply
            .map(|reply| reply.with("x-oauth-scopes", "chat:write,channels:history,channels:read,users:read"))
    }

    fn auth_test(&self, who: &str) -> Outcome {
        let user = self.slack.user(who).ok_or_else(|| error("account_inactive"))?;
        let mut value = json!({
            "url": format!("https://{}.slack.com/", self.slack.domain), "team": self.slack.team_name,
            "user": user.name, "team_id": self.slack.team_id, "user_id": user.id, "is_enterprise_install": false,
        });
        if let (Some(bot), Value::Object(fields)) = (&user.bot, &mut value) {
            fields.insert("bot_id".to_owned(), json!(bot));
        }
        ok(value)
    }

    fn users_list(&self, with: &Arguments) -> Outcome {
        let users = self.slack.users.iter().map(|user| self.slack_profile(user)).collect();
        // Without a limit Slack tries to answer all of them.
        let (members, next) = with.page(users, 1000)?;
        ok(json!({
            "members": members, "cache_ts": unix(self.now()), "response_metadata": { "next_cursor": next },
        }))
    }

    fn slack_profile(&self, user: &User) -> Value {
        let bot = user.bot.is_some();
        let mut profile = json!({
            "title": "", "phone": "", "skype": "", "real_name": user.name, "real_name_normalized": user.name,
            "display_name": user.name, "display_name_normalized": user.name, "fields": null, "status_text": "",
            "status_emoji": "", "status_expiration": 0, "avatar_hash": "g0123456789a", "team": self.slack.team_id,
        });
        if let Value::Object(profile) = &mut profile {
            profile.extend(user.email.as_ref().map(|email| ("email".to_owned(), json!(email))));
            profile.extend(user.bot.as_ref().map(|bot| ("bot_id".to_owned(), json!(bot))));
            profile.extend(user.bot.as_ref().map(|_| ("api_app_id".to_owned(), json!("A0000000001"))));
        }
        json!({
            "id": user.id, "team_id": self.slack.team_id, "name": user.name, "deleted": false, "color": "9f69e7",
            "real_name": user.name, "tz": "Etc/UTC", "tz_label": "Coordinated Universal Time", "tz_offset": 0,
            "profile": profile, "is_admin": false, "is_owner": false, "is_primary_owner": false,
            "is_restricted": false, "is_ultra_restricted": false, "is_bot": bot, "is_app_user": false,
            "updated": unix(user.updated),
        })
    }

    /// A channel as somebody sees it.
    pub(super) fn slack_channel(&self, channel: &Channel, who: &str) -> Value {
        let about = json!({ "value": "", "creator": "", "last_set": 0 });
        json!({
            "id": channel.id, "name": channel.name, "name_normalized": channel.name, "is_channel": !channel.private,
            "is_group": channel.private, "is_im": false, "is_mpim": false, "is_private": channel.private,
            "created": unix(channel.created), "is_archived": channel.archived,
            "is_general": channel.name == "general", "unlinked": 0, "is_shared": false, "is_org_shared": false,
            "is_ext_shared": false, "is_pending_ext_shared": false, "pending_shared": [],
            "creator": channel.creator, "is_member": channel.members.iter().any(|member| member == who),
            "topic": about, "purpose": about, "previous_names": [], "num_members": channel.members.len(),
        })
    }

    /// A message, with what has become of its thread.
    pub(super) fn slack_message(&self, channel: &Channel, message: &Message) -> Value {
        let mut value = json!({
            "type": "message", "user": message.user, "text": message.text, "ts": message.ts,
            "team": self.slack.team_id,
        });
        let Value::Object(fields) = &mut value else { return value };
        let bot = self.slack.user(&message.user).and_then(|user| user.bot.as_ref());
        fields.extend(bot.map(|bot| ("bot_id".to_owned(), json!(bot))));
        fields.extend(message.blocks.as_ref().map(|blocks| ("blocks".to_owned(), blocks.clone())));
        if let Some(edited) = &message.edited {
            fields.insert("edited".to_owned(), json!({ "user": message.user, "ts": edited }));
        }
        if !message.reactions.is_empty() {
            let reaction = |(name, users): &(String, Vec<String>)| json!({ "name": name, "users": users, "count": users.len() });
            fields.insert("reactions".to_owned(), message.reactions.iter().map(reaction).collect());
        }
        let replies: Vec<&Message> = thread(channel, &message.ts).collect();
        match &message.thread {
            Some(thread) => {
                let parent = channel.messages.iter().find(|there| there.ts == *thread);
                fields.insert("thread_ts".to_owned(), json!(thread));
                let parent = parent.map(|parent| ("parent_user_id".to_owned(), json!(parent.user)));
                fields.extend(parent);
            }
            None if !replies.is_empty() => {
                let mut users: Vec<&String> = Vec::new();
                for reply in &replies {
                    if !users.contains(&&reply.user) {
                        users.push(&reply.user);
                    }
                }
                let more = json!({
                    "thread_ts": message.ts, "reply_count": replies.len(), "reply_users_count": users.len(),
                    "latest_reply": replies.last().map(|reply| &reply.ts), "reply_users": users, "subscribed": false,
                });
                fields.extend(more.as_object().cloned().unwrap_or_default());
            }
            None => {}
        }
        value
    }
}

/// The answers to a message.
pub(super) fn thread<'a>(channel: &'a Channel, ts: &'a str) -> impl Iterator<Item = &'a Message> {
    channel.messages.iter().filter(move |message| message.thread.as_deref() == Some(ts))
}
