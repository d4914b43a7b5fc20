//! Models of the concurrent parts, each run under many schedules: reservations, rate limits and the probes of a breaker.
//!
//! The code under test is the library's own source, compiled here a second time with locks whose order the explorer
//! chooses. It is compiled a third time with locks that exclude nobody: each model must find that bug, or it could find
//! none.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::duplicate_mod,
    reason = "a test program over sources that are read for more than it uses"
)]

mod honest;
mod leaky;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Timestamp};
use agentprovision_llm::limit::{Amounts, Balance, Dimension, Limit, Scope, Window, Zone};
use libtest_mimic::{Arguments, Trial};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};

/// Schedules of each model.
const SCHEDULES: usize = 100_000;

const TTL: Duration = Duration::from_secs(60);

fn env() -> (Env, ManualClock) {
    let clock = ManualClock::new(Timestamp::default());
    (Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(7))), clock)
}

fn input(amount: u64) -> Amounts {
    Amounts { requests: 1, input_tokens: amount, ..Amounts::default() }
}

/// The same models over both compilations.
macro_rules! models {
    ($name:ident, $source:ident) => {
        mod $name {
            use super::*;
            use agentprovision_llm::limit::Ledger;
            use $source::bucket::{Buckets, Rate};
            use $source::health::{Health, HealthOptions, Verdict};
            use $source::memory::MemoryLedger;

            /// Three workers reserve in two budgets, settle twice, or leave what they hold to expire.
            pub fn reservation() {
                let (env, clock) = env();
                let tenant: TenantId = env.id();
                let limit = |scope, most| Limit {
                    scope,
                    dimension: Dimension::InputTokens,
                    window: Window::Day,
                    zone: Zone::UTC,
                    most,
                };
                let limits = Arc::new([limit(Scope::Tenant, 10), limit(Scope::User(env.id()), 9)]);
                let ledger = Arc::new(MemoryLedger::new(env));
                let used = Arc::new(AtomicU64::new(0));
                let workers: Vec<_> = (0..3_u64)
                    .map(|worker| {
                        let (ledger, limits, used) = (ledger.clone(), limits.clone(), used.clone());
                        let clock = clock.clone();
                        thread::spawn(move || {
                            let Ok(id) = ledger.reserve_now(tenant, limits.as_slice(), input(4), TTL) else {
                                return;
                            };
                            for limit in limits.iter() {
                                let Balance { spent, reserved } = ledger.balance_now(tenant, limit);
                                assert!(spent + reserved <= limit.most, "{spent} + {reserved}");
                            }
                            match worker {
                                0 => ledger.extend(id, TTL),
                                1 => clock.advance(Duration::from_secs(1)),
                                _ => {}
                            }
                            used.fetch_add(worker + 1, Ordering::SeqCst);
                            ledger.settle(id, input(worker + 1));
                            ledger.settle(id, input(worker + 1));
                        })
                    })
                    .collect();
                for worker in workers {
                    worker.join().unwrap();
                }
                let spent = used.load(Ordering::SeqCst);
                for limit in limits.iter() {
                    assert_eq!(ledger.balance_now(tenant, limit), Balance { spent, reserved: 0 });
                }
            }

            /// Three workers take from two buckets, where two of them fit, and give back what they did not use.
            pub fn limiter() {
                let (env, _) = env();
                let tenant: TenantId = env.id();
                let rate =
                    |scope, burst| Rate { scope, dimension: Dimension::InputTokens, per_minute: 60, burst };
                let rates = Arc::new([rate(Scope::Tenant, 10), rate(Scope::User(env.id()), 8)]);
                let buckets = Arc::new(Buckets::new(env));
                let (held, used) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
                let workers: Vec<_> = (0..3_u64)
                    .map(|worker| {
                        let (buckets, rates) = (buckets.clone(), rates.clone());
                        let (held, used) = (held.clone(), used.clone());
                        thread::spawn(move || {
                            let Ok(taken) = buckets.take(tenant, rates.as_slice(), &input(4)) else { return };
                            let all = held.fetch_add(4, Ordering::SeqCst) + 4;
                            assert!(all <= 8, "{all} of 8");
                            thread::yield_now();
                            held.fetch_sub(4 - worker, Ordering::SeqCst);
                            used.fetch_add(worker, Ordering::SeqCst);
                            buckets.settle(taken, &input(worker));
                        })
                    })
                    .collect();
                for worker in workers {
                    worker.join().unwrap();
                }
                // No time has passed, so what is left is known to the last one.
                let left = 8 - used.load(Ordering::SeqCst);
                assert!(buckets.take(tenant, rates.as_slice(), &input(left + 1)).is_err());
                assert!(buckets.take(tenant, rates.as_slice(), &input(left)).is_ok());
            }

            /// Four workers come to a breaker that is to be tried out: two probe at a time, a lost probe frees its
            /// place, and in the end it can be tried again or is closed.
            pub fn half_open() {
                let (env, clock) = env();
                let health = Health::new(env.clone(), Arc::new(HealthOptions::default()));
                for _ in 0..5 {
                    health.admit(TTL).unwrap().record(Verdict::Failure);
                }
                clock.advance(Duration::from_secs(10));
                let probes = Arc::new(AtomicUsize::new(0));
                let workers: Vec<_> = (0..4_u64)
                    .map(|worker| {
                        let (health, probes) = (health.clone(), probes.clone());
                        thread::spawn(move || {
                            let Ok(permit) = health.admit(TTL) else { return };
                            let probe = permit.is_probe();
                            if probe {
                                let all = probes.fetch_add(1, Ordering::SeqCst) + 1;
                                assert!(all <= 2, "{all} probes at the same time");
                            }
                            thread::yield_now();
                            if probe {
                                probes.fetch_sub(1, Ordering::SeqCst);
                            }
                            match worker {
                                0 => drop(permit),
                                _ => permit.record(Verdict::Success),
                            }
                        })
                    })
                    .collect();
                for worker in workers {
                    worker.join().unwrap();
                }
                // Nobody is asking now, so nothing stands in the way of the next two.
                let first = health.admit(TTL).unwrap();
                let second = health.admit(TTL).unwrap();
                first.record(Verdict::Success);
                second.record(Verdict::Success);
                assert!(!health.admit(TTL).unwrap().is_probe(), "it is closed");
            }
        }
    };
}

