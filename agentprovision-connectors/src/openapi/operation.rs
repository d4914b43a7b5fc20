//! From an operation of the document to a description of ours.

use std::collections::{BTreeMap, BTreeSet};

use agentprovision_core::{Error, Result};
use http::{HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::body::{Entity, Sent};
use super::document::{Document, object, short, text};
use super::schema::{Schemas, Side};
use super::security::{Needs, needs};
use crate::answer::Form;
use crate::operation::{OperationSpec, Work};
use crate::param::{In, Param, Style};
use crate::request::{Body, HttpTemplate, is_senders};

/// The longest summary, in characters.
const SUMMARY: usize = 400;
/// The longest title of a field's description.
const ABOUT: usize = 500;

/// An operation in the document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'d> {
    pub(super) method: &'d Method,
    pub(super) path: &'d str,
    /// What its path says of all operations on it.
    pub(super) shared: &'d Map<String, Value>,
    pub(super) own: &'d Map<String, Value>,
}

/// The parts of an operation as they are put together.
struct Making<'d> {
    document: &'d Document,
    template: HttpTemplate,
    /// Schemas of the input's fields, as the document has them.
    fields: Map<String, Value>,
    required: BTreeSet<String>,
    open: Value,
}

/// The description of an operation under a name, and what it needs to prove who asks.
///
/// # Errors
/// Why it cannot be imported.
pub(super) fn operation(
    document: &Document,
    schemas: &Schemas<'_>,
    found: Found<'_>,
    name: String,
    strict: bool,
) -> Result<(OperationSpec, Needs)> {
    let needs = needs(document, found.own)?;
    let mut making = Making {
        document,
        template: HttpTemplate::new(found.method.clone(), path(found.path)?),
        fields: Map::new(),
        required: BTreeSet::new(),
        open: Value::Bool(false),
    };
    making.template.body = Body::None;
    making.params(found)?;
    making.body(found)?;
    let (output, form) = making.answer(found)?;
    making.template.answer = form;
    let input = json!({
        "type": "object",
        "properties": making.fields,
        "required": making.required,
        "additionalProperties": making.open,
    });
    let Some(mut input) = schemas.schema(&input, Side::Input)? else {
        return Err(Error::too_large("its input is described by more than is read"));
    };
    if let Some(input) = input.as_object_mut().filter(|_| making.required.is_empty()) {
        input.remove("required");
    }
    // What is too long to be told is anything.
    let output = match output {
        Some(raw) => schemas.schema(&raw, Side::Output)?.unwrap_or_else(|| json!({})),
        None => output_of(form),
    };
    let work = Work::Http(Box::new(making.template));
    let mut spec = OperationSpec::new(name, summary(found), input, output, work);
    let scopes: BTreeSet<&String> = needs.iter().flat_map(|(_, scopes)| scopes).collect();
    spec.scopes = scopes.into_iter().map(|scope| scope.clone().into()).collect();
    spec.loose = !strict;
    Ok((spec, needs))
}

/// What an operation answers whose answers are not described.
fn output_of(form: Form) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Bytes => json!({
            "type": "object",
            "properties": {
                "base64": { "type": "string", "description": "The bytes, in base64." },
                "content_type": { "type": ["string", "null"], "description": "Their content type." },
                "size": { "type": "integer", "description": "How many they are." },
            },
            "required": ["base64", "size"],
        }),
        Form::Ignored => json!({ "type": "null" }),
        _ => json!({}),
    }
}

/// A path as templates have it.
fn path(path: &str) -> Result<String> {
    let bad = |why: &str| Err(Error::invalid(format!("its path {why}")));
    if !path.starts_with('/') {
        return bad("does not begin with a slash");
    }
    if path.contains(['#', '\\']) || path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return bad("has characters that no path has");
    }
    let (leads, _) = path.split_once('?').unwrap_or((path, ""));
    if leads.split('/').any(|segment| [".", ".."].contains(&segment)) {
        return bad("leads upwards");
    }
    let mut within = false;
    for character in path.chars().filter(|character| ['{', '}'].contains(character)) {
        if within != (character == '}') {
            return bad("has a brace that stands alone");
        }
        within = !within;
    }
    if within || path.contains("{}") || path.contains("{+") {
        return bad("has braces that name nothing");
    }
    Ok(path.to_owned())
}

