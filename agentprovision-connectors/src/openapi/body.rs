//! Which of the forms that a body can have is sent.

use agentprovision_core::{Error, Result};
use serde_json::{Map, Value};

use super::document::{Document, object, short};
use super::operation::is_json;

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sent {
    /// As JSON.
    Json,
    /// As a form.
    Form,
    /// As a text.
    Text,
    /// As bytes.
    Bytes,
}

/// The form of a body that is sent.
#[derive(Debug)]
pub(super) struct Entity<'d> {
    /// The content type.
    pub(super) kind: String,
    pub(super) media: Media<'d>,
    pub(super) sent: Sent,
}

/// What is said of a content type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Media<'d> {
    pub(super) schema: Option<&'d Value>,
    pub(super) encoding: Option<&'d Map<String, Value>>,
}

impl<'d> Entity<'d> {
    /// The one that is sent, of all that a body can have: the one that has its fields most plainly.
    ///
    /// # Errors
    /// `unsupported` where none can be sent, naming them; `invalid_input` for what is no content.
    pub(super) fn of(document: &'d Document, content: &'d Map<String, Value>) -> Result<Self> {
        let mut best: Option<(u8, Self)> = None;
        for (kind, media) in content {
            let fields = object(media, "content")?;
            let encoding = fields.get("encoding").map(|encoding| object(encoding, "encoding")).transpose()?;
            let media = Media { schema: fields.get("schema"), encoding };
            if let Some((rank, kind, sent)) = rank(document, kind, media)
                && best.as_ref().is_none_or(|(before, _)| rank < *before)
            {
                best = Some((rank, Self { kind, media, sent }));
            }
        }
        best.map(|(_, entity)| entity).ok_or_else(|| {
            let kinds: Vec<String> = content.keys().map(|kind| format!("`{}`", short(kind, 64))).collect();
            Error::unsupported(format!("its body is {}", kinds.join(" or ")))
        })
    }
}

/// How good a content type is (the less the better), how it is called in a request, and how it is sent; nothing where it cannot
/// be.
fn rank(document: &Document, kind: &str, media: Media<'_>) -> Option<(u8, String, Sent)> {
    let plain = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Only one that can be a header.
    http::HeaderValue::from_str(kind).ok()?;
    let whole = kind.trim().to_owned();
    let schema = media.schema.and_then(|schema| document.follow(schema).ok());
    let said = |name: &str| schema.and_then(|schema| schema.get(name)).and_then(Value::as_str);
    let string = said("type") == Some("string");
    let bytes =
        schema.is_none() || ["binary", "byte", "base64"].contains(&said("format").unwrap_or_default());
    Some(match plain.as_str() {
        "application/json" => (0, whole, Sent::Json),
        "application/merge-patch+json" => (1, whole, Sent::Json),
        // Its body is a list of changes, whatever documents say.
        "application/json-patch+json" => (4, whole, Sent::Json),
        json if is_json(json) => (2, whole, Sent::Json),
        "*/*" | "application/*" if !string => (3, "application/json".to_owned(), Sent::Json),
        "application/x-www-form-urlencoded" => (5, whole, Sent::Form),
        multipart if multipart.starts_with("multipart/") => return None,
        text if text.starts_with("text/") && !bytes => (6, whole, Sent::Text),
        any if any.contains('*') => (8, "application/octet-stream".to_owned(), Sent::Bytes),
        _ if string && !bytes => (7, whole, Sent::Text),
        "application/octet-stream" | "application/pdf" | "application/zip" | "application/gzip" => {
            (8, whole, Sent::Bytes)
        }
        media if ["image/", "audio/", "video/"].iter().any(|of| media.starts_with(of)) => {
            (8, whole, Sent::Bytes)
        }
        _ if string => (8, whole, Sent::Bytes),
        "text/plain" => (9, whole, Sent::Text),
        _ => return None,
    })
}
