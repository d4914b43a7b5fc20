//! How requests prove who asks, by the document's security schemes.

use std::collections::{BTreeMap, BTreeSet};

use agentprovision_core::{Error, Result};
use http::HeaderName;
use serde_json::{Map, Value};
use url::Url;

use super::SkippedAuth;
use super::document::{Document, object, short, text};
use crate::auth::{Auth, Field, Grant, OAuth2};
use crate::operation::Text;
use crate::request::is_senders;

/// What an operation needs: one of these schemes, each with its scopes. Nothing where anybody may call it.
pub(super) type Needs = Vec<(String, Vec<String>)>;

/// What an operation needs.
///
/// # Errors
/// `invalid_input` for what says nothing; `unsupported` where only several schemes together do.
pub(super) fn needs(document: &Document, operation: &Map<String, Value>) -> Result<Needs> {
    let Some(said) = operation.get("security").or_else(|| document.get("security")) else {
        return Ok(Needs::new());
    };
    let bad = || Error::invalid("`security` is no list of schemes with their scopes");
    let mut needs = Needs::new();
    let mut together = None;
    let choices = said.as_array().ok_or_else(bad)?;
    for choice in choices {
        let schemes = choice.as_object().ok_or_else(bad)?;
        let mut names = schemes.iter();
        match (names.next(), names.next()) {
            // Anybody may.
            (None, _) => return Ok(Needs::new()),
            (Some((name, scopes)), None) => {
                let scopes = scopes.as_array().ok_or_else(bad)?;
                needs.push((
                    name.clone(),
                    scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                ));
            }
            _ => together = Some(schemes.keys().map(|name| short(name, 64)).collect::<Vec<_>>()),
        }
    }
    match together {
        Some(names) if needs.is_empty() => {
            Err(Error::unsupported(format!("it needs several credentials at once: `{}`", names.join("`, `"))))
        }
        _ => Ok(needs),
    }
}

/// The ways to prove who asks of the operations that were imported, and what cannot be one of them and why.
///
/// # Errors
/// `invalid_input` for schemes that are no object.
pub(super) fn ways(
    document: &Document,
    base_url: &str,
    needed: &[Needs],
) -> Result<(Vec<Auth>, Vec<SkippedAuth>)> {
    let none = Map::new();
    let schemes =
        match document.object("components")?.and_then(|components| components.get("securitySchemes")) {
            None => &none,
            Some(schemes) => object(schemes, "components/securitySchemes")?,
        };
    // In the order in which the document asks for them, its own first.
    let mut scopes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut order: Vec<String> =
        needs(document, &none).unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    for (name, of) in needed.iter().flatten() {
        scopes.entry(name).or_default().extend(of.iter().map(String::as_str));
        order.push(name.clone());
    }
    if scopes.is_empty() {
        order.extend(schemes.keys().cloned());
    }
    let mut seen = BTreeSet::new();
    let (mut ways, mut left) = (Vec::new(), Vec::new());
    for name in order {
        let used = scopes.is_empty() || scopes.contains_key(name.as_str());
        if !used || !seen.insert(name.clone()) {
            continue;
        }
        let scopes = scopes.get(name.as_str()).into_iter().flatten().map(|scope| (*scope).to_owned().into());
        let way = match schemes.get(&name) {
            Some(scheme) => scheme_of(document, scheme, base_url, scopes.collect()),
            None => Err(Error::invalid("the document does not describe it")),
        };
        match way {
            Ok(auths) => {
                let several = auths.len() > 1;
                for auth in auths {
                    let flow = auth.name.clone();
                    let named: String = name.chars().take(48).collect();
                    ways.push(auth.named(if several { format!("{named}-{flow}") } else { named }));
                }
            }
            Err(why) => left.push(SkippedAuth { name, why }),
        }
    }
    Ok((ways, left))
}

