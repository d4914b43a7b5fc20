//! Backups of several processes over one database.

use std::collections::BTreeSet;
use std::time::Duration;

use agentprovision_core::backup::{Backup, BackupState};
use agentprovision_core::context::ContextIssuer;
use agentprovision_core::page::PageRequest;
use agentprovision_core::{Env, ErrorKind};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::Pepper;
use agentprovision_tenancy::rbac::Roles;
use agentprovision_tenancy::store::connect;
use agentprovision_tenancy::tenant::{BackupOptions, BackupSchedule, NewTenant};
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Raw, database};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("backups", "of_a_time_one_process_makes_each", of_a_time_one_process_makes_each)]
}

async fn of_a_time_one_process_makes_each() {
    let (database, folder) = (database().await, tempfile::tempdir().unwrap());
    let env = Env::default();
    let mut processes = Vec::new();
    for _ in 0..3 {
        let backend = connect(database.url(), env.clone()).await.unwrap();
        let issuer = ContextIssuer::new(env.clone());
        let tenancy = Tenancy::new(issuer.clone(), &backend.stores(), Roles::default(), Pepper::random(&env));
        // The same time of the schedule however long this takes.
        let options = BackupOptions::new(folder.path()).every(Duration::from_secs(1_000_000_000));
        processes.push((backend, issuer, tenancy.with_backups(options).unwrap()));
    }
    let (_, issuer, first) = &processes[0];
    let op = issuer.operator("ops", "a test").unwrap();
    let mut tenants = Vec::new();
    for place in 0..20 {
        let new = NewTenant::new(format!("t{place}"), format!("t{place}.example"));
        tenants.push(first.tenants().create(&op, new).await.unwrap().id);
    }
    let running: Vec<BackupSchedule> =
        processes.iter().map(|(_, _, tenancy)| BackupSchedule::start(tenancy.backups())).collect();
    let mut made: Vec<Backup> = Vec::new();
    for tenant in &tenants {
        loop {
            let page = first.backups().list(&op, *tenant, PageRequest::limit(100)).await.unwrap();
            if let [backup] = &page.items[..]
                && backup.state == BackupState::Completed
            {
                made.push(backup.clone());
                break;
            }
        }
    }
    for schedule in running {
        schedule.close().await;
    }
    let names: BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, made.iter().map(|backup| backup.name.clone()).collect());
    for backup in &made {
        let archive = first.archives().verify(&op, folder.path().join(&backup.name)).await.unwrap();
        assert_eq!((Some(archive.digest), Some(archive.rows)), (backup.digest, backup.rows));
    }
    // One each, and nothing that failed beside it.
    let mut raw = Raw::open(&database.admin_url().unwrap()).await;
    let counts = raw.ask("SELECT count(*)::text FROM agentprovision.backups").await.unwrap();
    assert_eq!(counts[0][0].as_deref(), Some("20"));
    let late = first.backups().run(&op, tenants[0]).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
    for (backend, ..) in processes {
        backend.close().await.unwrap();
    }
}
