//! What goes wrong with webhooks elsewhere, from the HTTP request of a vendor to what a host does about it: taken by a
//! receiver on the loopback, kept by a real store, worked on by a worker. The clock is set by hand.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentprovision::connectors::webhook::{EventFilter, Trigger, Vendor, WorkOptions};
use agentprovision::id::DeliveryId;
use agentprovision::page::PageRequest;
use agentprovision::run::RunQuery;
use agentprovision::{ErrorKind, Timestamp};
use agentprovision_core::webhook::DeliveryState;
use bytes::Bytes;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::hooks::Point;
use crate::support::{home, in_time, store};
use world::{Door, Pairs, World};

fn message(event_id: &str, ts: &str) -> Value {
    json!({
        "type": "event_callback",
        "team_id": "T1",
        "event_id": event_id,
        "event_time": 1_700_000_000,
        "event": { "type": "message", "channel": "C1", "user": "U1", "text": "Hello", "ts": ts, "event_ts": ts },
    })
}

const RETRY: Pairs<'static> = &[("x-slack-retry-num", "1"), ("x-slack-retry-reason", "http_timeout")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_13_slack_is_answered_while_the_host_is_busy_and_a_retry_alone_is_enough() {
    let mut w = World::open(1).await;
    let door = w.acme_door(Vendor::Slack).await;
    w.open.send_replace(false);
    assert_eq!(w.send(&door, &[], &message("Ev1", "1700000000.000100")).await, 200);
    // The only place is taken, and stays so until the end of this block.
    assert_eq!(w.next().await, "Ev1");
    for id in ["Ev2", "Ev3"] {
        // Of one moment: what tells them apart is the event's id.
        assert_eq!(w.send(&door, &[], &message(id, "1700000000.000100")).await, 200);
    }
    assert_eq!(w.send(&door, RETRY, &message("Ev1", "1700000000.000100")).await, 200);
    assert_eq!((*w.over.borrow(), w.began.try_recv().ok()), (0, None));
    w.open.send_replace(true);
    assert_eq!(w.until_over(3).await, ["Ev2", "Ev3"]);

    // Its first delivery got lost.
    assert_eq!(w.send(&door, RETRY, &message("Ev4", "1700000001.000100")).await, 200);
    assert_eq!(w.until_over(4).await, ["Ev4"]);
    // The last retry comes five minutes later, signed anew.
    w.clock.advance(Duration::from_secs(361));
    assert_eq!(w.send(&door, RETRY, &message("Ev1", "1700000000.000100")).await, 200);
    assert_eq!(w.send(&door, &[], &message("Ev5", "1700000361.000100")).await, 200);
    assert_eq!(w.until_over(5).await, ["Ev5"]);
    let repeats: BTreeMap<String, u32> =
        w.acme_kept(&door).await.into_iter().map(|one| (one.new.key, one.repeats)).collect();
    let expected = [("Ev1", 2), ("Ev2", 0), ("Ev3", 0), ("Ev4", 0), ("Ev5", 0)];
    assert_eq!(repeats, expected.map(|(id, count)| (id.to_owned(), count)).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_13_no_acknowledgement_waits_for_work_however_much_there_is() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Github).await;
    w.open.send_replace(false);
    for number in 0..40 {
        assert_eq!(w.github(&door, &format!("d-{number}"), &json!({ "action": "opened" })).await, 200);
    }
    assert_eq!(*w.over.borrow(), 0);
    w.open.send_replace(true);
    let heard: BTreeSet<String> = w.until_over(40).await.into_iter().collect();
    assert_eq!(heard.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_16_old_and_future_deliveries_are_refused_and_repeats_have_one_effect() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Standard).await;
    let body = Bytes::from_static(br#"{"type":"invoice.paid","data":{}}"#);
    let signed = |id: &str, seconds: i64| {
        let at = Timestamp::from_micros(w.now().micros() + seconds * 1_000_000);
        door.verifier.sign(at, id, &body).unwrap()
    };
    for (id, seconds, status) in [
        ("msg-old", -301, 401),
        ("msg-future", 301, 401),
        ("msg-late", -299, 200),
        ("msg-early", 299, 200),
        ("msg-late", -299, 200),
        ("msg-late", 0, 200),
    ] {
        assert_eq!(w.post(&door, signed(id, seconds), &[], &body).await, status, "{id} at {seconds}");
    }
    let forged = door.verifier.sign(w.now(), "msg-forged", b"{}").unwrap();
    assert_eq!(w.post(&door, forged, &[], &body).await, 401);
    let heard = w.until_over(2).await;
    assert_eq!(
        heard.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"msg-early".into(), &"msg-late".into()])
    );
    let kept = w.acme_kept(&door).await;
    assert_eq!(kept.iter().map(|one| one.repeats).sum::<u32>(), 2);
    assert_eq!((kept.len(), w.told(&w.acme.admin).await.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_17_the_secret_before_counts_until_it_ends() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Standard).await;
    let body = json!({ "type": "invoice.paid", "data": {} });
    let mut sent = 0;
    let mut id = || {
        sent += 1;
        format!("msg-{sent}")
    };
    assert_eq!(w.send(&door, &[("webhook-id", &id())], &body).await, 200);
    w.until_over(1).await;
    let hour = Duration::from_secs(3600);
    let made = w.webhooks.rotate(&w.acme.admin, door.made.endpoint.id, None, Some(hour)).await.unwrap();
    assert_ne!(made.secret.expose_secret(), door.made.secret.expose_secret());
    let new = Door::of(made);
    // As receivers look at an endpoint again after a second at most.
    w.clock.advance(Duration::from_secs(1));
    for door in [&door, &new] {
        assert_eq!(w.send(door, &[("webhook-id", &id())], &body).await, 200);
    }
    // As one does who signs with several, of which a receiver knows one.
    let bytes = Bytes::from(body.to_string());
    let several = |now: Timestamp, id: &str| {
        let mut headers = door.verifier.sign(now, id, &bytes).unwrap();
        let good = headers["webhook-signature"].to_str().unwrap();
        headers.insert("webhook-signature", format!("v1,bm8= {good} v2,x").parse().unwrap());
        headers
    };
    assert_eq!(w.post(&door, several(w.now(), &id()), &[], &bytes).await, 200);
    // Before the clock moves on, under work that is under way.
    w.until_over(4).await;
    w.clock.advance(hour - Duration::from_secs(2));
    assert_eq!(w.send(&door, &[("webhook-id", &id())], &body).await, 200);
    w.until_over(5).await;
    w.clock.advance(Duration::from_secs(1));
    assert_eq!(w.send(&door, &[("webhook-id", &id())], &body).await, 401);
    assert_eq!(w.post(&door, several(w.now(), &id()), &[], &bytes).await, 401);
    assert_eq!(w.send(&new, &[("webhook-id", &id())], &body).await, 200);
    assert_eq!(w.until_over(6).await.len(), 1);
    assert_eq!(w.acme_kept(&door).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_18_a_write_that_fails_claims_nothing_and_its_retry_counts_once() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Github).await;
    // Before anything is written, and when it is and nobody was told.
    for (number, point) in [Point::BeforeAccept, Point::AfterAccept].into_iter().enumerate() {
        let id = format!("d-{number}");
        *w.planned.lock().unwrap() = Some(point);
        assert_eq!(w.github(&door, &id, &json!({ "action": "opened" })).await, 503);
        assert_eq!(*w.planned.lock().unwrap(), None);
        assert_eq!(w.github(&door, &id, &json!({ "action": "opened" })).await, 200);
        assert_eq!(w.until_over(number + 1).await, [id]);
    }
    // Between the row that claims the key and the one that says there is work.
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON delivery_work BEGIN SELECT RAISE(ABORT, 'full'); END";
    if w.behind(trigger).await {
        assert_eq!(w.github(&door, "d-2", &json!({ "action": "opened" })).await, 503);
        assert_eq!(w.acme_kept(&door).await.len(), 2);
        w.behind("DROP TRIGGER full").await;
    }
    assert_eq!(w.github(&door, "d-2", &json!({ "action": "opened" })).await, 200);
    assert_eq!(w.until_over(3).await, ["d-2"]);
    let told: BTreeSet<DeliveryId> = w.told(&w.acme.admin).await.into_iter().collect();
    let kept = w.acme_kept(&door).await;
    assert_eq!(kept.iter().map(|one| one.repeats).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(told, kept.iter().map(|one| one.new.id).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_19_the_same_id_for_two_tenants_is_two_deliveries() {
    let mut w = World::open(4).await;
    let other = home(&w.platform, "other").await;
    let doors = [
        (&w.acme.admin.clone(), w.acme_door(Vendor::Github).await),
        (&other.admin, w.door(&other.admin, Vendor::Github, Vec::new()).await),
    ];
    for _ in 0..2 {
        for (_, door) in &doors {
            assert_eq!(w.github(door, "the same", &json!({ "action": "opened" })).await, 200);
        }
    }
    assert_eq!(w.until_over(2).await, ["the same", "the same"]);
    for (ctx, door) in &doors {
        let kept = w.kept(ctx, door).await;
        let [one] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((one.state, one.repeats, w.told(ctx).await), (DeliveryState::Done, 1, vec![one.new.id]));
        assert!(w.webhooks.delivery(ctx, one.new.id).await.is_ok());
    }
    let foreign = w.kept(doors[0].0, &doors[0].1).await[0].new.id;
    let refused = w.webhooks.delivery(&other.admin, foreign).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    // What one tenant's secret signs is nothing at the door of another.
    let body = Bytes::from_static(br#"{"action":"opened"}"#);
    let headers = doors[0].1.verifier.sign(w.now(), "", &body).unwrap();
    let named = [("x-github-event", "issues"), ("x-github-delivery", "x")];
    assert_eq!(w.post(&doors[1].1, headers, &named, &body).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_20_of_a_hundred_copies_at_once_one_counts_and_another_body_is_a_conflict() {
    let mut w = World::open(16).await;
    let door = w.acme_door(Vendor::Github).await;
    let first = json!({ "action": "opened", "issue": { "id": 1, "title": "first" } });
    let copies = (0..100).map(|_| w.github(&door, "d-1", &first));
    let statuses = futures_util::future::join_all(copies).await;
    assert_eq!(statuses, vec![200; 100]);
    assert_eq!(w.until_over(1).await, ["d-1"]);
    let second = json!({ "action": "opened", "issue": { "id": 1, "title": "second" } });
    let conflicting = (0..10).map(|_| w.github(&door, "d-1", &second));
    assert_eq!(futures_util::future::join_all(conflicting).await, vec![409; 10]);
    assert_eq!(w.github(&door, "d-2", &second).await, 200);
    assert_eq!(w.until_over(2).await, ["d-2"]);
    let kept = w.acme_kept(&door).await;
    let one = kept.iter().find(|one| one.new.key == "d-1").unwrap();
    assert_eq!((one.repeats, one.conflicts, one.attempts), (99, 10, 1));
    // Both bodies are told by their digests.
    let digest = |body: &Value| agentprovision::canonical::sha256(&[body.to_string().as_bytes()]);
    assert_eq!((one.new.digest, one.conflict_digest), (digest(&first), Some(digest(&second))));
    let whole = w.webhooks.delivery(&w.acme.admin, one.new.id).await.unwrap();
    assert_eq!(whole.new.body, first.to_string().into_bytes());
    assert_eq!(w.told(&w.acme.admin).await.len(), 2);
}

/// Every order of so many.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let longer = shorter.iter().flat_map(|order| {
        (0..=order.len()).map(|at| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        })
    });
    longer.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_25_in_every_order_of_arrival_what_is_older_starts_no_run() {
    let mut w = World::open(4).await;
    let trigger = Trigger {
        filter: EventFilter::default(),
        agent: w.agent().await,
        input: "{{ body.issue.title }}".into(),
        newest_only: true,
    };
    let admin = w.acme.admin.clone();
    let door = w.door(&admin, Vendor::Github, vec![trigger]).await;
    // With the place of each in time. Two are of one second, and neither is older than the other; what is gone has the time
    // of its last change, and no news comes after it.
    let states = [("opened", 0, 0), ("edited", 5, 1), ("labeled", 5, 1), ("deleted", 5, 2)];
    let body = |issue: usize, state: usize| {
        let (action, second, _) = states[state];
        json!({
            "action": action,
            "issue": { "id": issue, "title": format!("{issue}-{state}"), "updated_at": format!("2026-01-01T00:00:0{second}Z") },
            "repository": { "full_name": "octo/repo" },
        })
    };
    let (orders, mut sent, mut expected) = (orders(states.len()), 0, BTreeSet::new());
    assert_eq!(orders.len(), 24);
    for (issue, order) in orders.iter().enumerate() {
        let mut newest = None;
        for state in order {
            assert_eq!(w.github(&door, &format!("{issue}-{state}"), &body(issue, *state)).await, 200);
            sent += 1;
            w.until_over(sent).await;
            let place = Some(states[*state].2);
            if newest <= place {
                newest = place;
                expected.insert(format!("{issue}-{state}"));
            }
        }
    }
    // All at once, the newest of each has its run in any case.
    let together = (100..110).flat_map(|issue| (0..states.len()).map(move |state| (issue, state)));
    let (w_, door_) = (&w, &door);
    let posts = together.map(|(issue, state)| async move {
        assert_eq!(w_.github(door_, &format!("{issue}-{state}"), &body(issue, state)).await, 200);
    });
    let posts: Vec<_> = posts.collect();
    sent += posts.len();
    futures_util::future::join_all(posts).await;
    w.until_over(sent).await;

    let mut titles = BTreeSet::new();
    let mut query = RunQuery::default();
    query.page = PageRequest::limit(100);
    loop {
        let page = w.platform.runs().list(&admin, query.clone()).await.unwrap();
        for record in page.items {
            let run = w.platform.runs().get(&admin, record.id).await.unwrap();
            let title = in_time(run.wait()).await.unwrap().text().unwrap().to_owned();
            assert!(titles.insert(title.clone()), "two runs of {title}");
        }
        query.page.after = page.next;
        if query.page.after.is_none() {
            break;
        }
    }
    let (together, apart): (BTreeSet<_>, BTreeSet<_>) =
        titles.into_iter().partition(|title| title.split('-').next().unwrap().len() == 3);
    assert_eq!(apart, expected);
    let inbox = w.backend.stores().inbox;
    for issue in 100..110 {
        assert!(together.contains(&format!("{issue}-3")), "{together:?}");
        let key = format!("issue/{issue}");
        let mark = inbox.mark(admin.tenant(), door.made.endpoint.id, &key).await.unwrap();
        assert!(mark.unwrap().starts_with('1'), "{issue} is not gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_33_jira_is_told_by_the_identifier_that_its_retries_keep() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Jira).await;
    let body = json!({
        "timestamp": 1_700_000_000_000_u64,
        "webhookEvent": "jira:issue_updated",
        "issue": { "id": "10001", "key": "DESK-1", "fields": { "updated": "2023-11-14T22:13:20.000+0000" } },
    });
    let identified = async |id: &str, retry: &str| {
        let more = [("x-atlassian-webhook-identifier", id), ("x-atlassian-webhook-retry", retry)];
        w.send(&door, &more, &body).await
    };
    for (id, retry) in [("a", "0"), ("a", "1"), ("b", "0"), ("a", "2"), ("b", "1")] {
        assert_eq!(identified(id, retry).await, 200);
    }
    let heard: BTreeSet<String> = w.until_over(2).await.into_iter().collect();
    assert_eq!(heard, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let repeats: BTreeMap<String, u32> =
        w.acme_kept(&door).await.into_iter().map(|one| (one.new.key, one.repeats)).collect();
    assert_eq!(repeats, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_being_taken_as_the_worker_closes_is_worked_on() {
    let mut w = World::open(4).await;
    let door = w.acme_door(Vendor::Github).await;
    w.closes.store(true, Ordering::SeqCst);
    assert_eq!(w.github(&door, "d-1", &json!({ "action": "opened" })).await, 200);
    assert_eq!(w.until_over(1).await, ["d-1"]);
    assert_eq!(w.acme_kept(&door).await[0].state, DeliveryState::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_a_failed_attempt_and_leaves_its_place() {
    let mut w = World::open(1).await;
    let door = w.acme_door(Vendor::Github).await;
    for (number, id) in ["panic", "d-1"].into_iter().enumerate() {
        assert_eq!(w.github(&door, id, &json!({ "action": "opened" })).await, 200);
        assert_eq!(w.until_over(number + 1).await, [id]);
    }
    let kept = w.acme_kept(&door).await;
    let ends: Vec<_> = kept.iter().map(|one| (one.state, one.attempts, one.error)).collect();
    let failed = (DeliveryState::Pending, 1, Some(ErrorKind::Internal));
    assert_eq!(ends, [failed, (DeliveryState::Done, 1, None)]);
}

/// What a delivery is at, how often it was begun, and how it failed.
async fn at(w: &World, door: &Door) -> (DeliveryState, u32, Option<ErrorKind>) {
    let kept = w.acme_kept(door).await;
    let [one] = kept.as_slice() else { panic!("{kept:?}") };
    (one.state, one.attempts, one.error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_every_process_is_given_up_and_a_replay_gives_it_as_many_attempts() {
    // A term on a server runs out by the server's time.
    if store::on_server() {
        return;
    }
    let mut w = World::open(0).await;
    let door = w.acme_door(Vendor::Github).await;
    assert_eq!(w.github(&door, "d-1", &json!({ "action": "opened" })).await, 200);
    let id = w.acme_kept(&door).await[0].new.id;
    let given_up = |attempts| (DeliveryState::Failed, attempts, Some(ErrorKind::Uncertain));
    for round in 1..=2 {
        w.open.send_replace(false);
        for _ in 0..7 {
            let worker = w.work(1);
            assert_eq!(w.next().await, "d-1");
            w.lose(worker).await;
            assert_eq!(at(&w, &door).await.0, DeliveryState::Pending);
            w.clock.advance(WorkOptions::default().term);
        }
        w.open.send_replace(true);
        let worker = w.work(1);
        assert!(w.until_over(round).await.is_empty(), "it was begun once more");
        worker.close().await;
        assert_eq!((at(&w, &door).await, w.told(&w.acme.admin).await), (given_up(round as u32 * 8), vec![]));
        w.webhooks.replay(&w.acme.admin, id).await.unwrap();
        let again = w.webhooks.replay(&w.acme.admin, id).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
    }
    w.work(1);
    assert_eq!(w.until_over(3).await, ["d-1"]);
    assert_eq!(at(&w, &door).await, (DeliveryState::Done, 17, None));
    assert_eq!(w.told(&w.acme.admin).await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_failed_seven_times_is_given_up_and_a_replay_gives_it_as_many_attempts() {
    if store::on_server() {
        return;
    }
    let mut w = World::open(0).await;
    let door = w.acme_door(Vendor::Github).await;
    assert_eq!(w.github(&door, "panic", &json!({ "action": "opened" })).await, 200);
    let id = w.acme_kept(&door).await[0].new.id;
    for attempt in 1..=14 {
        // It looks once as it begins, and would be late for the clock otherwise.
        let worker = w.work(1);
        assert_eq!(w.until_over(attempt).await, ["panic"]);
        worker.close().await;
        let state = if attempt % 7 == 0 { DeliveryState::Failed } else { DeliveryState::Pending };
        assert_eq!(at(&w, &door).await, (state, attempt as u32, Some(ErrorKind::Internal)));
        match attempt {
            7 => w.webhooks.replay(&w.acme.admin, id).await.unwrap(),
            _ => w.clock.advance(Duration::from_secs(6 * 3600)),
        }
    }
}
