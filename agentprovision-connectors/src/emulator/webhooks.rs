//! Webhooks: the changes that vendors tell of, signed, one after the other, and again where a vendor tries again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::Timestamp;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;

use super::Shared;
use super::faults::WebhookFault;
use super::state::{Vendor, World, unix};

/// The longest answer to a webhook that is kept.
const LARGEST_ANSWER: usize = 64 << 10;

/// A webhook that a vendor has to deliver, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// What stays the same over all attempts: `x-github-delivery`, `x-atlassian-webhook-identifier`, the `event_id` of Slack.
    pub id: String,
    /// Who delivers it.
    pub vendor: Vendor,
    /// The event: `issues`, `jira:issue_updated`, `message`.
    pub event: String,
    /// Where it goes.
    pub url: String,
    /// The body, as it is signed.
    pub body: Bytes,
    /// The attempts so far, those that the fault plan dropped too.
    pub attempts: Vec<Attempt>,
}

impl Delivery {
    /// Whether an attempt was answered with a status of success.
    pub fn delivered(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.status.is_some_and(|status| (200..300).contains(&status)))
    }
}

/// An attempt to deliver a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// When it began, by the clock of the `Env`.
    pub at: Timestamp,
    /// The status of the answer, if there was one in time.
    pub status: Option<u16>,
    /// Why there was none: `http_timeout`, `connection_failed`, or `dropped` by the fault plan.
    pub failure: Option<String>,
    /// The beginning of the answer's body.
    pub answer: String,
}

/// A webhook as a vendor makes it.
pub(super) struct Message {
    pub(super) vendor: Vendor,
    pub(super) id: String,
    pub(super) event: String,
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

#[derive(Default)]
pub(super) struct Outbox {
    sent: Vec<Entry>,
    /// What is to do: when by the monotonic clock, and in which order; which webhook, and which attempt of it, from 0.
    due: BTreeMap<(Duration, u64), (usize, usize)>,
    order: u64,
    /// Webhooks that wait for the next one of their vendor.
    parked: Vec<usize>,
    busy: bool,
}

struct Entry {
    message: Message,
    faults: Vec<WebhookFault>,
    attempts: Vec<Attempt>,
}

impl Outbox {
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        let delivery = |entry: &Entry| Delivery {
            id: entry.message.id.clone(),
            vendor: entry.message.vendor,
            event: entry.message.event.clone(),
            url: entry.message.url.clone(),
            body: Bytes::from(entry.message.body.clone()),
            attempts: entry.attempts.clone(),
        };
        self.sent.iter().map(delivery).collect()
    }

    /// The attempts of a webhook, the place in the list being its number.
    pub(super) fn attempts(&self, id: &str) -> Vec<Attempt> {
        self.sent
            .iter()
            .find(|entry| entry.message.id == id)
            .map(|entry| entry.attempts.clone())
            .unwrap_or_default()
    }

    pub(super) fn settled(&self, now: Duration) -> bool {
        !self.busy && self.due.keys().next().is_none_or(|(at, _)| *at > now)
    }

    pub(super) fn redeliver(&mut self, id: &str, now: Duration) -> bool {
        let Some(at) = self.sent.iter().position(|entry| entry.message.id == id) else { return false };
        self.parked.retain(|parked| *parked != at);
        let attempt = self.sent.get(at).map_or(0, |entry| entry.attempts.len());
        self.push(now, at, attempt);
        true
    }

    fn push(&mut self, at: Duration, entry: usize, attempt: usize) {
        self.order += 1;
        self.due.insert((at, self.order), (entry, attempt));
    }

