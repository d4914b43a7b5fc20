//! Whether a delivery is the vendor's: over the bytes that came, before anything reads them.
//!
//! Start with [`Verifier`]. It takes bytes and headers and nothing else, so that nobody can hand in JSON that was parsed and
//! written again: that has another signature as soon as it holds an escape, an emoji or a number in another form.

mod scheme;

use std::fmt;
use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Hmac;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest as _, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

pub use scheme::{Algorithm, Encoding, HmacScheme, KeyForm, Scheme, TOLERANCE_S, TimestampPlace};
use scheme::{Clock, Piece, Plan};

/// The secrets of an endpoint: the current one, and for a while the one before it, so that a change loses no delivery.
#[derive(Clone)]
pub struct Secrets {
    current: SecretString,
    previous: Option<(SecretString, Timestamp)>,
}

impl Secrets {
    /// One secret.
    pub fn new(current: impl Into<SecretString>) -> Self {
        Self { current: current.into(), previous: None }
    }

    /// The same, and `previous` counts too until `until`, which is excluded.
    #[must_use]
    pub fn with_previous(mut self, previous: impl Into<SecretString>, until: Timestamp) -> Self {
        self.previous = Some((previous.into(), until));
        self
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.previous.as_ref().map(|(_, until)| until);
        f.debug_struct("Secrets").field("previous_until", &until).finish_non_exhaustive()
    }
}

/// What a secret is turned into before it is used.
#[derive(Clone)]
struct Key {
    bytes: SecretSlice<u8>,
    until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Proof {
    /// One of these, told by its header.
    Hmac(Vec<Plan>),
    /// The secret itself in a header.
    Token(HeaderName),
    Bearer,
    /// The user is part of the key.
    Basic,
}

/// Tells the deliveries of a vendor from others. Cheap to make; keeps nothing between deliveries.
///
/// # Examples
/// ```
/// use agentprovision_connectors::webhook::{Secrets, Verifier};
/// use agentprovision_core::{ErrorKind, Timestamp};
///
/// let verifier = Verifier::github(Secrets::new("It's a Secret to Everybody"))?;
/// let now = Timestamp::default();
/// let headers = verifier.sign(now, "", b"Hello, World!")?;
/// verifier.verify(now, &headers, b"Hello, World!")?;
/// let refused = verifier.verify(now, &headers, b"Hello, world!").unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
/// # Ok::<(), agentprovision_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    scheme: Scheme,
    proof: Proof,
    /// The current one first.
    keys: Vec<Key>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $scheme:ident,)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// `invalid_input` for a secret that is empty or not in the scheme's form.
        pub fn $name(secrets: Secrets) -> Result<Self> {
            Self::new(Scheme::$scheme, secrets)
        })*
    };
}

impl Verifier {
    constructors! {
        /// GitHub: [`Scheme::Github`].
        github = Github,
        /// Slack: [`Scheme::Slack`].
        slack = Slack,
        /// GitLab with a secret token: [`Scheme::GitlabToken`].
        gitlab_token = GitlabToken,
        /// GitLab with a signing token: [`Scheme::GitlabSigned`].
        gitlab_signed = GitlabSigned,
        /// Jira: [`Scheme::Jira`].
        jira = Jira,
        /// PagerDuty: [`Scheme::Pagerduty`].
        pagerduty = Pagerduty,
        /// Stripe: [`Scheme::Stripe`].
        stripe = Stripe,
        /// Standard Webhooks: [`Scheme::StandardWebhooks`].
        standard_webhooks = StandardWebhooks,
        /// A bearer token, as Alertmanager sends: [`Scheme::Bearer`].
        bearer = Bearer,
    }

    /// Basic authentication, as Azure DevOps and Alertmanager send: [`Scheme::Basic`].
    ///
    /// # Errors
    /// `invalid_input` for an empty secret, or a user with a colon.
    pub fn basic(user: impl Into<String>, secrets: Secrets) -> Result<Self> {
        Self::new(Scheme::Basic { user: user.into() }, secrets)
    }

    /// An HMAC of another sender: [`Scheme::Hmac`].
    ///
    /// # Errors
    /// `invalid_input` for a scheme that does not hold together, or a secret that is empty or not in its form.
    pub fn hmac(scheme: HmacScheme, secrets: Secrets) -> Result<Self> {
        Self::new(Scheme::Hmac(scheme), secrets)
    }

