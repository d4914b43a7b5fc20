//! How tokens that expire are got.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::oauth::{OAuth2, OAuthApp};
use super::{Credentials, Field, Tokens};
use crate::answer::Response;
use crate::operation::Text;

/// How tokens that expire are got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// Somebody grants access in a browser, and a refresh token renews it (RFC 6749, sections 4.1 and 6).
    Code(OAuth2),
    /// The fields `client_id` and `client_secret` are exchanged (RFC 6749, section 4.4).
    Client(OAuth2),
    /// A statement is signed with the field `private_key` (PEM), and exchanged (RFC 7523, section 2.1). The fields `issuer`
    /// and `subject` say who states it about whom.
    Assertion(OAuth2, Assertion),
    /// An installation of a GitHub App, from the fields `app_id`, `installation_id` and `private_key` (PEM).
    GithubApp,
    /// The fields `username` and `password` are exchanged for a session.
    Session(Session),
}

/// What a signed statement says beside its issuer, subject and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Whom it is for; the token URL where empty.
    pub audience: Text,
    /// How long it holds; default 5 minutes.
    pub lifetime: Duration,
}

impl Default for Assertion {
    fn default() -> Self {
        Self { audience: Text::Borrowed(""), lifetime: Duration::from_secs(300) }
    }
}

/// How a session is begun and what carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The path of the login under the base URL.
    pub path: Text,
    /// The fields of the login's JSON body that take name and password.
    pub fields: (Text, Text),
    /// Where the answer has the token: a JSON pointer, or the name of a cookie.
    pub token: SessionToken,
    /// How long a session holds.
    pub lifetime: Duration,
}

/// What carries a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionToken {
    /// A text in the answer, at this JSON pointer, which goes into this header behind this prefix.
    Answer {
        /// The JSON pointer.
        pointer: Text,
        /// The header.
        header: Text,
        /// What stands before it.
        prefix: Text,
    },
    /// A cookie of this name.
    Cookie(Text),
}

fn client_field(name: &str) -> Field {
    match name {
        "client_id" => Field::new("client_id", "The id of the client."),
        _ => Field::new("client_secret", "The secret of the client."),
    }
}

