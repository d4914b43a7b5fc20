//! Who gives tokens: OAuth 2 with PKCE, expiring access tokens and refresh tokens that are good for one use.

mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::state::{Call, Vendor, World, pairs};
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};

/// An app that is registered at a vendor.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    id: String,
    secret: Option<String>,
    redirects: Vec<String>,
    lifetime: Option<Duration>,
    rotates: bool,
}

impl OAuthClient {
    /// A confidential app: access tokens live as long as the vendor's (GitHub 8 h, Jira 1 h, Slack 12 h), refresh tokens are good
    /// for one use.
    pub fn new(id: &str, secret: &str) -> Self {
        let secret = Some(secret.to_owned());
        Self { id: id.to_owned(), secret, redirects: Vec::new(), lifetime: None, rotates: true }
    }

    /// An app without a secret, which has to prove by PKCE that the code is its own.
    pub fn public(id: &str) -> Self {
        Self { secret: None, ..Self::new(id, "") }
    }

    /// Where somebody may be sent back to; without any, everywhere.
    #[must_use]
    pub fn redirect(mut self, url: &str) -> Self {
        self.redirects.push(url.to_owned());
        self
    }

    /// How long access tokens live.
    #[must_use]
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Refresh tokens stay good, as some vendors have it.
    #[must_use]
    pub fn keeps_refresh_tokens(mut self) -> Self {
        self.rotates = false;
        self
    }
}

/// A pair of tokens that was given without anybody being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// When the access token expires.
    pub expires_at: Timestamp,
}

/// How often tokens were asked for at a vendor's token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redemptions {
    /// Codes that were redeemed.
    pub authorization_codes: u64,
    /// Refresh tokens that were redeemed.
    pub refresh_tokens: u64,
    /// Tokens that an app got for itself.
    pub client_credentials: u64,
    /// Codes and refresh tokens that had been used before, which revokes all that came of them.
    pub reused: u64,
    /// Requests that were refused, reused ones too.
    pub refused: u64,
}

/// Whom tokens stand for, and what becomes of them.
pub(super) struct Accounts {
    vendor: Vendor,
    tokens: BTreeMap<String, Access>,
    clients: BTreeMap<String, OAuthClient>,
    codes: BTreeMap<String, Code>,
    refresh: BTreeMap<String, Refresh>,
    grants: Vec<Grant>,
    counts: Redemptions,
    consents: Option<String>,
    denials: u64,
}

struct Access {
    subject: String,
    expires: Option<Timestamp>,
    grant: Option<usize>,
}

struct Code {
    client: String,
    redirect: Option<String>,
    challenge: Option<String>,
    grant: usize,
    expires: Timestamp,
    used: bool,
}

struct Refresh {
    grant: usize,
    used: bool,
}

struct Grant {
    client: String,
    subject: String,
    scope: String,
    revoked: bool,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Unknown,
    Expired,
    Revoked,
}

/// An error of the token endpoint (RFC 6749, section 5.2).
struct Refusal(&'static str, &'static str);

impl Accounts {
    pub(super) fn new(vendor: Vendor) -> Self {
        Self {
            vendor,
            tokens: BTreeMap::new(),
            clients: BTreeMap::new(),
            codes: BTreeMap::new(),
            refresh: BTreeMap::new(),
            grants: Vec::new(),
            counts: Redemptions::default(),
            consents: None,
            denials: 0,
        }
    }

    /// A token that does not expire.
    pub(super) fn keep(&mut self, token: &str, subject: &str) {
        let access = Access { subject: subject.to_owned(), expires: None, grant: None };
        self.tokens.insert(token.to_owned(), access);
    }

    /// Whom a token stands for.
    pub(super) fn subject(&self, token: &str, now: Timestamp) -> std::result::Result<&str, Denied> {
        let access = self.tokens.get(token).ok_or(Denied::Unknown)?;
        let grant = access.grant.and_then(|grant| self.grants.get(grant));
        if grant.is_some_and(|grant| grant.revoked) {
            return Err(Denied::Revoked);
        }
        match access.expires.is_some_and(|at| at <= now) {
            true => Err(Denied::Expired),
            false => Ok(&access.subject),
        }
    }

    pub(super) fn revoke(&mut self, token: &str) -> bool {
        let grant = self.refresh.get(token).map(|refresh| refresh.grant);
        if let Some(grant) = grant.and_then(|grant| self.grants.get_mut(grant)) {
            grant.revoked = true;
        }
        grant.is_some() || self.tokens.remove(token).is_some()
    }

    fn grant(&mut self, client: &str, subject: &str, scope: &str) -> usize {
        let (client, subject, scope) = (client.to_owned(), subject.to_owned(), scope.to_owned());
        self.grants.push(Grant { client, subject, scope, revoked: false });
        self.grants.len() - 1
    }

    fn lifetime(&self, client: &str) -> Duration {
        let usual = match self.vendor {
            Vendor::Github => 8,
            Vendor::Jira => 1,
            Vendor::Slack => 12,
        };
        let of_client = self.clients.get(client).and_then(|client| client.lifetime);
        of_client.unwrap_or(Duration::from_secs(usual * 3600))
    }
}

