//! Webhooks in their JSON form, from the vendor's request to the run that comes of it.

use std::sync::{Arc, Mutex};

use agentprovision::Timestamp;
use agentprovision::connectors::webhook::{
    HandledDelivery, Scheme, Secrets, Verifier, WebhookHandler, WorkOptions,
};
use agentprovision::prelude::*;
use agentprovision::testing::ScriptedModel;
use agentprovision::wire::{self, Caller};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::victim::echo;
use crate::support::{Home, home, in_time};

/// What the host heard of.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

#[async_trait]
impl WebhookHandler for Heard {
    async fn handle(&self, ctx: &Context, delivery: &HandledDelivery<'_>) -> Result<()> {
        let said = format!("{} for {}", delivery.event.kind, ctx.tenant());
        self.0.lock().unwrap().push(said);
        Ok(())
    }
}

struct World {
    platform: Platform,
    acme: Home,
    heard: Arc<Heard>,
}

impl World {
    async fn new(options: WorkOptions) -> Self {
        let heard = Arc::new(Heard::default());
        let platform = Platform::builder()
            .model("m", Arc::new(ScriptedModel::from_fn("m", echo)))
            .webhook_work(options)
            .webhook_handler(heard.clone())
            .build()
            .await
            .unwrap();
        let acme = home(&platform, "acme").await;
        Self { platform, acme, heard }
    }

    async fn ask(&self, operation: &str, given: Value) -> Result<Value> {
        let caller = Caller::Tenant(&self.acme.admin);
        let said = in_time(wire::invoke(&self.platform, caller, operation, &given.to_string())).await?;
        Ok(serde_json::from_str(&said).unwrap())
    }

    /// A deployed agent.
    async fn agent(&self) -> Value {
        let agents = self.platform.agents();
        let agent = agents.create(&self.acme.admin, AgentSpec::new("clerk").model("m")).await.unwrap();
        json!(agents.deploy(&self.acme.admin, agent.id).await.unwrap().id)
    }

