//! Two tenants with rows in every table, and everything that can be seen of them in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agentprovision_core::archive::{ArchiveSummary, Layout};
use agentprovision_core::backend::Stores;
use agentprovision_core::context::Context;
use agentprovision_core::effect::{Effects, QuotaOp};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{Lease, SessionRecord, Signal};
use agentprovision_core::secret::SecretLease;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::usage::{BudgetKey, Dimension, Meter, UsageEvent};
use agentprovision_core::webhook::DeliveryEnd;
use agentprovision_core::{Error, ErrorKind, OperatorContext, Result};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{ApiKeyRequest, NewUser, Pepper};
use agentprovision_tenancy::rbac::Roles;
use agentprovision_tenancy::tenant::{Archives, LastArchive, NewTenant, RestoreOptions, Tenants};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::filled::{HELD, fill};
use crate::world::{World, batch};

/// A store with its services.
pub(crate) struct Home {
    pub(crate) world: World,
    pub(crate) tenancy: Tenancy,
    pub(crate) op: OperatorContext,
}

/// A tenant with something in every table.
pub(crate) struct Full {
    pub(crate) ctx: Context,
    pub(crate) id: TenantId,
    pub(crate) admin: UserId,
    /// A run that a worker holds.
    pub(crate) held: Lease,
    /// The lease on a secret.
    pub(crate) lease: SecretLease,
}

/// All rows by table, as SQL literals.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

impl Home {
    pub(crate) async fn new() -> Self {
        Self::over(World::new().await)
    }

    pub(crate) fn over(world: World) -> Self {
        let pepper = Pepper::random(&world.env);
        let tenancy = Tenancy::new(world.issuer.clone(), &world.stores, Roles::default(), pepper);
        let op = world.issuer.operator("ops@host.example", "a test").unwrap();
        Self { world, tenancy, op }
    }

    pub(crate) fn archives(&self) -> &Archives {
        self.tenancy.archives()
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        self.tenancy.tenants()
    }

