//! Who gets which arm.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_core::ErrorKind;
use agentprovision_core::model::{ChatModel, ModelResolver};
use agentprovision_core::testing::ModelMap;
use agentprovision_llm::experiment::{Arm, Experiment, ExperimentLayer};
use tower::Layer;

use crate::support::{context, within};
use crate::{ask, events, scripted};

const UNITS: usize = 100_000;

fn three(control: u32, small: u32, large: u32) -> Experiment {
    let arms =
        [Arm::control("control", control), Arm::new("small", "s", small), Arm::new("large", "l", large)];
    Experiment::new("which model", "m", arms).salt("s1")
}

fn arms(experiment: &Experiment) -> Vec<Option<&str>> {
    let unit = |n| experiment.assign(&format!("unit {n}")).map(|arm| arm.name.as_str());
    (0..UNITS).map(unit).collect()
}

/// The counts are those of the documented formula, computed apart from this code.
#[test]
fn arms_are_drawn_as_documented_and_in_proportion() {
    let experiment = three(5000, 3000, 2000);
    experiment.check().unwrap();
    let mut counts = BTreeMap::new();
    for arm in arms(&experiment) {
        *counts.entry(arm.unwrap()).or_insert(0_u32) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("control", 49_961), ("small", 29_807), ("large", 20_232)]));
    // Chi square with two degrees of freedom: above 13.8 once in a thousand.
    let square = |arm: &Arm| {
        let expected = f64::from(arm.weight) * 10.0;
        (f64::from(counts[arm.name.as_str()]) - expected).powi(2) / expected
    };
    let chi: f64 = experiment.arms.iter().map(square).sum();
    assert!(chi < 13.8, "{chi}");
    // Draws 7415 and 1090, 4196 and 2631, 6082 and 8954.
    for (unit, share, arm) in [("", 7415, "control"), ("session-1", 4196, "control"), ("模型", 6082, "large")]
    {
        assert_eq!(experiment.assign(unit).unwrap().name, arm);
        assert!(three(5000, 3000, 2000).share(share).assign(unit).is_none(), "{unit}");
        assert!(three(5000, 3000, 2000).share(share + 1).assign(unit).is_some(), "{unit}");
    }
}

#[test]
fn weight_that_goes_to_a_neighbour_moves_those_units_alone() {
    let (before, after) = (three(5000, 3000, 2000), three(5000, 2000, 3000));
    let mut moved = 0;
    for (before, after) in arms(&before).into_iter().zip(arms(&after)) {
        if before != after {
            assert_eq!((before, after), (Some("small"), Some("large")));
            moved += 1;
        }
    }
    // A tenth of the units, as the draw has it.
    assert!((9700..10_300).contains(&moved), "{moved}");
}

#[test]
fn a_larger_share_lets_units_in_and_moves_none() {
    let (quarter, half) = (three(5000, 3000, 2000).share(2500), three(5000, 3000, 2000).share(5000));
    let (few, many) = (arms(&quarter), arms(&half));
    for (few, many) in few.iter().zip(&many) {
        assert!(few.is_none() || few == many);
    }
    let taking = |arms: &[Option<&str>]| arms.iter().flatten().count();
    assert_eq!(taking(&few), UNITS - 75_295);
    assert!(taking(&many) > 49_000);
    assert!(three(5000, 3000, 2000).share(0).assign("a").is_none());
}

