use agentprovision_core::ErrorKind;
use agentprovision_core::id::TenantId;
use agentprovision_core::identity::Role;
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::TenantState;
use agentprovision_tenancy::identity::{ApiKeyRequest, NewUser, UserUpdate};
use agentprovision_tenancy::tenant::{LastArchive, NewTenant, RestoreOptions, TenantUpdate};
use serde_json::json;

use super::{World, actions, bad_names, kind, scenarios};

fn settings(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

scenarios! {
    async fn a_tenant_is_what_was_said(world) {
        let tenants = world.tenancy.tenants();
        let new = NewTenant::new(" Globex ", "Globex.Example").plan("team").region("eu");
        let made = tenants.create(&world.operator, new.settings(settings(json!({"a": [1, "b"]})))).await.unwrap();
        assert_eq!((made.name.as_str(), made.domain.as_deref()), ("Globex", Some("globex.example")));
        assert_eq!((made.plan.as_deref(), made.region.as_deref()), (Some("team"), Some("eu")));
        assert_eq!((made.state, made.revision), (TenantState::Active, 1));
        assert_eq!(tenants.get(&world.operator, made.id).await.unwrap(), made);
        let page = tenants.list(&world.operator, PageRequest::limit(1)).await.unwrap();
        assert_eq!(page.items[0].id, world.acme);
        let rest = tenants.list(&world.operator, PageRequest::limit(1).after(page.next.unwrap())).await.unwrap();
        assert_eq!((rest.items, rest.next), (vec![made.clone()], None));

        let update = TenantUpdate::new().name("Globex Corp").without_plan().settings(settings(json!({})));
        let changed = tenants.update(&world.operator, made.id, update).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.plan.as_deref(), changed.revision), ("Globex Corp", None, 2));
        assert_eq!(changed.region, made.region);
        assert_eq!(tenants.get(&world.operator, made.id).await.unwrap(), changed);
    }

    async fn changes_are_in_both_logs_and_in_the_events(world) {
        let tenants = world.tenancy.tenants();
        tenants.update(&world.operator, world.acme, TenantUpdate::new().plan("team")).await.unwrap();
        tenants.suspend(&world.operator, world.acme).await.unwrap();
        tenants.resume(&world.operator, world.acme).await.unwrap();
        let log = world.audit().await;
        let expected = ["tenants.create", "tenants.bootstrap_admin", "tenants.update", "tenants.suspend", "tenants.resume"];
        assert_eq!(actions(&log), expected);
        assert!(log.iter().all(|record| record.reason.as_deref() == Some("sign-up")));
        assert!(log.iter().all(|record| record.actor.id == "ops@host.example" && record.tenant_id == Some(world.acme)));
        let platform = world.platform_audit().await;
        assert_eq!(actions(&platform), expected);
        assert!(platform.iter().all(|record| record.tenant_id.is_none()));
        assert_eq!(platform[3].resource_id, Some(world.acme.to_string()));
        let events = ["tenant.created", "user.created", "tenant.updated", "tenant.suspended", "tenant.resumed"];
        assert_eq!(world.events().await, events.map(|event| format!("agentprovision.{event}")));

        // Of the log of a deleted tenant the hashes stay, the deletion's at their end; the platform log tells of it.
        tenants.delete(&world.operator, world.acme, LastArchive::Nothing).await.unwrap();
        let left = world.stores.audit.entries(&world.admin, 0, 100).await.unwrap();
        assert_eq!(left.len(), log.len() + 1);
        assert!(left.iter().all(|entry| entry.bytes.is_empty() && entry.erased.is_some()));
        assert_eq!(actions(&world.platform_audit().await).last(), Some(&"tenants.delete"));
    }

    async fn names_domains_and_settings_have_rules(world) {
        let tenants = world.tenancy.tenants();
        for (bad, expected) in bad_names() {
            for new in [
                NewTenant::new(bad.clone(), "a.example"),
                NewTenant::new("a", bad.clone()),
                NewTenant::without_domain("a").plan(bad.clone()),
                NewTenant::without_domain("a").region(bad.clone()),
            ] {
                assert_eq!(kind(tenants.create(&world.operator, new).await), expected);
            }
            let update = TenantUpdate::new().name(bad.clone());
            assert_eq!(kind(tenants.update(&world.operator, world.acme, update).await), expected);
        }
        for domain in ["a b", "a..b", "-a.b", "http://a.b", "a_b.c"] {
            let new = NewTenant::new("a", domain);
            assert_eq!(kind(tenants.create(&world.operator, new).await), ErrorKind::InvalidInput, "{domain}");
        }
        let with = |value| NewTenant::without_domain("a").settings(settings(value));
        let huge = with(json!({"a": "b".repeat(64 << 10)}));
        assert_eq!(kind(tenants.create(&world.operator, huge).await), ErrorKind::TooLarge);
        let zero = with(json!({"a": [{"b\u{0}": 1}]}));
        assert_eq!(kind(tenants.create(&world.operator, zero).await), ErrorKind::InvalidInput);
        let page = PageRequest::limit(0);
        assert_eq!(kind(tenants.list(&world.operator, page).await), ErrorKind::InvalidInput);
        // Nothing of all this was stored or recorded.
        assert_eq!(tenants.list(&world.operator, PageRequest::default()).await.unwrap().items.len(), 1);
        assert_eq!(world.platform_audit().await.len(), 2);
    }

    async fn a_domain_is_taken_until_its_tenant_is_deleted(world) {
        let tenants = world.tenancy.tenants();
        let again = || NewTenant::new("other", "ACME.example");
        assert_eq!(kind(tenants.create(&world.operator, again()).await), ErrorKind::AlreadyExists);
        tenants.create(&world.operator, NewTenant::without_domain("acme")).await.unwrap();
        tenants.delete(&world.operator, world.acme, LastArchive::Nothing).await.unwrap();
        tenants.create(&world.operator, again()).await.unwrap();
    }

    async fn a_suspended_tenant_does_nothing_and_can_only_be_resumed_or_deleted(world) {
        let World { tenancy, operator, acme, admin, root, .. } = &world;
        let ada = world.user("ada", &[Role::AGENT_VIEWER]).await;
        tenancy.tenants().suspend(operator, *acme).await.unwrap();
        let suspended = ErrorKind::TenantSuspended;
        let update = TenantUpdate::new().name("new");
        assert_eq!(kind(tenancy.tenants().update(operator, *acme, update).await), suspended);
        let boot = NewUser::new("b@acme.example");
        assert_eq!(kind(tenancy.tenants().bootstrap_admin(operator, *acme, boot).await), suspended);
        assert_eq!(kind(tenancy.tenants().suspend(operator, *acme).await), ErrorKind::Conflict);
        // Contexts from before, and new ones.
        assert_eq!(kind(tenancy.contexts().context(*acme, root.id).await), suspended);
        assert_eq!(kind(tenancy.tenants().own(admin).await), suspended);
        assert_eq!(kind(tenancy.users().get(admin, ada.id).await), suspended);
        assert_eq!(kind(tenancy.users().list(admin, PageRequest::default()).await), suspended);
        assert_eq!(kind(tenancy.users().create(admin, NewUser::new("c@acme.example")).await), suspended);
        assert_eq!(kind(tenancy.users().update(admin, ada.id, UserUpdate::new().active(false)).await), suspended);
        assert_eq!(kind(tenancy.users().delete(admin, ada.id).await), suspended);
        assert_eq!(kind(tenancy.keys().create(admin, ApiKeyRequest::new("k")).await), suspended);
        assert_eq!(kind(tenancy.keys().list_own(admin, PageRequest::default()).await), suspended);
        // Without any news from this process, the transaction itself refuses.
        tenancy.authorizer().set_tenant(*acme, TenantState::Active, u64::MAX);
        assert_eq!(kind(tenancy.users().delete(admin, ada.id).await), suspended);
        assert_eq!(kind(tenancy.keys().create(admin, ApiKeyRequest::new("k")).await), suspended);

        tenancy.tenants().resume(operator, *acme).await.unwrap();
        assert_eq!(kind(tenancy.tenants().resume(operator, *acme).await), ErrorKind::Conflict);
        tenancy.users().delete(admin, ada.id).await.unwrap();
        tenancy.tenants().suspend(operator, *acme).await.unwrap();
        tenancy.tenants().delete(operator, *acme, LastArchive::Nothing).await.unwrap();
    }

    async fn a_store_without_archives_says_so_before_anything_is_done(world) {
        let (tenants, archives) = (world.tenancy.tenants(), world.tenancy.archives());
        let last = LastArchive::At("last.archive".into());
        assert_eq!(kind(tenants.delete(&world.operator, world.acme, last).await), ErrorKind::Unsupported);
        assert_eq!(tenants.get(&world.operator, world.acme).await.unwrap().state, TenantState::Active);
        let file = "some.archive";
        assert_eq!(kind(archives.export(&world.operator, world.acme, file).await), ErrorKind::Unsupported);
        assert_eq!(kind(archives.verify(&world.operator, file).await), ErrorKind::Unsupported);
        let options = RestoreOptions::new();
        assert_eq!(kind(archives.restore(&world.operator, file, options).await), ErrorKind::Unsupported);
        assert_eq!(world.platform_audit().await.len(), 2);
    }

    async fn a_deleted_tenant_stays_deleted(world) {
        let World { tenancy, operator, acme, admin, root, .. } = &world;
        let gone = tenancy.tenants().delete(operator, *acme, LastArchive::Nothing).await.unwrap();
        assert_eq!((gone.state, gone.domain.as_deref()), (TenantState::Deleted, None));
        assert_eq!(tenancy.tenants().get(operator, *acme).await.unwrap(), gone);
        let tenants = tenancy.tenants();
        assert_eq!(kind(tenants.resume(operator, *acme).await), ErrorKind::Conflict);
        assert_eq!(kind(tenants.suspend(operator, *acme).await), ErrorKind::Conflict);
        assert_eq!(kind(tenants.delete(operator, *acme, LastArchive::Nothing).await), ErrorKind::Conflict);
        assert_eq!(kind(tenants.update(operator, *acme, TenantUpdate::new().name("b")).await), ErrorKind::Conflict);
        let boot = NewUser::new("b@acme.example");
        assert_eq!(kind(tenants.bootstrap_admin(operator, *acme, boot).await), ErrorKind::NotFound);
        assert_eq!(kind(tenancy.contexts().context(*acme, root.id).await), ErrorKind::NotFound);
        assert_eq!(kind(tenancy.users().list(admin, PageRequest::default()).await), ErrorKind::NotFound);
        assert_eq!(kind(tenants.own(admin).await), ErrorKind::NotFound);
    }

    async fn a_tenant_has_one_first_admin(world) {
        let World { tenancy, operator, acme, admin, root, .. } = &world;
        assert_eq!(root.roles, [Role::TENANT_ADMIN]);
        let second = || NewUser::new("second@acme.example");
        assert_eq!(kind(tenancy.tenants().bootstrap_admin(operator, *acme, second()).await), ErrorKind::Conflict);
        assert_eq!(tenancy.users().list(admin, PageRequest::default()).await.unwrap().items.len(), 1);
        let nowhere: TenantId = world.issuer.env().id();
        assert_eq!(kind(tenancy.tenants().bootstrap_admin(operator, nowhere, second()).await), ErrorKind::NotFound);
        let super_admin = second().role(Role::SUPER_ADMIN);
        assert_eq!(kind(tenancy.tenants().bootstrap_admin(operator, *acme, super_admin).await), ErrorKind::InvalidInput);
        let (globex, _) = world.globex().await;
        assert_ne!(globex, *acme);
    }

    async fn a_tenant_reads_itself_with_the_permission(world) {
        let own = world.tenancy.tenants().own(&world.admin).await.unwrap();
        assert_eq!(own.id, world.acme);
        let viewer = world.user("vic", &[Role::AGENT_VIEWER]).await;
        let ctx = world.context(&viewer).await;
        assert_eq!(kind(world.tenancy.tenants().own(&ctx).await), ErrorKind::NotFound);
    }

    async fn an_operator_of_another_platform_is_refused(world) {
        let other = World::new().await;
        let tenants = world.tenancy.tenants();
        let foreign = &other.operator;
        let expected = ErrorKind::ForeignContext;
        assert_eq!(kind(tenants.create(foreign, NewTenant::without_domain("a")).await), expected);
        assert_eq!(kind(tenants.get(foreign, world.acme).await), expected);
        assert_eq!(kind(tenants.list(foreign, PageRequest::default()).await), expected);
        assert_eq!(kind(tenants.update(foreign, world.acme, TenantUpdate::new()).await), expected);
        assert_eq!(kind(tenants.suspend(foreign, world.acme).await), expected);
        assert_eq!(kind(tenants.resume(foreign, world.acme).await), expected);
        assert_eq!(kind(tenants.delete(foreign, world.acme, LastArchive::Nothing).await), expected);
        let boot = NewUser::new("b@acme.example");
        assert_eq!(kind(tenants.bootstrap_admin(foreign, world.acme, boot).await), expected);
        assert_eq!(kind(tenants.own(&other.admin).await), expected);
        assert_eq!(tenants.own(&world.admin).await.unwrap().revision, 1);
    }
}
