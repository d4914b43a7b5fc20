//! Users and API keys, and the place where contexts come from.
//!
//! [`Users`] and [`ApiKeys`] are services within a tenant. [`ApiKeyAuthenticator`] tells whose a credential is;
//! [`Contexts`] turns that, or a user who is known already, into a context with the grants of this moment.

mod authenticator;
mod contexts;
mod input;
mod keys;
mod secret;
pub(crate) mod users;

pub use authenticator::ApiKeyAuthenticator;
pub use contexts::Contexts;
pub use input::{ApiKeyRequest, NewUser, UserUpdate};
pub use keys::{ApiKeys, NewApiKey};
pub use secret::Pepper;
pub use users::Users;
