//! Token counts.

use agentprovision_core::model::{ServiceTier, Usage};
use serde_json::Value;

/// The counts of `usageMetadata` seen so far. They are running totals, and a chunk may leave some of them out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    prompt: Option<u64>,
    tool_prompt: Option<u64>,
    cached: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tier: Option<ServiceTier>,
}

impl Counts {
    /// Takes the counts of one chunk over; whether there were any.
    pub(super) fn update(&mut self, wire: &Value) -> bool {
        let mut any = false;
        for (slot, name) in [
            (&mut self.prompt, "promptTokenCount"),
            (&mut self.tool_prompt, "toolUsePromptTokenCount"),
            (&mut self.cached, "cachedContentTokenCount"),
            (&mut self.candidates, "candidatesTokenCount"),
            (&mut self.thoughts, "thoughtsTokenCount"),
        ] {
            if let Some(count) = wire.get(name).and_then(Value::as_u64) {
                *slot = Some(count);
                any = true;
            }
        }
        // Google's Gemini API and Vertex AI say it under different names.
        let named = ["serviceTier", "trafficType"].into_iter().filter_map(|name| wire.get(name)?.as_str());
        self.tier = named.filter_map(ServiceTier::from_wire).next().or(self.tier);
        any
    }

    /// The prompt's count includes what is cached but not what server-side tools put in; the candidates' count does not
    /// include thoughts.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            input_tokens: sum(self.prompt, self.tool_prompt),
            cache_read_tokens: self.cached,
            output_tokens: sum(self.candidates, self.thoughts),
            reasoning_tokens: self.thoughts,
            service_tier: self.tier,
            ..Usage::default()
        }
    }
}

fn sum(first: Option<u64>, second: Option<u64>) -> Option<u64> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.saturating_add(second)),
        (first, second) => first.or(second),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_reported_stays_absent_and_totals_replace_each_other() {
        let mut counts = Counts::default();
        for empty in
            [json!(null), json!({}), json!({"trafficType": "ON_DEMAND"}), json!({"promptTokenCount": -1})]
        {
            assert!(!counts.update(&empty), "{empty}");
        }
        assert_eq!(counts.usage(), Usage { service_tier: Some(ServiceTier::Standard), ..Usage::default() });
        assert!(counts.update(&json!({"promptTokenCount": 5, "thoughtsTokenCount": 2})));
        assert!(
            counts.update(&json!({"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4,
            "cachedContentTokenCount": 1, "toolUsePromptTokenCount": 7, "serviceTier": "flex"}))
        );
        let expected = Usage {
            input_tokens: Some(12),
            cache_read_tokens: Some(1),
            output_tokens: Some(7),
            reasoning_tokens: Some(4),
            service_tier: Some(ServiceTier::Flex),
            ..Usage::default()
        };
        assert_eq!(counts.usage(), expected);
    }
}
