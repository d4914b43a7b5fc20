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
//! `DIR/GOLDEN_COSTS.json`, where there, adds the exact cost of a case: that of the decoded counts at the prices of the
//! shipped catalogue.
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

use agentprovision_core::Timestamp;
use agentprovision_core::model::Usage;
use agentprovision_core::money::NanoUsd;
use agentprovision_llm::Catalog;
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
    let catalog = Catalog::shipped();
    let (mut passed, mut failed, mut left_out, mut alterations) = (0, 0, 0, 0);
    let (mut costs_right, mut costs_wanted) = (0, 0);
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
        costs_wanted += usize::from(cost.is_some());
        match check(options, case, cost, &catalog, &format, &mut alterations) {
            Ok(()) => {
                passed += 1;
                costs_right += usize::from(cost.is_some());
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
    if !costs.is_null() {
        println!("costs: {costs_right} of {costs_wanted}");
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn check(
    options: &Options,
    case: &Value,
    cost: Option<&Value>,
    catalog: &Catalog,
    format: &Format,
    alterations: &mut usize,
) -> Outcome<()> {
    let mut expected = case.get("expected").cloned().ok_or("the case expects nothing")?;
    let body = body(&options.folder, case)?;
    let mut actual = observe::observe(case, &body, format)?;
    if let (Some(cost), Some(expected), Some(fields)) =
        (cost, expected.as_object_mut(), actual.as_object_mut())
    {
        let (picos, dollars) = catalogue_cost(catalog, case, fields)?;
        fields.insert("cost_pico_usd".into(), picos);
        fields.insert("cost_usd".into(), dollars);
        for name in ["cost_pico_usd", "cost_usd"] {
            expected.insert(name.into(), cost.get(name).cloned().unwrap_or_default());
        }
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

/// What the decoded answer costs at the prices of the catalogue: in pico-USD, and rounded to dollars.
fn catalogue_cost(catalog: &Catalog, case: &Value, actual: &Map<String, Value>) -> Outcome<(Value, Value)> {
    let counts = actual.get("counts").cloned().unwrap_or_default();
    let usage: Usage =
        serde_json::from_value(counts).map_err(|error| format!("cost without counts: {error}"))?;
    let path = text(case, "request_path").replace("%3A", ":");
    // Bedrock's answers do not name the model, its addresses do.
    let asked = path.split_once("/model/").and_then(|(_, rest)| rest.split('/').next());
    let model = actual.get("model").and_then(Value::as_str).or(asked).ok_or("a cost without a model")?;
    // A Friday at two in the morning, when nothing is off-peak: the golden costs are of the base price.
    let at: Timestamp = "2026-11-20T02:00:00Z".parse().map_err(|_| "no time")?;
    let provider = text(case, "provider");
    let sheet = catalog.price(None, provider, model, at);
    let sheet = sheet.ok_or_else(|| format!("the catalogue has no price of {provider}/{model}"))?;
    let picos = sheet.picos(&usage, at);
    let dollars = NanoUsd::from_picos(picos).to_string();
    Ok((json!(i64::try_from(picos).map_err(|error| error.to_string())?), json!(dollars)))
}
