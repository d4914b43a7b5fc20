//! Integrations: made, changed, tested, deleted, and whose account they are connected to.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::{IntegrationUpdate, NewIntegration};
use agentprovision_core::integration::{IntegrationQuery, IntegrationState};
use agentprovision_core::page::PageRequest;
use agentprovision_core::{Env, ErrorKind};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::world::{GetTicket, World};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn bad_integrations_are_refused_by_name_and_nothing_is_left() {
    let world = World::new().await;
    let good = || world.new_integration("desk");
    for (new, kind, named) in [
        (NewIntegration { connector: "dexk".into(), ..good() }, ErrorKind::NotFound, "`desk`"),
        (NewIntegration { name: " ".into(), ..good() }, ErrorKind::InvalidInput, "name"),
        (
            NewIntegration { auth: Some("oauth".into()), ..good() },
            ErrorKind::InvalidInput,
            "token, basic, key",
        ),
        (NewIntegration { credentials: Map::new(), ..good() }, ErrorKind::InvalidInput, "`token`"),
        (
            NewIntegration { credentials: object(json!({ "token": 7 })), ..good() },
            ErrorKind::InvalidInput,
            "`token`",
        ),
        (
            NewIntegration { settings: object(json!({ "colour": "red" })), ..good() },
            ErrorKind::InvalidInput,
            "colour",
        ),
        (
            NewIntegration { settings: object(json!({ "base_url": 7 })), ..good() },
            ErrorKind::InvalidInput,
            "base_url",
        ),
        (
            NewIntegration { settings: object(json!({ "base_url": "nonsense" })), ..good() },
            ErrorKind::InvalidInput,
            "URL",
        ),
        (
            NewIntegration {
                settings: object(json!({ "base_url": "https://169.254.169.254/latest" })),
                ..good()
            },
            ErrorKind::Blocked,
            "169.254.169.254",
        ),
        (
            NewIntegration { settings: object(json!({ "base_url": "https://u:p@desk.example" })), ..good() },
            ErrorKind::Blocked,
            "password",
        ),
    ] {
        let error = world.integrations.create(&world.ctx, new).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.message().contains(named), "{error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    let all = world.integrations.list(&world.ctx, IntegrationQuery::default()).await.unwrap();
    assert!(all.items.is_empty());
    world.integration().await;
    let again = world.integrations.create(&world.ctx, good()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_test_says_what_was_tried_and_keeps_the_account() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    let result = world.integrations.test(&world.ctx, desk.id).await.unwrap();
    assert!(result.healthy);
    assert_eq!(result.operation.as_deref(), Some("users.me"));
    assert_eq!(result.base_url, Some(format!("{}/api", world.url)));
    assert_eq!(result.account.as_ref().map(|account| account.id.as_str()), Some("42"));
    let kept = world.integrations.get(&world.ctx, desk.id).await.unwrap();
    assert_eq!(kept.account, result.account);
    assert!(kept.health.unwrap().healthy);
}

#[tokio::test]
async fn pitfall_05_a_look_at_a_good_integration_leaves_it_good() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    world.integrations.test(&world.ctx, desk.id).await.unwrap();
    for status in [429, 500, 502, 503, 403, 404, 418] {
        for _ in 0..4 {
            world.answers(status, &[("retry-after", "3600")], &json!({}));
        }
        let result = world.run(world.integrations.test(&world.ctx, desk.id)).await.unwrap();
        assert!(!result.healthy && result.error.is_some(), "{status}");
        let kept = world.integrations.get(&world.ctx, desk.id).await.unwrap();
        assert_eq!(kept.state, IntegrationState::Active, "{status}");
        assert_eq!(kept.account.unwrap().id, "42");
        world.script.lock().unwrap().answers.clear();
    }
    // An answer that is none.
    world.answers(200, &[], &json!({ "login": "ada" }));
    assert!(!world.run(world.integrations.test(&world.ctx, desk.id)).await.unwrap().healthy);
    assert_eq!(world.integrations.get(&world.ctx, desk.id).await.unwrap().state, IntegrationState::Active);
}

#[tokio::test]
async fn credentials_that_are_refused_for_good_have_to_be_given_again() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(401, &[], &json!({ "message": "bad credentials" }));
    let result = world.integrations.test(&world.ctx, desk.id).await.unwrap();
    assert_eq!((result.healthy, result.error), (false, Some(ErrorKind::ProviderError)));
    let kept = world.integrations.get(&world.ctx, desk.id).await.unwrap();
    assert_eq!(kept.state, IntegrationState::NeedsReconnect);
    let refused = world.get(&desk).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.message().contains("connected again"));
    let update =
        IntegrationUpdate { credentials: Some(object(json!({ "token": "t2" }))), ..Default::default() };
    let kept = world.integrations.update(&world.ctx, desk.id, update).await.unwrap();
    assert_eq!(kept.state, IntegrationState::Active);
    world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
    world.get(&desk).await.unwrap();
    assert_eq!(world.seen().pop().unwrap().headers["authorization"], "Bearer t2");
}

