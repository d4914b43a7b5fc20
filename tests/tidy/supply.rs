//! Where the code of others comes from, and what it may do while it is built.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{cargo, read};

/// The one registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn pitfall_40_every_dependency_is_pinned_to_one_registry_with_its_checksum() {
    let lock = read(Path::new("Cargo.lock"));
    let (mut foreign, mut own) = (0, BTreeSet::new());
    for package in lock.split("\n[[package]]\n").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        let name = field("name").unwrap();
        match field("source") {
            None => assert!(own.insert(name), "{name} is there twice"),
            Some(source) => {
                assert_eq!(source, REGISTRY, "{name} comes from somewhere else");
                let checksum = field("checksum").unwrap_or_else(|| panic!("{name} has no checksum"));
                assert!(
                    checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit()),
                    "{name}"
                );
                foreign += 1;
            }
        }
    }
    assert!(foreign > 100, "{foreign} dependencies");
    assert!(own.iter().all(|name| name.starts_with("agentprovision") || *name == "xtask"), "{own:?}");
}

/// Crates that fetch things and that nothing here needs.
const FETCHERS: &[&str] = &["attohttpc", "curl", "git2", "gix", "isahc", "minreq", "ureq"];

/// Crates of the platform's own HTTP, which no build script may use.
const CLIENTS: &[&str] = &["hyper", "hyper-util", "reqwest"];

#[test]
fn pitfall_40_no_build_script_fetches_anything() {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // What is only for other systems may not be on this machine.
    let metadata = cargo(&["metadata", "--all-features", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let mut scripts = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!FETCHERS.contains(&name), "{name} fetches things; nothing here should need it");
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let built = dependency["kind"] == "build" && dependency["optional"] == false;
            assert!(!(built && CLIENTS.contains(&used)), "{name} is built with {used}");
        }
        for target in package["targets"].as_array().unwrap() {
            if !target["kind"].as_array().unwrap().contains(&"custom-build".into()) {
                continue;
            }
            let path = Path::new(target["src_path"].as_str().unwrap());
            let script = std::fs::read_to_string(path).unwrap();
            for word in ["\"curl\"", "\"wget\"", "\"git\"", "powershell", "TcpStream", "Invoke-WebRequest"] {
                assert!(
                    !script.contains(word),
                    "the build script of {name} speaks of {word}: {}",
                    path.display()
                );
            }
            scripts.push((name, package["source"].is_null()));
        }
    }
    assert!(scripts.len() > 10, "{scripts:?}");
    let own: Vec<_> = scripts.iter().filter(|(_, own)| *own).map(|(name, _)| *name).collect();
    assert_eq!(
        own,
        ["agentprovision-node"],
        "a build script of our own: say why, and that it fetches nothing"
    );
}
