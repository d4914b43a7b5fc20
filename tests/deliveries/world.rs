//! A platform with an endpoint's service, its receiver and its worker, and the host and the vendors around it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use agentprovision::backend::Backend;
use agentprovision::clock::{ManualClock, OsEntropy};
use agentprovision::connectors::webhook::{
    EndpointAddress, HandledDelivery, MadeEndpoint, NewEndpoint, ReceiverOptions, Secrets, Trigger, Vendor,
    Verifier, WebhookHandler, Webhooks, WorkOptions,
};
use agentprovision::id::{AgentId, DeliveryId};
use agentprovision::page::PageRequest;
use agentprovision::prelude::*;
use agentprovision::testing::ScriptedModel;
use agentprovision::{Env, Error, ErrorKind, Timestamp};
use agentprovision_core::webhook::Delivery;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::aftermath::all_events;
use crate::support::hooks::{self, Around, Point, Sender};
use crate::support::victim::echo;
use crate::support::{Home, desk, home, in_time, store};

/// What the host heard of: the vendor's ids of deliveries, as their handling began.
struct Heard {
    began: mpsc::UnboundedSender<String>,
    /// Nothing is over until this says so.
    open: watch::Receiver<bool>,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

#[async_trait]
impl WebhookHandler for Heard {
    async fn handle(&self, _: &Context, delivery: &HandledDelivery<'_>) -> Result<()> {
        let mut open = self.open.clone();
        self.began.send(delivery.event.delivery_id.clone()).unwrap();
        assert!(!delivery.event.delivery_id.starts_with("panic"), "the host does not like it");
        open.wait_for(|open| *open).await.unwrap();
        Ok(())
    }
}

/// A failure of the store, to come once.
pub(super) type Planned = Arc<Mutex<Option<Point>>>;

/// A platform with an endpoint's service, receiver and worker.
pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) platform: Platform,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) webhooks: Webhooks,
    heard: Arc<dyn WebhookHandler>,
    url: String,
    client: Sender,
    pub(super) acme: Home,
    pub(super) began: mpsc::UnboundedReceiver<String>,
    pub(super) open: watch::Sender<bool>,
    /// How many deliveries are over.
    pub(super) over: watch::Receiver<usize>,
    pub(super) planned: Planned,
    closing: CancellationToken,
    /// Whether the worker closes when it looks for deliveries next.
    pub(super) closes: Arc<AtomicBool>,
    folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// A worker, as of a process of its own.
pub(super) struct Worker {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    /// It takes nothing any more, and ends what it was at.
    pub(super) async fn close(self) {
        self.closing.cancel();
        in_time(self.task).await.unwrap();
    }
}

/// Where a vendor sends to, and how it proves who it is.
pub(super) struct Door {
    pub(super) made: MadeEndpoint,
    pub(super) verifier: Verifier,
}

impl Door {
    pub(super) fn of(made: MadeEndpoint) -> Self {
        let scheme = made.endpoint.scheme.clone();
        let verifier = Verifier::new(scheme, Secrets::new(made.secret.clone())).unwrap();
        Self { made, verifier }
    }

    pub(super) fn address(&self) -> EndpointAddress {
        self.made.endpoint.address
    }
}

/// Headers beside those that prove who sent it.
pub(super) type Pairs<'a> = &'a [(&'static str, &'a str)];

impl World {
    pub(super) async fn open(at_once: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let url = store::new(&folder.path().join("hooks.db"));
        let inner = agentprovision::tenancy::store::connect(&url, env.clone()).await.unwrap();
        let (planned, (ended, over)) = (Planned::default(), watch::channel(0));
        let (plan, closing) = (planned.clone(), CancellationToken::new());
        let (closes, ends) = (Arc::new(AtomicBool::new(false)), closing.clone());
        let at_look = closes.clone();
        let backend = Arc::new(Around::new(inner, move |point| {
            if let Point::AfterFinish(_) = point {
                ended.send_modify(|over| *over += 1);
            }
            if point == Point::BeforeClaim && at_look.load(Ordering::SeqCst) {
                ends.cancel();
            }
            let mut plan = plan.lock().unwrap();
            match plan.take_if(|planned| *planned == point) {
                Some(_) => Err(Error::new(ErrorKind::Unavailable, "the disk is full")),
                None => Ok(()),
            }
        }));
        let platform = Platform::builder()
            .backend(backend.clone())
            .sealing_keys(desk::keys())
            .webhook_work(hooks::by_nobody())
            .env(env)
            .model("m", Arc::new(ScriptedModel::from_fn("m", echo)))
            .build()
            .await
            .unwrap();
        let webhooks = platform.webhooks().clone();
        let acme = home(&platform, "acme").await;
        let open = watch::Sender::new(true);
        let (sender, began) = mpsc::unbounded_channel();
        let heard: Arc<dyn WebhookHandler> = Arc::new(Heard { began: sender, open: open.subscribe() });
        let url = hooks::serve(webhooks.receiver(ReceiverOptions::default())).await;
        let world = Self {
            clock,
            platform,
            backend,
            webhooks,
            heard,
            url,
            client: Sender::new(),
            acme,
            began,
            open,
            over,
            planned,
            closing,
            closes,
            folder,
        };
        world.work(at_once);
        world
    }

