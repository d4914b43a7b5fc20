//! Whoever has the platform's login and sends statements of their own, within the tenant the connection is set to.

use std::collections::BTreeMap;

use agentprovision_tenancy::store::postgres::TestDatabase;
use futures_util::TryStreamExt as _;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Cells, Raw, database};

const A: &str = "0190b8a4-aaaa-7000-8000-00000000000a";
const B: &str = "0190b8a4-bbbb-7000-8000-00000000000b";
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// A row of each table, whose every id is the tenant's.
const ROWS: &str = "
    INSERT INTO tenants VALUES ('{t}', 'Acme', '{t}.example', 'active', NULL, NULL, '{}', 0, 0, 1);
    INSERT INTO users VALUES ('{t}', '{t}', 'a@{t}', '{t}', '[]', 1, 0, 0, 1);
    INSERT INTO api_keys VALUES ('{t}', '{t}', '{t}', '{t}', {hash}, NULL, NULL, NULL, 0);
    INSERT INTO agents VALUES ('{t}', '{t}', '{t}', 'draft', {hash}, '{}', NULL, '{t}', 0, 0, 1);
    INSERT INTO agent_versions VALUES ('{t}', '{t}', {hash}, '{}', 0);
    INSERT INTO sessions VALUES ('{t}', '{t}', '{t}', '{t}', NULL, 0);
    INSERT INTO runs (tenant_id, id, agent_id, version, user_id, status, state_version, salt, seq, head, deadline,
        totals, created_at, updated_at)
        VALUES ('{t}', '{t}', '{t}', {hash}, '{t}', 'running', 1, substr({hash}, 1, 16), 1, {hash}, 0, '{}', 0, 0);
    INSERT INTO run_leases VALUES ('{t}', '{t}', 0, 0, 1, 1, '{t}');
    INSERT INTO journal VALUES ('{t}', '{t}', 1, '{t}', {hash});
    INSERT INTO payloads VALUES ('{t}', '{t}', {hash}, '{t}', NULL);
    INSERT INTO signals VALUES ('{t}', '{t}', '{t}', 1, '{t}');
    INSERT INTO usage_events (tenant_id, id, meter, quantity, at) VALUES ('{t}', '{t}', 'steps', 1, 0);
    INSERT INTO budgets VALUES ('{t}', '{t}', 'steps', 10, 1, 1, 0);
    INSERT INTO reservations VALUES ('{t}', '{t}', '[]');
    INSERT INTO audit_pending (log_id, bytes) VALUES ('{t}', '{t}');
    INSERT INTO audit_log VALUES ('{t}', 0, {hash}, '{t}');
    INSERT INTO audit_heads VALUES ('{t}', '{t}');
    INSERT INTO outbox (tenant_id, bytes) VALUES ('{t}', '{t}');
    INSERT INTO events VALUES ('{t}', 1, '{t}', 0);
    INSERT INTO event_heads VALUES ('{t}', 1);
    INSERT INTO backups VALUES ('{t}', '{t}', 1, 0, 'in_progress', 0, 0, NULL, NULL, NULL, NULL, NULL, 0);
    INSERT INTO secrets VALUES ('{t}', '{t}', '{t}', 1, '{t}', 1, 0);
    INSERT INTO integrations VALUES ('{t}', '{t}', '{t}', '{t}', 'a', '{}', NULL, 'active', NULL, '{t}', 0, 0, 1);
    INSERT INTO idempotency_keys VALUES ('{t}', '{t}', '{t}', {hash}, 1, NULL, '{t}', 0, 0);
    INSERT INTO webhook_endpoints VALUES ('{t}', '{t}', '{t}', '{t}', '{}', NULL, '[]', 'active', '{t}', 0, 0, 1);
    INSERT INTO deliveries VALUES ('{t}', '{t}', '{t}', '{t}', {hash}, '{t}', '{}', 0, 0, 0, NULL, '{t}');
    INSERT INTO delivery_work VALUES ('{t}', '{t}', 'pending', 0, 0, '{t}', 1, 1, NULL, '[]', NULL);
    INSERT INTO webhook_marks VALUES ('{t}', '{t}', '{t}', '{t}');
    INSERT INTO duties VALUES ('{t}', 'relay', '{t}', 0);
    INSERT INTO placements VALUES ('{t}', '{t}', 'settled', NULL, NULL, NULL, 1, 0);
    INSERT INTO placement_domains VALUES ('{t}', '{t}');
    INSERT INTO residences VALUES ('{t}', 'home', 1);
    INSERT INTO shards VALUES ('{t}', '{t}', '{t}', 0);";

