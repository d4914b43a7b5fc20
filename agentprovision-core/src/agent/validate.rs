//! Checks a specification: every problem at once, errors apart from warnings.

use std::fmt;

use serde::Serialize;

use super::spec::{AgentSpec, Behaviour, Interface, SecuritySpec};
use crate::authz::PermissionRegistry;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelResolver;
use crate::money::NanoUsd;
use crate::text;
use crate::tool::{Effect, ToolSet, compile};
use crate::usage::Dimension;

/// Whether a problem stops a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// Something that is wrong, or not as it probably should be, with a specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// Whether it stops a deployment.
    pub severity: Severity,
    /// The field, as a path such as `budget.per_run.cost_usd`.
    pub field: String,
    /// The kind of error it would be alone.
    pub kind: ErrorKind,
    /// What is wrong.
    pub message: String,
}

/// The result of checking a specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Validation {
    /// Problems that stop a deployment.
    pub errors: Vec<Problem>,
    /// Problems that do not.
    pub warnings: Vec<Problem>,
}

impl Validation {
    /// Whether nothing stops a deployment.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// One error that names every problem.
    ///
    /// # Errors
    /// `unsupported` when all that is wrong is not built yet, otherwise `invalid_input`, or the kind that all problems
    /// share.
    pub fn into_result(self) -> Result<()> {
        let Some(first) = self.errors.first() else { return Ok(()) };
        let kind = if self.errors.iter().all(|problem| problem.kind == first.kind) {
            first.kind
        } else {
            ErrorKind::InvalidInput
        };
        let lines: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        Err(Error::new(kind, lines.join("; ")))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.message)
    }
}

struct Check {
    found: Validation,
}

impl Check {
    fn error(&mut self, field: &str, kind: ErrorKind, message: impl Into<String>) {
        self.found.errors.push(Problem {
            severity: Severity::Error,
            field: field.into(),
            kind,
            message: message.into(),
        });
    }

    fn invalid(&mut self, field: &str, message: impl Into<String>) {
        self.error(field, ErrorKind::InvalidInput, message);
    }

    fn result<T>(&mut self, field: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.error(field, error.kind(), error.message().to_owned())).ok()
    }

    fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.found.warnings.push(Problem {
            severity: Severity::Warning,
            field: field.into(),
            kind: ErrorKind::InvalidInput,
            message: message.into(),
        });
    }

    fn unsupported(&mut self, field: &str, set: bool) {
        if set {
            self.error(field, ErrorKind::Unsupported, "is not supported by this version");
        }
    }
}

/// Checks a specification against the tools, models and permissions of a platform.
pub fn validate(
    spec: &AgentSpec,
    tools: &ToolSet,
    models: &dyn ModelResolver,
    permissions: &PermissionRegistry,
) -> Validation {
    let mut check = Check { found: Validation::default() };
    texts(&mut check, spec);
    names(&mut check, spec, tools, models, permissions);
    numbers(&mut check, spec, models);
    for (field, schema) in [("input_schema", &spec.input_schema), ("output_schema", &spec.output_schema)] {
        if let Some(schema) = schema {
            check.result(field, text::json(field, schema, 256 << 10));
            check.result(field, compile("the schema", schema));
        }
    }
    check.unsupported("behaviour", matches!(spec.behaviour, Behaviour::Producer | Behaviour::Workflow));
    check.unsupported("interface", spec.interface != Interface::BuiltIn);
    check.unsupported("knowledge", !spec.knowledge.is_empty());
    check.unsupported("integrations", !spec.integrations.is_empty());
    check.unsupported("policies", !spec.policies.is_empty());
    check.unsupported("parameters", !spec.parameters.is_empty());
    check.unsupported("resources", !spec.resources.is_empty());
    check.unsupported("security", spec.security != SecuritySpec::default());
    check.unsupported("monitoring", !spec.monitoring.is_empty());
    check.found
}

