//! Durable steps of 500 bytes by this platform, by LangGraph with its checkpointers and by DBOS, on the same PostgreSQL
//! server with the same `synchronous_commit`, and on SQLite files of the same folder. `cargo xtask bench peers-durable`
//! starts the server, installs the peers and names both.
//!
//! What is compared with what:
//!
//! - `ours`: runs of an agent by the whole platform: a scripted model and a tool in turn, each with a result of 500
//!   bytes, a step each. Beside the step it stores the request for the next, usage and cost under a fence and a hash
//!   chain, and with a run's start and end its audit records and events; all of that is in the time.
//! - `langgraph`: a graph whose one node is a step, `durability="sync"`, its state 500 bytes and a count
//! - `dbos`: a workflow of steps that return 500 bytes
//! - `ours_store`: `RunStore::commit` alone, which journals a step of 500 bytes with its usage; no engine
//! - `langgraph_saver`: LangGraph's checkpointer alone, one `put` of 500 bytes a step; no graph
//!
//! The platform is one process of this language, the peers are one of Python: the first three are whole systems, of
//! which the language is a part, the last two are what each does to the database. The ratios are ours by theirs, in the same
//! round; who is first changes from round to round, and what the disk does is printed with each.
//!
//! Needs `AGENTPROVISION_TEST_POSTGRES_URL`, and in `DURABLE_PYTHON` an interpreter with `durable/requirements.txt`. What can be
//! set:
//!
//! - `BENCH_ROUNDS`: 7
//! - `BENCH_RUNS`: runs at the same time, at most 16; `1,16`
//! - `BENCH_STEPS`: steps of a run; 41 (the platform's come in pairs, and a last one)
//! - `BENCH_TURN`: runs one after the other in a round, where one run at a time is measured; 4

#[path = "../../../agentprovision-tenancy/benches/world/server.rs"]
mod server;
#[path = "../../../agentprovision-tenancy/benches/world/mod.rs"]
mod world;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use agentprovision::agent::AgentRecord;
use agentprovision::prelude::*;
use agentprovision::tenancy::store::postgres::TestDatabase;
use agentprovision::testing::{Reply, ScriptedModel};
use serde_json::json;

use server::{database, describe, with};
use world::{Folder, World, median, number, numbers, probe, through_store};

/// Runs at the same time, at most: threads and connections of the peers, connections of ours.
const MOST: usize = 16;
/// The peers by their names and those of ours they are compared with.
const PEERS: [(&str, &str); 3] = [("langgraph", "ours"), ("dbos", "ours"), ("langgraph_saver", "ours_store")];

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Note {
    #[expect(dead_code, reason = "the size is what counts")]
    text: String,
}

/// The platform with an agent that calls its tool so often.
struct Ours {
    platform: Platform,
    ctx: Context,
    agent: AgentRecord,
}

impl Ours {
    async fn new(store: String, steps: usize) -> Self {
        let calls = (steps - 1) / 2;
        let model = ScriptedModel::from_fn("scripted", move |request| {
            let done = ScriptedModel::tool_results(request);
            match done < calls {
                true => Reply::tool("note", json!({ "text": text(done, 480) })),
                false => Reply::text(text(done, 500)),
            }
        });
        let note = tool("note", "Takes a note", async |call: ToolCall, _: Note| -> Result<String> {
            Ok(text(call.step() as usize, 490))
        });
        let platform = Platform::builder()
            .store(store)
            .model("scripted", Arc::new(model))
            .tool(note.effect(Effect::Idempotent))
            .build()
            .await
            .expect("a platform");
        let operator = platform.operator("bench", "bench").expect("an operator");
        let tenant = NewTenant::new("acme", "acme.example");
        let tenant = platform.tenants().create(&operator, tenant).await.expect("a tenant");
        let root = NewUser::new("root@acme.example");
        let root = platform.tenants().bootstrap_admin(&operator, tenant.id, root).await.expect("an admin");
        let ctx = platform.context(tenant.id, root.id).await.expect("a context");
        let spec = AgentSpec::new("notes").model("scripted").tools(["note"]);
        let agent = platform.agents().create(&ctx, spec).await.expect("an agent");
        platform.agents().deploy(&ctx, agent.id).await.expect("a deployment");
        Self { platform, ctx, agent }
    }

    /// Steps of a run.
    async fn run(&self) -> usize {
        let input = RunInput::text("Take your notes.");
        let run = self.platform.runs().start(&self.ctx, self.agent.id, input).await.expect("a run");
        let outcome = run.wait().await.expect("an outcome");
        assert_eq!(outcome.text().expect("an answer").len(), 500);
        outcome.record().totals.steps as usize
    }
}

fn text(number: usize, bytes: usize) -> String {
    format!("{number:08}{}", "x".repeat(bytes - 8))
}

