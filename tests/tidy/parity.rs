//! The packages for other languages name everything the facade has. Their own tests check that the names are there.

use std::collections::BTreeMap;
use std::path::Path;

use agentprovision::{ErrorKind, OPERATIONS};

use super::read;

/// The names of a section of `bindings/parity.toml`, with the Python and the Node name of each.
fn section(name: &str) -> BTreeMap<String, [String; 2]> {
    let text = read(Path::new("bindings/parity.toml"));
    let body = text.split_once(&format!("[{name}]\n")).expect("the section is there").1;
    let lines = body.lines().take_while(|line| !line.starts_with('[') && !line.starts_with('#'));
    let mut found = BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(" = { python = \"").unwrap_or_else(|| panic!("{line}"));
        let (python, node) = value.split_once("\", node = \"").unwrap_or_else(|| panic!("{line}"));
        let node = node.strip_suffix("\" }").unwrap_or_else(|| panic!("{line}"));
        let old = found.insert(key.trim_matches('"').to_owned(), [python.to_owned(), node.to_owned()]);
        assert!(old.is_none(), "{key} is named twice");
    }
    found
}

#[test]
fn every_operation_and_every_kind_of_error_is_named_in_both_packages() {
    let operations: Vec<String> = section("operations").into_keys().collect();
    let mut wanted: Vec<String> = OPERATIONS.iter().map(|operation| operation.name.to_owned()).collect();
    wanted.sort();
    assert_eq!(operations, wanted, "bindings/parity.toml against OPERATIONS");
    let kinds: Vec<String> = section("errors").into_keys().collect();
    let mut wanted: Vec<String> = ErrorKind::ALL.iter().map(|kind| kind.code().to_owned()).collect();
    wanted.sort();
    assert_eq!(kinds, wanted, "bindings/parity.toml against ErrorKind::ALL");
}

#[test]
fn names_follow_each_languages_habit() {
    for (operation, [python, node]) in section("operations") {
        assert_eq!(python, operation.strip_prefix("platform.").unwrap_or(&operation));
        let mut camel = String::new();
        let mut upper = false;
        for letter in python.chars() {
            match letter {
                '_' => upper = true,
                letter if std::mem::take(&mut upper) => camel.extend(letter.to_uppercase()),
                letter => camel.push(letter),
            }
        }
        assert_eq!(node, camel);
    }
}
