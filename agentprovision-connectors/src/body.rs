//! Bodies of requests that come in.

use std::fmt;

use agentprovision_core::{Error, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Reads a body of at most `limit` bytes; what is longer is given up as soon as that is seen.
pub(crate) async fn collect<B>(body: B, limit: usize) -> Result<Bytes>
where
    B: Body,
    B::Error: fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid("the body broke off"))?;
        if let Ok(mut data) = frame.into_data() {
            if all.len() + data.remaining() > limit {
                return Err(Error::too_large(format!("the body is larger than {limit} bytes")));
            }
            all.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
    }
    Ok(all.freeze())
}
