//! Users, members of organizations and what is left of the limits (<https://docs.github.com/rest/users/users>).

use super::types::Account;
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
}
