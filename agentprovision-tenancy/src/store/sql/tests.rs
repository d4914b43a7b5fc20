//! What can only be tested from within: the text of statements, a full disk, steps of migrations.

use std::path::PathBuf;

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Backend;
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::identity::User;
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Effects, Env, ErrorKind, OperatorContext};

use super::conn::Conn;
use super::sqlite::{self, Access};
use super::value::{Dialect, Value, system_sql, values};
use super::{SqlBackend, SqlStore};
use super::{accept, claims, inbox, merge, migrate};

mod accepts;

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let id: agentprovision_core::id::RequestId = Env::default().id();
        let path = std::env::temp_dir().join(format!("agentprovision-{id}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("test.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn tenant(store: &SqlStore, issuer: &ContextIssuer, op: &OperatorContext) -> Context {
    let env = issuer.env();
    let tenant = Tenant {
        id: env.id(),
        name: "Acme".into(),
        domain: None,
        state: TenantState::Active,
        plan: None,
        region: None,
        settings: serde_json::Map::new(),
        created_at: env.now(),
        updated_at: env.now(),
        revision: 1,
    };
    let principal = Principal::User(env.id());
    let identity =
        Identity { tenant: tenant.id, principal, scopes: PermissionSet::ALL, expires: None, key: None };
    agentprovision_core::tenant::TenantStore::create(store, op, tenant, OperatorEffects::default())
        .await
        .unwrap();
    issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default())
}

async fn pragma(store: &SqlStore, sql: &'static str) {
    let run = store.write_system(move |mut tx| {
        Box::pin(async move { tx.rows(super::value::SystemSql::new(sql, sql), vec![]).await })
    });
    run.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_whole_changes_and_is_used_again_when_there_is_room() {
    let folder = Folder::new();
    let env = Env::default();
    let backend = SqlBackend::open(&folder.file(), env.clone()).await.unwrap();
    let issuer = ContextIssuer::new(env.clone());
    let op = issuer.operator("root", "test").unwrap();
    let ctx = tenant(&backend.0, &issuer, &op).await;
    let stores = backend.stores();
    let insert = |name: &str| {
        let user = User {
            id: env.id(),
            email: format!("{name}@acme.example"),
            name: Some("x".repeat(50_000)),
            roles: vec![],
            active: true,
            created_at: env.now(),
            updated_at: env.now(),
            revision: 1,
        };
        let record =
            AuditRecord::of(&ctx, &env, "user.created", "users", user.id).with("more", "y".repeat(50_000));
        stores.users.insert(&ctx, user, Effects::audited(record))
    };
    pragma(&backend.0, "PRAGMA max_page_count = 400").await;
    let mut written = 0;
    let error = loop {
        match insert(&format!("user{written}")).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("no space"), "{error:?}");
    // Several at once, some of which the writer takes together: none is half there.
    let refused = futures_util::future::join_all((0..20).map(|place| insert(&format!("more{place}")))).await;
    assert!(
        refused.iter().all(|result| result.as_ref().is_err_and(|error| error.is(ErrorKind::Unavailable)))
    );
    let users = stores.users.list(&ctx, PageRequest::limit(100)).await.unwrap().items;
    assert_eq!(users.len(), written);
    pragma(&backend.0, "PRAGMA max_page_count = 4000").await;
    insert("late").await.unwrap();
    assert_eq!(stores.audit.checkpoint(&ctx).await.unwrap().size as usize, written + 1);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let folder = Folder::new();
    let env = Env::default();
    let mut conn = Conn::open(&sqlite::options(&folder.file(), Access::Write)).await.unwrap();
    let known = migrate::MIGRATIONS;
    let with = |next| [known, &[next]].concat();
    let bad = "CREATE TABLE extra (id INTEGER) STRICT; INSERT INTO missing VALUES (1);";
    migrate::run(&mut conn, &env, &with(bad)).await.unwrap_err();
    let tables = conn.rows("SELECT name FROM sqlite_schema WHERE name = 'extra'", vec![]).await.unwrap();
    assert!(tables.is_empty());
    migrate::run(&mut conn, &env, known).await.unwrap();
    // The next version finds it as it was, and goes on from there.
    migrate::run(&mut conn, &env, &with("CREATE TABLE extra (id INTEGER) STRICT")).await.unwrap();
    conn.rows("SELECT id FROM extra", vec![]).await.unwrap();
    let error = migrate::run(&mut conn, &env, known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaTooNew);
    conn.close().await.unwrap();
    let error = SqlBackend::open(&folder.file(), env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaTooNew);
}

#[tokio::test]
async fn the_file_names_its_version_and_keeps_its_settings() {
    let folder = Folder::new();
    let backend = SqlBackend::open(&folder.file(), Env::default()).await.unwrap();
    let settings = backend.0.write_system(|mut tx| {
        Box::pin(async move {
            let sql = system_sql!(
                "SELECT j.journal_mode, s.synchronous, f.foreign_keys, (SELECT max(version) FROM schema_version) \
                 FROM pragma_journal_mode j, pragma_synchronous s, pragma_foreign_keys f"
            );
            let mut row = tx.rows(sql, values![]).await?.remove(0);
            Ok((row.next::<String>()?, row.next::<i64>()?, row.next::<i64>()?, row.next::<i64>()?))
        })
    });
    assert_eq!(settings.await.unwrap(), ("wal".to_owned(), 2, 1, migrate::MIGRATIONS.len() as i64));
    backend.close().await.unwrap();
}

#[tokio::test]
async fn the_statements_of_the_journal_look_runs_up() {
    let folder = Folder::new();
    let mut conn = Conn::open(&sqlite::options(&folder.file(), Access::Write)).await.unwrap();
    migrate::run(&mut conn, &Env::default(), migrate::MIGRATIONS).await.unwrap();
    for statement in [&merge::STANDING, &merge::MOVE] {
        for power in [0, 8] {
            let text = format!("EXPLAIN QUERY PLAN {}", statement.text(Dialect::Sqlite, power).unwrap());
            let mut found = 0;
            for row in conn.rows(text.leak(), vec![]).await.unwrap() {
                let Some(Value::Text(step)) = row.into_values().pop() else { panic!("a plan has no text") };
                // Only the rows that were given are gone through.
                let scans = ["SCAN r", "SCAN l", "SCAN runs"].iter().any(|scan| step.starts_with(scan));
                assert!(!scans, "{step}");
                found += usize::from(step.starts_with("SEARCH r") && step.contains("tenant_id=? AND id=?"));
            }
            assert_eq!(found, 1);
        }
    }
    conn.close().await.unwrap();
}

/// The rows that are given come first and in their order, so that of a key that came twice the first is kept.
#[tokio::test]
async fn the_statement_that_keeps_deliveries_begins_with_them() {
    let folder = Folder::new();
    let mut conn = Conn::open(&sqlite::options(&folder.file(), Access::Write)).await.unwrap();
    migrate::run(&mut conn, &Env::default(), migrate::MIGRATIONS).await.unwrap();
    for power in [0, 8] {
        let text = format!("EXPLAIN QUERY PLAN {}", accept::KEEP.text(Dialect::Sqlite, power).unwrap());
        let mut steps = Vec::new();
        for row in conn.rows(text.leak(), vec![]).await.unwrap() {
            let Some(Value::Text(step)) = row.into_values().pop() else { panic!("a plan has no text") };
            steps.push(step);
        }
        let steps: Vec<_> =
            steps.into_iter().filter(|step| step.starts_with("SCAN") || step.starts_with("SEARCH")).collect();
        let given = steps.iter().position(|step| step == "SCAN n").unwrap();
        let mut others: Vec<_> = steps[given + 1..].iter().map(|step| &step[..8]).collect();
        others.sort_unstable();
        assert_eq!(others, ["SEARCH e", "SEARCH r", "SEARCH t"], "{steps:#?}");
    }
    conn.close().await.unwrap();
}

/// Neither what waits nor what is of others is gone through.
#[tokio::test]
async fn claims_step_through_the_index_of_turns() {
    let folder = Folder::new();
    let mut conn = Conn::open(&sqlite::options(&folder.file(), Access::Write)).await.unwrap();
    migrate::run(&mut conn, &Env::default(), migrate::MIGRATIONS).await.unwrap();
    for (text, table, steps, sorts) in [
        (claims::TURNS.text(Dialect::Sqlite), "run_leases", 2, 1),
        (claims::READY.text(Dialect::Sqlite), "run_leases", 0, 0),
        (inbox::TURNS.text(Dialect::Sqlite), "delivery_work", 2, 1),
        (inbox::READY.text(Dialect::Sqlite), "delivery_work", 0, 0),
    ] {
        let mut plan = Vec::new();
        for row in conn.rows(format!("EXPLAIN QUERY PLAN {text}").leak(), vec![]).await.unwrap() {
            let Some(Value::Text(step)) = row.into_values().pop() else { panic!("a plan has no text") };
            plan.push(step);
        }
        let count = |part: &str| plan.iter().filter(|step| step.contains(part)).count();
        // To the next tenant, and then to the oldest of its runs.
        assert_eq!(count("(tenant_id>?)"), steps, "{plan:#?}");
        let looks = count(&format!("INDEX {table}_turns (tenant_id=? AND ready_at<?)"));
        assert_eq!(looks, steps.max(1), "{plan:#?}");
        // The tenants that were found are sorted; nothing else is, and nothing else is read whole.
        assert_eq!(count("TEMP B-TREE"), sorts, "{plan:#?}");
        assert_eq!(count("SCAN l") + count("SCAN t") + count(&format!("SCAN {table}")), 0, "{plan:#?}");
    }
    conn.close().await.unwrap();
}

/// The sources of a folder and of those below it, with their paths from there.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).join(folder);
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// What stands before the parenthesis that ends a call. No literal has a quote in it.
fn arguments(part: &str) -> &str {
    let (mut open, mut quoted) = (1, false);
    let end = part.find(|c: char| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => open += 1,
            ')' if !quoted => open -= 1,
            _ => {}
        }
        open == 0
    });
    &part[..end.unwrap_or(part.len())]
}

