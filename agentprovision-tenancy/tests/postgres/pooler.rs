//! PgBouncer between the platform and the server, in the mode that gives each transaction another connection.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use agentprovision_core::{Env, ErrorKind};
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Raw, World, at, database, place, with};

pub(crate) fn trials() -> Vec<Trial> {
    let there = Command::new("pgbouncer").arg("--version").output().is_ok();
    [
        trial("pooler", "two_tenants_on_two_connections_never_cross", interleaved),
        trial("pooler", "a_lost_answer_is_looked_up_through_the_pooler", lost),
        trial("pooler", "without_the_option_the_error_names_it", without),
    ]
    .map(|trial| if there { trial } else { trial.with_ignored_flag(true) })
    .into()
}

/// PgBouncer before a server; it goes with the value.
struct Bouncer {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bouncer {
    fn before(place: &str) -> Self {
        let (host, server) = place.split_once(':').unwrap();
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            path
        };
        let users = file("users", "\"agentprovision_app\" \"agentprovision-test\"\n".into());
        let settings = file(
            "settings",
            format!(
                "[databases]\n* = host={host} port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = 2\nmax_client_conn = 100\n",
                users.display()
            ),
        );
        let mut command = Command::new("pgbouncer");
        command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // It refuses to run as root.
        if is_root() {
            let (nobody, nogroup) = (65534, 65534);
            chown(folder.path(), Some(nobody), Some(nogroup)).unwrap();
            command.uid(nobody).gid(nogroup);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("process up"));
        assert!(up, "pgbouncer does not start");
        // Somebody has to read what it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port, _folder: folder }
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&Path::new("/proc/self").metadata().unwrap()) == 0
}

/// A platform behind PgBouncer.
async fn behind(options: &str) -> (World, Bouncer) {
    let database = database().await;
    let bouncer = Bouncer::before(place(database.url()));
    let url = with(&at(database.url(), bouncer.port), options);
    (World::over(database, &url, Env::default()).await, bouncer)
}

async fn interleaved() {
    let (world, bouncer) = behind("pooler=transaction&max_connections=8").await;
    let world = Arc::new(world);
    let tenants = [world.tenant().await, world.tenant().await];
    let tasks = (0..8).map(|task| {
        let (world, ctx) = (world.clone(), tenants[task % 2].clone());
        tokio::spawn(async move {
            let fence = world.run(&ctx).await;
            for round in 0..12 {
                world.add(&ctx, &format!("{task}-{round}")).await.unwrap();
                let names = world.names(&ctx).await.unwrap();
                let own = |name: &String| {
                    name.starts_with(|c: char| c.to_digit(10).is_some_and(|n| n as usize % 2 == task % 2))
                };
                assert!(names.iter().all(own), "{names:?}");
                let tx = world.stores.runs.begin(&fence).await.unwrap();
                let sql = "SELECT count(*) FROM users WHERE tenant_id <> $1";
                let others = tx.handle().query(sql, &[]).await.unwrap();
                assert_eq!(others, [[agentprovision_core::tool::SqlValue::Int(0)]]);
                tx.rollback().await.unwrap();
                world.stores.events.unpublished(10).await.unwrap();
            }
        })
    });
    for task in futures_util::future::join_all(tasks).await {
        task.unwrap();
    }
    for ctx in &tenants {
        assert_eq!(world.names(ctx).await.unwrap().len(), 48);
        assert_eq!(world.stores.audit.checkpoint(ctx).await.unwrap().size, 48);
        assert_eq!(world.stores.events.read(ctx, 0, 100).await.unwrap().len(), 48);
    }
    let servers = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'agentprovision_app'";
    assert_eq!(world.admin().await.one(servers).await, "2");
    world.backend.close().await.unwrap();
    drop(bouncer);
}

async fn lost() {
    let database = database().await;
    let bouncer = Bouncer::before(place(database.url()));
    let proxy = crate::proxy::Proxy::before(&format!("127.0.0.1:{}", bouncer.port)).await;
    let url = with(&at(database.url(), proxy.port), "pooler=transaction&sslmode=disable");
    let world = World::over(database, &url, Env::default()).await;
    let ctx = world.tenant().await;
    proxy.plan(crate::proxy::Plan::CutAfter("COMMIT"));
    world.add(&ctx, "alice").await.unwrap();
    assert!(proxy.seen().questions == 1);
    world.has(&ctx, &["alice"]).await;
}

async fn without() {
    let (world, bouncer) = behind("max_connections=1").await;
    let ctx = world.tenant().await;
    world.names(&ctx).await.unwrap();
    // Two others hold both connections, and each lets go of one: on one of them the statement is not prepared.
    let url = at(world.database.url(), bouncer.port);
    let mut others = [Raw::open(&url).await, Raw::open(&url).await];
    for other in &mut others {
        other.run("BEGIN; SELECT 1").await;
    }
    let mut refused = Vec::new();
    for other in &mut others {
        other.run("ROLLBACK").await;
        refused.extend(world.names(&ctx).await.err());
        other.run("BEGIN; SELECT 1").await;
    }
    for other in &mut others {
        other.run("ROLLBACK").await;
    }
    assert!(!refused.is_empty(), "the statement was always prepared");
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().contains("pooler=transaction"), "{error:?}");
    }
}
