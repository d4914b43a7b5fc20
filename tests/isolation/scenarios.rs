//! What every operation must refuse, and that it does what it says where nothing is to be refused.

use agentprovision::error::ErrorKind::{
    Closed, ForeignContext, InvalidInput, NotFound, PermissionDenied, TenantSuspended, Unsupported,
};
use agentprovision::id::{AgentId, ApiKeyId, EndpointId, IntegrationId, RunId, SessionId, TenantId, UserId};
use agentprovision::prelude::*;
use agentprovision::{Operation, Scope};

use super::calls::{Call, Do, calls, operation};
use super::world::{Estate, Ids, STORES, World, ZEBRA, audit_log, reads, special, special_role};
use crate::support::in_time;

impl World {
    fn call(&self, estate: &Estate, ids: Ids) -> Call {
        Call {
            platform: self.platform.clone(),
            ctx: estate.home.admin.clone(),
            op: self.operator.clone(),
            ids,
        }
    }
}

async fn run(operation: &Operation, call: Do, with: Call) -> Result<String> {
    let what = in_time(call(with)).await;
    if let Err(error) = &what {
        // What a tenant reads of it never has another's content.
        let shown = format!("{error} {:?}", error.context());
        assert!(!shown.contains(ZEBRA), "{}: {shown}", operation.name);
    }
    what
}

fn expect(operation: &Operation, what: &Result<String>, kind: ErrorKind, store: &str) {
    match what {
        Err(error) if error.kind() == kind => {}
        other => panic!("{} on {store}: {kind} is expected, not {other:?}", operation.name),
    }
}

/// Whether an operation changes something of the tenant, its bill included.
fn changes(operation: &Operation) -> bool {
    operation.audit.is_some() || operation.meter.is_some()
}

