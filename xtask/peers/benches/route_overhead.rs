//! What a whole answer costs over the bare HTTP client: through the router, through the router with all its layers, and
//! through other clients.
//!
//! The bare client sends bytes that were made before; everybody else also makes them. With the layers each question is
//! another one, so that the cache answers none.

use std::sync::Arc;

use agentprovision_core::model::{Message, ModelResolver};
use async_openai::types::chat::{
    ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
};
use peers::{
    KEY, MODEL, Streams, Times, bare, context, layered, metered, models, plain, question, request, router,
    times, upstream,
};

const ROUNDS: usize = 9;
const REQUESTS: usize = 1500;

fn their_request() -> CreateChatCompletionRequest {
    let message =
        ChatCompletionRequestUserMessageArgs::default().content(question()).build().expect("a message");
    CreateChatCompletionRequestArgs::default()
        .model(MODEL)
        .messages(vec![message.into()])
        .build()
        .expect("a request")
}

fn genai_client(upstream: std::net::SocketAddr) -> genai::Client {
    use genai::adapter::AdapterKind;
    use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
    use genai::{ModelIden, ServiceTarget};
    let url: Arc<str> = format!("http://{upstream}/v1/").into();
    let resolver = ServiceTargetResolver::from_resolver_fn(
        move |target: ServiceTarget| -> Result<ServiceTarget, genai::resolver::Error> {
            Ok(ServiceTarget {
                endpoint: Endpoint::from_owned(Arc::clone(&url)),
                auth: AuthData::from_single(KEY),
                model: ModelIden::new(AdapterKind::OpenAI, target.model.model_name),
            })
        },
    );
    genai::Client::builder().with_service_target_resolver(resolver).build().expect("a client")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let upstream = upstream(Streams::AtOnce);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = plain(false);
    let model = router(models(upstream)).resolve(MODEL).expect("a model");
    let layers = metered(layered(models(upstream)).resolve(MODEL).expect("a model"));
    let asked = std::cell::Cell::new(0);
    let (ctx, request) = (context(), request());
    let config = async_openai::config::OpenAIConfig::new();
    let config = config.with_api_base(format!("http://{upstream}/v1")).with_api_key(KEY);
    let theirs = async_openai::Client::with_config(config);
    let their_request = their_request();
    let genai = genai_client(upstream);
    let genai_request = genai::chat::ChatRequest::from_user(question());

    let mut all = ["bare", "router", "router_layers", "async_openai", "genai"].map(Times::of);
    for round in 0..=ROUNDS {
        for turn in 0..all.len() {
            let which = (round + turn) % all.len();
            let taken = match which {
                0 => {
                    let one = || async {
                        let answer = bare(&client, upstream, body.clone()).await;
                        let answer: serde_json::Value = answer.json().await.expect("JSON");
                        assert!(answer["choices"][0]["message"]["content"].is_string());
                    };
                    times(REQUESTS, one).await
                }
                1 => {
                    let one = || async {
                        let answer = model.complete(&ctx, request.clone()).await.expect("an answer");
                        assert!(!answer.text.is_empty());
                    };
                    times(REQUESTS, one).await
                }
                2 => {
                    let one = || async {
                        let mut request = request.clone();
                        asked.set(asked.get() + 1);
                        request.messages.push(Message::user(asked.get().to_string()));
                        let answer = layers.complete(&ctx, request).await.expect("an answer");
                        assert!(!answer.text.is_empty());
                    };
                    times(REQUESTS, one).await
                }
                3 => {
                    let one = || async {
                        let answer = theirs.chat().create(their_request.clone()).await.expect("an answer");
                        assert!(answer.choices[0].message.content.is_some());
                    };
                    times(REQUESTS, one).await
                }
                _ => {
                    let one = || async {
                        let answer = genai.exec_chat(MODEL, genai_request.clone(), None).await;
                        assert!(answer.expect("an answer").first_text().is_some());
                    };
                    times(REQUESTS, one).await
                }
            };
            // The first round warms up.
            if round > 0 {
                all[which].add(taken);
            }
        }
    }
    let (p50, p99) = (all[0].p50(), all[0].p99());
    for times in &all {
        println!(
            "{:14} p50 {:7.1} µs ({:+7.1})   p99 {:7.1} µs ({:+7.1})",
            times.name,
            times.p50(),
            times.p50() - p50,
            times.p99(),
            times.p99() - p99
        );
    }
    for times in &all[1..] {
        println!("ratio route_overhead_{}_vs_bare {:.3}", times.name, times.p50() / p50);
    }
}
