//! Who may do what by role: the table of the built-in roles, the registry with a host's own, and the authorizer.
//!
//! A role is a name in a registry; what it grants is the transitive closure over the roles it contains, computed when it
//! is registered. A check is then one bit test. Start with [`Roles`] and [`RbacAuthorizer`].

mod authorizer;
mod builtin;
mod roles;

pub use authorizer::RbacAuthorizer;
pub(crate) use authorizer::{no_tenant, suspended};
pub use builtin::{BUILTIN, BuiltinRole, PLATFORM_ONLY, RoleScope};
pub use roles::{RoleSpec, Roles};
