//! The dialects against recorded answers, in the folder that `AGENTPROVISION_CONFORMANCE` names.

#![allow(clippy::print_stdout, reason = "a test says why it does nothing")]

#[expect(dead_code, reason = "the example has a main of its own")]
#[path = "../examples/transcripts.rs"]
mod transcripts;

use std::path::PathBuf;

use transcripts::evidence::{Evidence, SHOWN, count};

/// The recordings, where there are any.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("AGENTPROVISION_CONFORMANCE");
    if folder.is_none() {
        println!("skipped: AGENTPROVISION_CONFORMANCE is not set");
    }
    folder.map(|folder| PathBuf::from(folder).join("llm"))
}

#[test]
fn every_recorded_answer_of_a_built_dialect_decodes_as_expected() {
    let Some(folder) = folder() else { return };
    let options = transcripts::Options { folder, self_test: true, ..Default::default() };
    assert_eq!(transcripts::run(&options), Ok(true));
}

#[test]
fn the_readme_claims_no_more_than_the_recordings_show() {
    let Some(folder) = folder() else { return };
    let manifest = transcripts::manifest(&folder).unwrap();
    let mut evidence = Evidence::new();
    for case in manifest["cases"].as_array().unwrap() {
        count(&folder, case, &mut evidence);
    }
    assert!(evidence.len() > 10, "{evidence:?}");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let table = readme.split("\n| provider | feature |").nth(1).expect("a table of providers");
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let nothing = (0, Default::default());
        let (cases, shown) = evidence.remove(name).unwrap_or(nothing);
        for (what, cell) in SHOWN.iter().zip(&cells[2..]) {
            let recorded = shown.contains_key(what);
            assert_eq!(*cell == "R", recorded, "{name}, {what}: the table says {cell}, of {shown:?}");
        }
        assert_eq!(cells[9], cases.to_string(), "{name}: recorded cases");
        rows += 1;
    }
    assert!(rows > 15, "the table has {rows} rows");
    assert!(evidence.is_empty(), "the table has no row for {evidence:?}");
}
