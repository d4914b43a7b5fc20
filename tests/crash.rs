//! Crashes: a process that drives runs ends at every point where it can, and another one goes on from the file.
//!
//! The process is this binary again (see [`victim`]). What it told before it ended must be there afterwards, and what its
//! tools did must be what the journal says.

use futures_util::StreamExt;

use crate::support::Draw;
use crate::support::aftermath::{Case, Order, Site};
use crate::support::life::{End, Life, SIGABRT, SIGKILL};
use crate::support::victim::{self, Fault, SCENARIO, Scenario, TOOLS};

/// Processes at a time.
const PARALLEL: usize = 4;

/// Not a test of its own: what the others run in a process to crash. Without a scenario it has nothing to do.
#[test]
fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let scenario: Scenario = serde_json::from_str(&scenario).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(victim::live(scenario));
}

/// Lets one process after another end at these points, then one live to its end, and checks what is left. Gives the
/// number of processes that crashed, of steps in doubt, and of the last one's commits.
async fn survive(case: &mut Case<'_>, faults: &[Fault]) -> (usize, usize, u64) {
    let mut crashed = 0;
    let in_turn = case.labels.iter().all(|label| label.starts_with("turn"));
    // Where tools run at the same time, one can end the process between a commit of another's end and its telling.
    let within = |fault: &Fault| matches!(fault, Fault::BeforeEffect(_) | Fault::AfterEffect(_));
    let order = match (in_turn, faults.iter().any(within)) {
        (true, _) => Order::Known,
        (false, false) => Order::Untold,
        (false, true) => Order::Unknown,
    };
    for fault in faults.iter().chain([&Fault::Never]) {
        let (end, commits) = Life::begin(&case.scenario(fault.clone())).rest(case).await;
        match end {
            Some(SIGABRT) => crashed += 1,
            None => {
                let doubted = case.check(order).await;
                return (crashed, doubted, commits);
            }
            other => panic!("{fault:?} ended by signal {other:?}"),
        }
    }
    panic!("the last process did not come to its end");
}

/// Every point where a process can end, for runs of so many commits.
fn points(commits: u64) -> Vec<Fault> {
    let around = (1..=commits).flat_map(|n| [Fault::BeforeCommit(n), Fault::AfterCommit(n)]);
    let names = TOOLS.iter().map(|(name, _)| *name).chain(["model"]);
    let within = names.flat_map(|name| [Fault::BeforeEffect(name.into()), Fault::AfterEffect(name.into())]);
    around.chain(within).collect()
}

