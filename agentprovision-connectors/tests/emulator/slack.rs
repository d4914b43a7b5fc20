//! Slack.

use agentprovision_core::ErrorKind;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Site};

impl Site {
    /// A method with arguments in JSON.
    async fn slack(&self, method: &str, token: &str, arguments: Value) -> Value {
        let url = format!("{}/{method}", self.emulator.slack_url());
        let answer: Answer = self.bearer(Method::POST, &url, token, arguments).await;
        assert_eq!(answer.status, 200, "errors of Slack have status 200");
        answer.json()
    }

    /// A method that reads, with arguments in the query.
    async fn slack_read(&self, target: &str, token: &str) -> Value {
        let url = format!("{}/{target}", self.emulator.slack_url());
        self.bearer(Method::GET, &url, token, Value::Null).await.json()
    }
}

#[tokio::test]
async fn who_asks_is_proved_in_slacks_form() {
    let site = Site::start().await;
    let token = site.emulator.slack().add_bot_token("helper");
    let url = format!("{}/auth.test", site.emulator.slack_url());
    let test = site.slack_read("auth.test", &token).await;
    assert_eq!((&test["ok"], &test["user"]), (&json!(true), &json!("helper")));
    assert!(test["bot_id"].is_string());
    assert_eq!(test["team_id"], json!(site.emulator.slack().team_id()));
    assert_eq!(site.form(&url, &[("token", &token)]).await.json()["ok"], true, "a token may be an argument");
    let none = site.send(Method::GET, &url, &[], "").await;
    assert_eq!((none.status, &none.json()["error"]), (200, &json!("not_authed")));
    assert_eq!(site.slack_read("auth.test", "wrong").await["error"], "invalid_auth");
    assert_eq!(site.slack_read("no.such", &token).await["error"], "unknown_method");
    assert_eq!(site.slack_read("auth.revoke", &token).await["revoked"], true);
    assert_eq!(site.slack_read("auth.test", &token).await["error"], "invalid_auth");
}

