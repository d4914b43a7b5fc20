//! A GitHub, a Jira and a Slack for the agents of these examples: emulated ones on the loopback, on which much goes wrong, or
//! the vendors', with credentials in the environment.
//!
//! | variable | what it is |
//! |---|---|
//! | `GITHUB_TOKEN`, `GITHUB_REPOSITORY` | a token, and the repository as `owner/name` |
//! | `JIRA_SITE`, `JIRA_EMAIL`, `JIRA_TOKEN`, `JIRA_PROJECT` | `your-site` of `your-site.atlassian.net`, an account, its API token, a project's key |
//! | `SLACK_TOKEN`, `SLACK_CHANNEL` | a bot's token, and the id of a channel |
//! | `LISTEN` | where deliveries are taken; default `127.0.0.1:8080` |
//! | `OPENAI_API_KEY` | the model is OpenAI's; without it one that follows a script |

use std::sync::Arc;

use agentprovision::connectors::builtin;
use agentprovision::connectors::emulator::{Emulator, Fault, RetryAfter, Rule, Vendor, WebhookFault};
use agentprovision::connectors::webhook::{NewEndpoint, Trigger};
use agentprovision::http::egress::{EgressPolicy, Network};
use agentprovision::llm::providers::OpenAi;
use agentprovision::model::{ChatRequest, Message};
use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::webhook::DeliveryState;
use agentprovision::{Env, ErrorKind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

pub(crate) type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What an agent is about.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) instructions: &'static str,
    pub(crate) tools: &'static [&'static str],
    /// The events that start a run, and what the run is told of them.
    pub(crate) filter: Value,
    pub(crate) input: String,
    /// What the model does, where it is a script: by what its calls gave so far.
    pub(crate) script: fn(&Places, &[Value]) -> Reply,
}

/// Where the agent works.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) owner: String,
    pub(crate) repo: String,
    pub(crate) project: String,
    pub(crate) channel: String,
}

/// The services of a run of an example.
pub(crate) struct Services {
    pub(crate) places: Places,
    /// Absent with the vendors.
    pub(crate) emulator: Option<Emulator>,
    integrations: [Value; 3],
    listen: String,
}

fn variable(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set; see examples/services/mod.rs").into())
}

impl Services {
    /// The vendors, where the environment has a token of GitHub; emulated ones else.
    pub(crate) async fn open() -> Outcome<Self> {
        if std::env::var_os("GITHUB_TOKEN").is_none() {
            return Self::emulated().await;
        }
        let repository = variable("GITHUB_REPOSITORY")?;
        let (owner, repo) = repository.split_once('/').ok_or("GITHUB_REPOSITORY is `owner/name`")?;
        let jira = json!({ "username": variable("JIRA_EMAIL")?, "password": variable("JIRA_TOKEN")? });
        Ok(Self {
            places: Places {
                owner: owner.into(),
                repo: repo.into(),
                project: variable("JIRA_PROJECT")?,
                channel: variable("SLACK_CHANNEL")?,
            },
            emulator: None,
            integrations: [
                integration("github", json!({}), json!({ "token": variable("GITHUB_TOKEN")? })),
                integration("jira", json!({ "site": variable("JIRA_SITE")? }), jira),
                integration("slack", json!({}), json!({ "token": variable("SLACK_TOKEN")? })),
            ],
            listen: std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".into()),
        })
    }

    async fn emulated() -> Outcome<Self> {
        let emulator = Emulator::start(Env::default()).await?;
        let github = emulator.github().add_token("octobot");
        emulator.github().add_repository("acme/app")?;
        let jira = emulator.jira().add_token("bot@acme.example");
        emulator.jira().add_project("OPS", "Operations")?;
        let slack = emulator.slack().add_bot_token("octobot");
        let channel = emulator.slack().add_channel("ops")?;
        let at = |url: String| json!({ "base_url": url });
        let integrations = [
            integration("github", at(emulator.github_url()), json!({ "token": github })),
            integration(
                "jira",
                at(emulator.jira_url()),
                json!({ "username": "bot@acme.example", "password": jira }),
            ),
            integration("slack", at(emulator.slack_url()), json!({ "token": slack })),
        ];
        let places = Places { owner: "acme".into(), repo: "app".into(), project: "OPS".into(), channel };
        Ok(Self { places, emulator: Some(emulator), integrations, listen: "127.0.0.1:0".into() })
    }

    /// What goes wrong from here on: limits in all forms, broken answers, and a webhook that comes twice.
    fn begin_faults(&self) {
        let Some(emulator) = &self.emulator else { return };
        let (github, jira, slack) = (Vendor::Github, Vendor::Jira, Vendor::Slack);
        let second = RetryAfter::Seconds(1);
        let limited = |vendor, n| Rule::new(Fault::RateLimited(second.clone())).vendor(vendor).nth(n);
        let rules = [
            Rule::webhook(WebhookFault::Duplicate).vendor(github),
            Rule::new(Fault::Status(502)).vendor(github).method("GET").next(1),
            Rule::new(Fault::Close).vendor(github).method("GET").nth(3),
            Rule::new(Fault::SecondaryLimit { status: 403, retry_after: second.clone() })
                .vendor(github)
                .method("POST")
                .next(1),
            Rule::new(Fault::RateLimited(RetryAfter::Date(std::time::Duration::from_secs(1))))
                .vendor(github)
                .method("PUT")
                .next(1),
            limited(jira, 1),
            limited(jira, 3),
            limited(slack, 1),
        ];
        for rule in rules {
            emulator.faults().add(rule);
        }
    }
}

fn integration(connector: &str, settings: Value, credentials: Value) -> Value {
    json!({ "name": connector, "connector": connector, "settings": settings, "credentials": credentials })
}

