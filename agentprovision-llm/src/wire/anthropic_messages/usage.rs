//! Token counts.

use agentprovision_core::model::{ServiceTier, Usage};
use serde_json::Value;

/// The counts of one answer as the wire has them: cumulative, so a newer count replaces an older one.
#[derive(Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    tier: Option<ServiceTier>,
    compaction: Compaction,
}

/// What summing up a long conversation on the way took, which the other counts leave out.
#[derive(Debug, Default)]
struct Compaction {
    input: u64,
    read: u64,
    write: u64,
    output: u64,
}

impl Counts {
    /// Takes the counts of a `usage` object.
    pub(super) fn take(&mut self, wire: &Value) {
        for (slot, path) in [
            (&mut self.input, &["input_tokens"][..]),
            (&mut self.read, &["cache_read_input_tokens"]),
            (&mut self.write, &["cache_creation_input_tokens"]),
            (&mut self.write_5m, &["cache_creation", "ephemeral_5m_input_tokens"]),
            (&mut self.write_1h, &["cache_creation", "ephemeral_1h_input_tokens"]),
            (&mut self.output, &["output_tokens"]),
            (&mut self.thinking, &["output_tokens_details", "thinking_tokens"]),
        ] {
            let value = path.iter().try_fold(wire, |value, name| value.get(name));
            if let Some(count) = value.and_then(Value::as_u64) {
                *slot = Some(count);
            }
        }
        let tier = wire.get("service_tier").and_then(Value::as_str).and_then(ServiceTier::from_wire);
        self.tier = tier.or(self.tier);
        if let Some(iterations) = wire.get("iterations").and_then(Value::as_array) {
            let of = |name: &str| {
                let compactions = iterations
                    .iter()
                    .filter(|entry| entry.get("type").and_then(Value::as_str) == Some("compaction"));
                let counts = compactions.filter_map(|entry| entry.get(name).and_then(Value::as_u64));
                counts.fold(0, u64::saturating_add)
            };
            self.compaction = Compaction {
                input: of("input_tokens"),
                read: of("cache_read_input_tokens"),
                write: of("cache_creation_input_tokens"),
                output: of("output_tokens"),
            };
        }
    }

    /// The counts with cache reads and writes within the input; `None` when nothing was reported.
    pub(super) fn usage(&self) -> Option<Usage> {
        let more = &self.compaction;
        let write = self.write.or_else(|| match (self.write_5m, self.write_1h) {
            (None, None) => None,
            (short, long) => Some(short.unwrap_or(0).saturating_add(long.unwrap_or(0))),
        });
        let sum = |parts: &[u64]| parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part));
        let plus = |count: Option<u64>, more: u64| match count {
            None if more == 0 => None,
            count => Some(sum(&[count.unwrap_or(0), more])),
        };
        let (read, write) = (plus(self.read, more.read), plus(write, more.write));
        let usage = Usage {
            input_tokens: self
                .input
                .map(|input| sum(&[input, more.input, read.unwrap_or(0), write.unwrap_or(0)])),
            cache_read_tokens: read,
            cache_write_tokens: write,
            cache_write_1h_tokens: self.write_1h,
            output_tokens: plus(self.output, more.output),
            reasoning_tokens: self.thinking,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(Usage { service_tier: self.tier, ..usage })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(wires: &[Value]) -> Option<Usage> {
        let mut counts = Counts::default();
        wires.iter().for_each(|wire| counts.take(wire));
        counts.usage()
    }

    #[test]
    fn the_cache_counts_within_the_input_and_the_last_count_holds() {
        let start = json!({"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}, "output_tokens": 1,
            "service_tier": "priority"});
        let end =
            json!({"input_tokens": 5, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}});
        let expected = Usage {
            input_tokens: Some(125),
            cache_read_tokens: Some(20),
            cache_write_tokens: Some(100),
            cache_write_1h_tokens: Some(40),
            output_tokens: Some(9),
            reasoning_tokens: Some(4),
            service_tier: Some(ServiceTier::Priority),
            ..Usage::default()
        };
        assert_eq!(of(&[start.clone(), end]), Some(expected));
        // Only the breakdown of the writes.
        let parts = json!({"input_tokens": 3, "cache_creation":
            {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 4}});
        let usage = of(&[parts]).unwrap();
        assert_eq!((usage.input_tokens, usage.cache_write_tokens), (Some(13), Some(10)));
    }

    #[test]
    fn what_is_not_reported_stays_absent() {
        for empty in [json!(null), json!({}), json!({"input_tokens": null, "output_tokens": -1}), json!([])] {
            assert_eq!(of(std::slice::from_ref(&empty)), None, "{empty}");
        }
        let plain = of(&[json!({"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": null})]);
        let expected = Usage { input_tokens: Some(3), output_tokens: Some(2), ..Usage::default() };
        assert_eq!(plain, Some(expected));
        let huge = json!({"input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX});
        assert_eq!(of(&[huge]).unwrap().input_tokens, Some(u64::MAX));
    }

    #[test]
    fn summing_up_on_the_way_is_paid_too() {
        let wire = json!({"input_tokens": 23_000, "output_tokens": 1000, "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500, "cache_read_input_tokens": 10},
            {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
        ]});
        let usage = of(&[wire]).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(203_010), Some(4500)));
        assert_eq!(usage.cache_read_tokens, Some(10));
    }
}
