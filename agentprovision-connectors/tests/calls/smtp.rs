//! Messages to a mail server, through all layers.

use std::task::Poll;
use std::time::Duration;

use agentprovision_connectors::builtin::smtp;
use agentprovision_connectors::{CallOptions, NewIntegration};
use agentprovision_core::integration::Integration;
use agentprovision_core::{Env, ErrorKind, Result, Retry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::mail_server::{Encrypts, MailServer};
use super::world::World;

async fn world_with(server: &MailServer, auth: &str, settings: Value) -> (World, Result<Integration>) {
    let world = World::of(smtp::connector().unwrap()).await;
    let mut all = json!({ "host": "127.0.0.1", "port": server.port });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let credentials = match auth {
        "none" => json!({}),
        _ => json!({ "username": "desk@example.com", "password": "canary-password" }),
    };
    let new = NewIntegration {
        name: "mail".into(),
        connector: "smtp".into(),
        auth: Some(auth.into()),
        settings: all.as_object().unwrap().clone(),
        credentials: credentials.as_object().unwrap().clone(),
    };
    let made = world.integrations.create(&world.ctx, new).await;
    (world, made)
}

/// A server that encrypts as it is asked to, and an integration with it.
async fn encrypted(encrypts: Encrypts) -> (MailServer, World, Integration) {
    let server = MailServer::start("127.0.0.1", "127.0.0.1", encrypts).await;
    let security = if encrypts == Encrypts::FromTheStart { "tls" } else { "starttls" };
    let settings = json!({ "security": security, "ca_certificates": server.certificate });
    let (world, made) = world_with(&server, "basic", settings).await;
    (server, world, made.unwrap())
}

/// The same without encryption and passwords, for what is about messages alone.
async fn plain() -> (MailServer, World, Integration) {
    let server = MailServer::start("127.0.0.1", "127.0.0.1", Encrypts::Never).await;
    let (world, made) = world_with(&server, "none", json!({ "security": "plain" })).await;
    (server, world, made.unwrap())
}

/// Carries out work: time goes on only between connections.
async fn run<T>(world: &World, server: &MailServer, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let until = async {
        loop {
            if let Poll::Ready(done) = futures_util::poll!(&mut work) {
                return done;
            }
            // The other tasks, and whatever blocks, have their turn.
            tokio::task::yield_now().await;
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
            let told = server.told.lock().unwrap();
            if told.connections > 0 && told.open == 0 {
                world.clock.advance(Duration::from_millis(50));
            }
        }
    };
    Env::default().timeout(Duration::from_secs(30), until).await.expect("the test hangs")
}

fn message() -> Value {
    json!({
        "from": { "email": "desk@example.com", "name": "The desk, Zürich" },
        "to": [{ "email": "ada@example.com" }],
        "subject": "Your ticket",
        "text": "It is done.",
    })
}

/// The lines of a header, unfolded.
fn header<'a>(message: &'a str, name: &str) -> Option<String> {
    let head: &'a str = message.split("\r\n\r\n").next().unwrap();
    let unfolded = head.replace("\r\n ", " ");
    let found = unfolded.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.map(str::to_owned)
}

