//! GitHub, by its REST API v3 (<https://docs.github.com/rest>, version 2022-11-28).
//!
//! GitHub Enterprise Server is the same under another URL: the setting `base_url`, as `https://github.example.com/api/v3`.
//!
//! Limits are those of <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>: 5,000 requests an hour
//! for a user (more for apps and Enterprise, so they are learned from the answers), 30 searches and 10 searches for code a
//! minute, and secondary limits that answer 403 or 429 and are told from a lack of permission by their message.

/// Makes operations on a repository: to the fields of each come its owner and its name, and the scope is `repo` where no
/// other is said.
macro_rules! in_repository {
    ($(
        $(#[doc = $doc:literal])+
        $operation:ident $name:literal $method:ident($path:literal) => $output:ty $([$($more:tt)*])? { $($fields:tt)* }
    )*) => {
        $crate::operations! {$(
            $(#[doc = $doc])+
            $operation $name $method($path) => $output [.scopes(["repo"]) $($($more)*)?] {
                /// The owner of the repository: a user or an organization.
                owner: String,
                /// The name of the repository, without its owner.
                repo: String,
                $($fields)*
            }
        )*}
    };
}

pub mod comments;
mod errors;
pub mod issues;
pub mod types;
pub mod users;

use agentprovision_core::Result;

use super::Lacking;
use crate::auth::Auth;
use crate::connector::Connector;

/// Operations that the description which requests are checked against does not have: GitHub's own has them, and the trimmed
/// one of the check leaves them out.
pub const NOT_IN_DESCRIPTION: Lacking = &[
    ("comments.list_changed", TRIMMED),
    ("issues.remove_label", TRIMMED),
    ("issues.unassign", TRIMMED),
    ("orgs.list_members", TRIMMED),
    ("users.get", TRIMMED),
];

const TRIMMED: &str = "not among the operations of the trimmed description";

/// The connector.
///
/// # Errors
/// `invalid_input` if its description does not hold together, which tests rule out.
pub fn connector() -> Result<Connector> {
    let about = "Read and change code, issues, pull requests and releases, and run and watch workflows.";
    Connector::builder("github", "https://api.github.com")
        .about("GitHub", about)
        // The first way is the usual one; apps and OAuth go behind it.
        .auth(Auth::bearer("Personal access token"))
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28")
        .header("user-agent", "agentprovision")
        .concurrency(20)
        .classify(errors::classify)
        .whoami("users.me", "/id", "/login")
        .operations(issues::operations())
        .operations(comments::operations())
        .operations(users::operations())
        .build()
}