    /// Another worker.
    pub(super) fn work(&self, at_once: usize) -> Worker {
        let mut options = WorkOptions::default();
        options.at_once = at_once;
        let closing = self.closing.child_token();
        let task = tokio::spawn(self.webhooks.work(options, vec![self.heard.clone()], closing.clone()));
        Worker { closing, task }
    }

    /// The process of a worker ends: what it was at stays as it is.
    pub(super) async fn lose(&self, worker: Worker) {
        worker.task.abort();
        assert!(in_time(worker.task).await.unwrap_err().is_cancelled());
        // An attempt has one of its own for as long as it is under way.
        while self.open.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn door(&self, ctx: &Context, vendor: Vendor, triggers: Vec<Trigger>) -> Door {
        let new = NewEndpoint {
            name: format!("{vendor}"),
            vendor,
            scheme: None,
            source: None,
            integration: None,
            triggers,
            secret: None,
        };
        Door::of(self.webhooks.create(ctx, new).await.unwrap())
    }

    pub(super) async fn acme_door(&self, vendor: Vendor) -> Door {
        self.door(&self.acme.admin, vendor, Vec::new()).await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.platform.env().now()
    }

    /// Sends what was signed; the status of the answer.
    pub(super) async fn post(
        &self,
        door: &Door,
        mut headers: HeaderMap,
        more: Pairs<'_>,
        body: &Bytes,
    ) -> u16 {
        for (name, value) in more {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let url = format!("{}/{}", self.url, door.address());
        in_time(self.client.send(&url, &headers, body)).await.unwrap().0
    }

    /// Signs a delivery now, and sends it.
    pub(super) async fn send(&self, door: &Door, more: Pairs<'_>, body: &Value) -> u16 {
        let body = Bytes::from(body.to_string());
        let id = more.iter().find(|(name, _)| *name == "webhook-id").map_or("", |(_, id)| id);
        let headers = door.verifier.sign(self.now(), id, &body).unwrap();
        self.post(door, headers, more, &body).await
    }

    pub(super) async fn github(&self, door: &Door, id: &str, body: &Value) -> u16 {
        self.send(door, &[("x-github-event", "issues"), ("x-github-delivery", id)], body).await
    }

    /// The next delivery whose handling begins.
    pub(super) async fn next(&mut self) -> String {
        in_time(self.began.recv()).await.unwrap()
    }

    /// Waits until so many deliveries are over, and gives those whose handling began since somebody asked.
    pub(super) async fn until_over(&mut self, count: usize) -> Vec<String> {
        in_time(self.over.wait_for(|over| *over >= count)).await.unwrap();
        let mut heard = Vec::new();
        while let Ok(id) = self.began.try_recv() {
            heard.push(id);
        }
        assert_eq!(*self.over.borrow(), count);
        heard
    }

    pub(super) async fn kept(&self, ctx: &Context, door: &Door) -> Vec<Delivery> {
        let page = PageRequest::limit(100);
        self.webhooks.deliveries(ctx, door.made.endpoint.id, page).await.unwrap().items
    }

    pub(super) async fn acme_kept(&self, door: &Door) -> Vec<Delivery> {
        self.kept(&self.acme.admin, door).await
    }

    /// The ids of deliveries that events of a tenant tell of.
    pub(super) async fn told(&self, ctx: &Context) -> Vec<DeliveryId> {
        let events = all_events(&self.backend, ctx).await;
        let events = events.into_iter().map(|event| event.event);
        let events = events.filter(|event| event.kind == "agentprovision.webhook.received");
        events.map(|event| event.data["delivery"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Has the file of the store carry this out, behind the platform's back; nothing on a server.
    pub(super) async fn behind(&self, sql: &'static str) -> bool {
        store::behind(&self.folder.path().join("hooks.db"), sql).await
    }

    pub(super) async fn agent(&self) -> AgentId {
        let admin = &self.acme.admin;
        let agent = self.platform.agents().create(admin, AgentSpec::new("clerk").model("m")).await.unwrap();
        self.platform.agents().deploy(admin, agent.id).await.unwrap();
        agent.id
    }
}
