//! A connector within a platform: its operations as tools of an agent, what a call leaves behind, and where credentials are.

use std::path::Path;
use std::sync::Arc;

use agentprovision::authz::Permission;
use agentprovision::connectors::{CallOptions, IntegrationUpdate};
use agentprovision::integration::IntegrationState;
use agentprovision::prelude::*;
use agentprovision::run::Outcome;
use agentprovision::tenancy::rbac::RoleSpec;
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::usage::Meter;
use agentprovision::wire::{self, Caller};
use agentprovision::{Env, PlatformBuilder};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::support::desk::{self, Desk, with_desk};
use crate::support::heard::Listener;
use crate::support::{Home, home, in_time, store};

/// What no place but the sealed secret may have.
const CANARY: &str = "canary-4f6b2c";

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A platform whose model makes a ticket by this input, and then says what came of it.
fn builder(input: Value) -> PlatformBuilder {
    let model = ScriptedModel::from_fn("m", move |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("desk_tickets_create", input.clone()),
        _ => Reply::text("done"),
    });
    with_desk(Platform::builder()).model("m", Arc::new(model))
}

/// A run of an agent that has the tool, to its end.
async fn run(platform: &Platform, acme: &Home) -> Outcome {
    let spec = AgentSpec::new(format!("desk {}", platform.env().id::<agentprovision::id::AgentId>()))
        .model("m")
        .tools(["desk_tickets_create"])
        .capabilities(["integrations:invoke"]);
    let agent = platform.agents().create(&acme.admin, spec).await.unwrap();
    platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
    let run =
        platform.runs().start(&acme.admin, agent.id, RunInput::text("The printer burns")).await.unwrap();
    in_time(run.wait()).await.unwrap()
}

