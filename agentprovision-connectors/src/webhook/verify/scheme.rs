//! How vendors prove that a delivery is theirs, as data.

use agentprovision_core::{Error, Result};
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the time of a delivery may be from now, in seconds: what Slack, Stripe and Standard Webhooks name.
pub const TOLERANCE_S: u32 = 300;

/// How a delivery proves whose it is. Secrets are not part of it, so it can be stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scheme", rename_all = "snake_case")]
#[schemars(rename = "WebhookScheme")]
#[non_exhaustive]
pub enum Scheme {
    /// `x-hub-signature-256: sha256=<hex>`, over the body. The SHA-1 signature of `x-hub-signature` is not looked at.
    Github,
    /// `x-slack-signature: v0=<hex>`, over `v0:<timestamp>:<body>`.
    Slack,
    /// `x-gitlab-token` is the secret token itself.
    GitlabToken,
    /// The signing token of GitLab, `whsec_…`, which is [`Scheme::StandardWebhooks`].
    GitlabSigned,
    /// `x-hub-signature: sha256=<hex>`, over the body (Jira Cloud, WebSub).
    Jira,
    /// `x-pagerduty-signature: v1=<hex>,v1=<hex>`, over the body (webhooks v3).
    Pagerduty,
    /// `stripe-signature: t=<timestamp>,v1=<hex>`, over `<timestamp>.<body>`.
    Stripe,
    /// `webhook-signature: v1,<base64> v1,<base64>`, over `<id>.<timestamp>.<body>`, also by the names `svix-…`. Secrets
    /// are `whsec_<base64>`; signatures by a key pair, `v1a,<base64>`, are passed over.
    StandardWebhooks,
    /// `authorization: Bearer <secret>` (Alertmanager).
    Bearer,
    /// `authorization: Basic <user:secret>` (Azure DevOps, Alertmanager).
    Basic {
        /// The user; may be empty.
        user: String,
    },
    /// Anything else that is an HMAC.
    Hmac(HmacScheme),
}

/// A signature by HMAC of a sender that is none of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// The header with the signature.
    pub header: String,
    /// What stands before each signature, as `sha256=`; without it, nothing.
    #[serde(default)]
    pub prefix: String,
    /// What stands between several signatures; without it there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The hash; without it, SHA-256.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How signatures are written; without it, hex.
    #[serde(default)]
    pub encoding: Encoding,
    /// How secrets are written; without it, the text is the key.
    #[serde(default)]
    pub key: KeyForm,
    /// Where the time of the delivery is, in seconds since 1970; without it, deliveries do not age, and only their ids tell
    /// replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampPlace>,
    /// The header with the id of the delivery, where it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// What is signed, with `{body}` once, and `{timestamp}` and `{id}` where they are; without it, the body.
    #[serde(default = "body_alone")]
    pub signed: String,
    /// How far the time may be from now, in seconds; without it, [`TOLERANCE_S`].
    #[serde(default = "tolerance")]
    pub tolerance_s: u32,
}

/// A hash. SHA-1 is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written. It is compared as text, so one signature has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hex.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// Its bytes are the key.
    #[default]
    Text,
    /// Base64 with padding, after `whsec_` or alone.
    Base64,
}

/// Where the time of a delivery is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestampPlace {
    /// In a header of its own.
    Header(String),
    /// Among the signatures, after this prefix.
    Entry(String),
}

fn body_alone() -> String {
    "{body}".to_owned()
}

fn tolerance() -> u32 {
    TOLERANCE_S
}

impl HmacScheme {
    /// A hex HMAC-SHA256 over the body in this header. Everything else is a field.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            header: header.into(),
            prefix: String::new(),
            separator: None,
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            key: KeyForm::Text,
            timestamp: None,
            id_header: None,
            signed: body_alone(),
            tolerance_s: TOLERANCE_S,
        }
    }

    fn prefixed(header: &str, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::new(header) }
    }

    /// Standard Webhooks, "Signature scheme", with the header names of `brand`.
    fn standard(brand: &str) -> Self {
        Self {
            separator: Some(' '),
            encoding: Encoding::Base64,
            key: KeyForm::Base64,
            timestamp: Some(TimestampPlace::Header(format!("{brand}-timestamp"))),
            id_header: Some(format!("{brand}-id")),
            signed: "{id}.{timestamp}.{body}".to_owned(),
            ..Self::prefixed(&format!("{brand}-signature"), "v1,")
        }
    }
}

