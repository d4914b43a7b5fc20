//! The platform as JSON text in and JSON text out: what the Python and Node packages, and any API face, are made of.
//!
//! Every operation of [`OPERATIONS`](crate::OPERATIONS) is here under its name, so a binding needs no code of its own
//! for it: [`invoke`] for those that answer with a value, [`start`] for runs, [`stream`] for streams, and [`operator`],
//! [`context`] and [`authenticate`] for where contexts come from. Arguments are one JSON object; unknown keys are
//! refused by name. What the other language writes (tools, models, authorizers, event sinks) comes in by [`host`].
//!
//! Ids are text such as `run_0190…`, times are RFC 3339 with microseconds, money is decimal text, hashes are hexadecimal,
//! bytes are base64. [`schema`] describes all of it.

mod args;
pub mod host;
mod ops;
#[cfg(feature = "testing")]
pub mod testing;
mod views;

use std::fmt;
use std::sync::Arc;

use agentprovision_connectors::webhook::Received;
use agentprovision_core::authz::PermissionRegistry;
use agentprovision_core::context::{Credentials, RequestInfo};
use agentprovision_core::model::ChatRequest;
use agentprovision_core::run::{EventCursor, Run};
use agentprovision_core::{Context, Error, ErrorKind, OperatorContext, Result, Retry};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::builder::PlatformBuilder;
use crate::config::PlatformConfig;
use crate::decode::{decode, nearest};
use crate::platform::Platform;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// Somebody within a tenant.
    Tenant(&'a Context),
    /// Somebody above the tenants.
    Operator(&'a OperatorContext),
}

fn encode<T: Serialize>(answer: &T) -> Result<String> {
    serde_json::to_string(answer)
        .map_err(|error| Error::internal("the answer has no JSON form").with_source(error))
}

/// Runs an operation that answers with a value, by its name in [`OPERATIONS`](crate::OPERATIONS).
///
/// # Errors
/// `invalid_input` for an unknown operation, arguments that cannot be read, and a caller of the wrong kind; otherwise
/// what the operation fails with. Every error names the operation.
pub async fn invoke(
    platform: &Platform,
    caller: Caller<'_>,
    operation: &str,
    arguments: &str,
) -> Result<String> {
    let answer = match ops::dispatch(platform, caller, operation, arguments) {
        Ok(answer) => answer.await,
        Err(error) => Err(error),
    };
    answer.map_err(|error| error.with_operation(operation.to_owned()))
}

/// Items in JSON, one at a time. Cheap to clone; every clone takes from the same stream.
#[derive(Clone)]
pub struct JsonStream {
    items: Arc<tokio::sync::Mutex<Option<BoxStream<'static, Result<String>>>>>,
    closed: CancellationToken,
}

impl fmt::Debug for JsonStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonStream").field("closed", &self.closed.is_cancelled()).finish_non_exhaustive()
    }
}

impl JsonStream {
    fn new<T: Serialize + 'static>(
        items: impl futures_core::Stream<Item = Result<T>> + Send + 'static,
    ) -> Self {
        let items = items.and_then(|item| std::future::ready(encode(&item))).boxed();
        Self { items: Arc::new(tokio::sync::Mutex::new(Some(items))), closed: CancellationToken::new() }
    }

    /// The next item; `None` at the end, after an error, and after [`JsonStream::close`].
    ///
    /// # Errors
    /// What the stream ends with.
    pub async fn next(&self) -> Result<Option<String>> {
        let mut items = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Ok(None),
            items = self.items.lock() => items,
        };
        let Some(stream) = items.as_mut() else { return Ok(None) };
        let item = tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            item = stream.next() => item,
        };
        if !matches!(item, Some(Ok(_))) {
            *items = None;
        }
        item.transpose()
    }

    /// Ends the stream and what feeds it, at once.
    pub fn close(&self) {
        self.closed.cancel();
        // Whoever waits for an item holds the lock and drops the stream itself.
        if let Ok(mut items) = self.items.try_lock() {
            *items = None;
        }
    }
}

