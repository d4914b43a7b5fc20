use std::sync::Arc;

use agentprovision_core::ErrorKind;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::id::UserId;
use agentprovision_core::identity::Role;
use agentprovision_core::page::PageRequest;
use agentprovision_tenancy::identity::{NewUser, UserUpdate};

use super::{World, actions, bad_names, kind, scenarios};

scenarios! {
    async fn a_user_is_what_was_said(world) {
        let World { tenancy, admin, .. } = &world;
        let new = NewUser::new("Ada@Acme.Example").name(" Ada ").role(Role::AGENT_MANAGER).role(Role::new("viewer"));
        let ada = tenancy.users().create(admin, new).await.unwrap();
        assert_eq!((ada.email.as_str(), ada.name.as_deref()), ("Ada@acme.example", Some("Ada")));
        assert_eq!(ada.roles, [Role::AGENT_MANAGER, Role::AGENT_VIEWER]);
        assert!(ada.active && ada.revision == 1);
        assert_eq!(tenancy.users().get(admin, ada.id).await.unwrap(), ada);
        let page = tenancy.users().list(admin, PageRequest::limit(1)).await.unwrap();
        let rest = tenancy.users().list(admin, PageRequest::limit(1).after(page.next.unwrap())).await.unwrap();
        assert_eq!((page.items[0].id, rest.items), (world.root.id, vec![ada.clone()]));

        let update = UserUpdate::new().without_name().roles([Role::AUDITOR]);
        let changed = tenancy.users().update(admin, ada.id, update).await.unwrap();
        assert_eq!((changed.name.as_deref(), changed.roles.as_slice(), changed.revision), (None, &[Role::AUDITOR][..], 2));
        assert_eq!(tenancy.users().get(admin, ada.id).await.unwrap(), changed);
        tenancy.users().delete(admin, ada.id).await.unwrap();
        assert_eq!(kind(tenancy.users().get(admin, ada.id).await), ErrorKind::NotFound);
        assert_eq!(kind(tenancy.users().delete(admin, ada.id).await), ErrorKind::NotFound);

        let log = world.audit().await;
        let expected = ["tenants.create", "tenants.bootstrap_admin", "users.create", "users.update", "roles.assign", "users.delete"];
        assert_eq!(actions(&log), expected);
        assert_eq!(log[4].details["added"], serde_json::json!(["auditor"]));
        assert_eq!(log[4].details["removed"], serde_json::json!(["agent_manager", "agent_viewer"]));
        assert!(!serde_json::to_string(&log).unwrap().contains("Ada"), "content in the log");
        let events = world.events().await;
        assert_eq!(events.last().unwrap(), "agentprovision.user.deleted");
    }

    async fn bad_input_is_refused_by_kind(world) {
        let World { tenancy, admin, .. } = &world;
        for (bad, expected) in bad_names() {
            let users = tenancy.users();
            assert_eq!(kind(users.create(admin, NewUser::new(bad.clone())).await), expected);
            assert_eq!(kind(users.create(admin, NewUser::new("a@b.c").name(bad.clone())).await), expected);
            let update = UserUpdate::new().name(bad.clone());
            assert_eq!(kind(users.update(admin, world.root.id, update).await), expected);
            let role = NewUser::new("a@b.c").role(Role::new(bad));
            assert_eq!(kind(users.create(admin, role).await), ErrorKind::InvalidInput);
        }
        for email in ["ada", "@acme.example", "a@b@c.d", "ada@", "a da@acme.example"] {
            assert_eq!(kind(tenancy.users().create(admin, NewUser::new(email)).await), ErrorKind::InvalidInput);
        }
        for (role, expected) in [
            (Role::new("wizard"), ErrorKind::InvalidInput),
            (Role::SUPER_ADMIN, ErrorKind::InvalidInput),
            (Role::new("platform_admin"), ErrorKind::InvalidInput),
            (Role::PROJECT_ADMIN, ErrorKind::Unsupported),
        ] {
            let new = NewUser::new("a@b.c").role(role.clone());
            assert_eq!(kind(tenancy.users().create(admin, new).await), expected);
            let update = UserUpdate::new().roles([Role::TENANT_ADMIN, role]);
            assert_eq!(kind(tenancy.users().update(admin, world.root.id, update).await), expected);
        }
        let twice = NewUser::new("root@ACME.example");
        assert_eq!(kind(tenancy.users().create(admin, twice).await), ErrorKind::AlreadyExists);
        assert_eq!(tenancy.users().list(admin, PageRequest::default()).await.unwrap().items.len(), 1);
        assert_eq!(world.audit().await.len(), 2);
    }

    async fn each_operation_needs_its_permission(world) {
        let World { tenancy, .. } = &world;
        let other = world.user("other", &[]).await;
        let viewer = world.context(&world.user("vic", &[Role::AGENT_VIEWER]).await).await;
        let users = tenancy.users();
        assert_eq!(kind(users.create(&viewer, NewUser::new("a@b.c")).await), ErrorKind::PermissionDenied);
        assert_eq!(kind(users.get(&viewer, other.id).await), ErrorKind::NotFound);
        assert_eq!(kind(users.list(&viewer, PageRequest::default()).await), ErrorKind::PermissionDenied);
        let update = UserUpdate::new().active(false);
        // Who may not see them does not learn that they are there; who may is told why not.
        let auditor = world.context(&world.user("sue", &[Role::SECURITY_MANAGER]).await).await;
        for (ctx, expected) in [(&viewer, ErrorKind::NotFound), (&auditor, ErrorKind::PermissionDenied)] {
            assert_eq!(kind(users.update(ctx, other.id, update.clone()).await), expected);
            assert_eq!(kind(users.delete(ctx, other.id).await), expected);
        }

        // `users:update` without `roles:assign` changes everything but roles.
        let desk = world.context(&world.assigned("desk", "helpdesk").await).await;
        users.update(&desk, other.id, update).await.unwrap();
        let promote = UserUpdate::new().roles([Role::AGENT_VIEWER]);
        assert_eq!(kind(users.update(&desk, other.id, promote).await), ErrorKind::PermissionDenied);
        let with_role = NewUser::new("a@b.c").role(Role::AGENT_VIEWER);
        assert_eq!(kind(users.create(&desk, with_role).await), ErrorKind::PermissionDenied);
        users.create(&desk, NewUser::new("a@b.c")).await.unwrap();
    }

    async fn nobody_gives_or_takes_more_than_they_hold(world) {
        let World { tenancy, admin, root, .. } = &world;
        let users = tenancy.users();
        let assigner = world.assigned("assigner", "assigner").await;
        let ctx = world.context(&assigner).await;
        let denied = ErrorKind::PermissionDenied;
        for role in [Role::TENANT_ADMIN, Role::AGENT_VIEWER, Role::AUDITOR] {
            let new = NewUser::new("a@b.c").role(role.clone());
            assert_eq!(kind(users.create(&ctx, new).await), denied, "{role}");
            let mut roles = assigner.roles.clone();
            roles.push(role);
            assert_eq!(kind(users.update(&ctx, assigner.id, UserUpdate::new().roles(roles)).await), denied);
        }
        assert_eq!(kind(users.update(&ctx, root.id, UserUpdate::new().roles([])).await), denied);
        users.create(&ctx, NewUser::new("b@b.c").role(Role::new("helpdesk"))).await.unwrap();
        // A permission of the host's that no admin holds cannot be given by an admin.
        assert_eq!(kind(users.create(admin, NewUser::new("c@b.c").role(Role::new("cashier"))).await), denied);
        // A context that was made while the caller held more counts for nothing.
        let second = world.user("second", &[Role::TENANT_ADMIN]).await;
        let old = world.context(&second).await;
        users.update(admin, second.id, UserUpdate::new().roles([Role::new("assigner")])).await.unwrap();
        let new = NewUser::new("d@b.c").role(Role::TENANT_ADMIN);
        assert_eq!(kind(users.create(&old, new).await), denied);
    }

    async fn a_change_counts_in_the_very_next_check(world) {
        let World { tenancy, admin, .. } = &world;
        let (users, access) = (tenancy.users(), tenancy.access());
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = world.context(&ada).await;
        let may = async |permission| access.check(&ctx, permission, Resource::all("agents")).await.is_ok();
        assert!(may(Permission::AGENTS_RUN).await && may(Permission::AGENTS_DEPLOY).await);
        users.update(admin, ada.id, UserUpdate::new().roles([Role::AGENT_OPERATOR])).await.unwrap();
        assert!(may(Permission::AGENTS_RUN).await && !may(Permission::AGENTS_DEPLOY).await);
        users.update(admin, ada.id, UserUpdate::new().active(false)).await.unwrap();
        assert!(!may(Permission::AGENTS_RUN).await && !may(Permission::AGENTS_READ).await);
        assert_eq!(kind(tenancy.contexts().context(world.acme, ada.id).await), ErrorKind::NotFound);
        users.update(admin, ada.id, UserUpdate::new().active(true)).await.unwrap();
        assert!(may(Permission::AGENTS_RUN).await);
        users.delete(admin, ada.id).await.unwrap();
        assert!(!may(Permission::AGENTS_READ).await);
    }

    async fn the_last_admin_stays(world) {
        let World { tenancy, admin, root, .. } = &world;
        let users = tenancy.users();
        let demote = || UserUpdate::new().roles([Role::AUDITOR]);
        let retire = || UserUpdate::new().active(false);
        let conflict = ErrorKind::Conflict;
        // Neither an inactive admin nor one in another tenant counts.
        world.globex().await;
        let second = world.user("second", &[Role::TENANT_ADMIN]).await;
        users.update(admin, second.id, retire()).await.unwrap();
        assert_eq!(kind(users.update(admin, root.id, demote()).await), conflict);
        assert_eq!(kind(users.update(admin, root.id, retire()).await), conflict);
        assert_eq!(kind(users.delete(admin, root.id).await), conflict);
        assert_eq!(tenancy.users().get(admin, root.id).await.unwrap(), *root, "nothing was changed");
        users.update(admin, second.id, UserUpdate::new().active(true)).await.unwrap();
        users.delete(admin, root.id).await.unwrap();
        let ctx = world.context(&second).await;
        assert_eq!(kind(users.delete(&ctx, second.id).await), conflict);
    }

    async fn users_of_other_tenants_are_not_there(world) {
        let World { tenancy, root, .. } = &world;
        let (_, gus) = world.globex().await;
        let users = tenancy.users();
        let missing = ErrorKind::NotFound;
        for id in [root.id, world.issuer.env().id::<UserId>()] {
            assert_eq!(kind(users.get(&gus, id).await), missing);
            assert_eq!(kind(users.update(&gus, id, UserUpdate::new().active(false)).await), missing);
            assert_eq!(kind(users.delete(&gus, id).await), missing);
        }
        assert_eq!(users.list(&gus, PageRequest::default()).await.unwrap().items.len(), 1);
        // The same address is free in every tenant.
        users.create(&gus, NewUser::new("root@acme.example")).await.unwrap();
        assert!(users.get(&world.admin, root.id).await.unwrap().active);
    }

    async fn a_context_of_another_platform_is_refused(world) {
        let other = World::new().await;
        let foreign = &other.admin;
        let (users, expected) = (world.tenancy.users(), ErrorKind::ForeignContext);
        assert_eq!(kind(users.create(foreign, NewUser::new("a@b.c")).await), expected);
        assert_eq!(kind(users.get(foreign, world.root.id).await), expected);
        assert_eq!(kind(users.list(foreign, PageRequest::default()).await), expected);
        assert_eq!(kind(users.update(foreign, world.root.id, UserUpdate::new()).await), expected);
        assert_eq!(kind(users.delete(foreign, world.root.id).await), expected);
    }
}

