//! Where the hash puts tenants.

use std::collections::BTreeMap;

use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Timestamp};
use agentprovision_tenancy::placement::{Placement, PlacementState, Shard, plan, rendezvous};

const EQUAL: &[(&str, f64)] = &[("eu-1", 1.0), ("eu-2", 1.0), ("us-1", 1.0)];
const WEIGHTED: &[(&str, f64)] = &[("eu-1", 1.0), ("eu-2", 2.5), ("us-1", 0.25), ("ap-1", 7.0)];

/// A tenant, its shard among the equal ones and among the weighted ones, as another program computed them from the
/// definition.
const VECTORS: &[(&str, &str, &str)] = &[
    ("7dd826f3-18f1-02f1-735c-a11bd40080ae", "eu-2", "eu-2"),
    ("d6050d51-0433-eb02-5494-4aab43a79c27", "eu-1", "ap-1"),
    ("4785c39f-2f7b-0188-9dd7-8bd368969c89", "eu-1", "ap-1"),
    ("463cc3f0-c3c7-061c-c6d8-8f7466511599", "eu-1", "eu-2"),
    ("b2e6fdd6-7a31-d653-7cae-c7c2ded40264", "eu-2", "ap-1"),
    ("6a120fe7-2b09-733b-d726-cff331e454cf", "eu-2", "ap-1"),
    ("15d9ee56-3ea0-8193-7bf0-df2596951e14", "us-1", "ap-1"),
    ("cfce5f78-76e2-993f-b587-6747f2cb945f", "eu-1", "ap-1"),
    ("ca48572b-fe76-3597-be1f-4aa47d6930b5", "eu-2", "eu-2"),
    ("29b12dcf-f58f-494d-aa33-ed8e811bcecd", "us-1", "ap-1"),
    ("45a2e27f-ce75-ebe6-3100-c752051e1512", "eu-2", "ap-1"),
    ("f3d14103-1715-cd5a-7ba3-37946ae88acd", "us-1", "eu-2"),
    ("3fc35580-4a6f-66bc-c441-c6ea81f763de", "eu-2", "ap-1"),
    ("277d5db3-bad4-72d2-8a2f-ef08ed6a8bdb", "us-1", "ap-1"),
    ("ee6a47b2-3f5a-75cf-26b2-f130f8691202", "eu-1", "ap-1"),
    ("d5e3f6aa-a9ea-26d7-24da-a966c34bea82", "eu-2", "ap-1"),
    ("ef3c4d6f-72ab-0851-fe1b-acbe541b6ee0", "eu-2", "eu-2"),
    ("6205d932-df01-c318-9d0d-e3b0e2f9c507", "us-1", "ap-1"),
    ("e2a573c9-ab76-ccc6-6769-4334cacb1fda", "eu-1", "eu-1"),
    ("79c0a132-a213-05e0-1515-dd6fe4d196f3", "eu-1", "eu-1"),
    ("baf5fd22-1bbf-37be-b541-cab97da2d394", "eu-2", "ap-1"),
    ("6f723138-d875-734d-7254-4fd6dd6598f5", "eu-1", "eu-1"),
    ("6f61f125-fd9f-7503-6488-b60dda93d0e9", "eu-2", "ap-1"),
    ("33b4def6-f37d-5dfb-6ee4-26183940d6b5", "eu-2", "ap-1"),
];

