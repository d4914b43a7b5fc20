mod bad;
mod cycles;
mod vendors;

use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::auth::Scheme;
use crate::builtin::probe::{answer, request, response, sent};
use crate::connector::violations;
use crate::operation::{Effect, Idempotency};

/// A document with these paths and nothing else.
fn document(paths: Value) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Desk", "version": "1.2.3" },
        "servers": [{ "url": "https://desk.example/v1/" }],
        "paths": paths,
    })
}

fn read(document: &Value) -> Result<Imported> {
    Import::new("desk").read(document.to_string())
}

/// A document with one operation, which is imported.
fn one(operation: Value) -> Connector {
    let method = if operation.get("requestBody").is_some() { "post" } else { "get" };
    let imported = read(&document(json!({ "/things/{id}": { method: operation } }))).unwrap();
    assert!(imported.skipped.is_empty(), "{:?}", imported.skipped);
    imported.connector
}

fn input(connector: &Connector) -> Value {
    Value::clone(&connector.operations().next().unwrap().input)
}

/// The parameter `id` of the path, and others.
fn params(others: &[Value]) -> Vec<Value> {
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
    [&[id], others].concat()
}

/// A body of this content type and schema.
fn body(kind: &str, schema: Value) -> Value {
    json!({ "required": true, "content": { kind: { "schema": schema } } })
}

#[test]
fn a_document_in_yaml_is_a_connector() {
    let text = r##"
openapi: 3.1.0
info: { title: Pet store, version: 2.0.1, description: "Pets,\n and who keeps them." }
servers: [{ url: "https://pets.example/api" }]
tags: [{ name: pets }]
security: [{ key: [] }]
paths:
  /pets:
    parameters:
      - { name: X-Trace, in: header, schema: { type: string } }
    get:
      operationId: pets/listAll
      tags: [pets]
      summary: Lists pets
      description: |
        By name, if you like.

        In plan Gold only.
      parameters:
        - { name: kinds, in: query, explode: false, schema: { type: array, items: { type: string } } }
        - { name: limit, in: query, description: How many., schema: { type: integer, maximum: 100 } }
      responses:
        200:
          description: ok
          content:
            application/vnd.pets+json:
              schema: { type: array, items: { $ref: "#/components/schemas/Pet" } }
    post:
      operationId: pets/create
      requestBody:
        required: true
        content: { application/json: { schema: { $ref: "#/components/schemas/Pet" } } }
      responses: { 201: { description: made, content: { application/json: { schema: { $ref: "#/components/schemas/Pet" } } } } }
  /pets/{petId}:
    delete:
      parameters: [{ name: petId, in: path, required: true, schema: { type: integer } }]
      responses: { 204: { description: gone } }
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Key, description: From your profile. }
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties:
        id: { type: integer, readOnly: true }
        name: { type: string, minLength: 1 }
        tag: { type: [string, "null"] }
"##;
    let imported = Import::new("pets").read(text).unwrap();
    assert!(imported.skipped.is_empty() && imported.skipped_auth.is_empty(), "{imported:?}");
    let pets = &imported.connector;
    assert_eq!(
        (&*pets.title, &*pets.summary, &*pets.version),
        ("Pet store", "Pets, and who keeps them.", "2.0.1")
    );
    let names: Vec<&str> = pets.operations().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["pets.create", "pets.list_all", "pets_pet_id.delete"]);

    let list = pets.operation("pets.list_all").unwrap();
    assert_eq!(list.spec.summary, "Lists pets. By name, if you like.");
    assert_eq!((list.spec.effect, &list.spec.idempotency), (Effect::Read, &Idempotency::Natural));
    let sent_list =
        request(pets, "pets.list_all", json!({ "kinds": ["cat", "dog"], "limit": 2, "X-Trace": "t" }))
            .unwrap();
    assert_eq!(sent_list.uri(), "https://pets.example/api/pets?kinds=cat,dog&limit=2");
    assert_eq!(sent_list.headers()["x-trace"], "t");
    assert_eq!(sent_list.headers()["x-key"], "KEY");
    assert_eq!(sent_list.headers()["accept"], "application/vnd.pets+json");
    assert_eq!(pets.auth[0].fields[0].about, "The key. From your profile.");
    assert_eq!(list.spec.input.pointer("/properties/limit/description"), Some(&json!("How many.")));

    let create = pets.operation("pets.create").unwrap();
    assert_eq!((create.spec.effect, &create.spec.idempotency), (Effect::Write, &Idempotency::None));
    // What only answers have is not asked for.
    assert_eq!(create.spec.input.get("required"), Some(&json!(["name"])));
    let (line, body) = sent(pets, "pets.create", json!({ "name": "Tom", "tag": null }));
    assert_eq!((line.as_str(), body), ("POST https://pets.example/api/pets", json!({ "name": "Tom" })));
    for (bad, named) in [
        (json!({}), "name"),
        (json!({ "name": "" }), "/name"),
        (json!({ "name": "Tom", "colour": "red" }), "colour"),
    ] {
        assert!(violations(&create.input, &bad).unwrap().contains(named), "{bad}");
    }

    let delete = pets.operation("pets_pet_id.delete").unwrap();
    assert_eq!((delete.spec.effect, &delete.spec.idempotency), (Effect::Destroy, &Idempotency::Natural));
    assert_eq!(
        sent(pets, "pets_pet_id.delete", json!({ "petId": 7 })).0,
        "DELETE https://pets.example/api/pets/7"
    );
    assert_eq!(answer(pets, "pets_pet_id.delete", &response(204, &[], "")).unwrap(), Value::Null);
}

