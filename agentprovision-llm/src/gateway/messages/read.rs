//! Requests.

use agentprovision_core::Result;
use agentprovision_core::model::{
    ChatRequest, Content, Continuation, Message, Source, ToolChoice, ToolDefinition,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::gateway::asked::{self, Asked, Conversation};
use crate::gateway::fields::{Fields, objects, wrong};
use crate::gateway::opaque;

/// Who signs thinking that this gateway did not wrap.
const ISSUER: &str = "anthropic.messages";

/// Reads a request for an answer, which says how long that may be.
///
/// # Errors
/// As [`read`], and when the request says nothing of it.
pub(in crate::gateway) fn read_limited(body: Value) -> Result<Asked> {
    let asked = read(body)?;
    match asked.request.max_tokens {
        Some(_) => Ok(asked),
        None => Err(wrong("max_tokens", "the field is required")),
    }
}

/// Reads a request.
///
/// # Errors
/// `invalid_input`, naming the field that is wrong or has no counterpart here.
pub(in crate::gateway) fn read(body: Value) -> Result<Asked> {
    let mut body = Fields::body(body)?;
    let mut request = ChatRequest::new(body.required("model")?, Vec::new());
    body.refuse(&["container", "mcp_servers", "context_management"])?;
    request.max_tokens = body.count("max_tokens")?;
    if request.max_tokens == Some(0) {
        return Err(body.wrong("max_tokens", "expected at least 1"));
    }
    let (mut cache, mut conversation) = (Cache::default(), Conversation::default());
    if let Some(text) = system(&mut body, &mut cache)? {
        conversation.push(Message::system(text))?;
    }
    let messages = body.list("messages")?.ok_or_else(|| body.missing("messages"))?;
    for message in objects("messages", messages)? {
        self::message(message, &mut conversation, &mut cache)?;
    }
    request.messages = conversation.finish();
    let parallel = tools(&mut body, &mut request, &mut cache)?;
    request.temperature = body.number("temperature")?;
    if let Some(list) = body.list("stop_sequences")? {
        let texts: Option<Vec<String>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        let wrong = || body.wrong("stop_sequences", "expected a list of strings");
        request.stop = texts.ok_or_else(wrong)?;
    }
    let config = output(&mut body, &mut request)?;
    let stream = body.flag("stream")?.unwrap_or(false);
    let mut own = body.rest();
    own.extend(config.map(|config| ("output_config".to_owned(), config)));
    own.extend(parallel.then(|| ("parallel_tool_calls".to_owned(), json!(false))));
    if let Some(control) = cache.0 {
        own.entry("cache_control").or_insert(control);
    }
    let user = own.get("metadata").and_then(|metadata| metadata.get("user_id")?.as_str());
    let affinity = user.filter(|user| !user.is_empty()).map(str::to_owned);
    Ok(Asked { request, own, stream, affinity })
}

/// The last mark up to which a prompt is to be cached. Models of this format are asked to cache up to the last block,
/// which holds every earlier mark.
#[derive(Default)]
struct Cache(Option<Value>);

impl Cache {
    fn take(&mut self, block: &mut Fields) {
        if let Some(control) = block.take("cache_control") {
            self.0 = Some(control);
        }
    }
}

fn system(body: &mut Fields, cache: &mut Cache) -> Result<Option<String>> {
    match body.take("system") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Array(blocks)) => {
            let mut all = Vec::with_capacity(blocks.len());
            for mut block in objects("system", blocks)? {
                cache.take(&mut block);
                if block.required("type")? != "text" {
                    return Err(block.wrong("type", "expected `text`"));
                }
                all.push(block.required("text")?);
                block.ignore(&["citations"]);
                block.finish()?;
            }
            Ok((!all.is_empty()).then(|| all.join("\n")))
        }
        Some(_) => Err(body.wrong("system", "expected a string or a list of blocks")),
    }
}

/// The form of the answer, and what else its configuration says.
fn output(body: &mut Fields, request: &mut ChatRequest) -> Result<Option<Value>> {
    let read = |mut format: Fields| -> Result<Option<Value>> {
        if format.required("type")? != "json_schema" {
            return Err(format.wrong("type", "expected `json_schema`"));
        }
        let schema = format.schema("schema")?.ok_or_else(|| format.missing("schema"))?;
        format.finish()?;
        Ok(Some(schema))
    };
    if let Some(format) = body.object("output_format")? {
        request.output_schema = read(format)?;
    }
    let Some(mut config) = body.object("output_config")? else { return Ok(None) };
    if let Some(format) = config.object("format")? {
        request.output_schema = read(format)?;
    }
    let rest = config.rest();
    Ok((!rest.is_empty()).then_some(Value::Object(rest)))
}

/// Reads tools and the choice among them; true when calls are to come one at a time.
fn tools(body: &mut Fields, request: &mut ChatRequest, cache: &mut Cache) -> Result<bool> {
    for mut tool in body.objects("tools")? {
        cache.take(&mut tool);
        if tool.text("type")?.is_some_and(|kind| kind != "custom") {
            return Err(tool.wrong("type", "the gateway supports tools of type `custom`"));
        }
        request.tools.push(ToolDefinition {
            name: tool.required("name")?,
            description: tool.text("description")?.unwrap_or_default(),
            input_schema: tool.schema("input_schema")?.unwrap_or_else(asked::no_input),
        });
        // How the provider reads the definition; the definition says the same without.
        tool.ignore(&["strict", "eager_input_streaming", "input_examples"]);
        tool.finish()?;
    }
    let Some(mut choice) = body.object("tool_choice")? else { return Ok(false) };
    request.tool_choice = match choice.required("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Tool(choice.required("name")?),
        _ => return Err(choice.wrong("type", "expected `auto`, `any`, `tool` or `none`")),
    };
    let single = choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    choice.finish()?;
    Ok(single)
}

