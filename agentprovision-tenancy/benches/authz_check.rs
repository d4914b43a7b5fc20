//! What a permission check costs: with a context at hand, and by the user's current grants; against one lookup in a
//! `HashMap` with the standard hasher. The measurements take turns, and the ratios are medians over rounds, so that a
//! busy machine changes the figures but not the ratios.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark prints, and stops at a surprise"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentprovision_core::access::Access;
use agentprovision_core::authz::{Authorizer, Permission, PermissionSet, Resource};
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::identity::Role;
use agentprovision_core::{Context, Env};
use agentprovision_tenancy::rbac::{RbacAuthorizer, Roles};
use criterion::Criterion;
use futures_util::FutureExt;

const USERS: usize = 1024;
const ROUNDS: usize = 41;
const CHECKS: usize = 100_000;

/// Users of ten tenants, known to the authorizer, each with a context; the same grants in a plain map.
struct World {
    authorizer: Arc<RbacAuthorizer>,
    access: Access,
    contexts: Vec<Context>,
    map: HashMap<(TenantId, UserId), PermissionSet>,
}

fn world() -> World {
    let env = Env::default();
    let roles = Arc::new(Roles::default());
    let authorizer = Arc::new(RbacAuthorizer::new(roles.clone()));
    let issuer = ContextIssuer::new(env.clone());
    let tenants: Vec<TenantId> = (0..10).map(|_| env.id()).collect();
    let grants = roles.grants(&[Role::AGENT_MANAGER]);
    let mut map = HashMap::new();
    let contexts = (0..USERS).zip(tenants.iter().cycle()).map(|(_, tenant)| {
        let user: UserId = env.id();
        authorizer.set_grants(*tenant, user, grants, 1);
        map.insert((*tenant, user), grants);
        let identity = Identity {
            tenant: *tenant,
            principal: Principal::User(user),
            scopes: PermissionSet::ALL,
            expires: None,
            key: None,
        };
        // The context is from before the user lost a role.
        let before = grants.union(&BY_LOOKUP.into_iter().collect());
        issuer.context(&identity, &before, RequestInfo::default())
    });
    let contexts = contexts.collect();
    World { access: Access::new(issuer, authorizer.clone()), authorizer, contexts, map }
}

/// Every other check is denied: the one by the context's grants, the other by the current ones, so that none is spared
/// the lookup.
const BY_CONTEXT: [Permission; 2] = [Permission::AGENTS_RUN, Permission::AUDIT_READ];
const BY_LOOKUP: [Permission; 2] = [Permission::AGENTS_RUN, Permission::USERS_DELETE];

impl World {
    fn reference(&self, ctx: &Context, permission: Permission) -> bool {
        let key = (ctx.tenant(), ctx.principal().user());
        self.map.get(black_box(&key)).is_some_and(|grants| grants.contains(permission))
    }

    fn by_context(&self, ctx: &Context, permission: Permission) -> bool {
        ctx.grants().contains(permission)
    }

    fn by_lookup(&self, ctx: &Context, permission: Permission) -> bool {
        self.authorizer.allows(ctx, permission).unwrap_or(false)
    }

    /// As a service does it: the check of the issuer and a future per decision, allowed ones only.
    fn at_the_door(&self, ctx: &Context) -> bool {
        let check = self.access.check(ctx, Permission::AGENTS_RUN, Resource::all("agents"));
        check.now_or_never().is_some_and(|result| result.is_ok())
    }
}

/// Nanoseconds per call.
fn time(world: &World, asked: [Permission; 2], check: impl Fn(&World, &Context, Permission) -> bool) -> f64 {
    let mut allowed = 0usize;
    let start = Instant::now();
    for (n, ctx) in (0..CHECKS).zip(world.contexts.iter().cycle()) {
        let permission = if n & 1 == 0 { asked[0] } else { asked[1] };
        allowed += usize::from(black_box(check(black_box(world), black_box(ctx), black_box(permission))));
    }
    let nanos = start.elapsed().as_nanos() as f64 / CHECKS as f64;
    assert_eq!(allowed, CHECKS / 2, "a check decides wrongly");
    nanos
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let world = world();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("authz");
    let ctx = &world.contexts[0];
    group.bench_function("hash_map_lookup", |b| b.iter(|| world.reference(black_box(ctx), BY_LOOKUP[0])));
    group.bench_function("context", |b| b.iter(|| world.by_context(black_box(ctx), black_box(BY_LOOKUP[0]))));
    group.bench_function("lookup_allow", |b| {
        b.iter(|| world.by_lookup(black_box(ctx), black_box(BY_LOOKUP[0])))
    });
    group.bench_function("lookup_deny", |b| {
        b.iter(|| world.by_lookup(black_box(ctx), black_box(BY_LOOKUP[1])))
    });
    group.bench_function("decide", |b| {
        let authorizer: Arc<dyn Authorizer> = world.authorizer.clone();
        let resource = Resource::all("agents");
        b.iter(|| authorizer.decide(black_box(ctx), BY_LOOKUP[0], &resource).now_or_never().is_some());
    });
    group.bench_function("access_check", |b| b.iter(|| world.at_the_door(black_box(ctx))));
    group.finish();

    let mut rounds = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rounds.0.push(time(&world, BY_LOOKUP, World::reference));
        rounds.1.push(time(&world, BY_CONTEXT, World::by_context));
        rounds.2.push(time(&world, BY_LOOKUP, World::by_lookup));
    }
    let ratio =
        |ours: &[f64]| median(ours.iter().zip(&rounds.0).map(|(ours, reference)| ours / reference).collect());
    let (context, lookup) = (ratio(&rounds.1), ratio(&rounds.2));
    println!(
        "over {USERS} users of 10 tenants, {CHECKS} checks in each of {ROUNDS} rounds, half of them denied:"
    );
    println!("reference {:.1} ns, one lookup in a HashMap", median(rounds.0.clone()));
    println!("context   {:.1} ns, the grants in the context", median(rounds.1));
    println!(
        "lookup    {:.1} ns, the whole decision: tenant, key, context and current grants",
        median(rounds.2)
    );
    println!("ratio authz_context {context:.3}");
    println!("ratio authz_lookup {lookup:.3}");
}
