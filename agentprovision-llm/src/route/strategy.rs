//! The strategies: pure functions over candidates.

use sha2::{Digest, Sha256};

use super::config::Strategy;
use super::decision::{Candidate, RouteRequest};

/// Targets expected within this much of the fastest count as equally fast.
const BAND: f64 = 1.2;

/// Repeatable pseudo-random numbers of one request (SplitMix64).
struct Draws(u64);

impl Draws {
    /// The next number, from 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A key that sorts candidates by weighted chance (Efraimidis and Spirakis, 2006): the largest comes first with a
/// probability in proportion to its weight.
fn chance(draw: f64, weight: u32) -> f64 {
    if weight == 0 { -1.0 } else { draw.max(f64::MIN_POSITIVE).powf(1.0 / f64::from(weight)) }
}

/// A number from 0 up to 1 that depends on a key and a target alone (rendezvous hashing).
fn rendezvous(key: &str, target: &str) -> f64 {
    let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(target).finalize();
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    (u64::from_be_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Puts the candidates of one group in order and gives each its score. Qualities that are within `tolerance` of the best
/// count as alike.
pub(crate) fn rank(strategy: Strategy, request: &RouteRequest, tolerance: u32, candidates: &mut [Candidate]) {
    let finest = candidates.iter().map(|candidate| candidate.quality).max().unwrap_or(0);
    let mut draws = Draws(request.seed);
    let best = |value: fn(&Candidate) -> Option<f64>, all: &[Candidate]| {
        all.iter().filter_map(value).min_by(f64::total_cmp)
    };
    let fastest = best(|candidate| candidate.expected_ms, candidates);
    let cost = |candidate: &Candidate| candidate.cost.map(|cost| cost.nanos() as f64);
    let cheapest = best(cost, candidates);
    // How near to the best of all, 0 to 1: the best may be 0 itself.
    let near = |value: f64, best: Option<f64>| best.map_or(1.0, |best| (best + 1.0) / (value + 1.0));
    for (position, candidate) in candidates.iter_mut().enumerate() {
        let draw = draws.next();
        let speed = candidate.expected_ms.map(|expected| near(expected, fastest));
        let score = match strategy {
            Strategy::Ordered => -(position as f64),
            // Whoever is nearly as fast as the fastest, and whoever was never tried, has its chance.
            Strategy::Performance => match speed {
                Some(speed) if speed < 1.0 / BAND => speed,
                _ => 1.0 + chance(draw, candidate.weight),
            },
            Strategy::Cost => cost(candidate).map_or(f64::MIN, |cost| -cost),
            Strategy::Balanced => {
                let price = cost(candidate).map_or(0.0, |cost| near(cost, cheapest));
                let quality = f64::from(candidate.quality) / 1000.0;
                (price + speed.unwrap_or(0.75) + (1.0 - candidate.failing) + quality) / 4.0
            }
            Strategy::Quality if candidate.quality.saturating_add(tolerance) >= finest => f64::from(finest),
            Strategy::Quality => f64::from(candidate.quality),
            Strategy::Weighted => chance(draw, candidate.weight),
            Strategy::Sticky => match &request.affinity {
                Some(key) => chance(rendezvous(key, &candidate.target), candidate.weight),
                None => chance(draw, candidate.weight),
            },
        };
        candidate.score = Some(score);
    }
    // Cost already counts what a warm cache saves, and an order that was asked for is kept.
    let warmth = matches!(strategy, Strategy::Performance | Strategy::Balanced | Strategy::Weighted);
    let warm = |candidate: &Candidate| warmth && candidate.warm && candidate.failing < 0.5;
    candidates.sort_by(|a, b| {
        let score = |candidate: &Candidate| candidate.score.unwrap_or(f64::MIN);
        (b.custom.cmp(&a.custom)).then(warm(b).cmp(&warm(a))).then(score(b).total_cmp(&score(a))).then_with(
            || match strategy {
                Strategy::Quality => a.cost.is_none().cmp(&b.cost.is_none()).then(a.cost.cmp(&b.cost)),
                Strategy::Cost => b.quality.cmp(&a.quality),
                _ => std::cmp::Ordering::Equal,
            },
        )
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agentprovision_core::Env;
    use agentprovision_core::money::NanoUsd;

    use super::*;

    fn request(seed: u64, affinity: Option<&str>) -> RouteRequest {
        RouteRequest {
            model: "m".into(),
            tenant: Env::default().id(),
            tags: BTreeMap::new(),
            affinity: affinity.map(str::to_owned),
            input_tokens: 100,
            output_tokens: 100,
            seed,
        }
    }

    fn candidate(target: &str, cost: Option<i64>, expected_ms: Option<f64>, quality: u32) -> Candidate {
        Candidate {
            target: target.into(),
            provider: "p".into(),
            custom: false,
            group: 0,
            weight: 1,
            warm: false,
            cost: cost.map(NanoUsd::from_nanos),
            expected_ms,
            failing: 0.0,
            quality,
            blocked: None,
            score: None,
        }
    }

    fn ranked(strategy: Strategy, seed: u64, affinity: Option<&str>, mut all: Vec<Candidate>) -> Vec<String> {
        rank(strategy, &request(seed, affinity), 10, &mut all);
        assert!(all.iter().all(|candidate| candidate.score.is_some()));
        all.into_iter().map(|candidate| candidate.target).collect()
    }

    fn three() -> Vec<Candidate> {
        vec![
            candidate("dear", Some(900), Some(100.0), 900),
            candidate("cheap", Some(100), Some(900.0), 300),
            candidate("unpriced", None, Some(500.0), 500),
        ]
    }

    #[test]
    fn each_strategy_prefers_what_it_is_named_after() {
        for (strategy, order) in [
            (Strategy::Ordered, ["dear", "cheap", "unpriced"]),
            (Strategy::Performance, ["dear", "unpriced", "cheap"]),
            (Strategy::Cost, ["cheap", "dear", "unpriced"]),
            (Strategy::Quality, ["dear", "unpriced", "cheap"]),
            (Strategy::Balanced, ["dear", "cheap", "unpriced"]),
        ] {
            assert_eq!(ranked(strategy, 1, None, three()), order, "{strategy:?}");
        }
        // Of two of one quality the cheaper one, and what is known before what is not.
        let alike = vec![
            candidate("a", None, None, 5),
            candidate("b", Some(9), None, 5),
            candidate("c", Some(3), None, 5),
        ];
        assert_eq!(ranked(Strategy::Quality, 1, None, alike), ["c", "b", "a"]);
        // What is a little worse counts as alike, and no more than that.
        let near = vec![
            candidate("best", Some(9), None, 900),
            candidate("near", Some(3), None, 890),
            candidate("far", Some(1), None, 889),
        ];
        assert_eq!(ranked(Strategy::Quality, 1, None, near), ["near", "best", "far"]);
    }

    #[test]
    fn a_custom_model_goes_first_whatever_the_strategy() {
        for strategy in Strategy::ALL {
            let mut all = three();
            all[2].custom = true;
            assert_eq!(ranked(*strategy, 7, Some("k"), all)[0], "unpriced", "{strategy:?}");
        }
    }

    #[test]
    fn weights_are_kept_over_many_requests() {
        let mut first = [0_u32; 3];
        for seed in 0..6000 {
            let mut all = three();
            (all[0].weight, all[1].weight, all[2].weight) = (3, 1, 0);
            let order = ranked(Strategy::Weighted, seed * 7919, None, all);
            assert_eq!(order[2], "unpriced", "what weighs nothing comes last");
            let at = three().iter().position(|candidate| candidate.target == order[0]).unwrap();
            first[at] += 1;
        }
        assert!((4300..4700).contains(&first[0]), "{first:?}");
    }

    /// Pitfall 26: no samples are no error, and no stampede either.
    #[test]
    fn a_target_that_was_never_tried_has_its_chance() {
        let mut first = 0;
        for seed in 0..1000 {
            let all = vec![candidate("known", None, Some(100.0), 5), candidate("new", None, None, 5)];
            first += u32::from(ranked(Strategy::Performance, seed * 7919, None, all)[0] == "new");
        }
        assert!((400..600).contains(&first), "{first}");
    }

    /// Pitfall 33: a warm prompt cache is used until its target is unwell.
    #[test]
    fn requests_with_one_key_stay_where_their_cache_is() {
        for n in 0..50 {
            let key = format!("session {n}");
            let here = ranked(Strategy::Sticky, n, Some(&key), three());
            let there = ranked(Strategy::Sticky, n + 1000, Some(&key), three());
            assert_eq!(here, there);
            // A target that goes away moves only its own keys.
            let mut fewer = three();
            fewer.retain(|candidate| candidate.target != here[2]);
            assert_eq!(ranked(Strategy::Sticky, 3, Some(&key), fewer)[..], here[..2]);
        }
        for strategy in [Strategy::Performance, Strategy::Balanced, Strategy::Weighted] {
            let mut all = three();
            all[1].warm = true;
            assert_eq!(ranked(strategy, 5, Some("k"), all.clone())[0], "cheap", "{strategy:?}");
            all[1].failing = 0.9;
            (all[1].expected_ms, all[1].weight) = (Some(5000.0), 0);
            assert_ne!(ranked(strategy, 5, Some("k"), all)[0], "cheap", "{strategy:?}");
        }
    }

    #[test]
    fn equal_requests_are_ranked_alike() {
        for strategy in Strategy::ALL {
            let once = ranked(*strategy, 42, None, three());
            assert_eq!(once, ranked(*strategy, 42, None, three()));
        }
    }
}
