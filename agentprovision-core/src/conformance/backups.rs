//! The trials of [`BackupStore`](crate::backup::BackupStore).

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal, holds, refused};
use super::world::{World, pages};
use crate::archive::{ArchiveSummary, Header};
use crate::audit::Checkpoint;
use crate::audit::merkle::{TreeHash, empty_root};
use crate::backup::{Backup, BackupEnd, BackupState, Begun, NewBackup};
use crate::clock::Timestamp;
use crate::effect::OperatorEffects;
use crate::error::ErrorKind::{
    AlreadyExists, Conflict, DeadlineExceeded, NotFound, TenantSuspended, Unavailable,
};
use crate::error::Result;
use crate::id::{BackupId, TenantId};
use crate::page::PageRequest;
use crate::tenant::TenantState;

super::suite! { "BackupStore":
    a_backup_is_begun_and_completed,
    a_backup_is_begun_and_fails,
    what_is_over_stays_as_it_is,
    of_a_slot_there_is_one_that_has_not_failed,
    a_slot_is_begun_once_at_the_same_time,
    a_backup_that_was_given_up_has_failed,
    numbers_grow_whatever_clocks_say,
    older_ones_expire_and_are_forgotten,
    what_fails_is_not_kept_instead_of_what_is_complete,
    the_backups_of_a_tenant_are_its_own,
    a_tenant_takes_its_backups_with_it,
    refused_effects_leave_nothing,
}

const MINUTE: Duration = Duration::from_secs(60);

fn new(w: &World, tenant: TenantId, slot: Option<Timestamp>) -> NewBackup {
    NewBackup { id: w.env.id(), tenant, slot, at: w.env.now(), patience: MINUTE }
}

async fn begin(w: &World, new: NewBackup) -> Result<Begun> {
    w.stores.backups.begin(&w.op, new, OperatorEffects::default()).await
}

/// Begins a backup that is not there yet.
async fn begun(w: &World, tenant: TenantId) -> Checked<Backup> {
    let begun = begin(w, new(w, tenant, None)).await?;
    holds("a backup of no slot is a new one", begun.new)?;
    Ok(begun.backup)
}

fn completed(w: &World, tenant: TenantId, rows: u64) -> BackupEnd {
    let header = Header {
        schema: 1,
        tenant,
        state: TenantState::Active,
        exported_at: w.env.now(),
        store: "trial".into(),
        audit: Checkpoint { size: 0, root: empty_root() },
    };
    let digest = TreeHash::from([7; 32]);
    BackupEnd::Completed(Box::new(ArchiveSummary { header, tables: vec![], rows, bytes: rows * 100, digest }))
}

async fn finish(w: &World, backup: &Backup, end: BackupEnd) -> Result<Backup> {
    let none = OperatorEffects::default();
    w.stores.backups.finish(&w.op, backup.tenant, backup.id, w.env.now(), end, none).await
}

/// A backup from its beginning to its end.
async fn made(w: &World, tenant: TenantId) -> Checked<Backup> {
    let backup = begun(w, tenant).await?;
    w.tick();
    Ok(finish(w, &backup, completed(w, tenant, 3)).await?)
}

async fn failed(w: &World, tenant: TenantId) -> Checked<Backup> {
    let backup = begun(w, tenant).await?;
    w.tick();
    Ok(finish(w, &backup, BackupEnd::Failed(Unavailable)).await?)
}

async fn list(w: &World, tenant: TenantId) -> Checked<Vec<Backup>> {
    pages(2, |page| w.stores.backups.list(&w.op, tenant, page)).await
}

async fn forget(w: &World, tenant: TenantId, ids: &[BackupId]) -> Result<()> {
    w.stores.backups.forget(&w.op, tenant, ids, OperatorEffects::default()).await
}

fn ids(backups: &[Backup]) -> Vec<BackupId> {
    backups.iter().map(|backup| backup.id).collect()
}

