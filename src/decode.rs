//! Reads JSON from people: what is wrong is named with its place, and an unknown name with the nearest known one.

use agentprovision_core::{Error, Result};
use serde::de::DeserializeOwned;

/// Reads a value; `what` is what the text is, for messages.
///
/// # Errors
/// `invalid_input`, naming the unknown, missing or ill-typed field; also for an integer that 64 bits do not hold, which
/// would be read as a rounded number.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    if let Some(number) = huge_integer(text) {
        return Err(Error::invalid(format!(
            "{what}: the integer `{}` does not fit in 64 bits",
            clip(number)
        )));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = explain(&error.into_inner().to_string());
        if path == "." || path == "?" {
            Error::invalid(format!("{what}: {reason}"))
        } else {
            Error::invalid(format!("{what}: `{}`: {reason}", clip(&path)))
        }
    })?;
    reader.end().map_err(|error| Error::invalid(format!("{what}: {}", explain(&error.to_string()))))?;
    Ok(value)
}

/// What the reader said, without places in the text, which the host made and nobody sees; with the nearest name.
fn explain(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    if message.contains("hex escape") {
        return "a text has a lone surrogate or an escape that is cut off".into();
    }
    // A large value in it would repeat what the caller sent.
    let message: String = message.chars().take(1000).collect();
    let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|start| {
        let (name, expected) = message.strip_prefix(start)?.split_once('`')?;
        Some((name, expected))
    });
    match unknown.and_then(|(name, expected)| nearest(name, expected.split('`').skip(1).step_by(2))) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message,
    }
}

/// The one of `known` that `name` is probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // More than this is no name, and the comparison takes time in the square of it.
    if name.len() > 64 {
        return None;
    }
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .min()
        .map(|(_, known)| known)
}

/// The first integer of a JSON text that neither `i64` nor `u64` holds.
fn huge_integer(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut quoted = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let rest = text.get(at..)?;
                let end = rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let number = rest.get(..end)?;
                let integer = !number.contains(['.', 'e', 'E']);
                if integer
                    && number.len() > 18
                    && number.parse::<i64>().is_err()
                    && number.parse::<u64>().is_err()
                {
                    return Some(number);
                }
                at += end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The first 64 characters of something a caller sent.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by the reader only")]
    struct Person {
        name: String,
        #[serde(default)]
        mother: Option<Box<Person>>,
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_the_nearest_name() {
        for (text, wanted) in [
            (r#"{"nmae": "a"}"#, "unknown field `nmae`, expected `name` or `mother`; did you mean `name`?"),
            (r#"{"name": "a", "mother": {"names": "b"}}"#, "`mother.names`: unknown field `names`"),
            (r#"{"name": "a", "mother": {"name": 1}}"#, "`mother.name`: invalid type: integer `1`"),
            (r#"{}"#, "missing field `name`"),
            (r#"{"name": "a"} x"#, "trailing characters"),
            (r#"{"name": "\ud800"}"#, "lone surrogate"),
            ("", "EOF"),
        ] {
            let error = decode::<Person>("the person", text).unwrap_err();
            assert!(error.message().contains(wanted), "{text}: {error}");
            assert!(!error.message().contains("line"), "{error}");
        }
    }

    #[test]
    fn an_integer_that_would_be_rounded_is_refused() {
        for text in ["18446744073709551616", "-9223372036854775809", r#"{"a": [1, 99999999999999999999999]}"#]
        {
            assert!(decode::<Value>("it", text).unwrap_err().message().contains("64 bits"), "{text}");
        }
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e30",
            "0.1234567890123456789012345",
            r#"{"99999999999999999999999": "99999999999999999999999\" 99999999999999999999999"}"#,
        ] {
            decode::<Value>("it", text).unwrap();
        }
    }
}
