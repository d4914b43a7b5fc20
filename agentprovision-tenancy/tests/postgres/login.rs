//! Whom row security does not bind does not log in as the platform.

use agentprovision_core::{Env, ErrorKind};
use agentprovision_tenancy::store::connect;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Raw, database, login, word};

/// What the user may, and what the refusal says.
const REFUSED: &[(&str, &str, &str)] = &[
    ("a_superuser", "ALTER ROLE {role} SUPERUSER", "is a superuser"),
    ("bypassrls", "ALTER ROLE {role} BYPASSRLS", "has BYPASSRLS"),
    ("createrole", "ALTER ROLE {role} CREATEROLE", "has CREATEROLE"),
    ("replication", "ALTER ROLE {role} REPLICATION", "has REPLICATION"),
    (
        "the_owner_of_a_table",
        "ALTER TABLE agentprovision.events OWNER TO {role}",
        "owns tables of the platform",
    ),
    ("a_member_of_the_owner", "GRANT agentprovision_owner TO {role}", "owns tables of the platform"),
    (
        "a_member_of_a_role_with_bypassrls",
        "GRANT agentprovision_backup TO {role}",
        "may act as agentprovision_backup",
    ),
    (
        "a_reader_of_the_servers_files",
        "GRANT pg_read_server_files TO {role}",
        "may act as pg_read_server_files",
    ),
    (
        "a_writer_of_the_servers_files",
        "GRANT pg_write_server_files TO {role}",
        "may act as pg_write_server_files",
    ),
    (
        "a_runner_of_programs",
        "GRANT pg_execute_server_program TO {role}",
        "may act as pg_execute_server_program",
    ),
    ("truncate", "GRANT TRUNCATE ON agentprovision.users TO {role}", "may TRUNCATE the table users"),
    ("references", "GRANT REFERENCES ON agentprovision.runs TO {role}", "may REFERENCES the table runs"),
    ("trigger", "GRANT TRIGGER ON agentprovision.runs TO PUBLIC", "may TRIGGER the table runs"),
    ("create", "GRANT CREATE ON SCHEMA agentprovision TO {role}", "may create in the schema"),
    ("a_tenant_of_its_own", "ALTER ROLE {role} SET app.current_tenant_id = 'a'", "a tenant is set"),
    (
        "another_role",
        "ALTER ROLE {role} SET role = agentprovision_owner; GRANT agentprovision_owner TO {role}",
        "agentprovision_owner owns",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let refused = REFUSED
        .iter()
        .map(|(name, sql, says)| trial("login", format!("refused/{name}"), move || refused(sql, says)));
    refused
        .chain([trial("login", "a_plain_role_is_accepted", || async { log_in("SELECT 1").await.unwrap() })])
        .collect()
}

/// Logs in as a role that may what the platform's may, and more.
async fn log_in(sql: &str) -> agentprovision_core::Result<()> {
    let (database, role) = (database().await, word());
    let mut admin = Raw::open(&database.admin_url().unwrap()).await;
    admin.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE agentprovision_app")).await;
    admin.run(&sql.replace("{role}", &role)).await;
    let backend = connect(&login(database.url(), &role, "x"), Env::default()).await;
    let result = match backend {
        Ok(backend) => backend.close().await,
        Err(error) => Err(error),
    };
    admin
        .run(&format!(
            "REASSIGN OWNED BY {role} TO agentprovision_owner; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
    result
}

async fn refused(sql: &str, says: &str) {
    let error = log_in(sql).await.expect_err("the platform started");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let message = error.message();
    assert!(message.contains(says), "{message}");
    // And what to do about it.
    assert!(
        message.contains("migrate") || message.contains("revoke") || message.contains("RESET"),
        "{message}"
    );
}
