//! [`ArchiveStore`] in memory: there are no rows to export.

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::MemoryDb;
use crate::archive::{ArchiveStore, Layout, Part, Restore, Standing};
use crate::context::OperatorContext;
use crate::effect::OperatorEffects;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::tenant::Tenant;

impl MemoryDb {
    fn no_archives<T>(&self) -> Result<T> {
        drop(self.open()?);
        Err(Error::unsupported("a store in memory keeps no archives: use one in a database"))
    }
}

#[async_trait]
impl ArchiveStore for MemoryDb {
    fn layout(&self) -> Result<&'static Layout> {
        self.no_archives()
    }

    async fn standing(&self, _: &OperatorContext, _: TenantId) -> Result<Standing> {
        self.no_archives()
    }

    async fn export(
        &self,
        _: &OperatorContext,
        _: TenantId,
        _: mpsc::Sender<Part>,
        _: OperatorEffects,
    ) -> Result<()> {
        self.no_archives()
    }

    async fn restore(
        &self,
        _: &OperatorContext,
        _: Restore,
        _: mpsc::Receiver<Part>,
        _: OperatorEffects,
    ) -> Result<Tenant> {
        self.no_archives()
    }
}
