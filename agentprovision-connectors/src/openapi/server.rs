//! Where a service is: the document's first server, with its variables as settings.

use std::collections::BTreeMap;

use agentprovision_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};
use url::Url;

use super::document::{Document, object, short, text};

/// Where operations go, and the settings that say more about it.
#[derive(Debug)]
pub(super) struct Server {
    /// The URL, with settings in braces; empty where only an integration can say it.
    pub(super) base_url: String,
    /// Settings by name, as JSON Schemas.
    pub(super) settings: BTreeMap<String, Value>,
    /// Settings that every integration has to have.
    pub(super) required: Vec<String>,
}

impl Server {
    /// One that the host names.
    ///
    /// # Errors
    /// As [`Server::of`].
    pub(super) fn named(url: &str) -> Result<Self> {
        let url = checked(url, url)?;
        Ok(Self { base_url: url, settings: BTreeMap::new(), required: Vec::new() })
    }

    /// The first one of a document that was found at a URL.
    ///
    /// # Errors
    /// `invalid_input` for what is no server; `blocked` for a URL that is no one's to reach, whatever a policy says.
    pub(super) fn of(document: &Document, location: Option<&Url>) -> Result<Self> {
        let first = match document.get("servers") {
            None => None,
            Some(Value::Array(servers)) => servers.first(),
            Some(_) => return Err(Error::invalid("`servers` is no list")),
        };
        let none = Map::new();
        let first = first.map(|server| object(server, "servers/0")).transpose()?.unwrap_or(&none);
        let url = match first.get("url") {
            None => "/",
            Some(Value::String(url)) => url.trim(),
            Some(_) => return Err(Error::invalid("the `url` of a server is no text")),
        };
        let variables = match first.get("variables") {
            None => &none,
            Some(variables) => object(variables, "servers/0/variables")?,
        };
        let mut server = Self { base_url: String::new(), settings: BTreeMap::new(), required: Vec::new() };
        let mut sample = String::new();
        let mut parts = url.split('{');
        let first = parts.next().unwrap_or_default();
        server.base_url.push_str(first);
        sample.push_str(first);
        for part in parts {
            let Some((name, after)) = part.split_once('}') else {
                return Err(Error::invalid("the URL of the server has a brace that is not closed"));
            };
            let (written, value) = server.variable(name, variables.get(name))?;
            server.base_url.extend([written.as_str(), after]);
            sample.extend([value.as_str(), after]);
        }
        server.placed(&sample, location)
    }

    /// A variable: how it stands in the URL, and a value that it can have.
    fn variable(&mut self, name: &str, variable: Option<&Value>) -> Result<(String, String)> {
        let none = Map::new();
        let said = variable.map(|variable| object(variable, name)).transpose()?.unwrap_or(&none);
        let plain = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let default = said.get("default").and_then(plain);
        let choices: Option<Vec<String>> =
            said.get("enum").and_then(Value::as_array).map(|all| all.iter().filter_map(plain).collect());
        // What a setting may have in the place of a name in a URL.
        let fits = |text: &String| {
            !text.trim_matches('.').is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let named = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !["base_url", "scopes"].contains(&name);
        let settable = named && default.iter().chain(choices.iter().flatten()).all(fits);
        match (default, settable) {
            // As a path of several segments: it is what it is.
            (Some(default), false) if !default.contains(['{', '}']) => Ok((default.clone(), default)),
            (default, true) => {
                let about = text(said, "description").unwrap_or("A part of the URL of the service.");
                let mut schema = json!({
                    "type": "string", "description": short(about, 300), "maxLength": 255,
                });
                let fields =
                    [("default", default.clone().map(Value::from)), ("enum", choices.map(Value::from))];
                if let Some(schema) = schema.as_object_mut() {
                    schema.extend(
                        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))),
                    );
                }
                if default.is_none() && self.settings.insert(name.to_owned(), schema.clone()).is_none() {
                    self.required.push(name.to_owned());
                }
                self.settings.insert(name.to_owned(), schema);
                Ok((format!("{{{name}}}"), default.unwrap_or_else(|| "x".to_owned())))
            }
            _ => Err(Error::invalid(format!(
                "the variable `{}` of the server cannot be a setting, and has no default",
                short(name, 64)
            ))),
        }
    }

    /// With a URL that is absolute, if that can be said.
    fn placed(mut self, sample: &str, location: Option<&Url>) -> Result<Self> {
        let relative = matches!(Url::parse(sample), Err(url::ParseError::RelativeUrlWithoutBase));
        if !relative {
            self.base_url = checked(&self.base_url, sample)?;
            return Ok(self);
        }
        if let (Some(location), true) = (location, self.settings.is_empty()) {
            let joined = location.join(sample).map_err(|_| no_url(sample))?;
            self.base_url = checked(joined.as_str(), joined.as_str())?;
            return Ok(self);
        }
        if sample.starts_with("//") {
            self.base_url = checked(&format!("https:{}", self.base_url), &format!("https:{sample}"))?;
            return Ok(self);
        }
        let mut about = "The URL of the service: the document does not say which host it is on.".to_owned();
        if !sample.trim_matches('/').is_empty() {
            about.push_str(&format!(" Its path there is `{}`.", short(sample, 100)));
        }
        let schema = json!({ "type": "string", "description": about, "maxLength": 2048 });
        Ok(Self {
            base_url: String::new(),
            settings: BTreeMap::from([("base_url".to_owned(), schema)]),
            required: vec!["base_url".to_owned()],
        })
    }
}

fn no_url(url: &str) -> Error {
    Error::invalid(format!("`{}` is no URL of a server", short(url, 100)))
}

/// A URL with settings in braces, of which `sample` is one without.
fn checked(template: &str, sample: &str) -> Result<String> {
    let url = Url::parse(sample).map_err(|_| no_url(sample))?;
    let blocked =
        |why: &str| Err(Error::new(ErrorKind::Blocked, format!("the server `{}` {why}", short(sample, 100))));
    if !["http", "https"].contains(&url.scheme()) {
        return blocked("is not reached: its URL begins with `https`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return blocked("has a user or a password in its URL");
    }
    if url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.fragment().is_some() {
        return Err(no_url(sample));
    }
    // Without settings in it, as it was read: nobody reads it differently later.
    let whole = if template == sample { url.as_str() } else { template };
    Ok(whole.trim_end_matches('/').to_owned())
}
