//! Webhooks in, from outside: signatures, what events are made of, and the bodies of the conformance data.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "webhooks/events.rs"]
mod events;
#[allow(dead_code, reason = "its `main` is for the terminal")]
#[path = "../examples/webhooks.rs"]
mod example;
#[path = "webhooks/signatures.rs"]
mod signatures;

use std::path::Path;

use agentprovision_core::Timestamp;
use http::{HeaderMap, HeaderName};

const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn the_bodies_of_the_conformance_data_are_events() {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        println!("skipped: AGENTPROVISION_CONFORMANCE is not set");
        return;
    };
    let report = example::check(&Path::new(&folder).join("webhooks")).unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(report.passed > 200, "{report:?}");
    for (vendor, [_, _, other]) in &report.bodies {
        assert_eq!(*other, 0, "{vendor} has bodies without a type");
    }
}
