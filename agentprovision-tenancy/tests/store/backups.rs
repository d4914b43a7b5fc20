//! Backups: made when asked and on a schedule, kept so many, and never said to be there when they are not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use agentprovision_core::archive::{ArchiveStore, Header, Layout, Part, Restore, Standing, Value, verify};
use agentprovision_core::audit::Checkpoint;
use agentprovision_core::audit::merkle::empty_root;
use agentprovision_core::backend::{Backend as _, Stores};
use agentprovision_core::backup::{Backup, BackupState, NewBackup};
use agentprovision_core::clock::{Clock, ManualClock, OsEntropy};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{ContextIssuer, Env, ErrorKind, MemoryDb, Timestamp};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::Pepper;
use agentprovision_tenancy::rbac::Roles;
use agentprovision_tenancy::tenant::{
    BackupOptions, BackupSchedule, LastArchive, NewTenant, RestoreInto, RestoreOptions,
};
use async_trait::async_trait;

use crate::archives::world::{Home, kind};
use crate::world::{Folder, watchdog};

const HOUR: Duration = Duration::from_secs(3600);

/// A store with a folder for backups.
struct Vault {
    home: Home,
    folder: Folder,
}

impl Vault {
    async fn new(options: impl FnOnce(BackupOptions) -> BackupOptions) -> Self {
        let (mut home, folder) = (Home::new().await, Folder::new());
        home.tenancy = home.tenancy.with_backups(options(BackupOptions::new(&folder.0))).unwrap();
        Self { home, folder }
    }

    async fn run(&self, tenant: TenantId) -> agentprovision_core::Result<Backup> {
        self.home.tenancy.backups().run(&self.home.op, tenant).await
    }

    async fn list(&self, tenant: TenantId) -> Vec<Backup> {
        list(&self.home.tenancy, &self.home.op, tenant).await
    }

    /// The files are those of the completed backups, and no others.
    async fn files_are_those_of(&self, tenants: &[TenantId]) {
        let mut expected = BTreeSet::new();
        for tenant in tenants {
            let completed = self.list(*tenant).await.into_iter();
            let completed = completed.filter(|backup| backup.state == BackupState::Completed);
            for backup in completed {
                let archive =
                    self.home.archives().verify(&self.home.op, self.folder.file(&backup.name)).await;
                let archive = archive.unwrap();
                assert_eq!((Some(archive.digest), Some(archive.rows)), (backup.digest, backup.rows));
                expected.insert(backup.name);
            }
        }
        assert_eq!(names(&self.folder.0), expected);
    }

    /// What the log of a tenant says about backups, and that the platform's says the same.
    async fn told(&self, tenant: TenantId) -> Vec<(String, Option<String>)> {
        let world = &self.home.world;
        let about = |entries: Vec<agentprovision_core::audit::AuditEntry>| {
            let records = entries.into_iter().filter_map(|entry| entry.record().ok());
            let records = records.filter(|record| record.resource == "backups");
            records.collect::<Vec<_>>()
        };
        let ctx = world.ctx(&world.stores.tenants.get(&self.home.op, tenant).await.unwrap());
        let within = about(world.stores.audit.entries(&ctx, 0, 500).await.unwrap());
        let platform = about(world.stores.audit.platform_entries(&self.home.op, 0, 500).await.unwrap());
        let id = tenant.to_string();
        let above = platform.into_iter().filter(|record| record.details["tenant_id"] == id.as_str());
        let short = |record: agentprovision_core::audit::AuditRecord| {
            let failed = record.result == agentprovision_core::audit::AuditResult::Failure;
            (record.action, record.reason.filter(|_| failed))
        };
        let (within, above): (Vec<_>, Vec<_>) =
            (within.into_iter().map(short).collect(), above.map(short).collect());
        assert_eq!(within, above);
        within
    }
}

async fn list(tenancy: &Tenancy, op: &agentprovision_core::OperatorContext, tenant: TenantId) -> Vec<Backup> {
    tenancy.backups().list(op, tenant, PageRequest::limit(100)).await.unwrap().items
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn states(backups: &[Backup]) -> Vec<&'static str> {
    backups.iter().map(|backup| backup.state.name()).collect()
}

