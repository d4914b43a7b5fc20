//! The trials of [`ArchiveStore`](crate::archive::ArchiveStore). A store without archives has only to say so.

use futures_util::join;
use tokio::sync::mpsc;

use super::check::{Checked, Outcome, equal, holds, refused, some};
use super::idempotency::TERM;
use super::tenants_delete::{Full, delete, full};
use super::world::World;
use super::{idempotency, secrets};
use crate::agent::AgentQuery;
use crate::archive::{Part, Restore, Value};
use crate::effect::{Effects, OperatorEffects};
use crate::error::ErrorKind::{Cancelled, Conflict, Fenced, NotFound, Unsupported};
use crate::error::Result;
use crate::id::TenantId;
use crate::idempotency::Begun;
use crate::integration::IntegrationQuery;
use crate::page::PageRequest;
use crate::run::{JournalBatch, RunQuery};
use crate::tenant::{Tenant, TenantState};
use crate::webhook::DeliveryEnd;

super::suite! { "ArchiveStore":
    a_store_without_archives_says_so,
    what_is_exported_comes_back,
    a_restored_run_is_taken_up_by_nobody_from_before,
    what_was_begun_before_is_ended_by_nobody_from_before,
    a_tenant_that_is_there_is_not_restored,
    what_ends_early_is_not_written,
    a_tenant_that_is_not_there_is_not_exported,
}

fn without(w: &World) -> bool {
    w.stores.archives.layout().is_err()
}

async fn export(w: &World, tenant: TenantId) -> Checked<Vec<Part>> {
    let (sender, mut receiver) = mpsc::channel(2);
    let read = async {
        let mut parts = Vec::new();
        while let Some(part) = receiver.recv().await {
            parts.push(part);
        }
        parts
    };
    let given = w.stores.archives.export(&w.op, tenant, sender, OperatorEffects::default());
    let (given, parts) = join!(given, read);
    given?;
    Ok(parts)
}

async fn restore(w: &World, parts: &[Part]) -> Result<Tenant> {
    restore_with(w, parts, OperatorEffects::default()).await
}

async fn restore_with(w: &World, parts: &[Part], effects: OperatorEffects) -> Result<Tenant> {
    let Some(Part::Header(header)) = parts.first().cloned() else {
        return Err(crate::Error::internal("an export begins with its header"));
    };
    let tenant = header.tenant;
    let found = w.stores.archives.standing(&w.op, tenant).await?.audit;
    let (sender, receiver) = mpsc::channel(1);
    let give = async move {
        for part in parts {
            // A store that refuses takes no more.
            if sender.send(part.clone()).await.is_err() {
                break;
            }
        }
    };
    let what = Restore { header, tenant, found };
    join!(w.stores.archives.restore(&w.op, what, receiver, effects), give).0
}

/// A tenant that was exported and deleted.
async fn gone(w: &World) -> Checked<(Full, Vec<Part>)> {
    let full = full(w, "full.example").await?;
    let parts = export(w, full.tenant.id).await?;
    delete(w, full.tenant.clone()).await?;
    Ok((full, parts))
}

async fn a_store_without_archives_says_so(w: World) -> Outcome {
    if !without(&w) {
        return Ok(());
    }
    let ctx = w.tenant().await?;
    let archives = &w.stores.archives;
    refused("the layout", archives.layout(), Unsupported)?;
    refused("standing", archives.standing(&w.op, ctx.tenant()).await, Unsupported)?;
    let (sender, _receiver) = mpsc::channel(1);
    let call = archives.export(&w.op, ctx.tenant(), sender, OperatorEffects::default());
    w.refuses(&ctx, "export", Unsupported, call).await?;
    Ok(())
}

async fn what_is_exported_comes_back(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let (full, other) = (full(&w, "full.example").await?, full(&w, "other.example").await?);
    let (ctx, stores) = (&full.ctx, &w.stores);
    let page = PageRequest::default;
    let see = async || {
        let run = full.run.record.id;
        Checked::Ok((
            stores.users.list(ctx, page()).await?.items,
            stores.keys.list(ctx, page()).await?.items,
            stores.agents.list(ctx, AgentQuery::default()).await?.items,
            stores.sessions.list(ctx, page()).await?.items,
            stores.index.list(ctx, RunQuery::default()).await?.items,
            stores.index.journal(ctx, run, 0, 100).await?,
            stores.usage.events(ctx, None, 100).await?,
            stores.quota.state(ctx, &World::marked()).await?,
            stores.integrations.list(ctx, IntegrationQuery::default()).await?.items,
            stores.secrets.get(ctx, &full.secret).await?,
            (
                stores.endpoints.list(ctx, page()).await?.items,
                stores.inbox.list(ctx, full.endpoint, page()).await?.items,
                stores.inbox.get(ctx, full.delivery.delivery.new.id).await?,
                stores.inbox.mark(ctx.tenant(), full.endpoint, "key").await?,
            ),
        ))
    };
    let (seen, log) = (see().await?, stores.audit.entries(ctx, 0, 100).await?);
    let parts = export(&w, full.tenant.id).await?;
    let layout = stores.archives.layout()?;
    for part in &parts {
        let Part::Rows(table, rows) = part else { continue };
        let table = some("the table", layout.tables.get(*table))?;
        let owner = Value::Bytes(full.tenant.id.uuid().as_bytes().to_vec());
        holds(table.name, rows.iter().all(|row| row.first() == Some(&owner)))?;
        holds(table.name, rows.iter().all(|row| row.len() == table.columns.len()))?;
    }
    delete(&w, full.tenant.clone()).await?;
    let untouched = w.snapshot(&other.ctx).await?.without_tenants();
    let tenant = restore(&w, &parts).await?;
    let expected = Tenant { updated_at: tenant.updated_at, revision: 3, ..full.tenant.clone() };
    equal("the tenant", &tenant, &Tenant { state: TenantState::Suspended, ..expected })?;
    equal("what is seen of it", &see().await?, &seen)?;
    let after = stores.audit.entries(ctx, 0, 100).await?;
    equal("the log's records", &after.get(..log.len()), &Some(log.as_slice()))?;
    w.unchanged(&other.ctx, "the restore of another tenant", &untouched).await
}

