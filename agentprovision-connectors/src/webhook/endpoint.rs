//! Endpoints: where vendors send what happens there, whose they are, and what comes of it.

use std::fmt;
use std::str::FromStr;

use agentprovision_core::id::{AgentId, EndpointId, IntegrationId, TenantId, UserId};
use agentprovision_core::tenant::Revision;
use agentprovision_core::webhook::{EndpointState, WebhookEndpoint};
use agentprovision_core::{Error, Result, Timestamp};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use super::event::GenericSource;
use super::{EventFilter, Scheme, Vendor};

/// What comes of a delivery: a run of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookTrigger")]
pub struct Trigger {
    /// Which events are meant; all where absent.
    #[serde(default)]
    pub filter: EventFilter,
    /// The agent whose run is started.
    pub agent: AgentId,
    /// The run's input: a template over `event` and `body`, as `Look into {{ body.issue.title }}.`.
    pub input: String,
    /// Whether an event is left out that is older than what is known of its thing; default no.
    #[serde(default)]
    pub newest_only: bool,
}

/// An endpoint to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhookEndpoint")]
pub struct NewEndpoint {
    /// The name, 1 to 255 characters, unique within the tenant.
    pub name: String,
    /// Who sends.
    pub vendor: Vendor,
    /// How deliveries prove whose they are; the vendor's usual way where absent.
    #[serde(default)]
    pub scheme: Option<Scheme>,
    /// How a generic sender's deliveries are read.
    #[serde(default)]
    pub source: Option<GenericSource>,
    /// The integration it belongs to.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// What comes of deliveries.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
    /// The secret, where the vendor gives one out; else one is made.
    #[serde(default, skip_serializing)]
    #[schemars(extend("format" = "secret"))]
    pub secret: Option<String>,
}

/// A change of an endpoint: what is given is replaced, the rest stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointUpdate {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// The new triggers, instead of all the old ones.
    #[serde(default)]
    pub triggers: Option<Vec<Trigger>>,
    /// Whether it takes deliveries.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// An endpoint that was made, or whose secret was changed. The secret is shown this once.
#[derive(Clone, Debug)]
pub struct MadeEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The secret, to be entered at the vendor.
    pub secret: SecretString,
}

/// The last part of an endpoint's URL: `hok_<tenant>_<endpoint>`. It carries the tenant, and says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// The tenant.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hok_{}_{}", self.tenant.uuid().as_simple(), self.endpoint.uuid().as_simple())
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for EndpointAddress {
    type Err = Error;

    /// # Errors
    /// `not_found` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.strip_prefix("hok_").and_then(|rest| rest.split_once('_'));
        let simple = |part: &str| part.len() == 32;
        parts
            .filter(|(tenant, endpoint)| simple(tenant) && simple(endpoint))
            .and_then(|(tenant, endpoint)| {
                Some(Self { tenant: tenant.parse().ok()?, endpoint: endpoint.parse().ok()? })
            })
            .ok_or_else(no_endpoint)
    }
}

pub(super) fn no_endpoint() -> Error {
    Error::not_found("no such endpoint")
}

/// How an endpoint's deliveries are read, as its record keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    scheme: Scheme,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<GenericSource>,
}

/// An endpoint. Its secret is nowhere in it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "WebhookEndpoint")]
#[non_exhaustive]
pub struct Endpoint {
    /// The id.
    pub id: EndpointId,
    /// The last part of its URL, `hok_<tenant>_<endpoint>`.
    #[schemars(with = "String")]
    pub address: EndpointAddress,
    /// The name, unique within the tenant.
    pub name: String,
    /// Who sends.
    pub vendor: Vendor,
    /// How deliveries prove whose they are.
    pub scheme: Scheme,
    /// How a generic sender's deliveries are read.
    pub source: Option<GenericSource>,
    /// The integration it belongs to.
    pub integration: Option<IntegrationId>,
    /// What comes of deliveries.
    pub triggers: Vec<Trigger>,
    /// Whether it takes deliveries.
    pub state: EndpointState,
    /// On whose behalf deliveries are worked on.
    pub owner: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts the changes.
    pub revision: Revision,
}

impl Endpoint {
    /// Reads a tenant's record.
    pub(super) fn read(tenant: TenantId, record: WebhookEndpoint) -> Result<Self> {
        let bad = |error: serde_json::Error| Error::corrupt("an endpoint cannot be read").with_source(error);
        let Kept { scheme, source } = serde_json::from_value(record.scheme).map_err(bad)?;
        Ok(Self {
            id: record.id,
            address: EndpointAddress { tenant, endpoint: record.id },
            name: record.name,
            vendor: record.vendor.parse()?,
            scheme,
            source,
            integration: record.integration,
            triggers: serde_json::from_value(record.triggers).map_err(bad)?,
            state: record.state,
            owner: record.owner,
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        })
    }

    /// The record to be kept of it.
    pub(super) fn record(&self) -> Result<WebhookEndpoint> {
        let bad = |error| Error::internal("an endpoint has no JSON form").with_source(error);
        let kept = Kept { scheme: self.scheme.clone(), source: self.source.clone() };
        Ok(WebhookEndpoint {
            id: self.id,
            name: self.name.clone(),
            vendor: self.vendor.to_string(),
            scheme: serde_json::to_value(kept).map_err(bad)?,
            integration: self.integration,
            triggers: serde_json::to_value(&self.triggers).map_err(bad)?,
            state: self.state,
            owner: self.owner,
            created_at: self.created_at,
            updated_at: self.updated_at,
            revision: self.revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::{Env, ErrorKind};

    use super::*;

    #[test]
    fn addresses_carry_their_tenant_and_nothing_else_is_one() {
        let env = Env::default();
        let address = EndpointAddress { tenant: env.id(), endpoint: env.id() };
        assert_eq!(address.to_string().parse::<EndpointAddress>().unwrap(), address);
        let text = address.to_string();
        for bad in [
            "",
            "hok_",
            "hok_x_y",
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("hok_", "key_"),
        ] {
            assert_eq!(bad.parse::<EndpointAddress>().unwrap_err().kind(), ErrorKind::NotFound, "{bad}");
        }
    }
}
