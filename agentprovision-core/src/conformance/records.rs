//! New records, as a service would make them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, json};

use super::world::World;
use crate::agent::{AgentRecord, AgentState, AgentVersion, LIVE, VersionHash};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::id::{EndpointId, UserId};
use crate::identity::{ApiKey, Role, User};
use crate::integration::{Integration, IntegrationState};
use crate::run::{
    ChainHash, NewRun, Payload, RunRecord, RunStatus, RunTotals, STATE_VERSION, Salt, SessionRecord,
    payload_hash,
};
use crate::tenant::{Tenant, TenantState};
use crate::webhook::{EndpointState, NewDelivery, WebhookEndpoint};

impl World {
    pub(super) fn new_tenant(&self, name: &str) -> Tenant {
        let now = self.env.now();
        Tenant {
            id: self.env.id(),
            name: name.to_owned(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: Map::new(),
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    pub(super) fn new_user(&self, email: &str) -> User {
        let now = self.env.now();
        User {
            id: self.env.id(),
            email: email.to_owned(),
            name: None,
            roles: vec![Role::AGENT_VIEWER],
            active: true,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    pub(super) fn new_key(&self, user: UserId) -> ApiKey {
        ApiKey {
            id: self.env.id(),
            user,
            name: "key".into(),
            digest: self.env.random(),
            scopes: None,
            expires_at: None,
            revoked_at: None,
            created_at: self.env.now(),
        }
    }

    pub(super) fn new_version(&self, name: &str) -> AgentVersion {
        let canonical = json!({ "name": name, "instructions": format!("say {}", self.mark()) }).to_string();
        AgentVersion { hash: VersionHash::of(&canonical), canonical, created_at: self.env.now() }
    }

    pub(super) fn new_integration(&self, name: &str) -> Integration {
        let now = self.env.now();
        Integration {
            id: self.env.id(),
            name: name.to_owned(),
            connector: "crm".into(),
            auth: "oauth".into(),
            settings: Map::from_iter([("region".to_owned(), json!("eu"))]),
            account: None,
            state: IntegrationState::Active,
            health: None,
            created_by: self.env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    pub(super) fn new_endpoint(&self, name: &str) -> WebhookEndpoint {
        let now = self.env.now();
        WebhookEndpoint {
            id: self.env.id(),
            name: name.to_owned(),
            vendor: "github".into(),
            scheme: json!({ "scheme": { "type": "github" } }),
            integration: None,
            triggers: json!([]),
            state: EndpointState::Active,
            owner: self.env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    pub(super) fn new_delivery(&self, endpoint: EndpointId, key: &str) -> NewDelivery {
        NewDelivery {
            id: self.env.id(),
            endpoint,
            key: key.to_owned(),
            digest: [7; 32],
            kind: "issues".into(),
            headers: r#"{"x-event":"issues"}"#.into(),
            body: b"{}".to_vec(),
            received_at: self.env.now(),
        }
    }

    /// An agent whose alias `live` names its only version.
    pub(super) fn new_agent(&self, name: &str) -> (AgentRecord, AgentVersion) {
        let now = self.env.now();
        let version = self.new_version(name);
        let agent = AgentRecord {
            id: self.env.id(),
            name: name.to_owned(),
            state: AgentState::Running,
            latest: version.hash,
            aliases: BTreeMap::from([(LIVE.to_owned(), version.hash)]),
            project_id: None,
            created_by: self.env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        (agent, version)
    }

    pub(super) fn new_session(&self, ctx: &Context, agent: &AgentRecord) -> SessionRecord {
        SessionRecord {
            id: self.env.id(),
            agent: agent.id,
            user: ctx.principal().user(),
            active_run: None,
            created_at: self.env.now(),
        }
    }

    /// A run with one journal row, held for a minute.
    pub(super) fn new_run(&self, ctx: &Context, agent: &AgentRecord) -> NewRun {
        let now = self.env.now();
        let record = RunRecord {
            id: self.env.id(),
            tenant: ctx.tenant(),
            agent: agent.id,
            version: agent.latest,
            user: ctx.principal().user(),
            project_id: None,
            session_id: None,
            parent_run: None,
            idem_key: None,
            idem_hash: None,
            on_behalf_of: None,
            region: None,
            status: RunStatus::Running,
            state_version: STATE_VERSION,
            salt: self.env.random(),
            seq: 0,
            head: ChainHash::START,
            deadline: now.after(Duration::from_secs(36_000)),
            totals: RunTotals::default(),
            output: None,
            error: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        NewRun {
            record,
            entries: vec![br#"{"entry":"created"}"#.to_vec()],
            payloads: Vec::new(),
            worker: self.env.id(),
            lease_until: now.after(Duration::from_secs(60)),
        }
    }
}

/// A payload under its name.
pub(super) fn payload(salt: &Salt, bytes: &[u8]) -> Payload {
    Payload { hash: payload_hash(salt, bytes), bytes: bytes.to_vec() }
}

/// Gives records the creation times `times` (milliseconds after `start`), so that lists have ties to break by id.
pub(super) fn at(start: Timestamp, millis: u64) -> Timestamp {
    start.after(Duration::from_millis(millis))
}

/// Creation times of lists, in milliseconds: ties, and an order that is not the order of the ids.
pub(super) const TIMES: [u64; 7] = [5, 0, 5, 5, 9, 0, 2];

/// The order in which they are inserted, which is neither the order of the ids nor of the times.
pub(super) const INSERTED: [usize; 7] = [3, 6, 0, 5, 2, 4, 1];