#[test]
fn answers_are_held_to_their_description_where_that_is_asked_for() {
    let mut document = document(json!({ "/a": { "get": { "responses": {
        "200": { "content": { "application/json": { "schema": { "type": "object", "required": ["n"] } } } },
        "204": { "description": "nothing" },
        "404": { "content": { "application/json": { "schema": { "type": "string" } } } },
    } } } }));
    let loose = read(&document).unwrap().connector;
    let strict = Import::new("desk").strict().read(document.to_string()).unwrap().connector;
    let other = response(200, &[], json!({ "m": 1 }));
    assert_eq!(answer(&loose, "a.get", &other).unwrap(), json!({ "m": 1 }));
    let error = answer(&strict, "a.get", &other).unwrap_err();
    assert!(error.is(ErrorKind::ProviderError) && error.message().contains("description"), "{error}");
    // Nothing is an answer too, by the description.
    assert_eq!(answer(&strict, "a.get", &response(204, &[], "")).unwrap(), Value::Null);
    // What has another content type is another form.
    for (content, body, expected) in [
        (json!({ "text/plain": {} }), "1", json!("1")),
        (json!({ "application/pdf": {} }), "1", json!({ "base64": "MQ==", "content_type": null, "size": 1 })),
        (json!({}), "1", json!(1)),
        (json!({}), "one", json!("one")),
    ] {
        document["paths"]["/a"]["get"]["responses"] = json!({ "2XX": { "content": content } });
        let connector = Import::new("desk").strict().read(document.to_string()).unwrap().connector;
        assert_eq!(answer(&connector, "a.get", &response(200, &[], body)).unwrap(), expected);
    }
}

#[test]
fn parameters_of_one_name_and_bodies_keep_apart() {
    let id = |place: &str| json!({ "name": "id", "in": place, "schema": { "type": "string" } });
    let of = |schema: Value| {
        let connector = one(json!({
            "operationId": "x", "parameters": params(&[id("query"), id("header")]), "requestBody": body("application/json", schema),
        }));
        let fields: Vec<String> =
            input(&connector)["properties"].as_object().unwrap().keys().cloned().collect();
        (connector, fields)
    };
    let object = |field: &str| json!({ "type": "object", "required": [field], "properties": { field: { "type": "string" } } });
    let (flat, fields) = of(object("name"));
    assert_eq!(fields, ["id", "id_header", "id_query", "name"]);
    let given = json!({ "id": "p", "id_query": "q", "id_header": "h", "name": "n" });
    let made = request(&flat, "x", given).unwrap();
    assert_eq!(made.uri(), "https://desk.example/v1/things/p?id=q");
    assert_eq!((made.headers()["id"].to_str().unwrap(), &made.body()[..]), ("h", &b"{\"name\":\"n\"}"[..]));
    // A field of the body that is called like a parameter, a list, what is composed, and what has no fields that are named.
    for schema in [
        object("id"),
        json!({ "type": "array", "items": object("id") }),
        json!({ "allOf": [object("name")] }),
        json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        json!({}),
    ] {
        let (whole, fields) = of(schema.clone());
        assert_eq!(fields, ["body", "id", "id_header", "id_query"], "{schema}");
        let given = json!({ "id": "p", "body": { "id": "b" } });
        if schema.get("type") != Some(&json!("array")) && schema.get("allOf").is_none() {
            assert_eq!(sent(&whole, "x", given).1, json!({ "id": "b" }));
        }
        assert_eq!(input(&whole)["required"], json!(["body", "id"]));
    }
    // A body that takes more than it names.
    let mut open = object("name");
    open["additionalProperties"] = json!({ "type": "integer" });
    let (open, _) = of(open);
    assert_eq!(
        sent(&open, "x", json!({ "id": "p", "name": "n", "more": 1 })).1,
        json!({ "name": "n", "more": 1 })
    );
    assert!(request(&open, "x", json!({ "id": "p", "name": "n", "more": "1" })).is_err());
}

