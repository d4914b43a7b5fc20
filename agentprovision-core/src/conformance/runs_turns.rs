//! The trials of [`RunStore`](crate::run::RunStore) on whose runs are claimed: tenants are served in turn.

use super::check::{Checked, Outcome, equal};
use super::world::World;
use crate::id::{RunId, TenantId};
use crate::run::{ClaimRequest, Lease, Release};
use crate::tenant::TenantState;

super::suite! { "RunStore":
    a_tenant_with_a_lot_to_do_starves_nobody,
    tenants_get_their_second_run_after_everybodys_first,
    claims_go_on_behind_the_tenant_served_last,
    a_tenant_that_is_gone_keeps_its_place,
    one_tenant_gets_no_more_than_it_may,
    full_tenants_are_left_to_others,
    suspended_tenants_lose_their_turn_to_the_next,
    tenants_without_a_ready_run_are_passed_over,
}

/// A tenant with so many runs that are ready, the one for longest first.
async fn tenant(w: &World, runs: usize) -> Checked<(TenantId, Vec<Lease>)> {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut leases = Vec::new();
    for _ in 0..runs {
        leases.push(w.run(&ctx, &agent).await?);
    }
    // Not the order of their ids.
    leases.reverse();
    for lease in &leases {
        w.tick();
        w.release(lease, Release::Ready).await?;
    }
    Ok((ctx.tenant(), leases))
}

/// Tenants in the order of their ids, each with so many runs that are ready.
async fn tenants<const N: usize>(w: &World, runs: [usize; N]) -> Checked<Vec<(TenantId, Vec<RunId>)>> {
    let mut all = Vec::new();
    for count in runs {
        let (id, leases) = tenant(w, count).await?;
        all.push((id, leases.iter().map(|lease| lease.run.id).collect::<Vec<_>>()));
    }
    all.sort_unstable();
    Ok(all)
}

/// Claims, and gives the places of the tenants in `all`; checks that each tenant's runs come in their order.
async fn claim(w: &World, all: &mut [(TenantId, Vec<RunId>)], ask: ClaimRequest) -> Checked<Vec<usize>> {
    let mut places = Vec::new();
    for lease in w.stores.runs.claim(ask).await? {
        let place = all.iter().position(|(id, _)| *id == lease.fence.tenant);
        let place = super::check::some("a tenant of the trial", place)?;
        if let Some((_, runs)) = all.get_mut(place) {
            equal("the run that is ready for longest", &Some(lease.run.id), &runs.first().copied())?;
            runs.remove(0);
        }
        places.push(place);
    }
    Ok(places)
}

async fn a_tenant_with_a_lot_to_do_starves_nobody(w: World) -> Outcome {
    let (busy, _) = tenant(&w, 100).await?;
    let (late, runs) = tenant(&w, 1).await?;
    let claimed = w.claim(2).await?;
    let mut of: Vec<_> = claimed.iter().map(|lease| lease.fence.tenant).collect();
    of.sort_unstable();
    let mut both = vec![busy, late];
    both.sort_unstable();
    equal("one run of each", &of, &both)?;
    let its = claimed.iter().find(|lease| lease.fence.tenant == late).map(|lease| lease.run.id);
    equal("its run", &its, &runs.first().map(|lease| lease.run.id))?;
    equal("the rest", &w.claim(1000).await?.len(), &99)
}

async fn tenants_get_their_second_run_after_everybodys_first(w: World) -> Outcome {
    let mut all = tenants(&w, [2, 1, 3, 3]).await?;
    let claimed = claim(&w, &mut all, w.claims(100)).await?;
    equal("in rounds", &claimed, &vec![0, 1, 2, 3, 0, 2, 3, 2, 3])
}

async fn claims_go_on_behind_the_tenant_served_last(w: World) -> Outcome {
    let mut all = tenants(&w, [4, 4, 4, 4, 4]).await?;
    let mut after = None;
    let mut served = Vec::new();
    // Each claim takes fewer runs than there are tenants, and not always as many.
    for limit in [2, 2, 3, 1, 4, 3] {
        let claimed = claim(&w, &mut all, w.claims(limit).after(after)).await?;
        equal("claimed", &claimed.len(), &limit)?;
        after = claimed.last().and_then(|place| all.get(*place)).map(|(id, _)| *id);
        served.extend(claimed);
    }
    equal("in turn", &served, &(0..15).map(|turn| turn % 5).collect())?;
    let ask = w.claims(100).after(all.get(2).map(|(id, _)| *id));
    let claimed = claim(&w, &mut all, ask).await?;
    equal("the rest, from the fourth on", &claimed, &vec![3, 4, 0, 1, 2])
}

