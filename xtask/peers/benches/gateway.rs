//! What a gateway costs over HTTP: this platform's with every layer on, LiteLLM's proxy and Portkey's as they come with
//! nothing but a key to check, and nobody in between. `cargo xtask bench gateway` builds and installs them.
//!
//! Everybody is asked the same through the same connections and asks the same upstream. Rounds take turns in another
//! order each; what is added is taken against the direct requests of the same round. No question is asked twice, and the
//! upstream counts, so that nobody answers from a cache.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use peers::process::{Running, Used, free_address};
use peers::{KEY, MODEL, Streams, Times, counting_upstream, median, question};
use serde_json::{Value, json};

const ROUNDS: usize = 7;
/// The first requests of a connection, which are not measured.
const FIRST: usize = 10;
/// How long one is asked by a single client, and by many, in one round.
const TURN: Duration = Duration::from_millis(1500);
/// Clients that ask at the same time.
const MANY: usize = 32;
/// How long each is warmed up.
const WARM_UP: Duration = Duration::from_secs(5);
/// This platform's with every layer, and without: what a router, keys and counted use cost alone.
const OURS: &str = "ours";
const BARE: &str = "ours_bare";
/// What the gateway may add at the median, in microseconds.
const AIM: f64 = 150.0;

/// One that answers.
struct Gateway {
    at: SocketAddr,
    headers: Vec<(&'static str, String)>,
    /// Its release.
    version: String,
    /// Nobody, where the upstream itself is asked.
    program: Option<Running>,
}

impl Gateway {
    fn used(&self) -> Option<Used> {
        self.program.as_ref().map(Running::used)
    }
}

/// What was measured of one.
struct Measured {
    gateway: Gateway,
    alone: Times,
    per_second: Vec<f64>,
    at_rest: Option<Used>,
    requests: usize,
}

impl Measured {
    /// Seconds of processor time for a thousand requests.
    fn seconds(&self) -> Option<f64> {
        let used = self.gateway.used()?.seconds - self.at_rest?.seconds;
        Some(used * 1000.0 / self.requests as f64)
    }
}

/// The question of that number.
fn body(number: usize) -> Bytes {
    // Only an answer without chance in it is cached.
    let request = json!({"model": MODEL, "temperature": 0,
        "messages": [{"role": "user", "content": format!("{number:09}. {}", question())}]});
    Bytes::from(request.to_string())
}

/// A connection that is kept.
struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(to: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, gateway: &Gateway, body: Bytes) -> Bytes {
        let mut request = Request::post("/v1/chat/completions").header("host", gateway.at.to_string());
        for (name, value) in &gateway.headers {
            request = request.header(*name, value);
        }
        let request = request.header("content-type", "application/json").body(Full::new(body));
        self.0.ready().await.expect("a connection that is kept");
        let answer = self.0.send_request(request.expect("a request")).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        body
    }
}

/// Asks one question after another until the time is over; what each took, but the first ones.
async fn client(gateway: &Gateway, numbers: &AtomicUsize, time: Duration) -> Vec<Duration> {
    let mut connection = Connection::open(gateway.at).await;
    let next = || body(numbers.fetch_add(1, Ordering::Relaxed));
    for _ in 0..FIRST {
        let answer: Value = serde_json::from_slice(&connection.ask(gateway, next()).await).expect("JSON");
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
        assert!(text.starts_with("The first one") && answer["usage"]["total_tokens"] == 660, "{answer}");
    }
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < time {
        let body = next();
        let begun = Instant::now();
        let answer = connection.ask(gateway, body).await;
        times.push(begun.elapsed());
        assert!(answer.len() > 800, "a short answer");
    }
    times
}

/// Requests per second of many clients.
async fn many(gateway: &Gateway, numbers: &AtomicUsize, time: Duration) -> f64 {
    let begun = Instant::now();
    let clients = (0..MANY).map(|_| client(gateway, numbers, time));
    let requests: usize =
        futures_util::future::join_all(clients).await.iter().map(|times| times.len() + FIRST).sum();
    requests as f64 / begun.elapsed().as_secs_f64()
}

