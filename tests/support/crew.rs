//! A worker of a fleet: it drives whatever is there, starts the runs it is told to, and writes down every event it is
//! handed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentprovision::PlatformBuilder;
use agentprovision::event::{EventSink, NumberedEvent};
use agentprovision::id::{AgentId, TenantId, UserId};
use agentprovision::prelude::*;
use agentprovision::run::EngineOptions;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::victim::{Fault, Trap, note, say};

/// What a worker of a fleet is told about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Crew {
    /// Tenants, and who starts runs of which agent there.
    pub(crate) places: Vec<(TenantId, UserId, AgentId)>,
    /// The file of the events that were handed to this worker.
    pub(crate) events: PathBuf,
}

/// An event as the sink writes it down.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) tenant: TenantId,
    pub(crate) seq: u64,
    pub(crate) id: String,
}

/// Has events on the disk before it says that it has them.
#[derive(Debug)]
pub(crate) struct FileSink {
    file: PathBuf,
    trap: Option<Arc<Trap>>,
}

impl FileSink {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, trap: None }
    }

    fn reached(&self, point: fn(String) -> Fault) {
        self.trap.iter().for_each(|trap| trap.reached(&point("sink".into())));
    }
}

#[async_trait]
impl EventSink for FileSink {
    async fn publish(&self, events: &[NumberedEvent]) -> Result<()> {
        let line = |event: &NumberedEvent| {
            let (tenant, seq, id) = (event.event.tenantid, event.seq, event.event.id.to_string());
            serde_json::to_string(&Delivered { tenant, seq, id }).unwrap() + "\n"
        };
        self.reached(Fault::BeforeEffect);
        note(&self.file, &events.iter().map(line).collect::<String>());
        self.reached(Fault::AfterEffect);
        Ok(())
    }
}

/// A run that was left is taken up soon, and a worker that dies leaves many.
fn options() -> EngineOptions {
    let mut options = EngineOptions::default();
    options.lease = Duration::from_secs(2);
    options.poll = Duration::from_millis(250);
    options.max_runs = 16;
    options
}

/// Works until nothing more is said to it.
pub(super) async fn serve(builder: PlatformBuilder, crew: Crew, trap: Arc<Trap>) {
    let sink = Arc::new(FileSink { file: crew.events, trap: Some(trap) });
    let platform = builder.engine(options()).event_sink(sink).build().await.unwrap();
    let places = Arc::new(crew.places);
    let mut starts = tokio::task::JoinSet::new();
    let (tell, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().try_for_each(|line| tell.send(line.unwrap())));
    while let Some(line) = lines.recv().await {
        let ["start", place, label] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (place, label): (usize, _) = (place.parse().unwrap(), label.to_owned());
        let (platform, places) = (platform.clone(), places.clone());
        starts.spawn(async move {
            match start(&platform, places[place], &label).await {
                Ok(run) => say(format_args!("run {label} {run}")),
                Err(error) => say(format_args!("refused {label} {} {error}", error.kind())),
            }
        });
    }
    while let Some(started) = starts.join_next().await {
        started.unwrap();
    }
    platform.close().await.unwrap();
}

async fn start(
    platform: &Platform,
    (tenant, user, agent): (TenantId, UserId, AgentId),
    label: &str,
) -> Result<agentprovision::id::RunId> {
    let ctx = platform.context(tenant, user).await?;
    let input = RunInput::text(label).idempotency_key(label);
    let run = platform.runs().start(&ctx, agent, input).await?;
    Ok(run.id())
}
