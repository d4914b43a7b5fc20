//! A tenant moves from SQLite to PostgreSQL and back: what arrives is what left, byte for byte, nobody else is touched,
//! and both logs tell of it.

mod side;

use std::collections::BTreeSet;

use agentprovision_core::archive::{Kind, Value};
use agentprovision_core::audit::merkle::verify_consistency;
use agentprovision_core::id::TenantId;
use agentprovision_core::run::{Answer, Engine as _, RunStatus, Runs};
use agentprovision_core::tenant::TenantState;
use agentprovision_tenancy::identity::NewUser;
use agentprovision_tenancy::tenant::{LastArchive, RestoreInto, RestoreOptions};
use libtest_mimic::Trial;

use self::side::{Archived, Full, Side};
use crate::trial;
use crate::world::{Raw, database};

/// Tables that tell of a move, or change by it; all others hold the same bytes afterwards.
const TELLING: [&str; 11] = [
    "tenants",
    "run_leases",
    "secrets",
    "idempotency_keys",
    "delivery_work",
    "audit_log",
    "audit_heads",
    "audit_pending",
    "events",
    "event_heads",
    "outbox",
];
/// Of those what says who holds a lease, or is at work.
const HELD: [(&str, &[usize]); 4] = [
    ("run_leases", &[3, 4]),
    ("secrets", &[4, 5, 6]),
    ("idempotency_keys", &[4]),
    ("delivery_work", &[4, 6]),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("travel", "to_postgresql_and_back", to_postgresql_and_back),
        trial("travel", "the_list_of_tables_is_the_schema", the_list_of_tables_is_the_schema),
    ]
}

async fn sqlite(folder: &tempfile::TempDir, name: &str, stalls: bool) -> Side {
    let url = format!("sqlite://{}", folder.path().join(name).display());
    Side::open(&url, url.clone(), stalls).await
}

/// A row without the values of some columns.
fn without(row: &[Value], columns: &[usize]) -> Vec<Value> {
    let kept = row.iter().enumerate().filter(|(place, _)| !columns.contains(place));
    kept.map(|(_, value)| value.clone()).collect()
}

