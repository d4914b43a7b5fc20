//! Incidents and what is about them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Reference, Urgency, Usual as _};
use crate::operation::Page;
use crate::operations;

/// An incident: a problem that somebody has to deal with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// The id, as `PT4KHLK`.
    pub id: String,
    /// The number that people use, unique within the account.
    pub incident_number: Option<u64>,
    /// What is wrong.
    pub title: Option<String>,
    /// `triggered`, `acknowledged` or `resolved`.
    pub status: Option<String>,
    /// `high` or `low`.
    pub urgency: Option<String>,
    /// The priority, where the account has such.
    pub priority: Option<Reference>,
    /// The service it is about.
    pub service: Option<Reference>,
    /// Who has to deal with it.
    pub assignments: Option<Vec<Assignment>>,
    /// Who has acknowledged it.
    pub acknowledgements: Option<Vec<Acknowledgement>>,
    /// By which policy it is escalated.
    pub escalation_policy: Option<Reference>,
    /// The teams it concerns.
    pub teams: Option<Vec<Reference>>,
    /// Its alerts, counted.
    pub alert_counts: Option<AlertCounts>,
    /// What repeats of it are told by.
    pub incident_key: Option<String>,
    /// When it was triggered.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
    /// When its status last changed.
    pub last_status_change_at: Option<String>,
    /// When it was resolved.
    pub resolved_at: Option<String>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// Who has to deal with an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    /// Since when.
    pub at: Option<String>,
    /// The user.
    pub assignee: Reference,
}

/// Who has acknowledged an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// When.
    pub at: Option<String>,
    /// The user or service.
    pub acknowledger: Reference,
}

/// Alerts of an incident, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertCounts {
    /// All of them.
    pub all: Option<u64>,
    /// Those that are triggered.
    pub triggered: Option<u64>,
    /// Those that are resolved.
    pub resolved: Option<u64>,
}

/// A note on an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// The id.
    pub id: String,
    /// The text.
    pub content: String,
    /// Who wrote it.
    pub user: Option<Reference>,
    /// When it was written.
    pub created_at: Option<String>,
}

/// An alert: what monitoring has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The id.
    pub id: String,
    /// What was seen.
    pub summary: Option<String>,
    /// `triggered` or `resolved`.
    pub status: Option<String>,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: Option<String>,
    /// Whether it was kept from notifying anybody.
    pub suppressed: Option<bool>,
    /// What repeats of it are told by: the `dedup_key` of its events.
    pub alert_key: Option<String>,
    /// The service it is about.
    pub service: Option<Reference>,
    /// The incident it is part of.
    pub incident: Option<Reference>,
    /// What monitoring has said.
    pub body: Option<AlertBody>,
    /// When it was triggered.
    pub created_at: Option<String>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// What monitoring has said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertBody {
    /// Whatever that is.
    pub details: Option<Value>,
}

/// Something that happened to an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// The id.
    pub id: String,
    /// What happened, as `acknowledge_log_entry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in words.
    pub summary: Option<String>,
    /// When it happened.
    pub created_at: Option<String>,
    /// Who or what did it.
    pub agent: Option<Reference>,
    /// Through what it was done.
    pub channel: Option<Channel>,
}

/// Through what something was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// What it is, as `web_ui`, `api` or `auto`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What was written there.
    pub summary: Option<String>,
}

/// A priority of incidents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Priority {
    /// The id.
    pub id: String,
    /// The name, as `P1`.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// The status of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody deals with it yet.
    Triggered,
    /// Somebody deals with it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// The status of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// It is on.
    Triggered,
    /// It is over.
    Resolved,
}

/// All incidents there ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DateRange {
    /// All.
    All,
}

/// What else there is to say about an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Details {
    /// A text.
    Text(String),
    /// Facts by name.
    Facts(Map<String, Value>),
}

