//! From an operation to calls: the arguments are made once, and each store gets a copy.

use std::time::Duration;

use agentprovision_core::agent::{AgentQuery, AgentState};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{
    AgentId, ApiKeyId, BackupId, ReservationId, RunId, SessionId, SignalId, TenantId, UserId, WorkerId,
};
use agentprovision_core::run::{ClaimRequest, Fence, JournalBatch, RunQuery, RunStatus, STATE_VERSION};
use agentprovision_core::tenant::TenantState;
use agentprovision_core::usage::Reservation;
use futures_util::future::BoxFuture;

use crate::answer::Answer;
use crate::args::Script;
use crate::methods::Method;
use crate::ops::{Op, Rng};

pub(crate) type Call = Box<dyn Fn(Stores) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What to do with each store.
pub(crate) struct Plan {
    /// The arguments, to print.
    pub(crate) arguments: String,
    pub(crate) call: Call,
    /// How far to move the clocks first.
    pub(crate) advance: Duration,
}

/// A call of a method: arguments behind `&` go by reference.
macro_rules! plan {
    ($store:ident . $method:ident ( $(&$by_ref:ident),* ; $($by_value:ident),* )) => {
        (
            format!("{:?}", ($(&$by_ref,)* $(&$by_value,)*)),
            Box::new(move |stores: Stores| -> BoxFuture<'static, Answer> {
                $(let $by_ref = $by_ref.clone();)*
                $(let $by_value = $by_value.clone();)*
                Box::pin(async move { Answer::of(stores.$store.$method($(&$by_ref,)* $($by_value),*).await) })
            }) as Call,
        )
    };
}

/// A list that is read to its end, page by page.
macro_rules! walk {
    ($store:ident ( &$by_ref:ident ; $page:ident => $request:expr )) => {
        (
            format!("{:?}", (&$by_ref, &$page)),
            Box::new(move |stores: Stores| -> BoxFuture<'static, Answer> {
                let ($by_ref, mut page) = ($by_ref.clone(), $page.clone());
                Box::pin(async move {
                    let mut all = Answer::default();
                    // A list that does not move on must not hang the comparison.
                    for _ in 0..50 {
                        let $page = page.clone();
                        let result = stores.$store.list(&$by_ref, $request).await;
                        let next = result.as_ref().ok().and_then(|page| page.next);
                        all = all.and(Answer::of(result));
                        let Some(cursor) = next else { break };
                        page = page.after(cursor);
                    }
                    all
                })
            }) as Call,
        )
    };
}

pub(crate) use {plan, walk};

/// A transaction of a run, to its end.
async fn transaction(stores: Stores, fence: Fence, end: Option<(JournalBatch, Effects)>) -> Answer {
    match (stores.runs.begin(&fence).await, end) {
        (Ok(tx), Some((batch, effects))) => Answer::of(tx.commit(batch, effects).await),
        (Ok(tx), None) => Answer::of(tx.rollback().await),
        (Err(error), _) => Answer::of::<()>(Err(error)),
    }
}

impl Script {
    pub(crate) async fn plan(&self, op: Op) -> Plan {
        let mut rng = Rng::new(op.seed);
        let millis = rng.pick(&[0, 0, 0, 1, 2]);
        let advance = match op.method {
            Method::ClockAdvance => Duration::from_secs(rng.pick(&[1, 10, 61])),
            // By a clock of its own a store tells them apart.
            Method::InboxAccept | Method::InboxFinish | Method::InboxReplay | Method::InboxExpire => {
                Duration::from_millis(1 + millis)
            }
            _ => Duration::from_millis(millis),
        };
        self.clock.advance(advance);
        let (arguments, call) = self.call(op, &mut rng).await;
        Plan { arguments, call, advance }
    }

