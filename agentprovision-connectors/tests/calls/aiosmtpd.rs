//! Messages to a mail server and a reader of messages that others have written: aiosmtpd and Python's `email`.

use std::process::Stdio;

use agentprovision_connectors::NewIntegration;
use agentprovision_connectors::builtin::smtp;
use agentprovision_core::ErrorKind;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::world::World;

/// Names an interpreter that has aiosmtpd; `cargo xtask test mail` makes one.
const PYTHON: &str = "AGENTPROVISION_TEST_AIOSMTPD";

#[tokio::test]
#[ignore = "needs aiosmtpd: `cargo xtask test mail`"]
async fn another_server_takes_a_message_and_another_reader_reads_what_was_given() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/sink.pem");
    std::fs::write(file, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let mut sink = Command::new(std::env::var_os(PYTHON).expect(PYTHON))
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail/sink.py"), file])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(sink.stdout.take().unwrap()).lines();
    let port: u16 = said.next_line().await.unwrap().unwrap().parse().unwrap();
    let world = World::of(smtp::connector().unwrap()).await;
    let settings = json!({ "host": "127.0.0.1", "port": port, "ca_certificates": made.cert.pem() });
    let new = |name: &str, password: &str| NewIntegration {
        name: name.into(),
        connector: "smtp".into(),
        auth: None,
        settings: settings.as_object().unwrap().clone(),
        credentials: json!({ "username": "desk@example.com", "password": password })
            .as_object()
            .unwrap()
            .clone(),
    };
    let mail = world.integrations.create(&world.ctx, new("mail", "canary-password")).await.unwrap();
    let tested = world.integrations.test(&world.ctx, mail.id).await.unwrap();
    assert!(tested.healthy, "{tested:?}");
    let sample = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/inputs/smtp.json")).unwrap();
    let mut input = serde_json::from_slice::<Value>(&sample).unwrap()["messages.send"].take();
    let subject =
        "№7: über alles, was länger ist als eine einzige Zeile einer Nachricht je sein kann, 日本語 📧";
    let text = "first\n.\n.two\nFrom me\nÄ é 日本 ".to_owned() + &"long ".repeat(300);
    input["subject"] = json!(subject);
    input["text"] = json!(text);
    input["from"]["name"] = json!("Ærøskøbing \"desk\", Ltd.");
    input["attachments"][0]["filename"] = json!("Übersicht 2026.csv");
    world.invoke(&mail, "messages.send", input.clone()).await.unwrap();
    let read: Value = serde_json::from_str(&said.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(read["defects"], json!([]));
    assert_eq!(read["from"], "desk@example.com");
    assert_eq!(read["to"], json!(["ada@example.com", "grace@example.com", "archive@example.com"]));
    let headers = &read["headers"];
    assert_eq!(
        (&headers["Subject"], &headers["Message-ID"]),
        (&json!(subject), &json!("<ticket-7@example.com>"))
    );
    assert_eq!(headers["From"], "\"Ærøskøbing \\\"desk\\\", Ltd.\" <desk@example.com>");
    assert_eq!(headers.get("Bcc"), None);
    let parts = json!([
        ["text/plain", null, text],
        ["text/html", null, input["html"]],
        ["image/png", "logo.png", "89504e47"],
        ["text/csv", "Übersicht 2026.csv", "a,b\n"],
    ]);
    let newline = |value: &Value| value.to_string().replace("\\r\\n", "\\n").replace("\\n\"", "\"");
    assert_eq!(newline(&read["parts"]), newline(&parts));
    let wrong = world.integrations.create(&world.ctx, new("wrong", "canary-wrong")).await.unwrap();
    let error = world.invoke(&wrong, "messages.send", input).await.unwrap_err();
    assert!(error.is(ErrorKind::ProviderError) && !format!("{error:?}").contains("canary"), "{error:?}");
    sink.kill().await.unwrap();
}
