//! A linter of row security by others, `pgrls`, on the prepared schema. `cargo xtask test` installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::trial;
use crate::world::database;

/// The program. Without it the trials show as ignored.
const PROGRAM: &str = "AGENTPROVISION_PGRLS";

/// What is planted, and what the linter says of it: rule and object.
const FAULTS: &[(&str, &str, &str)] = &[
    ("row_security_off", "ALTER TABLE users DISABLE ROW LEVEL SECURITY", "SEC032 agentprovision.users"),
    ("without_force", "ALTER TABLE users NO FORCE ROW LEVEL SECURITY", "SEC002 agentprovision.users"),
    (
        "a_policy_for_everybody",
        "CREATE POLICY more ON journal USING (true)",
        "SEC003 agentprovision.journal.more",
    ),
    ("nothing_restricts", "DROP POLICY tenant_isolation ON users", "SEC007 agentprovision.users"),
    (
        "a_definer_view",
        "CREATE VIEW all_users AS SELECT * FROM users; GRANT SELECT ON all_users TO agentprovision_app",
        "VIEW001 agentprovision.all_users",
    ),
    (
        "a_materialized_view",
        "CREATE MATERIALIZED VIEW all_users AS SELECT * FROM users; GRANT SELECT ON all_users TO agentprovision_app",
        "VIEW003 agentprovision.all_users",
    ),
    (
        "a_definer_function",
        "CREATE FUNCTION all_users() RETURNS SETOF users LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM agentprovision.users'",
        "SEC042 agentprovision.all_users",
    ),
    (
        "a_key_without_the_tenant",
        "CREATE UNIQUE INDEX one ON users (email)",
        "SEC035 agentprovision.users (one)",
    ),
    ("a_table_without_row_security", "CREATE TABLE more (tenant_id uuid)", "SEC001 agentprovision.more"),
];

pub(crate) fn trials() -> Vec<Trial> {
    let there = std::env::var_os(PROGRAM).is_some_and(|program| !program.is_empty());
    let shown = |trial: Trial| if there { trial } else { trial.with_ignored_flag(true) };
    let faults = FAULTS.iter().map(|(name, sql, finding)| {
        trial("linter", *name, move || async move {
            let found = findings(sql).await;
            assert!(found.iter().any(|line| line.ends_with(finding)), "{finding}: {found:#?}");
        })
    });
    let clean = trial("linter", "pgrls_finds_no_error", || async {
        let found = findings("SELECT 1").await;
        assert!(!found.iter().any(|line| line.starts_with("ERROR")), "{found:#?}");
        for (name, _, finding) in FAULTS {
            assert!(!found.iter().any(|line| line.ends_with(finding)), "{name} is found without being there");
        }
        // It has looked: what the closed list of tables and the login for backups are is said.
        assert!(found.iter().any(|line| line.starts_with("WARN")), "{found:#?}");
    });
    faults.chain([clean]).map(shown).collect()
}

/// What the linter finds after some statements: severity, rule and object of each finding.
async fn findings(sql: &str) -> Vec<String> {
    let database = database().await;
    database.admin(&format!("SET search_path = agentprovision; {sql}")).await.unwrap();
    let program = PathBuf::from(std::env::var_os(PROGRAM).unwrap());
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres/pgrls.toml");
    let mut command = Command::new(program);
    command.args(["lint", "--schemas", "agentprovision", "--config"]).arg(config);
    let said = command.env("DATABASE_URL", database.admin_url().unwrap()).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("pgrls: "), "{text}{}", String::from_utf8_lossy(&said.stderr));
    let findings = text.lines().filter(|line| {
        ["ERROR ", "WARN ", "INFO "].iter().any(|severity| line.trim_start().starts_with(severity))
    });
    findings.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
