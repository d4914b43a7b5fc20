//! Objects.

use std::collections::BTreeMap;

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};

use super::buckets::tokens;
use super::wire::{Ask, Copied, ListObjects, parse, path};
use crate::answer::{Response, unexpected};
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operation::Page;
use crate::operations;

/// Bytes of an object that are read where nobody says how many.
const USUAL: u64 = 1024 * 1024;

records! {
    /// What a list says about an object, or about all whose keys begin alike.
    Entry {
        /// The key. Where there is no size, it stands for all keys that begin so, up to the delimiter.
        key: String,
        /// The size in bytes.
        size: Option<u64>,
        /// Changes with the content; in quotes.
        etag: Option<String>,
        /// When it was last written, as `2025-11-22T20:00:00.000Z`.
        last_modified: Option<String>,
        /// As `STANDARD` or `GLACIER`: those in archives cannot be read at once.
        storage_class: Option<String>,
    }

    /// What is known about an object.
    ObjectInfo {
        /// The size in bytes.
        size: u64,
        /// The content type.
        content_type: Option<String>,
        /// Changes with the content; in quotes.
        etag: Option<String>,
        /// When it was last written, as `Sat, 22 Nov 2025 20:00:00 GMT`.
        last_modified: Option<String>,
        /// The version, in buckets that keep versions.
        version_id: Option<String>,
        /// As `GLACIER`; absent for the usual one.
        storage_class: Option<String>,
        /// What whoever wrote it has noted.
        metadata: BTreeMap<String, String>,
    }

    /// An object, or a part of it.
    Content {
        /// The content, where it is text in UTF-8.
        text: Option<String>,
        /// The content in base64, where it is not.
        base64: Option<String>,
        /// At which byte of the object it begins.
        offset: u64,
        /// How many bytes it is.
        bytes: u64,
        /// Whether the object goes on behind it: read on with `offset` + `bytes`.
        truncated: bool,
        /// What is known about the whole object.
        object: ObjectInfo,
    }

    /// A written object.
    Written {
        /// Changes with the content; in quotes.
        etag: Option<String>,
        /// The version, in buckets that keep versions.
        version_id: Option<String>,
    }

    /// A copied object.
    CopyResult {
        /// Changes with the content; in quotes.
        etag: Option<String>,
        /// When the copy was made.
        last_modified: Option<String>,
        /// The version of the copy, in buckets that keep versions.
        version_id: Option<String>,
    }

    /// A deleted object.
    Deleted {
        /// In buckets that keep versions, the version that was deleted, or that of the mark that hides the object.
        version_id: Option<String>,
        /// Whether there is a mark now that hides the object, and its versions are kept.
        delete_marker: bool,
    }
}

