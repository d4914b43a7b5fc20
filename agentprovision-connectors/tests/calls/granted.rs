//! Access that is granted in a browser, as Slack and Atlassian really do it.

use std::time::Duration;

use agentprovision_connectors::auth::{Grant, Scheme};
use agentprovision_connectors::builtin::{confluence, jira, slack};
use agentprovision_connectors::emulator::{Emulator, OAuthClient, Vendor};
use agentprovision_connectors::{Authorization, Connector, IntegrationUpdate, NewIntegration};
use agentprovision_core::ErrorKind;
use agentprovision_core::integration::{Integration, IntegrationState};
use serde_json::{Value, json};

use super::world::World;

const BACK: &str = "https://host.example/back";

/// The connector, with all of the vendor's hosts at a URL.
fn at(mut connector: Connector, url: &str) -> Connector {
    let moved = |text: &str| {
        let hosts = [
            "https://slack.com",
            "https://auth.atlassian.com",
            "https://api.atlassian.com",
            "https://{site}",
        ];
        let host = hosts.iter().find(|host| text.starts_with(**host));
        host.map_or(text.to_owned(), |host| text.replacen(host, url, 1)).replace(".atlassian.net", "")
    };
    connector.base_url = moved(&connector.base_url).into();
    for auth in &mut connector.auth {
        auth.base_url = auth.base_url.as_ref().map(|url| moved(url).into());
        if let Some(learned) = &mut auth.learns {
            learned.url = moved(&learned.url).into();
        }
        if let Scheme::Tokens(grant) = &mut auth.scheme
            && let Grant::Code(oauth) = &mut **grant
        {
            oauth.token_url = moved(&oauth.token_url).into();
        }
    }
    connector
}

/// A tenant with an integration of a connector whose vendor is scripted.
struct Desk {
    vendor: World,
    world: World,
    integration: Integration,
}

impl Desk {
    async fn of(connector: Connector, auth: &str, settings: Value) -> Self {
        let (vendor, name) = (World::new().await, connector.name.to_string());
        let world = World::of(at(connector, &vendor.url)).await;
        let integration = integration(&world, name, auth, settings).await;
        Self { vendor, world, integration }
    }

    async fn authorize(&self) -> Authorization {
        self.world.integrations.authorize(&self.world.ctx, self.integration.id, BACK, None).await.unwrap()
    }

    async fn connect(&self, begun: &Authorization) -> agentprovision_core::Result<Integration> {
        let (integrations, ctx) = (&self.world.integrations, &self.world.ctx);
        self.world.run(integrations.connect(ctx, self.integration.id, &begun.state, "code-1")).await
    }

    async fn call(&self, operation: &str) -> agentprovision_core::Result<Value> {
        self.world.run(self.world.invoke(&self.integration, operation, json!({}))).await
    }

    async fn kept(&self) -> Integration {
        self.world.integrations.get(&self.world.ctx, self.integration.id).await.unwrap()
    }

    /// The requests since the last look: line, proof and body.
    fn seen(&self) -> Vec<(String, String, String)> {
        let seen = std::mem::take(&mut self.vendor.script.lock().unwrap().seen);
        seen.into_iter()
            .map(|seen| {
                let proof = seen.headers.get("authorization").map_or("", |proof| proof.to_str().unwrap());
                let body = String::from_utf8(seen.body.to_vec()).unwrap();
                (format!("{} {}", seen.method, seen.uri), proof.to_owned(), body)
            })
            .collect()
    }
}

async fn integration(world: &World, connector: String, auth: &str, settings: Value) -> Integration {
    let new = NewIntegration {
        name: "it".into(),
        connector,
        auth: Some(auth.into()),
        settings: settings.as_object().unwrap().clone(),
        credentials: json!({ "client_id": "12.34", "client_secret": "5ecret" }).as_object().unwrap().clone(),
    };
    world.integrations.create(&world.ctx, new).await.unwrap()
}

