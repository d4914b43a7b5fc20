//! The role table three ways: the golden matrix, the documented table written down again by hand, and the decisions of
//! the conformance data that roles alone can make.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use agentprovision_core::authz::{Permission, PermissionRegistry, PermissionSet, Resource};
use agentprovision_core::backend::Backend;
use agentprovision_core::context::ContextIssuer;
use agentprovision_core::identity::Role;
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_core::{Context, Env, ErrorKind};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{NewUser, Pepper, UserUpdate};
use agentprovision_tenancy::rbac::{BUILTIN, RoleScope, RoleSpec, Roles};
use agentprovision_tenancy::tenant::NewTenant;
use serde_json::Value;

/// One line per permission, one column per role: `X` its own, `x` by a role it contains.
fn matrix(roles: &Roles) -> String {
    let mut text = String::from("X: the role's own permission, x: by a role it contains, .: not granted\n\n");
    let columns: Vec<&Role> = roles.iter().collect();
    for (index, role) in columns.iter().enumerate() {
        let scope = format!("{:?}", roles.scope_of(role).unwrap()).to_lowercase();
        writeln!(text, "{:>2} {:<20} {scope}", index + 1, role.name()).unwrap();
    }
    write!(text, "\n{:<22}", "").unwrap();
    for index in 1..=columns.len() {
        write!(text, "{index:>3}").unwrap();
    }
    text.push('\n');
    for name in Permission::BUILTIN {
        let permission = Permission::builtin(name).unwrap();
        write!(text, "{name:<22}").unwrap();
        for role in &columns {
            let own = roles.own_grants_of(role).unwrap().contains(permission);
            let granted = roles.grants_of(role).unwrap().contains(permission);
            write!(
                text,
                "  {}",
                if own {
                    'X'
                } else if granted {
                    'x'
                } else {
                    '.'
                }
            )
            .unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_matrix_is_the_golden_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rbac_matrix.txt");
    let now = matrix(&Roles::default());
    if std::env::var_os("AGENTPROVISION_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == now,
        "roles grant something else than {}:\n{now}\nif that is meant, run again with AGENTPROVISION_UPDATE_GOLDEN=1",
        path.display(),
    );
}

/// The documented table, closed by hand: everything each role may do.
const DOCUMENTED: &[(&str, &[&str])] = &[
    (
        "super_admin",
        &[
            "tenants:create",
            "tenants:read",
            "tenants:update",
            "tenants:suspend",
            "tenants:delete",
            "audit:read",
        ],
    ),
    (
        "tenant_admin",
        &[
            "tenants:read",
            "tenants:update",
            "users:create",
            "users:read",
            "users:update",
            "users:delete",
            "roles:read",
            "roles:write",
            "roles:assign",
            "policies:read",
            "policies:write",
            "agents:create",
            "agents:read",
            "agents:update",
            "agents:delete",
            "agents:deploy",
            "agents:run",
            "runs:read",
            "runs:cancel",
            "runs:approve",
            "integrations:create",
            "integrations:read",
            "integrations:update",
            "integrations:delete",
            "integrations:invoke",
            "secrets:read",
            "secrets:write",
            "secrets:rotate",
            "audit:read",
            "audit:export",
            "usage:read",
        ],
    ),
    (
        "project_admin",
        &[
            "agents:create",
            "agents:read",
            "agents:update",
            "agents:deploy",
            "agents:run",
            "runs:read",
            "runs:cancel",
            "runs:approve",
            "integrations:read",
            "users:read",
        ],
    ),
    (
        "agent_manager",
        &[
            "agents:create",
            "agents:read",
            "agents:update",
            "agents:deploy",
            "agents:run",
            "runs:read",
            "runs:cancel",
            "runs:approve",
        ],
    ),
    (
        "integration_manager",
        &[
            "integrations:create",
            "integrations:read",
            "integrations:update",
            "integrations:delete",
            "integrations:invoke",
            "secrets:write",
            "secrets:rotate",
        ],
    ),
    (
        "security_manager",
        &[
            "policies:read",
            "policies:write",
            "roles:read",
            "users:read",
            "audit:read",
            "audit:export",
            "secrets:rotate",
        ],
    ),
    (
        "tenant_user",
        &[
            "agents:read",
            "agents:run",
            "runs:read",
            "runs:cancel",
            "integrations:read",
            "integrations:invoke",
        ],
    ),
    ("agent_operator", &["agents:read", "agents:run", "runs:read", "runs:cancel"]),
    ("agent_viewer", &["agents:read"]),
    ("integration_user", &["integrations:read", "integrations:invoke"]),
    ("auditor", &["audit:read", "audit:export", "usage:read"]),
];

#[test]
fn every_role_grants_what_is_documented() {
    let roles = Roles::default();
    assert_eq!(
        roles.iter().map(Role::name).collect::<Vec<_>>(),
        DOCUMENTED.iter().map(|(n, _)| *n).collect::<Vec<_>>()
    );
    for (name, expected) in DOCUMENTED {
        let granted = roles.grants_of(&Role::new(*name)).unwrap();
        let granted: BTreeSet<&str> = granted.iter().map(|p| roles.permissions().name(p).unwrap()).collect();
        assert_eq!(granted, expected.iter().copied().collect(), "{name}");
    }
    for (alias, name) in
        [("platform_admin", "super_admin"), ("operator", "agent_operator"), ("viewer", "agent_viewer")]
    {
        assert_eq!(roles.get(alias).unwrap().name(), name);
    }
    for role in BUILTIN {
        let expected = match role.name {
            "super_admin" => RoleScope::Platform,
            "project_admin" => RoleScope::Projects,
            _ => RoleScope::Tenant,
        };
        assert_eq!(role.scope, expected, "{}", role.name);
    }
}

#[test]
fn a_role_has_what_it_contains_and_no_more() {
    let roles = Roles::default();
    for role in BUILTIN {
        let parts = role.contains.iter().map(|name| roles.grants_of(&Role::new(*name)).unwrap());
        let own: PermissionSet = role.own.iter().copied().collect();
        let expected = parts.fold(own, |all, part| all.union(&part));
        assert_eq!(roles.grants_of(&Role::new(role.name)).unwrap(), expected, "{}", role.name);
    }
}

/// Roles with another name than the built-in ones, so that both can be in one registry.
fn world_role(name: &str) -> Role {
    Role::new(format!("world_{name}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn permission_name(action: &str) -> String {
    action.replace('.', ":")
}

/// The world's host permissions and custom roles, all within `tenant_admin` so that an admin can assign them.
fn world_roles(world: &Value) -> Roles {
    let mut permissions = PermissionRegistry::default();
    let mut specs = Vec::new();
    for (name, own) in world["grants_direct"].as_object().unwrap() {
        let own: Vec<Permission> = strings(own)
            .iter()
            .map(|action| permissions.register(&permission_name(action)).unwrap())
            .collect();
        let contains = strings(&world["role_parents"][name]);
        let spec = RoleSpec::new(world_role(name).name())
            .contains(contains.iter().map(|name| world_role(name)))
            .within([Role::TENANT_ADMIN])
            .permissions(own);
        specs.push(spec);
    }
    let mut roles = Roles::new(permissions);
    roles.register_all(specs).unwrap();
    for (name, effective) in world["grants_effective"].as_object().unwrap() {
        let granted = roles.grants_of(&world_role(name)).unwrap();
        let granted: BTreeSet<String> =
            granted.iter().map(|p| roles.permissions().name(p).unwrap().to_owned()).collect();
        let expected = strings(effective).iter().map(|action| permission_name(action)).collect();
        assert_eq!(granted, expected, "closure of {name}");
    }
    roles
}

/// Whether a policy of the world, beyond roles, tenants and tenant state, speaks to this case.
fn needs_policy(case: &Value, resource: &Value, tenant: &Value) -> bool {
    let context = &case["context"];
    let class = resource["class"].as_str().unwrap_or_default();
    let framework = |name: &str| strings(&tenant["frameworks"]).iter().any(|framework| framework == name);
    let hour = context["hour"].as_i64().unwrap();
    let sensitive = ["restricted", "phi"].contains(&class);
    context["jit"] == true
        || (case["action"] == "audit.export" || sensitive) && context["mfa"] == false
        || framework("gdpr") && context["region"] != resource["region"]
        || framework("hipaa") && class == "phi" && context["purpose"] != "treatment"
        || framework("soc2") && class == "restricted" && !(6..22).contains(&hour)
}

async fn decisions(world: &Value, cases: &[Value]) -> (usize, Vec<String>) {
    let env = Env::default();
    let db = MemoryDb::new(env.clone());
    let issuer = ContextIssuer::new(env);
    let pepper = Pepper::new(&"a pepper for tests only".into()).unwrap();
    let tenancy = Tenancy::new(issuer.clone(), &db.stores(), world_roles(world), pepper);
    let operator = issuer.operator("root", "conformance").unwrap();
    let principals = world["principals"].as_object().unwrap();

    let mut tenants = std::collections::BTreeMap::new();
    let mut users = std::collections::BTreeMap::new();
    for (name, facts) in world["tenants"].as_object().unwrap() {
        let tenant = tenancy.tenants().create(&operator, NewTenant::without_domain(name)).await.unwrap().id;
        let first = NewUser::new("first@admin.example");
        let first = tenancy.tenants().bootstrap_admin(&operator, tenant, first).await.unwrap();
        let admin = tenancy.contexts().context(tenant, first.id).await.unwrap();
        for (person, _) in principals.iter().filter(|(_, person)| person["tenant"] == **name) {
            let roles = strings(&principals[person]["roles"]);
            let new = NewUser::new(format!("{person}@{name}.example"))
                .roles(roles.iter().map(|role| world_role(role)));
            users.insert(person.clone(), tenancy.users().create(&admin, new).await.unwrap().id);
        }
        if facts["state"] == "suspended" {
            tenancy.tenants().suspend(&operator, tenant).await.unwrap();
        }
        tenants.insert(name.clone(), tenant);
    }

    let (mut agreed, mut left) = (0, Vec::new());
    for case in cases {
        let resource = &world["resources"][case["resource"].as_str().unwrap()];
        let owner = resource["tenant"].as_str().unwrap();
        let person = case["principal"].as_str().unwrap();
        let home = principals[person]["tenant"].as_str().unwrap();
        let action = permission_name(case["action"].as_str().unwrap());
        let allowed = match tenants.get(home) {
            // Above the tenants: an operator's context reaches tenants, and by its type nothing inside them.
            None => {
                resource["kind"] == "tenant"
                    && match &*action {
                        "tenant:suspend" => {
                            tenancy.tenants().suspend(&operator, tenants[owner]).await.is_ok()
                        }
                        "tenant:read" => tenancy.tenants().get(&operator, tenants[owner]).await.is_ok(),
                        other => panic!("case {case}: an operator's `{other}` has no test yet"),
                    }
            }
            Some(tenant) => match tenancy.contexts().context(*tenant, users[person]).await {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TenantSuspended, "{case}");
                    false
                }
                Ok(ctx) => {
                    owner == home
                        && may(&tenancy, &ctx, &action).await
                        && assignee(&tenancy, &ctx, case, &users).await
                }
            },
        };
        // What an operator suspended is resumed, so that cases do not depend on their order.
        if home == "platform" && action == "tenant:suspend" && allowed {
            tenancy.tenants().resume(&operator, tenants[owner]).await.unwrap();
        }
        if allowed == (case["expected"] == "allow") {
            agreed += 1;
        } else {
            let about = format!("{}: {}", case["id"], case["desc"].as_str().unwrap());
            assert!(
                needs_policy(case, resource, &world["tenants"][owner]),
                "roles decide {allowed} in case {about}"
            );
            left.push(about);
        }
    }
    (agreed, left)
}

async fn may(tenancy: &Tenancy, ctx: &Context, action: &str) -> bool {
    match tenancy.roles().permissions().get(action) {
        Ok(permission) => tenancy.access().check(ctx, permission, Resource::all("things")).await.is_ok(),
        Err(_) => false,
    }
}

/// A role goes to a user of the context's tenant; a user of another tenant is not found.
async fn assignee(
    tenancy: &Tenancy,
    ctx: &Context,
    case: &Value,
    users: &std::collections::BTreeMap<String, agentprovision_core::id::UserId>,
) -> bool {
    match case["context"]["assignee_tenant"].as_str().unwrap_or_default() {
        "globex" => tenancy.users().update(ctx, users["gia"], UserUpdate::new().active(true)).await.is_ok(),
        _ => true,
    }
}

#[tokio::test]
async fn decisions_of_the_conformance_data() {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        println!("skipped: AGENTPROVISION_CONFORMANCE is not set");
        return;
    };
    let folder = PathBuf::from(folder).join("tenancy");
    let world: Value = serde_json::from_slice(&std::fs::read(folder.join("world.json")).unwrap()).unwrap();
    let cases = std::fs::read_to_string(folder.join("cases.jsonl")).unwrap();
    let cases: Vec<Value> = cases.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (agreed, left) =
        Env::default().timeout(Duration::from_secs(30), decisions(&world, &cases)).await.expect("it hangs");
    println!("{agreed} of {} decisions by roles alone; policies are needed for {left:#?}", cases.len());
    assert!(agreed > left.len());
}