models!(with_locks, honest);
models!(without_locks, leaky);

fn explore(schedules: usize, model: fn()) -> usize {
    let mut config = Config::new();
    // Its seed is shown, which is enough to see a failure again.
    config.failure_persistence = shuttle::FailurePersistence::None;
    Runner::new(RandomScheduler::new(schedules), config).run(model)
}

fn holds(name: &'static str, model: fn()) -> Trial {
    Trial::test(format!("{name}_holds_under_every_schedule"), move || {
        let ran = explore(SCHEDULES, model);
        println!("{name}: {ran} schedules");
        if ran == SCHEDULES { Ok(()) } else { Err(format!("only {ran} schedules ran").into()) }
    })
}

fn finds(name: &'static str, model: fn()) -> Trial {
    Trial::test(format!("{name}_without_locks_is_found_out"), move || {
        PLANTED.set(true);
        let found = catch_unwind(AssertUnwindSafe(|| explore(SCHEDULES, model)));
        PLANTED.set(false);
        match found {
            Err(_) => Ok(()),
            Ok(ran) => Err(format!("{ran} schedules found nothing").into()),
        }
    })
}

thread_local! {
    /// Whether a panic on this thread is what the test is there to see.
    static PLANTED: Cell<bool> = const { Cell::new(false) };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !PLANTED.get() {
            usual(panic);
        }
    }));
    let trials = vec![
        holds("reservation", with_locks::reservation),
        holds("limiter", with_locks::limiter),
        holds("half_open", with_locks::half_open),
        finds("reservation", without_locks::reservation),
        finds("limiter", without_locks::limiter),
        finds("half_open", without_locks::half_open),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