/// Opens a stream: `runs.events`, `models.stream` or `events.subscribe`.
///
/// # Errors
/// As [`invoke`].
pub async fn stream(
    platform: &Platform,
    caller: Caller<'_>,
    operation: &str,
    arguments: &str,
) -> Result<JsonStream> {
    let opened = async {
        let ctx = ops::tenant(caller, operation)?;
        match operation {
            "runs.events" => {
                let given: args::RunEvents = decode("the arguments of `runs.events`", arguments)?;
                let after = given.after.unwrap_or_default();
                Ok(JsonStream::new(platform.runs().events(ctx, given.run, after).await?))
            }
            "events.subscribe" => {
                let given: args::Follow = decode("the arguments of `events.subscribe`", arguments)?;
                let events = platform.events().subscribe(ctx, given.after.unwrap_or(0)).await?;
                Ok(JsonStream::new(events.map_ok(views::Event::from)))
            }
            "models.stream" => {
                let given: args::ModelAsk = decode("the arguments of `models.stream`", arguments)?;
                let request: ChatRequest = given.into();
                let log = request.log.clone();
                let answer = views::spending(log, platform.models().stream(ctx, request)).await?;
                Ok(JsonStream::new(views::model_events(answer)))
            }
            other => Err(Error::unsupported(format!("`{}` is not a stream", crate::decode::clip(other)))),
        }
    };
    opened.await.map_err(|error| error.with_operation(operation.to_owned()))
}

/// A handle on a run: `runs.start`, `runs.get`, or `sessions.send` for a turn of a session.
///
/// # Errors
/// As [`invoke`].
pub async fn start(platform: &Platform, ctx: &Context, operation: &str, arguments: &str) -> Result<Run> {
    let started = async {
        match operation {
            "runs.start" => {
                let given: args::RunStart = decode("the arguments of `runs.start`", arguments)?;
                let (agent, input) = given.into();
                platform.runs().start(ctx, agent, input).await
            }
            "runs.get" => {
                let given: args::RunById = decode("the arguments of `runs.get`", arguments)?;
                platform.runs().get(ctx, given.run).await
            }
            "sessions.send" => {
                let given: args::Turn = decode("the arguments of `sessions.send`", arguments)?;
                let (session, input) = given.into();
                platform.sessions().get(ctx, session).await?.send(input).await
            }
            other => Err(Error::unsupported(format!("`{}` does not give a run", crate::decode::clip(other)))),
        }
    };
    started.await.map_err(|error| error.with_operation(operation.to_owned()))
}

/// The events of a run through its handle, after a place in text form or from the beginning.
///
/// # Errors
/// `invalid_input` for a text that is no place.
pub fn run_events(run: &Run, after: Option<&str>) -> Result<JsonStream> {
    let after: EventCursor = after.map(str::parse).transpose()?.unwrap_or_default();
    Ok(JsonStream::new(run.events_after(after)))
}

/// Waits for a run's end through its handle: the record, the chain and the answer.
///
/// # Errors
/// As [`Run::wait`].
pub async fn run_wait(run: &Run) -> Result<String> {
    encode(&views::Outcome::new(&run.wait().await?))
}

/// `platform.operator`: a context above the tenants, of `{"actor", "reason"}`.
///
/// # Errors
/// As [`Platform::operator`].
pub fn operator(platform: &Platform, arguments: &str) -> Result<OperatorContext> {
    let made = decode::<args::OperatorContext>("the arguments of `platform.operator`", arguments)
        .and_then(|given| platform.operator(&given.actor, &given.reason));
    made.map_err(|error| error.with_operation("platform.operator"))
}

/// `platform.context`: a context for a user the host has authenticated, of `{"tenant", "user", "info"?}`.
///
/// # Errors
/// As [`Platform::context`].
pub async fn context(platform: &Platform, arguments: &str) -> Result<Context> {
    let made = async {
        let given: args::MemberContext = decode("the arguments of `platform.context`", arguments)?;
        Ok(with_info(platform.context(given.tenant, given.user).await?, given.info))
    };
    made.await.map_err(|error: Error| error.with_operation("platform.context"))
}

/// `platform.authenticate`: a context for whoever a credential belongs to, of `{"api_key", "info"?}`.
///
/// # Errors
/// As [`Platform::authenticate`].
pub async fn authenticate(platform: &Platform, arguments: &str) -> Result<Context> {
    let made = async {
        let given: args::Authenticate = decode("the arguments of `platform.authenticate`", arguments)?;
        let credentials = Credentials::ApiKey(given.api_key.into());
        Ok(with_info(platform.authenticate(&credentials).await?, given.info))
    };
    made.await.map_err(|error: Error| error.with_operation("platform.authenticate"))
}

fn with_info(ctx: Context, info: Option<args::Info>) -> Context {
    match info {
        Some(info) => ctx.with_info(RequestInfo::from(info)),
        None => ctx,
    }
}

