//! Two shards, the services over them, and what there is of a tenant wherever it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_core::archive::{Part, Value};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::{Effects, Guard, OperatorEffects};
use agentprovision_core::id::TenantId;
use agentprovision_core::tenant::Tenant;
use agentprovision_core::{ErrorKind, OperatorContext, Result};
use agentprovision_tenancy::placement::{
    Pause, PlacedBackend, Placement, PlacementState, Placements, Shard, Step, rendezvous,
};
use tokio::sync::mpsc;

use crate::archives::world::Home;
use crate::world::{Database, Folder, World, manual_env, shared};

pub(super) struct Placed {
    pub(super) home: Home,
    pub(super) placements: Placements,
    pub(super) shards: Vec<Shard>,
    pub(super) backend: PlacedBackend,
}

/// Rows by table.
pub(super) type Rows = BTreeMap<&'static str, Vec<Vec<Value>>>;

impl Placed {
    /// Over two shards, `one` and `two`.
    pub(super) async fn new() -> Self {
        let folder = Arc::new(Folder::new());
        let (second, database) = shared(&folder).await;
        let shards = vec![Shard::new("one", folder.url("one.db")), Shard::new("two", second)];
        Self::open(folder, shards, database).await.unwrap()
    }

    pub(super) async fn open(
        folder: Arc<Folder>,
        shards: Vec<Shard>,
        database: Option<Database>,
    ) -> Result<Self> {
        let (clock, env) = manual_env();
        let backend = PlacedBackend::open(shards.clone(), env.clone()).await?;
        let home = Home::over(World::over(Arc::new(backend.clone()), clock, env, folder, database));
        let placements = Placements::new(home.tenancy.access().clone(), Some(&backend));
        Ok(Self { home, placements, shards, backend })
    }

    /// The service, whose movers are held up before a step.
    pub(super) fn pausing(&self, at: Step) -> (Placements, Pause) {
        let (backend, pause) = self.backend.pausing(at);
        (Placements::new(self.home.tenancy.access().clone(), Some(&backend)), pause)
    }

    /// Another process over the same shards.
    pub(super) async fn beside(&self) -> Self {
        Self::open(self.home.world.folder.clone(), self.shards.clone(), None).await.unwrap()
    }

    /// One of the shards alone, as whoever does not know of the others sees it.
    pub(super) async fn alone(&self, shard: &str) -> Stores {
        let shard = self.shards.iter().find(|other| other.name == shard).unwrap();
        let (_, env) = manual_env();
        agentprovision_tenancy::store::connect(&shard.url, env).await.unwrap().stores()
    }

    pub(super) fn op(&self) -> &OperatorContext {
        &self.home.op
    }

    pub(super) fn stores(&self) -> &Stores {
        &self.home.world.stores
    }

    pub(super) async fn at(&self, tenant: TenantId) -> Placement {
        self.placements.get(self.op(), tenant).await.unwrap()
    }

    /// Where the hash puts a tenant.
    pub(super) fn hashed(&self, tenant: TenantId) -> &str {
        let place = rendezvous(tenant, self.shards.iter().map(|shard| (&*shard.name, shard.weight)));
        &self.shards[place.unwrap()].name
    }

    /// A tenant that goes to a shard.
    pub(super) fn tenant_of(&self, shard: &str) -> Tenant {
        loop {
            let tenant = self.home.world.new_tenant("Acme");
            if self.hashed(tenant.id) == shard {
                return tenant;
            }
        }
    }

    /// A tenant with something in every table.
    pub(super) async fn full(&self, name: &str) -> (crate::archives::world::Full, String, String) {
        let full = self.home.full(name).await;
        let from = self.at(full.id).await.shard;
        let to = if from == "one" { "two" } else { "one" };
        (full, from, to.to_owned())
    }

    /// Everything of a tenant in its home.
    pub(super) async fn rows(&self, tenant: TenantId) -> Rows {
        rows(self.stores(), self.op(), tenant).await.unwrap()
    }

    pub(super) async fn records(&self, full: &crate::archives::world::Full) -> Vec<AuditRecord> {
        let entries = self.stores().audit.entries(&full.ctx, 0, 1000).await.unwrap();
        entries.iter().map(|entry| entry.record().unwrap()).collect()
    }

    pub(super) async fn platform(&self) -> Vec<AuditRecord> {
        let entries = self.stores().audit.platform_entries(self.op(), 0, 1000).await.unwrap();
        entries.iter().map(|entry| entry.record().unwrap()).collect()
    }

    /// Checks that a tenant is at home in one shard, with these rows, and nothing is left in the other one.
    pub(super) async fn settled(&self, full: &crate::archives::world::Full, shard: &str, before: &Rows) {
        let at = self.at(full.id).await;
        assert_eq!((&*at.shard, at.state, at.other.as_deref()), (shard, PlacementState::Settled, None));
        let other = if shard == "one" { "two" } else { "one" };
        let error = rows(&self.alone(other).await, self.op(), full.id).await.unwrap_err();
        // It was never there, or has left.
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable), "{error:?}");
        let own = self.alone(other).await.tenants.own(&full.ctx).await.unwrap_err();
        assert!(own.is(ErrorKind::NotFound), "{own:?}");
        self.stays(full, shard, before).await;
    }

    /// Checks that a tenant is at home in one shard, with these rows, and can be changed there.
    pub(super) async fn stays(&self, full: &crate::archives::world::Full, shard: &str, before: &Rows) {
        assert_eq!(self.at(full.id).await.shard, shard);
        let after = self.rows(full.id).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        for (table, rows) in before {
            let now = &after[table];
            match *table {
                // The log and the events have gone on, and the run was given up.
                "audit_log" | "events" => assert_eq!(rows[..], now[..rows.len()], "{table}"),
                "audit_heads" | "event_heads" | "run_leases" => assert_eq!(rows.len(), now.len(), "{table}"),
                _ => assert_eq!(rows, now, "{table}"),
            }
        }
        // What it holds is accepted, and told once.
        let log = self.records(full).await;
        let ids: std::collections::BTreeSet<_> = log.iter().map(|record| record.id).collect();
        assert_eq!(ids.len(), log.len());
        let entries = self.stores().audit.entries(&full.ctx, 0, 1000).await.unwrap();
        let leaves: Vec<_> = entries.iter().map(|entry| entry.leaf()).collect();
        let checkpoint = self.stores().audit.checkpoint(&full.ctx).await.unwrap();
        assert_eq!(checkpoint.root, agentprovision_core::audit::merkle::root(&leaves));
        let events = self.stores().events.read(&full.ctx, 0, 1000).await.unwrap();
        assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64));
        // Changes are accepted here.
        let guarded = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
        self.stores().effects.apply(&full.ctx, guarded).await.unwrap();
    }
}

/// Everything of a tenant in some stores.
pub(super) async fn rows(stores: &Stores, op: &OperatorContext, tenant: TenantId) -> Result<Rows> {
    let layout = stores.archives.layout()?;
    let (sender, mut receiver) = mpsc::channel(2);
    let read = async {
        let mut found = Rows::new();
        while let Some(part) = receiver.recv().await {
            if let Part::Rows(table, rows) = part {
                found.entry(layout.tables[table].name).or_default().extend(rows);
            }
        }
        found
    };
    let exported = stores.archives.export(op, tenant, sender, OperatorEffects::default());
    let (exported, found) = futures_util::join!(exported, read);
    exported.map(|()| found)
}