/// The actions of records, from one on.
fn actions(archive: &Archived, from: usize) -> Vec<String> {
    let records = archive.rows["audit_log"][from..].iter().map(|row| {
        let Value::Bytes(bytes) = &row[3] else { panic!("no bytes") };
        if bytes.is_empty() {
            "erased".to_owned()
        } else {
            json(bytes)["action"].as_str().unwrap().to_owned()
        }
    });
    records.collect()
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The bytes of the events, in order.
fn events(archive: &Archived) -> Vec<&Value> {
    archive.rows["events"].iter().map(|row| &row[2]).collect()
}

/// What both archives must have alike: the rows of everything the tenant made.
fn same(before: &Archived, after: &Archived) {
    for (a, b) in before.summary.tables.iter().zip(&after.summary.tables) {
        if !TELLING.contains(&a.name.as_str()) {
            assert!(before.rows[&a.name] == after.rows[&a.name], "{}", a.name);
            assert_eq!(a, b);
        }
    }
    // Suspended, and newer; nobody holds anything.
    for (table, changed) in HELD.into_iter().chain([("tenants", &[3, 8, 9][..])]) {
        let rows = |archive: &Archived| -> Vec<Vec<Value>> {
            archive.rows[table].iter().map(|row| without(row, changed)).collect()
        };
        assert_eq!(rows(before), rows(after), "{table}");
    }
}

/// As [`same`], in a store that had never seen the tenant: its log and its events are continued.
fn continued(before: &Archived, after: &Archived) {
    same(before, after);
    let kept = before.rows["audit_log"].len();
    assert!(before.rows["audit_log"][..] == after.rows["audit_log"][..kept]);
    assert_eq!(actions(after, kept), ["archives.restore", "archives.export"]);
    let kept = before.rows["events"].len();
    assert!(before.rows["events"][..] == after.rows["events"][..kept]);
    assert_eq!(after.rows["events"].len(), kept + 2);
    let numbers: Vec<&Value> = after.rows["events"].iter().map(|row| &row[1]).collect();
    let expected: Vec<Value> = (1..=numbers.len() as i64).map(Value::Int).collect();
    assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
}

async fn restore(side: &Side, archive: &Archived) {
    let restored = side.tenancy.archives().restore(&side.op, &archive.file, RestoreOptions::new()).await;
    let restored = restored.unwrap();
    assert_eq!(
        (restored.tenant.id, restored.tenant.state),
        (archive.summary.header.tenant, TenantState::Suspended)
    );
    assert_eq!(restored.archive, archive.summary);
}

async fn delete(side: &Side, tenant: TenantId, last: std::path::PathBuf) -> Archived {
    let gone = side.tenancy.tenants().delete(&side.op, tenant, LastArchive::At(last.clone())).await.unwrap();
    assert_eq!(gone.state, TenantState::Deleted);
    // The deletion is delivered, under a number that is another event's elsewhere.
    let mut events = side.stores.events.unpublished(500).await.unwrap();
    events.retain(|event| event.event.tenantid == tenant);
    side.stores.events.published(&events).await.unwrap();
    let summary = side.tenancy.archives().verify(&side.op, &last).await.unwrap();
    side.read(&last, summary).await
}

/// Everything that was under way goes on, and what is new continues what was there.
async fn goes_on(side: &Side, full: &Full) {
    side.tenancy.tenants().resume(&side.op, full.id).await.unwrap();
    let ctx = side.tenancy.contexts().context(full.id, full.admin).await.unwrap();
    let engine = side.engine();
    let runs = Runs::new(&engine);
    let status = async |id| runs.get(&ctx, id).await.unwrap().wait().await.unwrap().status();
    assert_eq!(status(full.slow).await, RunStatus::Completed);
    assert_eq!(status(full.doomed).await, RunStatus::Cancelled);
    let (approval, hash) = full.approval;
    runs.approve(&ctx, full.asking, approval, hash, Answer::Approve).await.unwrap();
    assert_eq!(status(full.asking).await, RunStatus::Completed);
    assert_eq!(status(full.done).await, RunStatus::Completed);
    engine.close().await;
    assert_eq!(side.tenancy.keys().get(&ctx, full.key).await.unwrap().name, "kept");
    let last = side.stores.events.read(&ctx, 0, 500).await.unwrap().last().unwrap().seq;
    let head = side.audit.checkpoint(&ctx).await.unwrap();
    side.tenancy
        .users()
        .create(&ctx, NewUser::new(format!("{}@new.example", side.env.now().micros())))
        .await
        .unwrap();
    let more = side.stores.events.read(&ctx, last, 500).await.unwrap();
    assert_eq!(more.iter().map(|event| event.seq).collect::<Vec<_>>(), [last + 1]);
    let now = side.audit.verify(&ctx).await.unwrap();
    assert_eq!(now.size, head.size + 1);
    let proof = side.audit.consistency(&ctx, head.size, now.size).await.unwrap();
    verify_consistency(head.size, head.root, now.size, now.root, &proof).unwrap();
}

async fn to_postgresql_and_back() {
    let (folder, database) = (tempfile::tempdir().unwrap(), database().await);
    let path = |name: &str| folder.path().join(name);
    let home = sqlite(&folder, "home.db", true).await;
    let away = Side::open(database.url(), database.admin_url().unwrap(), false).await;
    // Others on both sides, as full, and suspended: nobody goes on with their runs here.
    let others = [(&home, home.full("globex").await.id), (&away, away.full("initech").await.id)];
    let mut untouched = Vec::new();
    for (side, id) in &others {
        side.tenancy.tenants().suspend(&side.op, *id).await.unwrap();
        let archive = side.export(*id, &path(&format!("{id}.before"))).await;
        untouched.push((side.dump(*id).await, archive));
    }

    let full = home.full("acme").await;
    let first = delete(&home, full.id, path("first")).await;
    let empty: Vec<&String> =
        first.rows.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table).collect();
    assert_eq!(empty, ["audit_pending", "outbox"], "every table has rows but those that only wait in order");
    restore(&away, &first).await;
    let second = away.export(full.id, &path("second")).await;
    continued(&first, &second);
    assert_eq!((&*first.summary.header.store, &*second.summary.header.store), ("sqlite", "postgres"));
    let options = RestoreOptions::new().into_tenant(RestoreInto::New);
    let new = away.tenancy.archives().restore(&away.op, &first.file, options.clone()).await.unwrap().tenant;
    another(&first, &away.export(new.id, &path("new")).await, new.id);
    goes_on(&away, &full).await;

    let third = delete(&away, full.id, path("third")).await;
    assert_eq!(actions(&third, second.rows["audit_log"].len()).last().unwrap(), "archives.export");
    let fresh = sqlite(&folder, "fresh.db", false).await;
    restore(&fresh, &third).await;
    continued(&third, &fresh.export(full.id, &path("fourth")).await);
    let new = fresh.tenancy.archives().restore(&fresh.op, &third.file, options).await.unwrap().tenant;
    another(&third, &fresh.export(new.id, &path("new too")).await, new.id);

    // Back where it was: beside its tombstone, whose log goes on.
    home_again(&home, &full, &third, path("fifth")).await;
    goes_on_home(&home, &full).await;
    let sixth = delete(&home, full.id, path("sixth")).await;
    home_again(&away, &full, &sixth, path("seventh")).await;
    // What was erased on the way is no loss anywhere else.
    let last = sqlite(&folder, "last.db", false).await;
    restore(&last, &sixth).await;
    continued(&sixth, &last.export(full.id, &path("eighth")).await);
    goes_on_home(&last, &full).await;

    for ((side, id), (dump, before)) in others.iter().zip(untouched) {
        assert!(side.dump(*id).await == dump, "another tenant was touched");
        let after = side.export(*id, &path(&format!("{id}.after"))).await;
        same(&before, &after);
        let kept = before.rows["audit_log"].len();
        assert!(before.rows["audit_log"][..] == after.rows["audit_log"][..kept]);
        assert_eq!(actions(&after, kept), ["archives.export"]);
    }
    let moved = |resumed: bool| {
        let mut told = vec!["archives.restore", "archives.export"];
        told.extend(resumed.then_some("tenants.resume"));
        told.extend(["tenants.suspend", "archives.export", "tenants.delete"].iter().filter(|_| resumed));
        told
    };
    let begun = ["tenants.create", "tenants.suspend", "archives.export", "tenants.delete"];
    assert_eq!(home.told(full.id).await, [&begun[..], &moved(true)].concat());
    assert_eq!(away.told(full.id).await, [moved(true), moved(false)].concat());
    for side in [home, away, fresh, last] {
        side.backend.close().await.unwrap();
    }
}

