//! The connection breaks at the worst moment: a change is there once, or it is not, and what the platform says is true.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::{Context, Env, ErrorKind, Result};
use agentprovision_tenancy::store::postgres::TestDatabase;
use libtest_mimic::Trial;

use crate::proxy::{Plan, Proxy};
use crate::server::Server;
use crate::trial;
use crate::world::{Raw, World, at, database, manual, place, with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("commits", "one_the_server_never_saw_is_done_again", || once(Plan::CutBefore("COMMIT"), 2)),
        trial("commits", "one_whose_answer_was_lost_is_not_done_again", || once(Plan::CutAfter("COMMIT"), 1)),
        trial("commits", "a_statement_the_server_never_saw_is_done_again", || {
            once(Plan::CutBefore("INSERT INTO users"), 1)
        }),
        trial("commits", "a_statement_whose_answer_was_lost_is_done_again", || {
            once(Plan::CutAfter("INSERT INTO audit_pending"), 1)
        }),
        trial("commits", "a_begin_whose_answer_was_lost_is_done_again", || once(Plan::CutAfter("BEGIN"), 1)),
        trial("commits", "one_that_takes_its_time_is_waited_for", slow),
        trial("commits", "one_that_nobody_can_tell_of_is_uncertain", unanswered),
        trial("commits", "one_that_is_under_way_too_long_is_uncertain", endless),
        trial("commits", "a_server_that_falls_silent_is_not_waited_for_without_end", silent),
        trial("commits", "a_read_that_breaks_is_done_again", read),
        trial("commits", "a_lost_answer_of_a_step_is_looked_up_too", step),
        of_own_server("one_that_a_crash_lost_is_done_again", || crash(Numbers::Free)),
        of_own_server("one_that_a_crash_lost_is_not_taken_for_another", || crash(Numbers::GivenAgain)),
        of_own_server("one_that_may_have_outlived_a_crash_is_there_once", outlived),
    ]
}

/// A trial that crashes a server of its own; ignored where none can be started.
fn of_own_server<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial {
    trial("commits", name, body).with_ignored_flag(!Server::may_be_started())
}

async fn behind_proxy(env: Env, options: &str) -> (World, Arc<Proxy>) {
    over_proxy(database().await, env, options).await
}

async fn over_proxy(database: TestDatabase, env: Env, options: &str) -> (World, Arc<Proxy>) {
    let proxy = Proxy::before(place(database.url())).await;
    let url = with(&at(database.url(), proxy.port), &format!("sslmode=disable&max_connections=2{options}"));
    (World::over(database, &url, env).await, Arc::new(proxy))
}

/// Whatever breaks once, the change is there once, and the next one goes well too.
async fn once(plan: Plan, commits: usize) {
    let (world, proxy) = behind_proxy(Env::default(), "").await;
    let ctx = world.tenant().await;
    proxy.seen();
    proxy.plan(plan);
    world.add(&ctx, "alice").await.unwrap();
    assert_eq!(proxy.seen().commits, commits);
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["alice", "bob"]).await;
    assert_eq!(proxy.seen().foreign, 0);
    world.backend.close().await.unwrap();
}

async fn slow() {
    let (clock, env) = manual();
    // The clock runs on while the network takes its time.
    let (world, proxy) = behind_proxy(env, "&connect_timeout_ms=100000000").await;
    let world = Arc::new(world);
    let ctx = world.tenant().await;
    proxy.seen();
    proxy.plan(Plan::Hold("COMMIT"));
    let change = tokio::spawn({
        let (world, ctx) = (world.clone(), ctx.clone());
        async move { world.add(&ctx, "alice").await }
    });
    // It was asked for, and is under way.
    while proxy.peek().questions == 0 || clock.waiters() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.release().await;
    while !change.is_finished() {
        clock.advance(Duration::from_millis(1));
        tokio::task::yield_now().await;
    }
    change.await.unwrap().unwrap();
    assert_eq!(proxy.seen().commits, 1);
    world.has(&ctx, &["alice"]).await;
}

/// A change whose outcome cannot be learned within the time.
async fn uncertain(plan: Plan, next: Plan) -> (Arc<World>, Arc<Proxy>) {
    let (clock, env) = manual();
    let (world, proxy) = behind_proxy(env, "").await;
    let world = Arc::new(world);
    let ctx = world.tenant().await;
    proxy.then(next);
    proxy.plan(plan);
    let change = tokio::spawn({
        let (world, ctx) = (world.clone(), ctx.clone());
        async move { world.add(&ctx, "alice").await }
    });
    // One commit made the tenant. Where it can be asked, it has been asked.
    while proxy.peek().commits < 2 || (next == Plan::Pass && proxy.peek().questions == 0) {
        tokio::task::yield_now().await;
    }
    while !change.is_finished() {
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    let error = change.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error:?}");
    assert!(error.message().contains("committed"), "{error:?}");
    (world, proxy)
}

async fn unanswered() {
    let (world, proxy) = uncertain(Plan::CutAfter("COMMIT"), Plan::Refuse).await;
    proxy.plan(Plan::Pass);
    let ctx = world.tenant().await;
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["bob"]).await;
}

