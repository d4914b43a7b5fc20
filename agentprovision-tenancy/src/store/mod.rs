//! Where everything is kept: [`connect`] opens a backend by URL.
//!
//! `memory://` is gone with the process, `sqlite://path` is one file for one process or a few on one machine,
//! `postgres://user@host/database` is shared by any number of processes.

#[cfg(feature = "store-postgres")]
pub mod postgres;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
pub(crate) mod sql;

use std::sync::Arc;

use agentprovision_core::backend::Backend;
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_core::{Env, Error, Result};

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
pub use sql::SqlBackend;

/// The URL schemes and what stands behind them.
pub const SCHEMES: &[(&str, &str)] = &[
    ("memory", "memory://, in the memory of the process"),
    ("sqlite", "sqlite://path/to/file.db, one file"),
    ("postgres", "postgres://user:password@host/database, a database for many processes"),
];

/// Opens the store at `url`; a file that is not there yet is made.
///
/// # Errors
/// `invalid_input` for a URL that names no store, and for a file of another application; `unsupported` for a store this
/// build does not have; `corrupt` for a file that is no database; `schema_too_new` for one of a newer version;
/// `read_only` for one that would have to be changed and cannot be; `unavailable` when it cannot be opened.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> agentprovision_core::Result<()> {
/// use agentprovision_core::Env;
/// let backend = agentprovision_tenancy::store::connect("memory://", Env::default()).await?;
/// backend.close().await?;
/// # Ok(()) }
/// ```
pub async fn connect(url: &str, env: Env) -> Result<Arc<dyn Backend>> {
    match split(url)? {
        ("memory", "") => Ok(Arc::new(MemoryDb::new(env))),
        ("memory", rest) => Err(Error::invalid(format!("`memory://` has no path, not `{}`", shown(rest)))),
        ("postgres" | "postgresql", _) => postgres(url, env).await,
        ("sqlite", path) => sqlite(path, env).await,
        (scheme, _) => Err(unknown(scheme)),
    }
}

/// The scheme of a URL and what stands behind it.
fn split(url: &str) -> Result<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Error::invalid(format!("`{}` is not a store URL; known are {}", shown(url), known()))
    })?;
    if let Some((_, query)) = rest.split_once('?')
        && !matches!(scheme, "postgres" | "postgresql")
    {
        let name = query.split(['=', '&']).next().unwrap_or(query);
        return Err(Error::invalid(format!("a store URL has no option `{}`", shown(name))));
    }
    Ok((scheme, rest))
}

fn unknown(scheme: &str) -> Error {
    Error::invalid(format!("unknown store `{}`; known are {}", shown(scheme), known()))
}

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
impl SqlBackend {
    /// Opens the database at `url`.
    pub(crate) async fn by_url(url: &str, env: Env) -> Result<Self> {
        match split(url)? {
            ("postgres" | "postgresql", _) => postgres_database(url, env).await,
            ("sqlite", path) => sqlite_file(path, env).await,
            ("memory", _) => {
                Err(Error::invalid("tenants are kept in databases that last: not in `memory://`"))
            }
            (scheme, _) => Err(unknown(scheme)),
        }
    }
}

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
async fn sqlite(path: &str, env: Env) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(sqlite_file(path, env).await?))
}

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
async fn postgres(url: &str, env: Env) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(postgres_database(url, env).await?))
}

#[cfg(feature = "store-sqlite")]
async fn sqlite_file(path: &str, env: Env) -> Result<SqlBackend> {
    if path.contains(":memory:") {
        return Err(Error::invalid("`sqlite://` is a file; for a store in memory use `memory://`"));
    }
    if path.is_empty() || path.contains('\0') {
        return Err(Error::invalid("`sqlite://` is followed by the path of a file"));
    }
    SqlBackend::open(path.as_ref(), env).await
}

#[cfg(all(not(feature = "store-sqlite"), feature = "store-postgres"))]
async fn sqlite_file(_: &str, _: Env) -> Result<SqlBackend> {
    Err(no_sqlite())
}

#[cfg(feature = "store-postgres")]
async fn postgres_database(url: &str, env: Env) -> Result<SqlBackend> {
    let settings = sql::postgres::settings::Settings::parse(url, env.clone())?;
    SqlBackend::connect(settings, env).await
}

#[cfg(all(not(feature = "store-postgres"), feature = "store-sqlite"))]
async fn postgres_database(_: &str, _: Env) -> Result<SqlBackend> {
    Err(no_postgres())
}

#[cfg(not(any(feature = "store-sqlite", feature = "store-postgres")))]
async fn sqlite(_: &str, _: Env) -> Result<Arc<dyn Backend>> {
    Err(no_sqlite())
}

#[cfg(not(any(feature = "store-sqlite", feature = "store-postgres")))]
async fn postgres(_: &str, _: Env) -> Result<Arc<dyn Backend>> {
    Err(no_postgres())
}

#[cfg(not(feature = "store-sqlite"))]
fn no_sqlite() -> Error {
    Error::unsupported("this build has no `sqlite` store: switch on the feature `store-sqlite`")
}

#[cfg(not(feature = "store-postgres"))]
fn no_postgres() -> Error {
    Error::unsupported("this build has no `postgres` store: switch on the feature `store-postgres`")
}

fn known() -> String {
    let forms: Vec<&str> = SCHEMES.iter().map(|(_, form)| *form).collect();
    forms.join("; ")
}

/// A part of a URL as a message may show it: a password never stands in it, and it is not long.
fn shown(text: &str) -> String {
    let end = text.find('@').map_or(0, |at| at + 1);
    text.get(end..).unwrap_or_default().chars().take(80).collect()
}