    pub(crate) fn layout(&self) -> &'static Layout {
        self.world.stores.archives.layout().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.world.folder.file(name)
    }

    pub(crate) async fn export(&self, tenant: TenantId, name: &str) -> (PathBuf, ArchiveSummary) {
        let file = self.file(name);
        let summary = self.archives().export(&self.op, tenant, &file).await.unwrap();
        (file, summary)
    }

    pub(crate) async fn delete(&self, tenant: TenantId) {
        self.tenants().delete(&self.op, tenant, LastArchive::Nothing).await.unwrap();
    }

    pub(crate) async fn refused(&self, file: &PathBuf) -> ErrorKind {
        kind(self.archives().restore(&self.op, file, RestoreOptions::new()).await)
    }

    pub(crate) async fn full(&self, name: &str) -> Full {
        let new = NewTenant::new(name, format!("{name}.example"));
        let id = self.tenants().create(&self.op, new).await.unwrap().id;
        let admin = NewUser::new(format!("root@{name}.example"));
        let admin = self.tenants().bootstrap_admin(&self.op, id, admin).await.unwrap().id;
        let ctx = self.tenancy.contexts().context(id, admin).await.unwrap();
        self.tenancy.keys().create(&ctx, ApiKeyRequest::new("a key")).await.unwrap();
        let World { stores, env, .. } = &self.world;
        let agent = self.world.agent(&ctx).await;
        let now = env.now();
        let session =
            SessionRecord { id: env.id(), agent: agent.id, user: admin, active_run: None, created_at: now };
        stores.sessions.open(&ctx, session, Effects::none()).await.unwrap();
        let held = self.world.run(&ctx, &agent).await;
        stores.runs.commit(&held.fence, batch(&held, 40, name), Effects::none()).await.unwrap();
        let signal = Signal::Cancel { by: admin };
        stores.index.signal(&ctx, held.run.id, env.id(), signal, Effects::none()).await.unwrap();
        let key = BudgetKey::new(agent.id, Dimension::Cost);
        let usage = UsageEvent {
            id: env.id(),
            meter: Meter::from_name("llm.requests").unwrap(),
            quantity: 3,
            at: now,
            user: Some(admin),
            agent: None,
            run: None,
            model: Some("m".into()),
            cost: None,
        };
        let event = PlatformEvent::of(&ctx, env, "trial.made", admin, serde_json::json!({}));
        let quota =
            vec![QuotaOp::Define(key.clone(), Some(100)), QuotaOp::Reserve(env.id(), vec![(key, 40)])];
        let effects = Effects { quota, usage: vec![usage], events: vec![event], ..Effects::none() };
        stores.effects.apply(&ctx, effects).await.unwrap();
        let lease = fill(stores, env, &ctx).await;
        // One is confirmed, the others are not.
        let events = stores.events.read(&ctx, 0, 100).await.unwrap();
        stores.events.published(&events[..1]).await.unwrap();
        Full { ctx, id, admin, held, lease }
    }

    /// The rows of a tenant, or of the platform's log, in every table that has any.
    pub(crate) async fn dump(&self, tenant: &[u8; 16]) -> Dump {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.file("test.db")).read_only(true);
        let mut conn = options.connect().await.unwrap();
        let mut dump = Dump::new();
        for table in self.layout().tables {
            let columns: Vec<String> =
                table.columns.iter().map(|column| format!("quote({})", column.name)).collect();
            let (owner, columns) = (table.columns[0].name, columns.join("||' '||"));
            let sql = format!("SELECT {columns} FROM {} WHERE {owner} = $1 ORDER BY 1", table.name);
            let rows = sqlx::query(AssertSqlSafe(sql)).bind(&tenant[..]).fetch_all(&mut conn).await.unwrap();
            if !rows.is_empty() {
                let rows = rows.iter().map(|row| row.get::<String, _>(0)).collect();
                dump.insert(table.name.to_owned(), rows);
            }
        }
        conn.close().await.unwrap();
        dump
    }

    pub(crate) async fn of(&self, tenant: TenantId) -> Dump {
        self.dump(tenant.uuid().as_bytes()).await
    }

    /// The rows of the schema's tables: names of columns by name of table.
    pub(crate) async fn schema(&self) -> BTreeMap<String, Vec<(String, String, bool)>> {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.file("test.db")).read_only(true);
        let mut conn = options.connect().await.unwrap();
        let sql = "SELECT m.name, p.name, p.type, p.\"notnull\" FROM sqlite_schema m, pragma_table_info(m.name) p \
                   WHERE m.type = 'table' ORDER BY m.name, p.cid";
        let mut schema: BTreeMap<String, Vec<(String, String, bool)>> = BTreeMap::new();
        for row in sqlx::query(sql).fetch_all(&mut conn).await.unwrap() {
            let column = (row.get(1), row.get(2), row.get::<i64, _>(3) == 0);
            schema.entry(row.get(0)).or_default().push(column);
        }
        conn.close().await.unwrap();
        schema
    }

    /// Resumes a tenant that came back, and acts as its admin.
    pub(crate) async fn resume(&self, tenant: TenantId, admin: UserId) -> Context {
        let resumed = self.tenants().resume(&self.op, tenant).await.unwrap();
        assert_eq!(resumed.state, TenantState::Active);
        self.tenancy.contexts().context(tenant, admin).await.unwrap()
    }
}

#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.map_err(|error: Error| error.kind()).unwrap_err()
}

/// Ends the delivery that somebody has had since the tenant was filled.
pub(crate) async fn end_held(stores: &Stores, ctx: &Context) -> Result<()> {
    let mut held = None;
    for endpoint in stores.endpoints.list(ctx, PageRequest::default()).await?.items {
        let deliveries = stores.inbox.list(ctx, endpoint.id, PageRequest::default()).await?.items;
        held = deliveries.into_iter().find(|one| one.new.key == HELD).or(held);
    }
    let done = DeliveryEnd::Done(vec![]);
    stores.inbox.finish(ctx.tenant(), held.unwrap().new.id, 1, done, Effects::none()).await
}
