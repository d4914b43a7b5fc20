use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::Principals;
use agentprovision_core::authz::{Authorizer, Decision, Permission, Resource};
use agentprovision_core::context::ContextIssuer;
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::identity::Role;
use agentprovision_core::{Context, Error, ErrorKind, Result};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::UserUpdate;
use agentprovision_tenancy::rbac::RbacAuthorizer;

use super::{World, kind, pepper, roles, scenarios};

scenarios! {
    async fn a_context_has_the_grants_of_this_moment(world) {
        let World { tenancy, admin, acme, .. } = &world;
        let ada = world.user("ada", &[Role::AGENT_OPERATOR]).await;
        let ctx = world.context(&ada).await;
        assert_eq!((ctx.tenant(), ctx.principal().user(), ctx.expires()), (*acme, ada.id, None));
        assert_eq!(*ctx.grants(), tenancy.roles().grants(&[Role::AGENT_OPERATOR]));
        assert_eq!(tenancy.authorizer().grants_of(*acme, ada.id), Some(*ctx.grants()));
        tenancy.users().update(admin, ada.id, UserUpdate::new().roles([Role::AUDITOR])).await.unwrap();
        let again = Principals::context(tenancy.contexts(), *acme, ada.id).await.unwrap();
        assert!(again.grants().contains(Permission::AUDIT_READ) && !again.grants().contains(Permission::AGENTS_RUN));
        tenancy.access().check(&again, Permission::AUDIT_READ, Resource::all("audit")).await.unwrap();
    }

    async fn only_members_of_the_tenant_get_one(world) {
        let World { tenancy, acme, root, .. } = &world;
        let (globex, gus) = world.globex().await;
        let contexts = tenancy.contexts();
        let missing = ErrorKind::NotFound;
        assert_eq!(kind(contexts.context(globex, root.id).await), missing);
        assert_eq!(kind(contexts.context(*acme, gus.principal().user()).await), missing);
        assert_eq!(kind(contexts.context(*acme, world.issuer.env().id::<UserId>()).await), missing);
        assert_eq!(kind(contexts.context(world.issuer.env().id::<TenantId>(), root.id).await), missing);
    }

    async fn an_authorizer_of_the_host_narrows_and_never_widens(world) {
        let World { issuer, stores, acme, root, .. } = &world;
        let tenancy = Tenancy::with_authorizer(issuer.clone(), stores, roles(), pepper(), |rbac| {
            Arc::new(NoDeploys(rbac))
        });
        let ctx = tenancy.contexts().context(*acme, root.id).await.unwrap();
        let check = async |permission| {
            let check = tenancy.access().check(&ctx, permission, Resource::all("agents"));
            check.await.map_err(|error| error.kind())
        };
        assert_eq!(check(Permission::AGENTS_RUN).await, Ok(()));
        assert_eq!(check(Permission::AGENTS_DEPLOY).await, Err(ErrorKind::PermissionDenied));
        assert_eq!(check(Permission::TENANTS_CREATE).await, Err(ErrorKind::PermissionDenied));
        assert_eq!(check(Permission::AGENTS_CREATE).await, Err(ErrorKind::PermissionDenied), "an error denies");
    }

    async fn a_context_past_its_deadline_is_refused(world) {
        let mut info = world.admin.info().clone();
        info.deadline = Some(world.issuer.env().now().after(Duration::from_secs(1)));
        let ctx = world.admin.with_info(info);
        world.tenancy.tenants().own(&ctx).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(kind(world.tenancy.tenants().own(&ctx).await), ErrorKind::DeadlineExceeded);
    }

    async fn a_context_of_an_issuer_of_the_hosts_own_is_foreign(world) {
        let own = ContextIssuer::new(world.issuer.env().clone());
        let other = Tenancy::new(own, &world.stores, roles(), pepper());
        let ctx = other.contexts().context(world.acme, world.root.id).await.unwrap();
        assert_eq!(kind(world.tenancy.tenants().own(&ctx).await), ErrorKind::ForeignContext);
        assert_eq!(kind(world.tenancy.users().get(&ctx, world.root.id).await), ErrorKind::ForeignContext);
    }
}

/// A policy of a host: nothing is deployed, and creating breaks it.
#[derive(Debug)]
struct NoDeploys(Arc<RbacAuthorizer>);

#[async_trait::async_trait]
impl Authorizer for NoDeploys {
    async fn decide(&self, ctx: &Context, permission: Permission, resource: &Resource) -> Result<Decision> {
        match permission {
            Permission::AGENTS_DEPLOY => Ok(Decision::Deny("deploys are frozen".into())),
            Permission::AGENTS_CREATE => Err(Error::internal("the policy engine is broken")),
            _ => self.0.decide(ctx, permission, resource).await,
        }
    }
}
