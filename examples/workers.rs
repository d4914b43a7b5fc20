//! A web service and its workers: processes of their own over one PostgreSQL. The web process starts runs and answers for
//! them, and drives none; the workers drive what is there, and one of them may go at any time.
//!
//! ```text
//! cargo run --features store-postgres --example workers -- web    --url postgres://agentprovision_app:…@host/db [--listen 127.0.0.1:8080]
//! cargo run --features store-postgres --example workers -- worker --url postgres://agentprovision_app:…@host/db [--name worker-1]
//! cargo run --features store-postgres --example workers --        --url postgres://agentprovision_app:…@host/db
//! ```
//!
//! Without a subcommand it shows all of it by itself: it starts three workers, serves HTTP, starts runs through it, kills a
//! worker in the middle, and closes in order. The database is prepared by `cargo run --features store-postgres --example
//! migrate`; with `--prepare` this program does that too, by a `--url` whose user may make roles. The platform's role gets
//! the password in `AGENTPROVISION_APP_PASSWORD` then. `DATABASE_URL` in the environment stands for `--url`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

use std::error::Error as StdError;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agentprovision::context::Credentials;
use agentprovision::id::AgentId;
use agentprovision::model::{Content, Message};
use agentprovision::prelude::*;
use agentprovision::run::EngineOptions;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::tenancy::store::postgres::{PrepareOptions, prepare};
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::{Env, PlatformBuilder};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const USAGE: &str = "usage: workers [web [--listen ADDRESS] | worker [--name NAME] | [--prepare]] --url URL";

const ORDERS: u32 = 18;

type Outcome<T> = std::result::Result<T, Box<dyn StdError>>;

#[derive(Default)]
struct Arguments {
    command: Option<String>,
    url: String,
    listen: Option<String>,
    name: Option<String>,
    prepare: bool,
}

fn arguments() -> std::result::Result<Arguments, String> {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    let mut arguments = Arguments { url, ..Arguments::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value; {USAGE}"));
        match word.as_str() {
            "web" | "worker" if arguments.command.is_none() => arguments.command = Some(word),
            "--url" => arguments.url = value()?,
            "--listen" => arguments.listen = Some(value()?),
            "--name" => arguments.name = Some(value()?),
            "--prepare" => arguments.prepare = true,
            _ => return Err(format!("`{word}` is unknown; {USAGE}")),
        }
    }
    if arguments.url.is_empty() { Err(USAGE.into()) } else { Ok(arguments) }
}

#[tokio::main]
async fn main() {
    let done = match arguments() {
        Ok(Arguments { command, url, listen, name, prepare }) => match command.as_deref() {
            Some("web") => web(&url, listen.as_deref().unwrap_or("127.0.0.1:8080")).await,
            Some(_) => worker(&url, name.as_deref().unwrap_or("worker")).await,
            None => show(url, prepare).await,
        },
        Err(problem) => Err(problem.into()),
    };
    if let Err(error) = done {
        eprintln!("workers: {error}");
        std::process::exit(1);
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    /// The order's number.
    order: u32,
}

/// What every process knows: the same tools and models under the same names. `who` is told by the tools.
fn platform(url: &str, who: &str) -> PlatformBuilder {
    let work = |verb: &'static str| {
        let who = who.to_owned();
        move |_: ToolCall, Order { order }: Order| {
            let who = who.clone();
            async move {
                println!("  {who}: {verb}s order {order}");
                // What takes its time is what a worker can be killed in.
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(format!("{verb}ed by {who}"))
            }
        }
    };
    // The model asks for one tool after the other, then says who did what.
    let model = ScriptedModel::from_fn("clerk", |request| {
        let order = request.messages.iter().find_map(|message| match message {
            Message::User { content } => content.iter().find_map(|part| match part {
                Content::Text { text } => text.parse().ok(),
                _ => None,
            }),
            _ => None,
        });
        let order: u32 = order.unwrap_or_default();
        let results = request.messages.iter().filter_map(|message| match message {
            Message::Tool { content, .. } => Some(content.trim_matches('"')),
            _ => None,
        });
        match results.collect::<Vec<_>>().as_slice() {
            [] => Reply::tool("pick", json!({ "order": order })),
            [_] => Reply::tool("pack", json!({ "order": order })),
            results => Reply::text(format!("order {order} was {}", results.join(", "))),
        }
    });
    Platform::builder()
        .store(url)
        .model("clerk", Arc::new(model))
        .tool(
            tool("pick", "Takes the goods of an order off their shelves", work("pick"))
                .effect(Effect::Idempotent),
        )
        .tool(tool("pack", "Packs the goods of an order", work("pack")).effect(Effect::Idempotent))
}

