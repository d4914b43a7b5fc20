//! Requests as S3 takes them, and answers as it gives them.

use agentprovision_core::http::sigv4::encode;
use agentprovision_core::{Error, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{Response, unexpected};
use crate::call::Call;

/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;

/// A request that is made step by step.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Ask {
    /// About all buckets.
    pub(super) fn all(method: Method) -> Self {
        Self { method, path: "/".to_owned(), query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// About a bucket.
    pub(super) fn bucket(method: Method, bucket: &str) -> Result<Self> {
        Ok(Self { path: format!("/{}", named(bucket)?), ..Self::all(method) })
    }

    /// About an object.
    pub(super) fn object(method: Method, bucket: &str, key: &str) -> Result<Self> {
        Ok(Self { path: path(bucket, key)?, ..Self::all(method) })
    }

    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(super) fn header(mut self, name: impl Into<String>, value: Option<impl ToString>) -> Self {
        self.headers.extend(value.map(|value| (name.into(), value.to_string())));
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(super) fn request(self, base: &str) -> Result<Request<Bytes>> {
        let mut url = format!("{base}{}", self.path);
        for (name, value) in &self.query {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}{name}={}", encode(value.as_bytes())));
        }
        let mut request = Request::builder().method(self.method).uri(url);
        for (name, value) in self.headers {
            let bad = || Error::invalid(format!("`{name}` has characters that no header can have"));
            if !value.is_ascii() {
                return Err(bad());
            }
            let value = HeaderValue::from_str(&value).map_err(|_| bad())?;
            request = request.header(name, value);
        }
        request
            .body(self.body)
            .map_err(|error| Error::invalid("no request can be made of the input").with_source(error))
    }

    /// Sends it.
    pub(super) async fn send(self, call: &Call) -> Result<Response> {
        let request = self.request(&call.base_url()?)?;
        call.send(request).await
    }

    /// Sends it, and gives a response that is no failure.
    pub(super) async fn answer(self, call: &Call) -> Result<Response> {
        let response = self.send(call).await?;
        call.check(&response).await?;
        Ok(response)
    }
}

/// A bucket as a part of a path.
fn named(bucket: &str) -> Result<&str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let good = (3..=255).contains(&bucket.len()) && bucket.bytes().all(fits) && !bucket.starts_with('.');
    if good { Ok(bucket) } else { Err(Error::invalid("`bucket` is no name of a bucket")) }
}

/// The path of an object.
pub(super) fn path(bucket: &str, key: &str) -> Result<String> {
    if !(1..=LONGEST_KEY).contains(&key.len()) {
        return Err(Error::invalid(format!("`key` has 1 to {LONGEST_KEY} bytes")));
    }
    // Clients take such parts out of a URL: it would lead to another object, or out of the bucket.
    if key.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(Error::invalid("`key` has a part `.` or `..`, which no URL can hold"));
    }
    let parts: Vec<String> = key.split('/').map(|part| encode(part.as_bytes())).collect();
    Ok(format!("/{}/{}", named(bucket)?, parts.join("/")))
}

/// Reads an answer in XML.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|_| unexpected("it is no text in UTF-8".to_owned()))?;
    quick_xml::de::from_str(text)
        .map_err(|error| unexpected(format!("it is not the XML it should be ({error})")))
}

/// What a refusal says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

/// A list of buckets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBuckets {
    #[serde(default)]
    pub(super) buckets: Buckets,
    pub(super) continuation_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Buckets {
    pub(super) bucket: Vec<Bucket>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) creation_date: Option<String>,
    pub(super) bucket_region: Option<String>,
}

/// A list of objects.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListObjects {
    #[serde(default)]
    pub(super) contents: Vec<Contents>,
    #[serde(default)]
    pub(super) common_prefixes: Vec<Common>,
    pub(super) encoding_type: Option<String>,
    pub(super) next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Contents {
    pub(super) key: String,
    pub(super) size: Option<u64>,
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) storage_class: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Common {
    pub(super) prefix: String,
}

impl ListObjects {
    /// A key as it is: XML has no way to write some characters, so lists have them percent-encoded.
    pub(super) fn key(&self, key: &str) -> String {
        match self.encoding_type.as_deref() {
            Some("url") => percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned(),
            _ => key.to_owned(),
        }
    }
}

/// What a copy answers: a status of success can carry a refusal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Copied {
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) code: Option<String>,
}
