//! The services on the store in memory: what they do, what they refuse and with which kind, and what they record.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise"
)]

mod contexts;
mod kept;
mod keys;
mod tenants;
mod users;

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::Env;
use agentprovision_core::audit::{AuditRecord, AuditResult};
use agentprovision_core::authz::PermissionRegistry;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::clock::{ManualClock, OsEntropy, Timestamp};
use agentprovision_core::context::{Context, ContextIssuer, OperatorContext};
use agentprovision_core::error::{ErrorKind, Result};
use agentprovision_core::id::TenantId;
use agentprovision_core::identity::{Role, User};
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{NewUser, Pepper};
use agentprovision_tenancy::rbac::{RoleSpec, Roles};
use agentprovision_tenancy::tenant::NewTenant;

/// A platform with the tenant `acme` and its admin `root@acme.example`.
struct World {
    tenancy: Tenancy,
    issuer: ContextIssuer,
    clock: ManualClock,
    stores: Stores,
    operator: OperatorContext,
    acme: TenantId,
    root: User,
    admin: Context,
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let db = MemoryDb::new(env.clone());
        Self::over(clock, env, db.stores()).await
    }

    async fn over(clock: ManualClock, env: Env, stores: Stores) -> Self {
        let issuer = ContextIssuer::new(env);
        let tenancy = Tenancy::new(issuer.clone(), &stores, roles(), pepper());
        let operator = issuer.operator("ops@host.example", "sign-up").unwrap();
        let new = NewTenant::new("acme", "acme.example");
        let acme = tenancy.tenants().create(&operator, new).await.unwrap().id;
        let first = NewUser::new("root@acme.example");
        let root = tenancy.tenants().bootstrap_admin(&operator, acme, first).await.unwrap();
        let admin = tenancy.contexts().context(acme, root.id).await.unwrap();
        Self { tenancy, issuer, clock, stores, operator, acme, root, admin }
    }

    async fn user(&self, name: &str, roles: &[Role]) -> User {
        let new = NewUser::new(format!("{name}@acme.example")).roles(roles.iter().cloned());
        self.tenancy.users().create(&self.admin, new).await.unwrap()
    }

    async fn context(&self, user: &User) -> Context {
        self.tenancy.contexts().context(self.acme, user.id).await.unwrap()
    }

    /// Another tenant with its admin.
    async fn globex(&self) -> (TenantId, Context) {
        let new = NewTenant::new("globex", "globex.example");
        let globex = self.tenancy.tenants().create(&self.operator, new).await.unwrap().id;
        let first = NewUser::new("root@globex.example");
        let root = self.tenancy.tenants().bootstrap_admin(&self.operator, globex, first).await.unwrap();
        (globex, self.tenancy.contexts().context(globex, root.id).await.unwrap())
    }

    /// The actions in acme's audit log.
    async fn audit(&self) -> Vec<AuditRecord> {
        let entries = self.stores.audit.entries(&self.admin, 0, 100).await.unwrap();
        entries.iter().map(|entry| entry.record().unwrap()).collect()
    }

    async fn platform_audit(&self) -> Vec<AuditRecord> {
        let entries = self.stores.audit.platform_entries(&self.operator, 0, 100).await.unwrap();
        entries.iter().map(|entry| entry.record().unwrap()).collect()
    }

    async fn events(&self) -> Vec<String> {
        let events = self.stores.events.read(&self.admin, 0, 100).await.unwrap();
        events.into_iter().map(|numbered| numbered.event.kind).collect()
    }
}

fn roles() -> Roles {
    let mut permissions = PermissionRegistry::default();
    let refund = permissions.register("orders:refund").unwrap();
    let known = |name: &str| permissions.get(name).unwrap();
    let custom = [
        // Nobody holds `orders:refund`, so nobody can give this role.
        RoleSpec::new("cashier").permissions([refund]),
        RoleSpec::new("helpdesk").permissions(["users:read", "users:update", "users:create"].map(known)),
        RoleSpec::new("assigner")
            .permissions(["users:update", "users:create", "roles:assign", "users:read"].map(known)),
    ];
    let mut roles = Roles::new(permissions.clone());
    roles.register_all(custom).unwrap();
    roles
}

fn pepper() -> Pepper {
    Pepper::new(&"a pepper for tests only".into()).unwrap()
}

#[track_caller]
fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    let error = result.unwrap_err();
    assert!(error.message().len() < 1000, "a message of {} bytes", error.message().len());
    assert!(!error.to_string().contains('\0'), "{error:?}");
    error.kind()
}

/// Names and addresses nothing may be called: empty, with U+0000, of 10 MB.
fn bad_names() -> [(String, ErrorKind); 4] {
    [
        (String::new(), ErrorKind::InvalidInput),
        (" \u{a0} ".into(), ErrorKind::InvalidInput),
        ("a\u{0}b".into(), ErrorKind::InvalidInput),
        ("a".repeat(10 << 20), ErrorKind::TooLarge),
    ]
}

/// Everything here is over within moments; a test that hangs fails.
async fn watched(test: impl Future<Output = ()>) {
    Env::default().timeout(Duration::from_secs(30), test).await.expect("the test hangs");
}

fn actions(log: &[AuditRecord]) -> Vec<&str> {
    assert!(log.iter().all(|record| record.result == AuditResult::Success));
    log.iter().map(|record| record.action.as_str()).collect()
}

macro_rules! scenarios {
    ($($(#[$attr:meta])* async fn $name:ident($world:ident) $body:block)*) => {$(
        $(#[$attr])*
        #[tokio::test]
        async fn $name() {
            crate::watched(async {
                let $world = crate::World::new().await;
                $body
            })
            .await;
        }
    )*};
}
pub(crate) use scenarios;
