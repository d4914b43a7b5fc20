//! Messages of JSON-RPC, and what the versions of the protocol ask of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Map, Value, json};

use super::front::one;

/// The version that has no handshake: each request says everything.
const STATELESS: &str = "2026-07-28";
/// Versions that begin with one, the newest first.
const HANDSHAKE: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The version of whoever names none, and the only one with several messages in a body.
const FIRST: &str = "2025-03-26";

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The fields of a result.
pub(super) type Said = Map<String, Value>;

/// A message.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    /// A notification, or the answer to a request that nobody here has made.
    Other,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

impl Message {
    pub(super) fn read(message: Value) -> Result<Self, Failure> {
        let Value::Object(mut fields) = message else {
            return Err(Failure::request("a message is an object"));
        };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(Failure::request("`jsonrpc` is `2.0`"));
        }
        let method = match fields.remove("method") {
            Some(Value::String(method)) => method,
            None if fields.contains_key("result") || fields.contains_key("error") => return Ok(Self::Other),
            _ => return Err(Failure::request("`method` is a name")),
        };
        let id = match fields.remove("id") {
            None => return Ok(Self::Other),
            Some(id @ (Value::String(_) | Value::Number(_))) => id,
            Some(_) => return Err(Failure::request("`id` is a text or a number")),
        };
        let params = match fields.remove("params") {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(Failure::request("`params` is an object")),
        };
        Ok(Self::Request(Request { id, method, params }))
    }
}

impl Request {
    fn meta(&self, name: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(name)
    }

    /// A parameter that is a text.
    pub(super) fn text(&self, name: &str) -> Result<&str, Failure> {
        let text = self.params.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Failure::params(format!("`{name}` is a text")))
    }
}

/// How a request says what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Versions in which a client begins with `initialize`.
    Handshake,
    /// The version in which every request stands for itself.
    Stateless,
}

impl Era {
    /// By the headers of a request and what it says of itself, which must agree: what stands between reads headers alone.
    pub(super) fn of(headers: &HeaderMap, request: &Request) -> Result<Self, Failure> {
        if request.method == "initialize" {
            return Ok(Self::Handshake);
        }
        let said = request.meta(META_VERSION).and_then(Value::as_str);
        let version = match (headers.contains_key(&VERSION), said) {
            (false, None) => return Ok(Self::Handshake),
            (false, Some(_)) => return Err(Failure::header("`MCP-Protocol-Version` is missing")),
            (true, _) => one(headers, &VERSION).unwrap_or_default(),
        };
        if said.is_some_and(|said| said != version) {
            return Err(Failure::header("`MCP-Protocol-Version` is another than that of `_meta`"));
        }
        if HANDSHAKE.contains(&version) {
            return Ok(Self::Handshake);
        }
        if version != STATELESS {
            return Err(Failure::version(version));
        }
        for (name, there) in [
            (META_VERSION, said.is_some()),
            (META_CAPABILITIES, request.meta(META_CAPABILITIES).is_some_and(Value::is_object)),
        ] {
            if !there {
                let failure = Failure::params(format!("`_meta` has no `{name}`"));
                return Err(Failure { status: StatusCode::BAD_REQUEST, ..failure });
            }
        }
        if one(headers, &METHOD) != Some(&request.method) {
            return Err(Failure::header("`Mcp-Method` is not the method"));
        }
        let name = request.params.get("name").and_then(Value::as_str);
        if request.method == "tools/call" && one(headers, &NAME).and_then(plain).as_deref() != name {
            return Err(Failure::header("`Mcp-Name` is not the name of the tool"));
        }
        Ok(Self::Stateless)
    }
}

/// The value of a header that may be wrapped (`=?base64?…?=`).
fn plain(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        Some(wrapped) => String::from_utf8(STANDARD.decode(wrapped).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// Whether a body may have several messages.
pub(super) fn takes_batches(headers: &HeaderMap) -> bool {
    !headers.contains_key(&VERSION) || one(headers, &VERSION) == Some(FIRST)
}

/// What cannot be answered with a result.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Failure {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None }
    }

    pub(super) fn parse() -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32700, "the body is no JSON")
    }

    pub(super) fn request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32600, message)
    }

    pub(super) fn no_method(method: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, -32601, format!("there is no method `{}`", short(method)))
    }

    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, -32602, message)
    }

    pub(super) fn no_tool(name: &str) -> Self {
        Self::params(format!("there is no tool `{}`", short(name)))
    }

    /// What the platform refused or could not do.
    pub(super) fn of_error(message: &str, problem: Value) -> Self {
        Self { data: Some(problem), ..Self::new(StatusCode::OK, -32603, message) }
    }

    fn header(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32020, message)
    }

    fn version(requested: &str) -> Self {
        let data = json!({ "requested": short(requested), "supported": versions() });
        Self {
            data: Some(data),
            ..Self::new(StatusCode::BAD_REQUEST, -32022, "the version of the protocol is not spoken")
        }
    }

    /// With a handshake an error is an answer like any other.
    pub(super) fn in_era(mut self, era: Era) -> Self {
        if era == Era::Handshake {
            self.status = StatusCode::OK;
        }
        self
    }

    /// As the answer to a request.
    pub(super) fn of(&self, id: &Value) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(data), Some(fields)) = (&self.data, error.as_object_mut()) {
            fields.insert("data".to_owned(), data.clone());
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn versions() -> Vec<&'static str> {
    std::iter::once(STATELESS).chain(HANDSHAKE).collect()
}

fn about() -> Value {
    json!({ "name": "agentprovision", "title": "AgentProvision connectors", "version": env!("CARGO_PKG_VERSION") })
}

fn introduced(mut said: Value, instructions: Option<&str>) -> Said {
    if let (Some(instructions), Some(fields)) = (instructions, said.as_object_mut()) {
        fields.insert("instructions".to_owned(), instructions.into());
    }
    match said {
        Value::Object(fields) => fields,
        _ => Said::new(),
    }
}

/// The handshake: the client's version if it has one, the newest that has one else.
pub(super) fn initialize(request: &Request, instructions: Option<&str>) -> Result<Said, Failure> {
    let wanted = request.text("protocolVersion")?;
    let [newest, ..] = HANDSHAKE;
    let version = HANDSHAKE.into_iter().find(|known| *known == wanted).unwrap_or(newest);
    let said = json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": about() });
    Ok(introduced(said, instructions))
}

/// What the version without a handshake asks instead.
pub(super) fn discover(instructions: Option<&str>) -> Said {
    let said = json!({
        "supportedVersions": versions(),
        "capabilities": { "tools": {} },
        "_meta": { META_SERVER: about() },
    });
    listed(introduced(said, instructions), Era::Stateless)
}

/// A result that is whole.
pub(super) fn complete(mut said: Said, era: Era) -> Said {
    if era == Era::Stateless {
        said.insert("resultType".to_owned(), "complete".into());
    }
    said
}

/// A result that could be kept by clients, and is not: what a tenant can use changes, and is its own.
pub(super) fn listed(mut said: Said, era: Era) -> Said {
    if era == Era::Stateless {
        said.insert("ttlMs".to_owned(), 0.into());
        said.insert("cacheScope".to_owned(), "private".into());
    }
    complete(said, era)
}