fn summary(found: Found<'_>) -> String {
    let own = |name: &str| text(found.own, name).or_else(|| text(found.shared, name));
    let first = own("summary").map(|summary| short(summary, SUMMARY));
    // The first paragraph: what follows is about details, and about the vendor's plans.
    let paragraph = |text: &str| {
        let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
        short(&lines.collect::<Vec<_>>().join(" "), SUMMARY)
    };
    let more = own("description").map(paragraph);
    let ended = |text: String| if text.ends_with(['.', '!', '?', '…']) { text } else { text + "." };
    match (first, more) {
        (Some(first), Some(more)) if !more.starts_with(first.trim_end_matches('.')) => {
            short(&format!("{} {}", ended(first), ended(more)), SUMMARY)
        }
        (_, Some(more)) => ended(more),
        (Some(first), None) => ended(first),
        (None, None) => format!("{} {}.", found.method, short(found.path, SUMMARY)),
    }
}

impl<'d> Making<'d> {
    /// A name of a field that is not taken yet.
    fn free(&self, name: &str, otherwise: &str) -> Result<String> {
        let names = [name.to_owned(), format!("{name}_{otherwise}")];
        let free = names.into_iter().find(|name| !self.fields.contains_key(name));
        free.ok_or_else(|| Error::invalid(format!("several of its inputs are called `{}`", short(name, 64))))
    }

    fn params(&mut self, found: Found<'d>) -> Result<()> {
        // Those of the operation stand in the place of those of its path.
        let mut all: BTreeMap<(usize, &str), &'d Map<String, Value>> = BTreeMap::new();
        for fields in [found.shared, found.own] {
            let params = match fields.get("parameters") {
                None => continue,
                Some(params) => params.as_array().ok_or_else(|| Error::invalid("`parameters` is no list"))?,
            };
            for param in params {
                let param = self.document.followed(param, "a parameter")?;
                let name = text(param, "name").ok_or_else(|| Error::invalid("a parameter has no name"))?;
                let place = text(param, "in").unwrap_or_default();
                let order = ["path", "query", "header", "cookie"].iter().position(|known| *known == place);
                let order = order.ok_or_else(|| {
                    Error::invalid(format!("the parameter `{}` is in no known place", short(name, 64)))
                })?;
                all.insert((order, name), param);
            }
        }
        let in_path: BTreeSet<String> = self.template.path_fields().into_iter().map(str::to_owned).collect();
        for ((order, name), param) in all {
            let required = order == 0 || param.get("required") == Some(&Value::Bool(true));
            let cannot = |why: &str| match required {
                true => Err(Error::unsupported(format!("it needs `{}`, {why}", short(name, 64)))),
                false => Ok(()),
            };
            match order {
                // One that the path does not name says nothing.
                0 if !in_path.contains(name) => continue,
                // By OpenAPI these are not parameters but parts of other things (3.1.1, section 4.8.12.2).
                2 if ["accept", "authorization", "content-type"].contains(&&*name.to_ascii_lowercase()) => {
                    continue;
                }
                2 if is_senders(name) => {
                    cannot("a header that is the sender's alone")?;
                    continue;
                }
                2 if name.parse::<http::HeaderName>().is_err() => {
                    cannot("which is no name of a header")?;
                    continue;
                }
                3 => {
                    cannot("which is a cookie")?;
                    continue;
                }
                _ => {}
            }
            match self.written(param, name, order)? {
                Ok((param, schema)) => {
                    if required {
                        self.required.insert(param.field.to_string());
                    }
                    self.fields.insert(param.field.to_string(), schema);
                    self.template.params.push(param);
                }
                Err(why) => cannot(&why)?,
            }
        }
        match in_path.iter().find(|name| !self.fields.contains_key(*name)) {
            Some(name) => Err(Error::invalid(format!(
                "its path names `{}`, which no parameter describes",
                short(name, 64)
            ))),
            None => Ok(()),
        }
    }

