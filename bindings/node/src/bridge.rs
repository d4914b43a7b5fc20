//! A platform as JavaScript holds it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use agentprovision::testing::{ManualClock, ScriptedModel};
use agentprovision::wire::{self, host, testing};
use agentprovision::{Error, Platform, PlatformBuilder, Result};
use napi::bindgen_prelude::Function;
use napi::{CleanupEnvHook, Env};
use napi_derive::napi;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::runtime::{Builder, Runtime};

use crate::handles::{Caller, RunHandle, StreamHandle, Who};
use crate::host::JsFunction;
use crate::mailbox::{Letter, Mailbox, Value};
use crate::thrown;

/// Threads that poll; the work of a platform is waiting, for the model and for its store.
const WORKERS: usize = 2;
/// Threads for what blocks.
const BLOCKING: usize = 8;
/// How long the end of an environment waits for a platform's threads.
const LAST: Duration = Duration::from_secs(2);

/// A runtime that ends when it is told to or dropped, once.
struct Threads(Mutex<Option<Runtime>>);

impl Threads {
    fn take(&self) -> Option<Runtime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the other half gives besides the configuration; each host function has the number of its place in this order.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    tools: Vec<Json>,
    connectors: Vec<Json>,
    models: Vec<Json>,
    authorizer: bool,
    subscribers: usize,
    bench: bool,
}

/// A platform with a runtime of its own.
///
/// Its own, because a worker thread that ends must take its platforms with it and nobody else's: before the environment
/// is torn down the runtime is stopped and waited for, so that nothing of it runs into an environment that is gone, and no
/// call that JavaScript can no longer answer is journaled as failed. It keeps no process alive: its only way back is weak.
#[napi]
pub struct Bridge {
    mailbox: Arc<Mailbox>,
    threads: Arc<Threads>,
    platform: Arc<OnceLock<Platform>>,
    clock: Mutex<Option<agentprovision::Env>>,
    scripted: Mutex<Vec<(String, Arc<ScriptedModel>)>>,
    hook: Mutex<Option<CleanupEnvHook<Weak<Threads>>>>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("platform", &self.platform.get()).finish_non_exhaustive()
    }
}

#[napi]
impl Bridge {
    /// A bridge without a platform yet; `deliver` is called with everything that comes back.
    #[napi(constructor)]
    pub fn new(env: Env, deliver: Function<'_, Letter, ()>) -> napi::Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name(format!("agentprov-{number}"))
            .enable_all()
            .build()
            .map_err(|error| thrown(&Error::internal("no thread can be started").with_source(error)))?;
        let mailbox = Mailbox::new(&deliver, runtime.handle().clone())?;
        let threads = Arc::new(Threads(Mutex::new(Some(runtime))));
        let hook = env.add_env_cleanup_hook(Arc::downgrade(&threads), |threads| {
            if let Some(runtime) = threads.upgrade().and_then(|threads| threads.take()) {
                runtime.shutdown_timeout(LAST);
            }
        })?;
        Ok(Self {
            mailbox,
            threads,
            platform: Arc::default(),
            clock: Mutex::default(),
            scripted: Mutex::default(),
            hook: Mutex::new(Some(hook)),
        })
    }

