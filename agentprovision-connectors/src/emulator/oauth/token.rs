//! The endpoints of OAuth 2: consent, tokens, revocation.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Access, Code, Refresh, Refusal};
use crate::emulator::state::{Call, Outcome, Reply, Vendor, World, pairs};

/// How long a code can be redeemed (RFC 6749, section 4.1.2).
const CODE_LIFETIME: Duration = Duration::from_secs(600);

impl World {
    /// New tokens of a grant: the access token, its lifetime, and a refresh token unless `kept` stays good.
    pub(super) fn issue(
        &mut self,
        vendor: Vendor,
        grant: usize,
        kept: Option<&str>,
    ) -> (String, Duration, String) {
        let (now, access) = (self.now(), self.secret(prefixes(vendor).0));
        let fresh = self.secret(prefixes(vendor).1);
        let accounts = self.accounts(vendor);
        let (client, subject) = accounts
            .grants
            .get(grant)
            .map(|grant| (grant.client.clone(), grant.subject.clone()))
            .unwrap_or_default();
        let lifetime = accounts.lifetime(&client);
        let expires = Some(now.after(lifetime));
        accounts.tokens.insert(access.clone(), Access { subject, expires, grant: Some(grant) });
        let refresh = match kept {
            Some(kept) => kept.to_owned(),
            None => {
                accounts.refresh.insert(fresh.clone(), Refresh { grant, used: false });
                fresh
            }
        };
        (access, lifetime, refresh)
    }

    /// The answer of an OAuth endpoint, where the path is one.
    pub(in crate::emulator) fn oauth(&mut self, call: &Call) -> Option<Outcome> {
        let path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        Some(match (call.vendor, path.as_slice()) {
            (_, ["oauth", "authorize"])
            | (Vendor::Github, ["login", "oauth", "authorize"])
            | (Vendor::Jira, ["authorize"])
            | (Vendor::Slack, ["oauth", "v2", "authorize"]) => self.authorize(call),
            (_, ["oauth", "token"])
            | (Vendor::Github, ["login", "oauth", "access_token"])
            | (Vendor::Slack, ["api", "oauth.v2.access"]) => Ok(self.token(call)),
            (_, ["oauth", "revoke"]) => {
                let parameters = parameters(call);
                let token = parameters.get("token").cloned().unwrap_or_default();
                self.accounts(call.vendor).revoke(&token);
                // Unknown ones too (RFC 7009, section 2.2).
                Ok(Reply::empty(200))
            }
            _ => return None,
        })
    }