/// A worker: a platform, until somebody ends it. It gives its runs back then; killed, it leaves them until their leases
/// end.
async fn worker(url: &str, name: &str) -> Outcome<()> {
    let mut options = EngineOptions::default();
    options.max_runs = 2;
    options.lease = Duration::from_secs(2);
    let platform = platform(url, name).engine(options).build().await?;
    println!("  {name}: ready");
    interrupted().await;
    platform.close().await?;
    println!("  {name}: closed");
    Ok(())
}

/// The platform of the web process: it drives no run.
async fn front(url: &str) -> Outcome<Platform> {
    let mut options = EngineOptions::default();
    options.max_runs = 0;
    // Keys are told by a secret that all web processes share; here there is one process, and its keys end with it.
    let pepper: String = Env::default().random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(platform(url, "web").engine(options).pepper(pepper).build().await?)
}

/// A tenant with an agent, and a key to start its runs with.
async fn tenant(platform: &Platform) -> Outcome<(SecretString, AgentId)> {
    let operator = platform.operator("workers", "example")?;
    let mark = &platform.env().id::<agentprovision::id::RequestId>().to_string()[24..];
    let new = NewTenant::new("shop", format!("shop-{mark}.example"));
    let shop = platform.tenants().create(&operator, new).await?;
    let root =
        platform.tenants().bootstrap_admin(&operator, shop.id, NewUser::new("root@shop.example")).await?;
    let admin = platform.context(shop.id, root.id).await?;
    let clerk =
        AgentSpec::new("clerk").instructions("Send the order.").model("clerk").tools(["pick", "pack"]);
    let clerk = platform.agents().create(&admin, clerk).await?;
    platform.agents().deploy(&admin, clerk.id).await?;
    let key = platform.keys().create(&admin, ApiKeyRequest::new("web")).await?;
    Ok((key.secret, clerk.id))
}

/// What the routes need.
#[derive(Clone)]
struct App {
    platform: Platform,
    agent: AgentId,
}

type Answer = (StatusCode, String);

fn refused(error: &Error) -> Answer {
    let status = StatusCode::from_u16(error.kind().http_status());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.to_string())
}

impl App {
    /// Who asks, by the key in the header.
    async fn caller(&self, headers: &HeaderMap) -> Result<Context> {
        let key =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let key = key.unwrap_or_default().to_owned();
        self.platform.authenticate(&Credentials::ApiKey(key.into())).await
    }

    /// Starts a run, and does not wait for it.
    async fn start(&self, headers: &HeaderMap, order: u32) -> Result<String> {
        let ctx = self.caller(headers).await?;
        // An order that is sent twice is one run.
        let input = RunInput::text(order.to_string()).idempotency_key(format!("order-{order}"));
        Ok(self.platform.runs().start(&ctx, self.agent, input).await?.id().to_string())
    }

    /// Waits until a run is over, whoever drives it.
    async fn answer(&self, headers: &HeaderMap, run: &str) -> Result<String> {
        let ctx = self.caller(headers).await?;
        let run = self.platform.runs().get(&ctx, run.parse()?).await?;
        Ok(run.wait().await?.text()?.to_owned())
    }
}

fn routes(app: App) -> Router {
    let start = async |State(app): State<App>, Path(order): Path<u32>, headers: HeaderMap| {
        app.start(&headers, order)
            .await
            .map_or_else(|error| refused(&error), |run| (StatusCode::ACCEPTED, run))
    };
    let answer = async |State(app): State<App>, Path(run): Path<String>, headers: HeaderMap| {
        app.answer(&headers, &run).await.map_or_else(|error| refused(&error), |text| (StatusCode::OK, text))
    };
    Router::new().route("/orders/{order}", post(start)).route("/runs/{run}", get(answer)).with_state(app)
}

async fn web(url: &str, listen: &str) -> Outcome<()> {
    let platform = front(url).await?;
    let (key, agent) = tenant(&platform).await?;
    let listener =
        tokio::net::TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("curl -X POST -H 'authorization: Bearer {}' http://{address}/orders/1", key.expose_secret());
    println!("curl -H 'authorization: Bearer …' http://{address}/runs/run_…");
    let app = routes(App { platform: platform.clone(), agent });
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    platform.close().await?;
    Ok(())
}

