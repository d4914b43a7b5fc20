//! What a store said, in a form that can be compared and printed.

use std::fmt::Debug;

use agentprovision_core::agent::{AgentRecord, AgentVersion};
use agentprovision_core::audit::merkle::TreeHash;
use agentprovision_core::audit::{AuditEntry, Checkpoint, InclusionProof};
use agentprovision_core::backup::{Backup, Begun};
use agentprovision_core::event::NumberedEvent;
use agentprovision_core::id::{DeliveryId, SignalId, TenantId};
use agentprovision_core::idempotency;
use agentprovision_core::identity::{ApiKey, User};
use agentprovision_core::integration::Integration;
use agentprovision_core::page::Page;
use agentprovision_core::run::{Created, JournalRow, Lease, RunRecord, SessionRecord, Signal};
use agentprovision_core::secret::{Leased, Sealed, SecretLease};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::usage::{BudgetState, Reservation, UsageEvent, UsageSummary};
use agentprovision_core::webhook::{Accepted, ClaimedDelivery, Delivery, NewDelivery, WebhookEndpoint};
use agentprovision_core::{ErrorKind, Result};

/// An answer: what it says, and what of it later operations use.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) said: String,
    pub(crate) leases: Vec<Lease>,
    pub(crate) events: Vec<NumberedEvent>,
    pub(crate) held: Vec<SecretLease>,
    /// Deliveries that were taken, with their epochs.
    pub(crate) taken: Vec<Taken>,
}

/// A delivery somebody has.
pub(crate) type Taken = (TenantId, DeliveryId, u64);

impl Answer {
    pub(crate) fn of<T: Told>(result: Result<T>) -> Self {
        match result {
            Ok(value) => value.told(),
            // A budget names itself; other errors differ in words.
            Err(error) if error.is(ErrorKind::BudgetExceeded) => {
                Self::says(format!("error {} {:?}", error.kind(), error.context()))
            }
            Err(error) => Self::says(format!("error {}", error.kind())),
        }
    }

    pub(crate) fn says(said: String) -> Self {
        Self { said, ..Self::default() }
    }

    /// Both, one after the other.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.said.push('\n');
        self.said.push_str(&other.said);
        self.leases.extend(other.leases);
        self.events.extend(other.events);
        self.held.extend(other.held);
        self.taken.extend(other.taken);
        self
    }
}

/// What can be an answer.
pub(crate) trait Told {
    fn told(self) -> Answer;
}

macro_rules! told {
    ($($name:ty,)*) => {
        $(impl Told for $name {
            fn told(self) -> Answer {
                Answer::says(format!("{self:?}"))
            }
        })*
    };
}

told! {
    (), u64, Tenant, TenantState, User, AgentRecord, AgentVersion, RunRecord, SessionRecord, Checkpoint, InclusionProof,
    UsageSummary, Reservation, Option<BudgetState>, Vec<JournalRow>, Vec<Vec<u8>>, Vec<AuditEntry>, Vec<TreeHash>,
    Vec<UsageEvent>, Vec<(SignalId, Signal)>, Page<Tenant>, Page<User>, Page<AgentRecord>, Page<RunRecord>,
    Page<SessionRecord>, Sealed, Integration, Page<Integration>, WebhookEndpoint, Page<WebhookEndpoint>,
    Accepted, bool, u32, Option<String>, Backup, Begun, Vec<Backup>, Page<Backup>,
}

impl Told for Leased {
    /// Until when another has it is the store's to say where it goes by a clock of its own.
    fn told(self) -> Answer {
        match self {
            Self::Yours(lease) => {
                Answer { said: format!("{lease:?}"), held: vec![lease], ..Answer::default() }
            }
            Self::Held(_) => Answer::says("held".into()),
        }
    }
}

impl Told for idempotency::Begun {
    /// As for [`Leased`].
    fn told(self) -> Answer {
        match self {
            Self::Running(_) => Answer::says("running".into()),
            begun => Answer::says(format!("{begun:?}")),
        }
    }
}

/// A delivery's own `Debug` hides what it says. When it was over is the store's to say.
fn delivery(of: &Delivery) -> impl Debug + use<> {
    let Delivery { new, state, attempts, error, runs, repeats, conflicts, conflict_digest, finished_at } =
        of.clone();
    let NewDelivery { id, endpoint, key, digest, kind, headers, body, received_at } = new;
    let new = (id, endpoint, key, digest, kind, headers, body, received_at);
    (new, state, attempts, error, runs, repeats, conflicts, conflict_digest, finished_at.is_some())
}

impl Told for Delivery {
    fn told(self) -> Answer {
        Answer::says(format!("{:?}", delivery(&self)))
    }
}

impl Told for Page<Delivery> {
    fn told(self) -> Answer {
        Answer::says(format!("{:?} {:?}", self.items.iter().map(delivery).collect::<Vec<_>>(), self.next))
    }
}

impl Told for Vec<ClaimedDelivery> {
    fn told(self) -> Answer {
        let one = |one: &ClaimedDelivery| (one.tenant, delivery(&one.delivery), one.epoch);
        let taken = self.iter().map(|one| (one.tenant, one.delivery.new.id, one.epoch)).collect();
        let said = format!("{:?}", self.iter().map(one).collect::<Vec<_>>());
        Answer { said, taken, ..Answer::default() }
    }
}

/// A key's own `Debug` hides most of it.
fn key(key: &ApiKey) -> impl Debug + use<> {
    let ApiKey { id, user, name, digest, scopes, expires_at, revoked_at, created_at } = key.clone();
    (id, user, name, digest, scopes, expires_at, revoked_at, created_at)
}

impl Told for ApiKey {
    fn told(self) -> Answer {
        Answer::says(format!("{:?}", key(&self)))
    }
}

impl Told for Page<ApiKey> {
    fn told(self) -> Answer {
        Answer::says(format!("{:?} {:?}", self.items.iter().map(key).collect::<Vec<_>>(), self.next))
    }
}

impl Told for Created {
    fn told(self) -> Answer {
        let said = format!("{self:?}");
        let leases = if let Created::New(lease) = self { vec![lease] } else { Vec::new() };
        Answer { said, leases, ..Answer::default() }
    }
}

impl Told for Vec<Lease> {
    fn told(self) -> Answer {
        Answer { said: format!("{self:?}"), leases: self, ..Answer::default() }
    }
}

impl Told for Vec<NumberedEvent> {
    fn told(self) -> Answer {
        Answer { said: format!("{self:?}"), events: self, ..Answer::default() }
    }
}
