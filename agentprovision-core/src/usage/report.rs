//! The service for a tenant's usage.

use std::sync::Arc;

use super::{Period, UsageEvent, UsageReader, UsageSummary};
use crate::access::Access;
use crate::authz::{Permission, Resource};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id::UsageId;

/// Reads usage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UsageReport {
    reader: Arc<dyn UsageReader>,
    access: Access,
}

impl UsageReport {
    /// The service over a backend's reader.
    pub fn new(reader: Arc<dyn UsageReader>, access: Access) -> Self {
        Self { reader, access }
    }

    /// Sums over a period.
    ///
    /// # Errors
    /// `permission_denied` without `usage:read`.
    pub async fn summary(&self, ctx: &Context, period: Period) -> Result<UsageSummary> {
        self.access.check(ctx, Permission::USAGE_READ, Resource::all("usage")).await?;
        self.reader.summary(ctx, period).await
    }

    /// At most `limit` (up to 500) events after one of them, in the order of their ids.
    ///
    /// # Errors
    /// `permission_denied` without `usage:read`; `invalid_input` for a limit of 0 or above 500.
    pub async fn events(&self, ctx: &Context, after: Option<UsageId>, limit: u32) -> Result<Vec<UsageEvent>> {
        self.access.check(ctx, Permission::USAGE_READ, Resource::all("usage")).await?;
        if !(1..=500).contains(&limit) {
            return Err(Error::invalid(format!("1 to 500 events are read at a time, not `{limit}`")));
        }
        self.reader.events(ctx, after, limit).await
    }
}
