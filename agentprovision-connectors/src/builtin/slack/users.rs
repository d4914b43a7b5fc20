//! People, the workspace, and whose token it is.

use agentprovision_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cursor;
use super::types::{Conversation, InUser, Profile, User};
use crate::builtin::with_default;
use crate::mapping::Mapping;
use crate::operation::Page;
use crate::operations;

/// Whose token it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The workspace's URL.
    pub url: Option<String>,
    /// The workspace's name.
    pub team: Option<String>,
    /// The workspace's id.
    pub team_id: String,
    /// The name of the person or bot.
    pub user: String,
    /// Its id.
    pub user_id: String,
    /// The bot's id, of a bot token.
    pub bot_id: Option<String>,
}

/// A workspace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Team {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The beginning of its URL.
    pub domain: Option<String>,
    /// Domains whose e-mail addresses may join.
    pub email_domain: Option<String>,
}

/// What the method about the workspace answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InTeam {
    /// The workspace.
    pub team: Team,
}

/// What the method about a profile answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InProfile {
    /// The profile.
    pub profile: Profile,
}

/// With a limit, without which Slack tries to answer everybody, and refuses that in large workspaces.
fn in_pages(input: &Value) -> Result<Value> {
    Ok(with_default(input, "limit", Value::from(200)))
}

operations! {
    /// Tells whose token it is.
    Test "auth.test" get("/auth.test") => Account {}
    /// Tells about the workspace.
    TeamInfo "team.info" get("/team.info") => InTeam [.scopes(["team:read"])] {
        /// The workspace's id; default the token's own.
        team: Option<String>,
    }
    /// Lists the people and bots of the workspace, former ones too.
    List "users.list" get("/users.list") => Page<User>
    [
        .page(cursor("/members"))
        .scopes(["users:read"])
        .map_input(Mapping::function(in_pages))
    ] {
        /// Tells the languages too; default false.
        include_locale: Option<bool>,
        /// How many a page has at most, up to 999; default 200, which is what Slack recommends.
        limit: Option<u32>,
        /// The workspace's id, for tokens of a whole organization.
        team_id: Option<String>,
    }
    /// Tells about a person.
    Info "users.info" get("/users.info") => InUser [.scopes(["users:read"])] {
        /// The person's id.
        user: String,
        /// Tells the language too; default false.
        include_locale: Option<bool>,
    }
    /// Finds a person by e-mail address.
    LookupByEmail "users.lookup_by_email" get("/users.lookupByEmail") => InUser [.scopes(["users:read.email"])] {
        /// The address.
        email: String,
    }
    /// Reads what a person says about itself, with status and contact.
    GetProfile "users.profile.get" get("/users.profile.get") => InProfile [.scopes(["users.profile:read"])] {
        /// The person's id; default the account.
        user: Option<String>,
    }
    /// Lists the conversations that a person, or the account, is in.
    Conversations "users.conversations" get("/users.conversations") => Page<Conversation>
    [.page(cursor("/channels")).scopes(["channels:read", "groups:read", "im:read", "mpim:read"])] {
        /// The person's id; default the account.
        user: Option<String>,
        /// Which ones, joined by commas: `public_channel`, `private_channel`, `mpim`, `im`; default `public_channel`.
        types: Option<String>,
        /// Leaves out closed ones; default false.
        exclude_archived: Option<bool>,
        /// How many a page has at most, up to 999; default 100.
        limit: Option<u32>,
    }
}
