//! Comments on issues and pull requests (<https://docs.github.com/rest/issues/comments>).

use super::issues::changed_since;
use super::types::Account;
use crate::answer::Form;
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A comment on an issue or a pull request.
    Comment {
        /// The id.
        id: u64,
        /// The text, in Markdown.
        body: Option<String>,
        /// Who wrote it.
        user: Option<Account>,
        /// What its author is to the repository, as `OWNER`, `MEMBER`, `CONTRIBUTOR` or `NONE`.
        author_association: Option<String>,
        /// When it was written, in RFC 3339.
        created_at: String,
        /// When it was last changed.
        updated_at: String,
        /// Its place on the page.
        html_url: String,
        /// The URL of its issue at the API, which ends with the issue's number.
        issue_url: Option<String>,
    }
}

in_repository! {
    /// Lists the comments on an issue or a pull request, the oldest first.
    ListComments "comments.list" get("/repos/{owner}/{repo}/issues/{issue_number}/comments") => Page<Comment> [
        .page(Paging::LINK)
    ] {
        /// The number of the issue or pull request.
        issue_number: u64,
        /// Only those changed at or after this time, in RFC 3339 with `Z`.
        since: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Lists the comments on all issues and pull requests of a repository that changed at or after a time, in the order in
    /// which they last changed. Made to be read from where the last reading ended.
    ListChangedComments "comments.list_changed" get("/repos/{owner}/{repo}/issues/comments") => Page<Comment> [
        .fixed_query("sort", "updated")
        .fixed_query("direction", "asc")
        .page(Paging::Since { items: "".into(), field: "updated_at".into(), into: "since".into() })
        .incremental(changed_since())
    ] {
        /// Only those changed at or after this time, in RFC 3339 with `Z`; all where absent.
        since: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a comment on an issue or a pull request.
    GetComment "comments.get" get("/repos/{owner}/{repo}/issues/comments/{comment_id}") => Comment {
        /// The id of the comment.
        comment_id: u64,
    }

    /// Comments on an issue or a pull request.
    CreateComment "comments.create" post("/repos/{owner}/{repo}/issues/{issue_number}/comments") => Comment {
        /// The number of the issue or pull request.
        issue_number: u64,
        /// The text, in Markdown.
        body: String,
    }

    /// Changes the text of a comment.
    UpdateComment "comments.update" patch("/repos/{owner}/{repo}/issues/comments/{comment_id}") => Comment [
        .natural()
    ] {
        /// The id of the comment.
        comment_id: u64,
        /// The new text, in Markdown.
        body: String,
    }

    /// Deletes a comment.
    DeleteComment "comments.delete" delete("/repos/{owner}/{repo}/issues/comments/{comment_id}") => () [.answers(Form::Ignored)] {
        /// The id of the comment.
        comment_id: u64,
    }
}
