//! Files in the forms that the formats of OpenAI and their relatives take.

use agentprovision_core::model::Source;
use agentprovision_core::{Error, Result};

use crate::clip;

/// The address of a file: its own, or its bytes as a `data` URL (RFC 2397).
///
/// # Errors
/// `invalid_input` when the media type cannot stand in a URL, the bytes are no base64, or the address is no URL of the
/// web.
pub(super) fn url(media_type: &str, source: &Source) -> Result<String> {
    match source {
        Source::Base64(data) => {
            check_media_type(media_type)?;
            let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            if data.is_empty() || !data.bytes().all(alphabet) {
                return Err(Error::invalid("the bytes of a file are not base64"));
            }
            Ok(format!("data:{media_type};base64,{data}"))
        }
        Source::Url(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(url.clone()),
        Source::Url(_) => Err(Error::invalid("the address of a file must be an `http` or `https` URL")),
        _ => Err(Error::unsupported("this format has no form for this source of a file")),
    }
}

/// Whether a media type has the form `type/subtype` (RFC 6838, section 4.2).
fn check_media_type(media_type: &str) -> Result<()> {
    let name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match media_type.split_once('/') {
        Some((kind, subtype)) if name(kind) && name(subtype) => Ok(()),
        _ => Err(Error::invalid(format!("`{}` is no media type", clip(media_type)))),
    }
}

/// The name of a document: its own, or one with the ending that its media type has.
pub(super) fn file_name(name: Option<&str>, media_type: &str) -> String {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let ending = match media_type {
        "application/pdf" => "pdf",
        "text/plain" => "txt",
        "text/markdown" => "md",
        "text/html" => "html",
        "text/csv" => "csv",
        "application/json" => "json",
        _ => return "document".to_owned(),
    };
    format!("document.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_addresses_or_are_refused() {
        let base64 = |data: &str| Source::Base64(data.into());
        assert_eq!(url("image/png", &base64("AAA=")).unwrap(), "data:image/png;base64,AAA=");
        assert_eq!(url("x", &Source::Url("https://a/b".into())).unwrap(), "https://a/b");
        for (media_type, source) in [
            ("image", base64("AAA=")),
            ("image/png;x=", base64("AAA=")),
            ("image/png", base64("")),
            ("image/png", base64("a b")),
            ("image/png", Source::Url("file:///etc/passwd".into())),
        ] {
            assert!(url(media_type, &source).is_err(), "{media_type} {source:?}");
        }
        assert_eq!(file_name(None, "application/pdf"), "document.pdf");
        assert_eq!(file_name(Some(""), "a/b"), "document");
        assert_eq!(file_name(Some("a.txt"), "a/b"), "a.txt");
    }
}
