//! [`SealedStore`] in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryDb, TenantData};
use crate::context::Context;
use crate::effect::{Effects, Guard};
use crate::error::{Error, Result};
use crate::id::WorkerId;
use crate::secret::{LeaseState, Leased, Sealed, SealedStore, SecretLease, SecretPath};

/// A sealed secret and its lease.
pub(super) struct Kept {
    sealed: Sealed,
    lease: LeaseState,
}

fn guarded(guard: Guard) -> Effects {
    Effects { guards: vec![guard], ..Effects::none() }
}

impl TenantData {
    fn secret(&self, path: &SecretPath) -> Result<&Kept> {
        self.secrets.get(path).ok_or_else(|| Error::not_found("no such secret"))
    }
}

#[async_trait]
impl SealedStore for MemoryDb {
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Sealed> {
        Ok(self.open()?.of(ctx.tenant()).secret(path)?.sealed.clone())
    }

    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: Sealed,
        lease: Option<SecretLease>,
    ) -> Result<()> {
        let guard = if lease.is_some() { Guard::TenantExists } else { Guard::TenantActive };
        self.open()?.change_in(ctx.tenant(), guarded(guard), |data| {
            let found = data.secrets.get(path);
            let (version, state) =
                found.map_or((0, LeaseState::default()), |kept| (kept.sealed.version, kept.lease));
            let next = state.used(lease)?;
            if value.version.checked_sub(1) != Some(version) {
                return Err(Error::conflict("the secret was changed in the meantime"));
            }
            Ok(move |data: &mut TenantData| {
                data.secrets.insert(path.clone(), Kept { sealed: value, lease: next });
            })
        })
    }

    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), guarded(Guard::TenantActive), |_| {
            Ok(|data: &mut TenantData| {
                data.secrets.remove(path);
            })
        })
    }

    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased> {
        let now = self.env.now();
        self.open()?.change_in(ctx.tenant(), guarded(Guard::TenantActive), |data| {
            let (next, leased) = data.secret(path)?.lease.ask(holder, term, now);
            Ok(move |data: &mut TenantData| {
                if let Some(kept) = data.secrets.get_mut(path) {
                    kept.lease = next;
                }
                leased
            })
        })
    }
}
