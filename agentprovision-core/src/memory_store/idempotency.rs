//! [`IdempotencyStore`] in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryDb, TenantData};
use crate::context::Context;
use crate::effect::{Effects, Guard};
use crate::error::Result;
use crate::idempotency::{Begun, IdempotencyStore, Work, WorkKey};

#[async_trait]
impl IdempotencyStore for MemoryDb {
    async fn begin(
        &self,
        ctx: &Context,
        work: &WorkKey,
        input: [u8; 32],
        term: Duration,
        keep: Duration,
    ) -> Result<Begun> {
        work.check()?;
        let now = self.env.now();
        let guards = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
        self.open()?.change_in(ctx.tenant(), guards, |data| {
            let found = data.work.get(work);
            let new = found.is_none();
            let (next, begun) = match found {
                Some(found) => found.begin(input, term, keep, now)?,
                None => (Some(Work::new(input, term, keep, now)), Begun::New(1)),
            };
            Ok(move |data: &mut TenantData| {
                if new {
                    // Whoever adds something takes away what is old.
                    data.work.retain(|_, old| old.forget_at > now);
                }
                if let Some(next) = next {
                    data.work.insert(work.clone(), next);
                }
                begun
            })
        })
    }

    async fn finish(&self, ctx: &Context, work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> Result<()> {
        let now = self.env.now();
        self.open()?.change_in(ctx.tenant(), Effects::none(), |data| {
            let ended = Work::finish(data.work.get(work), epoch, answer, now)?;
            Ok(move |data: &mut TenantData| {
                data.work.insert(work.clone(), ended);
            })
        })
    }
}
