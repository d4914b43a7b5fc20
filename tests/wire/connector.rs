//! A connector that the other language writes: its operations, what they know of their call, and the way to the service.

use std::sync::{Arc, Mutex};

use agentprovision::connectors::{CallOptions, NewIntegration};
use agentprovision::id::IntegrationId;
use agentprovision::prelude::*;
use agentprovision::testing::{Reply as Says, ScriptedModel};
use agentprovision::usage::Meter;
use agentprovision::wire::host::{self, HostCall, OperationCall};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::host::function;
use crate::support::desk::{Desk, with_desk};
use crate::support::{Home, home, in_time};

fn spec(more: Value) -> Value {
    let ticket = json!({"type": "object", "properties": {"queue": {"type": "string"}, "title": {"type": "string"}},
        "required": ["queue", "title"], "additionalProperties": false});
    let mut spec = json!({
        "name": "my-desk",
        "base_url": "https://desk.example",
        "auth": [{"type": "bearer"}],
        "settings": {"signature": {"type": "string", "description": "What stands under tickets."}},
        "operations": [
            {"name": "tickets.create", "summary": "Makes a ticket.", "input_schema": ticket,
             "output_schema": {"type": "object", "required": ["number"]}},
            {"name": "tickets.look", "input_schema": {"type": "object"}, "effect": "read"},
        ],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// A platform with the connector, and a tenant with an integration of it.
struct World {
    desk: Desk,
    platform: Platform,
    acme: Home,
    id: IntegrationId,
}

/// What the host's function does with a call of an operation.
type Body = fn(String, OperationCall) -> futures_util::future::BoxFuture<'static, Result<Value>>;

impl World {
    async fn new(more: Value, body: Body) -> Self {
        Self::with(more, move |call| {
            let operation = call.operation.clone().unwrap();
            tokio::spawn(async move {
                match body(call.input, operation).await {
                    Ok(answer) => call.reply.done(answer.to_string()),
                    Err(error) => call.reply.fail(Error::new(error.kind(), error.message().to_owned())),
                }
            });
        })
        .await
    }

    async fn with(more: Value, body: impl Fn(HostCall) + Send + Sync + 'static) -> Self {
        let desk = Desk::open().await;
        let connector = host::connector(&spec(more).to_string(), function(body)).unwrap();
        let model =
            Arc::new(ScriptedModel::from_fn("m", |request| match ScriptedModel::tool_results(request) {
                0 => Says::tool("my_desk_tickets_create", json!({"queue": "q", "title": "It burns"})),
                _ => Says::text("done"),
            }));
        let platform =
            with_desk(Platform::builder()).connector(connector).model("m", model).build().await.unwrap();
        let acme = home(&platform, "acme").await;
        let mut new =
            NewIntegration { connector: "my-desk".into(), ..desk.by_token("mine", "acme", "canary-acme") };
        new.settings.insert("signature".into(), "Yours".into());
        let id = platform.integrations().create(&acme.admin, new).await.unwrap().id;
        Self { desk, platform, acme, id }
    }

    async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value> {
        let input = input.as_object().unwrap().clone();
        let called =
            self.platform.integrations().invoke(&self.acme.admin, self.id, operation, input, options);
        in_time(called).await
    }

    async fn create(&self) -> Result<Value> {
        let options = CallOptions::key("k");
        self.call("tickets.create", json!({"queue": "a b/c", "title": "It burns"}), options).await
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn an_operation_of_the_host_sends_as_the_integration_and_counts_once() {
    let world = World::new(json!({"headers": {"x-from": "host"}}), |input, call| {
        Box::pin(async move {
            let (input, facts) = (parsed(&input), parsed(&call.facts()?));
            assert_eq!(facts["settings"]["signature"], "Yours");
            assert_eq!(facts["operation"], "tickets.create");
            // The key is the caller's, or the step's of a run.
            assert_eq!(facts["run"].is_null(), facts["idempotency_key"] == "k", "{facts}");
            assert_eq!(parsed(call.credentials()?.expose_secret()), json!({"token": "canary-acme"}));
            assert!(!format!("{call:?}").contains("canary"));
            let request = json!({"method": "POST", "path": "/queues/{queue}/tickets",
                "params": {"queue": input["queue"], "loud": true, "tags": ["a", "b&c"]},
                "json": {"title": input["title"]}});
            let response = parsed(&call.send(&request.to_string()).await?);
            assert_eq!(
                (&response["status"], &response["headers"]["content-type"]),
                (&json!(200), &json!("application/json"))
            );
            Ok(parsed(response["body"].as_str().unwrap()))
        })
    })
    .await;
    let ticket = world.create().await.unwrap();
    assert_eq!((&ticket["title"], &ticket["by"]), (&json!("It burns"), &json!("acme")));
    assert_eq!(world.create().await.unwrap(), ticket, "once under a key");
    let seen = world.desk.seen();
    let [asked] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(asked.path, "/acme/queues/a%20b%2Fc/tickets");
    assert_eq!(asked.query.as_deref(), Some("loud=true&tags=a&tags=b%26c"));
    assert_eq!(asked.headers["authorization"], "Bearer canary-acme");
    assert_eq!(asked.headers["x-from"], "host");

    let usage = world.platform.usage().events(&world.acme.admin, None, 500).await.unwrap();
    let calls: Vec<_> = usage.iter().filter(|event| event.meter == Meter::IntegrationCalls).collect();
    assert_eq!(calls.iter().map(|event| event.quantity).sum::<u64>(), 1, "{calls:?}");

    // As a tool of an agent.
    let agent = AgentSpec::new("a").model("m").tools(["my_desk_tickets_create"]);
    let agent = agent.capabilities(["integrations:invoke"]);
    let (agents, admin) = (world.platform.agents(), &world.acme.admin);
    let agent = agents.create(admin, agent).await.unwrap();
    agents.deploy(admin, agent.id).await.unwrap();
    let run = world.platform.runs().start(admin, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    let step = &outcome.chain().steps[1];
    assert_eq!(
        (step.name.as_str(), step.success),
        ("my_desk_tickets_create", Some(true)),
        "{:?}",
        step.error
    );
    assert_eq!(world.desk.seen().len(), 2);
    world.platform.close().await.unwrap();
}

#[tokio::test]
async fn what_the_service_refuses_comes_through_the_host_as_it_was() {
    let world = World::new(json!({}), |_, call| {
        Box::pin(async move {
            call.send(r#"{"method": "GET", "path": "/nothing"}"#).await.map(|said| parsed(&said))
        })
    })
    .await;
    let error = world.create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.context().contains(&("status", "404".to_owned())), "{error:?}");
    // The service said that it did nothing, so the key is free.
    assert_eq!(world.create().await.unwrap_err().kind(), ErrorKind::NotFound);
    world.platform.close().await.unwrap();

    let world = World::new(json!({}), |_, call| {
        Box::pin(async move {
            let request = json!({"method": "GET", "path": "/nothing", "check": false});
            let response = parsed(&call.send(&request.to_string()).await?);
            Ok(json!({"number": response["status"]}))
        })
    })
    .await;
    assert_eq!(world.create().await.unwrap(), json!({"number": 404}));
    world.platform.close().await.unwrap();
}

#[tokio::test]
async fn what_the_host_does_wrong_is_said() {
    // An operation that failed on its own may have done something.
    let world = World::new(json!({}), |_, _| {
        Box::pin(async { Err(Error::internal("the host stumbled over canary-acme")) })
    })
    .await;
    let error = world.create().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "the host stumbled over [secret]"));
    // Until its time is over; then nobody knows.
    assert_eq!(world.create().await.unwrap_err().kind(), ErrorKind::Conflict);
    world.platform.close().await.unwrap();

    let world = World::new(json!({}), |_, _| Box::pin(async { Ok(json!({"title": 1})) })).await;
    let error = world.create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert!(error.message().contains("\"number\" is a required property"), "{error}");
    for (input, wanted) in
        [(json!({"queue": "q"}), "\"title\""), (json!({"queue": 7, "title": "t"}), "`/queue`")]
    {
        let error = world.call("tickets.create", input, CallOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(wanted), "{error}");
    }
    world.platform.close().await.unwrap();

    let world = World::new(json!({"base_url": ""}), |input, call| {
        Box::pin(async move {
            call.send(parsed(&input)["request"].as_str().unwrap()).await.map(|said| parsed(&said))
        })
    })
    .await;
    for (request, wanted) in [
        (json!({"path": "/me"}), "missing field `method`"),
        (json!({"method": "GET", "path": "/me", "bdoy": ""}), "did you mean `body`?"),
        (json!({"method": "G T", "path": "/me"}), "`G T` is no method"),
        (json!({"method": "GET", "path": "me"}), "`me` is no path"),
        (json!({"method": "GET", "path": "https://elsewhere.example"}), "is no path"),
        (json!({"method": "GET", "path": "/../other/me"}), "is no path"),
        (json!({"method": "GET", "path": "/%2e%2E/other"}), "is no path"),
        (json!({"method": "GET", "path": "/me?x=1"}), "is no path"),
        (json!({"method": "GET", "path": "/a\\b"}), "is no path"),
        (
            json!({"method": "GET", "path": "/{who}", "params": {"who": ".."}}),
            "`who` cannot be a part of a path",
        ),
        (json!({"method": "GET", "path": "/me", "headers": {"a b": "c"}}), "`a b` is no header"),
        (json!({"method": "GET", "path": "/me", "headers": {"a": "c\n"}}), "`a` is no header"),
        (json!({"method": "PUT", "path": "/me", "json": {}, "body": ""}), "not both"),
        (json!({"method": "PUT", "path": "/me", "body": {"$bytes": "*"}}), "no base64"),
    ] {
        let error =
            world.call("tickets.look", json!({"request": request.to_string()}), CallOptions::default()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{request}: {error}");
        assert!(error.message().contains(wanted), "{request}: {error}");
    }
    assert!(world.desk.seen().is_empty());
    world.platform.close().await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_over_sends_nothing_more() {
    let kept: Arc<Mutex<Option<OperationCall>>> = Arc::default();
    let keep = kept.clone();
    let world = World::with(json!({}), move |call| {
        *keep.lock().unwrap() = call.operation.clone();
        call.reply.done(json!({"number": 1}).to_string());
    })
    .await;
    world.create().await.unwrap();
    let call = kept.lock().unwrap().take().unwrap();
    let error = in_time(call.send(r#"{"method": "GET", "path": "/me"}"#)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(world.desk.seen().is_empty());
    world.platform.close().await.unwrap();
}

#[test]
fn a_connector_that_cannot_be_is_refused_by_name() {
    let operation = |more: Value| {
        let mut operation = json!({"name": "a", "input_schema": {"type": "object"}});
        operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"operations": [operation]})
    };
    for (more, wanted) in [
        (json!({"name": "My Desk"}), "`My Desk` is no name of a connector"),
        (json!({"nmae": "x"}), "did you mean `name`?"),
        (json!({"auth": [{"type": "baerer"}]}), "did you mean `bearer`?"),
        (json!({"auth": [{"type": "header"}]}), "missing field `header`"),
        (json!({"auth": [{"type": "bearer"}, {"type": "bearer"}]}), "`token` twice"),
        (json!({"headers": {"a b": "c"}}), "`a b` is no header"),
        (json!({"whoami": {"operation": "users.me", "id": "/id", "name": "/name"}}), "`users.me`"),
        (operation(json!({"name": "A"})), "`A`"),
        (operation(json!({"input_schema": {"type": "string"}})), "input that is no object"),
        (operation(json!({"input_schema": {"type": "object", "properties": 7}})), "no JSON Schema"),
        (operation(json!({"effect": "reed"})), "did you mean `read`?"),
        (operation(json!({"timeout_ms": 0})), "no time"),
        (operation(json!({"idempotency": "always"})), "unknown variant `always`"),
    ] {
        let error = host::connector(&spec(more).to_string(), function(drop)).map(|_| ()).unwrap_err();
        assert!([ErrorKind::InvalidInput, ErrorKind::NotFound].contains(&error.kind()), "{error:?}");
        assert!(error.message().contains(wanted), "{error} has no {wanted}");
    }
    let twice = json!({"operations": [{"name": "a", "input_schema": {"type": "object"}},
        {"name": "a", "input_schema": {"type": "object"}}]});
    let error = host::connector(&spec(twice).to_string(), function(drop)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}