/// Read above tenants.
const SYSTEM: &[&str] = &["schema_version"];

/// Statements that read. `{T}` is a table, `{K}` its tenant's column, `{B}` the other tenant.
const READS: &[&str] = &[
    "SELECT * FROM {T}",
    "SELECT * FROM ONLY {T} WHERE {K} = '{B}' OR true",
    "TABLE {T}",
    "SELECT a.*, b.* FROM {T} a CROSS JOIN {T} b",
    "SELECT b.* FROM (VALUES ('{B}'::uuid)) a (id) LEFT JOIN {T} b ON b.{K} = a.id",
    "SELECT x.* FROM tenants t, LATERAL (SELECT * FROM {T} WHERE {K} = t.tenant_id) x",
    "WITH x AS MATERIALIZED (SELECT * FROM {T}) SELECT * FROM x UNION ALL SELECT * FROM {T}",
    "SELECT (SELECT max({K}::text) FROM {T}), (SELECT min({K}::text) FROM {T})",
    "SELECT {K} FROM {T} GROUP BY {K} HAVING count(*) > 0",
    "SELECT query_to_xml('SELECT * FROM {T}', true, true, '')::text",
    "SELECT * FROM {T} FOR UPDATE",
    "DECLARE c CURSOR FOR SELECT * FROM {T}; FETCH ALL FROM c",
    // What is asked of a row nobody may see is asked of nobody: an error would say that it is there.
    "SELECT 1 / (CASE WHEN {K} = '{B}' THEN 0 ELSE 1 END) FROM {T}",
    "CREATE OR REPLACE FUNCTION pg_temp.see(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN \
     IF $1 LIKE '%{B}%' THEN RAISE EXCEPTION 'seen' USING ERRCODE = 'P0001'; END IF; RETURN true; END $$; \
     SELECT 1 FROM {T} x WHERE pg_temp.see(x::text)",
];

/// Statements that write, and say what they wrote.
const WRITES: &[&str] = &[
    "UPDATE {T} SET {K} = {K} WHERE {K} = '{B}' RETURNING *",
    "UPDATE {T} SET {K} = {K} RETURNING *",
    "UPDATE {T} SET {K} = '{B}' RETURNING *",
    "UPDATE {T} SET {K} = x.{K} FROM {T} x RETURNING {T}.*",
    "WITH x AS (UPDATE {T} SET {K} = '{B}' RETURNING *) SELECT * FROM x",
    "DELETE FROM {T} WHERE {K} = '{B}' RETURNING *",
    "DELETE FROM {T} USING {T} x WHERE {T}.{K} = '{B}' RETURNING {T}.*",
    "WITH x AS (DELETE FROM {T} RETURNING *) SELECT * FROM x",
    "DELETE FROM {T} RETURNING *",
    "INSERT INTO {T} {ROW} RETURNING *",
    "INSERT INTO {T} {ROW} ON CONFLICT DO NOTHING RETURNING *",
    "INSERT INTO {T} {ROW} ON CONFLICT ON CONSTRAINT {T}_pkey DO UPDATE SET {K} = excluded.{K} RETURNING *",
    "WITH x AS (INSERT INTO {T} {ROW} RETURNING *) SELECT * FROM x",
    "MERGE INTO {T} USING (SELECT '{B}'::uuid AS id) x ON {T}.{K} = x.id WHEN MATCHED THEN DELETE",
    "MERGE INTO {T} USING (SELECT '{B}'::uuid AS id) x ON {T}.{K} = x.id WHEN MATCHED THEN UPDATE SET {K} = '{A}'",
];

