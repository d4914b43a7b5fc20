//! A database of its own with a backend over it, its tenants, and connections that are not the platform's.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::agent::{AgentRecord, AgentState, AgentVersion, VersionHash};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::clock::{ManualClock, OsEntropy};
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::identity::User;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{
    ChainHash, Created, Fence, NewRun, RunRecord, RunStatus, RunTotals, STATE_VERSION,
};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Context, Effects, Env, OperatorContext, Result, Timestamp};
use agentprovision_tenancy::store::connect;
use agentprovision_tenancy::store::postgres::TestDatabase;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

pub(crate) fn server() -> String {
    std::env::var(crate::POSTGRES).unwrap()
}

pub(crate) async fn database() -> TestDatabase {
    TestDatabase::create(&server()).await.unwrap()
}

/// A URL with more options.
pub(crate) fn with(url: &str, options: &str) -> String {
    match (options.is_empty(), url.contains('?')) {
        (true, _) => url.to_owned(),
        (false, true) => format!("{url}&{options}"),
        (false, false) => format!("{url}?{options}"),
    }
}

/// The host and the port of a URL.
pub(crate) fn place(url: &str) -> &str {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0
}

/// A URL with another host and port.
pub(crate) fn at(url: &str, port: u16) -> String {
    url.replacen(place(url), &format!("127.0.0.1:{port}"), 1)
}

/// A URL with another user.
pub(crate) fn login(url: &str, user: &str, password: &str) -> String {
    format!("postgres://{user}:{password}@{}", url.split_once('@').unwrap().1)
}

/// A word nobody else on the server uses.
pub(crate) fn word() -> String {
    format!("ap_test_{:016x}", u64::from_be_bytes(Env::default().random()))
}

/// A clock that is moved by hand, with real randomness.
pub(crate) fn manual() -> (ManualClock, Env) {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
    (clock, env)
}

pub(crate) struct World {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) stores: Stores,
    pub(crate) env: Env,
    pub(crate) op: OperatorContext,
    issuer: ContextIssuer,
    // Last, so that it goes after the backend.
    pub(crate) database: TestDatabase,
}

impl World {
    pub(crate) async fn new(options: &str) -> Self {
        let database = database().await;
        let url = with(database.url(), options);
        Self::over(database, &url, Env::default()).await
    }

    /// A platform that connects to a database by a URL of its own.
    pub(crate) async fn over(database: TestDatabase, url: &str, env: Env) -> Self {
        let backend = connect(url, env.clone()).await.unwrap();
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("root", "test").unwrap();
        Self { stores: backend.stores(), backend, env, op, issuer, database }
    }

    /// Adds a tenant.
    pub(crate) async fn tenant(&self) -> Context {
        let tenant = Tenant {
            id: self.env.id(),
            name: "Acme".into(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: serde_json::Map::new(),
            created_at: self.env.now(),
            updated_at: self.env.now(),
            revision: 1,
        };
        let identity = Identity {
            tenant: tenant.id,
            principal: Principal::User(self.env.id()),
            scopes: PermissionSet::ALL,
            expires: None,
            key: None,
        };
        self.stores.tenants.create(&self.op, tenant, OperatorEffects::default()).await.unwrap();
        self.issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default())
    }

    /// Adds a user, with an audit record and an event.
    pub(crate) async fn add(&self, ctx: &Context, name: &str) -> Result<()> {
        let user = User {
            id: self.env.id(),
            email: format!("{name}@{}", ctx.tenant()),
            name: None,
            roles: vec![],
            active: true,
            created_at: self.env.now(),
            updated_at: self.env.now(),
            revision: 1,
        };
        let record = AuditRecord::of(ctx, &self.env, "user.created", "users", user.id);
        let event = PlatformEvent::of(ctx, &self.env, "user.created", user.id, serde_json::json!({}));
        self.stores.users.insert(ctx, user, Effects::audited(record).event(event)).await
    }

    /// The names of a tenant's users, in the order they were added.
    pub(crate) async fn names(&self, ctx: &Context) -> Result<Vec<String>> {
        let users = self.stores.users.list(ctx, PageRequest::limit(100)).await?.items;
        Ok(users
            .into_iter()
            .map(|user| {
                let (name, tenant) = user.email.split_once('@').unwrap();
                assert_eq!(tenant, ctx.tenant().to_string(), "a user of another tenant");
                name.to_owned()
            })
            .collect())
    }

    /// The tenant has these users, and one record and one event for each: nothing is half there, and nothing twice.
    pub(crate) async fn has(&self, ctx: &Context, names: &[&str]) {
        assert_eq!(self.names(ctx).await.unwrap(), names);
        assert_eq!(self.stores.audit.checkpoint(ctx).await.unwrap().size, names.len() as u64);
        assert_eq!(self.stores.events.read(ctx, 0, 100).await.unwrap().len(), names.len());
    }

    /// A connection of the superuser.
    pub(crate) async fn admin(&self) -> Raw {
        Raw::open(&self.database.admin_url().unwrap()).await
    }

    /// A run of a tenant, held by somebody.
    pub(crate) async fn run(&self, ctx: &Context) -> Fence {
        let (now, canonical) = (self.env.now(), "{}".to_owned());
        let hash = VersionHash::of(&canonical);
        let agent = AgentRecord {
            id: self.env.id(),
            name: word(),
            state: AgentState::Running,
            latest: hash,
            aliases: Default::default(),
            project_id: None,
            created_by: self.env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let version = AgentVersion { hash, canonical, created_at: now };
        let record = RunRecord {
            id: self.env.id(),
            tenant: ctx.tenant(),
            agent: agent.id,
            version: hash,
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
        self.stores.agents.insert(ctx, agent, version, Effects::none()).await.unwrap();
        let run = NewRun {
            record,
            entries: vec![],
            payloads: vec![],
            worker: self.env.id(),
            lease_until: now.after(Duration::from_secs(3000)),
        };
        match self.stores.runs.create(ctx, run, Effects::none()).await.unwrap() {
            Created::New(lease) => lease.fence,
            Created::Existing(id) => panic!("{id} was there before"),
        }
    }
}

/// A connection that sends what it is told.
pub(crate) struct Raw(pub(crate) PgConnection);

/// What a statement gives, as text.
pub(crate) type Cells = Vec<Vec<Option<String>>>;

impl Raw {
    pub(crate) async fn open(url: &str) -> Self {
        // What a pooler does not know of is not asked for.
        let options: PgConnectOptions = url.parse().unwrap();
        Self(options.extra_float_digits(None).connect().await.unwrap())
    }

    /// The rows of one or more statements; an error as its SQLSTATE and its message.
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<Cells, (String, String)> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.0).await;
        let rows = rows.map_err(|error| {
            let error = error.into_database_error().unwrap_or_else(|| panic!("{sql}: no answer"));
            (error.code().unwrap_or_default().into_owned(), error.message().to_owned())
        })?;
        let text = |row: &sqlx::postgres::PgRow, column| {
            let raw = row.try_get_raw(column).unwrap();
            raw.as_str().ok().map(str::to_owned)
        };
        Ok(rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect())
    }

    /// The only value of the only row.
    pub(crate) async fn one(&mut self, sql: &str) -> String {
        let rows = self.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows[0][0].clone().unwrap_or_default()
    }

    /// Statements that must go well.
    pub(crate) async fn run(&mut self, sql: &str) {
        self.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Waits until a query says `t`.
    pub(crate) async fn until(&mut self, sql: &str) {
        while self.one(sql).await != "t" {}
    }
}
