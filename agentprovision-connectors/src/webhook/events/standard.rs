//! Messages of senders that follow Standard Webhooks.

use agentprovision_core::Result;
use http::HeaderMap;

use super::{Facts, header, object};
use crate::webhook::event::EventBody;
use crate::webhook::json::{Json, object};

object! {
    /// A message in the shape that Standard Webhooks asks for.
    Message {
        needs {}
        has {
            /// What happened, as words joined by dots.
            kind "type": String,
            /// When, in RFC 3339.
            timestamp: String,
            /// What is told of it.
            data: Json,
        }
    }
}

/// The delivery's id is `webhook-id`, or `svix-id`; its kind the body's `type`, or `message`. Nothing in it orders events.
pub(in crate::webhook) fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let sent = header(headers, "webhook-timestamp").or_else(|| header(headers, "svix-timestamp"));
    let facts = Facts {
        kind: view.first(&["type", "eventType", "event_type"]).unwrap_or_else(|| "message".to_owned()),
        delivery_id: header(headers, "webhook-id").or_else(|| header(headers, "svix-id")),
        at: view.time("timestamp").or_else(|| crate::webhook::json::time(&sent?)),
        ..Facts::default()
    };
    let body = match serde_json::from_str(raw.get()) {
        Ok(message) => EventBody::Standard(Box::new(message)),
        Err(_) => EventBody::Other(Json::from_raw(raw)),
    };
    Ok((facts, body))
}