/// `webhooks.receive`: takes a delivery of a vendor, and says how to answer it, of `{"address", "headers", "body"}`. Whatever is
/// wrong with the delivery is said by the answer.
///
/// # Errors
/// `invalid_input` for arguments that cannot be read.
pub async fn receive(platform: &Platform, arguments: &str) -> Result<String> {
    let answered = async {
        let given: args::Received = decode("the arguments of `webhooks.receive`", arguments)?;
        let address = given.address.clone();
        let taken = match given.parts() {
            Ok((headers, body)) => platform.webhooks().receive(&address, &headers, body).await,
            Err(error) => Err(error),
        };
        encode(&views::Received::from(Received::of(&taken)))
    };
    answered.await.map_err(|error: Error| error.with_operation("webhooks.receive"))
}

/// Whether a context has a permission, by name. Takes no lock and makes no text.
///
/// # Errors
/// `invalid_input` for an unknown permission, with the nearest known one.
pub fn can(permissions: &PermissionRegistry, ctx: &Context, permission: &str) -> Result<bool> {
    match permissions.get(permission) {
        Ok(found) => Ok(ctx.grants().contains(found)),
        Err(error) => Err(match nearest(permission, permissions.names()) {
            Some(known) => Error::invalid(format!(
                "unknown permission `{}`; did you mean `{known}`?",
                crate::decode::clip(permission)
            )),
            None => error,
        }),
    }
}

/// What a context says: tenant, user, grants by name, and the rest that is not authority.
///
/// # Errors
/// None in practice.
pub fn describe(permissions: &PermissionRegistry, ctx: &Context) -> Result<String> {
    encode(&views::Caller::new(permissions, ctx))
}

/// A builder from a [`PlatformConfig`] in JSON, with the names of its permissions. Each variable a `…_env` field names is
/// asked of `secret` first, then of the environment.
///
/// # Errors
/// `invalid_input`, naming the field and, for an unknown one, the nearest known.
pub fn builder(
    config: &str,
    secret: &dyn Fn(&str) -> Option<SecretString>,
) -> Result<(PlatformBuilder, Arc<PermissionRegistry>)> {
    let config = PlatformConfig::from_json(config)?;
    let permissions = Arc::new(config.permissions()?);
    Ok((config.into_builder_with(secret)?, permissions))
}

/// An error in JSON: `code`, `message`, `retryable`, `retry_after_ms`, `operation`, `context`, `http_status` and `spent`,
/// which is what a request to a model used before it failed, as the last item of `models.stream` says it, or null. Its
/// source is not in it.
pub fn error_json(error: &Error) -> String {
    let after = match error.retry() {
        Retry::After(after) => Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        Retry::Never | Retry::Exhausted => None,
    };
    let (mut context, mut spent) = (serde_json::Map::new(), Value::Null);
    for (key, value) in error.context() {
        match serde_json::from_str(value) {
            Ok(value) if *key == views::SPENT => spent = value,
            _ => drop(context.insert((*key).to_owned(), Value::from(value.as_str()))),
        }
    }
    json!({
        "code": error.kind().code(),
        "message": error.message(),
        "retryable": after.is_some(),
        "retry_after_ms": after,
        "operation": error.operation(),
        "context": context,
        "http_status": error.kind().http_status(),
        "spent": spent,
    })
    .to_string()
}

/// An error from such JSON; the code and the message are enough. An unknown code is `internal`.
///
/// # Errors
/// `invalid_input` for another form.
pub fn error_from_json(text: &str) -> Result<Error> {
    #[derive(serde::Deserialize)]
    struct Form {
        code: String,
        message: String,
        #[serde(default)]
        retry_after_ms: Option<u64>,
    }
    let Form { code, message, retry_after_ms } = decode("the error", text)?;
    let kind = ErrorKind::from_code(&code).unwrap_or(ErrorKind::Internal);
    let retry = retry_after_ms.map_or(Retry::Never, |ms| Retry::After(std::time::Duration::from_millis(ms)));
    Ok(Error::new(kind, message).with_retry(retry))
}

/// The codes of all kinds of error, in the order of the documentation.
pub fn error_kinds() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// JSON Schemas of everything that crosses: `operations` has `scope`, `arguments` and `answer` of each. A reference
/// `#/$defs/<name>` leads to the definition of that name on its own side, in `arguments` or `answers`. Texts of a form of their own say so in `format`: `id`, `date-time`,
/// `decimal`, `sha256`, `cursor`, `base64`, `secret`.
pub fn schema() -> Value {
    ops::schema()
}
