//! What a request came to: whatever became of it, it is paid for once, and not more.

use super::kit::{Attempting, Budgeted, Uncounted, attempt, budgeted, price, routed};
use super::*;

#[tokio::test]
async fn every_attempt_that_may_be_billed_counts_and_no_other() {
    let config = json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day",
        "requests": 100, "input_tokens": 100_000, "output_tokens": 100_000, "tokens": 100_000, "cost_usd": "1",
    }]});
    let test = budgeted(config);
    let ctx = test.world.ctx();
    let info = talks().info().clone();
    let attempts =
        vec![attempt(None, Some(0)), attempt(Some((10, 2)), Some(700)), attempt(Some((10, 5)), Some(900))];
    let model = test.around(Attempting { info: info.clone(), attempts, stalls: false });
    let request = hello();
    request.log.push(attempt(Some((5000, 5000)), Some(5000)));
    model.complete(&ctx, request).await.unwrap_err();
    use Dimension::{Cost, InputTokens, OutputTokens, Requests, Tokens};
    let spent = test.balances(&ctx).await;
    let expected =
        [(Requests, 1, 0), (InputTokens, 20, 0), (OutputTokens, 7, 0), (Tokens, 27, 0), (Cost, 1600, 0)];
    assert_eq!(spent, expected);

    // An attempt without a price came to what was reckoned with.
    let attempts = vec![attempt(Some((1, 1)), None)];
    let model = test.around(Attempting { info, attempts, stalls: false });
    let estimate = price(1_000_000, 2_000_000).at_most(input_tokens(&hello()), 4096).nanos() as u64;
    model.complete(&ctx, hello()).await.unwrap_err();
    assert_eq!(test.balances(&ctx).await[4], (Cost, 1600 + estimate, 0));
}

#[tokio::test]
async fn pitfall_14_a_dropped_answer_settles_what_was_used_so_far() {
    let config = || {
        json!({"limits": [{
            "of": {"scope": "tenant"}, "per": "day", "input_tokens": 100_000, "output_tokens": 100_000,
        }]})
    };
    let info = talks().info().clone();
    let spent = async |test: &Budgeted, ctx: &Context| {
        let balances = test.balances(ctx).await;
        assert!(balances.iter().all(|(_, _, reserved)| *reserved == 0), "{balances:?}");
        (balances[0].1, balances[1].1)
    };

    // A router writes the attempt into the log when its stream is dropped; that is what is settled.
    let test = budgeted(config());
    let ctx = test.world.ctx();
    let attempts = vec![attempt(Some((11, 3)), Some(1))];
    let model = test.around(Attempting { info: info.clone(), attempts: attempts.clone(), stalls: true });
    let mut events = model.stream(&ctx, hello()).await.unwrap();
    events.next().await.unwrap().unwrap();
    assert!(test.balances(&ctx).await[1].2 > 0, "it is held");
    drop(events);
    assert_eq!(spent(&test, &ctx).await, (11, 3));

    // The same before there is an answer at all.
    let task = {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.complete(&ctx, hello()).await })
    };
    within(async {
        while test.balances(&ctx).await[1].2 == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    task.abort();
    assert!(within(task).await.unwrap_err().is_cancelled());
    assert_eq!(spent(&test, &ctx).await, (22, 6));

    // A model that keeps no log: the prompt, and what was read of the answer.
    let test = budgeted(config());
    let ctx = test.world.ctx();
    let model = test.around(ScriptedModel::from_fn("m", |_| Reply::Stall("one two three ".into())));
    let mut events = model.stream(&ctx, hello()).await.unwrap();
    for _ in 0..2 {
        events.next().await.unwrap().unwrap();
    }
    drop(events);
    let prompt = input_tokens(&hello());
    assert_eq!(spent(&test, &ctx).await, (prompt, "one two ".len().div_ceil(3) as u64));

    // An answer that broke off is paid; a request that was turned away is not.
    let cut = Error::new(ErrorKind::Incomplete, "it broke off");
    let model = test.around(ScriptedModel::new(
        "m",
        [
            Reply::Break("one ".into(), cut),
            Reply::Fail(Error::new(ErrorKind::RateLimited, "not now")),
            Reply::Fail(Error::new(ErrorKind::RateLimited, "not now")),
        ],
    ));
    let before = spent(&test, &ctx).await;
    let events: Vec<_> = model.stream(&ctx, hello()).await.unwrap().collect().await;
    assert!(events.last().unwrap().is_err());
    assert_eq!(spent(&test, &ctx).await, (before.0 + prompt, before.1 + 2));
    model.complete(&ctx, hello()).await.unwrap_err();
    assert!(model.stream(&ctx, hello()).await.is_err());
    assert_eq!(spent(&test, &ctx).await, (before.0 + prompt, before.1 + 2));
}

#[tokio::test]
async fn an_answer_without_counts_is_counted_by_its_length() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "input_tokens": 100_000, "output_tokens": 100_000,
    }]}));
    let ctx = test.world.ctx();
    let model = test.around(Uncounted(talks().info().clone()));
    model.complete(&ctx, hello()).await.unwrap();
    let prompt = input_tokens(&hello());
    let expected = |n: u64| [(Dimension::InputTokens, n * prompt, 0), (Dimension::OutputTokens, n * 3, 0)];
    assert_eq!(test.balances(&ctx).await, expected(1));
    model.stream(&ctx, hello()).await.unwrap().collect::<Vec<_>>().await;
    assert_eq!(test.balances(&ctx).await, expected(2));
}

