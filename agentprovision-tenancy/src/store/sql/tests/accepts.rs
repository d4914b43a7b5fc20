//! Deliveries that are kept together, each with its own answer.

use agentprovision_core::backend::Stores;
use agentprovision_core::id::{EndpointId, TenantId};
use agentprovision_core::page::PageRequest;
use agentprovision_core::webhook::{Accepted, Delivery, EndpointState, NewDelivery, WebhookEndpoint};
use agentprovision_core::{Error, Timestamp};
use futures_util::FutureExt as _;

use super::super::accept::Accept;
use super::super::writer::Merge as _;
use super::*;

struct World {
    env: Env,
    backend: SqlBackend,
    stores: Stores,
    issuer: ContextIssuer,
    op: OperatorContext,
    _folder: Folder,
}

impl World {
    async fn new() -> Self {
        let (folder, env) = (Folder::new(), Env::default());
        let backend = SqlBackend::open(&folder.file(), env.clone()).await.unwrap();
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("root", "test").unwrap();
        Self { env, stores: backend.stores(), backend, issuer, op, _folder: folder }
    }

    async fn tenant(&self) -> Context {
        tenant(&self.backend.0, &self.issuer, &self.op).await
    }

    async fn suspended(&self) -> Context {
        let ctx = self.tenant().await;
        let tenants = &self.stores.tenants;
        let there = tenants.get(&self.op, ctx.tenant()).await.unwrap();
        let suspended = Tenant { state: TenantState::Suspended, ..there };
        tenants.replace(&self.op, suspended, 1, OperatorEffects::default()).await.unwrap();
        ctx
    }

