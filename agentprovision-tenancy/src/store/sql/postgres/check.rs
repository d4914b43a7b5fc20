//! What has to hold before the platform starts on a database: who it is, what the tables are protected by, and that one
//! tenant does not see another.
//!
//! The closed list of system tables is `tenants`, `run_leases`, `delivery_work`, `due`, `epochs` and those of placement (`placements`,
//! `placement_domains`, `residences`, `shards`): they are read above tenants and written within one. `schema_version`
//! belongs to nobody. Every other table of the schema keeps tenants apart.

use agentprovision_core::{Env, Error, ErrorKind, Result};
use uuid::Uuid;

use super::prepare::MIGRATIONS;
use crate::store::sql::conn::{Conn, Mode, SystemTx};
use crate::store::sql::value::{Row, SystemSql, system_sql, tenant_sql, values};

/// What the policies of a tenant's table compare its key with, as the database prints it, without spaces.
const POLICY: &str =
    "(SELECT(NULLIF(current_setting('app.current_tenant_id'::text,true),''::text))::uuidAS\"nullif\")";

pub(in crate::store::sql) fn too_new(found: usize) -> Error {
    Error::new(
        ErrorKind::SchemaTooNew,
        format!(
            "the database has schema version {found}, and this version of the platform knows {}",
            MIGRATIONS.len()
        ),
    )
}

/// Refuses to start.
fn unsafe_to_start(what: String) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the platform does not start on this database: {what}"))
}

/// One thing that must not be there: each row of the statement is a complaint.
struct Rule {
    sql: SystemSql,
    fix: &'static str,
}

const PREPARE: &str =
    "`cargo run --example migrate` prepares the database and makes a login for the platform";

macro_rules! rule {
    ($sql:expr, $fix:expr) => {
        Rule { sql: system_sql!($sql), fix: $fix }
    };
}

/// Row security says nothing to such users, so they must not be the platform's.
const LOGIN: &[Rule] = &[
    rule!(
        "SELECT 'the user ' || rolname || ' is a superuser' FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolsuper",
        PREPARE
    ),
    rule!(
        "SELECT 'the user ' || rolname || ' has BYPASSRLS' FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolbypassrls",
        PREPARE
    ),
    rule!(
        "SELECT 'the user ' || r.rolname || ' has ' || a.name FROM pg_roles r \
         CROSS JOIN LATERAL (VALUES ('CREATEROLE', r.rolcreaterole), ('REPLICATION', r.rolreplication)) a (name, has) \
         WHERE r.rolname IN (current_user, session_user) AND a.has AND NOT r.rolsuper",
        PREPARE
    ),
    rule!(
        "SELECT DISTINCT 'the user ' || r.rolname || ' owns tables of the platform, or may act as their owner' FROM pg_class c \
         CROSS JOIN pg_roles r WHERE c.relnamespace = 'agentprovision'::regnamespace AND r.rolname IN (current_user, session_user) \
         AND pg_has_role(r.oid, c.relowner, 'MEMBER')",
        PREPARE
    ),
    rule!(
        "SELECT DISTINCT 'the user ' || current_user || ' may act as ' || r.rolname || ', which sees past row security' \
         FROM pg_roles r WHERE (r.rolsuper OR r.rolbypassrls OR r.rolname IN ('pg_read_server_files', 'pg_write_server_files', \
         'pg_execute_server_program')) AND pg_has_role(current_user, r.oid, 'MEMBER')",
        "revoke that role from the platform's user"
    ),
    rule!(
        "SELECT 'the user ' || current_user || ' may ' || p.name || ' the table ' || c.relname FROM pg_class c \
         CROSS JOIN (VALUES ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) p (name) \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, p.name)",
        "revoke that right"
    ),
    rule!(
        "SELECT 'the user ' || current_user || ' may create in the schema ' || nspname FROM pg_namespace \
         WHERE nspname = 'agentprovision' AND has_schema_privilege(oid, 'CREATE')",
        "revoke that right"
    ),
    rule!(
        "SELECT 'a tenant is set before anybody has set one: app.current_tenant_id' \
         WHERE coalesce(current_setting('app.current_tenant_id', true), '') <> ''",
        "`ALTER ROLE … RESET app.current_tenant_id`, or of the database"
    ),
];