#[test]
fn a_body_that_can_be_left_out_is_left_out() {
    let with = |required: bool, needs: Value| {
        let connector = one(json!({ "operationId": "x", "parameters": params(&[]), "requestBody": {
            "required": required,
            "content": { "application/json": { "schema": { "type": "object", "required": needs, "properties": { "a": {}, "b": {} } } } },
        } }));
        let sent = request(&connector, "x", json!({ "id": "1" }));
        (
            sent.map(|sent| sent.body().len()).map_err(|error| error.kind()),
            input(&connector)["properties"].clone(),
        )
    };
    assert_eq!(with(false, json!([])).0, Ok(0));
    assert_eq!(with(true, json!([])).0, Ok(2));
    assert_eq!(with(true, json!(["a"])).0, Err(ErrorKind::InvalidInput));
    // Its fields have to be there if it is there.
    let (sent, fields) = with(false, json!(["a"]));
    assert_eq!((sent, fields.get("body").is_some()), (Ok(0), true));
}

#[test]
fn bodies_have_the_form_that_is_said() {
    let text = |kind: &str, schema: Value, given: Value| {
        let connector =
            one(json!({ "operationId": "x", "parameters": params(&[]), "requestBody": body(kind, schema) }));
        let mut given = given;
        given["id"] = json!("1");
        let made = request(&connector, "x", given).unwrap();
        (
            made.headers()["content-type"].to_str().unwrap().to_owned(),
            String::from_utf8(made.body().to_vec()).unwrap(),
        )
    };
    let string = json!({ "type": "string" });
    let object = json!({ "type": "object", "properties": { "a": { "type": "integer" }, "l": { "type": "array" }, "o": { "type": "object" } } });
    let given = json!({ "a": 1, "l": [1, "x&"], "o": { "k": 1 } });
    let form = "application/x-www-form-urlencoded";
    for (kind, schema, given, expected) in [
        (
            "application/merge-patch+json",
            object.clone(),
            given.clone(),
            r#"{"a":1,"l":[1,"x&"],"o":{"k":1}}"#,
        ),
        ("application/json-patch+json", json!({ "type": "array" }), json!({ "body": [{}] }), "[{}]"),
        ("text/csv", string.clone(), json!({ "body": "a,b" }), "a,b"),
        ("application/xml", string.clone(), json!({ "body": "<a/>" }), "<a/>"),
        (
            "application/octet-stream",
            json!({ "type": "string", "format": "binary" }),
            json!({ "body": "YQ==" }),
            "a",
        ),
        ("image/png", json!({}), json!({ "body": "YQ==" }), "a"),
        (form, object.clone(), given, "a=1&l=1&l=x%26&o=%7B%22k%22%3A1%7D"),
    ] {
        assert_eq!(text(kind, schema, given), (kind.to_owned(), expected.to_owned()));
    }
    // The plainest of several; a form whose parts are written with brackets.
    let mut content = json!({ "application/xml": { "schema": object }, "*/*": { "schema": object } });
    let of = |content: &Value| {
        one(
            json!({ "operationId": "x", "parameters": params(&[]), "requestBody": { "required": true, "content": content } }),
        )
    };
    let made = request(&of(&content), "x", json!({ "id": "1", "a": 1 })).unwrap();
    assert_eq!(made.headers()["content-type"], "application/json");
    content = json!({ form: { "schema": object, "encoding": { "o": { "style": "deepObject", "explode": true } } } });
    let made = request(&of(&content), "x", json!({ "id": "1", "o": { "k": [1] } })).unwrap();
    assert_eq!(&made.body()[..], b"o%5Bk%5D%5B0%5D=1");
}

