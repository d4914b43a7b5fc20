//! What is refused, and that nothing is written then.

use std::io::BufReader;

use agentprovision_core::archive::{Part, Reader, Restore, Value};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::TenantId;
use agentprovision_core::tenant::Tenant;
use agentprovision_core::{ErrorKind, Result};
use agentprovision_tenancy::tenant::{LastArchive, RestoreOptions};
use tokio::sync::mpsc;

use super::world::{Full, Home, kind};
use crate::world::watchdog;

/// A store with an archive of a tenant that is deleted there, and what is left of it.
async fn archived() -> (Home, Full, std::path::PathBuf) {
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, _) = home.export(full.id, "acme.archive").await;
    home.delete(full.id).await;
    (home, full, file)
}

impl Home {
    pub(super) async fn execute(&self, sql: &'static str, tenant: TenantId, number: i64) {
        use sqlx::{ConnectOptions as _, Connection as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file("test.db"));
        let mut conn = options.connect().await.unwrap();
        let query = sqlx::query(sql).bind(tenant.uuid().as_bytes().to_vec()).bind(number);
        query.execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }

    /// Restores what these parts say, whatever it is.
    async fn parts(&self, tenant: TenantId, parts: Vec<Part>) -> Result<Tenant> {
        let Some(Part::Header(header)) = parts.first().cloned() else { panic!("no header") };
        let archives = &self.world.stores.archives;
        let found = archives.standing(&self.op, tenant).await?.audit;
        let (sender, receiver) = mpsc::channel(parts.len());
        for part in parts {
            sender.send(part).await.unwrap();
        }
        drop(sender);
        let what = Restore { header, tenant, found };
        archives.restore(&self.op, what, receiver, OperatorEffects::default()).await
    }
}

/// The parts of an archive.
fn read(home: &Home, file: &std::path::Path) -> Vec<Part> {
    let file = BufReader::new(std::fs::File::open(file).unwrap());
    let mut reader = Reader::open(file, home.layout()).unwrap();
    let mut parts = vec![Part::Header(reader.header().clone())];
    while let Some((table, row)) = reader.row().unwrap() {
        parts.push(Part::Rows(table, vec![row]));
    }
    parts.push(Part::End);
    parts
}

#[tokio::test]
async fn a_tenant_that_is_there_is_not_replaced() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, _) = home.export(full.id, "acme.archive").await;
    let before = home.of(full.id).await;
    assert_eq!(home.refused(&file).await, ErrorKind::Conflict);
    // The store itself refuses too.
    assert_eq!(kind(home.parts(full.id, read(&home, &file)).await), ErrorKind::Conflict);
    assert!(home.of(full.id).await == before);
    home.delete(full.id).await;
    home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap();
    // Reading the log gives what is pending its place.
    home.world.stores.audit.checkpoint(&full.ctx).await.unwrap();
    let before = home.of(full.id).await;
    assert_eq!(home.refused(&file).await, ErrorKind::Conflict);
    assert!(home.of(full.id).await == before);
}

#[tokio::test]
async fn a_broken_archive_writes_nothing() {
    let _watchdog = watchdog();
    let (home, full, file) = archived().await;
    let (left, platform) = (home.of(full.id).await, home.dump(&[0; 16]).await);
    let bytes = std::fs::read(&file).unwrap();
    let broken = home.file("broken.archive");
    for place in 0..40 {
        let end = bytes.len() * place / 40;
        std::fs::write(&broken, &bytes[..end]).unwrap();
        assert_eq!(home.refused(&broken).await, ErrorKind::Corrupt, "{end}");
        let mut flipped = bytes.clone();
        flipped[end.max(12)] ^= 0x10;
        std::fs::write(&broken, &flipped).unwrap();
        assert_eq!(home.refused(&broken).await, ErrorKind::Corrupt, "{end}");
    }
    std::fs::write(&broken, [&bytes[..], b"\0"].concat()).unwrap();
    assert_eq!(home.refused(&broken).await, ErrorKind::Corrupt);
    let mut newer = bytes.clone();
    newer[8] = 2;
    std::fs::write(&broken, newer).unwrap();
    assert_eq!(home.refused(&broken).await, ErrorKind::SchemaTooNew);
    assert_eq!(home.refused(&home.file("none")).await, ErrorKind::NotFound);
    assert!(home.of(full.id).await == left);
    assert_eq!(home.dump(&[0; 16]).await, platform);
}