#[tokio::test]
async fn a_backup_holds_everything_and_is_told_of() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options).await;
    let home = &vault.home;
    let (full, other) = (home.full("acme").await, home.full("globex").await);
    let backup = vault.run(full.id).await.unwrap();
    assert_eq!((backup.state, backup.number, backup.slot), (BackupState::Completed, 1, None));
    assert_eq!(home.tenancy.backups().get(&home.op, full.id, backup.id).await.unwrap(), backup);
    assert_eq!(vault.list(full.id).await, std::slice::from_ref(&backup));
    assert_eq!(vault.list(other.id).await, []);
    vault.files_are_those_of(&[full.id, other.id]).await;
    let ok = |action: &str| (action.to_owned(), None);
    assert_eq!(vault.told(full.id).await, [ok("backups.run"), ok("backups.finish")]);
    assert_eq!(vault.told(other.id).await, []);
    let events = home.world.stores.events.read(&full.ctx, 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().event.kind, "agentprovision.tenant.backed_up");
    // It is an archive like others, of everything.
    let (_, archive) = home.export(full.id, "compared").await;
    let file = vault.folder.file(&backup.name);
    let summary = home.archives().verify(&home.op, &file).await.unwrap();
    for (mine, whole) in summary.tables.iter().zip(&archive.tables) {
        if !["audit_log", "audit_heads", "event_heads", "events"].contains(&mine.name.as_str()) {
            assert_eq!(mine, whole);
        }
    }
    // A suspended tenant is backed up, a deleted one has no backups.
    home.tenants().suspend(&home.op, full.id).await.unwrap();
    assert_eq!(vault.run(full.id).await.unwrap().number, 2);
    home.delete(full.id).await;
    assert_eq!(kind(vault.run(full.id).await), ErrorKind::NotFound);
    assert_eq!(vault.list(full.id).await, []);
    let restored = home.archives().restore(&home.op, &file, RestoreOptions::new()).await.unwrap();
    assert_eq!((restored.tenant.id, restored.archive), (full.id, summary));
    let into = RestoreOptions::new().into_tenant(RestoreInto::New);
    home.archives().restore(&home.op, &file, into).await.unwrap();
    home.resume(full.id, full.admin).await;
    // In the file of the store are no backups of before.
    assert_eq!(vault.list(full.id).await, []);
    assert_eq!(vault.run(full.id).await.unwrap().number, 1);
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_has_failed() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options).await;
    let home = &vault.home;
    let full = home.full("acme").await;
    // No folder: it is not made, as it may be a disk that is not there. A file in its place is no better.
    std::fs::remove_dir(&vault.folder.0).unwrap();
    assert_eq!(kind(vault.run(full.id).await), ErrorKind::Unavailable);
    assert!(!vault.folder.0.exists());
    std::fs::write(&vault.folder.0, b"a file").unwrap();
    assert_eq!(kind(vault.run(full.id).await), ErrorKind::Unavailable);
    assert_eq!(std::fs::read(&vault.folder.0).unwrap(), b"a file");
    std::fs::remove_file(&vault.folder.0).unwrap();
    let failed = vault.list(full.id).await;
    assert_eq!(states(&failed), ["failed", "failed"]);
    assert!(
        failed.iter().all(|backup| backup.error == Some(ErrorKind::Unavailable) && backup.digest.is_none())
    );
    let run = || ("backups.run".to_owned(), None);
    let end = |error: Option<&str>| ("backups.finish".to_owned(), error.map(str::to_owned));
    let unavailable = || end(Some("unavailable"));
    assert_eq!(vault.told(full.id).await, [run(), unavailable(), run(), unavailable()]);
    std::fs::create_dir(&vault.folder.0).unwrap();
    assert_eq!(vault.run(full.id).await.unwrap().number, 3);
    vault.files_are_those_of(&[full.id]).await;
    // Those that failed before are told of no more.
    assert_eq!(states(&vault.list(full.id).await), ["completed"]);
    // Nobody else's operator, no tenant, no folder, no store.
    let other = Home::new().await;
    let backups = home.tenancy.backups();
    assert_eq!(kind(backups.run(&other.op, full.id).await), ErrorKind::ForeignContext);
    assert_eq!(
        kind(backups.list(&other.op, full.id, PageRequest::limit(1)).await),
        ErrorKind::ForeignContext
    );
    let id = vault.list(full.id).await[0].id;
    assert_eq!(kind(backups.get(&other.op, full.id, id).await), ErrorKind::ForeignContext);
    let nobody = home.world.env.id();
    assert_eq!(kind(vault.run(nobody).await), ErrorKind::NotFound);
    assert_eq!(kind(backups.list(&home.op, nobody, PageRequest::limit(1)).await), ErrorKind::NotFound);
    assert_eq!(kind(backups.list(&home.op, full.id, PageRequest::limit(0)).await), ErrorKind::InvalidInput);
    assert_eq!(kind(backups.get(&home.op, nobody, id).await), ErrorKind::NotFound);
    assert_eq!(kind(other.tenancy.backups().run(&other.op, full.id).await), ErrorKind::Unsupported);
    BackupSchedule::start(home.tenancy.backups()).close().await;
    assert_eq!(kind(vault.run(full.id).await), ErrorKind::Closed);
    assert_eq!(states(&vault.list(full.id).await), ["completed"]);
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused() {
    let home = Home::new().await;
    let some = BackupOptions::new("backups");
    let bad = [
        BackupOptions::new(""),
        some.clone().keep(0),
        some.clone().every(Duration::ZERO),
        some.patience(Duration::from_millis(999)),
    ];
    for options in bad {
        assert_eq!(kind(home.tenancy.clone().with_backups(options)), ErrorKind::InvalidInput);
    }
    // A store in memory has nothing to back up from.
    let env = Env::default();
    let (issuer, folder) = (ContextIssuer::new(env.clone()), Folder::new());
    let stores = MemoryDb::new(env.clone()).stores();
    let tenancy = tenancy(&issuer, &stores, BackupOptions::new(&folder.0));
    let op = issuer.operator("ops", "a test").unwrap();
    let tenant = tenancy.tenants().create(&op, NewTenant::new("acme", "acme.example")).await.unwrap().id;
    assert_eq!(kind(tenancy.backups().run(&op, tenant).await), ErrorKind::Unsupported);
    assert_eq!(list(&tenancy, &op, tenant).await, []);
}

