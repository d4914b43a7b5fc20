//! Services, and times in which they are worked on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reference, Usual as _};
use crate::operation::Page;
use crate::operations;

/// A service: what incidents are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// The id, as `PIJ90N7`.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// `active`, `warning`, `critical`, `maintenance` or `disabled`.
    pub status: Option<String>,
    /// By which policy its incidents are escalated.
    pub escalation_policy: Option<Reference>,
    /// The teams it concerns.
    pub teams: Option<Vec<Reference>>,
    /// Through what its events come.
    pub integrations: Option<Vec<Reference>>,
    /// After how many seconds an open incident is resolved by itself; never where there is none.
    pub auto_resolve_timeout: Option<u64>,
    /// After how many seconds an acknowledged incident is triggered again; never where there is none.
    pub acknowledgement_timeout: Option<u64>,
    /// When it last had an incident.
    pub last_incident_timestamp: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// A time in which services make no incidents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceWindow {
    /// The id.
    pub id: String,
    /// Why.
    pub description: Option<String>,
    /// Its begin.
    pub start_time: Option<String>,
    /// Its end.
    pub end_time: Option<String>,
    /// The services.
    pub services: Option<Vec<Reference>>,
    /// Who has made it.
    pub created_by: Option<Reference>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// How much incidents of a service matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceUrgency {
    /// People are notified until somebody acknowledges.
    High,
    /// People are notified without haste.
    Low,
    /// By the severity of the alert.
    SeverityBased,
}

/// Whether a service takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// It does.
    Active,
    /// It does not.
    Disabled,
}

/// Which maintenance windows to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowFilter {
    /// Those that are over.
    Past,
    /// Those that have not begun.
    Future,
    /// Those that are on.
    Ongoing,
    /// Those that are on or have not begun.
    Open,
    /// All of them.
    All,
}

operations! {
    /// Lists services.
    ListServices "services.list" get("/services") => Page<Service> [.list("/services").scopes(["services.read"])] {
        /// Only those whose name has this in it.
        query: Option<String>,
        /// Only those of these teams, by id.
        team_ids: Option<Vec<String>>,
        /// By what they are sorted: `name`, `name:asc` or `name:desc`.
        sort_by: Option<String>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets a service by id.
    GetService "services.get" get("/services/{id}") => Service [.takes("service").scopes(["services.read"])] {
        /// Id of the service.
        id: String,
    }

    /// Makes a service.
    CreateService "services.create" post("/services") => Service [
        .sends(
            "{service: {type: 'service', name: name, description: description, \
             auto_resolve_timeout: auto_resolve_timeout, acknowledgement_timeout: acknowledgement_timeout, \
             escalation_policy: {id: escalation_policy_id, type: 'escalation_policy_reference'}, \
             incident_urgency_rule: urgency && {type: 'constant', urgency: urgency}}}"
        )
        .takes("service")
        .scopes(["services.write"])
    ] {
        /// The name, unique within the account.
        name: String,
        /// What it is.
        description: Option<String>,
        /// Id of the policy by which its incidents are escalated.
        escalation_policy_id: String,
        /// How much its incidents matter; default `high`.
        urgency: Option<ServiceUrgency>,
        /// After how many seconds an open incident is resolved by itself; 0 is never. Default 14400.
        auto_resolve_timeout: Option<u32>,
        /// After how many seconds an acknowledged incident is triggered again; 0 is never. Default 1800.
        acknowledgement_timeout: Option<u32>,
    }

    /// Changes a service; what is left out stays as it is.
    UpdateService "services.update" put("/services/{id}") => Service [
        .sends(
            "{id: id, service: {type: 'service', name: name, description: description, status: status, \
             auto_resolve_timeout: auto_resolve_timeout, acknowledgement_timeout: acknowledgement_timeout, \
             escalation_policy: escalation_policy_id && {id: escalation_policy_id, type: 'escalation_policy_reference'}, \
             incident_urgency_rule: urgency && {type: 'constant', urgency: urgency}}}"
        )
        .takes("service")
        .scopes(["services.write"])
    ] {
        /// Id of the service.
        id: String,
        /// The name, unique within the account.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
        /// Whether it takes events.
        status: Option<ServiceStatus>,
        /// Id of the policy by which its incidents are escalated.
        escalation_policy_id: Option<String>,
        /// How much its incidents matter.
        urgency: Option<ServiceUrgency>,
        /// After how many seconds an open incident is resolved by itself; 0 is never.
        auto_resolve_timeout: Option<u32>,
        /// After how many seconds an acknowledged incident is triggered again; 0 is never.
        acknowledgement_timeout: Option<u32>,
    }

    /// Lists times in which services make no incidents.
    ListMaintenanceWindows "maintenance_windows.list" get("/maintenance_windows") => Page<MaintenanceWindow> [
        .list("/maintenance_windows").scopes(["services.read"])
    ] {
        /// Only those whose description has this in it.
        query: Option<String>,
        /// Only those of these services, by id.
        service_ids: Option<Vec<String>>,
        /// Only those of these teams, by id.
        team_ids: Option<Vec<String>>,
        /// Only those that are on, over or ahead.
        filter: Option<WindowFilter>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lets services make no incidents for some time, because somebody works on them.
    CreateMaintenanceWindow "maintenance_windows.create" post("/maintenance_windows") => MaintenanceWindow [
        .header("from", "from")
        .sends(
            "{from: from, maintenance_window: {type: 'maintenance_window', start_time: start_time, end_time: end_time, \
             description: description, services: service_ids[*].{id: @, type: 'service_reference'}}}"
        )
        .takes("maintenance_window")
        .scopes(["services.write"])
    ] {
        /// E-mail address of the user in whose name it is made.
        from: String,
        /// Begin, as `2025-11-22T20:00:00Z`; what lies before now is now.
        start_time: String,
        /// End.
        end_time: String,
        /// Ids of the services.
        #[schemars(length(min = 1))]
        service_ids: Vec<String>,
        /// Why.
        description: Option<String>,
    }
}
