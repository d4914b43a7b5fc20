//! Releases (<https://docs.github.com/rest/releases>).

use super::types::Account;
use crate::operation::Page;
use crate::paging::Paging;

records! {
    /// A release.
    Release {
        /// The id.
        id: u64,
        /// The tag.
        tag_name: String,
        /// The branch or commit that the tag is made of, if it is not there yet.
        target_commitish: String,
        /// The name.
        name: Option<String>,
        /// The notes, in Markdown.
        body: Option<String>,
        /// Whether only some may see it yet.
        draft: bool,
        /// Whether it is said to be unready.
        prerelease: bool,
        /// Who made it.
        author: Option<Account>,
        /// Files that belong to it.
        assets: Vec<Asset>,
        /// When it was made, in RFC 3339.
        created_at: String,
        /// When it was published.
        published_at: Option<String>,
        /// Its page.
        html_url: String,
    }

    /// A file of a release.
    Asset {
        /// The id.
        id: u64,
        /// The name of the file.
        name: String,
        /// The size in bytes.
        size: u64,
        /// The content type.
        content_type: String,
        /// How often it was fetched.
        download_count: u64,
        /// Where it is.
        browser_download_url: String,
    }
}

choices! {
    /// Whether a release becomes the latest one.
    Latest {
        /// It does.
        Yes "true",
        /// It does not.
        No "false",
        /// It does if its version and time say so.
        Legacy "legacy",
    }
}

in_repository! {
    /// Lists the releases of a repository, the newest first. Drafts are among them for those who may push.
    ListReleases "releases.list" get("/repos/{owner}/{repo}/releases") => Page<Release> [.page(Paging::LINK)] {
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets the latest release that is no draft and not said to be unready.
    GetLatestRelease "releases.latest" get("/repos/{owner}/{repo}/releases/latest") => Release {
    }

    /// Gets the release of a tag.
    GetReleaseByTag "releases.get_by_tag" get("/repos/{owner}/{repo}/releases/tags/{tag}") => Release {
        /// The tag.
        tag: String,
    }

    /// Makes a release, and its tag if there is none.
    CreateRelease "releases.create" post("/repos/{owner}/{repo}/releases") => Release {
        /// The tag.
        tag_name: String,
        /// The branch or commit that the tag is made of, if it is not there yet; the default branch where absent.
        target_commitish: Option<String>,
        /// The name.
        name: Option<String>,
        /// The notes, in Markdown.
        body: Option<String>,
        /// Whether it is not published yet.
        draft: Option<bool>,
        /// Whether it is said to be unready.
        prerelease: Option<bool>,
        /// Whether GitHub writes the notes, behind those that are given.
        generate_release_notes: Option<bool>,
        /// Whether it becomes the latest one; it does where absent.
        make_latest: Option<Latest>,
    }

    /// Changes a release: only what is given changes. `draft` `false` publishes it.
    UpdateRelease "releases.update" patch("/repos/{owner}/{repo}/releases/{release_id}") => Release [.natural()] {
        /// The id of the release.
        release_id: u64,
        /// The tag.
        tag_name: Option<String>,
        /// The branch or commit that the tag is made of, if it is not there yet.
        target_commitish: Option<String>,
        /// The name.
        name: Option<String>,
        /// The notes, in Markdown.
        body: Option<String>,
        /// Whether it is not published yet.
        draft: Option<bool>,
        /// Whether it is said to be unready.
        prerelease: Option<bool>,
        /// Whether it becomes the latest one.
        make_latest: Option<Latest>,
    }
}