    /// Any scheme.
    ///
    /// # Errors
    /// `invalid_input` for a scheme that does not hold together, or a secret that is empty or not in its form.
    pub fn new(scheme: Scheme, secrets: Secrets) -> Result<Self> {
        let hmacs = scheme.hmacs();
        let form = hmacs.first().map_or(KeyForm::Text, |scheme| scheme.key);
        let proof = match &scheme {
            Scheme::GitlabToken => Proof::Token(HeaderName::from_static("x-gitlab-token")),
            Scheme::Bearer => Proof::Bearer,
            // RFC 7617, section 2: the first colon ends the user.
            Scheme::Basic { user } if user.contains(':') => {
                return Err(Error::invalid("a user of basic authentication cannot hold `:`"));
            }
            Scheme::Basic { .. } => Proof::Basic,
            _ => Proof::Hmac(hmacs.iter().map(Plan::new).collect::<Result<_>>()?),
        };
        let key = |secret: &SecretString, until| -> Result<Key> {
            let bytes = match &scheme {
                Scheme::Basic { user } => format!("{user}:{}", exposed(secret)?).into_bytes(),
                _ => key_bytes(exposed(secret)?, form)?,
            };
            Ok(Key { bytes: bytes.into(), until })
        };
        let mut keys = vec![key(&secrets.current, None)?];
        if let Some((previous, until)) = &secrets.previous {
            keys.push(key(previous, Some(*until))?);
        }
        Ok(Self { scheme, proof, keys })
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Whether a delivery with these headers and this body, byte for byte as it came, is the vendor's.
    ///
    /// # Errors
    /// `invalid_input` when a header is missing, sent twice or cannot be read; `unauthenticated` when nothing in it holds
    /// under a secret that is valid, or, with the context `reason` = `timestamp`, when it is too old or from the future.
    pub fn verify(&self, now: Timestamp, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        match &self.proof {
            Proof::Hmac(plans) => self.verify_hmac(plans, now, headers, body),
            Proof::Token(name) => self.verify_secret(now, value(headers, name)?.as_bytes()),
            Proof::Bearer => self.verify_secret(now, credentials(headers, "bearer")?.as_bytes()),
            Proof::Basic => {
                let given = BASE64.decode(credentials(headers, "basic")?).map_err(|_| {
                    Error::invalid("the credentials of the header `authorization` are not base64")
                })?;
                self.verify_secret(now, &given)
            }
        }
    }

    /// The headers with which a sender that has these secrets sends `body` at `now`: for tests, emulators and webhooks out.
    ///
    /// `id` is used by schemes that sign an id. While there is a previous secret, schemes that can carry several signatures
    /// carry one by each; others sign with the current one.
    ///
    /// # Errors
    /// `invalid_input` for an id or a secret that no header can carry.
    pub fn sign(&self, now: Timestamp, id: &str, body: &[u8]) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let current = || self.keys.first().map(|key| key.bytes.expose_secret()).unwrap_or_default();
        match &self.proof {
            Proof::Hmac(plans) => {
                if let Some(plan) = plans.first() {
                    self.sign_hmac(plan, now, id, body, &mut headers)?;
                }
            }
            Proof::Token(name) => insert(&mut headers, name, current())?,
            Proof::Bearer => insert(&mut headers, &AUTHORIZATION, &[b"Bearer ", current()].concat())?,
            Proof::Basic => {
                let text = format!("Basic {}", BASE64.encode(current()));
                insert(&mut headers, &AUTHORIZATION, text.as_bytes())?;
            }
        }
        Ok(headers)
    }

    fn valid(&self, now: Timestamp) -> impl Iterator<Item = &[u8]> {
        let valid = move |key: &&Key| key.until.is_none_or(|until| now < until);
        self.keys.iter().filter(valid).map(|key| key.bytes.expose_secret())
    }

    /// Compares digests, which have one length, so that the time taken says nothing of the secret's.
    fn verify_secret(&self, now: Timestamp, given: &[u8]) -> Result<()> {
        let given = Sha256::digest(given);
        let mut holds = Choice::from(0);
        for key in self.valid(now) {
            holds |= Sha256::digest(key).as_slice().ct_eq(given.as_slice());
        }
        if holds.into() { Ok(()) } else { Err(refused()) }
    }

