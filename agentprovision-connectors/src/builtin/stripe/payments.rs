//! Payments, refunds and the balance of the account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invoices::StripeProblem;
use super::{Metadata, TimeRange, Usual as _};
use crate::operation::Page;
use crate::operations;

/// A payment from its intention to its end. Amounts are in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentIntent {
    /// The id, as `pi_…`.
    pub id: String,
    /// `requires_payment_method`, `requires_confirmation`, `requires_action`, `processing`, `requires_capture`, `canceled` or
    /// `succeeded`.
    pub status: String,
    /// What is to be paid.
    pub amount: i64,
    /// What was paid.
    pub amount_received: Option<i64>,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// Id of the customer.
    pub customer: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Id of the payment method.
    pub payment_method: Option<String>,
    /// Id of the latest charge.
    pub latest_charge: Option<String>,
    /// Why the last try failed.
    pub last_payment_error: Option<StripeProblem>,
    /// Where a receipt is sent to.
    pub receipt_email: Option<String>,
    /// When it was canceled.
    pub canceled_at: Option<i64>,
    /// Why it was canceled.
    pub cancellation_reason: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// One try to move money. Amounts are in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Charge {
    /// The id, as `ch_…`.
    pub id: String,
    /// `succeeded`, `pending` or `failed`.
    pub status: String,
    /// What was to be charged.
    pub amount: i64,
    /// What was captured of it.
    pub amount_captured: Option<i64>,
    /// What was refunded.
    pub amount_refunded: i64,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// Whether it was charged, or will be.
    pub paid: bool,
    /// Whether it was refunded in full.
    pub refunded: bool,
    /// Whether the customer disputes it.
    pub disputed: bool,
    /// Id of the customer.
    pub customer: Option<String>,
    /// Id of the payment it is part of.
    pub payment_intent: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who pays.
    pub billing_details: Option<BillingDetails>,
    /// Why it failed (<https://docs.stripe.com/error-codes>).
    pub failure_code: Option<String>,
    /// The same in words.
    pub failure_message: Option<String>,
    /// The page with the receipt.
    pub receipt_url: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillingDetails {
    /// The name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
}

/// Money that goes back. The amount is in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    /// The id, as `re_…`.
    pub id: String,
    /// `pending`, `requires_action`, `succeeded`, `failed` or `canceled`.
    pub status: Option<String>,
    /// What goes back.
    pub amount: i64,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// Id of the charge.
    pub charge: Option<String>,
    /// Id of the payment.
    pub payment_intent: Option<String>,
    /// Why it is refunded.
    pub reason: Option<String>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: i64,
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// It was charged twice.
    Duplicate,
    /// It was fraud; the card and the e-mail address are blocked.
    Fraudulent,
    /// The customer has asked for it.
    RequestedByCustomer,
}

/// What the account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Balance {
    /// What can be paid out, by currency.
    pub available: Vec<Funds>,
    /// What cannot yet, by currency.
    pub pending: Vec<Funds>,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// An amount of a currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Funds {
    /// The amount, in the smallest unit of the currency; it can be negative.
    pub amount: i64,
    /// The currency, in three lower-case letters.
    pub currency: String,
}

operations! {
    /// Gets a payment by id.
    GetPaymentIntent "payment_intents.get" get("/v1/payment_intents/{intent}") => PaymentIntent {
        /// Id of the payment, as `pi_…`.
        intent: String,
    }

    /// Lists payments, the newest first.
    ListPaymentIntents "payment_intents.list" get("/v1/payment_intents") => Page<PaymentIntent> [.list()] {
        /// Only those of this customer, as `cus_…`.
        customer: Option<String>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists charges, the newest first.
    ListCharges "charges.list" get("/v1/charges") => Page<Charge> [.list()] {
        /// Only those of this customer, as `cus_…`.
        customer: Option<String>,
        /// Only those of this payment, as `pi_…`.
        payment_intent: Option<String>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Sends money of a payment back to who paid: all that was not refunded yet, or a part. Give `payment_intent` or `charge`.
    CreateRefund "refunds.create" post("/v1/refunds") => Refund [.form()] {
        /// Id of the payment, as `pi_…`.
        payment_intent: Option<String>,
        /// Id of the charge, as `ch_…`.
        charge: Option<String>,
        /// A part, in the smallest unit of the currency; default is all that is left.
        #[schemars(range(min = 1))]
        amount: Option<i64>,
        /// Why.
        reason: Option<RefundReason>,
        /// Key-value pairs to keep with the refund, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Says what the account has, by currency.
    GetBalance "balance.get" get("/v1/balance") => Balance {}
}
