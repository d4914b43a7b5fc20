//! AWS Signature Version 4 in the `authorization` header (AWS IAM User Guide, "Create a signed AWS API request").

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use agentprovision_core::clock::{Clock, SystemClock};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::credential::Credential;
use crate::wire::ProviderError;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// A pair of AWS keys.
#[derive(Clone)]
pub struct AwsKeys {
    id: String,
    secret: SecretString,
    token: Option<SecretString>,
}

impl AwsKeys {
    /// The access key with this id and secret.
    pub fn new(id: impl Into<String>, secret: SecretString) -> Self {
        Self { id: id.into(), secret, token: None }
    }

    /// The same keys with the session token that temporary ones come with.
    #[must_use]
    pub fn with_session_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

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
    region: String,
    service: String,
    clock: Arc<dyn Clock>,
    /// The token that was sent last, to take it out of an error that quotes the request.
    sent: Mutex<Option<SecretString>>,
}

impl SigV4 {
    /// Signs with the keys of `source`, for `region` (`us-east-1`) and `service` (`bedrock`).
    pub fn new(source: Arc<dyn AwsKeySource>, region: &str, service: &str) -> Self {
        Self {
            source,
            region: region.to_owned(),
            service: service.to_owned(),
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

    fn sign(&self, request: &mut Request<Bytes>, keys: &AwsKeys) -> Result<()> {
        let time = jiff::Timestamp::from_microsecond(self.clock.now().micros())
            .map_err(|error| Error::internal("the clock is out of range").with_source(error))?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = time.get(..8).unwrap_or_default().to_owned();
        let value = |text: &str| {
            HeaderValue::from_str(text.trim())
                .map_err(|_| Error::invalid("an AWS key has characters that cannot be sent in a header"))
        };
        request.headers_mut().insert(DATE, value(&time)?);
        if let Some(token) = &keys.token {
            let mut token = value(token.expose_secret())?;
            token.set_sensitive(true);
            request.headers_mut().insert(TOKEN, token);
        }

        let (signed, canonical) = canonical(request)?;
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
        let mut key = format!("AWS4{}", keys.secret.expose_secret().trim()).into_bytes();
        for part in [day.as_str(), &self.region, &self.service, "aws4_request"] {
            key = mac(&key, part)?;
        }
        let signature = hex::encode(mac(&key, &to_sign)?);
        let mut authorization = value(&format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            keys.id.trim()
        ))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }
}

#[async_trait]
impl Credential for SigV4 {
    async fn apply(&self, request: &mut Request<Bytes>) -> Result<()> {
        let keys = self.source.keys().await?;
        self.sign(request, &keys)?;
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = keys.token;
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

/// The names of the signed headers, and the canonical request.
fn canonical(request: &Request<Bytes>) -> Result<(String, String)> {
    let uri = request.uri();
    let authority = uri.authority().ok_or_else(|| Error::invalid("a request to be signed needs a host"))?;
    // The port is in the `host` header only where it is another than the scheme's.
    let usual = matches!(
        (uri.scheme_str(), authority.port_u16()),
        (Some("https"), Some(443)) | (Some("http"), Some(80))
    );
    let host = if usual { authority.host() } else { authority.as_str() };
    let mut headers = vec![("host".to_owned(), host.to_ascii_lowercase())];
    for name in request.headers().keys() {
        // Others may be changed on the way.
        if *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            let values = request.headers().get_all(name).iter().map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            });
            headers.push((name.as_str().to_owned(), values.collect::<Vec<_>>().join(",")));
        }
    }
    headers.sort();
    let signed = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    // All services but S3 encode the path, encoded as it is sent, once more.
    let path: Vec<String> = uri.path().split('/').map(|segment| encode(segment.as_bytes())).collect();
    let mut query: Vec<(String, String)> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name)), encode(&decode(value))))
        .collect();
    query.sort();
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut out = format!("{}\n{}\n{}\n", request.method(), path.join("/"), query.join("&"));
    for (name, value) in &headers {
        let _ = writeln!(out, "{name}:{value}");
    }
    let _ = write!(out, "\n{signed}\n{}", hash(request.body()));
    Ok((signed, out))
}

/// Percent-encoding of everything but unreserved characters (RFC 3986, section 2.3).
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| hex::decode(digits).ok()).filter(|_| *first == b'%');
        match digits.as_deref() {
            Some([byte]) => {
                out.push(*byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|error| Error::internal("a key of no length HMAC takes").with_source(error))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use agentprovision_core::clock::ManualClock;

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

    #[test]
    fn a_path_is_encoded_once_more_and_a_usual_port_is_left_out() {
        let lines = |uri: &str| {
            let request = request("POST", uri, &[("x-other", "1"), ("x-amz-b", " a   b ")], "");
            canonical(&request).unwrap().1.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let canonical = lines("https://Bedrock.example:443/model/a%3A0/converse?b=%2f&a&b=1");
        assert_eq!(
            canonical[..6],
            ["POST", "/model/a%253A0/converse", "a=&b=%2F&b=1", "host:bedrock.example", "x-amz-b:a b", ""]
        );
        assert_eq!(canonical[6], "host;x-amz-b");
        assert_eq!(lines("http://h:443/")[3], "host:h:443");
    }

    #[tokio::test]
    async fn a_session_token_is_signed_sent_and_kept_out_of_errors() {
        let keys =
            AwsKeys::new("AKIDEXAMPLE", "wJalrXUtnFEMI".into()).with_session_token("session-token".into());
        let signer = SigV4::new(Arc::new(keys.clone()), "us-east-1", "bedrock");
        let mut request = request("POST", "https://h/", &[], "{}");
        signer.apply(&mut request).await.unwrap();
        assert_eq!(request.headers().get(TOKEN).unwrap(), "session-token");
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
