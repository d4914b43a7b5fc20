//! The tables of a tenant, in one list: what is exported, restored and deleted, in this order or its reverse.
//!
//! A test compares the list with the schema, so that a table or a column that is added later cannot be forgotten.

use agentprovision_core::archive::{Column, Kind, Layout, Table, Value};

use super::multi::Multi;
use super::value::{TenantSql, tenant_sql};

/// What becomes of a table when its tenant is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its rows go.
    Gone,
    /// Its rows stay: the tombstone, the head of the audit log, the count of events.
    Kept,
    /// Its rows stay without what they say: the records of the audit log.
    Erased,
}

/// How the rows of a table are read page by page: what is bound behind the tenant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pages {
    /// The values of these columns in the last row read, then the limit.
    After(&'static [usize]),
    /// The limit, then how many rows were read.
    Offset,
}

/// A table with its statements.
#[derive(Debug)]
pub(super) struct TableSql {
    pub(super) fate: Fate,
    pub(super) pages: Pages,
    pub(super) page: TenantSql,
    pub(super) insert: &'static Multi,
    pub(super) delete: TenantSql,
}

const fn nullable(marks: &[&str]) -> bool {
    !marks.is_empty()
}

/// `table [fate] (tenant, columns…) "page" pages;` — the page is what stands behind the tenant's condition.
macro_rules! tables {
    ($($table:ident [$fate:ident] ($owner:ident $(, $column:ident $kind:ident $($null:ident)?)*) $page:literal $pages:expr;)*) => {
        /// The tables by name, for archives.
        pub(super) static LAYOUT: Layout = Layout {
            version: SCHEMA,
            tables: &[$(Table {
                name: stringify!($table),
                columns: &[
                    Column { name: stringify!($owner), kind: Kind::Id, nullable: false },
                    $(Column {
                        name: stringify!($column),
                        kind: Kind::$kind,
                        nullable: nullable(&[$(stringify!($null))?]),
                    },)*
                ],
            },)*],
        };

        /// Their statements, in the same order.
        pub(super) static TABLES: &[TableSql] = &[$(TableSql {
            fate: Fate::$fate,
            pages: $pages,
            page: tenant_sql!(concat!(
                "SELECT ", stringify!($owner), $(", ", stringify!($column),)* " FROM ", stringify!($table),
                " WHERE ", stringify!($owner), " = $1 ", $page
            )),
            insert: {
                static INSERT: Multi = Multi::new(
                    concat!(
                        "INSERT INTO ", stringify!($table), " (", stringify!($owner),
                        $(", ", stringify!($column),)* ") VALUES "
                    ),
                    [stringify!($owner), $(stringify!($column),)*].len(),
                    "",
                );
                &INSERT
            },
            delete: tenant_sql!(concat!(
                "DELETE FROM ", stringify!($table), " WHERE ", stringify!($owner), " = $1"
            )),
        },)*];
    };
}

/// The version of these tables in archives, of every SQL store. A migration that changes none of them leaves it as it is.
/// Until the first release, whose version is 1, tables are added without a new one.
pub(super) const SCHEMA: u32 = 1;

use Pages::{After, Offset};

