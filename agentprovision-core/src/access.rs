//! The check at the door of every service: [`Access`], and [`Principals`], which reads current grants again.
//!
//! A service calls one of these before it does anything else. Whether the tenant is active is not decided here but by
//! [`Guard::TenantActive`](crate::effect::Guard) inside the transaction of the change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::authz::{Authorizer, Decision, Permission, Resource};
use crate::clock::Env;
use crate::context::{Context, ContextIssuer, OperatorContext};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::id::{TenantId, UserId};

/// Checks contexts and permissions: what every service of a platform holds. Cheap to clone.
///
/// Each method first refuses a context of another issuer (`foreign_context`), of an expired credential
/// (`unauthenticated`) or past its deadline (`deadline_exceeded`); then it asks the authorizer. An authorizer that fails
/// denies.
///
/// ```
/// use std::sync::Arc;
/// use agentprovision_core::access::Access;
/// use agentprovision_core::authz::{ContextAuthorizer, Permission, PermissionSet, Resource};
/// use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
/// use agentprovision_core::{Env, ErrorKind};
///
/// # async fn example() {
/// let env = Env::default();
/// let issuer = ContextIssuer::new(env.clone());
/// let access = Access::new(issuer.clone(), Arc::new(ContextAuthorizer));
/// let identity = Identity {
///     tenant: env.id(),
///     principal: Principal::User(env.id()),
///     scopes: PermissionSet::ALL,
///     expires: None,
///     key: None,
/// };
/// let grants = [Permission::AGENTS_READ].into_iter().collect();
/// let ctx = issuer.context(&identity, &grants, RequestInfo::default());
///
/// assert!(access.check(&ctx, Permission::AGENTS_READ, Resource::all("agents")).await.is_ok());
/// let denied = access.check(&ctx, Permission::AGENTS_RUN, Resource::all("agents")).await.unwrap_err();
/// assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Access {
    issuer: ContextIssuer,
    authorizer: Arc<dyn Authorizer>,
}

impl Access {
    /// Checks contexts of `issuer` by the decisions of `authorizer`.
    pub fn new(issuer: ContextIssuer, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { issuer, authorizer }
    }

    /// Clock, entropy and ids of the issuer.
    pub fn env(&self) -> &Env {
        self.issuer.env()
    }

    /// Who makes the contexts that are accepted here.
    pub fn issuer(&self) -> &ContextIssuer {
        &self.issuer
    }

    /// The context alone, for what every active user may do with their own things.
    ///
    /// # Errors
    /// `foreign_context`, `unauthenticated` or `deadline_exceeded`.
    pub fn context(&self, ctx: &Context) -> Result<()> {
        self.issuer.check(ctx)
    }

    /// An operator's context.
    ///
    /// # Errors
    /// `foreign_context`.
    pub fn operator(&self, op: &OperatorContext) -> Result<()> {
        self.issuer.check_operator(op)
    }

    /// Whether the principal may do this: for every operation that changes something.
    ///
    /// # Errors
    /// `permission_denied`; `tenant_suspended`, `not_found` or `unauthenticated` where the authorizer knows that the
    /// tenant is suspended or gone, or the credential revoked; `closed` with the platform; and those of [`Access::context`].
    pub async fn check(&self, ctx: &Context, permission: Permission, resource: Resource) -> Result<()> {
        self.issuer.check(ctx)?;
        let denial = match self.authorizer.decide(ctx, permission, &resource).await {
            Ok(Decision::Allow) => return Ok(()),
            Ok(Decision::Deny(reason)) => Error::denied(reason),
            Err(error) if PASSED_ON.contains(&error.kind()) => error,
            Err(error) => {
                tracing::warn!(tenant = %ctx.tenant(), ?permission, error = ?error, "the authorizer failed");
                Error::denied("whether this is permitted could not be decided")
                    .with_retry(Retry::After(Duration::from_secs(1)))
                    .with_source(error)
            }
        };
        Err(match resource.id {
            Some(id) => denial.with_context("resource", id),
            None => denial,
        })
    }

    /// Whether the principal may see one resource: a principal who may not must not learn whether it exists.
    ///
    /// # Errors
    /// `not_found` instead of `permission_denied`, except where the authorizer failed; otherwise as [`Access::check`].
    pub async fn read(&self, ctx: &Context, permission: Permission, resource: Resource) -> Result<()> {
        let kind = resource.kind;
        match self.check(ctx, permission, resource).await {
            Err(error) if is_verdict(&error) => Err(no_such(kind)),
            other => other,
        }
    }

    /// Whether the principal may change one resource. One who may not, and may not see it with `seen` either, must not
    /// learn whether it exists.
    ///
    /// # Errors
    /// `not_found` instead of `permission_denied` without `seen`; otherwise as [`Access::check`].
    pub async fn change(
        &self,
        ctx: &Context,
        permission: Permission,
        seen: Permission,
        resource: Resource,
    ) -> Result<()> {
        match self.check(ctx, permission, resource.clone()).await {
            Err(error) if is_verdict(&error) => {
                self.read(ctx, seen, resource).await?;
                Err(error)
            }
            other => other,
        }
    }

