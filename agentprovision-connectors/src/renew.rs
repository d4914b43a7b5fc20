//! Tokens are renewed once, whoever and however many find them expired.
//!
//! Within a process those who find the same tokens expired wait for one of them. Between processes that one takes the lease on
//! the secret, which it has for longer as long as the vendor takes to answer; what comes under an older lease is refused. The
//! new tokens are sealed and committed before anybody uses them. All of it is done in a task of its own: a caller who goes
//! away must not take a token along that can be used once.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::secret::{Leased, SecretLease};
use agentprovision_core::{Error, ErrorKind, Result};
use http::Request;

use crate::auth::{Credentials, Grant, OAuthApp};
use crate::call::Call;
use crate::exchange::{Exchange, Held, secret_of};

/// For how long the lease is taken; it is had for longer three times as often. Who asks after its holder has died waits as long, so it
/// is less than operations take.
const TERM: Duration = Duration::from_secs(10);
/// How long somebody who waits for another process waits before another look.
const LOOK: Duration = Duration::from_millis(250);

/// How renewing the tokens of an integration failed last.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The version that was to be renewed.
    version: u64,
    error: Error,
    /// On the monotonic clock.
    at: Duration,
}

/// Those who renew the tokens of one integration, one after the other.
pub(crate) type Flight = Arc<tokio::sync::Mutex<Option<Failed>>>;

impl Exchange {
    /// Credentials whose tokens are newer than those of `seen`.
    ///
    /// # Errors
    /// `provider_error` with the reason `grant` when somebody has to grant access again; those of the vendor and the store.
    pub(crate) async fn renew(self: &Arc<Self>, call: &Call, grant: &Grant, seen: u64) -> Result<Arc<Held>> {
        let (flight, came) = (self.flight(call), self.env().monotonic());
        let mut failed = flight.lock().await;
        if let Some(held) = self.known(call).filter(|held| held.version > seen) {
            return Ok(held);
        }
        // What the vendor has refused it refuses again, and who waited for a failure need not see it fail once more.
        if let Some(failed) = &*failed
            && failed.version == seen
            && (is_refused(&failed.error) || failed.at >= came)
        {
            return Err(failed.error.clone());
        }
        let (this, call, grant) = (self.clone(), call.clone(), grant.clone());
        let work = tokio::spawn(async move { this.renew_alone(&call, &grant, seen).await });
        let ended = work
            .await
            .unwrap_or_else(|error| Err(Error::internal("renewing tokens broke off").with_source(error)));
        *failed = ended.as_ref().err().map(|error| Failed {
            version: seen,
            error: error.clone(),
            at: self.env().monotonic(),
        });
        ended
    }

    /// As the only one in this process.
    async fn renew_alone(&self, call: &Call, grant: &Grant, seen: u64) -> Result<Arc<Held>> {
        let path = secret_of(call.integration.id)?;
        loop {
            let leased = self.secrets().lease(&call.ctx, &path, self.worker(), TERM).await;
            let lease = match leased {
                Ok(Leased::Yours(lease)) => lease,
                Ok(Leased::Held(_)) => {
                    // The other one may be done before its lease is over.
                    if self.env().monotonic() >= call.deadline {
                        return Err(late());
                    }
                    self.env().sleep(LOOK).await;
                    let held = self.look(call).await?;
                    if held.version > seen {
                        return Ok(held);
                    }
                    continue;
                }
                Err(error) if error.is(ErrorKind::NotFound) => return Err(crate::auth::not_granted()),
                Err(error) => return Err(error),
            };
            let ended = self.under_lease(call, grant, seen, lease).await;
            match ended {
                Ok(held) => return Ok(held),
                Err(error) => {
                    // Harmless when it is somebody else's by now.
                    let given_back =
                        self.secrets().lease(&call.ctx, &path, self.worker(), Duration::ZERO).await;
                    if let Err(left) = given_back {
                        tracing::debug!(error = ?left, "a lease on a secret was not given back");
                    }
                    // Somebody was faster, or has won with what was refused to us.
                    let lost = [ErrorKind::Conflict, ErrorKind::Fenced].contains(&error.kind())
                        || is_refused(&error);
                    if lost {
                        let held = self.look(call).await?;
                        if held.version > seen {
                            return Ok(held);
                        }
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn under_lease(
        &self,
        call: &Call,
        grant: &Grant,
        seen: u64,
        lease: SecretLease,
    ) -> Result<Arc<Held>> {
        let path = secret_of(call.integration.id)?;
        let held = self.look(call).await?;
        if held.version > seen {
            self.secrets().lease(&call.ctx, &path, self.worker(), Duration::ZERO).await?;
            return Ok(held);
        }
        let before = &held.credentials;
        let client = self.client(call, before);
        let place = |url: &str| call.connector.fill(url, &call.integration.settings);
        let base = call.base_url()?;
        let now = self.env().now();
        let grant = grant.asking(&call.integration.settings);
        let request = grant.request(&base, &place, before, client.as_ref(), now)?;
        let response = self.while_leased(call, request).await?;
        let tokens = grant.tokens(&response, now, before.tokens.as_ref())?;
        let credentials = Credentials { tokens: Some(tokens), ..Credentials::clone(before) };
        let version =
            self.secrets().put(&call.ctx, &path, credentials.to_secret(), held.version, Some(lease)).await?;
        Ok(self.keep(call, credentials, version))
    }

    /// The exchange with the token endpoint, however long it takes: the lease is had for longer meanwhile.
    async fn while_leased(
        &self,
        call: &Call,
        request: Request<bytes::Bytes>,
    ) -> Result<crate::answer::Response> {
        let path = secret_of(call.integration.id)?;
        let mut exchange = std::pin::pin!(self.exchange(request));
        loop {
            if let Some(response) = self.env().timeout(TERM / 3, &mut exchange).await {
                return response;
            }
            if let Err(error) = self.secrets().lease(&call.ctx, &path, self.worker(), TERM).await {
                tracing::warn!(integration = %call.integration.id, ?error, "the lease on a secret could not be kept");
            }
        }
    }

    /// The application that asks for tokens: the integration's own, or the one the host has registered. That one's secret goes
    /// nowhere else than where the connector has it: a tenant whose settings lead elsewhere brings an application.
    pub(crate) fn client(&self, call: &Call, credentials: &Credentials) -> Option<OAuthApp> {
        use secrecy::ExposeSecret as _;
        match credentials.optional("client_id") {
            Some(id) => Some(OAuthApp {
                client_id: id.expose_secret().to_owned(),
                client_secret: credentials.optional("client_secret").cloned(),
            }),
            None => {
                let settings = &call.integration.settings;
                let auth = call.connector.auth(Some(&call.integration.auth)).ok()?;
                let mut urls = auth.grant().into_iter().flat_map(Grant::urls);
                if urls.any(|url| call.connector.is_moved(url, settings)) {
                    return None;
                }
                self.app(&call.connector.name).cloned()
            }
        }
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "another process renews the integration's tokens, and the time is over",
    )
}

/// Whether what was exchanged holds no longer.
pub(crate) fn is_refused(error: &Error) -> bool {
    error.context().iter().any(|(name, value)| *name == "reason" && value == "grant")
}