/// The configuration of this platform's gateway: every layer there is, with limits that nobody reaches.
fn every_layer(upstream: SocketAddr) -> Value {
    let limit = |scope: &str| {
        json!({"of": {"scope": scope}, "requests_per_minute": 1_000_000_000_u64,
        "tokens_per_minute": 1_000_000_000_000_u64})
    };
    json!({
        "platform": {
            // Keeps what each request used, about 1 kB of it: part of the memory that is reported.
            "store": "memory://",
            "providers": [{"type": "openai", "base_url": format!("http://{upstream}/v1"), "key_env": "UPSTREAM_KEY"}],
            "routing": {"routes": {MODEL: {"targets": [format!("openai/{MODEL}"), "openai/gpt-4o"]}}},
            "layers": {
                "trace": {"capture_content": false},
                "guards": {"guards": [
                    {"name": "length", "check": {"max_bytes": 1_000_000}},
                    {"name": "words", "check": {"patterns": {"words": ["top secret", "for your eyes only"]}}},
                    {"name": "personal data", "check": {"pii": {}}},
                ]},
                // Small, so that the memory is the gateway's and not that of the answers.
                "cache": {"max_bytes": 8 << 20, "max_answer_bytes": 1 << 20},
                "embedding_cache": {"max_bytes": 8 << 20},
                "validate": {},
                "rate_limits": {"limits": [limit("tenant"), limit("user"), limit("key")]},
                "budgets": {"limits": [
                    {"of": {"scope": "tenant"}, "per": "month", "cost_usd": "1000000"},
                    {"of": {"scope": "user"}, "per": "day", "tokens": 1_000_000_000_000_u64},
                    {"of": {"scope": "key"}, "per": "minute", "requests": 1_000_000_000_u64},
                ]},
            },
        },
    })
}

/// This platform's, from the built example.
fn ours(upstream: SocketAddr, folder: &Path, name: &'static str) -> Result<Gateway, String> {
    let file = folder.join(format!("{name}.json"));
    let mut config = every_layer(upstream);
    if name == BARE {
        config["platform"]["layers"] = json!({});
    }
    std::fs::write(&file, config.to_string()).expect("a file");
    let mut program = Command::new(installed("GATEWAY")?);
    program.arg("--config").arg(file).args(["--listen", "127.0.0.1:0", "--bootstrap"]);
    let program = Running::start(name, program.env("UPSTREAM_KEY", KEY), &folder.join(format!("{name}.log")));
    let (key, at) = program.wait_for(|program| {
        let printed = program.printed();
        let said = |word: &str| printed.lines().find_map(|line| line.strip_prefix(word).map(str::to_owned));
        Some((said("key ")?, said("listening on http://")?.parse().ok()?))
    })?;
    let headers = vec![("authorization", format!("Bearer {key}"))];
    Ok(Gateway { at, headers, version: String::new(), program: Some(program) })
}

/// LiteLLM's proxy: one process, one model, one key to check, and what its documentation says for production.
fn litellm(upstream: SocketAddr, folder: &Path) -> Result<Gateway, String> {
    let litellm = installed("GATEWAY_LITELLM")?;
    let config = folder.join("litellm.json");
    let settings = json!({
        "model_list": [{"model_name": MODEL, "litellm_params":
            {"model": format!("openai/{MODEL}"), "api_base": format!("http://{upstream}/v1"), "api_key": KEY}}],
        "general_settings": {"master_key": KEY},
    });
    std::fs::write(&config, settings.to_string()).expect("a file");
    let command = || {
        let mut command = Command::new(&litellm);
        // The table of prices it comes with: the newest is on the network.
        command.envs([("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_LOG", "ERROR")]);
        command.env("LITELLM_MODE", "PRODUCTION");
        command
    };
    let version = command().arg("--version").output().map_err(|error| error.to_string())?.stdout;
    let version = String::from_utf8_lossy(&version).split_whitespace().last().unwrap_or("unknown").to_owned();
    let at = free_address();
    let mut program = command();
    program.arg("--config").arg(config).args(["--host", "127.0.0.1", "--telemetry", "False", "--port"]);
    let program = Running::start("litellm", program.arg(at.port().to_string()), &folder.join("litellm.log"));
    program.wait_to_listen(at)?;
    Ok(Gateway {
        at,
        headers: vec![("authorization", format!("Bearer {KEY}"))],
        version,
        program: Some(program),
    })
}

/// Portkey's gateway, which takes the provider's key and address from each request.
fn portkey(upstream: SocketAddr, folder: &Path) -> Result<Gateway, String> {
    let script = installed("GATEWAY_PORTKEY")?;
    let package = script.ancestors().nth(2).expect("a package").join("package.json");
    let package =
        std::fs::read_to_string(&package).map_err(|error| format!("{}: {error}", package.display()))?;
    let package: Value = serde_json::from_str(&package).map_err(|error| error.to_string())?;
    let at = free_address();
    let mut program = Command::new("node");
    program.arg(&script).arg("--headless").arg(format!("--port={}", at.port())).env("NODE_ENV", "production");
    let program = Running::start("portkey", &program, &folder.join("portkey.log"));
    program.wait_to_listen(at)?;
    let headers = vec![
        ("authorization", format!("Bearer {KEY}")),
        ("x-portkey-provider", "openai".to_owned()),
        ("x-portkey-custom-host", format!("http://{upstream}/v1")),
    ];
    let version = package["version"].as_str().unwrap_or("unknown").to_owned();
    Ok(Gateway { at, headers, version, program: Some(program) })
}

