//! What the emulated vendors have in common: the world behind one mutex, a request as they see it, an answer as they give it.

use std::fmt;

use agentprovision_core::{Env, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::faults::Plan;
use super::github::store::GitHub;
use super::jira::store::Jira;
use super::oauth::Accounts;
use super::slack::store::Slack;
use super::webhooks::Outbox;

/// A vendor that is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Vendor {
    /// GitHub, its REST API.
    Github,
    /// Jira Cloud, its REST API of version 3.
    Jira,
    /// Slack, its Web API and its Events API.
    Slack,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: &'static [Self] = &[Self::Github, Self::Jira, Self::Slack];

    /// The stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Jira => "jira",
            Self::Slack => "slack",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A request that an emulated vendor saw.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// Whom it was for.
    pub vendor: Vendor,
    /// The method, in capitals.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// The query as it was sent, without its question mark; empty where there was none.
    pub query: String,
    /// Who asked: a login of GitHub, an account id of Jira, a user id of Slack; `None` where nothing proved it.
    pub who: Option<String>,
    /// When it came, by the clock of the `Env`.
    pub when: Timestamp,
    /// The status it was answered with; `None` as long as it was not, or where the connection was closed on it.
    pub status: Option<u16>,
}

/// Everything that the vendors know.
pub(super) struct World {
    pub(super) env: Env,
    /// The base of each vendor's server, `http://127.0.0.1:<port>`.
    pub(super) bases: [String; 3],
    last_id: u64,
    pub(super) requests: Vec<SeenRequest>,
    pub(super) plan: Plan,
    pub(super) accounts: [Accounts; 3],
    pub(super) outbox: Outbox,
    pub(super) github: GitHub,
    pub(super) jira: Jira,
    pub(super) slack: Slack,
}

impl World {
    pub(super) fn new(env: Env, bases: [String; 3]) -> Self {
        let mut world = Self {
            env,
            bases,
            last_id: 1000,
            requests: Vec::new(),
            plan: Plan::default(),
            accounts: [
                Accounts::new(Vendor::Github),
                Accounts::new(Vendor::Jira),
                Accounts::new(Vendor::Slack),
            ],
            outbox: Outbox::default(),
            github: GitHub::default(),
            jira: Jira::default(),
            slack: Slack::default(),
        };
        world.open_slack();
        world
    }

    /// A number that no other thing has.
    pub(super) fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// Random letters and digits that nobody guesses, unless the `Env` is a seeded one.
    pub(super) fn secret(&self, prefix: &str) -> String {
        format!("{prefix}{}", hex::encode(self.env.random::<20>()))
    }

    /// A random UUID of version 4, as text.
    pub(super) fn uuid(&self) -> String {
        let mut bytes = self.env.random::<16>();
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        let text = hex::encode(bytes);
        let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
    }

    pub(super) fn accounts(&mut self, vendor: Vendor) -> &mut Accounts {
        let [github, jira, slack] = &mut self.accounts;
        match vendor {
            Vendor::Github => github,
            Vendor::Jira => jira,
            Vendor::Slack => slack,
        }
    }

    pub(super) fn base(&self, vendor: Vendor) -> &str {
        let [github, jira, slack] = &self.bases;
        match vendor {
            Vendor::Github => github,
            Vendor::Jira => jira,
            Vendor::Slack => slack,
        }
    }

    /// Carries a request out.
    pub(super) fn perform(&mut self, call: &Call) -> Reply {
        let outcome = match self.oauth(call) {
            Some(reply) => reply,
            None => match call.vendor {
                Vendor::Github => self.github_reply(call),
                Vendor::Jira => self.jira_reply(call),
                Vendor::Slack => self.slack_reply(call),
            },
        };
        outcome.unwrap_or_else(|refusal| refusal)
    }
}

/// What a handler ends with: an answer, or a refusal that ends it early.
pub(super) type Outcome = Result<Reply, Reply>;

