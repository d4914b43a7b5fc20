//! Sending e-mail.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::Form;
use crate::operations;
use crate::request::Body;

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The e-mail address.
    pub email: String,
    /// The name that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One letter of an e-mail: who gets it, and what is different in theirs. Those in one letter see each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Personalization {
    /// Who gets it.
    #[schemars(length(min = 1, max = 1000))]
    pub to: Vec<Address>,
    /// Who gets a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cc: Option<Vec<Address>>,
    /// Who gets a copy that the others do not know of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bcc: Option<Vec<Address>>,
    /// Another subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the fields of a dynamic template are filled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_template_data: Option<Map<String, Value>>,
    /// What events about it will say, texts by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_args: Option<BTreeMap<String, String>>,
    /// Further headers, texts by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// When to send it, in seconds since 1970, at most 72 hours ahead; default is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_at: Option<i64>,
}

/// The text of an e-mail in one form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The form, as `text/plain` or `text/html`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// A file that goes with an e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The bytes, in base64; with all else at most 30 MB.
    #[schemars(length(min = 1))]
    pub content: String,
    /// The name of the file.
    pub filename: String,
    /// The content type, as `application/pdf`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where it is shown; default `attachment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Disposition>,
    /// By which id the text refers to it, as in `<img src="cid:logo">`; with `inline` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

/// Where a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Within the text.
    Inline,
    /// Behind the text.
    Attachment,
}

/// From what recipients can unsubscribe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeGroup {
    /// The number of the group.
    pub group_id: u64,
    /// Numbers of groups that are offered to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_to_display: Option<Vec<u64>>,
}

/// How an e-mail is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// Whether it is only checked, and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_mode: Option<Switch>,
    /// Whether it is sent to those too who have unsubscribed or bounced: for what they have to get, as a new password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_list_management: Option<Switch>,
}

/// What is noted about recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackingSettings {
    /// Whether they click a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_tracking: Option<Switch>,
    /// Whether they open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_tracking: Option<Switch>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Whether it is on.
    pub enable: bool,
}

/// An e-mail that SendGrid has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// What ids in events about it begin with; none in the sandbox mode.
    pub message_id: Option<String>,
}

/// A number for e-mails that are sent later, by which they can be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batch {
    /// The number.
    pub batch_id: String,
}

/// What becomes of the e-mails of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// They wait until the stop is lifted.
    Pause,
    /// They are not sent.
    Cancel,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoppedBatch {
    /// The number of the batch.
    pub batch_id: String,
    /// `pause` or `cancel`.
    pub status: String,
}

operations! {
    /// Sends an e-mail to one or many people. Repeating it sends it again.
    SendMail "mail.send" post("/v3/mail/send") => Accepted [
        .answers(Form::Headers(&[("x-message-id", "message_id")])).scopes(["mail.send"])
    ] {
        /// Its letters, up to 1000: one for people who may see each other, else one each.
        #[schemars(length(min = 1, max = 1000))]
        personalizations: Vec<Personalization>,
        /// Who sends it: a verified sender, or an address of an authenticated domain.
        from: Address,
        /// Whom answers go to; default is `from`.
        reply_to: Option<Address>,
        /// The subject; not needed where a template or each letter has one.
        subject: Option<String>,
        /// The text in one or more forms, `text/plain` first; not needed with a template.
        #[schemars(length(min = 1))]
        content: Option<Vec<Content>>,
        /// Files that go with it.
        attachments: Option<Vec<Attachment>>,
        /// Id of a template, from `templates.list`; a dynamic one is filled by `dynamic_template_data`.
        template_id: Option<String>,
        /// What statistics count it under, up to 10.
        #[schemars(length(max = 10))]
        categories: Option<Vec<String>>,
        /// Further headers, texts by name.
        headers: Option<BTreeMap<String, String>>,
        /// When to send it, in seconds since 1970, at most 72 hours ahead; default is at once.
        send_at: Option<i64>,
        /// A number from `batches.create`, to be able to stop it.
        batch_id: Option<String>,
        /// From what recipients can unsubscribe.
        asm: Option<UnsubscribeGroup>,
        /// The pool of addresses that it is sent from.
        ip_pool_name: Option<String>,
        /// How it is sent.
        mail_settings: Option<MailSettings>,
        /// What is noted about recipients.
        tracking_settings: Option<TrackingSettings>,
    }

    /// Makes a number for e-mails that will be sent later, by which they can be stopped.
    CreateBatch "batches.create" post("/v3/mail/batch") => Batch [
        .body(Body::None).scopes(["mail.batch.create"])
    ] {}

    /// Says whether there is a batch of this number.
    GetBatch "batches.get" get("/v3/mail/batch/{batch_id}") => Batch [.scopes(["mail.batch.read"])] {
        /// The number, from `batches.create`.
        batch_id: String,
    }

    /// Stops the e-mails of a batch that are not sent yet, for some time or for ever.
    StopBatch "batches.stop" post("/v3/user/scheduled_sends") => StoppedBatch [
        .scopes(["user.scheduled_sends.create"])
    ] {
        /// The number, from `batches.create`.
        batch_id: String,
        /// What becomes of them.
        status: Stop,
    }
}
