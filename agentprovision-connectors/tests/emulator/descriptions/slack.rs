//! Slack.

use agentprovision_connectors::emulator::{OAuthClient, Vendor};
use serde_json::json;

use super::{Contradiction, Description, Driver, Repair, contradiction, folder};
use crate::support::Site;

const CONTRADICTIONS: &[Contradiction] = &[
    contradiction(
        "/conversations.history",
        "/response_metadata",
        Repair::Leave,
        "the description is of 2021; pages are by `response_metadata.next_cursor` since",
    ),
    contradiction(
        "*",
        "/messages/*/edited",
        Repair::Leave,
        "messages that were changed have it, as documented",
    ),
    contradiction(
        "/conversations.replies",
        "/messages/*/bot_id",
        Repair::Leave,
        "messages of bots have it here as in the history",
    ),
    contradiction(
        "/conversations.replies",
        "/messages/*/reactions",
        Repair::Leave,
        "messages that were reacted to have it here as in the history",
    ),
];

#[tokio::test]
async fn slack_answers_as_its_description_says() {
    let Some(folder) = folder() else { return };
    let site = Site::start().await;
    let slack = site.emulator.slack();
    let user = slack.add_user("ada");
    let channel = slack.add_channel("general").unwrap();
    let token = slack.add_bot_token("helper");
    let description = Description::load(&folder, "slack", CONTRADICTIONS);
    let authorization = format!("Bearer {token}");
    let mut to = Driver { site: &site, base: site.emulator.slack_url(), authorization, description };
    for path in ["/auth.test", "/team.info", "/conversations.list", "/users.list?cursor=wrong", "/users.list"]
    {
        to.get(path).await;
    }
    to.get(&format!("/users.info?user={user}")).await;
    to.get("/users.info?user=U00000").await;
    to.get("/users.lookupByEmail?email=ada@example.com").await;
    to.get("/users.lookupByEmail?email=nobody@example.com").await;
    to.get("/users.conversations").await;
    to.post("/conversations.create", json!({ "name": "incident-1" })).await;
    to.post("/conversations.create", json!({ "name": "incident-1" })).await;
    let private = slack.add_channel("other").unwrap();
    to.post("/conversations.join", json!({ "channel": private })).await;
    to.post("/conversations.join", json!({ "channel": private })).await;
    to.post("/conversations.invite", json!({ "channel": private, "users": user })).await;
    to.get(&format!("/conversations.info?channel={channel}")).await;
    to.get("/conversations.info?channel=C000000000").await;
    to.get(&format!("/conversations.members?channel={channel}")).await;
    let message = json!({ "channel": channel, "text": "Hello" });
    let ts = to.post("/chat.postMessage", message).await["ts"].as_str().unwrap().to_owned();
    let blocks = json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "*Hello*" } }]);
    to.post(
        "/chat.postMessage",
        json!({ "channel": channel, "blocks": blocks.to_string(), "text": "Hello" }),
    )
    .await;
    to.post("/chat.postMessage", json!({ "channel": channel, "text": "Again", "thread_ts": ts })).await;
    to.post("/chat.postMessage", json!({ "channel": channel })).await;
    to.post("/chat.postMessage", json!({ "channel": "C000000000", "text": "Hello" })).await;
    to.post("/chat.update", json!({ "channel": channel, "ts": ts, "text": "Hello there" })).await;
    to.post("/chat.update", json!({ "channel": channel, "ts": "1.000000", "text": "Hello" })).await;
    to.post("/reactions.add", json!({ "channel": channel, "timestamp": ts, "name": "eyes" })).await;
    to.post("/reactions.add", json!({ "channel": channel, "timestamp": ts, "name": "eyes" })).await;
    to.get(&format!("/conversations.history?channel={channel}&limit=1")).await;
    to.get(&format!("/conversations.history?channel={channel}")).await;
    to.get("/conversations.history?channel=C000000000").await;
    to.get(&format!("/conversations.replies?channel={channel}&ts={ts}")).await;
    to.get(&format!("/conversations.replies?channel={channel}&ts=1.000000")).await;
    to.get(&format!("/chat.getPermalink?channel={channel}&message_ts={ts}")).await;
    to.post("/reactions.remove", json!({ "channel": channel, "timestamp": ts, "name": "eyes" })).await;
    to.post("/reactions.remove", json!({ "channel": channel, "timestamp": ts, "name": "eyes" })).await;
    to.post("/chat.delete", json!({ "channel": channel, "ts": ts })).await;
    to.post("/chat.delete", json!({ "channel": channel, "ts": ts })).await;
    site.emulator.oauth(Vendor::Slack).add_client(OAuthClient::new("app", "secret"));
    to.get("/oauth.v2.access?client_id=app&client_secret=wrong&code=x").await;
    to.authorization = "Bearer wrong".to_owned();
    to.get("/auth.test").await;
    to.finish(DRIVEN, UNDESCRIBED);
}

/// Operations that are described and answered.
const DRIVEN: &[&str] = &[
    "GET /auth.test",
    "GET /chat.getPermalink",
    "GET /conversations.history",
    "GET /conversations.info",
    "GET /conversations.list",
    "GET /conversations.members",
    "GET /conversations.replies",
    "GET /team.info",
    "GET /users.conversations",
    "GET /users.info",
    "GET /users.list",
    "GET /users.lookupByEmail",
    "POST /chat.delete",
    "POST /chat.postMessage",
    "POST /chat.update",
    "POST /conversations.create",
    "POST /conversations.invite",
    "POST /conversations.join",
    "POST /reactions.add",
    "POST /reactions.remove",
];

/// Operations that the emulator answers and no description of this vendor's has.
const UNDESCRIBED: &[&str] = &[];
