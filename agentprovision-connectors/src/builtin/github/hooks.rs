//! Webhooks of a repository (<https://docs.github.com/rest/repos/webhooks>).

use crate::answer::Form;
use crate::operation::Page;
use crate::paging::Paging;
use crate::request::Body;

records! {
    /// A webhook.
    Hook {
        /// The id.
        id: u64,
        /// Whether it is on.
        active: bool,
        /// The events it is told of; `*` is all of them.
        events: Vec<String>,
        /// Where they go.
        config: HookTarget,
        /// How the last delivery went.
        last_response: Option<HookResponse>,
        /// When it was made, in RFC 3339.
        created_at: String,
        /// When it was last changed.
        updated_at: String,
    }

    /// Where events go. The secret is not shown.
    HookTarget {
        /// The URL.
        url: Option<String>,
        /// `json` or `form`.
        content_type: Option<String>,
    }

    /// How a delivery went.
    HookResponse {
        /// The status that was answered.
        code: Option<u16>,
        /// What became of it, as `active`, `unused` or `timeout`.
        status: Option<String>,
        /// What is said about it.
        message: Option<String>,
    }

    /// A delivery of an event.
    Delivery {
        /// The id.
        id: u64,
        /// The id of the event, the same for every delivery of it.
        guid: String,
        /// The event.
        event: String,
        /// What happened, of events that have several actions.
        action: Option<String>,
        /// What became of it, as `OK` or `Connection timed out`.
        status: String,
        /// The status that was answered.
        status_code: u16,
        /// Whether it is a repetition.
        redelivery: bool,
        /// How long it took, in seconds.
        duration: f64,
        /// When it was delivered, in RFC 3339.
        delivered_at: String,
    }
}

choices! {
    /// The form in which events are sent.
    HookFormat {
        /// As JSON.
        Json "json",
        /// As a form with the JSON in the field `payload`.
        Form "form",
    }

    /// The kind of a webhook.
    HookName {
        /// The one that there is.
        Web "web",
    }

    /// How deliveries went.
    DeliveryStatus {
        /// Well.
        Success "success",
        /// Not well.
        Failure "failure",
    }
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// The URL.
    pub url: String,
    /// The form in which they are sent; `form` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<HookFormat>,
    /// What they are signed with (HMAC, in the header `X-Hub-Signature-256`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

in_repository! {
    /// Lists the webhooks of a repository.
    ListHooks "hooks.list" get("/repos/{owner}/{repo}/hooks") => Page<Hook> [
        .page(Paging::LINK).scopes(["read:repo_hook"])
    ] {
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Gets a webhook.
    GetHook "hooks.get" get("/repos/{owner}/{repo}/hooks/{hook_id}") => Hook [.scopes(["read:repo_hook"])] {
        /// The id of the webhook.
        hook_id: u64,
    }

    /// Makes a webhook.
    CreateHook "hooks.create" post("/repos/{owner}/{repo}/hooks") => Hook [.scopes(["write:repo_hook"])] {
        /// `web`, where it is said at all.
        name: Option<HookName>,
        /// Where events go.
        config: HookConfig,
        /// The events, as `push` or `issues`; `push` where absent, `*` for all.
        events: Option<Vec<String>>,
        /// Whether it is on; it is where absent.
        active: Option<bool>,
    }

    /// Changes a webhook: only what is given changes, but `config` as a whole, with its secret.
    UpdateHook "hooks.update" patch("/repos/{owner}/{repo}/hooks/{hook_id}") => Hook [
        .natural().scopes(["write:repo_hook"])
    ] {
        /// The id of the webhook.
        hook_id: u64,
        /// Where events go.
        config: Option<HookConfig>,
        /// All events it is told of from now on.
        events: Option<Vec<String>>,
        /// Events that it is told of as well.
        add_events: Option<Vec<String>>,
        /// Events that it is no longer told of.
        remove_events: Option<Vec<String>>,
        /// Whether it is on.
        active: Option<bool>,
    }

    /// Deletes a webhook.
    DeleteHook "hooks.delete" delete("/repos/{owner}/{repo}/hooks/{hook_id}") => () [
        .answers(Form::Ignored).scopes(["admin:repo_hook"])
    ] {
        /// The id of the webhook.
        hook_id: u64,
    }

    /// Sends the event `ping` to a webhook.
    PingHook "hooks.ping" post("/repos/{owner}/{repo}/hooks/{hook_id}/pings") => () [
        .answers(Form::Ignored).body(Body::None).natural().scopes(["read:repo_hook"])
    ] {
        /// The id of the webhook.
        hook_id: u64,
    }

    /// Lists the deliveries of a webhook in the last days, the newest first.
    ListDeliveries "hooks.list_deliveries" get("/repos/{owner}/{repo}/hooks/{hook_id}/deliveries") => Page<Delivery> [
        .page(Paging::LINK).scopes(["read:repo_hook"])
    ] {
        /// The id of the webhook.
        hook_id: u64,
        /// Only those that went so.
        status: Option<DeliveryStatus>,
        /// How many per page, 1 to 100; 30 where absent.
        per_page: Option<u8>,
    }

    /// Delivers an event once more.
    Redeliver "hooks.redeliver" post("/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts") => () [
        .answers(Form::Ignored).body(Body::None).scopes(["write:repo_hook"])
    ] {
        /// The id of the webhook.
        hook_id: u64,
        /// The id of the delivery.
        delivery_id: u64,
    }
}
