//! The contract of wire formats for embeddings, and the forms vectors come in.

use std::fmt;

use agentprovision_core::Result;
use agentprovision_core::model::{EmbedRequest, EmbedResponse, WireFormat};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{ProviderError, WireRequest};

/// One wire format for embeddings. Pure: no I/O, no retries.
pub trait EmbedDialect: fmt::Debug + Send + Sync + 'static {
    /// Which format it is; see [`Dialect::format`](super::Dialect::format).
    fn format(&self) -> WireFormat {
        WireFormat::Unknown
    }

    /// The most texts one request may have.
    fn largest_batch(&self) -> usize;

    /// The request in this format; it has at least one text and at most [`EmbedDialect::largest_batch`].
    ///
    /// # Errors
    /// `invalid_input` when the request says something the format cannot express.
    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest>;

    /// The vectors in a body that came with a success status, in the order of the texts. Whoever calls checks that
    /// there are as many as texts and that their lengths agree.
    ///
    /// # Errors
    /// A [`ProviderError`] when the body holds an error or no vectors.
    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<EmbedResponse, ProviderError>;

    /// What an answer with an error status means.
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError;
}

/// A vector as a list of numbers, or in base64 as little-endian 32-bit floats. `None` when it is neither, is empty or
/// has a number that is not finite.
pub fn vector(value: &Value) -> Option<Vec<f32>> {
    let vector: Vec<f32> = match value {
        Value::Array(numbers) => {
            numbers.iter().map(|number| number.as_f64().map(|number| number as f32)).collect::<Option<_>>()?
        }
        Value::String(text) => {
            let bytes = STANDARD.decode(text).ok()?;
            let (floats, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return None;
            }
            floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        _ => return None,
    };
    (!vector.is_empty() && vector.iter().all(|number| number.is_finite())).then_some(vector)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_a_vector_are_read_and_nothing_else() {
        // 1.0 is 0000803f, -2.0 is 000000c0.
        assert_eq!(vector(&json!("AACAPwAAAMA=")), Some(vec![1.0, -2.0]));
        assert_eq!(vector(&json!([1, -2.0])), Some(vec![1.0, -2.0]));
        // 0000807f is infinity; `AACA` is three bytes.
        for bad in
            [json!("AACAfw=="), json!("AACA"), json!("§"), json!(""), json!([]), json!([1, "2"]), json!(null)]
        {
            assert_eq!(vector(&bad), None, "{bad}");
        }
        assert_eq!(vector(&json!([1e300])), None);
    }
}