/// What the login may not do at all.
const FORBIDDEN: &[&str] = &[
    "TRUNCATE {T}",
    "TRUNCATE {T} CASCADE",
    "ALTER TABLE {T} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {T} NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE {T} OWNER TO CURRENT_USER",
    "CREATE POLICY more ON {T} USING (true)",
    "CREATE TRIGGER more AFTER INSERT ON {T} EXECUTE FUNCTION note_due('audit')",
    "CREATE RULE more AS ON INSERT TO {T} DO ALSO NOTHING",
    "CREATE INDEX ON {T} ({K})",
    "CREATE TEMP TABLE more () INHERITS ({T})",
    "CREATE TABLE agentprovision.more AS SELECT * FROM {T}",
    "CREATE VIEW agentprovision.more AS SELECT * FROM {T}",
    "DROP TABLE {T} CASCADE",
    "COPY {T} TO PROGRAM 'cat'",
    "COPY {T} TO '/tmp/x'",
    "SET ROLE agentprovision_owner",
    "SET ROLE agentprovision_backup",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT * FROM pg_statistic",
    "SELECT pg_read_file('PG_VERSION')",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile", "a_tenant_reads_and_writes_only_its_own", own),
        trial("hostile", "without_a_tenant_nothing_is_read_or_written", nobody),
        trial("hostile", "row_security_cannot_be_changed_or_gone_round", forbidden),
        trial("hostile", "errors_of_keys_say_nothing_of_others", oracles),
        trial("hostile", "statistics_say_nothing_of_others", statistics),
        trial("hostile", "whoever_sends_statements_can_set_another_tenant", known_limit),
    ]
}

/// A database with a row of both tenants in each table; the tables and the columns of their tenants.
async fn filled() -> (TestDatabase, Raw, BTreeMap<String, String>) {
    let database = database().await;
    let mut admin = Raw::open(&database.admin_url().unwrap()).await;
    for tenant in [A, B] {
        let hash = format!("decode(repeat(md5('{tenant}'), 2), 'hex')");
        let rows = ROWS.replace("{t}", tenant).replace("{hash}", &hash);
        admin
            .run(&format!(
                "SET search_path = agentprovision; SET app.current_tenant_id = '{tenant}'; {rows}; RESET app.current_tenant_id"
            ))
            .await;
    }
    let tables = admin
        .ask(
            "SELECT c.relname, coalesce(a.attname, '') FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid \
             AND a.attname IN ('tenant_id', 'log_id') WHERE c.relnamespace = 'agentprovision'::regnamespace \
             AND c.relkind = 'r' AND c.relname <> 'schema_version'",
        )
        .await
        .unwrap();
    let tables: BTreeMap<_, _> = tables
        .into_iter()
        .map(|mut row| (row.remove(0).unwrap(), row.remove(0).expect("a tenant's column")))
        .collect();
    assert!(tables.len() >= 21, "{tables:?}");
    for (table, key) in &tables {
        for tenant in [A, B] {
            let there =
                admin.one(&format!("SELECT count(*) > 0 FROM {table} WHERE {key} = '{tenant}'")).await;
            assert_eq!(there, "t", "{table} has no row: add one above");
        }
    }
    (database, admin, tables)
}

/// All rows of a tenant, as the superuser sees them.
async fn all(admin: &mut Raw, tables: &BTreeMap<String, String>, tenant: &str) -> Vec<Cells> {
    let mut found = Vec::new();
    for (table, key) in tables {
        found.push(
            admin
                .ask(&format!("SELECT x::text FROM {table} x WHERE {key} = '{tenant}' ORDER BY 1"))
                .await
                .unwrap(),
        );
    }
    found
}

/// A statement about a table. A row is one of B's, with another number where numbers are counted.
fn about(sql: &str, table: &str, key: &str) -> String {
    let row = format!(
        "OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(x, jsonb_build_object('{key}', '{B}', 'id', '{B}', 'run_id', '{B}'))).* FROM {table} x"
    );
    // Where `id` is a number it stays one.
    let row = if table == "due" { row.replace(&format!(", 'id', '{B}'"), "") } else { row };
    sql.replace("{ROW}", &row).replace("{T}", table).replace("{K}", key).replace("{A}", A).replace("{B}", B)
}