fn message(mut message: Fields, all: &mut Conversation, cache: &mut Cache) -> Result<()> {
    let role = message.required("role")?;
    let blocks = match message.take("content") {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(blocks)) => blocks,
        Some(_) => return Err(message.wrong("content", "expected a string or a list of blocks")),
        None => return Err(message.missing("content")),
    };
    let place = message.place("content");
    match role.as_str() {
        "user" => user(objects(&place, blocks)?, all, cache)?,
        "assistant" => all.push(assistant(&place, blocks, cache)?)?,
        _ => return Err(message.wrong("role", "expected `user` or `assistant`")),
    }
    message.finish()
}

fn user(blocks: Vec<Fields>, all: &mut Conversation, cache: &mut Cache) -> Result<()> {
    let mut content = Vec::new();
    for mut block in blocks {
        cache.take(&mut block);
        match block.required("type")?.as_str() {
            "text" => content.push(Content::Text { text: block.required("text")? }),
            "image" => {
                let source = source(&mut block)?;
                let image = match source {
                    (Some(media_type), source) => Content::Image { media_type, source },
                    (None, Source::Url(url)) => Content::Image {
                        media_type: asked::image_type_of(&url).into(),
                        source: Source::Url(url),
                    },
                    (None, source) => Content::Image { media_type: "image/*".into(), source },
                };
                content.push(image);
            }
            "document" => {
                block.refuse(&["context"])?;
                let (media_type, source) = source(&mut block)?;
                let media_type = media_type.unwrap_or_else(|| "application/pdf".into());
                if let Some(mut citations) = block.object("citations")?
                    && citations.flag("enabled")? == Some(true)
                {
                    return Err(citations.wrong("enabled", "the gateway does not support citations"));
                }
                content.push(Content::Document { media_type, name: block.text("title")?, source });
            }
            "tool_result" => {
                // Results stand before what the user says with them, as the format itself asks for.
                let call_id = block.required("tool_use_id")?;
                let text = result(&mut block)?;
                let is_error = block.flag("is_error")?.unwrap_or(false);
                all.result(call_id, text, is_error)?;
            }
            _ => {
                let known = "expected `text`, `image`, `document` or `tool_result`";
                return Err(block.wrong("type", known));
            }
        }
        block.ignore(&["citations"]);
        block.finish()?;
    }
    if !content.is_empty() {
        all.push(Message::User { content })?;
    }
    Ok(())
}

/// The text of a tool's result.
fn result(block: &mut Fields) -> Result<String> {
    match block.take("content") {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut all = Vec::with_capacity(parts.len());
            for mut part in objects(&block.place("content"), parts)? {
                if part.required("type")? != "text" {
                    return Err(part.wrong("type", "the gateway supports text in the result of a tool"));
                }
                all.push(part.required("text")?);
            }
            Ok(all.join("\n"))
        }
        Some(_) => Err(block.wrong("content", "expected a string or a list of blocks")),
    }
}

/// The bytes of a file, with their media type.
fn source(block: &mut Fields) -> Result<(Option<String>, Source)> {
    let mut source = block.object("source")?.ok_or_else(|| block.missing("source"))?;
    let read = match source.required("type")?.as_str() {
        "base64" => {
            let (media_type, data) = (source.required("media_type")?, source.required("data")?);
            asked::check_base64(&source.place("data"), &data)?;
            (Some(media_type), Source::Base64(data))
        }
        "text" => {
            let (media_type, data) = (source.required("media_type")?, source.required("data")?);
            (Some(media_type), Source::Base64(STANDARD.encode(data)))
        }
        "url" => asked::source(&source.place("url"), source.required("url")?)?,
        _ => return Err(source.wrong("type", "expected `base64`, `url` or `text`")),
    };
    source.finish()?;
    Ok(read)
}

/// The blocks of an earlier answer.
fn assistant(place: &str, blocks: Vec<Value>, cache: &mut Cache) -> Result<Message> {
    let (mut text, mut tool_calls) = (String::new(), Vec::new());
    let mut sealed = None;
    let mut own = Vec::new();
    let mut signed = false;
    for (at, value) in blocks.into_iter().enumerate() {
        let mut block = Fields::new(format!("{place}[{at}]"), value.clone())?;
        cache.take(&mut block);
        match block.required("type")?.as_str() {
            "text" => text.push_str(&block.required("text")?),
            "tool_use" => {
                let input = block.take("input").unwrap_or_else(|| Value::Object(Map::new()));
                if !input.is_object() {
                    return Err(block.wrong("input", "expected an object"));
                }
                let (id, name) = (block.required("id")?, block.required("name")?);
                tool_calls.push(asked::tool_call(id, name, input.to_string()));
            }
            "redacted_thinking" => {
                let data = block.required("data")?;
                if opaque::is_sealed(&data) {
                    sealed = opaque::open(&data);
                    continue;
                }
                signed = true;
            }
            // Thinking without a signature was shown by another provider, or was cut off; nobody takes it back.
            "thinking" => match block.text("signature")?.is_some_and(|signature| !signature.is_empty()) {
                true => signed = true,
                false => continue,
            },
            _ => {
                let known = "expected `text`, `thinking`, `redacted_thinking` or `tool_use`";
                return Err(block.wrong("type", known));
            }
        }
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, value| name != "cache_control" && !value.is_null());
        }
        own.push(value);
    }
    let native = signed.then(|| Continuation { issuer: ISSUER.into(), items: own });
    Ok(Message::Assistant { text, tool_calls, continuation: sealed.or(native) })
}
