//! The test kit in JSON: a clock that stands still, randomness from a seed, a model with written answers.

use std::sync::Arc;

use agentprovision_core::model::ModelPrice;
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::host::PriceForm;
use crate::decode::decode;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    start: Timestamp,
    seed: u64,
}

/// A clock that stands at `start` and randomness that depends on `seed` alone, of `{"start", "seed"}`.
///
/// # Errors
/// `invalid_input` for another form.
pub fn env(arguments: &str) -> Result<(Env, ManualClock)> {
    let Start { start, seed } = decode("the test environment", arguments)?;
    let clock = ManualClock::new(start);
    Ok((Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed))), clock))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    code: String,
    message: String,
}

impl Failure {
    fn error(self) -> Result<Error> {
        let kind = ErrorKind::from_code(&self.code).ok_or_else(|| {
            Error::invalid(format!("unknown error code `{}`", crate::decode::clip(&self.code)))
        })?;
        Ok(Error::new(kind, self.message))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tools: Option<Vec<(String, Value)>>,
    #[serde(default)]
    cut_off: Option<(String, String)>,
    #[serde(default)]
    fail: Option<Failure>,
    #[serde(default, rename = "break")]
    broken: Option<(String, Failure)>,
    #[serde(default)]
    stall: Option<String>,
}

impl Written {
    fn reply(self) -> Result<Reply> {
        Ok(match self {
            Self { text: Some(text), tools: None, cut_off: None, fail: None, broken: None, stall: None } => {
                Reply::Text(text)
            }
            Self { text: None, tools: Some(calls), cut_off: None, fail: None, broken: None, stall: None } => {
                Reply::Tools(calls)
            }
            Self {
                text: Some(text),
                tools: Some(calls),
                cut_off: None,
                fail: None,
                broken: None,
                stall: None,
            } => Reply::Both(text, calls),
            Self {
                text: None,
                tools: None,
                cut_off: Some((name, text)),
                fail: None,
                broken: None,
                stall: None,
            } => Reply::CutOff(name, text),
            Self {
                text: None,
                tools: None,
                cut_off: None,
                fail: Some(failure),
                broken: None,
                stall: None,
            } => Reply::Fail(failure.error()?),
            Self {
                text: None,
                tools: None,
                cut_off: None,
                fail: None,
                broken: Some((text, why)),
                stall: None,
            } => Reply::Break(text, why.error()?),
            Self { text: None, tools: None, cut_off: None, fail: None, broken: None, stall: Some(text) } => {
                Reply::Stall(text)
            }
            _ => {
                return Err(Error::invalid(
                    "a reply is one of `text`, `tools`, both of them, `cut_off`, `fail`, `break` and `stall`",
                ));
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    name: String,
    replies: Vec<Written>,
    #[serde(default)]
    price: Option<PriceForm>,
}

/// A model that gives written answers in order, of `{"name", "replies", "price"?}`. A reply is `{"text"}`, `{"tools":
/// [[name, arguments], …]}`, both of them, `{"cut_off": [name, text]}`, `{"fail": {"code", "message"}}`, `{"break": [text,
/// {"code", "message"}]}` or `{"stall": text}`; see [`Reply`].
///
/// # Errors
/// `invalid_input` for another form.
pub fn scripted_model(arguments: &str) -> Result<ScriptedModel> {
    let Script { name, replies, price } = decode("the scripted model", arguments)?;
    let replies: Vec<Reply> = replies.into_iter().map(Written::reply).collect::<Result<_>>()?;
    let model = ScriptedModel::new(&name, replies);
    Ok(match price {
        Some(price) => model.price(Some(ModelPrice::try_from(price)?)),
        None => model,
    })
}