    /// How a parameter is written and what it is, or why it cannot be.
    fn written(
        &self,
        param: &Map<String, Value>,
        name: &str,
        order: usize,
    ) -> Result<Result<(Param, Value), String>> {
        let (place, usual, otherwise) = match order {
            0 => (In::Path, "simple", "path"),
            1 => (In::Query, "form", "query"),
            _ => (In::Header, "simple", "header"),
        };
        let named = text(param, "style").unwrap_or(usual);
        let mut explode = match param.get("explode") {
            Some(Value::Bool(explode)) => *explode,
            None => named == "form",
            Some(_) => return Err(Error::invalid("`explode` is neither true nor false")),
        };
        let content = param.get("content").map(|content| object(content, "content")).transpose()?;
        let mut style = match (named, place) {
            ("simple", In::Path | In::Header) => Style::Simple,
            ("form", In::Query) => Style::Form,
            ("spaceDelimited", In::Query) => Style::Space,
            ("pipeDelimited", In::Query) => Style::Pipe,
            ("deepObject", In::Query) => Style::Deep,
            _ => return Ok(Err(format!("which is written in the style `{}`", short(named, 32)))),
        };
        let mut schema = param.get("schema").cloned().unwrap_or_else(|| json!({}));
        if let Some((kind, media)) = content.and_then(|content| content.iter().next()) {
            if place == In::Path || !kind.to_ascii_lowercase().contains("json") {
                return Ok(Err(format!("which is written as `{}`", short(kind, 64))));
            }
            (style, explode) = (Style::Json, false);
            schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
        }
        if let Some(schema) = schema.as_object_mut() {
            if let (Some(about), false) = (text(param, "description"), schema.contains_key("description")) {
                schema.insert("description".to_owned(), short(about, ABOUT).into());
            }
            if param.get("deprecated") == Some(&Value::Bool(true)) {
                schema.insert("deprecated".to_owned(), true.into());
            }
        }
        // The path's own name is in the path.
        let field = if place == In::Path { name.to_owned() } else { self.free(name, otherwise)? };
        Ok(Ok((Param::new(field, name.to_owned(), place, style, explode), schema)))
    }

    fn body(&mut self, found: Found<'d>) -> Result<()> {
        let Some(body) = found.own.get("requestBody") else { return Ok(()) };
        let body = self.document.followed(body, "requestBody")?;
        let required = body.get("required") == Some(&Value::Bool(true));
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(found.method) {
            let why = format!("it needs a body, which a {} does not have", found.method);
            return if required { Err(Error::unsupported(why)) } else { Ok(()) };
        }
        let content = object(body.get("content").unwrap_or(&Value::Null), "content")?;
        if content.is_empty() {
            return Ok(());
        }
        let about = text(body, "description");
        let Entity { kind, media, sent } = Entity::of(self.document, content)?;
        self.template.optional_body = !required;
        let fields = media.schema.and_then(|schema| plain_object(self.document, schema));
        match (sent, fields) {
            (Sent::Json, Some(fields)) if self.takes(fields, required) => {
                self.template.body = Body::Json;
                self.template.fixed_headers.push(("content-type".into(), kind.into()));
                self.open = fields.get("additionalProperties").cloned().unwrap_or(Value::Bool(false));
                self.adopt(fields);
            }
            (Sent::Form, Some(fields)) => {
                self.template.body = Body::Form;
                self.form(fields, media.encoding, required)?;
            }
            // A form without fields is none.
            (Sent::Form, None) if !required => {}
            (Sent::Form, None) => {
                return Err(Error::unsupported("its body is a form whose fields are not said"));
            }
            (sent, _) => {
                let field = self.free("body", "of_request")?;
                let mut schema = media.schema.cloned().unwrap_or_else(|| json!({}));
                if sent == Sent::Bytes {
                    schema = json!({ "type": "string", "contentEncoding": "base64" });
                }
                if let (Some(schema), Some(about)) = (schema.as_object_mut(), about) {
                    schema.entry("description").or_insert_with(|| short(about, ABOUT).into());
                }
                let named = || field.clone().into();
                self.template.body = match sent {
                    Sent::Json => {
                        self.template.fixed_headers.push(("content-type".into(), kind.into()));
                        Body::Field(named())
                    }
                    Sent::Bytes => Body::Bytes(named(), kind.into()),
                    _ => Body::Text(named(), kind.into()),
                };
                if required {
                    self.required.insert(field.clone());
                }
                self.fields.insert(field, schema);
            }
        }
        Ok(())
    }

    /// Whether the fields of a body can stand beside the parameters.
    fn takes(&self, fields: &Map<String, Value>, required: bool) -> bool {
        let names = fields.get("properties").and_then(Value::as_object);
        let clash = names.into_iter().flatten().any(|(name, _)| self.fields.contains_key(name));
        // A body that can be left out has fields that cannot be.
        let whole = fields.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        !clash && (required || !whole)
    }

    /// Takes the fields of a body as fields of the input.
    fn adopt(&mut self, fields: &Map<String, Value>) {
        let properties = fields.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            self.fields.insert(name.clone(), schema.clone());
        }
        let needed = fields.get("required").and_then(Value::as_array);
        self.required.extend(needed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }

