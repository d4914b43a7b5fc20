//! Slack, by its Web API (<https://docs.slack.dev/apis/web-api>).
//!
//! Every method answers with status 200 and says in `ok` whether it went well; what `error` means is decided here. Requests
//! that change something are forms, which all methods take and in which timestamps stay the texts that they are. Limits are
//! per method and workspace, in tiers (<https://docs.slack.dev/apis/web-api/rate-limits>), and posting has its own per
//! channel. Commercial applications outside Slack's marketplace get one request a minute, and 15 messages, of
//! `conversations.history` and `conversations.replies`; Slack says so by 429 when the time comes.
//!
//! Access is granted in a browser (<https://docs.slack.dev/authentication/installing-with-oauth>) to a bot, or to somebody's
//! application that acts as they do: the same way, with scopes in another parameter and tokens in another place. Tokens end only
//! where the application rotates them (<https://docs.slack.dev/authentication/using-token-rotation>). PKCE is for applications that
//! keep no secret, which cannot ask for bots.

pub mod chat;
pub mod conversations;
pub mod files;
pub mod marks;
pub mod search;
#[cfg(test)]
mod tests;
pub mod types;
pub mod users;
pub mod views;

use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use serde::Deserialize;

use super::Lacking;
use crate::answer::{Category, Failure, Response};
use crate::auth::{Auth, Field, Grant, OAuth2};
use crate::connector::Connector;
use crate::paging::Paging;
use crate::quota::{Quota, Shared};

/// Operations that Slack's description of its interface does not have, and why.
pub const NOT_IN_DESCRIPTION: Lacking = &[
    ("bookmarks.add", "the description is of 2021; bookmarks are younger"),
    ("bookmarks.list", "the description is of 2021; bookmarks are younger"),
    ("chat.delete_scheduled_message", "the description lacks it"),
    ("conversations.archive", "the description lacks it"),
    ("conversations.set_topic", "the description lacks it"),
    ("files.complete_upload_external", "the description is of 2021; this way of uploading is younger"),
    ("files.get_upload_url_external", "the description is of 2021; this way of uploading is younger"),
    ("files.upload", "it is three requests; the method of this name in the description is gone since 2025"),
    ("pins.list", "the description lacks it"),
    ("pins.remove", "the description lacks it"),
    ("reactions.get", "the description lacks it"),
    ("users.profile.get", "the description lacks it"),
    ("views.open", "the description has it as a GET, whose URL has no room for a view"),
];

/// The connector.
///
/// # Errors
/// None in practice: its description is checked when it is built.
pub fn connector() -> Result<Connector> {
    let about =
        "A bot token (`xoxb-…`), or a user token (`xoxp-…`) for what bots may not do, such as searching.";
    let as_user = oauth().scopes(USER).scope_param("user_scope").tokens_at("/authed_user");
    Connector::builder("slack", "https://slack.com/api")
        .about("Slack", "Messages, channels, people, files and reactions in a Slack workspace.")
        .auth(Auth::bearer("Bot or user token").fields(vec![Field::new("token", about)]))
        .auth(Auth::tokens("oauth", "Bot in a workspace", Grant::Code(oauth().scopes(BOT))))
        .auth(Auth::tokens("user", "Somebody in a workspace", Grant::Code(as_user)))
        .operations(chat::operations())
        .operations(conversations::operations())
        .operations(files::operations())
        .operations(marks::operations())
        .operations(search::operations())
        .operations(users::operations())
        .operations(views::operations())
        .quota(
            Quota::new("posting")
                .shared(Shared::Field("channel".into()))
                .operations(["chat.post_message"])
                .rate(1, Duration::from_secs(1)),
        )
        .quota(tier(20, "tier 2").operations(TIER_2))
        .quota(tier(50, "tier 3").operations(TIER_3))
        .quota(tier(100, "tier 4").operations(TIER_4))
        // Of the others Slack tells no number, and refuses all the same.
        .quota(Quota::new("special tier").shared(Shared::Operation).operations(SPECIAL))
        .whoami("auth.test", "/user_id", "/user")
        .classify(classify)
        .build()
}

/// What a bot asks for: all that operations need which bots may do.
const BOT: [&str; 26] = [
    "bookmarks:read",
    "bookmarks:write",
    "channels:history",
    "channels:join",
    "channels:manage",
    "channels:read",
    "chat:write",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "groups:write",
    "im:history",
    "im:read",
    "im:write",
    "mpim:history",
    "mpim:read",
    "mpim:write",
    "pins:read",
    "pins:write",
    "reactions:read",
    "reactions:write",
    "team:read",
    "users.profile:read",
    "users:read",
    "users:read.email",
];

/// What is asked for to act as somebody: to search, which bots may not, and to read what is found.
const USER: [&str; 11] = [
    "channels:history",
    "channels:read",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "mpim:history",
    "mpim:read",
    "search:read",
    "team:read",
    "users:read",
];

/// How Slack grants access: <https://docs.slack.dev/reference/methods/oauth.v2.access>.
fn oauth() -> OAuth2 {
    OAuth2::new("https://slack.com/oauth/v2/authorize", "https://slack.com/api/oauth.v2.access")
        .scope_separator(",")
        .client_in_header()
        .without_pkce()
}

