//! Keys of AWS, as credentials hold them.

use agentprovision_core::Result;
use agentprovision_core::http::sigv4::{AwsKeys, Signer};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::Credentials;

/// The region of what has none, which services that are not AWS's take too.
const REGION: &str = "us-east-1";

/// Signs for a service in the region of the settings.
pub(crate) fn signer(service: &str, settings: &Map<String, Value>) -> Signer {
    Signer::new(settings.get("region").and_then(Value::as_str).unwrap_or(REGION), service)
}

/// The keys.
///
/// # Errors
/// `conflict` where the credentials have none.
pub(crate) fn keys(credentials: &Credentials) -> Result<AwsKeys> {
    let id = credentials.field("access_key_id")?.expose_secret();
    let keys = AwsKeys::new(id, credentials.field("secret_access_key")?.clone());
    Ok(match credentials.optional("session_token") {
        Some(token) => keys.with_session_token(token.clone()),
        None => keys,
    })
}
