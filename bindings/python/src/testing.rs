//! The test kit: a manual clock and models whose answers are written down.

use std::sync::Arc;
use std::time::Duration;

use agentprovision::wire::testing;
use agentprovision::{Clock, Env};
use pyo3::prelude::*;

use crate::error::raise;

/// A clock that stands still until it is told, with a seeded source of randomness.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct ManualClock {
    pub(crate) env: Env,
    clock: agentprovision::testing::ManualClock,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new(py: Python<'_>, args: &str) -> PyResult<Self> {
        let (env, clock) = testing::env(args).map_err(raise(py))?;
        Ok(Self { env, clock })
    }

    /// Lets so many milliseconds pass.
    fn advance(&self, py: Python<'_>, millis: u64) {
        py.detach(|| self.clock.advance(Duration::from_millis(millis)));
    }

    /// What time it is.
    fn now(&self) -> String {
        self.clock.now().to_string()
    }
}

/// A model that gives answers in order.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct ScriptedModel {
    #[pyo3(get)]
    pub(crate) name: String,
    pub(crate) model: Arc<agentprovision::testing::ScriptedModel>,
}

#[pymethods]
impl ScriptedModel {
    #[new]
    fn new(py: Python<'_>, name: String, args: &str) -> PyResult<Self> {
        let model = testing::scripted_model(args).map_err(raise(py))?;
        Ok(Self { name, model: Arc::new(model) })
    }

    /// Every request so far, as JSON.
    fn requests(&self) -> Vec<String> {
        let requests = self.model.requests();
        requests.iter().map(|request| serde_json::to_string(request).unwrap_or_default()).collect()
    }
}
