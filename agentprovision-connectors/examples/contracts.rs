//! Checks the requests of the connectors against vendors' own descriptions of their interfaces.
//!
//! ```text
//! contracts FOLDER                    which connector covers which description
//! contracts FILE.json URL [INPUTS]    checks the operations that FILE.json describes
//! ```
//!
//! `URL` is a mock server that Prism (`@stoplight/prism-cli`) made of the file. Each operation's sample input, from
//! `INPUTS/<connector>.json`, is sent as a real request; Prism must find nothing wrong with it. Then something in the request
//! is made wrong that the vendor would refuse, past the operation's own schema, and Prism must find that: a description that
//! Prism cannot use checks nothing, and says nothing about it. The mock's answers are read by the operations' output types; one
//! that cannot be is a failure unless the vendor's example contradicts the vendor's own schema.

#![expect(clippy::print_stdout, reason = "the result of the program is what it prints")]

#[path = "contracts/description.rs"]
mod description;
#[path = "contracts/prism.rs"]
mod prism;
#[path = "contracts/wrong.rs"]
mod wrong;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentprovision_connectors::builtin::{self, Builtin};
use agentprovision_connectors::connector::{Compiled, Connector};
use agentprovision_connectors::operation::{Idempotency, Work};
use agentprovision_core::Timestamp;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};
use serde_json::{Map, Value};

use self::description::{Described, Description};
use self::prism::{Prism, Reply};
use self::wrong::{Wrong, wrong};

type Outcome<T> = Result<T, String>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match *arguments.as_slice() {
        [folder] => list(Path::new(folder)),
        [file, url] => check(Path::new(file), url, Path::new("agentprovision-connectors/tests/inputs")).await,
        [file, url, inputs] => check(Path::new(file), url, Path::new(inputs)).await,
        _ => Err("usage: contracts FOLDER, or contracts FILE.json URL [INPUTS]".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

pub(crate) fn read(path: &Path) -> Outcome<Value> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// The connector that covers a description: by what it says itself, or by its name.
fn covering(file: &Path) -> Option<Builtin> {
    let stem = stem(file);
    builtin::all().into_iter().find(|builtin| builtin.descriptions.contains(&stem) || builtin.name == stem)
}

/// Prints which connector covers which description, and what each connector was checked against.
fn list(folder: &Path) -> Outcome<bool> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let by = covering(file).map_or("not covered", |builtin| builtin.name);
        println!("{name}: {by}");
    }
    for builtin in builtin::all() {
        println!("{} is {}", builtin.name, builtin.evidence());
    }
    Ok(true)
}

/// What came out for the operations of one description.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
    lines: Vec<String>,
    answers_read: usize,
    answers_contradict: usize,
}

impl Report {
    fn result(&mut self, what: &str, result: Outcome<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(reason) => {
                self.failed += 1;
                println!("FAIL {what}: {reason}");
            }
        }
    }
}

async fn check(file: &Path, url: &str, inputs: &Path) -> Outcome<bool> {
    let builtin = covering(file).ok_or_else(|| format!("{}: not covered", file.display()))?;
    let connector = (builtin.connector)().map_err(|error| error.to_string())?;
    let samples = read(&inputs.join(format!("{}.json", builtin.name)))?;
    let description = Description::read(file, &connector.base_url)?;
    // The others of a connector with several.
    let others: Vec<Description> = builtin
        .descriptions
        .iter()
        .filter(|other| **other != stem(file))
        .filter_map(|other| {
            Description::read(&file.with_file_name(format!("{other}.json")), &connector.base_url).ok()
        })
        .collect();
    let prism = Prism::at(url)?;
    let mut report = Report::default();
    for spec in connector.operations() {
        let name = &*spec.name;
        let lacking = builtin.not_in_description.iter().find(|(lacking, _)| *lacking == name);
        let Work::Http(template) = &spec.work else {
            report.lines.push(format!("by code: {name}"));
            continue;
        };
        let found = description.find(&template.method, &template.path);
        match (found, lacking) {
            (Some(described), None) => {
                let operation = connector.operation(name).map_err(|error| error.to_string())?;
                let case = Case { prism: &prism, connector: &connector, operation, described };
                let none = Map::new();
                let sample = samples.get(name).and_then(Value::as_object).unwrap_or(&none);
                case.check(sample, &mut report).await;
            }
            (None, Some((_, why))) => report.lines.push(format!("not in the description: {name}, {why}")),
            (Some(_), Some(_)) => {
                let reason = "it is in the description, and is listed as missing from it";
                report.result(name, Err(reason.into()));
            }
            (None, None) if others.iter().any(|o| o.find(&template.method, &template.path).is_some()) => {}
            (None, None) => {
                let reason = "it is in no path of the description, and is not listed as missing from it";
                report.result(name, Err(reason.into()));
            }
        }
    }
    report.lines.iter().for_each(|line| println!("{line}"));
    let Report { passed, failed, answers_read, answers_contradict, .. } = report;
    println!(
        "{}: {answers_read} answers read, {answers_contradict} not: their examples contradict their own schemas",
        builtin.name
    );
    println!("\n{passed} passed, {failed} failed");
    if passed + failed == 0 {
        return Err(format!("{}: nothing was checked", file.display()));
    }
    Ok(failed == 0)
}

