//! Spaces, and whose credentials they are.

use super::{Links, next};
use crate::operation::Page;
use crate::operations;
use crate::request::Lists;

choices! {
    /// A kind of spaces.
    Kind {
        /// Of everybody.
        Global "global",
        /// Of a few.
        Collaboration "collaboration",
        /// Of articles for customers.
        KnowledgeBase "knowledge_base",
        /// Of one person.
        Personal "personal",
    }
    /// Whether a space is used.
    State {
        /// It is.
        Current "current",
        /// It is closed.
        Archived "archived",
    }
    /// The order of spaces.
    Sort {
        /// By id.
        Id "id",
        /// By key.
        Key "key",
        /// By name.
        Name "name",
    }
}

records! {
    /// A space.
    Space {
        /// The id, which operations take.
        id: String,
        /// The key, which queries and URLs take.
        key: String,
        /// The name.
        name: String,
        /// The kind, as `global` or `personal`.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// `current` or `archived`.
        status: Option<String>,
        /// The id of its first page.
        #[serde(rename = "homepageId")]
        homepage_id: Option<String>,
        /// What it is about.
        description: Option<Description>,
        /// When it was made.
        #[serde(rename = "createdAt")]
        created_at: Option<String>,
        /// Where people find it.
        #[serde(rename = "_links")]
        links: Option<Links>,
    }
    /// What a space is about.
    Description {
        /// In plain text.
        plain: Option<super::InFormat>,
    }
    /// An account.
    Account {
        /// The id.
        #[serde(rename = "accountId")]
        account_id: String,
        /// The name.
        #[serde(rename = "displayName")]
        display_name: Option<String>,
        /// The e-mail address, where it may be seen.
        email: Option<String>,
        /// `atlassian`, `app` or `customer`.
        #[serde(rename = "accountType")]
        account_type: Option<String>,
    }
}

operations! {
    /// Lists the spaces that the account sees.
    List "spaces.list" get("/api/v2/spaces") => Page<Space>
    [
        .page(next())
        .lists(Lists::Commas)
        .fixed_query("description-format", "plain")
        .scopes(["read:space:confluence"])
    ] {
        /// Only those with these keys.
        keys: Option<Vec<String>>,
        /// Only those of this kind.
        #[serde(rename = "type")]
        kind: Option<Kind>,
        /// Only those that are, or are not, used.
        status: Option<State>,
        /// In which order.
        sort: Option<Sort>,
        /// How many a page has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Tells about a space.
    Get "spaces.get" get("/api/v2/spaces/{id}") => Space
    [.fixed_query("description-format", "plain").scopes(["read:space:confluence"])] {
        /// The space's id.
        id: String,
    }
    /// Tells whose credentials they are.
    Me "users.me" get("/rest/api/user/current") => Account [.scopes(["read:confluence-user"])] {}
}
