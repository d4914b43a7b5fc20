//! Searches (<https://docs.github.com/rest/search/search>): at most 1,000 results each.

use super::issues::Issue;
use super::repos::Repository;
use super::types::Direction;
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

records! {
    /// A file that a search found.
    FoundFile {
        /// The name, without the folder.
        name: String,
        /// The path from the root of the repository.
        path: String,
        /// The hash of the content.
        sha: String,
        /// The repository.
        repository: FoundRepository,
        /// Its page.
        html_url: String,
        /// The places that match.
        text_matches: Option<Vec<TextMatch>>,
    }

    /// The repository of something that was found.
    FoundRepository {
        /// Owner and name, joined by a slash.
        full_name: String,
        /// Whether only some may see it.
        private: bool,
    }

    /// A place that matches.
    TextMatch {
        /// What is around it.
        fragment: Option<String>,
    }
}

choices! {
    /// What found issues are sorted by.
    FoundIssueSort {
        /// How many comments they have.
        Comments "comments",
        /// How many reactions they have.
        Reactions "reactions",
        /// How many comments and reactions they have.
        Interactions "interactions",
        /// When they were opened.
        Created "created",
        /// When they last changed.
        Updated "updated",
    }

    /// What found repositories are sorted by.
    FoundRepositorySort {
        /// How many have starred them.
        Stars "stars",
        /// How many forks they have.
        Forks "forks",
        /// How many issues ask for help.
        HelpWanted "help-wanted-issues",
        /// When they last changed.
        Updated "updated",
    }
}

operations! {
    /// Searches issues and pull requests.
    SearchIssues "search.issues" get("/search/issues") => Page<Issue> [
        .page(Paging::Link { items: "/items".into() }).scopes(["repo"])
    ] {
        /// Words and qualifiers, up to 256 characters, as `crash repo:octocat/hello is:issue is:open label:bug`. `is:issue` or
        /// `is:pr` is needed for an app's token.
        q: String,
        /// What they are sorted by; how well they match where absent.
        sort: Option<FoundIssueSort>,
        /// In which direction; `desc` where absent.
        order: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Searches the code of default branches, in files of up to 384 KB.
    SearchCode "search.code" get("/search/code") => Page<FoundFile> [
        .page(Paging::Link { items: "/items".into() })
        .fixed_header("accept", "application/vnd.github.text-match+json")
        .scopes(["repo"])
    ] {
        /// Words and qualifiers, up to 256 characters, at least one word, as `addClass repo:octocat/hello language:js path:src`.
        q: String,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Searches repositories.
    SearchRepositories "search.repositories" get("/search/repositories") => Page<Repository> [
        .page(Paging::Link { items: "/items".into() }).scopes(["repo"])
    ] {
        /// Words and qualifiers, up to 256 characters, as `tetris language:rust stars:>100 org:github`.
        q: String,
        /// What they are sorted by; how well they match where absent.
        sort: Option<FoundRepositorySort>,
        /// In which direction; `desc` where absent.
        order: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }
}
