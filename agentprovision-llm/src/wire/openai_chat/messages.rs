//! The messages of a request.

use agentprovision_core::model::{Content, Message, Source, ToolRequest};
use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{DocumentForm, Lack, OpenAiChat};
use crate::wire::call_ids::CallIds;
use crate::wire::media;

pub(super) fn encode(messages: &[Message], dialect: &OpenAiChat) -> Result<Value> {
    let mut ids = CallIds::new(dialect.call_ids.ids());
    let mut out = Vec::with_capacity(messages.len());
    for (place, message) in messages.iter().enumerate() {
        out.push(match message {
            Message::System { text } => json!({"role": "system", "content": text}),
            Message::User { content } => {
                json!({"role": "user", "content": user_content(content, dialect)?})
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let mut message = Map::new();
                message.insert("role".into(), json!("assistant"));
                let silent = text.is_empty() && !tool_calls.is_empty();
                message.insert("content".into(), if silent { Value::Null } else { json!(text) });
                if !tool_calls.is_empty() {
                    let calls = tool_calls.iter().enumerate();
                    let calls = calls.map(|(at, call)| tool_call(call, &ids.call(&call.id, place, at)));
                    message.insert("tool_calls".into(), calls.collect());
                }
                if let Some(again) = &dialect.again {
                    again.restore(continuation.as_ref(), &mut message);
                }
                Value::Object(message)
            }
            Message::Tool { call_id, content, .. } => {
                json!({"role": "tool", "tool_call_id": ids.result(call_id), "content": content})
            }
            _ => {
                return Err(Error::unsupported(
                    "the chat completions format has no form for this kind of message",
                ));
            }
        });
    }
    Ok(Value::Array(out))
}

fn user_content(content: &[Content], dialect: &OpenAiChat) -> Result<Value> {
    match content {
        [] => Err(Error::invalid("a user's message needs content")),
        // One text goes as a plain string, which every server of this format reads.
        [Content::Text { text }] => Ok(json!(text)),
        parts => parts.iter().map(|content| part(content, dialect)).collect(),
    }
}

fn part(content: &Content, dialect: &OpenAiChat) -> Result<Value> {
    let lacks = |lack, name: &str| match dialect.lacks(lack) {
        true => Err(Error::unsupported(format!("the model provider takes no {name}"))),
        false => Ok(()),
    };
    match content {
        Content::Text { text } => Ok(json!({"type": "text", "text": text})),
        Content::Image { media_type, source } => {
            lacks(Lack::Images, "images")?;
            Ok(json!({"type": "image_url", "image_url": {"url": media::url(media_type, source)?}}))
        }
        Content::Document { media_type, name, source } => {
            lacks(Lack::Documents, "documents")?;
            let url = media::url(media_type, source)?;
            let name = media::file_name(name.as_deref(), media_type);
            match (dialect.documents, source) {
                (DocumentForm::DocumentUrl, _) => {
                    Ok(json!({"type": "document_url", "document_url": url, "document_name": name}))
                }
                (DocumentForm::File, Source::Url(_)) => {
                    Err(Error::unsupported("the chat completions format takes no document by its address"))
                }
                (DocumentForm::File | DocumentForm::FileOrUrl, _) => {
                    Ok(json!({"type": "file", "file": {"filename": name, "file_data": url}}))
                }
            }
        }
        _ => Err(Error::unsupported("the chat completions format has no form for this kind of content")),
    }
}

