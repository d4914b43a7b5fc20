//! The trials of [`MaintenanceStore`](crate::maintenance::MaintenanceStore).

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal};
use super::world::World;
use crate::effect::Effects;
use crate::id::WorkerId;
use crate::maintenance::Duty;

super::suite! { "MaintenanceStore":
    one_worker_at_a_time_has_a_duty,
    a_duty_that_is_given_back_is_free_at_once,
    of_many_at_once_one_gets_it,
    what_waits_is_put_into_its_log,
}

/// Long enough for a slow machine.
const TERM: Duration = Duration::from_secs(600);

async fn hold(w: &World, duty: Duty, worker: WorkerId) -> Checked<bool> {
    Ok(w.stores.maintenance.hold(duty, worker, TERM).await?)
}

async fn one_worker_at_a_time_has_a_duty(w: World) -> Outcome {
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    equal("the first", &hold(&w, Duty::Relay, one).await?, &true)?;
    equal("the second", &hold(&w, Duty::Relay, two).await?, &false)?;
    equal("the first keeps it", &hold(&w, Duty::Relay, one).await?, &true)?;
    equal("another duty", &hold(&w, Duty::Sequencer, two).await?, &true)?;
    // A term of nothing is over when the next one asks.
    equal("its end", &w.stores.maintenance.hold(Duty::Relay, one, Duration::ZERO).await?, &true)?;
    w.pass(1);
    equal("the second afterwards", &hold(&w, Duty::Relay, two).await?, &true)?;
    equal("the first afterwards", &hold(&w, Duty::Relay, one).await?, &false)
}

async fn a_duty_that_is_given_back_is_free_at_once(w: World) -> Outcome {
    let (one, two): (WorkerId, WorkerId) = (w.env.id(), w.env.id());
    equal("the first", &hold(&w, Duty::Relay, one).await?, &true)?;
    w.stores.maintenance.give_back(Duty::Relay, two).await?;
    equal("given back by another", &hold(&w, Duty::Relay, two).await?, &false)?;
    w.stores.maintenance.give_back(Duty::Relay, one).await?;
    w.stores.maintenance.give_back(Duty::Relay, one).await?;
    equal("given back", &hold(&w, Duty::Relay, two).await?, &true)
}

async fn of_many_at_once_one_gets_it(w: World) -> Outcome {
    for _ in 0..10 {
        let workers: Vec<WorkerId> = (0..8).map(|_| w.env.id()).collect();
        let held = join_all(workers.iter().map(|worker| hold(&w, Duty::Relay, *worker))).await;
        let held: Vec<bool> = held.into_iter().collect::<Checked<_>>()?;
        equal("how many have it", &held.iter().filter(|held| **held).count(), &1)?;
        for worker in workers {
            w.stores.maintenance.give_back(Duty::Relay, worker).await?;
        }
    }
    Ok(())
}

async fn what_waits_is_put_into_its_log(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    for ctx in [&one, &two, &one] {
        let user = w.new_user(&format!("{}@trial.example", w.mark()));
        w.stores.users.insert(ctx, user, Effects { audit: vec![w.record(ctx)], ..Effects::none() }).await?;
    }
    w.stores.maintenance.sequence().await?;
    equal("what waits", &w.stores.maintenance.unsequenced().await?, &false)?;
    equal("the first log", &w.stores.audit.checkpoint(&one).await?.size, &2)?;
    equal("the second log", &w.stores.audit.checkpoint(&two).await?.size, &1)
}