async fn a_backup_is_begun_and_completed(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (tenant, slot) = (ctx.tenant(), w.after(5));
    let wanted = new(&w, tenant, Some(slot));
    let effects = w.above(tenant, w.effects(&ctx));
    let call = w.stores.backups.begin(&w.op, wanted, effects.clone());
    let begun = w.applies_above(&ctx, "beginning", &effects, call).await?;
    let expected = Backup {
        id: wanted.id,
        tenant,
        number: 1,
        slot: Some(slot),
        state: BackupState::InProgress,
        started_at: wanted.at,
        lease_until: wanted.at.after(MINUTE),
        finished_at: None,
        name: Backup::name_of(tenant, wanted.id),
        bytes: None,
        rows: None,
        digest: None,
        error: None,
    };
    equal("the beginning", &begun, &Begun { backup: expected.clone(), new: true, abandoned: vec![] })?;
    equal("the record", &w.stores.backups.get(&w.op, tenant, wanted.id).await?, &expected)?;
    w.tick();
    let (at, effects) = (w.env.now(), w.above(tenant, w.effects(&ctx)));
    let end = completed(&w, tenant, 3);
    let call = w.stores.backups.finish(&w.op, tenant, wanted.id, at, end, effects.clone());
    let finished = w.applies_above(&ctx, "completing", &effects, call).await?;
    let expected = Backup {
        state: BackupState::Completed,
        finished_at: Some(at),
        bytes: Some(300),
        rows: Some(3),
        digest: Some(TreeHash::from([7; 32])),
        ..expected
    };
    equal("the end", &finished, &expected)?;
    equal("the list", &list(&w, tenant).await?, &vec![expected])
}

async fn a_backup_is_begun_and_fails(w: World) -> Outcome {
    // A suspended tenant has backups too.
    let tenant = w.tenant().await?.tenant();
    w.set_state(tenant, TenantState::Suspended).await?;
    let backup = begun(&w, tenant).await?;
    let over = finish(&w, &backup, BackupEnd::Failed(Unavailable)).await?;
    let expected = Backup {
        state: BackupState::Failed,
        finished_at: Some(w.env.now()),
        error: Some(Unavailable),
        ..backup
    };
    equal("the end", &over, &expected)
}

async fn what_is_over_stays_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let tenant = ctx.tenant();
    for backup in [made(&w, tenant).await?, failed(&w, tenant).await?] {
        for end in [completed(&w, tenant, 9), BackupEnd::Failed(Unavailable)] {
            w.refuses(&ctx, "a second end", Conflict, finish(&w, &backup, end)).await?;
        }
        equal("the backup", &w.stores.backups.get(&w.op, tenant, backup.id).await?, &backup)?;
        let again = NewBackup { id: backup.id, ..new(&w, tenant, None) };
        w.refuses(&ctx, "an id that is taken", AlreadyExists, begin(&w, again)).await?;
    }
    let unknown = Backup { id: w.env.id(), ..made(&w, tenant).await? };
    w.refuses(&ctx, "no backup", NotFound, finish(&w, &unknown, completed(&w, tenant, 1))).await?;
    refused("no backup", w.stores.backups.get(&w.op, tenant, unknown.id).await, NotFound)?;
    Ok(())
}

async fn of_a_slot_there_is_one_that_has_not_failed(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (tenant, slot) = (ctx.tenant(), Some(w.env.now()));
    let first = begin(&w, new(&w, tenant, slot)).await?;
    let before = w.snapshot(&ctx).await?;
    let effects = w.above(tenant, w.effects(&ctx));
    let second = w.stores.backups.begin(&w.op, new(&w, tenant, slot), effects).await?;
    w.unchanged(&ctx, "a slot that is taken", &before).await?;
    equal("a slot in progress", &second, &Begun { new: false, ..first.clone() })?;
    finish(&w, &first.backup, BackupEnd::Failed(Unavailable)).await?;
    let third = begin(&w, new(&w, tenant, slot)).await?;
    holds("a slot that failed is begun again", third.new)?;
    let done = finish(&w, &third.backup, completed(&w, tenant, 1)).await?;
    let fourth = begin(&w, new(&w, tenant, slot)).await?;
    equal("a slot that is completed", &fourth, &Begun { backup: done, new: false, abandoned: vec![] })?;
    let other = begin(&w, new(&w, tenant, Some(w.after(1)))).await?;
    holds("another slot", other.new)?;
    let tenant = w.tenant().await?.tenant();
    holds("another tenant's", begin(&w, new(&w, tenant, slot)).await?.new)
}

async fn a_slot_is_begun_once_at_the_same_time(w: World) -> Outcome {
    let tenant = w.tenant().await?.tenant();
    for round in 0..5 {
        let slot = Some(w.after(round));
        let all = join_all((0..8).map(|_| begin(&w, new(&w, tenant, slot)))).await;
        let all = all.into_iter().collect::<Result<Vec<_>>>()?;
        equal("how many began it", &all.iter().filter(|begun| begun.new).count(), &1)?;
        let first = all.first().map(|begun| begun.backup.id);
        holds("all saw the same", all.iter().all(|begun| Some(begun.backup.id) == first))?;
    }
    let begun = join_all((0..8).map(|_| begin(&w, new(&w, tenant, None)))).await;
    let mut numbers = Vec::new();
    for begun in begun {
        numbers.push(begun?.backup.number);
    }
    numbers.sort_unstable();
    equal("numbers", &numbers, &(6..=13).collect())
}

