//! The fault plan: which requests and which webhooks go wrong, and how.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::state::Vendor;
use super::{Emulator, Shared};

/// What an answer says about when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAfter {
    /// There is no header.
    None,
    /// Seconds, as they stand: 0, negative ones and 999999 too.
    Seconds(i64),
    /// A date of HTTP, this long after now by the clock of the `Env`.
    Date(Duration),
    /// A text that is neither.
    Text(String),
}

/// What goes wrong with a request.
///
/// Where it says that the request is *not carried out*, nothing changed at the vendor; everywhere else it has been.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// 429 in the vendor's form. Not carried out.
    RateLimited(RetryAfter),
    /// GitHub's secondary limit: this status, 403 or 429, and its words. Not carried out.
    SecondaryLimit {
        /// The status.
        status: u16,
        /// When to come back.
        retry_after: RetryAfter,
    },
    /// GitHub's primary limit: 403, nothing remaining, and `x-ratelimit-reset` this long after now. Not carried out.
    PrimaryLimit {
        /// How long until there are requests again.
        reset: Duration,
    },
    /// This status with an error page, as a broken gateway answers: 500, 502, 503 and so on. Not carried out.
    Status(u16),
    /// The connection is closed without an answer. Not carried out.
    Close,
    /// The connection is closed in the middle of the body, which has its full length in the head.
    CloseMidBody,
    /// It is held until the gate is opened, and only then carried out.
    Hold(Gate),
    /// It is carried out, and its answer is held until the gate is opened.
    HoldAnswer(Gate),
    /// Numbers are texts, booleans are numbers and ids are missing.
    BreakSchema,
    /// A page of HTML with the content type of JSON.
    WrongBody,
    /// An answer in JSON that never ends.
    EndlessBody,
    /// A byte of the body at a time, with this long between them by the clock of the `Env`.
    SlowBody(Duration),
    /// Something changes after the answer was made and before it is sent; see [`Fault::change`].
    Change(Change),
    /// A page leads to itself: its cursor is the one it was asked with. Of GitHub the link to the next page.
    SameCursor,
    /// A page has no items and says that there are more.
    EmptyPage,
    /// Any answer. Not carried out.
    Answer {
        /// The status.
        status: u16,
        /// The content type.
        content_type: String,
        /// The body.
        body: String,
    },
}

impl Fault {
    /// Runs `change` once a request has been carried out: what it does shows in the next answer and not in this one. This is how
    /// rows move between the pages of a list.
    pub fn change(change: impl Fn(&Emulator) + Send + Sync + 'static) -> Self {
        Self::Change(Change(Arc::new(change)))
    }
}

/// A change to the emulator; see [`Fault::change`].
#[derive(Clone)]
pub struct Change(Arc<dyn Fn(&Emulator) + Send + Sync>);

impl Change {
    pub(super) fn run(&self, emulator: &Emulator) {
        (self.0)(emulator);
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").finish_non_exhaustive()
    }
}

/// What goes wrong with a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebhookFault {
    /// It is delivered twice, with the same id.
    Duplicate,
    /// Its first attempt never arrives, which the vendor takes for a failed one: Slack and Jira come back with a retry, GitHub
    /// waits for somebody who asks for a redelivery.
    DropFirst,
    /// No attempt arrives.
    DropAll,
    /// It is delivered this much later.
    Late(Duration),
    /// It is delivered right after the next one of the same vendor.
    AfterNext,
    /// Its signature is made with another secret.
    WrongSignature,
    /// What says when it was sent, and is signed with it, is off by these seconds. Of Slack alone.
    Skew(i64),
}

/// Holds requests until a test lets them go. Clones are one gate.
///
/// A request whose client goes away while it is held counts as one that arrived.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    arrived: watch::Sender<usize>,
    open: Semaphore,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("arrived", &*self.0.arrived.borrow()).finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Inner { arrived: watch::Sender::new(0), open: Semaphore::new(0) }))
    }

    /// Returns when this many requests, counted from the gate's beginning, have arrived at it.
    pub async fn arrived(&self, requests: usize) {
        // The sender lives as long as the gate, so waiting cannot fail.
        let _ = self.0.arrived.subscribe().wait_for(|arrived| *arrived >= requests).await;
    }

    /// Lets one request go, one that waits or the next that arrives.
    pub fn release_one(&self) {
        self.0.open.add_permits(1);
    }

    /// Opens the gate for good.
    pub fn release(&self) {
        self.0.open.close();
    }

    pub(super) async fn pass(&self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.0.open.acquire().await {
            permit.forget();
        }
    }
}