#[tokio::test]
async fn messages_are_posted_changed_and_deleted_by_whom_they_are_of() {
    let site = Site::start().await;
    let slack = site.emulator.slack();
    let general = slack.add_channel("general").unwrap();
    let (bot, bob) = (slack.add_bot_token("helper"), slack.add_user_token("bob"));
    let post = json!({ "channel": general, "text": "Hello" });
    let ts = site.slack("chat.postMessage", &bot, post.clone()).await["ts"].as_str().unwrap().to_owned();
    assert_eq!(site.slack("chat.postMessage", &bob, post).await["error"], "not_in_channel");
    let change = json!({ "channel": general, "ts": ts, "text": "Hello all" });
    assert_eq!(site.slack("chat.update", &bob, change.clone()).await["error"], "cant_update_message");
    assert_eq!(site.slack("chat.update", &bot, change).await["text"], "Hello all");
    let reply = json!({ "channel": "#general", "text": "Yes?", "thread_ts": ts });
    assert_eq!(site.slack("chat.postMessage", &bot, reply).await["ok"], true, "a channel may be named");
    let reaction = json!({ "channel": general, "timestamp": ts, "name": "eyes" });
    assert_eq!(site.slack("reactions.add", &bot, reaction.clone()).await["ok"], true);
    assert_eq!(site.slack("reactions.add", &bot, reaction.clone()).await["error"], "already_reacted");
    let messages = slack.messages("general").unwrap();
    assert_eq!((&messages[0]["text"], &messages[0]["reply_count"]), (&json!("Hello all"), &json!(1)));
    assert_eq!(messages[0]["reactions"][0]["count"], 1);
    assert_eq!(messages[1]["thread_ts"], json!(ts));
    assert_ne!(messages[0]["ts"], messages[1]["ts"], "though the clock stands");
    let history = site.slack_read(&format!("conversations.history?channel={general}"), &bot).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1, "answers in threads are not in the history");
    let replies = site.slack_read(&format!("conversations.replies?channel={general}&ts={ts}"), &bot).await;
    assert_eq!(replies["messages"].as_array().unwrap().len(), 2);
    assert_eq!(site.slack("reactions.remove", &bot, reaction.clone()).await["ok"], true);
    assert_eq!(site.slack("reactions.remove", &bot, reaction).await["error"], "no_reaction");
    assert_eq!(site.slack("chat.delete", &bot, json!({ "channel": general, "ts": ts })).await["ok"], true);
    slack.archive("general").unwrap();
    let post = json!({ "channel": general, "text": "Hello" });
    assert_eq!(site.slack("chat.postMessage", &bot, post).await["error"], "is_archived");
    for (wrong, error) in [
        (json!({ "text": "x" }), "channel_not_found"),
        (json!({ "channel": "C0", "text": "x" }), "channel_not_found"),
        (json!({ "channel": 1, "text": "x" }), "invalid_arguments"),
        (json!([]), "json_not_object"),
    ] {
        assert_eq!(site.slack("chat.postMessage", &bot, wrong).await["error"], error);
    }
    assert_eq!(slack.add_message("none", None, "x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn lists_go_on_by_cursors() {
    let site = Site::start().await;
    let slack = site.emulator.slack();
    let general = slack.add_channel("general").unwrap();
    let bot = slack.add_bot_token("helper");
    let sent: Vec<String> =
        (0..7).map(|at| slack.add_message("general", Some("helper"), &format!("{at}")).unwrap()).collect();
    let pages = async |target: &str, list: &str| {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = site.slack_read(&format!("{target}&cursor={cursor}"), &bot).await;
            assert_eq!(page["ok"], true, "{page}");
            found.extend(page[list].as_array().unwrap().clone());
            pages += 1;
            cursor = page["response_metadata"]["next_cursor"].as_str().unwrap_or_default().to_owned();
            if cursor.is_empty() {
                return (found, pages);
            }
        }
    };
    let (found, count) = pages(&format!("conversations.history?channel={general}&limit=3"), "messages").await;
    let times: Vec<&str> = found.iter().rev().map(|message| message["ts"].as_str().unwrap()).collect();
    assert_eq!((times, count), (sent.iter().map(String::as_str).collect(), 3), "the newest first");
    let between =
        format!("conversations.history?channel={general}&oldest={}&latest={}&limit=100", sent[1], sent[4]);
    assert_eq!(pages(&between, "messages").await.0.len(), 2);
    assert_eq!(pages(&format!("{between}&inclusive=true"), "messages").await.0.len(), 4);
    for name in ["one", "two"] {
        slack.add_channel(name).unwrap();
    }
    slack.add_private_channel("hidden", &["ada"]).unwrap();
    assert_eq!(pages("conversations.list?limit=2", "channels").await.0.len(), 3);
    let all = pages("conversations.list?types=public_channel,private_channel&limit=100", "channels").await.0;
    assert_eq!(all.len(), 3, "a private channel is there for its members alone");
    assert_eq!(pages("users.list?limit=1", "members").await.1, slack_users(&site));
    assert_eq!(site.slack_read("users.list?cursor=made-up", &bot).await["error"], "invalid_cursor");
    assert_eq!(site.slack_read("users.list?limit=-1", &bot).await["error"], "invalid_limit");
    // Methods that read take no JSON: what is asked for there is not seen.
    assert_eq!(
        site.slack("conversations.history", &bot, json!({ "channel": general })).await["error"],
        "channel_not_found"
    );
}

fn slack_users(site: &Site) -> i32 {
    i32::try_from(
        site.emulator.slack().act(None, "users.list", json!({})).unwrap()["members"]
            .as_array()
            .unwrap()
            .len(),
    )
    .unwrap()
}

#[tokio::test]
async fn channels_are_made_joined_and_found_by_their_members() {
    let site = Site::start().await;
    let slack = site.emulator.slack();
    let (bot, ada) = (slack.add_bot_token("helper"), slack.add_user_token("ada"));
    let made = site.slack("conversations.create", &bot, json!({ "name": "incident-1" })).await;
    let id = made["channel"]["id"].as_str().unwrap().to_owned();
    for (name, error) in
        [("incident-1", "name_taken"), ("Shouting", "invalid_name_specials"), ("", "invalid_name_required")]
    {
        assert_eq!(site.slack("conversations.create", &bot, json!({ "name": name })).await["error"], error);
    }
    let join = json!({ "channel": id });
    assert_eq!(site.slack("conversations.join", &ada, join.clone()).await["channel"]["is_member"], true);
    assert_eq!(site.slack("conversations.join", &ada, join).await["warning"], "already_in_channel");
    assert_eq!(slack.channels()[0]["num_members"], 2);
    let found = site.slack_read("users.lookupByEmail?email=ada@example.com", &bot).await;
    assert_eq!(found["user"]["name"], "ada");
    assert_eq!(
        site.slack_read("users.lookupByEmail?email=x@example.com", &bot).await["error"],
        "users_not_found"
    );
    assert_eq!(slack.add_channel("incident-1").unwrap_err().kind(), ErrorKind::Conflict);
}
