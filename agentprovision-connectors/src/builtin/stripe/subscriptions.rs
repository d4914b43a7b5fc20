//! Subscriptions, and the products and prices they are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CollectionMethod, Metadata, TimeRange, Usual as _};
use crate::operation::Page;
use crate::operations;

/// A subscription of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscription {
    /// The id, as `sub_…`.
    pub id: String,
    /// Id of the customer.
    pub customer: Option<String>,
    /// `incomplete`, `incomplete_expired`, `trialing`, `active`, `past_due`, `canceled`, `unpaid` or `paused`.
    pub status: String,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// What it has.
    pub items: SubscriptionItems,
    /// How its invoices are paid.
    pub collection_method: Option<String>,
    /// Whether it ends with the current period.
    pub cancel_at_period_end: bool,
    /// When it will be canceled.
    pub cancel_at: Option<i64>,
    /// When it was canceled.
    pub canceled_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// When the trial ends.
    pub trial_end: Option<i64>,
    /// When it began.
    pub start_date: Option<i64>,
    /// Id of its latest invoice.
    pub latest_invoice: Option<String>,
    /// Id of the payment method that pays it.
    pub default_payment_method: Option<String>,
    /// A text on its invoices.
    pub description: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// What a subscription has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionItems {
    /// The first of its items.
    pub data: Vec<SubscriptionItem>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Something a subscription has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionItem {
    /// The id, as `si_…`.
    pub id: String,
    /// What it costs.
    pub price: Option<Price>,
    /// How many; metered prices have none.
    pub quantity: Option<u64>,
    /// Begin of the period that is being billed.
    pub current_period_start: Option<i64>,
    /// End of that period.
    pub current_period_end: Option<i64>,
}

/// What a product costs. Amounts are in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Price {
    /// The id, as `price_…`.
    pub id: String,
    /// Id of the product.
    pub product: Option<String>,
    /// Whether it can be used for new purchases.
    pub active: bool,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// What one costs; none where there are tiers, or where it is no whole number.
    pub unit_amount: Option<i64>,
    /// The same as a decimal number.
    pub unit_amount_decimal: Option<String>,
    /// `one_time` or `recurring`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it recurs.
    pub recurring: Option<Recurring>,
    /// `per_unit` or `tiered`.
    pub billing_scheme: Option<String>,
    /// A name that customers do not see.
    pub nickname: Option<String>,
    /// A key to find it by.
    pub lookup_key: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
}

/// How a price recurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recurring {
    /// The unit of time.
    pub interval: Interval,
    /// How many of them are between two invoices; default 1, at most three years in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_count: Option<u64>,
    /// How the quantity is known; default `licensed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_type: Option<UsageType>,
    /// Id of the meter of a metered price, as `mtr_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// How a quantity is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageType {
    /// It is set beforehand.
    Licensed,
    /// It is measured by a meter.
    Metered,
}

/// Whether a price recurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceType {
    /// Charged once.
    OneTime,
    /// Charged again and again.
    Recurring,
}

/// A product that is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// The id, as `prod_…`.
    pub id: String,
    /// The name, which customers see.
    pub name: String,
    /// Whether it can be bought.
    pub active: bool,
    /// The description, which customers see.
    pub description: Option<String>,
    /// Id of its usual price.
    pub default_price: Option<String>,
    /// What one of it is called.
    pub unit_label: Option<String>,
    /// A page about it.
    pub url: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
    /// When it was last changed.
    pub updated: Option<i64>,
}

/// Something a subscription shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubscriptionItem {
    /// Id of an item there is, to change it, as `si_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Id of the price, as `price_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// How many; not for metered prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u64>,
    /// Whether to take the item of this id away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

/// What becomes of a first invoice that cannot be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentBehavior {
    /// The subscription waits, incomplete, to be paid within 23 hours.
    AllowIncomplete,
    /// The subscription waits, incomplete, for the customer to act.
    DefaultIncomplete,
    /// There is no subscription.
    ErrorIfIncomplete,
    /// A change waits until it is paid.
    PendingIfIncomplete,
}

/// What becomes of the rest of a period when something changes within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// It is set off on the next invoice.
    CreateProrations,
    /// It is invoiced at once.
    AlwaysInvoice,
    /// Nothing.
    None,
}

/// Which subscriptions to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// In order.
    Active,
    /// All of them, canceled ones too.
    All,
    /// Canceled.
    Canceled,
    /// At an end: canceled, or never paid.
    Ended,
    /// Waiting for the first payment.
    Incomplete,
    /// The first payment did not come in time.
    IncompleteExpired,
    /// An invoice is overdue.
    PastDue,
    /// Paused.
    Paused,
    /// In the trial.
    Trialing,
    /// Given up after overdue invoices.
    Unpaid,
}