/// The same rows in another tenant, but for what happened to the first.
fn another(before: &Archived, after: &Archived, id: TenantId) {
    let owner = Value::Bytes(id.uuid().as_bytes().to_vec());
    for (table, rows) in &before.rows {
        if !TELLING.contains(&table.as_str()) {
            let mut rows = rows.clone();
            rows.iter_mut().for_each(|row| row[0] = owner.clone());
            let other = match &**table {
                "integrations" => Some("needs_reconnect"),
                "webhook_endpoints" => Some("disabled"),
                _ => None,
            };
            if let Some(other) = other {
                let active = Value::Text("active".into());
                let asked = rows.iter_mut().map(|row| &mut row[7]).filter(|state| **state == active);
                assert_eq!(asked.map(|state| *state = Value::Text(other.into())).count(), 1);
            }
            assert!(rows == after.rows[table], "{table}");
        }
    }
    // What is sealed stays with the tenant it is sealed for.
    assert!(after.rows["secrets"].is_empty());
    for (table, changed) in [("idempotency_keys", &[0, 4][..]), ("delivery_work", &[0, 4, 6])] {
        let rows = |archive: &Archived| -> Vec<Vec<Value>> {
            archive.rows[table].iter().map(|row| without(row, changed)).collect()
        };
        assert_eq!(rows(before), rows(after));
    }
    let kept = before.rows["audit_log"].len();
    let records = |archive: &Archived| -> Vec<Vec<Value>> {
        archive.rows["audit_log"][..kept].iter().map(|row| without(row, &[0])).collect()
    };
    assert!(records(before) == records(after));
    assert_eq!(actions(after, kept), ["archives.restore", "archives.export"]);
    assert_eq!(after.rows["events"].len(), 2);
}