#[tokio::test]
async fn so_many_are_kept() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options.keep(2)).await;
    let home = &vault.home;
    let (full, other) = (home.full("acme").await, home.full("globex").await);
    vault.run(other.id).await.unwrap();
    let first = vault.run(full.id).await.unwrap();
    vault.run(full.id).await.unwrap();
    // Its file cannot be removed: it is told of no more, and tried again.
    let file = vault.folder.file(&first.name);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    for number in [3, 4] {
        assert_eq!(vault.run(full.id).await.unwrap().number, number);
        let numbers: Vec<u64> = vault.list(full.id).await.iter().map(|backup| backup.number).collect();
        assert_eq!(numbers, [number - 1, number]);
    }
    assert!(file.is_dir());
    let get = home.tenancy.backups().get(&home.op, full.id, first.id).await;
    assert_eq!(kind(get), ErrorKind::NotFound);
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, b"again").unwrap();
    vault.run(full.id).await.unwrap();
    vault.files_are_those_of(&[full.id, other.id]).await;
    let expired = vault.told(full.id).await.into_iter().filter(|(action, _)| action == "backups.expire");
    assert_eq!(expired.count(), 2);
    assert_eq!(vault.list(other.id).await.len(), 1);
}

#[tokio::test]
async fn what_a_process_left_has_failed_and_is_removed() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options.patience(HOUR)).await;
    let home = &vault.home;
    let full = home.full("acme").await;
    let (env, stores) = (&home.world.env, &home.world.stores);
    let begin = async || {
        let new = NewBackup { id: env.id(), tenant: full.id, slot: None, at: env.now(), patience: HOUR };
        stores.backups.begin(&home.op, new, OperatorEffects::default()).await.unwrap().backup
    };
    let (written, half) = (begin().await, begin().await);
    std::fs::write(vault.folder.file(&written.name), b"whole").unwrap();
    std::fs::write(vault.folder.file(&format!("{}.partial", half.name)), b"half").unwrap();
    home.world.clock.advance(HOUR / 2);
    vault.run(full.id).await.unwrap();
    assert_eq!(names(&vault.folder.0).len(), 3, "they may be at work");
    home.world.clock.advance(HOUR / 2);
    vault.run(full.id).await.unwrap();
    vault.files_are_those_of(&[full.id]).await;
    for left in [written, half] {
        let effects = OperatorEffects::default();
        let end = agentprovision_core::backup::BackupEnd::Failed(ErrorKind::Internal);
        let late = stores.backups.finish(&home.op, full.id, left.id, env.now(), end, effects).await;
        // Failed, and forgotten since a later one is there.
        assert_eq!(kind(late), ErrorKind::NotFound);
    }
}

