//! The trials of [`SealedStore`](crate::secret::SealedStore).

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Checked, Failure, Outcome, equal, holds, refused};
use super::world::World;
use crate::context::Context;
use crate::error::ErrorKind::{Conflict, Fenced, NotFound, TenantSuspended};
use crate::id::WorkerId;
use crate::secret::{Leased, Sealed, SecretLease, SecretPath};
use crate::tenant::TenantState;

super::suite! { "SealedStore":
    a_secret_is_kept_as_it_is,
    a_value_needs_the_version_before_it,
    of_many_writers_one_replaces_a_value,
    one_holder_at_a_time_has_the_lease,
    of_many_askers_one_gets_the_lease,
    after_the_term_the_next_holder_is_the_only_one,
    a_lease_outlives_its_term_until_somebody_takes_it,
    a_value_that_comes_with_the_lease_ends_it,
    a_value_without_a_lease_leaves_it,
    a_term_of_zero_gives_the_lease_back,
    a_deleted_secret_is_gone,
    tenants_have_secrets_of_their_own,
    a_suspended_tenant_ends_only_what_was_begun,
}

/// Long enough for a slow machine.
const TERM: Duration = Duration::from_secs(600);
/// Over when the next one asks, by any clock.
const BRIEF: Duration = Duration::from_micros(1);

pub(super) fn path(text: &str) -> Checked<SecretPath> {
    Ok(SecretPath::new(text)?)
}

pub(super) fn sealed(version: u64) -> Sealed {
    Sealed { bytes: format!("value {version}").into_bytes(), version }
}

/// A tenant with a secret that has its first value.
async fn secret(w: &World) -> Checked<(Context, SecretPath)> {
    let (ctx, path) = (w.tenant().await?, path("integrations/one")?);
    w.stores.secrets.put(&ctx, &path, sealed(1), None).await?;
    Ok((ctx, path))
}

/// The lease, which has to be the asker's.
pub(super) async fn lease(
    w: &World,
    ctx: &Context,
    path: &SecretPath,
    holder: WorkerId,
    term: Duration,
) -> Checked<SecretLease> {
    match w.stores.secrets.lease(ctx, path, holder, term).await? {
        Leased::Yours(lease) => {
            equal("the holder", &lease.holder, &holder)?;
            Ok(lease)
        }
        held @ Leased::Held(_) => Err(Failure::new(format_args!("the lease is not the asker's: {held:?}"))),
    }
}

/// Whether somebody else has the lease.
async fn is_held(w: &World, ctx: &Context, path: &SecretPath) -> Checked<bool> {
    let leased = w.stores.secrets.lease(ctx, path, w.env.id(), TERM).await?;
    Ok(matches!(leased, Leased::Held(_)))
}

async fn a_secret_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let longest = "p".repeat(255);
    refused("a secret that is not there", w.stores.secrets.get(&ctx, &path("a")?).await, NotFound)?;
    let contents = [Vec::new(), (0..=255).collect(), vec![0xff; 70_000]];
    for text in ["a", "a/b", "a/b.c", "integrations/int_0190/tokens", "0", &longest] {
        let path = path(text)?;
        for (version, bytes) in (1..).zip(contents.clone()) {
            let value = Sealed { bytes, version };
            w.stores.secrets.put(&ctx, &path, value.clone(), None).await?;
            equal(text, &w.stores.secrets.get(&ctx, &path).await?, &value)?;
        }
    }
    equal("the first of them", &w.stores.secrets.get(&ctx, &path("a")?).await?.version, &3)
}

async fn a_value_needs_the_version_before_it(w: World) -> Outcome {
    let (ctx, path) = (w.tenant().await?, path("a")?);
    let secrets = &w.stores.secrets;
    for version in [0, 2, u64::MAX] {
        let call = secrets.put(&ctx, &path, sealed(version), None).await;
        refused("a value that is not the first", call, Conflict)?;
    }
    refused("what was refused", secrets.get(&ctx, &path).await, NotFound)?;
    secrets.put(&ctx, &path, sealed(1), None).await?;
    for version in [0, 1, 3, u64::MAX] {
        let call = secrets.put(&ctx, &path, Sealed { bytes: vec![9], version }, None).await;
        refused("a value that is not the next", call, Conflict)?;
    }
    equal("the first value", &secrets.get(&ctx, &path).await?, &sealed(1))?;
    secrets.put(&ctx, &path, sealed(2), None).await?;
    equal("the second value", &secrets.get(&ctx, &path).await?, &sealed(2))
}

async fn of_many_writers_one_replaces_a_value(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for (name, version) in [("new", 1), ("new", 2), ("new", 3)] {
        let path = path(name)?;
        let values: Vec<Sealed> = (0..8_u8).map(|n| Sealed { bytes: vec![n], version }).collect();
        let puts = values.iter().map(|value| w.stores.secrets.put(&ctx, &path, value.clone(), None));
        let (mut won, results) = (Vec::new(), join_all(puts).await);
        for (value, result) in values.iter().zip(results) {
            match result {
                Ok(()) => won.push(value.clone()),
                Err(error) => drop(refused::<()>("a later one", Err(error), Conflict)?),
            }
        }
        equal("how many won", &won.len(), &1)?;
        equal("the value", &Some(w.stores.secrets.get(&ctx, &path).await?), &won.pop())?;
    }
    Ok(())
}