/// The texts of a macro's calls in this module's sources, with the name of their file. A call may have one for each
/// database.
fn statements(call: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, source) in sources("store/sql") {
        // What is read of the catalogue before the platform starts is no content.
        if matches!(&*name, "tests.rs" | "value.rs" | "postgres/check.rs") {
            continue;
        }
        for part in source.split(call).skip(1) {
            let whole = arguments(part);
            if whole.contains("concat!") {
                // The literals up to the end of the call, with their continued lines joined.
                let literals: Vec<&str> = whole.split('"').skip(1).step_by(2).collect();
                found.push((name.clone(), literals.concat().replace("\\\n", " ")));
                continue;
            }
            let mut rest = part;
            loop {
                let mut pieces = rest.splitn(3, '"').skip(1);
                let (Some(text), Some(after)) = (pieces.next(), pieces.next()) else { break };
                found.push((name.clone(), text.replace("\\\n", " ")));
                match after.trim_start().strip_prefix(',') {
                    Some(next) if next.trim_start().starts_with('"') => rest = next,
                    _ => break,
                }
            }
        }
    }
    found
}

#[test]
fn statements_above_tenants_read_no_content_of_tenants() {
    let found = statements("system_sql!(");
    assert!(found.len() >= 6, "{found:?}");
    // Those of turns name their table first.
    let turns: Vec<_> = sources("store/sql")
        .iter()
        .filter(|(name, _)| name != "tests.rs")
        .flat_map(|(_, source)| {
            source.split("turns_sql!(").skip(1).map(|part| part.split('"').nth(1).unwrap().to_owned())
        })
        .collect();
    assert!(turns.iter().all(|table| matches!(&**table, "run_leases" | "delivery_work")), "{turns:?}");
    assert_eq!(turns.len(), 3);
    for (file, sql) in found {
        let words: Vec<&str> = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let tables = words.windows(2).filter(|pair| matches!(pair[0], "FROM" | "JOIN" | "INTO" | "UPDATE"));
        for table in tables.map(|pair| pair[1]) {
            let ids_only = [
                "SELECT 1 ",
                "SELECT DISTINCT log_id ",
                "SELECT DISTINCT tenant_id ",
                "SELECT tenant_id, seq ",
            ];
            let fine = match table {
                // The last is a name within a statement.
                "tenants" | "run_leases" | "delivery_work" | "due" | "epochs" | "step" => true,
                "placements" | "placement_domains" | "residences" | "shards" => true,
                "audit_pending" | "outbox" | "events" => ids_only.iter().any(|start| sql.starts_with(start)),
                _ => false,
            };
            assert!(fine, "{file}: {sql}");
        }
    }
}

