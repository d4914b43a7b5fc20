//! What the emulator answers, against the vendors' own descriptions of their APIs.

mod github;
mod jira;
mod slack;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use agentprovision_connectors::emulator::{Fault, OAuthClient, Rule, Vendor};
use http::Method;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::support::{Answer, Site};

/// Where a vendor's description contradicts its documentation or itself, and the emulator follows the latter.
struct Contradiction {
    /// The end of the path of the operations.
    operation: &'static str,
    /// Where in the answer, as a JSON pointer whose `*` is any part and whose `**` is any number of them.
    place: &'static str,
    /// What makes of it what the description says.
    repair: Repair,
    /// What the documentation says.
    why: &'static str,
}

#[derive(Clone, Copy)]
enum Repair {
    /// The description has no such field.
    Leave,
    /// The description has no `null` here.
    Text,
    /// The description has a time with a colon in its zone.
    Zone,
    /// The description cannot be met.
    Forgo,
}

const fn contradiction(
    operation: &'static str,
    place: &'static str,
    repair: Repair,
    why: &'static str,
) -> Contradiction {
    Contradiction { operation, place, repair, why }
}

/// A vendor's description, in OpenAPI 3.0.
struct Description {
    root: Value,
    validators: BTreeMap<(String, String), Option<Validator>>,
    /// Operations that were driven with an answer of success.
    driven: BTreeSet<String>,
    /// Requests for which there is no operation.
    undescribed: BTreeSet<String>,
    contradictions: &'static [Contradiction],
    /// Those that were met.
    met: BTreeSet<&'static str>,
    /// What breaks the description.
    broken: BTreeSet<String>,
}

/// JSON Schema of what OpenAPI 3.0 writes its own way.
fn schema(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(schema).collect(),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            // Slack writes what is one of several as the items of a list that is none.
            let is_list = fields.contains_key("type") || fields.contains_key("properties");
            match fields.get("items") {
                Some(Value::Object(items)) if !is_list && items.contains_key("anyOf") => {
                    return Value::Object(items.clone());
                }
                _ => {}
            }
            if fields.remove("nullable") == Some(json!(true)) {
                let any = json!([{ "type": "null" }, fields]);
                return json!({ "anyOf": any });
            }
            Value::Object(fields)
        }
        value => value.clone(),
    }
}

impl Description {
    fn load(folder: &Path, vendor: &str, contradictions: &'static [Contradiction]) -> Self {
        let path = folder.join("vendor-specs").join(format!("{vendor}.json"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let root = serde_json::from_slice(&text).unwrap();
        Self {
            root,
            validators: BTreeMap::new(),
            driven: BTreeSet::new(),
            undescribed: BTreeSet::new(),
            contradictions,
            met: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    /// The operation of a request: of those that fit the one with the fewest variables. The last one may span slashes.
    fn operation(&self, method: &Method, path: &str) -> Option<(String, &Value)> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.trim_matches('/').split('/').collect();
            let variable = |part: &str| part.starts_with('{');
            let spans =
                matches!(template.as_slice(), [.., "contents" | "ref" | "matching-refs", "{path}" | "{ref}"]);
            (parts.len() == template.len() || (spans && parts.len() > template.len()))
                && template.iter().zip(&parts).all(|(template, part)| variable(template) || template == part)
        };
        let paths = self.root["paths"].as_object().unwrap();
        let found = paths
            .iter()
            .filter(|(template, of)| fits(template) && of.get(method.as_str().to_lowercase()).is_some());
        let (template, of) = found.min_by_key(|(template, _)| template.matches('{').count())?;
        Some((format!("{method} {template}"), &of[method.as_str().to_lowercase()]))
    }

    fn check(&mut self, method: &Method, path: &str, answer: &Answer) {
        let Some((name, operation)) =
            self.operation(method, path).map(|(name, operation)| (name, operation.clone()))
        else {
            let undescribed = path
                .split('/')
                .map(|part| if part.chars().any(|c| c.is_ascii_digit()) { "{}" } else { part });
            self.undescribed.insert(format!("{method} {}", undescribed.collect::<Vec<_>>().join("/")));
            return;
        };
        let responses = operation["responses"].as_object().unwrap();
        let failed = answer.body.starts_with(b"{\"error\"") && answer.json()["ok"] == json!(false);
        let status = if failed { "default".to_owned() } else { answer.status.to_string() };
        let response = responses.get(&status).or(responses.get("default"));
        if (200..400).contains(&answer.status) && !failed {
            self.driven.insert(name.clone());
        }
        if answer.body.is_empty() {
            return;
        }
        let Some(mut response) = response else {
            self.broken.insert(format!("{name} {status} is not described: {:?}", answer.body));
            return;
        };
        if let Some(to) = response.get("$ref").and_then(Value::as_str) {
            response = self.root.pointer(to.trim_start_matches('#')).unwrap();
        }
        let content = response.get("content").and_then(Value::as_object);
        let content = content.and_then(|content| content.iter().find(|(kind, _)| kind.contains("json")));
        let Some((_, content)) = content else { return };
        let described = content.get("schema").map(schema);
        let components = schema(&self.root["components"]);
        let validator = self.validators.entry((name.clone(), status.clone())).or_insert_with(|| {
            let whole = json!({ "allOf": [described?], "components": components });
            let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
            Some(options.build(&whole).unwrap_or_else(|error| panic!("{name} {status}: {error}")))
        });
        let Some(validator) = validator else { return };
        let mut value = answer.json();
        let errors = |value: &Value| -> Vec<String> {
            let words =
                |error: jsonschema::ValidationError<'_>| format!("at `{}`: {error}", error.instance_path());
            validator.iter_errors(value).map(words).collect()
        };
        let mut found = errors(&value);
        for known in self
            .contradictions
            .iter()
            .filter(|known| known.operation == "*" || name.ends_with(known.operation))
        {
            if found.is_empty() {
                break;
            }
            let before = value.clone();
            let path: Vec<&str> = known.place.split('/').skip(1).collect();
            let forgone = repair(&mut value, &path, known.repair);
            if forgone || value != before {
                self.met.insert(known.why);
                found = if forgone { Vec::new() } else { errors(&value) };
            }
        }
        let clip = |words: String| -> String { words.chars().take(400).collect() };
        self.broken.extend(found.into_iter().map(|words| format!("{name} {status} {}", clip(words))));
    }
}

/// Makes of a value what a description says; whether it is to be forgone.
fn repair(value: &mut Value, path: &[&str], how: Repair) -> bool {
    match (path, value) {
        ([], value) => {
            match (how, &mut *value) {
                (Repair::Text, Value::Null) => *value = json!(""),
                (Repair::Zone, Value::String(text)) => *text = text.replace("+0000", "+00:00"),
                _ => {}
            }
            matches!(how, Repair::Forgo)
        }
        (["**", rest @ ..], value) => {
            let below = match &mut *value {
                Value::Array(items) => items.iter_mut().any(|item| repair(item, path, how)),
                Value::Object(fields) => fields.values_mut().any(|value| repair(value, path, how)),
                _ => false,
            };
            below || repair(value, rest, how)
        }
        ([last], Value::Object(fields)) if matches!(how, Repair::Leave) => {
            fields.remove(*last);
            false
        }
        (["*", rest @ ..], Value::Array(items)) => items.iter_mut().any(|item| repair(item, rest, how)),
        (["*", rest @ ..], Value::Object(fields)) => {
            fields.values_mut().any(|value| repair(value, rest, how))
        }
        ([name, rest @ ..], Value::Object(fields)) => {
            fields.get_mut(*name).is_some_and(|value| repair(value, rest, how))
        }
        _ => false,
    }
}

/// The descriptions; `None`, said on the terminal, where there are none.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("AGENTPROVISION_CONFORMANCE");
    if folder.is_none() {
        // Not by a macro: the test harness would swallow it.
        let line = b"skipped: the vendors' descriptions, AGENTPROVISION_CONFORMANCE is not set\n";
        std::io::stderr().write_all(line).unwrap();
    }
    folder.map(PathBuf::from)
}

struct Driver<'a> {
    site: &'a Site,
    base: String,
    authorization: String,
    description: Description,
}

