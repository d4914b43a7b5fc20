//! Drives the store in memory and a database with the same random operations, and compares everything they say: results,
//! error kinds, the order of pages, and the roots of all audit logs.
//!
//! Operations are data: a method and a seed for its arguments. Ids are drawn from small pools, so that they collide,
//! go stale, and belong to other tenants. A case that differs is made as short as possible and printed. The start of
//! the sequence is `AGENTPROVISION_SEED`, 0 where unset.

#![cfg(feature = "store-sqlite")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise"
)]

mod answer;
mod args;
mod faulty;
mod integrations;
mod methods;
mod ops;
mod plan;
mod play;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use faulty::Fault;
use libtest_mimic::{Arguments, Trial};
use ops::{Op, Rng};
use play::{Against, Difference, play};

/// Names a PostgreSQL server for tests; `cargo xtask test` starts one.
const POSTGRES: &str = "AGENTPROVISION_TEST_POSTGRES_URL";
/// Cases of a run.
const CASES: u64 = 60;
/// Cases on a database where every operation is a transaction of its own: slower, and still more than 10,000 operations.
const CASES_OVER_NET: u64 = 60;
/// Operations of a case.
const LENGTH: usize = 400;
/// How long one play of a case may take.
const WATCHDOG: Duration = Duration::from_secs(30);
/// How often a case that differs is played again to make it shorter.
const SHRINKS: usize = 400;

/// How often each method was called, and how often it succeeded.
type Counts = BTreeMap<&'static str, [u64; 2]>;

fn seed() -> u64 {
    std::env::var("AGENTPROVISION_SEED")
        .ok()
        .map_or(0, |seed| seed.parse().expect("AGENTPROVISION_SEED is a number"))
}

fn case(number: u64) -> Vec<Op> {
    ops::case(&mut Rng::new(seed().wrapping_mul(CASES).wrapping_add(number)), LENGTH)
}

/// Leaves out what is not needed for a difference: runs of operations, shorter and shorter, then the effects of each.
fn shrink(
    mut ops: Vec<Op>,
    mut found: Difference,
    differs: impl Fn(&[Op]) -> Option<Difference>,
) -> (Vec<Op>, Difference) {
    ops.truncate(found.at + 1);
    let mut plays = 0;
    let mut size = ops.len().div_ceil(2);
    while size > 0 && plays < SHRINKS {
        let (mut at, mut shorter) = (0, false);
        while at < ops.len() && plays < SHRINKS {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            plays += 1;
            match differs(&fewer) {
                Some(difference) => {
                    fewer.truncate(difference.at + 1);
                    (ops, found, shorter) = (fewer, difference, true);
                }
                None => at += size,
            }
        }
        if !(shorter && size == 1) {
            size /= 2;
        }
    }
    for at in 0..ops.len() {
        let mut simpler = ops.clone();
        let Some(op) = simpler.get_mut(at).filter(|op| !op.bare && plays < SHRINKS) else { break };
        op.bare = true;
        plays += 1;
        if let Some(difference) = differs(&simpler) {
            simpler.truncate(difference.at + 1);
            (ops, found) = (simpler, difference);
        }
    }
    (ops, found)
}

/// Plays cases until one differs; that one as short as it gets.
fn find(
    against: Against,
    fault: Option<Fault>,
    counts: &mut Counts,
    beat: &Sender<()>,
) -> Option<(u64, Vec<Op>, Difference)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let run = |ops: &[Op], counts: &mut Counts| {
        let difference = runtime.block_on(play(ops, against, fault, counts));
        beat.send(()).expect("somebody waits");
        difference
    };
    let cases = if matches!(against, Against::Sqlite) { CASES } else { CASES_OVER_NET };
    (0..cases).find_map(|number| {
        let ops = case(number);
        let found = run(&ops, counts)?;
        let (ops, found) = shrink(ops, found, |ops| run(ops, &mut Counts::new()));
        Some((number, ops, found))
    })
}

/// As [`find`], but fails when one play of a case takes too long.
fn find_in_time(against: Against, fault: Option<Fault>) -> (Counts, Option<(u64, Vec<Op>, Difference)>) {
    let (beat, beats) = mpsc::channel();
    let work = std::thread::spawn(move || {
        let mut counts = Counts::new();
        let found = find(against, fault, &mut counts, &beat);
        (counts, found)
    });
    loop {
        match beats.recv_timeout(WATCHDOG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => panic!("a case is not over after {WATCHDOG:?}"),
            Err(RecvTimeoutError::Disconnected) => match work.join() {
                Ok(result) => return result,
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }
}

fn report(number: u64, ops: &[Op], found: &Difference) -> String {
    format!(
        "case {number} of seed {} differs after {} operations: {}\n{}\n{}",
        seed(),
        ops.len(),
        ops.iter().map(|op| format!("{op:?}")).collect::<Vec<_>>().join(", "),
        found.trace.join("\n"),
        found.what
    )
}

fn the_stores_agree_on_everything(against: Against) {
    let (counts, found) = find_in_time(against, None);
    if let Some((number, ops, found)) = found {
        panic!("{}", report(number, &ops, &found));
    }
    let total: u64 = counts.values().map(|[calls, _]| calls).sum();
    for (name, [calls, successes]) in &counts {
        println!("{calls:>6} {name}, {successes} with success");
    }
    println!("{total:>6} in all");
    assert!(total >= 10_000, "only {total} operations");
    for name in methods::ALL {
        let [calls, successes] = counts.get(name).copied().unwrap_or_default();
        assert!(calls >= 100, "`{name}` was called {calls} times only");
        assert!(successes >= 10, "`{name}` had success {successes} times only");
    }
}

fn planted_bugs_are_found_and_made_short() {
    for fault in Fault::ALL {
        let (_, found) = find_in_time(Against::Sqlite, Some(fault));
        let (number, ops, found) = found.unwrap_or_else(|| panic!("nothing differs with {fault:?}"));
        println!("{fault:?}: {}\n", report(number, &ops, &found));
        assert!(ops.len() <= 30, "{fault:?} takes {} operations to show", ops.len());
    }
}

fn main() -> std::process::ExitCode {
    let postgres = || {
        #[cfg(all(feature = "store-postgres", feature = "testing"))]
        the_stores_agree_on_everything(Against::Postgres);
        Ok(())
    };
    let server =
        cfg!(all(feature = "store-postgres", feature = "testing")) && std::env::var_os(POSTGRES).is_some();
    let sqlite = || {
        the_stores_agree_on_everything(Against::Sqlite);
        Ok(())
    };
    let planted = || {
        planted_bugs_are_found_and_made_short();
        Ok(())
    };
    let tests = vec![
        Trial::test("memory_and_sqlite_agree_on_everything", sqlite),
        Trial::test("memory_and_postgres_agree_on_everything", postgres).with_ignored_flag(!server),
        Trial::test("planted_bugs_are_found_and_made_short", planted),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