fn pick(tenant: TenantId, shards: &[(&'static str, f64)]) -> &'static str {
    shards[rendezvous(tenant, shards.iter().copied()).unwrap()].0
}

fn tenants(count: usize) -> Vec<TenantId> {
    let env = Env::default();
    (0..count).map(|_| env.id()).collect()
}

#[test]
fn the_hash_is_the_one_that_is_documented() {
    for (tenant, equal, weighted) in VECTORS {
        let tenant = tenant.parse().unwrap();
        assert_eq!((pick(tenant, EQUAL), pick(tenant, WEIGHTED)), (*equal, *weighted), "{tenant}");
        let mut turned = WEIGHTED.to_vec();
        turned.reverse();
        assert_eq!(pick(tenant, &turned), *weighted, "the order does not matter");
    }
    assert_eq!(rendezvous(tenants(1)[0], []), None);
}

#[test]
fn shards_get_tenants_in_proportion_to_their_weights() {
    const COUNT: usize = 40_000;
    let mut got: BTreeMap<&str, usize> = BTreeMap::new();
    for tenant in tenants(COUNT) {
        *got.entry(pick(tenant, WEIGHTED)).or_default() += 1;
    }
    let all: f64 = WEIGHTED.iter().map(|(_, weight)| weight).sum();
    for (name, weight) in WEIGHTED {
        let share = weight / all;
        let (expected, deviation) = (COUNT as f64 * share, (COUNT as f64 * share * (1.0 - share)).sqrt());
        let found = got[name] as f64;
        // Five standard deviations: once in two million runs.
        assert!((found - expected).abs() < 5.0 * deviation, "{name}: {found} of {expected} ± {deviation}");
    }
}

#[test]
fn another_shard_or_weight_moves_only_who_has_to() {
    const COUNT: usize = 20_000;
    let more = [EQUAL, &[("eu-3", 1.0)]].concat();
    let heavier: Vec<_> =
        EQUAL.iter().map(|(name, weight)| (*name, if *name == "us-1" { 3.0 } else { *weight })).collect();
    let (mut new, mut gained) = (0, 0);
    for tenant in tenants(COUNT) {
        let (before, after) = (pick(tenant, EQUAL), pick(tenant, &more));
        if before != after {
            assert_eq!(after, "eu-3", "nobody moves between shards that were there");
            new += 1;
        }
        let after = pick(tenant, &heavier);
        if before != after {
            assert_eq!(after, "us-1", "nobody moves but to the shard that got heavier");
            gained += 1;
        }
    }
    // A quarter; and from a third to three fifths.
    let near = |found: usize, share: f64| {
        let deviation = (COUNT as f64 * share * (1.0 - share)).sqrt();
        (found as f64 - COUNT as f64 * share).abs() < 5.0 * deviation
    };
    assert!(near(new, 0.25), "{new}");
    assert!(near(gained, 0.6 - 1.0 / 3.0), "{gained}");
}

fn placement(tenant: TenantId, shard: &str, region: Option<&str>) -> Placement {
    Placement {
        tenant_id: tenant,
        shard: shard.into(),
        state: PlacementState::Settled,
        other: None,
        region: region.map(str::to_owned),
        pin: None,
        epoch: 2,
        created_at: Timestamp::default(),
    }
}

#[test]
fn a_plan_keeps_regions_and_pins() {
    let shards = |names: &[(&str, &str)]| -> Vec<Shard> {
        names.iter().map(|(name, region)| Shard::new(*name, "sqlite://x").region(*region)).collect()
    };
    let before = shards(&[("a", "eu"), ("b", "eu"), ("c", "us")]);
    let after = shards(&[("a", "eu"), ("b", "eu"), ("c", "us"), ("d", "eu"), ("e", "us")]);
    let mut placements = Vec::new();
    for (place, tenant) in tenants(3000).into_iter().enumerate() {
        let region = [Some("eu"), Some("us"), None][place % 3];
        let eligible: Vec<_> =
            before.iter().filter(|shard| region.is_none() || shard.region.as_deref() == region).collect();
        let at = rendezvous(tenant, eligible.iter().map(|shard| (&*shard.name, shard.weight))).unwrap();
        placements.push(placement(tenant, &eligible[at].name, region));
    }
    assert_eq!(plan(&placements, &before), [], "nobody moves by itself");
    let steps = plan(&placements, &after);
    assert!((800..1400).contains(&steps.len()), "{}", steps.len());
    for step in &steps {
        let found = placements.iter().find(|placement| placement.tenant_id == step.tenant_id).unwrap();
        let to = after.iter().find(|shard| shard.name == step.to).unwrap();
        assert!(found.region.is_none() || found.region == to.region, "{step:?}");
        assert!(["d", "e"].contains(&&*step.to), "{step:?}");
    }
    // Pins come first, and stay; what is being moved is left alone, and so is a region without shards.
    let moving = Placement { state: PlacementState::Moving, ..placements[0].clone() };
    let mut pinned = placement(placements[1].tenant_id, "a", None);
    pinned.pin = Some("a".into());
    let mut elsewhere = pinned.clone();
    elsewhere.shard = "b".into();
    let nowhere = placement(placements[2].tenant_id, "a", Some("ap"));
    let steps = plan(&[moving, pinned, elsewhere, nowhere], &after);
    assert_eq!(steps.len(), 1);
    assert_eq!((&*steps[0].from, &*steps[0].to), ("b", "a"));
}