/// Crashes a run at every point, each on a store of its own.
async fn every_point(label: &str, in_session: bool) {
    let site = Site::provision().await;
    let (crashed, doubted, commits) = survive(&mut site.case("calm", &[label], in_session), &[]).await;
    assert_eq!((crashed, doubted), (0, 0));
    let points = points(commits);
    let cases = points.iter().enumerate().map(|(number, point)| {
        let site = &site;
        async move {
            let mut case = site.case(&format!("case-{number}"), &[label], in_session);
            let (crashed, doubted, _) = survive(&mut case, std::slice::from_ref(point)).await;
            (point, crashed, doubted)
        }
    });
    let ends: Vec<_> = futures_util::stream::iter(cases).buffer_unordered(PARALLEL).collect().await;
    let crashed: usize = ends.iter().map(|(_, crashed, _)| crashed).sum();
    let doubted: usize = ends.iter().map(|(_, _, doubted)| doubted).sum();
    println!(
        "{label}: {commits} commits, {} points, {crashed} crashes, {doubted} steps in doubt",
        points.len()
    );
    // Tools at the same time share commits as it comes, so that the last numbers may not be reached.
    let missed = ends.iter().filter(|(_, crashed, _)| *crashed == 0).map(|(point, ..)| *point);
    let missed: Vec<_> = missed.collect();
    let spare = if label.starts_with("turn") { 0 } else { 8 };
    assert!(missed.len() <= spare, "no process ended at {missed:?}");
    // In the unsafe tool at least: before its effect and after.
    assert!(doubted >= 2, "{doubted} steps in doubt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_survives_a_crash_at_every_point() {
    every_point("turn", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_at_the_same_time_survive_a_crash_at_every_point() {
    every_point("once", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_crashes_in_a_row() {
    let site = Site::provision().await;
    let draw = Draw::new();
    // The first commits of a process: there are so many in each of the first three.
    let points = points(6);
    let cases = (0..12).map(|number| {
        let faults: Vec<Fault> = (0..3).map(|_| points[draw.below(points.len())].clone()).collect();
        let (site, label) = (&site, ["turn", "once"][number % 2]);
        async move {
            let mut case = site.case(&format!("case-{number}"), &[label], number % 4 == 0);
            let (crashed, doubted, _) = survive(&mut case, &faults).await;
            println!("{label}: {crashed} crashes, {doubted} steps in doubt: {faults:?}");
            crashed
        }
    });
    let cases: Vec<_> = cases.collect();
    let crashed: Vec<usize> = futures_util::stream::iter(cases).buffer_unordered(PARALLEL).collect().await;
    assert!(crashed.contains(&3), "{crashed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_from_outside_at_any_moment() {
    let site = Site::provision().await;
    let draw = Draw::new();
    let cases = (0..8).map(|number| {
        let lines = [draw.below(40), draw.below(20)];
        let (site, label) = (&site, ["turn", "once"][number % 2]);
        async move {
            let mut case = site.case(&format!("case-{number}"), &[label], false);
            let mut killed = 0;
            for lines in lines {
                let mut life = Life::begin(&case.scenario(Fault::Never));
                for _ in 0..lines {
                    let Some(line) = life.line().await else { break };
                    case.told(&line);
                }
                life.kill();
                match life.rest(&mut case).await.0 {
                    Some(SIGKILL) => killed += 1,
                    None => {}
                    other => panic!("ended by signal {other:?}"),
                }
            }
            let (end, _) = Life::begin(&case.scenario(Fault::Never)).rest(&mut case).await;
            assert_eq!(end, None);
            let doubted = case.check(Order::Unknown).await;
            println!("{label}: {killed} kills after {lines:?} lines, {doubted} steps in doubt");
            killed
        }
    });
    let cases: Vec<_> = cases.collect();
    let killed: Vec<usize> = futures_util::stream::iter(cases).buffer_unordered(PARALLEL).collect().await;
    assert!(killed.iter().sum::<usize>() >= 8, "{killed:?}");
}

/// Two processes at the same time, of which the second never crashes.
async fn together(case: &mut Case<'_>, fault: Fault) -> End {
    let mut first = Life::begin(&case.scenario(fault));
    // It has a run of its own before the other one comes.
    first.until("run ", case).await;
    let mut second = Life::begin(&case.scenario(Fault::Never));
    let (mut told, mut more) = (Vec::new(), true);
    let (mut one, mut two) = (true, true);
    while more {
        let line = tokio::select! {
            line = first.line(), if one => { one = line.is_some(); line }
            line = second.line(), if two => { two = line.is_some(); line }
        };
        told.extend(line);
        more = one || two;
    }
    told.iter().for_each(|line| case.told(line));
    case.ended();
    assert_eq!(second.end().await, None, "the second process ended by a signal");
    first.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_file() {
    let site = Site::provision().await;
    let labels = ["turn-a", "once-b", "turn-c", "once-d", "turn-e", "once-f"];
    let mut case = site.case("calm", &labels, false);
    assert_eq!(together(&mut case, Fault::Never).await, None);
    case.check(Order::Unknown).await;

    // Whatever one of them leaves, the other takes up while it has work of its own.
    let draw = Draw::new();
    for number in 0..4 {
        let fault = Fault::AfterCommit(7 + draw.below(6) as u64);
        let mut case = site.case(&format!("case-{number}"), &labels, false);
        let end = together(&mut case, fault.clone()).await;
        let doubted = case.check(Order::Unknown).await;
        println!("{fault:?}, {doubted} steps in doubt");
        // Six starts and some commits of the run that it had before the other one came.
        assert_eq!(end, Some(SIGABRT), "{fault:?}");
    }
}

/// A worker stands still before a commit for longer than its lease, and another one takes its run up. The first wakes
/// while the other is at work, or when the run is over, and finds that the run is not its own any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_writes_nothing_when_it_wakes() {
    let site = Site::provision().await;
    let (_, _, commits) = survive(&mut site.case("calm", &["turn"], true), &[]).await;
    let cases = (2..=commits).flat_map(|commit| ["took ", "commits "].map(|until| (until, commit)));
    let cases = cases.map(|(until, commit)| {
        let site = &site;
        async move {
            let mut case = site.case(&format!("case-{commit}-{}", until.trim()), &["turn"], true);
            let mut frozen = Life::begin(&case.scenario(Fault::Freeze(commit)));
            frozen.until("frozen", &mut case).await;
            let mut other = Life::begin(&case.scenario(Fault::Never));
            other.until(until, &mut case).await;
            frozen.say("").await;
            assert_eq!(other.rest(&mut case).await.0, None);
            assert_eq!(frozen.rest(&mut case).await.0, None, "the frozen worker did not end well");
            case.check(Order::Known).await
        }
    });
    let cases: Vec<_> = cases.collect();
    let doubted: Vec<usize> = futures_util::stream::iter(cases).buffer_unordered(PARALLEL).collect().await;
    // Only where the end of the unsafe tool was what it could not commit.
    assert_eq!(doubted.iter().sum::<usize>(), 2, "{doubted:?}");
}

/// The same within one process: what looks for runs finds the one whose worker stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_may_lose_its_run_to_its_own_process() {
    let site = Site::provision().await;
    let (_, _, commits) = survive(&mut site.case("calm", &["turn"], true), &[]).await;
    let cases = (2..=commits).map(|commit| {
        let site = &site;
        async move {
            let mut case = site.case(&format!("case-{commit}"), &["turn"], true);
            let mut life = Life::begin(&case.scenario(Fault::FreezeAlone(commit)));
            life.until("frozen", &mut case).await;
            life.until("took ", &mut case).await;
            life.say("").await;
            assert_eq!(life.rest(&mut case).await.0, None);
            case.check(Order::Known).await
        }
    });
    let cases: Vec<_> = cases.collect();
    let doubted: Vec<usize> = futures_util::stream::iter(cases).buffer_unordered(PARALLEL).collect().await;
    assert_eq!(doubted.iter().sum::<usize>(), 1, "{doubted:?}");
}
