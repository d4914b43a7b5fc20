//! Everything that is logged, for tests that look for what must not be.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

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
pub(crate) struct Listener {
    from: usize,
}

impl Listener {
    pub(crate) fn new() -> Self {
        static INSTALLED: Once = Once::new();
        // For the whole test binary, because a store logs from threads of its own.
        INSTALLED.call_once(|| tracing::subscriber::set_global_default(Everything).unwrap());
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Self { from: LINES.lock().unwrap().len() }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        LINES.lock().unwrap()[self.from..].to_vec()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}
