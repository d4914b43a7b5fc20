//! AWS Signature Version 4 in the `authorization` header (AWS IAM User Guide, "Create a signed AWS API request").

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use agentprovision_core::Result;
use agentprovision_core::clock::{Clock, SystemClock};
pub use agentprovision_core::http::sigv4::AwsKeys;
use agentprovision_core::http::sigv4::Signer;
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use secrecy::{ExposeSecret, SecretString};

use crate::credential::Credential;
use crate::wire::ProviderError;

/// Where AWS keys come from: [`AwsKeys`] themselves, or a host that renews temporary ones before they expire.
#[async_trait]
pub trait AwsKeySource: fmt::Debug + Send + Sync + 'static {
    /// The keys to sign the next request with; asked for every attempt.
    ///
    /// # Errors
    /// Whatever kept the keys from being had; the request is not sent.
    async fn keys(&self) -> Result<AwsKeys>;
}

#[async_trait]
impl AwsKeySource for AwsKeys {
    async fn keys(&self) -> Result<AwsKeys> {
        Ok(self.clone())
    }
}

/// Signs requests to one AWS service in one region.
#[derive(Debug)]
pub struct SigV4 {
    source: Arc<dyn AwsKeySource>,
    signer: Signer,
    clock: Arc<dyn Clock>,
    /// The token that was sent last, to take it out of an error that quotes the request.
    sent: Mutex<Option<SecretString>>,
}

impl SigV4 {
    /// Signs with the keys of `source`, for `region` (`us-east-1`) and `service` (`bedrock`).
    pub fn new(source: Arc<dyn AwsKeySource>, region: &str, service: &str) -> Self {
        Self {
            source,
            signer: Signer::new(region, service),
            clock: Arc::new(SystemClock::default()),
            sent: Mutex::new(None),
        }
    }

    /// The same with another clock. AWS refuses a signature whose time is more than five minutes off.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait]
impl Credential for SigV4 {
    async fn apply(&self, request: &mut Request<Bytes>) -> Result<()> {
        let keys = self.source.keys().await?;
        self.signer.sign(request, &keys, self.clock.now())?;
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = keys.session_token().cloned();
        Ok(())
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        // The secret itself is never sent, so nobody can quote it.
        match &*self.sent.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(token) => error.redacted(token.expose_secret().trim()),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::clock::ManualClock;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::wire::Category;

    /// The keys and the time of AWS's published examples.
    fn signer(service: &str) -> SigV4 {
        let keys = AwsKeys::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into());
        let clock = ManualClock::new("2015-08-30T12:36:00Z".parse().unwrap());
        SigV4::new(Arc::new(keys), "us-east-1", service).with_clock(Arc::new(clock))
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Bytes> {
        let builder = Request::builder().method(method).uri(uri);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    async fn signed(signer: &SigV4, mut request: Request<Bytes>) -> String {
        signer.apply(&mut request).await.unwrap();
        request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_signatures_are_those_aws_publishes() {
        // The example of the documentation.
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let users = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        assert_eq!(
            signed(&signer("iam"), request("GET", users, &[form], "")).await,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        // The published test suite.
        let form = ("content-type", "application/x-www-form-urlencoded");
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for (method, path, headers, body, signature) in [
            ("GET", "/", &[][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("GET", unreserved, &[], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
            (
                "POST",
                "/",
                &[form],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let request = request(method, &format!("https://example.amazonaws.com{path}"), headers, body);
            let authorization = signed(&signer("service"), request).await;
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{method} {path}: {authorization}"
            );
        }
    }

    #[tokio::test]
    async fn a_session_token_is_signed_sent_and_kept_out_of_errors() {
        let keys =
            AwsKeys::new("AKIDEXAMPLE", "wJalrXUtnFEMI".into()).with_session_token("session-token".into());
        let signer = SigV4::new(Arc::new(keys.clone()), "us-east-1", "bedrock");
        let mut request = request("POST", "https://h/", &[], "{}");
        signer.apply(&mut request).await.unwrap();
        assert_eq!(request.headers().get("x-amz-security-token").unwrap(), "session-token");
        let authorization = request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap();
        assert!(authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
        assert!(!authorization.contains("wJalrXUtnFEMI"));
        let error = ProviderError::new(Category::Permission, "x-amz-security-token:session-token\n");
        assert_eq!(signer.redacted(error).message, "x-amz-security-token:[redacted]\n");
        let shown = format!("{signer:?} {keys:?} {request:?}");
        assert!(!shown.contains("session-token") && !shown.contains("wJalrXUtnFEMI"), "{shown}");
        let bad = AwsKeys::new("AKID\n", "x".into()).with_session_token("a\nb".into());
        let error = SigV4::new(Arc::new(bad), "r", "s").apply(&mut request).await.unwrap_err();
        assert!(!error.to_string().contains("a\nb"));
    }
}