#[test]
fn what_cannot_be_sent_is_skipped_with_its_reason() {
    let document = document(json!({
        "/good": { "get": {} },
        "/cookie": { "get": { "parameters": [{ "name": "c", "in": "cookie", "required": true, "schema": {} }] } },
        "/optional": { "get": { "parameters": [{ "name": "c", "in": "cookie", "schema": {} }, { "name": "Host", "in": "header", "schema": {} }] } },
        "/host": { "get": { "parameters": [{ "name": "Host", "in": "header", "required": true, "schema": {} }] } },
        "/matrix/{m}": { "get": { "parameters": [{ "name": "m", "in": "path", "required": true, "style": "matrix", "schema": {} }] } },
        "/unnamed/{m}": { "get": {} },
        "/parts": { "post": { "requestBody": body("multipart/form-data", json!({})) } },
        "/xml": { "post": { "requestBody": body("application/xml", json!({ "type": "object" })) } },
        "/several": { "get": { "security": [{ "a": [], "b": [] }] } },
        "/up/../x": { "get": {} },
        "/brace/{x": { "get": {} },
        "no-slash": { "get": {} },
        "/body": { "get": { "requestBody": body("application/json", json!({})) } },
        "/file": { "get": { "parameters": [{ "name": "f", "in": "query", "schema": { "type": "file" } }] } },
        "/outside": { "get": { "parameters": [{ "$ref": "https://elsewhere.example/params.json#/p" }] } },
        "/other": { "$ref": "other.yaml#/paths/x" },
    }));
    let imported = read(&document).unwrap();
    let there: Vec<&str> = imported.connector.operations().map(|spec| &*spec.name).collect();
    assert_eq!(there, ["good.get", "optional.get"]);
    assert_eq!(input(&imported.connector).get("properties"), Some(&json!({})));
    let mut skipped: Vec<(&str, ErrorKind, &str)> = imported
        .skipped
        .iter()
        .map(|one| (one.operation.as_str(), one.why.kind(), one.why.message()))
        .collect();
    skipped.sort();
    let mut expected = [
        ("/other", ErrorKind::Blocked, "other.yaml"),
        ("GET /body", ErrorKind::Unsupported, "body"),
        ("GET /brace/{x", ErrorKind::InvalidInput, "brace"),
        ("GET /cookie", ErrorKind::Unsupported, "cookie"),
        ("GET /file", ErrorKind::InvalidInput, "no JSON Schema"),
        ("GET /host", ErrorKind::Unsupported, "`Host`"),
        ("GET /matrix/{m}", ErrorKind::Unsupported, "`matrix`"),
        ("GET /outside", ErrorKind::Blocked, "elsewhere.example"),
        ("GET /several", ErrorKind::Unsupported, "`a`, `b`"),
        ("GET /unnamed/{m}", ErrorKind::InvalidInput, "`m`"),
        ("GET /up/../x", ErrorKind::InvalidInput, "upwards"),
        ("GET no-slash", ErrorKind::InvalidInput, "slash"),
        ("POST /parts", ErrorKind::Unsupported, "multipart"),
        ("POST /xml", ErrorKind::Unsupported, "xml"),
    ];
    expected.sort();
    assert_eq!(skipped.len(), expected.len(), "{skipped:#?}");
    for ((operation, kind, why), (of, expected, part)) in skipped.iter().zip(expected) {
        assert_eq!((*operation, *kind), (of, expected), "{why}");
        assert!(why.contains(part), "{operation}: {why}");
    }
}

#[test]
fn the_dialect_of_3_0_is_translated() {
    let schema = |raw: Value| {
        let connector =
            one(json!({ "parameters": params(&[json!({ "name": "q", "in": "query", "schema": raw })]) }));
        input(&connector)["properties"]["q"].clone()
    };
    for (raw, expected) in [
        (json!({ "type": "string", "nullable": true }), json!({ "type": ["string", "null"] })),
        (
            json!({ "type": "string", "nullable": true, "enum": ["a"] }),
            json!({ "type": ["string", "null"], "enum": ["a", null] }),
        ),
        (
            json!({ "nullable": true, "description": "d", "allOf": [{ "type": "object" }] }),
            json!({ "description": "d", "anyOf": [{ "allOf": [{ "type": "object" }] }, { "type": "null" }] }),
        ),
        (
            json!({ "type": "number", "minimum": 1, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false }),
            json!({ "type": "number", "exclusiveMinimum": 1, "maximum": 9 }),
        ),
        (json!({ "type": "string", "example": "e" }), json!({ "type": "string", "examples": ["e"] })),
        (
            json!({ "type": "object", "discriminator": { "propertyName": "p" }, "xml": {}, "x-y": 1, "required": ["a", "a"] }),
            json!({ "type": "object", "required": ["a"] }),
        ),
        // Of an earlier draft, and of another dialect of patterns.
        (json!({ "type": "string", "required": true, "pattern": "(?<!" }), json!({ "type": "string" })),
        (
            json!({ "type": "array", "items": [{ "type": "string" }] }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }] }),
        ),
    ] {
        assert_eq!(schema(raw.clone()), expected, "{raw}");
    }
}

