//! The store in memory with a bug, to see that the comparison finds it.

use std::sync::Arc;

use agentprovision_core::backend::Stores;
use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::id::{ReservationId, SignalId, TenantId, UserId};
use agentprovision_core::identity::{User, UserStore};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::run::{
    ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, RunStore, RunTx, Signal,
};
use agentprovision_core::tenant::Revision;
use agentprovision_core::usage::{BudgetKey, BudgetState, Demand, QuotaGate, Reservation};
use agentprovision_core::{Result, Timestamp};
use async_trait::async_trait;
use uuid::Uuid;

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A page of users continues behind the cursor's time, whatever its id.
    PageWithoutTiebreak,
    /// The state of a budget hides how far it was overrun.
    OverrunForgotten,
    /// Signals come in the order of their ids.
    SignalsById,
    /// A batch without rows is not written, nor what belongs to it.
    EmptyBatchSkipped,
    /// Claims always begin with the first tenant.
    TurnsForgotten,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::PageWithoutTiebreak,
        Self::OverrunForgotten,
        Self::SignalsById,
        Self::EmptyBatchSkipped,
        Self::TurnsForgotten,
    ];

    /// The same stores with the bug.
    pub(crate) fn plant(self, mut stores: Stores) -> Stores {
        match self {
            Self::PageWithoutTiebreak => stores.users = Arc::new(Users(stores.users)),
            Self::OverrunForgotten => stores.quota = Arc::new(Quota(stores.quota)),
            Self::SignalsById | Self::EmptyBatchSkipped | Self::TurnsForgotten => {
                stores.runs = Arc::new(Runs(stores.runs, self))
            }
        }
        stores
    }
}

#[derive(Debug)]
struct Users(Arc<dyn UserStore>);

#[async_trait]
impl UserStore for Users {
    async fn insert(&self, ctx: &Context, user: User, effects: Effects) -> Result<()> {
        self.0.insert(ctx, user, effects).await
    }

    async fn bootstrap(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        user: User,
        all: OperatorEffects,
    ) -> Result<()> {
        self.0.bootstrap(op, tenant, user, all).await
    }

    async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.0.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, mut page: PageRequest) -> Result<Page<User>> {
        if let Some(cursor) = &mut page.after {
            cursor.id = Uuid::max();
        }
        self.0.list(ctx, page).await
    }

    async fn replace(&self, ctx: &Context, user: User, expected: Revision, effects: Effects) -> Result<()> {
        self.0.replace(ctx, user, expected, effects).await
    }

    async fn delete(&self, ctx: &Context, id: UserId, effects: Effects) -> Result<()> {
        self.0.delete(ctx, id, effects).await
    }

    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
        self.0.member(tenant, id).await
    }
}

#[derive(Debug)]
struct Quota(Arc<dyn QuotaGate>);

#[async_trait]
impl QuotaGate for Quota {
    async fn define(&self, ctx: &Context, key: &BudgetKey, cap: Option<i64>) -> Result<()> {
        self.0.define(ctx, key, cap).await
    }

    async fn reserve(&self, ctx: &Context, id: ReservationId, demand: Demand) -> Result<Reservation> {
        self.0.reserve(ctx, id, demand).await
    }

    async fn settle(&self, ctx: &Context, held: Reservation, actual: Demand) -> Result<()> {
        self.0.settle(ctx, held, actual).await
    }

    async fn state(&self, ctx: &Context, key: &BudgetKey) -> Result<Option<BudgetState>> {
        let state = self.0.state(ctx, key).await?;
        Ok(state.map(|state| BudgetState { overrun: 0, ..state }))
    }
}

#[derive(Debug)]
struct Runs(Arc<dyn RunStore>, Fault);

#[async_trait]
impl RunStore for Runs {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        self.0.create(ctx, run, effects).await
    }

    async fn claim(&self, mut request: ClaimRequest) -> Result<Vec<Lease>> {
        if self.1 == Fault::TurnsForgotten {
            request.after = None;
        }
        self.0.claim(request).await
    }

    async fn woken(&self) {
        self.0.woken().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        let mut signals = self.0.renew(fence, until).await?;
        if self.1 == Fault::SignalsById {
            signals.sort_by_key(|(id, _)| *id);
        }
        Ok(signals)
    }

    async fn commit(&self, fence: &Fence, mut batch: JournalBatch, effects: Effects) -> Result<u64> {
        if self.1 == Fault::EmptyBatchSkipped && batch.entries.is_empty() {
            batch = JournalBatch::default();
        }
        self.0.commit(fence, batch, effects).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        self.0.begin(fence).await
    }
}
