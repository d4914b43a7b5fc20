//! Errors on their way between the languages.

use std::fmt;

use agentprovision::{Error, ErrorKind, wire};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// An exception a function of the host raised, kept in an error's source so that it can come back as itself.
pub(crate) struct HostException(Py<PyAny>);

impl HostException {
    pub(crate) fn new(exception: Py<PyAny>) -> Self {
        Self(exception)
    }
}

impl fmt::Debug for HostException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostException")
    }
}

impl fmt::Display for HostException {
    // What it says is the host's own affair: logs get no more than that there was one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exception of the host's code")
    }
}

impl std::error::Error for HostException {}

/// The exception for an error: the host's own where it was the cause, otherwise the class of its kind.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(HostException(exception)) = cause.downcast_ref() {
            return PyErr::from_value(exception.bind(py).clone());
        }
        source = cause.source();
    }
    let made = py
        .import("agentprovision.error")
        .and_then(|module| module.getattr("_from_native"))
        .and_then(|make| make.call1((wire::error_json(error),)));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// For `map_err` where the interpreter is at hand.
pub(crate) fn raise(py: Python<'_>) -> impl FnOnce(Error) -> PyErr {
    move |error| exception(py, &error)
}

/// The error for what a function of the host raised; the skin has chosen kind and message.
pub(crate) fn failure(code: &str, message: String, retry_after: Option<f64>, exception: Py<PyAny>) -> Error {
    let kind = ErrorKind::from_code(code).unwrap_or(ErrorKind::Internal);
    let mut error = Error::new(kind, message).with_source(HostException::new(exception));
    if let Some(after) = retry_after.and_then(|after| std::time::Duration::try_from_secs_f64(after).ok()) {
        error = error.with_retry(agentprovision::Retry::After(after));
    }
    error
}

/// A defect of the package itself.
pub(crate) fn defect(message: &'static str) -> PyErr {
    PyRuntimeError::new_err(message)
}

/// The error of whoever asks a platform that is closed.
pub(crate) fn closed() -> Error {
    Error::closed("the platform is closed")
}
