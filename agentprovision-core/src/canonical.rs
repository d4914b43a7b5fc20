//! One canonical JSON form for everything that is hashed: object keys sorted by bytes, no white space, numbers as
//! `serde_json` prints them (integers exactly, floats as the shortest text that reads back equal), strings escaped as
//! `serde_json` escapes them. What is stored is these bytes, and hashes are taken over the stored bytes.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The canonical bytes of a value.
///
/// # Errors
/// `invalid_input` when the value cannot be JSON, such as a map with keys that are no strings.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    // `serde_json::Value` keeps its maps sorted (the `preserve_order` feature is refused by a test).
    let value = serde_json::to_value(value)
        .map_err(|error| Error::invalid("the value has no JSON form").with_source(error))?;
    serde_json::to_vec(&value)
        .map_err(|error| Error::internal("JSON could not be written").with_source(error))
}

/// The canonical bytes of a JSON value, which always has some.
pub fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let value: Value = serde_json::from_str(r#"{"b":{"z":1,"a":[{"y":1,"x":2}]},"a":1.5}"#).unwrap();
        assert_eq!(to_bytes(&value).unwrap(), br#"{"a":1.5,"b":{"a":[{"x":2,"y":1}],"z":1}}"#);
        assert_eq!(json_bytes(&value), to_bytes(&value).unwrap());
    }
}
