//! What code may and may not do where.

use std::collections::BTreeSet;
use std::path::Path;

use agentprovision::OPERATIONS;

use super::source::Source;
use super::{LIBRARIES, read, root, rust_files, tracked};

/// Library files with their code; files of tests among them are left out.
fn libraries() -> Vec<(String, Source)> {
    let files = rust_files(&LIBRARIES).into_iter().map(|file| (file.display().to_string(), read(&file)));
    let tests = |name: &String| name.contains("/tests/") || name.ends_with("/tests.rs");
    files.filter(|(name, _)| !tests(name)).map(|(name, text)| (name, Source::library(&text))).collect()
}

/// The library files whose code has one of the words.
fn with(words: &[&str]) -> Vec<String> {
    let has = |source: &Source| words.iter().any(|word| source.code.contains(word));
    libraries().into_iter().filter(|(_, source)| has(source)).map(|(name, _)| name).collect()
}

#[test]
fn time_comes_from_the_clock() {
    let clock = ["agentprovision-core/src/clock.rs"];
    assert_eq!(with(&["tokio::time", "thread::sleep", "Instant::now", "SystemTime::now"]), clock);
    assert_eq!(with(&["getrandom::", "rand::", "Uuid::now_v7", "Uuid::new_v4"]), clock);
}

#[test]
fn contexts_are_issued_where_a_platform_is_built() {
    let callers = with(&["ContextIssuer::new("]);
    // A suite for backends of others stands in for a platform.
    assert_eq!(callers, ["agentprovision-core/src/conformance/world.rs", "src/builder.rs"]);
}

#[test]
fn sql_is_in_one_place() {
    let begins = |literal: &str| {
        let mut words =
            literal.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match first {
            "SELECT" | "PRAGMA" | "SAVEPOINT" | "ROLLBACK" | "VACUUM" => true,
            "INSERT" => ["INTO", "OR"].contains(&second),
            "DELETE" => second == "FROM",
            "UPDATE" | "WITH" | "TRUNCATE" | "BEGIN" | "COMMIT" => !second.is_empty() || literal == first,
            "CREATE" | "DROP" | "ALTER" => ["TABLE", "INDEX", "UNIQUE", "VIEW", "TRIGGER"].contains(&second),
            _ => false,
        }
    };
    let mut found = BTreeSet::new();
    for (name, source) in libraries() {
        if source.literals.iter().any(|literal| begins(literal))
            && !name.starts_with("agentprovision-tenancy/src/store/sql/")
        {
            found.insert(name);
        }
    }
    // The statements of a tool's own, as any tool may send them; what a connector asks a tenant's server.
    let others = [
        "agentprovision-connectors/src/builtin/postgres/sql.rs",
        "agentprovision-core/src/conformance/run_tx.rs",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), others);
    let sql = read(Path::new("agentprovision-tenancy/src/store/sql/tenants.rs"));
    assert!(
        Source::library(&sql).literals.iter().any(|literal| begins(literal)),
        "this test sees no SQL at all"
    );
}

#[test]
fn nothing_unsafe_is_allowed() {
    for file in
        tracked().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
    {
        let source = Source::all(&read(&file));
        for attribute in ["allow(unsafe_code", "expect(unsafe_code"] {
            assert!(!source.code.contains(attribute) || file.starts_with("bindings"), "{}", file.display());
        }
    }
}

#[test]
fn files_stay_short() {
    for file in rust_files(&LIBRARIES) {
        let lines = read(&file).lines().count();
        assert!(lines <= 700, "{} has {lines} lines: make it a folder", file.display());
    }
}

/// The public methods of the services, in the files they are written in.
const SERVICES: [(&str, &str, &[&str]); 17] = [
    ("platform", "Platform", &["src/platform.rs"]),
    ("tenants", "Tenants", &["agentprovision-tenancy/src/tenant/mod.rs"]),
    ("archives", "Archives", &["agentprovision-tenancy/src/tenant/archives.rs"]),
    ("backups", "Backups", &["agentprovision-tenancy/src/tenant/backups/mod.rs"]),
    ("placements", "Placements", &["agentprovision-tenancy/src/placement/service.rs"]),
    ("users", "Users", &["agentprovision-tenancy/src/identity/users.rs"]),
    ("keys", "ApiKeys", &["agentprovision-tenancy/src/identity/keys.rs"]),
    ("agents", "Agents", &["agentprovision-core/src/agent/service.rs"]),
    ("runs", "Runs", &["agentprovision-core/src/run/service.rs"]),
    ("sessions", "Sessions", &["agentprovision-core/src/run/sessions.rs"]),
    ("models", "Models", &["agentprovision-llm/src/models/mod.rs"]),
    ("connectors", "Connectors", &["agentprovision-connectors/src/catalog.rs"]),
    (
        "integrations",
        "Integrations",
        &[
            "agentprovision-connectors/src/integrations/calls.rs",
            "agentprovision-connectors/src/integrations/changes.rs",
            "agentprovision-connectors/src/integrations/connect.rs",
            "agentprovision-connectors/src/integrations/mod.rs",
            "agentprovision-connectors/src/serve/mcp/mod.rs",
            "agentprovision-connectors/src/serve/mod.rs",
            "agentprovision-connectors/src/serve/rest.rs",
            "agentprovision-connectors/src/tools.rs",
        ],
    ),
    (
        "webhooks",
        "Webhooks",
        &[
            "agentprovision-connectors/src/webhook/receive.rs",
            "agentprovision-connectors/src/webhook/service.rs",
            "agentprovision-connectors/src/webhook/work.rs",
        ],
    ),
    ("audit", "AuditLog", &["agentprovision-core/src/audit/log.rs"]),
    ("usage", "UsageReport", &["agentprovision-core/src/usage/report.rs"]),
    ("events", "Events", &["agentprovision-core/src/event/relay.rs"]),
];

