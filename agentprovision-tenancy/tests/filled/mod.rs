//! Rows of a tenant in the tables of integrations, for tests that take every table.

use std::time::Duration;

use agentprovision_core::backend::Stores;
use agentprovision_core::idempotency::{Begun, WorkKey};
use agentprovision_core::integration::{Account, Health, Integration, IntegrationState};
use agentprovision_core::secret::{Leased, Sealed, SecretLease, SecretPath};
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
    lease
}
