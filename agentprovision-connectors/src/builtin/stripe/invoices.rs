//! Invoices and what is put on them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CollectionMethod, Deleted, Metadata, Period, TimeRange, Usual as _};
use crate::operation::{Effect, Page};
use crate::operations;
use crate::request::Body;

/// An invoice. Amounts are in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// The id, as `in_…`; a preview may have none.
    pub id: Option<String>,
    /// The number that the customer sees; drafts have none.
    pub number: Option<String>,
    /// `draft`, `open`, `paid`, `uncollectible` or `void`.
    pub status: Option<String>,
    /// Id of the customer.
    pub customer: Option<String>,
    /// The customer's name, as it was when the invoice was finalized.
    pub customer_name: Option<String>,
    /// The customer's e-mail address, likewise.
    pub customer_email: Option<String>,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// Sum of the lines, before discounts and tax.
    pub subtotal: i64,
    /// The same after discounts and tax.
    pub total: i64,
    /// What the customer has to pay.
    pub amount_due: i64,
    /// What was paid.
    pub amount_paid: i64,
    /// What is left to pay.
    pub amount_remaining: i64,
    /// How it is paid: `charge_automatically` or `send_invoice`.
    pub collection_method: Option<String>,
    /// Why there is an invoice, as `manual` or `subscription_cycle`.
    pub billing_reason: Option<String>,
    /// A text on it.
    pub description: Option<String>,
    /// Whether Stripe takes it through its states by itself.
    pub auto_advance: Option<bool>,
    /// How often a payment was tried.
    pub attempt_count: Option<u64>,
    /// When a payment is tried next.
    pub next_payment_attempt: Option<i64>,
    /// When it is due, where it is sent.
    pub due_date: Option<i64>,
    /// Begin of the time that usage and items were collected in.
    pub period_start: i64,
    /// End of that time.
    pub period_end: i64,
    /// When it was made.
    pub created: i64,
    /// When it went from state to state.
    pub status_transitions: Option<InvoiceTimes>,
    /// What it was made for.
    pub parent: Option<InvoiceParent>,
    /// Why it could not be finalized.
    pub last_finalization_error: Option<StripeProblem>,
    /// The first of its lines; `invoices.lines` has all of them.
    pub lines: Option<InvoiceLines>,
    /// The page where the customer can look at it and pay.
    pub hosted_invoice_url: Option<String>,
    /// The document, as PDF.
    pub invoice_pdf: Option<String>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: bool,
}

/// When an invoice went from state to state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceTimes {
    /// When it was finalized.
    pub finalized_at: Option<i64>,
    /// When it was paid.
    pub paid_at: Option<i64>,
    /// When it was voided.
    pub voided_at: Option<i64>,
    /// When it was given up.
    pub marked_uncollectible_at: Option<i64>,
}

/// What an invoice was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceParent {
    /// The subscription, if it was that.
    pub subscription_details: Option<InvoiceSubscription>,
}

/// The subscription that an invoice was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceSubscription {
    /// Its id.
    pub subscription: Option<String>,
}

/// Why something failed at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StripeProblem {
    /// What kind it is, as `card_error`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it is in particular (<https://docs.stripe.com/error-codes>).
    pub code: Option<String>,
    /// Why the bank declined (<https://docs.stripe.com/declines/codes>).
    pub decline_code: Option<String>,
    /// In words.
    pub message: Option<String>,
}

/// Lines of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLines {
    /// The lines.
    pub data: Vec<InvoiceLine>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLine {
    /// The id, as `il_…`.
    pub id: String,
    /// What it is for.
    pub description: Option<String>,
    /// The amount, in the smallest unit of the currency.
    pub amount: i64,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// How many.
    pub quantity: Option<i64>,
    /// The time it is for.
    pub period: Period,
    /// What one costs.
    pub pricing: Option<Pricing>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
}

/// What one of something costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pricing {
    /// Price and product.
    pub price_details: Option<PriceDetails>,
    /// The amount of one, as a decimal number of the smallest unit.
    pub unit_amount_decimal: Option<String>,
}

/// Price and product of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceDetails {
    /// Id of the price.
    pub price: Option<String>,
    /// Id of the product.
    pub product: Option<String>,
}

/// Something that will be a line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceItem {
    /// The id, as `ii_…`.
    pub id: String,
    /// Id of the customer.
    pub customer: Option<String>,
    /// Id of the invoice that it is on; without one it waits for the customer's next.
    pub invoice: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The amount, in the smallest unit of the currency; negative is a credit.
    pub amount: i64,
    /// The currency, in three lower-case letters.
    pub currency: String,
    /// How many.
    pub quantity: Option<i64>,
    /// When it was made.
    pub date: i64,
    /// The time it is for.
    pub period: Option<Period>,
    /// Whether it comes from a change of a subscription within its period.
    pub proration: bool,
    /// What one costs.
    pub pricing: Option<Pricing>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
}

