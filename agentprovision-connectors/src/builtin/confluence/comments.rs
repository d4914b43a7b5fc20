//! Comments below pages.

use super::{Body, Format, Links, NewBody, Order, Version, next, with_body};
use crate::answer::Form;
use crate::mapping::Mapping;
use crate::operation::Page;
use crate::operations;

records! {
    /// A comment.
    Comment {
        /// The id.
        id: String,
        /// `current` or `trashed`.
        status: Option<String>,
        /// The page it is below.
        #[serde(rename = "pageId")]
        page_id: Option<String>,
        /// The comment it answers.
        #[serde(rename = "parentCommentId")]
        parent_comment_id: Option<String>,
        /// Its newest version: who wrote it, and when.
        version: Option<Version>,
        /// The text.
        body: Option<Body>,
        /// Where people find it.
        #[serde(rename = "_links")]
        links: Option<Links>,
    }
}

operations! {
    /// Lists the comments below a page, without the answers to them.
    List "comments.list" get("/api/v2/pages/{id}/footer-comments") => Page<Comment>
    [.page(next()).map_input(Mapping::function(with_body)).scopes(["read:comment:confluence"])] {
        /// The page's id.
        id: String,
        /// The format of the texts; default `storage`.
        #[serde(rename = "body-format")]
        body_format: Option<Format>,
        /// In which order.
        sort: Option<Order>,
        /// How many a page has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Lists the answers to a comment.
    ListReplies "comments.list_replies" get("/api/v2/footer-comments/{id}/children") => Page<Comment>
    [.page(next()).map_input(Mapping::function(with_body)).scopes(["read:comment:confluence"])] {
        /// The comment's id.
        id: String,
        /// The format of the texts; default `storage`.
        #[serde(rename = "body-format")]
        body_format: Option<Format>,
        /// How many a page has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Comments a page, with `pageId`, or answers a comment, with `parentCommentId`: one of the two is needed.
    Create "comments.create" post("/api/v2/footer-comments") => Comment [.scopes(["write:comment:confluence"])] {
        /// The page's id.
        #[serde(rename = "pageId")]
        page_id: Option<String>,
        /// The id of the comment it answers.
        #[serde(rename = "parentCommentId")]
        parent_comment_id: Option<String>,
        /// The text.
        body: NewBody,
    }
    /// Deletes a comment for good.
    Delete "comments.delete" delete("/api/v2/footer-comments/{id}") => ()
    [.answers(Form::Ignored).scopes(["delete:comment:confluence"])] {
        /// The comment's id.
        id: String,
    }
}
