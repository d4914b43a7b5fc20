//! Deliveries of senders that have no module: JSON or anything else, read as [`GenericSource`] says.

use agentprovision_core::{Error, Result};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::{Facts, header, required};
use crate::webhook::event::{EventBody, GenericSource, Version};
use crate::webhook::json::{Json, plain, time, walk};

pub(in crate::webhook) fn read(
    source: &GenericSource,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Facts, EventBody)> {
    let raw: Option<&RawValue> = serde_json::from_slice(body).ok();
    // RFC 6901.
    let at = |pointer: &Option<String>| -> Option<String> {
        let names: Vec<String> = match pointer.as_deref()? {
            "" => Vec::new(),
            pointer => pointer
                .strip_prefix('/')?
                .split('/')
                .map(|name| name.replace("~1", "/").replace("~0", "~"))
                .collect(),
        };
        plain(walk(raw?, names.iter().map(String::as_str))?).filter(|text| !text.is_empty())
    };
    let named = |name: &Option<String>| -> Result<Option<String>> {
        match name {
            None => Ok(None),
            Some(name) => required(header(headers, name), &format!("the header `{name}`")).map(Some),
        }
    };
    let mut facts = Facts { delivery_id: named(&source.id_header)?, ..Facts::default() };
    facts.kind = match named(&source.kind_header)? {
        Some(kind) => kind,
        None if source.kind.is_some() => at(&source.kind)
            .ok_or_else(|| Error::invalid("the body of the delivery has no kind where it should be"))?,
        None => "delivery".to_owned(),
    };
    facts.subject = at(&source.subject);
    facts.at = at(&source.time).as_deref().and_then(time);
    if let (Some(subject), Some(at)) = (&facts.subject, facts.at) {
        let key = subject.clone();
        facts.order(key, Version::at(at));
    }
    for (name, pointer) in &source.attributes {
        facts.attribute(name, at(&Some(pointer.clone())));
    }
    let body = raw.map_or(EventBody::Opaque, |raw| EventBody::Other(Json::from_raw(raw)));
    Ok((facts, body))
}
