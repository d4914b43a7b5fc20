//! Checks webhooks over a folder of bodies as vendors sent them: a folder for each vendor, and known signatures in
//! `signature-vectors.json`.
//!
//! ```text
//! cargo run -p agentprovision-connectors --features webhooks --example webhooks -- DIR
//! ```
//!
//! Every body is signed with its vendor's scheme and verified, read as an event and written again, and the same with one byte
//! changed is refused. The comparison of JSON is this file's own and knows numbers as they are written.

#![allow(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentprovision_connectors::webhook::{
    EventBody, EventFilter, Secrets, Template, Vendor, Verifier, WebhookEvent,
};
use agentprovision_core::{ErrorKind, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        println!("usage: webhooks DIR");
        return ExitCode::FAILURE;
    };
    match check(Path::new(&folder)) {
        Ok(report) => {
            for failure in &report.failures {
                println!("FAILED {failure}");
            }
            for (vendor, [typed, common, other]) in &report.bodies {
                println!(
                    "{vendor}: {typed} typed, {common} with the common type of the vendor, {other} other"
                );
            }
            println!("{} passed, {} failed", report.passed, report.failures.len());
            if report.failures.is_empty() && report.passed > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
#[allow(unreachable_pub, reason = "a test uses it too")]
pub struct Report {
    /// How many checks passed.
    pub passed: usize,
    /// Those that did not, with the reason.
    pub failures: Vec<String>,
    /// By vendor, how many bodies had the type of their kind, how many only what all bodies of the vendor have, and how many
    /// none.
    pub bodies: BTreeMap<String, [usize; 3]>,
}

impl Report {
    fn note(&mut self, what: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => self.failures.push(format!("{what}: {error}")),
        }
    }
}

/// Checks a folder.
///
/// # Errors
/// What cannot be read.
#[allow(unreachable_pub, reason = "a test uses it too")]
pub fn check(folder: &Path) -> Outcome<Report> {
    let mut report = Report::default();
    for place in sorted(folder)? {
        if place.is_dir() {
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok((vendor, verifiers)) = vendor(&name) else {
                report.note(&name, Err("no vendor of this name is known".into()));
                continue;
            };
            for file in sorted(&place)? {
                let what = format!("{name}/{}", file.file_name().unwrap_or_default().to_string_lossy());
                let body = Bytes::from(std::fs::read(&file)?);
                for (proof, verifier) in &verifiers {
                    report.note(&format!("{what}: {proof}"), signed(verifier, &body));
                }
                let count = report.bodies.entry(name.clone()).or_default();
                let outcome = read(vendor, &file, &body, count);
                report.note(&format!("{what}: reading"), outcome);
            }
        } else if place.file_name().is_some_and(|name| name == "signature-vectors.json") {
            for vector in serde_json::from_slice::<Vec<Vector>>(&std::fs::read(&place)?)? {
                report.note(&format!("vector of {}", vector.scheme), known(&vector));
            }
        }
    }
    Ok(report)
}

fn sorted(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut places =
        std::fs::read_dir(folder)?.map(|place| Ok(place?.path())).collect::<Outcome<Vec<PathBuf>>>()?;
    places.sort();
    Ok(places)
}

const SECRET: &str = "a secret of the example";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The vendor of a folder and the schemes it may use.
fn vendor(name: &str) -> Outcome<(Vendor, Vec<(&'static str, Verifier)>)> {
    let secret = || Secrets::new(SECRET);
    let standard = || Secrets::new(STANDARD_SECRET);
    Ok(match name {
        "github" => (Vendor::Github, vec![("signature", Verifier::github(secret())?)]),
        "slack" => (Vendor::Slack, vec![("signature", Verifier::slack(secret())?)]),
        "gitlab" => (
            Vendor::Gitlab,
            vec![
                ("token", Verifier::gitlab_token(secret())?),
                ("signature", Verifier::gitlab_signed(standard())?),
            ],
        ),
        "jira" => (Vendor::Jira, vec![("signature", Verifier::jira(secret())?)]),
        "pagerduty" => (Vendor::Pagerduty, vec![("signature", Verifier::pagerduty(secret())?)]),
        "stripe" => (Vendor::Stripe, vec![("signature", Verifier::stripe(secret())?)]),
        "alertmanager" => (
            Vendor::Alertmanager,
            vec![("bearer", Verifier::bearer(secret())?), ("basic", Verifier::basic("alerts", secret())?)],
        ),
        "azuredevops" | "azure_devops" | "azure-devops" => {
            (Vendor::AzureDevops, vec![("basic", Verifier::basic("", secret())?)])
        }
        "standard" | "standard-webhooks" | "svix" => {
            (Vendor::Standard, vec![("signature", Verifier::standard_webhooks(standard())?)])
        }
        other => return Err(format!("no vendor is called `{other}`").into()),
    })
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_760_000_000_500_000)
}

/// Signs, verifies, and requires refusal of a changed byte.
fn signed(verifier: &Verifier, body: &[u8]) -> Outcome {
    let headers = verifier.sign(now(), "delivery-1", body)?;
    verifier.verify(now(), &headers, body)?;
    if verifier.verify(now(), &HeaderMap::new(), body).map_err(|error| error.kind())
        != Err(ErrorKind::InvalidInput)
    {
        return Err("it was accepted without headers".into());
    }
    let covers = !(headers.contains_key("authorization") || headers.contains_key("x-gitlab-token"));
    if covers {
        for place in [0, body.len() / 2, body.len().saturating_sub(1)] {
            let other = flipped(body, place);
            refused(verifier.verify(now(), &headers, &other), &format!("byte {place} of the body"))?;
        }
        refused(verifier.verify(now(), &headers, &[body, b"\n"].concat()), "a byte more")?;
        let shorter = body.split_last().map_or(&b"x"[..], |(_, rest)| rest);
        refused(verifier.verify(now(), &headers, shorter), "a byte less")?;
    }
    for (name, value) in &headers {
        for place in 0..value.len() {
            let Ok(changed) = HeaderValue::from_bytes(&flipped(value.as_bytes(), place)) else { continue };
            let mut headers = headers.clone();
            headers.insert(name, changed);
            refused(verifier.verify(now(), &headers, body), &format!("byte {place} of `{name}`"))?;
        }
    }
    Ok(())
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    bytes.iter().enumerate().map(|(at, byte)| if at == place { byte ^ 1 } else { *byte }).collect()
}

fn refused(outcome: agentprovision_core::Result<()>, what: &str) -> Outcome {
    match outcome {
        Ok(()) => Err(format!("it was accepted with a change of {what}").into()),
        Err(error) if error.is(ErrorKind::Unauthenticated) || error.is(ErrorKind::InvalidInput) => Ok(()),
        Err(error) => Err(format!("a change of {what} failed as {error:?}").into()),
    }
}

/// Reads a body as an event and writes it again.
fn read(vendor: Vendor, file: &Path, body: &Bytes, count: &mut [usize; 3]) -> Outcome {
    let mut headers = HeaderMap::new();
    if vendor == Vendor::Github {
        // The name of a file begins with that of its event.
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        headers.insert("x-github-event", name.split('.').next().unwrap_or_default().parse()?);
        headers.insert("x-github-delivery", HeaderValue::from_static("delivery-1"));
    }
    let event = WebhookEvent::read(vendor, &headers, body.clone())?;
    if event.body.is_typed() {
        count[0] += 1;
    } else if matches!(event.body, EventBody::Other(_) | EventBody::Opaque) {
        count[2] += 1;
    } else {
        count[1] += 1;
    }
    if event.kind.is_empty() || event.delivery_id.is_empty() || event.raw() != body.as_ref() {
        return Err("the event lacks its kind, its id or its body".into());
    }
    let written = event.body.to_json()?;
    let sent = sent(body)?;
    equal(&sent, &raw(written.as_str())?)
        .map_err(|place| format!("what was written differs at `{place}`"))?;

    if !EventFilter::kind(&event.kind).matches(&event) || EventFilter::kind("nothing").matches(&event) {
        return Err("a filter by its kind does not find it".into());
    }
    let text = Template::new("{{ event.vendor }} {{ event.kind }} {{ body | tojson | length > 1 }}")?
        .render(&event)?;
    if text != format!("{vendor} {} true", event.kind) {
        return Err(format!("a template made `{text}` of it").into());
    }
    Ok(())
}

/// What was sent as JSON; of a form its fields, or what is in `payload`.
fn sent(body: &[u8]) -> Outcome<Box<RawValue>> {
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return Ok(serde_json::from_slice(body)?);
    }
    let fields: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    match fields.get("payload") {
        Some(payload) => Ok(raw(payload)?.to_owned()),
        None => Ok(serde_json::value::to_raw_value(&fields)?),
    }
}

