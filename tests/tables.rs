//! The tables of the platform, compared with files that were written down apart from the code.

mod forms;
mod hashes;
mod lifecycle;

use std::path::PathBuf;

use agentprovision::prelude::*;
use agentprovision::tenancy::rbac::{BUILTIN, RoleScope};
use agentprovision::usage::Meter;
use agentprovision::{ErrorKind, OPERATIONS};

use crate::support::home;

/// A golden file.
fn golden(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares lines with a file that may never change, because what it holds is stored, hashed or documented outside.
fn frozen(name: &str, now: &[String]) {
    let golden = golden(name);
    let golden: Vec<&str> = golden.lines().collect();
    let missing: Vec<&str> = now.iter().map(String::as_str).filter(|line| !golden.contains(line)).collect();
    assert!(
        missing.is_empty(),
        "{name} has no such lines; what is in it never changes, what is new is added by hand:\n{}\n",
        missing.join("\n"),
    );
    assert_eq!(golden.len(), now.len(), "{name} has lines that no longer come out");
}

#[test]
fn every_error_kind_has_its_code_and_http_status() {
    let now: Vec<String> =
        ErrorKind::ALL.iter().map(|kind| format!("{} {}", kind.code(), kind.http_status())).collect();
    assert_eq!(golden("error_kinds.txt").lines().collect::<Vec<_>>(), now);
    for kind in ErrorKind::ALL {
        assert_eq!(ErrorKind::from_code(kind.code()), Some(*kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
    }
}

#[test]
fn the_operations_are_the_golden_ones() {
    let mut now = format!(
        "{:<25} {:<9} {:<19} {:<12} {:<6} {:<24} meter\n",
        "name", "scope", "permission", "resource", "by id", "audit"
    );
    for operation in OPERATIONS {
        let line = format!(
            "{:<25} {:<9} {:<19} {:<12} {:<6} {:<24} {}",
            operation.name,
            format!("{:?}", operation.scope).to_lowercase(),
            operation.permission.map_or("-", |permission| permission.builtin_name().unwrap()),
            operation.resource,
            if operation.by_id { "yes" } else { "no" },
            operation.audit.unwrap_or("-"),
            operation.meter.unwrap_or("-"),
        );
        now += &(line + "\n");
        assert!(operation.meter.is_none_or(|meter| Meter::from_name(meter).is_some()), "{operation:?}");
        assert!(operation.audit.is_none_or(|action| action == operation.name), "{operation:?}");
        assert_eq!(
            OPERATIONS.iter().filter(|other| other.name == operation.name).count(),
            1,
            "{operation:?}"
        );
    }
    if std::env::var_os("AGENTPROVISION_UPDATE_GOLDEN").is_some() {
        std::fs::write(path("operations.txt"), &now).unwrap();
    }
    assert!(
        golden("operations.txt") == now,
        "the operations are not those of tests/golden/operations.txt:\n{now}\nif that is meant, run again with \
         AGENTPROVISION_UPDATE_GOLDEN=1",
    );
}

/// What a user really gets, through the whole platform, is what the matrix of the roles says.
#[tokio::test]
async fn users_get_what_the_matrix_of_roles_says() {
    let matrix = concat!(env!("CARGO_MANIFEST_DIR"), "/agentprovision-tenancy/tests/golden/rbac_matrix.txt");
    let matrix = std::fs::read_to_string(matrix).unwrap();
    let rows: Vec<Vec<&str>> = matrix
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|cells| {
            cells.first().is_some_and(|cell| cell.contains(':')) && cells.len() == BUILTIN.len() + 1
        })
        .collect();
    assert!(rows.len() > 30, "{matrix}");
    let platform = Platform::builder().build().await.unwrap();
    let acme = home(&platform, "acme").await;
    for (role, column) in BUILTIN.iter().zip(1..).filter(|(role, _)| role.scope == RoleScope::Tenant) {
        let ctx = acme.user(&platform, role.name, Role::new(role.name)).await.1;
        for cells in &rows {
            let permission = agentprovision::authz::Permission::builtin(cells[0]).unwrap();
            assert_eq!(ctx.grants().contains(permission), cells[column] != ".", "{} {}", role.name, cells[0]);
        }
        assert!(ctx.grants().iter().count() <= rows.len());
    }
    platform.close().await.unwrap();
}
