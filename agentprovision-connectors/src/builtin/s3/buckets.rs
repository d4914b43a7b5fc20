//! Buckets.

use agentprovision_core::Result;
use async_trait::async_trait;
use http::Method;

use super::wire::{Ask, ListBuckets, parse};
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;

records! {
    /// A bucket.
    Bucket {
        /// The name.
        name: String,
        /// When it was made, as `2025-11-22T20:00:00.000Z`.
        created_at: Option<String>,
        /// Its region, where the server says it.
        region: Option<String>,
    }
}

/// By the token of an answer.
pub(super) fn tokens() -> Paging {
    Paging::Cursor { items: "/items".into(), from: "/next".into(), into: "continuation-token".into() }
}

operations! {
    /// Lists the buckets of the account.
    BucketsOfAccount "buckets.list" get("/") => Page<Bucket> [
        .handler(runs::<BucketsOfAccount>()).page(tokens()).scopes(["s3:ListAllMyBuckets"])
    ] {
        /// Only buckets whose names begin so. Servers other than Amazon's may not look at it.
        prefix: Option<String>,
        /// At most so many a page, 1 to 10000.
        #[schemars(range(min = 1, max = 10000))]
        max_buckets: Option<u32>,
    }
}

#[async_trait]
impl Run for BucketsOfAccount {
    async fn run(self, call: &Call) -> Result<Page<Bucket>> {
        let ask = Ask::all(Method::GET)
            .query("max-buckets", self.max_buckets)
            .query("prefix", self.prefix)
            .query("continuation-token", call.page());
        let list: ListBuckets = parse(&ask.answer(call).await?.body)?;
        let items = list.buckets.bucket.into_iter().map(|bucket| Bucket {
            name: bucket.name,
            created_at: bucket.creation_date,
            region: bucket.bucket_region,
        });
        Ok(Page { items: items.collect(), next: list.continuation_token.filter(|token| !token.is_empty()) })
    }
}
