//! Tenants are exported, deleted and restored: what comes back, what is left, and what nothing may touch.

mod refused;
pub(crate) mod world;

use std::collections::BTreeSet;

use agentprovision_core::ErrorKind;
use agentprovision_core::archive::Kind;
use agentprovision_core::audit::AuditLog;
use agentprovision_core::audit::merkle::{verify_consistency, verify_inclusion};
use agentprovision_core::effect::Effects;
use agentprovision_core::id::Id;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{ClaimRequest, JournalBatch, STATE_VERSION};
use agentprovision_core::tenant::TenantState;
use agentprovision_tenancy::identity::{NewUser, UserUpdate};
use agentprovision_tenancy::tenant::{LastArchive, NewTenant, RestoreInto, RestoreOptions};

use self::world::{Dump, Home, end_held, kind};
use crate::filled::{path, sealed, work};
use crate::world::{batch, watchdog};

/// Without the tables that are not the same after a restore, each of which has a test of its own.
fn data(mut dump: Dump) -> Dump {
    for table in [
        "tenants",
        "run_leases",
        "secrets",
        "idempotency_keys",
        "delivery_work",
        "audit_log",
        "audit_heads",
        "audit_pending",
        "outbox",
        "event_heads",
    ] {
        dump.remove(table);
    }
    dump
}

#[tokio::test]
async fn the_list_of_tables_is_the_schema() {
    let home = Home::new().await;
    let mut schema = home.schema().await;
    // What is above tenants or of the store, and what tells of archives; where tenants are kept says the directory, which
    // no archive holds.
    for above in [
        "schema_version",
        "duties",
        "epochs",
        "backups",
        "placements",
        "placement_domains",
        "residences",
        "shards",
    ] {
        schema.remove(above).unwrap();
    }
    for table in home.layout().tables {
        let mut columns = schema.remove(table.name).unwrap_or_else(|| panic!("no table {}", table.name));
        // Where rows only wait in order, the order is made anew.
        if ["audit_pending", "outbox"].contains(&table.name) {
            assert_eq!(columns.remove(0).0, "pos");
        }
        let listed: Vec<_> = table
            .columns
            .iter()
            .map(|column| {
                let kind = match column.kind {
                    Kind::Id | Kind::Hash | Kind::Bytes => "BLOB",
                    Kind::Int => "INTEGER",
                    Kind::Real => "REAL",
                    Kind::Text => "TEXT",
                };
                (column.name.to_owned(), kind.to_owned(), column.nullable)
            })
            .collect();
        assert_eq!(listed, columns, "{}", table.name);
        assert!(matches!(table.columns[0].name, "tenant_id" | "log_id"), "{}", table.name);
    }
    assert!(schema.is_empty(), "tables nobody exports, restores or deletes: {schema:?}");
}

#[tokio::test]
async fn a_tenant_comes_back_in_another_store_as_it_was() {
    let _watchdog = watchdog();
    let (home, away) = (Home::new().await, Home::new().await);
    let full = home.full("acme").await;
    let (file, summary) = home.export(full.id, "acme.archive").await;
    let before = home.of(full.id).await;
    // Every table has rows but those that only wait in order.
    let named: BTreeSet<&str> = home.layout().tables.iter().map(|table| table.name).collect();
    let mut filled: BTreeSet<&str> = before.keys().map(String::as_str).collect();
    filled.extend(["audit_pending", "outbox"]);
    assert_eq!(filled, named);
    assert_eq!(away.archives().verify(&away.op, &file).await.unwrap(), summary);
    assert_eq!(summary.rows, before.values().map(|rows| rows.len() as u64).sum::<u64>());
    assert_eq!(summary.header.audit, home.world.stores.audit.checkpoint(&full.ctx).await.unwrap());
    assert_eq!((&*summary.header.store, summary.header.tenant), ("sqlite", full.id));

    let restored = away.archives().restore(&away.op, &file, RestoreOptions::new()).await.unwrap();
    assert_eq!((restored.tenant.id, restored.tenant.state), (full.id, TenantState::Suspended));
    assert_eq!(restored.archive, summary);
    let after = away.of(full.id).await;
    assert!(data(after.clone()) == data(before.clone()));
    for text in ["leased", "plain"] {
        for side in [&home, &away] {
            let kept = side.world.stores.secrets.get(&full.ctx, &path(text)).await.unwrap();
            assert_eq!(kept, sealed(1));
        }
    }
    for table in ["idempotency_keys", "delivery_work"] {
        assert_eq!(after[table].len(), before[table].len());
    }
    // The archived log, and what waits for its place behind it.
    assert_eq!(after["audit_log"], before["audit_log"]);
    assert_eq!((after["audit_pending"].len(), after["outbox"].len()), (1, 1));
    // The same tenant but for its state.
    let was = home.tenants().get(&home.op, full.id).await.unwrap();
    let is = away.tenants().get(&away.op, full.id).await.unwrap();
    assert_eq!(
        (is.name, is.domain, is.settings, is.created_at),
        (was.name, was.domain, was.settings, was.created_at)
    );
    assert!(is.revision > was.revision);
}

