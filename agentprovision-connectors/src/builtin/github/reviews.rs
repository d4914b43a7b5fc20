//! Reviews of pull requests, and comments on their lines (<https://docs.github.com/rest/pulls/reviews>,
//! <https://docs.github.com/rest/pulls/comments>).

use super::pulls::PullRequest;
use super::types::{Account, Direction};
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A review.
    Review {
        /// The id.
        id: u64,
        /// Who reviewed.
        user: Option<Account>,
        /// What they say, in Markdown.
        body: Option<String>,
        /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED` or `PENDING`.
        state: String,
        /// The commit that was reviewed.
        commit_id: Option<String>,
        /// When it was submitted, in RFC 3339.
        submitted_at: Option<String>,
        /// Its place on the page.
        html_url: String,
    }

    /// A comment on a line of a pull request.
    ReviewComment {
        /// The id.
        id: u64,
        /// The review it belongs to.
        pull_request_review_id: Option<u64>,
        /// The comment it answers.
        in_reply_to_id: Option<u64>,
        /// The file.
        path: String,
        /// The line, or the last of them; absent when it is no longer part of the change.
        line: Option<u64>,
        /// The first of several lines.
        start_line: Option<u64>,
        /// `LEFT` for a line that goes, `RIGHT` for one that comes or stays.
        side: Option<String>,
        /// The part of the diff it is about.
        diff_hunk: String,
        /// The text, in Markdown.
        body: String,
        /// Who wrote it.
        user: Option<Account>,
        /// The commit it is about.
        commit_id: String,
        /// When it was written, in RFC 3339.
        created_at: String,
        /// When it was last changed.
        updated_at: String,
        /// Its place on the page.
        html_url: String,
    }
}

choices! {
    /// What a review says.
    Verdict {
        /// It can be merged.
        Approve "APPROVE",
        /// Something has to change first.
        RequestChanges "REQUEST_CHANGES",
        /// Neither.
        Comment "COMMENT",
    }

    /// A side of a diff.
    Side {
        /// What was before: lines that go.
        Left "LEFT",
        /// What is after: lines that come or stay.
        Right "RIGHT",
    }

    /// What comments on lines are sorted by.
    CommentSort {
        /// When they were written.
        Created "created",
        /// When they were last changed.
        Updated "updated",
    }

    /// What a comment is on.
    CommentOn {
        /// One or several lines.
        Line "line",
        /// The whole file.
        File "file",
    }
}

/// A comment of a review.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftComment {
    /// The path of the file from the root of the repository.
    pub path: String,
    /// The text, in Markdown.
    pub body: String,
    /// The line, or the last of several; it has to be part of the diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The side of that line; `RIGHT` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The first of several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_line: Option<u64>,
    /// The side of the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_side: Option<Side>,
}

in_repository! {
    /// Lists the reviews of a pull request, the oldest first.
    ListReviews "reviews.list" get("/repos/{owner}/{repo}/pulls/{pull_number}/reviews") => Page<Review> [
        .page(Paging::LINK)
    ] {
        /// The number of the pull request.
        pull_number: u64,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Reviews a pull request, with comments on its lines. Without `event` the review is not seen by others until
    /// `reviews.submit`.
    CreateReview "reviews.create" post("/repos/{owner}/{repo}/pulls/{pull_number}/reviews") => Review {
        /// The number of the pull request.
        pull_number: u64,
        /// What the review says; needs a `body` unless it is `APPROVE`.
        event: Option<Verdict>,
        /// The text, in Markdown.
        body: Option<String>,
        /// The hash of the commit that is reviewed; the last one where absent.
        commit_id: Option<String>,
        /// Comments on lines.
        comments: Option<Vec<DraftComment>>,
    }

    /// Submits a review that was begun before.
    SubmitReview "reviews.submit" post("/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/events") => Review {
        /// The number of the pull request.
        pull_number: u64,
        /// The id of the review.
        review_id: u64,
        /// What the review says.
        event: Verdict,
        /// The text, in Markdown.
        body: Option<String>,
    }

    /// Takes back what a review says; only those who may administrate or push can.
    DismissReview "reviews.dismiss" put("/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals") => Review {
        /// The number of the pull request.
        pull_number: u64,
        /// The id of the review.
        review_id: u64,
        /// Why.
        message: String,
    }

    /// Asks people or teams to review a pull request.
    RequestReviewers "reviews.request" post("/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers") => PullRequest [
        .natural()
    ] {
        /// The number of the pull request.
        pull_number: u64,
        /// Logins of people.
        reviewers: Option<Vec<String>>,
        /// Names of teams, as they are in URLs.
        team_reviewers: Option<Vec<String>>,
    }

    /// Lists the comments on the lines of a pull request.
    ListReviewComments "reviews.list_comments" get("/repos/{owner}/{repo}/pulls/{pull_number}/comments")
        => Page<ReviewComment> [.page(Paging::LINK)]
    {
        /// The number of the pull request.
        pull_number: u64,
        /// What they are sorted by; `created` where absent.
        sort: Option<CommentSort>,
        /// In which direction; only with `sort`.
        direction: Option<Direction>,
        /// Only those changed at or after this time, in RFC 3339 with `Z`.
        since: Option<String>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Comments on a line of a pull request, on several, or on a whole file.
    CreateReviewComment "reviews.comment" post("/repos/{owner}/{repo}/pulls/{pull_number}/comments") => ReviewComment {
        /// The number of the pull request.
        pull_number: u64,
        /// The text, in Markdown.
        body: String,
        /// The hash of the commit that the comment is about.
        commit_id: String,
        /// The path of the file from the root of the repository.
        path: String,
        /// The line, or the last of several; needed unless `subject_type` is `file`.
        line: Option<u64>,
        /// The side of that line; `RIGHT` where absent.
        side: Option<Side>,
        /// The first of several lines.
        start_line: Option<u64>,
        /// The side of the first line.
        start_side: Option<Side>,
        /// What the comment is on; `line` where absent.
        subject_type: Option<CommentOn>,
    }

    /// Answers a comment on a line of a pull request.
    ReplyToReviewComment "reviews.reply" post("/repos/{owner}/{repo}/pulls/{pull_number}/comments/{comment_id}/replies")
        => ReviewComment
    {
        /// The number of the pull request.
        pull_number: u64,
        /// The id of the first comment of the thread.
        comment_id: u64,
        /// The text, in Markdown.
        body: String,
    }
}
