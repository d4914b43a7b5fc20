//! Who asks, what they may see, which handler answers, and how lists are cut into pages.

use http::Method;
use serde_json::{Map, Value, json};

use crate::emulator::answers::primary_limit;
use crate::emulator::state::{Call, Outcome, Reply, World, object_name, unix};

const ABOUT: &str = "https://docs.github.com/rest";
/// A page of a list, and the longest one.
const PAGE: usize = 30;
const LONGEST_PAGE: usize = 100;

/// An error as GitHub writes one.
pub(super) fn error(status: u16, message: &str) -> Reply {
    let body = json!({ "message": message, "documentation_url": ABOUT, "status": status.to_string() });
    Reply::json(status, &body)
}

pub(super) fn not_found() -> Reply {
    error(404, "Not Found")
}

/// A rule of a field that is broken: `missing_field`, `invalid`, `already_exists`.
pub(super) fn invalid(resource: &str, field: &str, code: &str) -> Reply {
    let errors = json!([{ "resource": resource, "code": code, "field": field }]);
    let message = "Validation Failed";
    Reply::json(
        422,
        &json!({ "message": message, "errors": errors, "documentation_url": ABOUT, "status": "422" }),
    )
}

/// A rule of a resource that is broken, in words.
pub(super) fn custom(resource: &str, words: &str) -> Reply {
    let errors = json!([{ "resource": resource, "code": "custom", "message": words }]);
    let message = "Validation Failed";
    Reply::json(
        422,
        &json!({ "message": message, "errors": errors, "documentation_url": ABOUT, "status": "422" }),
    )
}

/// A rule that is broken, in words alone.
pub(super) fn invalid_because(words: &str) -> Reply {
    let errors = json!([words]);
    let message = format!("Validation Failed: {words}");
    Reply::json(
        422,
        &json!({ "message": message, "errors": errors, "documentation_url": ABOUT, "status": "422" }),
    )
}

fn wrong_type(field: &str, value: &Value, kind: &str) -> Reply {
    let words = format!("Invalid request.\n\nFor 'properties/{field}', {value} is not {kind}.");
    Reply::json(422, &json!({ "message": words, "documentation_url": ABOUT, "status": "422" }))
}

/// The fields of a body, whose types are checked as they are read.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    pub(super) fn of(call: &Call) -> Result<Self, Reply> {
        call.object().map(Self).ok_or_else(|| error(400, "Problems parsing JSON"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Reply> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, other, "a string")),
        }
    }

    /// A text that has to be there and to say something.
    pub(super) fn required(&self, resource: &str, name: &str) -> Result<&str, Reply> {
        let found = self.text(name)?.filter(|text| !text.trim().is_empty());
        found.ok_or_else(|| invalid(resource, name, "missing_field"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Reply> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(name, other, "a boolean")),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Reply> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(other) => Err(wrong_type(name, other, "an object")),
        }
    }

    /// A list of texts, or of objects that have a `name`.
    pub(super) fn names(&self, name: &str) -> Result<Option<Vec<String>>, Reply> {
        let items = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong_type(name, other, "an array")),
        };
        let text = |item: &Value| {
            let text = item.as_str().or_else(|| item.get("name")?.as_str());
            text.map(str::to_owned).ok_or_else(|| wrong_type(name, item, "a string"))
        };
        items.iter().map(text).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

/// Which page of a list is asked for: the items before it, and how many it has at most.
fn page(call: &Call) -> (usize, usize, usize) {
    let size = call.number("per_page").filter(|size| *size > 0).unwrap_or(PAGE).min(LONGEST_PAGE);
    let page = call.number("page").filter(|page| *page > 0).unwrap_or(1);
    (page, (page - 1).saturating_mul(size), size)
}

/// The part of a list that is asked for, with links to the others.
pub(super) fn paged(world: &World, call: &Call, items: Vec<Value>) -> Reply {
    let total = items.len();
    let (_, skip, size) = page(call);
    let items: Vec<Value> = items.into_iter().skip(skip).take(size).collect();
    linked(world, call, total, Reply::json(200, &Value::Array(items)))
}

/// The same of a list that is a field of the answer.
pub(super) fn paged_in(world: &World, call: &Call, field: &str, items: Vec<Value>, more: Value) -> Reply {
    let total = items.len();
    let (_, skip, size) = page(call);
    let items: Vec<Value> = items.into_iter().skip(skip).take(size).collect();
    let mut body = json!({ "total_count": total });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
        body.insert(field.to_owned(), Value::Array(items));
    }
    linked(world, call, total, Reply::json(200, &body))
}