fn raw(text: &str) -> Outcome<Box<RawValue>> {
    Ok(serde_json::from_str(text)?)
}

/// Whether two JSON values are one, down to the form of numbers; else where they differ.
fn equal(one: &RawValue, other: &RawValue) -> Result<(), String> {
    let (a, b) = (one.get(), other.get());
    let differs = || Err(String::new());
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            let read = |text| {
                serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text).map_err(|e| e.to_string())
            };
            let (a, b) = (read(a)?, read(b)?);
            if !a.keys().eq(b.keys()) {
                return differs();
            }
            for (key, value) in &a {
                b.get(key)
                    .ok_or_else(String::new)
                    .and_then(|other| equal(value, other))
                    .map_err(|place| format!("/{key}{place}"))?;
            }
            Ok(())
        }
        (Some(b'['), Some(b'[')) => {
            let read = |text| serde_json::from_str::<Vec<Box<RawValue>>>(text).map_err(|e| e.to_string());
            let (a, b) = (read(a)?, read(b)?);
            if a.len() != b.len() {
                return differs();
            }
            for (place, (a, b)) in a.iter().zip(&b).enumerate() {
                equal(a, b).map_err(|inner| format!("/{place}{inner}"))?;
            }
            Ok(())
        }
        (Some(b'"'), Some(b'"')) => {
            match (serde_json::from_str::<String>(a), serde_json::from_str::<String>(b)) {
                (Ok(a), Ok(b)) if a == b => Ok(()),
                // A lone surrogate is no text, but may be sent.
                (Err(_), Err(_)) if a == b => Ok(()),
                _ => differs(),
            }
        }
        _ if a == b => Ok(()),
        _ => differs(),
    }
}

