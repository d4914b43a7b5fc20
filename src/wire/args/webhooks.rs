//! What is said about webhooks.

use agentprovision_connectors::webhook::{EndpointUpdate, Trigger};
use agentprovision_core::id::{DeliveryId, EndpointId};
use agentprovision_core::page::{Cursor, PageRequest};
use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::page;

arguments! {
    /// An endpoint by id.
    EndpointById {
        /// The endpoint.
        endpoint: EndpointId,
    }

    /// A change of an endpoint: what is given is replaced, the rest stays.
    EndpointChange {
        /// The endpoint.
        endpoint: EndpointId,
        /// The new name.
        name: Option<String>,
        /// The new triggers, instead of all the old ones.
        triggers: Option<Vec<Trigger>>,
        /// Whether it takes deliveries.
        enabled: Option<bool>,
    }

    /// Another secret of an endpoint.
    EndpointRotation {
        /// The endpoint.
        endpoint: EndpointId,
        /// The new secret, where the vendor gives one out; else one is made.
        #[schemars(extend("format" = "secret"))]
        secret: Option<String>,
        /// Seconds for which the secret before it counts too; default a day.
        overlap_s: Option<u64>,
    }

    /// A page of an endpoint's deliveries.
    DeliveriesListed {
        /// The endpoint.
        endpoint: EndpointId,
        /// At most this many items, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
    }

    /// A delivery by id.
    DeliveryById {
        /// The delivery.
        delivery: DeliveryId,
    }

    /// A delivery as an HTTP server got it.
    Received {
        /// The last part of the path, `hok_<tenant>_<endpoint>`.
        address: String,
        /// Its headers, name and value; one name may come more than once.
        headers: Vec<(String, String)>,
        /// Its body as it came, byte by byte.
        #[schemars(extend("format" = "base64"))]
        body: String,
    }
}

impl From<EndpointChange> for EndpointUpdate {
    fn from(args: EndpointChange) -> Self {
        let EndpointChange { endpoint: _, name, triggers, enabled } = args;
        Self { name, triggers, enabled }
    }
}

impl From<DeliveriesListed> for (EndpointId, PageRequest) {
    fn from(args: DeliveriesListed) -> Self {
        (args.endpoint, page(args.limit, args.after))
    }
}

impl Received {
    /// The headers and the body. Headers that HTTP does not know are the sender's mistake.
    pub(in crate::wire) fn parts(self) -> Result<(HeaderMap, Bytes)> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
            let (name, value) = pair.ok_or_else(|| Error::invalid("a header of the delivery is none"))?;
            headers.append(name, value);
        }
        let body = STANDARD.decode(self.body).map_err(|_| Error::invalid("`body` is not base64"))?;
        Ok((headers, body.into()))
    }
}
