//! OAuth 2 as services really speak it (RFC 6749, RFC 7636, RFC 7523), with the switches that tell them apart.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Retry, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::Tokens;
use crate::answer::{Response, retry_after};
use crate::operation::Text;

/// How a client proves itself at the token endpoint (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// In the `authorization` header.
    Basic,
    /// In the body.
    #[default]
    Body,
}

/// How a service speaks OAuth 2. URLs may have settings of the integration in braces, as the connector's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OAuth2 {
    /// Where people grant access.
    pub authorize_url: Text,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: Text,
    /// What is asked for where the integration's setting `scopes` says nothing else.
    pub scopes: Vec<Text>,
    /// What stands between scopes; default a space.
    pub scope_separator: Text,
    /// What takes the scopes in the query of the authorization URL; default `scope`.
    pub scope_param: Text,
    /// Whether codes are bound to whoever asked for them (RFC 7636, S256); default yes.
    pub pkce: bool,
    /// How the client proves itself; default in the body.
    pub client_auth: ClientAuth,
    /// Whether requests to the token endpoint are JSON; default a form.
    pub json: bool,
    /// More for the query of the authorization URL, such as `access_type=offline`.
    pub authorize_params: Vec<(Text, Text)>,
    /// More for requests for tokens.
    pub token_params: Vec<(Text, Text)>,
    /// More for requests that renew tokens.
    pub refresh_params: Vec<(Text, Text)>,
    /// Where the answer to a code has the tokens, as a JSON pointer to an object; default the answer itself, which always has
    /// those that were renewed.
    pub tokens_at: Text,
    /// How long a token lives where the answer does not say.
    pub lifetime: Option<Duration>,
    /// How long before its end a token is renewed; default 2 minutes, and never more than half of its life.
    pub renew_before: Duration,
}

impl OAuth2 {
    /// A service with the usual switches.
    pub fn new(authorize_url: impl Into<Text>, token_url: impl Into<Text>) -> Self {
        Self {
            authorize_url: authorize_url.into(),
            token_url: token_url.into(),
            scopes: Vec::new(),
            scope_separator: Text::Borrowed(" "),
            scope_param: Text::Borrowed("scope"),
            pkce: true,
            client_auth: ClientAuth::default(),
            json: false,
            authorize_params: Vec::new(),
            token_params: Vec::new(),
            refresh_params: Vec::new(),
            tokens_at: Text::Borrowed(""),
            lifetime: None,
            renew_before: Duration::from_secs(120),
        }
    }

    /// Asks for these scopes.
    #[must_use]
    pub fn scopes<const N: usize>(mut self, scopes: [&'static str; N]) -> Self {
        self.scopes = scopes.into_iter().map(Text::Borrowed).collect();
        self
    }

    /// With something else between scopes.
    #[must_use]
    pub fn scope_separator(mut self, separator: impl Into<Text>) -> Self {
        self.scope_separator = separator.into();
        self
    }

    /// Without PKCE, for services that refuse it.
    #[must_use]
    pub fn without_pkce(mut self) -> Self {
        self.pkce = false;
        self
    }

    /// With the client proving itself in the `authorization` header.
    #[must_use]
    pub fn client_in_header(mut self) -> Self {
        self.client_auth = ClientAuth::Basic;
        self
    }

    /// With requests for tokens in JSON.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// With more in the query of the authorization URL.
    #[must_use]
    pub fn authorize_param(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.authorize_params.push((name.into(), value.into()));
        self
    }

    /// With more in requests for tokens.
    #[must_use]
    pub fn token_param(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.token_params.push((name.into(), value.into()));
        self
    }

    /// With more in requests that renew tokens.
    #[must_use]
    pub fn refresh_param(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.refresh_params.push((name.into(), value.into()));
        self
    }

    /// With scopes in another parameter of the authorization URL.
    #[must_use]
    pub fn scope_param(mut self, name: impl Into<Text>) -> Self {
        self.scope_param = name.into();
        self
    }

    /// With the tokens elsewhere in the answer to a code.
    #[must_use]
    pub fn tokens_at(mut self, pointer: impl Into<Text>) -> Self {
        self.tokens_at = pointer.into();
        self
    }

    /// With a life of tokens where the answer does not say one.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The URL at which somebody grants access.
    ///
    /// # Errors
    /// `invalid_input` for a URL that is none.
    pub(crate) fn authorization(
        &self,
        url: &str,
        client: &OAuthApp,
        scopes: &str,
        redirect_uri: &str,
        state: &str,
        verifier: &SecretString,
    ) -> Result<String> {
        let mut url = url::Url::parse(url).map_err(|_| Error::invalid("the authorization URL is none"))?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state);
        if !scopes.is_empty() {
            query.append_pair(&self.scope_param, scopes);
        }
        if self.pkce {
            let challenge = agentprovision_core::canonical::sha256(&[verifier.expose_secret().as_bytes()]);
            query
                .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
                .append_pair("code_challenge_method", "S256");
        }
        for (name, value) in &self.authorize_params {
            query.append_pair(name, value);
        }
        drop(query);
        Ok(url.into())
    }