#[tokio::test]
async fn a_request_for_which_nobody_was_asked_costs_nothing() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "requests": 100, "tokens": 100_000, "cost_usd": "1",
    }]}));
    let ctx = test.world.ctx();
    let inner = Arc::new(talks());
    let router =
        routed(&test.world, [("openai/gpt-4o", inner.clone() as Arc<dyn ChatModel>)], &["openai/gpt-4o"]);
    let model = test.layer.layer(router.resolve("chat").unwrap());
    let spent = async || test.balances(&ctx).await.iter().map(|(_, spent, _)| *spent).collect::<Vec<_>>();
    let mut late = hello();
    late.route.deadline = Some(test.world.env.now());
    let error = model.complete(&ctx, late.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(model.stream(&ctx, late.clone()).await.is_err());
    assert!(inner.requests().is_empty());
    assert_eq!(spent().await, [2, 0, 0]);
    // A log that was used before says nothing about the next request: one that asks somebody pays.
    let mut request = hello();
    request.log = late.log;
    model.complete(&ctx, request.clone()).await.unwrap();
    let paid = spent().await;
    assert!(paid[1] > 0 && paid[2] > 0, "{paid:?}");
    // Also where it is a model that keeps no log.
    let cut = ScriptedModel::new("m", [Reply::Fail(Error::new(ErrorKind::DeadlineExceeded, "too late"))]);
    test.around(cut).complete(&ctx, request).await.unwrap_err();
    assert!(spent().await[2] > paid[2]);
}

#[tokio::test]
async fn an_attempt_without_a_price_leaves_the_others_theirs() {
    let attempts = || {
        vec![
            attempt(Some((10, 2)), Some(700)),
            attempt(Some((10, 5)), Some(900)),
            attempt(Some((1, 1)), None),
            attempt(Some((1, 1)), None),
        ]
    };
    let info = talks().info().clone();
    let estimate = price(1_000_000, 2_000_000).at_most(input_tokens(&hello()), 4096).nanos() as u64;
    for (policy, unknown) in
        [(json!("deny"), 2 * estimate), (json!("allow"), 0), (json!({"reserve": "0.001"}), 2_000_000)]
    {
        let test = budgeted(json!({
            "limits": [{"of": {"scope": "tenant"}, "per": "day", "cost_usd": "1"}],
            "unknown_price": policy,
        }));
        let ctx = test.world.ctx();
        let model = test.around(Attempting { info: info.clone(), attempts: attempts(), stalls: false });
        model.complete(&ctx, hello()).await.unwrap_err();
        assert_eq!(test.balances(&ctx).await, [(Dimension::Cost, 1600 + unknown, 0)], "{policy}");
    }
}