#[test]
fn security_schemes_are_ways_to_prove_who_asks() {
    let flow = |urls: Value| json!({ "type": "oauth2", "flows": urls });
    let schemes = json!({
        "basic": { "type": "http", "scheme": "Basic" },
        "bearer": { "type": "http", "scheme": "bearer" },
        "header": { "type": "apiKey", "in": "header", "name": "X-Key" },
        "query": { "type": "apiKey", "in": "query", "name": "key" },
        "oauth": flow(json!({
            "authorizationCode": { "authorizationUrl": "/authorize", "tokenUrl": "https://login.example/token", "scopes": {} },
            "clientCredentials": { "tokenUrl": "https://login.example/token", "scopes": {} },
        })),
        "implicit": flow(json!({ "implicit": { "authorizationUrl": "https://login.example/", "scopes": {} } })),
        "cookie": { "type": "apiKey", "in": "cookie", "name": "c" },
        "digest": { "type": "http", "scheme": "digest" },
        "connect": { "type": "openIdConnect", "openIdConnectUrl": "https://login.example/" },
        "mutual": { "type": "mutualTLS" },
        "host": { "type": "apiKey", "in": "header", "name": "Host" },
        "two": { "type": "apiKey", "in": "query", "name": "a&b" },
        "elsewhere": { "$ref": "https://elsewhere.example/scheme" },
        "unused": { "type": "http", "scheme": "bearer" },
    });
    let names: Vec<String> =
        schemes.as_object().unwrap().keys().filter(|name| *name != "unused").cloned().collect();
    let all: Vec<Value> = names.iter().map(|name| json!({ name: ["read"] })).collect();
    let mut document = document(
        json!({ "/a": { "get": { "security": all } }, "/b": { "get": { "security": [{ "oauth": ["write"] }] } } }),
    );
    document["components"] = json!({ "securitySchemes": schemes });
    document["security"] = json!([{ "query": [] }]);
    let imported = read(&document).unwrap();
    let mut ways: Vec<&str> = imported.connector.auth.iter().map(|auth| &*auth.name).collect();
    assert_eq!(ways[0], "query");
    ways.sort_unstable();
    assert_eq!(ways, ["basic", "bearer", "header", "oauth-client", "oauth-code", "query"]);
    let skipped: Vec<(&str, ErrorKind)> =
        imported.skipped_auth.iter().map(|one| (one.name.as_str(), one.why.kind())).collect();
    let unsupported = ErrorKind::Unsupported;
    assert_eq!(
        skipped,
        [
            ("connect", unsupported),
            ("cookie", unsupported),
            ("digest", unsupported),
            ("elsewhere", ErrorKind::Blocked),
            ("host", ErrorKind::InvalidInput),
            ("implicit", unsupported),
            ("mutual", unsupported),
            ("two", ErrorKind::InvalidInput),
        ]
    );
    let Scheme::Tokens(grant) = &imported.connector.auth(Some("oauth-code")).unwrap().scheme else {
        panic!()
    };
    let oauth = grant.oauth().unwrap();
    assert_eq!(
        (&*oauth.authorize_url, &*oauth.token_url),
        ("https://desk.example/authorize", "https://login.example/token")
    );
    assert_eq!(oauth.scopes, ["read", "write"]);
    assert_eq!(imported.connector.operation("b.get").unwrap().spec.scopes, ["write"]);
    // The host's own, instead.
    let own =
        Import::new("desk").auth(Auth::bearer("Token").named("own")).read(document.to_string()).unwrap();
    assert_eq!(own.connector.auth.len(), 1);
}

