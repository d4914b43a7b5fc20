//! Requests that are given up at any point leave nothing of their tenant on a connection.

use std::pin::pin;
use std::task::Poll;

use agentprovision_core::page::PageRequest;
use agentprovision_core::run::JournalBatch;
use agentprovision_core::tool::SqlValue;
use agentprovision_core::usage::{BudgetKey, Dimension};
use agentprovision_core::{Effects, Env};
use libtest_mimic::Trial;

use crate::proxy::Proxy;
use crate::trial;
use crate::world::{World, at, database, place, with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("cancelled", "nothing_of_a_given_up_request_is_left_to_the_next_one", next_borrower),
        trial("cancelled", "a_given_up_step_leaves_nothing_to_the_next_one", next_step),
        trial("cancelled", "what_a_step_sets_for_the_connection_does_not_outlive_it", settings),
        trial("cancelled", "a_step_that_stands_still_frees_what_it_has_locked", standing_still),
    ]
}

/// Polls a future so often, then drops it: where it stands, or when it is woken the next time.
async fn cut<F: Future>(future: F, mut polls: u64, when_woken: bool) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|task| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 && !when_woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn dice(env: &Env) -> u64 {
    u64::from_le_bytes(env.random())
}

/// A platform with one connection, seen from the wire.
async fn one_connection() -> (World, Proxy) {
    let database = database().await;
    let proxy = Proxy::before(place(database.url())).await;
    let url = with(&at(database.url(), proxy.port), "max_connections=1&sslmode=disable");
    (World::over(database, &url, Env::default()).await, proxy)
}

async fn next_borrower() {
    let (world, proxy) = one_connection().await;
    let (a, b) = (world.tenant().await, world.tenant().await);
    world.add(&a, "alice").await.unwrap();
    world.add(&b, "bob").await.unwrap();
    // Confirmed, so that whoever is above tenants has nothing to see of A.
    let events = world.stores.events.unpublished(100).await.unwrap();
    world.stores.events.published(&events).await.unwrap();
    let mut cut_off = 0;
    for round in 0..400 {
        let (polls, woken) = (dice(&world.env) % 6, dice(&world.env).is_multiple_of(2));
        let done = match dice(&world.env) % 5 {
            0 => cut(world.names(&a), polls, woken).await.is_some(),
            1 => cut(world.stores.audit.entries(&a, 0, 10), polls, woken).await.is_some(),
            2 => cut(world.stores.events.read(&a, 0, 10), polls, woken).await.is_some(),
            3 => {
                // Refused in the middle, when it gets there.
                let again = async { world.stores.users.delete(&a, world.env.id(), Effects::none()).await };
                cut(again, polls, woken).await.is_some()
            }
            _ => {
                let key = BudgetKey::new("a", Dimension::Steps);
                cut(world.stores.quota.define(&a, &key, Some(round)), polls, woken).await.is_some()
            }
        };
        cut_off += u32::from(!done);
        assert_eq!(world.stores.events.unpublished(100).await.unwrap(), []);
        assert_eq!(world.names(&b).await.unwrap(), ["bob"]);
        assert_eq!(world.stores.audit.checkpoint(&b).await.unwrap().size, 1);
    }
    assert!(cut_off > 100, "{cut_off} of 400 were given up");
    let seen = proxy.seen();
    assert_eq!(seen.foreign, 0, "{seen:?}");
    assert!(seen.begins > 100 && seen.alone >= 1200 && seen.connections > 50, "{seen:?}");
    // Whoever is closed has every connection back.
    assert_eq!(world.names(&a).await.unwrap(), ["alice"]);
    world.backend.close().await.unwrap();
}