/// Every form in which a text can lie in bytes that nobody sealed.
fn found_in(bytes: &[u8], text: &str) -> bool {
    let forms = [
        text.to_owned(),
        hex(text),
        hex(text).to_uppercase(),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(text),
    ];
    forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything in the files of a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_makes_a_ticket_once_and_the_token_is_in_nothing_that_is_left() {
    let heard = Listener::new();
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::open().await;
    let platform = builder(json!({"queue": "printers", "title": "It burns"}))
        .store(store::new(&folder.path().join("platform.db")))
        .sealing_keys(desk::keys())
        .build()
        .await
        .unwrap();
    let acme = home(&platform, "acme").await;
    let (admin, integrations) = (&acme.admin, platform.integrations());
    let token = format!("{CANARY}-acme");
    let made = integrations.create(admin, desk.by_token("Our desk", "acme", &token)).await.unwrap();
    assert!(integrations.test(admin, made.id).await.unwrap().healthy);

    let outcome = run(&platform, &acme).await;
    assert_eq!(outcome.text().unwrap(), "done");
    let step = &outcome.chain().steps[1];
    assert_eq!((step.name.as_str(), step.success), ("desk_tickets_create", Some(true)));
    let asked: Vec<_> = desk.seen().into_iter().filter(|seen| seen.path.ends_with("/tickets")).collect();
    let [asked] = asked.as_slice() else { panic!("once: {asked:?}") };
    assert_eq!((asked.method.as_str(), &*asked.path), ("POST", "/acme/queues/printers/tickets"));
    assert_eq!(asked.headers["authorization"], format!("Bearer {token}"));
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), json!({"title": "It burns"}));

    let run = outcome.record().id;
    let usage = platform.usage().events(admin, None, 500).await.unwrap();
    let calls: Vec<_> = usage
        .iter()
        .filter(|event| event.meter == Meter::IntegrationCalls && event.run == Some(run))
        .collect();
    assert_eq!(calls.len(), 1, "{usage:?}");
    assert_eq!((calls[0].quantity, calls[0].agent), (1, Some(outcome.record().agent)));
    let log = platform.audit().entries(admin, 0, 500).await.unwrap();
    let records: Vec<_> = log.iter().map(|entry| entry.record().unwrap()).collect();
    let of_run: Vec<_> = records
        .iter()
        .filter(|record| record.action == "integrations.invoke" && record.details.contains_key("run"))
        .collect();
    assert_eq!(of_run.len(), 1, "{records:?}");
    assert_eq!(of_run[0].details["run"], run.to_string());
    assert_eq!(of_run[0].details["operation"], "tickets.create");
    assert_eq!(of_run[0].resource_id, Some(made.id.to_string()));

    // Services that repeat the token: in the answer, and when they refuse it.
    let call = async |id, queue: &str| {
        let input = object(json!({"queue": queue, "title": "t"}));
        integrations.invoke(admin, id, "tickets.create", input, CallOptions::default()).await
    };
    let wrong = call(made.id, "echo").await.unwrap_err();
    let update = IntegrationUpdate {
        credentials: Some(object(json!({"token": format!("{CANARY}-nobody")}))),
        ..IntegrationUpdate::default()
    };
    let refused = integrations.update(admin, made.id, update).await.unwrap_err();
    let new = desk.by_token("other", "acme", &format!("{CANARY}-x"));
    let other = integrations.create(admin, new).await.unwrap();
    let failed = call(other.id, "q").await.unwrap_err();
    assert!(failed.message().contains("[secret]"), "the service did repeat it: {failed}");
    let tested = integrations.test(admin, other.id).await.unwrap();
    assert!(!tested.healthy, "{tested:?}");

    let (_, rows) = platform.runs().journal(admin, run).await.unwrap();
    let journal: Vec<_> = rows.iter().map(|row| String::from_utf8_lossy(&row.body)).collect();
    assert!(journal.iter().any(|row| row.contains("desk_tickets_create")), "{journal:?}");
    let events = platform.events().read(admin, 0, 500).await.unwrap();
    assert!(
        events.iter().any(|event| event.event.kind == "agentprovision.integration.created"),
        "{events:?}"
    );
    let log = platform.audit().entries(admin, 0, 500).await.unwrap();
    let log: Vec<_> = log.iter().map(|entry| entry.record().unwrap()).collect();
    let list = integrations.list(admin, Default::default()).await.unwrap();
    let texts = [
        format!("{wrong:?} {wrong} {refused:?} {refused} {failed:?} {failed} {tested:?} {made:?} {list:?}"),
        format!("{journal:?}"),
        serde_json::to_string(&outcome.chain()).unwrap(),
        format!("{events:?}"),
        format!("{log:?}"),
        format!("{:?}", platform.usage().events(admin, None, 500).await.unwrap()),
        format!("{platform:?}"),
    ];
    for text in texts.iter().chain(&heard.lines()) {
        for secret in [CANARY, "app-secret-canary"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    let operator = platform.operator("ops@host.example", "archive").unwrap();
    let archive = folder.path().join("acme.archive");
    platform.archives().export(&operator, acme.tenant.id, &archive).await.unwrap();
    platform.close().await.unwrap();
    let bytes = std::fs::read(&archive).unwrap();
    let stream = zstd::decode_all(&bytes[12..bytes.len() - 32]).unwrap();
    let mut kept = files(folder.path());
    kept.push(("the archive's stream".to_owned(), stream));
    for (name, bytes) in &kept {
        assert!(!found_in(bytes, CANARY), "the token is in {name}");
    }
    // The same look finds what is there.
    let named = kept.iter().filter(|(_, bytes)| found_in(bytes, "Our desk")).count();
    assert_eq!(named, if store::on_server() { 1 } else { 2 });
}

#[tokio::test]
async fn a_tenant_with_two_integrations_names_the_one_that_is_meant() {
    let desk = Desk::open().await;
    for (named, told) in [
        (None, "one of `home`, `work`"),
        (Some("wrok"), "one of `home`, `work`"),
        (Some("work"), "2"),
        (Some("id"), "2"),
    ] {
        let input = Arc::new(std::sync::Mutex::new(json!({"queue": "q", "title": "t"})));
        let given = input.clone();
        let model = Arc::new(ScriptedModel::from_fn("m", move |request| {
            match ScriptedModel::tool_results(request) {
                0 => Reply::tool("desk_tickets_create", given.lock().unwrap().clone()),
                _ => Reply::text("done"),
            }
        }));
        let platform = with_desk(Platform::builder()).model("m", model.clone()).build().await.unwrap();
        let acme = home(&platform, "acme").await;
        let integrations = platform.integrations();
        let mut ids = Vec::new();
        for name in ["home", "work"] {
            let new = desk.by_token(name, name, &format!("a-token-{name}"));
            ids.push(integrations.create(&acme.admin, new).await.unwrap().id);
        }
        match named {
            Some("id") => input.lock().unwrap()["integration"] = json!(ids[1]),
            Some(name) => input.lock().unwrap()["integration"] = json!(name),
            None => {}
        }
        let before = desk.seen().len();
        let outcome = run(&platform, &acme).await;
        let asked = &desk.seen()[before..];
        let step = &outcome.chain().steps[1];
        if told == "2" {
            assert_eq!(step.success, Some(true), "{:?}", step.error);
            assert_eq!(asked.len(), 1);
            assert_eq!(asked[0].path, "/work/queues/q/tickets");
        } else {
            let error = step.error.as_ref().unwrap();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
            assert!(error.message.contains(told), "{}", error.message);
            assert!(asked.is_empty());
        }
        // Of two of which one can be used, that one is meant.
        if named.is_none() {
            let off = IntegrationUpdate { enabled: Some(false), ..IntegrationUpdate::default() };
            let off = integrations.update(&acme.admin, ids[0], off).await.unwrap();
            assert_eq!(off.state, IntegrationState::Disabled);
            assert_eq!(run(&platform, &acme).await.chain().steps[1].success, Some(true));
            assert_eq!(desk.seen().last().unwrap().path, "/work/queues/q/tickets");
            integrations.delete(&acme.admin, ids[0]).await.unwrap();
            integrations.delete(&acme.admin, ids[1]).await.unwrap();
            let error = run(&platform, &acme).await.chain().steps[1].error.clone().unwrap();
            assert_eq!(error.kind, ErrorKind::NotFound);
            assert!(error.message.contains("no integration of `desk`"), "{}", error.message);
        }
        platform.close().await.unwrap();
    }
}

/// An agent has what its specification lists among its capabilities, and nothing else of its caller's.
#[tokio::test]
async fn an_agent_without_the_capability_calls_nothing() {
    let desk = Desk::open().await;
    let platform = builder(json!({"queue": "q", "title": "t"})).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    platform.integrations().create(&acme.admin, desk.by_token("desk", "acme", "a-acme")).await.unwrap();
    let spec = AgentSpec::new("a").model("m").tools(["desk_tickets_create"]);
    let agent = platform.agents().create(&acme.admin, spec).await;
    let refused = match agent {
        Ok(agent) => {
            platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
            let run = platform.runs().start(&acme.admin, agent.id, RunInput::text("go")).await.unwrap();
            in_time(run.wait()).await.unwrap().chain().steps[1].error.as_ref().unwrap().kind
        }
        Err(error) => error.kind(),
    };
    assert!([ErrorKind::PermissionDenied, ErrorKind::InvalidInput].contains(&refused), "{refused}");
    assert!(desk.seen().is_empty());
    platform.close().await.unwrap();
}

/// Neither by what is wrong with a call, nor by what would be right.
#[tokio::test]
async fn who_may_not_call_an_operation_learns_nothing_of_it() {
    let desk = Desk::open().await;
    let looks =
        RoleSpec::new("looks").permissions([Permission::INTEGRATIONS_READ]).within([Role::TENANT_ADMIN]);
    let platform = with_desk(Platform::builder()).role(looks).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let new = desk.by_token("desk", "acme", "a-token-acme");
    let made = platform.integrations().create(&acme.admin, new).await.unwrap();
    let good = json!({"queue": "q", "title": "t"});
    for (role, sees, expected) in [
        (Role::AGENT_VIEWER, false, ErrorKind::NotFound),
        (Role::new("looks"), true, ErrorKind::PermissionDenied),
    ] {
        let ctx = acme.user(&platform, role.name(), role.clone()).await.1;
        assert_eq!(ctx.grants().contains(Permission::INTEGRATIONS_READ), sees);
        assert!(!ctx.grants().contains(Permission::INTEGRATIONS_INVOKE));
        for (operation, input) in
            [("tickets.create", &good), ("tickets.create", &json!({})), ("tickets.eat", &good)]
        {
            let (input, options) = (object(input.clone()), CallOptions::default());
            let called = platform.integrations().invoke(&ctx, made.id, operation, input, options).await;
            let error = called.unwrap_err();
            assert_eq!(error.kind(), expected, "{error}");
            assert!(!error.message().contains("tickets") && !error.message().contains("desk"), "{error}");
        }
    }
    assert!(desk.seen().is_empty());
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lasts_takes_credentials_with_a_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::new(&folder.path().join("platform.db"));
    let desk = Desk::open().await;
    let open = |keys| {
        let builder = with_desk(Platform::builder()).store(&*url);
        match keys {
            Some(keys) => builder.sealing_keys(keys),
            None => builder,
        }
    };
    let platform = open(None).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let new = || desk.by_token("desk", "acme", "a-token-acme");
    let error = platform.integrations().create(&acme.admin, new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(!format!("{error:?}").contains("a-token-acme"));
    let left = platform.integrations().list(&acme.admin, Default::default()).await.unwrap();
    assert!(left.items.is_empty(), "{left:?}");
    platform.close().await.unwrap();

    let platform = open(Some(desk::keys())).build().await.unwrap();
    let ctx = platform.context(acme.tenant.id, acme.root.id).await.unwrap();
    let made = platform.integrations().create(&ctx, new()).await.unwrap();
    platform.close().await.unwrap();
    // Another process with the key uses it, one with another key says so.
    let platform = open(Some(desk::keys())).build().await.unwrap();
    let ctx = platform.context(acme.tenant.id, acme.root.id).await.unwrap();
    assert!(platform.integrations().test(&ctx, made.id).await.unwrap().healthy);
    platform.close().await.unwrap();
    let other = agentprovision::tenancy::secret::SealingKeys::random(&Env::default());
    let platform = open(Some(other)).build().await.unwrap();
    let ctx = platform.context(acme.tenant.id, acme.root.id).await.unwrap();
    let tested = platform.integrations().test(&ctx, made.id).await.unwrap();
    assert!(!tested.healthy && tested.error.is_some(), "{tested:?}");
    platform.close().await.unwrap();

    let platform = with_desk(Platform::builder()).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let made = platform.integrations().create(&acme.admin, new()).await.unwrap();
    assert!(platform.integrations().test(&acme.admin, made.id).await.unwrap().healthy);
    platform.close().await.unwrap();
}

/// The same in JSON, from the host's configuration to a call.
#[tokio::test]
async fn connectors_have_a_json_form() {
    let desk = Desk::open().await;
    let config = json!({"connectors": {
        "networks": [{"name": "here", "ranges": ["127.0.0.0/8"], "plain_http": true, "any_port": true}],
        "sealing_key_env": "KEY",
    }});
    let key = |name: &str| (name == "KEY").then(|| "07".repeat(32).into());
    let (builder, _) = wire::builder(&config.to_string(), &key).unwrap();
    let platform = builder.connector(desk::connector()).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let call = async |name: &str, given: Value| -> Result<Value> {
        let answer = wire::invoke(&platform, Caller::Tenant(&acme.admin), name, &given.to_string()).await?;
        Ok(serde_json::from_str(&answer).unwrap())
    };
    let listed = call("connectors.list", json!({})).await.unwrap();
    assert_eq!(listed[0]["name"], "desk");
    let details = call("connectors.get", json!({"name": "desk"})).await.unwrap();
    let tools: Vec<&Value> =
        details["operations"].as_array().unwrap().iter().map(|operation| &operation["tool"]).collect();
    assert_eq!(tools, ["desk_tickets_create", "desk_tickets_delete", "desk_users_me"]);
    let new = desk.by_token("desk", "acme", "a-token-acme");
    let new = json!({"name": new.name, "connector": "desk", "settings": new.settings, "credentials": new.credentials});
    let made = call("integrations.create", new).await.unwrap();
    assert_eq!(made["state"], "active");
    assert!(!made.to_string().contains("a-token"));
    let input = json!({"queue": "q", "title": "It burns"});
    let given = json!({"integration": made["id"], "operation": "tickets.create", "input": input,
        "idempotency_key": "k"});
    let ticket = call("integrations.invoke", given.clone()).await.unwrap();
    assert_eq!(ticket["title"], "It burns");
    assert_eq!(call("integrations.invoke", given).await.unwrap(), ticket, "once under a key");
    for (input, wanted) in [
        (json!({"queue": "q"}), "\"title\" is a required property"),
        (json!({"queue": "q", "title": ""}), "`/title`"),
        (json!({"queue": "q", "title": "t", "colour": "red"}), "colour"),
    ] {
        let given = json!({"integration": made["id"], "operation": "tickets.create", "input": input});
        let error = call("integrations.invoke", given).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(wanted), "{error}");
    }
    let given = json!({"integration": made["id"], "operation": "tickets.craete"});
    let error = call("integrations.invoke", given).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("did you mean `tickets.create`?"), "{error}");
    platform.close().await.unwrap();

    for (bad, wanted) in [
        (json!({"enabled": ["gihub"]}), "unknown connector `gihub`"),
        (json!({"enabeld": []}), "did you mean `enabled`?"),
        (json!({"networks": [{"name": "n", "ranges": ["10.0.0.0/99"]}]}), "10.0.0.0/99"),
        (json!({"sealing_key_env": "NOTHING"}), "NOTHING"),
        (json!({"sealing_key_env": "SHORT"}), "32 bytes"),
        (json!({"sealing_key_env": "KEY", "sealing_key_file": "x"}), "not from both"),
    ] {
        let config = json!({"connectors": bad});
        let given = |name: &str| if name == "SHORT" { Some("c2hvcnQ=".to_owned().into()) } else { key(name) };
        let error = wire::builder(&config.to_string(), &given).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(wanted), "{error}");
        assert!(!error.message().contains("c2hvcnQ"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_credentials_cannot_be_kept_is_taken_back() {
    let (folder, desk) = (tempfile::tempdir().unwrap(), Desk::open().await);
    let file = folder.path().join("platform.db");
    let platform =
        builder(json!({})).store(store::new(&file)).sealing_keys(desk::keys()).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let (admin, integrations) = (&acme.admin, platform.integrations());
    let made = integrations.create(admin, desk.by_token("Our desk", "acme", "token-acme")).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON secrets BEGIN SELECT RAISE(ABORT, 'full'); END";
    if !store::behind(&file, full).await {
        return;
    }
    let update = || IntegrationUpdate {
        name: Some("Their desk".into()),
        credentials: Some(object(json!({"token": "new-acme"}))),
        ..IntegrationUpdate::default()
    };
    integrations.update(admin, made.id, update()).await.unwrap_err();
    store::behind(&file, "DROP TRIGGER full").await;
    assert_eq!(integrations.get(admin, made.id).await.unwrap().name, "Our desk");
    let token = async || {
        let input = object(json!({"queue": "q", "title": "t"}));
        let options = CallOptions::default();
        integrations.invoke(admin, made.id, "tickets.create", input, options).await.unwrap();
        desk.seen().last().unwrap().headers["authorization"].to_str().unwrap().to_owned()
    };
    assert_eq!(token().await, "Bearer token-acme");
    assert_eq!(integrations.update(admin, made.id, update()).await.unwrap().name, "Their desk");
    assert_eq!(token().await, "Bearer new-acme");
}