async fn one_holder_at_a_time_has_the_lease(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    refused(
        "a secret that is not there",
        w.stores.secrets.lease(&ctx, &super::secrets::path("none")?, one, TERM).await,
        NotFound,
    )?;
    let first = lease(&w, &ctx, &path, one, TERM).await?;
    equal("the first epoch", &first.epoch, &1)?;
    let Leased::Held(until) = w.stores.secrets.lease(&ctx, &path, two, TERM).await? else {
        return Err(Failure::new("two have the lease"));
    };
    let more = TERM * 2;
    equal("the holder asks again", &lease(&w, &ctx, &path, one, more).await?, &first)?;
    let Leased::Held(later) = w.stores.secrets.lease(&ctx, &path, two, TERM).await? else {
        return Err(Failure::new("two have the lease"));
    };
    holds("it is held for longer", later > until)?;
    equal("the value", &w.stores.secrets.get(&ctx, &path).await?, &sealed(1))
}

async fn of_many_askers_one_gets_the_lease(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    for epoch in 1..=5 {
        let askers: Vec<WorkerId> = (0..8).map(|_| w.env.id()).collect();
        let asked = join_all(askers.iter().map(|by| w.stores.secrets.lease(&ctx, &path, *by, TERM))).await;
        let mut got = Vec::new();
        for (asker, leased) in askers.into_iter().zip(asked) {
            if let Leased::Yours(lease) = leased? {
                equal("whose it is", &lease, &SecretLease { holder: asker, epoch })?;
                got.push(lease.holder);
            }
        }
        equal("how many have it", &got.len(), &1)?;
        for holder in got {
            lease(&w, &ctx, &path, holder, Duration::ZERO).await?;
        }
    }
    Ok(())
}

async fn after_the_term_the_next_holder_is_the_only_one(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    let old = lease(&w, &ctx, &path, one, BRIEF).await?;
    w.pass(1);
    let new = lease(&w, &ctx, &path, two, TERM).await?;
    equal("the next epoch", &new.epoch, &(old.epoch + 1))?;
    let secrets = &w.stores.secrets;
    refused("the old holder", secrets.put(&ctx, &path, sealed(2), Some(old)).await, Fenced)?;
    for pretended in [SecretLease { epoch: new.epoch, ..old }, SecretLease { epoch: old.epoch, ..new }] {
        refused("half of the lease", secrets.put(&ctx, &path, sealed(2), Some(pretended)).await, Fenced)?;
    }
    equal("the value", &secrets.get(&ctx, &path).await?, &sealed(1))?;
    refused("another version", secrets.put(&ctx, &path, sealed(3), Some(new)).await, Conflict)?;
    equal("the holder", &is_held(&w, &ctx, &path).await?, &true)?;
    secrets.put(&ctx, &path, sealed(2), Some(new)).await?;
    // Whose lease is over is told so, whatever the version.
    refused("the old holder", secrets.put(&ctx, &path, sealed(2), Some(old)).await, Fenced)?;
    equal("the new value", &secrets.get(&ctx, &path).await?, &sealed(2))
}

async fn a_lease_outlives_its_term_until_somebody_takes_it(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let lease = lease(&w, &ctx, &path, w.env.id(), BRIEF).await?;
    w.pass(1);
    w.stores.secrets.put(&ctx, &path, sealed(2), Some(lease)).await?;
    equal("the value", &w.stores.secrets.get(&ctx, &path).await?, &sealed(2))
}

async fn a_value_that_comes_with_the_lease_ends_it(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    let first = lease(&w, &ctx, &path, one, TERM).await?;
    w.stores.secrets.put(&ctx, &path, sealed(2), Some(first)).await?;
    let again = w.stores.secrets.put(&ctx, &path, sealed(3), Some(first)).await;
    refused("the lease once more", again, Fenced)?;
    let next = lease(&w, &ctx, &path, two, TERM).await?;
    holds("a higher epoch", next.epoch > first.epoch)?;
    w.stores.secrets.put(&ctx, &path, sealed(3), Some(next)).await?;
    let third = lease(&w, &ctx, &path, one, TERM).await?;
    holds("a higher epoch for who had it before", third.epoch > next.epoch)
}

async fn a_value_without_a_lease_leaves_it(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let lease = lease(&w, &ctx, &path, w.env.id(), TERM).await?;
    w.stores.secrets.put(&ctx, &path, sealed(2), None).await?;
    equal("the holder", &is_held(&w, &ctx, &path).await?, &true)?;
    // What the holder has read is not the newest any more.
    let late = w.stores.secrets.put(&ctx, &path, sealed(2), Some(lease)).await;
    refused("the holder's value", late, Conflict)?;
    w.stores.secrets.put(&ctx, &path, sealed(3), Some(lease)).await?;
    equal("the holder afterwards", &is_held(&w, &ctx, &path).await?, &false)
}

