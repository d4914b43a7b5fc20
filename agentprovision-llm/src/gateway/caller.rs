//! What the headers of a request say about who answers.

use agentprovision_core::http::inbound::{LONGEST_TEXT, text};
use agentprovision_core::model::{CacheUse, RouteHints};
use agentprovision_core::{Error, Result};
use http::{HeaderMap, HeaderName};

use super::fields::PARAM;

const SESSION: HeaderName = HeaderName::from_static("x-session-id");
const PROJECT: HeaderName = HeaderName::from_static("x-agentprovision-project");
const CACHE: HeaderName = HeaderName::from_static("x-agentprovision-cache");

/// What the headers say about who answers.
///
/// # Errors
/// `invalid_input`, naming the header.
pub(super) fn hints(headers: &HeaderMap) -> Result<RouteHints> {
    let mut hints = RouteHints::default();
    let named = |name: &HeaderName| match headers.contains_key(name) {
        false => Ok(None),
        true => text(headers, name).map(|text| Some(text.to_owned())).ok_or_else(|| {
            let message =
                format!("the header `{name}` must be 1 to {LONGEST_TEXT} printable characters of ASCII");
            Error::invalid(message).with_context(PARAM, name)
        }),
    };
    hints.project = named(&PROJECT)?;
    hints.affinity = named(&SESSION)?;
    hints.cache = match named(&CACHE)?.as_deref() {
        None | Some("default") => CacheUse::Default,
        Some("always") => CacheUse::Always,
        Some("refresh") => CacheUse::Refresh,
        Some("never") => CacheUse::Never,
        Some(_) => {
            let message = format!("the header `{CACHE}` must be `default`, `always`, `refresh` or `never`");
            return Err(Error::invalid(message).with_context(PARAM, CACHE));
        }
    };
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn headers_become_hints_or_are_refused_by_name() {
        let all = headers(&[
            ("x-session-id", "s"),
            ("x-agentprovision-project", "p"),
            ("x-agentprovision-cache", "refresh"),
        ]);
        let found = hints(&all).unwrap();
        assert_eq!((found.affinity.as_deref(), found.project.as_deref()), (Some("s"), Some("p")));
        assert_eq!(found.cache, CacheUse::Refresh);
        for bad in [("x-agentprovision-cache", "yes"), ("x-agentprovision-project", "")] {
            let error = hints(&headers(&[bad])).unwrap_err();
            assert!(error.message().contains(bad.0), "{error}");
        }
    }
}