    /// Whether the principal may list the resources of a kind.
    ///
    /// # Errors
    /// As [`Access::check`].
    pub async fn list(&self, ctx: &Context, permission: Permission, kind: &'static str) -> Result<()> {
        self.check(ctx, permission, Resource::all(kind)).await
    }
}

/// Whether the principal may not, as opposed to nobody knowing: that an authorizer failed says nothing of the resource, so
/// it need not be hidden, and its cause comes back.
fn is_verdict(error: &Error) -> bool {
    error.is(ErrorKind::PermissionDenied) && error.retry() == Retry::Never
}

/// Errors of an authorizer that say more than that it failed.
const PASSED_ON: [ErrorKind; 4] =
    [ErrorKind::TenantSuspended, ErrorKind::NotFound, ErrorKind::Unauthenticated, ErrorKind::Closed];

/// The `not_found` of a resource kind, named in the plural of the permissions.
fn no_such(kind: &'static str) -> Error {
    Error::not_found(format!("no such {}", kind.strip_suffix('s').unwrap_or(kind).replace('_', " ")))
}

/// Makes contexts with the grants of this moment, for work that goes on after its request: the run engine reads them
/// again when it claims a run and before each tool.
#[async_trait]
pub trait Principals: fmt::Debug + Send + Sync + 'static {
    /// A context for a user of a tenant.
    ///
    /// # Errors
    /// `not_found` when there is no such tenant or user, or the user is not active; `tenant_suspended`.
    async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{ContextAuthorizer, PermissionSet};
    use crate::context::{Identity, Principal, RequestInfo};

    #[derive(Debug)]
    struct Failing(ErrorKind);

    #[async_trait]
    impl Authorizer for Failing {
        async fn decide(&self, _: &Context, _: Permission, _: &Resource) -> Result<Decision> {
            Err(Error::new(self.0, "broken inside"))
        }
    }

    fn context(issuer: &ContextIssuer, expires_in: Option<Duration>) -> Context {
        let env = issuer.env();
        let identity = Identity {
            tenant: env.id(),
            principal: Principal::User(env.id()),
            scopes: PermissionSet::ALL,
            expires: expires_in.map(|span| env.now().after(span)),
            key: None,
        };
        let grants = [Permission::AGENTS_READ].into_iter().collect();
        issuer.context(&identity, &grants, RequestInfo::default())
    }

    async fn kinds(access: &Access, ctx: &Context, permission: Permission) -> [Option<ErrorKind>; 3] {
        let one = || Resource::one("agents", "agt_1");
        [
            access.check(ctx, permission, one()).await.err().map(|error| error.kind()),
            access.read(ctx, permission, one()).await.err().map(|error| error.kind()),
            access.list(ctx, permission, "agents").await.err().map(|error| error.kind()),
        ]
    }

    #[tokio::test]
    async fn a_denial_hides_what_is_read_and_says_so_elsewhere() {
        let issuer = ContextIssuer::new(Env::default());
        let access = Access::new(issuer.clone(), Arc::new(ContextAuthorizer));
        let ctx = context(&issuer, None);
        assert_eq!(kinds(&access, &ctx, Permission::AGENTS_READ).await, [None; 3]);
        let denied = Some(ErrorKind::PermissionDenied);
        let hidden = Some(ErrorKind::NotFound);
        assert_eq!(kinds(&access, &ctx, Permission::AGENTS_RUN).await, [denied, hidden, denied]);
    }

    #[tokio::test]
    async fn foreign_and_expired_contexts_are_refused_before_the_authorizer_is_asked() {
        let issuer = ContextIssuer::new(Env::default());
        let other = ContextIssuer::new(Env::default());
        let access = Access::new(issuer.clone(), Arc::new(ContextAuthorizer));
        let foreign = Some(ErrorKind::ForeignContext);
        assert_eq!(kinds(&access, &context(&other, None), Permission::AGENTS_READ).await, [foreign; 3]);
        let expired = Some(ErrorKind::Unauthenticated);
        let ctx = context(&issuer, Some(Duration::ZERO));
        assert_eq!(kinds(&access, &ctx, Permission::AGENTS_READ).await, [expired; 3]);
        let operator = other.operator("ops", "test").unwrap();
        assert_eq!(access.operator(&operator).unwrap_err().kind(), ErrorKind::ForeignContext);
    }

    #[tokio::test]
    async fn an_authorizer_that_fails_denies_without_showing_why() {
        let issuer = ContextIssuer::new(Env::default());
        let ctx = context(&issuer, None);
        let access = Access::new(issuer.clone(), Arc::new(Failing(ErrorKind::Internal)));
        let error = access.check(&ctx, Permission::AGENTS_READ, Resource::all("agents")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(!error.to_string().contains("broken inside"));
        let access = Access::new(issuer, Arc::new(Failing(ErrorKind::TenantSuspended)));
        let suspended = Some(ErrorKind::TenantSuspended);
        assert_eq!(kinds(&access, &ctx, Permission::AGENTS_READ).await, [suspended; 3]);
    }
}
