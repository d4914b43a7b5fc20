//! Requests.

use agentprovision_core::Result;
use agentprovision_core::model::{
    ChatRequest, Content, Continuation, Message, ToolChoice, ToolDefinition, ToolRequest,
};
use serde_json::{Map, Value, json};

use super::Form;
use crate::gateway::asked::{self, Asked, Conversation};
use crate::gateway::chat::{affinity, detail};
use crate::gateway::fields::{Fields, objects};
use crate::gateway::opaque;

/// Fields of the format that need a memory the gateway does not have, or ask for what it has no form for.
const REFUSED: [&str; 7] = [
    "previous_response_id",
    "conversation",
    "prompt",
    "top_logprobs",
    "max_tool_calls",
    "context_management",
    "moderation",
];

/// Fields that the answer repeats as they came.
const ECHOED: [&str; 10] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
];

/// Reads a request.
///
/// # Errors
/// `invalid_input`, naming the field that is wrong or has no counterpart here.
pub(in crate::gateway) fn read(body: Value) -> Result<(Asked, Form)> {
    let given = |name: &&str| Some(((*name).to_owned(), body.get(*name)?.clone()));
    let echo: Map<String, Value> = ECHOED.iter().filter_map(given).collect();
    let mut body = Fields::body(body)?;
    let mut request = ChatRequest::new(body.required("model")?, Vec::new());
    body.refuse(&REFUSED)?;
    if body.flag("background")? == Some(true) {
        return Err(body.wrong("background", "the gateway answers while the caller waits"));
    }
    let mut turns = Turns::default();
    if let Some(text) = body.text("instructions")? {
        turns.messages.push(Message::system(text))?;
    }
    match body.take("input") {
        Some(Value::String(text)) => turns.messages.push(Message::user(text))?,
        Some(Value::Array(items)) => {
            for item in objects("input", items)? {
                turns.item(item)?;
            }
        }
        Some(_) => return Err(body.wrong("input", "expected a string or a list of items")),
        None => return Err(body.missing("input")),
    }
    request.messages = turns.finish()?;
    tools(&mut body, &mut request)?;
    request.temperature = body.number("temperature")?;
    request.max_tokens = body.count("max_output_tokens")?;
    if request.max_tokens == Some(0) {
        return Err(body.wrong("max_output_tokens", "expected at least 1"));
    }
    let text = text(&mut body, &mut request)?;
    let stream = body.flag("stream")?.unwrap_or(false);
    body.ignore(&["stream_options"]);
    if let Some(included) = body.list("include")?
        && included.iter().any(|name| name != "reasoning.encrypted_content")
    {
        return Err(body.wrong("include", "the gateway supports `reasoning.encrypted_content`"));
    }
    // Nothing is stored here, whatever is asked for, and so nothing is to be stored at the provider.
    body.flag("store")?;
    let mut own = body.rest();
    own.extend(text.map(|text| ("text".to_owned(), text)));
    let affinity = affinity(&own, &["prompt_cache_key", "user", "safety_identifier"]);
    Ok((Asked { request, own, stream, affinity }, Form { echo }))
}

/// The form of the answer; what is no schema goes to the model as it is.
fn text(body: &mut Fields, request: &mut ChatRequest) -> Result<Option<Value>> {
    let Some(mut text) = body.object("text")? else { return Ok(None) };
    let mut rest = Map::new();
    if let Some(mut format) = text.object("format")? {
        match format.required("type")?.as_str() {
            "text" => {}
            "json_object" => drop(rest.insert("format".into(), json!({"type": "json_object"}))),
            "json_schema" => {
                let schema = format.schema("schema")?.ok_or_else(|| format.missing("schema"))?;
                request.output_schema = Some(schema);
                // The name and the description are for the model, which reads those within the schema.
                format.ignore(&["name", "description", "strict"]);
                format.finish()?;
            }
            _ => return Err(format.wrong("type", "expected `text`, `json_object` or `json_schema`")),
        }
    }
    rest.extend(text.rest());
    Ok((!rest.is_empty()).then_some(Value::Object(rest)))
}

fn tools(body: &mut Fields, request: &mut ChatRequest) -> Result<()> {
    for mut tool in body.objects("tools")? {
        if tool.required("type")? != "function" {
            return Err(tool.wrong("type", "the gateway supports tools of type `function`"));
        }
        request.tools.push(ToolDefinition {
            name: tool.required("name")?,
            description: tool.text("description")?.unwrap_or_default(),
            input_schema: tool.schema("parameters")?.unwrap_or_else(asked::no_input),
        });
        // A model whose calls can be kept to a schema is asked for that by the schema itself.
        tool.ignore(&["strict"]);
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
            ToolChoice::Tool(choice.required("name")?)
        }
    };
    Ok(())
}

