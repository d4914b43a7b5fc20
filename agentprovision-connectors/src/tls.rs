//! TLS over connections of other protocols than HTTP.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Retry};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// A connection in both directions, encrypted or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// What a setting with certificates is called.
pub(crate) const CA: &str = "ca_certificates";

/// The schema of that setting.
pub(crate) fn ca_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": 32_768,
        "description": "Certificates in PEM that the server's is checked against, instead of those of the system.",
    })
}

/// Whether a setting has certificates.
///
/// # Errors
/// `invalid_input` where it has none, or bad ones.
pub(crate) fn check(ca: &str) -> Result<()> {
    roots(ca).map(drop)
}

/// Encrypts a connection to the host of this name, or of this address. Its certificate has to be for exactly that, and by one of
/// `ca`, certificates in PEM, or of the system's.
///
/// # Errors
/// `invalid_input` for bad certificates in `ca`; `provider_error` for a server whose certificate does not hold; `unavailable` for
/// one that does not speak TLS.
pub(crate) async fn secure(stream: TcpStream, name: &str, ca: Option<&str>) -> Result<TlsStream<TcpStream>> {
    let config = match ca {
        Some(ca) => Arc::new(trusting(ca)?),
        None => of_system()?,
    };
    let host = ServerName::try_from(name.to_owned())
        .map_err(|_| Error::invalid(format!("no certificate can be for `{name}`")))?;
    TlsConnector::from(config).connect(host, stream).await.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Error::new(
                ErrorKind::ProviderError,
                format!("the certificate of the server does not hold for `{name}`"),
            )
            .with_context("reason", "certificate")
            .with_source(error),
            _ => Error::new(ErrorKind::Unavailable, "the server does not encrypt the connection")
                .with_retry(Retry::After(Duration::ZERO))
                .with_source(error),
        }
    })
}

fn failed(error: rustls::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "no TLS configuration can be made").with_source(error)
}

/// Trusts whom the system trusts. What that is takes a while to read, and is read once.
fn of_system() -> Result<Arc<ClientConfig>> {
    static READ: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = READ.get() {
        return Ok(config.clone());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let config = builder.with_platform_verifier().map_err(failed)?.with_no_client_auth();
    Ok(READ.get_or_init(|| Arc::new(config)).clone())
}

/// Certificates in PEM.
fn roots(ca: &str) -> Result<RootCertStore> {
    let bad = || Error::invalid(format!("the setting `{CA}` has no certificates in PEM"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    if roots.is_empty() { Err(bad()) } else { Ok(roots) }
}

/// Trusts these certificates.
fn trusting(ca: &str) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    Ok(builder.with_root_certificates(roots(ca)?).with_no_client_auth())
}