/// The state of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Can still be changed.
    Draft,
    /// Finalized, waits for payment.
    Open,
    /// Paid.
    Paid,
    /// Given up.
    Uncollectible,
    /// Voided.
    Void,
}

/// What becomes of items that wait for the customer's next invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PendingItems {
    /// They are put on it.
    Include,
    /// They wait on.
    Exclude,
}

/// A line of custom text on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomField {
    /// Its name, up to 40 characters.
    pub name: String,
    /// Its text, up to 140 characters.
    pub value: String,
}

/// The price of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemPricing {
    /// Id of a price that is charged once, as `price_…`.
    pub price: String,
}

/// A price that is made for an item alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemPriceData {
    /// Currency in three lower-case letters.
    pub currency: String,
    /// Id of the product, as `prod_…`.
    pub product: String,
    /// What one costs in the smallest unit of the currency; negative is a credit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_amount: Option<i64>,
    /// The same as a decimal number with up to 12 places, as `0.05`; instead of `unit_amount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_amount_decimal: Option<String>,
}

/// Whether Stripe finds out the tax.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutomaticTax {
    /// Whether it does; the account has to be set up for it.
    pub enabled: bool,
}

/// What a subscription would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSubscription {
    /// What it would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<super::subscriptions::NewSubscriptionItem>>,
    /// Whether it would be canceled at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_now: Option<bool>,
    /// What becomes of the rest of the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proration_behavior: Option<super::subscriptions::Proration>,
}