/// Runs a statement in a transaction of its own, committed if it goes well.
async fn attack(raw: &mut Raw, setting: Option<&str>, sql: &str) -> Result<Cells, (String, String)> {
    let set = setting.map_or(String::new(), |tenant| format!("SET LOCAL app.current_tenant_id = '{tenant}'"));
    let begun = format!("BEGIN; SET LOCAL search_path = agentprovision; {set}");
    raw.run(&begun).await;
    let result = raw.ask(sql).await;
    raw.run(if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    result
}

/// Errors that refuse: rights and policies, keys of the own rows, what is not there for tables with policies, types.
fn refusal(sql: &str, (code, message): &(String, String)) {
    let known = ["42501", "23503", "23505", "23514", "0A000", "21000", "22P02", "42883"];
    assert!(known.contains(&&**code), "{sql}: {code} {message}");
    assert!(!message.contains(B), "{sql}: {message}");
}

fn shows(rows: &Cells, tenant: &str) -> bool {
    rows.iter().flatten().flatten().any(|cell| cell.contains(tenant))
}

async fn copied(raw: &mut Raw, setting: &str, table: &str) -> String {
    raw.run(&format!(
        "BEGIN; SET LOCAL search_path = agentprovision; SET LOCAL app.current_tenant_id = '{setting}'"
    ))
    .await;
    let sql = format!("COPY {table} TO STDOUT");
    let bytes: Vec<_> = raw.0.copy_out_raw(&sql).await.unwrap().try_collect().await.unwrap();
    raw.run("ROLLBACK").await;
    bytes.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

async fn own() {
    let (database, mut admin, tables) = filled().await;
    let mut raw = Raw::open(database.url()).await;
    let before = all(&mut admin, &tables, B).await;
    for (table, key) in &tables {
        let system = SYSTEM.contains(&&**table);
        let mut found_own = false;
        for sql in READS {
            let sql = about(sql, table, key);
            if system && (sql.contains("seen") || sql.contains("1 / (")) {
                continue;
            }
            match attack(&mut raw, Some(A), &sql).await {
                Ok(rows) => {
                    assert!(system || !shows(&rows, B), "{sql}: {rows:?}");
                    found_own |= shows(&rows, A);
                }
                Err(error) => assert!(error.0 == "42883", "{sql}: {error:?}"),
            }
        }
        assert!(found_own, "{table}: a tenant does not see its own rows");
        let copied = copied(&mut raw, A, table).await;
        assert!(copied.contains(A) && (system || !copied.contains(B)), "{table}: {copied}");
        for sql in WRITES {
            let sql = about(sql, table, key);
            match attack(&mut raw, Some(A), &sql).await {
                Ok(rows) => assert!(!shows(&rows, B), "{sql}: {rows:?}"),
                Err(error) => refusal(&sql, &error),
            }
        }
        let line = format!("COPY {table} FROM STDIN");
        assert!(raw.0.copy_in_raw(&line).await.is_err(), "{line}");
    }
    assert_eq!(all(&mut admin, &tables, B).await, before, "rows of the other tenant changed");
    assert_ne!(all(&mut admin, &tables, A).await, before);
    let writes = attack(&mut raw, Some(A), "INSERT INTO schema_version VALUES (9, 9, 9)").await;
    assert_eq!(writes.unwrap_err().0, "42501");
}

async fn nobody() {
    let (database, mut admin, tables) = filled().await;
    let before = [all(&mut admin, &tables, A).await, all(&mut admin, &tables, B).await];
    // Nothing was ever set; it was set before; it is empty, or nobody's.
    let mut fresh = Raw::open(database.url()).await;
    let mut used = Raw::open(database.url()).await;
    assert!(shows(&attack(&mut used, Some(A), "SELECT * FROM users").await.unwrap(), A));
    for setting in [None, Some(""), Some(NIL)] {
        for raw in [&mut fresh, &mut used] {
            for (table, key) in &tables {
                let system = SYSTEM.contains(&&**table);
                for sql in
                    READS.iter().filter(|sql| !system || !(sql.contains("seen") || sql.contains("1 / (")))
                {
                    let sql = about(sql, table, key);
                    match attack(raw, setting, &sql).await {
                        Ok(rows) => {
                            assert!(system || !(shows(&rows, A) || shows(&rows, B)), "{sql}: {rows:?}")
                        }
                        Err(error) => assert!(error.0 == "42883", "{sql}: {error:?}"),
                    }
                }
                for sql in WRITES {
                    let sql = about(sql, table, key);
                    match attack(raw, setting, &sql).await {
                        Ok(rows) => assert_eq!(rows, Cells::new(), "{sql}"),
                        Err(error) => refusal(&sql, &error),
                    }
                }
            }
        }
    }
    assert_eq!([all(&mut admin, &tables, A).await, all(&mut admin, &tables, B).await], before);
    // What is no tenant at all is an error.
    assert_eq!(attack(&mut used, Some("all"), "SELECT * FROM users").await.unwrap_err().0, "22P02");
}

async fn forbidden() {
    let (database, mut admin, tables) = filled().await;
    let mut raw = Raw::open(database.url()).await;
    let before = all(&mut admin, &tables, B).await;
    for (table, key) in &tables {
        for sql in FORBIDDEN {
            let sql = about(sql, table, key);
            let error = attack(&mut raw, Some(A), &sql).await.expect_err(&sql);
            assert_eq!(error.0, "42501", "{sql}: {error:?}");
        }
        // Without row security there is an error instead of rows.
        if !SYSTEM.contains(&&**table) {
            let off = format!("SET LOCAL row_security = off; SELECT * FROM {table}");
            assert_eq!(attack(&mut raw, Some(A), &off).await.unwrap_err().0, "42501", "{table}");
        }
        // Whoever may change rows may lock their table; that shows nothing.
        let lock =
            format!("LOCK TABLE {table} IN SHARE MODE; SELECT count(*) FROM {table} WHERE {key} = '{B}'");
        let seen = attack(&mut raw, Some(A), &lock).await.unwrap();
        assert!(SYSTEM.contains(&&**table) || seen == [[Some("0".to_owned())]], "{table}: {seen:?}");
    }
    assert_eq!(all(&mut admin, &tables, B).await, before);
}

async fn oracles() {
    let (database, ..) = filled().await;
    let mut raw = Raw::open(database.url()).await;
    let missing = "0190b8a4-cccc-7000-8000-00000000000c";
    // What another tenant has is as good as what nobody has.
    for id in [B, missing] {
        let user = format!("INSERT INTO users VALUES ('{A}', '{id}', 'a@{id}', NULL, '[]', 1, 0, 0, 1)");
        assert_eq!(attack(&mut raw, Some(A), &user).await, Ok(vec![]), "{id}");
        let key = |user: &str| {
            format!(
                "INSERT INTO api_keys VALUES ('{A}', gen_random_uuid(), '{user}', 'k', decode(repeat('00', 32), 'hex'), NULL, NULL, NULL, 0)"
            )
        };
        attack(&mut raw, Some(A), &format!("DELETE FROM users WHERE id = '{id}'")).await.unwrap();
        assert_eq!(attack(&mut raw, Some(A), &key(id)).await.unwrap_err().0, "23503", "{id}");
        let session =
            format!("INSERT INTO sessions VALUES ('{A}', gen_random_uuid(), '{id}', '{A}', NULL, 0)");
        assert_eq!(attack(&mut raw, Some(A), &session).await.unwrap_err().0, "23503", "{id}");
        // A row of the other tenant is refused before any key is looked at.
        for foreign in [
            format!("INSERT INTO users VALUES ('{B}', '{id}', 'a@{id}', NULL, '[]', 1, 0, 0, 1)"),
            format!("INSERT INTO journal VALUES ('{B}', '{id}', 1, '', decode(repeat('00', 32), 'hex'))"),
            format!("INSERT INTO run_leases VALUES ('{B}', '{id}', 0, 0, 1, 1, '{A}')"),
        ] {
            assert_eq!(attack(&mut raw, Some(A), &foreign).await.unwrap_err().0, "42501", "{foreign}");
        }
    }
}

async fn statistics() {
    let (database, mut admin, _) = filled().await;
    admin.run("ANALYZE").await;
    let sql =
        "SELECT * FROM pg_stats WHERE schemaname = 'agentprovision' AND tablename NOT IN ('schema_version')";
    assert!(!admin.ask(sql).await.unwrap().is_empty());
    let mut raw = Raw::open(database.url()).await;
    assert_eq!(attack(&mut raw, Some(A), sql).await, Ok(vec![]));
}

/// Row security does not stop whoever runs statements of their own: see SECURITY.md. A test, so that nobody thinks it does.
async fn known_limit() {
    let (database, ..) = filled().await;
    let mut raw = Raw::open(database.url()).await;
    let switch = format!("SELECT set_config('app.current_tenant_id', '{B}', true); SELECT id FROM users");
    assert!(shows(&attack(&mut raw, Some(A), &switch).await.unwrap()[1..].to_vec(), B));
    let security = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md")).unwrap();
    assert!(security.contains("`set_config`"));
}