#[tokio::test]
async fn a_message_goes_to_all_and_is_what_was_given() {
    for encrypts in [Encrypts::FromTheStart, Encrypts::WhenAsked] {
        let (server, world, mail) = encrypted(encrypts).await;
        let sample = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/inputs/smtp.json")).unwrap();
        let mut input = serde_json::from_slice::<Value>(&sample).unwrap()["messages.send"].take();
        input["subject"] =
            json!("Ticket №7: über alles, was länger ist als eine einzige Zeile einer Nachricht");
        input["text"] = json!("first\n.\nQUIT\n..two\nÄ");
        let sent = world.invoke(&mail, "messages.send", input).await.unwrap();
        let expected = json!({
            "message_id": "<ticket-7@example.com>", "recipients": 3, "response": "250 2.0.0 queued as 7",
        });
        assert_eq!(sent, expected);
        let commands = server.commands();
        let within: Vec<&str> = commands.iter().filter_map(|line| line.strip_prefix('*')).collect();
        let proof = STANDARD.encode("\0desk@example.com\0canary-password");
        let size = within[2].split_once("SIZE=").unwrap().1;
        assert!(size.parse::<usize>().unwrap() > 500);
        assert_eq!(
            within[..7],
            [
                "EHLO [127.0.0.1]",
                &format!("AUTH PLAIN {proof}"),
                &format!("MAIL FROM:<desk@example.com> SIZE={size}"),
                "RCPT TO:<ada@example.com>",
                "RCPT TO:<grace@example.com>",
                "RCPT TO:<archive@example.com>",
                "DATA",
            ]
        );
        // In the clear nothing but the wish for encryption was said.
        let clear: Vec<&String> = commands.iter().filter(|line| !line.starts_with('*')).collect();
        let asked = ["EHLO [127.0.0.1]", "STARTTLS"];
        assert_eq!(clear, if encrypts == Encrypts::WhenAsked { &asked[..] } else { &[] });
        let message = &server.messages()[0];
        assert!(!message.contains("archive") && message.is_ascii(), "{message}");
        for (name, value) in [
            ("Message-ID", "<ticket-7@example.com>"),
            ("From", "\"The desk\" <desk@example.com>"),
            ("To", "Ada <ada@example.com>"),
            ("Cc", "grace@example.com"),
            ("Reply-To", "answers@example.com"),
            ("In-Reply-To", "<7@example.com>"),
            ("Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
            ("MIME-Version", "1.0"),
        ] {
            assert_eq!(header(message, name).as_deref(), Some(value), "{message}");
        }
        assert!(header(message, "Subject").unwrap().starts_with("Ticket =?utf-8?b?"), "{message}");
        let kinds =
            ["multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html"];
        let mut rest = message.as_str();
        for kind in kinds.into_iter().chain(["image/png", "text/csv"]) {
            let (_, after) = rest
                .split_once(&format!("Content-Type: {kind}"))
                .unwrap_or_else(|| panic!("{kind} {message}"));
            rest = after;
        }
        assert!(
            message.contains("Content-ID: <logo>") && message.contains("filename=\"report.csv\""),
            "{message}"
        );
        assert!(message.contains("first\r\n.\r\nQUIT\r\n..two\r\n=C3=84"), "{message}");
    }
}

#[tokio::test]
async fn whoever_the_server_knows_by_another_way_is_proved_by_that() {
    let (server, world, mail) = encrypted(Encrypts::WhenAsked).await;
    server.plan.lock().unwrap().ways = "CRAM-MD5 LOGIN";
    let tested = world.integrations.test(&world.ctx, mail.id).await.unwrap();
    assert!(tested.healthy, "{tested:?}");
    let account = format!("desk@example.com on 127.0.0.1:{}", server.port);
    assert_eq!(tested.account.unwrap().id, account);
    assert!(server.commands().contains(&format!("*{}", STANDARD.encode("canary-password"))));
    let info = world.invoke(&mail, "server.check", json!({})).await.unwrap();
    let expected = json!({
        "account": account, "name": "mail.example", "encrypted": true, "authenticated": true,
        "max_message_bytes": 10000, "extensions": ["SIZE 10000", "AUTH CRAM-MD5 LOGIN"],
    });
    assert_eq!(info, expected);
    server.plan.lock().unwrap().ways = "CRAM-MD5";
    let error = world.invoke(&mail, "server.check", json!({})).await.unwrap_err();
    assert!(error.is(ErrorKind::ProviderError) && error.message().contains("AUTH PLAIN"), "{error:?}");
}

#[tokio::test]
async fn what_ends_a_line_is_in_no_field() {
    let (server, world, mail) = plain().await;
    let bad = [
        "a\r\nBcc: x@example.com",
        "a\nb",
        "a\rb",
        "a\r\n.\r\nMAIL FROM:<x@example.com>",
        "a\0b",
        "a\u{85}b",
    ];
    for bad in bad {
        let mail_bad = format!("{bad}@example.com");
        for (pointer, value) in [
            ("/subject", json!(bad)),
            ("/from/name", json!(bad)),
            ("/from/email", json!(mail_bad)),
            ("/from/email", json!(format!("desk@{bad}"))),
            ("/to/0/email", json!(mail_bad)),
            ("/cc", json!([{ "email": mail_bad }])),
            ("/bcc", json!([{ "email": mail_bad }])),
            ("/reply_to", json!([{ "email": "a@example.com", "name": bad }])),
            ("/headers", json!({ "X-One": bad })),
            ("/headers", json!({ bad: "x" })),
            ("/message_id", json!(format!("<{bad}@example.com>"))),
            ("/attachments", json!([{ "filename": bad, "content": "" }])),
            (
                "/attachments",
                json!([{ "filename": "a", "content": "", "content_type": format!("text/plain; a={bad}") }]),
            ),
            ("/attachments", json!([{ "filename": "a", "content": "", "content_id": bad }])),
        ] {
            let mut input = message();
            match input.pointer_mut(pointer) {
                Some(place) => *place = value,
                None => drop(input.as_object_mut().unwrap().insert(pointer[1..].to_owned(), value)),
            }
            let error = world.invoke(&mail, "messages.send", input).await.expect_err(pointer);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{pointer} {bad:?}: {error:?}");
        }
    }
    for (field, value) in [
        ("headers", json!({ "Bcc": "x@example.com" })),
        ("headers", json!({ "content-type": "text/html" })),
        ("headers", json!({ "a b": "x" })),
        ("headers", json!({ "": "x" })),
        ("message_id", json!("no-brackets@example.com")),
        ("message_id", json!("<a@b> <c@d>")),
        ("to", json!([{ "email": "nobody" }])),
        ("to", json!([{ "email": "a@example.com> SIZE=0" }])),
        ("to", json!([{ "email": "a@example.com", "nmae": "x" }])),
        ("to", json!([])),
        ("attachments", json!([{ "filename": "a", "content": "not base64!" }])),
        ("text", Value::Null),
        ("bcc", json!((0..100).map(|n| json!({ "email": format!("a{n}@example.com") })).collect::<Vec<_>>())),
    ] {
        let mut input = message();
        input[field] = value;
        let error = world.invoke(&mail, "messages.send", input).await.expect_err(field);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}: {error:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn every_refusal_is_the_error_it_stands_for() {
    use ErrorKind::{InvalidInput, ProviderError, RateLimited, TooLarge, Unavailable};
    for (begins, says, kind, reason) in [
        ("", "421 4.3.2 later", Unavailable, "unavailable"),
        ("", "554 5.7.1 not you", ProviderError, "forbidden"),
        ("EHLO", "500 5.5.1 what", ProviderError, "forbidden"),
        ("AUTH", "535 5.7.8 canary-password is wrong", ProviderError, "credentials"),
        ("AUTH", "454 4.7.0 later", Unavailable, "unavailable"),
        ("MAIL", "530 5.7.0 who are you", ProviderError, "credentials"),
        ("MAIL", "550 5.7.1 not as them", ProviderError, "forbidden"),
        ("MAIL", "552 5.3.4 too large", TooLarge, "too_large"),
        ("RCPT", "550 5.1.1 no such user", InvalidInput, "invalid"),
        ("RCPT", "450 4.2.1 greylisted", Unavailable, "unavailable"),
        ("RCPT", "450 4.7.28 too many", RateLimited, "rate_limited"),
        ("DATA", "451 4.3.0 later", Unavailable, "unavailable"),
        (".", "554 5.6.0 no", InvalidInput, "invalid"),
        (".", "550 5.7.1 spam", ProviderError, "forbidden"),
        (".", "452 4.3.1 full", Unavailable, "unavailable"),
    ] {
        let (server, world, mail) = encrypted(Encrypts::FromTheStart).await;
        server.plan.lock().unwrap().says = vec![(begins, says, usize::MAX)];
        let error = run(&world, &server, world.invoke(&mail, "messages.send", message())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{begins} {says}: {error:?}");
        let context =
            |name| error.context().iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(context("reason"), Some(reason), "{error:?}");
        assert!(
            error.message().contains(&says[..3]) && !format!("{error:?}").contains("canary"),
            "{error:?}"
        );
        if begins == "RCPT" {
            assert_eq!(context("recipient"), Some("ada@example.com"));
        }
        // What may go better later was tried again, and then given up; the rest was not.
        let again = server.connections() > 1;
        assert_eq!(
            again,
            [Unavailable, RateLimited].contains(&kind),
            "{begins} {says}: {}",
            server.connections()
        );
        assert_eq!(error.retry() != Retry::Never, again, "{error:?}");
        if begins != "." {
            assert!(server.messages().is_empty());
        }
    }
}

#[tokio::test]
async fn a_message_is_sent_at_most_once() {
    let (server, world, mail) = plain().await;
    let send = |key: &str| {
        let input = message().as_object().unwrap().clone();
        world.integrations.invoke(&world.ctx, mail.id, "messages.send", input, CallOptions::key(key))
    };
    // The server has it, and does not say so.
    server.plan.lock().unwrap().leaves = true;
    for _ in 0..2 {
        let error = run(&world, &server, send("one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Uncertain, "{error:?}");
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(server.messages().len(), 1);
        // Whoever began it is surely gone.
        world.clock.advance(Duration::from_secs(200));
    }
    // It says that it did not take it: it is tried again, as the same message.
    *server.plan.lock().unwrap() = Default::default();
    server.plan.lock().unwrap().says = vec![(".", "451 4.3.0 later", 1), ("RCPT", "421 4.3.2 bye", 1)];
    let sent = run(&world, &server, send("two")).await.unwrap();
    let ids: Vec<_> =
        server.messages()[1..].iter().map(|message| header(message, "Message-ID").unwrap()).collect();
    assert_eq!(ids, [sent["message_id"].as_str().unwrap(); 2]);
    assert!(ids[0].ends_with("@example.com>"), "{ids:?}");
    // Under the same key it is answered as then; under another one it is another message.
    assert_eq!(run(&world, &server, send("two")).await.unwrap(), sent);
    assert_eq!(server.messages().len(), 3);
    assert_ne!(run(&world, &server, send("three")).await.unwrap()["message_id"], sent["message_id"]);
    // A refusal for good is known too: the key is free again.
    server.plan.lock().unwrap().says = vec![(".", "554 5.6.0 no", 1)];
    assert_eq!(run(&world, &server, send("four")).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    run(&world, &server, send("four")).await.unwrap();
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_does_not_encrypt_as_it_should() {
    // It offers no encryption; it says something before the encryption that would count after it; its certificate is another's.
    let cases = [
        (Encrypts::Never, "127.0.0.1", "", "starttls", "STARTTLS"),
        (Encrypts::WhenAsked, "127.0.0.1", "250 AUTH PLAIN\r\n", "starttls", "does not speak SMTP"),
        (Encrypts::WhenAsked, "other.example", "", "starttls", "certificate"),
        (Encrypts::FromTheStart, "other.example", "", "tls", "certificate"),
        (Encrypts::Never, "127.0.0.1", "", "tls", "encrypt"),
    ];
    for (encrypts, name, injects, security, expected) in cases {
        let server = MailServer::start("127.0.0.1", name, encrypts).await;
        server.plan.lock().unwrap().injects = injects;
        let settings = json!({ "security": security, "ca_certificates": server.certificate });
        let (world, made) = world_with(&server, "basic", settings).await;
        let error =
            run(&world, &server, world.invoke(&made.unwrap(), "messages.send", message())).await.unwrap_err();
        assert!([ErrorKind::ProviderError, ErrorKind::Unavailable].contains(&error.kind()), "{error:?}");
        assert!(error.message().contains(expected), "{expected}: {error:?}");
        assert!(!server.commands().iter().any(|line| line.contains("AUTH") || line.contains("MAIL")));
    }
    // Nobody whom the system trusts has signed it.
    let server = MailServer::start("127.0.0.1", "127.0.0.1", Encrypts::FromTheStart).await;
    let (world, made) = world_with(&server, "basic", json!({ "security": "tls" })).await;
    let error =
        run(&world, &server, world.invoke(&made.unwrap(), "messages.send", message())).await.unwrap_err();
    assert!(error.message().contains("certificate"), "{error:?}");
    for (field, value) in [
        ("ca_certificates", json!("no PEM")),
        ("port", json!("25")),
        ("port", json!(0)),
        ("security", json!("ssl")),
        ("hello_name", json!("a\r\nb")),
        ("base_url", json!("https://example.com")),
        ("hots", json!("x")),
    ] {
        let (_, made) = world_with(&server, "basic", json!({ field: value })).await;
        let error = made.expect_err(field);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}: {error:?}");
    }
}