async fn a_backup_that_was_given_up_has_failed(w: World) -> Outcome {
    let tenant = w.tenant().await?.tenant();
    let slot = Some(w.env.now());
    let left = begin(&w, new(&w, tenant, slot)).await?.backup;
    w.pass(59);
    holds("before its time is over", !begin(&w, new(&w, tenant, slot)).await?.new)?;
    w.pass(1);
    let next = begin(&w, new(&w, tenant, slot)).await?;
    let abandoned = Backup {
        state: BackupState::Failed,
        finished_at: Some(w.env.now()),
        error: Some(DeadlineExceeded),
        ..left.clone()
    };
    equal("the one that was left", &next.abandoned, &vec![abandoned.clone()])?;
    holds("the slot is begun again", next.new && next.backup.number == 2)?;
    equal("its record", &w.stores.backups.get(&w.op, tenant, left.id).await?, &abandoned)?;
    refused("its end", finish(&w, &left, completed(&w, tenant, 1)).await, Conflict)?;
    finish(&w, &next.backup, completed(&w, tenant, 1)).await?;
    // Also where the slot is taken.
    let left = begun(&w, tenant).await?;
    w.pass(60);
    let taken = begin(&w, new(&w, tenant, slot)).await?;
    holds("the slot is taken", !taken.new)?;
    equal("those that were left", &ids(&taken.abandoned), &vec![left.id])
}

async fn numbers_grow_whatever_clocks_say(w: World) -> Outcome {
    let tenant = w.tenant().await?.tenant();
    let mut made = Vec::new();
    for back in [0, 7200, 3600, 86_400, 1] {
        let at = Timestamp::from_micros(w.env.now().micros() - back * 1_000_000);
        let backup = begin(&w, NewBackup { at, ..new(&w, tenant, None) }).await?.backup;
        made.push(finish(&w, &backup, completed(&w, tenant, 1)).await?);
    }
    equal("numbers", &made.iter().map(|backup| backup.number).collect::<Vec<_>>(), &(1..=5).collect())?;
    let expired = w.stores.backups.expire(&w.op, tenant, 2).await?;
    equal("expired", &ids(&expired), &ids(&made).into_iter().take(3).collect())?;
    let mut left: Vec<Backup> = made.split_off(3);
    left.sort_by_key(|backup| (backup.started_at, backup.id));
    equal("left, by time", &list(&w, tenant).await?, &left)
}

async fn older_ones_expire_and_are_forgotten(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let tenant = ctx.tenant();
    let store = &w.stores.backups;
    let mut made_ones = Vec::new();
    for _ in 0..4 {
        made_ones.push(made(&w, tenant).await?);
    }
    let open = begun(&w, tenant).await?;
    equal("with room for all", &store.expire(&w.op, tenant, 4).await?, &vec![])?;
    let expired = store.expire(&w.op, tenant, 3).await?;
    equal("expired", &ids(&expired), &ids(&made_ones).into_iter().take(1).collect())?;
    let first = expired.first().map(|backup| backup.id).unwrap_or(open.id);
    refused("an expired one", store.get(&w.op, tenant, first).await, NotFound)?;
    holds("an expired one is not listed", !ids(&list(&w, tenant).await?).contains(&first))?;
    // Until it is forgotten it is told again, in case its file could not be removed.
    let expired = store.expire(&w.op, tenant, 1).await?;
    equal("expired", &ids(&expired), &ids(&made_ones).into_iter().take(3).collect())?;
    let all: Vec<BackupId> = ids(&made_ones);
    let effects = w.above(tenant, w.effects(&ctx));
    let call = store.forget(&w.op, tenant, &all, effects.clone());
    w.applies_above(&ctx, "forgetting", &effects, call).await?;
    equal("expired", &store.expire(&w.op, tenant, 1).await?, &vec![])?;
    // What is not expired is not forgotten, and one is always kept.
    forget(&w, tenant, &[open.id]).await?;
    equal("none to be kept", &store.expire(&w.op, tenant, 0).await?, &vec![])?;
    let left: Vec<BackupId> = all.into_iter().skip(3).chain([open.id]).collect();
    equal("left", &ids(&list(&w, tenant).await?), &left)?;
    equal("the next number", &begun(&w, tenant).await?.number, &6)
}

