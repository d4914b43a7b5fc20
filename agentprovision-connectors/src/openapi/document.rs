//! An OpenAPI document as it was read: its version, and the references within it.

use agentprovision_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Maps and lists within each other that are read; `serde_json` stops at the same depth.
const DEPTH: usize = 127;
/// The stack that YAML is read on: its reader needs some 24 KiB a level without optimization, which is more than most threads have.
const STACK: usize = 16 * 1024 * 1024;
/// References that lead on to another reference and are followed.
const HOPS: usize = 32;

/// An OpenAPI document of version 3.0 or 3.1.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
    /// Whether it is of version 3.0, whose schemas are a dialect of their own.
    pub(super) is_v30: bool,
}

impl Document {
    /// Reads JSON or YAML.
    ///
    /// # Errors
    /// `too_large`; `invalid_input` for what is neither, or no OpenAPI document; `unsupported` for another version of OpenAPI.
    pub(super) fn read(bytes: &[u8], max_bytes: usize) -> Result<Self> {
        if bytes.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::invalid("the document is no text in UTF-8, so neither JSON nor YAML"))?;
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let root = if text.starts_with('{') { json(text)? } else { yaml(text, bytes.len())? };
        let Some(fields) = root.as_object() else {
            return Err(Error::invalid("the document is no object, so no OpenAPI document"));
        };
        let version = |name: &str| match fields.get(name) {
            Some(Value::String(version)) => Some(version.clone()),
            // YAML reads a version without quotes as a number.
            Some(Value::Number(version)) => Some(version.to_string()),
            _ => None,
        };
        if let Some(swagger) = version("swagger") {
            return Err(Error::unsupported(format!(
                "the document is of Swagger {}; OpenAPI 3.0 and 3.1 are read, so convert it first",
                short(&swagger, 16)
            )));
        }
        let Some(openapi) = version("openapi") else {
            return Err(Error::invalid(
                "the document has no `openapi` with its version, so it is no OpenAPI document",
            ));
        };
        let mut parts = openapi.split('.');
        let is_v30 = match (parts.next(), parts.next()) {
            (Some("3"), Some("0")) => true,
            (Some("3"), Some("1")) => false,
            _ => {
                return Err(Error::unsupported(format!(
                    "the document is of OpenAPI {}; 3.0 and 3.1 are read",
                    short(&openapi, 16)
                )));
            }
        };
        Ok(Self { root, is_v30 })
    }

    /// A part of the document that has to be an object.
    ///
    /// # Errors
    /// `invalid_input` for another thing, naming the part.
    pub(super) fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>> {
        self.root.get(name).map(|value| object(value, name)).transpose()
    }

    /// A part of the document.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.root.get(name)
    }

    /// What a reference within the document leads to.
    ///
    /// # Errors
    /// `blocked` for one that leads out of it: nothing is fetched; `invalid_input` for one to nowhere; `unsupported` for one by
    /// another thing than a JSON pointer.
    pub(super) fn at(&self, reference: &str) -> Result<&Value> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(Error::new(
                ErrorKind::Blocked,
                format!("`{}` is outside of the document, and nothing is fetched", short(reference, 100)),
            ));
        };
        let pointer = percent_decode_str(fragment).decode_utf8_lossy();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(Error::unsupported(format!("`{}` refers to an anchor", short(reference, 100))));
        }
        self.root.pointer(&pointer).ok_or_else(|| {
            Error::invalid(format!("`{}` leads to nothing in the document", short(reference, 100)))
        })
    }

    /// A thing, or what it refers to.
    ///
    /// # Errors
    /// As [`Document::at`]; `invalid_input` for references that lead to each other.
    pub(super) fn follow<'d>(&'d self, mut value: &'d Value) -> Result<&'d Value> {
        for _ in 0..HOPS {
            match value.get("$ref") {
                None => return Ok(value),
                Some(Value::String(reference)) => value = self.at(reference)?,
                Some(_) => return Err(Error::invalid("a `$ref` is no text")),
            }
        }
        Err(Error::invalid("references lead to references and nowhere else"))
    }

    /// The same, of a thing that has to be an object.
    ///
    /// # Errors
    /// As [`Document::follow`]; `invalid_input` for another thing, named so.
    pub(super) fn followed<'d>(&'d self, value: &'d Value, what: &str) -> Result<&'d Map<String, Value>> {
        object(self.follow(value)?, what)
    }
}

/// A document, or what it was fetched as, has more bytes than are read.
pub(super) fn too_large(max_bytes: usize) -> Error {
    Error::too_large(format!("the document has more than {max_bytes} bytes"))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("the document is no JSON: {error}")))
}

fn yaml(text: &str, bytes: usize) -> Result<Value> {
    // Aliases make much of little, so what they are replaced by counts too.
    let most = bytes.max(1 << 20);
    let read = || {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 200_000 },
            budget: serde_saphyr::budget! {
                max_depth: DEPTH,
                max_events: most,
                max_nodes: most,
                max_total_scalar_bytes: most.saturating_mul(2),
                max_recorded_anchor_events: 200_000,
            },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| short(&error.to_string(), 200))
    };
    let failed = |why| Error::internal(format!("a document in YAML cannot be read: {why}"));
    let read: Result<Value, String> = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read);
        let reader = reader.map_err(|error| failed("there is no thread for it").with_source(error))?;
        reader.join().map_err(|_| failed("its reader broke off"))
    })?;
    read.map_err(|why| Error::invalid(format!("the document is no YAML: {why}")))
}

/// A value that has to be an object.
///
/// # Errors
/// `invalid_input`, naming it.
pub(super) fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>> {
    value.as_object().ok_or_else(|| Error::invalid(format!("`{what}` is no object")))
}

/// A text of an object that is not empty.
pub(super) fn text<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// A text in one line, of at most so many characters.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(most) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}