async fn next_step() {
    let (world, proxy) = one_connection().await;
    let (a, b) = (world.tenant().await, world.tenant().await);
    world.add(&a, "alice").await.unwrap();
    let (ours, theirs) = (world.run(&a).await, world.run(&b).await);
    let own = SqlValue::from(&*b.tenant().uuid().to_string());
    for _ in 0..150 {
        let (polls, woken) = (dice(&world.env) % 12, dice(&world.env).is_multiple_of(2));
        let step = async {
            let tx = world.stores.runs.begin(&ours).await?;
            tx.handle().query("SELECT tenant_id, email FROM users WHERE tenant_id = $1", &[]).await?;
            tx.rollback().await
        };
        cut(step, polls, woken).await;
        // What a step of B can see with any statement.
        let tx = world.stores.runs.begin(&theirs).await.unwrap();
        let sql = "SELECT count(*), current_setting('app.current_tenant_id') FROM users";
        assert_eq!(tx.handle().query(sql, &[]).await.unwrap(), [[SqlValue::Int(0), own.clone()]]);
        tx.rollback().await.unwrap();
        assert!(world.stores.users.list(&b, PageRequest::limit(10)).await.unwrap().items.is_empty());
    }
    assert_eq!(proxy.seen().foreign, 0);
    assert_eq!(world.names(&a).await.unwrap(), ["alice"]);
    world.backend.close().await.unwrap();
}

async fn settings() {
    let (world, proxy) = one_connection().await;
    let (a, b) = (world.tenant().await, world.tenant().await);
    world.add(&a, "alice").await.unwrap();
    world.add(&b, "bob").await.unwrap();
    let run = world.run(&a).await;
    proxy.seen();
    for (name, value) in [
        ("search_path", "pg_catalog"),
        ("statement_timeout", "1"),
        ("lock_timeout", "1"),
        ("default_transaction_read_only", "on"),
        ("app.current_tenant_id", &*b.tenant().uuid().to_string()),
        ("app.above_tenants", "on"),
    ] {
        let set = "SELECT set_config($2, $3, false), $1::uuid";
        for commit in [false, true] {
            let tx = world.stores.runs.begin(&run).await.unwrap();
            tx.handle().query(set, &[name.into(), value.into()]).await.unwrap();
            if commit {
                // Some of it is in the way of the step's own commit.
                let _ = tx.commit(JournalBatch::default(), Effects::none()).await;
            } else {
                tx.rollback().await.unwrap();
            }
            assert_eq!(world.names(&a).await.unwrap(), ["alice"], "{name}");
            let tx = world.stores.runs.begin(&run).await.unwrap();
            let asked = "SELECT current_setting($2, true), $1::uuid";
            let SqlValue::Text(found) = tx.handle().query(asked, &[name.into()]).await.unwrap()[0][0].clone()
            else {
                panic!("a setting is a text")
            };
            assert!(found != value, "{name} is still {found}");
            tx.rollback().await.unwrap();
        }
    }
    assert_eq!(proxy.seen().connections, 0, "all of it happened on one connection");
    world.backend.close().await.unwrap();
}

async fn standing_still() {
    let database = database().await;
    let url = with(database.url(), "idle_in_transaction_timeout_ms=300&lock_timeout_ms=30000");
    let world = World::over(database, &url, Env::default()).await;
    let a = world.tenant().await;
    world.add(&a, "alice").await.unwrap();
    let (first, second) = (world.run(&a).await, world.run(&a).await);
    let lock = "SELECT email FROM users WHERE tenant_id = $1 FOR UPDATE";
    let stands = world.stores.runs.begin(&first).await.unwrap();
    assert_eq!(stands.handle().query(lock, &[]).await.unwrap().len(), 1);
    // It waits for the first, which has nothing more to say.
    let goes = world.stores.runs.begin(&second).await.unwrap();
    assert_eq!(goes.handle().query(lock, &[]).await.unwrap().len(), 1);
    goes.rollback().await.unwrap();
    let error = stands.handle().query(lock, &[]).await.unwrap_err();
    assert_eq!(error.kind(), agentprovision_core::ErrorKind::Unavailable, "{error:?}");
    world.backend.close().await.unwrap();
}