#[test]
fn servers_with_variables_are_settings() {
    let base = |servers: Value, settings: Value| {
        let mut document = document(json!({ "/a": { "get": {} } }));
        document["servers"] = servers;
        let connector = read(&document)?.connector;
        let schema = crate::connector::compile_schema("settings", &connector.settings)?;
        match violations(&schema, &settings) {
            Some(problems) => Err(Error::invalid(problems)),
            None => connector.base_of(settings.as_object().unwrap()),
        }
    };
    let with = |url: &str, variables: Value| json!([{ "url": url, "variables": variables }]);
    let site =
        json!({ "site": { "default": "main", "enum": ["main", "eu"] }, "path": { "default": "v1/api" } });
    let url = "https://{site}.desk.example/{path}/";
    assert_eq!(base(with(url, site.clone()), json!({})).unwrap(), "https://main.desk.example/v1/api");
    assert_eq!(
        base(with(url, site.clone()), json!({ "site": "eu" })).unwrap(),
        "https://eu.desk.example/v1/api"
    );
    for bad in [json!({ "site": "us" }), json!({ "path": "v2" }), json!({ "site": "a/b" })] {
        assert_eq!(base(with(url, site.clone()), bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    // One that nobody has described has to be said.
    assert_eq!(
        base(with(url, json!({ "path": { "default": "" } })), json!({})).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let port = with("https://{host}:{port}", json!({ "port": { "default": 443 } }));
    assert!(base(port.clone(), json!({})).is_err());
    assert_eq!(base(port.clone(), json!({ "host": "a.example" })).unwrap(), "https://a.example:443");
    for bad in ["a.example@b", "a/b", "..", "a?b"] {
        assert!(base(port.clone(), json!({ "host": bad })).is_err(), "{bad}");
    }
    // Of no host: the integration says which.
    for relative in [json!([{ "url": "/v2" }]), json!([]), json!([{}])] {
        assert!(base(relative.clone(), json!({})).is_err());
        assert_eq!(
            base(relative, json!({ "base_url": "https://a.example/v2" })).unwrap(),
            "https://a.example/v2"
        );
    }
    assert_eq!(base(json!([{ "url": "//a.example" }]), json!({})).unwrap(), "https://a.example");
    let named = Import::new("desk")
        .base_url("https://b.example/")
        .read(document(json!({ "/a": { "get": {} } })).to_string());
    assert_eq!(named.unwrap().connector.base_url, "https://b.example");
    for (bad, kind) in [
        ("ftp://a.example", ErrorKind::Blocked),
        ("file:///etc", ErrorKind::Blocked),
        ("https://u:p@a.example", ErrorKind::Blocked),
        ("https://{site}@a.example", ErrorKind::Blocked),
        ("https://a.example/?x=1", ErrorKind::InvalidInput),
        ("https://", ErrorKind::InvalidInput),
        ("https://a.example/{site", ErrorKind::InvalidInput),
    ] {
        let error = base(with(bad, site.clone()), json!({})).unwrap_err();
        assert_eq!(error.kind(), kind, "{bad}: {error}");
    }
}

#[test]
fn a_filter_changes_no_names_and_names_what_is_there() {
    let document = document(json!({
        "/a": { "get": { "operationId": "same", "tags": ["t"] } },
        "/b": { "get": { "operationId": "same" }, "delete": { "operationId": "gone" } },
    }));
    let import = |filter: Filter| Import::new("desk").filter(filter).read(document.to_string());
    let names = |imported: Imported| -> Vec<String> {
        imported.connector.operations().map(|spec| spec.name.to_string()).collect()
    };
    let all = names(import(Filter::default()).unwrap());
    assert_eq!(all.len(), 3);
    let some = names(import(Filter::default().allow(Match::default().tag("t"))).unwrap());
    assert!(some.len() == 1 && all.contains(&some[0]), "{all:?} {some:?}");
    let looking = names(import(Filter::default().read_only()).unwrap());
    assert!(looking.len() == 2 && !looking.contains(&"gone".to_owned()));
    for filter in [
        Filter::default().deny(Match::default().operation("gonne")),
        Filter::default().allow(Match::default().tag("T")),
        Filter::default().allow(Match::default().path("/c")),
    ] {
        let error = import(filter).unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput) && error.message().contains('`'), "{error}");
    }
    let error = import(Filter::default().deny(Match::default())).unwrap_err();
    assert!(error.is(ErrorKind::InvalidInput) && error.message().contains("filter"), "{error}");
}