/// The items of the input as messages: reasoning, text and calls that follow each other are one answer.
#[derive(Default)]
struct Turns {
    messages: Conversation,
    turn: Option<Turn>,
}

#[derive(Default)]
struct Turn {
    texts: Vec<String>,
    calls: Vec<ToolRequest>,
    continuation: Option<Continuation>,
}

impl Turns {
    fn item(&mut self, mut item: Fields) -> Result<()> {
        let kind = match item.text("type")? {
            Some(kind) => kind,
            None if item.has("role") => "message".into(),
            None => return Err(item.missing("type")),
        };
        match kind.as_str() {
            "message" => self.message(item),
            "function_call" => {
                let (id, name) = (item.required("call_id")?, item.required("name")?);
                let arguments = item.text("arguments")?.unwrap_or_default();
                self.turn().calls.push(asked::tool_call(id, name, arguments));
                Ok(())
            }
            "function_call_output" => {
                self.end()?;
                let call_id = item.required("call_id")?;
                let content = texts(&mut item, "output")?;
                self.messages.result(call_id, content, false)
            }
            "reasoning" => {
                let sealed = item.text("encrypted_content")?;
                if let Some(found) = sealed.as_deref().and_then(opaque::open) {
                    // Another answer follows at once.
                    if self.turn.as_ref().is_some_and(|turn| turn.continuation.is_some()) {
                        self.end()?;
                    }
                    self.turn().continuation = Some(found);
                }
                Ok(())
            }
            _ => {
                let known = "expected `message`, `function_call`, `function_call_output` or `reasoning`";
                Err(item.wrong("type", known))
            }
        }
    }

    fn turn(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    fn end(&mut self) -> Result<()> {
        match self.turn.take() {
            Some(Turn { texts, calls, continuation })
                if !texts.is_empty() || !calls.is_empty() || continuation.is_some() =>
            {
                let text = texts.concat();
                self.messages.push(Message::Assistant { text, tool_calls: calls, continuation })
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Vec<Message>> {
        self.end()?;
        Ok(self.messages.finish())
    }

    fn message(&mut self, mut item: Fields) -> Result<()> {
        let role = item.required("role")?;
        if !item.has("content") {
            return Err(item.missing("content"));
        }
        let read = match role.as_str() {
            "assistant" => {
                let text = texts(&mut item, "content")?;
                self.turn().texts.push(text);
                return Ok(());
            }
            "system" | "developer" => Message::System { text: texts(&mut item, "content")? },
            "user" => Message::User { content: content(&mut item)? },
            _ => return Err(item.wrong("role", "expected `user`, `assistant`, `system` or `developer`")),
        };
        item.ignore(&["id", "status"]);
        item.finish()?;
        self.end()?;
        self.messages.push(read)
    }
}

/// A field that is a text or a list of parts of text.
fn texts(item: &mut Fields, name: &str) -> Result<String> {
    match item.take(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut all = Vec::with_capacity(parts.len());
            for mut part in objects(&item.place(name), parts)? {
                match part.required("type")?.as_str() {
                    "input_text" | "output_text" | "text" => all.push(part.required("text")?),
                    "refusal" => all.push(part.required("refusal")?),
                    _ => return Err(part.wrong("type", "the gateway supports text here")),
                }
            }
            Ok(all.join("\n"))
        }
        Some(_) => Err(item.wrong(name, "expected a string or a list of parts")),
        None => Err(item.missing(name)),
    }
}

fn content(item: &mut Fields) -> Result<Vec<Content>> {
    let parts = match item.take("content") {
        Some(Value::String(text)) => return Ok(vec![Content::Text { text }]),
        Some(Value::Array(parts)) => objects(&item.place("content"), parts)?,
        _ => return Err(item.wrong("content", "expected a string or a list of parts")),
    };
    parts.into_iter().map(part).collect()
}

fn part(mut part: Fields) -> Result<Content> {
    let read = match part.required("type")?.as_str() {
        "input_text" | "text" => Content::Text { text: part.required("text")? },
        "input_image" => {
            part.refuse(&["file_id"])?;
            detail(&mut part)?;
            let url = part.required("image_url")?;
            asked::image(&part.place("image_url"), url)?
        }
        "input_file" => {
            part.refuse(&["file_id"])?;
            let name = part.text("filename")?;
            let field = if part.has("file_url") { "file_url" } else { "file_data" };
            let data = part.required(field)?;
            let (media_type, source) = asked::source(&part.place(field), data)?;
            let media_type = media_type.unwrap_or_else(|| asked::media_type_of(name.as_deref()).to_owned());
            part.ignore(&["detail"]);
            Content::Document { media_type, name, source }
        }
        _ => return Err(part.wrong("type", "expected `input_text`, `input_image` or `input_file`")),
    };
    part.finish()?;
    Ok(read)
}
