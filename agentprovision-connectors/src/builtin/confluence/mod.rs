//! Confluence Cloud, by its REST API v2 (<https://developer.atlassian.com/cloud/confluence/rest/v2/intro/>) and, where that has
//! nothing, v1 (<https://developer.atlassian.com/cloud/confluence/rest/v1/intro/>): searching, labelling, the account.
//!
//! Pages are in the storage format, which is XHTML. Lists go on by the query of the URL in `_links.next`. Limits are told by
//! 429 and `Retry-After` (<https://developer.atlassian.com/cloud/confluence/rate-limiting/>).

pub mod comments;
pub mod pages;
pub mod search;
pub mod spaces;
#[cfg(test)]
mod tests;

use agentprovision_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{atlassian, with_default};
use crate::connector::Connector;
use crate::paging::Paging;
use crate::quota::{Quota, Shared};

/// The connector.
///
/// # Errors
/// `invalid_input` if its description does not hold together, which tests rule out.
pub fn connector() -> Result<Connector> {
    atlassian::site(Connector::builder("confluence", "https://{site}.atlassian.net/wiki"))
        .about("Confluence", "Find, read, write and discuss pages.")
        .auth(atlassian::api_token())
        .auth(atlassian::account("https://api.atlassian.com/ex/confluence/{cloud_id}/wiki", SCOPES))
        .quota(Quota::new("endpoint").shared(Shared::Operation))
        .whoami("users.me", "/accountId", "/displayName")
        .classify(atlassian::classify)
        .operations(comments::operations())
        .operations(pages::operations())
        .operations(search::operations())
        .operations(spaces::operations())
        .build()
}

/// What is asked for where access is granted in a browser: all that the operations need.
const SCOPES: [&str; 13] = [
    "read:space:confluence",
    "read:page:confluence",
    "write:page:confluence",
    "delete:page:confluence",
    "read:comment:confluence",
    "write:comment:confluence",
    "delete:comment:confluence",
    "read:label:confluence",
    "write:label:confluence",
    "read:attachment:confluence",
    "read:confluence-user",
    "search:confluence",
    "offline_access",
];

/// Lists go on by a URL.
fn next() -> Paging {
    Paging::NextUrl { items: "/results".into(), from: "/_links/next".into() }
}

choices! {
    /// The format that a body is written in.
    Written {
        /// XHTML with Confluence's own elements: <https://confluence.atlassian.com/doc/confluence-storage-format-790796544.html>.
        Storage "storage",
        /// A document in the Atlassian Document Format, as text in JSON.
        Document "atlas_doc_format",
        /// Confluence's older markup.
        Wiki "wiki",
    }
    /// The format that a body is read in.
    Format {
        /// XHTML with Confluence's own elements.
        Storage "storage",
        /// A document in the Atlassian Document Format, as text in JSON.
        Document "atlas_doc_format",
    }
    /// In which order.
    Order {
        /// By id.
        Id "id",
        /// What was made first.
        Oldest "created-date",
        /// What was made last.
        Newest "-created-date",
        /// What was changed first.
        Unchanged "modified-date",
        /// What was changed last.
        Changed "-modified-date",
        /// By title.
        Title "title",
    }
}

/// A body of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBody {
    /// The format.
    pub representation: Written,
    /// The body in it, as `<p>Hello</p>`.
    pub value: String,
}

records! {
    /// A body, in one of its formats.
    Body {
        /// In the storage format.
        storage: Option<InFormat>,
        /// As a document.
        atlas_doc_format: Option<InFormat>,
    }
    /// A body in a format.
    InFormat {
        /// The body.
        value: String,
    }
    /// A version of a page or comment.
    Version {
        /// The number, from 1.
        number: u64,
        /// What was changed, in the words of who did it.
        message: Option<String>,
        /// When it was made.
        #[serde(rename = "createdAt")]
        created_at: Option<String>,
        /// Who made it, by the account's id.
        #[serde(rename = "authorId")]
        author_id: Option<String>,
    }
    /// Where people find something.
    Links {
        /// The path, under the site's URL and `/wiki`.
        webui: Option<String>,
    }
}

/// With the body in the storage format, where nothing else is asked for: without a format there is no body.
fn with_body(input: &Value) -> Result<Value> {
    Ok(with_default(input, "body-format", "storage".into()))
}