/// Methods that are no operations: they make the service, reach another one, or are an operation in another form.
const NO_OPERATIONS: &[&str] = &[
    "new",
    "builder",
    "call",
    "call_with",
    "changes",
    "env",
    "issuer",
    "router",
    "catalog",
    "layers",
    "gateway",
    "mcp",
    "pages",
    "tools",
    "usage_writer",
    "permissions",
    "store",
    "within",
    "release",
    "rest",
    "receiver",
    "work",
];

#[test]
fn every_public_method_of_a_service_is_an_operation() {
    let mut found = BTreeSet::new();
    for (service, name, files) in SERVICES {
        // Wherever an `impl` of it is, so that a method cannot hide in another file.
        let places: Vec<String> = libraries()
            .into_iter()
            .filter(|(_, source)| source.code.contains(&format!("\nimpl {name} {{")))
            .map(|(place, _)| place)
            .collect();
        assert_eq!(places, files, "{name}");
        let code: String = files.iter().map(|file| Source::library(&read(Path::new(file))).code).collect();
        for part in code.split(&format!("\nimpl {name} {{")).skip(1) {
            let body = part.split("\n}").next().unwrap();
            for line in body.lines() {
                let Some(rest) = line.strip_prefix("    pub ") else { continue };
                let Some((_, method)) = rest.split_once("fn ") else { continue };
                let method = method.split(['(', '<']).next().unwrap();
                let accessor = service == "platform" && SERVICES.iter().any(|(other, ..)| *other == method);
                if !accessor && !NO_OPERATIONS.contains(&method) {
                    found.insert(format!("{service}.{method}"));
                }
            }
        }
    }
    let named: BTreeSet<String> = OPERATIONS.iter().map(|operation| operation.name.to_owned()).collect();
    assert_eq!(found.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "not in OPERATIONS");
    assert_eq!(named.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "no such method");
}

#[test]
fn handles_are_cheap_to_pass_around() {
    fn handle<T: Clone + Send + Sync + 'static>() {}
    handle::<agentprovision::Platform>();
    handle::<agentprovision::Context>();
    handle::<agentprovision::OperatorContext>();
    handle::<agentprovision::ContextIssuer>();
    handle::<agentprovision::agent::Agents>();
    handle::<agentprovision::run::Runs>();
    handle::<agentprovision::run::Run>();
    handle::<agentprovision::run::Sessions>();
    handle::<agentprovision::run::Session>();
    handle::<agentprovision::tenancy::tenant::Tenants>();
    handle::<agentprovision::tenancy::identity::Users>();
    handle::<agentprovision::tenancy::identity::ApiKeys>();
    handle::<agentprovision::audit::AuditLog>();
    handle::<agentprovision::usage::UsageReport>();
    handle::<agentprovision::event::Events>();
    handle::<agentprovision::llm::ModelRegistry>();
    handle::<agentprovision::llm::Models>();
    handle::<agentprovision::connectors::Connectors>();
    handle::<agentprovision::connectors::Integrations>();
    handle::<agentprovision::connectors::webhook::Webhooks>();
    handle::<agentprovision::Error>();
}

/// Nothing that is kept names the machine it was written on.
#[test]
fn no_file_names_a_machine() {
    let mut hidden: Vec<String> = Vec::new();
    let folders = [Some(root().to_owned()), root().parent().map(Path::to_owned)];
    let homes = ["HOME", "CARGO_HOME"].map(|name| std::env::var_os(name).map(std::path::PathBuf::from));
    // A checkout right under the root of the file system has a name that any path may have in it.
    let folders = folders.into_iter().flatten().filter(|folder| folder.components().count() > 2);
    for folder in folders.chain(homes.into_iter().flatten()) {
        // The root of the file system is everybody's.
        if folder.is_absolute() && folder.components().count() > 1 {
            hidden.push(format!("{}/", folder.display()));
        }
    }
    for file in tracked() {
        let bytes = std::fs::read(root().join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for folder in &hidden {
            let found = text.match_indices(folder.as_str()).find(|(place, _)| {
                // Not the end of a longer, relative path.
                !text[..*place]
                    .ends_with(|before: char| before.is_alphanumeric() || ".-_}*~".contains(before))
            });
            assert!(found.is_none(), "{} names `{folder}`", file.display());
        }
    }
}

/// What is built comes from crates.io, and no file says from where else.
#[test]
fn dependencies_come_from_one_registry() {
    let lock = read(Path::new("Cargo.lock"));
    let index = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    for line in lock.lines().filter(|line| line.starts_with("source")) {
        assert_eq!(line, index);
    }
    for file in tracked() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if ["Cargo.toml", "config.toml", "deny.toml", "package.json", "pyproject.toml", "pip.conf", ".npmrc"]
            .contains(&name.as_str())
        {
            let text = read(&file);
            for (place, _) in text.match_indices("://") {
                let host = text[place + 3..].split(['/', '"', ' ', '\n', '`', '#']).next().unwrap();
                let scheme = text[..place].rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
                let known =
                    ["github.com", "docs.rs", "crates.io"].contains(&host) || !scheme.starts_with("http");
                assert!(known, "{} names `{host}`", file.display());
            }
            assert!(!text.contains("[source."), "{} replaces a source", file.display());
        }
    }
}