    /// A delivery of GitHub, signed with a secret, sent to an address.
    async fn send(&self, address: &str, secret: &str, id: &str, body: &str) -> Value {
        let verifier = Verifier::new(Scheme::Github, Secrets::new(secret)).unwrap();
        let signed = verifier.sign(Timestamp::from_micros(0), id, body.as_bytes()).unwrap();
        let mut headers = vec![("X-GitHub-Event", "issues".to_owned()), ("X-GitHub-Delivery", id.to_owned())];
        headers
            .extend(signed.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap().to_owned())));
        self.receive(json!({ "address": address, "headers": headers, "body": STANDARD.encode(body) })).await
    }

    async fn receive(&self, given: Value) -> Value {
        let said = in_time(wire::receive(&self.platform, &given.to_string())).await.unwrap();
        serde_json::from_str(&said).unwrap()
    }

    /// A delivery once it is over.
    async fn over(&self, endpoint: &Value) -> Value {
        in_time(async {
            loop {
                let page = self.ask("webhooks.deliveries", json!({ "endpoint": endpoint })).await.unwrap();
                match page["items"].as_array().unwrap().last() {
                    Some(last) if last["state"] != "pending" => return last.clone(),
                    _ => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }
}

const OPENED: &str = r#"{"action":"opened","issue":{"id":5,"number":7,"title":"It burns","state":"open","updated_at":"2026-01-02T03:04:05Z"},"repository":{"id":1,"full_name":"octo/repo"}}"#;

#[tokio::test]
async fn a_delivery_starts_a_run_and_is_shown_as_it_came() {
    let w = World::new(WorkOptions::default()).await;
    let agent = w.agent().await;
    let triggers = json!([
        { "agent": agent, "input": "Look into {{ body.issue.title }}.", "filter": { "prefix": "issues." } },
        { "agent": agent, "input": "never", "filter": { "kind": "issues.closed" } },
    ]);
    let new = json!({ "name": "code", "vendor": "github", "triggers": triggers });
    let made = w.ask("webhooks.create", new.clone()).await.unwrap();
    let (endpoint, secret) = (&made["endpoint"], made["secret"].as_str().unwrap());
    assert_eq!(
        (&endpoint["vendor"], &endpoint["scheme"]),
        (&json!("github"), &json!({ "scheme": "github" }))
    );
    assert!(secret.len() >= 43, "256 bits");
    let twice = w.ask("webhooks.create", new).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    let (id, address) = (&endpoint["id"], endpoint["address"].as_str().unwrap());

    assert_eq!(w.send(address, secret, "d-1", OPENED).await, json!({ "status": 200, "text": "" }));
    let delivery = w.over(id).await;
    assert_eq!((&delivery["state"], &delivery["kind"]), (&json!("done"), &json!("issues.opened")));
    let [run] = &delivery["runs"].as_array().unwrap()[..] else { panic!("{delivery}") };
    let record = w.ask("runs.record", json!({ "run": run })).await.unwrap();
    let run =
        w.platform.runs().get(&w.acme.admin, record["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    let said = in_time(run.wait()).await.unwrap();
    assert!(said.text().unwrap().contains("Look into It burns."), "{said:?}");
    assert_eq!(*w.heard.0.lock().unwrap(), [format!("issues.opened for {}", w.acme.tenant.id)]);

    // As it came, without what proves whose it is.
    let whole = w.ask("webhooks.delivery", json!({ "delivery": delivery["id"] })).await.unwrap();
    assert_eq!(STANDARD.decode(whole["body"].as_str().unwrap()).unwrap(), OPENED.as_bytes());
    assert_eq!(whole["headers"]["x-github-delivery"], "d-1");
    assert!(!whole.to_string().contains("signature"), "{whole}");
    assert!(!w.ask("webhooks.list", json!({})).await.unwrap().to_string().contains(secret));

    // Once more by the vendor, and once more by hand: the host hears of the second, and no other run is started.
    assert_eq!(w.send(address, secret, "d-1", OPENED).await["status"], 200);
    w.ask("webhooks.replay", json!({ "delivery": delivery["id"] })).await.unwrap();
    let again = w.over(id).await;
    assert_eq!(
        (&again["attempts"], &again["repeats"], &again["runs"]),
        (&json!(2), &json!(1), &delivery["runs"])
    );
    assert_eq!(w.heard.0.lock().unwrap().len(), 2);
    w.platform.close().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_delivery_is_said_by_the_answer() {
    let mut nobody = WorkOptions::default();
    nobody.at_once = 0;
    let w = World::new(nobody).await;
    let made = w.ask("webhooks.create", json!({ "name": "code", "vendor": "github" })).await.unwrap();
    let (address, secret) = (made["endpoint"]["address"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let status = async |given: Value| w.receive(given).await["status"].as_u64().unwrap();
    assert_eq!(w.send(address, "another secret", "d-1", OPENED).await["status"], 401);
    assert_eq!(w.send("hok_none", secret, "d-1", OPENED).await["status"], 404);
    assert_eq!(w.send(address, secret, "d-1", "{").await["status"], 400);
    assert_eq!(status(json!({ "address": address, "headers": [["a b", "c"]], "body": "" })).await, 400);
    assert_eq!(status(json!({ "address": address, "headers": [], "body": "!" })).await, 400);
    assert_eq!(w.send(address, secret, "d-1", OPENED).await["status"], 200);
    assert_eq!(w.send(address, secret, "d-1", &OPENED.replace("opened", "closed")).await["status"], 409);
    // A new secret; the one before counts until its time is over.
    let rotate = json!({ "endpoint": made["endpoint"]["id"], "secret": "chosen-elsewhere", "overlap_s": 60 });
    assert_eq!(w.ask("webhooks.rotate", rotate).await.unwrap()["secret"], "chosen-elsewhere");
    assert_eq!(w.send(address, secret, "d-2", OPENED).await["status"], 200);
    let off = json!({ "endpoint": made["endpoint"]["id"], "enabled": false });
    assert_eq!(w.ask("webhooks.update", off).await.unwrap()["state"], "disabled");
    // Nobody works on them here.
    let page = w.ask("webhooks.deliveries", json!({ "endpoint": made["endpoint"]["id"] })).await.unwrap();
    let states: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["state"]).collect();
    assert_eq!(states, ["pending", "pending"]);
    let (first, second) = (&page["items"][0], &page["items"][1]);
    assert_eq!((&first["conflicts"], &second["conflicts"]), (&json!(1), &json!(0)));
    let digest = |body: &str| {
        let bytes = agentprovision::canonical::sha256(&[body.as_bytes()]);
        Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let other = digest(&OPENED.replace("opened", "closed"));
    assert_eq!((&first["digest"], &first["conflict_digest"]), (&digest(OPENED), &other));
    assert_eq!(second["conflict_digest"], Value::Null);
    for (given, named) in [
        (json!({ "address": address }), "headers"),
        (json!({ "address": address, "headers": [], "body": "", "bodi": "" }), "bodi"),
    ] {
        let error = wire::receive(&w.platform, &given.to_string()).await.unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput) && error.message().contains(named), "{error}");
    }
    for (given, named) in [
        (json!({ "name": "x", "vendor": "nobody" }), "nobody"),
        (json!({ "name": "x", "vendor": "generic" }), "`scheme`"),
        (
            json!({ "name": "x", "vendor": "github", "triggers": [{ "agent": w.agent().await, "input": "{{" }] }),
            "template",
        ),
        (json!({ "name": "", "vendor": "github" }), "name"),
    ] {
        let error = w.ask("webhooks.create", given).await.unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput) && error.message().contains(named), "{named}: {error}");
    }
    w.platform.close().await.unwrap();
    let late = w.send(address, secret, "d-3", OPENED).await;
    assert!([503, 404].contains(&late["status"].as_u64().unwrap()), "{late}");
}
