//! A connection to a server, for the length of one call.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Retry};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;

use super::{Place, sql};
use crate::answer::{Category, Failure};
use crate::call::{Call, NOT_DONE};
use crate::tls::{Wire, secure};

/// What asks a server for encryption
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>, `SSLRequest`).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What the server gets less than the call has, so that its own answer arrives.
const MARGIN: Duration = Duration::from_millis(250);

fn broken() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the server broke off")
        .with_retry(Retry::After(Duration::ZERO))
}

/// An error of the driver as one of ours. What the server says about a statement is given on; what it says about rows, in the
/// detail, is not.
pub(super) fn told(error: tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        return broken().with_source(error);
    };
    let (state, message) = (said.code(), said.message());
    if *state == SqlState::QUERY_CANCELED {
        return Error::new(ErrorKind::DeadlineExceeded, "the statement did not end in time")
            .with_context("sqlstate", state.code())
            .with_context(NOT_DONE.0, NOT_DONE.1);
    }
    let class = state.code().get(..2).unwrap_or_default();
    let category = match (class, state.code()) {
        ("28", _) => Category::Credentials,
        (_, "3D000") => Category::NotFound,
        (_, "42501" | "25006") => Category::Forbidden,
        // Rolled back because of others, or no room for now.
        (_, "40001" | "40P01" | "55P03") | ("08" | "53", _) | (_, "57P01" | "57P02" | "57P03") => {
            Category::Unavailable
        }
        ("23", _) => Category::Conflict,
        ("58" | "XX" | "F0", _) => Category::Failed,
        _ => Category::Invalid,
    };
    // What a transaction ended in was not kept.
    Failure::new(category)
        .message(format!("{message} ({})", state.code()))
        .told(&[])
        .with_context("sqlstate", state.code())
        .with_context(NOT_DONE.0, NOT_DONE.1)
}

/// A connection. Dropping it closes it, and with it ends what was not committed.
pub(super) struct Session {
    pub(super) client: Client,
    driver: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens the connection of a call, and begins its transaction.
    pub(super) async fn open(call: &Call, writes: bool) -> Result<Self> {
        let place = Place::of(&call.integration.settings)?;
        let credentials = call.credentials().await?;
        let mut config = Config::new();
        config
            .user(credentials.field("username")?.expose_secret())
            .password(credentials.field("password")?.expose_secret())
            .dbname(&place.database)
            .application_name("agentprovision")
            // It is encrypted already.
            .ssl_mode(SslMode::Disable);
        let mut tcp = call.connect().await?;
        let stream: Box<dyn Wire> = if place.to.is_encrypted() {
            let lost = |error| broken().with_source(error);
            tcp.write_all(&SSL_REQUEST).await.map_err(lost)?;
            // One byte: what would come behind it in the clear is no part of it.
            if tcp.read_u8().await.map_err(lost)? != b'S' {
                return Err(Error::new(
                    ErrorKind::ProviderError,
                    "the server does not encrypt connections, and nothing is said to it without",
                ));
            }
            Box::new(secure(tcp, &place.to.host(), place.ca.as_deref()).await?)
        } else {
            Box::new(tcp)
        };
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(told)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // What breaks it is told to whoever waits for an answer.
            let _ = connection.await;
        }));
        let session = Self { client, driver };
        let left = call.deadline.saturating_sub(call.env().monotonic());
        let millis = left.saturating_sub(MARGIN).max(Duration::from_millis(1)).as_millis();
        session.client.batch_execute(&sql::begin(writes, millis)).await.map_err(told)?;
        let reaches: bool = session.client.query_one(sql::REACHES, &[]).await.map_err(told)?.get(0);
        if reaches {
            return Err(Error::denied(
                "the account is a superuser of its server, or may run programs or read files there; give the integration one that may not",
            ));
        }
        Ok(session)
    }

    /// Takes leave in order; what was not committed is gone.
    pub(super) async fn close(self) {
        drop(self.client);
        let _ = self.driver.await;
    }

    /// Keeps what was changed. If the answer is lost, whether it was kept is not known.
    pub(super) async fn commit(self, call: &Call, bytes: u64) -> Result<()> {
        call.count_request(bytes);
        self.client.batch_execute(sql::COMMIT).await.map_err(|error| match error.as_db_error() {
            Some(_) => told(error),
            None => Error::new(
                ErrorKind::Uncertain,
                "the connection broke before the server answered, and the change may have been kept",
            )
            .with_source(error),
        })?;
        self.close().await;
        Ok(())
    }
}