operations! {
    /// Lists the objects of a bucket by key, a page of up to 1000 at a time. With the delimiter `/` keys are listed as in a folder.
    ListObjectsOf "objects.list" get("/{bucket}") => Page<Entry> [
        .handler(runs::<ListObjectsOf>()).page(tokens()).scopes(["s3:ListBucket"])
    ] {
        /// The bucket.
        bucket: String,
        /// Only keys that begin so, as `reports/2025/`.
        prefix: Option<String>,
        /// Keys that are alike from the prefix up to this are listed as one entry; usually `/`.
        delimiter: Option<String>,
        /// Only keys behind this one, in the order of their bytes.
        start_after: Option<String>,
        /// At most so many a page, 1 to 1000.
        #[schemars(range(min = 1, max = 1000))]
        max_keys: Option<u32>,
    }

    /// Reads an object or a part of it: as text where it is text in UTF-8, else in base64.
    GetObject "objects.get" get("/{bucket}/{key}") => Content [.handler(runs::<GetObject>()).scopes(["s3:GetObject"])] {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// At which byte to begin; default 0.
        offset: Option<u64>,
        /// At most so many bytes, 1 to 16777216; default 1048576.
        #[schemars(range(min = 1, max = 16_777_216))]
        max_bytes: Option<u64>,
        /// A version, in buckets that keep versions; default the newest.
        version_id: Option<String>,
    }

    /// Tells size, type, time and metadata of an object without reading it.
    HeadObject "objects.head" head("/{bucket}/{key}") => ObjectInfo [.handler(runs::<HeadObject>()).scopes(["s3:GetObject"])] {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// A version, in buckets that keep versions; default the newest.
        version_id: Option<String>,
    }

    /// Writes an object whole, in the place of what its key had. Give either `text` or `base64`.
    PutObject "objects.put" put("/{bucket}/{key}") => Written [.handler(runs::<PutObject>()).scopes(["s3:PutObject"])] {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The content as text.
        text: Option<String>,
        /// The content in base64.
        base64: Option<String>,
        /// The content type; default `text/plain; charset=utf-8` for text and `application/octet-stream` for the other.
        content_type: Option<String>,
        /// Notes: names of letters, digits and `-`, values in ASCII.
        metadata: Option<BTreeMap<String, String>>,
        /// `*` writes only where there is no object of this key yet.
        if_none_match: Option<String>,
        /// Writes only where the object still has this etag.
        if_match: Option<String>,
    }

    /// Deletes an object. It is no failure where there is none.
    DeleteObject "objects.delete" delete("/{bucket}/{key}") => Deleted [
        .handler(runs::<DeleteObject>()).scopes(["s3:DeleteObject"])
    ] {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Deletes this version for good, in buckets that keep versions.
        version_id: Option<String>,
    }

    /// Copies an object of up to 5 GiB within the server, in the place of what the new key had. Metadata is copied too.
    CopyObject "objects.copy" put("/{bucket}/{key}") => CopyResult [
        .handler(runs::<CopyObject>()).scopes(["s3:GetObject", "s3:PutObject"])
    ] {
        /// The bucket to copy from.
        source_bucket: String,
        /// The key to copy from.
        source_key: String,
        /// The version to copy, in buckets that keep versions; default the newest.
        source_version_id: Option<String>,
        /// The bucket to copy to.
        bucket: String,
        /// The key to copy to.
        key: String,
    }
}

#[async_trait]
impl Run for ListObjectsOf {
    async fn run(self, call: &Call) -> Result<Page<Entry>> {
        let ask = Ask::bucket(Method::GET, &self.bucket)?
            .query("list-type", Some(2))
            .query("encoding-type", Some("url"))
            .query("prefix", self.prefix)
            .query("delimiter", self.delimiter)
            .query("start-after", self.start_after)
            .query("max-keys", self.max_keys)
            .query("continuation-token", call.page());
        entries(&ask.answer(call).await?.body)
    }
}

pub(super) fn entries(body: &[u8]) -> Result<Page<Entry>> {
    let list: ListObjects = parse(body)?;
    let alike = list.common_prefixes.iter().map(|common| Entry {
        key: list.key(&common.prefix),
        size: None,
        etag: None,
        last_modified: None,
        storage_class: None,
    });
    let objects = list.contents.iter().map(|object| Entry {
        key: list.key(&object.key),
        size: object.size,
        etag: object.etag.clone(),
        last_modified: object.last_modified.clone(),
        storage_class: object.storage_class.clone(),
    });
    let next = list.next_continuation_token.clone().filter(|token| !token.is_empty());
    Ok(Page { items: alike.chain(objects).collect(), next })
}

#[async_trait]
impl Run for GetObject {
    async fn run(self, call: &Call) -> Result<Content> {
        let (offset, max) = (self.offset.unwrap_or(0), self.max_bytes.unwrap_or(USUAL).max(1));
        let ask = Ask::object(Method::GET, &self.bucket, &self.key)?.query("versionId", self.version_id);
        let range = format!("bytes={offset}-{}", offset.saturating_add(max - 1));
        let mut response = ask.clone().header("range", Some(range)).send(call).await?;
        // Of nothing there is no first byte.
        if response.status == StatusCode::RANGE_NOT_SATISFIABLE && offset == 0 {
            response = ask.send(call).await?;
        }
        call.check(&response).await?;
        content(&response, offset, max)
    }
}

pub(super) fn content(response: &Response, offset: u64, max: u64) -> Result<Content> {
    let object = info(response)?;
    // Who does not know ranges sends everything.
    let whole = response.status != StatusCode::PARTIAL_CONTENT;
    let from = if whole { usize::try_from(offset).unwrap_or(usize::MAX) } else { 0 };
    let rest = response.body.get(from..).unwrap_or_default();
    let mut part = rest.get(..usize::try_from(max).unwrap_or(usize::MAX)).unwrap_or(rest);
    let ends = |part: &[u8]| offset.saturating_add(part.len() as u64) >= object.size;
    let text = match std::str::from_utf8(part) {
        Ok(text) => Some(text),
        // The last character was cut in two: it is left for the next part.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 && !ends(part) => {
            part = part.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(part).ok()
        }
        Err(_) => None,
    };
    Ok(Content {
        text: text.map(str::to_owned),
        base64: text.is_none().then(|| STANDARD.encode(part)),
        offset,
        bytes: part.len() as u64,
        truncated: !ends(part),
        object,
    })
}

