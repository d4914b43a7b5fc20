//! Webhooks in: whether a delivery is the vendor's, what it says, who wants it, and what a run is told of it.
//!
//! Everything here is a function of bytes, headers and a time. Receiving deliveries, keeping them and acting once on each is
//! done elsewhere, in this order:
//!
//! 1. [`Verifier::verify`] over the bytes as they came;
//! 2. [`WebhookEvent::read`], which says by which id repeats are told ([`WebhookEvent::delivery_id`]) and by which key and
//!    version later news are told from earlier ([`WebhookEvent::ordering`]);
//! 3. [`EventFilter::matches`], then [`Template::render`].

pub mod event;
pub mod events;
mod filter;
mod json;
mod template;
mod verify;

pub use event::{EventBody, Ordering, Vendor, Version, WebhookEvent};
pub use filter::EventFilter;
pub use json::{Fields, Json};
pub use template::Template;
pub use verify::{
    Algorithm, Encoding, HmacScheme, KeyForm, Scheme, Secrets, TOLERANCE_S, TimestampPlace, Verifier,
};
