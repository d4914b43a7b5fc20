//! What the other language writes: answers, failures, silence, and hearing that nobody waits any more.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agentprovision::prelude::*;
use agentprovision::run::RunStatus;
use agentprovision::testing::{Reply as Says, ScriptedModel};
use agentprovision::wire::host::{self, HostCall, HostFunction};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{home, in_time, store};

/// A function of the host: a closure.
struct Function<F>(F);

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl<F: Fn(HostCall) + Send + Sync + 'static> HostFunction for Function<F> {
    fn begin(&self, call: HostCall) {
        (self.0)(call);
    }
}

pub(super) fn function(body: impl Fn(HostCall) + Send + Sync + 'static) -> Arc<dyn HostFunction> {
    Arc::new(Function(body))
}

fn spec(more: Value) -> String {
    let mut spec = json!({"name": "act", "description": "Acts", "input_schema": {"type": "object"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec.to_string()
}

/// A run of an agent whose model calls the tool once; how it ended, and what the model was told.
async fn run_with(builder: agentprovision::PlatformBuilder) -> (agentprovision::run::Outcome, String) {
    let model = Arc::new(ScriptedModel::from_fn("m", |request| match ScriptedModel::tool_results(request) {
        0 => Says::tool("act", json!({"id": "1"})),
        _ => Says::text("done"),
    }));
    let platform = builder.model("m", model.clone()).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let (_, ctx) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
    let spec = AgentSpec::new("a").model("m").tools(["act"]);
    let agent = platform.agents().create(&ctx, spec).await.unwrap();
    platform.agents().deploy(&ctx, agent.id).await.unwrap();
    let run = platform.runs().start(&ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    platform.close().await.unwrap();
    let told =
        model.requests().iter().flat_map(|request| request.messages.clone()).find_map(
            |message| match message {
                agentprovision::model::Message::Tool { content, .. } => Some(content),
                _ => None,
            },
        );
    (outcome, told.unwrap_or_default())
}

#[tokio::test]
async fn a_tool_of_the_host_answers_fails_or_forgets_to() {
    type Body = fn(HostCall);
    let cases: &[(Body, &str)] = &[
        (|call| call.reply.done(json!({"got": call.input}).to_string()), r#"{\"id\":\"1\"}"#),
        (|call| call.reply.fail(Error::invalid("no such order")), "no such order"),
        (drop, "ended without an answer"),
        (|call| call.reply.done("{".into()), "the result of the tool `act`"),
        (|call| call.reply.done("18446744073709551616".into()), "does not fit in 64 bits"),
        (|call| call.reply.done(r#""\ud800""#.into()), "lone surrogate"),
        (
            |call| {
                call.reply.done("1".into());
                call.reply.done("2".into());
                call.reply.fail(Error::internal("late"));
            },
            "1",
        ),
    ];
    for (body, told) in cases {
        let tool = host::tool(&spec(json!({"effect": "idempotent"})), function(body)).unwrap();
        let (outcome, heard) = run_with(Platform::builder().tool(tool)).await;
        assert_eq!(outcome.status(), RunStatus::Completed, "{told}");
        assert!(heard.contains(told), "{heard} has no {told}");
    }
    for (given, wanted) in [
        (json!({"efect": "pure"}), "did you mean `effect`?"),
        (json!({"effect": "harmless"}), "unknown variant `harmless`"),
        (json!({"timeout_ms": "1"}), "`timeout_ms`: invalid type"),
    ] {
        let error = host::tool(&spec(given), function(drop)).map(|_| ()).unwrap_err();
        assert!(error.message().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_host_hears_that_nobody_waits_for_its_answer() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let tool = host::tool(
        &spec(json!({"effect": "pure"})),
        function(move |call| {
            let told = told.clone();
            tokio::spawn(async move {
                told.send("begun").unwrap();
                call.reply.closed().await;
                told.send("closed").unwrap();
            });
        }),
    );
    let model = ScriptedModel::from_fn("m", |_| Says::tool("act", json!({})));
    let platform = Platform::builder().model("m", Arc::new(model)).tool(tool.unwrap()).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let agent = AgentSpec::new("a").model("m").tools(["act"]);
    let agent = platform.agents().create(&acme.admin, agent).await.unwrap();
    platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
    let run = platform.runs().start(&acme.admin, agent.id, RunInput::text("go")).await.unwrap();
    assert_eq!(in_time(heard.recv()).await, Some("begun"));
    run.cancel().await.unwrap();
    assert_eq!(in_time(heard.recv()).await, Some("closed"));
    assert_eq!(in_time(run.wait()).await.unwrap().status(), RunStatus::Cancelled);
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactional_tool_of_the_host_writes_with_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let sql = |text: &str, params: Value| json!({"sql": text, "params": params}).to_string();
    let tool = host::tool(
        &spec(json!({"effect": "transactional"})),
        function(move |call| {
            tokio::spawn(async move {
                let work = async {
                    let tx = call.tool.as_ref().unwrap().tx()?;
                    if !store::on_server() {
                        let table = "CREATE TABLE notes (tenant BLOB, b BLOB, t TEXT, n REAL)";
                        host::tx_execute(tx, &sql(table, json!([]))).await?;
                    }
                    let row = json!([{"$bytes": "AAE="}, "é", 1.5]);
                    let changed =
                        host::tx_execute(tx, &sql("INSERT INTO notes VALUES ($1, $2, $3, $4)", row)).await?;
                    let rows = host::tx_query(
                        tx,
                        &sql("SELECT b, t, n, NULL, 7 FROM notes WHERE tenant = $1", json!([])),
                    )
                    .await?;
                    for bad in [json!([[1]]), json!([{"bytes": "AAE="}]), json!([18446744073709551615_u64])] {
                        let error = host::tx_execute(tx, &sql("SELECT $2", bad)).await.unwrap_err();
                        assert!(error.message().contains("parameter $2"), "{error}");
                    }
                    Result::Ok(json!([changed, serde_json::from_str::<Value>(&rows).unwrap()]).to_string())
                };
                match work.await {
                    Ok(answer) => call.reply.done(answer),
                    Err(error) => call.reply.fail(error),
                }
            });
        }),
    );
    let (_, told) = run_with(
        Platform::builder().store(store::new(&folder.path().join("platform.db"))).tool(tool.unwrap()),
    )
    .await;
    assert_eq!(told, r#"["1",[[{"$bytes":"AAE="},"é",1.5,null,7]]]"#);
}

/// How a run with a model of the host ends, with its answer or its error.
async fn asked(body: impl Fn(HostCall) + Send + Sync + 'static) -> (RunStatus, String) {
    let price = json!({"input": "1", "output": "2.5"});
    let info = json!({"name": "m", "price": price}).to_string();
    let model = host::model(&info, function(body)).unwrap();
    let platform = Platform::builder().model("m", Arc::new(model)).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let agent = platform.agents().create(&acme.admin, AgentSpec::new("a").model("m")).await.unwrap();
    platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
    let run = platform.runs().start(&acme.admin, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    platform.close().await.unwrap();
    (outcome.status(), outcome.text().map_or_else(|error| error.message().to_owned(), str::to_owned))
}

#[tokio::test]
async fn a_model_of_the_host_answers_whole_or_in_pieces() {
    let whole = asked(|call| {
        let request: Value = serde_json::from_str(&call.input).unwrap();
        call.reply.done(json!(request["messages"][0]["content"][0]["text"]).to_string());
    });
    assert_eq!(whole.await, (RunStatus::Completed, "go".into()));
    let pieces = asked(|call| {
        assert!(call.reply.push(r#""one ""#.into()));
        call.reply.push(json!({"type": "text", "text": "two"}).to_string());
        call.reply.push(json!({"type": "usage", "input_tokens": 3, "output_tokens": 2}).to_string());
        call.reply.done("null".into());
    });
    assert_eq!(pieces.await, (RunStatus::Completed, "one two".into()));
    let object = asked(|call| {
        call.reply
            .done(json!({"text": "three", "usage": {"input_tokens": 1, "output_tokens": 1}}).to_string());
    });
    assert_eq!(object.await, (RunStatus::Completed, "three".into()));
    for (piece, wanted) in [
        (json!({"type": "txt", "text": ""}), "did you mean `text`?"),
        (json!({"type": "text", "txt": ""}), "unknown field `txt`"),
        (json!({"type": "tool_call", "index": 70_000}), "the answer of the model `m`"),
        (json!(7), "the answer of the model `m`"),
    ] {
        let (status, said) = asked(move |call| {
            call.reply.push(piece.to_string());
            call.reply.done("null".into());
        })
        .await;
        assert_eq!(status, RunStatus::Failed);
        assert!(said.contains(wanted), "{said}");
    }
    let (status, said) = asked(drop).await;
    assert_eq!(status, RunStatus::Failed);
    assert!(said.contains("without an answer"), "{said}");
    for price in [json!({"input": "-1", "output": "1"}), json!({"input": "0.0000001", "output": "1"})] {
        let info = json!({"name": "m", "price": price}).to_string();
        assert!(host::model(&info, function(drop)).map(|_| ()).is_err(), "{price}");
    }
}

#[tokio::test]
async fn a_model_of_the_host_asks_for_tools() {
    let tool = host::tool(&spec(json!({"effect": "pure"})), function(|call| call.reply.done(call.input)));
    let model = host::model(
        r#"{"name": "m"}"#,
        function(|call| {
            let request: Value = serde_json::from_str(&call.input).unwrap();
            let last = request["messages"].as_array().unwrap().last().unwrap().clone();
            call.reply.done(match last["role"].as_str() {
                Some("tool") => last["content"].to_string(),
                _ => json!({"tool_calls": [{"name": "act", "arguments": {"id": "9"}}]}).to_string(),
            });
        }),
    );
    let platform =
        Platform::builder().tool(tool.unwrap()).model("m", Arc::new(model.unwrap())).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let spec = AgentSpec::new("a").model("m").tools(["act"]);
    let agent = platform.agents().create(&acme.admin, spec).await.unwrap();
    platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
    let run = platform.runs().start(&acme.admin, agent.id, RunInput::text("go")).await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), r#"{"id":"9"}"#);
    platform.close().await.unwrap();
}

#[tokio::test]
async fn an_authorizer_of_the_host_decides_after_the_roles() {
    let answer = Arc::new(Mutex::new("null".to_owned()));
    let asked = Arc::new(Mutex::new(Value::Null));
    let (said, heard) = (answer.clone(), asked.clone());
    let authorizer = host::authorizer(function(move |call| {
        assert!(call.ctx.is_some());
        *heard.lock().unwrap() = serde_json::from_str(&call.input).unwrap();
        match said.lock().unwrap().as_str() {
            "fail" => call.reply.fail(Error::new(ErrorKind::Unavailable, "the policy service is away")),
            text => call.reply.done(text.to_owned()),
        }
    }));
    let platform = Platform::builder().authorizer(authorizer).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let list = async |text: &str| {
        *answer.lock().unwrap() = text.to_owned();
        platform
            .agents()
            .list(&acme.admin, Default::default())
            .await
            .map(|_| ())
            .map_err(|e| (e.kind(), e.message().to_owned()))
    };
    assert_eq!(list("null").await, Ok(()));
    assert_eq!(
        *asked.lock().unwrap(),
        json!({"permission": "agents:read", "resource": {"kind": "agents", "id": null}, "default": {"allow": true, "reason": null}})
    );
    assert_eq!(list("true").await, Ok(()));
    let denied = |reason: &str| Err((ErrorKind::PermissionDenied, reason.to_owned()));
    assert_eq!(list("false").await, denied("the host's authorizer does not allow it"));
    assert_eq!(list(r#"{"allow": false, "reason": "not on Sundays"}"#).await, denied("not on Sundays"));
    for failure in ["fail", "7"] {
        let (kind, message) = list(failure).await.unwrap_err();
        assert_eq!(kind, ErrorKind::PermissionDenied, "what is no decision denies");
        assert!(message.contains("could not be decided"), "{message}");
        // Also where a denial is hidden: the cause comes back, and says nothing of the agent.
        let error = platform.agents().get(&acme.admin, platform.env().id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(if failure == "7" { "decision" } else { "is away" }), "{cause}");
    }
    platform.close().await.unwrap();
}

#[tokio::test]
async fn a_subscriber_of_the_host_gets_a_batch_again_until_it_confirms_it() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let tries = AtomicUsize::new(0);
    let clock = agentprovision::testing::ManualClock::new(Default::default());
    let env = agentprovision::Env::new(
        Arc::new(clock.clone()),
        Arc::new(agentprovision::testing::SeededEntropy::new(1)),
    );
    let sink = host::event_sink(function(move |call| {
        told.send(call.input.clone()).unwrap();
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => call.reply.fail(Error::new(ErrorKind::Unavailable, "later")),
            _ => call.reply.done("null".into()),
        }
    }));
    let platform = Platform::builder().env(env).event_sink(Arc::new(sink)).build().await.unwrap();
    let operator = platform.operator("ops", "test").unwrap();
    let made = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await.unwrap();
    let batches = in_time(async {
        let mut batches = Vec::new();
        while batches.len() < 2 {
            tokio::select! {
                batch = heard.recv() => batches.push(batch.unwrap()),
                // The relay waits by the clock between tries.
                () = tokio::task::yield_now() => clock.advance(std::time::Duration::from_millis(100)),
            }
        }
        batches
    });
    let batches = batches.await;
    assert_eq!(batches[0], batches[1]);
    let first: Value = serde_json::from_str(&batches[0]).unwrap();
    assert_eq!(first[0]["seq"], 1);
    assert_eq!(first[0]["event"]["tenantid"], made.id.to_string());
    platform.close().await.unwrap();
}
