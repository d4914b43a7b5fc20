//! Files.

use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use http::Request;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use url::Url;

use super::types::File;
use crate::answer::Form;
use crate::call::{Answer, Call};
use crate::multipart::content;
use crate::operation::{Effect, Handler, Operation, Page, read};
use crate::operations;
use crate::paging::Paging;
use crate::request::Body;

/// What the method about one file answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InFile {
    /// The file.
    pub file: File,
}

/// Files that were uploaded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Uploaded {
    /// The files.
    pub files: Vec<File>,
}

/// Where the bytes of a file go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadUrl {
    /// Where they are to be posted, as they are.
    pub upload_url: String,
    /// The id that the file will have.
    pub file_id: String,
}

/// A file whose bytes are there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// The file's id.
    pub id: String,
    /// The title; default the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

operations! {
    /// Uploads a file and, with `channel_id`, shares it there. It takes exactly one of `content` and `content_base64`.
    Upload "files.upload" post("/files.completeUploadExternal") => Uploaded
    [.handler(Arc::new(InThreeSteps)).scopes(["files:write"])] {
        /// The name, with its ending.
        filename: String,
        /// The content, of a text.
        content: Option<String>,
        /// The content in base64.
        content_base64: Option<String>,
        /// The title; default the name.
        title: Option<String>,
        /// The channel to share it in; without one only the account sees it.
        channel_id: Option<String>,
        /// Shares it in this thread: the `ts` of its first message.
        thread_ts: Option<String>,
        /// A message with it.
        initial_comment: Option<String>,
        /// What a picture shows, for those who do not see it.
        alt_txt: Option<String>,
        /// The language of a snippet, as `python`.
        snippet_type: Option<String>,
    }
    /// Begins an upload: tells where to post the bytes of a file. `files.complete_upload_external` ends it.
    GetUploadUrl "files.get_upload_url_external" get("/files.getUploadURLExternal") => UploadUrl
    [.effect(Effect::Write).scopes(["files:write"])] {
        /// The name, with its ending.
        filename: String,
        /// The size in bytes.
        length: u64,
        /// What a picture shows, for those who do not see it.
        alt_txt: Option<String>,
        /// The language of a snippet, as `python`.
        snippet_type: Option<String>,
    }
    /// Ends an upload whose bytes were posted and, with `channel_id`, shares the files there.
    CompleteUpload "files.complete_upload_external" post("/files.completeUploadExternal") => Uploaded
    [.body(Body::FlatForm).scopes(["files:write"])] {
        /// The files.
        files: Vec<Complete>,
        /// The channel to share them in; without one only the account sees them.
        channel_id: Option<String>,
        /// Shares them in this thread: the `ts` of its first message.
        thread_ts: Option<String>,
        /// A message with them.
        initial_comment: Option<String>,
    }
    /// Lists files, the newest first.
    List "files.list" get("/files.list") => Page<File>
    [
        .page(Paging::Page { items: "/files".into(), into: "page".into(), pages: "/paging/pages".into() })
        .scopes(["files:read"])
    ] {
        /// Only those in this channel.
        channel: Option<String>,
        /// Only those of this person.
        user: Option<String>,
        /// Only those since then, in seconds since 1970.
        ts_from: Option<String>,
        /// Only those until then, in seconds since 1970.
        ts_to: Option<String>,
        /// Only these, joined by commas: `spaces`, `snippets`, `images`, `gdocs`, `zips`, `pdfs`; default `all`.
        types: Option<String>,
        /// How many a page has; default 100.
        count: Option<u32>,
    }
    /// Tells about a file.
    Info "files.info" get("/files.info") => InFile [.scopes(["files:read"])] {
        /// The file's id.
        file: String,
    }
    /// Deletes a file.
    Delete "files.delete" post("/files.delete") => ()
    [
        .body(Body::FlatForm)
        .answers(Form::Ignored)
        .effect(Effect::Destroy)
        .natural()
        .scopes(["files:write"])
    ] {
        /// The file's id.
        file: String,
    }
}

/// Uploads as <https://docs.slack.dev/messaging/working-with-files#upload> says: ask where to, post the bytes, complete.
#[derive(Debug)]
struct InThreeSteps;

#[async_trait]
impl Handler for InThreeSteps {
    async fn handle(&self, call: &Call) -> Result<Answer> {
        let input: Upload = read(Value::Object(Map::clone(&call.input))).map_err(Error::invalid)?;
        let content = content(input.content, input.content_base64)?;
        let length = content.len() as u64;
        let begin = GetUploadUrl {
            filename: input.filename,
            length,
            alt_txt: input.alt_txt,
            snippet_type: input.snippet_type,
        };
        let UploadUrl { upload_url, file_id } = step(call, &begin).await?;
        let request = Request::post(within(&call.base_url()?, &upload_url)?.as_str())
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(content)
            .map_err(|error| elsewhere().with_source(error))?;
        // The URL itself is the proof; the token stays here.
        call.count_request(length);
        let response = call.exchange.exchange(request).await?;
        call.check(&response).await?;
        let complete = CompleteUpload {
            files: vec![Complete { id: file_id, title: input.title }],
            channel_id: input.channel_id,
            thread_ts: input.thread_ts,
            initial_comment: input.initial_comment,
        };
        let uploaded = step(call, &complete).await?;
        let value = serde_json::to_value(uploaded).map_err(|error| {
            Error::internal("the answer of an operation has no JSON form").with_source(error)
        })?;
        Ok(Answer::new(value))
    }
}

/// One of the steps, as the operation that it is.
async fn step<O: Operation>(call: &Call, input: &O) -> Result<O::Output> {
    let operation = call.connector.operation(O::NAME)?;
    let Ok(Value::Object(input)) = serde_json::to_value(input) else {
        return Err(Error::internal("a step of an upload has no JSON form"));
    };
    let (request, place) = operation.request(&call.base_url()?, &input)?;
    let response = call.send(request).await?;
    call.check(&response).await?;
    read(operation.answer(&response, &place)?).map_err(crate::answer::unexpected)
}

fn elsewhere() -> Error {
    Error::new(ErrorKind::ProviderError, "the vendor wants the file somewhere that is not its own")
}

/// The URL for the bytes, which is at the host that was configured or below it.
fn within(base: &str, url: &str) -> Result<Url> {
    let (Ok(base), Ok(url)) = (Url::parse(base), Url::parse(url)) else { return Err(elsewhere()) };
    let (Some(home), Some(host)) = (base.host_str(), url.host_str()) else { return Err(elsewhere()) };
    let below = host.strip_suffix(home).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    if base.scheme() == url.scheme() && below { Ok(url) } else { Err(elsewhere()) }
}