/// Who gives tokens of a vendor: OAuth 2 endpoints on the vendor's server.
///
/// | endpoint | what it does |
/// |---|---|
/// | `/oauth/authorize` | consents at once, as [`OAuth::consent`] says, and answers with the redirect |
/// | `/oauth/token` | `authorization_code` with PKCE, `refresh_token`, `client_credentials`; a form or JSON |
/// | `/oauth/revoke` | revokes an access token, or all that came of a refresh token |
///
/// The vendors' own paths and forms are there too: `/login/oauth/authorize` and `/login/oauth/access_token` of GitHub, `/authorize`
/// of Atlassian, `/oauth/v2/authorize` and `/api/oauth.v2.access` of Slack.
///
/// A refresh token is good for one use. One that is used again revokes every token of its family, and so does a code. Access tokens
/// expire by the clock of the `Env`.
#[derive(Debug)]
pub struct OAuth<'a> {
    pub(super) shared: &'a Shared,
    pub(super) vendor: Vendor,
}

impl OAuth<'_> {
    /// Registers an app, in place of one with the same id.
    pub fn add_client(&self, client: OAuthClient) {
        self.shared.world().accounts(self.vendor).clients.insert(client.id.clone(), client);
    }

    /// The URL of the authorisation endpoint.
    pub fn authorize_url(&self) -> String {
        format!("{}/oauth/authorize", self.shared.world().base(self.vendor))
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.shared.world().base(self.vendor))
    }

    /// The URL of the revocation endpoint.
    pub fn revoke_url(&self) -> String {
        format!("{}/oauth/revoke", self.shared.world().base(self.vendor))
    }

    /// Who consents from now on: a login of GitHub, an account's address of Jira, a user's name of Slack, made where there is none.
    /// Without it the first account there is.
    pub fn consent(&self, who: &str) {
        let mut world = self.shared.world();
        let subject = world.subject(self.vendor, who);
        world.accounts(self.vendor).consents = Some(subject);
    }

    /// Whoever is asked next says no.
    pub fn deny_next(&self) {
        self.shared.world().accounts(self.vendor).denials += 1;
    }

    /// Tokens of an app for somebody, without the way through a browser.
    ///
    /// # Errors
    /// `not_found` when there is no such app.
    pub fn grant(&self, client: &str, who: &str) -> Result<Tokens> {
        let mut world = self.shared.world();
        let subject = world.subject(self.vendor, who);
        let accounts = world.accounts(self.vendor);
        if !accounts.clients.contains_key(client) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no app `{client}`")));
        }
        let grant = accounts.grant(client, &subject, "");
        let (access_token, lifetime, refresh_token) = world.issue(self.vendor, grant, None);
        let expires_at = world.now().after(lifetime);
        Ok(Tokens { access_token, refresh_token, expires_at })
    }

    /// Revokes a token, as its owner does at the vendor's page: an access token alone, or all that came of a refresh token. Whether
    /// there was one.
    pub fn revoke(&self, token: &str) -> bool {
        self.shared.world().accounts(self.vendor).revoke(token)
    }

    /// How often tokens were asked for.
    pub fn redemptions(&self) -> Redemptions {
        self.shared.world().accounts(self.vendor).counts
    }

    /// Refresh tokens that can still be redeemed.
    pub fn live_refresh_tokens(&self) -> Vec<String> {
        let mut world = self.shared.world();
        let accounts = world.accounts(self.vendor);
        let revoked = |grant: usize| accounts.grants.get(grant).is_none_or(|grant| grant.revoked);
        let live = accounts.refresh.iter().filter(|(_, refresh)| !refresh.used && !revoked(refresh.grant));
        live.map(|(token, _)| token.clone()).collect()
    }
}

impl World {
    /// Who asks, where the request proves it.
    pub(super) fn who(&self, call: &Call) -> Option<String> {
        self.proved(call).ok()
    }

    /// Whom the credentials of a request stand for.
    pub(super) fn proved(&self, call: &Call) -> std::result::Result<String, Option<Denied>> {
        if let Some(subject) = &call.acting {
            return Ok(subject.clone());
        }
        let [github, jira, slack] = &self.accounts;
        let accounts = match call.vendor {
            Vendor::Github => github,
            Vendor::Jira => jira,
            Vendor::Slack => slack,
        };
        let in_form = || {
            let form = if call.is_form() { pairs(&call.body) } else { Vec::new() };
            form.into_iter()
                .chain(call.query.clone())
                .find(|(name, _)| name == "token")
                .map(|(_, token)| token)
        };
        let token = match (call.bearer(), call.vendor) {
            (Some(token), _) => token.to_owned(),
            (None, Vendor::Slack) => in_form().ok_or(None)?,
            (None, _) => {
                let (user, token) = call.basic().ok_or(None)?;
                let subject = accounts.subject(&token, self.now()).map_err(Some)?;
                let same = call.vendor == Vendor::Github || self.jira.is_account(subject, &user);
                return if same { Ok(subject.to_owned()) } else { Err(Some(Denied::Unknown)) };
            }
        };
        accounts.subject(&token, self.now()).map(str::to_owned).map_err(Some)
    }

    /// The id of somebody, who is made where there is none.
    pub(super) fn subject(&mut self, vendor: Vendor, who: &str) -> String {
        match vendor {
            Vendor::Github => self.github_user(who),
            Vendor::Jira => self.jira_account(who),
            Vendor::Slack => self.slack_user(who),
        }
    }

    fn default_subject(&mut self, vendor: Vendor) -> String {
        let first = match vendor {
            Vendor::Github => self.github.first_user(),
            Vendor::Jira => self.jira.first_account(),
            Vendor::Slack => self.slack.first_user(),
        };
        match (first, vendor) {
            (Some(first), _) => first,
            (None, Vendor::Github) => self.github_user("octocat"),
            (None, Vendor::Jira) => self.jira_account("ada@example.com"),
            (None, Vendor::Slack) => self.slack_user("ada"),
        }
    }
}