    async fn call(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        match op.method {
            Method::TenantsCreate
            | Method::TenantsGet
            | Method::TenantsList
            | Method::TenantsReplace
            | Method::TenantsOwn
            | Method::TenantsState => self.on_tenants(op, rng).await,
            Method::UsersInsert
            | Method::UsersBootstrap
            | Method::UsersGet
            | Method::UsersList
            | Method::UsersReplace
            | Method::UsersDelete
            | Method::UsersMember => self.on_users(op, rng).await,
            Method::KeysInsert
            | Method::KeysGet
            | Method::KeysList
            | Method::KeysRevoke
            | Method::KeysLookup => self.on_keys(op, rng),
            Method::AgentsInsert
            | Method::AgentsGet
            | Method::AgentsVersion
            | Method::AgentsReplace
            | Method::AgentsList
            | Method::AgentsDelete => self.on_agents(op, rng).await,
            Method::RunsCreate
            | Method::RunsClaim
            | Method::RunsRenew
            | Method::RunsCommit
            | Method::TxCommit
            | Method::TxRollback => self.on_runs(op, rng),
            Method::IndexGet
            | Method::IndexList
            | Method::IndexJournal
            | Method::IndexPayloads
            | Method::IndexSignal
            | Method::SessionsOpen
            | Method::SessionsGet
            | Method::SessionsList => self.on_index(op, rng),
            Method::SecretsGet | Method::SecretsPut | Method::SecretsDelete | Method::SecretsLease => {
                self.on_secrets(op, rng).await
            }
            Method::IntegrationsInsert
            | Method::IntegrationsGet
            | Method::IntegrationsReplace
            | Method::IntegrationsList
            | Method::IntegrationsDelete => self.on_integrations(op, rng).await,
            Method::IdempotencyBegin | Method::IdempotencyFinish => self.on_idempotency(op, rng),
            Method::EndpointsInsert
            | Method::EndpointsGet
            | Method::EndpointsReplace
            | Method::EndpointsList
            | Method::EndpointsDelete
            | Method::EndpointsLookup => self.on_endpoints(op, rng).await,
            Method::InboxAccept
            | Method::InboxClaim
            | Method::InboxFinish
            | Method::InboxAdvance
            | Method::InboxMark
            | Method::InboxGet
            | Method::InboxList
            | Method::InboxReplay
            | Method::InboxExpire => self.on_inbox(op, rng),
            Method::BackupsBegin
            | Method::BackupsFinish
            | Method::BackupsGet
            | Method::BackupsList
            | Method::BackupsExpire
            | Method::BackupsForget => self.on_backups(op, rng),
            _ => self.on_logs(op, rng),
        }
    }

