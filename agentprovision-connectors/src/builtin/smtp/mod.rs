//! SMTP (RFC 5321): e-mail by any mail server that takes messages for submission (RFC 6409).
//!
//! The connection is encrypted from its first byte (RFC 8314) or by `STARTTLS` before anything is said (RFC 3207), and without
//! encryption only into a network of the host's that allows it. Who sends is proved by `AUTH PLAIN` or `AUTH LOGIN` (RFC 4954).
//! Ports of its own are 25, 465, 587 and 2525; others are for networks of the host's.

mod compose;
pub mod messages;
pub mod server;
mod session;
#[cfg(test)]
mod tests;

use agentprovision_core::http::egress::Destination;
use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::auth::Auth;
use crate::connector::Connector;
use crate::tls;

/// The ports of the protocol: between servers, submission with TLS, submission, and what many use where 25 is closed.
const PORTS: [u16; 4] = [25, 465, 587, 2525];

/// The connector `smtp`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    Connector::builder("smtp", "")
        .about("SMTP", "Sends e-mail by a mail server.")
        .setting_schema("host", json!({
            "type": "string", "maxLength": 253,
            "description": "The mail server: its name, which its certificate has to be for, or an address.",
        }))
        .setting_schema("port", json!({
            "type": "integer", "minimum": 1, "maximum": 65535,
            "description": "The port; 465 for `tls`, 587 for `starttls`, 25 for `plain` where absent.",
        }))
        .setting_schema("security", json!({
            "type": "string", "enum": ["tls", "starttls", "plain"], "default": "starttls",
            "description": "How the connection is encrypted: from its beginning, by STARTTLS, which the server then has to offer, \
                            or not at all, which only the host's own networks may allow.",
        }))
        .setting_schema("hello_name", json!({
            "type": "string", "maxLength": 253, "pattern": "^[A-Za-z0-9.:_\\[\\]-]+$",
            "description": "The name to greet the server with, for servers that look at it; `[127.0.0.1]` where absent.",
        }))
        .setting_schema(tls::CA, tls::ca_schema())
        .required(["host"])
        .auth(Auth::basic("User name and password"))
        .auth(Auth::none())
        .dials(|settings| Ok(Place::of(settings)?.to))
        .concurrency(4)
        .whoami("server.check", "/account", "/name")
        .operations(messages::operations())
        .operations(server::operations())
        .build()
}

/// How connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Tls,
    StartTls,
    Plain,
}

/// Where a mail server is, and how one speaks with it.
#[derive(Clone, Debug)]
struct Place {
    to: Destination,
    security: Security,
    hello: String,
    ca: Option<String>,
}

impl Place {
    fn of(settings: &Map<String, Value>) -> Result<Self> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str);
        let (security, usual) = match text("security") {
            None | Some("starttls") => (Security::StartTls, 587),
            Some("tls") => (Security::Tls, 465),
            Some("plain") => (Security::Plain, 25),
            Some(_) => return Err(Error::invalid("the setting `security` is `tls`, `starttls` or `plain`")),
        };
        let port = match settings.get("port") {
            None => usual,
            Some(port) => port
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(|| Error::invalid("the setting `port` is no port"))?,
        };
        if let Some(ca) = text(tls::CA) {
            tls::check(ca)?;
        }
        let host = text("host").ok_or_else(|| Error::invalid("the setting `host` is missing"))?;
        let to = Destination::new(host, port)?.usual_ports(&PORTS);
        Ok(Self {
            to: if security == Security::Plain { to.plain() } else { to },
            security,
            hello: text("hello_name").unwrap_or("[127.0.0.1]").to_owned(),
            ca: text(tls::CA).map(str::to_owned),
        })
    }
}
