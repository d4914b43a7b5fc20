//! When to retry, as providers say it: headers, fields of the error, and words in its message.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

/// Where a hint was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HintSource {
    /// The header `retry-after-ms`.
    RetryAfterMs,
    /// The header `retry-after`: seconds or a date (RFC 9110, section 10.2.3).
    RetryAfter,
    /// A `google.rpc.RetryInfo` in the error's details.
    RetryInfo,
    /// The header `x-ratelimit-reset-requests` or `anthropic-ratelimit-requests-reset`, with no request left.
    ResetRequests,
    /// The header `x-ratelimit-reset-tokens`, or one of Anthropic's for tokens, with no token left.
    ResetTokens,
    /// The text of the error's message.
    Message,
}

/// One hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryHint {
    /// How long to wait.
    pub after: Duration,
    /// Where it was found.
    pub source: HintSource,
}

/// The longest wait that is believed; a longer one is a date misread as seconds.
const LONGEST: f64 = 31.0 * 24.0 * 3600.0;

/// Headers that say how much of a limit is left and when it is whole again: OpenAI's, which say how long that takes, and
/// Anthropic's, which name the time (RFC 3339).
const RESETS: [(HintSource, &str, &str); 6] = [
    (HintSource::ResetRequests, "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    (HintSource::ResetTokens, "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        HintSource::ResetRequests,
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    (HintSource::ResetTokens, "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    (
        HintSource::ResetTokens,
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        HintSource::ResetTokens,
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
];

/// Every hint of an error answer, the most trustworthy first.
pub(crate) fn hints(headers: &HeaderMap, error: &Value, message: &str) -> Vec<RetryHint> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let mut hints = Vec::new();
    let mut add = |source, after: Option<Duration>| {
        hints.extend(after.map(|after| RetryHint { after, source }));
    };
    add(HintSource::RetryAfterMs, text("retry-after-ms").and_then(|ms| seconds(ms, 1e-3)));
    add(
        HintSource::RetryAfter,
        text("retry-after").and_then(|value| seconds(value, 1.0).or_else(|| until(value, text("date")?))),
    );
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let delay = details.filter_map(|detail| detail.get("retryDelay")?.as_str()).find_map(duration);
    add(HintSource::RetryInfo, delay);
    for (source, remaining, reset) in RESETS {
        // The reset of a limit that is not used up says nothing about this error.
        if text(remaining) == Some("0") {
            let read = |value| duration(value).or_else(|| seconds(value, 1.0));
            let read = |value| read(value).or_else(|| until(value, text("date")?));
            add(source, text(reset).and_then(read));
        }
    }
    add(HintSource::Message, in_message(message, &["try again in "]));
    if hints.is_empty() {
        // These words repeat, rounded, what other providers also say in a header or a field.
        let after = in_message(message, &["retry in ", "retry after "]);
        hints.extend(after.map(|after| RetryHint { after, source: HintSource::Message }));
    }
    hints
}

/// A decimal number of units of `scale` seconds.
fn seconds(text: &str, scale: f64) -> Option<Duration> {
    // `f64` would also read `inf`, `nan` and exponents.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let value = text.parse::<f64>().ok()? * scale;
    (value <= LONGEST).then(|| Duration::from_micros((value * 1e6).round() as u64))
}

/// The time to a date as HTTP or RFC 3339 writes it, measured from the date of the answer itself, so that no clocks are
/// compared.
fn until(date: &str, now: &str) -> Option<Duration> {
    let read = |text: &str| match jiff::fmt::rfc2822::parse(text) {
        Ok(time) => Some(time.timestamp().as_second()),
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(|time| time.as_second()),
    };
    let after = read(date)?.saturating_sub(read(now)?);
    let after = u64::try_from(after).unwrap_or(0);
    (after as f64 <= LONGEST).then(|| Duration::from_secs(after))
}

/// A duration such as `6ms`, `1.5s`, `1m2.5s` or `2h0m`; the whole text must be one.
fn duration(text: &str) -> Option<Duration> {
    let (value, rest) = leading_duration(text)?;
    rest.is_empty().then_some(value)
}

/// The duration a text begins with, and what follows it.
fn leading_duration(mut text: &str) -> Option<(Duration, &str)> {
    let mut total = None;
    loop {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        let scale = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return total.map(|total| (total, text)),
        };
        // A sentence may end right after the number: `in 6.` is no number with a unit.
        let Some(part) = seconds(number, scale) else { return total.map(|total| (total, text)) };
        total = Some(total.unwrap_or(Duration::ZERO) + part);
        text = rest;
    }
}