fn tool_call(call: &ToolRequest, id: &str) -> Value {
    // Servers refuse a history with half an argument list; the tool's result says what happened to the call.
    let whole = !call.arguments.trim().is_empty() && call.json().is_some();
    let arguments = if whole { call.arguments.as_str() } else { "{}" };
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::super::{CallIdForm, ReasoningField};
    use super::*;

    fn image() -> Content {
        Content::Image { media_type: "image/png".into(), source: Source::Base64("AAA=".into()) }
    }

    fn document(source: Source) -> Content {
        Content::Document { media_type: "application/pdf".into(), name: Some("a.pdf".into()), source }
    }

    fn sent(content: Vec<Content>, dialect: &OpenAiChat) -> Result<Value> {
        Ok(encode(&[Message::User { content }], dialect)?[0]["content"].take())
    }

    #[test]
    fn files_have_the_form_the_server_takes_or_are_refused() {
        let (bytes, url) = (Source::Base64("AAA=".into()), Source::Url("https://a/b.pdf".into()));
        let data = "data:application/pdf;base64,AAA=";
        let plain = OpenAiChat::new();
        let expected = json!([
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
        ]);
        assert_eq!(sent(vec![image(), document(bytes)], &plain).unwrap(), expected);
        let error = sent(vec![document(url.clone())], &plain).unwrap_err();
        assert!(error.is(ErrorKind::Unsupported), "{error}");
        let either = plain.clone().with_documents(DocumentForm::FileOrUrl);
        let file = json!([{"type": "file", "file": {"filename": "a.pdf", "file_data": "https://a/b.pdf"}}]);
        assert_eq!(sent(vec![document(url.clone())], &either).unwrap(), file);
        let mistral = plain.clone().with_documents(DocumentForm::DocumentUrl);
        let part =
            json!([{"type": "document_url", "document_url": "https://a/b.pdf", "document_name": "a.pdf"}]);
        assert_eq!(sent(vec![document(url.clone())], &mistral).unwrap(), part);
        let neither = plain.without(&[Lack::Images, Lack::Documents]);
        for (content, name) in [(image(), "images"), (document(url), "documents")] {
            let error = sent(vec![content], &neither).unwrap_err();
            assert!(error.is(ErrorKind::Unsupported));
            assert_eq!(error.to_string(), format!("the model provider takes no {name}"));
        }
    }

    fn turn(ids: &[&str]) -> Vec<Message> {
        let call = |id: &&str| ToolRequest {
            id: (*id).into(),
            name: "t".into(),
            arguments: "{}".into(),
            complete: true,
        };
        let result = |id: &&str| Message::Tool {
            call_id: (*id).into(),
            name: "t".into(),
            content: "1".into(),
            is_error: false,
        };
        let calls = ids.iter().map(call).collect();
        let asked = Message::Assistant { text: String::new(), tool_calls: calls, continuation: None };
        std::iter::once(asked).chain(ids.iter().map(result)).collect()
    }

    #[test]
    fn ids_a_server_would_refuse_are_replaced_in_calls_and_results() {
        let ids = |dialect: &OpenAiChat| -> Vec<String> {
            let long = "x".repeat(41);
            let messages =
                encode(&turn(&["call_1", "abc123XYZ", "functions.f:0", &long, ""]), dialect).unwrap();
            let calls = messages[0]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]);
            let results = messages.as_array().unwrap()[1..].iter().map(|result| &result["tool_call_id"]);
            assert!(calls.clone().eq(results));
            calls.map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        let plain = ["call_1", "abc123XYZ", "functions.f:0", "call_0_3", "call_0_4"];
        assert_eq!(ids(&OpenAiChat::new()), plain);
        let nine = OpenAiChat::new().with_call_ids(CallIdForm::NineLettersAndDigits);
        assert_eq!(ids(&nine), ["000000000", "abc123XYZ", "000000020", "000000030", "000000040"]);
    }

    #[test]
    fn reasoning_goes_back_to_its_issuer() {
        let mut messages = turn(&["c"]);
        let fields = json!({"reasoning_content": "hm"});
        if let Some(Message::Assistant { continuation, .. }) = messages.first_mut() {
            let issuer = "deepseek".into();
            *continuation = Some(agentprovision_core::model::Continuation { issuer, items: vec![fields] });
        }
        let again = |issuer| {
            let dialect = OpenAiChat::new().with_reasoning_again(issuer, ReasoningField::Content);
            encode(&messages, &dialect).unwrap()[0]["reasoning_content"].take()
        };
        assert_eq!(again("deepseek"), json!("hm"));
        assert_eq!(again("other"), Value::Null);
        assert_eq!(encode(&messages, &OpenAiChat::new()).unwrap()[0].get("reasoning_content"), None);
    }
}