/// All of it, in one go.
async fn show(url: String, prepare_it: bool) -> Outcome<()> {
    let url = if prepare_it { prepared(&url).await? } else { url };
    let platform = front(&url).await.map_err(|error| {
        format!("{error}\n\nprepare it by `cargo run --features store-postgres --example migrate`, or say `--prepare`")
    })?;
    let (key, agent) = tenant(&platform).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("web: serves http://{address}");
    let (stop, stopped) = oneshot::channel::<()>();
    let app = routes(App { platform: platform.clone(), agent });
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());

    let mut workers = Vec::new();
    for number in 1..=3 {
        workers.push(start_worker(&url, &format!("worker-{number}")).await?);
    }
    let ask = |method: &'static str, path: String| http(address.to_string(), method, path, key.clone());
    let orders = (1..=ORDERS).map(|order| ask("POST", format!("/orders/{order}")));
    let runs = try_join_all(orders).await?;
    println!("web: started {} runs, and drives none of them", runs.len());
    // Some are over by now, some wait; the one it has begun just now is under way.
    let mut killed = workers.remove(0);
    let _ = platform.env().timeout(Duration::from_secs(10), killed.packs.notified()).await;
    killed.process.kill().await?;
    killed.output.await?;
    println!("web: worker-1 is killed, in the middle of what it does");

    let mut changed_hands = 0;
    for run in &runs {
        let answer = ask("GET", format!("/runs/{run}")).await?;
        let who = |verb: &str| {
            answer.split_once(verb).and_then(|(_, rest)| rest.split(',').next().map(str::to_owned))
        };
        changed_hands += u32::from(who("picked by ") != who("packed by "));
        println!("web: {run}  {answer}");
    }
    println!("web: all {} runs are over; {changed_hands} went from one worker to another", runs.len());

    // In order: no more requests, no more work, then the store.
    let _ = stop.send(());
    serving.await??;
    for mut worker in workers {
        let process = worker.process.id().ok_or("a worker is gone")?.to_string();
        Command::new("kill").args(["-TERM", &process]).status().await?;
        let status = worker.process.wait().await?;
        worker.output.await?;
        if !status.success() {
            return Err(format!("a worker ended with {status}").into());
        }
    }
    platform.close().await?;
    Ok(())
}

/// Prepares the database, and gives the URL of the platform's role.
async fn prepared(url: &str) -> Outcome<String> {
    let password = std::env::var("AGENTPROVISION_APP_PASSWORD").map_err(
        |_| "--prepare gives the platform's role the password in AGENTPROVISION_APP_PASSWORD: set it",
    )?;
    let mut options = PrepareOptions::default();
    options.app_password = Some(password.clone().into());
    prepare(url, &options, &Env::default(), false).await?;
    let place = url.split_once('@').ok_or("the URL names no user")?.1;
    Ok(format!("postgres://{}:{password}@{place}", options.app))
}

/// A worker as a process.
struct Worker {
    process: Child,
    /// Ends with what it prints.
    output: JoinHandle<()>,
    /// Whenever it begins to pack an order, which was picked before.
    packs: Arc<Notify>,
}

/// This program again, as a worker that is ready.
async fn start_worker(url: &str, name: &str) -> Outcome<Worker> {
    let mut process = Command::new(std::env::current_exe()?)
        .args(["worker", "--name", name])
        // On a command line others would see the password.
        .env("DATABASE_URL", url)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().ok_or("a worker has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let ready = lines.next_line().await?.ok_or("a worker did not start; the reason is above")?;
    println!("{ready}");
    let packs = Arc::new(Notify::new());
    let told = packs.clone();
    let output = tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            println!("{line}");
            if line.contains(": packs") {
                told.notify_waiters();
            }
        }
    });
    Ok(Worker { process, output, packs })
}

/// A request over a connection of its own, and the body of its answer.
async fn http(address: String, method: &str, path: String, key: SecretString) -> Outcome<String> {
    let mut stream = tokio::net::TcpStream::connect(&address).await?;
    let key = key.expose_secret();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('2') {
        Ok(body.to_owned())
    } else {
        Err(format!("{path}: {status}: {body}").into())
    }
}

/// Returns when the process is asked to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
