//! The connectors that come with the library, a feature each.

/// Makes types of answers: fields that a vendor sends and are kept.
#[allow(unused_macros, reason = "who uses it depends on the features")]
macro_rules! records {
    ($($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        pub struct $name {
            $($(#[$attribute])* pub $field: $type,)*
        }
    )*};
}

/// Makes types of inputs: the choices that a vendor offers, by their names on the wire.
#[allow(unused_macros, reason = "who uses it depends on the features")]
macro_rules! choices {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $choice:ident $wire:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $wire)] $choice,)*
        }
    )*};
}

#[cfg(any(feature = "confluence", feature = "jira"))]
mod atlassian;
#[cfg(feature = "confluence")]
pub mod confluence;
#[cfg(feature = "github")]
pub mod github;
#[cfg(feature = "gitlab")]
pub mod gitlab;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "jira")]
pub mod jira;
#[cfg(feature = "pagerduty")]
pub mod pagerduty;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "sendgrid")]
pub mod sendgrid;
#[cfg(feature = "slack")]
pub mod slack;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "stripe")]
pub mod stripe;

#[cfg(test)]
pub(crate) mod probe;

use agentprovision_core::Result;
#[cfg(any(feature = "confluence", feature = "jira", feature = "slack"))]
use serde_json::Value;

use crate::connector::Connector;

/// An input with a value for a field that is not given, or is `null`.
#[cfg(any(feature = "confluence", feature = "jira", feature = "slack"))]
fn with_default(input: &Value, field: &str, value: Value) -> Value {
    let mut input = input.clone();
    if let Some(fields) = input.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), value);
    }
    input
}

/// A connector of the library, and what it was checked against.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Makes it.
    pub connector: fn() -> Result<Connector>,
    /// The vendor's own descriptions (OpenAPI) that its requests are checked against, by the names of their files without
    /// the ending. None where the vendor publishes none: then it was written by the documentation.
    pub descriptions: &'static [&'static str],
    /// Operations that these descriptions lack, each with why.
    pub not_in_description: Lacking,
}

/// Operations that a vendor's description lacks, each with why.
pub type Lacking = &'static [(&'static str, &'static str)];

impl Builtin {
    /// A connector, by its function.
    pub const fn new(
        name: &'static str,
        connector: fn() -> Result<Connector>,
        descriptions: &'static [&'static str],
        not_in_description: Lacking,
    ) -> Self {
        Self { name, connector, descriptions, not_in_description }
    }

    /// What it was checked against, in words.
    pub const fn evidence(&self) -> &'static str {
        if self.descriptions.is_empty() { "by documentation only" } else { "verified by description" }
    }
}

/// The connectors whose features are on, by name.
pub fn all() -> Vec<Builtin> {
    vec![
        #[cfg(feature = "confluence")]
        Builtin::new("confluence", confluence::connector, &[], &[]),
        #[cfg(feature = "github")]
        Builtin::new("github", github::connector, &["github"], github::NOT_IN_DESCRIPTION),
        #[cfg(feature = "gitlab")]
        Builtin::new("gitlab", gitlab::connector, &[], &[]),
        #[cfg(feature = "http")]
        Builtin::new("http", http::connector, &[], &[]),
        #[cfg(feature = "jira")]
        Builtin::new("jira", jira::connector, &["jira"], jira::NOT_IN_DESCRIPTION),
        #[cfg(feature = "pagerduty")]
        Builtin::new("pagerduty", pagerduty::connector, &["pagerduty"], pagerduty::NOT_IN_DESCRIPTION),
        #[cfg(feature = "pagerduty")]
        Builtin::new("pagerduty-events", pagerduty::events::connector, &["pagerduty-events-v2"], &[]),
        #[cfg(feature = "postgres")]
        Builtin::new("postgres", postgres::connector, &[], &[]),
        #[cfg(feature = "s3")]
        Builtin::new("s3", s3::connector, &[], &[]),
        #[cfg(feature = "sendgrid")]
        Builtin::new("sendgrid", sendgrid::connector, &["sendgrid-mail"], sendgrid::NOT_IN_DESCRIPTION),
        #[cfg(feature = "slack")]
        Builtin::new("slack", slack::connector, &["slack"], slack::NOT_IN_DESCRIPTION),
        #[cfg(feature = "smtp")]
        Builtin::new("smtp", smtp::connector, &[], &[]),
        #[cfg(feature = "stripe")]
        Builtin::new("stripe", stripe::connector, &["stripe"], stripe::NOT_IN_DESCRIPTION),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, Value};

    use super::*;

    /// Connectors of what has no accounts, or does not tell them.
    const ACCOUNTLESS: [&str; 3] = ["http", "pagerduty-events", "s3"];

    /// One valid input for each operation, which the check against vendors' descriptions sends.
    fn samples(name: &str) -> Map<String, Value> {
        let file = format!("{}/tests/inputs/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn every_operation_has_a_sample_that_fits() {
        for builtin in all() {
            let connector = (builtin.connector)().unwrap();
            assert_eq!(connector.name, builtin.name);
            let samples = samples(builtin.name);
            let named: BTreeSet<&str> = samples.keys().map(String::as_str).collect();
            let there: BTreeSet<&str> = connector.operations().map(|spec| &*spec.name).collect();
            assert_eq!(named, there, "{}", builtin.name);
            for (name, sample) in &samples {
                let operation = connector.operation(name).unwrap();
                let problems = crate::connector::violations(&operation.input, sample);
                assert_eq!(problems, None, "{}: {name}", builtin.name);
                if matches!(operation.spec.work, crate::operation::Work::Http(_)) {
                    operation.request("https://x.example", sample.as_object().unwrap()).unwrap();
                }
            }
            for (lacking, why) in builtin.not_in_description {
                assert!(there.contains(lacking) && !why.is_empty(), "{}: {lacking}", builtin.name);
            }
            let Some(whoami) = connector.whoami.as_ref() else {
                assert!(ACCOUNTLESS.contains(&builtin.name), "{} does not tell the account", builtin.name);
                continue;
            };
            let input = &connector.operation(&whoami.operation).unwrap().spec.input;
            assert!(input.get("required").is_none(), "{}", builtin.name);
        }
    }

    #[test]
    fn what_models_read_is_written_everywhere() {
        for builtin in all() {
            let connector = (builtin.connector)().unwrap();
            assert!(!connector.title.is_empty() && !connector.summary.is_empty(), "{}", builtin.name);
            for spec in connector.operations() {
                let what = format!("{} {}", builtin.name, spec.name);
                assert!(spec.summary.ends_with('.'), "{what}");
                let fields = spec.input.get("properties").and_then(Value::as_object).into_iter().flatten();
                for (field, schema) in fields {
                    assert!(schema.get("description").is_some(), "{what}: {field}");
                }
            }
        }
    }
}
