//! What must hold of the deliveries of a storm when they are all over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentprovision::backend::Backend;
use agentprovision::id::RunId;
use agentprovision::page::PageRequest;
use agentprovision::prelude::*;
use agentprovision::run::{RunQuery, RunStatus};
use agentprovision_core::webhook::{Delivery, DeliveryState};

use super::{DELIVERIES, Letter, Yard};
use crate::support::aftermath::{all_events, whole_lines};
use crate::support::in_time;

/// What must hold of deliveries that are all over.
pub(super) async fn check(
    yard: &Yard,
    platform: &Platform,
    backend: &Arc<dyn Backend>,
    ctx: &Context,
    kept: Vec<Delivery>,
) {
    let (letters, acknowledged) = {
        let sent = yard.sent();
        let acks: u32 = sent.acknowledged.values().sum();
        println!(
            "{} deliveries, {acks} acknowledgements, {} connections broke, {} answers were 503",
            sent.letters.len(),
            sent.broken,
            sent.refused
        );
        (sent.letters.clone(), sent.acknowledged.clone())
    };
    assert!(letters.len() >= DELIVERIES);
    // Nothing is lost, nothing is there that nobody sent, and each is there once.
    let keys: BTreeSet<&String> = kept.iter().map(|one| &one.new.key).collect();
    assert_eq!(keys.len(), kept.len());
    assert_eq!(keys, acknowledged.keys().collect());
    assert_eq!(keys, letters.iter().map(|letter| &letter.key).collect());

    let mut runs = BTreeMap::new();
    let (mut query, mut finished) = (RunQuery::default(), 0);
    (query.agent, query.page) = (Some(yard.scene.agent), PageRequest::limit(100));
    loop {
        let page = platform.runs().list(ctx, query.clone()).await.unwrap();
        for run in page.items {
            let before = runs.insert(run.idem_key.clone().unwrap(), run.id);
            assert_eq!(before, None, "two runs of {:?}", run.idem_key);
            finished += usize::from(run.status != RunStatus::Running);
        }
        query.page.after = page.next;
        if query.page.after.is_none() {
            break;
        }
    }
    println!("{} runs, {finished} of them over when the last delivery was", runs.len());
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    for event in all_events(backend, ctx).await {
        if event.event.kind == "agentprovision.webhook.received" {
            *told.entry(event.event.data["delivery"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(told.len(), kept.len());
    let mut handled: BTreeMap<String, u32> = BTreeMap::new();
    for line in whole_lines(&yard.folder.join("logs")) {
        *handled.entry(line.split_once(' ').unwrap().0.to_owned()).or_default() += 1;
    }
    let by_key: BTreeMap<&String, &Letter> = letters.iter().map(|letter| (&letter.key, letter)).collect();
    let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
    for letter in &letters {
        let known = newest.entry(letter.issue).or_default();
        *known = (*known).max(letter.number);
    }
    let (mut attempts, mut repeats, mut expected) = (0, 0, BTreeMap::new());
    for one in &kept {
        let (id, letter) = (one.new.id.to_string(), by_key[&one.new.key]);
        assert_eq!((one.state, one.error, one.conflicts), (DeliveryState::Done, None, 0), "{one:?}");
        assert_eq!(told.get(&id), Some(&1), "events of {one:?}");
        // The host may hear of it more than once, and never more often than it was taken up.
        assert!((1..=one.attempts).contains(&handled[&id]), "{} times: {one:?}", handled[&id]);
        // Each acknowledgement was for one that was kept; a process may have ended in between.
        assert!(one.repeats + 1 >= acknowledged[&one.new.key], "{one:?}");
        attempts += one.attempts;
        repeats += one.repeats;
        let everything = format!("{id}/0");
        assert!(one.runs.contains(&runs[&everything]), "{one:?}");
        expected.insert(everything, letter.title());
        let news = format!("{id}/1");
        let is_newest = newest[&letter.issue] == letter.number;
        match runs.get(&news) {
            // Whoever took it up again may have found that something newer had come in between.
            Some(run) => {
                assert!(one.runs.contains(run) || (one.attempts > 1 && !is_newest), "{one:?}");
                expected.insert(news, format!("{}, the newest", letter.title()));
            }
            None => assert!(!is_newest, "the newest news of an issue: {one:?}"),
        }
    }
    println!("{attempts} attempts, {repeats} repeats");
    assert!(attempts as usize > kept.len(), "nobody ended with a delivery in its hands");
    assert_eq!(expected.keys().collect::<Vec<_>>(), runs.keys().collect::<Vec<_>>());
    for (key, id) in &runs {
        let run = platform.runs().get(ctx, *id).await.unwrap();
        assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), expected[key]);
    }
    let started = records(platform, ctx, "runs.start").await;
    assert_eq!(started.len(), runs.len());
    let ids: BTreeSet<String> = runs.values().map(RunId::to_string).collect();
    assert_eq!(started.into_iter().collect::<BTreeSet<_>>(), ids);
}

/// The resources of the audit records of an action.
async fn records(platform: &Platform, ctx: &Context, action: &str) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = platform.audit().entries(ctx, from, 500).await.unwrap();
        if page.is_empty() {
            return found;
        }
        from += page.len() as u64;
        let records = page.iter().map(|entry| entry.record().unwrap());
        found.extend(
            records.filter(|record| record.action == action).map(|record| record.resource_id.unwrap()),
        );
    }
}
