//! Forms in parts (`multipart/form-data`, RFC 7578), and the files in them.

use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::operation::read;
use crate::request::{header_value, plain};

/// A file in an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, with the ending.
    pub filename: String,
    /// What it has, where that is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What it has, in base64, instead of `content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// The content type; default `application/octet-stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// What a file in an input has.
///
/// # Errors
/// `invalid_input` unless it is given in one way.
pub(crate) fn content(text: Option<String>, base64: Option<String>) -> Result<Bytes> {
    match (text, base64) {
        (Some(text), None) => Ok(Bytes::from(text)),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map(Bytes::from)
            .map_err(|_| Error::invalid("`content_base64` is not base64")),
        _ => Err(Error::invalid("it takes exactly one of `content` and `content_base64`")),
    }
}

/// A form in parts, and what stands between them.
pub(crate) fn multipart(fields: &Map<String, Value>) -> Result<(Bytes, String)> {
    let mut parts: Vec<(String, Bytes)> = Vec::new();
    // As browsers do (<https://html.spec.whatwg.org/#multipart-form-data>).
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    for (name, value) in fields {
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            value => vec![value],
        };
        for item in items {
            let head = format!("content-disposition: form-data; name=\"{}\"", quoted(name));
            if item.is_object() {
                let file: File = read(item.clone()).map_err(Error::invalid)?;
                let kind = file.content_type.as_deref().unwrap_or("application/octet-stream");
                header_value("content_type", kind)?;
                let head = format!("{head}; filename=\"{}\"\r\ncontent-type: {kind}", quoted(&file.filename));
                parts.push((head, content(file.content, file.content_base64)?));
            } else {
                parts.push((head, Bytes::from(plain(item))));
            }
        }
    }
    // Made of the parts, so none of them has it.
    let all: Vec<&[u8]> = parts.iter().flat_map(|(head, body)| [head.as_bytes(), &body[..]]).collect();
    let boundary = hex::encode(agentprovision_core::canonical::sha256(&all));
    let mut form = Vec::new();
    for (head, body) in &parts {
        form.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        form.extend_from_slice(body);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((Bytes::from(form), boundary))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::CONTENT_TYPE;
    use serde_json::json;

    use super::*;
    use crate::request::{Body, HttpTemplate};

    #[test]
    fn forms_in_parts_have_files_and_fields() {
        let template = HttpTemplate { body: Body::Multipart, ..HttpTemplate::new(Method::POST, "/x") };
        let send = |input: Value| template.request("https://x.example", input.as_object().unwrap(), &[]);
        let input = json!({
            "note": "two\r\nlines", "file": [
                { "filename": "a\"b\n.txt", "content": "ü", "content_type": "text/plain" },
                { "filename": "b.bin", "content_base64": "AP8=" },
            ],
        });
        let request = send(input).unwrap();
        let kind = request.headers()[CONTENT_TYPE].to_str().unwrap();
        let between = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(between.len(), 64);
        let mut expected = format!(
            "--{between}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a%22b%0A.txt\"\r\n\
             content-type: text/plain\r\n\r\nü\r\n--{between}\r\ncontent-disposition: form-data; name=\"file\"; \
             filename=\"b.bin\"\r\ncontent-type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        expected.extend_from_slice(&[0, 255]);
        let rest = format!(
            "\r\n--{between}\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\ntwo\r\nlines\r\n--{between}--\r\n"
        );
        expected.extend_from_slice(rest.as_bytes());
        assert_eq!(request.body(), &expected);
        for bad in [
            json!({ "file": { "filename": "a" } }),
            json!({ "file": { "filename": "a", "content": "a", "content_base64": "YQ==" } }),
            json!({ "file": { "filename": "a", "content_base64": "?" } }),
            json!({ "file": { "filename": "a", "content": "a", "content_type": "a\r\nb: c" } }),
            json!({ "file": { "name": "a" } }),
        ] {
            assert_eq!(send(bad).unwrap_err().kind(), agentprovision_core::ErrorKind::InvalidInput);
        }
    }
}
