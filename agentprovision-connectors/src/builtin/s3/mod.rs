//! Amazon S3, and what speaks its protocol: MinIO, Ceph, R2 and others
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>).
//!
//! The bucket is part of the path (`https://host/bucket/key`), as every server takes it. Another server than Amazon's is named
//! by the setting `base_url`. Failures are by
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

pub mod buckets;
pub mod objects;
pub mod presign;
#[cfg(test)]
mod tests;
mod wire;

use agentprovision_core::{Result, Timestamp};

use crate::answer::{Category, Failure, Response, usual};
use crate::auth::Auth;
use crate::connector::Connector;

/// The connector `s3`.
///
/// # Errors
/// None that a caller can cause.
pub fn connector() -> Result<Connector> {
    Connector::builder("s3", "https://s3.{region}.amazonaws.com")
        .about("S3", "Keeps files as objects in buckets: Amazon S3 and what speaks its protocol.")
        .setting(
            "region",
            "The region, as `eu-central-1`. Amazon's needs it; with another `base_url` it is `us-east-1` unless said otherwise.",
        )
        .auth(Auth::sigv4("s3"))
        .classify(classify)
        .operations(buckets::operations())
        .operations(objects::operations())
        .operations(presign::operations())
        .build()
}

/// What the code in a refusal says more than its status. Bodies of answers are objects, which may look like anything.
fn classify(response: &Response, _: Timestamp) -> Option<Failure> {
    if response.status.is_success() {
        return None;
    }
    let refusal: wire::Refusal = wire::parse(&response.body).ok()?;
    if refusal.code.is_empty() {
        return None;
    }
    let category = match refusal.code.as_str() {
        "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired" => Category::Credentials,
        "SlowDown" | "RequestLimitExceeded" | "ThrottlingException" => Category::RateLimited,
        "RequestTimeout" | "ServiceUnavailable" => Category::Unavailable,
        "InternalError" => Category::Failed,
        "EntityTooLarge" => Category::TooLarge,
        _ => usual(response.status),
    };
    let message = [refusal.code, refusal.message].join(": ");
    Some(Failure::new(category).message(message.trim_end_matches(": ")))
}
