//! Requests.

use agentprovision_core::Result;
use agentprovision_core::model::{
    ChatRequest, Content, Continuation, Message, ToolChoice, ToolDefinition, ToolRequest,
};
use serde_json::{Value, json};

use super::Form;
use crate::gateway::asked::{self, Asked, Conversation};
use crate::gateway::fields::{Fields, objects};
use crate::gateway::opaque;

/// Fields of the format that ask for an answer the gateway has no form for, or that were replaced by others.
const REFUSED: [&str; 6] =
    ["functions", "function_call", "audio", "top_logprobs", "prediction", "moderation"];

/// Reads a request.
///
/// # Errors
/// `invalid_input`, naming the field that is wrong or has no counterpart here.
pub(in crate::gateway) fn read(body: Value) -> Result<(Asked, Form)> {
    let mut body = Fields::body(body)?;
    let mut request = ChatRequest::new(body.required("model")?, Vec::new());
    body.refuse(&REFUSED)?;
    if body.count("n")?.is_some_and(|n| n != 1) {
        return Err(body.wrong("n", "the gateway gives one choice"));
    }
    if body.flag("logprobs")? == Some(true) {
        return Err(body.wrong("logprobs", "the gateway does not support this field"));
    }
    if let Some(modalities) = body.take("modalities")
        && modalities != json!(["text"])
    {
        return Err(body.wrong("modalities", "the gateway answers with text"));
    }
    let messages = body.list("messages")?.ok_or_else(|| body.missing("messages"))?;
    let mut conversation = Conversation::default();
    for message in objects("messages", messages)? {
        self::message(message, &mut conversation)?;
    }
    request.messages = conversation.finish();
    tools(&mut body, &mut request)?;
    request.temperature = body.number("temperature")?;
    let (new, old) = (body.count("max_completion_tokens")?, body.count("max_tokens")?);
    request.max_tokens = new.or(old);
    let name = if new.is_some() { "max_completion_tokens" } else { "max_tokens" };
    if request.max_tokens == Some(0) {
        return Err(body.wrong(name, "expected at least 1"));
    }
    request.stop = stop(&mut body)?;
    request.seed = body.integer("seed")?;
    let format = response_format(&mut body, &mut request)?;
    let stream = body.flag("stream")?.unwrap_or(false);
    let mut include_usage = false;
    if let Some(mut options) = body.object("stream_options")? {
        include_usage = options.flag("include_usage")?.unwrap_or(false);
        options.ignore(&["include_obfuscation"]);
        options.finish()?;
    }
    let mut own = body.rest();
    own.extend(format.map(|format| ("response_format".to_owned(), format)));
    let affinity = affinity(&own, &["prompt_cache_key", "user", "safety_identifier"]);
    Ok((Asked { request, own, stream, affinity }, Form { include_usage }))
}

/// The first of these fields that is a text.
pub(in crate::gateway) fn affinity(own: &serde_json::Map<String, Value>, names: &[&str]) -> Option<String> {
    let mut texts = names.iter().filter_map(|name| own.get(*name)?.as_str());
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

fn stop(body: &mut Fields) -> Result<Vec<String>> {
    let texts = match body.take("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Some(text)],
        Some(Value::Array(list)) => list.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => vec![None],
    };
    let texts: Option<Vec<String>> = texts.into_iter().collect();
    texts.ok_or_else(|| body.wrong("stop", "expected a string or a list of strings"))
}

/// The form of the answer; what is no schema goes to the model as it is.
fn response_format(body: &mut Fields, request: &mut ChatRequest) -> Result<Option<Value>> {
    let Some(mut format) = body.object("response_format")? else { return Ok(None) };
    match format.required("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(json!({"type": "json_object"}))),
        "json_schema" => {
            let mut schema = format.object("json_schema")?.ok_or_else(|| format.missing("json_schema"))?;
            let found = schema.schema("schema")?.ok_or_else(|| schema.missing("schema"))?;
            request.output_schema = Some(found);
            // The name and the description are for the model, which reads those within the schema.
            schema.ignore(&["name", "description", "strict"]);
            schema.finish()?;
            format.finish()?;
            Ok(None)
        }
        _ => Err(format.wrong("type", "expected `text`, `json_object` or `json_schema`")),
    }
}

fn tools(body: &mut Fields, request: &mut ChatRequest) -> Result<()> {
    for mut tool in body.objects("tools")? {
        if tool.required("type")? != "function" {
            return Err(tool.wrong("type", "the gateway supports tools of type `function`"));
        }
        let mut function = tool.object("function")?.ok_or_else(|| tool.missing("function"))?;
        request.tools.push(ToolDefinition {
            name: function.required("name")?,
            description: function.text("description")?.unwrap_or_default(),
            input_schema: function.schema("parameters")?.unwrap_or_else(asked::no_input),
        });
        // A model whose calls can be kept to a schema is asked for that by the schema itself.
        function.flag("strict")?;
        function.finish()?;
        tool.finish()?;
    }
    request.tool_choice = match body.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(body.wrong("tool_choice", "expected `auto`, `none`, `required` or a function")),
        },
        Some(choice) => {
            let mut choice = Fields::new("tool_choice".into(), choice)?;
            if choice.required("type")? != "function" {
                return Err(choice.wrong("type", "the gateway supports a choice of type `function`"));
            }
            let mut function = choice.object("function")?.ok_or_else(|| choice.missing("function"))?;
            ToolChoice::Tool(function.required("name")?)
        }
    };
    Ok(())
}

