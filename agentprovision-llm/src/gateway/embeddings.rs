//! OpenAI's embeddings: `POST /v1/embeddings`.

use agentprovision_core::Result;
use agentprovision_core::model::{EmbedRequest, EmbedResponse, WireFormat};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::chat::affinity;
use super::fields::Fields;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Floats,
    /// Little-endian 32-bit floats, in base64.
    Base64,
}

/// Reads a request.
///
/// # Errors
/// `invalid_input`, naming the field that is wrong.
pub(super) fn read(body: Value) -> Result<(EmbedRequest, Encoding)> {
    let mut body = Fields::body(body)?;
    let model = body.required("model")?;
    let inputs = match body.take("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => {
            let texts: Option<Vec<String>> =
                list.into_iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| body.wrong("input", "the gateway supports texts, not tokens"))?
        }
        Some(_) => return Err(body.wrong("input", "expected a string or a list of strings")),
        None => return Err(body.missing("input")),
    };
    if inputs.is_empty() || inputs.iter().any(String::is_empty) {
        return Err(body.wrong("input", "expected at least one text, and none that is empty"));
    }
    let encoding = match body.text("encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Floats,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(body.wrong("encoding_format", "expected `float` or `base64`")),
    };
    let dimensions = body.count("dimensions")?;
    let dimensions = dimensions.map(u32::try_from).transpose();
    let mut request = EmbedRequest::new(model, inputs);
    request.dimensions = dimensions.map_err(|_| body.wrong("dimensions", "expected a length of vectors"))?;
    (request.extra, request.extra_format) = (body.rest(), Some(WireFormat::ChatCompletions));
    request.route.affinity = affinity(&request.extra, &["user"]);
    Ok((request, encoding))
}

/// The answer.
pub(super) fn write(asked: &str, answer: &EmbedResponse, encoding: Encoding) -> Value {
    let vector = |vector: &Vec<f32>| match encoding {
        Encoding::Floats => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        }
    };
    let data = answer.vectors.iter().enumerate();
    let data =
        data.map(|(at, numbers)| json!({"object": "embedding", "index": at, "embedding": vector(numbers)}));
    let input = answer.usage.and_then(|usage| usage.input_tokens).unwrap_or(0);
    json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": answer.model.as_deref().unwrap_or(asked),
        "usage": {"prompt_tokens": input, "total_tokens": input},
    })
}