/// What the headers of a response say.
pub(super) fn info(response: &Response) -> Result<ObjectInfo> {
    let text = |name: &str| response.header(name).map(str::to_owned);
    let all = response.header("content-range").and_then(|range| range.rsplit_once('/'));
    let size = all.map(|(_, size)| size).or_else(|| response.header("content-length"));
    let size = match size.map(str::parse) {
        Some(Ok(size)) => size,
        _ if response.body.is_empty() => return Err(unexpected("it does not say the size".to_owned())),
        _ => response.body.len() as u64,
    };
    let notes = response.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Ok(ObjectInfo {
        size,
        content_type: text("content-type"),
        etag: text("etag"),
        last_modified: text("last-modified"),
        version_id: text("x-amz-version-id"),
        storage_class: text("x-amz-storage-class"),
        metadata: notes.collect(),
    })
}

#[async_trait]
impl Run for HeadObject {
    async fn run(self, call: &Call) -> Result<ObjectInfo> {
        let ask = Ask::object(Method::HEAD, &self.bucket, &self.key)?.query("versionId", self.version_id);
        info(&ask.answer(call).await?)
    }
}

#[async_trait]
impl Run for PutObject {
    async fn run(self, call: &Call) -> Result<Written> {
        let response = self.ask()?.answer(call).await?;
        let text = |name: &str| response.header(name).map(str::to_owned);
        Ok(Written { etag: text("etag"), version_id: text("x-amz-version-id") })
    }
}

impl PutObject {
    pub(super) fn ask(self) -> Result<Ask> {
        let (body, usual) = match (self.text, self.base64) {
            (Some(text), None) => (Bytes::from(text), "text/plain; charset=utf-8"),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(base64).map_err(|_| Error::invalid("`base64` is no base64"))?;
                (Bytes::from(bytes), "application/octet-stream")
            }
            _ => return Err(Error::invalid("an object is written from either `text` or `base64`")),
        };
        let mut ask = Ask::object(Method::PUT, &self.bucket, &self.key)?
            .header("content-type", Some(self.content_type.as_deref().unwrap_or(usual)))
            .header("if-none-match", self.if_none_match)
            .header("if-match", self.if_match)
            .body(body);
        for (name, value) in self.metadata.unwrap_or_default() {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                let name: String = name.chars().take(64).collect();
                return Err(Error::invalid(format!("`{name}` is no name in `metadata`")));
            }
            ask = ask.header(format!("x-amz-meta-{}", name.to_ascii_lowercase()), Some(value));
        }
        Ok(ask)
    }
}

#[async_trait]
impl Run for DeleteObject {
    async fn run(self, call: &Call) -> Result<Deleted> {
        let ask = Ask::object(Method::DELETE, &self.bucket, &self.key)?.query("versionId", self.version_id);
        let response = ask.answer(call).await?;
        Ok(Deleted {
            version_id: response.header("x-amz-version-id").map(str::to_owned),
            delete_marker: response.header("x-amz-delete-marker") == Some("true"),
        })
    }
}

#[async_trait]
impl Run for CopyObject {
    async fn run(self, call: &Call) -> Result<CopyResult> {
        let mut source = path(&self.source_bucket, &self.source_key)?;
        if let Some(version) = self.source_version_id {
            source = format!(
                "{source}?versionId={}",
                agentprovision_core::http::sigv4::encode(version.as_bytes())
            );
        }
        let ask =
            Ask::object(Method::PUT, &self.bucket, &self.key)?.header("x-amz-copy-source", Some(source));
        let mut response = ask.answer(call).await?;
        let copied: Copied = parse(&response.body)?;
        if copied.code.is_some() {
            // It failed after the head was sent, as if it had been with this status.
            response.status = StatusCode::INTERNAL_SERVER_ERROR;
            call.check(&response).await?;
        }
        let version_id = response.header("x-amz-version-id").map(str::to_owned);
        Ok(CopyResult { etag: copied.etag, last_modified: copied.last_modified, version_id })
    }
}
