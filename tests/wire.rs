//! The JSON face: complete, strict, and the same platform as the typed one.

mod connector;
mod host;
mod scenario;
mod watch;
mod webhooks;

use std::sync::Arc;

use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::wire::{self, Caller};
use agentprovision::{OPERATIONS, Scope};
use serde_json::{Value, json};

use crate::support::{home, in_time};

/// Operations that answer with something else than a value.
const ELSEWHERE: &[&str] = &[
    "platform.operator",
    "platform.context",
    "platform.authenticate",
    "platform.close",
    "webhooks.receive",
    "runs.start",
    "runs.get",
    "runs.events",
    "models.stream",
    "events.subscribe",
];

#[test]
fn every_operation_has_a_json_form() {
    let schema = wire::schema();
    let mut described: Vec<&str> =
        schema["operations"].as_object().unwrap().keys().map(String::as_str).collect();
    // A turn is a start that names its session.
    described.retain(|name| *name != "sessions.send");
    let mut operations: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    operations.sort_unstable();
    assert_eq!(described, operations);
    for operation in OPERATIONS {
        let scope = match operation.scope {
            Scope::Tenant => "tenant",
            Scope::Operator => "operator",
            Scope::Host => "host",
        };
        assert_eq!(schema["operations"][operation.name]["scope"], scope, "{}", operation.name);
    }
}

/// Every reference in the schema leads somewhere, on its own side.
#[test]
fn the_schema_is_closed() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let schema = wire::schema();
    for side in ["arguments", "answers"] {
        let key = if side == "answers" { "answer" } else { side };
        let mut found = Vec::new();
        references(&schema[side], &mut found);
        for operation in schema["operations"].as_object().unwrap().values() {
            references(&operation[key], &mut found);
        }
        assert!(found.len() > 50);
        for reference in found {
            let name = reference.rsplit('/').next().unwrap();
            assert!(schema[side].get(name).is_some(), "{side}: {reference}");
            assert_eq!(reference, format!("#/$defs/{name}"));
        }
    }
}