fn message(mut message: Fields, all: &mut Conversation) -> Result<()> {
    let role = message.required("role")?;
    let read = match role.as_str() {
        "system" | "developer" => {
            let text = texts(&mut message)?.ok_or_else(|| message.missing("content"))?;
            Message::System { text }
        }
        "user" => Message::User { content: content(&mut message)? },
        "assistant" => return all.push(assistant(message)?),
        "tool" => {
            let call_id = message.required("tool_call_id")?;
            let content = texts(&mut message)?.ok_or_else(|| message.missing("content"))?;
            message.ignore(&["name"]);
            message.finish()?;
            return all.result(call_id, content, false);
        }
        _ => {
            let known = "expected `system`, `developer`, `user`, `assistant` or `tool`";
            return Err(message.wrong("role", known));
        }
    };
    message.finish()?;
    all.push(read)
}

/// A model's message as an earlier answer had it: what else is in it was this gateway's own.
fn assistant(mut message: Fields) -> Result<Message> {
    message.refuse(&["audio", "function_call"])?;
    let mut text = texts(&mut message)?.unwrap_or_default();
    if let Some(refusal) = message.text("refusal")?
        && text.is_empty()
    {
        text = refusal;
    }
    let mut tool_calls: Vec<ToolRequest> = Vec::new();
    for mut call in message.objects("tool_calls")? {
        if call.text("type")?.is_some_and(|kind| kind != "function") {
            return Err(call.wrong("type", "the gateway supports calls of type `function`"));
        }
        let mut function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
        let (name, arguments) = (function.required("name")?, function.text("arguments")?.unwrap_or_default());
        tool_calls.push(asked::tool_call(call.required("id")?, name, arguments));
    }
    let continuation = message.list("reasoning_details")?.and_then(|details| continuation(&details));
    Ok(Message::Assistant { text, tool_calls, continuation })
}

/// What the provider wants to see again, where the message has it.
fn continuation(details: &[Value]) -> Option<Continuation> {
    let mut texts = details.iter().filter_map(|detail| detail.get("data")?.as_str());
    opaque::open(texts.find(|text| opaque::is_sealed(text))?)
}

/// The content of a message that has text only.
fn texts(message: &mut Fields) -> Result<Option<String>> {
    match message.take("content") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Array(parts)) => {
            let mut all = Vec::with_capacity(parts.len());
            for mut part in objects(&message.place("content"), parts)? {
                match part.required("type")?.as_str() {
                    "text" => all.push(part.required("text")?),
                    "refusal" => all.push(part.required("refusal")?),
                    _ => {
                        return Err(part.wrong("type", "the gateway supports text in a message of this role"));
                    }
                }
            }
            Ok(Some(all.join("\n")))
        }
        Some(_) => Err(message.wrong("content", "expected a string or a list of parts")),
    }
}

fn content(message: &mut Fields) -> Result<Vec<Content>> {
    let parts = match message.take("content") {
        Some(Value::String(text)) => return Ok(vec![Content::Text { text }]),
        Some(Value::Array(parts)) => objects(&message.place("content"), parts)?,
        Some(_) => return Err(message.wrong("content", "expected a string or a list of parts")),
        None => return Err(message.missing("content")),
    };
    parts.into_iter().map(part).collect()
}

fn part(mut part: Fields) -> Result<Content> {
    let read = match part.required("type")?.as_str() {
        "text" => Content::Text { text: part.required("text")? },
        "image_url" => {
            let mut image = part.object("image_url")?.ok_or_else(|| part.missing("image_url"))?;
            let url = image.required("url")?;
            detail(&mut image)?;
            let place = image.place("url");
            image.finish()?;
            asked::image(&place, url)?
        }
        "file" => {
            let mut file = part.object("file")?.ok_or_else(|| part.missing("file"))?;
            file.refuse(&["file_id"])?;
            let name = file.text("filename")?;
            let data = file.required("file_data")?;
            let (media_type, source) = asked::source(&file.place("file_data"), data)?;
            let media_type = media_type.unwrap_or_else(|| asked::media_type_of(name.as_deref()).to_owned());
            file.finish()?;
            Content::Document { media_type, name, source }
        }
        _ => return Err(part.wrong("type", "expected `text`, `image_url` or `file`")),
    };
    part.finish()?;
    Ok(read)
}

/// How closely an image is to be looked at, which only OpenAI lets one say.
pub(in crate::gateway) fn detail(image: &mut Fields) -> Result<()> {
    match image.text("detail")?.as_deref() {
        None | Some("auto") => Ok(()),
        Some(_) => Err(image.wrong("detail", "the gateway supports `auto`")),
    }
}
