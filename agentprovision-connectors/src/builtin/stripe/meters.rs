//! Meters and the usage that is reported to them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::Usual as _;
use crate::operation::Page;
use crate::operations;

/// A meter: how events of usage become a quantity that is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Meter {
    /// The id, as `mtr_…`.
    pub id: String,
    /// The name that people see.
    pub display_name: String,
    /// The name that events of usage have.
    pub event_name: String,
    /// `active` or `inactive`.
    pub status: String,
    /// How events become a quantity.
    pub default_aggregation: Aggregation,
    /// Where an event says whose usage it is.
    pub customer_mapping: Option<CustomerMapping>,
    /// Where an event says how much.
    pub value_settings: Option<ValueSettings>,
    /// What events are put together by before, as `hour` or `day`.
    pub event_time_window: Option<String>,
    /// When it was made.
    pub created: i64,
    /// When it was last changed.
    pub updated: Option<i64>,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// How events become a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregation {
    /// The way.
    pub formula: Formula,
}

/// A way to make a quantity of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// How many events there were.
    Count,
    /// The sum of their values.
    Sum,
    /// The value of the last one.
    Last,
}

/// Where an event says whose usage it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerMapping {
    /// The key of the payload that has the customer's id; `stripe_customer_id` by default.
    pub event_payload_key: String,
    /// `by_id`.
    #[serde(rename = "type")]
    pub kind: MappedBy,
}

/// What an event has of the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MappedBy {
    /// The id.
    ById,
}

/// Where an event says how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueSettings {
    /// The key of the payload that has the value; `value` by default.
    pub event_payload_key: String,
}

/// What events are put together by before they are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventWindow {
    /// By the day.
    Day,
    /// By the hour.
    Hour,
}

/// The state of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeterStatus {
    /// It takes events.
    Active,
    /// It does not.
    Inactive,
}

/// An event of usage that Stripe has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeterEvent {
    /// What tells it from others.
    pub identifier: String,
    /// The name, which says the meter.
    pub event_name: String,
    /// What was reported.
    pub payload: BTreeMap<String, String>,
    /// When the usage was.
    pub timestamp: i64,
    /// When Stripe took it.
    pub created: i64,
}

/// What a customer has used in some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeterSummary {
    /// The id.
    pub id: String,
    /// Id of the meter.
    pub meter: String,
    /// How much, by the meter's formula.
    pub aggregated_value: Number,
    /// Begin of the time, itself within it.
    pub start_time: i64,
    /// End of the time, itself outside.
    pub end_time: i64,
}

operations! {
    /// Makes a meter, which prices with metered usage can refer to.
    CreateMeter "meters.create" post("/v1/billing/meters") => Meter [.form()] {
        /// The name that people see.
        display_name: String,
        /// The name that events of usage will have, unique among active meters.
        event_name: String,
        /// How events become a quantity.
        default_aggregation: Aggregation,
        /// Where an event says whose usage it is; default is `stripe_customer_id` of the payload.
        customer_mapping: Option<CustomerMapping>,
        /// Where an event says how much; default is `value` of the payload.
        value_settings: Option<ValueSettings>,
        /// What events are put together by before they are billed.
        event_time_window: Option<EventWindow>,
    }

    /// Gets a meter by id.
    GetMeter "meters.get" get("/v1/billing/meters/{id}") => Meter {
        /// Id of the meter, as `mtr_…`.
        id: String,
    }

    /// Lists meters, the newest first.
    ListMeters "meters.list" get("/v1/billing/meters") => Page<Meter> [.list()] {
        /// Only those in this state.
        status: Option<MeterStatus>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gives a meter another name. All else of it cannot be changed.
    UpdateMeter "meters.update" post("/v1/billing/meters/{id}") => Meter [.form()] {
        /// Id of the meter, as `mtr_…`.
        id: String,
        /// The name that people see.
        display_name: String,
    }

    /// Lets a meter take no more events; prices can no longer refer to it.
    DeactivateMeter "meters.deactivate" post("/v1/billing/meters/{id}/deactivate") => Meter [.form()] {
        /// Id of the meter, as `mtr_…`.
        id: String,
    }

    /// Lists what a customer has used by a meter in a time: in all, or by the day or hour.
    ListMeterSummaries "meters.summaries" get("/v1/billing/meters/{id}/event_summaries") => Page<MeterSummary> [.list()] {
        /// Id of the meter, as `mtr_…`.
        id: String,
        /// Id of the customer, as `cus_…`.
        customer: String,
        /// Begin, in seconds since 1970, at a full minute; with `value_grouping_window` at a full day or hour.
        start_time: i64,
        /// End, in seconds since 1970, likewise; itself it does not count.
        end_time: i64,
        /// In pieces of this time; without it in one sum.
        value_grouping_window: Option<EventWindow>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Reports usage of a customer. Stripe counts it with a delay, and once for each `identifier` within a day.
    CreateMeterEvent "meter_events.create" post("/v1/billing/meter_events") => MeterEvent [.form()] {
        /// The name of the meter's events.
        event_name: String,
        /// Whose usage and how much, as the meter is set up: usually `stripe_customer_id`, and `value` as a whole number in a
        /// text.
        payload: BTreeMap<String, String>,
        /// What tells this event from others, up to 100 characters; default is a random one.
        #[schemars(length(max = 100))]
        identifier: Option<String>,
        /// When the usage was, in seconds since 1970: within the last 35 days, and at most 5 minutes ahead. Default is now.
        timestamp: Option<i64>,
    }
}