operations! {
    /// Lists incidents, those of the last month unless told otherwise.
    ListIncidents "incidents.list" get("/incidents") => Page<Incident> [.list("/incidents").scopes(["incidents.read"])] {
        /// Only those with one of these.
        statuses: Option<Vec<Status>>,
        /// Only those with one of these; needs the ability `urgencies`.
        urgencies: Option<Vec<Urgency>>,
        /// Only those of these services, by id.
        service_ids: Option<Vec<String>>,
        /// Only those of these teams, by id.
        team_ids: Option<Vec<String>>,
        /// Only those that these users have to deal with now, by id.
        user_ids: Option<Vec<String>>,
        /// Only the one with this key.
        incident_key: Option<String>,
        /// Only those triggered at this time or after, as `2025-11-01T00:00:00Z`; at most six months before `until`.
        since: Option<String>,
        /// Only those triggered before this time.
        until: Option<String>,
        /// `all` instead of `since` and `until`.
        date_range: Option<DateRange>,
        /// By what they are sorted: up to two of `incident_number`, `created_at`, `resolved_at` and `urgency`, joined by a comma,
        /// each with `:asc` or `:desc`.
        sort_by: Option<String>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets an incident by id or number.
    GetIncident "incidents.get" get("/incidents/{id}") => Incident [.takes("incident").scopes(["incidents.read"])] {
        /// Id or number of the incident.
        id: String,
    }

    /// Makes an incident on a service, which notifies whoever is on call.
    CreateIncident "incidents.create" post("/incidents") => Incident [
        .header("from", "from")
        .sends(
            "{from: from, incident: {type: 'incident', title: title, urgency: urgency, incident_key: incident_key, \
             service: {id: service_id, type: 'service_reference'}, \
             body: details && {type: 'incident_body', details: details}, \
             priority: priority_id && {id: priority_id, type: 'priority_reference'}, \
             escalation_policy: escalation_policy_id && {id: escalation_policy_id, type: 'escalation_policy_reference'}, \
             assignments: assignee_ids[*].{assignee: {id: @, type: 'user_reference'}}}}"
        )
        .takes("incident")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user in whose name it is made.
        from: String,
        /// What is wrong, in a line.
        title: String,
        /// Id of the service.
        service_id: String,
        /// How much it matters; default is by the service.
        urgency: Option<Urgency>,
        /// What else there is to say.
        details: Option<Details>,
        /// Id of a priority, from `priorities.list`.
        priority_id: Option<String>,
        /// What repeats are told by: while an incident of the service with this key is open, another one is refused.
        incident_key: Option<String>,
        /// Id of an escalation policy instead of the service's; not together with `assignee_ids`.
        escalation_policy_id: Option<String>,
        /// Ids of users who shall deal with it, instead of whom the policy says.
        assignee_ids: Option<Vec<String>>,
    }

    /// Changes an incident; what is left out stays as it is.
    UpdateIncident "incidents.update" put("/incidents/{id}") => Incident [
        .header("from", "from")
        .sends(
            "{id: id, from: from, incident: {type: 'incident_reference', status: status, title: title, urgency: urgency, \
             resolution: resolution, escalation_level: escalation_level, \
             priority: priority_id && {id: priority_id, type: 'priority_reference'}, \
             escalation_policy: escalation_policy_id && {id: escalation_policy_id, type: 'escalation_policy_reference'}, \
             assignments: assignee_ids[*].{assignee: {id: @, type: 'user_reference'}}}}"
        )
        .takes("incident")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user in whose name it is changed.
        from: String,
        /// Id of the incident.
        id: String,
        /// The new status.
        status: Option<Status>,
        /// What is wrong, in a line.
        title: Option<String>,
        /// How much it matters.
        urgency: Option<Urgency>,
        /// How it was resolved, for the log; with the status `resolved` only.
        resolution: Option<String>,
        /// Id of a priority, from `priorities.list`.
        priority_id: Option<String>,
        /// The level of the escalation policy to go to, from 1.
        escalation_level: Option<u32>,
        /// Id of another escalation policy.
        escalation_policy_id: Option<String>,
        /// Ids of users who shall deal with it.
        assignee_ids: Option<Vec<String>>,
    }

    /// Says that somebody deals with an incident: nobody else is notified for now.
    AcknowledgeIncident "incidents.acknowledge" put("/incidents/{id}") => Incident [
        .header("from", "from")
        .sends("{id: id, from: from, incident: {type: 'incident_reference', status: 'acknowledged'}}")
        .takes("incident")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user who deals with it.
        from: String,
        /// Id of the incident.
        id: String,
    }

    /// Says that an incident is over. A resolved incident cannot be opened again.
    ResolveIncident "incidents.resolve" put("/incidents/{id}") => Incident [
        .header("from", "from")
        .sends(
            "{id: id, from: from, \
             incident: {type: 'incident_reference', status: 'resolved', resolution: resolution}}"
        )
        .takes("incident")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user who has resolved it.
        from: String,
        /// Id of the incident.
        id: String,
        /// How it was resolved, for the log.
        resolution: Option<String>,
    }

    /// Lets an incident rest for some time; then it is triggered again.
    SnoozeIncident "incidents.snooze" post("/incidents/{id}/snooze") => Incident [
        .header("from", "from").natural().takes("incident").scopes(["incidents.write"])
    ] {
        /// E-mail address of the user in whose name it is done.
        from: String,
        /// Id of the incident, which has to be acknowledged.
        id: String,
        /// For how many seconds, 1 to 604800.
        #[schemars(range(min = 1, max = 604_800))]
        duration: u32,
    }

    /// Merges incidents into one: their alerts move there, and they are resolved. That cannot be undone.
    MergeIncidents "incidents.merge" put("/incidents/{id}/merge") => Incident [
        .header("from", "from")
        .sends(
            "{id: id, from: from, source_incidents: source_incident_ids[*].{id: @, type: 'incident_reference'}}"
        )
        .takes("incident")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user in whose name it is done.
        from: String,
        /// Id of the incident that stays.
        id: String,
        /// Ids of the incidents that are merged into it.
        #[schemars(length(min = 1))]
        source_incident_ids: Vec<String>,
    }

    /// Lists the notes on an incident.
    ListNotes "incidents.notes" get("/incidents/{id}/notes") => Page<Note> [
        .takes("{items: notes}").scopes(["incidents.read"])
    ] {
        /// Id of the incident.
        id: String,
    }

    /// Writes a note on an incident.
    CreateNote "incidents.add_note" post("/incidents/{id}/notes") => Note [
        .header("from", "from")
        .sends("{id: id, from: from, note: {content: content}}")
        .takes("note")
        .scopes(["incidents.write"])
    ] {
        /// E-mail address of the user in whose name it is written.
        from: String,
        /// Id of the incident.
        id: String,
        /// The text.
        content: String,
    }

    /// Lists the alerts of an incident.
    ListAlerts "incidents.alerts" get("/incidents/{id}/alerts") => Page<Alert> [
        .list("/alerts").scopes(["incidents.read"])
    ] {
        /// Id of the incident.
        id: String,
        /// Only those with one of these.
        statuses: Option<Vec<AlertStatus>>,
        /// Only the one with this key.
        alert_key: Option<String>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists what happened to an incident, the newest first.
    ListLogEntries "incidents.log_entries" get("/incidents/{id}/log_entries") => Page<LogEntry> [
        .list("/log_entries").scopes(["incidents.read"])
    ] {
        /// Id of the incident.
        id: String,
        /// Only what happened at this time or after, as `2025-11-01T00:00:00Z`.
        since: Option<String>,
        /// Only what happened before this time.
        until: Option<String>,
        /// Whether to have only what changed its course; default false.
        is_overview: Option<bool>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists the priorities that incidents can have, the most important first.
    ListPriorities "priorities.list" get("/priorities") => Page<Priority> [
        .list("/priorities").scopes(["priorities.read"])
    ] {
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }
}
