//! What a delivery says, in one shape for every vendor.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use agentprovision_core::{Error, Result, Timestamp};
use bytes::Bytes;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::events::{
    Facts, alertmanager, azure_devops, generic, github, gitlab, jira, pagerduty, slack, standard, stripe,
};
use super::json::Json;

/// Who sends a webhook, and so how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WebhookVendor")]
#[non_exhaustive]
pub enum Vendor {
    /// GitHub.
    Github,
    /// Slack: events, slash commands and interactions.
    Slack,
    /// GitLab: projects, groups and system hooks.
    Gitlab,
    /// Jira, Cloud and Data Center.
    Jira,
    /// PagerDuty, webhooks v3.
    Pagerduty,
    /// Alertmanager, version 4.
    Alertmanager,
    /// Azure DevOps, service hooks.
    AzureDevops,
    /// Stripe.
    Stripe,
    /// Anybody who follows Standard Webhooks.
    Standard,
    /// Anybody else; see [`WebhookEvent::read_as`].
    Generic,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: &'static [Self] = &[
        Self::Github,
        Self::Slack,
        Self::Gitlab,
        Self::Jira,
        Self::Pagerduty,
        Self::Alertmanager,
        Self::AzureDevops,
        Self::Stripe,
        Self::Standard,
        Self::Generic,
    ];

    /// The name, in lower case with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Slack => "slack",
            Self::Gitlab => "gitlab",
            Self::Jira => "jira",
            Self::Pagerduty => "pagerduty",
            Self::Alertmanager => "alertmanager",
            Self::AzureDevops => "azure_devops",
            Self::Stripe => "stripe",
            Self::Standard => "standard",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Vendor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|vendor| vendor.as_str() == text).ok_or_else(|| {
            let text: String = text.chars().take(64).collect();
            let names: Vec<String> = Self::ALL.iter().map(|vendor| format!("`{vendor}`")).collect();
            Error::invalid(format!("`{text}` sends no webhooks that are read here; {} do", names.join(", ")))
        })
    }
}

/// Where a sender that is no [`Vendor`] of its own puts what an event is made of. What is not named is not read.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookSource")]
pub struct GenericSource {
    /// The header with the id of the delivery; without it, the digest of the body is the id.
    pub id_header: Option<String>,
    /// The header with the kind.
    pub kind_header: Option<String>,
    /// Where the body has the kind, as a JSON pointer; without either, the kind is `delivery`.
    pub kind: Option<String>,
    /// Where the body has the id of what the event is about, as a JSON pointer.
    pub subject: Option<String>,
    /// Where the body has the time of the change, as a JSON pointer; with `subject` it orders events.
    pub time: Option<String>,
    /// Attributes by name, each as a JSON pointer into the body.
    pub attributes: BTreeMap<String, String>,
}

/// By what later news of a thing are told from earlier: whoever keeps the state of things writes an event only when its
/// version is greater than the one written last under its key. Two events of one key and version, which vendors with whole
/// seconds do send, say nothing of their order; fetch the thing then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ordering {
    /// What the event is about, unique within the endpoint's vendor account.
    pub key: String,
    /// Which state of it.
    pub version: Version,
}

/// A state of a thing: first whether it is gone for good, which nothing comes after, then when, then the step within that
/// moment. Its text sorts as it does, so a database can compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    gone: bool,
    micros: u64,
    step: u8,
}

/// The steps of a thing within a moment.
pub(crate) const BEGUN: u8 = 0;
pub(crate) const CHANGED: u8 = 1;
pub(crate) const ENDED: u8 = 2;

impl Version {
    /// The state at this time.
    pub fn at(time: Timestamp) -> Self {
        Self { gone: false, micros: u64::try_from(time.micros()).unwrap_or(0), step: CHANGED }
    }

    /// The same as a later or earlier step of that moment: 0 for the beginning of a thing, 1 for a change, 2 for an end
    /// after which it can begin again. At most 9.
    #[must_use]
    pub fn with_step(mut self, step: u8) -> Self {
        self.step = step.min(9);
        self
    }

    /// The same, and nothing comes after it.
    #[must_use]
    pub fn gone(mut self) -> Self {
        self.gone = true;
        self
    }

    /// Whether nothing comes after it.
    pub fn is_gone(self) -> bool {
        self.gone
    }