// Parents before their children.
tables! {
    tenants [Kept] (
        tenant_id, name Text, domain Text null, state Text, plan Text null, region Text null, settings Text,
        created_at Int, updated_at Int, revision Int
    ) "ORDER BY tenant_id LIMIT $2 OFFSET $3" Offset;
    users [Gone] (
        tenant_id, id Id, email Text, name Text null, roles Text, active Int, created_at Int, updated_at Int,
        revision Int
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    api_keys [Gone] (
        tenant_id, id Id, user_id Id, name Text, digest Hash, scopes Text null, expires_at Int null,
        revoked_at Int null, created_at Int
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    agents [Gone] (
        tenant_id, id Id, name Text, state Text, latest Hash, aliases Text, project_id Id null, created_by Id,
        created_at Int, updated_at Int, revision Int
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    agent_versions [Gone] (tenant_id, agent_id Id, hash Hash, canonical Text, created_at Int)
        "AND (agent_id, hash) > ($2, $3) ORDER BY agent_id, hash LIMIT $4" After(&[1, 2]);
    sessions [Gone] (tenant_id, id Id, agent_id Id, user_id Id, active_run Id null, created_at Int)
        "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    runs [Gone] (
        tenant_id, id Id, agent_id Id, version Hash, user_id Id, project_id Id null, session_id Id null,
        parent_run Id null, idem_key Text null, idem_hash Hash null, on_behalf_of Text null, region Text null,
        status Text, state_version Int, salt Id, seq Int, head Hash, deadline Int, totals Text, output Hash null,
        error Text null, created_at Int, updated_at Int, finished_at Int null
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    run_leases [Gone] (
        tenant_id, run_id Id, ready_at Int null, lease_until Int null, epoch Int, state_version Int, worker_id Id
    ) "AND run_id > $2 ORDER BY run_id LIMIT $3" After(&[1]);
    journal [Gone] (tenant_id, run_id Id, seq Int, body Bytes, hash Hash)
        "AND (run_id, seq) > ($2, $3) ORDER BY run_id, seq LIMIT $4" After(&[1, 2]);
    payloads [Gone] (tenant_id, run_id Id, hash Hash, bytes Bytes, key_id Text null)
        "AND (run_id, hash) > ($2, $3) ORDER BY run_id, hash LIMIT $4" After(&[1, 2]);
    signals [Gone] (tenant_id, run_id Id, id Id, pos Int, body Text)
        "AND (run_id, id) > ($2, $3) ORDER BY run_id, id LIMIT $4" After(&[1, 2]);
    usage_events [Gone] (
        tenant_id, id Id, meter Text, quantity Int, at Int, user_id Id null, agent_id Id null, run_id Id null,
        model Text null, cost Int null
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    budgets [Gone] (tenant_id, scope Text, dimension Text, cap Int, spent Int, reserved Int, overrun Int)
        "AND (scope, dimension) > ($2, $3) ORDER BY scope, dimension LIMIT $4" After(&[1, 2]);
    reservations [Gone] (tenant_id, id Id, demand Text) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    secrets [Gone] (
        tenant_id, path Text, sealed Bytes, version Int, lease_holder Id null, lease_epoch Int, lease_until Int null
    ) "AND path > $2 ORDER BY path LIMIT $3" After(&[1]);
    integrations [Gone] (
        tenant_id, id Id, name Text, connector Text, auth Text, settings Text, account Text null, state Text,
        health Text null, created_by Id, created_at Int, updated_at Int, revision Int
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    idempotency_keys [Gone] (
        tenant_id, scope Text, key Text, input Hash null, epoch Int, lease_until Int null, answer Bytes null,
        keep Int, forget_at Int
    ) "AND (scope, key) > ($2, $3) ORDER BY scope, key LIMIT $4" After(&[1, 2]);
    webhook_endpoints [Gone] (
        tenant_id, id Id, name Text, vendor Text, scheme Text, integration_id Id null, triggers Text, state Text,
        owner Id, created_at Int, updated_at Int, revision Int
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    deliveries [Gone] (
        tenant_id, id Id, endpoint_id Id, key Text, digest Hash, kind Text, headers Text, received_at Int, repeats Int,
        conflicts Int, conflict_digest Hash null, body Bytes
    ) "AND id > $2 ORDER BY id LIMIT $3" After(&[1]);
    delivery_work [Gone] (
        tenant_id, delivery_id Id, state Text, ready_at Int null, lease_until Int null, worker_id Id null, epoch Int,
        attempts Int, error Text null, runs Text, finished_at Int null
    ) "AND delivery_id > $2 ORDER BY delivery_id LIMIT $3" After(&[1]);
    webhook_marks [Gone] (tenant_id, endpoint_id Id, key Text, version Text)
        "AND (endpoint_id, key) > ($2, $3) ORDER BY endpoint_id, key LIMIT $4" After(&[1, 2]);
    audit_log [Erased] (log_id, seq Int, leaf Hash, bytes Bytes) "AND seq > $2 ORDER BY seq LIMIT $3" After(&[1]);
    audit_heads [Kept] (log_id, head Bytes) "ORDER BY log_id LIMIT $2 OFFSET $3" Offset;
    audit_pending [Gone] (log_id, bytes Bytes) "ORDER BY pos LIMIT $2 OFFSET $3" Offset;
    event_heads [Kept] (tenant_id, seq Int) "ORDER BY tenant_id LIMIT $2 OFFSET $3" Offset;
    events [Gone] (tenant_id, seq Int, bytes Bytes, published Int) "AND seq > $2 ORDER BY seq LIMIT $3" After(&[1]);
    outbox [Gone] (tenant_id, bytes Bytes) "ORDER BY pos LIMIT $2 OFFSET $3" Offset;
}

/// Tables of a tenant that no archive has, because they tell of archives: their rows go with the tenant.
pub(super) static APART: &[TenantSql] = &[tenant_sql!("DELETE FROM backups WHERE tenant_id = $1")];

/// What comes before every key in a column.
pub(super) fn before(kind: Kind) -> Value {
    match kind {
        Kind::Id => Value::Bytes(vec![0; 16]),
        Kind::Hash => Value::Bytes(vec![0; 32]),
        Kind::Bytes => Value::Bytes(Vec::new()),
        Kind::Int => Value::Int(i64::MIN),
        Kind::Real => Value::Real(f64::NEG_INFINITY),
        Kind::Text => Value::Text(String::new()),
    }
}
