//! What is said about integrations.

use std::time::Duration;

use agentprovision_connectors::{CallOptions, IntegrationUpdate};
use agentprovision_core::id::IntegrationId;
use agentprovision_core::integration::{IntegrationQuery, IntegrationState};
use agentprovision_core::page::{Cursor, PageRequest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

arguments! {
    /// A connector by its name.
    ConnectorByName {
        /// The name.
        name: String,
    }

    /// An integration by id.
    IntegrationById {
        /// The integration.
        integration: IntegrationId,
    }

    /// A page of integrations.
    IntegrationsListed {
        /// At most this many items, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
        /// Only those of this connector.
        connector: Option<String>,
        /// Only those in this state.
        state: Option<IntegrationState>,
    }

    /// A change of an integration: what is given is replaced, the rest stays.
    IntegrationChange {
        /// The integration.
        integration: IntegrationId,
        /// The new name.
        name: Option<String>,
        /// The new settings, instead of all the old ones.
        settings: Option<Map<String, Value>>,
        /// New credentials, instead of all the old ones.
        #[schemars(extend("format" = "secret"))]
        credentials: Option<Map<String, Value>>,
        /// Whether it is switched on.
        enabled: Option<bool>,
    }

    /// The beginning of connecting an integration in a browser.
    IntegrationAuthorize {
        /// The integration.
        integration: IntegrationId,
        /// Where the vendor sends whoever has granted access, as it is registered there.
        redirect_uri: String,
        /// What is asked for, in the vendor's words; the connector's usual scopes where absent.
        scopes: Option<Vec<String>>,
    }

    /// The end of connecting an integration in a browser.
    IntegrationConnect {
        /// The integration.
        integration: IntegrationId,
        /// The state that the vendor gave back.
        state: String,
        /// The code it gave.
        code: String,
    }

    /// A call of an operation.
    IntegrationInvoke {
        /// The integration.
        integration: IntegrationId,
        /// The operation, as `issues.create`.
        operation: String,
        /// Its input.
        input: Option<Map<String, Value>>,
        /// The caller's key: a call that was made with it before is answered as then. 1 to 255 bytes.
        idempotency_key: Option<String>,
        /// Milliseconds it may take; the operation's own limit where absent or shorter.
        timeout_ms: Option<u64>,
    }
}

impl From<IntegrationsListed> for IntegrationQuery {
    fn from(args: IntegrationsListed) -> Self {
        let mut query = Self::page(PageRequest::default());
        query.page.limit = args.limit.unwrap_or(query.page.limit);
        query.page.after = args.after;
        query.connector = args.connector;
        query.state = args.state;
        query
    }
}

impl From<IntegrationChange> for IntegrationUpdate {
    fn from(args: IntegrationChange) -> Self {
        let IntegrationChange { integration: _, name, settings, credentials, enabled } = args;
        Self { name, settings, credentials, enabled }
    }
}

impl IntegrationInvoke {
    /// The input, and how the call is made.
    pub(in crate::wire) fn parts(self) -> (Map<String, Value>, CallOptions) {
        let mut options = CallOptions::default();
        options.idempotency_key = self.idempotency_key;
        options.timeout = self.timeout_ms.map(Duration::from_millis);
        (self.input.unwrap_or_default(), options)
    }
}