/// The query of an authorization URL, without its state.
fn asked(begun: &Authorization) -> (String, Vec<(String, String)>) {
    let url = url::Url::parse(&begun.url).unwrap();
    let pairs =
        url.query_pairs().into_owned().filter(|(name, value)| name != "state" || *value != begun.state);
    let page = format!("{}{}", url.host_str().unwrap(), url.path());
    (page, pairs.collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `12.34:5ecret`.
const CLIENT: &str = "Basic MTIuMzQ6NWVjcmV0";

#[tokio::test]
async fn slack_gives_a_bot_and_renews_it_where_tokens_end() {
    let desk = Desk::of(slack::connector().unwrap(), "oauth", json!({})).await;
    let begun = desk.authorize().await;
    let (page, query) = asked(&begun);
    assert_eq!(page, "slack.com/oauth/v2/authorize");
    let scopes = "bookmarks:read,bookmarks:write,channels:history,channels:join,channels:manage,channels:read,chat:write,\
        files:read,files:write,groups:history,groups:read,groups:write,im:history,im:read,im:write,mpim:history,\
        mpim:read,mpim:write,pins:read,pins:write,reactions:read,reactions:write,team:read,users.profile:read,\
        users:read,users:read.email";
    let expected =
        [("response_type", "code"), ("client_id", "12.34"), ("redirect_uri", BACK), ("scope", scopes)];
    assert_eq!(query, pairs(&expected));
    // A code that was used before: answered with 200, and no tokens are made of it.
    desk.vendor.answers(200, &[], &json!({ "ok": false, "error": "invalid_code" }));
    let refused = desk.connect(&begun).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ProviderError);
    assert!(refused.context().contains(&("code", "invalid_code".to_owned())), "{refused:?}");
    desk.seen();

    let begun = desk.authorize().await;
    let me = json!({
        "ok": true, "url": "https://acme.slack.com/", "team": "Acme", "user": "desk", "team_id": "T1", "user_id": "U0KRQLJ9H",
    });
    desk.vendor.answers(
        200,
        &[],
        &json!({
            "ok": true, "app_id": "A1", "authed_user": { "id": "U1" }, "scope": "chat:write,users:read", "token_type": "bot",
            "access_token": "xoxe.xoxb-1-abc", "bot_user_id": "U0KRQLJ9H", "refresh_token": "xoxe-1-abc",
            "expires_in": 43200, "team": { "id": "T1", "name": "Acme" }, "enterprise": null, "is_enterprise_install": false,
        }),
    );
    desk.vendor.answers(200, &[], &me);
    let connected = desk.connect(&begun).await.unwrap();
    let account = connected.account.unwrap();
    assert_eq!((account.id.as_str(), account.name.as_deref()), ("U0KRQLJ9H", Some("desk")));
    let seen = desk.seen();
    let code = "grant_type=authorization_code&code=code-1&redirect_uri=https%3A%2F%2Fhost.example%2Fback";
    assert_eq!(seen[0], ("POST /api/oauth.v2.access".into(), CLIENT.into(), code.into()));
    assert_eq!(seen[1].1, "Bearer xoxe.xoxb-1-abc");
    assert_eq!(seen.len(), 2);

    // Half a day later; the bot is renewed without the person.
    let renewed = |n: u8| {
        json!({
            "ok": true, "access_token": format!("xoxe.xoxb-1-{n}"), "refresh_token": format!("xoxe-1-{n}"), "expires_in": 43200,
            "token_type": "bot", "scope": "chat:write,users:read", "bot_user_id": "U0KRQLJ9H", "app_id": "A1",
            "team": { "id": "T1", "name": "Acme" }, "enterprise": null, "is_enterprise_install": false,
        })
    };
    desk.world.clock.advance(Duration::from_secs(43_200));
    desk.vendor.answers(200, &[], &renewed(2));
    desk.vendor.answers(200, &[], &me);
    desk.call("auth.test").await.unwrap();
    let seen = desk.seen();
    let refresh = "grant_type=refresh_token&refresh_token=xoxe-1-abc";
    assert_eq!(seen[0], ("POST /api/oauth.v2.access".into(), CLIENT.into(), refresh.into()));
    assert_eq!(seen[1].1, "Bearer xoxe.xoxb-1-2");

    // A token that ends before its time, which Slack says with a status of 200.
    desk.vendor.answers(200, &[], &json!({ "ok": false, "error": "token_expired" }));
    desk.vendor.answers(200, &[], &renewed(3));
    desk.vendor.answers(200, &[], &me);
    desk.call("auth.test").await.unwrap();
    let proofs: Vec<String> = desk.seen().into_iter().map(|(_, proof, _)| proof).collect();
    assert_eq!(proofs, ["Bearer xoxe.xoxb-1-2", CLIENT, "Bearer xoxe.xoxb-1-3"]);

    desk.world.clock.advance(Duration::from_secs(43_200));
    desk.vendor.answers(200, &[], &json!({ "ok": false, "error": "invalid_refresh_token" }));
    assert_eq!(desk.call("auth.test").await.unwrap_err().kind(), ErrorKind::ProviderError);
    assert_eq!(desk.kept().await.state, IntegrationState::NeedsReconnect);
}

#[tokio::test]
async fn slack_gives_tokens_of_a_person_in_another_place() {
    let desk = Desk::of(slack::connector().unwrap(), "user", json!({})).await;
    let begun = desk.authorize().await;
    let (_, query) = asked(&begun);
    let scopes = "channels:history,channels:read,groups:history,groups:read,im:history,im:read,mpim:history,mpim:read,\
        search:read,team:read,users:read";
    assert_eq!(query[3], ("user_scope".to_owned(), scopes.to_owned()));
    assert!(!query.iter().any(|(name, _)| name == "scope"), "{query:?}");
    let user = json!({
        "id": "U1", "scope": "search:read", "token_type": "user",
        "access_token": "xoxe.xoxp-1-abc", "refresh_token": "xoxe-1-abc", "expires_in": 43200,
    });
    let me = json!({ "ok": true, "user": "ada", "team": "Acme", "team_id": "T1", "user_id": "U1", "url": "https://acme.slack.com/" });
    desk.vendor.answers(
        200,
        &[],
        &json!({ "ok": true, "app_id": "A1", "authed_user": user, "team": { "id": "T1" } }),
    );
    desk.vendor.answers(200, &[], &me);
    assert_eq!(desk.connect(&begun).await.unwrap().account.unwrap().id, "U1");
    assert_eq!(desk.seen()[1].1, "Bearer xoxe.xoxp-1-abc");
    // What is renewed is at the top.
    desk.world.clock.advance(Duration::from_secs(43_200));
    let renewed = json!({
        "ok": true, "access_token": "xoxe.xoxp-1-2", "refresh_token": "xoxe-1-2", "expires_in": 43200, "token_type": "user",
        "scope": "search:read", "user_id": "U1", "app_id": "A1", "team": { "id": "T1" },
    });
    desk.vendor.answers(200, &[], &renewed);
    desk.vendor.answers(200, &[], &me);
    desk.call("auth.test").await.unwrap();
    assert_eq!(desk.seen()[1].1, "Bearer xoxe.xoxp-1-2");
    // A bot alone is nobody's token.
    let begun = desk.authorize().await;
    desk.vendor.answers(
        200,
        &[],
        &json!({ "ok": true, "access_token": "xoxb-1", "authed_user": { "id": "U1" } }),
    );
    assert_eq!(desk.connect(&begun).await.unwrap_err().kind(), ErrorKind::ProviderError);
}

fn tokens(n: u8) -> Value {
    json!({
        "access_token": format!("eyJ-access-{n}"), "refresh_token": format!("eyJ-refresh-{n}"), "token_type": "Bearer",
        "expires_in": 3600, "scope": "read:jira-work write:jira-work offline_access",
    })
}

fn site(id: &str, name: &str) -> Value {
    json!({
        "id": id, "url": format!("https://{name}.atlassian.net"), "name": name, "scopes": ["read:jira-work"],
        "avatarUrl": "https://site-admin-avatar-cdn.prod.public.atl-paas.net/avatars/240/flag.png",
    })
}

#[tokio::test]
async fn jira_learns_the_site_that_access_was_granted_to() {
    let desk = Desk::of(jira::connector().unwrap(), "oauth", json!({})).await;
    let early = desk.call("users.me").await.unwrap_err();
    assert!(early.message().contains("nobody has granted"), "{early:?}");
    assert!(desk.seen().is_empty());
    let begun = desk.authorize().await;
    let (page, query) = asked(&begun);
    assert_eq!(page, "auth.atlassian.com/authorize");
    let expected = [
        ("response_type", "code"),
        ("client_id", "12.34"),
        ("redirect_uri", BACK),
        ("scope", "read:jira-work write:jira-work read:jira-user manage:jira-webhook offline_access"),
        ("audience", "api.atlassian.com"),
        ("prompt", "consent"),
    ];
    assert_eq!(query, pairs(&expected));

    // Two sites, and nobody has said which.
    desk.vendor.answers(200, &[], &tokens(1));
    desk.vendor.answers(200, &[], &json!([site("c-1", "one"), site("c-2", "two"), site("c-2", "two")]));
    let which = desk.connect(&begun).await.unwrap_err();
    assert_eq!(which.kind(), ErrorKind::InvalidInput);
    assert!(which.message().contains("https://one.atlassian.net, https://two.atlassian.net"), "{which}");
    let update = IntegrationUpdate {
        settings: Some(json!({ "site": "two" }).as_object().unwrap().clone()),
        ..IntegrationUpdate::default()
    };
    desk.world.integrations.update(&desk.world.ctx, desk.integration.id, update).await.unwrap();
    desk.seen();

    let begun = desk.authorize().await;
    desk.vendor.answers(200, &[], &tokens(1));
    desk.vendor.answers(200, &[], &json!([site("c-1", "one"), site("c-2", "two"), site("c-2", "two")]));
    let me = json!({ "accountId": "5b10", "displayName": "Ada", "active": true, "accountType": "atlassian" });
    desk.vendor.answers(200, &[], &me);
    let connected = desk.connect(&begun).await.unwrap();
    assert_eq!((connected.account.unwrap().id.as_str(), connected.state), ("5b10", IntegrationState::Active));
    assert_eq!(Value::Object(connected.settings), json!({ "site": "two", "cloud_id": "c-2" }));
    let seen = desk.seen();
    let sent: Value = serde_json::from_str(&seen[0].2).unwrap();
    let expected = json!({
        "grant_type": "authorization_code", "code": "code-1", "redirect_uri": BACK,
        "client_id": "12.34", "client_secret": "5ecret",
    });
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str(), sent), ("POST /oauth/token", "", expected));
    let proof = "Bearer eyJ-access-1".to_owned();
    assert_eq!(seen[1], ("GET /oauth/token/accessible-resources".into(), proof.clone(), String::new()));
    assert_eq!(seen[2], ("GET /ex/jira/c-2/rest/api/3/myself".into(), proof, String::new()));

    // Other settings about the same site leave what was learned.
    let update = IntegrationUpdate {
        settings: Some(json!({ "site": "two" }).as_object().unwrap().clone()),
        ..IntegrationUpdate::default()
    };
    let kept = desk.world.integrations.update(&desk.world.ctx, desk.integration.id, update).await.unwrap();
    assert_eq!(kept.settings["cloud_id"], "c-2");

    desk.world.clock.advance(Duration::from_secs(3600));
    desk.vendor.answers(200, &[], &tokens(2));
    desk.vendor.answers(200, &[], &me);
    desk.call("users.me").await.unwrap();
    let seen = desk.seen();
    let sent: Value = serde_json::from_str(&seen[0].2).unwrap();
    let expected = json!({
        "grant_type": "refresh_token", "refresh_token": "eyJ-refresh-1", "client_id": "12.34", "client_secret": "5ecret",
    });
    assert_eq!((seen[0].0.as_str(), sent), ("POST /oauth/token", expected));
    assert_eq!(seen[1].1, "Bearer eyJ-access-2");

    // Atlassian's words for a token that was used before.
    desk.world.clock.advance(Duration::from_secs(3600));
    let spent = json!({ "error": "unauthorized_client", "error_description": "refresh_token is invalid" });
    desk.vendor.answers(403, &[], &spent);
    desk.call("users.me").await.unwrap_err();
    assert_eq!(desk.kept().await.state, IntegrationState::NeedsReconnect);
    assert_eq!(desk.seen().len(), 1);

    // Another site is another place, which is learned anew.
    let update = IntegrationUpdate {
        settings: Some(json!({ "site": "one" }).as_object().unwrap().clone()),
        ..IntegrationUpdate::default()
    };
    let moved = desk.world.integrations.update(&desk.world.ctx, desk.integration.id, update).await.unwrap();
    assert_eq!(Value::Object(moved.settings), json!({ "site": "one" }));
}