/// Which of the requests that match a rule it applies to, counted from when it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Next(u64),
    Nth(u64),
    Every(u64),
    Chance(u8),
}

#[derive(Clone, Debug)]
enum What {
    Request(Fault),
    Webhook(WebhookFault),
}

/// A fault, and what it befalls: every request (or webhook) unless said otherwise.
///
/// ```
/// use agentprovision_connectors::emulator::{Fault, RetryAfter, Rule, Vendor};
///
/// let limited = Fault::RateLimited(RetryAfter::Seconds(30));
/// let rule = Rule::new(limited).vendor(Vendor::Github).method("GET").path("/repos/acme/app/issues").nth(3);
/// # let _ = rule;
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    what: What,
    vendor: Option<Vendor>,
    method: Option<String>,
    name: Option<String>,
    when: When,
}

impl Rule {
    /// A fault of requests.
    pub fn new(fault: Fault) -> Self {
        Self { what: What::Request(fault), vendor: None, method: None, name: None, when: When::Always }
    }

    /// A fault of webhooks.
    pub fn webhook(fault: WebhookFault) -> Self {
        Self { what: What::Webhook(fault), vendor: None, method: None, name: None, when: When::Always }
    }

    /// Of this vendor alone.
    #[must_use]
    pub fn vendor(mut self, vendor: Vendor) -> Self {
        self.vendor = Some(vendor);
        self
    }

    /// Requests of this method alone.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_ascii_uppercase());
        self
    }

    /// Requests whose path starts with this: `/repos/acme/app/issues`, `/api/chat.postMessage`, `/oauth/token`.
    #[must_use]
    pub fn path(mut self, prefix: &str) -> Self {
        self.name = Some(prefix.to_owned());
        self
    }

    /// Webhooks of this event alone: `issues`, `jira:issue_updated`, `message`.
    #[must_use]
    pub fn event(mut self, event: &str) -> Self {
        self.name = Some(event.to_owned());
        self
    }

    /// The next `count` alone.
    #[must_use]
    pub fn next(mut self, count: u64) -> Self {
        self.when = When::Next(count);
        self
    }

    /// The `n`-th alone, the first being 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Every `k`-th.
    #[must_use]
    pub fn every(mut self, k: u64) -> Self {
        self.when = When::Every(k);
        self
    }

    /// This many of a hundred, by the plan's seed.
    #[must_use]
    pub fn chance(mut self, percent: u8) -> Self {
        self.when = When::Chance(percent);
        self
    }
}

/// A rule that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<Placed>,
    last: u64,
    seed: u64,
}

#[derive(Debug)]
struct Placed {
    id: RuleId,
    rule: Rule,
    matched: u64,
    hits: u64,
}

impl Plan {
    pub(super) fn of_request(&mut self, vendor: Vendor, method: &str, path: &str) -> Vec<Fault> {
        let hit = self.hits(|rule| {
            matches!(rule.what, What::Request(_))
                && rule.vendor.is_none_or(|of| of == vendor)
                && rule.method.as_deref().is_none_or(|of| of == method)
                && rule.name.as_deref().is_none_or(|prefix| path.starts_with(prefix))
        });
        hit.into_iter()
            .filter_map(|what| match what {
                What::Request(fault) => Some(fault),
                What::Webhook(_) => None,
            })
            .collect()
    }

    pub(super) fn of_webhook(&mut self, vendor: Vendor, event: &str) -> Vec<WebhookFault> {
        let hit = self.hits(|rule| {
            matches!(rule.what, What::Webhook(_))
                && rule.vendor.is_none_or(|of| of == vendor)
                && rule.name.as_deref().is_none_or(|of| of == event)
        });
        hit.into_iter()
            .filter_map(|what| match what {
                What::Webhook(fault) => Some(fault),
                What::Request(_) => None,
            })
            .collect()
    }

