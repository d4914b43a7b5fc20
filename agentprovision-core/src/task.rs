//! Work that goes on when whoever waits for it goes away.

use std::future::Future;

use tracing::Instrument;

use crate::error::{Error, Result};

/// Does work in a task of its own and waits for it. Dropping the wait does not stop the work, so what belongs together
/// is all done or not begun.
///
/// # Errors
/// What the work fails with; `internal` when it panics or the runtime ends.
#[doc(hidden)]
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("the work was interrupted").with_source(error)),
    }
}
