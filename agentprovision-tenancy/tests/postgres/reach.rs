//! Databases that are not there, not ready, or not for us: clear errors, in time.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::clock::Clock as _;
use agentprovision_core::{Env, Error, ErrorKind};
use agentprovision_tenancy::store::connect;
use agentprovision_tenancy::store::postgres::{PrepareOptions, prepare};
use libtest_mimic::Trial;

use crate::proxy::{Plan, Proxy};
use crate::trial;
use crate::world::{World, at, database, login, manual, place, server, with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("reach", "an_unprepared_database_says_what_prepares_it", unprepared),
        trial("reach", "a_wrong_password_and_an_unknown_user_are_refused_alike", password),
        trial("reach", "an_unknown_database_is_named_so", unknown),
        trial("reach", "a_server_that_refuses_is_tried_for_the_connect_timeout", refusing),
        trial("reach", "a_server_that_never_answers_is_given_up", silent),
        trial("reach", "a_server_that_refuses_and_then_never_answers_is_given_up_in_time", both),
        trial("reach", "a_server_that_comes_up_meanwhile_is_used", late),
        trial("reach", "a_pool_that_is_in_use_says_so_in_time", busy),
    ]
}

async fn fails(url: &str) -> Error {
    let error = connect(url, Env::default()).await.expect_err("the platform started");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("agentprovision-test") && !shown.contains("wrong-word"), "{shown}");
    error
}

async fn unprepared() {
    let database = database().await;
    database.admin("DROP SCHEMA agentprovision CASCADE").await.unwrap();
    for url in [database.url().to_owned(), database.admin_url().unwrap()] {
        let error = fails(&url).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("no tables of the platform"), "{error:?}");
        assert!(error.message().contains("cargo run --example migrate"), "{error:?}");
    }
    // Prepared for somebody else.
    let database = crate::world::database().await;
    database.admin("REVOKE USAGE ON SCHEMA agentprovision FROM agentprovision_app").await.unwrap();
    let error = fails(database.url()).await;
    assert!(error.message().contains("no tables of the platform for this user"), "{error:?}");
}

async fn password() {
    let database = database().await;
    let wrong = [
        login(database.url(), "agentprovision_app", "wrong-word"),
        login(database.url(), "nobody", "wrong-word"),
    ];
    for url in wrong {
        let error = fails(&url).await;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().contains("refuses the user or the password"), "{error:?}");
    }
}

async fn unknown() {
    let database = database().await;
    let (start, _) = database.url().rsplit_once('/').unwrap();
    let error = fails(&format!("{start}/ap_none")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("no such database"), "{error:?}");
}

/// Connects with the clock in hand; moves it on until that is over, and says how far.
async fn timed(url: String) -> (Error, Duration) {
    let (clock, env) = manual();
    let connecting = tokio::spawn(async move { connect(&url, env).await.map(drop) });
    let (step, mut passed) = (Duration::from_millis(50), Duration::ZERO);
    while !connecting.is_finished() {
        clock.advance(step);
        passed += step;
        assert!(passed < Duration::from_secs(60), "it is never over");
        settle().await;
    }
    (connecting.await.unwrap().expect_err("the platform started"), passed)
}

async fn refusing() {
    let proxy = Proxy::before(place(&server())).await;
    proxy.plan(Plan::Refuse);
    let url = with(&at(&server(), proxy.port), "sslmode=disable&connect_timeout_ms=30000");
    let (error, passed) = timed(url).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("connection") || error.message().contains("in time"), "{error:?}");
    // The clock runs on while the network takes its time.
    assert!(passed >= Duration::from_secs(30) && proxy.seen().connections > 3, "{passed:?}");
    // Nobody listens at all.
    let port = proxy.port;
    drop(proxy);
    let url = with(&at(&server(), port), "sslmode=disable&connect_timeout_ms=3000");
    let (error, _) = timed(url).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

async fn silent() {
    let proxy = Proxy::before(place(&server())).await;
    proxy.plan(Plan::Silent);
    let url = with(&at(&server(), proxy.port), "sslmode=disable&connect_timeout_ms=3000");
    let (clock, env) = manual();
    let connecting = tokio::spawn(async move { connect(&url, env).await.map(drop) });
    while proxy.peek().connections == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_millis(2999));
    settle().await;
    assert!(!connecting.is_finished());
    clock.advance(Duration::from_millis(1));
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("did not answer in time"), "{error:?}");
    assert_eq!(proxy.seen().connections, 1);
    // Nor does whoever prepares it wait for ever.
    let (clock, env) = manual();
    let url = at(&server(), proxy.port);
    let preparing = tokio::spawn(async move { prepare(&url, &PrepareOptions::default(), &env, true).await });
    while proxy.peek().connections == 0 || clock.waiters() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(60));
    let error = preparing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

/// Lets whoever was woken get to where it waits the next time.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

async fn both() {
    let proxy = Proxy::before(place(&server())).await;
    proxy.plan(Plan::Refuse);
    let url = with(&at(&server(), proxy.port), "sslmode=disable&connect_timeout_ms=3000000");
    let (clock, env) = manual();
    let connecting = tokio::spawn(async move { connect(&url, env).await.map(drop) });
    while proxy.peek().connections == 0 {
        tokio::task::yield_now().await;
    }
    // Refused once, and the next time without an answer.
    proxy.plan(Plan::Silent);
    // The first attempt takes its time, while the clock is moved on.
    while proxy.peek().connections == 1 {
        clock.advance(Duration::from_millis(10));
        settle().await;
    }
    // Until the rest of the time is waited for.
    while clock.waiters() == 0 {
        settle().await;
    }
    assert!(!connecting.is_finished());
    clock.advance(Duration::from_secs(3000).saturating_sub(clock.monotonic()));
    let error = connecting.await.unwrap().unwrap_err();
    assert!(error.message().contains("did not answer in time"), "{error:?}");
}

async fn late() {
    let database = database().await;
    let proxy = Proxy::before(place(database.url())).await;
    proxy.plan(Plan::Refuse);
    let url = with(&at(database.url(), proxy.port), "sslmode=disable&connect_timeout_ms=10000000");
    let (clock, env) = manual();
    let connecting = tokio::spawn(async move { connect(&url, env).await });
    while proxy.peek().connections < 3 {
        clock.advance(Duration::from_millis(10));
        settle().await;
    }
    proxy.plan(Plan::Pass);
    while proxy.peek().begins == 0 {
        clock.advance(Duration::from_millis(10));
        settle().await;
    }
    connecting.await.unwrap().unwrap().close().await.unwrap();
}

async fn busy() {
    let (clock, env) = manual();
    let database = database().await;
    let url = with(database.url(), "max_connections=1&acquire_timeout_ms=5000");
    let world = Arc::new(World::over(database, &url, env).await);
    let ctx = world.tenant().await;
    let mut admin = world.admin().await;
    admin.run("BEGIN; LOCK TABLE agentprovision.users").await;
    let writing = tokio::spawn({
        let (world, ctx) = (world.clone(), ctx.clone());
        async move { world.add(&ctx, "alice").await }
    });
    world
        .admin()
        .await
        .until(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND usename = 'agentprovision_app' AND wait_event_type = 'Lock')",
        )
        .await;
    let reading = tokio::spawn({
        let (world, ctx) = (world.clone(), ctx.clone());
        async move { world.names(&ctx).await }
    });
    while clock.waiters() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(5));
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("became free in time"), "{error:?}");
    admin.run("ROLLBACK").await;
    writing.await.unwrap().unwrap();
    assert_eq!(world.names(&ctx).await.unwrap(), ["alice"]);
}
