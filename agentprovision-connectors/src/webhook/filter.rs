//! Which events somebody wants.

use std::collections::BTreeMap;

use agentprovision_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::WebhookEvent;

/// The longest text in a filter, in bytes, and the most attributes.
const LONGEST: usize = 256;
const MOST: usize = 32;

/// Which events somebody wants. All that is given has to match; a filter with nothing given wants everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct EventFilter {
    /// The kind, as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What the kind begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What the kind ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Attributes of the event and their values, each as a whole. An event without the attribute does not match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl EventFilter {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Events of one kind.
    pub fn kind(kind: impl Into<String>) -> Self {
        Self { kind: Some(kind.into()), ..Self::default() }
    }

    /// The same for kinds that begin so.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The same for kinds that end so.
    #[must_use]
    pub fn with_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = Some(suffix.into());
        self
    }

    /// The same for events with this attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Whether the filter can be kept.
    ///
    /// ```
    /// use agentprovision_connectors::webhook::EventFilter;
    ///
    /// let text = r#"{ "prefix": "issues.", "attributes": { "repository": "octo/repo" } }"#;
    /// let filter: EventFilter = serde_json::from_str(text).unwrap();
    /// filter.check()?;
    /// # Ok::<(), agentprovision_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `invalid_input` for an empty text, which is most likely a mistake; `too_large`.
    pub fn check(&self) -> Result<()> {
        let fields = [("kind", &self.kind), ("prefix", &self.prefix), ("suffix", &self.suffix)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let attributes = self.attributes.values().map(|value| ("attributes", value.as_str()));
        let names = self.attributes.keys().map(|name| ("attributes", name.as_str()));
        for (name, text) in fields.chain(names).chain(attributes) {
            if text.is_empty() {
                return Err(Error::invalid(format!(
                    "`{name}` of the filter has an empty text; leave it out"
                )));
            }
            if text.len() > LONGEST {
                return Err(Error::too_large(format!(
                    "`{name}` of the filter has more than {LONGEST} bytes"
                )));
            }
        }
        if self.attributes.len() > MOST {
            return Err(Error::too_large(format!("`attributes` of the filter are more than {MOST}")));
        }
        Ok(())
    }

    /// Whether this is an event that is wanted.
    pub fn matches(&self, event: &WebhookEvent) -> bool {
        self.kind.as_ref().is_none_or(|kind| event.kind == *kind)
            && self.prefix.as_ref().is_none_or(|prefix| event.kind.starts_with(prefix.as_str()))
            && self.suffix.as_ref().is_none_or(|suffix| event.kind.ends_with(suffix.as_str()))
            && self.attributes.iter().all(|(name, value)| event.attributes.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::webhook::event::Vendor;

    #[test]
    fn all_that_is_given_has_to_match() {
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", "issues".parse().unwrap());
        let body = br#"{"action":"opened","repository":{"id":1,"full_name":"octo/repo"}}"#;
        let event = WebhookEvent::read(Vendor::Github, &headers, Bytes::from_static(body)).unwrap();
        let read = |text: &str| serde_json::from_str::<EventFilter>(text).unwrap();
        for (text, expected) in [
            ("{}", true),
            (r#"{"kind":"issues.opened"}"#, true),
            (r#"{"kind":"issues"}"#, false),
            (r#"{"prefix":"issues."}"#, true),
            (r#"{"prefix":"issue."}"#, false),
            (r#"{"suffix":".opened"}"#, true),
            (r#"{"suffix":".closed"}"#, false),
            (r#"{"prefix":"issues.","suffix":".closed"}"#, false),
            (r#"{"attributes":{"action":"opened","repository":"octo/repo"}}"#, true),
            (r#"{"attributes":{"repository":"octo/rep"}}"#, false),
            (r#"{"attributes":{"channel":"C1"}}"#, false),
            (r#"{"kind":"issues.opened","attributes":{"repository":"other/repo"}}"#, false),
        ] {
            let filter = read(text);
            filter.check().unwrap();
            assert_eq!(filter.matches(&event), expected, "{text}");
            assert_eq!(serde_json::to_string(&filter).unwrap(), text, "it is written as it was read");
        }
        assert_eq!(
            EventFilter::kind("a").with_prefix("b").with_suffix("c").with_attribute("d", "e"),
            read(r#"{"kind":"a","prefix":"b","suffix":"c","attributes":{"d":"e"}}"#)
        );
    }

    #[test]
    fn filters_that_are_a_mistake_are_refused() {
        assert!(serde_json::from_str::<EventFilter>(r#"{"type":"x"}"#).is_err());
        for filter in [EventFilter::kind(""), EventFilter::all().with_attribute("a", "")] {
            assert_eq!(filter.check().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let long = EventFilter::all().with_suffix("x".repeat(257));
        assert_eq!(long.check().unwrap_err().kind(), ErrorKind::TooLarge);
        let many = (0..33).fold(EventFilter::all(), |filter, n| filter.with_attribute(n.to_string(), "x"));
        assert_eq!(many.check().unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
