//! What an answer costs: by the catalogue in use when the request began, and by the tenant's terms.

use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::ModelResolver;
use agentprovision_core::money::{NanoUsd, PicoUsd};
use agentprovision_llm::Catalog;
use serde_json::{Value, json};

use crate::kit::{ANSWER_COST, Bench, Upstream, ask, fine, patient};
use crate::support::{context, within};

/// The price of `a/m` in US dollars per million tokens, alike for input and output: an answer has 15 tokens.
fn costs(dollars: &str) -> Value {
    json!({"price": {"input": dollars, "output": dollars}})
}

fn table(model: &Value, tenants: &Value) -> String {
    let providers = json!({"a": {"models": {"m": model}}});
    json!({"format": 1, "unit": "usd_per_million_tokens", "providers": providers, "tenants": tenants})
        .to_string()
}

async fn bench() -> Bench {
    let upstream = Upstream::start(|_, seen| fine(seen, "hello")).await;
    Bench::new(vec![upstream], patient(1))
}

/// What the log says a whole answer cost.
async fn paid(bench: &Bench, ctx: &Context, name: &str) -> Option<NanoUsd> {
    let model = bench.router.resolve(name).unwrap();
    let request = ask(name);
    within(model.complete(ctx, request.clone())).await.unwrap();
    let attempts = request.log.attempts();
    assert_eq!(attempts.len(), 1);
    attempts[0].cost
}

fn nanos(nanos: i64) -> Option<NanoUsd> {
    Some(NanoUsd::from_nanos(nanos))
}

#[tokio::test]
async fn prices_change_while_requests_are_under_way() {
    let bench = bench().await;
    let live = bench.router.registry().catalog();
    assert_eq!(paid(&bench, &bench.ctx, "a/m").await, nanos(ANSWER_COST));
    live.reload(&table(&costs("2"), &json!({}))).unwrap();
    assert_eq!(paid(&bench, &bench.ctx, "a/m").await, nanos(30_000));
    // A table with a mistake changes nothing.
    live.reload(&table(&costs("-2"), &json!({}))).unwrap_err();
    assert_eq!(paid(&bench, &bench.ctx, "all").await, nanos(30_000));
    // A price that is gone is unknown, and never the one before.
    live.replace(Catalog::empty());
    assert_eq!(paid(&bench, &bench.ctx, "a/m").await, None);
    live.reload(&table(&costs("3"), &json!({}))).unwrap();
    assert_eq!(paid(&bench, &bench.ctx, "a/m").await, nanos(45_000));
}

#[tokio::test]
async fn a_tenant_pays_its_own_terms_and_no_other_tenants() {
    let (bench, other) = (bench().await, context());
    let terms = json!({bench.ctx.tenant().to_string(): {"multiplier": "0.5"}});
    bench.router.registry().catalog().reload(&table(&costs("2"), &terms)).unwrap();
    for _ in 0..2 {
        assert_eq!(paid(&bench, &bench.ctx, "a/m").await, nanos(15_000));
        assert_eq!(paid(&bench, &other, "a/m").await, nanos(30_000));
    }
    // What is held for a request and what decides between targets are the same terms.
    let model = bench.router.resolve("all").unwrap();
    let input = |ctx: &Context| {
        let answerers = model.answerers(ctx, &ask("all").route);
        answerers[0].price.as_ref().unwrap().base.input
    };
    assert_eq!((input(&bench.ctx), input(&other)), (PicoUsd(1_000_000), PicoUsd(2_000_000)));
    let expected =
        |ctx: &Context| bench.router.explain(ctx, &ask("all")).unwrap().candidates[0].cost.unwrap();
    assert!(expected(&bench.ctx) < expected(&other));
    let own = json!({bench.ctx.tenant().to_string(): {"providers": {"a": {"models": {"m": costs("7")}}}}});
    bench.router.registry().catalog().reload(&table(&costs("2"), &own)).unwrap();
    assert_eq!(paid(&bench, &bench.ctx, "a/m").await, nanos(105_000));
}

/// Pitfall 6: a price that holds until a day changes at its midnight, by the injected clock.
#[tokio::test]
async fn pitfall_06_a_price_is_the_one_of_the_moment() {
    let bench = bench().await;
    // The clock stands at 2023-11-14T22:13:20Z.
    let mut history = json!([costs("2"), costs("4")]);
    history[0]["valid_until"] = json!("2023-11-15");
    history[1]["valid_from"] = json!("2023-11-15");
    history[1]["valid_until"] = json!("2023-11-16");
    bench.router.registry().catalog().reload(&table(&history, &json!({}))).unwrap();
    let mut seen = Vec::new();
    for forward in [0, 6399, 1, 86_399, 1] {
        bench.clock.advance(Duration::from_secs(forward));
        seen.push(paid(&bench, &bench.ctx, "a/m").await);
    }
    assert_eq!(seen, [nanos(30_000), nanos(30_000), nanos(60_000), nanos(60_000), None]);
}
