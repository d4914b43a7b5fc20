//! Nothing of a tenant is logged on another's behalf, and no content on anybody's.

use agentprovision::Scope;
use secrecy::ExposeSecret;

use super::calls::{Call, calls};
use super::world::{QUOKKA, STORES, World, ZEBRA};
use crate::support::heard::Listener;
use crate::support::in_time;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_logged_for_a_tenant_has_nothing_of_another_and_no_content() {
    for store in STORES {
        let everything = Listener::new();
        let world = World::new(store).await;
        // The first tenant is at rest from here on: its runs are over or wait for a person.
        let beside = Listener::new();
        std::thread::spawn(|| tracing::trace!(probe = "heard from another thread")).join().unwrap();
        for ids in [world.zebra.ids, world.quokka.ids] {
            for scope in [Scope::Tenant, Scope::Host] {
                for (operation, does) in
                    calls(scope).filter(|(operation, _)| operation.name != "platform.close")
                {
                    let (platform, op) = (world.platform.clone(), world.operator.clone());
                    let ctx = world.quokka.home.admin.clone();
                    let what = in_time(does(Call { platform, ctx, op, ids })).await;
                    assert!(
                        ids.tenant == world.zebra.ids.tenant || what.is_ok(),
                        "{}: {what:?}",
                        operation.name
                    );
                }
            }
        }
        let beside = beside.lines();
        assert!(beside.iter().any(|line| line.contains("heard from another thread")), "nothing is heard");
        // What the caller named is the caller's own words, but nothing here repeats even that.
        let mut hidden = world.zebra.ids.texts();
        hidden.push(world.zebra.home.root.id.to_string());
        hidden.extend(hidden.clone().iter().filter_map(|id| hyphenated(id)));
        for line in &beside {
            for text in &hidden {
                assert!(!line.contains(text), "{text} was logged: {line}");
            }
        }
        for estate in [&world.zebra, &world.quokka] {
            // The tenant, the key and the secret in the text of a key.
            let secret = estate.key_secret.expose_secret().rsplit('_').next().unwrap().to_owned();
            for line in everything.lines() {
                for text in [ZEBRA, QUOKKA, secret.as_str(), "found by a tool", "a pepper for these tests"] {
                    assert!(!line.contains(text), "content was logged: {line}");
                }
            }
        }
        world.close().await;
    }
}

/// The UUID of an id, as a database may print it.
fn hyphenated(id: &str) -> Option<String> {
    let digits = id.split_once('_')?.1;
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
