use std::time::Duration;

use agentprovision_core::authz::{Permission, PermissionRegistry, PermissionSet};
use agentprovision_core::context::{Context, Credentials};
use agentprovision_core::id::ApiKeyId;
use agentprovision_core::identity::Role;
use agentprovision_core::page::PageRequest;
use agentprovision_core::{ErrorKind, Result};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{ApiKeyRequest, NewApiKey, Pepper, UserUpdate};
use agentprovision_tenancy::tenant::LastArchive;
use secrecy::ExposeSecret;

use super::{World, actions, bad_names, kind, roles, scenarios};

impl World {
    async fn key(&self, ctx: &Context, request: ApiKeyRequest) -> NewApiKey {
        self.tenancy.keys().create(ctx, request).await.unwrap()
    }

    async fn authenticate(&self, text: &str) -> Result<Context> {
        self.tenancy.contexts().authenticate(&Credentials::ApiKey(text.into())).await
    }
}

fn text(key: &NewApiKey) -> &str {
    key.secret.expose_secret()
}

scenarios! {
    async fn a_key_authenticates_its_user(world) {
        let ada = world.user("ada", &[Role::AGENT_OPERATOR]).await;
        let ctx = world.context(&ada).await;
        let key = world.key(&ctx, ApiKeyRequest::new(" laptop ")).await;
        assert_eq!((key.record.name.as_str(), key.record.user, key.record.scopes.as_ref()), ("laptop", ada.id, None));
        assert_eq!(world.tenancy.keys().get(&ctx, key.record.id).await.unwrap(), key.record);
        let by_key = world.authenticate(text(&key)).await.unwrap();
        assert_eq!((by_key.tenant(), by_key.principal(), by_key.key()), (world.acme, ctx.principal(), Some(key.record.id)));
        assert_eq!(by_key.grants(), ctx.grants());
        // Without scopes the key follows its user.
        let update = UserUpdate::new().roles([Role::AUDITOR]);
        world.tenancy.users().update(&world.admin, ada.id, update).await.unwrap();
        let by_key = world.authenticate(text(&key)).await.unwrap();
        assert!(by_key.grants().contains(Permission::AUDIT_READ));
        world.tenancy.keys().revoke(&ctx, key.record.id).await.unwrap();
        let log = world.audit().await;
        assert_eq!(actions(&log)[3..], ["keys.create", "users.update", "roles.assign", "keys.revoke"]);
    }

    async fn scopes_limit_a_key(world) {
        let scopes = [Permission::USERS_READ, Permission::AGENTS_RUN];
        let key = world.key(&world.admin, ApiKeyRequest::new("k").scopes(scopes)).await;
        let ctx = world.authenticate(text(&key)).await.unwrap();
        assert_eq!(*ctx.grants(), scopes.into_iter().collect::<PermissionSet>());
        world.tenancy.users().list(&ctx, PageRequest::default()).await.unwrap();
        assert_eq!(kind(world.tenancy.users().delete(&ctx, world.root.id).await), ErrorKind::PermissionDenied);
        // Scopes are a limit, not a grant: they shrink with the user.
        let second = world.user("second", &[Role::TENANT_ADMIN]).await;
        let other = world.context(&second).await;
        world.tenancy.users().update(&other, world.root.id, UserUpdate::new().roles([Role::AUDITOR])).await.unwrap();
        assert_eq!(*world.authenticate(text(&key)).await.unwrap().grants(), PermissionSet::EMPTY);
    }

    async fn a_key_never_may_more_than_who_made_it(world) {
        let keys = world.tenancy.keys();
        let viewer = world.user("vic", &[Role::AGENT_VIEWER]).await;
        let ctx = world.context(&viewer).await;
        let beyond = ApiKeyRequest::new("k").scopes([Permission::AGENTS_READ, Permission::AGENTS_RUN]);
        assert_eq!(kind(keys.create(&ctx, beyond).await), ErrorKind::PermissionDenied);

        // A limited key makes a limited key, and neither outlives the other.
        let until = world.issuer.env().now().after(Duration::from_secs(60));
        let small = ApiKeyRequest::new("k").scopes([Permission::USERS_READ]).expires_at(until);
        let small = world.authenticate(text(&world.key(&world.admin, small).await)).await.unwrap();
        let child = world.key(&small, ApiKeyRequest::new("child")).await;
        assert_eq!(child.record.scopes.as_deref(), Some(&["users:read".to_owned()][..]));
        assert_eq!(child.record.expires_at, Some(until));
        let later = ApiKeyRequest::new("child").expires_at(until.after(Duration::from_secs(1)));
        assert_eq!(world.key(&small, later).await.record.expires_at, Some(until));

        // Who makes a key for somebody with more grants, keeps within their own.
        let desk = world.tenancy.users();
        let helper = world.user("helper", &[]).await;
        let stored = agentprovision_core::identity::User {
            roles: vec![Role::new("helpdesk")], revision: 2, ..helper.clone()
        };
        world.stores.users.replace(&world.admin, stored, 1, agentprovision_core::Effects::none()).await.unwrap();
        let ctx = world.context(&desk.get(&world.admin, helper.id).await.unwrap()).await;
        let key = world.key(&ctx, ApiKeyRequest::new("for root").user(world.root.id)).await;
        let by_key = world.authenticate(text(&key)).await.unwrap();
        assert_eq!(by_key.principal().user(), world.root.id);
        assert_eq!(by_key.grants(), ctx.grants());
    }

    async fn an_agent_manages_no_keys(world) {
        let keys = world.tenancy.keys();
        let own = world.key(&world.admin, ApiKeyRequest::new("k")).await.record;
        let other = world.user("other", &[]).await;
        let agent = world.admin.for_agent(world.issuer.env().id(), &PermissionSet::ALL);
        let denied = ErrorKind::PermissionDenied;
        assert_eq!(kind(keys.create(&agent, ApiKeyRequest::new("k")).await), denied);
        assert_eq!(kind(keys.create(&agent, ApiKeyRequest::new("k").user(other.id)).await), denied);
        assert_eq!(kind(keys.revoke(&agent, own.id).await), denied);
        assert_eq!(kind(keys.list_own(&agent, PageRequest::default()).await), denied);
    }

    async fn own_keys_need_no_permission_and_others_do(world) {
        let keys = world.tenancy.keys();
        let ada = world.context(&world.user("ada", &[]).await).await;
        let bob = world.context(&world.user("bob", &[]).await).await;
        let mine = world.key(&ada, ApiKeyRequest::new("mine")).await.record;
        let theirs = world.key(&bob, ApiKeyRequest::new("theirs")).await.record;
        assert_eq!(keys.get(&ada, mine.id).await.unwrap(), mine);
        assert_eq!(keys.list_own(&ada, PageRequest::default()).await.unwrap().items, std::slice::from_ref(&mine));
        assert_eq!(kind(keys.list(&ada, PageRequest::default()).await), ErrorKind::PermissionDenied);
        assert_eq!(kind(keys.get(&ada, theirs.id).await), ErrorKind::NotFound);
        // A key of another and a key that is not there look the same.
        for id in [theirs.id, world.issuer.env().id::<ApiKeyId>()] {
            assert_eq!(kind(keys.revoke(&ada, id).await), ErrorKind::NotFound);
            assert_eq!(keys.get(&ada, id).await.unwrap_err().message(), "no such api key");
        }
        let for_bob = ApiKeyRequest::new("k").user(theirs.user);
        assert_eq!(kind(keys.create(&ada, for_bob.clone()).await), ErrorKind::PermissionDenied);

        keys.create(&world.admin, for_bob).await.unwrap();
        assert_eq!(keys.list(&world.admin, PageRequest::default()).await.unwrap().items.len(), 3);
        keys.revoke(&world.admin, theirs.id).await.unwrap();
        assert!(keys.get(&world.admin, theirs.id).await.unwrap().revoked_at.is_some());
        let nobody = ApiKeyRequest::new("k").user(world.issuer.env().id());
        assert_eq!(kind(keys.create(&world.admin, nobody).await), ErrorKind::NotFound);
    }

    async fn own_keys_come_in_pages(world) {
        let keys = world.tenancy.keys();
        let ada = world.context(&world.user("ada", &[]).await).await;
        let bob = world.context(&world.user("bob", &[]).await).await;
        let mut mine = Vec::new();
        for n in 0..7 {
            mine.push(world.key(&ada, ApiKeyRequest::new(format!("{n}"))).await.record.id);
            for _ in 0..40 {
                world.key(&bob, ApiKeyRequest::new("b")).await;
            }
        }
        let (mut page, mut seen) = (PageRequest::limit(3), Vec::new());
        loop {
            let part = keys.list_own(&ada, page.clone()).await.unwrap();
            assert!(part.items.len() <= 3);
            seen.extend(part.items.iter().map(|key| key.id));
            match part.next {
                Some(next) => page = page.after(next),
                None => break,
            }
        }
        assert_eq!(seen, mine);
        assert_eq!(kind(keys.list_own(&ada, PageRequest::limit(101)).await), ErrorKind::InvalidInput);
    }

    async fn bad_requests_are_refused_by_kind(world) {
        let keys = world.tenancy.keys();
        for (bad, expected) in bad_names() {
            assert_eq!(kind(keys.create(&world.admin, ApiKeyRequest::new(bad)).await), expected);
        }
        let now = world.issuer.env().now();
        let over = ApiKeyRequest::new("k").expires_at(now);
        assert_eq!(kind(keys.create(&world.admin, over).await), ErrorKind::InvalidInput);
        assert_eq!(kind(keys.create(&world.admin, ApiKeyRequest::new("k").scopes([])).await), ErrorKind::InvalidInput);
        let mut registry = PermissionRegistry::default();
        registry.register("a:a").unwrap();
        let unknown = registry.register("b:b").unwrap();
        let foreign = ApiKeyRequest::new("k").scopes([unknown]);
        assert_eq!(kind(keys.create(&world.admin, foreign).await), ErrorKind::InvalidInput);
        let inactive = world.user("idle", &[]).await;
        world.tenancy.users().update(&world.admin, inactive.id, UserUpdate::new().active(false)).await.unwrap();
        let idle = ApiKeyRequest::new("k").user(inactive.id);
        assert_eq!(kind(keys.create(&world.admin, idle).await), ErrorKind::Conflict);
    }

    async fn every_credential_that_does_not_hold_gets_the_same_answer(world) {
        let World { tenancy, admin, clock, .. } = &world;
        let env = world.issuer.env();
        let good = world.key(admin, ApiKeyRequest::new("good")).await;
        let other_key = world.key(admin, ApiKeyRequest::new("other")).await;
        let expiring = ApiKeyRequest::new("k").expires_at(env.now().after(Duration::from_secs(60)));
        let expiring = world.key(admin, expiring).await;
        let revoked = world.key(admin, ApiKeyRequest::new("revoked")).await;
        tenancy.keys().revoke(admin, revoked.record.id).await.unwrap();
        let ada = world.user("ada", &[]).await;
        let adas = world.key(&world.context(&ada).await, ApiKeyRequest::new("adas")).await;
        tenancy.users().update(admin, ada.id, UserUpdate::new().active(false)).await.unwrap();
        let bob = world.user("bob", &[]).await;
        let bobs = world.key(&world.context(&bob).await, ApiKeyRequest::new("bobs")).await;
        tenancy.users().delete(admin, bob.id).await.unwrap();
        let (globex, gus) = world.globex().await;
        let in_globex = world.key(&gus, ApiKeyRequest::new("k")).await;
        let elsewhere = World::new().await;
        let foreign = elsewhere.key(&elsewhere.admin, ApiKeyRequest::new("k")).await;

        // The boundary: at `expires_at` it is over.
        clock.advance(Duration::from_micros(59_999_999));
        let last = world.authenticate(text(&expiring)).await.unwrap();
        clock.advance(Duration::from_micros(1));
        assert_eq!(kind(tenancy.users().list(&last, PageRequest::default()).await), ErrorKind::Unauthenticated);

        let mut wrong = text(&good).to_owned();
        let end = if wrong.ends_with('0') { "1" } else { "0" };
        wrong.replace_range(133.., end);
        // The tenant, the key and the secret of three keys that are all good where they belong.
        let moved = text(&good).replace(&*world.acme.uuid().as_simple().to_string(), &globex.uuid().as_simple().to_string());
        let mixed = format!("{}{}", &text(&other_key)[..70], &text(&good)[70..]);
        let (nil, zeros) = ("0".repeat(32), "0".repeat(64));
        for (name, text) in [
            ("wrong secret", wrong),
            ("expired", text(&expiring).into()),
            ("revoked", text(&revoked).into()),
            ("inactive user", text(&adas).into()),
            ("deleted user", text(&bobs).into()),
            ("foreign platform", text(&foreign).into()),
            ("other tenant's id", moved),
            ("other key's secret", mixed),
            ("upper case", text(&good).to_uppercase()),
            ("cut", text(&good)[..133].into()),
            ("longer", format!("{}0", text(&good))),
            ("trailing space", format!("{} ", text(&good))),
            ("empty", String::new()),
            ("nil ids and zero secret", format!("apk_{nil}_{nil}_{zeros}")),
            ("U+0000", "apk_\u{0}".into()),
            ("10 MB", "apk_".repeat(10 << 18)),
        ] {
            let error = world.authenticate(&text).await.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{name}");
            assert_eq!(format!("{error:?}"), "unauthenticated: the credential is not valid", "{name}");
            let alone = tenancy.authenticator().authenticate(&Credentials::ApiKey(text.into())).await;
            assert_eq!(kind(alone), ErrorKind::Unauthenticated, "{name}, the authenticator alone");
        }
        world.authenticate(text(&good)).await.unwrap();
        assert_eq!(world.authenticate(text(&in_globex)).await.unwrap().tenant(), globex);

        // Only who has the secret learns that a tenant is suspended, and nobody that one is deleted.
        tenancy.tenants().suspend(&world.operator, globex).await.unwrap();
        assert_eq!(kind(world.authenticate(text(&in_globex)).await), ErrorKind::TenantSuspended);
        let guess = format!("{}{}", &text(&in_globex)[..70], zeros);
        assert_eq!(kind(world.authenticate(&guess).await), ErrorKind::Unauthenticated);
        tenancy.tenants().delete(&world.operator, globex, LastArchive::Nothing).await.unwrap();
        assert_eq!(kind(world.authenticate(text(&in_globex)).await), ErrorKind::Unauthenticated);
    }

    async fn another_pepper_ends_every_key(world) {
        let key = world.key(&world.admin, ApiKeyRequest::new("k")).await;
        let pepper = Pepper::new(&"another pepper for tests".into()).unwrap();
        let other = Tenancy::new(world.issuer.clone(), &world.stores, roles(), pepper);
        let credentials = Credentials::ApiKey(key.secret.clone());
        assert_eq!(kind(other.contexts().authenticate(&credentials).await), ErrorKind::Unauthenticated);
        world.tenancy.contexts().authenticate(&credentials).await.unwrap();
    }

    async fn a_revoked_key_ends_the_contexts_made_with_it(world) {
        let key = world.key(&world.admin, ApiKeyRequest::new("k")).await;
        let by_key = world.authenticate(text(&key)).await.unwrap();
        world.tenancy.users().list(&by_key, PageRequest::default()).await.unwrap();
        world.tenancy.keys().revoke(&world.admin, key.record.id).await.unwrap();
        let expected = ErrorKind::Unauthenticated;
        assert_eq!(kind(world.tenancy.users().list(&by_key, PageRequest::default()).await), expected);
        assert_eq!(kind(world.tenancy.keys().create(&by_key, ApiKeyRequest::new("k")).await), expected);
        assert_eq!(kind(world.tenancy.keys().get(&by_key, key.record.id).await), expected);
        // The first time stays.
        let first = world.tenancy.keys().get(&world.admin, key.record.id).await.unwrap().revoked_at;
        world.clock.advance(Duration::from_secs(1));
        world.tenancy.keys().revoke(&world.admin, key.record.id).await.unwrap();
        assert_eq!(world.tenancy.keys().get(&world.admin, key.record.id).await.unwrap().revoked_at, first);
    }

    async fn a_deactivated_user_manages_no_keys(world) {
        let ada = world.user("ada", &[]).await;
        let ctx = world.context(&ada).await;
        let key = world.key(&ctx, ApiKeyRequest::new("k")).await.record;
        world.tenancy.users().update(&world.admin, ada.id, UserUpdate::new().active(false)).await.unwrap();
        let (keys, denied) = (world.tenancy.keys(), ErrorKind::PermissionDenied);
        assert_eq!(kind(keys.create(&ctx, ApiKeyRequest::new("k")).await), denied);
        assert_eq!(kind(keys.list_own(&ctx, PageRequest::default()).await), denied);
        assert_eq!(kind(keys.get(&ctx, key.id).await), denied);
        assert_eq!(kind(keys.revoke(&ctx, key.id).await), denied);
    }

    async fn keys_of_other_tenants_and_platforms_are_not_there(world) {
        let key = world.key(&world.admin, ApiKeyRequest::new("k")).await.record;
        let (_, gus) = world.globex().await;
        let keys = world.tenancy.keys();
        assert_eq!(kind(keys.get(&gus, key.id).await), ErrorKind::NotFound);
        assert_eq!(kind(keys.revoke(&gus, key.id).await), ErrorKind::NotFound);
        assert_eq!(kind(keys.create(&gus, ApiKeyRequest::new("k").user(key.user)).await), ErrorKind::NotFound);
        assert!(keys.list(&gus, PageRequest::default()).await.unwrap().items.is_empty());
        let foreign = World::new().await.admin;
        let expected = ErrorKind::ForeignContext;
        assert_eq!(kind(keys.get(&foreign, key.id).await), expected);
        assert_eq!(kind(keys.revoke(&foreign, key.id).await), expected);
        assert_eq!(kind(keys.create(&foreign, ApiKeyRequest::new("k")).await), expected);
        assert_eq!(kind(keys.list(&foreign, PageRequest::default()).await), expected);
        assert_eq!(kind(keys.list_own(&foreign, PageRequest::default()).await), expected);
        assert!(keys.get(&world.admin, key.id).await.unwrap().revoked_at.is_none());
    }

    async fn no_secret_is_ever_shown(world) {
        let key = world.key(&world.admin, ApiKeyRequest::new("k")).await;
        let secret = &text(&key)[70..];
        let digest: String = key.record.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let credentials = Credentials::ApiKey(key.secret.clone());
        let log = world.audit().await;
        let events = world.stores.events.read(&world.admin, 0, 100).await.unwrap();
        let ctx = world.authenticate(text(&key)).await.unwrap();
        let shown = format!(
            "{key:?} {credentials:?} {log:?} {events:?} {ctx:?} {:?} {:?}",
            world.tenancy, world.stores
        );
        for hidden in [secret, digest.as_str(), &format!("{:?}", key.record.digest), "pepper for tests"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        assert!(shown.contains(&key.record.id.to_string()));
    }
}
