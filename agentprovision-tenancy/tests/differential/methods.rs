//! Every method of every store, and how often it is called.

macro_rules! methods {
    ($($variant:ident $name:literal $weight:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method { $($variant,)* }

        /// The methods with their names and weights.
        pub(crate) const METHODS: &[(Method, &str, u64)] = &[$((Method::$variant, $name, $weight),)*];

        impl Method {
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Method::$variant => $name,)* }
            }
        }
    };
}

methods! {
    TenantsCreate "tenants.create" 3,
    TenantsGet "tenants.get" 2,
    TenantsList "tenants.list" 2,
    TenantsReplace "tenants.replace" 3,
    TenantsOwn "tenants.own" 2,
    TenantsState "tenants.state" 2,
    UsersInsert "users.insert" 5,
    UsersBootstrap "users.bootstrap" 3,
    UsersGet "users.get" 2,
    UsersList "users.list" 2,
    UsersReplace "users.replace" 4,
    UsersDelete "users.delete" 2,
    UsersMember "users.member" 2,
    KeysInsert "keys.insert" 4,
    KeysGet "keys.get" 2,
    KeysList "keys.list" 2,
    KeysRevoke "keys.revoke" 2,
    KeysLookup "keys.lookup" 2,
    AgentsInsert "agents.insert" 5,
    AgentsGet "agents.get" 2,
    AgentsVersion "agents.version" 2,
    AgentsReplace "agents.replace" 4,
    AgentsList "agents.list" 2,
    AgentsDelete "agents.delete" 4,
    RunsCreate "runs.create" 8,
    RunsClaim "runs.claim" 4,
    RunsRenew "runs.renew" 4,
    RunsCommit "runs.commit" 8,
    TxCommit "tx.commit" 3,
    TxRollback "tx.rollback" 2,
    IndexGet "index.get" 2,
    IndexList "index.list" 2,
    IndexJournal "index.journal" 2,
    IndexPayloads "index.payloads" 2,
    IndexSignal "index.signal" 8,
    SessionsOpen "sessions.open" 5,
    SessionsGet "sessions.get" 2,
    SessionsList "sessions.list" 2,
    SecretsGet "secrets.get" 2,
    SecretsPut "secrets.put" 6,
    SecretsDelete "secrets.delete" 2,
    SecretsLease "secrets.lease" 5,
    IntegrationsInsert "integrations.insert" 5,
    IntegrationsGet "integrations.get" 2,
    IntegrationsReplace "integrations.replace" 4,
    IntegrationsList "integrations.list" 2,
    IntegrationsDelete "integrations.delete" 2,
    IdempotencyBegin "idempotency.begin" 7,
    IdempotencyFinish "idempotency.finish" 5,
    EndpointsInsert "endpoints.insert" 5,
    EndpointsGet "endpoints.get" 2,
    EndpointsReplace "endpoints.replace" 3,
    EndpointsList "endpoints.list" 2,
    EndpointsDelete "endpoints.delete" 2,
    EndpointsLookup "endpoints.lookup" 2,
    InboxAccept "inbox.accept" 12,
    InboxClaim "inbox.claim" 8,
    InboxFinish "inbox.finish" 8,
    InboxAdvance "inbox.advance" 4,
    InboxMark "inbox.mark" 2,
    InboxGet "inbox.get" 2,
    InboxList "inbox.list" 2,
    InboxReplay "inbox.replay" 4,
    InboxExpire "inbox.expire" 2,
    AuditEntries "audit.entries" 2,
    AuditCheckpoint "audit.checkpoint" 2,
    AuditProve "audit.prove" 2,
    AuditConsistency "audit.consistency" 2,
    AuditPlatformEntries "audit.platform_entries" 2,
    AuditPlatformCheckpoint "audit.platform_checkpoint" 2,
    UsageSummary "usage.summary" 2,
    UsageEvents "usage.events" 2,
    QuotaDefine "quota.define" 3,
    QuotaReserve "quota.reserve" 4,
    QuotaSettle "quota.settle" 3,
    QuotaState "quota.state" 2,
    EventsRead "events.read" 2,
    EventsUnpublished "events.unpublished" 2,
    EventsPublished "events.published" 2,
    EffectsApply "effects.apply" 4,
    BackupsBegin "backups.begin" 3,
    BackupsFinish "backups.finish" 3,
    BackupsGet "backups.get" 2,
    BackupsList "backups.list" 2,
    BackupsExpire "backups.expire" 2,
    BackupsForget "backups.forget" 2,
    ClockAdvance "clock.advance" 6,
}

/// The methods that have to be called, by name; `runs.begin` is part of the transactions.
pub(crate) const ALL: &[&str] = &{
    let mut all = [""; METHODS.len()];
    let mut at = 0;
    while at < METHODS.len() - 1 {
        all[at] = METHODS[at].1;
        at += 1;
    }
    all[at] = "runs.begin";
    all
};