#[tokio::test]
async fn a_deleted_tenant_leaves_its_tombstone_and_the_hashes_of_its_log() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let (full, other) = (home.full("acme").await, home.full("globex").await);
    let audit = &home.world.stores.audit;
    let (records, head) =
        (audit.entries(&full.ctx, 0, 500).await.unwrap(), audit.checkpoint(&full.ctx).await.unwrap());
    let (_, untouched) = (home.of(full.id).await, home.of(other.id).await);
    let last = home.file("last.archive");
    home.tenants().delete(&home.op, full.id, LastArchive::At(last.clone())).await.unwrap();

    let left = home.of(full.id).await;
    // Suspended, exported, deleted: a record and an event each. The deletion's own event still has to go out.
    let size = records.len() + 3;
    let counts: Vec<(&str, usize)> = left.iter().map(|(table, rows)| (table.as_str(), rows.len())).collect();
    let expected =
        [("audit_heads", 1), ("audit_log", size), ("event_heads", 1), ("outbox", 1), ("tenants", 1)];
    assert_eq!(counts, expected);
    assert!(left["audit_log"].iter().all(|row| row.ends_with(" X''")), "{:?}", left["audit_log"]);
    assert!(left["tenants"][0].contains("'deleted'") && !left["tenants"][0].contains(".example"));
    assert!(home.of(other.id).await == untouched);

    // What is left proves every record somebody kept elsewhere.
    let entries = audit.entries(&full.ctx, 0, 500).await.unwrap();
    assert!(entries.iter().all(|entry| entry.bytes.is_empty()));
    assert_eq!(kind(entries[0].record()), ErrorKind::NotFound);
    let now = audit.checkpoint(&full.ctx).await.unwrap();
    for record in &records {
        let proof = audit.prove(&full.ctx, record.seq, now.size).await.unwrap();
        verify_inclusion(record.leaf(), record.seq, now.size, &proof.path, now.root).unwrap();
    }
    let proof = audit.consistency(&full.ctx, head.size, now.size).await.unwrap();
    verify_consistency(head.size, head.root, now.size, now.root, &proof).unwrap();
    let platform = audit.platform_entries(&home.op, 0, 500).await.unwrap();
    let deletion = platform.last().unwrap().record().unwrap();
    let archive = home.archives().verify(&home.op, &last).await.unwrap();
    assert_eq!(deletion.action, "tenants.delete");
    assert_eq!(deletion.details["archive"]["digest"], archive.digest.to_string());
    assert_eq!(archive.header.state, TenantState::Suspended);
    AuditLog::new(audit.clone(), home.tenancy.access().clone()).verify_platform(&home.op).await.unwrap();
}