    fn add(&mut self, now: Duration, message: Message, faults: Vec<WebhookFault>) {
        let vendor = message.vendor;
        let late = faults.iter().find_map(|fault| match fault {
            WebhookFault::Late(by) => Some(*by),
            _ => None,
        });
        let at = now.saturating_add(late.unwrap_or_default());
        let twice = faults.contains(&WebhookFault::Duplicate);
        let waits = faults.contains(&WebhookFault::AfterNext);
        self.sent.push(Entry { message, faults, attempts: Vec::new() });
        let entry = self.sent.len() - 1;
        if waits {
            self.parked.push(entry);
            return;
        }
        self.push(at, entry, 0);
        if twice {
            self.push(at, entry, 0);
        }
        let of_vendor =
            |entry: &usize| self.sent.get(*entry).is_some_and(|entry| entry.message.vendor == vendor);
        let (released, parked) = std::mem::take(&mut self.parked).into_iter().partition(of_vendor);
        self.parked = parked;
        let released: Vec<usize> = released;
        released.into_iter().for_each(|entry| self.push(at, entry, 0));
    }

    /// The next attempt, or how long there is none.
    fn take(&mut self, now: Duration) -> Result<(usize, usize), Option<Duration>> {
        let Some((&key, &job)) = self.due.iter().next() else { return Err(None) };
        if key.0 > now {
            return Err(Some(key.0));
        }
        self.due.remove(&key);
        self.busy = true;
        Ok(job)
    }

    /// Takes down an attempt, and plans the next one where the vendor makes one.
    fn record(&mut self, now: Duration, entry: usize, number: usize, attempt: Attempt, no_retry: bool) {
        self.busy = false;
        let Some(sent) = self.sent.get_mut(entry) else { return };
        let success = attempt.status.is_some_and(|status| (200..300).contains(&status));
        let wait = schedule(sent.message.vendor, attempt.status).get(number).copied();
        sent.attempts.push(attempt);
        if let Some(wait) = wait.filter(|_| !success && !no_retry) {
            self.push(now.saturating_add(Duration::from_secs(wait)), entry, number + 1);
        }
    }
}

/// After which waits, in seconds, a vendor tries again.
fn schedule(vendor: Vendor, status: Option<u16>) -> &'static [u64] {
    match (vendor, status) {
        // Somebody asks for it, or nobody does.
        (Vendor::Github, _) => &[],
        (Vendor::Slack, _) => &[0, 60, 300],
        // Other statuses are the receiver's own affair. Between waits of 5 and of 15 minutes.
        (Vendor::Jira, None | Some(408 | 409 | 425 | 429 | 500..)) => &[300, 450, 600, 750, 900],
        (Vendor::Jira, _) => &[],
    }
}

/// How long a vendor waits for the answer to a webhook.
const fn patience(vendor: Vendor) -> Duration {
    Duration::from_secs(match vendor {
        Vendor::Github => 10,
        Vendor::Jira => 20,
        Vendor::Slack => 3,
    })
}

impl World {
    /// Has a webhook delivered.
    pub(super) fn send(&mut self, message: Message) {
        let faults = self.plan.of_webhook(message.vendor, &message.event);
        let now = self.env.monotonic();
        self.outbox.add(now, message, faults);
    }
}

/// The hexadecimal HMAC-SHA-256 of these parts. Written apart from the verifier of this crate, which tests prove by what is sent
/// here: a mistake that both shared would be found by neither.
fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    parts.iter().for_each(|part| mac.update(part));
    hex::encode(mac.finalize().into_bytes())
}

/// The headers of an attempt: those of the message, and those that depend on when and which it is.
fn headers(entry: &Entry, number: usize, now: Timestamp) -> Vec<(&'static str, String)> {
    let message = &entry.message;
    let mut headers = message.headers.clone();
    let wrong = entry.faults.contains(&WebhookFault::WrongSignature);
    let secret = message.secret.as_deref().map(|secret| if wrong { "another secret" } else { secret });
    let body = message.body.as_bytes();
    match message.vendor {
        Vendor::Github => {
            let signature = secret.map(|secret| format!("sha256={}", sign(secret, &[body])));
            headers.extend(signature.map(|signature| ("x-hub-signature-256", signature)));
        }
        Vendor::Jira => {
            let signature = secret.map(|secret| format!("sha256={}", sign(secret, &[body])));
            headers.extend(signature.map(|signature| ("x-hub-signature", signature)));
            headers.extend((number > 0).then(|| ("x-atlassian-webhook-retry", number.to_string())));
        }
        Vendor::Slack => {
            let skew = entry.faults.iter().find_map(|fault| match fault {
                WebhookFault::Skew(seconds) => Some(*seconds),
                _ => None,
            });
            let at = unix(now).saturating_add(skew.unwrap_or(0)).to_string();
            let signed = secret.map(|secret| sign(secret, &[b"v0:", at.as_bytes(), b":", body]));
            headers.extend(signed.map(|signed| ("x-slack-signature", format!("v0={signed}"))));
            headers.push(("x-slack-request-timestamp", at));
            if number > 0 {
                let failure = entry.attempts.last().and_then(|attempt| attempt.failure.clone());
                let failure = match failure.as_deref() {
                    Some("dropped") => "connection_failed".to_owned(),
                    Some(failure) => failure.to_owned(),
                    None => "http_error".to_owned(),
                };
                headers.push(("x-slack-retry-num", number.to_string()));
                headers.push(("x-slack-retry-reason", failure));
            }
        }
    }
    headers
}

