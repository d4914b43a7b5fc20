//! Sending messages.

use std::collections::BTreeMap;

use agentprovision_core::Result;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compose::compose;
use super::session::Session;
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operations;

/// Somebody with an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// The address, as `ada@example.com`.
    pub email: String,
    /// The name that is shown with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A file that goes along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The name of the file.
    pub filename: String,
    /// The content, in base64.
    pub content: String,
    /// The content type, as `application/pdf`; `application/octet-stream` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Of an image that the HTML shows as `cid:<this>`: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

records! {
    /// A message that the server has taken.
    SentMessage {
        /// The id in the message's header, in angle brackets.
        message_id: String,
        /// How many addresses it goes to.
        recipients: u64,
        /// What the server said.
        response: String,
    }
}

operations! {
    /// Sends a message to all of its recipients, or to none where the server refuses one of them. It is sent at most once: if the
    /// answer of the server is lost, whether it was sent is not known, and it is not tried again.
    SendMessage "messages.send" post("") => SentMessage [.handler(runs::<SendMessage>()).timeout(std::time::Duration::from_secs(120))] {
        /// Who sends it.
        from: Mailbox,
        /// Who gets it.
        #[schemars(length(min = 1, max = 100))]
        to: Vec<Mailbox>,
        /// Who gets a copy.
        #[schemars(length(max = 100))]
        cc: Option<Vec<Mailbox>>,
        /// Who gets a copy that the others do not know of.
        #[schemars(length(max = 100))]
        bcc: Option<Vec<Mailbox>>,
        /// Where answers go, where it is not the sender.
        #[schemars(length(max = 10))]
        reply_to: Option<Vec<Mailbox>>,
        /// The subject, on one line.
        #[schemars(length(max = 998))]
        subject: String,
        /// The message as plain text; with `html` too, for those who do not see that.
        text: Option<String>,
        /// The message as HTML.
        html: Option<String>,
        /// Further headers, each on one line, as `In-Reply-To`, `References` or `List-Unsubscribe`.
        headers: Option<BTreeMap<String, String>>,
        /// Files that go along.
        #[schemars(length(max = 50))]
        attachments: Option<Vec<Attachment>>,
        /// The id of the message, as `<order-7@example.com>`, by which servers and people tell repeats; made from the caller's
        /// key where absent, or by chance.
        #[schemars(length(max = 250))]
        message_id: Option<String>,
    }
}

#[async_trait]
impl Run for SendMessage {
    async fn run(self, call: &Call) -> Result<SentMessage> {
        let composed = compose(&self, call)?;
        let mut session = Session::open(call).await?;
        let reply = session.send(call, &composed.from, &composed.recipients, &composed.bytes).await?;
        session.quit().await;
        Ok(SentMessage {
            message_id: composed.message_id,
            recipients: composed.recipients.len() as u64,
            response: reply.text().chars().filter(|c| !c.is_control()).take(300).collect(),
        })
    }
}
