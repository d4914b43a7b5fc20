//! Who acts, for which tenant, with which grants: [`Context`], and [`OperatorContext`] above the tenants.
//!
//! A context is authority, so it cannot be made from text: only a [`ContextIssuer`] makes one, from a checked
//! credential or a stored row, and every service refuses a context of another issuer. Ids and headers only select.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::audit::Actor;
use crate::authz::PermissionSet;
use crate::clock::{Env, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AgentId, ApiKeyId, IssuerId, RequestId, TenantId, UserId};

/// Who acts within a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// A user, directly or by an API key of theirs.
    User(UserId),
}

impl Principal {
    /// The user behind the principal.
    pub const fn user(self) -> UserId {
        match self {
            Principal::User(user) => user,
        }
    }
}

/// Who a checked credential belongs to, as an `Authenticator` returns it. Not a context: it carries no grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tenant the credential is bound to.
    pub tenant: TenantId,
    /// Whose credential it is.
    pub principal: Principal,
    /// What the credential is limited to; the grants of its context are the principal's within these.
    pub scopes: PermissionSet,
    /// When the credential ends.
    pub expires: Option<Timestamp>,
    /// The API key it was, where it was one.
    pub key: Option<ApiKeyId>,
}

/// What an `Authenticator` checks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// An API key in text form.
    ApiKey(secrecy::SecretString),
}

/// Checks credentials.
#[async_trait::async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Who the credential belongs to.
    ///
    /// # Errors
    /// `unauthenticated`, with the same message, for every credential that does not hold.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Identity>;
}

/// The parts of a context that are facts about the request; none of them is authority.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RequestInfo {
    /// When the request must be over.
    pub deadline: Option<Timestamp>,
    /// The W3C `traceparent` of the caller.
    pub traceparent: Option<String>,
    /// The correlation id of the work this belongs to; the request id where absent.
    pub correlation_id: Option<String>,
    /// The caller's IP address, for the audit log.
    pub ip_address: Option<String>,
    /// The caller's user agent, for the audit log.
    pub user_agent: Option<String>,
}

struct Inner {
    issuer: IssuerId,
    tenant: TenantId,
    principal: Principal,
    grants: PermissionSet,
    key: Option<ApiKeyId>,
    agent: Option<AgentId>,
    expires: Option<Timestamp>,
    request_id: RequestId,
    info: RequestInfo,
}

/// Who acts, for which tenant, with which grants. The first parameter of every tenant-scoped operation.
///
/// Cheap to clone. Grants are a snapshot; the authorizer also consults the current ones, so a revocation is seen by the
/// next check in this process.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

impl Context {
    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// Who acts.
    pub fn principal(&self) -> Principal {
        self.0.principal
    }

    /// What the principal may do, within the credential's scopes and, in a run, within the agent's.
    pub fn grants(&self) -> &PermissionSet {
        &self.0.grants
    }

    /// The id of this request.
    pub fn request_id(&self) -> RequestId {
        self.0.request_id
    }