/// Delivers webhooks, one after the other, for as long as the emulator is there.
pub(super) async fn deliver(shared: Arc<Shared>) {
    loop {
        let taken = shared.world().outbox.take(shared.env.monotonic());
        let (entry, number) = match taken {
            Ok(job) => job,
            Err(until) => {
                shared.progress.send_modify(|progress| *progress += 1);
                let woken = shared.wake.notified();
                match until {
                    Some(until) => tokio::select! {
                        () = woken => {}
                        () = shared.env.clock().sleep_until(until) => {}
                    },
                    None => woken.await,
                }
                continue;
            }
        };
        let at = shared.env.now();
        let planned = {
            let world = shared.world();
            world.outbox.sent.get(entry).map(|sent| {
                let dropped = sent.faults.contains(&WebhookFault::DropAll)
                    || (sent.faults.contains(&WebhookFault::DropFirst) && sent.attempts.is_empty());
                let message = &sent.message;
                let request = (message.url.clone(), headers(sent, number, at), message.body.clone());
                (message.vendor, (!dropped).then_some(request))
            })
        };
        let mut attempt = Attempt { at, status: None, failure: None, answer: String::new() };
        let mut no_retry = false;
        match planned {
            None | Some((_, None)) => attempt.failure = Some("dropped".to_owned()),
            Some((vendor, Some((url, headers, body)))) => {
                let posted = shared.env.timeout(patience(vendor), post(&url, headers, body)).await;
                match posted {
                    None => attempt.failure = Some("http_timeout".to_owned()),
                    Some(Err(())) => attempt.failure = Some("connection_failed".to_owned()),
                    Some(Ok(answer)) => {
                        attempt.status = Some(answer.0);
                        (attempt.answer, no_retry) = (answer.1, answer.2);
                    }
                }
            }
        }
        let now = shared.env.monotonic();
        shared.world().outbox.record(now, entry, number, attempt, no_retry);
        shared.progress.send_modify(|progress| *progress += 1);
    }
}

/// Posts a webhook: status and body of the answer, and whether it asks not to be asked again.
async fn post(
    url: &str,
    headers: Vec<(&'static str, String)>,
    body: String,
) -> Result<(u16, String, bool), ()> {
    let url: Uri = url.parse().map_err(|_| ())?;
    // Receivers of tests are on the loopback, without TLS.
    let host = url.host().filter(|_| url.scheme_str() == Some("http")).ok_or(())?;
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await.map_err(|_| ())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| ())?;
    let mut request = Request::post(url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str));
    request = request.header("host", url.authority().map_or(host, http::uri::Authority::as_str));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|_| ())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|_| ())?;
        let status = response.status().as_u16();
        let no_retry =
            response.headers().get("x-slack-no-retry").is_some_and(|value| value.as_bytes() == b"1");
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        Ok((status, body.unwrap_or_default(), no_retry))
    };
    // The connection runs for as long as the exchange does, and goes with it.
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_vendors_publish() {
        let github = sign("It's a Secret to Everybody", &[b"Hello, World!"]);
        assert_eq!(github, "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        // RFC 4231, case 2.
        let parts = sign("Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(parts, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
