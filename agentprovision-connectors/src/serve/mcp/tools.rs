//! The tools: their list, and calls of them.

use agentprovision_core::context::Context;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::super::{call_options, problem};
use super::Mcp;
use super::message::{Era, Failure, Request, Said, complete, listed};
use crate::operation::Effect;
use crate::tools::OperationTool;

impl Mcp {
    pub(super) async fn list(&self, ctx: &Context, era: Era, request: &Request) -> Result<Said, Failure> {
        let after = match request.params.get("cursor") {
            None => "",
            Some(_) => request.text("cursor")?,
        };
        let inner = &*self.0;
        let usable = inner.served.usable(ctx).await;
        let usable = usable.map_err(|error| Failure::of_error(error.message(), problem(&error)))?;
        let mut rest = usable.filter(|tool| tool.name() > after).peekable();
        let (mut tools, mut last) = (Vec::new(), "");
        for tool in rest.by_ref().take(inner.tools_per_page) {
            last = tool.name();
            tools.push(described(tool, era));
        }
        let mut said = Said::new();
        said.insert("tools".to_owned(), tools.into());
        if rest.peek().is_some() {
            said.insert("nextCursor".to_owned(), last.into());
        }
        Ok(listed(said, era))
    }

    pub(super) async fn call(
        &self,
        ctx: &Context,
        headers: &HeaderMap,
        era: Era,
        request: &Request,
    ) -> Result<Said, Failure> {
        let name = request.text("name")?;
        let mut input = match request.params.get("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(input)) => input.clone(),
            Some(_) => return Err(Failure::params("`arguments` is an object")),
        };
        let tools = &self.0.served.tools;
        let at = tools.binary_search_by(|tool| tool.name().cmp(name)).ok();
        let tool = at.and_then(|at| tools.get(at)).ok_or_else(|| Failure::no_tool(name))?;
        let called = async {
            let options = call_options(headers)?;
            let integration = tool.take_integration(&mut input)?;
            tool.invoke(ctx, integration.as_deref(), input, options).await
        };
        let mut said = Said::new();
        let text = match called.await {
            Ok(value) => {
                let text = value.to_string();
                if era == Era::Stateless || value.is_object() {
                    said.insert("structuredContent".to_owned(), value);
                }
                said.insert("isError".to_owned(), false.into());
                text
            }
            // As text alone: clients hold what is structured to the schema of the output, also where a call fails.
            Err(error) => {
                said.insert("isError".to_owned(), true.into());
                problem(&error).to_string()
            }
        };
        said.insert("content".to_owned(), json!([{ "type": "text", "text": text }]));
        Ok(complete(said, era))
    }
}

/// A tool as clients see it.
fn described(tool: &OperationTool, era: Era) -> Value {
    let operation = tool.operation();
    let mut said = json!({
        "name": tool.name(),
        "title": format!("{}: {}", tool.connector().title, operation.name),
        "description": tool.summary(),
        "inputSchema": plain(tool.input()),
        "annotations": {
            "readOnlyHint": operation.effect == Effect::Read,
            "destructiveHint": operation.effect == Effect::Destroy,
            "idempotentHint": operation.repeatable(),
            "openWorldHint": true,
        },
    });
    let output = &operation.output;
    let of_object = output.get("type").and_then(Value::as_str) == Some("object");
    if let Some(fields) = said.as_object_mut()
        && (of_object || (era == Era::Stateless && output.is_object()))
    {
        fields.insert("outputSchema".to_owned(), plain(output));
    }
    said
}

/// A schema without the formats of numbers, which OpenAPI knows and JSON Schema does not: clients tell people of each.
fn plain(schema: &Value) -> Value {
    fn without_formats(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                let number = |format: &str| format.contains("int") || ["float", "double"].contains(&format);
                if fields.get("format").and_then(Value::as_str).is_some_and(number) {
                    fields.remove("format");
                }
                fields.values_mut().for_each(without_formats);
            }
            Value::Array(items) => items.iter_mut().for_each(without_formats),
            _ => {}
        }
    }
    let mut schema = schema.clone();
    without_formats(&mut schema);
    schema
}
