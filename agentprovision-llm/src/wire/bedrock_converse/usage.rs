//! Token counts.

use agentprovision_core::model::{ServiceTier, Usage};
use serde_json::Value;

/// The counts of an answer or of its last event, or `None` when it has none. Cache reads and writes are beside the input
/// on the wire.
pub(super) fn usage(answer: &Value) -> Option<Usage> {
    let wire = answer.get("usage")?;
    let count = |name: &str| wire.get(name).and_then(Value::as_u64);
    let (read, write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let sum = |parts: [u64; 3]| parts.into_iter().fold(0, u64::saturating_add);
    let details = wire.get("cacheDetails").and_then(Value::as_array);
    let hour = details.map(|details| {
        let hours = details.iter().filter(|detail| detail.get("ttl").and_then(Value::as_str) == Some("1h"));
        hours
            .filter_map(|detail| detail.get("inputTokens").and_then(Value::as_u64))
            .fold(0, u64::saturating_add)
    });
    let usage = Usage {
        input_tokens: count("inputTokens").map(|input| sum([input, read.unwrap_or(0), write.unwrap_or(0)])),
        cache_read_tokens: read,
        cache_write_tokens: write,
        cache_write_1h_tokens: hour,
        output_tokens: count("outputTokens"),
        ..Usage::default()
    };
    let tier = answer.pointer("/serviceTier/type").and_then(Value::as_str).and_then(ServiceTier::from_wire);
    (usage != Usage::default()).then_some(Usage { service_tier: tier, ..usage })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cache_counts_within_the_input() {
        let usage = |wire: &Value| super::usage(&json!({"usage": wire, "serviceTier": {"type": "flex"}}));
        let wire = json!({"inputTokens": 2, "outputTokens": 5, "totalTokens": 1329, "cacheReadInputTokens": 20,
            "cacheWriteInputTokens": 1300,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 1000}, {"ttl": "1h", "inputTokens": 300}]});
        let expected = Usage {
            input_tokens: Some(1322),
            cache_read_tokens: Some(20),
            cache_write_tokens: Some(1300),
            cache_write_1h_tokens: Some(300),
            output_tokens: Some(5),
            service_tier: Some(ServiceTier::Flex),
            ..Usage::default()
        };
        assert_eq!(usage(&wire), Some(expected));
        let plain = Usage {
            input_tokens: Some(2),
            output_tokens: Some(5),
            service_tier: expected.service_tier,
            ..Usage::default()
        };
        assert_eq!(usage(&json!({"inputTokens": 2, "outputTokens": 5})), Some(plain));
        for empty in [json!(null), json!({}), json!({"inputTokens": -1}), json!([1])] {
            assert_eq!(usage(&empty), None, "{empty}");
        }
        let huge = json!({"inputTokens": u64::MAX, "cacheReadInputTokens": u64::MAX});
        assert_eq!(usage(&huge).unwrap().input_tokens, Some(u64::MAX));
    }
}