/// What the schema must not have.
const SCHEMA: &[Rule] = &[
    rule!(
        "SELECT 'the table ' || relname || ' has no forced row security' FROM pg_class \
         WHERE relnamespace = 'agentprovision'::regnamespace AND relkind IN ('r', 'p', 'f') AND relname <> 'schema_version' \
         AND NOT (relrowsecurity AND relforcerowsecurity)",
        "`ALTER TABLE … ENABLE ROW LEVEL SECURITY` and `… FORCE ROW LEVEL SECURITY`, with the policies of the other tables"
    ),
    rule!(
        "SELECT 'the table ' || c.relname || ' does not keep tenants apart by the policy tenant_isolation' FROM pg_class c \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'log_id') \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind IN ('r', 'p') \
         AND c.relname NOT IN ('tenants', 'run_leases', 'delivery_work', 'due', 'epochs', 'placements', 'placement_domains', 'residences', 'shards') AND NOT EXISTS (SELECT 1 FROM pg_policies p \
         WHERE p.schemaname = 'agentprovision' AND p.tablename = c.relname AND p.policyname = 'tenant_isolation' \
         AND p.permissive = 'RESTRICTIVE' AND p.cmd = 'ALL' AND p.roles = '{public}' \
         AND regexp_replace(p.qual, '\\s', '', 'g') = '(' || a.attname || '=' || $1::text || ')' AND p.with_check = p.qual)",
        "make the policy as `migrations/postgres` does"
    ),
    rule!(
        "SELECT 'the table ' || c.relname || ' has no tenant' FROM pg_class c \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind IN ('r', 'p', 'f') AND c.relname <> 'schema_version' \
         AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'log_id'))",
        "move it to another schema"
    ),
    rule!(
        "SELECT 'the system table ' || p.tablename || ' is read above tenants without saying so' FROM pg_policies p \
         WHERE p.schemaname = 'agentprovision' AND p.tablename IN ('tenants', 'run_leases', 'delivery_work', 'due', 'epochs', 'placements', 'placement_domains', 'residences', 'shards') AND p.permissive = 'PERMISSIVE' \
         AND p.cmd IN ('SELECT', 'ALL') AND p.qual NOT LIKE '%app.above_tenants%'",
        "make the policies as `migrations/postgres` does"
    ),
    rule!(
        "SELECT 'writing the system table ' || c.relname || ' is not limited to one tenant' FROM pg_class c \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'log_id') \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relname IN ('tenants', 'run_leases', 'delivery_work', 'due', 'epochs', 'placements', 'placement_domains', 'residences', 'shards') \
         AND (EXISTS (SELECT 1 FROM pg_policies p WHERE p.schemaname = 'agentprovision' AND p.tablename = c.relname \
         AND p.permissive = 'PERMISSIVE' AND p.cmd <> 'SELECT' AND (regexp_replace(coalesce(p.qual, p.with_check), '\\s', '', 'g') <> '(' || a.attname || '=' || $1::text || ')' \
         OR regexp_replace(coalesce(p.with_check, p.qual), '\\s', '', 'g') <> '(' || a.attname || '=' || $1::text || ')')))",
        "make the policies as `migrations/postgres` does"
    ),
    rule!(
        "SELECT 'a key of the table ' || c.relname || ' does not begin with the tenant: ' || i.relname FROM pg_index x \
         JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0] \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND (x.indisunique OR x.indisexclusion) AND c.relname NOT IN ('schema_version', 'tenants', 'placement_domains') \
         AND coalesce(a.attname, '') NOT IN ('tenant_id', 'log_id')",
        "its violation would tell one tenant what another has; put the tenant first"
    ),
    rule!(
        "SELECT 'a foreign key of the table ' || c.relname || ' does not begin with the tenant: ' || k.conname FROM pg_constraint k \
         JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class t ON t.oid = k.confrelid \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] \
         LEFT JOIN pg_attribute f ON f.attrelid = t.oid AND f.attnum = k.confkey[1] \
         WHERE 'agentprovision'::regnamespace IN (c.relnamespace, t.relnamespace) AND k.contype = 'f' \
         AND (coalesce(a.attname, '') <> 'tenant_id' OR coalesce(f.attname, '') <> 'tenant_id')",
        "its check sees past row security; put the tenant first"
    ),
    // Whatever reads the tables, and what reads that in turn. A view with `security_invoker` asks for whoever reads it, also
    // below another one; a materialized view has been filled by somebody.
    rule!(
        "WITH RECURSIVE readers (oid) AS (SELECT oid FROM pg_class WHERE relnamespace = 'agentprovision'::regnamespace AND relkind IN ('r', 'p') \
         UNION SELECT w.ev_class FROM readers r JOIN pg_depend d ON d.refobjid = r.oid AND d.refclassid = 'pg_class'::regclass \
         AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class \
         AND v.relkind IN ('v', 'm')) SELECT CASE v.relkind WHEN 'm' THEN 'the materialized view ' ELSE 'the view ' END \
         || v.relnamespace::regnamespace || '.' || v.relname || ' shows tables of the platform with the rights of its owner' \
         FROM readers JOIN pg_class v USING (oid) WHERE v.relkind = 'm' OR (v.relkind = 'v' AND NOT EXISTS (SELECT 1 \
         FROM pg_options_to_table(v.reloptions) o WHERE o.option_name = 'security_invoker' AND o.option_value::boolean))",
        "drop it, or for a view `ALTER VIEW … SET (security_invoker = true)`"
    ),
    rule!(
        "SELECT DISTINCT 'the rule ' || w.rulename || ' of the table ' || t.relnamespace::regnamespace || '.' || t.relname \
         || ' acts on tables of the platform with the rights of its owner' FROM pg_rewrite w \
         JOIN pg_class t ON t.oid = w.ev_class AND t.relkind NOT IN ('v', 'm') \
         JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass \
         JOIN pg_class c ON c.oid = d.refobjid WHERE c.relnamespace = 'agentprovision'::regnamespace",
        "drop it"
    ),
    rule!(
        "SELECT 'the table ' || c.relnamespace::regnamespace || '.' || c.relname || ' inherits from ' || p.relnamespace::regnamespace || '.' \
         || p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent \
         WHERE c.relkind IN ('r', 'p', 'f') AND 'agentprovision'::regnamespace IN (c.relnamespace, p.relnamespace)",
        "who asks the parent is asked for the parent's policies alone; `ALTER TABLE … NO INHERIT …`"
    ),
    rule!(
        "SELECT 'the trigger ' || g.tgname || ' of the table ' || c.relname || ' is not the platform''s' FROM pg_trigger g \
         JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_proc p ON p.oid = g.tgfoid \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND NOT g.tgisinternal AND p.pronamespace <> c.relnamespace",
        "drop it: it sees what every tenant writes"
    ),
    rule!(
        "SELECT 'the table ' || n.name || ' lacks the trigger ' || n.name || n.kind \
         FROM (VALUES ('audit_pending', '_due'), ('outbox', '_due'), ('events', '_due'), ('tenants', '_epoch'), \
         ('users', '_epoch'), ('api_keys', '_epoch')) n (name, kind) WHERE NOT EXISTS (SELECT 1 \
         FROM pg_trigger g WHERE g.tgrelid = to_regclass('agentprovision.' || n.name) AND g.tgname = n.name || n.kind \
         AND g.tgenabled = 'O')",
        "`ALTER TABLE … ENABLE TRIGGER …`, or make it as `migrations/postgres` does"
    ),
    rule!(
        "SELECT DISTINCT 'everybody may ' || g.privilege_type || ' the table ' || c.relname FROM pg_class c \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL \
         CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION SELECT * FROM aclexplode(a.attacl)) g \
         WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind IN ('r', 'p', 'f', 'v') AND g.grantee = 0",
        "whoever can log in could set a tenant; `REVOKE … FROM PUBLIC`"
    ),
    rule!(
        "SELECT 'the function ' || p.proname || ' runs with the rights of its owner' FROM pg_proc p \
         WHERE p.pronamespace = 'agentprovision'::regnamespace AND p.prosecdef",
        "`ALTER FUNCTION … SECURITY INVOKER`"
    ),
];