    /// The page at which somebody consents, who does so at once.
    fn authorize(&mut self, call: &Call) -> Outcome {
        let vendor = call.vendor;
        let plain = |text: &str| Reply::text(400, "text/plain", text.to_owned());
        let client = call.query("client_id").unwrap_or_default().to_owned();
        let default_subject = self.default_subject(vendor);
        let (now, code) = (self.now(), self.secret("code-"));
        let accounts = self.accounts(vendor);
        // Nobody is sent to where an app did not say that it is.
        let known = accounts.clients.get(&client).ok_or_else(|| plain("unknown client_id"))?;
        let asked = call.query("redirect_uri");
        let redirect = asked.or(known.redirects.first().map(String::as_str));
        let redirect = redirect.ok_or_else(|| plain("redirect_uri is missing"))?.to_owned();
        if !known.redirects.is_empty() && !known.redirects.contains(&redirect) {
            return Err(plain("redirect_uri is not registered"));
        }
        let back = |pairs: &[(&str, &str)]| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(pairs);
            if let Some(state) = call.query("state") {
                query.append_pair("state", state);
            }
            let mark = if redirect.contains('?') { '&' } else { '?' };
            Reply::empty(302).with("location", format!("{redirect}{mark}{}", query.finish()))
        };
        let challenge = call.query("code_challenge").map(str::to_owned);
        let s256 = call.query("code_challenge_method") == Some("S256");
        // Slack's page and GitHub's take no `response_type`.
        let typed = call.query("response_type").is_none_or(|kind| kind == "code");
        if !typed {
            return Ok(back(&[("error", "unsupported_response_type")]));
        }
        if challenge.is_some() != s256 || (challenge.is_none() && known.secret.is_none()) {
            return Ok(back(&[
                ("error", "invalid_request"),
                ("error_description", "PKCE with S256 is required"),
            ]));
        }
        if accounts.denials > 0 {
            accounts.denials -= 1;
            return Ok(back(&[("error", "access_denied")]));
        }
        let subject = accounts.consents.clone().unwrap_or(default_subject);
        let grant = accounts.grant(&client, &subject, call.query("scope").unwrap_or_default());
        let (redirect, expires) = (asked.map(str::to_owned), now.after(CODE_LIFETIME));
        let made = Code { client, redirect, challenge, grant, expires, used: false };
        accounts.codes.insert(code.clone(), made);
        Ok(back(&[("code", &code)]))
    }

    fn token(&mut self, call: &Call) -> Reply {
        let form = Form::of(call);
        let outcome = match call.method {
            http::Method::POST => self.redeem(call),
            // The one token endpoint that may be asked by GET.
            http::Method::GET if form == Form::Slack => self.redeem(call),
            _ => return Reply::empty(405).with("allow", "POST"),
        };
        let reply = match outcome {
            Ok(answer) => self.token_answer(call, form, answer),
            Err(refusal) => {
                self.accounts(call.vendor).counts.refused += 1;
                refused(call, form, &refusal)
            }
        };
        reply.with("cache-control", "no-store")
    }

    fn redeem(&mut self, call: &Call) -> std::result::Result<Issued, Refusal> {
        let vendor = call.vendor;
        let given = parameters(call);
        let get = |name: &str| given.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let client = self.client_of(call, &given)?;
        let now = self.now();
        let usual = get("code").map(|_| "authorization_code");
        match get("grant_type").or(usual) {
            Some("authorization_code") => {
                let wrong = Refusal("invalid_grant", "the code is unknown, used or expired");
                let code = get("code").ok_or(Refusal("invalid_request", "code is missing"))?;
                let accounts = self.accounts(vendor);
                let found = accounts.codes.get_mut(code).ok_or(wrong)?;
                let verified = match (&found.challenge, get("code_verifier")) {
                    (Some(challenge), Some(verifier)) => {
                        *challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
                    }
                    (None, None) => true,
                    _ => false,
                };
                if found.client != client || found.expires <= now {
                    return Err(Refusal("invalid_grant", "the code is unknown, used or expired"));
                }
                if found.used {
                    let grant = found.grant;
                    accounts.counts.reused += 1;
                    accounts.grants.get_mut(grant).into_iter().for_each(|grant| grant.revoked = true);
                    return Err(Refusal("invalid_grant", "the code was used before"));
                }
                if found.redirect.as_deref() != get("redirect_uri") {
                    return Err(Refusal("invalid_grant", "redirect_uri is not the one of the code"));
                }
                if !verified {
                    return Err(Refusal("invalid_grant", "code_verifier does not fit the challenge"));
                }
                found.used = true;
                let grant = found.grant;
                accounts.counts.authorization_codes += 1;
                Ok(Issued::of(grant, self.issue(vendor, grant, None)))
            }
            Some("refresh_token") => {
                let unknown = Refusal("invalid_grant", "unknown or invalid refresh token");
                let token =
                    get("refresh_token").ok_or(Refusal("invalid_request", "refresh_token is missing"))?;
                let accounts = self.accounts(vendor);
                let rotates = accounts.clients.get(&client).is_some_and(|client| client.rotates);
                let Some(found) = accounts.refresh.get_mut(token) else { return Err(unknown) };
                let number = found.grant;
                let Some(grant) = accounts.grants.get_mut(number).filter(|grant| grant.client == client)
                else {
                    return Err(unknown);
                };
                if found.used {
                    // Two have it, and one of them stole it: nobody keeps anything (RFC 9700, section 4.14.2).
                    grant.revoked = true;
                    accounts.counts.reused += 1;
                    return Err(Refusal("invalid_grant", "the refresh token was used before"));
                }
                if grant.revoked {
                    return Err(unknown);
                }
                found.used = rotates;
                accounts.counts.refresh_tokens += 1;
                let kept = (!rotates).then_some(token);
                Ok(Issued::of(number, self.issue(vendor, number, kept)))
            }
            Some("client_credentials") => {
                let subject = self.default_subject(vendor);
                let accounts = self.accounts(vendor);
                if accounts.clients.get(&client).is_none_or(|client| client.secret.is_none()) {
                    return Err(Refusal("unauthorized_client", "a public client has no credentials"));
                }
                let grant = accounts.grant(&client, &subject, get("scope").unwrap_or_default());
                accounts.counts.client_credentials += 1;
                let (access, lifetime, refresh) = self.issue(vendor, grant, None);
                self.accounts(vendor).refresh.remove(&refresh);
                Ok(Issued { grant, access, lifetime, refresh: None })
            }
            Some(_) => Err(Refusal("unsupported_grant_type", "the grant type is not supported")),
            None => Err(Refusal("invalid_request", "grant_type is missing")),
        }
    }

    /// The client that asks, proved by its secret.
    fn client_of(
        &mut self,
        call: &Call,
        given: &BTreeMap<String, String>,
    ) -> std::result::Result<String, Refusal> {
        let decoded = |text: &str| pairs(text.as_bytes()).into_iter().next().map(|(name, _)| name);
        let (id, secret) = match call.basic() {
            Some(_) if given.contains_key("client_secret") => {
                return Err(Refusal("invalid_request", "the client proves itself in two ways"));
            }
            Some((id, secret)) => (decoded(&id), decoded(&secret)),
            None => (given.get("client_id").cloned(), given.get("client_secret").cloned()),
        };
        let id = id.unwrap_or_default();
        match self.accounts(call.vendor).clients.get(&id) {
            Some(client) if client.secret == secret => Ok(id),
            _ => Err(Refusal("invalid_client", "client_id or client_secret is wrong")),
        }
    }

    fn token_answer(&mut self, call: &Call, form: Form, issued: Issued) -> Reply {
        let grant = self.accounts(call.vendor).grants.get(issued.grant);
        let (scope, subject) =
            grant.map(|grant| (grant.scope.clone(), grant.subject.clone())).unwrap_or_default();
        let mut body = Map::new();
        let kind = if form == Form::Slack { "bot" } else { "bearer" };
        body.insert("access_token".to_owned(), json!(issued.access));
        body.insert("token_type".to_owned(), json!(kind));
        body.insert("expires_in".to_owned(), json!(issued.lifetime.as_secs()));
        body.insert("scope".to_owned(), json!(scope));
        if let Some(refresh) = issued.refresh {
            body.insert("refresh_token".to_owned(), json!(refresh));
        }
        match form {
            Form::Standard => {}
            Form::Github => {
                body.insert("refresh_token_expires_in".to_owned(), json!(15_897_600));
                if !call.header("accept").is_some_and(|accept| accept.contains("json")) {
                    return form_reply(&body);
                }
            }
            Form::Slack => {
                let team = json!({ "id": self.slack.team_id, "name": self.slack.team_name });
                let more = json!({
                    "ok": true, "app_id": "A0000000001", "team": team, "enterprise": null,
                    "is_enterprise_install": false, "bot_user_id": subject, "authed_user": { "id": subject },
                });
                body.extend(more.as_object().cloned().unwrap_or_default());
            }
        }
        Reply::json(200, &Value::Object(body))
    }
}

