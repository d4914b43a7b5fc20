//! Searching.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// A message that was found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Match {
    /// Its id within its channel.
    pub ts: String,
    /// The channel.
    pub channel: Option<In>,
    /// Who wrote it.
    pub user: Option<String>,
    /// The name of who wrote it.
    pub username: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// Where people find it.
    pub permalink: Option<String>,
}

/// Where a message was found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct In {
    /// The channel's id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// What fits best.
    Score,
    /// What is newest.
    Timestamp,
}

/// In which direction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The lowest first.
    Asc,
    /// The highest first.
    Desc,
}

operations! {
    /// Searches the messages that the token's owner can see. Needs a user token.
    SearchMessages "search.messages" get("/search.messages") => Page<Match>
    [
        .page(Paging::Page {
            items: "/messages/matches".into(),
            into: "page".into(),
            pages: "/messages/paging/pages".into(),
        })
        .scopes(["search:read"])
    ] {
        /// What to look for, with Slack's modifiers: `in:#general`, `from:@ada`, `after:2026-01-31`, `has:link`.
        query: String,
        /// What comes first; default `score`.
        sort: Option<Sort>,
        /// In which direction; default `desc`.
        sort_dir: Option<Direction>,
        /// Marks what was found within the texts; default false.
        highlight: Option<bool>,
        /// How many a page has, up to 100; default 20.
        count: Option<u32>,
    }
}