fn texts(check: &mut Check, spec: &AgentSpec) {
    check.result("name", text::name("name", &spec.name));
    check.result("description", text::content("description", &spec.description, 4096));
    check.result("instructions", text::content("instructions", &spec.instructions, 1 << 20));
    if !spec.kind.is_empty() {
        check.result("type", text::name("type", &spec.kind));
    }
    if spec.metadata.len() > 64 {
        check.error("metadata", ErrorKind::TooLarge, "has more than 64 labels");
    }
    for (key, value) in &spec.metadata {
        check.result("metadata", text::name("metadata", key));
        check.result("metadata", text::content("metadata", value, 1024));
    }
    if spec.instructions.is_empty() {
        check.warning("instructions", "is empty: the model is told nothing but the input");
    }
}

fn names(
    check: &mut Check,
    spec: &AgentSpec,
    tools: &ToolSet,
    models: &dyn ModelResolver,
    permissions: &PermissionRegistry,
) {
    if spec.model.is_empty() {
        check.invalid("model", "is missing");
    }
    for (field, name) in
        std::iter::once(("model", &spec.model)).chain(spec.fallbacks.iter().map(|name| ("fallbacks", name)))
    {
        if !name.is_empty() {
            // An unknown name is the caller's mistake here, not a missing resource.
            if let Err(error) = models.resolve(name) {
                check.invalid(field, error.message().to_owned());
            }
        }
    }
    if spec.fallbacks.len() > 8 {
        check.error("fallbacks", ErrorKind::TooLarge, "has more than 8 models");
    }
    let known: Vec<&str> = tools.names().collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let mut seen = std::collections::BTreeSet::new();
    for name in &spec.tools {
        if !seen.insert(name) {
            check.invalid("tools", format!("`{}` is named twice", crate::money::clip(name)));
        }
        let Some(tool) = tools.get(name) else {
            check.invalid("tools", format!("unknown tool `{}`; known: {known}", crate::money::clip(name)));
            continue;
        };
        if let Some(needed) = &tool.spec().permission
            && !spec.capabilities.contains(needed)
        {
            check.invalid("capabilities", format!("the tool `{name}` needs the capability `{needed}`"));
        }
        if tool.spec().effect == Effect::Unsafe {
            check.warning(
                "tools",
                format!("`{name}` is unsafe: after a crash in the middle of a call it is not repeated"),
            );
        }
    }
    for name in &spec.capabilities {
        check.result("capabilities", permissions.get(name));
    }
}

fn numbers(check: &mut Check, spec: &AgentSpec, models: &dyn ModelResolver) {
    if spec.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        check.invalid("temperature", "is not between 0 and 2");
    }
    if spec.max_tokens == Some(0) {
        check.invalid("max_tokens", "is 0");
    }
    if !(1..=30 * 24 * 3_600_000).contains(&spec.limits.timeout_ms) {
        check.invalid("limits.timeout_ms", "is not between 1 ms and 30 days");
    }
    if !(1..=64).contains(&spec.limits.max_parallel_tools) {
        check.invalid("limits.max_parallel_tools", "is not between 1 and 64");
    }
    if spec.limits.max_repeats < 2 {
        check.invalid("limits.max_repeats", "is below 2: a call must be allowed to be repeated once");
    }
    for dimension in Dimension::ALL {
        let name = if *dimension == Dimension::Cost { "cost_usd" } else { dimension.name() };
        let (run, total) = (spec.budget.per_run.get(*dimension), spec.budget.total.get(*dimension));
        for (scope, limit) in [("per_run", run), ("total", total)] {
            if limit.is_some_and(|limit| limit <= 0) {
                check.invalid(&format!("budget.{scope}.{name}"), "is not above zero");
            }
        }
        match (run, total) {
            (None, Some(_)) => check.invalid(
                &format!("budget.total.{name}"),
                format!("needs a limit per run beside it, `budget.per_run.{name}`: that much is held when a run starts"),
            ),
            (Some(run), Some(total)) if run > total => {
                check.invalid(&format!("budget.total.{name}"), "is below the limit per run: no run could start");
            }
            _ => {}
        }
    }
    if spec.budget.per_run.cost_usd.is_some_and(|cost| cost > NanoUsd::ZERO) {
        for name in std::iter::once(&spec.model).chain(&spec.fallbacks) {
            if models.resolve(name).is_ok_and(|model| model.info().price.is_none()) {
                check.error(
                    "budget.per_run.cost_usd",
                    ErrorKind::PriceUnknown,
                    format!("limits cost, and the price of `{}` is unknown", crate::money::clip(name)),
                );
            }
        }
    }
}
