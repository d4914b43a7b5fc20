//! Webhooks in: whether a delivery is the vendor's, what it says, who wants it, and what a run is told of it.
//!
//! What signatures, events, filters and templates are is a function of bytes, headers and a time. A [`Receiver`] takes
//! deliveries over HTTP and keeps them, and [`Webhooks::work`] acts once on each, in this order:
//!
//! 1. [`Verifier::verify`] over the bytes as they came;
//! 2. [`WebhookEvent::read`], which says by which id repeats are told ([`WebhookEvent::delivery_id`]) and by which key and
//!    version later news are told from earlier ([`WebhookEvent::ordering`]);
//! 3. [`EventFilter::matches`], then [`Template::render`].

mod endpoint;
pub mod event;
pub mod events;
mod filter;
mod json;
mod receive;
mod service;
mod template;
mod verify;
mod work;

pub use endpoint::{Endpoint, EndpointAddress, EndpointUpdate, MadeEndpoint, NewEndpoint, Trigger};
pub use event::{EventBody, Ordering, Vendor, Version, WebhookEvent};
pub use filter::EventFilter;
pub use json::{Fields, Json};
pub use receive::{Received, Receiver, ReceiverOptions};
pub use service::{Webhooks, WebhooksParts};
pub use template::Template;
pub use verify::{
    Algorithm, Encoding, HmacScheme, KeyForm, Scheme, Secrets, TOLERANCE_S, TimestampPlace, Verifier,
};
pub use work::{HandledDelivery, WebhookHandler, WorkOptions};
