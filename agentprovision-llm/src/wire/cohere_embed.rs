//! Cohere's embeddings format, version 2 (`POST /v2/embed`).

use agentprovision_core::model::{EmbedPurpose, EmbedRequest, EmbedResponse, Usage, WireFormat};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::cohere_chat::classify;
use super::embed::{EmbedDialect, vector};
use super::json::to_bytes;
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The embeddings dialect.
#[derive(Clone, Debug, Default)]
pub struct CohereEmbed(());

impl CohereEmbed {
    /// The dialect, with at most 96 texts a request, which is the limit of the service.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EmbedDialect for CohereEmbed {
    fn format(&self) -> WireFormat {
        WireFormat::Cohere
    }

    fn largest_batch(&self) -> usize {
        96
    }

    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest> {
        if request.model.is_empty() {
            return Err(Error::invalid("a request must name a model"));
        }
        // The format wants a purpose. Without one the texts are taken for what will be searched, which most are.
        let purpose = match request.purpose.unwrap_or(EmbedPurpose::Document) {
            EmbedPurpose::Query => "search_query",
            EmbedPurpose::Document => "search_document",
            EmbedPurpose::Classification => "classification",
            // Comparing like with like is what clusters are made by.
            EmbedPurpose::Clustering | EmbedPurpose::Similarity => "clustering",
            _ => return Err(Error::unsupported("Cohere's format has no form for this purpose of vectors")),
        };
        let mut body = Map::new();
        body.insert("model".into(), json!(request.model));
        body.insert("texts".into(), json!(request.inputs));
        body.insert("input_type".into(), json!(purpose));
        body.insert("embedding_types".into(), json!(["float"]));
        if let Some(dimensions) = request.dimensions {
            body.insert("output_dimension".into(), json!(dimensions));
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
        Ok(WireRequest { path: "/v2/embed".into(), headers, body: body.into() })
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
        let found =
            body.get("embeddings").and_then(|found| found.get("float").or_else(|| found.get("base64")));
        let found =
            found.and_then(Value::as_array).ok_or_else(|| malformed("JSON without embeddings".into()))?;
        let vectors = found.iter().enumerate().map(|(place, item)| {
            vector(item).ok_or_else(|| malformed(format!("the vector at {place} cannot be read")))
        });
        let count = count(&body, "input_tokens");
        Ok(EmbedResponse {
            vectors: vectors.collect::<Result<_, _>>()?,
            model: None,
            usage: count.map(|count| Usage { input_tokens: Some(count), ..Usage::default() }),
        })
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}

/// A count of what is billed; they are doubles in Cohere's types.
pub(super) fn count(body: &Value, name: &str) -> Option<u64> {
    let value = body.pointer("/meta/billed_units")?.get(name)?;
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..9e15).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(whole).map(|number| number as u64))
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn decode(body: &str) -> Result<EmbedResponse, ProviderError> {
        CohereEmbed::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_request_says_what_the_vectors_are_for() {
        let mut request = EmbedRequest::new("m", ["a"]);
        let body = |request: &EmbedRequest| -> Value {
            let wire = CohereEmbed::new().encode(request).unwrap();
            assert_eq!(wire.path, "/v2/embed");
            serde_json::from_slice(&wire.body).unwrap()
        };
        let expected = json!({"model": "m", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"]});
        assert_eq!(body(&request), expected);
        request.purpose = Some(EmbedPurpose::Query);
        request.dimensions = Some(256);
        request.extra.insert("truncate".into(), json!("NONE"));
        let expected = json!({"model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"],
            "output_dimension": 256, "truncate": "NONE"});
        assert_eq!(body(&request), expected);
        request.extra.insert("texts".into(), json!(1));
        assert!(CohereEmbed::new().encode(&request).unwrap_err().is(ErrorKind::InvalidInput));
    }

    #[test]
    fn vectors_are_read_and_anything_else_is_an_error() {
        let answer = decode(
            "{\"embeddings\": {\"float\": [[1, -2]]}, \"meta\": {\"billed_units\": {\"input_tokens\": 3.0}}}",
        );
        let answer = answer.unwrap();
        assert_eq!(answer.vectors, [[1.0, -2.0]]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(3));
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            ("{\"embeddings\": {\"float\": [5]}}", Category::Malformed),
            ("{\"message\": \"too many requests\"}", Category::RateLimit),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
    }
}
