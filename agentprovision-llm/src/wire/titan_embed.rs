//! The format of Amazon's Titan text embedding models on Bedrock (Amazon Bedrock user guide, "Amazon Titan Embeddings
//! Text"): one text a request.

use agentprovision_core::http::sigv4::encode as percent;
use agentprovision_core::model::{EmbedRequest, EmbedResponse, Usage, WireFormat};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::bedrock_converse::classify;
use super::embed::{EmbedDialect, vector};
use super::json::to_bytes;
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The embeddings dialect. The format has no field for the purpose of vectors.
#[derive(Clone, Debug, Default)]
pub struct TitanEmbed(());

impl TitanEmbed {
    /// The dialect.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EmbedDialect for TitanEmbed {
    fn format(&self) -> WireFormat {
        WireFormat::Converse
    }

    fn largest_batch(&self) -> usize {
        1
    }

    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest> {
        if request.model.is_empty() {
            return Err(Error::invalid("a request must name a model"));
        }
        let [text] = request.inputs.as_slice() else {
            return Err(Error::invalid("the Titan format takes one text a request"));
        };
        let mut body = Map::new();
        body.insert("inputText".into(), json!(text));
        if let Some(dimensions) = request.dimensions {
            body.insert("dimensions".into(), json!(dimensions));
        }
        for (name, value) in &request.extra {
            if body.contains_key(name) {
                return Err(Error::invalid(format!("extra fields may not set `{}`", clip(name))));
            }
            body.insert(name.clone(), value.clone());
        }
        let body = to_bytes(&body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let path = format!("/model/{}/invoke", percent(request.model.as_bytes()));
        Ok(WireRequest { path, headers, body: body.into() })
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<EmbedResponse, ProviderError> {
        if !status.is_success() {
            return Err(classify::classify(status, headers, body));
        }
        let malformed = |words: String| ProviderError::new(Category::Malformed, words);
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| malformed(format!("a success status whose body is not JSON: {error}")))?;
        if let Some(error) = classify::embedded(&body) {
            return Err(error);
        }
        // Binary vectors, where they were asked for, come beside; a list of bits is no vector of this contract.
        let found = body.get("embedding").or_else(|| body.pointer("/embeddingsByType/float"));
        let found = found.and_then(vector).ok_or_else(|| malformed("JSON without a vector".into()))?;
        let count = body.get("inputTextTokenCount").and_then(Value::as_u64);
        Ok(EmbedResponse {
            vectors: vec![found],
            model: None,
            usage: count.map(|count| Usage { input_tokens: Some(count), ..Usage::default() }),
        })
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn decode(body: &str) -> Result<EmbedResponse, ProviderError> {
        TitanEmbed::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_request_has_one_text() {
        let mut request = EmbedRequest::new("amazon.titan-embed-text-v2:0", ["a"]);
        let wire = TitanEmbed::new().encode(&request).unwrap();
        assert_eq!(wire.path, "/model/amazon.titan-embed-text-v2%3A0/invoke");
        assert_eq!(wire.body, "{\"inputText\":\"a\"}");
        request.dimensions = Some(256);
        request.extra.insert("normalize".into(), json!(true));
        let wire = TitanEmbed::new().encode(&request).unwrap();
        assert_eq!(wire.body, "{\"dimensions\":256,\"inputText\":\"a\",\"normalize\":true}");
        request.extra.insert("inputText".into(), json!("b"));
        assert!(TitanEmbed::new().encode(&request).unwrap_err().is(ErrorKind::InvalidInput));
        let two = EmbedRequest::new("m", ["a", "b"]);
        assert!(TitanEmbed::new().encode(&two).unwrap_err().is(ErrorKind::InvalidInput));
    }

    #[test]
    fn a_vector_is_read_and_anything_else_is_an_error() {
        let answer = decode("{\"embedding\": [1, -2.5], \"inputTextTokenCount\": 4}").unwrap();
        assert_eq!(answer.vectors, [[1.0, -2.5]]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(4));
        let typed = decode("{\"embeddingsByType\": {\"float\": [1]}}").unwrap();
        assert_eq!((typed.vectors, typed.usage), (vec![vec![1.0]], None));
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            ("{\"embedding\": []}", Category::Malformed),
            ("{\"embeddingsByType\": {\"binary\": [1]}}", Category::Malformed),
            ("{\"__type\": \"ThrottlingException\"}", Category::RateLimit),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
        let whole = "{\"embedding\": [1, -2.5], \"inputTextTokenCount\": 4}";
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err());
        }
    }
}
