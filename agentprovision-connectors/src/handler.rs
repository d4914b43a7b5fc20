//! Typed operations that code carries out.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use serde_json::Value;

use crate::call::{Answer, Call};
use crate::operation::{Handler, Operation, PAGE, read};

/// A typed operation that carries itself out. Its description names it by [`OperationSpec::handler`] and [`runs`].
///
/// [`OperationSpec::handler`]: crate::operation::OperationSpec::handler
#[async_trait]
pub trait Run: Operation {
    /// Carries out a call with this input.
    ///
    /// # Errors
    /// Whatever it cannot do.
    async fn run(self, call: &Call) -> Result<Self::Output>;
}

/// The handler of an operation that carries itself out.
pub fn runs<O: Run>() -> Arc<dyn Handler> {
    Arc::new(Typed::<O>(PhantomData))
}

struct Typed<O>(PhantomData<fn() -> O>);

impl<O: Operation> fmt::Debug for Typed<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&O::NAME).finish()
    }
}

#[async_trait]
impl<O: Run> Handler for Typed<O> {
    async fn handle(&self, call: &Call) -> Result<Answer> {
        let mut input = call.input.as_ref().clone();
        if call.spec().paging.items().is_some() {
            // No field of the type; `Call::page` has it.
            input.remove(PAGE);
        }
        let input: O =
            read(Value::Object(input)).map_err(|problem| Error::invalid(format!("the input: {problem}")))?;
        let output = input.run(call).await?;
        let value = serde_json::to_value(output).map_err(|error| {
            Error::internal("the answer of an operation has no JSON form").with_source(error)
        })?;
        Ok(Answer::new(value))
    }
}
