//! AWS Signature Version 4, in the `authorization` header or in the query (AWS IAM User Guide, "Create a signed AWS API
//! request"; Amazon S3 API Reference, "Authenticating Requests").

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RANGE};
use http::{Request, Uri};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

const TIME: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What stands for the digest of a body that nobody knows yet.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The longest that a URL can hold.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

    /// The session token, of temporary ones.
    pub fn session_token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Rules that differ between services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rules {
    /// Of all services but S3: the path, as it is sent, is encoded once more.
    #[default]
    Usual,
    /// Of S3: the path is encoded once, and `x-amz-content-sha256` says the digest of the body.
    S3,
}

/// What signatures are good for: one service in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    region: String,
    service: String,
    rules: Rules,
}

impl Signer {
    /// Signs for a region (`us-east-1`) and a service (`bedrock`). `s3` has rules of its own.
    pub fn new(region: impl Into<String>, service: impl Into<String>) -> Self {
        let service = service.into();
        let rules = if service == "s3" { Rules::S3 } else { Rules::Usual };
        Self { region: region.into(), service, rules }
    }

    /// With other rules than the service's name says.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Signs a request in its headers, as of a time. AWS refuses one that is more than five minutes off (S3: fifteen).
    ///
    /// # Errors
    /// `invalid_input` for a URL without host, and for keys that cannot be in a header.
    pub fn sign(&self, request: &mut Request<Bytes>, keys: &AwsKeys, at: Timestamp) -> Result<()> {
        let (time, scope) = self.scope(at)?;
        let digest = hash(request.body());
        request.headers_mut().insert(TIME, value(&time)?);
        if self.rules == Rules::S3 {
            request.headers_mut().insert(CONTENT, value(&digest)?);
        }
        if let Some(token) = &keys.token {
            let mut token = value(token.expose_secret())?;
            token.set_sensitive(true);
            request.headers_mut().insert(TOKEN, token);
        }
        let (signed, canonical) = self.canonical(request, &digest)?;
        let signature = self.signature(keys, &time, &scope, &canonical)?;
        let mut authorization = value(&format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            keys.id.trim()
        ))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }

    /// The URL that lets whoever has it make this request, with the headers it has now and any body, from a time on for a
    /// while: a second to seven days. Nothing is sent.
    ///
    /// # Errors
    /// As [`Signer::sign`], and `invalid_input` for another while.
    pub fn presign(
        &self,
        request: &Request<Bytes>,
        keys: &AwsKeys,
        at: Timestamp,
        valid: Duration,
    ) -> Result<Uri> {
        if valid < Duration::from_secs(1) || valid > LONGEST {
            return Err(Error::invalid("a signed URL holds for a second to seven days"));
        }
        let (time, scope) = self.scope(at)?;
        let names: Vec<String> = self.headers(request)?.into_iter().map(|(name, _)| name).collect();
        let mut query = vec![
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", keys.id.trim())),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", valid.as_secs().to_string()),
            ("X-Amz-SignedHeaders", names.join(";")),
        ];
        if let Some(token) = &keys.token {
            query.push(("X-Amz-Security-Token", token.expose_secret().trim().to_owned()));
        }
        let mut url = request.uri().to_string();
        for (name, value) in &query {
            let separator = if url.contains('?') { '&' } else { '?' };
            let _ = write!(url, "{separator}{name}={}", encode(value.as_bytes()));
        }
        let bad = |_| Error::invalid("this is no URL that can be signed");
        let mut request = request.clone();
        *request.uri_mut() = url.parse().map_err(bad)?;
        // S3 alone takes bodies that nobody has seen.
        let digest = if self.rules == Rules::S3 { UNSIGNED.to_owned() } else { hash(request.body()) };
        let (_, canonical) = self.canonical(&request, &digest)?;
        let signature = self.signature(keys, &time, &scope, &canonical)?;
        let _ = write!(url, "&X-Amz-Signature={signature}");
        url.parse().map_err(bad)
    }

    /// The time, and what the signature is good for then.
    fn scope(&self, at: Timestamp) -> Result<(String, String)> {
        let time = jiff::Timestamp::from_microsecond(at.micros())
            .map_err(|error| Error::internal("the clock is out of range").with_source(error))?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        Ok((time, scope))
    }

    fn signature(&self, keys: &AwsKeys, time: &str, scope: &str, canonical: &str) -> Result<String> {
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
        let mut key = format!("AWS4{}", keys.secret.expose_secret().trim()).into_bytes();
        for part in [time.get(..8).unwrap_or_default(), &self.region, &self.service, "aws4_request"] {
            key = mac(&key, part)?;
        }
        Ok(hex::encode(mac(&key, &to_sign)?))
    }

    /// The headers that are signed, with their values, sorted.
    fn headers(&self, request: &Request<Bytes>) -> Result<Vec<(String, String)>> {
        let uri = request.uri();
        let authority =
            uri.authority().ok_or_else(|| Error::invalid("a request to be signed needs a host"))?;
        // The port is in the `host` header only where it is another than the scheme's.
        let usual = matches!(
            (uri.scheme_str(), authority.port_u16()),
            (Some("https"), Some(443)) | (Some("http"), Some(80))
        );
        let host = if usual { authority.host() } else { authority.as_str() };
        let mut headers = vec![("host".to_owned(), host.to_ascii_lowercase())];
        // Others may be changed on the way.
        let signed = |name: &HeaderName| {
            *name == CONTENT_TYPE
                || name.as_str().starts_with("x-amz-")
                || self.rules == Rules::S3 && (*name == RANGE || *name == DATE)
        };
        for name in request.headers().keys().filter(|name| signed(name)) {
            let values = request.headers().get_all(name).iter().map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            });
            headers.push((name.as_str().to_owned(), values.collect::<Vec<_>>().join(",")));
        }
        headers.sort();
        Ok(headers)
    }

    /// The names of the signed headers, and the canonical request.
    fn canonical(&self, request: &Request<Bytes>, digest: &str) -> Result<(String, String)> {
        let uri = request.uri();
        let headers = self.headers(request)?;
        let signed = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let segment = |segment: &str| match self.rules {
            Rules::Usual => encode(segment.as_bytes()),
            Rules::S3 => encode(&decode(segment)),
        };
        let path: Vec<String> = uri.path().split('/').map(segment).collect();
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
        let _ = write!(out, "\n{signed}\n{digest}");
        Ok((signed, out))
    }
}