fn tenancy(issuer: &ContextIssuer, stores: &Stores, options: BackupOptions) -> Tenancy {
    let pepper = Pepper::random(issuer.env());
    Tenancy::new(issuer.clone(), stores, Roles::default(), pepper).with_backups(options).unwrap()
}

/// Lets others work until something is so.
async fn until(is: impl AsyncFn() -> bool) {
    while !is().await {
        tokio::task::yield_now().await;
    }
}

/// As [`until`], while time goes by: whoever sleeps wakes up, whenever it fell asleep.
async fn until_in_time(clock: &ManualClock, is: impl AsyncFn() -> bool) {
    for turn in 1.. {
        if is().await {
            return;
        }
        if turn % 10 == 0 {
            clock.advance(Duration::from_secs(1));
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_tenant_is_backed_up_at_its_time_by_one_process() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options.every(HOUR).keep(3).patience(HOUR * 1000)).await;
    let home = &vault.home;
    let (full, other, gone) =
        (home.full("acme").await, home.full("globex").await, home.full("initech").await);
    home.tenants().suspend(&home.op, other.id).await.unwrap();
    home.delete(gone.id).await;
    // Two platforms on the store.
    let options = BackupOptions::new(&vault.folder.0).every(HOUR).keep(3).patience(HOUR * 1000);
    let second = tenancy(&home.world.issuer, &home.world.stores, options);
    let running = [&home.tenancy, &second].map(|tenancy| BackupSchedule::start(tenancy.backups()));
    for round in 1..=5 {
        for tenant in [full.id, other.id] {
            until_in_time(&home.world.clock, async || {
                vault
                    .list(tenant)
                    .await
                    .last()
                    .is_some_and(|last| last.number >= round && last.state == BackupState::Completed)
            })
            .await;
        }
        home.world.clock.advance(HOUR);
    }
    for schedule in running {
        schedule.close().await;
    }
    let completed = vault.list(full.id).await.into_iter();
    let completed = completed.filter(|backup| backup.state == BackupState::Completed);
    let slots: Vec<Timestamp> = completed.map(|backup| backup.slot.unwrap()).collect();
    assert_eq!(slots.len(), 3);
    assert!(slots.windows(2).all(|pair| pair[1].since(pair[0]) >= HOUR), "{slots:?}");
    assert_eq!(vault.list(gone.id).await, []);
    vault.files_are_those_of(&[full.id, other.id]).await;
    // Of each time there is one, whoever made it.
    let begun = vault.told(full.id).await.into_iter().filter(|(action, _)| action == "backups.run").count();
    let last = vault.list(full.id).await.last().unwrap().number;
    assert_eq!(begun as u64, last);
}

#[tokio::test]
async fn a_time_that_failed_is_made_again() {
    let _watchdog = watchdog();
    let vault = Vault::new(|options| options.every(HOUR).patience(HOUR * 1000)).await;
    let home = &vault.home;
    let full = home.full("acme").await;
    std::fs::remove_dir(&vault.folder.0).unwrap();
    let running = BackupSchedule::start(home.tenancy.backups());
    let count = async |state: &str| {
        states(&vault.list(full.id).await).into_iter().filter(|other| *other == state).count()
    };
    let clock = &home.world.clock;
    until_in_time(clock, async || count("failed").await >= 3).await;
    let started: Vec<Timestamp> = vault.list(full.id).await.iter().map(|backup| backup.started_at).collect();
    // Later each time.
    assert!(started[1].since(started[0]) >= Duration::from_secs(60));
    assert!(started[2].since(started[1]) >= Duration::from_secs(120));
    std::fs::create_dir(&vault.folder.0).unwrap();
    until_in_time(clock, async || count("completed").await == 1).await;
    running.close().await;
    vault.files_are_those_of(&[full.id]).await;
}

/// A clock whose wall time is set now and then.
#[derive(Clone, Debug)]
struct Jumping {
    steady: ManualClock,
    seconds: Arc<AtomicI64>,
}

#[async_trait]
impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.steady.now().micros() + self.seconds.load(Ordering::SeqCst) * 1_000_000)
    }

    fn monotonic(&self) -> Duration {
        self.steady.monotonic()
    }

    async fn sleep_until(&self, at: Duration) {
        self.steady.sleep_until(at).await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_loses_no_backup() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let (full, folder) = (home.full("acme").await, Folder::new());
    let clock = Jumping { steady: home.world.clock.clone(), seconds: Arc::default() };
    let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
    let issuer = ContextIssuer::new(env);
    let op = issuer.operator("ops", "a test").unwrap();
    let jumping = tenancy(
        &issuer,
        &home.world.stores,
        BackupOptions::new(&folder.0).every(HOUR).keep(2).patience(HOUR * 1000),
    );
    let running = BackupSchedule::start(jumping.backups());
    // All that were ever there: number, time of the schedule, name.
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let look = async || {
        let backups = list(&jumping, &op, full.id).await;
        let completed = backups.into_iter().filter(|backup| backup.state == BackupState::Completed);
        seen.borrow_mut().extend(completed.map(|backup| (backup.number, backup.slot.unwrap(), backup.name)));
    };
    // Forth and back by hours; the times it comes to again may be done already.
    for hours in [0, 5, -3, 5, 0, 7, -20, -19] {
        clock.seconds.store(hours * 3600, Ordering::SeqCst);
        until_in_time(&clock.steady, async || {
            look().await;
            let hour = HOUR.as_micros() as i64;
            let now = Timestamp::from_micros(clock.now().micros().div_euclid(hour) * hour);
            seen.borrow().iter().any(|(_, slot, _)| *slot == now)
        })
        .await;
    }
    running.close().await;
    look().await;
    let seen = seen.into_inner();
    let slots: BTreeSet<Timestamp> = seen.iter().map(|(_, slot, _)| *slot).collect();
    assert_eq!(slots.len(), seen.len(), "of each time there is one");
    assert!(slots.len() >= 6);
    // The two that were made last are there, whatever the clock said then.
    let last: BTreeSet<String> = seen.into_iter().rev().take(2).map(|(_, _, name)| name).collect();
    assert_eq!(names(&folder.0), last);
    assert!(jumping.tenants().get(&op, full.id).await.unwrap().state == TenantState::Active);
    let last = folder.file("last");
    jumping.tenants().delete(&op, full.id, LastArchive::At(last)).await.unwrap();
}

