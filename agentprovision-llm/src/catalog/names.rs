//! The names a model goes by beside its own: dated, prefixed or with a suffix, as each provider writes them.

/// The names to look for, the one that was asked for first. A name that stands for another price, such as that of a
/// fine-tuned or a free variant, never leads to the plain one.
pub(super) fn candidates<'a>(provider: &str, model: &'a str) -> Vec<&'a str> {
    let mut all = vec![model];
    if provider == "bedrock" {
        // arn:aws:bedrock:REGION:ACCOUNT:inference-profile/PROFILE, and foundation-model/NAME.
        let name = match model.rsplit_once('/') {
            Some((arn, name)) if arn.starts_with("arn:") && named_in(arn) => name,
            _ => model,
        };
        push(&mut all, name);
        // A profile of a region has a price of its own where that differs.
        push(&mut all, name.split_once('.').filter(|(area, _)| is_area(area)).map_or(name, |(_, name)| name));
        return all;
    }
    // Google's names of resources.
    let short = model.rsplit_once("models/").filter(|(path, _)| path.is_empty() || path.ends_with('/'));
    let short =
        if matches!(provider, "gemini" | "vertex") { short.map_or(model, |(_, name)| name) } else { model };
    push(&mut all, short);
    if let Some(tuned) = short.strip_prefix("ft:") {
        // ft:BASE:ORGANISATION:NAME:ID costs what ft:BASE does.
        let end = tuned.find(':').unwrap_or(tuned.len());
        push(&mut all, short.get(..3 + end).unwrap_or(short));
    }
    let mut plain = short;
    for _ in 0..2 {
        plain = without_suffix(provider, plain).unwrap_or(plain);
        push(&mut all, plain);
    }
    all
}

fn push<'a>(all: &mut Vec<&'a str>, name: &'a str) {
    if !name.is_empty() && !all.contains(&name) {
        all.push(name);
    }
}

fn named_in(arn: &str) -> bool {
    [":inference-profile", ":foundation-model"].iter().any(|kind| arn.ends_with(kind))
}

/// Whether it is a prefix of Bedrock's inference profiles.
fn is_area(area: &str) -> bool {
    matches!(area, "us" | "us-gov" | "eu" | "apac" | "au" | "jp" | "ca" | "sa" | "global")
}

/// The name before a date or a version of the kind the provider puts there.
fn without_suffix<'a>(provider: &str, model: &'a str) -> Option<&'a str> {
    let before = |form: &str| {
        let (name, end) = model.split_at_checked(model.len().checked_sub(form.len())?)?;
        let fits = end.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
        (fits && !name.is_empty()).then_some(name)
    };
    // 2024-08-06, 20250929, @20250929 and @default.
    let dated = before("-0000-00-00").or_else(|| before("-00000000")).or_else(|| before("@00000000"));
    let named = || before("@default").or_else(|| before("-latest"));
    let stable = || if matches!(provider, "gemini" | "vertex") { before("-000") } else { None };
    dated.or_else(named).or_else(stable)
}

/// Whether it is a day of the calendar such as `2026-01-31`.
pub(super) fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_style_lead_to_the_plain_one() {
        for (provider, name, plain) in [
            ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
            ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("vertex", "publishers/google/models/gemini-2.0-flash-001", "gemini-2.0-flash"),
            ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("mistral", "mistral-small-latest", "mistral-small"),
            ("bedrock", "us.amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
            (
                "bedrock",
                "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-micro-v1:0",
                "amazon.nova-micro-v1:0",
            ),
            ("openai", "ft:gpt-4o-mini-2024-07-18:org:name:id", "ft:gpt-4o-mini-2024-07-18"),
        ] {
            let all = candidates(provider, name);
            assert_eq!((all[0], all.contains(&plain)), (name, true), "{name}: {all:?}");
        }
    }

    #[test]
    fn what_may_have_another_price_leads_nowhere() {
        for (provider, name) in [
            ("openai", "gpt-4o-2024-08-0"),
            ("openai", "gpt-4o-2024-08-06x"),
            ("openai", "gpt-4o-abcd-ef-gh"),
            ("openai", "-2024-08-06"),
            ("openai", "é2024-08-06"),
            ("openai", "gpt-4o-001"),
            ("openrouter", "meta/llama:free"),
            ("bedrock", "meta.llama-1"),
            ("bedrock", "arn:aws:bedrock:us-east-1:1:custom-model/amazon.nova"),
            ("fireworks", "accounts/me/models/own"),
        ] {
            assert_eq!(candidates(provider, name), [name]);
        }
        assert_eq!(candidates("openai", "ft:gpt-4o:o:n:i"), ["ft:gpt-4o:o:n:i", "ft:gpt-4o"]);
        assert!(candidates("openai", "").len() <= 1);
    }
}
