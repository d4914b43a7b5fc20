//! Operations over HTTP: the same call as a method, a model's tool, REST and a tool of the Model Context Protocol.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentprovision::authz::Permission;
use agentprovision::connectors::serve::{McpOptions, RestOptions};
use agentprovision::connectors::{CallOptions, NewIntegration};
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::testing::{Reply, ScriptedModel};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::support::desk::{Desk, with_desk};
use crate::support::{Home, home, in_time};

/// Both faces on a port, until it is dropped.
struct Served {
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Served {
    async fn open(platform: &Platform, rest: RestOptions, mcp: McpOptions) -> Self {
        let callers = Arc::new(platform.clone());
        let rest = platform.integrations().rest(callers.clone(), rest);
        let mcp = platform.integrations().mcp(callers, mcp).unwrap();
        let app = axum::Router::new().nest_service("/api", rest).route_service("/mcp", mcp);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, server }
    }

    /// A request as it goes over the wire: `headers` beside those that every request has, and the bytes of a body.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        // One who is refused for the head alone may not read this.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        in_time(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Answer { status, headers, body: serde_json::from_str(body).unwrap_or_else(|_| body.into()) }
    }

    /// An operation as REST.
    async fn rest(&self, key: &str, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        self.send("POST", path, &headers, body.to_string().as_bytes()).await
    }

    /// A request of JSON-RPC, with more headers.
    async fn rpc(&self, key: &str, more: &[(&str, &str)], method: &str, params: Value) -> Answer {
        let authorization = format!("Bearer {key}");
        let mut headers = vec![
            ("authorization", &*authorization),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        headers.extend_from_slice(more);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send("POST", "/mcp", &headers, body.to_string().as_bytes()).await
    }

    /// The problem that calling a tool ends with.
    async fn tool_problem(&self, key: &str, name: &str, arguments: &Value) -> Value {
        let answer = self.tool(key, name, arguments).await;
        let result = &answer["result"];
        // Clients hold what is structured to the schema of the output.
        assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None), "{answer}");
        serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
    }

    /// What calling a tool gives, in the version that most clients speak.
    async fn tool(&self, key: &str, name: &str, arguments: &Value) -> Value {
        let version = [("mcp-protocol-version", "2025-11-25")];
        let params = json!({ "name": name, "arguments": arguments });
        let answer = self.rpc(key, &version, "tools/call", params).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

async fn key(platform: &Platform, ctx: &Context, request: ApiKeyRequest) -> String {
    platform.keys().create(ctx, request).await.unwrap().secret.expose_secret().to_owned()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A platform with a desk of acme's, and a key of its admin's.
async fn with_acme(desk: &Desk, model: ScriptedModel) -> (Platform, Home, String) {
    let platform = with_desk(Platform::builder()).model("m", Arc::new(model)).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    platform.integrations().create(&acme.admin, desk.by_token("desk", "acme", "t-acme")).await.unwrap();
    let key = key(&platform, &acme.admin, ApiKeyRequest::new("clients")).await;
    (platform, acme, key)
}

fn silent() -> ScriptedModel {
    ScriptedModel::from_fn("m", |_| Reply::text("nothing"))
}

#[tokio::test]
async fn one_operation_is_the_same_by_each_of_its_four_faces() {
    let desk = Desk::open().await;
    let input = json!({ "queue": "printers", "title": "It burns" });
    let given = input.clone();
    let model = ScriptedModel::from_fn("m", move |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("desk_tickets_create", given.clone()),
        _ => Reply::text("done"),
    });
    let (platform, acme, clients) = with_acme(&desk, model).await;
    let served = Served::open(&platform, RestOptions::default(), McpOptions::default()).await;
    let integrations = platform.integrations();
    let list = integrations.list(&acme.admin, Default::default()).await.unwrap();
    let id = list.items[0].id;
    let seen = desk.seen().len();

    let options = CallOptions::default();
    let method = integrations.invoke(&acme.admin, id, "tickets.create", object(input.clone()), options).await;
    let spec = AgentSpec::new("desk").model("m").tools(["desk_tickets_create"]);
    let spec = spec.capabilities(["integrations:invoke"]);
    let agent = platform.agents().create(&acme.admin, spec).await.unwrap();
    platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
    let run = platform.runs().start(&acme.admin, agent.id, RunInput::text("x")).await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), "done");
    let rest = served.rest(&clients, "/api/desk/tickets.create", &input).await;
    let tool = served.tool(&clients, "desk_tickets_create", &input).await;

    let number = |ticket: &Value| {
        assert_eq!((&ticket["title"], &ticket["by"]), (&json!("It burns"), &json!("acme")), "{ticket}");
        ticket["number"].as_u64().unwrap()
    };
    assert_eq!(rest.status, 200, "{rest:?}");
    let text: Value = serde_json::from_str(tool["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&tool["result"]["structuredContent"], &tool["result"]["isError"]), (&text, &json!(false)));
    let numbers = [number(&method.unwrap()), number(&rest.body), number(&text)];
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 3);

    // To the vendor it is one request each, of one form.
    let asked = &desk.seen()[seen..];
    assert_eq!(asked.len(), 4);
    for one in asked {
        assert_eq!((&one.path, &one.body), (&asked[0].path, &asked[0].body));
        assert_eq!(one.headers["authorization"], "Bearer t-acme");
    }
    // One meter and one record each, which differ in who and when alone.
    let usage = platform.usage().events(&acme.admin, None, 500).await.unwrap();
    let calls: Vec<_> =
        usage.iter().filter(|event| event.meter == agentprovision::usage::Meter::IntegrationCalls).collect();
    assert_eq!(calls.iter().map(|call| call.quantity).collect::<Vec<_>>(), [1, 1, 1, 1]);
    let log = platform.audit().entries(&acme.admin, 0, 500).await.unwrap();
    let mut records: Vec<_> = log.iter().map(|entry| entry.record().unwrap()).collect();
    records.retain(|record| record.action == "integrations.invoke");
    assert_eq!(records.len(), 4, "{records:?}");
    for record in &records {
        assert_eq!(record.resource_id, Some(id.to_string()));
        assert_eq!(record.details["operation"], "tickets.create");
    }
    let ids: BTreeSet<String> = records.iter().map(|record| record.request_id.to_string()).collect();
    let told = rest.headers["x-request-id"].to_str().unwrap();
    assert!(ids.contains(told), "{told} {ids:?}");

    // One permission: without it, by every face.
    let reader =
        key(&platform, &acme.admin, ApiKeyRequest::new("r").scopes([Permission::INTEGRATIONS_READ])).await;
    let before = desk.seen().len();
    let refused = served.rest(&reader, "/api/desk/tickets.create", &input).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("permission_denied")), "{refused:?}");
    let refused = served.tool_problem(&reader, "desk_tickets_create", &input).await;
    assert_eq!(refused["code"], "permission_denied");
    let listed =
        served.rpc(&reader, &[("mcp-protocol-version", "2025-11-25")], "tools/list", json!({})).await;
    assert_eq!(listed.body["error"]["data"]["code"], "permission_denied", "{listed:?}");
    let headers = [("x-api-key", &*reader)];
    let described = served.send("GET", "/api/openapi.json", &headers, b"").await;
    assert_eq!((described.status, &described.body["code"]), (403, &json!("permission_denied")));
    assert_eq!(desk.seen().len(), before);
    platform.close().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_as_a_problem() {
    let desk = Desk::open().await;
    let (platform, acme, clients) = with_acme(&desk, silent()).await;
    let mut options = RestOptions::default();
    options.serve.max_body_bytes = 1000;
    let served = Served::open(&platform, options, McpOptions::default()).await;
    let path = "/api/desk/tickets.create";
    let good = json!({ "queue": "q", "title": "t" });
    let bearer = format!("Bearer {clients}");
    let before = desk.seen().len();

    let without = served.send("POST", path, &[], b"{}").await;
    assert_eq!((without.status, &without.body["code"]), (401, &json!("unauthenticated")));
    assert_eq!(without.headers["www-authenticate"], "Bearer");
    let wrong = served.rest(&format!("{clients}x"), path, &good).await;
    assert_eq!((wrong.status, &wrong.body["code"]), (401, &json!("unauthenticated")));

    for (path, status, code, told) in [
        ("/api/desk/tickets.crate", 404, "not_found", "tickets.create"),
        ("/api/dsk/tickets.create", 404, "not_found", "desk"),
        ("/api/desk", 404, "not_found", "{connector}/{operation}"),
        ("/api/desk/tickets.create?integration=other", 400, "invalid_input", "one of `desk`"),
        ("/api/desk/tickets.create?title=t", 400, "invalid_input", "`integration`"),
        ("/api/desk/tickets.create?integration=desk&integration=desk", 400, "invalid_input", "twice"),
    ] {
        let answer = served.rest(&clients, path, &good).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str().unwrap()),
            (status, code),
            "{path} {answer:?}"
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{path}: {detail}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let long = format!("{{\"queue\": \"{}\"}}", "q".repeat(1000));
    let json = ("content-type", "application/json");
    for (headers, body, status, told) in [
        (vec![json], "{\"queue\": \"q\"", 400, "no JSON"),
        (vec![json], "[1]", 400, "no JSON object"),
        (vec![("content-type", "text/plain")], "{}", 400, "application/json"),
        (vec![json], "", 400, "queue"),
        (vec![json], r#"{"queue": "q", "title": ""}"#, 400, "title"),
        (vec![json], r#"{"queue": "q", "title": "t", "tilte": 1}"#, 400, "tilte"),
        (vec![json, ("idempotency-key", "")], r#"{"queue": "q", "title": "t"}"#, 400, "idempotency-key"),
        (vec![json], &*long, 413, "1000 bytes"),
    ] {
        let headers: Vec<_> = headers.into_iter().chain([("authorization", &*bearer)]).collect();
        let answer = served.send("POST", path, &headers, body.as_bytes()).await;
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(answer.status == status && detail.contains(told), "{body:.60}: {answer:?}");
    }
    let headers = [("authorization", &*bearer)];
    let answer = served.send("GET", path, &headers, b"").await;
    assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(answer.body["status"], 405);
    let answer = served.send("POST", "/api/openapi.json", &headers, b"").await;
    assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, "GET"));
    assert_eq!(desk.seen().len(), before, "nothing of that reached the vendor");

    // What the vendor refuses is told as its kind, and no more of it.
    let answer =
        served.rest(&clients, "/api/desk/tickets.delete", &json!({ "queue": "q", "number": 1 })).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{answer:?}");

    // One key, one call.
    let before = desk.seen().len();
    let headers = [("authorization", &*bearer), json, ("idempotency-key", "k-1")];
    let one = served.send("POST", path, &headers, good.to_string().as_bytes()).await;
    let again = served.send("POST", path, &headers, good.to_string().as_bytes()).await;
    assert_eq!((one.status, &one.body), (200, &again.body));
    let other = served.send("POST", path, &headers, br#"{"queue": "q", "title": "other"}"#).await;
    assert_eq!((other.status, &other.body["code"]), (409, &json!("idempotency_mismatch")));
    let name = "desk_tickets_create";
    let params = json!({ "name": name, "arguments": good });
    let keyed = [("mcp-protocol-version", "2025-11-25"), ("idempotency-key", "k-1")];
    let tool = served.rpc(&clients, &keyed, "tools/call", params).await;
    assert_eq!(
        tool.body["result"]["structuredContent"], one.body,
        "the faces share what was done under a key"
    );
    assert_eq!(desk.seen().len(), before + 1);

    // Of two, the call says which.
    platform.integrations().create(&acme.admin, desk.by_token("two", "acme", "u-acme")).await.unwrap();
    let answer = served.rest(&clients, path, &good).await;
    assert!(answer.body["detail"].as_str().unwrap().contains("one of `desk`, `two`"), "{answer:?}");
    assert_eq!(served.rest(&clients, &format!("{path}?integration=two"), &good).await.status, 200);
    assert_eq!(desk.seen().last().unwrap().headers["authorization"], "Bearer u-acme");
    platform.close().await.unwrap();
}

#[tokio::test]
async fn a_tenant_sees_and_calls_what_it_has_connected_itself() {
    let desk = Desk::open().await;
    let (platform, acme, clients) = with_acme(&desk, silent()).await;
    let globex = home(&platform, "globex").await;
    let other = key(&platform, &globex.admin, ApiKeyRequest::new("clients")).await;
    let served = Served::open(&platform, RestOptions::default(), McpOptions::default()).await;
    let version = [("mcp-protocol-version", "2025-11-25")];
    let tools = async |key: &str| {
        let answer = served.rpc(key, &version, "tools/list", json!({})).await;
        let tools = answer.body["result"]["tools"].as_array().unwrap().clone();
        tools.into_iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool)).collect::<Vec<_>>()
    };
    let paths = async |key: &str| {
        let answer = served.send("GET", "/api/openapi.json", &[("x-api-key", key)], b"").await;
        answer.body["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let all = ["tickets.create", "tickets.delete", "users.me"];
    let found = tools(&clients).await;
    let names: Vec<String> = all.iter().map(|name| format!("desk_{}", name.replace('.', "_"))).collect();
    assert_eq!(found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
    assert_eq!(paths(&clients).await, all.map(|name| format!("/desk/{name}")));
    let hints = |at: usize| {
        let hints = &found[at].1["annotations"];
        ["readOnlyHint", "destructiveHint", "idempotentHint"].map(|name| hints[name].as_bool().unwrap())
    };
    assert_eq!((hints(0)[..2].to_vec(), hints(1)[..2].to_vec()), (vec![false, false], vec![false, true]));
    assert_eq!(hints(2), [true, false, true]);
    assert_eq!(found[0].1["inputSchema"]["required"], json!(["queue", "title"]));
    assert_eq!(found[0].1["outputSchema"]["type"], "object");

    // The other tenant has none, and acme's does not help it.
    assert_eq!((tools(&other).await, paths(&other).await), (vec![], vec![]));
    let list = platform.integrations().list(&acme.admin, Default::default()).await.unwrap();
    let path = format!("/api/desk/users.me?integration={}", list.items[0].id);
    let before = desk.seen().len();
    let answer = served.rest(&other, &path, &json!({})).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{answer:?}");
    let arguments = json!({ "integration": list.items[0].id });
    let problem = served.tool_problem(&other, "desk_users_me", &arguments).await;
    assert_eq!(problem["code"], "not_found", "{problem}");
    assert_eq!(desk.seen().len(), before);

    // Only reading, where the host says so.
    let (mut rest, mut mcp) = (RestOptions::default(), McpOptions::default());
    (rest.serve.read_only, mcp.serve.read_only) = (true, true);
    let served = Served::open(&platform, rest, mcp).await;
    let answer = served.rpc(&clients, &version, "tools/list", json!({})).await;
    let names = answer.body["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["desk_users_me"]);
    let input = json!({ "queue": "q", "title": "t" });
    assert_eq!(served.rest(&clients, "/api/desk/tickets.create", &input).await.status, 404);
    let answer = served.tool(&clients, "desk_tickets_create", &input).await;
    assert_eq!(answer["error"]["code"], -32602);
    assert_eq!(served.rest(&clients, "/api/desk/users.me", &json!({})).await.body["login"], "acme");
    platform.close().await.unwrap();
}

#[tokio::test]
async fn clients_of_every_version_of_the_protocol_are_answered() {
    let desk = Desk::open().await;
    let (platform, _, clients) = with_acme(&desk, silent()).await;
    let mut options = McpOptions::default();
    options.serve.max_body_bytes = 2000;
    options.origins = vec!["https://app.example.com:443".into()];
    options.resource_metadata = Some("https://x.example/.well-known/oauth-protected-resource".into());
    options.instructions = Some("Tickets of the house.".into());
    options.tools_per_page = 2;
    let served = Served::open(&platform, RestOptions::default(), options).await;

    // With a handshake, without a session after it.
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let about = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let begun = served.rpc(&clients, &[], "initialize", about).await;
        assert_eq!(
            (begun.status, &begun.body["result"]["protocolVersion"]),
            (200, &json!(version)),
            "{begun:?}"
        );
        assert_eq!(begun.body["result"]["instructions"], "Tickets of the house.");
        assert!(!begun.headers.contains_key("mcp-session-id"), "{begun:?}");
        let header = [("mcp-protocol-version", version)];
        let (mut names, mut cursor) = (Vec::new(), json!({}));
        loop {
            let listed = served.rpc(&clients, &header, "tools/list", cursor).await;
            let tools = listed.body["result"]["tools"].as_array().unwrap();
            names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            let Some(next) = listed.body["result"].get("nextCursor") else { break };
            assert_eq!(tools.len(), 2);
            cursor = json!({ "cursor": next });
        }
        assert_eq!(names, ["desk_tickets_create", "desk_tickets_delete", "desk_users_me"]);
        let pong = served.rpc(&clients, &header, "ping", json!({})).await;
        assert_eq!(pong.body["result"], json!({}));
    }
    // The newest one has no handshake: each request says everything.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let call = |name: &str| json!({ "_meta": meta, "name": name, "arguments": {} });
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "desk_users_me")];
    let called = served.rpc(&clients, &headers, "tools/call", call("desk_users_me")).await;
    assert_eq!(called.body["result"]["structuredContent"], json!({ "login": "acme" }), "{called:?}");
    assert_eq!(called.body["result"]["resultType"], "complete");

    let discovered = served
        .rpc(
            &clients,
            &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")],
            "server/discover",
            json!({ "_meta": meta }),
        )
        .await;
    let versions = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
    assert_eq!(discovered.body["result"]["supportedVersions"], versions, "{discovered:?}");

    let unknown = served.tool(&clients, "desk_tickets_crate", &json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602);
    let told = served.tool_problem(&clients, "desk_tickets_create", &json!({ "queue": "q" })).await;
    assert_eq!(told["code"], "invalid_input");
    assert!(told["detail"].as_str().unwrap().contains("title"), "{told}");
    let wrong = served.tool_problem(&clients, "desk_users_me", &json!({ "integration": 7 })).await;
    assert_eq!(wrong["code"], "invalid_input");

    // What the headers say is what the body says, where the version has them.
    let stateless = |version: &'static str, method: &'static str, name: &'static str| {
        [("mcp-protocol-version", version), ("mcp-method", method), ("mcp-name", name)]
    };
    let me = "desk_users_me";
    let wrapped = "=?base64?ZGVza191c2Vyc19tZQ==?=";
    let mut bare = call(me);
    bare.as_object_mut().unwrap().remove("_meta");
    for (headers, method, params, status, code) in [
        (&stateless("2026-07-28", "tools/call", me)[..], "tools/call", call(me), 200, None),
        (&stateless("2026-07-28", "tools/call", wrapped)[..], "tools/call", call(me), 200, None),
        (&stateless("2026-07-28", "tools/list", me)[..], "tools/call", call(me), 400, Some(-32020)),
        (&stateless("2026-07-28", "tools/call", "other")[..], "tools/call", call(me), 400, Some(-32020)),
        (&stateless("2025-11-25", "tools/call", me)[..], "tools/call", call(me), 400, Some(-32020)),
        (&[][..], "tools/call", call(me), 400, Some(-32020)),
        (&stateless("2026-07-28", "tools/call", me)[..], "tools/call", bare, 400, Some(-32602)),
        (&stateless("2026-07-28", "ping", me)[..], "ping", json!({ "_meta": meta }), 404, Some(-32601)),
        (&stateless("2027-01-01", "tools/call", me)[1..], "ping", json!({}), 200, None),
        (&[("mcp-protocol-version", "2027-01-01")][..], "ping", json!({}), 400, Some(-32022)),
        (&[][..], "resources/list", json!({}), 200, Some(-32601)),
        (&[][..], "tools/list", json!({ "cursor": 7 }), 200, Some(-32602)),
        (&[][..], "tools/call", json!({ "name": me, "arguments": [] }), 200, Some(-32602)),
        (&[][..], "initialize", json!({}), 200, Some(-32602)),
    ] {
        let answer = served.rpc(&clients, headers, method, params).await;
        let found = answer.body["error"]["code"].as_i64();
        assert_eq!((answer.status, found), (status, code), "{headers:?} {method} {answer:?}");
    }
    let bearer = format!("Bearer {clients}");
    let post = async |more: &[(&str, &str)], body: &str| {
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend_from_slice(more);
        served.send("POST", "/mcp", &headers, body.as_bytes()).await
    };
    let json = ("content-type", "application/json");
    let notified = r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#;
    let ping = r#"{"jsonrpc": "2.0", "id": "a", "method": "ping"}"#;
    for (headers, body, status, told) in [
        (&[json][..], notified, 202, Value::Null),
        (&[json][..], r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#, 202, Value::Null),
        (&[json][..], ping, 200, json!("a")),
        (&[json, ("accept", "text/html, application/*;q=0.1")][..], ping, 200, json!("a")),
        (&[json, ("accept", "text/event-stream, application/json;q=0")][..], ping, 406, json!(406)),
        (&[("content-type", "text/plain")][..], ping, 415, json!(415)),
        (&[][..], ping, 415, json!(415)),
        (&[json][..], "{", 400, json!(-32700)),
        (&[json][..], "7", 400, json!(-32600)),
        (&[json][..], r#"{"id": 1, "method": "ping"}"#, 400, json!(-32600)),
        (&[json][..], r#"{"jsonrpc": "2.0", "id": null, "method": "ping"}"#, 400, json!(-32600)),
        (&[json][..], r#"{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}"#, 400, json!(-32600)),
        (&[json][..], "[]", 400, json!(-32600)),
        (&[json, ("mcp-protocol-version", "2025-11-25")][..], "[1]", 400, json!(-32600)),
    ] {
        let answer = post(headers, body).await;
        let body_ = &answer.body;
        let found = [&body_["error"]["code"], &body_["id"], &body_["status"]];
        let found = found.into_iter().find(|found| !found.is_null()).cloned().unwrap_or_default();
        assert_eq!((answer.status, &found), (status, &told), "{headers:?} {body} {answer:?}");
    }
    // Several at once, in the version that has that.
    let several = post(&[json], &format!("[{ping}, {notified}, 7]")).await;
    assert_eq!(several.body.as_array().unwrap().len(), 2, "{several:?}");
    assert_eq!((&several.body[0]["id"], &several.body[1]["error"]["code"]), (&json!("a"), &json!(-32600)));
    assert_eq!(post(&[json], &format!("[{notified}]")).await.status, 202);

    let params = json!({ "name": "desk_users_me", "arguments": {} });
    let without = served.send("POST", "/mcp", &[json], params.to_string().as_bytes()).await;
    let challenge = r#"Bearer resource_metadata="https://x.example/.well-known/oauth-protected-resource""#;
    assert_eq!((without.status, without.headers["www-authenticate"].to_str().unwrap()), (401, challenge));
    for (headers, status) in [
        ([("host", "evil.example"), ("mcp-protocol-version", "2025-11-25")], 403),
        ([("host", "localhost@evil.example"), ("mcp-protocol-version", "2025-11-25")], 403),
        ([("host", "LOCALHOST:80"), ("mcp-protocol-version", "2025-11-25")], 200),
        ([("host", "[::1]:8080"), ("mcp-protocol-version", "2025-11-25")], 200),
        ([("origin", "null"), ("mcp-protocol-version", "2025-11-25")], 403),
        ([("origin", "http://app.example.com"), ("mcp-protocol-version", "2025-11-25")], 403),
        ([("origin", "https://evil.example"), ("mcp-protocol-version", "2025-11-25")], 403),
        ([("origin", "https://app.example.com"), ("mcp-protocol-version", "2025-11-25")], 200),
        ([("x-more", "1"), ("mcp-protocol-version", "1999-01-01")], 400),
    ] {
        let answer = served.rpc(&clients, &headers, "tools/list", json!({})).await;
        assert_eq!(answer.status, status, "{headers:?} {answer:?}");
    }
    let long = json!({ "name": "x".repeat(2000) });
    let answer = served.rpc(&clients, &[], "tools/call", long).await;
    assert_eq!((answer.status, &answer.body["code"]), (413, &json!("too_large")), "{answer:?}");
    let headers = [("authorization", &*bearer), ("accept", "text/event-stream")];
    assert_eq!(served.send("GET", "/mcp", &headers, b"").await.status, 405);
    let mut quoted = McpOptions::default();
    quoted.resource_metadata = Some("\"".into());
    let error = platform.integrations().mcp(Arc::new(platform.clone()), quoted).unwrap_err();
    assert!(error.is(agentprovision::ErrorKind::InvalidInput), "{error:?}");
    platform.close().await.unwrap();
}

/// The description is one that our own connector of OpenAPI documents reads, and by which it makes the same calls.
#[cfg(feature = "connector-openapi")]
#[tokio::test]
async fn the_description_of_the_operations_is_a_connector_itself() {
    use agentprovision::connectors::openapi;

    let desk = Desk::open().await;
    let (platform, acme, clients) = with_acme(&desk, silent()).await;
    let served = Served::open(&platform, RestOptions::default(), McpOptions::default()).await;
    let described = served.send("GET", "/api/openapi.json", &[("x-api-key", &clients)], b"").await;
    assert_eq!(described.body["openapi"], "3.1.0");
    let document = described.body.to_string();
    let base_url = format!("http://{}/api", served.address);
    let imported = openapi::Import::new("again").base_url(&base_url).read(&document).unwrap();
    let outer = with_desk(Platform::builder()).connector(imported.connector).build().await.unwrap();
    let globex = home(&outer, "globex").await;
    let new = NewIntegration {
        name: "again".into(),
        connector: "again".into(),
        auth: None,
        settings: Map::new(),
        credentials: object(json!({ "token": clients })),
    };
    let id = outer.integrations().create(&globex.admin, new).await.unwrap().id;
    let body = json!({ "queue": "q", "title": "twice removed" });
    let made = outer
        .integrations()
        .invoke(&globex.admin, id, "desk_tickets_create", object(body), CallOptions::default())
        .await
        .unwrap();
    assert_eq!(made["title"], "twice removed");
    assert_eq!(desk.seen().last().unwrap().path, "/acme/queues/q/tickets");
    drop(acme);
    outer.close().await.unwrap();
    platform.close().await.unwrap();
}
