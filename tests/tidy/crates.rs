//! Which crate may know which, and what the manifests say of themselves.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{cargo, read, root};

struct Package {
    name: String,
    manifest: String,
    /// Members of the workspace it depends on, by any kind of dependency.
    members: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let package = |package: &Value| {
        let name = package["name"].as_str().unwrap().to_owned();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let members = dependencies
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .filter(|dependency| names.contains(dependency.as_str()) && *dependency != name)
            .collect();
        let path = Path::new(package["manifest_path"].as_str().unwrap());
        let manifest = read(path.strip_prefix(root()).unwrap_or(path));
        Package { name, manifest, members }
    };
    packages.iter().map(package).collect()
}

const CORE: &str = "agentprovision-core";

/// The members of the workspace that each of them may know.
const ALLOWED: &[(&str, &[&str])] = &[
    (CORE, &[]),
    ("agentprovision-tenancy", &[CORE]),
    ("agentprovision-llm", &[CORE]),
    ("agentprovision-connectors", &[CORE]),
    ("agentprovision", &[CORE, "agentprovision-tenancy", "agentprovision-llm", "agentprovision-connectors"]),
    ("agentprovision-node", &["agentprovision"]),
    ("agentprovision-python", &["agentprovision"]),
    ("xtask", &[]),
];

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    assert!(packages.len() >= ALLOWED.len());
    for package in packages {
        let allowed = ALLOWED.iter().find(|(name, _)| *name == package.name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("say what {} may know", package.name));
        for member in &package.members {
            assert!(allowed.contains(&member.as_str()), "{} must not know {member}", package.name);
        }
    }
}

#[test]
fn the_core_has_no_database_and_no_http_client() {
    let tree = cargo(&["tree", "-p", "agentprovision-core", "-e", "normal", "--prefix", "none"]);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("serde_json"), "{tree}");
    for foreign in ["sqlx", "sqlx-core", "libsqlite3-sys", "reqwest", "hyper", "axum", "pyo3", "napi"] {
        assert!(!crates.contains(foreign), "agentprovision-core depends on {foreign}");
    }
    // The same look finds them where they are.
    let tree = cargo(&["tree", "-p", "agentprovision", "-e", "normal", "--prefix", "none"]);
    assert!(
        tree.lines().any(|line| line.starts_with("sqlx "))
            && tree.lines().any(|line| line.starts_with("reqwest "))
    );
}

/// The canonical form of everything that is hashed counts on maps that are sorted by key.
#[test]
fn maps_of_json_stay_sorted() {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--all-features",
        "-e",
        "features",
        "-i",
        "serde_json",
        "--prefix",
        "none",
    ]);
    assert!(tree.contains("serde_json feature \"std\""), "{tree}");
    for feature in ["preserve_order", "arbitrary_precision"] {
        assert!(
            !tree.contains(&format!("serde_json feature \"{feature}\"")),
            "something turns `{feature}` on:\n{tree}"
        );
    }
    // Without this one a float may read back as its neighbour, and what is stored hashes to another name.
    assert!(
        tree.contains("serde_json feature \"float_roundtrip\""),
        "nothing turns `float_roundtrip` on:\n{tree}"
    );
    let map: serde_json::Map<String, Value> =
        [("b".into(), 1.into()), ("a".into(), 2.into())].into_iter().collect();
    assert_eq!(Value::Object(map).to_string(), r#"{"a":2,"b":1}"#);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in packages() {
        assert!(package.manifest.contains("\n[lints]\nworkspace = true\n"), "{}", package.name);
    }
}

/// The features of a manifest, each with the line above it.
fn features(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut section = "";
    let mut above = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[features]"
            && let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with([' ', '#'])
        {
            found.push((name.trim_matches('"').to_owned(), above.to_owned()));
        }
        above = line;
    }
    found
}

#[test]
fn every_feature_is_explained() {
    let readme = read(Path::new("README.md"));
    let mut count = 0;
    for package in packages() {
        for (feature, above) in features(&package.manifest) {
            if feature == "default" {
                continue;
            }
            count += 1;
            assert!(above.starts_with("# "), "{}: nothing above `{feature}` says what it is", package.name);
            // The other crates' features are reached through those of the platform.
            if package.name == "agentprovision" && !feature.starts_with('_') {
                let row = format!("\n| `{feature}` |");
                assert!(readme.contains(&row), "README.md has no row for the feature `{feature}`");
            }
        }
    }
    assert!(count > 5, "no features were found");
}

#[test]
fn one_feature_turns_all_connectors_on() {
    let manifest = read(Path::new("Cargo.toml"));
    let listed = manifest.split("\nconnectors = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let listed: BTreeSet<&str> = listed.split('"').filter(|name| name.starts_with("connector-")).collect();
    let all = features(&manifest);
    let all = all.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("connector-"));
    // It stands in for services, and is none.
    assert_eq!(all.filter(|name| *name != "connector-emulator").collect::<BTreeSet<_>>(), listed);
}

#[test]
fn readers_find_no_feature_that_is_not_there() {
    let root = packages().into_iter().find(|package| package.name == "agentprovision").unwrap();
    let known: BTreeSet<String> = features(&root.manifest).into_iter().map(|(name, _)| name).collect();
    let readme = read(Path::new("README.md"));
    let table = readme.split("| feature | default |").nth(1).expect("a table of features");
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let name = row.split('`').nth(1).unwrap();
        assert!(known.contains(name), "README.md tells of a feature `{name}` that is not there");
    }
}