/// Checks everything.
///
/// # Errors
/// `schema_too_new`; `unavailable`, with what is wrong and what to do.
pub(in crate::store::sql) async fn check(conn: &mut Conn, env: &Env) -> Result<()> {
    conn.begin(Mode::Read).await?;
    let checked = inspect(&mut SystemTx { conn, env }).await;
    conn.rollback().await?;
    checked?;
    conn.begin(Mode::Write).await?;
    let alone = canary(&mut SystemTx { conn, env }).await;
    conn.rollback().await?;
    match alone {
        // Nobody writes here, so there is nothing to try it with.
        Err(error) if error.is(ErrorKind::ReadOnly) => Ok(()),
        alone => alone,
    }
}

async fn inspect(tx: &mut SystemTx<'_>) -> Result<()> {
    let there = system_sql!(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'agentprovision' \
         AND c.relname = 'schema_version' AND has_schema_privilege(n.oid, 'USAGE')"
    );
    if tx.rows(there, vec![]).await?.is_empty() {
        return Err(unsafe_to_start(format!("it has no tables of the platform for this user; {PREPARE}")));
    }
    complain(tx, LOGIN).await?;
    let sql = system_sql!("SELECT version, oldest FROM schema_version ORDER BY version DESC LIMIT 1");
    let (version, oldest) = match tx.rows(sql, vec![]).await?.pop() {
        Some(mut row) => (row.next::<i64>()?, row.next::<i64>()?),
        None => (0, 0),
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version < known {
        let message = format!("it has schema version {version}, and this version needs {known}; {PREPARE}");
        return Err(unsafe_to_start(message));
    }
    // A newer schema may say that the programs of this version can go on with it.
    if oldest > known {
        return Err(too_new(usize::try_from(version).unwrap_or(usize::MAX)));
    }
    complain(tx, SCHEMA).await
}

async fn complain(tx: &mut SystemTx<'_>, rules: &[Rule]) -> Result<()> {
    let mut found = Vec::new();
    for rule in rules {
        let needs_policy = rule.sql.text(crate::store::sql::value::Dialect::Postgres).contains("$1");
        let values = if needs_policy { values![POLICY] } else { vec![] };
        for mut row in tx.rows(rule.sql, values).await? {
            found.push(format!("{} ({})", row.next::<String>()?, rule.fix));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(unsafe_to_start(found.join("; "))) }
}

/// Two tenants that are nobody's: what one writes the other does not see, and without a tenant nobody sees anything.
async fn canary(tx: &mut SystemTx<'_>) -> Result<()> {
    // The database draws them: the platform's own random numbers are its host's to repeat.
    let drawn = system_sql!("SELECT gen_random_uuid(), gen_random_uuid()");
    let Some(mut row) = tx.rows(drawn, vec![]).await?.pop() else {
        return Err(unsafe_to_start("it does not answer".into()));
    };
    let (ours, theirs): (Uuid, Uuid) = (row.next()?, row.next()?);
    let seen = |rows: Vec<Row>| rows.len();
    let all = system_sql!("SELECT seq FROM event_heads");
    let before = seen(tx.rows(all, vec![]).await?);
    let write = tenant_sql!("INSERT INTO event_heads (tenant_id, seq) VALUES ($1, 1)");
    tx.log(ours).execute(write, vec![]).await?;
    let own = seen(tx.rows(all, vec![]).await?);
    // Entering the other one is a statement of its own tenant.
    tx.log(theirs).exists(tenant_sql!("SELECT 1 FROM event_heads WHERE tenant_id = $1"), vec![]).await?;
    let foreign = seen(tx.rows(all, vec![]).await?);
    if (before, own, foreign) == (0, 1, 0) {
        return Ok(());
    }
    Err(unsafe_to_start(format!(
        "row security does not hold: {before} rows are seen by nobody, {own} by their tenant (of 1) and {foreign} by another"
    )))
}
