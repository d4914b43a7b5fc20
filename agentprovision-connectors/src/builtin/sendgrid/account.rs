//! The account, its senders, and its statistics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// Whose the API key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The number of the account.
    pub user_id: u64,
    /// Its name.
    pub username: String,
}

/// Who has the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// The company.
    pub company: Option<String>,
    /// The web site.
    pub website: Option<String>,
    /// The country.
    pub country: Option<String>,
}

/// What an API key may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scopes {
    /// Names, as `mail.send`.
    pub scopes: Vec<String>,
}

/// An address that e-mail can be sent from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sender {
    /// The number.
    pub id: u64,
    /// What it is called.
    pub nickname: Option<String>,
    /// The e-mail address.
    pub from_email: Option<String>,
    /// The name that is shown.
    pub from_name: Option<String>,
    /// Where answers go to.
    pub reply_to: Option<String>,
    /// Whether its owner has agreed; before that it cannot be used.
    pub verified: Option<bool>,
    /// Whether it can no longer be changed.
    pub locked: Option<bool>,
}

/// What became of e-mails in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// The first day of the time.
    pub date: String,
    /// What was counted, once for each category.
    pub stats: Vec<Counted>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// The category.
    pub name: Option<String>,
    /// How often what happened.
    pub metrics: Metrics,
}

/// How often what happened to e-mails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Metrics {
    /// Letters that SendGrid was asked to send.
    pub requests: u64,
    /// Letters that it has sent.
    pub processed: u64,
    /// Letters that mail servers have taken.
    pub delivered: u64,
    /// Letters that mail servers have not taken at once.
    pub deferred: u64,
    /// Letters that came back for ever.
    pub bounces: u64,
    /// Letters that were not sent because an earlier one came back.
    pub bounce_drops: u64,
    /// Letters that mail servers have refused for now.
    pub blocks: u64,
    /// Letters to what is no address.
    pub invalid_emails: u64,
    /// Openings.
    pub opens: u64,
    /// People who have opened.
    pub unique_opens: u64,
    /// Clicks.
    pub clicks: u64,
    /// People who have clicked.
    pub unique_clicks: u64,
    /// People who have called it spam.
    pub spam_reports: u64,
    /// Letters that were not sent because of that.
    pub spam_report_drops: u64,
    /// People who have unsubscribed.
    pub unsubscribes: u64,
    /// Letters that were not sent because of that.
    pub unsubscribe_drops: u64,
}

/// What is put together in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each day.
    Day,
    /// Each week.
    Week,
    /// Each month.
    Month,
}

operations! {
    /// Says whose account the API key belongs to.
    GetAccount "account.get" get("/v3/user/username") => Account [.scopes(["user.username.read"])] {}

    /// Says who has the account.
    GetProfile "account.profile" get("/v3/user/profile") => Profile [.scopes(["user.profile.read"])] {}

    /// Lists what the API key may do.
    GetScopes "account.scopes" get("/v3/scopes") => Scopes {}

    /// Lists addresses that e-mail can be sent from.
    ListSenders "senders.list" get("/v3/verified_senders") => Page<Sender> [.page(Paging::LastItem {
        items: "/results".into(), field: "id".into(), into: "lastSeenID".into(), more: "".into(),
    })] {
        /// Items on a page.
        #[schemars(range(min = 1))]
        limit: Option<u32>,
    }

    /// Says what became of e-mails, by day, week or month.
    GetStats "stats.get" get("/v3/stats") => Page<Stats> [.takes("{items: @}").scopes(["stats.read"])] {
        /// The first day, as `2025-11-01`.
        start_date: String,
        /// The last day; default is today.
        end_date: Option<String>,
        /// What is put together; default `day`.
        aggregated_by: Option<By>,
    }

    /// Says what became of e-mails of some categories, by day, week or month.
    GetCategoryStats "stats.categories" get("/v3/categories/stats") => Page<Stats> [
        .takes("{items: @}").scopes(["categories.stats.read"])
    ] {
        /// The first day, as `2025-11-01`.
        start_date: String,
        /// The last day; default is today.
        end_date: Option<String>,
        /// The categories, up to 10.
        #[schemars(length(min = 1, max = 10))]
        categories: Vec<String>,
        /// What is put together; default `day`.
        aggregated_by: Option<By>,
    }
}