#[tokio::test]
async fn what_an_operation_does_not_know_is_refused_by_name() {
    let platform = Platform::builder().build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let operator = platform.operator("ops", "test").unwrap();
    for operation in OPERATIONS.iter().filter(|operation| !ELSEWHERE.contains(&operation.name)) {
        let (right, wrong) = match operation.scope {
            Scope::Operator => (Caller::Operator(&operator), Caller::Tenant(&acme.admin)),
            _ => (Caller::Tenant(&acme.admin), Caller::Operator(&operator)),
        };
        for (caller, arguments, wanted) in [
            (right, r#"{"nonsense": 1}"#, "unknown field `nonsense`"),
            (right, "[1, {}]", "the arguments of"),
            (right, "{", "the arguments of"),
            (wrong, "{}", "is called with"),
        ] {
            let error = wire::invoke(&platform, caller, operation.name, arguments).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{} {arguments}: {error}", operation.name);
            assert!(error.message().contains(wanted), "{} {arguments}: {error}", operation.name);
            assert_eq!(error.operation(), Some(operation.name));
        }
    }
    let admin = Caller::Tenant(&acme.admin);
    let error = wire::invoke(&platform, admin, "agents.creat", "{}").await.unwrap_err();
    assert!(error.message().contains("did you mean `agents.create`?"), "{error}");
    let error = wire::invoke(&platform, admin, "runs.start", "{}").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = wire::stream(&platform, admin, "runs.list", "{}").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = wire::start(&platform, &acme.admin, "runs.list", "{}").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for (name, given, wanted) in [
        ("agents.create", json!({"spec": {"name": "a", "modle": "m"}}), "`spec.modle`: unknown field"),
        ("agents.create", json!({"spec": {"name": 1}}), "`spec.name`: invalid type"),
        ("agents.get", json!({}), "missing field `agent`"),
        ("agents.get", json!({"agent": "usr_1"}), "`agent`: `usr_1` is not an id"),
        ("users.create", json!({"email": null}), "`email`: invalid type: null"),
        ("users.list", json!({"limit": -1}), "`limit`: invalid value"),
        ("users.list", json!({"limit": 1000}), "1 to 100 items"),
    ] {
        let error = wire::invoke(&platform, admin, name, &given.to_string()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(wanted), "{name} {given}: {error}");
    }
    platform.close().await.unwrap();
}

#[tokio::test]
async fn null_takes_a_value_away_and_absence_leaves_it() {
    let platform = Platform::builder().build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let call = async |name: &str, given: Value| -> Value {
        let answer =
            wire::invoke(&platform, Caller::Tenant(&acme.admin), name, &given.to_string()).await.unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let made = call("users.create", json!({"email": "ada@acme.example", "name": "Ada"})).await;
    let kept = call("users.update", json!({"user": made["id"], "active": true})).await;
    assert_eq!(kept["name"], "Ada");
    let gone = call("users.update", json!({"user": made["id"], "name": null})).await;
    assert_eq!(gone["name"], Value::Null);
    assert_eq!(call("users.delete", json!({"user": made["id"]})).await, Value::Null);
    platform.close().await.unwrap();
}

#[tokio::test]
async fn contexts_say_what_they_can() {
    let config = json!({"permissions": ["orders:refund"], "pepper_env": "PEPPER",
        "roles": [{"name": "clerk", "permissions": ["orders:refund"], "within": ["tenant_admin"]}]});
    let (builder, permissions) = wire::builder(&config.to_string(), &|name| {
        (name == "PEPPER").then(|| "0123456789abcdef".to_owned().into())
    })
    .unwrap();
    let platform = builder.build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let can = |name: &str| wire::can(&permissions, &acme.admin, name);
    assert!(can("orders:refund").unwrap() && can("agents:run").unwrap());
    assert!(!can("tenants:delete").unwrap());
    assert!(can("agents:runs").unwrap_err().message().contains("did you mean `agents:run`?"));
    let about: Value = serde_json::from_str(&wire::describe(&permissions, &acme.admin).unwrap()).unwrap();
    assert_eq!(about["tenant"], acme.tenant.id.to_string());
    assert!(about["grants"].as_array().unwrap().contains(&json!("orders:refund")));

    let info = json!({"ip_address": "192.0.2.1", "correlation_id": "ticket-1"});
    let given = json!({"tenant": acme.tenant.id, "user": acme.root.id, "info": info});
    let ctx = wire::context(&platform, &given.to_string()).await.unwrap();
    assert_eq!(ctx.info().ip_address.as_deref(), Some("192.0.2.1"));
    let key =
        wire::invoke(&platform, Caller::Tenant(&ctx), "keys.create", r#"{"name": "bot"}"#).await.unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    let given = json!({"api_key": key["secret"], "info": info});
    let by_key = wire::authenticate(&platform, &given.to_string()).await.unwrap();
    assert_eq!(by_key.correlation_id(), "ticket-1");
    let wrong = wire::authenticate(&platform, r#"{"api_key": "apk_no"}"#).await.unwrap_err();
    let wrong: Value = serde_json::from_str(&wire::error_json(&wrong)).unwrap();
    assert_eq!(wrong["code"], "unauthenticated");
    assert_eq!(wrong["operation"], "platform.authenticate");
    assert_eq!(wrong["http_status"], 401);
    let error = wire::operator(&platform, r#"{"actor": "a"}"#).unwrap_err();
    assert!(error.message().contains("missing field `reason`"), "{error}");
    platform.close().await.unwrap();
}

/// What a request used is not lost with its answer: its error says it, and so does a stream before its error.
#[tokio::test]
async fn errors_of_models_say_what_was_spent() {
    let down = || Error::new(ErrorKind::Unavailable, "down");
    let replies = [Reply::Fail(down()), Reply::Break("The order ".into(), down()), Reply::Fail(down())];
    let routing = serde_json::from_value(json!({"max_attempts": 1})).unwrap();
    let model = Arc::new(ScriptedModel::new("m", replies));
    let platform = Platform::builder().model("m", model).routing(routing).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let caller = Caller::Tenant(&acme.admin);
    let ask =
        json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]})
            .to_string();
    let said = |error: &Error| serde_json::from_str::<Value>(&wire::error_json(error)).unwrap();

    let error = said(&wire::invoke(&platform, caller, "models.complete", &ask).await.unwrap_err());
    assert_eq!((&error["code"], &error["spent"]["type"]), (&json!("unavailable"), &json!("spent")));
    let attempts = error["spent"]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["model"]), (1, &json!("m")));
    assert_eq!(error["context"].get("spent"), None);

    let stream = wire::stream(&platform, caller, "models.stream", &ask).await.unwrap();
    let mut items: Vec<Value> = Vec::new();
    let error = loop {
        match in_time(stream.next()).await {
            Ok(item) => items.push(serde_json::from_str(&item.expect("an error is the end")).unwrap()),
            Err(error) => break said(&error),
        }
    };
    assert_eq!(items[0], json!({"type": "text", "text": "The "}));
    let spent = items.last().unwrap();
    assert_eq!((&spent["type"], spent), (&json!("spent"), &error["spent"]));
    assert!(
        spent["usage"]["output_tokens"].as_u64().unwrap() > 0 && spent["cost_usd"].is_string(),
        "{spent}"
    );
    assert_eq!(in_time(stream.next()).await.unwrap(), None);

    let error = said(&wire::stream(&platform, caller, "models.stream", &ask).await.unwrap_err());
    assert_eq!(error["spent"]["attempts"].as_array().unwrap().len(), 1);
    // Where nobody was asked, nothing was spent.
    let nobody = json!({"model": "x", "messages": []}).to_string();
    let error = said(&wire::invoke(&platform, caller, "models.complete", &nobody).await.unwrap_err());
    assert_eq!(error["spent"], Value::Null);
    platform.close().await.unwrap();
}