impl Driver<'_> {
    async fn go(&mut self, method: Method, target: &str, body: Value) -> Value {
        let form = target.starts_with("/api/") || self.base.ends_with("/api");
        let (kind, body) = match (&body, form) {
            (Value::Null, _) => ("application/json", String::new()),
            (Value::Object(fields), true) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    form.append_pair(name, value.as_str().unwrap_or(&value.to_string()));
                }
                ("application/x-www-form-urlencoded", form.finish())
            }
            (body, _) => ("application/json", body.to_string()),
        };
        let headers = [("authorization", self.authorization.as_str()), ("content-type", kind)];
        let answer = self.site.send(method.clone(), &format!("{}{target}", self.base), &headers, body).await;
        let path = target.split('?').next().unwrap();
        self.description.check(&method, path, &answer);
        if answer.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer.body).unwrap_or_default()
        }
    }

    async fn get(&mut self, target: &str) -> Value {
        self.go(Method::GET, target, Value::Null).await
    }

    async fn post(&mut self, target: &str, body: Value) -> Value {
        self.go(Method::POST, target, body).await
    }

    #[track_caller]
    fn finish(self, driven: &[&str], undescribed: &[&str]) {
        let broken: Vec<String> = self.description.broken.into_iter().collect();
        assert!(broken.is_empty(), "{}:\n{}", broken.len(), broken.join("\n"));
        let known: BTreeSet<&str> = self.description.contradictions.iter().map(|known| known.why).collect();
        assert_eq!(self.description.met, known, "contradictions that are still there");
        let found: Vec<&str> = self.description.driven.iter().map(String::as_str).collect();
        assert_eq!(found, driven, "operations that are described and were driven");
        let found: Vec<&str> = self.description.undescribed.iter().map(String::as_str).collect();
        assert_eq!(found, undescribed, "operations that no description has");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_its_description_is_found() {
    let Some(folder) = folder() else { return };
    let site = Site::start().await;
    site.emulator.faults().add(Rule::new(Fault::BreakSchema));
    let (github, slack) = (site.emulator.github(), site.emulator.slack());
    let github = (github.add_token("octocat"), site.emulator.github_url(), "/user", "github");
    let slack = (slack.add_bot_token("helper"), site.emulator.slack_url(), "/auth.test", "slack");
    site.emulator.oauth(Vendor::Jira).add_client(OAuthClient::new("app", "secret"));
    let tokens = site.emulator.oauth(Vendor::Jira).grant("app", "ada@example.com").unwrap();
    let jira = (tokens.access_token, site.emulator.jira_url(), "/rest/api/3/myself", "jira");
    for (token, base, path, vendor) in [github, slack, jira] {
        let description = Description::load(&folder, vendor, &[]);
        let mut to = Driver { site: &site, base, authorization: format!("Bearer {token}"), description };
        to.get(path).await;
        assert!(!to.description.broken.is_empty(), "{vendor}");
    }
}