/// Tokens that are about to be answered.
struct Issued {
    grant: usize,
    access: String,
    lifetime: Duration,
    refresh: Option<String>,
}

impl Issued {
    fn of(grant: usize, (access, lifetime, refresh): (String, Duration, String)) -> Self {
        Self { grant, access, lifetime, refresh: Some(refresh) }
    }
}

/// The form of a token endpoint: the standard one at `/oauth/token`, the vendor's own at its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Standard,
    Github,
    Slack,
}

impl Form {
    fn of(call: &Call) -> Self {
        match (call.vendor, call.segments.first().map(String::as_str)) {
            (Vendor::Github, Some("login")) => Self::Github,
            (Vendor::Slack, Some("api")) => Self::Slack,
            _ => Self::Standard,
        }
    }
}

fn refused(call: &Call, form: Form, Refusal(code, words): &Refusal) -> Reply {
    let refreshing = parameters(call).get("grant_type").is_some_and(|kind| kind == "refresh_token");
    match form {
        Form::Github => {
            let code = match (*code, refreshing) {
                ("invalid_client", _) => "incorrect_client_credentials",
                ("invalid_grant", true) => "bad_refresh_token",
                ("invalid_grant", false) => "bad_verification_code",
                (code, _) => code,
            };
            let body = json!({ "error": code, "error_description": words });
            match (call.header("accept").is_some_and(|accept| accept.contains("json")), body) {
                (false, Value::Object(body)) => form_reply(&body),
                (_, body) => Reply::json(200, &body),
            }
        }
        Form::Slack => {
            let code = match (*code, refreshing) {
                ("invalid_client", _) => "bad_client_secret",
                ("invalid_grant", true) => "invalid_refresh_token",
                ("invalid_grant", false) => "invalid_code",
                (_, _) => "invalid_arguments",
            };
            Reply::json(200, &json!({ "ok": false, "error": code }))
        }
        Form::Standard => {
            let body = json!({ "error": code, "error_description": words });
            match (*code, call.vendor) {
                ("invalid_client", _) => {
                    Reply::json(401, &body).with("www-authenticate", "Basic realm=\"token\"")
                }
                // Where the standard has 400.
                ("invalid_grant", Vendor::Jira) => Reply::json(403, &body),
                _ => Reply::json(400, &body),
            }
        }
    }
}

fn form_reply(body: &Map<String, Value>) -> Reply {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in body {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form.append_pair(name, &text);
    }
    Reply::text(200, "application/x-www-form-urlencoded; charset=utf-8", form.finish())
}

/// What tokens of a vendor start with.
fn prefixes(vendor: Vendor) -> (&'static str, &'static str) {
    match vendor {
        Vendor::Github => ("ghu_", "ghr_"),
        Vendor::Jira => ("atat-", "atrt-"),
        Vendor::Slack => ("xoxe.xoxb-", "xoxe-"),
    }
}

/// The parameters of a request in a form, in JSON or in the query.
fn parameters(call: &Call) -> BTreeMap<String, String> {
    if call.is_form() {
        return pairs(&call.body).into_iter().collect();
    }
    let fields = call.object().unwrap_or_default();
    let of_json = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    call.query.iter().cloned().chain(of_json).collect()
}