operations! {
    /// Subscribes a customer to prices; the first invoice is made at once.
    CreateSubscription "subscriptions.create" post("/v1/subscriptions") => Subscription [.form()] {
        /// Id of the customer, as `cus_…`.
        customer: String,
        /// What it has, up to 20 items, each with a `price`.
        items: Vec<NewSubscriptionItem>,
        /// How invoices are paid; default `charge_automatically`.
        collection_method: Option<CollectionMethod>,
        /// Days until invoices are due; with `send_invoice` only.
        days_until_due: Option<u32>,
        /// Id of the payment method, as `pm_…`; default is the customer's.
        default_payment_method: Option<String>,
        /// What becomes of a first invoice that cannot be paid; default `allow_incomplete`.
        payment_behavior: Option<PaymentBehavior>,
        /// Days of trial before the first charge.
        trial_period_days: Option<u32>,
        /// Whether it ends with the first period; default false.
        cancel_at_period_end: Option<bool>,
        /// A text on invoices, up to 500 characters.
        description: Option<String>,
        /// Key-value pairs to keep with the subscription, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Gets a subscription by id.
    GetSubscription "subscriptions.get" get("/v1/subscriptions/{subscription_exposed_id}") => Subscription {
        /// Id of the subscription, as `sub_…`.
        subscription_exposed_id: String,
    }

    /// Lists subscriptions that are not canceled, the newest first, or those in a state.
    ListSubscriptions "subscriptions.list" get("/v1/subscriptions") => Page<Subscription> [.list()] {
        /// Only those of this customer, as `cus_…`.
        customer: Option<String>,
        /// Only those with this price, as `price_…`.
        price: Option<String>,
        /// Only those in this state.
        status: Option<SubscriptionStatus>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Changes a subscription: its items, or whether it ends with the period. What is left out stays as it is.
    UpdateSubscription "subscriptions.update" post("/v1/subscriptions/{subscription_exposed_id}") => Subscription [.form()] {
        /// Id of the subscription, as `sub_…`.
        subscription_exposed_id: String,
        /// Items to change (with `id`), to take away (with `id` and `deleted`) or to add (without `id`).
        items: Option<Vec<NewSubscriptionItem>>,
        /// Whether it ends with the current period.
        cancel_at_period_end: Option<bool>,
        /// What becomes of the rest of the period; default `create_prorations`.
        proration_behavior: Option<Proration>,
        /// Id of the payment method, as `pm_…`.
        default_payment_method: Option<String>,
        /// Key-value pairs to keep with the subscription; an empty value removes its key, others stay.
        metadata: Option<Metadata>,
    }

    /// Cancels a subscription at once and for ever. To let the period end, use `subscriptions.update` with
    /// `cancel_at_period_end`.
    CancelSubscription "subscriptions.cancel" delete("/v1/subscriptions/{subscription_exposed_id}") => Subscription {
        /// Id of the subscription, as `sub_…`.
        subscription_exposed_id: String,
        /// Whether a last invoice is made of what was used; default false.
        invoice_now: Option<bool>,
        /// Whether the unused rest of the period is credited; default false.
        prorate: Option<bool>,
    }

    /// Makes a price of a product. A price cannot be changed in its amount afterwards.
    CreatePrice "prices.create" post("/v1/prices") => Price [.form()] {
        /// Id of the product, as `prod_…`.
        product: String,
        /// Currency in three lower-case letters.
        currency: String,
        /// What one costs in the smallest unit of the currency, as 1050 for 10.50 dollars; 0 is free.
        unit_amount: Option<i64>,
        /// The same as a decimal number with up to 12 places, as `0.05`; instead of `unit_amount`.
        unit_amount_decimal: Option<String>,
        /// How it recurs; without it, it is charged once.
        recurring: Option<Recurring>,
        /// A name that customers do not see.
        nickname: Option<String>,
        /// A key to find it by, up to 200 characters.
        lookup_key: Option<String>,
        /// Key-value pairs to keep with the price, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Gets a price by id.
    GetPrice "prices.get" get("/v1/prices/{price}") => Price {
        /// Id of the price, as `price_…`.
        price: String,
    }

    /// Lists prices, the newest first.
    ListPrices "prices.list" get("/v1/prices") => Page<Price> [.list()] {
        /// Only those of this product, as `prod_…`.
        product: Option<String>,
        /// Only those that can be used, or cannot.
        active: Option<bool>,
        /// Only those in this currency, in three lower-case letters.
        currency: Option<String>,
        /// Only those with one of these keys, up to 10.
        lookup_keys: Option<Vec<String>>,
        /// Only those of this kind.
        #[serde(rename = "type")]
        kind: Option<PriceType>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Makes a product. What it costs are prices of it.
    CreateProduct "products.create" post("/v1/products") => Product [.form()] {
        /// Name, which customers see.
        name: String,
        /// Description, which customers see.
        description: Option<String>,
        /// Whether it can be bought; default true.
        active: Option<bool>,
        /// What one of it is called on invoices, as `seat`.
        unit_label: Option<String>,
        /// A page about it.
        url: Option<String>,
        /// Key-value pairs to keep with the product, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Gets a product by id.
    GetProduct "products.get" get("/v1/products/{id}") => Product {
        /// Id of the product, as `prod_…`.
        id: String,
    }

    /// Lists products, the newest first.
    ListProducts "products.list" get("/v1/products") => Page<Product> [.list()] {
        /// Only those that can be bought, or cannot.
        active: Option<bool>,
        /// Only these, by their ids.
        ids: Option<Vec<String>>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }
}