/// Two admins who demote each other at the same time: one of them stays, always.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_demotions_leave_an_admin() {
    super::watched(async {
        let world = Arc::new(World::new().await);
        for round in 0..50 {
            let second = world.user(&format!("second{round}"), &[Role::TENANT_ADMIN]).await;
            let tasks: Vec<_> = [world.root.id, second.id]
                .into_iter()
                .map(|id| {
                    let world = world.clone();
                    tokio::spawn(async move {
                        let update = UserUpdate::new().active(false);
                        world.tenancy.users().update(&world.admin, id, update).await
                    })
                })
                .collect();
            let mut results = Vec::new();
            for task in tasks {
                results.push(task.await.unwrap());
            }
            let done = results.iter().filter(|result| result.is_ok()).count();
            assert_eq!(done, 1, "{results:?}");
            if results[0].is_ok() {
                // The root lost: its context ended with it, so the other one brings it back.
                let ctx = world.context(&second).await;
                let back = UserUpdate::new().active(true);
                world.tenancy.users().update(&ctx, world.root.id, back).await.unwrap();
            }
            if results[1].is_err() {
                world.tenancy.users().delete(&world.admin, second.id).await.unwrap();
            }
        }
    })
    .await;
}

/// A caller that goes away after its change was sent leaves no stale grants behind.
#[tokio::test]
async fn a_dropped_caller_does_not_leave_old_grants() {
    super::watched(async {
        let world = World::new().await;
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = world.context(&ada).await;
        let update = UserUpdate::new().active(false);
        let mut change = Box::pin(world.tenancy.users().update(&world.admin, ada.id, update));
        // The store in memory answers at once, so the first pause is the one for the detached change.
        assert!(futures_util::poll!(change.as_mut()).is_pending());
        drop(change);
        while world.stores.users.member(world.acme, ada.id).await.unwrap().active {
            tokio::task::yield_now().await;
        }
        let resource = Resource::all("agents");
        let denied = world.tenancy.access().check(&ctx, Permission::AGENTS_READ, resource).await;
        assert_eq!(kind(denied), ErrorKind::PermissionDenied);
    })
    .await;
}

impl World {
    /// A user with a custom role that the admin may not give, as if a host's migration had stored it.
    async fn assigned(&self, name: &str, role: &'static str) -> agentprovision_core::identity::User {
        let user = self.user(name, &[]).await;
        let stored = agentprovision_core::identity::User {
            roles: vec![Role::new(role)],
            revision: user.revision + 1,
            ..user.clone()
        };
        let effects = agentprovision_core::Effects::none();
        self.stores.users.replace(&self.admin, stored.clone(), user.revision, effects).await.unwrap();
        stored
    }
}
