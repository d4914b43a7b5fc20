//! The trials of [`AuditReader`](crate::audit::AuditReader).

use futures_util::future::join_all;
use serde_json::json;

use super::check::{Checked, Outcome, equal, refused};
use super::world::{World, naughty};
use crate::audit::merkle::{self, TreeHash};
use crate::audit::{AuditEntry, AuditRecord, AuditResult, Checkpoint};
use crate::context::Context;
use crate::effect::{Effects, OperatorEffects};
use crate::error::ErrorKind::InvalidInput;
use crate::tenant::Tenant;

super::suite! { "AuditReader":
    records_are_kept_byte_by_byte,
    places_have_no_gap,
    entries_are_read_from_any_place,
    the_root_is_that_of_the_entries,
    every_record_is_proven,
    every_prefix_is_proven,
    what_cannot_be_proven_is_refused,
    an_unknown_tenant_has_an_empty_log,
    tenants_have_logs_of_their_own,
    the_platform_has_a_log_of_its_own,
    a_refused_change_leaves_no_gap,
    writers_and_readers_at_once_see_one_log,
}

/// Writes records through a change, and returns their bytes.
async fn write(w: &World, ctx: &Context, records: Vec<AuditRecord>) -> Checked<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    for record in &records {
        bytes.push(record.to_bytes()?);
    }
    let user = w.new_user(&format!("{}@trial.example", w.mark()));
    w.stores.users.insert(ctx, user, Effects { audit: records, ..Effects::none() }).await?;
    Ok(bytes)
}

/// A log of `size` records, written one to three at a time.
async fn log(w: &World, ctx: &Context, size: usize) -> Checked<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while all.len() < size {
        let count = (1 + all.len() % 3).min(size - all.len());
        all.extend(write(w, ctx, (0..count).map(|_| w.record(ctx)).collect()).await?);
    }
    Ok(all)
}

fn leaves(bytes: &[Vec<u8>]) -> Vec<TreeHash> {
    bytes.iter().map(|bytes| merkle::leaf_hash(bytes)).collect()
}

/// The tree head over the first `size` records.
fn head(bytes: &[Vec<u8>], size: usize) -> Checkpoint {
    let leaves: Vec<_> = leaves(bytes).into_iter().take(size).collect();
    Checkpoint { size: leaves.len() as u64, root: merkle::root(&leaves) }
}

fn numbered(bytes: &[Vec<u8>]) -> Vec<AuditEntry> {
    (0..).zip(bytes).map(|(seq, bytes)| AuditEntry { seq, bytes: bytes.clone(), erased: None }).collect()
}

async fn records_are_kept_byte_by_byte(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut written = Vec::new();
    for text in naughty() {
        let mut record = w.record(&ctx).with(&text, json!([text, 1.5, null, { "z": 1, "a": u64::MAX }]));
        record.resource_id = Some(text.clone());
        record.ip_address = Some("2001:db8::1".into());
        record.user_agent = Some(text.clone());
        record.result = AuditResult::Failure;
        record.reason = Some(text);
        written.extend(write(&w, &ctx, vec![record.clone()]).await?);
        let last = w.stores.audit.entries(&ctx, written.len() as u64 - 1, 1).await?;
        for entry in &last {
            equal("the record", &entry.record()?, &record)?;
        }
    }
    equal("the entries", &w.stores.audit.entries(&ctx, 0, 1000).await?, &numbered(&written))
}

async fn places_have_no_gap(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut written = Vec::new();
    for size in [1, 1, 2, 7, 1, 20] {
        let records: Vec<_> = (0..size).map(|_| w.record(&ctx)).collect();
        written.extend(write(&w, &ctx, records).await?);
        // Reading in between moves records to the log in several steps.
        equal("the entries", &w.stores.audit.entries(&ctx, 0, 1000).await?, &numbered(&written))?;
    }
    Ok(())
}

