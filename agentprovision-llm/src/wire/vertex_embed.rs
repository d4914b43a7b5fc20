//! The embeddings format of Vertex AI (Vertex AI's model reference, "Text embeddings API": the method `predict` of
//! Google's embedding models).

use agentprovision_core::model::{EmbedRequest, EmbedResponse, Usage, WireFormat};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::embed::{EmbedDialect, vector};
use super::gemini_embed::task_type;
use super::gemini_generate::{Host, classify, encode};
use super::{Category, ProviderError, WireRequest};
use crate::clip;

/// The embeddings dialect. Fields of `extra` go into the instance of every text, such as `title`; those of its field
/// `parameters` into the parameters, such as `autoTruncate`, which the service has on: it cuts long texts silently.
#[derive(Clone, Debug)]
pub struct VertexEmbed {
    batch: usize,
}

impl VertexEmbed {
    /// The dialect for this model: one text a request for Gemini's own models, which take no more, and otherwise five,
    /// which is the limit outside of `us-central1`.
    pub fn new(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        Self { batch: if name.starts_with("gemini-") { 1 } else { 5 } }
    }
}

impl EmbedDialect for VertexEmbed {
    fn format(&self) -> WireFormat {
        WireFormat::GenerateContent
    }

    fn largest_batch(&self) -> usize {
        self.batch
    }

    fn encode(&self, request: &EmbedRequest) -> Result<WireRequest> {
        let model = encode::resource(&request.model, Host::Vertex)?;
        let refused = |name: &str| Error::invalid(format!("extra fields may not set `{}`", clip(name)));
        let (mut fields, mut parameters) = (Map::new(), Map::new());
        if let Some(purpose) = request.purpose {
            fields.insert("task_type".into(), json!(task_type(purpose)?));
        }
        if let Some(dimensions) = request.dimensions {
            parameters.insert("outputDimensionality".into(), json!(dimensions));
        }
        for (name, value) in &request.extra {
            if name == "parameters" {
                let more =
                    value.as_object().ok_or_else(|| Error::invalid("`parameters` must be an object"))?;
                for (name, value) in more {
                    if parameters.insert(name.clone(), value.clone()).is_some() {
                        return Err(refused(&format!("parameters.{name}")));
                    }
                }
                continue;
            }
            if name == "content" || fields.contains_key(name) {
                return Err(refused(name));
            }
            fields.insert(name.clone(), value.clone());
        }
        let one = |text: &String| {
            let mut one = fields.clone();
            one.insert("content".into(), json!(text));
            one
        };
        let instances: Vec<_> = request.inputs.iter().map(one).collect();
        let mut body = json!({"instances": instances});
        if let (Some(body), false) = (body.as_object_mut(), parameters.is_empty()) {
            body.insert("parameters".into(), json!(parameters));
        }
        let body = serde_json::to_vec(&body)
            .map_err(|error| Error::internal("the request cannot be written as JSON").with_source(error))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(WireRequest { path: format!("/{model}:predict"), headers, body: body.into() })
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
        let items = body.get("predictions").and_then(Value::as_array);
        let items = items.ok_or_else(|| malformed("JSON without predictions".into()))?;
        let vectors = items.iter().enumerate().map(|(place, item)| {
            let found = item.pointer("/embeddings/values").and_then(vector);
            found.ok_or_else(|| malformed(format!("the vector at {place} cannot be read")))
        });
        let vectors = vectors.collect::<Result<_, _>>()?;
        let counts = items.iter().map(|item| tokens(item.pointer("/embeddings/statistics/token_count")?));
        let sum = counts.sum::<Option<u64>>().filter(|_| !items.is_empty());
        Ok(EmbedResponse {
            vectors,
            model: None,
            usage: sum.map(|sum| Usage { input_tokens: Some(sum), ..Usage::default() }),
        })
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}

/// A count, which the service may write as a float, because its structures know no integers.
fn tokens(count: &Value) -> Option<u64> {
    let float = || count.as_f64().filter(|count| (0.0..1e15).contains(count)).map(|count| count as u64);
    count.as_u64().or_else(float)
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use agentprovision_core::model::EmbedPurpose;

    use super::*;

    fn decode(body: &str) -> Result<EmbedResponse, ProviderError> {
        VertexEmbed::new("text-embedding-005").decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn every_text_is_an_instance() {
        let mut request = EmbedRequest::new("text-embedding-005", ["a", "b"]);
        let dialect = VertexEmbed::new(&request.model);
        let wire = dialect.encode(&request).unwrap();
        assert_eq!(wire.path, "/publishers/google/models/text-embedding-005:predict");
        assert_eq!(wire.body, "{\"instances\":[{\"content\":\"a\"},{\"content\":\"b\"}]}");
        request.purpose = Some(EmbedPurpose::Document);
        request.dimensions = Some(2);
        request.extra.insert("title".into(), json!("t"));
        request.extra.insert("parameters".into(), json!({"autoTruncate": false}));
        let one = |text: &str| json!({"task_type": "RETRIEVAL_DOCUMENT", "title": "t", "content": text});
        let expected = json!({"instances": [one("a"), one("b")],
            "parameters": {"outputDimensionality": 2, "autoTruncate": false}});
        let body: Value = serde_json::from_slice(&dialect.encode(&request).unwrap().body).unwrap();
        assert_eq!(body, expected);
        for (name, value) in [
            ("content", json!(1)),
            ("task_type", json!(1)),
            ("parameters", json!(1)),
            ("parameters", json!({"outputDimensionality": 3})),
        ] {
            let mut request = request.clone();
            request.extra.insert(name.into(), value);
            assert!(dialect.encode(&request).unwrap_err().is(ErrorKind::InvalidInput), "{name}");
        }
        assert!(dialect.encode(&EmbedRequest::new("../x", ["a"])).is_err());
    }

    #[test]
    fn geminis_own_models_take_one_text_a_request() {
        for (model, batch) in [
            ("gemini-embedding-001", 1),
            ("publishers/google/models/gemini-embedding-001", 1),
            ("text-multilingual-embedding-002", 5),
        ] {
            assert_eq!(VertexEmbed::new(model).largest_batch(), batch, "{model}");
        }
    }

    #[test]
    fn vectors_are_read_and_anything_else_is_an_error() {
        let one = |values: &str, count: &str| {
            format!("{{\"embeddings\":{{\"values\":{values},\"statistics\":{{\"token_count\":{count}}}}}}}")
        };
        let both = format!("{{\"predictions\":[{},{}]}}", one("[1,-2]", "3"), one("[0.5,0]", "4.0"));
        let answer = decode(&both).unwrap();
        assert_eq!(answer.vectors, [[1.0, -2.0], [0.5, 0.0]]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(7));
        // A count that is missing is not zero.
        let some = format!("{{\"predictions\":[{},{}]}}", one("[1]", "3"), one("[1]", "null"));
        assert_eq!(decode(&some).unwrap().usage, None);
        assert_eq!(decode("{\"predictions\": []}").unwrap().usage, None);
        for (body, category) in [
            ("", Category::Malformed),
            ("{}", Category::Malformed),
            ("{\"predictions\": [{}]}", Category::Malformed),
            ("{\"error\": {\"code\": 429}}", Category::RateLimit),
        ] {
            assert_eq!(decode(body).unwrap_err().category, category, "{body}");
        }
        for end in 0..both.len() {
            assert!(decode(&both[..end]).is_err());
        }
    }
}
