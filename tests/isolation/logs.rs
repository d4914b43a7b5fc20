//! Nothing of a tenant is logged on another's behalf, and no content on anybody's.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use agentprovision::Scope;
use secrecy::ExposeSecret;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::calls::{Call, calls};
use super::world::{QUOKKA, STORES, World, ZEBRA};
use crate::support::in_time;

/// Everything that is logged at any level, by any thread, while somebody listens.
struct Everything;

static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Everything {
    fn add(mut line: Line, metadata: Option<&Metadata<'_>>) {
        if LISTENERS.load(Ordering::SeqCst) > 0 {
            if let Some(metadata) = metadata {
                write!(line.0, " ({} {})", metadata.target(), metadata.name()).unwrap();
            }
            LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
        }
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LISTENERS.load(Ordering::SeqCst) > 0
    }

    // Asked at every event, because listeners come and go.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line("span".into());
        span.record(&mut line);
        Self::add(line, Some(span.metadata()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("recorded".into());
        values.record(&mut line);
        Self::add(line, None);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        Self::add(line, Some(event.metadata()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Listens from here on.
struct Listener {
    from: usize,
}

impl Listener {
    fn new() -> Self {
        static INSTALLED: Once = Once::new();
        // For the whole test binary, because a store logs from threads of its own.
        INSTALLED.call_once(|| tracing::subscriber::set_global_default(Everything).unwrap());
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Self { from: LINES.lock().unwrap().len() }
    }

    fn lines(&self) -> Vec<String> {
        LINES.lock().unwrap()[self.from..].to_vec()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_logged_for_a_tenant_has_nothing_of_another_and_no_content() {
    for store in STORES {
        let everything = Listener::new();
        let world = World::new(store).await;
        // The first tenant is at rest from here on: its runs are over or wait for a person.
        let beside = Listener::new();
        std::thread::spawn(|| tracing::trace!(probe = "heard from another thread")).join().unwrap();
        for ids in [world.zebra.ids, world.quokka.ids] {
            for scope in [Scope::Tenant, Scope::Host] {
                for (operation, does) in
                    calls(scope).filter(|(operation, _)| operation.name != "platform.close")
                {
                    let (platform, op) = (world.platform.clone(), world.operator.clone());
                    let ctx = world.quokka.home.admin.clone();
                    let what = in_time(does(Call { platform, ctx, op, ids })).await;
                    assert!(
                        ids.tenant == world.zebra.ids.tenant || what.is_ok(),
                        "{}: {what:?}",
                        operation.name
                    );
                }
            }
        }
        let beside = beside.lines();
        assert!(beside.iter().any(|line| line.contains("heard from another thread")), "nothing is heard");
        // What the caller named is the caller's own words, but nothing here repeats even that.
        let mut hidden = world.zebra.ids.texts();
        hidden.push(world.zebra.home.root.id.to_string());
        hidden.extend(hidden.clone().iter().filter_map(|id| hyphenated(id)));
        for line in &beside {
            for text in &hidden {
                assert!(!line.contains(text), "{text} was logged: {line}");
            }
        }
        for estate in [&world.zebra, &world.quokka] {
            // The tenant, the key and the secret in the text of a key.
            let secret = estate.key_secret.expose_secret().rsplit('_').next().unwrap().to_owned();
            for line in everything.lines() {
                for text in [ZEBRA, QUOKKA, secret.as_str(), "found by a tool", "a pepper for these tests"] {
                    assert!(!line.contains(text), "content was logged: {line}");
                }
            }
        }
        world.close().await;
    }
}

/// The UUID of an id, as a database may print it.
fn hyphenated(id: &str) -> Option<String> {
    let digits = id.split_once('_')?.1;
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