impl Grant {
    /// What whoever connects an integration is asked for.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let key = || Field::new("private_key", "The private key, in PEM.");
        match self {
            // Only where the host has registered no application.
            Self::Code(_) => {
                vec![client_field("client_id").optional(), client_field("client_secret").optional()]
            }
            Self::Client(_) => vec![client_field("client_id"), client_field("client_secret")],
            Self::Assertion(..) => vec![
                Field::new("issuer", "Who makes the statement."),
                Field::new("subject", "About whom.").optional(),
                key(),
            ],
            Self::GithubApp => vec![
                Field::new("app_id", "The id of the app."),
                Field::new("installation_id", "The id of its installation."),
                key(),
            ],
            Self::Session(_) => {
                vec![Field::new("username", "The user name."), Field::new("password", "The password.")]
            }
        }
    }

    /// How the service speaks OAuth 2, if it does.
    pub(crate) fn oauth(&self) -> Option<&OAuth2> {
        match self {
            Self::Code(oauth) | Self::Client(oauth) | Self::Assertion(oauth, _) => Some(oauth),
            Self::GithubApp | Self::Session(_) => None,
        }
    }

    /// Where tokens come from and people are sent, with settings in braces.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        let of = self.oauth().into_iter().flat_map(|oauth| [&*oauth.token_url, &*oauth.authorize_url]);
        of.filter(|url| !url.is_empty())
    }

    /// The same, asking for what the setting `scopes` of an integration says, where it says something.
    pub(crate) fn asking(&self, settings: &Map<String, Value>) -> Self {
        let mut grant = self.clone();
        if let (Self::Client(oauth) | Self::Assertion(oauth, _), Some(Value::String(scopes))) =
            (&mut grant, settings.get("scopes"))
        {
            oauth.scopes = scopes.split_whitespace().map(|scope| scope.to_owned().into()).collect();
        }
        grant
    }

    /// Whether tokens have to be renewed before they are used.
    pub(crate) fn is_due(&self, tokens: &Tokens, now: Timestamp) -> bool {
        match self.oauth() {
            Some(oauth) => oauth.is_due(tokens, now),
            None => tokens.expires_at.is_some_and(|end| end <= now.after(Duration::from_secs(60))),
        }
    }

    /// Whether new tokens are got with what is spent by it: then two who do so at the same time destroy each other's.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Self::Code(_))
    }

    /// The request for new tokens. `place` fills settings into URLs.
    ///
    /// # Errors
    /// `provider_error` with the reason `grant` where somebody has to grant access first; `invalid_input` for a key or URL
    /// that is none.
    pub(crate) fn request(
        &self,
        base: &str,
        place: &dyn Fn(&str) -> Result<String>,
        credentials: &Credentials,
        client: Option<&OAuthApp>,
        now: Timestamp,
    ) -> Result<Request<Bytes>> {
        match self {
            Self::Code(oauth) => {
                let refresh = credentials.tokens.as_ref().and_then(|tokens| tokens.refresh.as_ref());
                let refresh = refresh.ok_or_else(not_granted)?;
                let client = client.ok_or_else(no_client)?;
                let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret())];
                oauth.token_request(&place(&oauth.token_url)?, client, &grant, &oauth.refresh_params)
            }
            Self::Client(oauth) => {
                let client = client.ok_or_else(no_client)?;
                let scopes = oauth.scopes.join(&*oauth.scope_separator);
                let mut grant = vec![("grant_type", "client_credentials")];
                if !scopes.is_empty() {
                    grant.push(("scope", &scopes));
                }
                oauth.token_request(&place(&oauth.token_url)?, client, &grant, &oauth.token_params)
            }
            Self::Assertion(oauth, assertion) => {
                let url = place(&oauth.token_url)?;
                let issuer = credentials.field("issuer")?.expose_secret();
                let seconds = now.micros() / 1_000_000;
                let lifetime = i64::try_from(assertion.lifetime.as_secs()).unwrap_or(300);
                let audience = if assertion.audience.is_empty() { &url } else { &*assertion.audience };
                let mut claims = json!({
                    "iss": issuer,
                    "aud": audience,
                    "iat": seconds,
                    "exp": seconds.saturating_add(lifetime),
                    "scope": oauth.scopes.join(&*oauth.scope_separator),
                });
                if let (Some(claims), Some(subject)) =
                    (claims.as_object_mut(), credentials.optional("subject"))
                {
                    claims.insert("sub".to_owned(), Value::from(subject.expose_secret()));
                }
                let signed = signed(credentials, &claims)?;
                let grant = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", signed.expose_secret()),
                ];
                // Who asks is in the statement.
                let nobody = OAuthApp::public(issuer);
                oauth.token_request(&url, &nobody, &grant, &oauth.token_params)
            }
            Self::GithubApp => {
                let installation = credentials.field("installation_id")?.expose_secret();
                if installation.is_empty() || !installation.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(Error::invalid("`installation_id` of the credentials is no number"));
                }
                let seconds = now.micros() / 1_000_000;
                // A minute back, because clocks differ; at most ten minutes are allowed.
                let app = credentials.field("app_id")?.expose_secret();
                let claims = json!({ "iss": app, "iat": seconds - 60, "exp": seconds + 540 });
                let mut bearer = HeaderValue::from_str(&format!(
                    "Bearer {}",
                    signed(credentials, &claims)?.expose_secret()
                ))
                .map_err(|_| Error::internal("a signed statement cannot be in a header"))?;
                bearer.set_sensitive(true);
                Request::post(format!("{base}/app/installations/{installation}/access_tokens"))
                    .header(ACCEPT, "application/vnd.github+json")
                    .header(AUTHORIZATION, bearer)
                    .body(Bytes::new())
                    .map_err(|error| Error::invalid("the base URL is none").with_source(error))
            }
            Self::Session(session) => {
                let (name, password) = (credentials.field("username")?, credentials.field("password")?);
                let body = json!({
                    &*session.fields.0: name.expose_secret(),
                    &*session.fields.1: password.expose_secret(),
                });
                Request::post(format!("{base}{}", session.path))
                    .header(ACCEPT, "application/json")
                    .header(CONTENT_TYPE, "application/json")
                    .body(Bytes::from(body.to_string()))
                    .map_err(|error| Error::invalid("the base URL is none").with_source(error))
            }
        }
    }

    /// The tokens in the answer to that request.
    ///
    /// # Errors
    /// As [`OAuth2::tokens`].
    pub(crate) fn tokens(
        &self,
        response: &Response,
        now: Timestamp,
        before: Option<&Tokens>,
    ) -> Result<Tokens> {
        if let Some(oauth) = self.oauth() {
            return oauth.tokens(response, now, before);
        }
        let refused = |reason| {
            Error::new(ErrorKind::ProviderError, "the vendor refused the integration's credentials")
                .with_context("reason", reason)
                .with_context("status", response.status.as_u16())
        };
        match response.status.as_u16() {
            200..=299 => {}
            400 | 401 | 403 | 404 | 422 => return Err(refused("grant")),
            429 | 500.. => {
                return Err(Error::new(ErrorKind::Unavailable, "the vendor cannot answer for now")
                    .with_retry(agentprovision_core::Retry::After(Duration::ZERO)));
            }
            _ => return Err(refused("token_answer")),
        }
        let body = response.json().unwrap_or(Value::Null);
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (access, expires_at) = match self {
            Self::Session(session) => {
                let found = match &session.token {
                    SessionToken::Answer { pointer, .. } => text(pointer),
                    SessionToken::Cookie(name) => cookie(response, name),
                };
                (found, Some(now.after(session.lifetime)))
            }
            _ => (text("/token"), text("/expires_at").and_then(|at| at.parse().ok())),
        };
        let access = access.filter(|token| !token.is_empty()).ok_or_else(|| refused("token_answer"))?;
        Ok(Tokens {
            access: SecretString::from(access),
            refresh: None,
            expires_at,
            scopes: Vec::new(),
            got_at: now,
        })
    }

    /// The header that carries a token.
    pub(crate) fn header(&self, token: &str) -> (String, String) {
        match self {
            Self::Session(Session { token: SessionToken::Cookie(name), .. }) => {
                ("cookie".to_owned(), format!("{name}={token}"))
            }
            Self::Session(Session { token: SessionToken::Answer { header, prefix, .. }, .. }) => {
                (header.to_string(), format!("{prefix}{token}"))
            }
            _ => (AUTHORIZATION.to_string(), format!("Bearer {token}")),
        }
    }
}