impl Scheme {
    /// The scheme as HMACs, of which a delivery carries one; nothing where the secret itself is sent.
    pub(super) fn hmacs(&self) -> Vec<HmacScheme> {
        match self {
            Self::Github => vec![HmacScheme::prefixed("x-hub-signature-256", "sha256=")],
            Self::Jira => vec![HmacScheme::prefixed("x-hub-signature", "sha256=")],
            Self::Slack => vec![HmacScheme {
                timestamp: Some(TimestampPlace::Header("x-slack-request-timestamp".to_owned())),
                signed: "v0:{timestamp}:{body}".to_owned(),
                ..HmacScheme::prefixed("x-slack-signature", "v0=")
            }],
            Self::Pagerduty => vec![HmacScheme {
                separator: Some(','),
                ..HmacScheme::prefixed("x-pagerduty-signature", "v1=")
            }],
            Self::Stripe => vec![HmacScheme {
                separator: Some(','),
                timestamp: Some(TimestampPlace::Entry("t=".to_owned())),
                signed: "{timestamp}.{body}".to_owned(),
                ..HmacScheme::prefixed("stripe-signature", "v1=")
            }],
            Self::StandardWebhooks => vec![HmacScheme::standard("webhook"), HmacScheme::standard("svix")],
            Self::GitlabSigned => vec![HmacScheme::standard("webhook")],
            Self::Hmac(scheme) => vec![scheme.clone()],
            Self::GitlabToken | Self::Bearer | Self::Basic { .. } => Vec::new(),
        }
    }
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Id,
    Timestamp,
    Body,
}

/// Where a compiled scheme finds the time.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    Header(HeaderName),
    Entry(String),
}

/// An [`HmacScheme`] that holds together.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) header: HeaderName,
    pub(super) prefix: String,
    pub(super) separator: Option<char>,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: Encoding,
    pub(super) clock: Option<Clock>,
    pub(super) id: Option<HeaderName>,
    pub(super) signed: Vec<Piece>,
    pub(super) tolerance_s: u32,
}

impl Plan {
    /// Checks a scheme.
    ///
    /// # Errors
    /// `invalid_input`, naming the field.
    pub(super) fn new(scheme: &HmacScheme) -> Result<Self> {
        let clock = match &scheme.timestamp {
            None => None,
            Some(TimestampPlace::Header(name)) => Some(Clock::Header(header(name)?)),
            Some(TimestampPlace::Entry(_)) if scheme.separator.is_none() => {
                return Err(Error::invalid("a timestamp among the signatures needs a `separator`"));
            }
            Some(TimestampPlace::Entry(prefix)) if prefix.is_empty() || *prefix == scheme.prefix => {
                return Err(Error::invalid("a timestamp among the signatures needs a prefix of its own"));
            }
            Some(TimestampPlace::Entry(prefix)) => Some(Clock::Entry(prefix.clone())),
        };
        let id = scheme.id_header.as_deref().map(header).transpose()?;
        let signed = pieces(&scheme.signed)?;
        let count = |piece: &Piece| signed.iter().filter(|other| *other == piece).count();
        if count(&Piece::Body) != 1 {
            return Err(Error::invalid("`signed` has to hold `{body}` once"));
        }
        // A time or an id that is not signed could be changed by anybody.
        for (piece, name, there) in
            [(Piece::Timestamp, "timestamp", clock.is_some()), (Piece::Id, "id", id.is_some())]
        {
            match (count(&piece) > 0, there) {
                (true, false) => {
                    return Err(Error::invalid(format!(
                        "`signed` holds `{{{name}}}`, which comes from no header"
                    )));
                }
                (false, true) => {
                    return Err(Error::invalid(format!(
                        "the {name} is not signed: `signed` lacks `{{{name}}}`"
                    )));
                }
                _ => {}
            }
        }
        Ok(Self {
            header: header(&scheme.header)?,
            prefix: scheme.prefix.clone(),
            separator: scheme.separator,
            algorithm: scheme.algorithm,
            encoding: scheme.encoding,
            clock,
            id,
            signed,
            tolerance_s: scheme.tolerance_s,
        })
    }
}

fn header(name: &str) -> Result<HeaderName> {
    name.to_ascii_lowercase().parse().map_err(|_| {
        let name: String = name.chars().take(64).collect();
        Error::invalid(format!("`{name}` is not the name of a header"))
    })
}

fn pieces(template: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let (name, after) =
            after.split_once('}').ok_or_else(|| Error::invalid("`signed` has a `{` without `}`"))?;
        pieces.push(match name {
            "id" => Piece::Id,
            "timestamp" => Piece::Timestamp,
            "body" => Piece::Body,
            _ => {
                return Err(Error::invalid(
                    "`signed` can hold `{id}`, `{timestamp}` and `{body}`, and nothing else in braces",
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}
