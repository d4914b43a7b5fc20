//! A store in a folder of its own, with a tenant, an agent and runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::agent::{AgentRecord, AgentState, AgentVersion, VersionHash};
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::clock::ManualClock;
use agentprovision_core::context::{ContextIssuer, Identity, Principal};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::run::{
    ChainHash, Created, JournalBatch, Lease, NewRun, Payload, RunRecord, RunStatus, RunTotals, STATE_VERSION,
    payload_hash,
};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Context, Effects, Env, OperatorContext, Timestamp};
use agentprovision_tenancy::store::connect;

/// A folder that goes with the value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let id: agentprovision_core::id::RequestId = Env::default().id();
        let path = std::env::temp_dir().join(format!("agentprovision-{id}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.file(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct World {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) stores: Stores,
    pub(crate) clock: ManualClock,
    pub(crate) env: Env,
    pub(crate) issuer: ContextIssuer,
    pub(crate) op: OperatorContext,
    pub(crate) folder: Arc<Folder>,
    _database: Option<Database>,
}

#[cfg(all(feature = "store-postgres", feature = "testing"))]
pub(crate) type Database = agentprovision_tenancy::store::postgres::TestDatabase;
#[cfg(not(all(feature = "store-postgres", feature = "testing")))]
pub(crate) type Database = ();

/// Whether worlds are databases on a server: where `AGENTPROVISION_TEST_STORE` says `postgres`.
pub(crate) fn on_server() -> bool {
    cfg!(all(feature = "store-postgres", feature = "testing"))
        && std::env::var("AGENTPROVISION_TEST_STORE").is_ok_and(|store| store == "postgres")
}

/// The store of a world, and what goes with it.
pub(crate) async fn shared(folder: &Folder) -> (String, Option<Database>) {
    #[cfg(all(feature = "store-postgres", feature = "testing"))]
    if on_server() {
        let server = std::env::var("AGENTPROVISION_TEST_POSTGRES_URL").unwrap();
        let database = Database::create(&server).await.unwrap();
        let table = "CREATE TABLE public.notes (tenant_id uuid NOT NULL, text text, UNIQUE (tenant_id, text)); \
            GRANT SELECT, INSERT, UPDATE, DELETE ON public.notes TO agentprovision_app";
        database.admin(table).await.unwrap();
        return (database.url().to_owned(), Some(database));
    }
    (folder.url("test.db"), None)
}

/// A clock at some time, moved by hand, with real randomness.
pub(crate) fn manual_env() -> (ManualClock, Env) {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(agentprovision_core::clock::OsEntropy));
    (clock, env)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::open(Arc::new(Folder::new())).await
    }

    /// A world over the file of a folder, which may have been used before.
    pub(crate) async fn open(folder: Arc<Folder>) -> Self {
        let (clock, env) = manual_env();
        let (url, database) = shared(&folder).await;
        let backend = connect(&url, env.clone()).await.unwrap();
        Self::over(backend, clock, env, folder, database)
    }

    /// A world over a backend that is open.
    pub(crate) fn over(
        backend: Arc<dyn Backend>,
        clock: ManualClock,
        env: Env,
        folder: Arc<Folder>,
        database: Option<Database>,
    ) -> Self {
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("root", "test").unwrap();
        Self { stores: backend.stores(), backend, clock, env, issuer, op, folder, _database: database }
    }

    pub(crate) async fn tenant(&self) -> Context {
        let tenant = self.new_tenant("Acme");
        let ctx = self.ctx(&tenant);
        self.stores.tenants.create(&self.op, tenant, OperatorEffects::default()).await.unwrap();
        ctx
    }

    pub(crate) fn new_tenant(&self, name: &str) -> Tenant {
        Tenant {
            id: self.env.id(),
            name: name.into(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: serde_json::Map::new(),
            created_at: self.env.now(),
            updated_at: self.env.now(),
            revision: 1,
        }
    }

    pub(crate) fn ctx(&self, tenant: &Tenant) -> Context {
        let identity = Identity {
            tenant: tenant.id,
            principal: Principal::User(self.env.id()),
            scopes: PermissionSet::ALL,
            expires: None,
            key: None,
        };
        self.issuer.context(&identity, &PermissionSet::ALL, Default::default())
    }

    pub(crate) async fn agent(&self, ctx: &Context) -> AgentRecord {
        let (agent, version) = self.new_agent("helper");
        self.stores.agents.insert(ctx, agent.clone(), version, Effects::none()).await.unwrap();
        agent
    }

    pub(crate) fn new_agent(&self, name: &str) -> (AgentRecord, AgentVersion) {
        let canonical = format!("{{\"name\":{name:?}}}");
        let hash = VersionHash::of(&canonical);
        let agent = AgentRecord {
            id: self.env.id(),
            name: name.into(),
            state: AgentState::Running,
            latest: hash,
            aliases: BTreeMap::new(),
            project_id: None,
            created_by: self.env.id(),
            created_at: self.env.now(),
            updated_at: self.env.now(),
            revision: 1,
        };
        (agent, AgentVersion { hash, canonical, created_at: self.env.now() })
    }

    pub(crate) async fn run(&self, ctx: &Context, agent: &AgentRecord) -> Lease {
        let now = self.env.now();
        let record = RunRecord {
            id: self.env.id(),
            tenant: ctx.tenant(),
            agent: agent.id,
            version: agent.latest,
            user: ctx.principal().user(),
            project_id: None,
            session_id: None,
            parent_run: None,
            idem_key: None,
            idem_hash: None,
            on_behalf_of: None,
            region: None,
            status: RunStatus::Running,
            state_version: STATE_VERSION,
            salt: self.env.random(),
            seq: 0,
            head: ChainHash::START,
            deadline: now.after(Duration::from_secs(3600)),
            totals: RunTotals::default(),
            output: None,
            error: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        let run = NewRun {
            record,
            entries: vec![b"{\"entry\":\"created\"}".to_vec()],
            payloads: vec![],
            worker: self.env.id(),
            lease_until: now.after(Duration::from_secs(30)),
        };
        match self.stores.runs.create(ctx, run, Effects::none()).await.unwrap() {
            Created::New(lease) => lease,
            Created::Existing(id) => panic!("{id} was there before"),
        }
    }
}

/// A batch of `rows` journal rows and one payload.
pub(crate) fn batch(lease: &Lease, rows: usize, content: &str) -> JournalBatch {
    let bytes = content.as_bytes().to_vec();
    let hash = payload_hash(&lease.run.salt, &bytes);
    JournalBatch {
        entries: (0..rows).map(|row| format!("{{\"row\":{row},\"of\":{content:?}}}").into_bytes()).collect(),
        payloads: vec![Payload { hash, bytes }],
        ..JournalBatch::default()
    }
}

/// Fails a test that hangs, on a thread of its own, so that a blocked runtime is caught too.
pub(crate) fn watchdog() -> impl Drop {
    struct Watchdog(std::sync::mpsc::Sender<()>);
    impl Drop for Watchdog {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_secs(30)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a test did not end within 30 seconds");
            std::process::abort();
        }
    });
    Watchdog(sender)
}
