//! A process that is killed loses nothing it was told is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::effect::Effects;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{JournalRow, RunQuery};

use crate::world::{Folder, World, batch, watchdog};

const FOLDER: &str = "AGENTPROVISION_TEST_CRASH_FOLDER";

/// The process that is killed: commits to 16 runs for ever, and prints each answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of the test below"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Arc::new(Folder(folder.into()));
    let world = Arc::new(World::open(folder).await);
    let ctx = world.tenant().await;
    let agent = world.agent(&ctx).await;
    for _ in 0..16 {
        let (world, ctx) = (world.clone(), ctx.clone());
        let lease = world.run(&ctx, &agent).await;
        tokio::spawn(async move {
            for turn in 0.. {
                let record = AuditRecord::of(&ctx, &world.env, "trial.made", "trials", turn);
                let effects = Effects { audit: vec![record], ..Effects::none() };
                let batch = batch(&lease, 2, &format!("turn {turn}"));
                let seq = world.stores.runs.commit(&lease.fence, batch, effects).await.unwrap();
                // One write, so that a line is there whole or not at all.
                let line = format!("ack {} {seq}\n", lease.run.id);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let _watchdog = watchdog();
    for acks in [1, 40, 333] {
        let folder = Folder::new();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--ignored", "--nocapture"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = std::collections::BTreeMap::new();
        let mut note = |line: String| {
            let mut words = line.split(' ').skip_while(|word| *word != "ack").skip(1);
            if let (Some(run), Some(Ok(seq))) = (words.next(), words.next().map(str::parse::<u64>)) {
                last.insert(run.to_owned(), seq);
                return 1;
            }
            0
        };
        let mut seen = 0;
        while seen < acks {
            seen += note(lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        // What it had said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            note(line);
        }
        child.wait().unwrap();

        let world = World::open(Arc::new(folder)).await;
        let tenant =
            world.stores.tenants.list(&world.op, PageRequest::limit(1)).await.unwrap().items.remove(0);
        let ctx = world.ctx(&tenant);
        let runs = world.stores.index.list(&ctx, RunQuery::default()).await.unwrap().items;
        let mut rows = 0;
        for run in &runs {
            let journal = world.stores.index.journal(&ctx, run.id, 0, u32::MAX).await.unwrap();
            JournalRow::verify(&run.salt, &journal, &run.head).unwrap();
            rows += journal.len() as u64 - 1;
            assert!(run.seq >= last.get(&run.id.to_string()).copied().unwrap_or(0));
        }
        assert!(last.keys().all(|id| runs.iter().any(|run| run.id.to_string() == *id)));
        // Each commit of two rows wrote one record: neither is there without the other.
        assert_eq!(world.stores.audit.checkpoint(&ctx).await.unwrap().size, rows / 2);
        world.backend.close().await.unwrap();
    }
}
