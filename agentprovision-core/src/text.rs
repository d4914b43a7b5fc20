//! Rules for text that is stored: what is refused at the edge, and how names are normalised.

use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// The longest name, in characters.
pub const MAX_NAME: usize = 255;

/// A name as it is stored: NFC, trimmed of white space, 1 to 255 characters, no control characters.
///
/// # Errors
/// `too_large` for more than 255 characters, `invalid_input` for an empty one or one with control characters.
pub fn name(field: &str, text: &str) -> Result<String> {
    // Length first, in bytes, so that a huge input is refused before any work on it.
    if text.len() > MAX_NAME * 4 {
        return Err(Error::too_large(format!("`{field}` has more than {MAX_NAME} characters")));
    }
    let name: String = text.trim().nfc().collect();
    if name.is_empty() {
        return Err(Error::invalid(format!("`{field}` is empty")));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Error::too_large(format!("`{field}` has more than {MAX_NAME} characters")));
    }
    if let Some(bad) = name.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(format!("`{field}` has the control character U+{:04X}", u32::from(bad))));
    }
    Ok(name)
}

/// Free text as it is stored, unchanged: at most `max` bytes, without U+0000, which PostgreSQL cannot hold.
///
/// # Errors
/// `too_large` beyond `max`, `invalid_input` with U+0000.
pub fn content<'a>(field: &str, text: &'a str, max: usize) -> Result<&'a str> {
    if text.len() > max {
        return Err(Error::too_large(format!("`{field}` has {} bytes, more than {max}", text.len())));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!("`{field}` has the character U+0000")));
    }
    Ok(text)
}

/// Refuses U+0000 anywhere in a JSON value, and more than `max` bytes of it.
///
/// # Errors
/// As [`content`].
pub fn json(field: &str, value: &serde_json::Value, max: usize) -> Result<()> {
    fn strings(value: &serde_json::Value, bad: &mut bool) {
        match value {
            serde_json::Value::String(text) => *bad |= text.contains('\0'),
            serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, bad)),
            serde_json::Value::Object(map) => map.iter().for_each(|(key, item)| {
                *bad |= key.contains('\0');
                strings(item, bad);
            }),
            _ => {}
        }
    }
    let mut bad = false;
    strings(value, &mut bad);
    if bad {
        return Err(Error::invalid(format!("`{field}` has the character U+0000")));
    }
    let size = value.to_string().len();
    if size > max {
        return Err(Error::too_large(format!("`{field}` has {size} bytes, more than {max}")));
    }
    Ok(())
}

/// A domain in lower case: labels of letters, digits and hyphens joined by dots, at most 255 characters.
///
/// # Errors
/// As [`name`], and `invalid_input` for a text that is no domain.
pub fn domain(text: &str) -> Result<String> {
    let domain = name("domain", text)?.to_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if domain.split('.').all(label) {
        Ok(domain)
    } else {
        Err(Error::invalid(format!("`{}` is not a domain", crate::money::clip(text))))
    }
}

/// An e-mail address: one `@`, something before it, a domain behind it. The domain is stored in lower case.
///
/// # Errors
/// As [`name`], and `invalid_input` for a text that is no address.
pub fn email(text: &str) -> Result<String> {
    let address = name("email", text)?;
    let bad = || Error::invalid(format!("`{}` is not an e-mail address", crate::money::clip(text)));
    let (local, host) = address.rsplit_once('@').ok_or_else(bad)?;
    if local.is_empty() || local.contains(['@', ' ']) {
        return Err(bad());
    }
    Ok(format!("{local}@{}", domain(host).map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn names_are_normalised_and_bad_ones_refused_by_kind() {
        assert_eq!(name("name", " e\u{301}t\u{e9} ").unwrap(), "\u{e9}t\u{e9}");
        let huge = "a".repeat(10 << 20);
        let over = "\u{e9}".repeat(256);
        for (text, kind) in [
            ("", ErrorKind::InvalidInput),
            ("  ", ErrorKind::InvalidInput),
            ("a\u{0}b", ErrorKind::InvalidInput),
            ("a\nb", ErrorKind::InvalidInput),
            (&*huge, ErrorKind::TooLarge),
            (&*over, ErrorKind::TooLarge),
        ] {
            assert_eq!(name("name", text).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn domains_and_addresses() {
        assert_eq!(domain("Acme.Example").unwrap(), "acme.example");
        assert_eq!(email("Ada@Acme.Example").unwrap(), "Ada@acme.example");
        for text in ["a..b", "-a.b", "a b", "a_b", ".", "a."] {
            assert!(domain(text).is_err(), "{text}");
        }
        for text in ["a", "@b", "a@b@c.d", "a b@c", "a@"] {
            assert!(email(text).is_err(), "{text}");
        }
    }
}
