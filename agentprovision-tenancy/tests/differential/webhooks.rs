//! Operations on endpoints and deliveries of webhooks.

use agentprovision_core::Context;
use agentprovision_core::backend::Stores;
use agentprovision_core::id::{DeliveryId, EndpointId, Id as _, RunId, WorkerId};
use agentprovision_core::webhook::{DeliveryEnd, EndpointState, NewDelivery, WebhookEndpoint};
use agentprovision_core::{Effects, ErrorKind};
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{Answer, Taken};
use crate::args::{Script, TEXTS};
use crate::methods::Method;
use crate::ops::{Op, Rng};
use crate::plan::{Call, plan, walk};

/// Keys of an endpoint.
const KEYS: u64 = 6;

/// The delivery with a key of an endpoint: another one is another delivery.
fn delivery(endpoint: EndpointId, key: u64) -> DeliveryId {
    DeliveryId::from_uuid_unchecked(Uuid::from_u128(endpoint.uuid().as_u128() + 1000 * (1 + u128::from(key))))
}

impl Script {
    pub(crate) async fn on_endpoints(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, id): (Context, EndpointId) = (self.ctx(rng), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::EndpointsInsert => {
                let endpoint = self.new_endpoint(rng);
                plan!(endpoints.insert(&ctx; endpoint, effects))
            }
            Method::EndpointsGet => plan!(endpoints.get(&ctx; id)),
            Method::EndpointsReplace => {
                let new = self.new_endpoint(rng);
                let old = self.model.endpoints.get(&ctx, new.id).await;
                let (created_at, current) =
                    old.map_or((new.created_at, 1), |old| (old.created_at, old.revision));
                let (endpoint, expected) =
                    (WebhookEndpoint { created_at, ..new }, self.revision(rng, current));
                plan!(endpoints.replace(&ctx; endpoint, expected, effects))
            }
            Method::EndpointsList => {
                let page = self.page(rng);
                walk!(endpoints(&ctx; page => page))
            }
            Method::EndpointsLookup => {
                let tenant = ctx.tenant();
                plan!(endpoints.lookup(; tenant, id))
            }
            _ => {
                let current = self.model.endpoints.get(&ctx, id).await.map_or(1, |old| old.revision);
                let expected = self.revision(rng, current);
                plan!(endpoints.delete(&ctx; id, expected, effects))
            }
        }
    }

    pub(crate) fn on_inbox(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, endpoint): (Context, EndpointId) = (self.ctx(rng), self.id(rng));
        let (tenant, id) = (ctx.tenant(), delivery(endpoint, rng.below(KEYS)));
        match op.method {
            Method::InboxAccept => {
                let delivery = self.new_delivery(rng, endpoint);
                plan!(inbox.accept(; tenant, delivery))
            }
            Method::InboxClaim => {
                let (worker, term) = (self.id::<WorkerId>(rng), self.term(rng));
                let limit: u32 = rng.pick(&[0, 1, 1, 2, 3, 5, 10]);
                let after = rng.maybe(&[tenant]);
                plan!(inbox.claim(; worker, term, limit, after))
            }
            Method::InboxFinish => {
                let never = (tenant, id, rng.below(3));
                let (tenant, id, epoch) = self.taken(rng, never);
                let end = self.end(rng);
                let ctx = self.contexts().iter().find(|ctx| ctx.tenant() == tenant).expect("a tenant");
                let effects: Effects = self.effects(rng, ctx, op.bare);
                plan!(inbox.finish(; tenant, id, epoch, end, effects))
            }
            Method::InboxAdvance | Method::InboxMark => {
                let (key, version) = (rng.pick(&TEXTS[..4]), rng.pick(&TEXTS));
                let arguments = format!("{:?}", (tenant, endpoint, key, version));
                let advance = op.method == Method::InboxAdvance;
                let call = move |stores: Stores| -> BoxFuture<'static, Answer> {
                    Box::pin(async move {
                        match advance {
                            true => Answer::of(stores.inbox.advance(tenant, endpoint, key, version).await),
                            false => Answer::of(stores.inbox.mark(tenant, endpoint, key).await),
                        }
                    })
                };
                (arguments, Box::new(call))
            }
            Method::InboxGet => plan!(inbox.get(&ctx; id)),
            Method::InboxList => {
                let page = self.page(rng);
                plan!(inbox.list(&ctx; endpoint, page))
            }
            Method::InboxReplay => {
                // Mostly one that somebody has had.
                let (tenant, id, _) = self.taken(rng, (tenant, id, 0));
                let ctx = self.contexts().iter().find(|ctx| ctx.tenant() == tenant).expect("a tenant");
                let (ctx, effects) = (ctx.clone(), self.effects(rng, ctx, op.bare));
                plan!(inbox.replay(&ctx; id, effects))
            }
            _ => {
                let (keep, limit): (_, u32) = (self.term(rng), rng.pick(&[0, 1, 2, 100]));
                plan!(inbox.expire(; keep, limit))
            }
        }
    }

    /// A delivery that was taken lately, or another one.
    fn taken(&self, rng: &mut Rng, other: Taken) -> Taken {
        let lately = &self.taken[self.taken.len().saturating_sub(6)..];
        if lately.is_empty() || rng.one_in(5) { other } else { rng.pick(lately) }
    }

    fn end(&self, rng: &mut Rng) -> DeliveryEnd {
        let error = rng.pick(ErrorKind::ALL);
        match rng.below(4) {
            0 => DeliveryEnd::Retry(self.term(rng), error),
            1 => DeliveryEnd::Failed(error),
            _ => DeliveryEnd::Done(rng.some(3, |rng| self.id::<RunId>(rng))),
        }
    }

    fn new_delivery(&self, rng: &mut Rng, endpoint: EndpointId) -> NewDelivery {
        let key = rng.below(KEYS);
        let digest = u8::from(rng.one_in(4));
        NewDelivery {
            id: delivery(endpoint, key),
            endpoint,
            key: TEXTS[key as usize].to_owned(),
            digest: [digest; 32],
            kind: rng.pick(&TEXTS).to_owned(),
            headers: json!({ "x-text": rng.pick(&TEXTS) }).to_string(),
            body: vec![digest; rng.pick(&[0, 1, 100])],
            received_at: self.created(),
        }
    }

    fn new_endpoint(&self, rng: &mut Rng) -> WebhookEndpoint {
        let (now, integration) = (self.now(), self.id(rng));
        WebhookEndpoint {
            id: self.id(rng),
            name: rng.pick(&TEXTS).to_owned(),
            vendor: rng.pick(&TEXTS).to_owned(),
            scheme: json!({ "text": rng.pick(&TEXTS), "n": 0.5 }),
            integration: rng.maybe(&[integration]),
            triggers: json!([rng.pick(&TEXTS)]),
            state: if rng.one_in(4) { EndpointState::Disabled } else { EndpointState::Active },
            owner: self.id(rng),
            created_at: self.created(),
            updated_at: now,
            revision: 1,
        }
    }
}
