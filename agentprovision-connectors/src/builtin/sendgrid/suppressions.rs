//! Addresses that nothing is sent to any more, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::{OperationSpec, Page};
use crate::operations;
use crate::paging::Paging;

/// An address that nothing is sent to any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suppression {
    /// The e-mail address.
    pub email: String,
    /// Since when, in seconds since 1970.
    pub created: i64,
    /// Why, in the words of the mail server.
    pub reason: Option<String>,
    /// The status of the mail server, as `5.1.1` (RFC 3463).
    pub status: Option<String>,
    /// Where a complaint came from.
    pub ip: Option<String>,
}

/// Addresses that want no e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unsubscribed {
    /// The e-mail addresses.
    pub recipient_emails: Vec<String>,
}

/// What lists here have in common.
trait Usual {
    /// A list that goes on by counting to an empty page.
    fn list(self) -> Self;
}

impl Usual for OperationSpec {
    fn list(self) -> Self {
        self.page(Paging::Offset { items: "".into(), into: "offset".into(), more: "".into(), last: false })
    }
}

operations! {
    /// Lists addresses that e-mail has come back from for ever.
    ListBounces "bounces.list" get("/v3/suppression/bounces") => Page<Suppression> [
        .list().scopes(["suppression.bounces.read"])
    ] {
        /// Since this time, in seconds since 1970.
        start_time: Option<i64>,
        /// Until this time.
        end_time: Option<i64>,
        /// Only addresses that begin so; `%` stands for anything.
        email: Option<String>,
        /// Items on a page, 1 to 500; default 500.
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u32>,
    }

    /// Takes an address off the list of bounces: it gets e-mail again.
    DeleteBounce "bounces.delete" delete("/v3/suppression/bounces/{email}") => () [
        .scopes(["suppression.bounces.delete"])
    ] {
        /// The e-mail address.
        email: String,
    }

    /// Lists addresses whose mail server has refused e-mail for now.
    ListBlocks "blocks.list" get("/v3/suppression/blocks") => Page<Suppression> [
        .list().scopes(["suppression.blocks.read"])
    ] {
        /// Since this time, in seconds since 1970.
        start_time: Option<i64>,
        /// Until this time.
        end_time: Option<i64>,
        /// Only addresses that begin so; `%` stands for anything.
        email: Option<String>,
        /// Items on a page, 1 to 500; default 500.
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u32>,
    }

    /// Takes an address off the list of blocks.
    DeleteBlock "blocks.delete" delete("/v3/suppression/blocks/{email}") => () [
        .scopes(["suppression.blocks.delete"])
    ] {
        /// The e-mail address.
        email: String,
    }

    /// Lists addresses whose owners have called an e-mail spam.
    ListSpamReports "spam_reports.list" get("/v3/suppression/spam_reports") => Page<Suppression> [
        .list().scopes(["suppression.spam_reports.read"])
    ] {
        /// Since this time, in seconds since 1970.
        start_time: Option<i64>,
        /// Until this time.
        end_time: Option<i64>,
        /// Only addresses that begin so; `%` stands for anything.
        email: Option<String>,
        /// Items on a page, 1 to 500; default 500.
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u32>,
    }

    /// Takes an address off the list of spam reports: it gets e-mail again.
    DeleteSpamReport "spam_reports.delete" delete("/v3/suppression/spam_reports/{email}") => () [
        .scopes(["suppression.spam_reports.delete"])
    ] {
        /// The e-mail address.
        email: String,
    }

    /// Lists addresses whose owners want no e-mail at all.
    ListUnsubscribes "unsubscribes.list" get("/v3/suppression/unsubscribes") => Page<Suppression> [
        .list().scopes(["suppression.unsubscribes.read"])
    ] {
        /// Since this time, in seconds since 1970.
        start_time: Option<i64>,
        /// Until this time.
        end_time: Option<i64>,
        /// Only addresses that begin so; `%` stands for anything.
        email: Option<String>,
        /// Items on a page, 1 to 500; default 500.
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u32>,
    }

    /// Notes that owners of addresses want no e-mail at all.
    CreateUnsubscribes "unsubscribes.create" post("/v3/asm/suppressions/global") => Unsubscribed [
        .natural()
    ] {
        /// The e-mail addresses.
        #[schemars(length(min = 1))]
        recipient_emails: Vec<String>,
    }

    /// Takes an address off the list of those that want no e-mail. Its owner has to have asked for it.
    DeleteUnsubscribe "unsubscribes.delete" delete("/v3/asm/suppressions/global/{email}") => () {
        /// The e-mail address.
        email: String,
    }
}