    /// A request to the token endpoint.
    ///
    /// # Errors
    /// `invalid_input` for a URL that is none.
    pub(crate) fn token_request(
        &self,
        url: &str,
        client: &OAuthApp,
        grant: &[(&str, &str)],
        more: &[(Text, Text)],
    ) -> Result<Request<Bytes>> {
        let mut fields: Vec<(&str, &str)> = grant.to_vec();
        fields.extend(more.iter().map(|(name, value)| (&**name, &**value)));
        let secret = client.client_secret.as_ref().map(ExposeSecret::expose_secret);
        let mut request = Request::post(url).header(ACCEPT, "application/json");
        match (self.client_auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                // Both parts are form-encoded first (RFC 6749, section 2.3.1).
                let part =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", part(&client.client_id), part(secret)));
                let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
                    .map_err(|_| Error::invalid("the client's credentials cannot be in a header"))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            (_, secret) => {
                fields.push(("client_id", &client.client_id));
                fields.extend(secret.map(|secret| ("client_secret", secret)));
            }
        }
        let (kind, body) = if self.json {
            let fields: Map<String, Value> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            ("application/json", Value::Object(fields).to_string())
        } else {
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", form)
        };
        request
            .header(CONTENT_TYPE, kind)
            .body(Bytes::from(body))
            .map_err(|error| Error::invalid("the token URL is none").with_source(error))
    }

    /// The tokens in an answer of the token endpoint. `before` are those that were renewed: what the answer leaves out stays.
    ///
    /// # Errors
    /// `provider_error` with the reason `grant` when what was exchanged holds no longer, and with another for an answer that is none;
    /// `rate_limited` or `unavailable` when it may be answered later. Never the vendor's own words: they may quote a token.
    pub(crate) fn tokens(
        &self,
        response: &Response,
        now: Timestamp,
        before: Option<&Tokens>,
    ) -> Result<Tokens> {
        let body = response.json().unwrap_or(Value::Null);
        if let Some(error) = refusal(response, &body, now) {
            return Err(error);
        }
        let place = if before.is_some() { "" } else { &*self.tokens_at };
        let body = body.pointer(place).unwrap_or(&Value::Null);
        let access = body.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let Some(access) = access else {
            return Err(Error::new(ErrorKind::ProviderError, "the token endpoint answered without a token")
                .with_context("reason", "token_answer"));
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let seconds = match body.get("expires_in") {
            Some(Value::Number(seconds)) => seconds.as_u64(),
            // Some vendors write numbers as texts.
            Some(Value::String(seconds)) => seconds.parse().ok(),
            _ => None,
        };
        let lives = seconds.map(Duration::from_secs).or(self.lifetime);
        let scopes = text("scope").map(|scopes| {
            let parts = scopes.split([' ', ',']).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        });
        Ok(Tokens {
            access: SecretString::from(access),
            refresh: text("refresh_token")
                .filter(|token| !token.is_empty())
                .map(SecretString::from)
                .or_else(|| before.and_then(|before| before.refresh.clone())),
            expires_at: lives.map(|lives| now.after(lives)),
            scopes: scopes.or_else(|| before.map(|before| before.scopes.clone())).unwrap_or_default(),
            got_at: now,
        })
    }

    /// Whether tokens have to be renewed before they are used.
    pub(crate) fn is_due(&self, tokens: &Tokens, now: Timestamp) -> bool {
        let Some(end) = tokens.expires_at else { return false };
        let margin = self.renew_before.min(end.since(tokens.got_at) / 2);
        end <= now.after(margin)
    }
}

/// What an answer of a token endpoint says is wrong (RFC 6749, section 5.2), if anything.
fn refusal(response: &Response, body: &Value, now: Timestamp) -> Option<Error> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (status, code) = (response.status.as_u16(), text("error"));
    if response.status.is_success() && code.is_empty() {
        return None;
    }
    let meaning = match code {
        // Atlassian's other words for it.
        "unauthorized_client" if text("error_description").contains("refresh_token") => "invalid_grant",
        code => code,
    };
    let error = match (status, meaning) {
        (_, "invalid_grant" | "bad_refresh_token" | "token_revoked" | "invalid_refresh_token") => {
            Error::new(ErrorKind::ProviderError, "the vendor has taken back the access that was granted")
                .with_context("reason", "grant")
        }
        (429, _) => {
            let wait = retry_after(&response.headers, now).unwrap_or(Duration::from_secs(5));
            Error::new(ErrorKind::RateLimited, "the token endpoint takes no more requests for now")
                .with_retry(Retry::After(wait))
        }
        (500.., _) | (_, "temporarily_unavailable" | "server_error") => {
            Error::new(ErrorKind::Unavailable, "the token endpoint cannot answer for now")
                .with_retry(Retry::After(retry_after(&response.headers, now).unwrap_or_default()))
        }
        (
            _,
            "invalid_client"
            | "unauthorized_client"
            | "bad_client_secret"
            | "invalid_client_id"
            | "incorrect_client_credentials",
        ) => Error::new(ErrorKind::ProviderError, "the vendor does not know the client that asks for tokens")
            .with_context("reason", "client"),
        _ => Error::new(ErrorKind::ProviderError, "the token endpoint refused the request")
            .with_context("reason", "token_answer"),
    };
    // The codes of the specification are no secrets, and nothing else is given on.
    let known =
        !code.is_empty() && code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let error = error.with_context("status", status);
    Some(if known { error.with_context("code", code) } else { error })
}

/// An application that is registered at a vendor: the client of OAuth 2.
#[derive(Clone)]
pub struct OAuthApp {
    /// Its id, which is no secret.
    pub client_id: String,
    /// Its secret, where it has one.
    pub client_secret: Option<SecretString>,
}

impl OAuthApp {
    /// An application with a secret.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        Self { client_id: client_id.into(), client_secret: Some(client_secret.into()) }
    }

    /// An application without one.
    pub fn public(client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), client_secret: None }
    }
}

impl std::fmt::Debug for OAuthApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthApp").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
