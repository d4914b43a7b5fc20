//! Connectors and integrations of a platform: what the host says about them, and how they are put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_connectors::auth::OAuthApp;
use agentprovision_connectors::builtin;
use agentprovision_connectors::layers::{CallPolicy, RetryOptions};
use agentprovision_connectors::{Catalog, Connector, Integrations, IntegrationsParts};
use agentprovision_core::access::Access;
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::EffectWriter;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::http::egress::{EgressPolicy, Network, SystemResolver};
use agentprovision_core::secret::SecretStore;
use agentprovision_core::{Env, Error, Result};
use agentprovision_tenancy::secret::{SealedSecrets, SealingKeys};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// What the host says about connectors.
#[derive(Debug, Default)]
pub(crate) struct ConnectorParts {
    pub(crate) connectors: Vec<Connector>,
    pub(crate) apps: BTreeMap<String, OAuthApp>,
    pub(crate) egress: EgressPolicy,
    pub(crate) transport: Option<Arc<dyn HttpTransport>>,
    pub(crate) policies: Vec<Arc<dyn CallPolicy>>,
    pub(crate) retry: RetryOptions,
    pub(crate) keys: Option<SealingKeys>,
}

impl ConnectorParts {
    /// The service, and what keeps secrets. A store that lasts is given no secret without a key to seal it with; what is in memory is sealed with a key
    /// that goes with it.
    pub(crate) fn integrations(
        self,
        env: &Env,
        stores: &Stores,
        access: &Access,
        writer: &EffectWriter,
        lasting: bool,
    ) -> Result<(Integrations, Arc<dyn SecretStore>)> {
        let mut catalog = Catalog::default();
        for connector in self.connectors {
            catalog.add(connector)?;
        }
        for connector in self.apps.keys() {
            catalog.get(connector)?;
        }
        // Drawn whether it is used or not, so that the same seed gives the same ids on every store.
        let drawn = SealingKeys::random(env);
        let keys = match self.keys {
            Some(keys) => keys,
            None if lasting => SealingKeys::absent(),
            None => drawn,
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => guarded(&self.egress, env)?,
        };
        let secrets: Arc<dyn SecretStore> =
            Arc::new(SealedSecrets::new(stores.secrets.clone(), keys, env.clone()));
        let integrations = Integrations::new(IntegrationsParts {
            catalog,
            store: stores.integrations.clone(),
            secrets: secrets.clone(),
            idempotency: stores.idempotency.clone(),
            transport,
            egress: self.egress,
            resolver: Arc::new(SystemResolver),
            access: access.clone(),
            writer: writer.clone(),
            policies: self.policies,
            retry: self.retry,
            apps: self.apps,
        });
        Ok((integrations, secrets))
    }
}

#[cfg(feature = "http-reqwest")]
fn guarded(egress: &EgressPolicy, env: &Env) -> Result<Arc<dyn HttpTransport>> {
    use agentprovision_core::http::egress::GuardedTransport;
    Ok(Arc::new(GuardedTransport::new(egress.clone(), env.clone())?))
}

#[cfg(not(feature = "http-reqwest"))]
fn guarded(_: &EgressPolicy, _: &Env) -> Result<Arc<dyn HttpTransport>> {
    /// Sends nothing.
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait::async_trait]
    impl HttpTransport for Nowhere {
        async fn send(
            &self,
            _: http::Request<bytes::Bytes>,
        ) -> Result<http::Response<agentprovision_core::http::BodyStream>> {
            Err(Error::unsupported(
                "connectors need the feature `http-reqwest`, or a transport of the host's",
            ))
        }
    }

    Ok(Arc::new(Nowhere))
}

/// Connectors, and where they may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConnectorsConfig {
    /// Connectors of the library, by name.
    pub enabled: Vec<String>,
    /// Applications that are registered at vendors, by connector.
    pub apps: BTreeMap<String, OAuthAppConfig>,
    /// Networks of the host's that tenants may name URLs of; the internet alone where empty.
    pub networks: Vec<NetworkConfig>,
    /// The environment variable with the keys that secrets are sealed with: 32 bytes each, in base64 or hexadecimal, the first one
    /// for what is new.
    pub sealing_key_env: Option<String>,
    /// A file with such keys, one a line.
    pub sealing_key_file: Option<String>,
}

/// An application that is registered at a vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OAuthAppConfig {
    /// Its id.
    pub client_id: String,
    /// The environment variable with its secret, where it has one.
    #[serde(default)]
    pub client_secret_env: Option<String>,
}

/// A network of the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// A name for it.
    pub name: String,
    /// Its ranges, as `10.1.0.0/16` or one address.
    pub ranges: Vec<String>,
    /// Whether requests without encryption go into it; default no.
    #[serde(default)]
    pub plain_http: bool,
    /// Whether requests to every port go into it; default no.
    #[serde(default)]
    pub any_port: bool,
}

impl ConnectorsConfig {
    pub(crate) fn parts(self, variable: &dyn Fn(&str) -> Result<SecretString>) -> Result<ConnectorParts> {
        let mut parts = ConnectorParts::default();
        let known = builtin::all();
        for name in &self.enabled {
            let found = known.iter().find(|known| known.name == *name).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|known| known.name).collect();
                let names = if names.is_empty() {
                    "none: no feature `connector-…` is on".into()
                } else {
                    names.join(", ")
                };
                Error::invalid(format!(
                    "unknown connector `{}`; there are {names}",
                    crate::decode::clip(name)
                ))
            })?;
            parts.connectors.push((found.connector)()?);
        }
        for (connector, app) in self.apps {
            let secret = app.client_secret_env.map(|name| variable(&name)).transpose()?;
            let app = OAuthApp { client_id: app.client_id, client_secret: secret };
            parts.apps.insert(connector, app);
        }
        for network in self.networks {
            let ranges: Vec<&str> = network.ranges.iter().map(String::as_str).collect();
            let mut allowed = Network::new(network.name, &ranges)?;
            if network.plain_http {
                allowed = allowed.plain_http();
            }
            if network.any_port {
                allowed = allowed.any_port();
            }
            parts.egress = parts.egress.network(allowed);
        }
        parts.keys = match (self.sealing_key_env, self.sealing_key_file) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "sealing keys come from a variable or from a file, not from both",
                ));
            }
            (Some(name), None) => {
                use secrecy::ExposeSecret as _;
                Some(SealingKeys::parse(variable(&name)?.expose_secret())?)
            }
            (None, Some(path)) => Some(SealingKeys::from_file(path)?),
            (None, None) => None,
        };
        Ok(parts)
    }
}
