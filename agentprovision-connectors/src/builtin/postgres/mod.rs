//! PostgreSQL: a database of the tenant's own.
//!
//! Every call has a connection of its own, so nothing that a statement changes in its session outlives it. What looks runs in a
//! `READ ONLY` transaction (<https://www.postgresql.org/docs/current/sql-set-transaction.html>); what changes something is for
//! integrations whose setting `writable` says so. The server ends a statement at the call's deadline, and soon after its caller
//! is gone. An account that reaches beyond its databases (a superuser, or one that may run programs or read and write files
//! there) is refused.
//!
//! The driver is handed a connection that was opened under the policy for egress and encrypted here, so it looks no name up and
//! takes nothing of the environment.

mod rows;
mod session;
mod sql;
pub mod statements;
pub mod tables;
#[cfg(test)]
mod tests;

use agentprovision_core::http::egress::Destination;
use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::auth::Auth;
use crate::connector::Connector;
use crate::tls;

/// The port of the protocol.
const PORT: u16 = 5432;

/// The connector `postgres`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    Connector::builder("postgres", "")
        .about("PostgreSQL", "Asks a PostgreSQL database, and changes it where the integration allows it.")
        .setting_schema("host", json!({
            "type": "string", "maxLength": 253,
            "description": "The server: its name, which its certificate has to be for, or an address.",
        }))
        .setting_schema("port", json!({
            "type": "integer", "minimum": 1, "maximum": 65535, "default": PORT, "description": "The port.",
        }))
        .setting_schema("database", json!({
            "type": "string", "minLength": 1, "maxLength": 63, "description": "The name of the database.",
        }))
        .setting_schema("tls", json!({
            "type": "string", "enum": ["verify", "off"], "default": "verify",
            "description": "Whether the connection is encrypted and the server's certificate checked, or neither, which only the \
                            host's own networks may allow.",
        }))
        .setting_schema("writable", json!({
            "type": "boolean", "default": false,
            "description": "Whether statements may change something; `execute` is refused otherwise.",
        }))
        .setting_schema(tls::CA, tls::ca_schema())
        .required(["host", "database"])
        .auth(Auth::basic("User name and password"))
        .dials(|settings| Ok(Place::of(settings)?.to))
        .concurrency(4)
        .whoami("server.check", "/account", "/account")
        .operations(statements::operations())
        .operations(tables::operations())
        .build()
}

/// Where a server is, and how one speaks with it.
#[derive(Clone, Debug)]
struct Place {
    to: Destination,
    database: String,
    ca: Option<String>,
    writable: bool,
}

impl Place {
    fn of(settings: &Map<String, Value>) -> Result<Self> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str);
        let needed =
            |name: &str| text(name).ok_or_else(|| Error::invalid(format!("the setting `{name}` is missing")));
        let port = match settings.get("port") {
            None => PORT,
            Some(port) => port
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(|| Error::invalid("the setting `port` is no port"))?,
        };
        let to = Destination::new(needed("host")?, port)?.usual_ports(&[PORT]);
        let to = match text("tls") {
            None | Some("verify") => to,
            Some("off") => to.plain(),
            Some(_) => return Err(Error::invalid("the setting `tls` is `verify` or `off`")),
        };
        if let Some(ca) = text(tls::CA) {
            tls::check(ca)?;
        }
        Ok(Self {
            to,
            database: needed("database")?.to_owned(),
            ca: text(tls::CA).map(str::to_owned),
            writable: settings.get("writable").and_then(Value::as_bool).unwrap_or_default(),
        })
    }
}