async fn a_term_of_zero_gives_the_lease_back(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    let first = lease(&w, &ctx, &path, one, TERM).await?;
    // Who gives back what is not theirs changes nothing.
    let other = w.stores.secrets.lease(&ctx, &path, two, Duration::ZERO).await?;
    holds("somebody else's", matches!(other, Leased::Held(_)))?;
    equal("the holder keeps it", &lease(&w, &ctx, &path, one, TERM).await?, &first)?;
    lease(&w, &ctx, &path, one, Duration::ZERO).await?;
    lease(&w, &ctx, &path, one, Duration::ZERO).await?;
    let given_back = w.stores.secrets.put(&ctx, &path, sealed(2), Some(first)).await;
    refused("a lease that was given back", given_back, Fenced)?;
    let second = lease(&w, &ctx, &path, two, BRIEF).await?;
    equal("the next epoch", &second.epoch, &(first.epoch + 1))?;
    w.pass(1);
    lease(&w, &ctx, &path, one, Duration::ZERO).await?;
    w.stores.secrets.put(&ctx, &path, sealed(2), Some(second)).await?;
    Ok(())
}

async fn a_deleted_secret_is_gone(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let (secrets, kept) = (&w.stores.secrets, super::secrets::path("integrations/one/more")?);
    secrets.put(&ctx, &kept, sealed(1), None).await?;
    let old = lease(&w, &ctx, &path, w.env.id(), TERM).await?;
    secrets.delete(&ctx, &path).await?;
    secrets.delete(&ctx, &path).await?;
    refused("get", secrets.get(&ctx, &path).await, NotFound)?;
    refused("lease", secrets.lease(&ctx, &path, old.holder, TERM).await, NotFound)?;
    refused("the next value", secrets.put(&ctx, &path, sealed(2), None).await, Conflict)?;
    for version in [1, 2] {
        refused("under the lease", secrets.put(&ctx, &path, sealed(version), Some(old)).await, Fenced)?;
    }
    equal("another one", &secrets.get(&ctx, &kept).await?, &sealed(1))?;
    secrets.put(&ctx, &path, sealed(1), None).await?;
    equal("the lease is nobody's", &is_held(&w, &ctx, &path).await?, &false)
}

async fn tenants_have_secrets_of_their_own(w: World) -> Outcome {
    let ((ctx, path), foreign) = (secret(&w).await?, w.tenant().await?);
    let secrets = &w.stores.secrets;
    refused("get", secrets.get(&foreign, &path).await, NotFound)?;
    refused("lease", secrets.lease(&foreign, &path, w.env.id(), TERM).await, NotFound)?;
    refused("the next value", secrets.put(&foreign, &path, sealed(2), None).await, Conflict)?;
    let ours = lease(&w, &ctx, &path, w.env.id(), TERM).await?;
    let other = Sealed { bytes: b"another".to_vec(), version: 1 };
    secrets.put(&foreign, &path, other.clone(), None).await?;
    let theirs = secrets.put(&foreign, &path, sealed(2), Some(ours)).await;
    refused("the lease of another tenant", theirs, Fenced)?;
    equal("theirs", &secrets.get(&foreign, &path).await?, &other)?;
    secrets.delete(&foreign, &path).await?;
    equal("ours", &secrets.get(&ctx, &path).await?, &sealed(1))?;
    secrets.put(&ctx, &path, sealed(2), Some(ours)).await?;
    Ok(())
}

async fn a_suspended_tenant_ends_only_what_was_begun(w: World) -> Outcome {
    let (ctx, path) = secret(&w).await?;
    let secrets = &w.stores.secrets;
    let begun = lease(&w, &ctx, &path, w.env.id(), TERM).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let new = super::secrets::path("new")?;
    refused("a new one", secrets.put(&ctx, &new, sealed(1), None).await, TenantSuspended)?;
    refused("another version", secrets.put(&ctx, &path, sealed(7), None).await, TenantSuspended)?;
    refused("delete", secrets.delete(&ctx, &path).await, TenantSuspended)?;
    refused("lease", secrets.lease(&ctx, &path, begun.holder, TERM).await, TenantSuspended)?;
    equal("get", &secrets.get(&ctx, &path).await?, &sealed(1))?;
    secrets.put(&ctx, &path, sealed(2), Some(begun)).await?;
    equal("what was begun", &secrets.get(&ctx, &path).await?, &sealed(2))?;
    w.set_state(ctx.tenant(), TenantState::Deleted).await?;
    for lease in [None, Some(begun)] {
        let call = secrets.put(&ctx, &path, sealed(1), lease).await;
        refused("a deleted tenant", call, NotFound)?;
    }
    refused("delete", secrets.delete(&ctx, &path).await, NotFound)?;
    refused("lease", secrets.lease(&ctx, &path, begun.holder, TERM).await, NotFound)?;
    Ok(())
}