    /// When; the epoch where the vendor does not say.
    pub fn time(self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.micros).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:020}{}", u8::from(self.gone), self.micros, self.step)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("this is not the version of an event");
        if text.len() != 22 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let part = |range| text.get(range).and_then(|part: &str| part.parse::<u64>().ok());
        let (gone, micros, step) = (part(0..1), part(1..21), part(21..22));
        Ok(Self {
            gone: match gone {
                Some(0) => false,
                Some(1) => true,
                _ => return Err(bad()),
            },
            micros: micros.ok_or_else(bad)?,
            step: step.and_then(|step| u8::try_from(step).ok()).ok_or_else(bad)?,
        })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[01][0-9]{21}$", "description": "Sorts as states do." })
    }
}

/// The body of a delivery as the type of its vendor and kind. Serialised, it is the JSON that came: no field is lost and no
/// number changed, whatever its size or form.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventBody {
    /// Of GitHub.
    Github(github::Body),
    /// Of Slack.
    Slack(slack::Body),
    /// Of GitLab.
    Gitlab(gitlab::Body),
    /// Of Jira.
    Jira(jira::Body),
    /// Of PagerDuty.
    Pagerduty(pagerduty::Body),
    /// Of Alertmanager.
    Alertmanager(Box<alertmanager::Notification>),
    /// Of Azure DevOps.
    AzureDevops(azure_devops::Body),
    /// Of Stripe.
    Stripe(Box<stripe::Event>),
    /// Of a sender that follows Standard Webhooks.
    Standard(Box<standard::Message>),
    /// JSON without a type.
    Other(Json),
    /// No JSON; see [`WebhookEvent::raw`].
    Opaque,
}

impl EventBody {
    /// Whether the body has the type of its kind, and not only that of anything its vendor sends, or none.
    pub fn is_typed(&self) -> bool {
        match self {
            Self::Github(body) => body.is_typed(),
            Self::Slack(body) => body.is_typed(),
            Self::Gitlab(body) => body.is_typed(),
            Self::Jira(body) => body.is_typed(),
            Self::Pagerduty(body) => body.is_typed(),
            Self::AzureDevops(body) => body.is_typed(),
            Self::Alertmanager(_) | Self::Stripe(_) | Self::Standard(_) => true,
            Self::Other(_) | Self::Opaque => false,
        }
    }

    /// The body as JSON; of a form of Slack its fields, of [`EventBody::Opaque`] `null`.
    ///
    /// # Errors
    /// `internal`, which does not happen.
    pub fn to_json(&self) -> Result<Json> {
        serde_json::value::to_raw_value(self)
            .map(|raw| Json::from_raw(&raw))
            .map_err(|error| Error::internal("the body of an event could not be written").with_source(error))
    }
}

impl Serialize for EventBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Github(body) => body.serialize(serializer),
            Self::Slack(body) => body.serialize(serializer),
            Self::Gitlab(body) => body.serialize(serializer),
            Self::Jira(body) => body.serialize(serializer),
            Self::Pagerduty(body) => body.serialize(serializer),
            Self::Alertmanager(body) => body.serialize(serializer),
            Self::AzureDevops(body) => body.serialize(serializer),
            Self::Stripe(body) => body.serialize(serializer),
            Self::Standard(body) => body.serialize(serializer),
            Self::Other(body) => body.serialize(serializer),
            Self::Opaque => serializer.serialize_unit(),
        }
    }
}

/// What a delivery says.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct WebhookEvent {
    /// Who sent it.
    pub vendor: Vendor,
    /// What happened, in the vendor's words: `issues.opened`, `message`, `jira:issue_updated`, `incident.triggered`,
    /// `invoice.paid`, `alert.firing`.
    pub kind: String,
    /// By what repeats of the delivery are told, within its endpoint: the vendor's id where it has one, else `sha256:` and
    /// the digest of the body, or of what the vendor's module says.
    pub delivery_id: String,
    /// The SHA-256 of the body, in hex. The same id with another digest is no repeat: vendors sign bodies, and few sign ids.
    pub digest: String,
    /// By what it is told from earlier and later news of the same thing; absent where it is no state of a thing, or the
    /// vendor does not say which.
    pub ordering: Option<Ordering>,
    /// When it happened, where the vendor says.
    pub at: Option<Timestamp>,
    /// At whom of the vendor's customers: an installation, workspace, team, site or instance.
    pub account: Option<String>,
    /// What it is about, as people name it: `octo/repo#1`, `DESK-12`.
    pub subject: Option<String>,
    /// What filters ask for: `action`, `repository`, `project`, `channel`, `state` and what else the vendor's module names.
    pub attributes: BTreeMap<String, String>,
    /// The body.
    pub body: EventBody,
    raw: Bytes,
}