    fn hits(&mut self, matches: impl Fn(&Rule) -> bool) -> Vec<What> {
        let mut found = Vec::new();
        for placed in &mut self.rules {
            if !matches(&placed.rule) {
                continue;
            }
            placed.matched += 1;
            let hit = match placed.rule.when {
                When::Always => true,
                When::Next(count) => placed.matched <= count,
                When::Nth(n) => placed.matched == n,
                When::Every(k) => k > 0 && placed.matched.is_multiple_of(k),
                When::Chance(percent) => {
                    // SplitMix64 of the seed, the rule and the request's place in it.
                    let mut word = self.seed ^ (placed.id.0 << 32) ^ placed.matched;
                    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    (word ^ (word >> 31)) % 100 < u64::from(percent)
                }
            };
            if hit {
                placed.hits += 1;
                found.push(placed.rule.what.clone());
            }
        }
        found
    }
}

/// The fault plan of an emulator: empty at first.
///
/// Rules are asked in the order they were added, and all that apply do: a request may be held and then refused.
#[derive(Debug)]
pub struct Faults<'a>(pub(super) &'a Shared);

impl Faults<'_> {
    /// Adds a rule.
    pub fn add(&self, rule: Rule) -> RuleId {
        let plan = &mut self.0.world().plan;
        plan.last += 1;
        let id = RuleId(plan.last);
        plan.rules.push(Placed { id, rule, matched: 0, hits: 0 });
        id
    }

    /// How often a rule applied; 0 for one that was removed.
    pub fn hits(&self, rule: RuleId) -> u64 {
        let world = self.0.world();
        world.plan.rules.iter().find(|placed| placed.id == rule).map_or(0, |placed| placed.hits)
    }

    /// Removes a rule.
    pub fn remove(&self, rule: RuleId) {
        self.0.world().plan.rules.retain(|placed| placed.id != rule);
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.0.world().plan.rules.clear();
    }

    /// What [`Rule::chance`] goes by; 0 at first. The same seed, rules and requests give the same faults.
    pub fn seed(&self, seed: u64) {
        self.0.world().plan.seed = seed;
    }
}

impl Shared {
    pub(super) fn world(&self) -> std::sync::MutexGuard<'_, super::state::World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rule: Rule, seed: u64) -> Plan {
        let placed = Placed { id: RuleId(1), rule, matched: 0, hits: 0 };
        Plan { rules: vec![placed], last: 1, seed }
    }

    #[test]
    fn rules_count_what_they_match() {
        let hits = |rule: Rule, seed| {
            let mut plan = plan(rule.vendor(Vendor::Jira).method("get").path("/rest/"), seed);
            let at: Vec<u64> = (1..=12)
                .filter(|_| {
                    assert!(plan.of_request(Vendor::Slack, "GET", "/rest/x").is_empty());
                    assert!(plan.of_request(Vendor::Jira, "PUT", "/rest/x").is_empty());
                    assert!(plan.of_request(Vendor::Jira, "GET", "/other").is_empty());
                    !plan.of_request(Vendor::Jira, "GET", "/rest/x").is_empty()
                })
                .collect();
            at
        };
        let rule = || Rule::new(Fault::Close);
        assert_eq!(hits(rule().next(2), 0), [1, 2]);
        assert_eq!(hits(rule().nth(3), 0), [3]);
        assert_eq!(hits(rule().every(5), 0), [5, 10]);
        assert_eq!(hits(rule(), 0).len(), 12);
        assert_eq!(hits(rule().chance(0), 0).len(), 0);
        assert_eq!(hits(rule().chance(100), 0).len(), 12);
        assert_eq!(hits(rule().chance(50), 7), hits(rule().chance(50), 7), "the seed says which");
        assert_ne!(hits(rule().chance(50), 7), hits(rule().chance(50), 8));
    }

    #[tokio::test]
    async fn a_gate_lets_go_whom_it_is_told_to() {
        let gate = Gate::new();
        let pass = || {
            let gate = gate.clone();
            tokio::spawn(async move { gate.pass().await })
        };
        let (one, two) = (pass(), pass());
        gate.arrived(2).await;
        assert!(!one.is_finished() && !two.is_finished());
        gate.release_one();
        gate.release();
        one.await.unwrap();
        two.await.unwrap();
        pass().await.unwrap();
    }
}
