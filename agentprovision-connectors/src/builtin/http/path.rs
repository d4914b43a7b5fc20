//! Paths that stay where they are: under a base URL, in whatever way they are written.

use agentprovision_core::{Error, Result};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

/// What is encoded in a path besides what is encoded already (RFC 3986, section 3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// How often a path may be encoded on top of itself.
const LAYERS: usize = 4;

/// The URL of a path under a base URL.
///
/// # Errors
/// `invalid_input` for what is no path, or one that does not stay under the base: `..`, a backslash or another host, plain, encoded
/// or encoded again.
pub(super) fn under(base: &str, path: &str) -> Result<String> {
    let bad = |why: &str| Err(Error::invalid(format!("the path {why}")));
    if path.contains(['?', '#']) {
        return bad("has a query or a fragment; a query is in `query`");
    }
    let mut read = path.to_owned();
    for layer in 0.. {
        if leads_away(&read) {
            return bad("does not stay under the integration's URL");
        }
        let decoded = percent_decode_str(&read).decode_utf8();
        let Ok(decoded) = decoded else { return bad("has bytes that are no text") };
        if decoded == read {
            break;
        }
        if layer == LAYERS {
            return bad("is encoded too often");
        }
        read = decoded.into_owned();
    }
    let escapes = path.split('%').skip(1);
    let hex = |escape: &str| escape.len() >= 2 && escape.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !escapes.clone().all(hex) {
        return bad("has a `%` that is no encoding");
    }
    let base = base.trim_end_matches('/');
    let url = format!("{base}/{}", utf8_percent_encode(path.trim_start_matches('/'), SEGMENT));
    // As whoever sends it reads it: what it makes of the path is still there.
    let (Ok(whole), Ok(root)) = (Url::parse(&url), Url::parse(&format!("{base}/"))) else {
        return bad("makes no URL under the integration's");
    };
    if whole.origin() != root.origin()
        || !whole.path().starts_with(root.path())
        || whole.username() != root.username()
    {
        return bad("does not stay under the integration's URL");
    }
    Ok(whole.into())
}

/// Whether a path, as it is now read, leads to another host or upwards.
fn leads_away(path: &str) -> bool {
    let scheme = path.split(['/', '\\']).next().is_some_and(|first| {
        let name = first.split_once(':').map_or("", |(name, _)| name);
        !name.is_empty() && path.contains("//")
    });
    let upwards = |segment: &str| {
        // Some servers read `..;x` as `..`, and leave spaces at the end aside.
        let segment = segment.split(';').next().unwrap_or_default().trim();
        !segment.is_empty() && segment.bytes().all(|b| b == b'.')
    };
    scheme
        || path.starts_with("//")
        || path.contains('\\')
        || path.chars().any(char::is_control)
        || path.split('/').any(upwards)
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    #[test]
    fn paths_are_under_the_base() {
        for (path, expected) in [
            ("/users/7", "/users/7"),
            ("users/7", "/users/7"),
            ("", "/"),
            ("/", "/"),
            ("/a b/ü", "/a%20b/%C3%BC"),
            ("/group%2Fproject/x", "/group%2Fproject/x"),
            ("/v1/things:run", "/v1/things:run"),
            ("/a@b", "/a@b"),
            ("/a..b/...c/.d", "/a..b/...c/.d"),
            ("/a%20b", "/a%20b"),
            ("/q=1&r=2;s", "/q=1&r=2;s"),
        ] {
            for base in ["https://x.example/api/v1", "https://x.example/api/v1/"] {
                assert_eq!(
                    under(base, path).unwrap(),
                    format!("https://x.example/api/v1{expected}"),
                    "{path}"
                );
            }
            assert_eq!(
                under("https://x.example", path).unwrap(),
                format!("https://x.example{expected}"),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused_in_every_form() {
        for path in [
            "//evil.example/x",
            "///evil.example/x",
            "https://evil.example/x",
            "HTTPS://evil.example",
            "http:/\\evil.example",
            "javascript://x",
            "file:///etc/passwd",
            "\\\\evil.example\\x",
            "/\\evil.example",
            "/a\\..\\b",
            "..",
            "../x",
            "/..",
            "/a/../../x",
            "/a/..",
            "/./x",
            "/a/.",
            "/%2e%2e/x",
            "/%2E%2e/x",
            "/.%2e/x",
            "/%2e/x",
            "/a%2f..%2f..%2fx",
            "/a%2F%2e%2e",
            "%2e%2e%2fx",
            "/%252e%252e/x",
            "/%25252e%25252e/x",
            "%2f%2fevil.example",
            "%2F/evil.example",
            "/%5c%5cevil.example",
            "/a%5c..%5cb",
            "/..;/x",
            "/..;a=b/x",
            "/.. /x",
            "/..%20/x",
            "/...//x/../y",
            "/....//....//x",
            "/a\r\nhost: evil.example",
            "/a%0d%0ahost:%20x",
            "/a\tb",
            "/a%00b",
            "\u{0}",
            "/a?x=1",
            "/a#x",
            "/%",
            "/%zz",
            "/%2",
            "/%ff%fe",
            "/%c0%ae%c0%ae/x",
            "/%2525252525252e",
        ] {
            let error = under("https://x.example/api", path).expect_err(path);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
        }
    }
}