#[tokio::test]
async fn a_restore_that_fails_in_the_middle_leaves_nothing() {
    let _watchdog = watchdog();
    let (home, full, file) = archived().await;
    let (left, platform) = (home.of(full.id).await, home.dump(&[0; 16]).await);
    let parts = read(&home, &file);
    // The parts end early, at any place.
    for end in 1..parts.len() {
        assert_eq!(kind(home.parts(full.id, parts[..end].to_vec()).await), ErrorKind::Cancelled);
    }
    // A row twice, and one whose parent is missing, which the database itself refuses.
    let place = |name: &str| home.layout().tables.iter().position(|table| table.name == name).unwrap();
    let (journal, agents) = (place("journal"), place("agents"));
    let mut twice = parts.clone();
    let at = parts.iter().position(|part| matches!(part, Part::Rows(table, _) if *table == journal)).unwrap();
    twice.insert(at, parts[at].clone());
    kind(home.parts(full.id, twice).await);
    let mut orphan = parts.clone();
    orphan.retain(|part| !matches!(part, Part::Rows(table, _) if *table == agents));
    kind(home.parts(full.id, orphan).await);
    // A run that nobody could read, and that would keep all workers from finding theirs.
    let runs = place("runs");
    let mut unreadable = parts.clone();
    for part in &mut unreadable {
        if let Part::Rows(table, rows) = part
            && *table == runs
        {
            let totals = home.layout().tables[runs].columns.iter().position(|column| column.name == "totals");
            rows[0][totals.unwrap()] = Value::Text("no totals".into());
        }
    }
    assert_eq!(kind(home.parts(full.id, unreadable).await), ErrorKind::Corrupt);
    // Another header than the one that was verified.
    let mut other = parts.clone();
    let Part::Header(header) = &mut other[0] else { panic!("no header") };
    header.store = "other".into();
    other.insert(0, parts[0].clone());
    assert_eq!(kind(home.parts(full.id, other).await), ErrorKind::Conflict);
    assert!(home.of(full.id).await == left);
    assert_eq!(home.dump(&[0; 16]).await, platform);
    home.parts(full.id, parts).await.unwrap();
}

#[tokio::test]
async fn a_log_that_went_another_way_is_put_behind_the_one_there() {
    let _watchdog = watchdog();
    let (home, full, file) = archived().await;
    // The same tenant lives on elsewhere, and has another history there.
    let away = Home::new().await;
    away.archives().restore(&away.op, &file, RestoreOptions::new()).await.unwrap();
    let (theirs, _) = away.export(full.id, "theirs.archive").await;
    let left = home.of(full.id).await;
    // A log that went on since somebody looked is not the one they saw.
    let mut parts = read(&home, &file);
    let Part::Header(header) = parts[0].clone() else { panic!("no header") };
    let found = agentprovision_core::audit::Checkpoint { size: 1, root: header.audit.root };
    let (sender, receiver) = mpsc::channel(parts.len());
    for part in parts.drain(..) {
        sender.send(part).await.unwrap();
    }
    let what = Restore { header, tenant: full.id, found };
    let restore = home.world.stores.archives.restore(&home.op, what, receiver, OperatorEffects::default());
    assert_eq!(kind(restore.await), ErrorKind::Conflict);
    // Neither is another tenant's the one of this.
    let mut parts = read(&home, &file);
    for part in &mut parts {
        let Part::Rows(table, rows) = part else { continue };
        if home.layout().tables[*table].name == "audit_log" {
            let bytes = b"{}".to_vec();
            let leaf = agentprovision_core::audit::merkle::leaf_hash(&bytes);
            rows[0][2..].clone_from_slice(&[Value::Bytes(leaf.as_bytes().to_vec()), Value::Bytes(bytes)]);
        }
    }
    assert_eq!(kind(home.parts(full.id, parts).await), ErrorKind::Conflict);
    assert!(home.of(full.id).await == left);
    let size = left["audit_log"].len();
    home.archives().restore(&home.op, &theirs, RestoreOptions::new()).await.unwrap();
    let entries = home.world.stores.audit.entries(&full.ctx, 0, 500).await.unwrap();
    let actions = entries[size..].iter().map(|entry| entry.record().unwrap().action);
    // What was told elsewhere, in its order, then this restore.
    assert_eq!(actions.collect::<Vec<_>>(), ["archives.restore", "archives.export", "archives.restore"]);
    // A log that does not verify is not gone on with.
    home.delete(full.id).await;
    home.execute("UPDATE audit_log SET leaf = zeroblob(32) WHERE log_id = $1 AND seq = $2", full.id, 0).await;
    let left = home.of(full.id).await;
    assert_eq!(home.refused(&file).await, ErrorKind::Corrupt);
    assert!(home.of(full.id).await == left);
}

