//! Searching.

use super::next;
use crate::operation::Page;
use crate::operations;

records! {
    /// Something that was found.
    Found {
        /// The title; what was found in it stands between `@@@hl@@@` and `@@@endhl@@@`.
        title: String,
        /// Some words around what was found.
        excerpt: Option<String>,
        /// Where people find it: a path under the site's URL and `/wiki`.
        url: Option<String>,
        /// `content`, `space` or `user`.
        #[serde(rename = "entityType")]
        kind: Option<String>,
        /// When it was last changed.
        #[serde(rename = "lastModified")]
        last_modified: Option<String>,
        /// The page, comment or file.
        content: Option<Content>,
        /// The space it is in.
        #[serde(rename = "resultGlobalContainer")]
        container: Option<Container>,
    }
    /// A page, comment or file that was found.
    Content {
        /// The id.
        id: String,
        /// `page`, `blogpost`, `comment` or `attachment`.
        #[serde(rename = "type")]
        kind: String,
        /// `current`, `archived` or `trashed`.
        status: Option<String>,
        /// The title.
        title: Option<String>,
    }
    /// The space something is in.
    Container {
        /// The name.
        title: String,
        /// Where people find it.
        #[serde(rename = "displayUrl")]
        url: Option<String>,
    }
}

operations! {
    /// Finds pages, comments, files and spaces by a query in CQL, as
    /// `type = page AND space = DOC AND text ~ "release" ORDER BY lastmodified DESC`.
    Search "content.search" get("/rest/api/search") => Page<Found> [.page(next()).scopes(["search:confluence"])] {
        /// The query.
        cql: String,
        /// How many a page has at most; default 25.
        limit: Option<u32>,
    }
}
