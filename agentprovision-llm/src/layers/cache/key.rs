//! What makes two requests the same question.

use agentprovision_core::canonical;
use agentprovision_core::context::{Context, Principal};
use agentprovision_core::id::TenantId;
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::plain;

/// Part of every key: another number makes everything that was stored before unreachable.
const SCHEMA: &[u8] = b"agentprovision.cache/2\0";

/// Who shares stored answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// The users of one tenant.
    #[default]
    Tenant,
    /// Nobody: each user has a cache of their own.
    User,
    /// All tenants of the platform. What one tenant asked and was answered is then given to others, so this is for
    /// platforms whose prompts hold nothing of anybody.
    Shared,
}

/// A question: SHA-256 over the schema's number, the scope, what kind of question it is, and everything in the request
/// that changes the answer, in its canonical form.
pub(super) type Key = [u8; 32];

/// The key of the parts of a question. `kind` keeps the questions of different caches apart.
pub(super) fn key(scope: CacheScope, ctx: &Context, kind: &str, parts: &[&[u8]]) -> Key {
    // Everything in front of the last part has a fixed length or an end of its own, so no two lists of parts meet.
    let (tag, tenant, user) = match (scope, ctx.principal()) {
        (CacheScope::Tenant, _) => (b"t", id(Some(ctx.tenant())), [0; 16]),
        (CacheScope::User, Principal::User(user)) => (b"u", id(Some(ctx.tenant())), *user.uuid().as_bytes()),
        (CacheScope::Shared, _) => (b"s", id(None), [0; 16]),
        // A principal this version does not know shares with nobody but itself.
        (CacheScope::User, _) => (b"p", id(Some(ctx.tenant())), *ctx.request_id().uuid().as_bytes()),
    };
    let mut all: Vec<&[u8]> = vec![SCHEMA, tag, &tenant, &user, kind.as_bytes(), b"\0"];
    all.extend_from_slice(parts);
    canonical::sha256(&all)
}

fn id(tenant: Option<TenantId>) -> [u8; 16] {
    tenant.map_or([0; 16], |tenant| *tenant.uuid().as_bytes())
}

/// The canonical bytes of a request. Its fields are written in the order of their declaration and maps in their own, so
/// the same request always has the same bytes, and a new field is part of them by itself.
pub(super) fn bytes<T: Serialize>(request: &T) -> Result<Vec<u8>> {
    plain::bytes(request).map_err(|error| Error::invalid("the request cannot be written").with_source(error))
}