#[tokio::test]
async fn records_that_were_pending_are_in_the_log_once() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, summary) = home.export(full.id, "acme.archive").await;
    // As if the last two records had been pending in the moment of the export, the last one of all never written here.
    let mut parts = read(&home, &file);
    let place = |name: &str| home.layout().tables.iter().position(|table| table.name == name).unwrap();
    let (log, pending) = (place("audit_log"), place("audit_pending"));
    let cut = summary.header.audit.size - 1;
    let proof = home.world.stores.audit.prove(&full.ctx, 0, cut).await.unwrap();
    let mut waiting = Vec::new();
    parts.retain(|part| match part {
        Part::Rows(table, rows) if *table == log && rows[0][1] == Value::Int(cut as i64) => {
            waiting.push(vec![rows[0][0].clone(), rows[0][3].clone()]);
            false
        }
        _ => true,
    });
    waiting.push(vec![waiting[0][0].clone(), Value::Bytes(b"never seen".to_vec())]);
    let Part::Header(header) = &mut parts[0] else { panic!("no header") };
    header.audit = proof.checkpoint;
    parts.insert(parts.len() - 1, Part::Rows(pending, waiting));
    home.delete(full.id).await;
    home.parts(full.id, parts).await.unwrap();
    let entries = home.world.stores.audit.entries(&full.ctx, 0, 500).await.unwrap();
    let deletion = cut as usize + 1;
    assert_eq!(entries.iter().filter(|entry| entry.erased.is_some()).count(), 1);
    assert!(entries[deletion].erased.is_some());
    assert_eq!(entries[deletion + 1].bytes, b"never seen");
    assert_eq!(entries.len(), deletion + 2);
}

#[tokio::test]
async fn an_export_leaves_a_whole_file_or_none() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, _) = home.export(full.id, "acme.archive").await;
    let bytes = std::fs::read(&file).unwrap();
    let records = home.dump(&[0; 16]).await;
    let archives = home.archives();
    assert_eq!(kind(archives.export(&home.op, full.id, &file).await), ErrorKind::AlreadyExists);
    assert_eq!(home.dump(&[0; 16]).await, records);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    // A deletion whose archive cannot be written leaves the tenant, and tries nothing when that can be told before.
    let delete = |path| home.tenants().delete(&home.op, full.id, LastArchive::At(path));
    assert_eq!(kind(delete(file.clone()).await), ErrorKind::AlreadyExists);
    assert_eq!(home.tenants().get(&home.op, full.id).await.unwrap().state.name(), "active");
    assert_eq!(kind(delete(home.file("no/folder")).await), ErrorKind::Unavailable);
    assert_eq!(home.tenants().get(&home.op, full.id).await.unwrap().state.name(), "suspended");
    assert_eq!(
        kind(archives.export(&home.op, home.world.env.id(), home.file("b")).await),
        ErrorKind::NotFound
    );
    home.delete(full.id).await;
    assert_eq!(kind(archives.export(&home.op, full.id, home.file("c")).await), ErrorKind::NotFound);
    let names = std::fs::read_dir(&home.world.folder.0).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| name.starts_with("test.db") || name == "acme.archive"), "{names:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Another platform's operator sees nothing.
    let other = Home::new().await;
    assert_eq!(kind(archives.export(&other.op, full.id, home.file("d")).await), ErrorKind::ForeignContext);
    assert_eq!(kind(archives.verify(&other.op, &file).await), ErrorKind::ForeignContext);
    let restore = archives.restore(&other.op, &file, RestoreOptions::new()).await;
    assert_eq!(kind(restore), ErrorKind::ForeignContext);
}
