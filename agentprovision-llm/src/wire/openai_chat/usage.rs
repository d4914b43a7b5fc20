//! Token counts, under the names of both formats of OpenAI: many servers mix them.

use agentprovision_core::model::{ServiceTier, Usage};
use serde_json::Value;

/// The counts of an answer or of a chunk, which says beside them what service tier it has; `None` when it has none.
pub(in crate::wire) fn of_answer(answer: &Value) -> Option<Usage> {
    let usages = [answer.get("usage"), answer.get("x_groq").and_then(|groq| groq.get("usage"))];
    let usage = usages.into_iter().flatten().find_map(usage)?;
    Some(Usage { service_tier: tier(answer).or(usage.service_tier), ..usage })
}

/// The service tier an object names.
pub(in crate::wire) fn tier(wire: &Value) -> Option<ServiceTier> {
    wire.get("service_tier").and_then(Value::as_str).and_then(ServiceTier::from_wire)
}

/// The counts of a `usage` object, or `None` when it has none.
pub(in crate::wire) fn usage(wire: &Value) -> Option<Usage> {
    let field = |path: &[&str]| {
        let value = path.iter().try_fold(wire, |value, name| value.get(name))?;
        value.as_u64().or_else(|| whole(value.as_f64()?))
    };
    let first = |paths: &[&[&str]]| paths.iter().find_map(|path| field(path));
    let input = first(&[&["prompt_tokens"], &["input_tokens"]]);
    let reasoning = first(&[
        &["completion_tokens_details", "reasoning_tokens"],
        &["output_tokens_details", "reasoning_tokens"],
        &["reasoning_tokens"],
    ]);
    let mut output = first(&[&["completion_tokens"], &["output_tokens"]]);
    if let (Some(input), Some(completion), Some(reasoning), Some(total)) =
        (input, output, reasoning, field(&["total_tokens"]))
    {
        // xAI counts reasoning beside the completion instead of within it; the total tells which it is.
        let beside = completion.saturating_add(reasoning);
        if reasoning > 0 && total == input.saturating_add(beside) {
            output = Some(beside);
        }
    }
    let usage = Usage {
        input_tokens: input,
        cache_read_tokens: first(&[
            &["prompt_tokens_details", "cached_tokens"],
            &["input_tokens_details", "cached_tokens"],
            &["prompt_cache_hit_tokens"],
            &["cache_read_input_tokens"],
            &["cached_tokens"],
        ]),
        cache_write_tokens: first(&[
            &["prompt_tokens_details", "cache_write_tokens"],
            &["input_tokens_details", "cache_write_tokens"],
            &["cache_creation_input_tokens"],
        ]),
        output_tokens: output,
        reasoning_tokens: reasoning,
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(Usage { service_tier: tier(wire), ..usage })
}

/// Counts written as `256.0`.
fn whole(value: f64) -> Option<u64> {
    (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
}

/// The counts seen so far with the newer ones over them: some servers spread them over several events.
pub(in crate::wire) fn merge(old: Option<Usage>, new: Usage) -> Usage {
    let old = old.unwrap_or_default();
    Usage {
        input_tokens: new.input_tokens.or(old.input_tokens),
        cache_read_tokens: new.cache_read_tokens.or(old.cache_read_tokens),
        cache_write_tokens: new.cache_write_tokens.or(old.cache_write_tokens),
        cache_write_1h_tokens: new.cache_write_1h_tokens.or(old.cache_write_1h_tokens),
        output_tokens: new.output_tokens.or(old.output_tokens),
        reasoning_tokens: new.reasoning_tokens.or(old.reasoning_tokens),
        billed_input_tokens: new.billed_input_tokens.or(old.billed_input_tokens),
        billed_output_tokens: new.billed_output_tokens.or(old.billed_output_tokens),
        search_units: new.search_units.or(old.search_units),
        service_tier: new.service_tier.or(old.service_tier),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_reported_stays_absent() {
        for empty in [
            json!(null),
            json!({}),
            json!({"prompt_tokens": null}),
            json!({"prompt_tokens": -1}),
            json!([]),
            json!("x"),
        ] {
            assert_eq!(usage(&empty), None, "{empty}");
        }
        let counts =
            usage(&json!({"prompt_tokens": 3, "completion_tokens": 2.0, "total_tokens": 5})).unwrap();
        let expected = Usage { input_tokens: Some(3), output_tokens: Some(2), ..Usage::default() };
        assert_eq!(counts, expected);
        let zero = usage(&json!({"prompt_tokens_details": {"cached_tokens": 0}})).unwrap();
        assert_eq!(zero.cache_read_tokens, Some(0));
    }

    #[test]
    fn the_service_tier_is_said_beside_the_counts_and_alone_is_no_usage() {
        let answer = json!({"usage": {"prompt_tokens": 3}, "service_tier": "flex"});
        assert_eq!(of_answer(&answer).unwrap().service_tier, Some(ServiceTier::Flex));
        let groq = json!({"x_groq": {"usage": {"prompt_tokens": 3}}, "service_tier": "on_demand"});
        assert_eq!(of_answer(&groq).unwrap().service_tier, Some(ServiceTier::Standard));
        let within =
            json!({"usage": {"prompt_tokens": 3, "service_tier": "priority"}, "service_tier": "auto"});
        assert_eq!(of_answer(&within).unwrap().service_tier, Some(ServiceTier::Priority));
        for none in [json!({"service_tier": "flex"}), json!({"usage": {"service_tier": "flex"}})] {
            assert_eq!(of_answer(&none), None, "{none}");
        }
        let later = merge(of_answer(&answer), Usage { output_tokens: Some(1), ..Usage::default() });
        assert_eq!(later.service_tier, Some(ServiceTier::Flex));
    }

    #[test]
    fn reasoning_beside_the_completion_is_added_and_within_it_is_not() {
        let wire = |total: u64| {
            json!({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": total,
                "completion_tokens_details": {"reasoning_tokens": 3}})
        };
        assert_eq!(usage(&wire(17)).unwrap().output_tokens, Some(7));
        assert_eq!(usage(&wire(14)).unwrap().output_tokens, Some(4));
        assert_eq!(usage(&wire(99)).unwrap().output_tokens, Some(4));
    }
}
