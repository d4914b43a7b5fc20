//! What is asked of models: conversations, comparisons, vectors and rankings.

use std::time::Duration;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, EmbedRequest, Message, RerankRequest};
use agentprovision_llm::experiment::{CompareOptions, Contains, ExactMatch, Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{ModelAsk, ModelCompare, ModelEmbed, ModelRerank};

/// A conversation, or what a user says.
#[derive(Debug)]
pub(in crate::wire) struct Said(Vec<Message>);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(vec![Message::user(text)])),
            given @ Value::Array(_) => Vec::deserialize(given).map(Self).map_err(serde::de::Error::custom),
            _ => Err(serde::de::Error::custom("a text or a list of messages is needed")),
        }
    }
}

impl JsonSchema for Said {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Conversation".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A conversation; a text alone is what the user says.",
            "oneOf": [{ "type": "string" }, generator.subschema_for::<Vec<Message>>()],
        })
    }
}

impl From<ModelAsk> for ChatRequest {
    fn from(args: ModelAsk) -> Self {
        let mut request = Self::new(args.model, args.messages.0);
        request.tools = args.tools.unwrap_or_default();
        request.tool_choice = args.tool_choice.unwrap_or_default();
        request.temperature = args.temperature;
        request.max_tokens = args.max_tokens;
        request.output_schema = args.output_schema.map(Value::Object);
        request.stop = args.stop.unwrap_or_default();
        request.seed = args.seed;
        request.extra = args.extra.unwrap_or_default();
        request.route = args.route.unwrap_or_default();
        request
    }
}

/// How answers are scored.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::wire) enum ScoreBy {
    /// The answer is exactly this text, without space around it.
    Exact(String),
    /// The answer has these texts in it, upper and lower case alike; the score is the part of them it has.
    Contains(Vec<String>),
    /// A regular expression finds something in the answer.
    Pattern(String),
}

impl ModelCompare {
    /// The models, the request and the options.
    pub(in crate::wire) fn parts(self) -> Result<(Vec<String>, ChatRequest, CompareOptions)> {
        let mut request = ChatRequest::new("", self.messages.0);
        request.temperature = self.temperature;
        request.max_tokens = self.max_tokens;
        request.output_schema = self.output_schema.map(Value::Object);
        let mut options = CompareOptions::default();
        if let Some(repetitions) = self.repetitions {
            options = options.repetitions(repetitions);
        }
        if let Some(timeout) = self.timeout_ms {
            options = options.timeout(Duration::from_millis(timeout));
        }
        if let Some(concurrency) = self.concurrency {
            options = options.concurrency(concurrency);
        }
        let options = match self.score {
            None => options,
            Some(ScoreBy::Exact(text)) => options.scorer(ExactMatch::new(text)),
            Some(ScoreBy::Contains(texts)) => options.scorer(Contains::new(texts)?),
            Some(ScoreBy::Pattern(pattern)) => options.scorer(Pattern::new(&pattern)?),
        };
        Ok((self.models, request, options))
    }
}

impl From<ModelEmbed> for EmbedRequest {
    fn from(args: ModelEmbed) -> Self {
        let mut request = Self::new(args.model, args.inputs);
        request.purpose = args.purpose;
        request.dimensions = args.dimensions;
        request.extra = args.extra.unwrap_or_default();
        request.route = args.route.unwrap_or_default();
        request
    }
}

impl From<ModelRerank> for RerankRequest {
    fn from(args: ModelRerank) -> Self {
        let mut request = Self::new(args.model, args.query, args.documents);
        request.top_n = args.top_n;
        request.extra = args.extra.unwrap_or_default();
        request.route = args.route.unwrap_or_default();
        request
    }
}
