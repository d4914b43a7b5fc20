//! Preparing a database: roles, schema, tables, rights. Everything a run does is a text that can be printed first.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use agentprovision_core::{Env, Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::{SCHEMA, error};

/// The migrations, the first one making version 1. A released one never changes.
pub(in crate::store::sql) const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("../../../../migrations/postgres/0001_init.sql"), oldest: 1 }];

/// What the platform's role is permitted, with its name as `{app}`.
const RIGHTS: &str = include_str!("../../../../migrations/postgres/rights.sql");

/// A step of the schema.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::sql) struct Migration {
    /// Its statements.
    pub(in crate::store::sql) sql: &'static str,
    /// The oldest version whose programs can go on with the schema after it.
    pub(in crate::store::sql) oldest: usize,
}

/// One preparation of a database at a time, whoever begins it: the key of a lock.
const LOCK: i64 = 0x4150_5652_4d49_4752;

/// The longest it is waited for a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// How a database is prepared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PrepareOptions {
    /// The role that owns the tables. It cannot log in, and migrations are all it does. Default `agentprovision_owner`.
    pub owner: String,
    /// The role the platform logs in with: it reads and writes rows. Default `agentprovision_app`.
    pub app: String,
    /// The password of `app`. Without one an existing password stays, and a new role has none.
    pub app_password: Option<SecretString>,
    /// The role that reads everything, for backups. Default `agentprovision_backup`. It is left out where whoever
    /// prepares the database may not make a role that sees past row security.
    pub backup: String,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            owner: "agentprovision_owner".into(),
            app: "agentprovision_app".into(),
            app_password: None,
            backup: "agentprovision_backup".into(),
        }
    }
}

/// One step of a preparation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareStep {
    /// What it is for.
    pub title: String,
    /// Its statements, as they run; a password is shown as `…`.
    pub sql: String,
}

/// What is known of a database before it is prepared.
struct Found {
    version: usize,
    superuser: bool,
}

/// A role as statements name it: quoted, because it may be a word of the language.
fn name(role: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let reserved = role.starts_with("pg_") || matches!(role, "public" | "none");
    if (1..=63).contains(&role.len()) && role.chars().all(plain) && !reserved {
        Ok(format!("\"{role}\""))
    } else {
        Err(Error::invalid(
            "the name of a role is 1 to 63 of the characters a-z, 0-9 and _, does not begin with `pg_`, and is not \
             `public` or `none`",
        ))
    }
}

/// Prepares the database at `url`, as a user who may make roles and a schema: roles, tables, policies and rights. What is
/// there already stays, so it is safe to repeat, also from two hosts at once. With `dry_run` nothing is changed, and what
/// would be done is returned all the same.
///
/// # Errors
/// `invalid_input` for a URL or a name of a role that cannot be used; `schema_too_new` when a newer version has prepared
/// the database; `permission_denied` when the user may not do it; `unavailable` when the server cannot be reached.
pub async fn prepare(
    url: &str,
    options: &PrepareOptions,
    env: &Env,
    dry_run: bool,
) -> Result<Vec<PrepareStep>> {
    let distinct: BTreeSet<&str> = [&*options.owner, &*options.app, &*options.backup].into();
    if distinct.len() < 3 {
        return Err(Error::invalid("owner, app and backup are three roles"));
    }
    let connect = PgConnectOptions::from_str(url)
        .map_err(|_| Error::invalid("the URL of the database cannot be read"))?
        .application_name("agentprovision migrate")
        .disable_statement_logging();
    let Some(conn) = env.timeout(CONNECT, connect.connect()).await else {
        return Err(Error::new(ErrorKind::Unavailable, "the database did not answer in time"));
    };
    let mut conn = conn.map_err(failed)?;
    let result = async {
        // Held by the connection, across the transactions of the steps.
        run(&mut conn, &format!("SELECT pg_advisory_lock({LOCK})")).await?;
        let found = find(&mut conn).await?;
        if found.version > MIGRATIONS.len() {
            return Err(super::check::too_new(found.version));
        }
        let steps = steps(options, &found, env)?;
        if !dry_run {
            for step in &steps {
                run(
                    &mut conn,
                    &format!("BEGIN;\n{};\nCOMMIT", step.secret.as_deref().unwrap_or(&step.shown.sql)),
                )
                .await?;
            }
        }
        Ok(steps.into_iter().map(|step| step.shown).collect())
    }
    .await;
    // The lock goes with the connection, whatever became of it.
    let _ = conn.close().await;
    result
}