async fn what_fails_is_not_kept_instead_of_what_is_complete(w: World) -> Outcome {
    let tenant = w.tenant().await?.tenant();
    let store = &w.stores.backups;
    let early = failed(&w, tenant).await?;
    equal("without a complete one", &store.expire(&w.op, tenant, 1).await?, &vec![])?;
    let kept = made(&w, tenant).await?;
    let late = [failed(&w, tenant).await?, failed(&w, tenant).await?];
    equal("expired", &ids(&store.expire(&w.op, tenant, 1).await?), &vec![early.id])?;
    equal("left", &ids(&list(&w, tenant).await?), &[vec![kept.id], ids(&late)].concat())?;
    let next = made(&w, tenant).await?;
    let expired = store.expire(&w.op, tenant, 1).await?;
    equal("expired", &ids(&expired), &[vec![early.id, kept.id], ids(&late)].concat())?;
    equal("left", &list(&w, tenant).await?, &vec![next])
}

async fn the_backups_of_a_tenant_are_its_own(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?.tenant(), w.tenant().await?.tenant());
    let store = &w.stores.backups;
    let backup = made(&w, one).await?;
    made(&w, one).await?;
    equal("another tenant's list", &list(&w, two).await?, &vec![])?;
    refused("in another tenant", store.get(&w.op, two, backup.id).await, NotFound)?;
    let foreign = Backup { tenant: two, ..begun(&w, one).await? };
    refused("in another tenant", finish(&w, &foreign, completed(&w, two, 1)).await, NotFound)?;
    equal("another tenant's expired", &store.expire(&w.op, two, 1).await?, &vec![])?;
    equal("expired", &store.expire(&w.op, one, 1).await?.len(), &1)?;
    forget(&w, two, &[backup.id]).await?;
    equal("still expired", &store.expire(&w.op, one, 1).await?.len(), &1)
}

async fn a_tenant_takes_its_backups_with_it(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (tenant, other) = (ctx.tenant(), w.tenant().await?.tenant());
    let (backup, stays) = (made(&w, tenant).await?, made(&w, other).await?);
    let open = begun(&w, tenant).await?;
    w.set_state(tenant, TenantState::Deleted).await?;
    refused("a backup", w.stores.backups.get(&w.op, tenant, backup.id).await, NotFound)?;
    equal("the list", &list(&w, tenant).await?, &vec![])?;
    w.refuses(&ctx, "the end of one", NotFound, finish(&w, &open, completed(&w, tenant, 1))).await?;
    w.refuses(&ctx, "a new one", NotFound, begin(&w, new(&w, tenant, None))).await?;
    refused("of no tenant", begin(&w, new(&w, w.env.id(), None)).await, NotFound)?;
    equal("another tenant's", &list(&w, other).await?, &vec![stays])?;
    let bad = w.stores.backups.list(&w.op, tenant, PageRequest::limit(0)).await;
    refused("a page of none", bad, crate::ErrorKind::InvalidInput)?;
    Ok(())
}

async fn refused_effects_leave_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let tenant = ctx.tenant();
    let backup = begun(&w, tenant).await?;
    let expired = made(&w, tenant).await?;
    made(&w, tenant).await?;
    w.stores.backups.expire(&w.op, tenant, 1).await?;
    w.set_state(tenant, TenantState::Suspended).await?;
    let effects = || w.above(tenant, w.effects(&ctx));
    let store = &w.stores.backups;
    let call = store.begin(&w.op, new(&w, tenant, None), effects());
    w.refuses(&ctx, "beginning", TenantSuspended, call).await?;
    let end = completed(&w, tenant, 1);
    let call = store.finish(&w.op, tenant, backup.id, w.env.now(), end, effects());
    w.refuses(&ctx, "finishing", TenantSuspended, call).await?;
    let ids_of = [expired.id];
    let call = store.forget(&w.op, tenant, &ids_of, effects());
    w.refuses(&ctx, "forgetting", TenantSuspended, call).await?;
    equal("expired", &ids(&store.expire(&w.op, tenant, 1).await?), &vec![expired.id])?;
    equal("the open one", &store.get(&w.op, tenant, backup.id).await?, &backup)?;
    equal("the next number", &begun(&w, tenant).await?.number, &4)
}
