//! Webhooks that an application registers for itself. They need credentials by OAuth, and end after 30 days: whoever
//! registers one refreshes it before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::Time;
use super::{WEBHOOKS, until_last};
use crate::answer::Form;
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;
use crate::request::Body;

choices! {
    /// What a webhook tells of.
    Event {
        /// An issue was made.
        IssueCreated "jira:issue_created",
        /// An issue was changed.
        IssueUpdated "jira:issue_updated",
        /// An issue was deleted.
        IssueDeleted "jira:issue_deleted",
        /// A comment was written.
        CommentCreated "comment_created",
        /// A comment was changed.
        CommentUpdated "comment_updated",
        /// A comment was deleted.
        CommentDeleted "comment_deleted",
        /// An application's property of an issue was set.
        PropertySet "issue_property_set",
        /// An application's property of an issue was deleted.
        PropertyDeleted "issue_property_deleted",
    }
}

/// A webhook to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// What it tells of.
    pub events: Vec<Event>,
    /// Only issues that fit this condition in JQL, of which Jira takes `=`, `!=`, `IN` and `NOT IN` here.
    #[serde(rename = "jqlFilter")]
    pub jql_filter: String,
    /// Of changes of issues: only those of these fields, by id.
    #[serde(rename = "fieldIdsFilter", skip_serializing_if = "Option::is_none")]
    pub field_ids_filter: Option<Vec<String>>,
}

records! {
    /// What became of webhooks that were to be registered, in their order.
    Registration {
        /// One for each.
        #[serde(rename = "webhookRegistrationResult")]
        results: Vec<Registered>,
    }
    /// What became of a webhook that was to be registered.
    Registered {
        /// Its id, where it was registered.
        #[serde(rename = "createdWebhookId")]
        id: Option<u64>,
        /// Why it was not.
        errors: Option<Vec<String>>,
    }
    /// A webhook.
    Webhook {
        /// The id.
        id: u64,
        /// What it tells of.
        events: Vec<String>,
        /// Of which issues.
        #[serde(rename = "jqlFilter")]
        jql_filter: String,
        /// Where to.
        url: Option<String>,
        /// When it ends.
        #[serde(rename = "expirationDate")]
        expiration: Option<Time>,
    }
    /// Something that could not be told.
    Failed {
        /// Its id: that of the header `X-Atlassian-Webhook-Identifier`.
        id: String,
        /// Where to.
        url: String,
        /// What was sent, where it is kept.
        body: Option<String>,
        /// When the last attempt failed.
        #[serde(rename = "failureTime")]
        failed_at: Time,
    }
    /// What became of webhooks that were refreshed.
    Refreshed {
        /// When they end now.
        #[serde(rename = "expirationDate")]
        expiration: Time,
    }
}

operations! {
    /// Registers webhooks, all to one URL. They end after 30 days unless they are refreshed. Needs credentials by OAuth.
    Register "webhooks.register" post("/rest/api/3/webhook") => Registration [.scopes([WEBHOOKS])] {
        /// Where they go: a URL at the application's own host.
        url: String,
        /// The webhooks.
        webhooks: Vec<NewWebhook>,
    }
    /// Lists the webhooks that the application has registered, with when they end.
    List "webhooks.list" get("/rest/api/3/webhook") => Page<Webhook> [.page(until_last()).scopes([WEBHOOKS])] {
        /// How many a page has at most; default 100.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lets webhooks last for 30 days from now.
    Refresh "webhooks.refresh" put("/rest/api/3/webhook/refresh") => Refreshed [.scopes([WEBHOOKS])] {
        /// Their ids.
        #[serde(rename = "webhookIds")]
        webhook_ids: Vec<u64>,
    }
    /// Removes webhooks.
    Delete "webhooks.delete" delete("/rest/api/3/webhook") => ()
    [.body(Body::Json).answers(Form::Ignored).scopes([WEBHOOKS])] {
        /// Their ids.
        #[serde(rename = "webhookIds")]
        webhook_ids: Vec<u64>,
    }
    /// Lists what could not be told in the last 72 hours, the oldest first.
    ListFailed "webhooks.list_failed" get("/rest/api/3/webhook/failed") => Page<Failed>
    [.page(Paging::NextUrl { items: "/values".into(), from: "/next".into() }).scopes([WEBHOOKS])] {
        /// How many a page has at most; default 100.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
        /// Only what failed after then, in milliseconds since 1970.
        after: Option<i64>,
    }
}