/// The program that a variable names.
fn installed(variable: &str) -> Result<PathBuf, String> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    let path = PathBuf::from(value.ok_or_else(|| format!("{variable} does not say where it is"))?);
    if path.is_file() { Ok(path) } else { Err(format!("{variable}: there is no file {}", path.display())) }
}

/// The load average of the last minute; says so where others work on the machine.
fn load(when: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).expect("a number");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("load average {when} {load}, {processors} processors");
    if when == "before" && load > processors as f64 / 2.0 {
        println!(
            "the machine is busy: times are too long, most of all of who computes most; go by the CPU time"
        );
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (upstream, answered) = counting_upstream(Streams::AtOnce);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway");
    std::fs::create_dir_all(&folder).expect("a folder");
    let direct = vec![("authorization", format!("Bearer {KEY}"))];
    let direct = Gateway { at: upstream, headers: direct, version: String::new(), program: None };
    let ours =
        |name| ours(upstream, &folder, name).unwrap_or_else(|why| panic!("this platform's gateway: {why}"));
    let mut gateways = vec![("direct", direct), (OURS, ours(OURS)), (BARE, ours(BARE))];
    for (name, started) in [("litellm", litellm(upstream, &folder)), ("portkey", portkey(upstream, &folder))]
    {
        match started {
            Ok(gateway) => gateways.push((name, gateway)),
            Err(why) => println!("{name} is left out: {why}"),
        }
    }
    load("before");

    let numbers = AtomicUsize::new(0);
    let mut all = Vec::new();
    for (name, gateway) in gateways {
        many(&gateway, &numbers, WARM_UP).await;
        let at_rest = gateway.used();
        all.push(Measured { gateway, alone: Times::of(name), per_second: Vec::new(), at_rest, requests: 0 });
    }
    for round in 0..ROUNDS {
        for turn in 0..all.len() {
            let which = (round + turn) % all.len();
            let one = &mut all[which];
            let (before, asked) = (answered.load(Ordering::Relaxed), numbers.load(Ordering::Relaxed));
            one.alone.add(client(&one.gateway, &numbers, TURN).await);
            one.per_second.push(many(&one.gateway, &numbers, TURN).await);
            let asked = numbers.load(Ordering::Relaxed) - asked;
            one.requests += asked;
            let answered = answered.load(Ordering::Relaxed) - before;
            assert_eq!(answered, asked, "{} does not ask the upstream once for each request", one.alone.name);
        }
    }
    load("after");
    report(&all);
}

fn report(all: &[Measured]) {
    let direct = &all[0].alone;
    let (least, greatest) = direct.range();
    println!("p50 of the direct requests from {least:.0} to {greatest:.0} µs over the rounds");
    let per_second = |one: &Measured| median(one.per_second.iter().copied());
    println!(
        "\n{:9} {:>9} {:>9} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "", "p50 µs", "p99 µs", "added µs", "requests/s", "MiB at rest", "MiB after", "CPU s/1000"
    );
    for one in all {
        let times = &one.alone;
        let added = times.added(direct);
        print!(
            "{:8} {:9.1} {:9.1} {added:10.1} {:12.0}",
            times.name,
            times.p50(),
            times.p99(),
            per_second(one)
        );
        if let (Some(before), Some(after)) = (one.at_rest, one.gateway.used()) {
            let mib = |used: Used| used.resident as f64 / 1024.0 / 1024.0;
            let seconds = one.seconds().unwrap_or_default();
            print!(" {:12.1} {:12.1} {seconds:12.3}", mib(before), mib(after));
        }
        println!("  {}", one.gateway.version);
    }
    println!("(p50, p99 and added with 1 client, requests/s with {MANY}; memory after {ROUNDS} rounds;");
    println!(" ours keeps a record of each request in memory; the ratios are ours by theirs)\n");
    let ours = &all[1];
    println!("gateway adds {:.1} µs at p50, aim {AIM} µs", ours.alone.added(direct));
    for peer in &all[3..] {
        let name = peer.alone.name;
        let ratio = |what: &str, value: f64| println!("ratio gateway_{what}_ours_vs_{name} {value:.4}");
        ratio("added_p50", ours.alone.added(direct) / peer.alone.added(direct));
        ratio("rps", per_second(ours) / per_second(peer));
        if let (Some(ours), Some(theirs)) = (ours.gateway.used(), peer.gateway.used()) {
            ratio("rss", ours.resident as f64 / theirs.resident as f64);
        }
        if let (Some(ours), Some(theirs)) = (ours.seconds(), peer.seconds()) {
            ratio("cpu", ours / theirs);
        }
    }
}