/// The hint in sentences such as `Please try again in 1m2.5s.` or `Try again in 12 seconds.`.
fn in_message(message: &str, phrases: &[&str]) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let (_, rest) = phrases.iter().find_map(|words| lower.split_once(words))?;
    if let Some((value, _)) = leading_duration(rest) {
        return Some(value);
    }
    let mut words = rest.split_whitespace();
    let number = words.next()?;
    let scale = match words.next()?.trim_end_matches(|c: char| !c.is_ascii_alphabetic()) {
        "millisecond" | "milliseconds" => 1e-3,
        "second" | "seconds" => 1.0,
        "minute" | "minutes" => 60.0,
        "hour" | "hours" => 3600.0,
        _ => return None,
    };
    seconds(number, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn found(pairs: &[(&'static str, &'static str)], message: &str) -> Vec<(u128, HintSource)> {
        let hints = hints(&headers(pairs), &Value::Null, message);
        hints.into_iter().map(|hint| (hint.after.as_millis(), hint.source)).collect()
    }

    #[test]
    fn headers_are_read_in_every_form() {
        assert_eq!(found(&[("retry-after-ms", "250")], ""), [(250, HintSource::RetryAfterMs)]);
        assert_eq!(found(&[("retry-after", "2")], ""), [(2000, HintSource::RetryAfter)]);
        assert_eq!(found(&[("retry-after", "0.5")], ""), [(500, HintSource::RetryAfter)]);
        let date =
            [("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")];
        assert_eq!(found(&date, ""), [(30_000, HintSource::RetryAfter)]);
        let past =
            [("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT")];
        assert_eq!(found(&past, ""), [(0, HintSource::RetryAfter)]);
        for bad in ["", "-1", "soon", "inf", "NaN", "1e9", "99999999999999999999", "1.2.3", "\u{661}"] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", http::HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(hints(&headers, &Value::Null, ""), [], "{bad}");
        }
    }

    #[test]
    fn only_the_reset_of_an_exhausted_limit_counts() {
        let pairs = [
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        assert_eq!(found(&pairs, ""), [(360_000, HintSource::ResetTokens)]);
    }

    #[test]
    fn anthropics_resets_are_times() {
        let mut pairs = vec![
            ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2015-10-21T07:28:02Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2015-10-21T07:28:40Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2015-10-21T07:27:00Z"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "soon"),
        ];
        let expected = [(40_000, HintSource::ResetTokens), (0, HintSource::ResetTokens)];
        assert_eq!(found(&pairs, ""), expected);
        // Without the answer's own date a time says nothing.
        pairs.remove(0);
        assert_eq!(found(&pairs, ""), []);
    }

    #[test]
    fn messages_are_read() {
        for (message, ms) in [
            ("Limit: 10000 / min. Please try again in 6ms. Contact us", 6),
            ("Please try again in 1m2.5s.", 62_500),
            ("Rate limit is exceeded. Try again in 12 seconds.", 12_000),
            ("Please retry in 1 minute", 60_000),
            ("please try again in 7h12m0s. Visit", 25_920_000),
        ] {
            assert_eq!(found(&[], message), [(ms, HintSource::Message)], "{message}");
        }
        for message in
            ["try again in a moment", "try again in 5", "try again in 5.", "try again in ", "retry after"]
        {
            assert_eq!(found(&[], message), [], "{message}");
        }
    }

    #[test]
    fn retry_info_is_read_from_the_error() {
        let error =
            serde_json::json!({"details": [{"@type": "x"}, {"@type": "y.RetryInfo", "retryDelay": "48s"}]});
        let hints = hints(&HeaderMap::new(), &error, "please retry in 48.9s.");
        assert_eq!(hints, [RetryHint { after: Duration::from_secs(48), source: HintSource::RetryInfo }]);
    }
}