#[tokio::test]
async fn a_deleted_tenant_comes_back_and_its_log_goes_on() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let (full, other) = (home.full("acme").await, home.full("globex").await);
    let (file, summary) = home.export(full.id, "acme.archive").await;
    let before = home.of(full.id).await;
    // What happens later is not in the archive, and gone with the tenant.
    let late = home.tenancy.users().create(&full.ctx, NewUser::new("late@acme.example")).await.unwrap();
    home.delete(full.id).await;
    let untouched = home.of(other.id).await;
    let found = home.world.stores.audit.checkpoint(&full.ctx).await.unwrap();
    assert_eq!(found.size, summary.header.audit.size + 2);

    let tenant = home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap().tenant;
    assert!(home.of(other.id).await == untouched);
    let after = home.of(full.id).await;
    assert_eq!(
        data(after.clone()).keys().collect::<Vec<_>>(),
        data(before.clone()).keys().collect::<Vec<_>>()
    );
    for (table, rows) in data(before.clone()) {
        if table != "events" {
            assert_eq!(after[&table], rows, "{table}");
        }
    }
    assert!(before["events"].iter().all(|row| after["events"].contains(row)));
    assert_eq!(tenant.domain.as_deref(), Some("acme.example"));

    let ctx = home.resume(full.id, full.admin).await;
    let audit = &home.world.stores.audit;
    let entries = audit.entries(&ctx, 0, 500).await.unwrap();
    let erased: Vec<u64> =
        entries.iter().filter(|entry| entry.erased.is_some()).map(|entry| entry.seq).collect();
    // The late user's and the deletion's.
    assert_eq!(erased, [found.size - 2, found.size - 1]);
    let restored = entries[found.size as usize].record().unwrap();
    assert_eq!(restored.action, "archives.restore");
    assert_eq!(restored.details["found"], serde_json::to_value(found).unwrap());
    assert_eq!(restored.details["archived"], serde_json::to_value(summary.header.audit).unwrap());
    let platform = audit.platform_entries(&home.op, 0, 500).await.unwrap();
    let told = platform.iter().map(|entry| entry.record().unwrap());
    let told: Vec<_> = told.filter(|record| record.action == "archives.restore").collect();
    assert_eq!((told.len(), &told[0].details), (1, &restored.details));
    let log = AuditLog::new(audit.clone(), home.tenancy.access().clone());
    assert_eq!(log.verify(&ctx).await.unwrap().size, entries.len() as u64);
    assert_eq!(kind(home.tenancy.users().get(&ctx, late.id).await), ErrorKind::NotFound);
    // A record that is erased after that is missed.
    let sql = "UPDATE audit_log SET bytes = x'' WHERE log_id = $1 AND seq = $2";
    home.execute(sql, full.id, found.size as i64 + 1).await;
    assert_eq!(kind(log.verify(&ctx).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn writing_goes_on_after_a_restore() {
    let _watchdog = watchdog();
    for elsewhere in [false, true] {
        let home = Home::new().await;
        let full = home.full("acme").await;
        let (file, _) = home.export(full.id, "acme.archive").await;
        // A worker takes the run up after the export, so its epoch is higher than the archived one.
        home.world.clock.advance(std::time::Duration::from_secs(60));
        let until = home.world.env.now().after(std::time::Duration::from_secs(60));
        let runs = &home.world.stores.runs;
        let late = runs
            .claim(ClaimRequest::new(home.world.env.id(), until, 9, STATE_VERSION))
            .await
            .unwrap()
            .remove(0);
        let away = if elsewhere { Home::new().await } else { home };
        if !elsewhere {
            away.delete(full.id).await;
        }
        away.archives().restore(&away.op, &file, RestoreOptions::new()).await.unwrap();
        let stores = &away.world.stores;
        // The lease that was held in the moment of the export is nobody's, however long it would have lasted.
        let until = away.world.env.now().after(std::time::Duration::from_secs(60));
        // Not before it is resumed.
        let claim = || stores.runs.claim(ClaimRequest::new(away.world.env.id(), until, 9, STATE_VERSION));
        assert!(claim().await.unwrap().is_empty());
        let ctx = away.resume(full.id, full.admin).await;
        // Whoever was to replace a secret, or was at work, is not let in again.
        let refused = stores.secrets.put(&ctx, &path("leased"), sealed(2), Some(full.lease)).await;
        assert_eq!(kind(refused), ErrorKind::Fenced);
        let refused = stores.idempotency.finish(&ctx, &work("open"), 1, None).await;
        assert_eq!(kind(refused), ErrorKind::Fenced);
        stores.secrets.put(&ctx, &path("leased"), sealed(2), None).await.unwrap();
        assert_eq!(kind(end_held(stores, &ctx).await), ErrorKind::Fenced);
        let taken = stores
            .inbox
            .claim(away.world.env.id(), std::time::Duration::from_micros(1), 9, None)
            .await
            .unwrap();
        assert!(taken.iter().all(|one| one.epoch > 1 << 32 && one.delivery.attempts == 2));
        assert_eq!(taken.len(), 1);
        let lease = claim().await.unwrap().remove(0);
        assert_eq!(lease.run.id, full.held.run.id);
        assert!(lease.fence.epoch > late.fence.epoch && late.fence.epoch > full.held.fence.epoch);
        for old in [&late, &full.held] {
            let refused = stores.runs.commit(&old.fence, JournalBatch::default(), Effects::none()).await;
            assert_eq!(kind(refused), ErrorKind::Fenced);
        }
        let seq = stores.runs.commit(&lease.fence, batch(&lease, 2, "more"), Effects::none()).await.unwrap();
        assert_eq!(seq, 43);
        assert_eq!(stores.index.journal(&ctx, lease.run.id, 0, 100).await.unwrap().len(), 43);
        // Events: no number twice, none again that was told already.
        let events = stores.events.read(&ctx, 0, 100).await.unwrap();
        let last = events.last().unwrap().seq;
        away.tenancy.users().create(&ctx, NewUser::new("new@acme.example")).await.unwrap();
        let more = stores.events.read(&ctx, last, 100).await.unwrap();
        assert_eq!(more.iter().map(|event| event.seq).collect::<Vec<_>>(), [last + 1]);
        let numbers: BTreeSet<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers.len(), events.len());
        let actions: Vec<_> = events.iter().map(|event| event.event.kind.as_str()).collect();
        assert!(actions.contains(&"agentprovision.tenant.restored"), "{actions:?}");
        let log = AuditLog::new(stores.audit.clone(), away.tenancy.access().clone());
        log.verify(&ctx).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_tenant_is_made_of_an_archive() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, summary) = home.export(full.id, "acme.archive").await;
    let before = home.of(full.id).await;
    let options = RestoreOptions::new().into_tenant(RestoreInto::New);
    let tenant = home.archives().restore(&home.op, &file, options.clone()).await.unwrap().tenant;
    assert_ne!(tenant.id, full.id);
    assert_eq!((tenant.name.as_str(), tenant.domain), ("acme", None));
    assert!(home.of(full.id).await == before);
    // The same rows under another id, without what happened to the other tenant.
    let text = |id: agentprovision_core::id::TenantId| format!("X'{}'", id.uuid().as_simple()).to_uppercase();
    let renamed = |rows: &[String]| -> Vec<String> {
        rows.iter().map(|row| row.replace(&text(full.id), &text(tenant.id))).collect()
    };
    let after = home.of(tenant.id).await;
    for (table, rows) in data(before.clone()) {
        // Who asks is proved anew.
        let rows = renamed(&rows).into_iter().map(|row| match &*table {
            "integrations" => row.replace("'active'", "'needs_reconnect'"),
            "webhook_endpoints" => row.replace("'active'", "'disabled'"),
            _ => row,
        });
        if table != "events" {
            assert_eq!(after[&table], rows.collect::<Vec<_>>(), "{table}");
        }
    }
    assert!(before.contains_key("secrets") && !after.contains_key("secrets"));
    for table in ["idempotency_keys", "delivery_work"] {
        assert_eq!(after[table].len(), before[table].len());
    }
    assert_eq!(after["audit_log"], renamed(&before["audit_log"]));
    assert!(!after.contains_key("events") && !after.contains_key("event_heads"));
    let ctx = home.resume(tenant.id, full.admin).await;
    let log = AuditLog::new(home.world.stores.audit.clone(), home.tenancy.access().clone());
    assert_eq!(log.verify(&ctx).await.unwrap().size, summary.header.audit.size + 2);
    let events = home.world.stores.events.read(&ctx, 0, 100).await.unwrap();
    assert!(events.iter().all(|event| event.event.tenantid == tenant.id));
    assert_eq!(events[0].seq, 1);
    let again = home.archives().restore(&home.op, &file, options).await.unwrap().tenant;
    assert_ne!(again.id, tenant.id);
}

#[tokio::test]
async fn what_a_process_knew_of_the_users_counts_no_more() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let users = home.tenancy.users();
    let bob = users.create(
        &full.ctx,
        NewUser::new("bob@acme.example").role(agentprovision_core::identity::Role::TENANT_ADMIN),
    );
    let bob = bob.await.unwrap();
    let old = home.tenancy.contexts().context(full.id, bob.id).await.unwrap();
    users.update(&full.ctx, bob.id, UserUpdate::new().roles([])).await.unwrap();
    let (file, _) = home.export(full.id, "acme.archive").await;
    users.delete(&full.ctx, bob.id).await.unwrap();
    home.delete(full.id).await;
    home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap();
    let ctx = home.resume(full.id, full.admin).await;
    // Bob had lost his role before the export: a context of before that is worth nothing, nor is a new one.
    for bobs in [&old, &home.tenancy.contexts().context(full.id, bob.id).await.unwrap()] {
        assert_eq!(kind(users.delete(bobs, full.admin).await), ErrorKind::NotFound);
    }
    // And he is there again.
    users
        .update(&ctx, bob.id, UserUpdate::new().roles([agentprovision_core::identity::Role::TENANT_ADMIN]))
        .await
        .unwrap();
    let bobs = home.tenancy.contexts().context(full.id, bob.id).await.unwrap();
    assert_eq!(users.list(&bobs, PageRequest::limit(9)).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_domain_that_was_given_away_is_left_out() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let (file, _) = home.export(full.id, "acme.archive").await;
    home.delete(full.id).await;
    let next = home.tenants().create(&home.op, NewTenant::new("next", "acme.example")).await.unwrap();
    let tenant = home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap().tenant;
    assert_eq!(tenant.domain, None);
    assert_eq!(home.tenants().get(&home.op, next.id).await.unwrap(), next);
    // And once more: deleted again, the log goes on behind both.
    home.delete(full.id).await;
    home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap();
    let ctx = home.resume(full.id, full.admin).await;
    let log = AuditLog::new(home.world.stores.audit.clone(), home.tenancy.access().clone());
    log.verify(&ctx).await.unwrap();
    assert!(!Id::uuid(full.id).is_nil());
}
