//! URLs that let whoever has them read or write one object for a while.

use std::time::Duration;

use agentprovision_core::{Result, Timestamp};
use async_trait::async_trait;
use http::Method;

use super::wire::Ask;
use crate::auth::aws;
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operations;

choices! {
    /// What a URL lets its owner do.
    Allows {
        /// Read the object.
        Get "GET",
        /// Write the object.
        Put "PUT",
    }
}

records! {
    /// A signed URL.
    SignedUrl {
        /// The URL. Whoever has it needs no credentials.
        url: String,
        /// The method to use it with.
        method: Allows,
        /// Until when it holds; earlier where the keys are temporary and end before.
        expires_at: Timestamp,
    }
}

operations! {
    /// Makes a URL that lets whoever has it read or write one object for a while, without credentials. Whether the object is there
    /// is not looked at.
    PresignObject "objects.presign" put("/{bucket}/{key}") => SignedUrl [.handler(runs::<PresignObject>())] {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What the URL lets its owner do.
        method: Allows,
        /// How long it holds, in seconds, 1 to 604800; default 900.
        #[schemars(range(min = 1, max = 604_800))]
        expires_seconds: Option<u32>,
        /// For `PUT`: the content type that has to be sent with it.
        content_type: Option<String>,
        /// For `GET`: a version, in buckets that keep versions.
        version_id: Option<String>,
    }
}

#[async_trait]
impl Run for PresignObject {
    async fn run(self, call: &Call) -> Result<SignedUrl> {
        let method = match self.method {
            Allows::Get => Method::GET,
            Allows::Put => Method::PUT,
        };
        let (content_type, version) = match self.method {
            Allows::Get => (None, self.version_id),
            Allows::Put => (self.content_type, None),
        };
        let request = Ask::object(method, &self.bucket, &self.key)?
            .query("versionId", version)
            .header("content-type", content_type)
            .request(&call.base_url()?)?;
        let credentials = call.credentials().await?;
        let keys = aws::keys(&credentials)?;
        let valid = Duration::from_secs(self.expires_seconds.unwrap_or(900).into());
        let now = call.env().now();
        let url = aws::signer("s3", &call.integration.settings).presign(&request, &keys, now, valid)?;
        Ok(SignedUrl { url: url.to_string(), method: self.method, expires_at: now.after(valid) })
    }
}