fn scheme_of(document: &Document, scheme: &Value, base_url: &str, scopes: Vec<Text>) -> Result<Vec<Auth>> {
    let fields = document.followed(scheme, "securityScheme")?;
    let about = text(fields, "description").map(|about| short(about, 300));
    let said = |what: &str| match &about {
        Some(about) => format!("{what} {about}"),
        None => what.to_owned(),
    };
    let word = |name: &str| text(fields, name).unwrap_or_default().to_ascii_lowercase();
    let unsupported = |what: String| Err(Error::unsupported(what));
    match (word("type").as_str(), word("in").as_str(), word("scheme").as_str()) {
        ("apikey", "header", _) => {
            let name = text(fields, "name").unwrap_or_default().to_ascii_lowercase();
            // `authorization` is whose it is to say here.
            let bad = name != "authorization" && (name.parse::<HeaderName>().is_err() || is_senders(&name));
            if bad {
                return Err(Error::invalid(format!("`{}` is no header for a key", short(&name, 64))));
            }
            Ok(vec![Auth::key_header(name, "").fields(vec![Field::new("key", said("The key."))])])
        }
        ("apikey", "query", _) => {
            let name = text(fields, "name").unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
                return Err(Error::invalid(format!("`{}` is no name in a query", short(name, 64))));
            }
            Ok(vec![Auth::key_query(name.to_owned()).fields(vec![Field::new("key", said("The key."))])])
        }
        ("apikey", place, _) => unsupported(format!("keys in `{}` are not sent", short(place, 32))),
        ("http", _, "basic") => Ok(vec![Auth::basic("User name and password")]),
        ("http", _, "bearer") => {
            Ok(vec![Auth::bearer("Token").fields(vec![Field::new("token", said("The token."))])])
        }
        ("http", _, scheme) => unsupported(format!("the scheme `{}` is not spoken", short(scheme, 32))),
        ("oauth2", ..) => flows(fields, base_url, &scopes),
        (other, ..) => unsupported(format!("`{}` is not spoken", short(other, 32))),
    }
}

/// The flows that are spoken: the one in a browser, and the one of clients.
fn flows(fields: &Map<String, Value>, base_url: &str, scopes: &[Text]) -> Result<Vec<Auth>> {
    let flows = object(fields.get("flows").unwrap_or(&Value::Null), "flows")?;
    let mut ways = Vec::new();
    for (flow, name, title) in
        [("authorizationCode", "code", "OAuth 2"), ("clientCredentials", "client", "Client credentials")]
    {
        let Some(flow) = flows.get(flow) else { continue };
        let flow = object(flow, "flow")?;
        let mut oauth = OAuth2::new("", url(flow, "tokenUrl", base_url)?);
        oauth.scopes = scopes.to_vec();
        let grant = if name == "code" {
            oauth.authorize_url = url(flow, "authorizationUrl", base_url)?.into();
            Grant::Code(oauth)
        } else {
            Grant::Client(oauth)
        };
        ways.push(Auth::tokens(name, title, grant));
    }
    match ways.is_empty() {
        true => Err(Error::unsupported(
            "of OAuth 2, the flows authorization code and client credentials are spoken",
        )),
        false => Ok(ways),
    }
}

/// A URL of a flow; one that is relative is under the server.
fn url(flow: &Map<String, Value>, name: &str, base_url: &str) -> Result<String> {
    let said = text(flow, name).ok_or_else(|| Error::invalid(format!("a flow has no `{name}`")))?;
    let bad = || Error::invalid(format!("`{name}` of a flow is no URL"));
    if said.contains(['{', '}']) {
        return Err(bad());
    }
    let url = match Url::parse(said) {
        Err(url::ParseError::RelativeUrlWithoutBase) if !base_url.contains('{') => {
            Url::parse(base_url).and_then(|base| base.join(said)).map_err(|_| bad())?
        }
        found => found.map_err(|_| bad())?,
    };
    if !["http", "https"].contains(&url.scheme()) {
        return Err(bad());
    }
    Ok(url.into())
}
