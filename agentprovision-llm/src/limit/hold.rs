//! What is held for one piece of work, settled whatever becomes of it.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::Result;
use agentprovision_core::context::Context;

use super::{Amounts, HoldId, Ledger, Limit};

/// Room that is held in budgets. Dropping it settles what is known so far, which is the estimate until
/// [`Hold::so_far`] says otherwise.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    ledger: Arc<dyn Ledger>,
    /// `None` where no budget limits the work.
    id: Option<HoldId>,
    so_far: Amounts,
}

impl Hold {
    /// Holds `estimate` in all of these budgets or in none.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub async fn reserve(
        ledger: Arc<dyn Ledger>,
        ctx: &Context,
        limits: &[Limit],
        estimate: Amounts,
        ttl: Duration,
    ) -> Result<Self> {
        let id = match limits {
            [] => None,
            limits => Some(ledger.reserve(ctx, limits, estimate, ttl).await?),
        };
        Ok(Self { ledger, id, so_far: estimate })
    }

    /// Whether any budget limits the work.
    pub fn is_limited(&self) -> bool {
        self.id.is_some()
    }

    /// What a drop settles from now on.
    pub fn so_far(&mut self, amounts: Amounts) {
        self.so_far = amounts;
    }

    /// Holds it for `ttl` from now on.
    pub fn extend(&self, ttl: Duration) {
        if let Some(id) = self.id {
            self.ledger.extend(id, ttl);
        }
    }

    /// Replaces what is held by what was used.
    pub fn settle(mut self, actual: Amounts) {
        self.so_far = actual;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.ledger.settle(id, self.so_far);
        }
    }
}
