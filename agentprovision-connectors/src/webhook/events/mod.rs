//! The bodies of each vendor, and what an event is made of there.

pub mod alertmanager;
pub mod azure_devops;
pub mod generic;
pub mod github;
pub mod gitlab;
pub mod jira;
pub mod pagerduty;
pub mod slack;
pub mod standard;
pub mod stripe;

use std::collections::BTreeMap;

use agentprovision_core::{Error, Result, Timestamp};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::event::{Ordering, Version};
use super::json::View;

/// What a vendor's module finds.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) kind: String,
    pub(super) delivery_id: Option<String>,
    pub(super) ordering: Option<Ordering>,
    pub(super) at: Option<Timestamp>,
    pub(super) account: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Facts {
    /// An attribute, where there is one.
    fn attribute(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.attributes.insert(name.to_owned(), value);
        }
    }

    /// Attributes by the first of several paths that leads somewhere.
    fn attributes(&mut self, view: &View<'_>, table: &[(&str, &[&str])]) {
        for (name, paths) in table {
            self.attribute(name, view.first(paths));
        }
    }

    fn order(&mut self, key: String, version: Version) {
        self.ordering = Some(Ordering { key, version });
    }
}

/// The body as an object.
fn object(body: &[u8]) -> Result<(&RawValue, View<'_>)> {
    let raw: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Error::invalid("the body of the delivery is not JSON").with_source(error))?;
    let view =
        View::new(raw).ok_or_else(|| Error::invalid("the body of the delivery is not a JSON object"))?;
    Ok((raw, view))
}

/// The text of a header; nothing when it is missing, empty or no text.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a body has to say for itself.
fn required(value: Option<String>, what: &str) -> Result<String> {
    value.ok_or_else(|| Error::invalid(format!("the delivery lacks {what}")))
}
