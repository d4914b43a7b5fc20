//! Tools made from async functions.

use std::fmt;
use std::marker::PhantomData;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Approval, Effect, Tool, ToolCall, ToolSpec};
use crate::error::{Error, Result};

/// A tool made from an async function by [`tool`].
pub struct FnTool<F, I> {
    spec: ToolSpec,
    function: F,
    input: PhantomData<fn(I)>,
}

/// Makes a tool from an async function of a [`ToolCall`] and a typed input; the schema comes from the input's type.
///
/// Its effect is [`Effect::Unsafe`] until said otherwise.
///
/// # Examples
/// ```
/// use agentprovision_core::tool::{Effect, Tool, ToolCall, tool};
/// use agentprovision_core::Result;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct LookupOrder { order_id: String }
///
/// async fn lookup_order(_: ToolCall, input: LookupOrder) -> Result<String> {
///     Ok(format!("order {} is on its way", input.order_id))
/// }
///
/// let tool = tool("lookup_order", "Find an order by its id", lookup_order).effect(Effect::Pure);
/// assert_eq!(tool.spec().input_schema["required"][0], "order_id");
/// ```
pub fn tool<F, I, O, Fut>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: F,
) -> FnTool<F, I>
where
    F: Fn(ToolCall, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    I: DeserializeOwned + JsonSchema + 'static,
    O: Serialize + 'static,
{
    let schema = schemars::schema_for!(I).to_value();
    FnTool { spec: ToolSpec::new(name, description, schema), function, input: PhantomData }
}

impl<F, I> FnTool<F, I> {
    /// The same tool with a declared effect.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.spec.effect = effect;
        self
    }

    /// The same tool with another time limit, in whole milliseconds.
    #[must_use]
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.spec.timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The same tool with a person who must agree first.
    #[must_use]
    pub fn approval(mut self, approval: Approval) -> Self {
        self.spec.approval = approval;
        self
    }

    /// The same tool with a permission its caller needs.
    #[must_use]
    pub fn permission(mut self, permission: impl Into<String>) -> Self {
        self.spec.permission = Some(permission.into());
        self
    }
}

impl<F, I> fmt::Debug for FnTool<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FnTool").field(&self.spec.name).finish()
    }
}

#[async_trait]
impl<F, I, O, Fut> Tool for FnTool<F, I>
where
    F: Fn(ToolCall, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    I: DeserializeOwned + JsonSchema + 'static,
    O: Serialize + 'static,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &ToolCall, input: Value) -> Result<Value> {
        let future = {
            let input: I = serde_json::from_value(input).map_err(|error| {
                Error::invalid(format!("the input of `{}` does not fit: {error}", self.spec.name))
            })?;
            (self.function)(call.clone(), input)
        };
        let output = future.await?;
        serde_json::to_value(output).map_err(|error| {
            Error::internal(format!("the result of `{}` has no JSON form", self.spec.name)).with_source(error)
        })
    }
}