    fn endpoint_of(&self, id: EndpointId, state: EndpointState) -> WebhookEndpoint {
        let now = self.env.now();
        WebhookEndpoint {
            id,
            name: id.to_string(),
            vendor: "github".into(),
            scheme: serde_json::json!({}),
            integration: None,
            triggers: serde_json::json!([]),
            state,
            owner: self.env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    async fn endpoint(&self, ctx: &Context, id: EndpointId, state: EndpointState) {
        let endpoint = self.endpoint_of(id, state);
        self.stores.endpoints.insert(ctx, endpoint, Effects::none()).await.unwrap();
    }

    fn delivery(&self, endpoint: EndpointId, key: &str, digest: u8) -> NewDelivery {
        NewDelivery {
            id: self.env.id(),
            endpoint,
            key: key.into(),
            digest: [digest; 32],
            kind: "issues".into(),
            headers: "{}".into(),
            body: vec![digest; 3000],
            received_at: Timestamp::from_micros(0),
        }
    }

    /// Keeps deliveries with as few statements as there can be.
    async fn together(&self, accepts: Vec<Accept>) -> Vec<Result<Accepted, Error>> {
        let accepts = std::sync::Arc::new(accepts);
        let all = self
            .backend
            .0
            .write_system(move |mut tx| Box::pin(async move { Accept::write(&mut tx, &accepts).await }));
        all.await.unwrap()
    }

    async fn of(&self, ctx: &Context, endpoint: EndpointId) -> Vec<Delivery> {
        self.stores.inbox.list(ctx, endpoint, PageRequest::limit(100)).await.unwrap().items
    }
}

#[tokio::test]
async fn each_delivery_of_a_lot_has_its_own_answer() {
    let w = World::new().await;
    let (acme, other, suspended) = (w.tenant().await, w.tenant().await, w.suspended().await);
    let [on, off, theirs]: [EndpointId; 3] = [w.env.id(), w.env.id(), w.env.id()];
    w.endpoint(&acme, on, EndpointState::Active).await;
    w.endpoint(&acme, off, EndpointState::Disabled).await;
    w.endpoint(&acme, theirs, EndpointState::Active).await;
    // The same id is another endpoint here.
    w.endpoint(&other, on, EndpointState::Active).await;
    // 600 rows, in which no two that stand together end the same way.
    let mut accepts = Vec::new();
    for round in 0..60 {
        let key = &*format!("key {round}");
        let new = w.delivery(on, key, 1);
        let id = new.id;
        let mut add = |tenant: TenantId, delivery: NewDelivery| accepts.push(Accept { tenant, delivery });
        add(acme.tenant(), new);
        add(acme.tenant(), w.delivery(on, key, 1));
        add(acme.tenant(), w.delivery(on, key, 2));
        add(acme.tenant(), w.delivery(off, key, 1));
        add(acme.tenant(), w.delivery(w.env.id(), key, 1));
        add(suspended.tenant(), w.delivery(on, key, 1));
        add(w.env.id(), w.delivery(on, key, 1));
        add(other.tenant(), w.delivery(on, key, 3));
        add(other.tenant(), w.delivery(theirs, key, 1));
        add(acme.tenant(), NewDelivery { id, ..w.delivery(on, &format!("{key} too"), 1) });
    }
    let expected = [
        Ok(Accepted::New),
        Ok(Accepted::Again),
        Ok(Accepted::Conflict),
        Err(ErrorKind::NotFound),
        Err(ErrorKind::NotFound),
        Err(ErrorKind::TenantSuspended),
        Err(ErrorKind::NotFound),
        Ok(Accepted::New),
        Err(ErrorKind::NotFound),
        Err(ErrorKind::Conflict),
    ];
    let copy = |Accept { tenant, delivery }: &Accept| Accept { tenant: *tenant, delivery: delivery.clone() };
    let again = accepts[..10].iter().map(copy).collect();
    for (place, result) in w.together(accepts).await.into_iter().enumerate() {
        assert_eq!(result.map_err(|error| error.kind()), expected[place % 10], "{place}");
    }
    let kept = w.of(&acme, on).await;
    assert_eq!(kept.len(), 60);
    for delivery in &kept {
        let counts = (delivery.repeats, delivery.conflicts, delivery.conflict_digest);
        assert_eq!((delivery.new.digest, counts), ([1; 32], (1, 1, Some([2; 32]))));
    }
    let foreign = w.of(&other, on).await;
    assert!(foreign.iter().all(|one| (one.repeats, one.conflicts, one.conflict_digest) == (0, 0, None)));
    assert_eq!((foreign.len(), w.of(&acme, off).await.len(), w.of(&other, theirs).await.len()), (60, 0, 0));
    // The same once more: what was there before is told from what came with it.
    let results: Vec<_> = w.together(again).await.into_iter().map(Result::ok).collect();
    let (again, conflict) = (Some(Accepted::Again), Some(Accepted::Conflict));
    assert_eq!(results[..3], [again, again, conflict]);
    assert_eq!(results[7], again);
    let first = w.of(&acme, on).await.into_iter().find(|one| one.new.key == "key 0").unwrap();
    assert_eq!((first.repeats, first.conflicts), (3, 2));
    // Each that is kept waits once, and can be taken.
    let term = std::time::Duration::from_secs(60);
    assert_eq!(w.stores.inbox.claim(w.env.id(), term, 1000, None).await.unwrap().len(), 120);
    w.backend.close().await.unwrap();
}

/// While another request holds the writer, deliveries gather; half of those who brought them go away.
#[tokio::test]
async fn who_goes_away_takes_nothing_of_others_along() {
    let w = World::new().await;
    let ctx = w.tenant().await;
    let on: EndpointId = w.env.id();
    w.endpoint(&ctx, on, EndpointState::Active).await;
    let (held, holds) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let ends = std::sync::Arc::new(std::sync::Mutex::new(Some((held, released))));
    let store = w.backend.0.clone();
    let holder = tokio::spawn(async move {
        let hold = store.write_system(move |_| {
            Box::pin(async move {
                let (held, released) = ends.lock().unwrap().take().unwrap();
                held.send(()).unwrap();
                released.await.unwrap();
                Ok(())
            })
        });
        hold.await
    });
    holds.await.unwrap();
    let mut waiting = Vec::new();
    for place in 0..100 {
        // Every key comes twice, with two bodies; of one it is the first that goes away, of the next the second.
        let delivery = w.delivery(on, &format!("key {}", place / 2), place % 2);
        let mut call = Box::pin(w.stores.inbox.accept(ctx.tenant(), delivery));
        assert!(call.as_mut().now_or_never().is_none());
        waiting.push((place, call));
    }
    waiting.retain(|(place, _)| matches!(place % 4, 0 | 3));
    // What comes behind them sees them, and they do not see it.
    let off = WebhookEndpoint { name: "off".into(), ..w.endpoint_of(on, EndpointState::Disabled) };
    let mut disable = Box::pin(w.stores.endpoints.replace(&ctx, off, 1, Effects::none()));
    assert!(disable.as_mut().now_or_never().is_none());
    let mut late = Box::pin(w.stores.inbox.accept(ctx.tenant(), w.delivery(on, "late", 1)));
    assert!(late.as_mut().now_or_never().is_none());
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    for (place, call) in waiting {
        let expected = if place % 2 == 0 { Accepted::New } else { Accepted::Conflict };
        assert_eq!(call.await.unwrap(), expected, "{place}");
    }
    disable.await.unwrap();
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::NotFound);
    let kept = w.of(&ctx, on).await;
    assert_eq!(kept.len(), 50);
    for one in kept {
        assert_eq!((one.new.digest, one.conflicts, one.conflict_digest), ([0; 32], 1, Some([1; 32])));
    }
    w.backend.close().await.unwrap();
}