/// Stores in memory have no archives, and so no backups; one store alone has no placements.
fn unsupported(operation: &Operation, store: &str) -> bool {
    (store == "memory"
        && (operation.name.starts_with("archives.")
            || ["backups.run", "backups.get"].contains(&operation.name)))
        || (store != "placed" && operation.name.starts_with("placements."))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_ids_are_not_there() {
    for store in STORES {
        let world = World::new(store).await;
        let before = audit_log(&world.platform, &world.zebra.home.admin).await;
        let foreign = world.call(&world.quokka, world.zebra.ids);
        for (operation, call) in calls(Scope::Tenant) {
            let what = run(operation, call, foreign.clone()).await;
            if operation.by_id {
                expect(operation, &what, NotFound, store);
                continue;
            }
            // One that names nothing is about the caller's own tenant, and shows nothing of another's.
            let given = what.unwrap_or_else(|error| panic!("{} on {store}: {error:?}", operation.name));
            assert!(!given.contains(ZEBRA), "{}: {given}", operation.name);
            for id in world.zebra.ids.texts() {
                assert!(!given.contains(&id), "{}: {id} in {given}", operation.name);
            }
        }
        let context = operation("platform.context");
        let (_, call) = calls(Scope::Host).find(|(found, _)| found.name == context.name).unwrap();
        expect(context, &run(context, call, foreign).await, NotFound, store);
        assert_eq!(audit_log(&world.platform, &world.zebra.home.admin).await, before, "nothing was changed");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_name_nothing_are_not_found() {
    for store in STORES {
        let world = World::new(store).await;
        let call = world.call(&world.zebra, Ids::unknown(world.platform.env()));
        for scope in [Scope::Tenant, Scope::Operator, Scope::Host] {
            for (operation, does) in calls(scope).filter(|(operation, _)| operation.by_id) {
                let expected = if unsupported(operation, store) { Unsupported } else { NotFound };
                expect(operation, &run(operation, does, call.clone()).await, expected, store);
            }
        }
        world.close().await;
    }
}

#[test]
fn text_that_is_no_id_is_refused_before_anything_is_asked() {
    let id: AgentId = agentprovision::Env::default().id();
    let good = id.uuid().as_simple().to_string();
    let other_kind = format!("xyz_{good}");
    let texts = [
        "",
        " ",
        "0",
        "agt_",
        "undefined",
        "null",
        "..",
        "../../etc/passwd",
        "' OR '1'='1",
        "%",
        "*",
        "\u{0}",
        "agt_\u{202e}",
        "00000000-0000-0000-0000-000000000000",
        &good[1..],
        &other_kind,
        &good.repeat(100_000),
    ];
    for operation in agentprovision::OPERATIONS.iter().filter(|operation| operation.by_id) {
        let parse = |text: &str| match operation.resource {
            "tenants" => text.parse::<TenantId>().map(drop),
            "users" => text.parse::<UserId>().map(drop),
            "api_keys" => text.parse::<ApiKeyId>().map(drop),
            "agents" => text.parse::<AgentId>().map(drop),
            "runs" => text.parse::<RunId>().map(drop),
            "sessions" => text.parse::<SessionId>().map(drop),
            "integrations" => text.parse::<IntegrationId>().map(drop),
            "webhooks" => text.parse::<EndpointId>().map(drop),
            other => panic!("{}: say how an id of `{other}` is read", operation.name),
        };
        for text in texts {
            let error = parse(text).expect_err(text);
            assert_eq!(error.kind(), InvalidInput, "{}: {text:.80}", operation.name);
            assert!(error.message().len() < 400 && !error.message().contains('\0'));
        }
        parse(&good).unwrap();
    }
}

/// Every operation succeeds with the permission the table names and no other, and leaves the record it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_named_permission_is_enough_and_the_named_action_is_recorded() {
    for store in STORES {
        let world = World::new(store).await;
        let (home, ids) = (&world.zebra.home, world.zebra.ids);
        let named: Vec<&str> =
            agentprovision::OPERATIONS.iter().filter_map(|operation| operation.audit).collect();
        let platform = &world.platform;
        let counts = async |action: Option<&str>| {
            let deleted = platform.tenants().get(&world.operator, ids.tenant).await.unwrap();
            let mut log = if deleted.state == agentprovision::tenant::TenantState::Active {
                audit_log(platform, &home.admin).await
            } else {
                Vec::new()
            };
            log.extend(platform.audit().platform_entries(&world.operator, 0, 500).await.unwrap());
            let wanted =
                |found: &str| action.map_or_else(|| named.contains(&found), |action| found == action);
            log.iter().filter(|entry| wanted(&entry.record().unwrap().action)).count()
        };
        for scope in [Scope::Tenant, Scope::Operator, Scope::Host] {
            for (operation, does) in calls(scope).filter(|(operation, _)| operation.name != "platform.close")
            {
                let mut call = world.call(&world.zebra, ids);
                if let (Scope::Tenant, Some(permission)) = (scope, operation.permission) {
                    call.ctx =
                        special(platform, home, special_role("only", permission, operation.resource)).await;
                }
                // To answer an approval one reads the run that asks, and a session is its user's alone.
                if ["runs.approve", "sessions.get"].contains(&operation.name) {
                    expect(operation, &run(operation, does, call.clone()).await, NotFound, store);
                    call.ctx = home.admin.clone();
                }
                let before = counts(operation.audit).await;
                let calls = counts(Some("integrations.invoke")).await;
                let failed = |error: Error| -> String { panic!("{} on {store}: {error:?}", operation.name) };
                // Contexts come from active tenants only; this one is deleted by now.
                if scope == Scope::Host {
                    call.ctx = world.quokka.home.admin.clone();
                    call.ids = world.quokka.ids;
                }
                let what = in_time(does(call)).await;
                if unsupported(operation, store) {
                    expect(operation, &what, Unsupported, store);
                    continue;
                }
                what.unwrap_or_else(failed);
                // What it asks the service is a read, whose record is written behind it; nothing after it counts that.
                if operation.name == "integrations.test" {
                    in_time(async {
                        while counts(Some("integrations.invoke")).await == calls {
                            tokio::task::yield_now().await;
                        }
                    })
                    .await;
                }
                let made = counts(operation.audit).await - before;
                match operation.audit {
                    Some(action) => assert!(made > 0, "{} on {store} left no `{action}`", operation.name),
                    // A key is made on the way, as its own caller says, and an archive.
                    None if ["platform.authenticate", "archives.verify", "backups.get"]
                        .contains(&operation.name) => {}
                    None => assert_eq!(made, 0, "{} on {store} is recorded and not named", operation.name),
                }
            }
        }
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_hides_or_denies() {
    for store in STORES {
        let world = World::new(store).await;
        let home = &world.zebra.home;
        let before = audit_log(&world.platform, &home.admin).await.len();
        let mut made = 0;
        for (operation, does) in calls(Scope::Tenant) {
            let Some(permission) = operation.permission else { continue };
            let mut call = world.call(&world.zebra, world.zebra.ids);
            for kind in ["without", "blind"] {
                let users = async || {
                    world
                        .platform
                        .users()
                        .list(&home.admin, PageRequest::limit(100))
                        .await
                        .unwrap()
                        .items
                        .len()
                };
                let known = users().await;
                call.ctx =
                    special(&world.platform, home, special_role(kind, permission, operation.resource)).await;
                made += users().await - known;
                let sees = call.ctx.grants().contains(reads(operation.resource));
                let expected = match operation.name {
                    // Whoever may not see the tenant they are in does not learn more of it.
                    "tenants.own" => NotFound,
                    _ if operation.by_id && !sees => NotFound,
                    _ => PermissionDenied,
                };
                expect(operation, &run(operation, does, call.clone()).await, expected, store);
            }
        }
        let after = audit_log(&world.platform, &home.admin).await;
        assert_eq!(after.len(), before + made, "only the users this test makes are recorded: {after:?}");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_keys_need_no_permission_and_others_are_hidden() {
    for store in STORES {
        let world = World::new(store).await;
        let (home, platform) = (&world.zebra.home, &world.platform);
        let nobody = home.user(platform, "nobody", Role::INTEGRATION_USER).await.1;
        let viewer = home.user(platform, "watcher", Role::SECURITY_MANAGER).await.1;
        let request = agentprovision::tenancy::identity::ApiKeyRequest::new("own");
        let own = platform.keys().create(&nobody, request).await.unwrap().record;
        for (operation, does) in calls(Scope::Tenant).filter(|(operation, _)| operation.permission.is_none())
        {
            let mut call = world.call(&world.zebra, Ids { key: own.id, ..world.zebra.ids });
            call.ctx = nobody.clone();
            run(operation, does, call.clone())
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", operation.name));
            if operation.by_id {
                call.ids = world.zebra.ids;
                expect(operation, &run(operation, does, call.clone()).await, NotFound, store);
                call.ctx = viewer.clone();
                let seen = run(operation, does, call).await;
                if changes(operation) {
                    expect(operation, &seen, PermissionDenied, store);
                } else {
                    seen.unwrap();
                }
            }
        }
        world.close().await;
    }
}

/// In the process that suspends it, a tenant's contexts may do nothing at once. In another process they change nothing, and
/// as soon as it has heard of it they may not read either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_in_a_suspended_tenant() {
    for store in STORES {
        let world = World::new(store).await;
        let (tenant, root) = (world.zebra.ids.tenant, world.zebra.home.root.id);
        let here = world.call(&world.zebra, world.zebra.ids);
        let ctx = world.other.context(tenant, root).await.unwrap();
        let op = world.other.operator("ops@host.example", "look").unwrap();
        let there = Call { platform: world.other.clone(), ctx, op, ids: world.zebra.ids };
        let before = audit_log(&world.platform, &world.zebra.home.admin).await.len();
        world.platform.tenants().suspend(&world.operator, tenant).await.unwrap();

        let agents = there.platform.agents();
        in_time(async {
            while agents.list(&there.ctx, agentprovision::agent::AgentQuery::default()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for (operation, does) in calls(Scope::Tenant) {
            expect(operation, &run(operation, does, here.clone()).await, TenantSuspended, store);
            expect(operation, &in_time(does(there.clone())).await, TenantSuspended, store);
        }
        for (operation, does) in calls(Scope::Host) {
            if operation.name != "platform.close" && operation.name != "platform.operator" {
                expect(operation, &run(operation, does, here.clone()).await, TenantSuspended, store);
            }
        }
        for name in ["tenants.update", "tenants.bootstrap_admin"] {
            let (operation, does) = calls(Scope::Operator).find(|(found, _)| found.name == name).unwrap();
            expect(operation, &run(operation, does, here.clone()).await, TenantSuspended, store);
        }
        let credential = agentprovision::context::Credentials::ApiKey(world.zebra.key_secret.clone());
        assert_eq!(world.platform.authenticate(&credential).await.unwrap_err().kind(), TenantSuspended);

        // The other tenant goes on, and so does this one once it is resumed.
        world.platform.users().list(&world.quokka.home.admin, PageRequest::default()).await.unwrap();
        world.platform.tenants().resume(&world.operator, tenant).await.unwrap();
        let log = audit_log(&world.platform, &world.zebra.home.admin).await;
        assert_eq!(log.len(), before + 2, "suspended, resumed, and nothing else: {log:?}");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_of_another_issuer_is_refused_even_on_the_same_store() {
    for store in STORES {
        let world = World::new(store).await;
        let before = audit_log(&world.platform, &world.zebra.home.admin).await;
        let mut call = world.call(&world.zebra, world.zebra.ids);
        call.ctx = world.other.context(world.zebra.ids.tenant, world.zebra.home.root.id).await.unwrap();
        call.op = world.other.operator("ops@host.example", "look").unwrap();
        for scope in [Scope::Tenant, Scope::Operator] {
            for (operation, does) in calls(scope) {
                expect(operation, &run(operation, does, call.clone()).await, ForeignContext, store);
            }
        }
        assert_eq!(audit_log(&world.platform, &world.zebra.home.admin).await, before);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_platform_does_nothing_more() {
    for store in STORES {
        let world = World::new(store).await;
        let call = world.call(&world.zebra, world.zebra.ids);
        world.platform.close().await.unwrap();
        for scope in [Scope::Tenant, Scope::Operator, Scope::Host] {
            for (operation, does) in calls(scope) {
                let what = run(operation, does, call.clone()).await;
                // These ask no store, so there is nothing that could be closed; closing again is harmless.
                let asks_nothing = [
                    "agents.validate",
                    "models.list",
                    "models.explain",
                    "connectors.list",
                    "connectors.get",
                    "platform.operator",
                    "platform.close",
                ];
                if asks_nothing.contains(&operation.name) {
                    // But who may do it is asked, if it was not a moment ago.
                    assert!(
                        what.as_ref().err().is_none_or(|error| error.is(Closed)),
                        "{}: {what:?}",
                        operation.name
                    );
                } else if operation.name.starts_with("placements.") && unsupported(operation, store) {
                    expect(operation, &what, Unsupported, store);
                } else {
                    expect(operation, &what, Closed, store);
                }
            }
        }
    }
}
