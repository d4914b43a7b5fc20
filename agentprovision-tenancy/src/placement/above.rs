//! What is above tenants in every shard: changes of metadata, duties, records that wait for their logs; and backups.

use std::time::Duration;

use agentprovision_core::backup::{Backup, BackupEnd, BackupStore, Begun, NewBackup};
use agentprovision_core::changes::{ChangeFeed, Changes, Mark};
use agentprovision_core::context::OperatorContext;
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{BackupId, TenantId, WorkerId};
use agentprovision_core::maintenance::{Duty, MaintenanceStore};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::{Result, Timestamp};
use async_trait::async_trait;
use futures_util::future::select_all;

use super::backend::Router;

#[async_trait]
impl ChangeFeed for Router {
    /// A shard that does not answer is asked again from where it was: it holds no tenant of the others up.
    async fn changed(&self, since: Option<&Mark>) -> Result<Changes> {
        let found = self
            .each("changes", |place, member| {
                let since = since.and_then(|mark| mark.place(place)).map(|at| Mark(vec![at]));
                async move { member.stores.changes.changed(since.as_ref()).await }
            })
            .await?;
        // Of one that was never asked everything is told.
        let mut places: Vec<i64> = (0..self.members().count())
            .map(|place| since.and_then(|mark| mark.place(place)).unwrap_or(i64::MIN))
            .collect();
        let mut tenants = Vec::new();
        for (place, changes) in found {
            tenants.extend(changes.tenants);
            if let (Some(at), Some(now)) = (places.get_mut(place), changes.mark.place(0)) {
                *at = now;
            }
        }
        Ok(Changes { tenants, mark: Mark(places) })
    }

    async fn told(&self, heard: u64) -> u64 {
        let told = self.members().zip(&self.heard).map(|(member, heard)| {
            Box::pin(async move {
                let before = heard.load(std::sync::atomic::Ordering::SeqCst);
                let now = member.stores.changes.told(before).await;
                heard.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
            })
        });
        select_all(told).await;
        heard + 1
    }
}

#[async_trait]
impl MaintenanceStore for Router {
    async fn hold(&self, duty: Duty, worker: WorkerId, term: Duration) -> Result<bool> {
        self.home().stores.maintenance.hold(duty, worker, term).await
    }

    async fn give_back(&self, duty: Duty, worker: WorkerId) -> Result<()> {
        self.home().stores.maintenance.give_back(duty, worker).await
    }

    async fn unsequenced(&self) -> Result<bool> {
        let found = self.each("records", |_, member| member.stores.maintenance.unsequenced()).await?;
        Ok(found.into_iter().any(|(_, waiting)| waiting))
    }

    async fn sequence(&self) -> Result<()> {
        self.each("records", |_, member| member.stores.maintenance.sequence()).await.map(drop)
    }
}

#[async_trait]
impl BackupStore for Router {
    async fn begin(&self, op: &OperatorContext, new: NewBackup, effects: OperatorEffects) -> Result<Begun> {
        let tenant = new.tenant;
        let begun = self
            .on(tenant, |stores| {
                let effects = effects.clone();
                async move { stores.backups.begin(op, new, effects).await }
            })
            .await?;
        self.carry_on(op, self.member(self.place(tenant).await?)).await;
        Ok(begun)
    }

    async fn finish(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        id: BackupId,
        at: Timestamp,
        end: BackupEnd,
        effects: OperatorEffects,
    ) -> Result<Backup> {
        let finished = self
            .on(tenant, |stores| {
                let (end, effects) = (end.clone(), effects.clone());
                async move { stores.backups.finish(op, tenant, id, at, end, effects).await }
            })
            .await?;
        self.carry_on(op, self.member(self.place(tenant).await?)).await;
        Ok(finished)
    }

    async fn get(&self, op: &OperatorContext, tenant: TenantId, id: BackupId) -> Result<Backup> {
        self.on(tenant, |stores| stores.backups.get(op, tenant, id)).await
    }

    async fn list(&self, op: &OperatorContext, tenant: TenantId, page: PageRequest) -> Result<Page<Backup>> {
        self.on(tenant, |stores| {
            let page = page.clone();
            async move { stores.backups.list(op, tenant, page).await }
        })
        .await
    }

    async fn expire(&self, op: &OperatorContext, tenant: TenantId, keep: u32) -> Result<Vec<Backup>> {
        self.on(tenant, |stores| stores.backups.expire(op, tenant, keep)).await
    }

    async fn forget(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        ids: &[BackupId],
        effects: OperatorEffects,
    ) -> Result<()> {
        self.on(tenant, |stores| {
            let effects = effects.clone();
            async move { stores.backups.forget(op, tenant, ids, effects).await }
        })
        .await?;
        self.carry_on(op, self.member(self.place(tenant).await?)).await;
        Ok(())
    }
}
