//! The native module of the Python package `agentprovision`: [`agentprovision::wire`] for the skin in
//! `python/agentprovision`, which is where to read first.
//!
//! JSON text crosses; a platform has a runtime of its own (`runtime.rs`), so nothing here is global.

mod bench;
mod error;
mod handles;
mod host;
mod operation;
mod platform;
mod runtime;
mod testing;

use agentprovision::wire;
use pyo3::prelude::*;

/// The codes of all kinds of error.
#[pyfunction]
fn error_kinds() -> Vec<&'static str> {
    wire::error_kinds()
}

/// The names of all operations.
#[pyfunction]
fn operations() -> Vec<&'static str> {
    agentprovision::OPERATIONS.iter().map(|operation| operation.name).collect()
}

/// JSON Schemas of everything that crosses.
#[pyfunction]
fn schema() -> String {
    wire::schema().to_string()
}

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<handles::Context>()?;
    module.add_class::<handles::OperatorContext>()?;
    module.add_class::<handles::Run>()?;
    module.add_class::<handles::Stream>()?;
    module.add_class::<host::Call>()?;
    module.add_class::<operation::Op>()?;
    module.add_class::<platform::Platform>()?;
    module.add_class::<testing::ManualClock>()?;
    module.add_class::<testing::ScriptedModel>()?;
    module.add_function(wrap_pyfunction!(platform::open, module)?)?;
    module.add_function(wrap_pyfunction!(error_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(operations, module)?)?;
    module.add_function(wrap_pyfunction!(schema, module)?)?;
    Ok(())
}
