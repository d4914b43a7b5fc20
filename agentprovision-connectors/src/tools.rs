//! Operations as tools of a model.

use std::fmt;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::id::IntegrationId;
use agentprovision_core::integration::{Integration, IntegrationQuery, IntegrationState};
use agentprovision_core::page::PageRequest;
use agentprovision_core::tool::{Approval, Effect as ToolEffect, Tool, ToolCall, ToolSpec};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::connector::Connector;
use crate::integrations::{CallOptions, Integrations};
use crate::operation::{Effect, OperationSpec};

/// The field of a tool's input that says which integration is meant.
pub(crate) const INTEGRATION: &str = "integration";

/// An operation as a tool: `<connector>_<operation>`, with `_` in the place of `.` and `-`.
///
/// Its input is the operation's, and `integration`, the name or id of the one that is meant where the tenant has several of the
/// connector. A person must agree before one that takes something away. The caller, and the agent among its capabilities, needs
/// `integrations:invoke`.
pub struct OperationTool {
    spec: ToolSpec,
    connector: Arc<Connector>,
    operation: Arc<OperationSpec>,
    integrations: Integrations,
}

impl fmt::Debug for OperationTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperationTool").field(&self.spec.name).finish()
    }
}

/// The name of an operation's tool.
pub(crate) fn tool_name(connector: &str, operation: &str) -> String {
    format!("{connector}_{operation}").replace(['.', '-'], "_")
}

impl OperationTool {
    fn new(connector: &Arc<Connector>, operation: &Arc<OperationSpec>, integrations: &Integrations) -> Self {
        let mut schema = Value::clone(&operation.input);
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let about = format!(
                "The name of the integration of {} to use, where there are several.",
                connector.title
            );
            properties
                .entry(INTEGRATION)
                .or_insert_with(|| json!({ "type": "string", "description": about }));
        } else if let Some(fields) = schema.as_object_mut() {
            fields.insert("properties".to_owned(), json!({ INTEGRATION: { "type": "string" } }));
        }
        let summary = operation.summary.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut spec = ToolSpec::new(tool_name(&connector.name, &operation.name), summary, schema);
        spec.effect = if operation.repeatable() { ToolEffect::Idempotent } else { ToolEffect::Unsafe };
        spec.approval = if operation.effect == Effect::Destroy { Approval::Always } else { Approval::Never };
        spec.timeout_ms = u64::try_from(operation.timeout.as_millis()).unwrap_or(u64::MAX);
        spec.permission = Some("integrations:invoke".to_owned());
        Self {
            spec,
            connector: connector.clone(),
            operation: operation.clone(),
            integrations: integrations.clone(),
        }
    }

    /// The name.
    #[cfg(feature = "serve")]
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it does.
    #[cfg(feature = "serve")]
    pub(crate) fn summary(&self) -> &str {
        &self.spec.description
    }

    /// JSON Schema of its input.
    #[cfg(feature = "serve")]
    pub(crate) fn input(&self) -> &Value {
        &self.spec.input_schema
    }

    /// Whose operation it is.
    #[cfg(feature = "serve")]
    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// The operation.
    #[cfg(feature = "serve")]
    pub(crate) fn operation(&self) -> &Arc<OperationSpec> {
        &self.operation
    }

    /// The name of the integration, taken out of an input of the tool.
    pub(crate) fn take_integration(&self, input: &mut Map<String, Value>) -> Result<Option<String>> {
        if takes_integration(&self.operation) {
            return Ok(None);
        }
        match input.remove(INTEGRATION) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(_) => Err(Error::invalid(format!("`{INTEGRATION}` is a name or an id, in text"))),
        }
    }

    /// Carries the operation out with the integration that is meant.
    pub(crate) async fn invoke(
        &self,
        ctx: &Context,
        integration: Option<&str>,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Value> {
        let id = self.integration(ctx, integration).await?;
        self.integrations.invoke_of(ctx, id, &self.connector, &self.operation.name, input, options).await
    }

    /// The integration that is meant.
    async fn integration(&self, ctx: &Context, named: Option<&str>) -> Result<IntegrationId> {
        if let Some(id) = named.and_then(|named| named.parse().ok()) {
            return Ok(id);
        }
        let query = IntegrationQuery::default().connector(&*self.connector.name);
        let all = self.integrations.every(ctx, query).await?;
        let mut fitting = all.iter().filter(|integration| match named {
            Some(name) => integration.name == name,
            None => integration.state == IntegrationState::Active,
        });
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one.id),
            (None, _) if all.is_empty() => {
                Err(Error::not_found(format!("the tenant has no integration of `{}`", self.connector.name)))
            }
            _ => {
                let names: Vec<String> =
                    all.iter().map(|integration| format!("`{}`", integration.name)).collect();
                let message = format!("`{INTEGRATION}` says which one is meant: one of {}", names.join(", "));
                Err(Error::invalid(message))
            }
        }
    }
}

#[async_trait]
impl Tool for OperationTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &ToolCall, input: Value) -> Result<Value> {
        let Value::Object(mut input) = input else {
            return Err(Error::invalid(format!("the input of `{}` is no object", self.spec.name)));
        };
        let named = self.take_integration(&mut input)?;
        let options = CallOptions {
            // A read is made anew; everything else was done under this key, or was not done.
            idempotency_key: (self.operation.effect != Effect::Read)
                .then(|| call.idempotency_key().to_owned()),
            run: Some(call.run()),
            agent: call.ctx().agent(),
            ..CallOptions::default()
        };
        self.invoke(call.ctx(), named.as_deref(), input, options).await
    }
}

/// Whether the operation itself has an input of that name.
fn takes_integration(operation: &OperationSpec) -> bool {
    let properties = operation.input.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties: &Map<String, Value>| properties.contains_key(INTEGRATION))
}

impl Integrations {
    /// The operations of all connectors, as tools.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        self.operation_tools().into_iter().map(|tool| Arc::new(tool) as Arc<dyn Tool>).collect()
    }

    pub(crate) fn operation_tools(&self) -> Vec<OperationTool> {
        let of = |connector: &Arc<Connector>| {
            let tools =
                connector.operations().map(|operation| OperationTool::new(connector, operation, self));
            tools.collect::<Vec<_>>()
        };
        self.catalog().connectors().flat_map(of).collect()
    }

    /// All integrations that are asked for, page after page.
    pub(crate) async fn every(&self, ctx: &Context, query: IntegrationQuery) -> Result<Vec<Integration>> {
        let mut all = Vec::new();
        let mut page = PageRequest::limit(100);
        loop {
            let mut query = query.clone();
            query.page = page.clone();
            let found = self.store().list(ctx, query).await?;
            all.extend(found.items);
            match found.next {
                Some(next) => page = page.after(next),
                None => return Ok(all),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_after_their_operations() {
        assert_eq!(tool_name("github", "issues.create"), "github_issues_create");
        assert_eq!(tool_name("pagerduty-events", "events.trigger"), "pagerduty_events_events_trigger");
    }
}