    /// Gives the platform that is opened next this clock and this source of randomness.
    #[napi]
    pub fn set_clock(&self, clock: &Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.env.clone());
    }

    /// Gives the platform that is opened next this model.
    #[napi]
    pub fn add_model(&self, model: &Scripted) {
        let added = (model.name.clone(), model.model.clone());
        self.scripted.lock().unwrap_or_else(PoisonError::into_inner).push(added);
    }

    /// Opens the platform; `secrets` are looked at before the environment of the process.
    #[napi]
    pub fn open(&self, id: u32, config: String, secrets: String, parts: String) {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let scripted = std::mem::take(&mut *self.scripted.lock().unwrap_or_else(PoisonError::into_inner));
        let (mailbox, platform) = (self.mailbox.clone(), self.platform.clone());
        self.mailbox.work(id, async move {
            let mut builder = builder(&mailbox, &config, &secrets, &parts)?;
            for (name, model) in scripted {
                builder = builder
                    .model(name.clone(), model.clone())
                    .embedder(name.clone(), model.clone())
                    .reranker(name, model);
            }
            let builder = match clock {
                Some(env) => builder.env(env),
                None => builder,
            };
            let opened = builder.build().await?;
            match platform.set(opened) {
                Ok(()) => Ok(Value::A("null".into())),
                Err(_) => Err(Error::conflict("the platform is open already")),
            }
        });
    }

    /// Closes the platform.
    #[napi]
    pub fn close(&self, id: u32) {
        let platform = self.opened();
        self.mailbox.work(id, async move {
            platform?.close().await?;
            Ok(Value::A("null".into()))
        });
    }

    /// Stops the threads, after the close or an open that failed.
    #[napi]
    pub fn retire(&self, env: Env) -> napi::Result<()> {
        if let Some(runtime) = self.threads.take() {
            runtime.shutdown_background();
        }
        match self.hook.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(hook) => env.remove_env_cleanup_hook(hook),
            None => Ok(()),
        }
    }

    /// A context above the tenants.
    #[napi]
    pub fn operator(&self, args: String) -> napi::Result<Caller> {
        let made = self.opened().and_then(|platform| wire::operator(&platform, &args));
        made.map(Caller::operator).map_err(|error| thrown(&error))
    }

    /// A context of a tenant: `platform.context` or `platform.authenticate`.
    #[napi]
    pub fn context(&self, id: u32, operation: String, args: String) {
        let platform = self.opened();
        self.mailbox.work(id, async move {
            let platform = platform?;
            let ctx = match operation.as_str() {
                "platform.context" => wire::context(&platform, &args).await?,
                _ => wire::authenticate(&platform, &args).await?,
            };
            Ok(Value::B(Caller::tenant(ctx)))
        });
    }

    /// Takes a delivery of a webhook.
    #[napi]
    pub fn receive(&self, id: u32, args: String) {
        let platform = self.opened();
        self.mailbox.work(id, async move { Ok(Value::A(wire::receive(&platform?, &args).await?)) });
    }

    /// Runs an operation.
    #[napi]
    pub fn invoke(&self, id: u32, caller: &Caller, operation: String, args: String) {
        let (platform, who) = (self.opened(), caller.who.clone());
        self.mailbox.work(id, async move {
            Ok(Value::A(wire::invoke(&platform?, who.caller(), &operation, &args).await?))
        });
    }

    /// Runs an operation that ends when nobody waits for it: see `abandon`.
    #[napi]
    pub fn ask(&self, id: u32, caller: &Caller, operation: String, args: String) {
        let (platform, who) = (self.opened(), caller.who.clone());
        self.mailbox.wait(id, async move {
            Ok(Value::A(wire::invoke(&platform?, who.caller(), &operation, &args).await?))
        });
    }

    /// Starts or finds a run.
    #[napi]
    pub fn start(&self, id: u32, caller: &Caller, operation: String, args: String) {
        let (platform, who, mailbox) = (self.opened(), caller.who.clone(), self.mailbox.clone());
        self.mailbox.work(id, async move {
            let Who::Tenant(ctx) = who else { return Err(not_above(&operation)) };
            let run = wire::start(&platform?, &ctx, &operation, &args).await?;
            Ok(Value::C(RunHandle::new(run, &mailbox)))
        });
    }

    /// Runs an operation that answers with a stream.
    #[napi]
    pub fn stream(&self, id: u32, caller: &Caller, operation: String, args: String) {
        let (platform, who, mailbox) = (self.opened(), caller.who.clone(), self.mailbox.clone());
        self.mailbox.work(id, async move {
            let stream = wire::stream(&platform?, who.caller(), &operation, &args).await?;
            Ok(Value::D(StreamHandle::new(stream, &mailbox)))
        });
    }

    /// Whether the roles of a context give a permission.
    #[napi]
    pub fn can(&self, caller: &Caller, permission: String) -> napi::Result<bool> {
        let allowed = self.opened().and_then(|platform| match &caller.who {
            Who::Tenant(ctx) => wire::can(platform.permissions(), ctx, &permission),
            Who::Operator(_) => Err(not_above("can")),
        });
        allowed.map_err(|error| thrown(&error))
    }

    /// A context in words, as JSON.
    #[napi]
    pub fn describe(&self, caller: &Caller) -> napi::Result<String> {
        let described = self.opened().and_then(|platform| match &caller.who {
            Who::Tenant(ctx) => wire::describe(platform.permissions(), ctx),
            Who::Operator(ctx) => Ok(json!({
                "actor": ctx.name(), "reason": ctx.reason(), "request_id": ctx.request_id(),
            })
            .to_string()),
        });
        described.map_err(|error| thrown(&error))
    }

    /// The names of the models agents may use, as JSON.
    #[napi]
    pub fn models(&self) -> napi::Result<String> {
        let names = self.opened().map(|platform| json!(platform.router().registry().names()).to_string());
        names.map_err(|error| thrown(&error))
    }

    /// Ends the wait for a call that was made as a wait.
    #[napi]
    pub fn abandon(&self, id: u32) {
        self.mailbox.abandon(id);
    }

    /// Times a call made from Rust: `what` is `can`, `get` or `run`. Gives nanoseconds per call.
    #[napi]
    pub fn bench(&self, id: u32, caller: &Caller, what: String, agent: String, times: u32) {
        let (platform, who) = (self.opened(), caller.who.clone());
        self.mailbox.work(id, async move {
            let Who::Tenant(ctx) = who else { return Err(not_above(&what)) };
            let nanos = crate::bench::time(&platform?, &ctx, &what, &agent, times).await?;
            Ok(Value::A(nanos.to_string()))
        });
    }

    fn opened(&self) -> Result<Platform> {
        self.platform.get().cloned().ok_or_else(|| Error::closed("the platform is not open"))
    }
}

