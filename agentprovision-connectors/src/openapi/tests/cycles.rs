//! Schemas that refer to themselves.

use serde_json::{Value, json};

use super::{body, document, read};
use crate::connector::{Compiled, violations};

/// The operation whose body is of the schema `A` of these.
fn taking(schemas: Value) -> (super::Imported, String) {
    let mut document = document(json!({ "/a": { "post": {
        "operationId": "x", "requestBody": body("application/json", json!({ "$ref": "#/components/schemas/A" })),
        "responses": { "200": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } } },
    } } }));
    document["components"] = json!({ "schemas": schemas });
    let imported = read(&document).unwrap();
    assert!(imported.skipped.is_empty(), "{:?}", imported.skipped);
    (imported, "x".to_owned())
}

fn check(schemas: Value, good: &[Value], bad: &[Value]) {
    let (imported, name) = taking(schemas.clone());
    let operation: &Compiled = imported.connector.operation(&name).unwrap();
    let whole = operation.spec.input.pointer("/properties/body").is_some();
    let given = |value: &Value| if whole { json!({ "body": value }) } else { value.clone() };
    for value in good {
        assert_eq!(violations(&operation.input, &given(value)), None, "{schemas}: {value}");
    }
    for value in bad {
        assert!(violations(&operation.input, &given(value)).is_some(), "{schemas}: {value}");
    }
    jsonschema::validator_for(&operation.spec.output).unwrap();
}

#[test]
fn a_tree_is_checked_to_its_leaves() {
    let tree = json!({ "A": { "type": "object", "required": ["n"], "properties": {
        "n": { "type": "integer" }, "children": { "type": "array", "items": { "$ref": "#/components/schemas/A" } },
    } } });
    let deep = |leaf: Value| json!({ "n": 1, "children": [{ "n": 2, "children": [leaf] }] });
    check(tree, &[deep(json!({ "n": 3 }))], &[deep(json!({ "n": "3" })), deep(json!({}))]);
    let next = json!({ "A": { "type": "object", "properties": { "b": { "$ref": "#/components/schemas/B" } } },
        "B": { "type": "object", "properties": { "a": { "$ref": "#/components/schemas/A" }, "n": { "type": "integer" } } } });
    check(
        next,
        &[json!({ "b": { "a": { "b": { "n": 1 } } } })],
        &[json!({ "b": { "a": { "b": { "n": "1" } } } })],
    );
}

#[test]
fn what_is_its_own_condition_ends() {
    let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let object = |field: &str| json!({ "type": "object", "required": [field] });
    let all = [json!({}), json!(1), json!({ "a": 1 })];
    // Itself, and each other.
    check(json!({ "A": to("A") }), &all, &[]);
    check(json!({ "A": to("B"), "B": to("A") }), &all, &[]);
    check(json!({ "A": { "allOf": [to("A")] } }), &all, &[]);
    check(json!({ "A": { "allOf": [to("B")] }, "B": { "anyOf": [to("A")] } }), &all, &[]);
    // What else is said holds.
    let schemas = json!({ "A": { "allOf": [to("A"), object("a")] } });
    check(schemas, &[json!({ "a": 1 })], &[json!({}), json!(1)]);
    // A base that names its variants, which build on it.
    let polymorph = json!({
        "A": { "type": "object", "required": ["kind"], "oneOf": [to("B"), to("C")] },
        "B": { "allOf": [to("A"), object("b")] },
        "C": { "allOf": [to("A"), object("c")] },
    });
    let good =
        [json!({ "kind": 1, "b": 1 }), json!({ "kind": 1, "c": 1 }), json!({ "kind": 1, "b": 1, "c": 1 })];
    check(polymorph, &good, &[json!({ "b": 1 }), json!({ "kind": 1 }), json!(1)]);
    // What must not be would be refused for ever.
    check(json!({ "A": { "not": to("A"), "required": ["a"] } }), &[json!({ "a": 1 })], &[json!({})]);
    check(json!({ "A": { "if": to("A"), "then": { "required": ["a"] } } }), &all, &[]);
}

#[test]
fn long_chains_and_many_conditions_are_cut() {
    let to = |number: usize| json!({ "$ref": format!("#/components/schemas/S{number}") });
    let named = |make: &dyn Fn(usize) -> Value, many: usize| {
        let mut schemas: serde_json::Map<String, Value> =
            (0..many).map(|number| (format!("S{number}"), make(number))).collect();
        schemas.insert("A".into(), json!({ "type": "object", "properties": { "x": to(0) } }));
        schemas.insert(format!("S{many}"), json!({ "type": "integer" }));
        Value::Object(schemas)
    };
    let some = [json!({ "x": 1 })];
    // 10,000 definitions, each the only condition of the one before it; and 2^60 ways to the same one.
    check(named(&|number| json!({ "allOf": [to(number + 1)] }), 10_000), &some, &[]);
    check(named(&|number| json!({ "allOf": [to(number + 1), to(number + 1)] }), 60), &some, &[]);
    check(
        named(&|number| json!({ "properties": { "a": to(number + 1), "b": to(number + 1) } }), 60),
        &some,
        &[],
    );
    // Shorter ones are not.
    check(named(&|number| json!({ "allOf": [to(number + 1)] }), 20), &some, &[json!({ "x": "1" })]);
}

#[test]
fn what_is_too_long_is_left_out_from_its_ends() {
    let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let text = "x".repeat(400);
    let schemas = json!({
        "A": { "type": "object", "properties": { "b": to("B"), "one": { "oneOf": [to("C"), to("D")] } } },
        "B": { "type": "object", "properties": { "c": to("C") }, "required": ["c"] },
        "C": { "type": "string", "description": text },
        "D": { "type": "integer", "description": text },
    });
    let mut document = document(json!({ "/a": { "post": {
        "operationId": "x", "requestBody": body("application/json", to("A")),
    } } }));
    document["components"] = json!({ "schemas": schemas });
    let import = |most: usize| super::Import::new("desk").max_schema_bytes(most).read(document.to_string());
    let takes = |most: usize, value: Value| {
        let imported = import(most).unwrap();
        violations(&imported.connector.operation("x").unwrap().input, &value).is_none()
    };
    assert!(!takes(100_000, json!({ "b": { "c": 1 } })));
    // C and D are gone: anything is one of them, and that both hold now refuses nothing.
    assert!(takes(500, json!({ "b": { "c": 1 }, "one": "x" })));
    assert!(!takes(500, json!({ "b": {} })));
    let error = import(100).unwrap_err();
    assert_eq!(error.kind(), agentprovision_core::ErrorKind::TooLarge);
}
