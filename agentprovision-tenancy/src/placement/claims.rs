//! Runs as workers see them, taken up fairly among the tenants of all shards.

use std::collections::HashMap;

use agentprovision_core::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{SignalId, TenantId};
use agentprovision_core::run::{
    ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, RunStore, RunTx, Signal,
};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use futures_util::future::{join_all, select_all};

use super::backend::Router;

/// Where a tenant stands in the turns that begin behind `after`.
pub(super) fn turn(after: Option<TenantId>, tenant: TenantId) -> (bool, TenantId) {
    (after.is_some_and(|after| tenant <= after), tenant)
}

#[async_trait]
impl RunStore for Router {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        self.on(ctx.tenant(), |stores| {
            let (run, effects) = (run.clone(), effects.clone());
            async move { stores.runs.create(ctx, run, effects).await }
        })
        .await
    }

    /// In rounds: who has something ready is asked of every shard, and the first of them all, in turn, get as many runs
    /// each as there are for everybody.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        let ClaimRequest { after, limit, per_tenant, .. } = request;
        let mut ask = request;
        let mut taken: HashMap<TenantId, usize> = HashMap::new();
        let mut leases: Vec<(usize, Lease)> = Vec::new();
        while leases.len() < limit {
            ask.limit = limit - leases.len();
            let (ready, room) = (&ask, ask.limit);
            let found = self.each("claims", |_, member| member.sql.turns(ready.clone())).await?;
            let mut turns: Vec<(TenantId, usize)> = Vec::new();
            for (place, tenants) in found {
                turns.extend(tenants.into_iter().map(|tenant| (tenant, place)));
            }
            turns.sort_unstable_by_key(|(tenant, _)| turn(after, *tenant));
            turns.truncate(room);
            let Some(each) = room.checked_div(turns.len()) else { break };
            // Those that are not over their limit have as many each, but for who had no more.
            let most = turns.iter().filter_map(|(tenant, _)| taken.get(tenant)).max().copied().unwrap_or(0);
            let each = each.min(per_tenant.saturating_sub(most));
            let mut shards: HashMap<usize, usize> = HashMap::new();
            for (_, place) in &turns {
                *shards.entry(*place).or_default() += 1;
            }
            let claims = shards.into_iter().map(|(place, tenants)| {
                let mut ask = ask.clone().per_tenant(each);
                // Its first tenants in turn are those that were chosen here.
                ask.limit = tenants * each;
                async move { (place, self.member(place).stores.runs.claim(ask).await) }
            });
            let mut failed: Option<Error> = None;
            let before = leases.len();
            for (place, claimed) in join_all(claims).await {
                match claimed {
                    Ok(claimed) => {
                        for lease in claimed {
                            let tenant = lease.fence.tenant;
                            self.seen(tenant, place);
                            let round = taken.entry(tenant).or_default();
                            leases.push((*round, lease));
                            *round += 1;
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                Some(error) if leases.is_empty() => return Err(error),
                // What was taken up is driven; the others are there the next time.
                Some(error) => {
                    tracing::warn!(?error, "runs of a shard cannot be taken up");
                    break;
                }
                None => {}
            }
            if leases.len() == before {
                break;
            }
            let full =
                taken.iter().filter(|(tenant, count)| **count >= per_tenant && !ask.full.contains(tenant));
            let full: Vec<_> = full.map(|(tenant, _)| *tenant).collect();
            ask.full.extend(full);
            ask.per_tenant = per_tenant;
        }
        leases.sort_by_key(|(round, lease)| (*round, turn(after, lease.fence.tenant)));
        Ok(leases.into_iter().map(|(_, lease)| lease).collect())
    }

    async fn woken(&self) {
        let woken = self.members().map(|member| Box::pin(member.stores.runs.woken()));
        select_all(woken).await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        self.on(fence.tenant, |stores| stores.runs.renew(fence, until)).await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.on(fence.tenant, |stores| stores.runs.commit(fence, batch.clone(), effects.clone())).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        self.on(fence.tenant, |stores| stores.runs.begin(fence)).await
    }
}
