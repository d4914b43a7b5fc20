//! A request as it was read, whatever its format.

use std::collections::HashMap;

use agentprovision_core::model::{ChatRequest, Content, Message, Source, ToolRequest};
use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fields::wrong;

/// A request as it was read.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The request, without `extra`.
    pub(super) request: ChatRequest,
    /// Fields that only the format of the request has a place for.
    pub(super) own: Map<String, Value>,
    /// Whether the answer is to be streamed.
    pub(super) stream: bool,
    /// Which requests belong together.
    pub(super) affinity: Option<String>,
}

/// The bytes of a file, from an address of the web or from a `data` URL in base64 (RFC 2397); with its media type.
///
/// # Errors
/// `invalid_input`, naming the place.
pub(super) fn source(place: &str, url: String) -> Result<(Option<String>, Source)> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok((None, Source::Url(url)));
    }
    let Some(rest) = url.strip_prefix("data:") else {
        return Err(wrong(place, "expected an `http`, `https` or `data` URL"));
    };
    let Some((media_type, data)) = rest.split_once(";base64,") else {
        return Err(wrong(place, "a `data` URL must have a media type and be in base64"));
    };
    check_base64(place, data)?;
    Ok((Some(media_type.to_owned()), Source::Base64(data.to_owned())))
}

/// An image at an address or in a `data` URL.
pub(super) fn image(place: &str, url: String) -> Result<Content> {
    let (media_type, source) = source(place, url)?;
    let media_type = media_type.unwrap_or_else(|| match &source {
        Source::Url(url) => image_type_of(url).to_owned(),
        _ => "image/*".to_owned(),
    });
    Ok(Content::Image { media_type, source })
}

/// The media type of an image by the ending of its address; most providers find out themselves.
pub(super) fn image_type_of(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => "image/*",
    }
}

/// Refuses what is no base64.
pub(super) fn check_base64(place: &str, data: &str) -> Result<()> {
    match !data.is_empty() && STANDARD.decode(data).is_ok() {
        true => Ok(()),
        false => Err(wrong(place, "expected bytes in base64")),
    }
}

/// The media type of a document by the ending of its name.
pub(super) fn media_type_of(name: Option<&str>) -> &'static str {
    match name
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, ending)| ending.to_ascii_lowercase())
        .as_deref()
    {
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("html" | "htm") => "text/html",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/pdf",
    }
}

/// A tool call as a client sends it back; half an argument list is no whole call.
pub(super) fn tool_call(id: String, name: String, arguments: String) -> ToolRequest {
    let mut call = ToolRequest { id, name, arguments, complete: true };
    call.complete = call.json().is_some();
    call
}

/// The most messages and tool calls of a request, together.
const MOST: usize = 250_000;

/// The messages of a request as they are read.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    messages: Vec<Message>,
    /// The tools that were called, by the id of the call.
    tools: HashMap<String, String>,
    calls: usize,
}

impl Conversation {
    /// The next message.
    ///
    /// # Errors
    /// `too_large`, when there are too many.
    pub(super) fn push(&mut self, message: Message) -> Result<()> {
        if let Message::Assistant { tool_calls, .. } = &message {
            self.calls += tool_calls.len();
            self.tools.extend(tool_calls.iter().map(|call| (call.id.clone(), call.name.clone())));
        }
        self.messages.push(message);
        match self.messages.len() + self.calls > MOST {
            true => {
                Err(Error::too_large(format!("the request has more than {MOST} messages and tool calls")))
            }
            false => Ok(()),
        }
    }

    /// The next message, which is what a call gave; it names no tool where there is no such call so far.
    ///
    /// # Errors
    /// As [`Conversation::push`].
    pub(super) fn result(&mut self, call_id: String, content: String, is_error: bool) -> Result<()> {
        let name = self.tools.get(&call_id).cloned().unwrap_or_default();
        self.push(Message::Tool { call_id, name, content, is_error })
    }

    pub(super) fn finish(self) -> Vec<Message> {
        self.messages
    }
}

/// The schema of a tool that takes no input.
pub(super) fn no_input() -> Value {
    json!({"type": "object", "properties": {}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_has_an_end() {
        let mut conversation = Conversation::default();
        let call = |id: &str| tool_call(id.into(), "add".into(), "{}".into());
        let (text, continuation) = (String::new(), None);
        let tool_calls = vec![call("a"), call("b")];
        conversation.push(Message::Assistant { text, tool_calls, continuation }).unwrap();
        conversation.result("b".into(), "2".into(), false).unwrap();
        conversation.result("c".into(), "3".into(), true).unwrap();
        for _ in 5..MOST {
            conversation.push(Message::user("")).unwrap();
        }
        assert!(
            conversation.push(Message::user("")).unwrap_err().is(agentprovision_core::ErrorKind::TooLarge)
        );
        let result = |call_id: &str, name: &str, content: &str, is_error| {
            let [call_id, name, content] = [call_id, name, content].map(str::to_owned);
            Message::Tool { call_id, name, content, is_error }
        };
        let expected = [result("b", "add", "2", false), result("c", "", "3", true)];
        assert_eq!(conversation.finish()[1..3], expected);
    }

    #[test]
    fn files_come_as_addresses_or_bytes() {
        let (media_type, bytes) = source("u", "data:image/png;base64,AAAA".into()).unwrap();
        assert_eq!((media_type.as_deref(), bytes), (Some("image/png"), Source::Base64("AAAA".into())));
        assert_eq!(source("u", "https://a/b".into()).unwrap(), (None, Source::Url("https://a/b".into())));
        for bad in [
            "data:image/png,x",
            "data:image/png;base64,",
            "data:image/png;base64,A",
            "file:///etc/passwd",
            "",
        ] {
            let error = source("messages[0].content[1].image_url.url", bad.into()).unwrap_err();
            assert!(error.message().starts_with("`messages[0].content[1].image_url.url`: "), "{error}");
        }
        assert_eq!(media_type_of(Some("a.MD")), "text/markdown");
        assert_eq!(media_type_of(None), "application/pdf");
    }
}