#[tokio::test]
async fn confluence_is_behind_the_same_gateway() {
    let desk = Desk::of(confluence::connector().unwrap(), "oauth", json!({ "cloud_id": "c-9" })).await;
    let begun = desk.authorize().await;
    let (_, query) = asked(&begun);
    assert!(
        query[3].1.starts_with("read:space:confluence ") && query[3].1.ends_with(" offline_access"),
        "{query:?}"
    );
    desk.vendor.answers(200, &[], &tokens(1));
    let me =
        json!({ "type": "known", "accountId": "5b10", "displayName": "Ada", "email": "ada@example.com" });
    desk.vendor.answers(200, &[], &me);
    assert_eq!(desk.connect(&begun).await.unwrap().account.unwrap().name.as_deref(), Some("Ada"));
    // The id was said, so nobody is asked for it.
    let lines: Vec<String> = desk.seen().into_iter().map(|(line, ..)| line).collect();
    assert_eq!(lines, ["POST /oauth/token", "GET /ex/confluence/c-9/wiki/rest/api/user/current"]);
}

#[test]
fn what_is_asked_for_is_what_operations_need() {
    for (connector, ways, beside) in [
        (slack::connector().unwrap(), &["oauth", "user"][..], &[][..]),
        (jira::connector().unwrap(), &["oauth"], &["offline_access"]),
        (confluence::connector().unwrap(), &["oauth"], &["offline_access"]),
    ] {
        let asked = |way: &str| match connector.auth(Some(way)).unwrap().grant() {
            Some(Grant::Code(oauth)) => oauth.scopes.clone(),
            other => panic!("{other:?}"),
        };
        let asked: Vec<_> = ways.iter().flat_map(|way| asked(way)).collect();
        let needed: Vec<_> = connector.operations().flat_map(|spec| spec.scopes.clone()).collect();
        for scope in &needed {
            assert!(asked.contains(scope), "{}: nobody asks for {scope}", connector.name);
        }
        for scope in asked.iter().filter(|scope| !beside.contains(&&***scope)) {
            assert!(needed.contains(scope), "{}: nothing needs {scope}", connector.name);
        }
    }
}