/// Lists go on by a cursor in one place.
fn cursor(items: &'static str) -> Paging {
    Paging::Cursor {
        items: items.into(),
        from: "/response_metadata/next_cursor".into(),
        into: "cursor".into(),
    }
}

/// So many requests of each method in a minute.
fn tier(requests: u32, name: &'static str) -> Quota {
    Quota::new(name).shared(Shared::Operation).rate(requests, Duration::from_secs(60))
}

const SPECIAL: [&str; 3] = ["auth.test", "chat.get_permalink", "chat.post_message"];
const TIER_2: [&str; 11] = [
    "bookmarks.add",
    "conversations.archive",
    "conversations.create",
    "conversations.list",
    "conversations.set_topic",
    "pins.add",
    "pins.list",
    "pins.remove",
    "reactions.remove",
    "search.messages",
    "users.list",
];
const TIER_3: [&str; 18] = [
    "bookmarks.list",
    "chat.delete",
    "chat.delete_scheduled_message",
    "chat.schedule_message",
    "chat.update",
    "conversations.history",
    "conversations.info",
    "conversations.invite",
    "conversations.join",
    "conversations.open",
    "conversations.replies",
    "files.delete",
    "files.list",
    "reactions.add",
    "reactions.get",
    "team.info",
    "users.conversations",
    "users.lookup_by_email",
];
const TIER_4: [&str; 9] = [
    "chat.post_ephemeral",
    "conversations.members",
    "files.complete_upload_external",
    "files.get_upload_url_external",
    "files.info",
    "files.upload",
    "users.info",
    "users.profile.get",
    "views.open",
];

/// What every answer has.
#[derive(Deserialize)]
struct Head {
    ok: bool,
    error: Option<String>,
    needed: Option<String>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    messages: Vec<String>,
}

/// What an answer means whose `ok` is false.
fn classify(response: &Response, _: Timestamp) -> Option<Failure> {
    let head: Head = serde_json::from_slice(&response.body).ok()?;
    if head.ok {
        return None;
    }
    let error = head.error.unwrap_or_else(|| "no_error_named".to_owned());
    let category = match category(&error) {
        Some(category) => category,
        None if response.status.is_success() => Category::Invalid,
        // Then the status knows better.
        None => return None,
    };
    let details = head.needed.map(|scopes| format!("the scope it needs is {scopes}"));
    let said = head.response_metadata.map(|metadata| metadata.messages).unwrap_or_default();
    let details: Vec<String> = details.into_iter().chain(said).collect();
    let words = if details.is_empty() { error } else { format!("{error} ({})", details.join("; ")) };
    Some(Failure::new(category).message(words))
}

/// What an error is, where it is none of the request's own (<https://docs.slack.dev/reference/methods>, "Errors" of each).
fn category(error: &str) -> Option<Category> {
    Some(match error {
        "account_inactive" | "bad_token" | "invalid_auth" | "invalid_token" | "not_authed"
        | "token_expired" | "token_revoked" => Category::Credentials,
        "access_denied"
        | "cant_delete_file"
        | "cant_delete_message"
        | "cant_invite"
        | "cant_update_message"
        | "channel_is_limited_access"
        | "ekm_access_denied"
        | "enterprise_is_restricted"
        | "file_uploads_disabled"
        | "missing_scope"
        | "no_access"
        | "no_permission"
        | "not_allowed"
        | "not_allowed_token_type"
        | "not_authorized"
        | "not_in_channel"
        | "not_paid"
        | "not_permitted"
        | "not_visible"
        | "org_login_required"
        | "paid_only"
        | "permission_denied"
        | "posting_to_channel_denied"
        | "posting_to_general_channel_denied"
        | "team_access_not_granted"
        | "two_factor_setup_required"
        | "user_cannot_create_channel"
        | "user_is_restricted" => Category::Forbidden,
        "cannot_find_channel"
        | "cannot_find_message"
        | "file_deleted"
        | "missing_user"
        | "user_not_visible" => Category::NotFound,
        "channel_conversion_in_progress"
        | "duplicate_external_id"
        | "edit_window_closed"
        | "hash_conflict"
        | "is_archived"
        | "is_inactive"
        | "name_taken"
        | "no_pin"
        | "no_reaction"
        | "not_archived"
        | "not_pinned"
        | "streaming_state_conflict"
        | "thread_locked" => Category::Conflict,
        "message_limit_exceeded" | "rate_limited" | "ratelimit" | "ratelimited" | "too_many_requests" => {
            Category::RateLimited
        }
        "attachment_payload_limit_exceeded" | "file_upload_size_restricted" | "too_large" | "too_long" => {
            Category::TooLarge
        }
        "fatal_error"
        | "internal_error"
        | "request_timeout"
        | "service_unavailable"
        | "team_added_to_org" => Category::Unavailable,
        _ if error.starts_with("restricted_action") => Category::Forbidden,
        _ if error.ends_with("not_found") => Category::NotFound,
        _ if error.starts_with("already_") => Category::Conflict,
        _ if error.ends_with("_too_long") || error.ends_with("_too_large") => Category::TooLarge,
        _ => return None,
    })
}
