//! Who may do what, and where it is kept: tenants, users, API keys and roles, and the SQL stores.
//!
//! The services here work against the contracts of `agentprovision-core` and know no database: [`tenant::Tenants`] for
//! operators, [`identity::Users`] and [`identity::ApiKeys`] within a tenant, [`identity::Contexts`] where contexts come
//! from, [`rbac::RbacAuthorizer`] where they are judged; [`Tenancy`] puts them together over a
//! bundle of stores.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cache;
pub mod identity;
pub mod placement;
pub mod rbac;
pub mod secret;
mod services;
pub mod store;
pub mod tenant;

pub use services::Tenancy;

/// The first 64 characters of user input, for error messages.
fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}
