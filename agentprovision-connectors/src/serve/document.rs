//! A description of operations in OpenAPI 3.1.

use serde_json::{Map, Value, json};

use crate::operation::Effect;
use crate::tools::OperationTool;

/// The description of what these tools do.
pub(super) fn of<'a>(tools: impl Iterator<Item = &'a OperationTool>, base_url: Option<&str>) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for tool in tools {
        let (connector, operation) = (tool.connector(), tool.operation());
        let place = format!("{}.{}", connector.name, operation.name);
        let (input, output) = (format!("{place}.input"), format!("{place}.output"));
        schemas.insert(input.clone(), component(&operation.input, &input));
        schemas.insert(output.clone(), component(&operation.output, &output));
        let path = format!("/{}/{}", connector.name, operation.name);
        paths.insert(path, json!({ "post": describe(tool, &input, &output) }));
    }
    schemas.insert("problem".to_owned(), problem());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Operations of connectors", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
    });
    if let (Some(url), Some(fields)) = (base_url, document.as_object_mut()) {
        fields.insert("servers".to_owned(), json!([{ "url": url }]));
    }
    document
}

fn describe(tool: &OperationTool, input: &str, output: &str) -> Value {
    let operation = tool.operation();
    let content = |media_type: &str, schema: &str| json!({ media_type: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    let mut parameters = vec![json!({
        "name": "integration",
        "in": "query",
        "description": "The name or id of the integration, where there are several.",
        "schema": { "type": "string" },
    })];
    if operation.effect != Effect::Read {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A call that was made under it before is answered as then.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        }));
    }
    let required = operation.input.get("required").and_then(Value::as_array);
    json!({
        "operationId": tool.name(),
        "summary": tool.summary(),
        "tags": [tool.connector().title],
        "parameters": parameters,
        "requestBody": {
            "required": required.is_some_and(|names| !names.is_empty()),
            "content": content("application/json", input),
        },
        "responses": {
            "200": { "description": "What came of it.", "content": content("application/json", output) },
            "default": { "description": "Why not.", "content": content("application/problem+json", "problem") },
        },
        "x-agentprovision-effect": operation.effect,
    })
}

/// A schema as a component: what it refers to within itself is found from the root of the document.
fn component(schema: &Value, name: &str) -> Value {
    fn moved(value: &mut Value, place: &str) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(target) if name == "$ref" && target.starts_with('#') => {
                            target.replace_range(..1, place);
                        }
                        value => moved(value, place),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| moved(item, place)),
            _ => {}
        }
    }
    let mut schema = schema.clone();
    moved(&mut schema, &format!("#/components/schemas/{name}"));
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
    }
    schema
}

/// The schema of what [`super::problem`] makes.
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retryable", "retry_after_ms", "context"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong." },
            "code": { "type": "string", "description": "The kind of error." },
            "retryable": { "type": "boolean" },
            "retry_after_ms": { "type": ["integer", "null"] },
            "context": { "type": "object", "additionalProperties": { "type": "string" } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_refers_to_is_found_from_the_root() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": { "Node": { "properties": { "next": { "$ref": "#/$defs/Node" } } } },
            "properties": { "all": { "items": [{ "$ref": "#" }, { "$ref": "https://x.example/y" }] }, "$ref": {} },
        });
        let moved = component(&schema, "a.b.input");
        assert_eq!(
            moved["$defs"]["Node"]["properties"]["next"]["$ref"],
            "#/components/schemas/a.b.input/$defs/Node"
        );
        assert_eq!(moved["properties"]["all"]["items"][0]["$ref"], "#/components/schemas/a.b.input");
        assert_eq!(moved["properties"]["all"]["items"][1]["$ref"], "https://x.example/y");
        assert_eq!((&moved["properties"]["$ref"], moved.get("$schema")), (&json!({}), None));
    }
}
