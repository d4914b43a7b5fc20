//! Which tenants would be elsewhere if they were made today.

use agentprovision_core::id::TenantId;
use serde::{Deserialize, Serialize};

use super::{Placement, PlacementState, Shard, rendezvous};

/// A tenant that would be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rebalance {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Where it is.
    pub from: String,
    /// Where it would be.
    pub to: String,
}

/// The shards a tenant of a region may be kept in. Regions mean nothing where no shard has one.
pub(super) fn eligible<'a>(shards: &'a [Shard], region: Option<&str>) -> Vec<&'a Shard> {
    let placed = shards.iter().any(|shard| shard.region.is_some());
    shards
        .iter()
        .filter(|shard| !placed || region.is_none_or(|region| shard.region.as_deref() == Some(region)))
        .collect()
}

/// The shard a tenant of a region belongs in; `None` when no shard has the region.
pub(super) fn home<'a>(shards: &'a [Shard], tenant: TenantId, region: Option<&str>) -> Option<&'a Shard> {
    let shards = eligible(shards, region);
    let place = rendezvous(tenant, shards.iter().map(|shard| (&*shard.name, shard.weight)))?;
    shards.get(place).copied()
}

/// Which of these tenants belong elsewhere: where they are pinned, or where the hash puts them among the shards of their
/// region. Tenants that are being made or moved are left out, and so are those whose region no shard has. Pure: nothing
/// is moved.
pub fn plan(placements: &[Placement], shards: &[Shard]) -> Vec<Rebalance> {
    let settled = placements.iter().filter(|placement| placement.state == PlacementState::Settled);
    settled
        .filter_map(|placement| {
            let hashed = || home(shards, placement.tenant_id, placement.region.as_deref());
            let to = placement.pin.clone().or_else(|| hashed().map(|shard| shard.name.clone()))?;
            let from = placement.shard.clone();
            (from != to).then_some(Rebalance { tenant_id: placement.tenant_id, from, to })
        })
        .collect()
}
