//! Who may do what, and where it is kept: tenants, users, API keys and roles, and the SQL stores.
//!
//! The services here work against the contracts of `agentprovision-core` and know no database: [`tenant::Tenants`] for
//! operators, [`identity::Users`] and [`identity::ApiKeys`] within a tenant, [`identity::Contexts`] where contexts come
//! from, [`rbac::RbacAuthorizer`] where they are judged; [`Tenancy`] puts them together over a
//! bundle of stores.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod identity;
pub mod rbac;
mod services;
pub mod store;
pub mod tenant;

pub use services::Tenancy;

use agentprovision_core::{Error, Result};
use tracing::Instrument;

/// Finishes `work` even when its caller goes away: a change that is committed must also reach the authorizer.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("the change was interrupted").with_source(error)),
    }
}

/// The first 64 characters of user input, for error messages.
fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}
