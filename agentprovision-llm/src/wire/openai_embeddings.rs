//! The embeddings format of OpenAI, which many other providers and servers speak too.
//!
//! Written from OpenAI's API reference (`POST /embeddings`), and tolerant where servers of the same format differ:
//! vectors as numbers or in base64, in any order, usage as the total alone.

use agentprovision_core::model::{EmbedRequest, EmbedResponse, Usage, WireFormat};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::embed::{EmbedDialect, vector};
use super::json::to_bytes;
use super::openai_chat::classify;
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The embeddings dialect. The format has no field for the purpose of vectors.
#[derive(Clone, Debug)]
pub struct OpenAiEmbeddings {
    largest_batch: usize,
    base64: bool,
    dimensions: &'static str,
}

impl Default for OpenAiEmbeddings {
    fn default() -> Self {
        Self { largest_batch: 2048, base64: false, dimensions: "dimensions" }
    }
}

impl OpenAiEmbeddings {
    /// The dialect with at most 2048 texts a request, which is OpenAI's limit, and vectors as the server likes to send
    /// them.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same dialect with another limit of texts a request; 0 counts as 1.
    #[must_use]
    pub fn with_largest_batch(self, largest_batch: usize) -> Self {
        Self { largest_batch: largest_batch.max(1), ..self }
    }

    /// The same dialect with another field for the length of the vectors, such as `output_dimension`.
    #[must_use]
    pub fn with_dimensions_field(self, dimensions: &'static str) -> Self {
        Self { dimensions, ..self }
    }

    /// The same dialect asking for vectors in base64, a third of the bytes; not every server knows it.
    #[must_use]
    pub fn with_base64(self) -> Self {
        Self { base64: true, ..self }
    }
}

impl EmbedDialect for OpenAiEmbeddings {
    fn format(&self) -> WireFormat {
        WireFormat::ChatCompletions
    }

    fn largest_batch(&self) -> usize {
        self.largest_batch
    }

    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest> {
        if request.model.is_empty() {
            return Err(Error::invalid("a request must name a model"));
        }
        let mut body = Map::new();
        body.insert("model".into(), json!(request.model));
        body.insert("input".into(), json!(request.inputs));
        if let Some(dimensions) = request.dimensions {
            body.insert(self.dimensions.into(), json!(dimensions));
        }
        if self.base64 && !request.extra.contains_key("encoding_format") {
            body.insert("encoding_format".into(), json!("base64"));
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
        Ok(WireRequest { path: "/embeddings".into(), headers, body: body.into() })
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
        let data = body.get("data").and_then(Value::as_array);
        let data = data.ok_or_else(|| malformed("JSON without data".into()))?;
        let mut vectors = Vec::with_capacity(data.len());
        for (place, item) in data.iter().enumerate() {
            let index = match item.get("index").and_then(Value::as_u64) {
                Some(index) => usize::try_from(index).unwrap_or(usize::MAX),
                None => place,
            };
            let vector = item
                .get("embedding")
                .and_then(vector)
                .ok_or_else(|| malformed(format!("the vector at {place} cannot be read")))?;
            vectors.push((index, vector));
        }
        vectors.sort_by_key(|(index, _)| *index);
        if vectors.iter().enumerate().any(|(place, (index, _))| *index != place) {
            return Err(malformed("vectors whose places do not count up from 0".into()));
        }
        let model = body.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
        Ok(EmbedResponse {
            vectors: vectors.into_iter().map(|(_, vector)| vector).collect(),
            model: model.map(str::to_owned),
            usage: body.get("usage").and_then(usage),
        })
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}

/// A request for vectors has no output, so the total is the input.
fn usage(wire: &Value) -> Option<Usage> {
    let count = |name| wire.get(name).and_then(Value::as_u64);
    let input = count("prompt_tokens").or_else(|| count("total_tokens"))?;
    Some(Usage { input_tokens: Some(input), ..Usage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &str) -> Result<EmbedResponse, ProviderError> {
        OpenAiEmbeddings::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn requests_say_what_they_must_and_refuse_what_is_not_theirs() {
        let mut request = EmbedRequest::new("m", ["a", "b"]);
        let body = |dialect: &OpenAiEmbeddings, request: &EmbedRequest| -> Value {
            let wire = dialect.encode(request).unwrap();
            assert_eq!(wire.path, "/embeddings");
            serde_json::from_slice(&wire.body).unwrap()
        };
        let dialect = OpenAiEmbeddings::new();
        assert_eq!(body(&dialect, &request), json!({"model": "m", "input": ["a", "b"]}));
        request.dimensions = Some(8);
        request.extra.insert("user".into(), json!("u"));
        let dialect = dialect.with_base64();
        let expected = json!({"model": "m", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "u"});
        assert_eq!(body(&dialect, &request), expected);
        request.extra.insert("encoding_format".into(), json!("float"));
        assert_eq!(body(&dialect, &request)["encoding_format"], "float");
        request.extra.insert("input".into(), json!("x"));
        let error = dialect.encode(&request).unwrap_err();
        assert_eq!(error.to_string(), "extra fields may not set `input`");
        request.extra.clear();
        let mistral = OpenAiEmbeddings::new().with_dimensions_field("output_dimension");
        assert_eq!(body(&mistral, &request)["output_dimension"], 8);
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let answer = decode(
            r#"{"model": "m", "usage": {"total_tokens": 3},
                "data": [{"index": 1, "embedding": "AACAPw=="}, {"index": 0, "embedding": [2, 3.5]}]}"#,
        )
        .unwrap();
        assert_eq!(answer.vectors, [vec![2.0, 3.5], vec![1.0]]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(3));
        assert_eq!(decode(r#"{"data": [{"embedding": [1]}, {"embedding": [2]}]}"#).unwrap().vectors.len(), 2);
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_never_a_panic() {
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            (r#"{"data": [{"index": 0, "embedding": []}]}"#, Category::Malformed),
            (r#"{"data": [{"index": 1, "embedding": [1]}]}"#, Category::Malformed),
            (
                r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}"#,
                Category::Malformed,
            ),
            (r#"{"error": {"code": 429, "message": "slow down"}}"#, Category::RateLimit),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
        let whole = r#"{"data": [{"index": 0, "embedding": "AACAPw=="}], "model": "m"}"#;
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]).unwrap_err().category, Category::Malformed);
        }
    }
}
