//! Stores whose every call is within one tenant, or above all of them in the same way everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use agentprovision_core::agent::{AgentQuery, AgentRecord, AgentStore, AgentVersion, VersionHash};
use agentprovision_core::audit::merkle::TreeHash;
use agentprovision_core::audit::{AuditEntry, AuditReader, Checkpoint, InclusionProof};
use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::effect::{EffectStore, Effects, OperatorEffects};
use agentprovision_core::event::{EventLog, NumberedEvent};
use agentprovision_core::id::{
    AgentId, ApiKeyId, EndpointId, IntegrationId, ReservationId, RunId, SessionId, SignalId, TenantId,
    UsageId, UserId, WorkerId,
};
use agentprovision_core::idempotency::{Begun, IdempotencyStore, WorkKey};
use agentprovision_core::identity::{ApiKey, ApiKeyStore, User, UserStore};
use agentprovision_core::integration::{Integration, IntegrationQuery, IntegrationStore};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::run::{
    JournalRow, PayloadHash, RunIndex, RunQuery, RunRecord, SessionRecord, SessionStore, Signal,
};
use agentprovision_core::secret::{Leased, Sealed, SealedStore, SecretLease, SecretPath};
use agentprovision_core::tenant::Revision;
use agentprovision_core::usage::{
    BudgetKey, BudgetState, Demand, Period, QuotaGate, Reservation, UsageEvent, UsageReader, UsageSummary,
};
use agentprovision_core::webhook::{EndpointStore, WebhookEndpoint};
use agentprovision_core::{Result, Timestamp};
use async_trait::async_trait;

use super::backend::Router;

/// Methods that go to the home of their context's tenant. What is given by value is cloned: the call may have to be made
/// again.
macro_rules! within {
    ($($contract:ident as $field:ident { $($method:ident($($name:ident: $kind:ty),*) -> $result:ty;)* } $({ $($more:item)* })?)*) => {$(
        #[async_trait]
        impl $contract for Router {
            $(async fn $method(&self, ctx: &Context, $($name: $kind),*) -> Result<$result> {
                self.on(ctx.tenant(), |stores| {
                    $(let $name = Clone::clone(&$name);)*
                    async move { stores.$field.$method(ctx, $($name),*).await }
                })
                .await
            })*
            $($($more)*)?
        }
    )*};
}