/// The tenant comes back beside its tombstone, after it lived on elsewhere.
async fn home_again(side: &Side, full: &Full, archive: &Archived, to: std::path::PathBuf) {
    let left = side.dump(full.id).await;
    let found = side.stores.archives.standing(&side.op, full.id).await.unwrap();
    assert_eq!(found.tenant.unwrap().0, TenantState::Deleted);
    restore(side, archive).await;
    let after = side.export(full.id, &to).await;
    same(archive, &after);
    // The log was not rewound: it has what it had, then what happened elsewhere, then what happens here.
    let log = |archive: &Archived| -> Vec<Value> {
        archive.rows["audit_log"].iter().map(|row| row[2].clone()).collect()
    };
    let (leaves, size) = (log(&after), found.audit.size as usize);
    assert_eq!(left["audit_log"].len(), size);
    let mut tree = agentprovision_core::audit::merkle::CompactRange::default();
    for leaf in &leaves[..size] {
        let Value::Bytes(leaf) = leaf else { panic!("no leaf") };
        tree.append(leaf.as_slice().try_into().unwrap());
    }
    assert_eq!(tree.root(), found.audit.root);
    let known: BTreeSet<Vec<u8>> = leaves.iter().map(bytes).collect();
    assert_eq!(known.len(), leaves.len(), "a record is in the log once");
    assert!(log(archive).iter().all(|leaf| known.contains(&bytes(leaf))));
    assert_eq!(actions(&after, leaves.len() - 2), ["archives.restore", "archives.export"]);
    // No event is lost, or twice.
    let (before, now) = (events(archive), events(&after));
    assert!(before.iter().all(|event| now.contains(event)));
    assert_eq!(now.iter().map(|event| bytes(event)).collect::<BTreeSet<_>>().len(), now.len());
}

fn bytes(value: &Value) -> Vec<u8> {
    let Value::Bytes(bytes) = value else { panic!("no bytes") };
    bytes.clone()
}

/// The tenant is resumed, its log verifies, and both its log and its events go on.
async fn goes_on_home(side: &Side, full: &Full) {
    side.tenancy.tenants().resume(&side.op, full.id).await.unwrap();
    let ctx = side.tenancy.contexts().context(full.id, full.admin).await.unwrap();
    let before = side.audit.verify(&ctx).await.unwrap().size;
    let last = side.stores.events.read(&ctx, 0, 500).await.unwrap().last().unwrap().seq;
    let name = format!("{}@home.example", side.env.now().micros());
    side.tenancy.users().create(&ctx, NewUser::new(name)).await.unwrap();
    assert_eq!(side.audit.verify(&ctx).await.unwrap().size, before + 1);
    assert_eq!(side.stores.events.read(&ctx, last, 500).await.unwrap()[0].seq, last + 1);
}

/// A column that is another type than its kind says: bytes of a fixed number that are no UUID.
const NO_UUID: [(&str, &str); 1] = [("runs", "salt")];
/// Tables of no archive: what tells of archives, pointers, which triggers write anew, and what belongs to nobody.
const APART: [&str; 9] = [
    "backups",
    "due",
    "duties",
    "epochs",
    "placement_domains",
    "placements",
    "residences",
    "schema_version",
    "shards",
];
/// What puts rows in order that only wait, and is made anew.
const ORDER: [(&str, &str); 4] =
    [("audit_pending", "tx"), ("audit_pending", "pos"), ("outbox", "tx"), ("outbox", "pos")];

async fn the_list_of_tables_is_the_schema() {
    let database = database().await;
    let side = Side::open(database.url(), database.admin_url().unwrap(), false).await;
    let mut raw = Raw::open(&database.admin_url().unwrap()).await;
    let sql = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
               WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 \
               AND NOT a.attisdropped ORDER BY c.relname, a.attnum";
    let mut schema = std::collections::BTreeMap::<String, Vec<[String; 3]>>::new();
    for row in raw.ask(sql).await.unwrap() {
        let [table, column, kind, not_null] = row.try_into().unwrap();
        let (table, column) = (table.unwrap(), column.unwrap());
        if !ORDER.contains(&(table.as_str(), column.as_str())) {
            schema.entry(table).or_default().push([column, kind.unwrap(), not_null.unwrap()]);
        }
    }
    for table in side.stores.archives.layout().unwrap().tables {
        let columns = schema.remove(table.name).unwrap_or_else(|| panic!("no table {}", table.name));
        let listed: Vec<[String; 3]> = table
            .columns
            .iter()
            .map(|column| {
                let kind = match column.kind {
                    Kind::Id if NO_UUID.contains(&(table.name, column.name)) => "bytea",
                    Kind::Id => "uuid",
                    Kind::Hash | Kind::Bytes => "bytea",
                    Kind::Int => "bigint",
                    Kind::Real => "double precision",
                    Kind::Text => "text",
                };
                [column.name.to_owned(), kind.to_owned(), (!column.nullable).to_string()]
            })
            .collect();
        assert_eq!(listed, columns, "{}", table.name);
    }
    let rest: Vec<&String> = schema.keys().collect();
    assert_eq!(rest, APART, "tables nobody exports, restores or deletes");
    side.backend.close().await.unwrap();
}