async fn entries_are_read_from_any_place(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let all = numbered(&log(&w, &ctx, 10).await?);
    for (from, limit) in [(0, 10), (0, 3), (0, 0), (4, 2), (9, 5), (10, 5), (1_000_000, 1)] {
        let expected: Vec<_> =
            all.iter().filter(|entry| entry.seq >= from).take(limit as usize).cloned().collect();
        let read = w.stores.audit.entries(&ctx, from, limit).await?;
        equal(&format!("{limit} entries from {from}"), &read, &expected)?;
    }
    Ok(())
}

async fn the_root_is_that_of_the_entries(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut written = Vec::new();
    for size in 0..9 {
        equal("the tree head", &w.stores.audit.checkpoint(&ctx).await?, &head(&written, size))?;
        written.extend(write(&w, &ctx, vec![w.record(&ctx)]).await?);
    }
    Ok(())
}

async fn every_record_is_proven(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let written = log(&w, &ctx, 11).await?;
    let leaves = leaves(&written);
    for size in 1..=written.len() {
        let expected = head(&written, size);
        for (seq, leaf) in (0..).zip(leaves.iter().take(size)) {
            let proof = w.stores.audit.prove(&ctx, seq, size as u64).await?;
            equal("the proof's place", &proof.seq, &seq)?;
            equal("the proof's tree head", &proof.checkpoint, &expected)?;
            let proven = merkle::verify_inclusion(*leaf, seq, expected.size, &proof.path, expected.root);
            equal("the proof", &proven, &Ok(()))?;
        }
    }
    Ok(())
}

async fn every_prefix_is_proven(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let written = log(&w, &ctx, 11).await?;
    for new in 1..=written.len() {
        for old in 1..=new {
            let (old, new) = (head(&written, old), head(&written, new));
            let proof = w.stores.audit.consistency(&ctx, old.size, new.size).await?;
            let proven = merkle::verify_consistency(old.size, old.root, new.size, new.root, &proof);
            equal(&format!("{} is a prefix of {}", old.size, new.size), &proven, &Ok(()))?;
        }
    }
    Ok(())
}

async fn what_cannot_be_proven_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for written in [0, 5] {
        log(&w, &ctx, written).await?;
        for (seq, size) in [(0, 0), (5, 5), (6, 5), (0, 6), (5, 6), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            let result = w.stores.audit.prove(&ctx, seq, size).await;
            refused(&format!("record {seq} of {size}"), result, InvalidInput)?;
        }
        for (old, new) in [(0, 0), (0, 5), (3, 2), (1, 6), (6, 6), (1, u64::MAX)] {
            let result = w.stores.audit.consistency(&ctx, old, new).await;
            refused(&format!("{old} as a prefix of {new}"), result, InvalidInput)?;
        }
    }
    Ok(())
}

async fn an_unknown_tenant_has_an_empty_log(w: World) -> Outcome {
    let ctx = w.ctx(w.env.id());
    equal("entries", &w.stores.audit.entries(&ctx, 0, 10).await?, &Vec::new())?;
    let empty = Checkpoint { size: 0, root: merkle::empty_root() };
    equal("the tree head", &w.stores.audit.checkpoint(&ctx).await?, &empty)?;
    refused("a proof", w.stores.audit.prove(&ctx, 0, 1).await, InvalidInput)?;
    equal("the platform log", &w.stores.audit.platform_checkpoint(&w.op).await?, &empty)
}

async fn tenants_have_logs_of_their_own(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        ones.extend(log(&w, &one, 2).await?);
        twos.extend(log(&w, &two, 3).await?);
    }
    equal("one", &w.stores.audit.entries(&one, 0, 100).await?, &numbered(&ones))?;
    equal("two", &w.stores.audit.entries(&two, 0, 100).await?, &numbered(&twos))?;
    equal("one's head", &w.stores.audit.checkpoint(&one).await?, &head(&ones, 8))?;
    equal("two's head", &w.stores.audit.checkpoint(&two).await?, &head(&twos, 12))?;
    equal("the platform log", &w.stores.audit.platform_checkpoint(&w.op).await?.size, &0)
}

