//! Deliveries of webhooks, taken fairly among the tenants of all shards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentprovision_core::Result;
use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{DeliveryId, EndpointId, TenantId, WorkerId};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::webhook::{
    Accepted, ClaimedDelivery, Delivery, DeliveryEnd, Inbox, NewDelivery, check_term,
};
use async_trait::async_trait;
use futures_util::future::{join_all, select_all};

use super::backend::Router;
use super::claims::turn;

#[async_trait]
impl Inbox for Router {
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted> {
        self.on(tenant, |stores| {
            let delivery = delivery.clone();
            async move { stores.inbox.accept(tenant, delivery).await }
        })
        .await
    }

    /// In rounds, as runs are: the first tenants of all shards, in turn, give as many each as there is room for.
    async fn claim(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        check_term(term)?;
        let mut rounds: BTreeMap<TenantId, usize> = BTreeMap::new();
        let mut taken: Vec<(usize, ClaimedDelivery)> = Vec::new();
        let mut done: BTreeSet<TenantId> = BTreeSet::new();
        loop {
            let room = limit.saturating_sub(u32::try_from(taken.len()).unwrap_or(limit));
            let found = self.each("deliveries", |_, member| member.sql.delivery_turns(after, room)).await?;
            let mut turns: Vec<(TenantId, usize)> = Vec::new();
            for (place, tenants) in found {
                let tenants = tenants.into_iter().filter(|tenant| !done.contains(tenant));
                turns.extend(tenants.map(|tenant| (tenant, place)));
            }
            turns.sort_unstable_by_key(|(tenant, _)| turn(after, *tenant));
            turns.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            let all = u32::try_from(turns.len()).unwrap_or(u32::MAX);
            let Some(each) = room.checked_div(all) else { break };
            let mut shards: BTreeMap<usize, u32> = BTreeMap::new();
            for (_, place) in &turns {
                *shards.entry(*place).or_default() += each;
            }
            // A shard's first tenants in turn are those that were chosen here.
            let claims = shards.into_iter().map(async |(place, share)| {
                let member = self.member(place);
                (place, member.sql.claim_deliveries(worker, term, share, each, after).await)
            });
            let mut given: BTreeMap<TenantId, u32> = turns.iter().map(|(tenant, _)| (*tenant, 0)).collect();
            let mut failed = None;
            for (place, claimed) in join_all(claims).await {
                match claimed {
                    Ok(claimed) => {
                        for one in claimed {
                            self.seen(one.tenant, place);
                            *given.entry(one.tenant).or_default() += 1;
                            let round = rounds.entry(one.tenant).or_default();
                            taken.push((*round, one));
                            *round += 1;
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            // Who gave less has no more.
            done.extend(given.into_iter().filter(|(_, count)| *count < each).map(|(tenant, _)| tenant));
            match failed {
                Some(error) if taken.is_empty() => return Err(error),
                // What was taken is worked on; the others are there the next time.
                Some(error) => {
                    tracing::warn!(?error, "deliveries of a shard cannot be taken");
                    break;
                }
                None => {}
            }
        }
        taken.sort_by_key(|(round, one)| (*round, turn(after, one.tenant)));
        Ok(taken.into_iter().map(|(_, one)| one).collect())
    }

    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        effects: Effects,
    ) -> Result<()> {
        self.on(tenant, |stores| {
            let (end, effects) = (end.clone(), effects.clone());
            async move { stores.inbox.finish(tenant, id, epoch, end, effects).await }
        })
        .await
    }

    async fn advance(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        key: &str,
        version: &str,
    ) -> Result<bool> {
        self.on(tenant, |stores| stores.inbox.advance(tenant, endpoint, key, version)).await
    }

    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>> {
        self.on(tenant, |stores| stores.inbox.mark(tenant, endpoint, key)).await
    }

    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        self.on(ctx.tenant(), |stores| stores.inbox.get(ctx, id)).await
    }

    async fn list(&self, ctx: &Context, endpoint: EndpointId, page: PageRequest) -> Result<Page<Delivery>> {
        self.on(ctx.tenant(), |stores| stores.inbox.list(ctx, endpoint, page.clone())).await
    }

    async fn replay(&self, ctx: &Context, id: DeliveryId, effects: Effects) -> Result<()> {
        self.on(ctx.tenant(), |stores| stores.inbox.replay(ctx, id, effects.clone())).await
    }

    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32> {
        let (mut gone, mut failed) = (0, None);
        for member in self.members() {
            match member.stores.inbox.expire(keep, limit - gone).await {
                Ok(removed) => gone += removed,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if gone == 0 => Err(error),
            _ => Ok(gone),
        }
    }

    async fn woken(&self) {
        let woken = self.members().map(|member| Box::pin(member.stores.inbox.woken()));
        select_all(woken).await;
    }
}