impl fmt::Debug for WebhookEvent {
    // What customers write stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEvent")
            .field("vendor", &self.vendor)
            .field("kind", &self.kind)
            .field("delivery_id", &self.delivery_id)
            .field("digest", &self.digest)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl WebhookEvent {
    /// Reads a delivery that a [`Verifier`](super::Verifier) has let in.
    ///
    /// # Errors
    /// `invalid_input` for a body that is not in a form the vendor sends, or without a header that says what it is.
    pub fn read(vendor: Vendor, headers: &HeaderMap, body: Bytes) -> Result<Self> {
        let (facts, typed) = match vendor {
            Vendor::Github => github::read(headers, &body)?,
            Vendor::Slack => slack::read(&body)?,
            Vendor::Gitlab => gitlab::read(headers, &body)?,
            Vendor::Jira => jira::read(headers, &body)?,
            Vendor::Pagerduty => pagerduty::read(&body)?,
            Vendor::Alertmanager => alertmanager::read(&body)?,
            Vendor::AzureDevops => azure_devops::read(&body)?,
            Vendor::Stripe => stripe::read(&body)?,
            Vendor::Standard => standard::read(headers, &body)?,
            Vendor::Generic => generic::read(&GenericSource::default(), headers, &body)?,
        };
        Ok(Self::new(vendor, facts, typed, body))
    }

    /// Reads a delivery of [`Vendor::Generic`].
    ///
    /// # Errors
    /// `invalid_input` without a header that `source` names.
    pub fn read_as(source: &GenericSource, headers: &HeaderMap, body: Bytes) -> Result<Self> {
        let (facts, typed) = generic::read(source, headers, &body)?;
        Ok(Self::new(Vendor::Generic, facts, typed, body))
    }

    fn new(vendor: Vendor, facts: Facts, body: EventBody, raw: Bytes) -> Self {
        let digest = hex::encode(Sha256::digest(&raw));
        Self {
            vendor,
            kind: facts.kind,
            delivery_id: facts.delivery_id.unwrap_or_else(|| format!("sha256:{digest}")),
            digest,
            ordering: facts.ordering,
            at: facts.at,
            account: facts.account,
            subject: facts.subject,
            attributes: facts.attributes,
            body,
            raw,
        }
    }

    /// The body as it came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What the answer to this delivery has to be made of, as plain text, where Slack asks whether the endpoint is there
    /// (`url_verification`). Such a delivery is for nobody else.
    pub fn challenge(&self) -> Option<&str> {
        match &self.body {
            EventBody::Slack(slack::Body::UrlVerification(body)) => Some(&body.challenge),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_text_sort_alike() {
        let at = |micros| Version::at(Timestamp::from_micros(micros));
        let sorted = [
            at(-5).with_step(BEGUN),
            at(0),
            at(1_557_933_618_000_000).with_step(BEGUN),
            at(1_557_933_618_000_000),
            at(1_557_933_618_000_000).with_step(ENDED),
            at(i64::MAX),
            at(3).gone(),
            at(4).gone(),
        ];
        assert!(sorted.is_sorted());
        let texts: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        for (version, text) in sorted.iter().zip(&texts) {
            assert_eq!(text.parse::<Version>().unwrap(), *version);
        }
        for bad in ["", "2000000000000000000000", "0999999999999999999991", "00000000000000000000x0", "0"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn vendors_have_one_name_everywhere() {
        for vendor in Vendor::ALL {
            assert_eq!(serde_json::to_value(vendor).unwrap(), vendor.as_str());
            assert_eq!(vendor.as_str().parse::<Vendor>().unwrap(), *vendor);
        }
        assert!("gitea".parse::<Vendor>().unwrap_err().message().contains("`github`"));
    }
}
