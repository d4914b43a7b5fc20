//! What stands for a placed backend in a build that knows no database.

use std::convert::Infallible;

use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::{Env, Error, OperatorContext, Result};
use async_trait::async_trait;

use super::{Placement, Rebalance, Shard};

/// A backend over several databases, of which this build knows none: switch on `store-sqlite` or `store-postgres`.
#[derive(Clone, Debug)]
pub struct PlacedBackend(Infallible);

impl PlacedBackend {
    /// Opens nothing.
    ///
    /// # Errors
    /// `unsupported`.
    pub async fn open(_: Vec<Shard>, _: Env) -> Result<Self> {
        let message =
            "this build knows no database: switch on the feature `store-sqlite` or `store-postgres`";
        Err(Error::unsupported(message))
    }

    /// The shards.
    pub fn shards(&self) -> Vec<Shard> {
        match self.0 {}
    }

    pub(super) async fn find(&self, _: TenantId) -> Result<Placement> {
        match self.0 {}
    }

    pub(super) async fn page(&self, _: PageRequest) -> Result<Page<Placement>> {
        match self.0 {}
    }

    pub(super) async fn plan(&self) -> Result<Vec<Rebalance>> {
        match self.0 {}
    }

    pub(super) async fn move_to(&self, _: &OperatorContext, _: TenantId, _: String) -> Result<Placement> {
        match self.0 {}
    }

    pub(super) async fn pin(&self, _: &OperatorContext, _: TenantId, _: Option<String>) -> Result<Placement> {
        match self.0 {}
    }
}

#[async_trait]
impl Backend for PlacedBackend {
    fn stores(&self) -> Stores {
        match self.0 {}
    }

    async fn close(&self) -> Result<()> {
        match self.0 {}
    }
}
