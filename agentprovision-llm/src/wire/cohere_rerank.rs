//! Cohere's rerank format, version 2 (`POST /v2/rerank`), which other services of the kind speak too.

use agentprovision_core::model::{Ranked, RerankRequest, RerankResponse, Usage};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::cohere_chat::classify;
use super::cohere_embed::count;
use super::json::to_bytes;
use super::rerank::RerankDialect;
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The rerank dialect.
#[derive(Clone, Debug, Default)]
pub struct CohereRerank(());

impl CohereRerank {
    /// The dialect.
    pub fn new() -> Self {
        Self::default()
    }
}

impl RerankDialect for CohereRerank {
    fn encode(&self, request: &RerankRequest) -> Result<WireRequest> {
        if request.model.is_empty() {
            return Err(Error::invalid("a request must name a model"));
        }
        let mut body = Map::new();
        body.insert("model".into(), json!(request.model));
        body.insert("query".into(), json!(request.query));
        body.insert("documents".into(), json!(request.documents));
        if let Some(top) = request.top_n {
            body.insert("top_n".into(), json!(top));
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
        Ok(WireRequest { path: "/v2/rerank".into(), headers, body: body.into() })
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<RerankResponse, ProviderError> {
        if !status.is_success() {
            return Err(classify::classify(status, headers, body));
        }
        let malformed = |words: String| ProviderError::new(Category::Malformed, words);
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| malformed(format!("a success status whose body is not JSON: {error}")))?;
        if let Some(error) = classify::embedded(&body) {
            return Err(error);
        }
        let items = body.get("results").and_then(Value::as_array);
        let items = items.ok_or_else(|| malformed("JSON without results".into()))?;
        let results = items.iter().enumerate().map(|(place, item)| {
            let index =
                item.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
            let score = item.get("relevance_score").and_then(Value::as_f64);
            match (index, score) {
                (Some(index), Some(score)) => Ok(Ranked { index, score }),
                _ => Err(malformed(format!("the result at {place} cannot be read"))),
            }
        });
        Ok(RerankResponse {
            results: results.collect::<Result<_, _>>()?,
            model: None,
            usage: count(&body, "search_units")
                .map(|searches| Usage { search_units: Some(searches), ..Usage::default() }),
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

    fn decode(body: &str) -> Result<RerankResponse, ProviderError> {
        CohereRerank::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_request_has_every_field_in_its_place() {
        let mut request = RerankRequest::new("m", "q", ["a", "b"]);
        request.top_n = Some(1);
        request.extra.insert("max_tokens_per_doc".into(), json!(512));
        let wire = CohereRerank::new().encode(&request).unwrap();
        assert_eq!(wire.path, "/v2/rerank");
        let body: Value = serde_json::from_slice(&wire.body).unwrap();
        let expected = json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1, "max_tokens_per_doc": 512});
        assert_eq!(body, expected);
        request.extra.insert("query".into(), json!(1));
        assert!(CohereRerank::new().encode(&request).unwrap_err().is(ErrorKind::InvalidInput));
    }

    #[test]
    fn results_are_read_and_anything_else_is_an_error() {
        let answer = decode(
            "{\"results\": [{\"index\": 1, \"relevance_score\": 0.9}], \"meta\": {\"billed_units\": {\"search_units\": 1}}}",
        );
        let answer = answer.unwrap();
        assert_eq!(answer.results, [Ranked { index: 1, score: 0.9 }]);
        assert_eq!(answer.usage.unwrap().search_units, Some(1));
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            ("{\"results\": [{\"index\": -1, \"relevance_score\": 1}]}", Category::Malformed),
            ("{\"results\": [{\"index\": 1}]}", Category::Malformed),
            ("{\"message\": \"model 'x' not found\"}", Category::NotFound),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
    }
}
