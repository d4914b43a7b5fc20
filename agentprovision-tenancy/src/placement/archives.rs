//! Archives of tenants in any shard; a tenant that comes from one goes where it was, or where a new one would go.

use agentprovision_core::archive::{ArchiveStore, Layout, Part, Restore, Standing, Value};
use agentprovision_core::context::OperatorContext;
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::TenantId;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Error, Result, Timestamp};
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::backend::Router;
use super::{Placement, PlacementState};
use crate::store::sql::directory::Claimed;

/// What the directory has to know of an archived tenant before it is restored.
struct Facts {
    domain: Option<String>,
    region: Option<String>,
    created_at: Timestamp,
}

/// Reads the parts up to the tenant's own row.
async fn facts(from: &mut mpsc::Receiver<Part>, layout: &Layout) -> Result<(Vec<Part>, Facts)> {
    let mut read = Vec::new();
    let mut facts = Facts { domain: None, region: None, created_at: Timestamp::default() };
    while let Some(part) = from.recv().await {
        let header = matches!(part, Part::Header(_));
        if let Part::Rows(table, rows) = &part
            && let (Some(table), Some(row)) = (layout.tables.get(*table), rows.first())
            && table.name == "tenants"
        {
            let value = |name: &str| {
                let place = table.columns.iter().position(|column| column.name == name);
                place.and_then(|place| row.get(place))
            };
            let text = |name: &str| match value(name) {
                Some(Value::Text(text)) => Some(text.clone()),
                _ => None,
            };
            let Some(Value::Int(created)) = value("created_at") else {
                return Err(Error::corrupt("the archived tenant cannot be read"));
            };
            let created_at = Timestamp::from_micros(*created);
            facts = Facts { domain: text("domain"), region: text("region"), created_at };
        }
        read.push(part);
        if !header {
            break;
        }
    }
    Ok((read, facts))
}

/// Leaves the domain out of a tenant's own row.
fn without_domain(parts: &mut [Part], layout: &Layout) {
    for part in parts {
        let Part::Rows(table, rows) = part else { continue };
        let Some(table) = layout.tables.get(*table) else { continue };
        let Some(place) = table.columns.iter().position(|column| column.name == "domain") else { continue };
        for value in rows.iter_mut().filter_map(|row| row.get_mut(place)) {
            *value = Value::Null;
        }
    }
}

#[async_trait]
impl ArchiveStore for Router {
    fn layout(&self) -> Result<&'static Layout> {
        self.home().stores.archives.layout()
    }

    async fn standing(&self, op: &OperatorContext, tenant: TenantId) -> Result<Standing> {
        self.on(tenant, |stores| stores.archives.standing(op, tenant)).await
    }

    async fn export(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        to: mpsc::Sender<Part>,
        effects: OperatorEffects,
    ) -> Result<()> {
        // A refusal comes before the first part.
        self.on(tenant, |stores| stores.archives.export(op, tenant, to.clone(), effects.clone())).await?;
        self.carry_on(op, self.member(self.place(tenant).await?)).await;
        Ok(())
    }

    async fn restore(
        &self,
        op: &OperatorContext,
        what: Restore,
        mut from: mpsc::Receiver<Part>,
        effects: OperatorEffects,
    ) -> Result<Tenant> {
        let tenant = what.tenant;
        let layout = self.layout()?;
        let (mut parts, Facts { domain, region, created_at }) = facts(&mut from, layout).await?;
        let known = self.directory().placement(tenant).await?;
        let placement = match &known {
            Some(known) => {
                // One that is there keeps what it has; the store refuses.
                let state = self.on(tenant, |stores| stores.tenants.state(tenant)).await;
                let there = state.is_ok_and(|state| state != TenantState::Deleted);
                (!there).then(|| known.clone())
            }
            None => {
                let place = self.choose(tenant, region.as_deref())?;
                let new = Placement {
                    tenant_id: tenant,
                    shard: self.member(place).shard.name.clone(),
                    state: PlacementState::Creating,
                    other: None,
                    region: region.clone(),
                    pin: None,
                    epoch: 1,
                    created_at,
                };
                self.name(&new, None).await?;
                Some(new)
            }
        };
        let mut claimed = Claimed::Before;
        if let (Some(_), Some(domain)) = (&placement, &domain) {
            claimed = self.claim_domain(tenant, domain).await?;
            if let Claimed::By(_) = claimed {
                without_domain(&mut parts, layout);
            }
        }
        let member = self.member(self.look_up(tenant).await?);
        let (to, forwarded) = mpsc::channel(1);
        let forward = async move {
            for part in parts {
                if to.send(part).await.is_err() {
                    return;
                }
            }
            while let Some(part) = from.recv().await {
                if to.send(part).await.is_err() {
                    return;
                }
            }
        };
        let restoring = member.stores.archives.restore(op, what, forwarded, effects);
        let (restored, ()) = futures_util::join!(restoring, forward);
        match restored {
            Ok(restored) => {
                if known.is_none()
                    && let Some(new) = placement
                    && let Err(error) = self.settle_new(new).await
                {
                    tracing::warn!(?error, "a tenant was restored and is not settled in the directory");
                }
                let follow = self.follow(tenant, restored.domain.clone(), restored.region.clone());
                if let Err(error) = follow.await {
                    tracing::warn!(?error, "the directory does not know of a tenant's change");
                }
                self.carry_on(op, member).await;
                Ok(restored)
            }
            Err(error) => {
                match (&known, claimed, domain) {
                    (None, ..) => self.directory().remove_placement(tenant, 1).await?,
                    (Some(_), Claimed::New, Some(domain)) => {
                        self.directory().drop_domain(tenant, domain).await?;
                    }
                    _ => {}
                }
                Err(error)
            }
        }
    }
}
