//! Changes of the platform as a part of a transaction of the host's. Only PostgreSQL has them.

use std::sync::Arc;

use agentprovision::id::AgentId;
use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::{Home, home, in_time, store};

/// A platform on a database where the host has a table, and a connection of the host's.
struct World {
    platform: Platform,
    acme: Home,
    ada: Context,
    agent: AgentId,
    url: String,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Option<(Self, PgConnection)> {
        if !store::on_server() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let url = store::new(&folder.path().join("platform.db"));
        let model = ScriptedModel::from_fn("m", |_| Reply::text("It is on its way."));
        let platform = Platform::builder().store(&*url).model("m", Arc::new(model)).build().await.unwrap();
        let acme = home(&platform, "acme").await;
        let (_, ada) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
        let agent = platform.agents().create(&ada, AgentSpec::new("helper").model("m")).await.unwrap().id;
        platform.agents().deploy(&ada, agent).await.unwrap();
        let host = PgConnection::connect(&url).await.unwrap();
        Some((Self { platform, acme, ada, agent, url, _folder: folder }, host))
    }

    /// What the host has written, by anybody's eyes.
    async fn bookings(&self) -> Vec<String> {
        let mut other = PgConnection::connect(&self.url).await.unwrap();
        let rows =
            sqlx::query("SELECT label FROM public.bookings ORDER BY label").fetch_all(&mut other).await;
        rows.unwrap().into_iter().map(|row| row.get(0)).collect()
    }

    async fn size(&self) -> u64 {
        self.platform.audit().verify(&self.acme.admin).await.unwrap().size
    }
}

const BOOK: &str = "INSERT INTO bookings (tenant_id, label) VALUES (gen_random_uuid(), $1)";