#[test]
fn every_key_of_a_tenants_table_begins_with_the_tenant() {
    keys_begin_with_the_tenant(
        &migrate::MIGRATIONS.join("\n"),
        ") STRICT",
        &["tenants", "audit_pending", "outbox"],
    );
    #[cfg(feature = "store-postgres")]
    {
        let migrations: Vec<_> =
            super::postgres::prepare::MIGRATIONS.iter().map(|migration| migration.sql).collect();
        keys_begin_with_the_tenant(&migrations.join("\n"), "\n);", &["tenants"]);
    }
}

/// Looks at the tables of a schema, each up to its `end`, but for those whose keys are their own.
fn keys_begin_with_the_tenant(schema: &str, end: &str, other: &[&str]) {
    let schema: String = schema.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    let mut tables = 0;
    for table in schema.split("CREATE TABLE ").skip(1) {
        let (name, body) = table.split_once(' ').unwrap();
        let body = body.split(end).next().unwrap();
        if other.contains(&name) {
            continue;
        }
        tables += 1;
        assert!(body.contains("PRIMARY KEY"), "{name}");
        for key in ["PRIMARY KEY (", "UNIQUE (", "FOREIGN KEY ("] {
            for columns in body.split(key).skip(1) {
                let first = columns.split([',', ')']).next().unwrap();
                assert!(matches!(first, "tenant_id" | "log_id"), "{name}: {key}{columns}");
            }
        }
        for column in body.lines().filter(|line| line.contains(" PRIMARY KEY") && !line.contains('(')) {
            assert!(
                column.trim().starts_with("tenant_id") || column.trim().starts_with("log_id"),
                "{name}: {column}"
            );
        }
        assert!(!body.contains(" UNIQUE,"), "{name}");
    }
    assert!(tables > 15);
}

