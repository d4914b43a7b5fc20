//! The embeddings format of the Gemini API (`models.batchEmbedContents`, version `v1beta`).

use agentprovision_core::model::{EmbedPurpose, EmbedRequest, EmbedResponse, Usage, WireFormat};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::embed::{EmbedDialect, vector};
use super::gemini_generate::{Host, classify, encode};
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The embeddings dialect. Fields of `extra` go into the request of every text, such as `title`.
#[derive(Clone, Debug, Default)]
pub struct GeminiEmbed(());

impl GeminiEmbed {
    /// The dialect, with at most 100 texts a request, which is the limit of the service.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Google's word for what vectors are for.
pub(super) fn task_type(purpose: EmbedPurpose) -> Result<&'static str> {
    Ok(match purpose {
        EmbedPurpose::Query => "RETRIEVAL_QUERY",
        EmbedPurpose::Document => "RETRIEVAL_DOCUMENT",
        EmbedPurpose::Similarity => "SEMANTIC_SIMILARITY",
        EmbedPurpose::Classification => "CLASSIFICATION",
        EmbedPurpose::Clustering => "CLUSTERING",
        _ => return Err(Error::unsupported("Google's format has no form for this purpose of vectors")),
    })
}

impl EmbedDialect for GeminiEmbed {
    fn format(&self) -> WireFormat {
        WireFormat::GenerateContent
    }

    fn largest_batch(&self) -> usize {
        100
    }

    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest> {
        let model = encode::resource(&request.model, Host::Gemini)?;
        let mut fields = Map::new();
        fields.insert("model".into(), json!(model));
        if let Some(purpose) = request.purpose {
            fields.insert("taskType".into(), json!(task_type(purpose)?));
        }
        if let Some(dimensions) = request.dimensions {
            fields.insert("outputDimensionality".into(), json!(dimensions));
        }
        for (name, value) in &request.extra {
            if name == "content" || fields.contains_key(name) {
                return Err(Error::invalid(format!("extra fields may not set `{}`", clip(name))));
            }
            fields.insert(name.clone(), value.clone());
        }
        let one = |text: &String| {
            let mut one = fields.clone();
            one.insert("content".into(), json!({"parts": [{"text": text}]}));
            one
        };
        let requests: Vec<_> = request.inputs.iter().map(one).collect();
        let body = serde_json::to_vec(&json!({"requests": requests}))
            .map_err(|error| Error::internal("the request cannot be written as JSON").with_source(error))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(WireRequest { path: format!("/{model}:batchEmbedContents"), headers, body: body.into() })
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
        let items = body.get("embeddings").and_then(Value::as_array);
        let items = items.ok_or_else(|| malformed("JSON without embeddings".into()))?;
        let vectors = items.iter().enumerate().map(|(place, item)| {
            let found = item.get("values").and_then(vector);
            found.ok_or_else(|| malformed(format!("the vector at {place} cannot be read")))
        });
        let count = body.pointer("/usageMetadata/promptTokenCount").and_then(Value::as_u64);
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

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn decode(body: &str) -> Result<EmbedResponse, ProviderError> {
        GeminiEmbed::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn every_text_is_a_request_of_its_own() {
        let mut request = EmbedRequest::new("m", ["a", "b"]);
        request.purpose = Some(EmbedPurpose::Query);
        request.dimensions = Some(2);
        request.extra.insert("title".into(), json!("t"));
        let wire = GeminiEmbed::new().encode(&request).unwrap();
        assert_eq!(wire.path, "/models/m:batchEmbedContents");
        let one = |text: &str| {
            json!({"model": "models/m", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2, "title": "t",
                "content": {"parts": [{"text": text}]}})
        };
        let body: Value = serde_json::from_slice(&wire.body).unwrap();
        assert_eq!(body, json!({"requests": [one("a"), one("b")]}));
        for name in ["model", "content", "taskType"] {
            let mut request = request.clone();
            request.extra.insert(name.into(), json!(1));
            assert!(GeminiEmbed::new().encode(&request).unwrap_err().is(ErrorKind::InvalidInput));
        }
        assert!(GeminiEmbed::new().encode(&EmbedRequest::new("../x", ["a"])).is_err());
    }

    #[test]
    fn vectors_are_read_and_anything_else_is_an_error() {
        let answer =
            decode("{\"embeddings\": [{\"values\": [1, -2]}], \"usageMetadata\": {\"promptTokenCount\": 3}}");
        let answer = answer.unwrap();
        assert_eq!(answer.vectors, [[1.0, -2.0]]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(3));
        assert_eq!(decode("{\"embeddings\": []}").unwrap().usage, None);
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            ("{\"embeddings\": [{}]}", Category::Malformed),
            ("{\"error\": {\"code\": 429}}", Category::RateLimit),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
    }
}