/// A request as a vendor sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) vendor: Vendor,
    pub(super) method: Method,
    pub(super) path: String,
    /// The path's segments, decoded.
    pub(super) segments: Vec<String>,
    pub(super) raw_query: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Who asks, where the emulator itself acts for somebody.
    pub(super) acting: Option<String>,
}

impl Call {
    pub(super) fn new(vendor: Vendor, method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Self {
        let (path, raw_query) = target.split_once('?').unwrap_or((target, ""));
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self {
            vendor,
            method,
            path: path.to_owned(),
            segments: path.split('/').filter(|part| !part.is_empty()).map(decode).collect(),
            raw_query: raw_query.to_owned(),
            query: pairs(raw_query.as_bytes()),
            headers,
            body,
            acting: None,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A part of the query; empty is none.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(there, _)| there == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A part of the query that is a number.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.query(name).and_then(|text| text.parse().ok())
    }

    /// What comes after `Bearer` or `token`.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        known.then(|| token.trim())
    }

    /// User and password of basic authentication.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let (scheme, text) = self.header("authorization")?.split_once(' ')?;
        let text = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(text.trim()).ok())??;
        let (user, password) = String::from_utf8(text).ok()?.split_once(':').map(owned)?;
        Some((user, password))
    }

    pub(super) fn is_form(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    }

    /// The body as an object in JSON: nothing at all is an empty one, and `None` is none.
    pub(super) fn object(&self) -> Option<Map<String, Value>> {
        if self.body.is_empty() {
            return Some(Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(fields)) => Some(fields),
            _ => None,
        }
    }
}

fn owned((left, right): (&str, &str)) -> (String, String) {
    (left.to_owned(), right.to_owned())
}

/// The pairs of a query or a form.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", value.to_string())
    }

    pub(super) fn text(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: body.into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A time in whole seconds, as GitHub writes it.
pub(super) fn seconds(time: Timestamp) -> String {
    format!("{}Z", time.to_string().get(..19).unwrap_or_default())
}

/// A time in milliseconds, as Jira writes it.
pub(super) fn millis(time: Timestamp) -> String {
    format!("{}+0000", time.to_string().get(..23).unwrap_or_default())
}

/// Whole seconds since the epoch.
pub(super) fn unix(time: Timestamp) -> i64 {
    time.micros().div_euclid(1_000_000)
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(super) fn http_date(time: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = time.to_string();
    let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let day = usize::try_from(unix(time).div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let month = cut(5, 7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    format!(
        "{}, {} {} {} {} GMT",
        DAYS.get(day).unwrap_or(&"Thu"),
        cut(8, 10),
        MONTHS.get(month).unwrap_or(&"Jan"),
        cut(0, 4),
        cut(11, 19)
    )
}

/// The name of a git object: 40 digits, as git has, though of SHA-256.
pub(super) fn object_name(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut name = hex::encode(hash.finalize());
    name.truncate(40);
    name
}

/// A text of an object, unless it is missing or `null`.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// The texts of a list of an object.
pub(super) fn texts(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = fields.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An error of the core for what a vendor refused when the emulator was set up.
pub(super) fn refused(vendor: Vendor, reply: &Reply) -> agentprovision_core::Error {
    use agentprovision_core::{Error, ErrorKind};
    let kind = match reply.status {
        404 | 410 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::InvalidInput,
    };
    let words = reply.value().unwrap_or_else(|| json!(String::from_utf8_lossy(&reply.body)));
    Error::new(kind, format!("the emulated {vendor} refused it with {}: `{words}`", reply.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_each_vendor_does() {
        let time: Timestamp = "1994-11-06T08:49:37.123456Z".parse().unwrap();
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(crate::date::http_date(&http_date(time)), Some("1994-11-06T08:49:37Z".parse().unwrap()));
        assert_eq!(seconds(time), "1994-11-06T08:49:37Z");
        assert_eq!(millis(time), "1994-11-06T08:49:37.123+0000");
        assert_eq!(http_date("1969-12-31T23:59:59Z".parse().unwrap()), "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
