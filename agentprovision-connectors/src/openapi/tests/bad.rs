//! Documents that are none, and those that are meant to do harm.

use std::time::Instant;

use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::{Import, body, document, read};

fn kind(text: &str) -> (ErrorKind, String) {
    let error = Import::new("desk").read(text).expect_err(text.get(..200).unwrap_or(text));
    assert!(error.message().len() < 500, "{error}");
    (error.kind(), error.message().to_owned())
}

#[test]
fn other_versions_are_told_from_what_is_no_document() {
    for (text, expected, named) in [
        (r#"{"swagger":"2.0","paths":{}}"#, ErrorKind::Unsupported, "Swagger 2.0"),
        ("swagger: '2.0'\npaths: {}", ErrorKind::Unsupported, "Swagger 2.0"),
        ("swagger: 2.0", ErrorKind::Unsupported, "convert it first"),
        (r#"{"swaggerVersion":"1.2"}"#, ErrorKind::InvalidInput, "`openapi`"),
        (r#"{"openapi":"4.0.0","paths":{}}"#, ErrorKind::Unsupported, "OpenAPI 4.0.0"),
        (r#"{"openapi":"3.2.0","paths":{}}"#, ErrorKind::Unsupported, "OpenAPI 3.2.0"),
        (r#"{"openapi":"three","paths":{}}"#, ErrorKind::Unsupported, "OpenAPI three"),
        (r#"{"openapi":[],"paths":{}}"#, ErrorKind::InvalidInput, "`openapi`"),
        ("", ErrorKind::InvalidInput, "no object"),
        ("hello", ErrorKind::InvalidInput, "no object"),
        ("[1]", ErrorKind::InvalidInput, "no object"),
        ("<html></html>", ErrorKind::InvalidInput, "no object"),
        ("{", ErrorKind::InvalidInput, "no JSON"),
        ("{\"openapi\":\"3.0.0\",}", ErrorKind::InvalidInput, "no JSON"),
        ("a: [", ErrorKind::InvalidInput, "no YAML"),
        ("a: 1\na: 2", ErrorKind::InvalidInput, "no YAML"),
        ("a: &a [*a]", ErrorKind::InvalidInput, "no YAML"),
        (r#"{"openapi":"3.0.0"}"#, ErrorKind::InvalidInput, "`paths`"),
        (r#"{"openapi":"3.0.0","paths":{}}"#, ErrorKind::InvalidInput, "no operation"),
        (r#"{"openapi":"3.0.0","paths":[]}"#, ErrorKind::InvalidInput, "`paths` is no object"),
        (r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"info":1}"#, ErrorKind::InvalidInput, "`info`"),
        (
            r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"servers":{}}"#,
            ErrorKind::InvalidInput,
            "`servers`",
        ),
        (
            r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"components":[]}"#,
            ErrorKind::InvalidInput,
            "`components`",
        ),
        (
            r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"security":1}"#,
            ErrorKind::InvalidInput,
            "`security`",
        ),
    ] {
        let (found, message) = kind(text);
        assert_eq!(found, expected, "{text}: {message}");
        assert!(message.contains(named), "{text}: {message}");
    }
    assert_eq!(Import::new("desk").read([0xff, 0xfe]).unwrap_err().kind(), ErrorKind::InvalidInput);
    let good = document(json!({ "/a": { "get": {} } })).to_string();
    Import::new("desk").read(format!("\u{feff}\n {good}")).unwrap();
    assert_eq!(Import::new("desk").max_bytes(10).read(&good).unwrap_err().kind(), ErrorKind::TooLarge);
    for name in ["", "Desk", "a b", &"a".repeat(33)] {
        assert_eq!(Import::new(name).read(&good).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

/// Everything in a document that has to be an object, a list, a text or a boolean is another thing, one after the other.
#[test]
fn wrong_types_are_errors_or_skipped_and_nothing_else() {
    let whole = json!({
        "openapi": "3.0.0",
        "info": { "title": "t", "version": "1", "description": "d" },
        "servers": [{ "url": "https://{a}.example", "variables": { "a": { "default": "x", "enum": ["x"], "description": "d" } } }],
        "security": [{ "key": [] }, { "oauth": ["s"] }],
        "paths": { "/a/{id}": {
            "summary": "s",
            "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
            "post": {
                "operationId": "o", "tags": ["t"], "summary": "s", "description": "d", "deprecated": false,
                "parameters": [
                    { "name": "q", "in": "query", "style": "form", "explode": true, "description": "d", "schema": { "type": "array", "items": { "$ref": "#/components/schemas/S" } } },
                    { "name": "c", "in": "query", "content": { "application/json": { "schema": {} } } },
                ],
                "requestBody": { "required": true, "description": "d", "content": { "application/x-www-form-urlencoded": {
                    "schema": { "type": "object", "required": ["b"], "properties": { "b": { "nullable": true, "enum": [1], "example": 1 } } },
                    "encoding": { "b": { "style": "form", "explode": true } },
                } } },
                "responses": { "200": { "description": "d", "content": { "application/json": { "schema": { "allOf": [{ "$ref": "#/components/schemas/S" }] } } } } },
                "security": [{ "key": [] }],
            },
        } },
        "components": {
            "schemas": { "S": { "type": "string", "pattern": "^a$", "minLength": 1, "maximum": 3, "exclusiveMaximum": true, "oneOf": [{}], "not": { "const": 1 } } },
            "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "k" }, "oauth": { "type": "oauth2", "flows": { "clientCredentials": { "tokenUrl": "https://a.example/t", "scopes": {} } } } },
        },
    });
    read(&whole).unwrap();
    let mut places = Vec::new();
    fn walk(value: &Value, at: &str, places: &mut Vec<String>) {
        places.push(at.to_owned());
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                walk(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }),
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(number, value)| walk(value, &format!("{at}/{number}"), places));
            }
            _ => {}
        }
    }
    walk(&whole, "", &mut places);
    assert!(places.len() > 90, "{}", places.len());
    let (mut refused, mut taken) = (0, 0);
    for place in &places {
        for wrong in [
            json!(null),
            json!(7),
            json!(-1.5),
            json!(true),
            json!("wrong"),
            json!([1]),
            json!({ "w": 1 }),
            json!([[]]),
            json!(""),
        ] {
            let mut document = whole.clone();
            *document.pointer_mut(place).unwrap() = wrong.clone();
            match read(&document) {
                Err(error) => {
                    refused += 1;
                    let kinds = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::Blocked];
                    assert!(kinds.contains(&error.kind()), "{place} = {wrong}: {error:?}");
                }
                Ok(imported) => {
                    taken += 1;
                    // Whatever came in can be used.
                    let settings = json!({}).as_object().unwrap().clone();
                    let _ = imported.connector.base_of(&settings);
                    for spec in imported.connector.operations() {
                        let given = json!({ "id": "1", "b": 1 });
                        let compiled = imported.connector.operation(&spec.name).unwrap();
                        let _ = compiled.request("https://a.example", given.as_object().unwrap());
                    }
                }
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 200 && taken > 100, "{refused} {taken}");
}

#[test]
fn references_lead_to_something_within() {
    for (reference, expected) in [
        ("#/components/schemas/Nobody", ErrorKind::InvalidInput),
        ("#/components/schemas/Nobody/properties/a", ErrorKind::InvalidInput),
        ("#anchor", ErrorKind::Unsupported),
        ("file:///etc/passwd", ErrorKind::Blocked),
        ("/etc/passwd", ErrorKind::Blocked),
        ("../other.json#/a", ErrorKind::Blocked),
        ("other.yaml", ErrorKind::Blocked),
        ("http://169.254.169.254/latest/meta-data/", ErrorKind::Blocked),
        ("https://elsewhere.example/schemas.json#/S", ErrorKind::Blocked),
        ("//127.0.0.1/x", ErrorKind::Blocked),
        ("", ErrorKind::Blocked),
    ] {
        let to = || json!({ "$ref": reference });
        for (place, operation) in [
            ("parameter", json!({ "parameters": [to()] })),
            (
                "schema",
                json!({ "parameters": [{ "name": "q", "in": "query", "schema": { "properties": { "a": to() } } }] }),
            ),
            ("body", json!({ "requestBody": to() })),
            ("body's schema", json!({ "requestBody": body("application/json", to()) })),
            ("response", json!({ "responses": { "200": to() } })),
            (
                "answer",
                json!({ "responses": { "200": { "content": { "application/json": { "schema": { "allOf": [to()] } } } } } }),
            ),
        ] {
            let error = read(&document(json!({ "/a": { "post": operation } }))).unwrap_err();
            assert_eq!(error.kind(), expected, "{place} {reference}: {error}");
        }
        // Others are imported all the same.
        let some = document(json!({ "/a": { "$ref": reference }, "/b": { "get": {} } }));
        let imported = read(&some).unwrap();
        assert_eq!((imported.skipped.len(), imported.skipped[0].why.kind()), (1, expected), "{reference}");
    }
    let round = document(json!({ "/a": { "$ref": "#/paths/~1b" }, "/b": { "$ref": "#/paths/~1a" } }));
    assert_eq!(read(&round).unwrap_err().kind(), ErrorKind::InvalidInput);
    // Within, any pointer will do.
    let mut within = document(json!({ "/a": { "get": { "parameters": [
        { "name": "q", "in": "query", "schema": { "$ref": "#/x-mine/a~1b%20c/0" } },
    ] } } }));
    within["x-mine"] = json!({ "a/b c": [{ "type": "integer" }] });
    let connector = read(&within).unwrap().connector;
    let spec = connector.operations().next().unwrap();
    assert_eq!(spec.input.pointer("/properties/q/$ref"), Some(&json!("#/$defs/0")));
    assert_eq!(spec.input.pointer("/$defs/0"), Some(&json!({ "type": "integer" })));
}

#[test]
fn nesting_and_bombs_end_at_a_limit() {
    let deep = 10_000;
    // As many as a document may have.
    let maps = (0..4_000).map(|at| format!("{}a:\n", " ".repeat(at))).collect::<String>();
    let schema = "{\"not\":".repeat(deep) + "{}" + &"}".repeat(deep);
    let json = format!(
        r#"{{"openapi":"3.0.0","paths":{{"/a":{{"get":{{"parameters":[{{"name":"q","in":"query","schema":{schema}}}]}}}}}}}}"#
    );
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let merges = (1..30).fold("a0: &a0 {x: 1}\n".to_owned(), |text, level| {
        let before = level - 1;
        text + &format!("a{level}: &a{level} {{p: *a{before}, q: *a{before}}}\n")
    });
    for (what, text) in [
        ("JSON", json),
        ("lists in JSON", format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep))),
        ("lists in YAML", format!("a: {}{}", "[".repeat(deep), "]".repeat(deep))),
        ("sequences", format!("a:\n {}x", "- ".repeat(deep))),
        ("maps", maps),
        ("aliases", bomb),
        ("aliases of maps", merges),
    ] {
        let begun = Instant::now();
        let (found, message) = kind(&text);
        println!("{what}: {:?}, {message}", begun.elapsed());
        assert_eq!(found, ErrorKind::InvalidInput, "{what}: {message}");
    }
}

#[test]
fn what_is_as_deep_as_may_be_is_read() {
    let nested = |depth: usize| {
        let schema = "{\"not\":".repeat(depth) + "{}" + &"}".repeat(depth);
        format!(
            r#"{{"openapi":"3.0.0","paths":{{"/a":{{"post":{{"parameters":[{{"name":"q","in":"query","schema":{schema}}}],"responses":{{"200":{{"content":{{"application/json":{{"schema":{schema}}}}}}}}}}}}}}}}}"#
        )
    };
    let depth = (60..130).rev().find(|depth| Import::new("desk").read(nested(*depth)).is_ok()).unwrap();
    println!("{depth} levels of a schema");
    let imported = Import::new("desk").read(nested(depth)).unwrap();
    let operation = imported.connector.operations().next().unwrap();
    jsonschema::validator_for(&operation.output).unwrap();
    let compiled = imported.connector.operation(&operation.name).unwrap();
    assert_eq!(crate::connector::violations(&compiled.input, &json!({ "q": 1 })).is_none(), depth % 2 == 0);
    // The same in YAML, which JSON is.
    let text = format!("# YAML\n{}", nested(depth));
    Import::new("desk").read(&text).unwrap();
}

#[test]
fn two_thousand_operations_are_read() {
    let params = |number: usize| {
        json!([
            { "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } },
            { "name": "since", "in": "query", "description": format!("Since when, of {number}."), "schema": { "type": "string", "format": "date-time" } },
        ])
    };
    let schema = json!({ "$ref": "#/components/schemas/Thing" });
    let mut paths = serde_json::Map::new();
    for number in 0..500 {
        let answer = json!({ "200": { "content": { "application/json": { "schema": schema } } } });
        let operation = |verb: &str| {
            let mut made = json!({ "operationId": format!("{verb}Thing{number}"), "summary": "Does.", "parameters": params(number), "responses": answer });
            if ["create", "change"].contains(&verb) {
                made["requestBody"] = body("application/json", schema.clone());
            }
            made
        };
        paths.insert(format!("/things{number}/{{id}}"), json!({
            "get": operation("get"), "post": operation("create"), "patch": operation("change"), "delete": operation("delete"),
        }));
    }
    let mut document = document(Value::Object(paths));
    let fields: serde_json::Map<String, Value> = (0..30).map(|number| {
        (format!("field{number}"), json!({ "type": "string", "description": "A field.", "nullable": true, "pattern": "^[a-z]+$" }))
    }).collect();
    document["components"] = json!({ "schemas": {
        "Thing": { "type": "object", "properties": { "parts": { "type": "array", "items": { "$ref": "#/components/schemas/Thing" } }, "more": { "$ref": "#/components/schemas/More" } } },
        "More": { "type": "object", "properties": fields },
    } });
    let text = document.to_string();
    let begun = Instant::now();
    let imported = read(&document).unwrap();
    println!("2,000 operations, {} bytes: {:?}", text.len(), begun.elapsed());
    assert_eq!((imported.connector.operations().count(), imported.skipped.len()), (2_000, 0));
}