/// Nobody has granted access yet, or for this long.
pub(crate) fn not_granted() -> Error {
    Error::new(ErrorKind::ProviderError, "nobody has granted the integration access at the vendor")
        .with_context("reason", "grant")
}

fn no_client() -> Error {
    Error::invalid(
        "no application is registered for the connector: its client id and secret are in neither the platform's settings nor the credentials",
    )
}

/// A statement, signed with the private key of the credentials: RSA, or a curve.
fn signed(credentials: &Credentials, claims: &Value) -> Result<SecretString> {
    let pem = credentials.field("private_key")?.expose_secret().as_bytes();
    // Not the cause: it can quote what it read.
    let bad = || Error::invalid("`private_key` of the credentials is no private key in PEM");
    let (key, algorithm) = match EncodingKey::from_rsa_pem(pem) {
        Ok(key) => (key, Algorithm::RS256),
        Err(_) => (EncodingKey::from_ec_pem(pem).map_err(|_| bad())?, Algorithm::ES256),
    };
    let token = jsonwebtoken::encode(&Header::new(algorithm), claims, &key).map_err(|_| bad())?;
    Ok(SecretString::from(token))
}

fn cookie(response: &Response, name: &str) -> Option<String> {
    let cookies = response.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .filter_map(|cookie| cookie.split(';').next()?.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then(|| value.to_owned()))
}

/// A random text of 256 bits, for states and verifiers (RFC 7636, section 4.1).
pub(crate) fn random_text(bytes: [u8; 32]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