async fn the_platform_has_a_log_of_its_own(w: World) -> Outcome {
    let (mut own, mut above) = (Vec::new(), Vec::new());
    let tenant = w.new_tenant("audited");
    let ctx = w.ctx(tenant.id);
    for revision in 0..5 {
        let record =
            |tenant| AuditRecord::of_operator(&w.op, &w.env, tenant, "trial.made", "trials", revision);
        let effects = OperatorEffects {
            tenant: Effects { audit: vec![record(Some(tenant.id))], ..Effects::none() },
            platform: vec![record(Some(tenant.id)), record(None)],
        };
        for record in &effects.tenant.audit {
            own.push(record.to_bytes()?);
        }
        for record in &effects.platform {
            above.push(record.to_bytes()?);
        }
        match revision {
            0 => w.stores.tenants.create(&w.op, tenant.clone(), effects).await?,
            _ => {
                let next = Tenant { plan: Some(revision.to_string()), ..tenant.clone() };
                w.stores.tenants.replace(&w.op, next, revision, effects).await?;
            }
        }
    }
    equal("the tenant's", &w.stores.audit.entries(&ctx, 0, 100).await?, &numbered(&own))?;
    equal("the platform's", &w.stores.audit.platform_entries(&w.op, 0, 100).await?, &numbered(&above))?;
    equal("its head", &w.stores.audit.platform_checkpoint(&w.op).await?, &head(&above, 10))?;
    let some: Vec<_> = numbered(&above).into_iter().skip(7).take(2).collect();
    equal("a part of it", &w.stores.audit.platform_entries(&w.op, 7, 2).await?, &some)
}

async fn a_refused_change_leaves_no_gap(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut written = Vec::new();
    for _ in 0..3 {
        written.extend(log(&w, &ctx, 2).await?);
        let refusal = w.stores.users.insert(&ctx, w.new_user("never@trial.example"), w.overdrawn(&ctx)).await;
        refused("no room", refusal, crate::ErrorKind::BudgetExceeded)?;
    }
    equal("the entries", &w.stores.audit.entries(&ctx, 0, 100).await?, &numbered(&written))?;
    equal("the tree head", &w.stores.audit.checkpoint(&ctx).await?, &head(&written, 6))
}

async fn writers_and_readers_at_once_see_one_log(w: World) -> Outcome {
    const WRITERS: usize = 30;
    let ctx = w.tenant().await?;
    let one = |n: usize| {
        let (w, ctx) = (&w, &ctx);
        async move {
            let written = write(w, ctx, vec![w.record(ctx), w.record(ctx)]).await?;
            // What is written before the call is in the log the call sees.
            let head = w.stores.audit.checkpoint(ctx).await?;
            let entries = w.stores.audit.entries(ctx, 0, 1000).await?;
            let places: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
            equal("places", &places, &(0..entries.len() as u64).collect())?;
            let at =
                entries.windows(2).filter(|pair| pair.iter().map(|entry| &entry.bytes).eq(&written)).count();
            equal(&format!("writer {n}'s records, side by side"), &at, &1)?;
            Ok::<_, super::Failure>(head)
        }
    };
    let mut heads = Vec::new();
    for head in join_all((0..WRITERS).map(one)).await {
        heads.push(head?);
    }
    let entries = w.stores.audit.entries(&ctx, 0, 1000).await?;
    let bytes: Vec<_> = entries.into_iter().map(|entry| entry.bytes).collect();
    equal("records", &bytes.len(), &(2 * WRITERS))?;
    for seen in heads {
        let size = usize::try_from(seen.size).unwrap_or(usize::MAX);
        equal("a tree head seen in between", &seen, &head(&bytes, size))?;
    }
    Ok(())
}