#[tokio::test]
async fn pitfall_06_another_account_under_the_same_integration_is_refused() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    world.integrations.test(&world.ctx, desk.id).await.unwrap();
    let update =
        || IntegrationUpdate { credentials: Some(object(json!({ "token": "other" }))), ..Default::default() };
    world.answers(200, &[], &json!({ "id": 43, "login": "eve" }));
    let error = world.integrations.update(&world.ctx, desk.id, update()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("another account"), "{error}");
    // The old ones are still there.
    world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
    world.get(&desk).await.unwrap();
    assert_eq!(world.seen().pop().unwrap().headers["authorization"], "Bearer canary-token-1");
    // Of the same account they are taken.
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    world.integrations.update(&world.ctx, desk.id, update()).await.unwrap();
    // What somebody changed at the vendor is found by a test.
    world.answers(200, &[], &json!({ "id": 44, "login": "eve" }));
    let result = world.integrations.test(&world.ctx, desk.id).await.unwrap();
    assert_eq!((result.healthy, result.error), (false, Some(ErrorKind::Conflict)));
    assert_eq!(world.integrations.get(&world.ctx, desk.id).await.unwrap().account.unwrap().id, "42");
}

#[tokio::test]
async fn credentials_that_come_with_a_change_that_is_refused_are_not_kept() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    world.integrations.test(&world.ctx, desk.id).await.unwrap();
    // The change waits for the vendor to say whose the credentials are; another one does not.
    let held = Arc::new(Semaphore::new(0));
    world.script.lock().unwrap().held = Some(held.clone());
    world.answers(200, &[], &json!({ "id": 42, "login": "ada" }));
    let (name, credentials) = (Some("help".into()), Some(object(json!({ "token": "canary-token-2" }))));
    let late = IntegrationUpdate { name: Some("late".into()), credentials, ..Default::default() };
    let before = world.seen().len();
    let soon = async {
        while world.seen().len() == before {
            tokio::task::yield_now().await;
        }
        let soon = IntegrationUpdate { name, ..Default::default() };
        world.integrations.update(&world.ctx, desk.id, soon).await.unwrap();
        held.add_permits(1);
    };
    let both = async { tokio::join!(world.integrations.update(&world.ctx, desk.id, late), soon) };
    let (late, ()) = Env::default().timeout(Duration::from_secs(30), both).await.expect("the test hangs");
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(world.seen().pop().unwrap().headers["authorization"], "Bearer canary-token-2");
    world.script.lock().unwrap().held = None;
    // Those that were there are used, by whoever reads them now too.
    for service in [world.integrations.clone(), (world.service)()] {
        world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
        let input = GetTicket { queue: "q".into(), number: 7 };
        service.call(&world.ctx, desk.id, &input).await.unwrap();
        assert_eq!(world.seen().pop().unwrap().headers["authorization"], "Bearer canary-token-1");
    }
    assert_eq!(world.integrations.get(&world.ctx, desk.id).await.unwrap().name, "help");
}

#[tokio::test]
async fn integrations_are_switched_off_and_deleted_with_their_credentials() {
    let world = World::new().await;
    let desk = world.integration().await;
    let enabled = |enabled| IntegrationUpdate { enabled: Some(enabled), ..Default::default() };
    world.integrations.update(&world.ctx, desk.id, enabled(false)).await.unwrap();
    assert_eq!(world.get(&desk).await.unwrap_err().kind(), ErrorKind::Conflict);
    world.integrations.update(&world.ctx, desk.id, enabled(true)).await.unwrap();
    world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
    world.get(&desk).await.unwrap();
    let page =
        IntegrationQuery::page(PageRequest::limit(10)).connector("desk").state(IntegrationState::Active);
    assert_eq!(world.integrations.list(&world.ctx, page).await.unwrap().items.len(), 1);
    world.integrations.delete(&world.ctx, desk.id).await.unwrap();
    assert_eq!(world.get(&desk).await.unwrap_err().kind(), ErrorKind::NotFound);
    let path = agentprovision_core::secret::SecretPath::new(format!("integrations/{}", desk.id)).unwrap();
    use agentprovision_core::backend::Backend as _;
    let left = world.db.stores().secrets.get(&world.ctx, &path).await;
    assert_eq!(left.unwrap_err().kind(), ErrorKind::NotFound);
}
