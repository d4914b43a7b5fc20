//! Notifications of Alertmanager, version 4: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use std::collections::BTreeMap;

use agentprovision_core::{Result, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{Facts, object, required};
use crate::webhook::event::{BEGUN, ENDED, EventBody, Version};
use crate::webhook::json::{Json, object, time};

object! {
    /// What a group of alerts is in now.
    Notification {
        needs {
            /// `firing` while one of the alerts is, else `resolved`.
            status: String,
            /// The alerts of the group.
            alerts: Vec<Alert>,
        }
        has {
            /// Always `4`.
            version: String,
            /// What tells the group from others.
            group_key "groupKey": String,
            /// How many alerts were left out.
            truncated_alerts "truncatedAlerts": u64,
            /// The receiver, as the configuration names it.
            receiver: String,
            /// The labels the group is made by.
            group_labels "groupLabels": BTreeMap<String, String>,
            /// The labels that all alerts have.
            common_labels "commonLabels": BTreeMap<String, String>,
            /// The annotations that all alerts have.
            common_annotations "commonAnnotations": BTreeMap<String, String>,
            /// Where Alertmanager is.
            external_url "externalURL": String,
        }
    }

    /// An alert.
    Alert {
        needs {
            /// `firing` or `resolved`.
            status: String,
        }
        has {
            /// What tells it from others.
            labels: BTreeMap<String, String>,
            /// What is said of it.
            annotations: BTreeMap<String, String>,
            /// When it began, in RFC 3339.
            starts_at "startsAt": String,
            /// When it ended; the year 1 while it has not.
            ends_at "endsAt": String,
            /// Where it was made.
            generator_url "generatorURL": String,
            /// The digest of its labels.
            fingerprint: String,
        }
    }
}

/// There is no id in a notification, and the same one comes again at every repeat interval. So the delivery's id is the
/// SHA-256 of the group's key, its status, and of each alert, sorted, the fingerprint, status and beginning: a repeat has the
/// same, and an alert that joins, ends or begins again has another.
///
/// A group is ordered by when the last of its alerts began or ended. Common labels are attributes.
pub(in crate::webhook) fn read(body: &[u8]) -> Result<(Facts, EventBody)> {
    let (raw, view) = object(body)?;
    let status = required(view.text("status"), "a status")?;
    let mut facts = Facts { kind: format!("alert.{status}"), ..Facts::default() };
    facts.account = view.host("externalURL");
    facts.subject = view.first(&["commonLabels.alertname", "groupLabels.alertname", "groupKey"]);
    let body = match serde_json::from_str::<Notification>(raw.get()) {
        Ok(notification) => {
            facts.attributes.extend(notification.common_labels.clone().unwrap_or_default());
            facts.delivery_id = Some(identity(&notification));
            facts.at = moment(&notification);
            let step = if notification.status == "resolved" { ENDED } else { BEGUN };
            if let (Some(at), Some(group)) = (facts.at, &notification.group_key) {
                facts.order(format!("group/{group}"), Version::at(at).with_step(step));
            }
            EventBody::Alertmanager(Box::new(notification))
        }
        Err(_) => EventBody::Other(Json::from_raw(raw)),
    };
    // Over labels of the same name.
    facts.attributes(&view, &[("status", &["status"]), ("receiver", &["receiver"])]);
    Ok((facts, body))
}

fn identity(notification: &Notification) -> String {
    let mut alerts: Vec<[&str; 3]> = notification
        .alerts
        .iter()
        .map(|alert| {
            [
                alert.fingerprint.as_deref().unwrap_or_default(),
                alert.status.as_str(),
                alert.starts_at.as_deref().unwrap_or_default(),
            ]
        })
        .collect();
    alerts.sort_unstable();
    let mut hash = Sha256::new();
    let group = notification.group_key.as_deref().unwrap_or_default();
    for part in [group, &notification.status].into_iter().chain(alerts.iter().flatten().copied()) {
        // The length keeps parts apart.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// When the last alert began or ended.
fn moment(notification: &Notification) -> Option<Timestamp> {
    let moments = notification.alerts.iter().flat_map(|alert| {
        let ended = alert.ends_at.as_deref().filter(|_| alert.status == "resolved");
        [alert.starts_at.as_deref(), ended]
    });
    moments.flatten().filter_map(time).max()
}
