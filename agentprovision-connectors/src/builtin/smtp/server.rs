//! The mail server itself.

use agentprovision_core::Result;
use async_trait::async_trait;

use super::Security;
use super::session::Session;
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operations;

records! {
    /// A mail server that takes messages of the integration.
    ServerInfo {
        /// The account: user and server, or the server alone where nobody has to prove anything.
        account: String,
        /// How the server calls itself.
        name: String,
        /// Whether the connection was encrypted.
        encrypted: bool,
        /// Whether user name and password were asked for and accepted.
        authenticated: bool,
        /// The longest message it takes, in bytes, where it says so.
        max_message_bytes: Option<u64>,
        /// The extensions it offers, as `8BITMIME`.
        extensions: Vec<String>,
    }
}

operations! {
    /// Connects to the mail server, proves who sends, and sends nothing.
    CheckServer "server.check" get("") => ServerInfo [.handler(runs::<CheckServer>())] {}
}

#[async_trait]
impl Run for CheckServer {
    async fn run(self, call: &Call) -> Result<ServerInfo> {
        call.count_request(0);
        let mut session = Session::open(call).await?;
        session.noop().await?;
        let server = format!("{}:{}", session.place.to.host(), session.place.to.port());
        let info = ServerInfo {
            account: session
                .user
                .as_ref()
                .map_or_else(|| server.clone(), |user| format!("{user} on {server}")),
            name: session.offers.name.clone(),
            encrypted: session.place.security != Security::Plain,
            authenticated: session.user.is_some(),
            max_message_bytes: session.offers.size(),
            extensions: session.offers.extensions.clone(),
        };
        session.quit().await;
        Ok(info)
    }
}
