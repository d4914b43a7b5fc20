//! Reads a run back from the store.

use std::sync::Arc;

use super::engine::Shared;
use super::journal::{DoneOutcome, JournalEntry, JournalRow, PayloadHash, decode_entry};
use super::machine::{Quote, RunMachine};
use super::store::Lease;
use super::{budget, history};
use crate::agent::AgentSpec;
use crate::context::Context;
use crate::error::Result;
use crate::model::RouteHints;

/// What is known of the models that may answer for an agent; a name that does not resolve counts as one without a price.
pub(super) fn quote(shared: &Shared, ctx: &Context, spec: &AgentSpec) -> Quote {
    let route = RouteHints::default();
    let answerers: Option<Vec<_>> = std::iter::once(&spec.model)
        .chain(&spec.fallbacks)
        .map(|name| Some(shared.models.resolve(name).ok()?.answerers(ctx, &route)))
        .collect();
    answerers.map_or_else(Quote::default, |infos| budget::quote(infos.iter().flatten().map(|info| &**info)))
}

/// Rebuilds a run's machine from its journal, which must verify.
pub(super) async fn load(
    shared: &Shared,
    ctx: &Context,
    lease: &Lease,
    spec: Arc<AgentSpec>,
) -> Result<RunMachine> {
    let record = &lease.run;
    let mut rows: Vec<JournalRow> = Vec::new();
    loop {
        let more = shared.stores.index.journal(ctx, record.id, rows.len() as u64, 500).await?;
        let whole = more.len() < 500;
        rows.extend(more);
        if whole {
            break;
        }
    }
    JournalRow::verify(&record.salt, &rows, &record.head)?;
    let entries: Vec<JournalEntry> = rows.iter().map(|row| decode_entry(&row.body)).collect::<Result<_>>()?;
    let named: Vec<PayloadHash> = entries.iter().filter_map(content).collect();
    let mut payloads = shared.stores.index.payloads(ctx, record.id, &named).await?.into_iter();
    let said = history::of_session(&shared.stores, ctx, record).await?;
    let mut machine = RunMachine::new(spec, shared.tools.clone(), record.salt, said);
    for entry in &entries {
        let payload = content(entry).and_then(|_| payloads.next());
        machine.apply(entry, payload.as_deref())?;
    }
    Ok(machine)
}

/// The content an entry needs to be applied.
fn content(entry: &JournalEntry) -> Option<PayloadHash> {
    match entry {
        JournalEntry::Created { input, .. } => Some(*input),
        JournalEntry::Done { outcome: DoneOutcome::Ok { output }, .. } => Some(*output),
        _ => None,
    }
}
