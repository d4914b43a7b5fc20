//! A file that goes to Slack in three steps.

use agentprovision_connectors::NewIntegration;
use agentprovision_connectors::builtin::slack;
use agentprovision_core::ErrorKind;
use agentprovision_core::integration::Integration;
use serde_json::{Map, Value, json};

use super::world::World;

async fn world() -> (World, Integration) {
    let world = World::of(slack::connector().unwrap()).await;
    let new = NewIntegration {
        name: "chat".into(),
        connector: "slack".into(),
        auth: None,
        settings: Map::from_iter([("base_url".into(), format!("{}/api", world.url).into())]),
        credentials: Map::from_iter([("token".into(), "xoxb-canary".into())]),
    };
    let integration = world.integrations.create(&world.ctx, new).await.unwrap();
    (world, integration)
}

fn place(url: &str) -> Value {
    json!({ "ok": true, "upload_url": url, "file_id": "F1" })
}

#[tokio::test]
async fn bytes_go_where_slack_wants_them_and_the_token_does_not() {
    let (world, slack) = world().await;
    world.answers(200, &[], &place(&format!("{}/upload/v1/abc", world.url)));
    world.answers(200, &[], &json!("OK - 3"));
    world.answers(200, &[], &json!({ "ok": true, "files": [{ "id": "F1", "title": "Report" }] }));
    let input = json!({
        "filename": "r.bin", "content_base64": "AP8K", "title": "Report", "channel_id": "C1", "initial_comment": "see",
    });
    let uploaded = world.invoke(&slack, "files.upload", input).await.unwrap();
    assert_eq!(uploaded["files"][0]["id"], "F1");
    let seen = world.seen();
    let lines: Vec<String> = seen.iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect();
    assert_eq!(
        lines,
        [
            "GET /api/files.getUploadURLExternal?filename=r.bin&length=3",
            "POST /upload/v1/abc",
            "POST /api/files.completeUploadExternal"
        ]
    );
    let tokens: Vec<bool> = seen.iter().map(|seen| seen.headers.contains_key("authorization")).collect();
    assert_eq!((&seen[1].body[..], tokens), (&[0, 255, 10][..], vec![true, false, true]));
    assert_eq!(
        &seen[2].body[..],
        b"channel_id=C1&files=%5B%7B%22id%22%3A%22F1%22%2C%22title%22%3A%22Report%22%7D%5D&initial_comment=see"
    );
}

#[tokio::test]
async fn bytes_that_do_not_arrive_are_no_file_and_go_nowhere_else() {
    let (world, slack) = world().await;
    let input = json!({ "filename": "a.txt", "content": "a" });
    world.answers(200, &[], &place(&format!("{}/upload/v1/abc", world.url)));
    world.answers(500, &[], &json!("no"));
    let lost = world.run(world.invoke(&slack, "files.upload", input.clone())).await.unwrap_err();
    assert_eq!((lost.kind(), world.seen().len()), (ErrorKind::ProviderError, 2));
    for elsewhere in ["http://127.0.0.1.evil.example/x", "https://127.0.0.1/x", "file:///etc/passwd", "x"] {
        world.answers(200, &[], &place(elsewhere));
        let before = world.seen().len();
        let refused = world.run(world.invoke(&slack, "files.upload", input.clone())).await.unwrap_err();
        assert_eq!(
            (refused.kind(), world.seen().len()),
            (ErrorKind::ProviderError, before + 1),
            "{elsewhere}"
        );
    }
    let before = world.seen().len();
    for bad in [
        json!({ "filename": "a" }),
        json!({ "filename": "a", "content": "a", "content_base64": "YQ==" }),
        json!({ "filename": "a", "content_base64": "?" }),
    ] {
        let refused = world.run(world.invoke(&slack, "files.upload", bad)).await.unwrap_err();
        assert_eq!((refused.kind(), world.seen().len()), (ErrorKind::InvalidInput, before));
    }
}
