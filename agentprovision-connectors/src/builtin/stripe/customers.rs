//! Customers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Deleted, Metadata, TimeRange, Usual as _};
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Customer {
    /// The id, as `cus_…`.
    pub id: String,
    /// Whether the customer was deleted; then there is nothing but the id.
    pub deleted: Option<bool>,
    /// The name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// The telephone number.
    pub phone: Option<String>,
    /// What somebody has noted about the customer.
    pub description: Option<String>,
    /// The postal address.
    pub address: Option<Address>,
    /// The currency that the customer is charged in, in three lower-case letters.
    pub currency: Option<String>,
    /// What is set off against the next invoice, in the smallest unit of the currency: negative is a credit of the customer.
    pub balance: Option<i64>,
    /// Whether the latest invoice is overdue.
    pub delinquent: Option<bool>,
    /// What invoices of the customer have.
    pub invoice_settings: Option<InvoiceSettings>,
    /// What callers keep with it.
    pub metadata: Option<Metadata>,
    /// When it was made.
    pub created: Option<i64>,
    /// Whether it is in live mode; otherwise it is in a sandbox.
    pub livemode: Option<bool>,
}

/// What invoices of a customer have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceSettings {
    /// Id of the payment method that pays subscriptions and invoices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_payment_method: Option<String>,
    /// Footer of invoices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
}

operations! {
    /// Makes a customer.
    CreateCustomer "customers.create" post("/v1/customers") => Customer [.form()] {
        /// Full name, or name of the business.
        name: Option<String>,
        /// E-mail address; it need not be unique.
        email: Option<String>,
        /// Telephone number.
        phone: Option<String>,
        /// A note about the customer that they do not see.
        description: Option<String>,
        /// Postal address.
        address: Option<Address>,
        /// Amount that is set off against the next invoice, in the smallest unit of the currency; negative is a credit.
        balance: Option<i64>,
        /// Id of a payment method to attach.
        payment_method: Option<String>,
        /// What invoices of the customer have.
        invoice_settings: Option<InvoiceSettings>,
        /// Languages of the customer, the preferred one first, as `fr` or `en-GB`.
        preferred_locales: Option<Vec<String>>,
        /// Key-value pairs to keep with the customer, all of them texts.
        metadata: Option<Metadata>,
    }

    /// Gets a customer by id. Of a deleted one there is the id and `deleted` alone.
    GetCustomer "customers.get" get("/v1/customers/{customer}") => Customer {
        /// Id of the customer, as `cus_…`.
        customer: String,
    }

    /// Changes a customer; what is left out stays as it is.
    UpdateCustomer "customers.update" post("/v1/customers/{customer}") => Customer [.form()] {
        /// Id of the customer, as `cus_…`.
        customer: String,
        /// Full name, or name of the business.
        name: Option<String>,
        /// E-mail address.
        email: Option<String>,
        /// Telephone number.
        phone: Option<String>,
        /// A note about the customer that they do not see.
        description: Option<String>,
        /// Postal address.
        address: Option<Address>,
        /// Amount that is set off against the next invoice, in the smallest unit of the currency; negative is a credit.
        balance: Option<i64>,
        /// What invoices of the customer have.
        invoice_settings: Option<InvoiceSettings>,
        /// Key-value pairs to keep with the customer; an empty value removes its key, others stay.
        metadata: Option<Metadata>,
    }

    /// Deletes a customer for ever and cancels their subscriptions at once.
    DeleteCustomer "customers.delete" delete("/v1/customers/{customer}") => Deleted {
        /// Id of the customer, as `cus_…`.
        customer: String,
    }

    /// Lists customers, the newest first.
    ListCustomers "customers.list" get("/v1/customers") => Page<Customer> [.list()] {
        /// Only those with exactly this e-mail address; upper and lower case differ.
        email: Option<String>,
        /// Only those made in this range of time.
        created: Option<TimeRange>,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Searches customers by Stripe's query language. What was just changed is found after up to a minute.
    SearchCustomers "customers.search" get("/v1/customers/search") => Page<Customer> [.page(Paging::Cursor {
        items: "/data".into(), from: "/next_page".into(), into: "page".into(),
    })] {
        /// The query, as `name:'Ada' AND metadata['plan']:'gold'` or `email~"@example.com"`; fields are `created`, `email`,
        /// `metadata`, `name` and `phone`.
        query: String,
        /// Items on a page, 1 to 100; default 10.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }
}
