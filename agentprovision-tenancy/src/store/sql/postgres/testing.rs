//! Databases for tests, each prepared and of its own.

use std::str::FromStr;

use agentprovision_core::{Env, Error, Result};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::error;
use super::prepare::{MIGRATIONS, PrepareOptions, prepare};

/// What the role of the platform logs in with on a server for tests.
const PASSWORD: &str = "agentprovision-test";
/// Templates are made one at a time.
const LOCK: i64 = 0x4150_5652_5445_5354;

/// A database on a server for tests, prepared, with nothing in it. It goes with the value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: String,
    url: String,
}

impl TestDatabase {
    /// Makes a database on the server at `server`, a URL of a superuser. The server must be for tests: the role
    /// `agentprovision_app` gets a known password there.
    ///
    /// # Errors
    /// As [`prepare`].
    pub async fn create(server: &str) -> Result<Self> {
        let env = Env::default();
        let template = template(server, &env).await?;
        let name = format!("ap_{}", hex::encode(env.random::<12>()));
        let mut conn = connect(server).await?;
        run(&mut conn, format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        let _ = conn.close().await;
        let url = replaced(server, &name, Some(("agentprovision_app", PASSWORD)))?;
        Ok(Self { name, server: server.to_owned(), url })
    }

    /// A copy, with all that is in it. Nobody may be connected to the original.
    ///
    /// # Errors
    /// `unavailable` when somebody is.
    pub async fn copy(&self) -> Result<Self> {
        let name = format!("ap_{}", hex::encode(Env::default().random::<12>()));
        let mut conn = connect(&self.server).await?;
        run(&mut conn, format!("CREATE DATABASE {name} TEMPLATE {}", self.name)).await?;
        let _ = conn.close().await;
        let url = replaced(&self.server, &name, Some(("agentprovision_app", PASSWORD)))?;
        Ok(Self { name, server: self.server.clone(), url })
    }

    /// The URL the platform connects to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the superuser, on the same database.
    ///
    /// # Errors
    /// `invalid_input` when the URL of the server cannot be read.
    pub fn admin_url(&self) -> Result<String> {
        replaced(&self.server, &self.name, None)
    }

    /// Runs statements as the superuser.
    ///
    /// # Errors
    /// What the database says.
    pub async fn admin(&self, sql: &str) -> Result<()> {
        let mut conn = connect(&self.admin_url()?).await?;
        let done = run(&mut conn, sql.to_owned()).await;
        let _ = conn.close().await;
        done
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // On a thread of its own: there may be no runtime here, or one that ends.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let _: Result<()> = runtime.block_on(async {
                let mut conn = connect(&server).await?;
                run(&mut conn, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            });
        });
        let _ = thread.join();
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::invalid("the URL of the database cannot be read"))?;
    options.disable_statement_logging().connect().await.map_err(|source| error(source).error)
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<()> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop).map_err(|source| error(source).error)
}

/// `url` with another database, and perhaps another user.
fn replaced(url: &str, database: &str, login: Option<(&str, &str)>) -> Result<String> {
    let unreadable =
        || Error::invalid("the URL of a server for tests is `postgres://user:password@host:port/database`");
    let rest = url.split_once("://").ok_or_else(unreadable)?.1;
    let (user, place) = rest.split_once('@').ok_or_else(unreadable)?;
    let (host, tail) = place.split_once('/').ok_or_else(unreadable)?;
    let query = tail.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let user = login.map_or_else(|| user.to_owned(), |(name, password)| format!("{name}:{password}"));
    Ok(format!("postgres://{user}@{host}/{database}{query}"))
}

/// The name of a prepared database that others are copied from; made if it is not there.
async fn template(server: &str, env: &Env) -> Result<String> {
    let mut digest = Sha256::new();
    MIGRATIONS.iter().for_each(|migration| digest.update(migration.sql));
    digest.update(include_str!("prepare.rs"));
    digest.update(include_str!("../../../../migrations/postgres/rights.sql"));
    let name = format!("ap_template_{}", hex::encode(digest.finalize()).get(..16).unwrap_or_default());
    let mut conn = connect(server).await?;
    let there = async |conn: &mut PgConnection| -> Result<bool> {
        let row =
            sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate)")
                .bind(&name);
        let row = row.fetch_one(conn).await.map_err(|source| error(source).error)?;
        row.try_get(0).map_err(|source| error(source).error)
    };
    if !there(&mut conn).await? {
        run(&mut conn, format!("SELECT pg_advisory_lock({LOCK})")).await?;
        if !there(&mut conn).await? {
            // One that was begun and not finished is no template yet.
            run(&mut conn, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
            run(&mut conn, format!("CREATE DATABASE {name}")).await?;
            let options = PrepareOptions {
                app_password: Some(PASSWORD.to_owned().into()),
                ..PrepareOptions::default()
            };
            prepare(&replaced(server, &name, None)?, &options, env, false).await?;
            run(&mut conn, format!("ALTER DATABASE {name} IS_TEMPLATE true")).await?;
        }
    }
    // The lock goes with the connection.
    let _ = conn.close().await;
    Ok(name)
}