fn not_above(operation: &str) -> Error {
    Error::denied(format!("`{operation}` is done within a tenant, with a tenant's context"))
}

fn builder(mailbox: &Arc<Mailbox>, config: &str, secrets: &str, parts: &str) -> Result<PlatformBuilder> {
    // Without what the parser says: it quotes what it read.
    let secrets: std::collections::HashMap<String, String> =
        serde_json::from_str(secrets).map_err(|_| Error::invalid("`secrets` is not an object of texts"))?;
    let parts: Parts = serde_json::from_str(parts)
        .map_err(|error| Error::invalid(format!("the platform cannot be read: {error}")))?;
    let secret = |name: &str| secrets.get(name).map(|value| SecretString::from(value.clone()));
    let (mut builder, _) = wire::builder(config, &secret)?;
    let mut slots = 0..;
    let mut function = || JsFunction::new(slots.next().unwrap_or(u32::MAX), mailbox);
    for spec in &parts.tools {
        builder = builder.tool(host::tool(&spec.to_string(), function())?);
    }
    for spec in &parts.connectors {
        builder = builder.connector(host::connector(&spec.to_string(), function())?);
    }
    for info in &parts.models {
        let model = host::model(&info.to_string(), function())?;
        let name = info.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
        builder = builder.model(name, Arc::new(model));
    }
    if parts.authorizer {
        builder = builder.authorizer(host::authorizer(function()));
    }
    for _ in 0..parts.subscribers {
        builder = builder.event_sink(Arc::new(host::event_sink(function())));
    }
    if parts.bench {
        builder = builder.tool(crate::bench::tool());
    }
    Ok(builder)
}

/// A model with written answers, which keeps what it was asked.
#[napi]
#[derive(Debug)]
pub struct Scripted {
    name: String,
    model: Arc<ScriptedModel>,
}

#[napi]
impl Scripted {
    /// A model: `{"name", "replies", "price"}`.
    #[napi(constructor)]
    pub fn new(args: String) -> napi::Result<Self> {
        let model = testing::scripted_model(&args).map_err(|error| thrown(&error))?;
        Ok(Self { name: model.info().name.clone(), model: Arc::new(model) })
    }

    /// What it was asked so far, as JSON.
    #[napi]
    pub fn requests(&self) -> napi::Result<String> {
        serde_json::to_string(&self.model.requests())
            .map_err(|error| thrown(&Error::internal("the requests cannot be written").with_source(error)))
    }
}

/// A clock that stands still until it is moved, with randomness from a seed.
#[napi]
#[derive(Debug)]
pub struct Clock {
    env: agentprovision::Env,
    clock: ManualClock,
}

#[napi]
impl Clock {
    /// A clock: `{"start", "seed"}`.
    #[napi(constructor)]
    pub fn new(args: String) -> napi::Result<Self> {
        let (env, clock) = testing::env(&args).map_err(|error| thrown(&error))?;
        Ok(Self { env, clock })
    }

    /// Moves it forward by milliseconds.
    #[napi]
    pub fn advance(&self, millis: f64) {
        self.clock.advance(Duration::from_secs_f64(millis.max(0.0) / 1000.0));
    }

    /// What it shows.
    #[napi]
    pub fn now(&self) -> String {
        self.env.now().to_string()
    }
}