/// Percent-encoding of everything but unreserved characters (RFC 3986, section 2.3).
pub fn encode(bytes: &[u8]) -> String {
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

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text.trim())
        .map_err(|_| Error::invalid("an AWS key has characters that cannot be sent in a header"))
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
    use super::*;

    /// The keys and the time of the examples in the S3 API Reference.
    fn signed(
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &'static str,
    ) -> Request<Bytes> {
        let mut request = request(method, path, headers, body);
        Signer::new("us-east-1", "s3").sign(&mut request, &keys(), time()).unwrap();
        request
    }

    fn request(
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &'static str,
    ) -> Request<Bytes> {
        let builder =
            Request::builder().method(method).uri(format!("https://examplebucket.s3.amazonaws.com{path}"));
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    fn keys() -> AwsKeys {
        AwsKeys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into())
    }

    fn time() -> Timestamp {
        "2013-05-24T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn signatures_for_s3_are_those_aws_publishes() {
        let date = ("date", "Fri, 24 May 2013 00:00:00 GMT");
        let class = ("x-amz-storage-class", "REDUCED_REDUNDANCY");
        for (method, path, headers, body, names, signature) in [
            (
                "GET",
                "/test.txt",
                &[("range", "bytes=0-9")][..],
                "",
                "host;range;x-amz-content-sha256;x-amz-date",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test%24file.text",
                &[date, class],
                "Welcome to Amazon S3.",
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/?lifecycle",
                &[],
                "",
                "host;x-amz-content-sha256;x-amz-date",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/?max-keys=2&prefix=J",
                &[],
                "",
                "host;x-amz-content-sha256;x-amz-date",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let request = signed(method, path, headers, body);
            assert_eq!(
                request.headers()[AUTHORIZATION],
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                     SignedHeaders={names}, Signature={signature}"
                ),
                "{method} {path}"
            );
        }
        // What is not encoded yet is the same name.
        let (plain, encoded) = (signed("PUT", "/a$b", &[], ""), signed("PUT", "/a%24b", &[], ""));
        assert_eq!(plain.headers()[AUTHORIZATION], encoded.headers()[AUTHORIZATION]);
    }

    #[test]
    fn signed_urls_are_those_aws_publishes() {
        let signer = Signer::new("us-east-1", "s3");
        let day = Duration::from_secs(86_400);
        let url = signer.presign(&request("GET", "/test.txt", &[], ""), &keys(), time(), day).unwrap();
        assert_eq!(
            url,
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
        let put = request("PUT", "/a?versionId=1", &[("content-type", "text/plain")], "");
        let keys = keys().with_session_token("a+b/c=".into());
        let url = signer.presign(&put, &keys, time(), day).unwrap().to_string();
        for part in
            ["/a?versionId=1&X-Amz-", "SignedHeaders=content-type%3Bhost&", "Security-Token=a%2Bb%2Fc%3D&"]
        {
            assert!(url.contains(part), "{url}");
        }
        for valid in [Duration::ZERO, LONGEST + Duration::from_secs(1)] {
            assert!(signer.presign(&put, &keys, time(), valid).is_err());
        }
    }

    #[test]
    fn a_path_is_encoded_once_more_and_a_usual_port_is_left_out() {
        let lines = |uri: &str| {
            let request = Request::builder().method("POST").uri(uri);
            let request = request.header("x-other", "1").header("x-amz-b", " a   b ");
            let request = request.header("range", "bytes=0-9").body(Bytes::new()).unwrap();
            let canonical = Signer::new("r", "bedrock").canonical(&request, "").unwrap();
            canonical.1.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let canonical = lines("https://Bedrock.example:443/model/a%3A0/converse?b=%2f&a&b=1");
        assert_eq!(
            canonical[..6],
            ["POST", "/model/a%253A0/converse", "a=&b=%2F&b=1", "host:bedrock.example", "x-amz-b:a b", ""]
        );
        assert_eq!(canonical[6], "host;x-amz-b");
        assert_eq!(lines("http://h:443/")[3], "host:h:443");
    }
}