/// Files in which a text that is no constant becomes a statement, how often, and what the text is.
const NO_CONSTANTS: &[(&str, usize, &str)] = &[
    (
        "store/sql/postgres/mod.rs",
        3,
        "numbers, UUIDs and settings that are numbers; the statements of a tool",
    ),
    ("store/sql/postgres/prepare.rs", 1, "steps made of constants, checked names and a quoted password"),
    ("store/sql/postgres/testing.rs", 1, "databases for tests"),
    ("store/sql/postgres/wire.rs", 1, "what its sessions send, and constants"),
    ("store/sql/sqlite.rs", 2, "the statements of a tool, checked before"),
];

#[test]
fn no_statement_is_put_together_from_input() {
    let mut found = Vec::new();
    for (name, source) in sources("") {
        if name == "store/sql/tests.rs" {
            continue;
        }
        let texts = source.matches("AssertSqlSafe(").count();
        if texts > 0 {
            found.push((name.clone(), texts));
        }
        // Other folders have no SQL at all.
        if !name.starts_with("store/sql/") {
            for verb in ["SELECT ", "INSERT INTO ", "DELETE FROM ", "sqlx::"] {
                // The type of a connection that a host lends.
                let source = source.replace("pub use sqlx::postgres::PgConnection;", "");
                assert!(!source.contains(verb), "{name}: {verb}");
            }
        }
    }
    let named: Vec<_> = NO_CONSTANTS.iter().map(|(name, texts, _)| ((*name).to_owned(), *texts)).collect();
    assert_eq!(found, named);
}