/// What an export does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// It does not end.
    Stuck,
    /// It has no rows.
    Empty,
    /// It is changed on the disk after it was written.
    Spoilt,
    /// It is larger than any file may be.
    Large,
}

/// Archives that go wrong.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ArchiveStore>,
    wrong: Wrong,
    folder: std::path::PathBuf,
    env: Env,
}

#[async_trait]
impl ArchiveStore for Faulty {
    fn layout(&self) -> agentprovision_core::Result<&'static Layout> {
        self.inner.layout()
    }

    async fn standing(
        &self,
        op: &agentprovision_core::OperatorContext,
        tenant: TenantId,
    ) -> agentprovision_core::Result<Standing> {
        self.inner.standing(op, tenant).await
    }

    async fn export(
        &self,
        op: &agentprovision_core::OperatorContext,
        tenant: TenantId,
        to: tokio::sync::mpsc::Sender<Part>,
        effects: OperatorEffects,
    ) -> agentprovision_core::Result<()> {
        let layout = self.layout()?;
        let header = Header {
            schema: layout.version,
            tenant,
            state: TenantState::Active,
            exported_at: self.env.now(),
            store: "sqlite".into(),
            audit: Checkpoint { size: 0, root: empty_root() },
        };
        match self.wrong {
            Wrong::Stuck => {
                to.send(Part::Header(header)).await.unwrap();
                std::future::pending().await
            }
            Wrong::Empty => {
                to.send(Part::Header(header)).await.unwrap();
                to.send(Part::End).await.unwrap();
                Ok(())
            }
            Wrong::Large => {
                to.send(Part::Header(header)).await.unwrap();
                let payloads = layout.tables.iter().position(|table| table.name == "payloads").unwrap();
                loop {
                    let id = Value::Bytes(tenant.uuid().as_bytes().to_vec());
                    let noise = (0..2048).flat_map(|_| self.env.random::<32>()).collect();
                    let hash = Value::Bytes(self.env.random::<32>().to_vec());
                    let row = vec![id.clone(), id, hash, Value::Bytes(noise), Value::Null];
                    if to.send(Part::Rows(payloads, vec![row])).await.is_err() {
                        return Err(agentprovision_core::Error::new(ErrorKind::Cancelled, "nobody takes it"));
                    }
                }
            }
            Wrong::Spoilt => {
                self.inner.export(op, tenant, to, effects).await?;
                let name = names(&self.folder).pop_first().unwrap();
                let file = self.folder.join(name);
                // Once it is complete.
                while verify(&*std::fs::read(&file).unwrap(), layout).is_err() {
                    tokio::task::yield_now().await;
                }
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&file, bytes).unwrap();
                Ok(())
            }
        }
    }

    async fn restore(
        &self,
        op: &agentprovision_core::OperatorContext,
        restore: Restore,
        from: tokio::sync::mpsc::Receiver<Part>,
        effects: OperatorEffects,
    ) -> agentprovision_core::Result<agentprovision_core::tenant::Tenant> {
        self.inner.restore(op, restore, from, effects).await
    }
}

