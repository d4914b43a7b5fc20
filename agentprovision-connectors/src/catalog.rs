//! The service for connectors: which there are, and what they can do.

use agentprovision_core::Result;
use agentprovision_core::access::Access;
use agentprovision_core::authz::Permission;
use agentprovision_core::context::Context;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::auth::{Auth, Grant};
use crate::connector::{Catalog, Connector};
use crate::operation::{Effect, OperationSpec};
use crate::tools::tool_name;

/// Says which connectors there are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connectors {
    catalog: Catalog,
    access: Access,
}

/// A connector, as whoever connects an integration sees it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ConnectorInfo {
    /// The name.
    pub name: String,
    /// How people call the service.
    pub title: String,
    /// What it is good for.
    pub summary: String,
    /// The version of its description.
    pub version: String,
    /// Ways to prove who asks; the first one is the usual one.
    pub auth: Vec<AuthInfo>,
    /// JSON Schema of its settings.
    pub settings: Value,
    /// The names of its operations.
    pub operations: Vec<String>,
}

/// A way to prove who asks.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AuthInfo {
    /// The name.
    pub name: String,
    /// What it is called among people.
    pub title: String,
    /// What is entered.
    pub fields: Vec<FieldInfo>,
    /// Whether somebody grants access in a browser.
    pub in_browser: bool,
}

/// Something that is entered.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FieldInfo {
    /// The name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Whether it can be left out.
    pub optional: bool,
}

/// A connector with everything that is known of its operations.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ConnectorDetails {
    /// The connector.
    pub connector: ConnectorInfo,
    /// Its operations, by name.
    pub operations: Vec<OperationInfo>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OperationInfo {
    /// The name within its connector.
    pub name: String,
    /// The name of its tool.
    pub tool: String,
    /// What it does.
    pub summary: String,
    /// What it does to what the vendor keeps.
    pub effect: Effect,
    /// Whether it can be repeated when its end is not known.
    pub repeatable: bool,
    /// Whether its answer is a page of a list.
    pub paged: bool,
    /// What the vendor's credential has to be granted.
    pub scopes: Vec<String>,
    /// JSON Schema of its input.
    pub input: Value,
    /// JSON Schema of its output.
    pub output: Value,
}

impl From<&Connector> for ConnectorInfo {
    fn from(connector: &Connector) -> Self {
        Self {
            name: connector.name.to_string(),
            title: connector.title.to_string(),
            summary: connector.summary.to_string(),
            version: connector.version.to_string(),
            auth: connector.auth.iter().map(AuthInfo::from).collect(),
            settings: Value::clone(&connector.settings),
            operations: connector.operations().map(|spec| spec.name.to_string()).collect(),
        }
    }
}

impl From<&Auth> for AuthInfo {
    fn from(auth: &Auth) -> Self {
        let field = |field: &crate::auth::Field| FieldInfo {
            name: field.name.to_string(),
            about: field.about.to_string(),
            optional: field.optional,
        };
        Self {
            name: auth.name.to_string(),
            title: auth.title.to_string(),
            fields: auth.fields.iter().map(field).collect(),
            in_browser: matches!(auth.grant(), Some(Grant::Code(_))),
        }
    }
}

impl OperationInfo {
    fn of(connector: &Connector, spec: &OperationSpec) -> Self {
        Self {
            name: spec.name.to_string(),
            tool: tool_name(&connector.name, &spec.name),
            summary: spec.summary.to_string(),
            effect: spec.effect,
            repeatable: spec.repeatable(),
            paged: spec.paging.items().is_some(),
            scopes: spec.scopes.iter().map(ToString::to_string).collect(),
            input: Value::clone(&spec.input),
            output: Value::clone(&spec.output),
        }
    }
}

impl Connectors {
    /// The service over a catalogue.
    pub fn new(catalog: Catalog, access: Access) -> Self {
        Self { catalog, access }
    }

    /// All connectors, by name.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:read`.
    pub async fn list(&self, ctx: &Context) -> Result<Vec<ConnectorInfo>> {
        self.access.list(ctx, Permission::INTEGRATIONS_READ, "integrations").await?;
        Ok(self.catalog.connectors().map(|connector| ConnectorInfo::from(&**connector)).collect())
    }

    /// A connector and its operations, with their schemas.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:read`; `not_found`, naming one that is called similarly.
    pub async fn get(&self, ctx: &Context, name: &str) -> Result<ConnectorDetails> {
        self.access.list(ctx, Permission::INTEGRATIONS_READ, "integrations").await?;
        let connector = self.catalog.get(name)?;
        let operations = connector.operations().map(|spec| OperationInfo::of(connector, spec)).collect();
        Ok(ConnectorDetails { connector: ConnectorInfo::from(&**connector), operations })
    }
}
