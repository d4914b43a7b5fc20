//! Rows of a tenant in the tables of integrations and webhooks, for tests that take every table.

use std::time::Duration;

use agentprovision_core::backend::Stores;
use agentprovision_core::idempotency::{Begun, WorkKey};
use agentprovision_core::integration::{Account, Health, Integration, IntegrationState};
use agentprovision_core::secret::{Leased, Sealed, SecretLease, SecretPath};
use agentprovision_core::webhook::{Accepted, DeliveryEnd, EndpointState, NewDelivery, WebhookEndpoint};
use agentprovision_core::{Context, Effects, Env, ErrorKind};
use serde_json::{Map, json};

const TERM: Duration = Duration::from_secs(86_400);

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::new(text).unwrap()
}

pub(crate) fn sealed(version: u64) -> Sealed {
    Sealed { bytes: vec![0, 255, 7], version }
}

pub(crate) fn work(key: &str) -> WorkKey {
    WorkKey { scope: "int_1/send".into(), key: key.into() }
}

/// Two secrets, one of which, `leased`, somebody holds the lease on; two integrations; work that is done, under way and
/// not done.
pub(crate) async fn fill(stores: &Stores, env: &Env, ctx: &Context) -> SecretLease {
    for text in ["leased", "plain"] {
        stores.secrets.put(ctx, &path(text), sealed(1), None).await.unwrap();
    }
    let leased = stores.secrets.lease(ctx, &path("leased"), env.id(), TERM).await.unwrap();
    let Leased::Yours(lease) = leased else { panic!("{leased:?}") };
    let now = env.now();
    let bare = Integration {
        id: env.id(),
        name: "bare".into(),
        connector: "crm".into(),
        auth: "token".into(),
        settings: Map::new(),
        account: None,
        state: IntegrationState::Disabled,
        health: None,
        created_by: env.id(),
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let full = Integration {
        id: env.id(),
        name: "Ünïcödé".into(),
        settings: Map::from_iter([("url".to_owned(), json!("https://crm.example"))]),
        account: Some(Account { id: "4711".into(), name: None }),
        state: IntegrationState::Active,
        health: Some(Health {
            healthy: false,
            error: Some(ErrorKind::Unavailable),
            message: None,
            checked_at: now,
        }),
        ..bare.clone()
    };
    for integration in [bare, full] {
        stores.integrations.insert(ctx, integration, Effects::none()).await.unwrap();
    }
    for key in ["done", "open", "undone"] {
        let begun = stores.idempotency.begin(ctx, &work(key), [7; 32], TERM, TERM).await.unwrap();
        assert_eq!(begun, Begun::New(1));
    }
    stores.idempotency.finish(ctx, &work("done"), 1, Some(vec![0, 255])).await.unwrap();
    stores.idempotency.finish(ctx, &work("undone"), 1, None).await.unwrap();
    webhooks(stores, env, ctx).await;
    lease
}

/// Two endpoints; of one, deliveries that are done, failed, to be tried again, and held by somebody; marks.
async fn webhooks(stores: &Stores, env: &Env, ctx: &Context) {
    let (tenant, now) = (ctx.tenant(), env.now());
    let off = WebhookEndpoint {
        id: env.id(),
        name: "off".into(),
        vendor: "generic".into(),
        scheme: json!({}),
        integration: None,
        triggers: json!([]),
        state: EndpointState::Disabled,
        owner: env.id(),
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let on = WebhookEndpoint {
        id: env.id(),
        name: "Ünïcödé".into(),
        scheme: json!({ "scheme": { "type": "github" } }),
        integration: Some(env.id()),
        triggers: json!([{ "input": "{{ event.kind }}" }]),
        state: EndpointState::Active,
        ..off.clone()
    };
    for endpoint in [off, on.clone()] {
        stores.endpoints.insert(ctx, endpoint, Effects::none()).await.unwrap();
    }
    for (key, end) in [
        ("done", Some(DeliveryEnd::Done(vec![env.id()]))),
        ("failed", Some(DeliveryEnd::Failed(ErrorKind::NotFound))),
        ("again", Some(DeliveryEnd::Retry(TERM, ErrorKind::Unavailable))),
        (HELD, None),
    ] {
        let new = NewDelivery {
            id: env.id(),
            endpoint: on.id,
            key: key.into(),
            digest: [7; 32],
            kind: "issues".into(),
            headers: "{}".into(),
            body: vec![0, 255],
            received_at: env.now(),
        };
        for accepted in [Accepted::New, Accepted::Again] {
            assert_eq!(stores.inbox.accept(tenant, new.clone()).await.unwrap(), accepted);
        }
        let claimed = stores.inbox.claim(env.id(), TERM, 10, None).await.unwrap();
        let one = claimed.iter().find(|one| one.delivery.new.id == new.id).unwrap();
        if let Some(end) = end {
            stores.inbox.finish(tenant, new.id, one.epoch, end, Effects::none()).await.unwrap();
        }
    }
    for (key, version) in [("a", "1"), ("b", "2")] {
        assert!(stores.inbox.advance(tenant, on.id, key, version).await.unwrap());
    }
}

/// The key of the delivery that somebody holds.
pub(crate) const HELD: &str = "held";
