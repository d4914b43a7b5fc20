//! The budgets' invariant and edges.

use super::*;

#[tokio::test]
async fn budgets_keep_their_invariant_under_random_operations() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    let keys = [Dimension::Steps, Dimension::Cost].map(|dimension| BudgetKey::new("a", dimension));
    let pick = |below: u64| u64::from_le_bytes(env.random()) % below;
    let amount = |below: u64| i64::try_from(pick(below)).unwrap();
    let demand = |below: u64| -> Vec<(BudgetKey, i64)> {
        (0..pick(4)).map(|_| (keys[usize::from(pick(2) == 0)].clone(), amount(below))).collect()
    };
    let mut held: Vec<Reservation> = Vec::new();
    let (mut admitted, mut exceeded, mut overruns) = (0, 0, 0);
    for _ in 0..20_000 {
        let before = [world.budget(&keys[0]).await, world.budget(&keys[1]).await];
        match pick(10) {
            0 => {
                let cap = (pick(4) > 0).then(|| amount(400));
                stores.quota.define(ctx, &keys[usize::from(pick(2) == 0)], cap).await.unwrap();
            }
            1..6 => match stores.quota.reserve(ctx, env.id(), demand(40)).await {
                Ok(reservation) => {
                    admitted += 1;
                    held.push(reservation);
                    for (key, before) in keys.iter().zip(before) {
                        let after = world.budget(key).await;
                        assert_eq!(after.map(|state| state.cap), before.map(|state| state.cap));
                        let grown =
                            after.filter(|after| Some(after.reserved) > before.map(|state| state.reserved));
                        assert!(grown.is_none_or(|state| state.spent + state.reserved <= state.cap));
                    }
                }
                Err(error) => {
                    exceeded += 1;
                    assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
                    assert_eq!([world.budget(&keys[0]).await, world.budget(&keys[1]).await], before);
                }
            },
            _ if !held.is_empty() => {
                let settled = held.swap_remove(usize::try_from(pick(held.len() as u64)).unwrap());
                stores.quota.settle(ctx, settled.clone(), demand(60)).await.unwrap();
                let once = [world.budget(&keys[0]).await, world.budget(&keys[1]).await];
                stores.quota.settle(ctx, settled, vec![(keys[0].clone(), 5)]).await.unwrap();
                assert_eq!([world.budget(&keys[0]).await, world.budget(&keys[1]).await], once);
            }
            _ => {}
        }
        for key in &keys {
            let Some(state) = world.budget(key).await else { continue };
            let BudgetState { cap, spent, reserved, overrun } = state;
            assert!(spent + reserved <= cap + overrun, "{state:?}");
            let demands = held.iter().flat_map(|reservation| &reservation.demand);
            let sum: i64 = demands.filter(|(held, _)| held == key).map(|(_, amount)| amount).sum();
            assert_eq!(reserved, sum);
            overruns += usize::from(overrun > 0);
        }
    }
    assert!(admitted > 1000 && exceeded > 1000 && overruns > 1000, "{admitted} {exceeded} {overruns}");
}

#[tokio::test]
async fn budgets_end_at_their_edges() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    let key = BudgetKey::new("a", Dimension::Tokens);
    let demand = |amount| vec![(key.clone(), amount)];
    let state = |cap, spent, reserved, overrun| Some(BudgetState { cap, spent, reserved, overrun });

    // Without a limit there is room for anything; a limit that comes later counts what is held.
    let first = stores.quota.reserve(ctx, env.id(), demand(i64::MAX)).await.unwrap();
    assert_eq!(world.budget(&key).await, None);
    stores.quota.define(ctx, &key, Some(10)).await.unwrap();
    assert_eq!(world.budget(&key).await, state(i64::MAX, 0, i64::MAX, 0));
    stores.quota.settle(ctx, first, demand(12)).await.unwrap();
    stores.quota.define(ctx, &key, Some(10)).await.unwrap();
    assert_eq!(world.budget(&key).await, state(12, 12, 0, 0));
    stores.quota.define(ctx, &key, Some(20)).await.unwrap();

    let second = stores.quota.reserve(ctx, env.id(), demand(8)).await.unwrap();
    stores.quota.reserve(ctx, second.id, demand(8)).await.unwrap();
    refused(stores.quota.reserve(ctx, env.id(), demand(1)).await, ErrorKind::BudgetExceeded);
    stores.quota.settle(ctx, second, demand(11)).await.unwrap();
    assert_eq!(world.budget(&key).await, state(20, 23, 0, 3));
    refused(stores.quota.reserve(ctx, env.id(), demand(1)).await, ErrorKind::BudgetExceeded);
    stores.quota.define(ctx, &key, Some(i64::MIN)).await.unwrap();
    assert_eq!(world.budget(&key).await, state(20, 23, 0, 3));

    refused(stores.quota.reserve(ctx, env.id(), demand(-1)).await, ErrorKind::InvalidInput);
    stores.quota.define(ctx, &key, None).await.unwrap();
    assert_eq!(world.budget(&key).await, None);
}
