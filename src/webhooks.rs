//! Webhooks of a platform: what the host says about working on them.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::webhook::{WebhookHandler, WorkOptions};
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the host says about webhooks.
#[derive(Debug, Default)]
pub(crate) struct WebhookParts {
    pub(crate) work: WorkOptions,
    pub(crate) handlers: Vec<Arc<dyn WebhookHandler>>,
}

/// How deliveries of webhooks are worked on; an absent setting keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhooksConfig {
    /// Deliveries that are worked on at the same time; default 16. 0 leaves all of them to other processes on the same store.
    pub at_once: Option<usize>,
    /// Milliseconds that one may take before somebody else takes it up; default 60,000.
    pub term_ms: Option<u64>,
    /// Milliseconds between looks for what other processes have kept; default 1,000.
    pub poll_ms: Option<u64>,
    /// Seconds that deliveries are kept after they are over; default a week.
    pub keep_s: Option<u64>,
}

impl WebhooksConfig {
    pub(crate) fn options(&self) -> Result<WorkOptions> {
        let mut options = WorkOptions::default();
        for (name, target, millis) in [
            ("term_ms", &mut options.term, self.term_ms),
            ("poll_ms", &mut options.poll, self.poll_ms),
            ("keep_s", &mut options.keep, self.keep_s.map(|seconds| seconds.saturating_mul(1000))),
        ] {
            match millis {
                Some(0) => return Err(Error::invalid(format!("`webhooks.{name}` is 0"))),
                Some(millis) => *target = Duration::from_millis(millis),
                None => {}
            }
        }
        options.at_once = self.at_once.unwrap_or(options.at_once);
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_used_and_nothing_lasts_for_no_time() {
        let read = |text: &str| serde_json::from_str::<WebhooksConfig>(text).unwrap().options();
        let all = read(r#"{"at_once": 0, "term_ms": 1, "poll_ms": 2, "keep_s": 3}"#).unwrap();
        let times = [all.term, all.poll, all.keep].map(|time| time.as_millis());
        assert_eq!((all.at_once, times), (0, [1, 2, 3000]));
        let none = read("{}").unwrap();
        assert_eq!((none.at_once, none.term), (16, Duration::from_secs(60)));
        for name in ["term_ms", "poll_ms", "keep_s"] {
            let error = read(&format!(r#"{{"{name}": 0}}"#)).unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        assert!(serde_json::from_str::<WebhooksConfig>(r#"{"at_one": 1}"#).is_err());
    }
}