/// What Prism says of a form in parts whose description is a list.
const LIST_IN_PARTS: &str = "body (Request body must be array)";

/// One operation that the description has.
struct Case<'a> {
    prism: &'a Prism,
    connector: &'a Connector,
    operation: &'a Compiled,
    described: Described<'a>,
}

impl Case<'_> {
    async fn check(&self, sample: &Map<String, Value>, report: &mut Report) {
        let name = &*self.operation.spec.name;
        let prepared = self.request(sample);
        let (bare, place) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => return report.result(name, Err(reason)),
        };
        let request = match self.signed(&bare) {
            Ok(request) => request,
            Err(reason) => return report.result(name, Err(reason)),
        };
        let reply = self.prism.send(&request).await;
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| self.described.is_list_in_parts(kind)) {
            // Prism looks at everything else all the same.
            let only = match reply.and_then(|reply| reply.in_order()) {
                Err(said) if said == LIST_IN_PARTS => Ok(()),
                other => other.and(Err("Prism takes a form in parts for a list".to_owned())),
            };
            report.result(name, only);
            report.lines.push(format!("described as a list, which no form in parts is: {name}"));
            return;
        }
        report.result(name, reply.as_ref().map_err(Clone::clone).and_then(Reply::in_order));
        if let Ok(reply) = reply
            && reply.response.status.is_success()
        {
            match self.operation.answer(&reply.response, &place) {
                Ok(_) => report.answers_read += 1,
                Err(error) if reply.contradicts => {
                    report.answers_contradict += 1;
                    report.lines.push(format!("example that contradicts its schema: {name}, {error}"));
                }
                Err(error) => report.result(&format!("{name}, its answer"), Err(error.to_string())),
            }
        }
        let (what, request) = match wrong(&self.described, &request) {
            Wrong::Request(what, request) => (what, *request),
            Wrong::NoCredentials => ("no credentials".to_owned(), bare),
            Wrong::Nothing => {
                report.lines.push(format!("nothing in it can be wrong: {name}"));
                return;
            }
        };
        let reply = self.prism.send(&request).await;
        let refused = reply.and_then(|reply| match reply.in_order() {
            Err(_) if reply.refused() => Ok(()),
            Err(reason) => Err(format!("Prism says another thing of it: {reason}")),
            Ok(()) => Err("Prism finds nothing wrong".to_owned()),
        });
        report.result(&format!("{name}, with {what}"), refused);
    }

    /// The request of a sample, without credentials.
    fn request(
        &self,
        sample: &Map<String, Value>,
    ) -> Outcome<(Request<Bytes>, agentprovision_connectors::connector::Place)> {
        let base = self.prism.base(self.described.prefix());
        let (mut request, place) =
            self.operation.request(&base, sample).map_err(|error| error.to_string())?;
        if let Idempotency::Key(header) = &self.operation.spec.idempotency {
            let name: HeaderName = header.parse().map_err(|_| format!("`{header}` is no header"))?;
            request.headers_mut().insert(name, HeaderValue::from_static("contract-check"));
        }
        Ok((request, place))
    }

    /// The same request with made-up credentials of the usual kind.
    fn signed(&self, request: &Request<Bytes>) -> Outcome<Request<Bytes>> {
        let auth = self.connector.auth(None).map_err(|error| error.to_string())?;
        let mut request = request.clone();
        auth.apply(&prism::credentials(auth)?, &Map::new(), Timestamp::default(), &mut request)
            .map_err(|error| error.to_string())?;
        Ok(request)
    }
}
