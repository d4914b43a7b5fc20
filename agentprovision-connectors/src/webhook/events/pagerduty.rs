//! Events of PagerDuty, webhooks v3: <https://developer.pagerduty.com/docs/webhooks-overview>.

use agentprovision_core::Result;

use super::{Facts, object, required};
use crate::webhook::event::{BEGUN, CHANGED, ENDED, EventBody, Version};
use crate::webhook::json::{Json, choice, object};

object! {
    /// The body of an event of an incident.
    IncidentEvent {
        needs {
            /// The event.
            event: IncidentChange,
        }
        has {}
    }

    /// What happened to an incident.
    IncidentChange {
        needs {
            /// The event's id, the same in every attempt.
            id: String,
            /// What happened, as `incident.triggered`.
            event_type: String,
            /// The incident.
            data: Incident,
        }
        has {
            /// `incident`.
            resource_type: String,
            /// When, in RFC 3339.
            occurred_at: String,
            /// Who did it.
            agent: Reference,
            /// Through what.
            client: Json,
        }
    }

    /// An incident.
    Incident {
        needs {
            /// Its id.
            id: String,
            /// `incident`.
            kind "type": String,
        }
        has {
            /// Its number within the account.
            number: u64,
            /// `triggered`, `acknowledged` or `resolved`.
            status: String,
            /// What it is called.
            title: String,
            /// `high` or `low`.
            urgency: String,
            /// Where people see it.
            html_url: String,
            /// When it began.
            created_at: String,
            /// By what its alerts are put together.
            incident_key: String,
            /// The service it is at.
            service: Reference,
            /// Whom it is assigned to.
            assignees: Vec<Reference>,
            /// Who is asked in turn.
            escalation_policy: Reference,
            /// The teams of the service.
            teams: Vec<Reference>,
            /// Its priority.
            priority: Reference,
            /// Why it was resolved.
            resolve_reason: Json,
        }
    }

    /// Something at PagerDuty, by its id.
    Reference {
        needs {
            /// Its id.
            id: String,
        }
        has {
            /// What it is, as `service_reference`.
            kind "type": String,
            /// What it is called.
            summary: String,
            /// Where people see it.
            html_url: String,
        }
    }

    /// The body of any other event.
    Activity {
        needs {}
        has {
            /// The event.
            event: Change,
        }
    }

    /// What happened to anything.
    Change {
        needs {}
        has {
            /// The event's id, the same in every attempt.
            id: String,
            /// What happened, as `service.updated`.
            event_type: String,
            /// To what.
            resource_type: String,
            /// When, in RFC 3339.
            occurred_at: String,
            /// Who did it.
            agent: Reference,
            /// What it is told of.
            data: Json,
        }
    }
}

choice! {
    /// The body of an event.
    Body {
        otherwise {
            /// Anything else, among it notes, responders and conference bridges of incidents.
            Activity(Activity)
        }
        /// An incident changed.
        Incident(IncidentEvent) = "incident",
    }
}

/// Things are ordered by when the event occurred.
pub(in crate::webhook) fn read(body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let kind = required(view.text("event.event_type"), "the type of the event")?;
    let mut facts = Facts {
        delivery_id: view.text("event.id"),
        at: view.time("event.occurred_at"),
        account: view.host("event.data.html_url").or_else(|| view.host("event.agent.html_url")),
        subject: view.first(&["event.data.incident.id", "event.data.id"]),
        ..Facts::default()
    };
    facts.attributes(
        &view,
        &[
            ("resource_type", &["event.resource_type"]),
            ("status", &["event.data.status"]),
            ("urgency", &["event.data.urgency"]),
            ("service", &["event.data.service.summary"]),
            ("service_id", &["event.data.service.id"]),
            ("priority", &["event.data.priority.summary"]),
            ("escalation_policy", &["event.data.escalation_policy.summary"]),
            ("agent", &["event.agent.summary"]),
        ],
    );
    let action = kind.rsplit('.').next().unwrap_or_default();
    facts.attribute("action", Some(action.to_owned()));
    let data = view.text("event.data.type").unwrap_or_default();
    // `pagey.ping` and its like are about nothing.
    if let (Some(at), Some(id), false) = (facts.at, view.text("event.data.id"), data.is_empty()) {
        let step = match action {
            "triggered" | "created" => BEGUN,
            "resolved" => ENDED,
            _ => CHANGED,
        };
        let version = Version::at(at).with_step(step);
        let gone = action == "deleted";
        facts.order(format!("{data}/{id}"), if gone { version.gone() } else { version });
    }
    let typed = if data == "incident" { "incident" } else { "" };
    facts.kind = kind;
    let body =
        Body::read(typed, raw).map_or_else(|| EventBody::Other(Json::from_raw(raw)), EventBody::Pagerduty);
    Ok((facts, body))
}