async fn a_restored_run_is_taken_up_by_nobody_from_before(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let (full, parts) = gone(&w).await?;
    restore(&w, &parts).await?;
    equal("claimed while suspended", &w.claim(9).await?.len(), &0)?;
    w.set_state(full.tenant.id, TenantState::Active).await?;
    let leases = w.claim(9).await?;
    let lease = some("the run", leases.first())?;
    equal("the run", &lease.run.id, &full.run.record.id)?;
    holds("the epoch is higher", lease.fence.epoch > full.fence.epoch + 1)?;
    let old = w.stores.runs.commit(&full.fence, JournalBatch::default(), Effects::none()).await;
    refused("the old worker", old, Fenced)?;
    w.stores.runs.commit(&lease.fence, JournalBatch::default(), w.effects(&full.ctx)).await?;
    Ok(())
}

async fn what_was_begun_before_is_ended_by_nobody_from_before(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let (full, parts) = gone(&w).await?;
    restore(&w, &parts).await?;
    w.set_state(full.tenant.id, TenantState::Active).await?;
    let Full { ctx, secret, lease: old, delivery, .. } = &full;
    let id = delivery.delivery.new.id;
    let end = |epoch| {
        let done = DeliveryEnd::Done(vec![]);
        w.stores.inbox.finish(ctx.tenant(), id, epoch, done, Effects::none())
    };
    refused("who had the delivery", end(delivery.epoch).await, Fenced)?;
    let again = w.stores.inbox.claim(w.env.id(), TERM, 10, None).await?;
    let again = again.into_iter().find(|one| one.delivery.new.id == id);
    let again = some("the delivery", again)?;
    holds("its epoch is higher", again.epoch > delivery.epoch + 1)?;
    equal("its attempts", &again.delivery.attempts, &(delivery.delivery.attempts + 1))?;
    refused("who had the delivery", end(delivery.epoch).await, Fenced)?;
    end(again.epoch).await?;
    let late = w.stores.secrets.put(ctx, secret, secrets::sealed(2), Some(*old)).await;
    refused("the holder of the lease", late, Fenced)?;
    let new = secrets::lease(&w, ctx, secret, w.env.id(), TERM).await?;
    holds("the epoch is higher", new.epoch > old.epoch + 1)?;
    let late = w.stores.idempotency.finish(ctx, &idempotency::work("open"), 1, None).await;
    refused("who was at work", late, Fenced)?;
    let done = idempotency::begin(&w, ctx, "done", TERM).await?;
    equal("what was done", &done, &Begun::Done(b"done".to_vec()))
}

async fn a_tenant_that_is_there_is_not_restored(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let full = full(&w, "full.example").await?;
    let parts = export(&w, full.tenant.id).await?;
    w.refuses(&full.ctx, "an active tenant", Conflict, restore(&w, &parts)).await?;
    delete(&w, full.tenant.clone()).await?;
    restore(&w, &parts).await?;
    w.refuses(&full.ctx, "a restored tenant", Conflict, restore(&w, &parts)).await?;
    Ok(())
}

async fn what_ends_early_is_not_written(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let (full, parts) = gone(&w).await?;
    for end in 1..parts.len() {
        let early = parts.get(..end).unwrap_or_default();
        let effects = w.above(full.tenant.id, w.effects(&full.ctx));
        w.refuses(&full.ctx, "parts without an end", Cancelled, restore_with(&w, early, effects)).await?;
    }
    restore(&w, &parts).await.map(drop)?;
    Ok(())
}

async fn a_tenant_that_is_not_there_is_not_exported(w: World) -> Outcome {
    if without(&w) {
        return Ok(());
    }
    let (full, _) = gone(&w).await?;
    for tenant in [full.tenant.id, w.env.id()] {
        let (sender, _receiver) = mpsc::channel(9);
        let call = w.stores.archives.export(&w.op, tenant, sender, w.above(tenant, Effects::none()));
        w.refuses(&full.ctx, "no tenant", NotFound, call).await?;
    }
    Ok(())
}
