//! Users and organizations with their repositories (<https://docs.github.com/rest/users/users>,
//! <https://docs.github.com/rest/repos/repos>), and what is left of the limits.

use super::repos::{Repository, Visibility};
use super::types::{Account, Direction};
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

records! {
    /// A user or an organization.
    Profile {
        /// The name in URLs.
        login: String,
        /// The id.
        id: u64,
        /// `User`, `Organization` or `Bot`.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// The name, where there is one.
        name: Option<String>,
        /// The address, where it is public or the account is the asking one.
        email: Option<String>,
        /// The company.
        company: Option<String>,
        /// Where somebody is.
        location: Option<String>,
        /// What somebody says about themselves.
        bio: Option<String>,
        /// The home page.
        blog: Option<String>,
        /// How many public repositories there are.
        public_repos: Option<u64>,
        /// When the account was made, in RFC 3339.
        created_at: Option<String>,
        /// The page.
        html_url: Option<String>,
    }

    /// What is left of the limits.
    RateLimits {
        /// By what is limited.
        resources: Resources,
    }

    /// The limits, by what is limited.
    Resources {
        /// Most operations.
        core: RateLimit,
        /// Searches other than for code.
        search: Option<RateLimit>,
        /// Searches for code.
        code_search: Option<RateLimit>,
        /// GraphQL, in points.
        graphql: Option<RateLimit>,
    }

    /// A limit.
    RateLimit {
        /// How many requests there are at most.
        limit: u64,
        /// How many are left.
        remaining: u64,
        /// When all are there again, in seconds since 1970.
        reset: i64,
        /// How many were used.
        used: u64,
    }
}

choices! {
    /// Which members of an organization.
    MemberRole {
        /// All of them.
        All "all",
        /// Its owners.
        Admin "admin",
        /// Those who are no owners.
        Member "member",
    }
}

choices! {
    /// What repositories are sorted by.
    RepositorySort {
        /// When they were made.
        Created "created",
        /// When they last changed.
        Updated "updated",
        /// When something was last pushed.
        Pushed "pushed",
        /// Their names.
        FullName "full_name",
    }

    /// Which repositories of an organization.
    OrganizationRepositories {
        /// All of them.
        All "all",
        /// Public ones.
        Public "public",
        /// Private ones.
        Private "private",
        /// Forks.
        Forks "forks",
        /// Those that are no forks.
        Sources "sources",
        /// Those that the account is a member of.
        Member "member",
    }

    /// Which repositories of a user.
    UserRepositories {
        /// All of them.
        All "all",
        /// Those of their own.
        Owner "owner",
        /// Those that they work on.
        Member "member",
    }

    /// Which repositories by who may see them.
    SeenBy {
        /// All of them.
        All "all",
        /// Public ones.
        Public "public",
        /// Private ones.
        Private "private",
    }
}

operations! {
    /// Tells the account that the credentials belong to.
    GetMe "users.me" get("/user") => Profile {
    }

    /// Gets the public profile of a user or an organization.
    GetUser "users.get" get("/users/{username}") => Profile {
        /// The login.
        username: String,
    }

    /// Lists the members of an organization; only public ones, unless the account is a member itself.
    ListMembers "orgs.list_members" get("/orgs/{org}/members") => Page<Account> [
        .page(Paging::LINK).scopes(["read:org"])
    ] {
        /// The name of the organization.
        org: String,
        /// Only members of this role; `all` where absent.
        role: Option<MemberRole>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Tells what is left of the rate limits. Asking costs nothing of them.
    GetRateLimit "rate_limit.get" get("/rate_limit") => RateLimits [.units(0)] {
    }

    /// Lists the repositories that the account may work on.
    ListMyRepositories "repos.list" get("/user/repos") => Page<Repository> [.page(Paging::LINK).scopes(["repo"])] {
        /// Which ones by who may see them; `all` where absent.
        visibility: Option<SeenBy>,
        /// Why the account may: `owner`, `collaborator`, `organization_member`, several separated by commas; all where absent.
        affiliation: Option<String>,
        /// What they are sorted by; `full_name` where absent.
        sort: Option<RepositorySort>,
        /// In which direction; `asc` where absent, if they are sorted by `full_name`, otherwise `desc`.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Lists the repositories of an organization that the account may see.
    ListOrganizationRepositories "repos.list_org" get("/orgs/{org}/repos") => Page<Repository> [
        .page(Paging::LINK).scopes(["repo"])
    ] {
        /// The name of the organization.
        org: String,
        /// Which ones; `all` where absent.
        #[serde(rename = "type")]
        kind: Option<OrganizationRepositories>,
        /// What they are sorted by; `created` where absent.
        sort: Option<RepositorySort>,
        /// In which direction; `asc` where absent, if they are sorted by `full_name`, otherwise `desc`.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Lists the public repositories of a user.
    ListUserRepositories "repos.list_user" get("/users/{username}/repos") => Page<Repository> [.page(Paging::LINK)] {
        /// The login.
        username: String,
        /// Which ones; `owner` where absent.
        #[serde(rename = "type")]
        kind: Option<UserRepositories>,
        /// What they are sorted by; `full_name` where absent.
        sort: Option<RepositorySort>,
        /// In which direction; `asc` where absent, if they are sorted by `full_name`, otherwise `desc`.
        direction: Option<Direction>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Makes a repository of the account.
    CreateRepository "repos.create" post("/user/repos") => Repository [.scopes(["repo"])] {
        /// The name, without the owner.
        name: String,
        /// What it is.
        description: Option<String>,
        /// Whether only some may see it; everybody may where absent.
        private: Option<bool>,
        /// Whether it begins with a README; empty where absent.
        auto_init: Option<bool>,
        /// The name of a template of what Git ignores, as `Rust`.
        gitignore_template: Option<String>,
        /// The name of a licence, as `mit`.
        license_template: Option<String>,
    }

    /// Makes a repository of an organization.
    CreateOrganizationRepository "repos.create_org" post("/orgs/{org}/repos") => Repository [.scopes(["repo"])] {
        /// The name of the organization.
        org: String,
        /// The name, without the owner.
        name: String,
        /// What it is.
        description: Option<String>,
        /// Who may see it; everybody where absent.
        visibility: Option<Visibility>,
        /// Whether it begins with a README; empty where absent.
        auto_init: Option<bool>,
        /// The name of a template of what Git ignores, as `Rust`.
        gitignore_template: Option<String>,
        /// The name of a licence, as `mit`.
        license_template: Option<String>,
    }
}