#[tokio::test]
async fn what_does_not_verify_or_does_not_end_is_not_completed() {
    let _watchdog = watchdog();
    let home = Home::new().await;
    let full = home.full("acme").await;
    let expected = [
        (Wrong::Empty, ErrorKind::Corrupt),
        (Wrong::Spoilt, ErrorKind::Corrupt),
        (Wrong::Stuck, ErrorKind::DeadlineExceeded),
        (Wrong::Stuck, ErrorKind::Cancelled),
    ];
    for (place, (wrong, error)) in expected.into_iter().enumerate() {
        let folder = Folder::new();
        let inner = home.world.stores.archives.clone();
        let env = home.world.env.clone();
        let faulty = Faulty { inner, wrong, folder: folder.0.clone(), env };
        let stores = Stores { archives: Arc::new(faulty), ..home.world.stores.clone() };
        let options = BackupOptions::new(&folder.0).patience(HOUR);
        let service = tenancy(&home.world.issuer, &stores, options);
        let (backups, op) = (service.backups().clone(), home.op.clone());
        let running = tokio::spawn(async move { backups.run(&op, full.id).await });
        if wrong == Wrong::Stuck {
            until(async || !names(&folder.0).is_empty()).await;
            match error {
                ErrorKind::Cancelled => BackupSchedule::start(service.backups()).close().await,
                _ => home.world.clock.advance(HOUR),
            }
        }
        assert_eq!(kind(running.await.unwrap()), error, "{wrong:?}");
        let made = list(&service, &home.op, full.id).await.remove(place);
        assert_eq!((made.state, made.error), (BackupState::Failed, Some(error)), "{wrong:?}");
        until(async || names(&folder.0).is_empty()).await;
    }
}

/// Runs again as a process whose files cannot grow beyond some megabytes, as if the disk were full.
const FULL: &str = "AGENTPROVISION_TEST_FULL_DISK";

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_leaves_no_file() {
    let _watchdog = watchdog();
    if std::env::var_os(FULL).is_none() {
        let test = "backups::a_full_disk_leaves_no_file";
        let limit = r#"trap '' XFSZ; ulimit -f 16384; exec "$0" --exact "$1""#;
        let mut child = std::process::Command::new("sh");
        child.args(["-c", limit]).arg(std::env::current_exe().unwrap()).arg(test).env(FULL, "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let (home, folder) = (Home::new().await, Folder::new());
    let full = home.full("acme").await;
    let (inner, env) = (home.world.stores.archives.clone(), home.world.env.clone());
    let faulty = Faulty { inner, wrong: Wrong::Large, folder: folder.0.clone(), env };
    let stores = Stores { archives: Arc::new(faulty), ..home.world.stores.clone() };
    let service = tenancy(&home.world.issuer, &stores, BackupOptions::new(&folder.0));
    assert_eq!(kind(service.backups().run(&home.op, full.id).await), ErrorKind::Unavailable);
    let made = list(&service, &home.op, full.id).await;
    assert_eq!((made[0].state, made[0].error), (BackupState::Failed, Some(ErrorKind::Unavailable)));
    assert_eq!(names(&folder.0), BTreeSet::new());
}