fn failed(source: sqlx::Error) -> Error {
    let code = source.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    match code.as_deref() {
        Some("42501") => {
            Error::new(ErrorKind::PermissionDenied, "the user of the URL may not prepare the database")
                .with_source(source)
        }
        _ => error(source).error,
    }
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<()> {
    // The text is made here, from constants and checked names.
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.map(drop).map_err(failed)
}

async fn find(conn: &mut PgConnection) -> Result<Found> {
    let there = sqlx::query(
        "SELECT to_regclass('agentprovision.schema_version') IS NOT NULL, \
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
    );
    let row = there.fetch_one(&mut *conn).await.map_err(failed)?;
    let (there, superuser): (bool, bool) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    let version = if there {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM agentprovision.schema_version")
            .fetch_one(conn)
            .await
            .map_err(failed)?;
        usize::try_from(row.try_get::<i64, _>(0).map_err(failed)?).unwrap_or(0)
    } else {
        0
    };
    Ok(Found { version, superuser })
}

struct Step {
    shown: PrepareStep,
    /// The text with the password.
    secret: Option<String>,
}

/// A role that is there already is left as it is, except for what it must not be able to do.
fn role(name: &str, attributes: &str) -> String {
    format!(
        "DO $$ BEGIN\n    CREATE ROLE {name} {attributes};\nEXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;\nEND $$"
    )
}

fn steps(options: &PrepareOptions, found: &Found, env: &Env) -> Result<Vec<Step>> {
    let (owner, app, backup) = (name(&options.owner)?, name(&options.app)?, name(&options.backup)?);
    let mut steps = Vec::new();
    let mut step = |title: &str, sql: String| {
        steps.push(Step { shown: PrepareStep { title: title.to_owned(), sql }, secret: None });
    };
    step("the owner of the tables", role(&owner, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"));
    step("the platform", role(&app, "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT"));
    if found.superuser {
        step("backups", role(&backup, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS"));
    } else {
        step("whoever prepares the database acts as the owner", format!("GRANT {owner} TO CURRENT_USER"));
    }
    if let Some(password) = &options.app_password {
        if password.expose_secret().contains('\0') {
            return Err(Error::invalid("a password cannot contain the character U+0000"));
        }
        let quoted = password.expose_secret().replace('\\', "\\\\").replace('\'', "''");
        steps.push(Step {
            shown: PrepareStep {
                title: "the platform's password".into(),
                sql: format!("ALTER ROLE {app} PASSWORD '…'"),
            },
            secret: Some(format!("ALTER ROLE {app} PASSWORD E'{quoted}'")),
        });
    }
    let mut step = |title: &str, sql: String| {
        steps.push(Step { shown: PrepareStep { title: title.to_owned(), sql }, secret: None });
    };
    step("the schema", format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {owner}"));
    let act = format!("SET LOCAL ROLE {owner};\nSET LOCAL search_path = {SCHEMA}, pg_temp");
    if found.version == 0 {
        step(
            "the version of the tables",
            format!(
                "{act};\nCREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL PRIMARY KEY, oldest bigint NOT NULL, \
                 applied_at bigint NOT NULL)"
            ),
        );
    }
    for (place, migration) in MIGRATIONS.iter().enumerate().skip(found.version) {
        let version = place + 1;
        let (sql, oldest, now) =
            (migration.sql.trim_end().trim_end_matches(';'), migration.oldest, env.now().micros());
        step(
            &format!("version {version} of the tables"),
            format!(
                "{act};\n{sql};\nINSERT INTO schema_version (version, oldest, applied_at) VALUES ({version}, {oldest}, {now})"
            ),
        );
    }
    let mut rights = format!(
        "{act};\nREVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {app};\nGRANT USAGE ON SCHEMA {SCHEMA} TO {app};\n\
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {app};\n\
         REVOKE INSERT, UPDATE, DELETE ON schema_version FROM {app};\n{policies}",
        policies = RIGHTS.trim_end().replace("{app}", &options.app),
    );
    if found.superuser {
        rights.push_str(&format!(
            ";\nGRANT USAGE ON SCHEMA {SCHEMA} TO {backup};\nGRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {backup}"
        ));
    }
    step("rights", rights);
    Ok(steps)
}