#[tokio::test]
async fn jiras_whole_way_against_the_emulator() {
    // Everything stands on the emulator's own clock, and only there.
    let env = agentprovision_core::Env::default();
    let emulator = Emulator::start(env).await.unwrap();
    emulator.jira().add_account("ada@example.com");
    emulator.oauth(Vendor::Jira).add_client(OAuthClient::new("12.34", "5ecret").redirect(BACK));
    emulator.oauth(Vendor::Jira).consent("ada@example.com");
    let world = World::of(at(jira::connector().unwrap(), &emulator.jira_url())).await;
    let jira = integration(&world, "jira".into(), "oauth", json!({})).await;
    let begun = world.integrations.authorize(&world.ctx, jira.id, BACK, None).await.unwrap();
    let page = begun.url.replacen("https://auth.atlassian.com", &emulator.jira_url(), 1);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let back = client.get(page).send().await.unwrap();
    let back: url::Url = back.headers()["location"].to_str().unwrap().parse().unwrap();
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let connected =
        world.run(world.integrations.connect(&world.ctx, jira.id, &begun.state, &code)).await.unwrap();
    assert_eq!(connected.settings["cloud_id"], emulator.jira().cloud_id());
    assert_eq!(connected.account.unwrap().name.as_deref(), Some("Ada"));
    world.clock.advance(Duration::from_secs(3600));
    let me = world.run(world.invoke(&jira, "users.me", json!({}))).await.unwrap();
    assert_eq!(me["displayName"], "Ada");
    let redeemed = emulator.oauth(Vendor::Jira).redemptions();
    assert_eq!((redeemed.authorization_codes, redeemed.refresh_tokens, redeemed.refused), (1, 1, 0));
}