async fn a_tenant_that_is_gone_keeps_its_place(w: World) -> Outcome {
    let mut all = tenants(&w, [1]).await?;
    let between = w.env.id();
    all.extend(tenants(&w, [1]).await?);
    let first_behind = claim(&w, &mut all, w.claims(1).after(Some(between))).await?;
    equal("behind it", &first_behind, &vec![1])?;
    let wrapped = claim(&w, &mut all, w.claims(1).after(Some(w.env.id()))).await?;
    equal("behind the last one", &wrapped, &vec![0])
}

async fn one_tenant_gets_no_more_than_it_may(w: World) -> Outcome {
    let mut all = tenants(&w, [9, 1, 4]).await?;
    equal("none", &claim(&w, &mut all, w.claims(10).per_tenant(0)).await?, &vec![])?;
    equal("one each", &claim(&w, &mut all, w.claims(10).per_tenant(1)).await?, &vec![0, 1, 2])?;
    equal("two each", &claim(&w, &mut all, w.claims(10).per_tenant(2)).await?, &vec![0, 2, 0, 2])?;
    equal("the limit", &claim(&w, &mut all, w.claims(3).per_tenant(9)).await?, &vec![0, 2, 0])?;
    equal("the rest", &claim(&w, &mut all, w.claims(10)).await?, &vec![0, 0, 0, 0])
}

async fn full_tenants_are_left_to_others(w: World) -> Outcome {
    let mut all = tenants(&w, [2, 2, 2]).await?;
    let ids: Vec<_> = all.iter().map(|(id, _)| *id).collect();
    let without = |places: &[usize]| places.iter().filter_map(|place| ids.get(*place).copied()).collect();
    equal("nobody", &claim(&w, &mut all, w.claims(10).full(ids.clone())).await?, &vec![])?;
    // They stand before the one that is served, and take nothing of the limit.
    equal("the last", &claim(&w, &mut all, w.claims(1).full(without(&[0, 1]))).await?, &vec![2])?;
    let ask = w.claims(3).full(without(&[1])).after(ids.first().copied());
    equal("behind the first", &claim(&w, &mut all, ask).await?, &vec![2, 0, 0])?;
    let ask = w.claims(3).full(vec![w.env.id()]);
    equal("an unknown one", &claim(&w, &mut all, ask).await?, &vec![1, 1])
}

async fn suspended_tenants_lose_their_turn_to_the_next(w: World) -> Outcome {
    let mut all = tenants(&w, [2, 2, 2]).await?;
    let ids: Vec<_> = all.iter().map(|(id, _)| *id).collect();
    let second = super::check::some("a tenant", ids.get(1).copied())?;
    w.set_state(second, TenantState::Suspended).await?;
    let ask = w.claims(2).after(ids.first().copied());
    equal("while suspended", &claim(&w, &mut all, ask).await?, &vec![2, 0])?;
    w.set_state(second, TenantState::Active).await?;
    equal("after", &claim(&w, &mut all, w.claims(4)).await?, &vec![0, 1, 2, 1])
}

async fn tenants_without_a_ready_run_are_passed_over(w: World) -> Outcome {
    // Held, waiting for a signal, of a newer machine, and over: one tenant each, between two that are ready.
    let (first, _) = tenant(&w, 1).await?;
    for kind in 0..4 {
        let ctx = w.tenant().await?;
        let agent = w.agent(&ctx).await?;
        let mut run = w.new_run(&ctx, &agent);
        run.lease_until = w.after(3600);
        run.record.state_version = if kind == 2 { 9 } else { 1 };
        let lease = w.start(&ctx, run).await?;
        match kind {
            0 => {}
            1 => w.release(&lease, Release::UntilSignal).await?,
            2 => w.release(&lease, Release::Ready).await?,
            _ => w.finish(&lease, crate::run::RunStatus::Completed).await?,
        }
    }
    let (last, _) = tenant(&w, 1).await?;
    let ask = ClaimRequest::new(w.env.id(), w.after(60), 10, 8);
    let claimed = w.stores.runs.claim(ask).await?;
    equal("claimed", &claimed.iter().map(|lease| lease.fence.tenant).collect(), &vec![first, last])
}