#[test]
fn another_salt_or_name_draws_anew() {
    let one = three(5000, 3000, 2000);
    let mut renamed = one.clone();
    renamed.name = "another".into();
    for other in [one.clone().salt("s2"), renamed] {
        let same = arms(&one).iter().zip(arms(&other)).filter(|(one, other)| *one == other).count();
        // By chance alone: 0.5² + 0.3² + 0.2² = 0.38 of them.
        assert!((37_000..39_000).contains(&same), "{same}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut experiment = Experiment::new(
        "a\u{7}",
        "",
        [Arm::control("x", 4000), Arm::new("x", "", 5000), Arm::new("", "m", u32::MAX)],
    );
    experiment.share = 10_001;
    experiment.salt = "a\0b".into();
    let error = experiment.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for problem in [
        "`name`: a name has",
        "`model`: must not be empty",
        "`salt`",
        "`share`: is 10001",
        "there are two arms named `x`",
        "`arms[1].model`",
        "`arms[2].name`: must not be empty",
        "add up to 4294976295",
    ] {
        assert!(error.message().contains(problem), "{problem} in {error}");
    }
    assert!(Experiment::new("n", "m", [Arm::control("c", 10_000)]).check().is_err());
    let read: Experiment = serde_json::from_str(
        r#"{"name": "n", "model": "m", "arms": [{"name": "a", "weight": 1}, {"name": "b", "model": "x", "weight": 9999}]}"#,
    )
    .unwrap();
    read.check().unwrap();
    assert_eq!((read.share, read.salt.as_str()), (10_000, ""));
    let error = serde_json::from_str::<Experiment>(r#"{"wieghts": []}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `wieghts`"));
}

#[test]
fn the_layer_says_everything_that_is_wrong_with_its_experiments() {
    let models = ModelMap::new([scripted("s", "s") as Arc<dyn ChatModel>]);
    let bad = three(1, 2, 3);
    let error =
        ExperimentLayer::new([three(5000, 3000, 2000), bad], move |name| models.resolve(name)).unwrap_err();
    for problem in [
        "`experiments[0].arms[2].model`: unknown model `l`",
        "`experiments[1].arms`: the weights add up to 6",
        "`experiments[1].name`: there are two experiments named `which model`",
        "`experiments[1].model`: there are two experiments on `m`",
    ] {
        assert!(error.message().contains(problem), "{problem} in {error}");
    }
}

#[tokio::test]
async fn a_request_goes_to_the_model_of_its_arm_and_says_so() {
    let (main, small, large) = (scripted("m", "main"), scripted("s", "small"), scripted("l", "large"));
    let models = ModelMap::new([small.clone() as Arc<dyn ChatModel>, large.clone()]);
    let experiment = three(5000, 3000, 2000).share(6000);
    let layer = ExperimentLayer::new([experiment.clone()], move |name| models.resolve(name)).unwrap();
    let model = layer.layer(main.clone());
    assert_eq!(model.info().name, "m");
    let ctx = context();
    let mut seen = BTreeMap::new();
    for n in 0..200 {
        let unit = format!("session {n}");
        let mut request = ask("m");
        request.route.affinity = Some(unit.clone());
        // A caller cannot choose its arm.
        request.route.tags.insert("experiment.which model".into(), "large".into());
        request.route.tags.insert("mine".into(), "kept".into());
        let arm = experiment.assign(&unit).map(|arm| arm.name.as_str());
        let (expected, asked) = match arm {
            Some("small") => ("small", &small),
            Some("large") => ("large", &large),
            _ => ("main", &main),
        };
        let text = if n % 2 == 0 {
            model.complete(&ctx, request).await.unwrap().text
        } else {
            events(model.stream(&ctx, request).await.unwrap()).await;
            expected.to_owned()
        };
        assert_eq!(text, expected);
        let last = asked.requests().pop().unwrap();
        assert_eq!(last.model, asked.info().name);
        assert_eq!(last.route.affinity.as_deref(), Some(unit.as_str()));
        assert_eq!(last.route.tags.get("experiment.which model").map(String::as_str), arm);
        assert_eq!(last.route.tags["mine"], "kept");
        *seen.entry(arm).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 4, "every arm and the rest occurred: {seen:?}");
    let asked = [&main, &small, &large].map(|model| model.requests().len());
    assert_eq!(asked.iter().sum::<usize>(), 200);
}

#[tokio::test]
async fn without_an_affinity_the_user_is_the_unit() {
    let (main, small) = (scripted("m", "main"), scripted("s", "small"));
    let experiment =
        Experiment::new("by user", "m", [Arm::control("control", 5000), Arm::new("small", "s", 5000)]);
    let arm = small.clone();
    let layer =
        ExperimentLayer::new([experiment.clone()], move |_| Ok(arm.clone() as Arc<dyn ChatModel>)).unwrap();
    let model = layer.layer(main);
    let mut both = 0;
    for _ in 0..64 {
        let ctx = context();
        let arm = experiment.assign(&ctx.principal().user().to_string()).unwrap();
        let first = model.complete(&ctx, ask("m")).await.unwrap().text;
        assert_eq!(first == "small", arm.name == "small");
        assert_eq!(model.complete(&ctx, ask("m")).await.unwrap().text, first);
        both |= if first == "small" { 1 } else { 2 };
    }
    assert_eq!(both, 3, "both arms occurred");
    // Requests to other models take no part.
    small.requests().clear();
    let before = small.requests().len();
    let mut other = ask("another");
    other.route.tags.insert("experiment.by user".into(), "forged".into());
    model.complete(&context(), other).await.unwrap();
    assert_eq!(small.requests().len(), before);
}

#[tokio::test]
async fn a_model_that_is_gone_is_an_error_and_no_other_arm() {
    let gone = std::sync::atomic::AtomicBool::new(false);
    let small = scripted("s", "small");
    let experiment = Experiment::new("n", "m", [Arm::control("control", 0), Arm::new("small", "s", 10_000)]);
    let layer = ExperimentLayer::new([experiment], move |name| {
        if gone.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Err(agentprovision_core::Error::not_found(format!("there is no model `{name}`")));
        }
        Ok(small.clone() as Arc<dyn ChatModel>)
    });
    let main = scripted("m", "main");
    let model = layer.unwrap().layer(main.clone());
    let error = within(model.complete(&context(), ask("m"))).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "there is no model `s`"));
    assert!(main.requests().is_empty());
}
