//! What Jira and Confluence have in common: how requests prove who asks, and how refusals are worded.
//!
//! Access that is granted in a browser (<https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/>) is to a site that
//! is called by its id and through a gateway. The token endpoint takes JSON and knows no PKCE; without the scope
//! `offline_access` there is nothing to renew tokens with, and each refresh token is good for one use.

use agentprovision_core::Timestamp;
use serde_json::Value;

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::{Auth, Field, Grant, Learned, OAuth2};
use crate::connector::ConnectorBuilder;

/// By e-mail address and API token (<https://developer.atlassian.com/cloud/jira/platform/basic-auth-for-rest-apis/>).
pub(super) fn api_token() -> Auth {
    let token =
        "An API token of the account, from https://id.atlassian.com/manage-profile/security/api-tokens.";
    Auth::basic("E-mail address and API token")
        .fields(vec![Field::new("username", "The account's e-mail address."), Field::new("password", token)])
}

/// Granted in a browser, to operations below a path of the gateway.
pub(super) fn account<const N: usize>(gateway: &'static str, scopes: [&'static str; N]) -> Auth {
    let oauth = OAuth2::new("https://auth.atlassian.com/authorize", "https://auth.atlassian.com/oauth/token")
        .scopes(scopes)
        .authorize_param("audience", "api.atlassian.com")
        .authorize_param("prompt", "consent")
        .without_pkce()
        .json();
    Auth::tokens("oauth", "Atlassian account", Grant::Code(oauth)).base_url(gateway).learns(Learned::new(
        "cloud_id",
        "https://api.atlassian.com/oauth/token/accessible-resources",
        "/id",
        "/url",
        "https://{site}.atlassian.net",
    ))
}

/// The settings that say which site it is.
pub(super) fn site(connector: ConnectorBuilder) -> ConnectorBuilder {
    let id = "The site's id, of access that is granted in a browser; learned then. Where access is granted to several sites, \
        `site` says which one is meant.";
    connector
        .setting("site", "The first part of the site's address: `example` of `example.atlassian.net`.")
        .setting("cloud_id", id)
}

/// What a refusal means, with all its words.
pub(super) fn classify(response: &Response, _: Timestamp) -> Option<Failure> {
    if response.status.is_success() {
        return None;
    }
    let login = response.header("x-seraph-loginreason").unwrap_or_default();
    let category = match usual(response.status) {
        // With credentials that do not hold a request is nobody's, to whom most things do not exist.
        Category::NotFound | Category::Forbidden | Category::Credentials
            if login.contains("AUTHENTICATED_FAILED") || login.contains("AUTHENTICATION_DENIED") =>
        {
            Category::Credentials
        }
        usual => usual,
    };
    let mut words = response.json().map(|body| words(&body)).unwrap_or_default();
    // Which of the limits it is, as `jira-burst-based`.
    words.extend(response.header("ratelimit-reason").map(|reason| format!("the limit is {reason}")));
    let failure = Failure::new(category);
    Some(if words.is_empty() { failure } else { failure.message(words.join("; ")) })
}

/// Everything that a refusal says: Jira has `errorMessages` and, by field, `errors`; Confluence has a list of `errors`, or a
/// `message`.
fn words(body: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let list = |name: &str| body.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut words: Vec<String> = list("errorMessages").filter_map(text).collect();
    if let Some(Value::Object(fields)) = body.get("errors") {
        words.extend(fields.iter().filter_map(|(field, said)| Some(format!("`{field}`: {}", text(said)?))));
    }
    words.extend(list("errors").filter_map(|error| {
        let part = |name: &str| error.get(name).and_then(text);
        match (part("title").or_else(|| part("message")), part("detail")) {
            (Some(title), Some(detail)) => Some(format!("{title} ({detail})")),
            (one, other) => one.or(other),
        }
    }));
    if words.is_empty() {
        words.extend(["message", "errorMessage"].into_iter().find_map(|name| text(body.get(name)?)));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_is_said_comes_along() {
        let body = json!({
            "errorMessages": ["Field 'x' does not exist.", ""],
            "errors": { "summary": "You must specify a summary of the issue.", "priority": "Invalid" },
        });
        let expected = [
            "Field 'x' does not exist.",
            "`priority`: Invalid",
            "`summary`: You must specify a summary of the issue.",
        ];
        assert_eq!(words(&body), expected);
        let body = json!({ "errors": [
            { "status": 400, "code": "INVALID_REQUEST_PARAMETER", "title": "Bad id", "detail": "it is no number" },
            { "status": 404, "code": "NOT_FOUND", "title": "Not Found", "detail": null },
        ]});
        assert_eq!(words(&body), ["Bad id (it is no number)", "Not Found"]);
        let body = json!({ "statusCode": 400, "data": {}, "message": "Could not parse cql" });
        assert_eq!(words(&body), ["Could not parse cql"]);
        assert!(words(&json!(["?"])).is_empty());
    }
}