async fn endless() {
    let (world, proxy) = uncertain(Plan::Hold("COMMIT"), Plan::Pass).await;
    proxy.release().await;
    let ctx = world.tenant().await;
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["bob"]).await;
}

async fn silent() {
    let (world, proxy) = uncertain(Plan::CutAfter("COMMIT"), Plan::Silent).await;
    proxy.plan(Plan::Pass);
    let ctx = world.tenant().await;
    world.add(&ctx, "bob").await.unwrap();
    world.has(&ctx, &["bob"]).await;
}

async fn read() {
    let (world, proxy) = behind_proxy(Env::default(), "").await;
    let ctx = world.tenant().await;
    world.add(&ctx, "alice").await.unwrap();
    for plan in
        [Plan::CutBefore("BEGIN READ ONLY"), Plan::CutAfter("BEGIN READ ONLY"), Plan::CutAfter("COMMIT")]
    {
        for _ in 0..3 {
            proxy.plan(plan);
            assert_eq!(world.names(&ctx).await.unwrap(), ["alice"]);
        }
    }
    world.backend.close().await.unwrap();
}

async fn step() {
    for (plan, sent) in [(Plan::CutAfter("COMMIT"), 1), (Plan::CutBefore("COMMIT"), 1)] {
        let (world, proxy) = behind_proxy(Env::default(), "").await;
        let ctx = world.tenant().await;
        let fence = world.run(&ctx).await;
        proxy.seen();
        let tx = world.stores.runs.begin(&fence).await.unwrap();
        proxy.plan(plan);
        let batch =
            agentprovision_core::run::JournalBatch { entries: vec![b"{}".to_vec()], ..Default::default() };
        let done = tx.commit(batch, agentprovision_core::Effects::none()).await;
        assert_eq!(proxy.seen().commits, sent);
        let seq = world.stores.index.get(&ctx, fence.run).await.unwrap().seq;
        match plan {
            Plan::CutAfter(_) => assert_eq!((done.unwrap(), seq), (1, 1)),
            // What a tool did in it cannot be done again from here, so whoever runs the step decides.
            _ => {
                assert_eq!(done.unwrap_err().kind(), ErrorKind::Unavailable);
                assert_eq!(seq, 0);
            }
        }
        world.add(&ctx, "alice").await.unwrap();
        world.has(&ctx, &["alice"]).await;
    }
}

/// What becomes of the numbers of transactions that a crash lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Free,
    /// Others have them, and are committed.
    GivenAgain,
}

/// A change is under way while the server crashes.
struct Crash {
    world: Arc<World>,
    proxy: Arc<Proxy>,
    // Last, so that it goes after its database.
    server: Server,
}

impl Crash {
    async fn new() -> Self {
        let server = Server::start().await;
        let database = TestDatabase::create(&server.url).await.unwrap();
        let (world, proxy) = over_proxy(database, Env::default(), "").await;
        Self { world: Arc::new(world), proxy, server }
    }

    /// Cuts the change's commit, crashes the server, does `meanwhile`, and lets the platform ask.
    async fn under(&self, cut: Plan, meanwhile: impl AsyncFnOnce(&mut Raw)) -> (Context, Result<()>) {
        let ctx = self.world.tenant().await;
        // What was written up to here is on the disk, and nothing else writes.
        self.world.admin().await.run("CHECKPOINT").await;
        self.proxy.seen();
        self.proxy.then(Plan::Refuse);
        self.proxy.plan(cut);
        let change = tokio::spawn({
            let (world, ctx) = (self.world.clone(), ctx.clone());
            async move { world.add(&ctx, "alice").await }
        });
        while self.proxy.peek().commits == 0 {
            tokio::task::yield_now().await;
        }
        self.server.restart("restart immediate").await;
        let mut admin = self.world.admin().await;
        meanwhile(&mut admin).await;
        self.proxy.plan(Plan::Pass);
        (ctx, change.await.unwrap())
    }
}

async fn crash(numbers: Numbers) {
    let crash = Crash::new().await;
    let (ctx, changed) = crash
        .under(Plan::CutBefore("COMMIT"), async |admin: &mut Raw| {
            let mut number = "SELECT 1";
            if numbers == Numbers::GivenAgain {
                number = "SELECT pg_current_xact_id()";
            }
            for _ in 0..20 {
                admin.run(number).await;
            }
        })
        .await;
    match changed {
        Ok(()) => crash.world.has(&ctx, &["alice"]).await,
        // Who has the number now was committed; whether the change was, nobody can tell.
        Err(error) => {
            assert_eq!((error.kind(), numbers), (ErrorKind::Uncertain, Numbers::GivenAgain), "{error:?}");
            crash.world.has(&ctx, &[]).await;
        }
    }
    crash.world.add(&ctx, "bob").await.unwrap();
    assert!(crash.world.names(&ctx).await.unwrap().contains(&"bob".to_owned()));
}

async fn outlived() {
    let crash = Crash::new().await;
    let (ctx, changed) = crash.under(Plan::CutAfter("COMMIT"), async |_: &mut Raw| {}).await;
    // Where the crash was faster than the commit, the change was done again.
    if let Err(error) = changed {
        assert_eq!(error.kind(), ErrorKind::Uncertain, "{error:?}");
    }
    crash.world.has(&ctx, &["alice"]).await;
}
