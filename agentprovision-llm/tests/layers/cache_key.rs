//! The property of the key: changing any one thing in a request makes it another question.

use std::sync::Arc;

use agentprovision_core::Env;
use agentprovision_core::model::{
    CacheUse, ChatModel, ChatRequest, Content, Continuation, Message, RouteHints, Source, ToolChoice,
    ToolDefinition, ToolRequest,
};
use agentprovision_llm::layers::{CacheConfig, CacheLayer};
use serde_json::{Map, Value, json};
use tower::Layer;

use crate::kit::counting;
use crate::support::{context, within};

/// A request with something in every field.
fn full() -> ChatRequest {
    let image = Content::Image { media_type: "image/png".into(), source: Source::Base64("AAAA".into()) };
    let document = Content::Document {
        media_type: "application/pdf".into(),
        name: Some("a.pdf".into()),
        source: Source::Url("https://a.example/a.pdf".into()),
    };
    let call = ToolRequest {
        id: "call_1".into(),
        name: "find".into(),
        arguments: "{\"id\":1}".into(),
        complete: true,
    };
    let continuation = Continuation { issuer: "somebody".into(), items: vec![json!({ "signature": "abc" })] };
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("be brief"),
            Message::User { content: vec![Content::Text { text: "look".into() }, image, document] },
            Message::Assistant {
                text: "let me see".into(),
                tool_calls: vec![call],
                continuation: Some(continuation),
            },
            Message::Tool {
                call_id: "call_1".into(),
                name: "find".into(),
                content: "nothing".into(),
                is_error: true,
            },
        ],
    );
    let schema = json!({ "type": "object", "properties": { "id": { "type": "integer" } } });
    request.tools = vec![ToolDefinition {
        name: "find".into(),
        description: "finds".into(),
        input_schema: schema.clone(),
    }];
    request.tool_choice = ToolChoice::Tool("find".into());
    request.temperature = Some(0.5);
    request.max_tokens = Some(100);
    request.output_schema = Some(schema);
    request.stop = vec!["END".into()];
    request.seed = Some(7);
    request.extra =
        Map::from_iter([("top_p".to_owned(), json!(0.9)), ("metadata".to_owned(), json!({"a": [1]}))]);
    request.route.cache = CacheUse::Always;
    request
}

/// Every JSON value that differs from `value` in one place: a leaf changed, an entry removed, doubled or added.
fn neighbours(value: &Value) -> Vec<Value> {
    let mut all = match value {
        Value::Null => vec![json!(1), json!("x"), json!({})],
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) if number.is_f64() => vec![json!(number.as_f64().unwrap() + 0.25), Value::Null],
        Value::Number(number) => vec![json!(number.as_i64().unwrap() + 1), Value::Null],
        Value::String(text) => vec![
            json!(format!("{text} ")),
            json!(format!("{text}x")),
            json!(""),
            json!("auto"),
            json!("none"),
        ],
        Value::Array(_) | Value::Object(_) => Vec::new(),
    };
    match value {
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                let with = |item: Option<Value>, twice: bool| {
                    let mut items = items.clone();
                    match item {
                        Some(item) if twice => items.insert(place, item),
                        Some(item) => items[place] = item,
                        None => _ = items.remove(place),
                    }
                    Value::Array(items)
                };
                all.extend(neighbours(item).into_iter().map(|item| with(Some(item), false)));
                all.push(with(None, false));
                all.push(with(Some(item.clone()), true));
                if place > 0 {
                    let mut swapped = items.clone();
                    swapped.swap(place - 1, place);
                    all.push(Value::Array(swapped));
                }
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                all.extend(neighbours(item).into_iter().map(|item| {
                    let mut map = map.clone();
                    map.insert(key.clone(), item);
                    Value::Object(map)
                }));
                let mut without = map.clone();
                without.remove(key);
                all.push(Value::Object(without));
            }
            let mut more = map.clone();
            more.insert("one_more".into(), json!(1));
            all.push(Value::Object(more));
        }
        _ => {}
    }
    all
}

#[tokio::test]
async fn pitfall_27_changing_any_one_thing_in_a_request_makes_it_another_question() {
    let (scripted, ctx) = (counting(), context());
    let layer = CacheLayer::new(CacheConfig::default(), Env::default()).unwrap();
    let model = layer.layer(scripted.clone() as Arc<dyn ChatModel>);
    let original = full();
    let form = serde_json::to_value(&original).unwrap();

    // The sample has something in every field there is, so that a new field is tried as well.
    let schema = serde_json::to_value(schemars::schema_for!(ChatRequest)).unwrap();
    for field in schema["properties"].as_object().unwrap().keys() {
        let value = form.get(field).unwrap_or(&Value::Null);
        let empty = [Value::Null, json!([]), json!({}), json!("")];
        assert!(!empty.contains(value), "the sample has nothing in `{field}`");
    }

    let mut asked = 0;
    let mut ask = async |request: ChatRequest, expected: bool| {
        within(model.complete(&ctx, request.clone())).await.unwrap();
        let now = scripted.requests().len();
        assert_eq!(now > asked, expected, "{request:?}");
        asked = now;
    };
    ask(original.clone(), true).await;
    ask(original.clone(), false).await;
    let mut tried = 0;
    for field in form.as_object().unwrap().keys().filter(|field| *field != "route") {
        let mut of_field = 0;
        for changed in neighbours(&form[field]) {
            let mut other = form.clone();
            other[field] = changed;
            // What is no request, or is the same one written in another way, is no change.
            let Ok(request) = serde_json::from_value::<ChatRequest>(other) else { continue };
            if request == original {
                continue;
            }
            // Each is new once, also beside all the others that were asked before.
            let known = scripted.requests().contains(&request);
            ask(request.clone(), !known).await;
            ask(request, false).await;
            of_field += 1;
        }
        assert!(of_field > 0, "no change of `{field}` was tried");
        tried += of_field;
    }
    assert!(tried > 100, "{tried}");
    ask(original.clone(), false).await;

    // What is said of routing changes who answers, not the question.
    let mut routed = original;
    routed.route = RouteHints::default();
    routed.route.cache = CacheUse::Always;
    routed.route.affinity = Some("a session".into());
    routed.route.max_attempts = Some(1);
    routed.route.tags.insert("a".into(), "b".into());
    ask(routed, false).await;
}
