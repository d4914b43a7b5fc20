//! Events of Stripe.

use agentprovision_core::Result;

use super::{Facts, object, required};
use crate::webhook::event::{BEGUN, CHANGED, EventBody, Version};
use crate::webhook::json::{Json, object};

object! {
    /// An event: <https://docs.stripe.com/api/events/object>.
    Event {
        needs {
            /// Its id, the same in every attempt.
            id: String,
            /// What happened, as `invoice.paid`.
            kind "type": String,
        }
        has {
            /// Always `event`.
            object: String,
            /// The connected account it happened at.
            account: String,
            /// The version of the API the object is rendered in.
            api_version: String,
            /// When, in seconds since 1970.
            created: i64,
            /// What it happened to.
            data: Data,
            /// Whether it is of live mode.
            livemode: bool,
            /// How many endpoints have not had it yet.
            pending_webhooks: u64,
            /// The request that made it happen.
            request: Json,
        }
    }

    /// What an event happened to.
    Data {
        needs {
            /// The thing as it was then.
            object: Object,
        }
        has {
            /// What the fields that changed were before.
            previous_attributes: Json,
        }
    }

    /// A thing at Stripe. Amounts are in the smallest unit of the currency.
    Object {
        needs {}
        has {
            /// Its id.
            id: String,
            /// What it is, as `invoice`.
            object: String,
            /// Its state, where it has some.
            status: String,
            /// The customer it belongs to.
            customer: String,
            /// The currency, as `eur`.
            currency: String,
            /// The amount.
            amount: i64,
            /// What an invoice asks for.
            amount_due: i64,
            /// What of it was paid.
            amount_paid: i64,
            /// What the account that made it has written on it.
            metadata: Json,
        }
    }
}

/// Things are ordered by the second of the event, within which `….created` comes first; `….deleted` is the end.
pub(in crate::webhook) fn read(body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let kind = required(view.text("type"), "the type of the event")?;
    let mut facts = Facts {
        delivery_id: view.text("id"),
        at: view.time("created"),
        account: view.text("account"),
        subject: view.text("data.object.id"),
        ..Facts::default()
    };
    facts.attributes(
        &view,
        &[
            ("livemode", &["livemode"]),
            ("object", &["data.object.object"]),
            ("status", &["data.object.status"]),
            ("customer", &["data.object.customer"]),
            ("currency", &["data.object.currency"]),
        ],
    );
    let word = kind.rsplit('.').next().unwrap_or_default();
    facts.attribute("action", Some(word.to_owned()));
    if let (Some(at), Some(id), Some(object)) = (facts.at, &facts.subject, view.text("data.object.object")) {
        let key = format!("{object}/{id}");
        let version = Version::at(at).with_step(if word == "created" { BEGUN } else { CHANGED });
        // Ids do not come back; a subscription that was canceled is told as deleted too.
        let gone = word == "deleted";
        facts.order(key, if gone { version.gone() } else { version });
    }
    facts.kind = kind;
    let body = match serde_json::from_str(raw.get()) {
        Ok(event) => EventBody::Stripe(Box::new(event)),
        Err(_) => EventBody::Other(Json::from_raw(raw)),
    };
    Ok((facts, body))
}