    /// Takes the fields of a form: each is written in a way of its own.
    fn form(
        &mut self,
        fields: &Map<String, Value>,
        encoding: Option<&Map<String, Value>>,
        required: bool,
    ) -> Result<()> {
        let needed: Vec<&str> = fields
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !required && !needed.is_empty() {
            self.template.optional_body = false;
        }
        for (name, schema) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let encoding = encoding.and_then(|encoding| encoding.get(name));
            let style = encoding.and_then(|encoding| encoding.get("style")).and_then(Value::as_str);
            let explode = encoding.and_then(|encoding| encoding.get("explode")).and_then(Value::as_bool);
            let (style, explode) = match style {
                Some("deepObject") => (Style::Deep, true),
                Some("spaceDelimited") => (Style::Space, explode.unwrap_or(false)),
                Some("pipeDelimited") => (Style::Pipe, explode.unwrap_or(false)),
                Some("form") => (Style::Form, explode.unwrap_or(true)),
                // Not said: objects are JSON, lists of them are repeated (OpenAPI 3.1.1, section 4.8.15).
                _ if explode.is_none() && is_object(self.document, schema) => (Style::Json, false),
                _ => (Style::Form, explode.unwrap_or(true)),
            };
            let field = self.free(name, "form")?;
            if needed.contains(&name.as_str()) {
                self.required.insert(field.clone());
            }
            self.fields.insert(field.clone(), schema.clone());
            self.template.params.push(Param::new(field, name.clone(), In::Form, style, explode));
        }
        Ok(())
    }

    /// What it answers: the schema where it is JSON, and the form.
    fn answer(&mut self, found: Found<'d>) -> Result<(Option<Value>, Form)> {
        if *found.method == Method::HEAD {
            return Ok((None, Form::Ignored));
        }
        let none = Map::new();
        let responses = match found.own.get("responses") {
            None => &none,
            Some(responses) => object(responses, "responses")?,
        };
        let good = |status: &str| status.len() == 3 && status.starts_with('2');
        let mut good: Vec<&Value> =
            responses.iter().filter(|(status, _)| good(status)).map(|(_, response)| response).collect();
        if good.is_empty() {
            good.extend(responses.get("default"));
        }
        let (mut schema, mut form, mut empty) = (None, None, false);
        for response in good {
            let response = self.document.followed(response, "a response")?;
            let content = match response.get("content") {
                None => &none,
                Some(content) => object(content, "content")?,
            };
            empty |= content.is_empty();
            let json = content.iter().find(|(kind, _)| is_json(kind));
            match json {
                Some((kind, media)) if schema.is_none() => {
                    if let Ok(kind) = HeaderValue::from_str(kind)
                        && kind != "application/json"
                        && !kind.as_bytes().contains(&b'*')
                    {
                        let kind = kind.to_str().unwrap_or_default().to_owned();
                        self.template.fixed_headers.push(("accept".into(), kind.into()));
                    }
                    schema = Some(media.get("schema").cloned().unwrap_or_else(|| json!({})));
                    form = Some(Form::Json);
                }
                None if form.is_none() && !content.is_empty() => {
                    let text = content.keys().all(|kind| kind.to_ascii_lowercase().starts_with("text/"));
                    let any = content.keys().any(|kind| kind.contains('*'));
                    form = Some(if any {
                        Form::Any
                    } else if text {
                        Form::Text
                    } else {
                        Form::Bytes
                    });
                }
                _ => {}
            }
        }
        if let (Some(raw), true) = (&mut schema, empty) {
            *raw = json!({ "anyOf": [raw.take(), { "type": "null" }] });
        }
        // Where nothing is said, something may come all the same.
        Ok((schema, form.unwrap_or(Form::Any)))
    }
}

/// Whether a content type is JSON.
pub(super) fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The object that a schema describes, if it is one of fields and says nothing else of itself.
fn plain_object<'d>(document: &'d Document, schema: &'d Value) -> Option<&'d Map<String, Value>> {
    const PLAIN: &[&str] = &[
        "additionalProperties",
        "default",
        "deprecated",
        "description",
        "example",
        "examples",
        "externalDocs",
        "properties",
        "required",
        "title",
        "type",
        "xml",
    ];
    let fields = document.follow(schema).ok()?.as_object()?;
    let plain = fields.iter().all(|(keyword, value)| {
        PLAIN.contains(&keyword.as_str())
            || keyword.starts_with("x-")
            || (keyword == "nullable" && value == &Value::Bool(false))
    });
    let typed = fields.get("type").is_none_or(|kind| kind == "object");
    let named = fields.get("properties").and_then(Value::as_object).is_some_and(|named| !named.is_empty());
    (plain && typed && named).then_some(fields)
}

/// Whether a schema describes objects.
fn is_object(document: &Document, schema: &Value) -> bool {
    let Ok(schema) = document.follow(schema) else { return false };
    schema.get("type").is_some_and(|kind| kind == "object") || schema.get("properties").is_some()
}
