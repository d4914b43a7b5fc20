//! Checks the dialects against a folder of recorded provider answers.
//!
//! ```text
//! cargo run --example transcripts -- DIR [--api NAME] [--provider NAME] [--self-test]
//! ```
//!
//! `DIR/MANIFEST.json` lists the cases: the file of the body, status, headers and what decoding it must give. Every
//! leaf of what is expected is compared, and a key this program does not know fails the case. A streamed body is fed
//! whole, byte by byte and, up to 16 KiB, in two pieces cut at every position, which must change nothing, and neither
//! must other line ends, keep-alives and a missing last blank line; and it is cut off at every position, which must give
//! an incomplete answer up to the event with the finish reason and a complete one from there on.
//! `DIR/GOLDEN_COSTS.json`, where there, adds the exact cost of a case.
//!
//! At the end it says for each provider how many cases were recorded from it and what they show, which is what the
//! README's table of providers rests on.
//!
//! `--self-test` alters each leaf in turn and requires the case to fail.

#![expect(clippy::print_stdout, reason = "the result of the program is what it prints")]

#[path = "transcripts/compare.rs"]
mod compare;
#[path = "transcripts/evidence.rs"]
pub(crate) mod evidence;
#[path = "transcripts/formats.rs"]
mod formats;
#[path = "transcripts/frames.rs"]
mod frames;
#[path = "transcripts/observe.rs"]
mod observe;
#[path = "transcripts/streams.rs"]
mod streams;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentprovision_core::model::ModelPrice;
use agentprovision_core::money::PicoUsd;
use serde_json::{Map, Value, json};

use self::compare::{alter, compare, leaves, list, text};
use self::formats::{Format, format};

type Outcome<T> = Result<T, String>;

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) folder: PathBuf,
    pub(crate) api: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) self_test: bool,
}

fn options() -> Outcome<Options> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--api" => options.api = Some(value()?),
            "--provider" => options.provider = Some(value()?),
            "--self-test" => options.self_test = true,
            folder if options.folder.as_os_str().is_empty() && !folder.starts_with("--") => {
                options.folder = folder.into();
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    if options.folder.as_os_str().is_empty() {
        return Err("usage: transcripts DIR [--api NAME] [--provider NAME] [--self-test]".into());
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

fn read(folder: &Path, name: &str) -> Outcome<Value> {
    let path = folder.join(name);
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The list of the cases.
pub(crate) fn manifest(folder: &Path) -> Outcome<Value> {
    let manifest = read(folder, "MANIFEST.json")?;
    if manifest.get("format") != Some(&json!(1)) {
        return Err("the manifest is not of format 1".into());
    }
    Ok(manifest)
}

/// Checks the selected cases and prints the result; whether all passed.
pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let manifest = manifest(&options.folder)?;
    let costs = if options.folder.join("GOLDEN_COSTS.json").exists() {
        read(&options.folder, "GOLDEN_COSTS.json")?
    } else {
        Value::Null
    };
    let (mut passed, mut failed, mut left_out, mut alterations) = (0, 0, 0, 0);
    let mut recorded = evidence::Evidence::new();
    for case in list(&manifest, "cases") {
        let (id, api) = (text(case, "id"), text(case, "api"));
        let wanted = |option: &Option<String>, value| option.as_deref().is_none_or(|wanted| wanted == value);
        if !wanted(&options.api, api) || !wanted(&options.provider, text(case, "provider")) {
            continue;
        }
        let Some(format) = format(api) else {
            left_out += 1;
            continue;
        };
        let cost = costs.get("cases").and_then(|cases| cases.get(id));
        match check(options, case, cost, &format, &mut alterations) {
            Ok(()) => {
                passed += 1;
                evidence::count(&options.folder, case, &mut recorded);
            }
            Err(reason) => {
                failed += 1;
                println!("FAIL {id}: {reason}");
            }
        }
    }
    evidence::lines(&recorded).iter().for_each(|line| println!("{line}"));
    if left_out > 0 {
        println!("{left_out} cases left out: their dialect is not built");
    }
    if options.self_test {
        println!("{alterations} alterations tried");
    }
    if passed + failed == 0 {
        return Err("no case is selected".into());
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn check(
    options: &Options,
    case: &Value,
    cost: Option<&Value>,
    format: &Format,
    alterations: &mut usize,
) -> Outcome<()> {
    let mut expected = case.get("expected").cloned().ok_or("the case expects nothing")?;
    let body = body(&options.folder, case)?;
    let mut actual = observe::observe(case, &body, format)?;
    if let (Some(cost), Some(expected), Some(fields)) =
        (cost, expected.as_object_mut(), actual.as_object_mut())
    {
        fields.insert("cost_pico_usd".into(), golden_cost(cost, fields)?);
        expected.insert("cost_pico_usd".into(), cost.get("cost_pico_usd").cloned().unwrap_or_default());
    }
    compare("", &expected, &actual)?;
    if options.self_test {
        for path in leaves(&expected) {
            let mut altered = expected.clone();
            let leaf = altered.pointer_mut(&path).ok_or(format!("no leaf at {path}"))?;
            *leaf = alter(leaf);
            *alterations += 1;
            if compare("", &altered, &actual).is_ok() {
                return Err(format!("{path}: not noticed when altered"));
            }
        }
    }
    Ok(())
}

/// The bytes on the wire; payloads whose framing was removed get one.
fn body(folder: &Path, case: &Value) -> Outcome<Vec<u8>> {
    let path = folder.join(text(case, "file"));
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !text(case, "framing").starts_with("SSE data payloads") {
        return Ok(bytes);
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.flat_map(|line| [b"data: ", line, b"\n\n"].concat()).collect())
}

/// The exact cost of the decoded usage at the given price.
fn golden_cost(cost: &Value, actual: &Map<String, Value>) -> Outcome<Value> {
    let prices = cost.get("price_pico_usd_per_token").ok_or("a cost without a price")?;
    let price = |name: &str| prices.get(name).and_then(Value::as_i64).map(PicoUsd);
    let price = ModelPrice {
        cache_read: price("cache_read"),
        cache_write: price("cache_write"),
        cache_write_1h: price("cache_write_1h"),
        ..ModelPrice::new(
            price("input").ok_or("a price without input")?,
            price("output").ok_or("a price without output")?,
        )
    };
    let usage = actual.get("usage").cloned().unwrap_or_default();
    let usage = serde_json::from_value(usage).map_err(|error| format!("cost without usage: {error}"))?;
    Ok(json!(i64::try_from(price.picos(&usage)).map_err(|error| error.to_string())?))
}
