//! Tools in the form of OpenAI's chat completions, which other formats took over.

use agentprovision_core::model::ToolDefinition;
use serde_json::{Value, json};

/// A tool with the schema of its input in the form the provider takes; without a description where there is none.
pub(super) fn function(tool: &ToolDefinition, parameters: &Value) -> Value {
    let mut function = json!({"name": tool.name, "parameters": parameters});
    if let (Some(function), false) = (function.as_object_mut(), tool.description.is_empty()) {
        function.insert("description".into(), json!(tool.description));
    }
    json!({"type": "function", "function": function})
}