fn operator(platform: &Platform) -> OperatorContext {
    platform.operator("ops@host.example", "sign-up").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_change_and_the_platforms_are_committed_together() {
    let Some((world, mut host)) = World::new().await else { return };
    let World { platform, ada, agent, .. } = &world;
    let mut tx = host.begin().await.unwrap();
    sqlx::query(BOOK).bind("together").execute(&mut *tx).await.unwrap();
    let (run, tenant, user) = platform
        .store()
        .enlist(&mut tx, async |work| {
            let run = work.runs().start(ada, *agent, RunInput::text("Where is 1234?")).await?;
            let new = NewTenant::new("globex", "globex.example");
            let tenant = work.tenants().create(&operator(platform), new).await?;
            let root = NewUser::new("root@globex.example");
            let user = work.tenants().bootstrap_admin(&operator(platform), tenant.id, root).await?;
            Ok((run.id(), tenant.id, user.id))
        })
        .await
        .unwrap();
    // The host's next statement finds its own table.
    sqlx::query(BOOK).bind("and more").execute(&mut *tx).await.unwrap();
    let left: (String, String) = sqlx::query_as(
        "SELECT current_setting('search_path'), current_setting('app.current_tenant_id', true)",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert!(!left.0.contains("agentprovision") && left.1.is_empty(), "{left:?}");
    let error = platform.runs().get(ada, run).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "not committed yet");
    tx.commit().await.unwrap();
    let run = platform.runs().get(ada, run).await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), "It is on its way.");
    let globex = platform.context(tenant, user).await.unwrap();
    platform.audit().verify(&globex).await.unwrap();
    platform.audit().verify_platform(&operator(platform)).await.unwrap();
    world.size().await;
    assert_eq!(world.bookings().await, ["and more", "together"]);
    world.platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_rolls_back_was_never_there() {
    let Some((world, mut host)) = World::new().await else { return };
    let (before, platform) = (world.size().await, world.platform.clone());
    let above = platform.audit().verify_platform(&operator(&platform)).await.unwrap();
    let mut tx = host.begin().await.unwrap();
    sqlx::query(BOOK).bind("never").execute(&mut *tx).await.unwrap();
    let (ada, agent) = (&world.ada, world.agent);
    let (run, user) = platform
        .store()
        .enlist(&mut tx, async |work| {
            let run = work.runs().start(ada, agent, RunInput::text("Where is 1234?")).await?.id();
            let new = NewUser::new("eve@acme.example").role(Role::AGENT_VIEWER);
            let user = work.users().create(&world.acme.admin, new).await?.id;
            work.tenants().suspend(&operator(&platform), world.acme.tenant.id).await?;
            Ok((run, user))
        })
        .await
        .unwrap();
    // What is not committed is told to nobody: the tenant goes on.
    platform.agents().get(ada, agent).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(platform.runs().get(ada, run).await.unwrap_err().kind(), ErrorKind::NotFound);
    let gone = platform.context(world.acme.tenant.id, user).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(world.size().await, before);
    assert_eq!(platform.audit().verify_platform(&operator(&platform)).await.unwrap(), above);
    assert_eq!(world.bookings().await, [""; 0]);
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_undone_alone() {
    let Some((world, mut host)) = World::new().await else { return };
    let platform = world.platform.clone();
    let admin = &world.acme.admin;
    let mut tx = host.begin().await.unwrap();
    sqlx::query(BOOK).bind("kept").execute(&mut *tx).await.unwrap();
    let refused = platform
        .store()
        .enlist(&mut tx, async |work| {
            let new = || NewUser::new("eve@acme.example").role(Role::AGENT_VIEWER);
            work.users().create(admin, new()).await?;
            assert_eq!(work.users().create(admin, new()).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
            let more = NewUser::new("mallory@acme.example").role(Role::AGENT_VIEWER);
            work.users().create(admin, more).await?;
            work.runs().start(&world.ada, platform.env().id(), RunInput::text("?")).await.map(drop)
        })
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    sqlx::query(BOOK).bind("kept too").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let users = platform.users().list(admin, PageRequest::default()).await.unwrap();
    let emails: Vec<&str> = users.items.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(emails.len(), 4, "{emails:?}");
    assert_eq!(world.bookings().await, ["kept", "kept too"]);
    world.size().await;
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_writes_past_the_end_or_twice_to_a_head() {
    let Some((world, mut host)) = World::new().await else { return };
    let platform = world.platform.clone();
    let admin = &world.acme.admin;
    let mut kept = None;
    let mut tx = host.begin().await.unwrap();
    platform
        .store()
        .enlist(&mut tx, async |work| {
            kept = Some(work.users().clone());
            Ok(())
        })
        .await
        .unwrap();
    let late = kept.unwrap().create(admin, NewUser::new("late@acme.example").role(Role::AGENT_VIEWER)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
    // A run that is to end with its watcher has none before the commit.
    let input = RunInput::text("?").on_disconnect(agentprovision::run::OnDisconnect::Cancel);
    let watched = platform
        .store()
        .enlist(&mut tx, async |work| work.runs().start(&world.ada, world.agent, input).await.map(drop))
        .await;
    assert_eq!(watched.unwrap_err().kind(), ErrorKind::InvalidInput);
    tx.commit().await.unwrap();
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_will_not_do_is_named() {
    let memory = Platform::builder().build().await.unwrap();
    let Some((world, mut host)) = World::new().await else { return };
    let platform = world.platform.clone();
    let nothing = async |_: &agentprovision::Enlisted| Ok(());
    let refused = platform.store().enlist(&mut host, nothing).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.message().contains("not in a transaction"), "{refused}");

    let mut tx = host.begin().await.unwrap();
    let refused = memory.store().enlist(&mut tx, nothing).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    sqlx::query("SELECT 1 / 0").execute(&mut *tx).await.unwrap_err();
    let refused = platform.store().enlist(&mut tx, nothing).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    tx.rollback().await.unwrap();

    let server = std::env::var("AGENTPROVISION_TEST_POSTGRES_URL").unwrap();
    let mut root = PgConnection::connect(&server).await.unwrap();
    let mut tx = root.begin().await.unwrap();
    let refused = platform.store().enlist(&mut tx, nothing).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.message().contains("row security"), "{refused}");
    tx.rollback().await.unwrap();
    platform.close().await.unwrap();
}