    fn on_backups(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (by, ctx, id): (_, _, BackupId) = (self.op.clone(), self.ctx(rng), self.id(rng));
        let (tenant, guarded) = (ctx.tenant(), rng.one_in(3));
        let effects = self.operator_effects(rng, tenant, op.bare, guarded);
        match op.method {
            Method::BackupsBegin => {
                let new = self.new_backup(rng, tenant);
                plan!(backups.begin(&by; new, effects))
            }
            Method::BackupsFinish => {
                let (at, end) = (self.now(), self.backup_end(rng, tenant));
                plan!(backups.finish(&by; tenant, id, at, end, effects))
            }
            Method::BackupsGet => plan!(backups.get(&by; tenant, id)),
            Method::BackupsList => {
                let page = self.page(rng);
                plan!(backups.list(&by; tenant, page))
            }
            Method::BackupsExpire => {
                let keep: u32 = rng.pick(&[0, 1, 1, 2, 3]);
                plan!(backups.expire(&by; tenant, keep))
            }
            _ => {
                let ids = rng.some(4, |rng| self.id::<BackupId>(rng));
                let arguments = format!("{:?}", (tenant, &ids, &effects));
                let call = move |stores: Stores| -> BoxFuture<'static, Answer> {
                    let (by, ids, effects) = (by.clone(), ids.clone(), effects.clone());
                    Box::pin(
                        async move { Answer::of(stores.backups.forget(&by, tenant, &ids, effects).await) },
                    )
                };
                (arguments, Box::new(call))
            }
        }
    }

    async fn on_tenants(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (by, ctx, id) = (self.op.clone(), self.ctx(rng), self.ctx(rng).tenant());
        match op.method {
            Method::TenantsCreate => {
                let tenant = self.new_tenant(rng);
                // A tenant that is not there yet is not active.
                let guarded = rng.one_in(10);
                let effects = self.operator_effects(rng, tenant.id, op.bare, guarded);
                plan!(tenants.create(&by; tenant, effects))
            }
            Method::TenantsGet => plan!(tenants.get(&by; id)),
            Method::TenantsList => {
                let page = self.page(rng);
                walk!(tenants(&by; page => page))
            }
            Method::TenantsReplace => {
                let (tenant, expected) = self.changed_tenant(rng).await;
                let guarded = rng.one_in(3);
                let mut effects = self.operator_effects(rng, tenant.id, op.bare, guarded);
                if tenant.state == TenantState::Deleted {
                    // A tenant's budgets go with it: no contract says what becomes of operations on them.
                    effects.tenant.quota.clear();
                }
                plan!(tenants.replace(&by; tenant, expected, effects))
            }
            Method::TenantsOwn => plan!(tenants.own(&ctx;)),
            _ => plan!(tenants.state(; id)),
        }
    }

    async fn on_users(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let ctx = self.ctx(rng);
        let (tenant, id): (TenantId, UserId) = (ctx.tenant(), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::UsersInsert => {
                let user = self.new_user(rng);
                plan!(users.insert(&ctx; user, effects))
            }
            Method::UsersBootstrap => {
                let (by, user) = (self.op.clone(), self.new_user(rng));
                let effects = self.operator_effects(rng, tenant, op.bare, true);
                plan!(users.bootstrap(&by; tenant, user, effects))
            }
            Method::UsersGet => plan!(users.get(&ctx; id)),
            Method::UsersList => {
                let page = self.page(rng);
                walk!(users(&ctx; page => page))
            }
            Method::UsersReplace => {
                let (user, expected) = self.changed_user(rng, &ctx).await;
                plan!(users.replace(&ctx; user, expected, effects))
            }
            Method::UsersDelete => plan!(users.delete(&ctx; id, effects)),
            _ => plan!(users.member(; tenant, id)),
        }
    }

    fn on_keys(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let ctx = self.ctx(rng);
        let (tenant, id): (TenantId, ApiKeyId) = (ctx.tenant(), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::KeysInsert => {
                let key = self.new_key(rng);
                plan!(keys.insert(&ctx; key, effects))
            }
            Method::KeysGet => plan!(keys.get(&ctx; id)),
            Method::KeysList => {
                let page = self.page(rng);
                walk!(keys(&ctx; page => page))
            }
            Method::KeysRevoke => {
                let at = self.now();
                plan!(keys.revoke(&ctx; id, at, effects))
            }
            _ => plan!(keys.lookup(; tenant, id)),
        }
    }

    async fn on_agents(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, id): (_, AgentId) = (self.ctx(rng), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::AgentsInsert => {
                let (agent, version) = self.new_agent(rng);
                plan!(agents.insert(&ctx; agent, version, effects))
            }
            Method::AgentsGet => plan!(agents.get(&ctx; id)),
            Method::AgentsVersion => {
                let hash = self.version(rng).hash;
                plan!(agents.version(&ctx; id, hash))
            }
            Method::AgentsReplace => {
                let (agent, add, expected) = self.changed_agent(rng, &ctx).await;
                plan!(agents.replace(&ctx; agent, add, expected, effects))
            }
            Method::AgentsList => {
                let (page, state) = (self.page(rng), rng.maybe(AgentState::ALL));
                let query = move |page| match state {
                    Some(state) => AgentQuery::page(page).state(state),
                    None => AgentQuery::page(page),
                };
                walk!(agents(&ctx; page => query(page)))
            }
            _ => {
                let id = self.any_agent(rng);
                let expected = self.agent_revision(rng, &ctx, id).await;
                plan!(agents.delete(&ctx; id, expected, effects))
            }
        }
    }

    fn on_runs(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, fence) = (self.ctx(rng), self.fence(rng));
        let of_fence = self.contexts().iter().find(|ctx| ctx.tenant() == fence.tenant).unwrap_or(&ctx);
        let until = self.lease_until(rng);
        match op.method {
            Method::RunsCreate => {
                let effects = self.effects(rng, &ctx, op.bare);
                let run = self.new_run(rng, &ctx);
                plan!(runs.create(&ctx; run, effects))
            }
            Method::RunsClaim => {
                let (worker, limit): (WorkerId, usize) = (self.id(rng), rng.pick(&[0, 1, 2, 3, 10]));
                let version = STATE_VERSION + rng.below(2) as u32;
                let after = if rng.one_in(2) { Some(self.id(rng)) } else { None };
                let full = if rng.one_in(4) { rng.some(3, |rng| self.id(rng)) } else { Vec::new() };
                let request = ClaimRequest::new(worker, until, limit, version)
                    .after(after)
                    .per_tenant(rng.pick(&[0, 1, 1, 2, usize::MAX, usize::MAX]))
                    .full(full);
                plan!(runs.claim(; request))
            }
            Method::RunsRenew => plan!(runs.renew(&fence; until)),
            Method::TxRollback => {
                let call = move |stores| -> BoxFuture<'static, Answer> {
                    Box::pin(transaction(stores, fence, None))
                };
                (format!("{fence:?}"), Box::new(call))
            }
            _ => {
                let effects = self.effects(rng, of_fence, op.bare);
                let batch = self.batch(rng, fence.run);
                if op.method == Method::RunsCommit {
                    return plan!(runs.commit(&fence; batch, effects));
                }
                let arguments = format!("{:?}", (&fence, &batch, &effects));
                let call = move |stores| -> BoxFuture<'static, Answer> {
                    Box::pin(transaction(stores, fence, Some((batch.clone(), effects.clone()))))
                };
                (arguments, Box::new(call))
            }
        }
    }

    fn on_index(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, run): (_, RunId) = (self.ctx(rng), self.id(rng));
        let effects = self.effects(rng, &ctx, op.bare);
        match op.method {
            Method::IndexGet => plan!(index.get(&ctx; run)),
            Method::IndexList => {
                let page = self.page(rng);
                let agent = if rng.one_in(3) { Some(self.id(rng)) } else { None };
                let session = if rng.one_in(4) { Some(self.id(rng)) } else { None };
                let status = if rng.one_in(3) { Some(rng.pick(RunStatus::ALL)) } else { None };
                let query = move |page| {
                    let mut query = RunQuery::default();
                    (query.page, query.agent, query.session, query.status) = (page, agent, session, status);
                    query
                };
                walk!(index(&ctx; page => query(page)))
            }
            Method::IndexJournal => {
                let (after, limit) = self.slice(rng);
                plan!(index.journal(&ctx; run, after, limit))
            }
            Method::IndexPayloads => {
                let names = self.payload_names(rng, run);
                let arguments = format!("{:?}", (&ctx, run, &names));
                let call = move |stores: Stores| -> BoxFuture<'static, Answer> {
                    let (ctx, names) = (ctx.clone(), names.clone());
                    Box::pin(async move { Answer::of(stores.index.payloads(&ctx, run, &names).await) })
                };
                (arguments, Box::new(call))
            }
            Method::IndexSignal => {
                let (id, signal): (SignalId, _) = (self.id(rng), self.signal(rng));
                plan!(index.signal(&ctx; run, id, signal, effects))
            }
            Method::SessionsOpen => {
                let session = self.session(rng);
                plan!(sessions.open(&ctx; session, effects))
            }
            Method::SessionsGet => {
                let id: SessionId = self.id(rng);
                plan!(sessions.get(&ctx; id))
            }
            _ => {
                let page = self.page(rng);
                walk!(sessions(&ctx; page => page))
            }
        }
    }

    fn on_logs(&self, op: Op, rng: &mut Rng) -> (String, Call) {
        let (ctx, by, (from, limit)) = (self.ctx(rng), self.op.clone(), self.slice(rng));
        let (id, key, demand): (ReservationId, _, _) = (self.id(rng), self.budget(rng), self.demand(rng));
        match op.method {
            Method::AuditEntries => plan!(audit.entries(&ctx; from, limit)),
            Method::AuditCheckpoint => plan!(audit.checkpoint(&ctx;)),
            Method::AuditProve => {
                let (seq, size) = (rng.below(8), rng.below(30));
                plan!(audit.prove(&ctx; seq, size))
            }
            Method::AuditConsistency => {
                let (old, new) = (rng.below(8), rng.below(30));
                plan!(audit.consistency(&ctx; old, new))
            }
            Method::AuditPlatformEntries => plan!(audit.platform_entries(&by; from, limit)),
            Method::AuditPlatformCheckpoint => plan!(audit.platform_checkpoint(&by;)),
            Method::UsageSummary => {
                let period = self.period(rng);
                plan!(usage.summary(&ctx; period))
            }
            Method::UsageEvents => {
                let after = if rng.one_in(2) { Some(self.id(rng)) } else { None };
                plan!(usage.events(&ctx; after, limit))
            }
            Method::QuotaDefine => {
                let cap = self.cap(rng);
                plan!(quota.define(&ctx, &key; cap))
            }
            Method::QuotaReserve => plan!(quota.reserve(&ctx; id, demand)),
            Method::QuotaSettle => {
                let held = Reservation { id, demand: Vec::new() };
                plan!(quota.settle(&ctx; held, demand))
            }
            Method::QuotaState => plan!(quota.state(&ctx, &key;)),
            Method::EventsRead => plan!(events.read(&ctx; from, limit)),
            Method::EventsUnpublished => plan!(events.unpublished(; limit)),
            Method::EventsPublished => {
                let events = self.events.iter().filter(|_| rng.one_in(2)).cloned().collect::<Vec<_>>();
                plan!(events.published(&events;))
            }
            Method::EffectsApply => {
                let effects = self.effects(rng, &ctx, op.bare);
                plan!(effects.apply(&ctx; effects))
            }
            _ => (String::new(), Box::new(|_| Box::pin(async { Answer::default() }))),
        }
    }
}
