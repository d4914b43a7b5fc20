//! Operations on secrets, integrations and work under keys.

use std::time::Duration;

use agentprovision_core::Context;
use agentprovision_core::backend::Stores;
use agentprovision_core::id::{IntegrationId, WorkerId};
use agentprovision_core::idempotency::WorkKey;
use agentprovision_core::integration::{Account, Health, Integration, IntegrationQuery, IntegrationState};
use agentprovision_core::secret::{Sealed, SecretLease, SecretPath};
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::answer::Answer;
use crate::args::{Script, TEXTS};
use crate::methods::Method;
use crate::ops::{Op, Rng};
use crate::plan::{Call, plan, walk};

const CONNECTORS: [&str; 3] = ["crm", "Crm", "\u{e9}"];

/// The secrets of a tenant.
pub(crate) fn paths() -> [SecretPath; 3] {
    ["a", "a/b", "b"].map(|path| SecretPath::new(path).expect("a path"))
}

impl Script {
    pub(crate) async fn on_integrations(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, id): (Context, IntegrationId) = (self.ctx(rng), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::IntegrationsInsert => {
                let integration = self.new_integration(rng);
                plan!(integrations.insert(&ctx; integration, effects))
            }
            Method::IntegrationsGet => plan!(integrations.get(&ctx; id)),
            Method::IntegrationsReplace => {
                let new = self.new_integration(rng);
                let old = self.model.integrations.get(&ctx, new.id).await;
                let (created_at, current) =
                    old.map_or((new.created_at, 1), |old| (old.created_at, old.revision));
                let (integration, expected) =
                    (Integration { created_at, ..new }, self.revision(rng, current));
                plan!(integrations.replace(&ctx; integration, expected, effects))
            }
            Method::IntegrationsList => {
                let page = self.page(rng);
                let (connector, state) = (rng.maybe(&CONNECTORS), rng.maybe(IntegrationState::ALL));
                let query = move |page| {
                    let mut query = IntegrationQuery::page(page);
                    (query.connector, query.state) = (connector.map(str::to_owned), state);
                    query
                };
                walk!(integrations(&ctx; page => query(page)))
            }
            _ => {
                let current = self.model.integrations.get(&ctx, id).await.map_or(1, |old| old.revision);
                let expected = self.revision(rng, current);
                plan!(integrations.delete(&ctx; id, expected, effects))
            }
        }
    }

    pub(crate) async fn on_secrets(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, path) = (self.ctx(rng), rng.pick(&paths()));
        match op.method {
            Method::SecretsGet => plan!(secrets.get(&ctx, &path;)),
            Method::SecretsPut => {
                let current = self.model.secrets.get(&ctx, &path).await.map_or(0, |sealed| sealed.version);
                let version = self.revision(rng, current + 1);
                let value = Sealed { bytes: vec![rng.below(256) as u8; rng.pick(&[0, 1, 100])], version };
                let lease = if rng.one_in(2) { None } else { Some(self.secret_lease(rng)) };
                plan!(secrets.put(&ctx, &path; value, lease))
            }
            Method::SecretsDelete => plan!(secrets.delete(&ctx, &path;)),
            _ => {
                let (holder, term) = (self.id::<WorkerId>(rng), self.term(rng));
                plan!(secrets.lease(&ctx, &path; holder, term))
            }
        }
    }

    pub(crate) fn on_idempotency(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let ctx = self.ctx(rng);
        let work =
            WorkKey { scope: rng.pick(&TEXTS[..2]).to_owned(), key: rng.pick(&TEXTS[2..5]).to_owned() };
        if op.method == Method::IdempotencyFinish {
            let epoch = rng.pick(&[1, 1, 1, 2, 2, 3]);
            let answer = if rng.one_in(3) { None } else { Some(vec![rng.below(256) as u8; 3]) };
            return plan!(idempotency.finish(&ctx, &work; epoch, answer));
        }
        let input = [u8::from(rng.one_in(4)); 32];
        let (term, keep) = (self.term(rng), self.term(rng));
        plan!(idempotency.begin(&ctx, &work; input, term, keep))
    }

    /// The lease that was given lately, or one that never was.
    fn secret_lease(&self, rng: &mut Rng) -> SecretLease {
        let lately = &self.leases[self.leases.len().saturating_sub(3)..];
        if lately.is_empty() || rng.one_in(5) {
            return SecretLease { holder: self.id(rng), epoch: rng.below(4) };
        }
        rng.pick(lately)
    }

    /// A term. Where the store goes by a clock of its own, one that is over at once or never.
    pub(crate) fn term(&self, rng: &mut Rng) -> Duration {
        let terms: &[u64] = if self.own_time { &[0, 86_400] } else { &[0, 1, 10, 10, 86_400] };
        Duration::from_secs(rng.pick(terms))
    }

    fn new_integration(&self, rng: &mut Rng) -> Integration {
        let now = self.now();
        let account = Account { id: rng.pick(&TEXTS).to_owned(), name: rng.maybe(&TEXTS).map(str::to_owned) };
        let health = Health {
            healthy: rng.one_in(2),
            error: rng.maybe(agentprovision_core::ErrorKind::ALL),
            message: rng.maybe(&TEXTS).map(str::to_owned),
            checked_at: now,
        };
        Integration {
            id: self.id(rng),
            name: rng.pick(&TEXTS).to_owned(),
            connector: rng.pick(&CONNECTORS).to_owned(),
            auth: rng.pick(&TEXTS).to_owned(),
            settings: serde_json::Map::from_iter([("text".to_owned(), json!([rng.pick(&TEXTS), 0.5]))]),
            account: rng.maybe(&[account]),
            state: rng.pick(IntegrationState::ALL),
            health: rng.maybe(&[health]),
            created_by: self.id(rng),
            created_at: self.created(),
            updated_at: now,
            revision: 1,
        }
    }
}
