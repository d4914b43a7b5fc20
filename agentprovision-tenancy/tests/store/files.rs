//! What a file may be, and what becomes of one that may not.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::backend::Backend;
use agentprovision_core::effect::Effects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{ClaimRequest, JournalRow, RunQuery};
use agentprovision_core::usage::{BudgetKey, Dimension, Meter, Period, UsageEvent};
use agentprovision_core::{Env, ErrorKind, Result};
use agentprovision_tenancy::store::connect;
use serde_json::json;

use crate::world::{Folder, World, batch, watchdog};

fn kind(result: Result<Arc<dyn Backend>>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.message().to_owned())
}

#[tokio::test]
async fn urls_are_checked_and_the_refusal_says_what_there_is() {
    let postgres = match cfg!(feature = "store-postgres") {
        true => (ErrorKind::InvalidInput, "max_connections"),
        false => (ErrorKind::Unsupported, "store-postgres"),
    };
    for (url, expected, hint) in [
        ("", ErrorKind::InvalidInput, "sqlite://"),
        ("acme.db", ErrorKind::InvalidInput, "memory://"),
        ("mysql://u:secret@host/db", ErrorKind::InvalidInput, "`mysql`; known are memory://"),
        ("postgres://u:secret@host/db?pool=3", postgres.0, postgres.1),
        ("postgresql://host/db?pool=3", postgres.0, postgres.1),
        ("sqlite://", ErrorKind::InvalidInput, "path"),
        ("sqlite://:memory:", ErrorKind::InvalidInput, "`memory://`"),
        ("sqlite://a\0b", ErrorKind::InvalidInput, "path"),
        ("sqlite://acme.db?mode=ro", ErrorKind::InvalidInput, "`mode`"),
        ("memory://acme", ErrorKind::InvalidInput, "`acme`"),
        ("memory://?x", ErrorKind::InvalidInput, "`x`"),
    ] {
        let (kind, message) = kind(connect(url, Env::default()).await);
        assert_eq!(kind, expected, "{url}: {message}");
        assert!(message.contains(hint), "{url}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
    connect("memory://", Env::default()).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let foreign = folder.file("foreign.db");
    sqlite(&foreign, "CREATE TABLE theirs (id INTEGER)").await;
    let newer = folder.file("newer.db");
    connect(&folder.url("newer.db"), Env::default()).await.unwrap().close().await.unwrap();
    sqlite(&newer, "INSERT INTO schema_version (version, applied_at) VALUES (1000, 0)").await;
    let nameless = folder.file("nameless.db");
    connect(&folder.url("nameless.db"), Env::default()).await.unwrap().close().await.unwrap();
    sqlite(&nameless, "DROP TABLE schema_version").await;
    std::fs::write(folder.file("text.db"), "not a database, whatever its name says".repeat(100)).unwrap();
    std::fs::write(folder.file("short.db"), "x").unwrap();
    let half = std::fs::read(&newer).unwrap();
    std::fs::write(folder.file("half.db"), &half[..half.len() / 2]).unwrap();
    std::fs::create_dir(folder.file("folder.db")).unwrap();
    for (name, expected) in [
        ("foreign.db", ErrorKind::InvalidInput),
        ("newer.db", ErrorKind::SchemaTooNew),
        ("nameless.db", ErrorKind::Corrupt),
        ("text.db", ErrorKind::Corrupt),
        ("short.db", ErrorKind::Corrupt),
        ("half.db", ErrorKind::Corrupt),
        ("folder.db", ErrorKind::Unavailable),
        ("missing/test.db", ErrorKind::Unavailable),
    ] {
        let before = std::fs::read(folder.file(name)).ok();
        let (kind, message) = kind(connect(&folder.url(name), Env::default()).await);
        assert_eq!(kind, expected, "{name}: {message}");
        assert_eq!(std::fs::read(folder.file(name)).ok(), before, "{name}");
    }
}

/// Runs statements on a file from outside.
async fn sqlite(path: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn an_empty_file_is_a_new_store_and_a_closed_one_opens_again() {
    let _watchdog = watchdog();
    let folder = Arc::new(Folder::new());
    std::fs::write(folder.file("test.db"), "").unwrap();
    let world = World::open(folder.clone()).await;
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    world.backend.close().await.unwrap();
    for result in [
        world.stores.agents.get(&ctx, agent.id).await.map(drop),
        world.stores.quota.reserve(&ctx, world.env.id(), vec![]).await.map(drop),
        world.backend.close().await,
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert!(!folder.file("test.db-wal").exists(), "the log is folded into the file");
    let again = World::open(folder).await;
    assert_eq!(again.stores.agents.get(&ctx, agent.id).await.unwrap(), agent);
}

#[tokio::test]
async fn close_finishes_what_was_accepted() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let lease = world.run(&ctx, &world.agent(&ctx).await).await;
    let commits = (0..300).map(|turn| {
        let commit =
            world.stores.runs.commit(&lease.fence, batch(&lease, 1, &turn.to_string()), Effects::none());
        // Polled once, so that it is in the queue.
        futures_util::future::FutureExt::now_or_never(commit)
    });
    assert!(commits.collect::<Vec<_>>().iter().all(Option::is_none));
    world.backend.close().await.unwrap();
    let again = World::open(world.folder.clone()).await;
    assert_eq!(again.stores.index.get(&ctx, lease.run.id).await.unwrap().seq, 301);
}

#[tokio::test]
async fn text_that_services_refuse_does_not_break_the_store() {
    let _watchdog = watchdog();
    let world = World::new().await;
    let ctx = world.tenant().await;
    let long = "n".repeat(10 << 20);
    for name in ["", "a\0b", "a\0c", "'; DROP TABLE agents; --", &long] {
        let (agent, version) = world.new_agent(name);
        world.stores.agents.insert(&ctx, agent.clone(), version.clone(), Effects::none()).await.unwrap();
        let stored = world.stores.agents.get(&ctx, agent.id).await.unwrap();
        assert!(stored == agent, "{}", agent.name.len());
        let other = agentprovision_core::agent::AgentRecord { id: world.env.id(), ..agent };
        let error = world.stores.agents.insert(&ctx, other, version, Effects::none()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
}

/// Everything that a version can store, once.
async fn fill(world: &World) {
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    let lease = world.run(&ctx, &agent).await;
    let usage = UsageEvent {
        id: world.env.id(),
        meter: Meter::LlmTokensInput,
        quantity: 42,
        at: world.env.now(),
        user: None,
        agent: Some(agent.id),
        run: Some(lease.run.id),
        model: None,
        cost: None,
    };
    let effects = Effects {
        audit: vec![AuditRecord::of(&ctx, &world.env, "run.started", "runs", lease.run.id)],
        usage: vec![usage],
        events: vec![PlatformEvent::of(&ctx, &world.env, "run.started", lease.run.id, json!({}))],
        ..Effects::none()
    };
    world.stores.runs.commit(&lease.fence, batch(&lease, 3, "content"), effects).await.unwrap();
    world.stores.quota.define(&ctx, &BudgetKey::new("agent", Dimension::Cost), Some(7)).await.unwrap();
}

/// Reads back what [`fill`] wrote, and goes on writing.
async fn check(world: &World) {
    let tenant = world.stores.tenants.list(&world.op, PageRequest::limit(1)).await.unwrap().items.remove(0);
    let ctx = world.ctx(&tenant);
    let run = world.stores.index.list(&ctx, RunQuery::default()).await.unwrap().items.remove(0);
    let rows = world.stores.index.journal(&ctx, run.id, 0, 100).await.unwrap();
    assert_eq!(rows.len(), 4);
    JournalRow::verify(&run.salt, &rows, &run.head).unwrap();
    let payload = agentprovision_core::run::payload_hash(&run.salt, b"content");
    assert_eq!(world.stores.index.payloads(&ctx, run.id, &[payload]).await.unwrap(), [b"content"]);
    let summary = world.stores.usage.summary(&ctx, Period::ALL).await.unwrap();
    assert_eq!(summary.meters[&Meter::LlmTokensInput], 42);
    assert_eq!(world.stores.audit.checkpoint(&ctx).await.unwrap().size, 1);
    assert_eq!(world.stores.events.read(&ctx, 0, 10).await.unwrap().len(), 1);
    let key = BudgetKey::new("agent", Dimension::Cost);
    assert_eq!(world.stores.quota.state(&ctx, &key).await.unwrap().unwrap().cap, 7);
    world.clock.advance(Duration::from_secs(60));
    let leases = world
        .stores
        .runs
        .claim(ClaimRequest::new(world.env.id(), world.env.now(), 10, u32::MAX))
        .await
        .unwrap();
    assert_eq!(leases[0].fence.epoch, 2);
    world.stores.runs.commit(&leases[0].fence, batch(&leases[0], 1, "more"), Effects::none()).await.unwrap();
}

#[tokio::test]
async fn a_database_of_version_1_opens() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1.db");
    std::fs::copy(fixture, folder.file("test.db")).unwrap();
    check(&World::open(Arc::new(folder)).await).await;
}

/// Writes the fixture of the version that is current: run it once, before a version is released.
#[tokio::test]
#[ignore = "writes a file into the sources"]
async fn write_the_fixture() {
    let world = World::new().await;
    fill(&world).await;
    world.backend.close().await.unwrap();
    let file = world.folder.file("test.db");
    // Small pages make a small file.
    sqlite(&file, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM").await;
    std::fs::copy(file, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v2.db")).unwrap();
}

const READER: &str = "AGENTPROVISION_TEST_READER_FOLDER";

/// Reads a file it cannot write.
#[tokio::test]
#[ignore = "the other half of the test below"]
async fn reader() {
    let Ok(path) = std::env::var(READER) else { return };
    // The folder is not this process's to remove.
    let folder = std::mem::ManuallyDrop::new(Arc::new(Folder(path.into())));
    if std::fs::OpenOptions::new().append(true).open(folder.file("test.db")).is_ok() {
        panic!("the file can be written");
    }
    let world = World::open(Arc::clone(&folder)).await;
    let world = std::mem::ManuallyDrop::new(world);
    let tenant = world.stores.tenants.list(&world.op, PageRequest::limit(1)).await.unwrap().items.remove(0);
    let ctx = world.ctx(&tenant);
    let run = world.stores.index.list(&ctx, RunQuery::default()).await.unwrap().items.remove(0);
    assert_eq!(world.stores.index.journal(&ctx, run.id, 0, 100).await.unwrap().len(), 4);
    let error = world.stores.quota.reserve(&ctx, world.env.id(), vec![]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    // An old schema cannot be brought to the newest here.
    let error = connect(&folder.url("empty.db"), Env::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let _watchdog = watchdog();
    for folder_mode in [0o777, 0o555] {
        let world = World::new().await;
        fill(&world).await;
        world.backend.close().await.unwrap();
        std::fs::write(world.folder.file("empty.db"), "").unwrap();
        let mode = |name: &str, mode| {
            std::fs::set_permissions(world.folder.file(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("test.db", 0o444);
        mode("empty.db", 0o444);
        mode("", folder_mode);
        let program = world.folder.0.with_extension("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut child = Command::new(&program);
        child.args(["--exact", "files::reader", "--ignored"]).env(READER, &world.folder.0).current_dir("/");
        // Modes do not bind root, who reads as nobody here.
        if std::fs::OpenOptions::new().append(true).open(world.folder.file("test.db")).is_ok() {
            child.uid(65534).gid(65534);
        }
        let output = child.output().unwrap();
        std::fs::remove_file(&program).unwrap();
        mode("", 0o777);
        assert!(output.status.success(), "{folder_mode:o}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}