operations! {
    /// Makes a draft of an invoice for a customer. Put lines on it with `invoice_items.create` and its id, then finalize or
    /// send it.
    CreateInvoice "invoices.create" post("/v1/invoices") => Invoice [.form()] {
        /// Id of the customer, as `cus_…`.
        customer: String,
        /// How it is paid; default `charge_automatically`.
        collection_method: Option<CollectionMethod>,
        /// Days until it is due; with `send_invoice` only.
        days_until_due: Option<u32>,
        /// When it is due, in seconds since 1970; with `send_invoice`, instead of `days_until_due`.
        due_date: Option<i64>,
        /// Currency in three lower-case letters; default is the customer's.
        currency: Option<String>,
        /// Whether Stripe finalizes and collects it by itself; default false.
        auto_advance: Option<bool>,
        /// What becomes of items that wait for the customer's next invoice; default `exclude`.
        pending_invoice_items_behavior: Option<PendingItems>,
        /// Id of a subscription to invoice, as `sub_…`.
        subscription: Option<String>,
        /// Whether Stripe finds out the tax.
        automatic_tax: Option<AutomaticTax>,
        /// A text on the invoice.
        description: Option<String>,
        /// A text at the foot of the invoice.
        footer: Option<String>,
        /// Up to four lines of custom text.
        custom_fields: Option<Vec<CustomField>>,
        /// Key-value pairs to keep with the invoice, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Gets an invoice by id.
    GetInvoice "invoices.get" get("/v1/invoices/{invoice}") => Invoice {
        /// Id of the invoice, as `in_…`.
        invoice: String,
    }

    /// Lists invoices, the newest first.
    ListInvoices "invoices.list" get("/v1/invoices") => Page<Invoice> [.list()] {
        /// Only those of this customer, as `cus_…`.
        customer: Option<String>,
        /// Only those in this state.
        status: Option<InvoiceStatus>,
        /// Only those of this subscription, as `sub_…`.
        subscription: Option<String>,
        /// Only those that are paid so.
        collection_method: Option<CollectionMethod>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Only those due in this range of time.
        due_date: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists the lines of an invoice.
    ListInvoiceLines "invoices.lines" get("/v1/invoices/{invoice}/lines") => Page<InvoiceLine> [.list()] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Changes an invoice. Drafts can be changed in all of this; of finalized ones only `auto_advance` and `metadata`.
    UpdateInvoice "invoices.update" post("/v1/invoices/{invoice}") => Invoice [.form()] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
        /// How it is paid.
        collection_method: Option<CollectionMethod>,
        /// Days until it is due; with `send_invoice` only.
        days_until_due: Option<u32>,
        /// When it is due, in seconds since 1970; with `send_invoice` only.
        due_date: Option<i64>,
        /// Whether Stripe finalizes and collects it by itself.
        auto_advance: Option<bool>,
        /// Whether Stripe finds out the tax.
        automatic_tax: Option<AutomaticTax>,
        /// A text on the invoice.
        description: Option<String>,
        /// A text at the foot of the invoice.
        footer: Option<String>,
        /// Up to four lines of custom text, instead of those there are.
        custom_fields: Option<Vec<CustomField>>,
        /// Key-value pairs to keep with the invoice; an empty value removes its key, others stay.
        metadata: Option<Metadata>,
    }

    /// Deletes a draft of an invoice for ever. A finalized invoice has to be voided instead.
    DeleteInvoice "invoices.delete" delete("/v1/invoices/{invoice}") => Deleted {
        /// Id of the draft, as `in_…`.
        invoice: String,
    }

    /// Finalizes a draft: it gets its number, can be paid, and can no longer be changed.
    FinalizeInvoice "invoices.finalize" post("/v1/invoices/{invoice}/finalize") => Invoice [.form()] {
        /// Id of the draft, as `in_…`.
        invoice: String,
        /// Whether Stripe collects it by itself.
        auto_advance: Option<bool>,
    }

    /// Has an invoice paid now, by the customer's default payment method or another one, or notes that it was paid otherwise.
    PayInvoice "invoices.pay" post("/v1/invoices/{invoice}/pay") => Invoice [.form()] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
        /// Id of another payment method of the customer, as `pm_…`.
        payment_method: Option<String>,
        /// Whether it was paid outside of Stripe: nothing is charged then. Default false.
        paid_out_of_band: Option<bool>,
        /// Whether a balance too small to be charged may be forgiven; default false.
        forgive: Option<bool>,
        /// Whether the customer is absent; default true.
        off_session: Option<bool>,
    }

    /// Voids a finalized invoice for ever: it stays on record and can no longer be paid.
    VoidInvoice "invoices.void" post("/v1/invoices/{invoice}/void") => Invoice [.form().effect(Effect::Destroy)] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
    }

    /// Sends an invoice to its customer by e-mail, finalizing it before. In a sandbox no e-mail is sent.
    SendInvoice "invoices.send" post("/v1/invoices/{invoice}/send") => Invoice [.form()] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
    }

    /// Marks an open invoice as one that will hardly be paid. It can still be paid or voided.
    MarkUncollectible "invoices.mark_uncollectible" post("/v1/invoices/{invoice}/mark_uncollectible") => Invoice [.form()] {
        /// Id of the invoice, as `in_…`.
        invoice: String,
    }

    /// Shows what a customer's next invoice would be, of a subscription as it is or as it would be. Nothing is made.
    PreviewInvoice "invoices.preview" post("/v1/invoices/create_preview") => Invoice [
        .body(Body::Form).effect(Effect::Read).natural()
    ] {
        /// Id of the customer, as `cus_…`.
        customer: Option<String>,
        /// Id of the subscription, as `sub_…`.
        subscription: Option<String>,
        /// What the subscription would be.
        subscription_details: Option<PreviewSubscription>,
        /// Currency in three lower-case letters; default is the customer's.
        currency: Option<String>,
    }

    /// Puts an item on a draft, or keeps it for the customer's next invoice. Give `amount` with `currency`, or
    /// `pricing`, or `price_data`.
    CreateInvoiceItem "invoice_items.create" post("/v1/invoiceitems") => InvoiceItem [.form()] {
        /// Id of the customer, as `cus_…`.
        customer: String,
        /// Id of a draft to put it on, as `in_…`; without one it waits for the next invoice.
        invoice: Option<String>,
        /// Amount in the smallest unit of the currency, as 1050 for 10.50 dollars; negative is a credit.
        amount: Option<i64>,
        /// Currency in three lower-case letters.
        currency: Option<String>,
        /// A price instead of an amount.
        pricing: Option<ItemPricing>,
        /// A price of a product that is made for this item alone, instead of an amount.
        price_data: Option<ItemPriceData>,
        /// How many; with `pricing` or `price_data` only.
        quantity: Option<u64>,
        /// What it is for; the customer sees it.
        description: Option<String>,
        /// The time it is for.
        period: Option<Period>,
        /// Whether discounts are taken off it; default true, false for credits.
        discountable: Option<bool>,
        /// Key-value pairs to keep with the item, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Lists items, the newest first.
    ListInvoiceItems "invoice_items.list" get("/v1/invoiceitems") => Page<InvoiceItem> [.list()] {
        /// Only those of this customer, as `cus_…`.
        customer: Option<String>,
        /// Only those on this invoice, as `in_…`.
        invoice: Option<String>,
        /// Only those that wait for an invoice (true), or are on one (false).
        pending: Option<bool>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Deletes an item that is on no invoice, or on a draft.
    DeleteInvoiceItem "invoice_items.delete" delete("/v1/invoiceitems/{invoiceitem}") => Deleted {
        /// Id of the item, as `ii_…`.
        invoiceitem: String,
    }
}