fn linked(world: &World, call: &Call, total: usize, reply: Reply) -> Reply {
    let (page, _, size) = page(call);
    let last = total.div_ceil(size).max(1);
    let link = |page: usize, relation: &str| {
        let others: Vec<_> = call.query.iter().filter(|(name, _)| name != "page").collect();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("page", &page.to_string())
            .finish();
        format!("<{}{}?{query}>; rel=\"{relation}\"", world.base(call.vendor), call.path)
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(link(page - 1, "prev"));
    }
    if page < last {
        links.extend([link(page + 1, "next"), link(last, "last")]);
    }
    if page > 1 {
        links.push(link(1, "first"));
    }
    if links.is_empty() { reply } else { reply.with("link", links.join(", ")) }
}

impl World {
    /// The answer of GitHub.
    pub(in crate::emulator) fn github_reply(&mut self, call: &Call) -> Outcome {
        if let ["_emulator", "logs", id] =
            call.segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
        {
            return self.log_text(id);
        }
        let who = match self.proved(call) {
            Ok(who) => who,
            Err(None) => return Err(error(401, "Requires authentication")),
            Err(Some(_)) => return Err(error(401, "Bad credentials")),
        };
        let path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        // Asking how much is left costs nothing, and neither does what the emulator itself does.
        let price = u64::from(call.acting.is_none() && path != ["rate_limit"]);
        let now = unix(self.now());
        let limit = self.github.budget.limit;
        let (there, used, reset) = self.github.budget.spend(&who, now, price);
        if !there {
            return Err(primary_limit(limit, reset));
        }
        let reply = self.github_route(call, &who, &path).unwrap_or_else(|refusal| refusal);
        let reply = reply
            .with("x-github-request-id", object_name(&[&used.to_be_bytes()]).to_uppercase())
            .with("x-ratelimit-limit", limit.to_string())
            .with("x-ratelimit-remaining", limit.saturating_sub(used).to_string())
            .with("x-ratelimit-used", used.to_string())
            .with("x-ratelimit-reset", reset.to_string())
            .with("x-ratelimit-resource", "core");
        Ok(conditional(call, reply))
    }

    fn github_route(&mut self, call: &Call, who: &str, path: &[&str]) -> Outcome {
        let (get, post) = (call.method == Method::GET, call.method == Method::POST);
        match path {
            ["user"] if get => self.own_account(who),
            ["user", "repos"] if get => self.own_repositories(call, who),
            ["users", login] if get => self.account_of(login),
            ["users" | "orgs", login, "repos"] if get => self.repositories_of(call, who, login),
            ["rate_limit"] if get => self.rate_limit(who),
            ["search", "issues"] if get => self.search_issues(call, who),
            ["repos", owner, name, rest @ ..] => {
                let full_name = format!("{owner}/{name}");
                let seen = self.repository(&full_name).filter(|repository| repository.sees(who));
                let full_name = seen.ok_or_else(not_found)?.full_name();
                match rest {
                    [] if get => self.one_repository(&full_name),
                    ["hooks", rest @ ..] => self.hooks(call, who, &full_name, rest),
                    ["issues", rest @ ..] => self.issues(call, who, &full_name, rest),
                    ["labels", rest @ ..] => self.labels(call, &full_name, rest),
                    ["pulls", rest @ ..] => self.pulls(call, who, &full_name, rest),
                    ["actions", rest @ ..] => self.actions(call, who, &full_name, rest),
                    ["check-runs", rest @ ..] => self.check_runs(call, who, &full_name, rest),
                    ["statuses", sha] if post => self.add_status(call, who, &full_name, sha),
                    ["commits", reference, "status" | "statuses" | "check-runs"] if get => {
                        let kind = rest.last().copied().unwrap_or_default();
                        self.checks_of(call, &full_name, reference, kind)
                    }
                    ["releases", rest @ ..] => self.releases(call, who, &full_name, rest),
                    rest => self.contents(call, who, &full_name, rest),
                }
            }
            _ => Err(not_found()),
        }
    }
}

/// Answers that somebody has already are not sent again (RFC 9110, section 13.1.2).
fn conditional(call: &Call, reply: Reply) -> Reply {
    if call.method != Method::GET || reply.status != 200 {
        return reply;
    }
    let etag = format!("\"{}\"", object_name(&[&reply.body]));
    let known = call.header("if-none-match").is_some_and(|known| known.trim_start_matches("W/") == etag);
    let reply = reply.with("etag", etag);
    match known {
        true => Reply { status: 304, body: Vec::new(), ..reply },
        false => reply,
    }
}
