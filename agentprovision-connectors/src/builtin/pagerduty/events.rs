//! What monitoring tells PagerDuty, by its Events API v2 (<https://developer.pagerduty.com/docs/events-api-v2/overview/>).
//!
//! The key of an integration of a service proves who asks; it goes into the body. Accounts in the EU have
//! `https://events.eu.pagerduty.com/v2` as `base_url`.

use agentprovision_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::classify;
use crate::auth::{Auth, Field};
use crate::connector::Connector;
use crate::operations;

/// The connector `pagerduty-events`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    let about = "The integration key of a service's Events API v2 integration, 32 characters.";
    let key = Auth::key_body("routing_key").titled("Integration key").fields(vec![Field::new("key", about)]);
    Connector::builder("pagerduty-events", "https://events.pagerduty.com/v2")
        .about("PagerDuty events", "Tells PagerDuty of alerts and changes, as monitoring does.")
        .auth(key)
        .classify(classify)
        .operations(operations())
        .build()
}

/// That PagerDuty has taken an event; what it does with it comes later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// `success`.
    pub status: String,
    /// In words.
    pub message: Option<String>,
    /// What repeats are told by.
    pub dedup_key: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As bad as can be.
    Critical,
    /// Something does not work.
    Error,
    /// Something will not work before long.
    Warning,
    /// Nothing is wrong.
    Info,
}

/// A link that people are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The URL.
    pub href: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// An image that people are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The URL of the image, with `https`.
    pub src: String,
    /// Where it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// What it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alt: Option<String>,
}

operations! {
    /// Tells of a problem: an alert is made, or added to the open one with the same `dedup_key`.
    TriggerAlert "alerts.trigger" post("/enqueue") => Taken [
        .natural()
        .sends(
            "{event_action: 'trigger', dedup_key: dedup_key, client: client, client_url: client_url, links: links, \
             images: images, payload: {summary: summary, source: source, severity: severity, timestamp: timestamp, \
             component: component, group: group, class: class, custom_details: custom_details}}"
        )
    ] {
        /// What is wrong, up to 1024 characters.
        #[schemars(length(max = 1024))]
        summary: String,
        /// What is concerned, as a host name.
        source: String,
        /// How bad it is.
        severity: Severity,
        /// What tells this problem from others, up to 255 characters: repeats add to it, and `alerts.resolve` names it.
        #[schemars(length(min = 1, max = 255))]
        dedup_key: String,
        /// When it was seen, as `2025-11-22T20:00:00Z`; default is now.
        timestamp: Option<String>,
        /// The part that is concerned, as `mysql`.
        component: Option<String>,
        /// What the part belongs to, as `app-stack`.
        group: Option<String>,
        /// What kind of problem it is, as `cpu load`.
        class: Option<String>,
        /// Whatever else is known, by name.
        custom_details: Option<Map<String, Value>>,
        /// Links that people are shown.
        links: Option<Vec<Link>>,
        /// Images that people are shown.
        images: Option<Vec<Image>>,
        /// What has seen it.
        client: Option<String>,
        /// The page of what has seen it.
        client_url: Option<String>,
    }

    /// Says that somebody deals with a problem.
    AcknowledgeAlert "alerts.acknowledge" post("/enqueue") => Taken [
        .natural().sends("{event_action: 'acknowledge', dedup_key: dedup_key}")
    ] {
        /// What `alerts.trigger` was given.
        #[schemars(length(min = 1, max = 255))]
        dedup_key: String,
    }

    /// Says that a problem is over.
    ResolveAlert "alerts.resolve" post("/enqueue") => Taken [
        .natural().sends("{event_action: 'resolve', dedup_key: dedup_key}")
    ] {
        /// What `alerts.trigger` was given.
        #[schemars(length(min = 1, max = 255))]
        dedup_key: String,
    }

    /// Tells of a change, as a deployment: nobody is notified, and incidents show it.
    SendChange "changes.send" post("/change/enqueue") => Taken [
        .sends(
            "{links: links, images: images, \
             payload: {summary: summary, source: source, timestamp: timestamp, custom_details: custom_details}}"
        )
    ] {
        /// What was changed, up to 1024 characters.
        #[schemars(length(max = 1024))]
        summary: String,
        /// Where, as a host name.
        source: Option<String>,
        /// When, as `2025-11-22T20:00:00Z`; default is now.
        timestamp: Option<String>,
        /// Whatever else is known, by name.
        custom_details: Option<Map<String, Value>>,
        /// Links that people are shown.
        links: Option<Vec<Link>>,
        /// Images that people are shown.
        images: Option<Vec<Image>>,
    }
}
