//! Vendors' own documents, where the variable `AGENTPROVISION_CONFORMANCE` says where they are.

use std::path::PathBuf;
use std::time::Instant;

use agentprovision_core::ErrorKind;

use super::{Import, Imported};
use crate::tools::tool_name;

fn import(folder: &std::path::Path, name: &str) -> Option<Imported> {
    let bytes = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    let begun = Instant::now();
    let imported = Import::new(name).read(&bytes);
    let taken = begun.elapsed();
    match imported {
        Ok(imported) => {
            let operations = imported.connector.operations().count();
            println!(
                "{name}: {operations} imported, {} skipped, {:?} in {taken:?}, base `{}`",
                imported.skipped.len(),
                imported.connector.auth.iter().map(|auth| &*auth.name).collect::<Vec<_>>(),
                imported.connector.base_url,
            );
            imported.skipped.iter().for_each(|one| println!("  {}: {}", one.operation, one.why));
            imported.skipped_auth.iter().for_each(|one| println!("  {}: {}", one.name, one.why));
            Some(imported)
        }
        Err(error) => {
            println!("{name}: {error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error:?}");
            None
        }
    }
}

#[test]
fn vendors_documents_are_imported() {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else { return };
    let folder = PathBuf::from(folder).join("vendor-specs");
    for (name, least) in [
        ("github", 65),
        ("jira", 43),
        ("kubernetes", 30),
        ("pagerduty", 32),
        ("pagerduty-events-v2", 2),
        ("sendgrid-mail", 3),
        ("slack", 34),
        ("snowflake-sqlapi", 3),
        ("stripe", 37),
    ] {
        let Some(imported) = import(&folder, name) else { continue };
        let mut tools = std::collections::BTreeSet::new();
        let mut longest = 0;
        for spec in imported.connector.operations() {
            jsonschema::validator_for(&spec.input)
                .unwrap_or_else(|error| panic!("{name} {}: {error}", spec.name));
            jsonschema::validator_for(&spec.output)
                .unwrap_or_else(|error| panic!("{name} {}: {error}", spec.name));
            assert!(!spec.summary.is_empty() && spec.summary.chars().count() <= 402, "{name} {}", spec.name);
            let tool = tool_name(name, &spec.name);
            assert!(tool.len() <= 64 && tools.insert(tool), "{name} {}", spec.name);
            longest = longest.max(spec.input.to_string().len());
        }
        println!("  longest input: {longest} bytes; {:?}", tools.iter().take(3).collect::<Vec<_>>());
        assert!(imported.connector.operations().count() >= least, "{name}");
    }
}