/// What the tools gave so far, in order.
fn results(request: &ChatRequest) -> Vec<Value> {
    let contents = request.messages.iter().filter_map(|message| match message {
        Message::Tool { content, .. } => Some(content),
        _ => None,
    });
    contents
        .map(|content| serde_json::from_str(content).unwrap_or_else(|_| content.as_str().into()))
        .collect()
}

/// A text of what a tool gave.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// Provisions the agent, takes deliveries, and gives what the first run said. `happens` makes something happen at the emulated
/// services; at the vendors' it is waited for.
pub(crate) async fn run(
    services: &Services,
    task: Task,
    happens: impl FnOnce(&Emulator) -> Result<()>,
) -> Outcome<String> {
    let mut builder = Platform::builder()
        .connector(builtin::github::connector()?)
        .connector(builtin::jira::connector()?)
        .connector(builtin::slack::connector()?);
    if services.emulator.is_some() {
        let loopback = Network::new("loopback", &["127.0.0.0/8"])?.plain_http().any_port();
        builder = builder.egress(EgressPolicy::default().network(loopback));
    }
    let model = if std::env::var_os("OPENAI_API_KEY").is_some() {
        builder = builder.provider(OpenAi::from_env()?);
        "gpt-4o-mini"
    } else {
        let (places, script) = (services.places.clone(), task.script);
        let scripted = ScriptedModel::from_fn("scripted", move |request| script(&places, &results(request)));
        builder = builder.model("scripted", Arc::new(scripted));
        "scripted"
    };
    let platform = builder.build().await?;
    let operator = platform.operator("ops@host.example", "example")?;
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let root = NewUser::new("root@acme.example");
    let root = platform.tenants().bootstrap_admin(&operator, acme.id, root).await?;
    let ctx = platform.context(acme.id, root.id).await?;

    for new in services.integrations.clone() {
        let made = platform.integrations().create(&ctx, serde_json::from_value(new)?).await?;
        let tested = platform.integrations().test(&ctx, made.id).await?;
        let account = tested.account.ok_or_else(|| format!("{}: {:?}", made.connector, tested.error))?;
        println!("{} is connected to the account `{}`", made.connector, account.id);
    }
    let spec = AgentSpec::new(task.name)
        .model(model)
        .instructions(task.instructions)
        .tools(task.tools.iter().copied())
        .capabilities(["integrations:invoke"]);
    let agent = platform.agents().create(&ctx, spec).await?;
    let agent = platform.agents().deploy(&ctx, agent.id).await?;

    // Where GitHub sends what happens. Its run begins when the delivery is kept and acknowledged, never before.
    let filter = serde_json::from_value(task.filter)?;
    let triggers = vec![Trigger { filter, agent: agent.id, input: task.input, newest_only: false }];
    let new = json!({ "name": "github", "vendor": "github" });
    let new = NewEndpoint { triggers, ..serde_json::from_value(new)? };
    let made = platform.webhooks().create(&ctx, new).await?;
    let hooks = platform.webhooks().receiver(Default::default());
    let listener = tokio::net::TcpListener::bind(&services.listen).await?;
    let url = format!("http://{}/hooks/{}", listener.local_addr()?, made.endpoint.address);
    let router = axum::Router::new().route_service("/hooks/{address}", hooks);
    tokio::spawn(async move { axum::serve(listener, router).await });

    services.begin_faults();
    let secret = made.secret.expose_secret();
    match &services.emulator {
        Some(emulator) => {
            let repository = format!("{}/{}", services.places.owner, services.places.repo);
            emulator.github().add_webhook(&repository, &url, secret, &["*"])?;
            happens(emulator)?;
            emulator.webhooks_settled().await;
        }
        None => println!("enter at GitHub: {url} with the secret {secret}, as `application/json`"),
    }

    let mut events = platform.events().subscribe(&ctx, 0).await?;
    let run = loop {
        let Some(event) = events.try_next().await? else { return Err("the platform was closed".into()) };
        if event.event.kind == "agentprovision.webhook.received"
            && let Some(run) = event.event.data.pointer("/runs/0").and_then(Value::as_str)
        {
            break platform.runs().get(&ctx, run.parse()?).await?;
        }
    };
    println!("a delivery has started the run {}", run.id());
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        match event.kind {
            RunEventKind::StepStarted { name, .. } => println!("  {name}"),
            RunEventKind::StepFinished { error: Some(error), .. } => println!("  failed: {error:?}"),
            _ => {}
        }
    }
    let said =
        run.wait().await?.text().map(str::to_owned).map_err(|error| format!("the run failed: {error}"))?;
    println!("{said}");

    // It came twice, and there is one delivery and one run of it.
    let deliveries =
        platform.webhooks().deliveries(&ctx, made.endpoint.id, PageRequest::limit(100)).await?.items;
    for delivery in deliveries.iter().filter(|delivery| delivery.state != DeliveryState::Done) {
        if delivery.state == DeliveryState::Failed {
            return Err(format!("the delivery {} was given up: {:?}", delivery.new.id, delivery.error).into());
        }
    }
    let runs = platform.runs().list(&ctx, RunQuery::default()).await?.items.len();
    let repeats: u32 = deliveries.iter().map(|delivery| delivery.repeats).sum();
    println!("{} deliveries, {repeats} of them repeated, {runs} run", deliveries.len());
    if runs != 1 && services.emulator.is_some() {
        return Err(format!("{runs} runs instead of one").into());
    }
    platform.close().await?;
    Ok(said)
}

/// Fails an example whose effects are not what they should be.
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(agentprovision::Error::new(ErrorKind::Internal, format!("{what}: {found:?} instead of {wanted:?}")))
}