/// A signature that is known from elsewhere.
#[derive(Deserialize)]
struct Vector {
    scheme: String,
    secret: String,
    body: String,
    headers: BTreeMap<String, String>,
    now: Option<i64>,
    tolerance_s: Option<i64>,
}

fn known(vector: &Vector) -> Outcome {
    let secrets = || Secrets::new(vector.secret.as_str());
    let verifier = match vector.scheme.as_str() {
        "github" => Verifier::github(secrets())?,
        "slack" => Verifier::slack(secrets())?,
        "jira" => Verifier::jira(secrets())?,
        "gitlab" | "gitlab-token" => Verifier::gitlab_token(secrets())?,
        "gitlab-signed" => Verifier::gitlab_signed(secrets())?,
        "pagerduty" | "pagerduty-v3" => Verifier::pagerduty(secrets())?,
        "stripe" => Verifier::stripe(secrets())?,
        "standard-webhooks" | "svix" => Verifier::standard_webhooks(secrets())?,
        "bearer" | "alertmanager" => Verifier::bearer(secrets())?,
        other => return Err(format!("no scheme is called `{other}`").into()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &vector.headers {
        headers.insert(name.to_ascii_lowercase().parse::<HeaderName>()?, value.parse()?);
    }
    let at = |offset: i64| Timestamp::from_micros((vector.now.unwrap_or_default() + offset) * 1_000_000);
    let body = vector.body.as_bytes();
    verifier.verify(at(0), &headers, body)?;

    let id = headers
        .get("webhook-id")
        .or(headers.get("svix-id"))
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    let ours = verifier.sign(at(0), id, body)?;
    for (name, value) in &ours {
        if headers.get(name) != Some(value) && !headers.contains_key("svix-id") {
            return Err(format!("the header `{name}` would be signed in another way").into());
        }
    }
    for place in 0..body.len() {
        let other = flipped(body, place);
        refused(verifier.verify(at(0), &headers, &other), &format!("byte {place} of the body"))?;
    }
    if let Some(tolerance) = vector.tolerance_s {
        for offset in [tolerance - 1, 1 - tolerance, tolerance, -tolerance] {
            verifier
                .verify(at(offset), &headers, body)
                .map_err(|error| format!("after {offset} s: {error}"))?;
        }
        for offset in [tolerance + 1, -tolerance - 1] {
            match verifier.verify(at(offset), &headers, body) {
                Err(error) if error.context().contains(&("reason", "timestamp".to_owned())) => {}
                outcome => return Err(format!("after {offset} s: {outcome:?}").into()),
            }
        }
    }
    Ok(())
}