    /// When the request must be over.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.info.deadline
    }

    /// When the credential behind the context ends.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }

    /// The API key behind the context, where it was one.
    pub fn key(&self) -> Option<ApiKeyId> {
        self.0.key
    }

    /// The facts of the request.
    pub fn info(&self) -> &RequestInfo {
        &self.0.info
    }

    /// The correlation id: the given one, or the request id.
    pub fn correlation_id(&self) -> Cow<'_, str> {
        match &self.0.info.correlation_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(self.0.request_id.to_string()),
        }
    }

    /// The actor as the audit log names it: the agent in a run, the user otherwise.
    pub fn actor(&self) -> Actor {
        match (self.0.agent, self.0.principal) {
            (Some(agent), _) => Actor::new("agent", agent),
            (None, Principal::User(user)) => Actor::new("user", user),
        }
    }

    /// The agent that acts on the principal's behalf, in a run.
    pub fn agent(&self) -> Option<AgentId> {
        self.0.agent
    }

    /// The same context with other facts about the request.
    #[must_use]
    pub fn with_info(&self, info: RequestInfo) -> Self {
        Self(Arc::new(Inner { info, ..self.parts() }))
    }

    /// The same context with grants shrunk to those in `scopes`.
    #[must_use]
    pub fn within(&self, scopes: &PermissionSet) -> Self {
        let grants = self.0.grants.intersection(scopes);
        Self(Arc::new(Inner { grants, ..self.parts() }))
    }

    /// The same context for an agent of the principal: grants shrink to what both have.
    #[must_use]
    pub fn for_agent(&self, agent: AgentId, grants: &PermissionSet) -> Self {
        let grants = self.0.grants.intersection(grants);
        Self(Arc::new(Inner { agent: Some(agent), grants, ..self.parts() }))
    }

    fn parts(&self) -> Inner {
        let Inner { issuer, tenant, principal, grants, key, agent, expires, request_id, info } = &*self.0;
        Inner {
            issuer: *issuer,
            tenant: *tenant,
            principal: *principal,
            grants: *grants,
            key: *key,
            agent: *agent,
            expires: *expires,
            request_id: *request_id,
            info: info.clone(),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("tenant", &self.0.tenant)
            .field("principal", &self.0.principal)
            .field("agent", &self.0.agent)
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

/// Who acts above the tenants, and why: for tenant, placement and platform-log operations only.
#[derive(Clone)]
pub struct OperatorContext {
    issuer: IssuerId,
    actor: String,
    reason: String,
    request_id: RequestId,
    info: RequestInfo,
}

impl OperatorContext {
    /// Who the host says this is.
    pub fn name(&self) -> &str {
        &self.actor
    }

    /// Why, in the operator's words; recorded in both logs.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The id of this request.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The facts of the request.
    pub fn info(&self) -> &RequestInfo {
        &self.info
    }

    /// The actor as the audit logs name it.
    pub fn actor(&self) -> Actor {
        Actor::new("operator", &self.actor)
    }
}

impl fmt::Debug for OperatorContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorContext")
            .field("actor", &self.actor)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Makes contexts: the root of trust of a process. Each platform owns one.
///
/// Whoever can call [`ContextIssuer::new`] already runs the process; what it issues is refused by every service that
/// was built with another issuer.
#[derive(Clone, Debug)]
pub struct ContextIssuer {
    id: IssuerId,
    env: Env,
}

impl ContextIssuer {
    /// A new issuer.
    pub fn new(env: Env) -> Self {
        Self { id: env.id(), env }
    }

    /// A context for a checked identity whose current grants are `grants`.
    pub fn context(&self, identity: &Identity, grants: &PermissionSet, info: RequestInfo) -> Context {
        Context(Arc::new(Inner {
            issuer: self.id,
            tenant: identity.tenant,
            principal: identity.principal,
            grants: grants.intersection(&identity.scopes),
            key: identity.key,
            agent: None,
            expires: identity.expires,
            request_id: self.env.id(),
            info,
        }))
    }

    /// A context above the tenants. `reason` is recorded with everything done with it.
    ///
    /// # Errors
    /// `invalid_input` when the actor or the reason is empty, too long or has control characters.
    pub fn operator(&self, actor: &str, reason: &str) -> Result<OperatorContext> {
        Ok(OperatorContext {
            issuer: self.id,
            actor: crate::text::name("actor", actor)?,
            reason: crate::text::name("reason", reason)?,
            request_id: self.env.id(),
            info: RequestInfo::default(),
        })
    }

    /// Refuses a context of another issuer, of an expired credential, or past its deadline.
    ///
    /// # Errors
    /// `foreign_context`, `unauthenticated` or `deadline_exceeded`.
    pub fn check(&self, ctx: &Context) -> Result<()> {
        self.same_issuer(ctx.0.issuer)?;
        let now = self.env.now();
        if ctx.0.expires.is_some_and(|expires| expires <= now) {
            return Err(Error::new(ErrorKind::Unauthenticated, "the credential has expired"));
        }
        if ctx.0.info.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline of the request has passed"));
        }
        Ok(())
    }

    /// Refuses an operator context of another issuer.
    ///
    /// # Errors
    /// `foreign_context`.
    pub fn check_operator(&self, ctx: &OperatorContext) -> Result<()> {
        self.same_issuer(ctx.issuer)
    }

    /// Clock, entropy and ids of this issuer.
    pub fn env(&self) -> &Env {
        &self.env
    }

    fn same_issuer(&self, issuer: IssuerId) -> Result<()> {
        if issuer == self.id {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::ForeignContext, "the context was made by another platform"))
        }
    }
}