/// A peer's process. It ends with its standard input.
struct Peer {
    child: Child,
    tell: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it; gives it with its versions.
    fn start(name: &str, url: &str) -> std::result::Result<(Self, String), String> {
        let python = std::env::var("DURABLE_PYTHON").map_err(|_| "DURABLE_PYTHON names no interpreter")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/durable/steps.py");
        let mut command = Command::new(python);
        command.args([script, name, url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (tell, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("its output")));
        let mut peer = Self { child, tell, hear };
        let versions = peer.hear()?;
        Ok((peer, versions))
    }

    fn hear(&mut self) -> std::result::Result<String, String> {
        let mut line = String::new();
        match self.hear.read_line(&mut line) {
            Ok(1..) => Ok(line.trim().to_owned()),
            _ => Err("it has ended; the reason is above".to_owned()),
        }
    }

    /// Seconds of so many runs at the same time.
    fn run(&mut self, runs: usize, steps: usize) -> f64 {
        writeln!(self.tell.as_mut().expect("its input"), "{runs} {steps}").expect("a peer");
        self.hear().and_then(|line| line.parse().map_err(|_| line)).expect("a time")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.child.wait();
    }
}

/// Who does steps.
enum Who {
    Ours(Ours),
    Store(Arc<World>, u32),
    Peer(Peer),
}

impl Who {
    /// Steps per second of so many runs at the same time, so often one after the other.
    async fn rate(&mut self, runs: usize, steps: usize, times: usize) -> f64 {
        let (mut done, mut seconds) = (0, 0.0);
        for _ in 0..times {
            match self {
                Self::Ours(ours) => {
                    let begun = Instant::now();
                    let all = (0..runs).map(|_| ours.run());
                    done += futures_util::future::join_all(all).await.iter().sum::<usize>();
                    seconds += begun.elapsed().as_secs_f64();
                }
                Self::Store(world, next) => {
                    seconds += through_store(world, runs, steps, *next).await;
                    *next += steps as u32;
                    done += runs * steps;
                }
                Self::Peer(peer) => {
                    seconds += peer.run(runs, steps);
                    done += runs * steps;
                }
            }
        }
        done as f64 / seconds
    }
}

/// One of those that are compared.
struct One {
    name: &'static str,
    store: &'static str,
    who: Who,
    versions: String,
    /// Steps per second in each round, by the number of runs at the same time.
    rates: Vec<Vec<f64>>,
}

/// Those that can be started, each with a database or a file of its own.
async fn start(folder: &Folder, steps: usize, cells: usize) -> (Vec<One>, Vec<TestDatabase>) {
    let (mut all, mut databases) = (Vec::new(), Vec::new());
    for store in ["postgres", "sqlite"] {
        for name in ["ours", "ours_store"].into_iter().chain(PEERS.map(|(name, _)| name)) {
            let mine = name.starts_with("ours");
            let url = if store == "postgres" {
                let database = database().await;
                // The platform logs in as its role, the peers as they like; both without row security's owner.
                let url = if mine { database.url().to_owned() } else { database.admin_url().expect("a URL") };
                databases.push(database);
                if mine { with(&url, &format!("max_connections={MOST}")) } else { url }
            } else {
                format!("sqlite://{}", folder.0.join(format!("{name}.db")).display())
            };
            let mut versions = String::new();
            let who = match name {
                "ours" => Who::Ours(Ours::new(url, steps).await),
                "ours_store" => Who::Store(Arc::new(World::with_runs(&url, MOST).await), 0),
                _ => match Peer::start(name, &url) {
                    Ok((peer, said)) => {
                        versions = said;
                        Who::Peer(peer)
                    }
                    Err(why) => {
                        println!("{name} on {store} is left out: {why}");
                        continue;
                    }
                },
            };
            all.push(One { name, store, who, versions, rates: vec![Vec::new(); cells] });
        }
    }
    (all, databases)
}

#[tokio::main]
async fn main() {
    let (rounds, steps) = (number("BENCH_ROUNDS", 7), number("BENCH_STEPS", 41));
    let (cells, turn) = (numbers("BENCH_RUNS", &[1, MOST]), number("BENCH_TURN", 4));
    assert!(steps % 2 == 1 && cells.iter().all(|runs| (1..=MOST).contains(runs)), "see the documentation");
    describe().await;
    let folder = Folder::new();
    let (mut all, databases) = start(&folder, steps, cells.len()).await;
    let times = |runs: usize| if runs == 1 { turn } else { 1 };
    for one in &mut all {
        for &runs in &cells {
            one.who.rate(runs, steps, 1).await;
        }
    }
    for round in 0..rounds {
        println!("round {round}: {:.0} fdatasync/s of 4 KiB", probe(&folder.0));
        for (cell, &runs) in cells.iter().enumerate() {
            for place in 0..all.len() {
                let place = (round + place) % all.len();
                let rate = all[place].who.rate(runs, steps, times(runs)).await;
                all[place].rates[cell].push(rate);
            }
        }
    }
    report(&all, &cells);
    for one in all {
        match one.who {
            Who::Ours(ours) => ours.platform.close().await.expect("an end"),
            Who::Store(world, _) => world.backend.close().await.expect("an end"),
            Who::Peer(peer) => drop(peer),
        }
    }
    drop(databases);
}

fn report(all: &[One], cells: &[usize]) {
    let head: String = cells.iter().map(|runs| format!("{runs:>8} runs")).collect();
    println!("\nsteps/s, medians over the rounds\n{:>10} {:16}{head}", "", "");
    for one in all {
        let rates: String =
            one.rates.iter().map(|rates| format!("{:>13.0}", median(rates.clone()))).collect();
        println!("{:>10} {:16}{rates}  {}", one.store, one.name, one.versions);
    }
    println!(
        "(ours, langgraph and dbos are whole runs; ours_store and langgraph_saver what each stores of a step)\n"
    );
    for (peer, mine) in PEERS {
        for store in ["postgres", "sqlite"] {
            let find = |name| all.iter().find(|one| one.name == name && one.store == store);
            let (Some(ours), Some(theirs)) = (find(mine), find(peer)) else { continue };
            for (cell, runs) in cells.iter().enumerate() {
                let rounds = ours.rates[cell].iter().zip(&theirs.rates[cell]);
                let ratio = median(rounds.map(|(ours, theirs)| ours / theirs).collect());
                println!("ratio durable_{store}_{runs}_{mine}_vs_{peer} {ratio:.2}");
            }
        }
    }
}