within! {
    UserStore as users {
        insert(user: User, effects: Effects) -> ();
        get(id: UserId) -> User;
        list(page: PageRequest) -> Page<User>;
        replace(user: User, expected: Revision, effects: Effects) -> ();
        delete(id: UserId, effects: Effects) -> ();
    } {
        async fn bootstrap(
            &self,
            op: &OperatorContext,
            tenant: TenantId,
            user: User,
            effects: OperatorEffects,
        ) -> Result<()> {
            self.on(tenant, |stores| {
                let (user, effects) = (user.clone(), effects.clone());
                async move { stores.users.bootstrap(op, tenant, user, effects).await }
            })
            .await?;
            self.carry_on(op, self.member(self.place(tenant).await?)).await;
            Ok(())
        }

        async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
            self.on(tenant, |stores| stores.users.member(tenant, id)).await
        }
    }

    ApiKeyStore as keys {
        insert(key: ApiKey, effects: Effects) -> ();
        get(id: ApiKeyId) -> ApiKey;
        list(page: PageRequest) -> Page<ApiKey>;
        revoke(id: ApiKeyId, at: Timestamp, effects: Effects) -> ();
    } {
        async fn lookup(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
            self.on(tenant, |stores| stores.keys.lookup(tenant, id)).await
        }
    }

    AgentStore as agents {
        insert(agent: AgentRecord, version: AgentVersion, effects: Effects) -> ();
        get(id: AgentId) -> AgentRecord;
        version(id: AgentId, hash: VersionHash) -> AgentVersion;
        replace(agent: AgentRecord, add: Option<AgentVersion>, expected: Revision, effects: Effects) -> ();
        list(query: AgentQuery) -> Page<AgentRecord>;
        delete(id: AgentId, expected: Revision, effects: Effects) -> ();
    }

    RunIndex as index {
        get(run: RunId) -> RunRecord;
        list(query: RunQuery) -> Page<RunRecord>;
        journal(run: RunId, after: u64, limit: u32) -> Vec<JournalRow>;
        payloads(run: RunId, hashes: &[PayloadHash]) -> Vec<Vec<u8>>;
        signal(run: RunId, id: SignalId, signal: Signal, effects: Effects) -> ();
    }

    SessionStore as sessions {
        open(session: SessionRecord, effects: Effects) -> ();
        get(id: SessionId) -> SessionRecord;
        list(page: PageRequest) -> Page<SessionRecord>;
    }

    SealedStore as secrets {
        get(path: &SecretPath) -> Sealed;
        put(path: &SecretPath, value: Sealed, lease: Option<SecretLease>) -> ();
        delete(path: &SecretPath) -> ();
        lease(path: &SecretPath, holder: WorkerId, term: Duration) -> Leased;
    }

    IntegrationStore as integrations {
        insert(integration: Integration, effects: Effects) -> ();
        get(id: IntegrationId) -> Integration;
        replace(integration: Integration, expected: Revision, effects: Effects) -> ();
        list(query: IntegrationQuery) -> Page<Integration>;
        delete(id: IntegrationId, expected: Revision, effects: Effects) -> ();
    }

    IdempotencyStore as idempotency {
        begin(work: &WorkKey, input: [u8; 32], term: Duration, keep: Duration) -> Begun;
        finish(work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> ();
    }

    EndpointStore as endpoints {
        insert(endpoint: WebhookEndpoint, effects: Effects) -> ();
        get(id: EndpointId) -> WebhookEndpoint;
        replace(endpoint: WebhookEndpoint, expected: Revision, effects: Effects) -> ();
        list(page: PageRequest) -> Page<WebhookEndpoint>;
        delete(id: EndpointId, expected: Revision, effects: Effects) -> ();
    } {
        async fn lookup(&self, tenant: TenantId, id: EndpointId) -> Result<WebhookEndpoint> {
            self.on(tenant, |stores| stores.endpoints.lookup(tenant, id)).await
        }
    }

    AuditReader as audit {
        entries(from: u64, limit: u32) -> Vec<AuditEntry>;
        checkpoint() -> Checkpoint;
        prove(seq: u64, size: u64) -> InclusionProof;
        consistency(old: u64, new: u64) -> Vec<TreeHash>;
    } {
        async fn platform_entries(&self, op: &OperatorContext, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
            self.carry_all(op).await?;
            self.home().stores.audit.platform_entries(op, from, limit).await
        }

        async fn platform_checkpoint(&self, op: &OperatorContext) -> Result<Checkpoint> {
            self.carry_all(op).await?;
            self.home().stores.audit.platform_checkpoint(op).await
        }
    }

    UsageReader as usage {
        summary(period: Period) -> UsageSummary;
        events(after: Option<UsageId>, limit: u32) -> Vec<UsageEvent>;
    }

    QuotaGate as quota {
        define(key: &BudgetKey, cap: Option<i64>) -> ();
        reserve(id: ReservationId, demand: Demand) -> Reservation;
        settle(held: Reservation, actual: Demand) -> ();
        state(key: &BudgetKey) -> Option<BudgetState>;
    }

    EffectStore as effects {
        apply(effects: Effects) -> ();
    }

    EventLog as events {
        read(after: u64, limit: u32) -> Vec<NumberedEvent>;
    } {
        async fn unpublished(&self, limit: u32) -> Result<Vec<NumberedEvent>> {
            let found = self.each("events", |_, member| member.stores.events.unpublished(limit)).await?;
            let mut events: Vec<_> = found.into_iter().flat_map(|(_, events)| events).collect();
            events.sort_by_key(|numbered| (numbered.event.tenantid, numbered.seq));
            events.truncate(limit as usize);
            Ok(events)
        }

        async fn published(&self, events: &[NumberedEvent]) -> Result<()> {
            let mut homes: BTreeMap<usize, Vec<NumberedEvent>> = BTreeMap::new();
            for event in events {
                let place = self.place(event.event.tenantid).await?;
                homes.entry(place).or_default().push(event.clone());
            }
            if homes.is_empty() {
                return self.home().stores.events.published(&[]).await;
            }
            for (place, events) in homes {
                self.member(place).stores.events.published(&events).await?;
            }
            Ok(())
        }
    }
}

impl Router {
    /// Brings what every shard's platform log has to the directory's database.
    async fn carry_all(&self, op: &OperatorContext) -> Result<()> {
        for member in self.members() {
            self.carry(op, member).await?;
        }
        Ok(())
    }
}
