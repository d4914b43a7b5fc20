//! Answers about webhooks.

use agentprovision_connectors::webhook::{self, Endpoint};
use agentprovision_core::id::{DeliveryId, EndpointId, RunId};
use agentprovision_core::webhook::{self as store, DeliveryState};
use agentprovision_core::{ErrorKind, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

/// An endpoint that was made, or whose secret was changed. The secret is shown this once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeWebhookEndpoint")]
pub(in crate::wire) struct MadeEndpoint {
    /// The endpoint.
    endpoint: Endpoint,
    /// The secret, to be entered at the vendor.
    #[schemars(extend("format" = "secret"))]
    secret: String,
}

impl From<webhook::MadeEndpoint> for MadeEndpoint {
    fn from(made: webhook::MadeEndpoint) -> Self {
        Self { secret: made.secret.expose_secret().to_owned(), endpoint: made.endpoint }
    }
}

/// A delivery, without its body.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
pub(in crate::wire) struct Delivery {
    /// The id.
    id: DeliveryId,
    /// The endpoint.
    endpoint: EndpointId,
    /// By which repeats are told, within the endpoint.
    key: String,
    /// The SHA-256 of its body, in hexadecimal.
    digest: String,
    /// What happened, in the vendor's words.
    kind: String,
    /// What became of it.
    state: DeliveryState,
    /// How often work on it was begun, over all replays.
    attempts: u32,
    /// How the last attempt that ended has failed, as a code of errors; absent where it went well.
    #[schemars(with = "Option<String>")]
    error: Option<&'static str>,
    /// Runs that it has started.
    runs: Vec<RunId>,
    /// How often it came again with the same body.
    repeats: u32,
    /// How often its key came with another body; none of these was kept.
    conflicts: u32,
    /// The SHA-256 of the last such body, in hexadecimal; absent where there was none.
    conflict_digest: Option<String>,
    /// When it came.
    received_at: Timestamp,
    /// When it was over.
    finished_at: Option<Timestamp>,
}

impl From<store::Delivery> for Delivery {
    fn from(delivery: store::Delivery) -> Self {
        let store::Delivery { new, state, attempts, error, runs, repeats, conflicts, .. } = delivery;
        Self {
            id: new.id,
            endpoint: new.endpoint,
            key: new.key,
            digest: hex::encode(new.digest),
            kind: new.kind,
            state,
            attempts,
            error: error.map(ErrorKind::code),
            runs,
            repeats,
            conflicts,
            conflict_digest: delivery.conflict_digest.map(hex::encode),
            received_at: new.received_at,
            finished_at: delivery.finished_at,
        }
    }
}

/// A delivery as it came.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WholeWebhookDelivery")]
pub(in crate::wire) struct WholeDelivery {
    /// The delivery.
    delivery: Delivery,
    /// The headers that are kept: none of those that prove who sent it.
    headers: Map<String, Value>,
    /// The body, byte by byte.
    #[schemars(extend("format" = "base64"))]
    body: String,
}

impl From<store::Delivery> for WholeDelivery {
    fn from(mut delivery: store::Delivery) -> Self {
        let body = STANDARD.encode(std::mem::take(&mut delivery.new.body));
        let headers = serde_json::from_str(&delivery.new.headers).unwrap_or_default();
        Self { delivery: delivery.into(), headers, body }
    }
}

/// How to answer a delivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReceivedAnswer")]
pub(in crate::wire) struct Received {
    /// The status of HTTP: 200 for what is kept.
    status: u16,
    /// The body, as `text/plain`.
    text: String,
}

impl From<webhook::Received> for Received {
    fn from(received: webhook::Received) -> Self {
        Self { status: received.status.as_u16(), text: received.text }
    }
}
