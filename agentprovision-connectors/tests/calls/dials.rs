//! Hosts of connectors that speak another protocol than HTTP, held against every form of an address that leads inside.

use agentprovision_connectors::builtin::{postgres, smtp};
use agentprovision_connectors::{Connector, NewIntegration};
use agentprovision_core::http::egress::EgressPolicy;
use agentprovision_core::integration::Integration;
use agentprovision_core::testing::forbidden_urls;
use agentprovision_core::{Env, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::egress::{Names, OPEN, Tenant, host, object};
use super::mail_server::{Encrypts, MailServer};

/// Connectors that speak another protocol than HTTP: their settings but the host, what they call, and their ports.
fn speakers() -> Vec<(Connector, Value, &'static str, &'static [u16])> {
    vec![
        (smtp::connector().unwrap(), json!({}), "server.check", &[25, 465, 587, 2525]),
        (postgres::connector().unwrap(), json!({ "database": "d" }), "server.check", &[5432]),
    ]
}

impl Tenant {
    async fn speaker(&self, name: &str, settings: &Value, more: Value) -> Result<Integration> {
        let mut all = object(settings.clone());
        all.extend(object(more));
        let new = NewIntegration {
            name: format!("n{}", hex::encode(Env::default().random::<8>())),
            connector: name.into(),
            auth: Some("basic".into()),
            settings: all,
            credentials: object(json!({ "username": "u", "password": "canary-password" })),
        };
        self.integrations.create(&self.world.ctx, new).await
    }
}

#[tokio::test]
async fn pitfall_28_no_host_of_another_protocol_leads_inside() {
    for (connector, settings, _, ports) in speakers() {
        let name = connector.name.to_string();
        let tenant = Tenant::outside(vec![connector]).await;
        let (mut refused, mut blocked) = (0, 0);
        for url in forbidden_urls().iter().filter(|url| host(url) != "example.com") {
            // As it is written, and as a reader of URLs reads it.
            let read = url::Url::parse(url).ok().and_then(|url| Some(url.host_str()?.to_owned()));
            let bare = read.as_deref().map(|read| read.trim_matches(['[', ']']).to_owned());
            for host in [Some(host(url).to_owned()), read.clone(), bare].into_iter().flatten() {
                if host == "example.com" {
                    continue;
                }
                let error = tenant.speaker(&name, &settings, json!({ "host": host })).await.expect_err(&host);
                refused += 1;
                match error.kind() {
                    ErrorKind::Blocked => blocked += 1,
                    // With a port, a user or what no host has in it.
                    kind => {
                        assert_eq!(kind, ErrorKind::InvalidInput, "{host}: {error:?}");
                        let odd =
                            [':', '@', '\\', '/', '\t'].iter().any(|c| host.contains(*c)) || host.is_empty();
                        assert!(odd && Some(&host) != read.as_ref(), "{host}: {error:?}");
                    }
                }
            }
        }
        assert!(refused >= 120 && blocked >= 110, "{refused} {blocked}");
        tenant.nothing_is_left().await;
        for port in ports {
            tenant.speaker(&name, &settings, json!({ "host": "good.example", "port": port })).await.unwrap();
        }
        for port in [22, 80, 443, 6379, 11211] {
            let odd = json!({ "host": "good.example", "port": port });
            let error = tenant.speaker(&name, &settings, odd).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Blocked, "{port}: {error:?}");
        }
        let plain = if name == "smtp" { json!({ "security": "plain" }) } else { json!({ "tls": "off" }) };
        let mut plain = object(plain);
        plain.insert("host".into(), json!("good.example"));
        let error = tenant.speaker(&name, &settings, Value::Object(plain)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    }
}

#[tokio::test]
async fn pitfall_27_no_name_of_another_protocol_leads_inside_whatever_it_said_before() {
    let public = "93.184.216.34";
    let rebinding: [&[&[&str]]; 6] = [
        &[&["127.0.0.1"]],
        &[&[public, "127.0.0.1"]],
        &[&[OPEN, public]],
        &[&["::ffff:127.0.0.1"]],
        &[&["64:ff9b::7f00:1"]],
        &[&[]],
    ];
    for answers in rebinding {
        for open in [false, true] {
            for (connector, settings, operation, _) in speakers() {
                let name = connector.name.to_string();
                let names = Names::new(answers);
                let tenant = match open {
                    false => Tenant::new(EgressPolicy::default(), names, vec![connector]).await,
                    true => Tenant::beside(names, vec![connector]).await,
                };
                let host = json!({ "host": "rebind.example" });
                let one = tenant.speaker(&name, &settings, host).await.unwrap();
                let error = tenant.invoke(&one, operation, json!({})).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Blocked, "{name} {answers:?} {open}: {error:?}");
                assert!(!format!("{error:?}").contains("canary"), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_name_that_was_written_and_not_for_where_it_led() {
    for (certified, healthy) in [("mail.example", true), ("other.example", false), (OPEN, false)] {
        let server = MailServer::start(OPEN, certified, Encrypts::FromTheStart).await;
        let tenant = Tenant::beside(Names::new(&[&[OPEN]]), vec![smtp::connector().unwrap()]).await;
        let new = NewIntegration {
            name: "mail".into(),
            connector: "smtp".into(),
            auth: Some("none".into()),
            settings: object(json!({
                "host": "Mail.Example.", "port": server.port, "security": "tls", "ca_certificates": server.certificate,
            })),
            credentials: Map::new(),
        };
        let one = tenant.integrations.create(&tenant.world.ctx, new).await.unwrap();
        let tested = tenant.integrations.test(&tenant.world.ctx, one.id).await.unwrap();
        assert_eq!(tested.healthy, healthy, "{certified}: {tested:?}");
    }
}