    fn verify_hmac(&self, plans: &[Plan], now: Timestamp, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let plan = plans
            .iter()
            .find(|plan| headers.contains_key(&plan.header))
            .or(plans.first())
            .ok_or_else(|| Error::internal("a scheme has no signature"))?;
        if self.scheme == Scheme::Github
            && !headers.contains_key(&plan.header)
            && headers.contains_key("x-hub-signature")
        {
            return Err(Error::invalid(
                "the header `x-hub-signature-256` is missing; the SHA-1 signature of `x-hub-signature` is not accepted",
            ));
        }
        let text = one(headers, &plan.header)?;
        let entries = || text.split(|c| Some(c) == plan.separator).map(str::trim);
        let mut given = entries().filter_map(|entry| entry.strip_prefix(&*plan.prefix)).peekable();
        if given.peek().is_none() {
            return Err(Error::invalid(format!(
                "the header `{}` has no signature that begins with `{}`",
                plan.header, plan.prefix
            )));
        }
        let timestamp = match &plan.clock {
            None => "",
            Some(Clock::Header(name)) => one(headers, name)?,
            Some(Clock::Entry(prefix)) => {
                let mut found = entries().filter_map(|entry| entry.strip_prefix(&**prefix));
                match (found.next(), found.next()) {
                    (Some(timestamp), None) => timestamp,
                    _ => {
                        return Err(Error::invalid(format!(
                            "the header `{}` needs one timestamp that begins with `{prefix}`",
                            plan.header
                        )));
                    }
                }
            }
        };
        let sent = match &plan.clock {
            None => None,
            Some(_) => Some(seconds(timestamp)?),
        };
        let id = plan.id.as_ref().map(|name| one(headers, name)).transpose()?.unwrap_or_default();

        let expected: Vec<String> =
            self.valid(now).filter_map(|key| plan.signature(key, id, timestamp, body)).collect();
        let mut holds = Choice::from(0);
        for given in given {
            for expected in &expected {
                holds |= expected.as_bytes().ct_eq(given.as_bytes());
            }
        }
        if !bool::from(holds) {
            return Err(refused());
        }
        // After the signature: whoever cannot sign learns nothing of the clock.
        let Some(sent) = sent else { return Ok(()) };
        if now.since(sent).max(sent.since(now)) > Duration::from_secs(plan.tolerance_s.into()) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the delivery is too old, or from the future",
            )
            .with_context("reason", "timestamp"));
        }
        Ok(())
    }

    fn sign_hmac(
        &self,
        plan: &Plan,
        now: Timestamp,
        id: &str,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<()> {
        let timestamp = now.micros().div_euclid(1_000_000).to_string();
        let mut entries = Vec::new();
        match &plan.clock {
            None => {}
            Some(Clock::Header(name)) => insert(headers, name, timestamp.as_bytes())?,
            Some(Clock::Entry(prefix)) => entries.push(format!("{prefix}{timestamp}")),
        }
        let id = match &plan.id {
            None => "",
            Some(name) if id.is_empty() => {
                return Err(Error::invalid(format!("a delivery needs an id for its header `{name}`")));
            }
            Some(name) => {
                insert(headers, name, id.as_bytes())?;
                id
            }
        };
        let keys = if plan.separator.is_some() { self.keys.len() } else { 1 };
        for key in self.valid(now).take(keys) {
            let signature = plan
                .signature(key, id, &timestamp, body)
                .ok_or_else(|| Error::internal("a secret cannot be the key of an HMAC"))?;
            entries.push(format!("{}{signature}", plan.prefix));
        }
        let separator = plan.separator.map(String::from).unwrap_or_default();
        insert(headers, &plan.header, entries.join(&separator).as_bytes())
    }
}

impl Plan {
    /// Nothing for a key that an HMAC does not take; it takes them all.
    fn signature(&self, key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
        let pieces = self.signed.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Id => id.as_bytes(),
            Piece::Timestamp => timestamp.as_bytes(),
            Piece::Body => body,
        });
        let mac = match self.algorithm {
            Algorithm::Sha256 => mac::<Hmac<Sha256>>(key, pieces)?,
            Algorithm::Sha512 => mac::<Hmac<Sha512>>(key, pieces)?,
        };
        Some(match self.encoding {
            Encoding::Hex => hex::encode(mac),
            Encoding::Base64 => BASE64.encode(mac),
        })
    }
}

fn mac<'a, M: hmac::Mac + hmac::KeyInit>(
    key: &[u8],
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).ok()?;
    for piece in pieces {
        mac.update(piece);
    }
    Some(mac.finalize().into_bytes().to_vec())
}

/// The one answer for everything that does not hold.
fn refused() -> Error {
    Error::new(ErrorKind::Unauthenticated, "the signature of the delivery does not hold")
}

fn exposed(secret: &SecretString) -> Result<&str> {
    match secret.expose_secret() {
        "" => Err(Error::invalid("the secret of a webhook cannot be empty")),
        secret => Ok(secret),
    }
}

fn key_bytes(secret: &str, form: KeyForm) -> Result<Vec<u8>> {
    match form {
        KeyForm::Text => Ok(secret.as_bytes().to_vec()),
        KeyForm::Base64 => match BASE64.decode(secret.strip_prefix("whsec_").unwrap_or(secret)) {
            Ok(key) if !key.is_empty() => Ok(key),
            // Without the cause: it tells of the secret.
            _ => Err(Error::invalid(
                "the secret of the webhook is not base64, with or without `whsec_` before it",
            )),
        },
    }
}

/// The text of a header that has to be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str> {
    value(headers, name)?
        .to_str()
        .map_err(|_| Error::invalid(format!("the header `{name}` holds what is no visible ASCII")))
}

fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Error::invalid(format!("the header `{name}` is missing"))),
        (Some(_), Some(_)) => Err(Error::invalid(format!("the header `{name}` is there more than once"))),
    }
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<&'a str> {
    let value = one(headers, &AUTHORIZATION)?;
    match value.split_once(' ') {
        Some((given, rest)) if given.eq_ignore_ascii_case(scheme) => Ok(rest.trim()),
        _ => Err(Error::invalid(format!("the header `authorization` is not of the scheme `{scheme}`"))),
    }
}

fn seconds(text: &str) -> Result<Timestamp> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let micros = digits.then(|| text.parse::<i64>().ok()?.checked_mul(1_000_000)).flatten();
    micros
        .map(Timestamp::from_micros)
        .ok_or_else(|| Error::invalid("the timestamp of the delivery is not a number of seconds"))
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: &[u8]) -> Result<()> {
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| Error::invalid(format!("the header `{name}` cannot carry this id or secret")))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
