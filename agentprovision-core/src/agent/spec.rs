//! What an agent is: [`AgentSpec`], its canonical form and the hash that names a version.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::error::{Error, Result};
use crate::money::NanoUsd;
use crate::usage::Dimension;

/// Agent types with a meaning to the platform; any other text is a type of the host's own.
pub const KNOWN_TYPES: &[&str] = &[
    "dev",
    "devops",
    "qa",
    "data_science",
    "bi",
    "security",
    "documentation",
    "rfp",
    "jira",
    "hr",
    "finance",
];

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Behaviour {
    /// Each run stands alone.
    #[default]
    QuestionAnswering,
    /// Runs are turns of a session.
    Conversational,
    /// Makes documents; not built yet.
    Producer,
    /// Follows a graph of steps; not built yet.
    Workflow,
}

/// Where an agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interface {
    /// Within the platform.
    #[default]
    BuiltIn,
    /// Behind an HTTP interface; not built yet.
    ExternalApi,
    /// Partly within; not built yet.
    Hybrid,
    /// An older system; not built yet.
    Legacy,
}

/// Limits in the four dimensions; an absent one does not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetLimits {
    /// Model calls and tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u32>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost in US dollars, as a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<NanoUsd>,
}

impl BudgetLimits {
    /// The limit in a dimension, as a count.
    pub fn get(&self, dimension: Dimension) -> Option<i64> {
        match dimension {
            Dimension::Steps => self.steps.map(i64::from),
            Dimension::ToolCalls => self.tool_calls.map(i64::from),
            Dimension::Tokens => self.tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX)),
            Dimension::Cost => self.cost_usd.map(NanoUsd::nanos),
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an agent may use: per run, and over all its runs together.
///
/// A dimension limited over all runs needs a limit per run: that much is held when a run starts and settled when it
/// ends, so concurrent runs never pass the limit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Budget {
    /// Limits of one run.
    #[serde(skip_serializing_if = "BudgetLimits::is_default")]
    pub per_run: BudgetLimits,
    /// Limits of all runs of the agent together.
    #[serde(skip_serializing_if = "BudgetLimits::is_default")]
    pub total: BudgetLimits,
}

impl Budget {
    /// A budget of so many US dollars per run, as decimal text such as `"0.05"`; text that is no amount gives a budget
    /// of zero, which validation refuses.
    pub fn usd(amount: &str) -> Self {
        let cost_usd = Some(amount.parse().unwrap_or(NanoUsd::ZERO));
        Self { per_run: BudgetLimits { cost_usd, ..BudgetLimits::default() }, ..Self::default() }
    }

    /// The same budget with other limits per run.
    #[must_use]
    pub fn per_run(mut self, edit: impl FnOnce(&mut BudgetLimits)) -> Self {
        edit(&mut self.per_run);
        self
    }

    /// The same budget with limits over all runs.
    #[must_use]
    pub fn total(mut self, edit: impl FnOnce(&mut BudgetLimits)) -> Self {
        edit(&mut self.total);
        self
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits that are no budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The longest a run may take from its start, in milliseconds, waiting for people not counted out; default 1 hour.
    #[serde(skip_serializing_if = "default_timeout")]
    pub timeout_ms: u64,
    /// Tool calls of one answer that run at the same time; default 8.
    #[serde(skip_serializing_if = "default_parallel_tools")]
    pub max_parallel_tools: u32,
    /// How often the same call with the same result may repeat before the run fails; default 3.
    #[serde(skip_serializing_if = "default_repeats")]
    pub max_repeats: u32,
}

fn default_timeout(value: &u64) -> bool {
    *value == Limits::default().timeout_ms
}

fn default_parallel_tools(value: &u32) -> bool {
    *value == Limits::default().max_parallel_tools
}

fn default_repeats(value: &u32) -> bool {
    *value == Limits::default().max_repeats
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_ms: 3_600_000, max_parallel_tools: 8, max_repeats: 3 }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How an agent's data is protected; not enforced yet, so refused when set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecuritySpec {
    /// Who may use the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_level: Option<String>,
    /// How sensitive its data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_classification: Option<String>,
    /// How much of its work is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_level: Option<String>,
}

impl SecuritySpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an agent is. Absent and default fields stay out of the canonical form, so that adding a field later changes
/// no hash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentSpec {
    /// The name, unique within the tenant, at most 255 characters.
    pub name: String,
    /// What it is for, at most 4096 bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The type: one of [`KNOWN_TYPES`] or the host's own.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How it behaves.
    #[serde(skip_serializing_if = "is_default")]
    pub behaviour: Behaviour,
    /// Where it runs.
    #[serde(skip_serializing_if = "is_default")]
    pub interface: Interface,
    /// What the model is told first, at most 1 MiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// The model.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Models to try, in order, when the model cannot answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Sampling temperature, 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Longest answer of the model, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Tools it may call, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Permissions it may use on its caller's behalf, beside those a run needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Knowledge bases; not built yet, refused when set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub knowledge: Vec<String>,
    /// Integrations; not built yet, refused when set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub integrations: Vec<String>,
    /// Policies; not built yet, refused when set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Parameters of a template; not built yet, refused when set.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// JSON Schema of the input; text where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the output; text where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What it may use.
    #[serde(skip_serializing_if = "Budget::is_default")]
    pub budget: Budget,
    /// Limits that are no budget.
    #[serde(skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Machine resources; not built yet, refused when set.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub resources: Map<String, Value>,
    /// Protection of its data; not built yet, refused when set.
    #[serde(skip_serializing_if = "SecuritySpec::is_default")]
    pub security: SecuritySpec,
    /// Monitoring; not built yet, refused when set.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub monitoring: Map<String, Value>,
    /// The host's own labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Builder methods, each returning the changed agent.
impl AgentSpec {
    /// The same agent with a description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// The same agent with a type.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// The same agent with a behaviour.
    #[must_use]
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// The same agent with instructions.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = text.into();
        self
    }

    /// The same agent with a model.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// The same agent with one more model to fall back to.
    #[must_use]
    pub fn fallback(mut self, name: impl Into<String>) -> Self {
        self.fallbacks.push(name.into());
        self
    }

    /// The same agent with a sampling temperature.
    #[must_use]
    pub fn temperature(mut self, value: f64) -> Self {
        self.temperature = Some(value);
        self
    }

    /// The same agent with a limit on the model's answers, in tokens.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// The same agent with these tools.
    #[must_use]
    pub fn tools(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tools = names.into_iter().map(Into::into).collect();
        self
    }

    /// The same agent with permissions it may use on its caller's behalf.
    #[must_use]
    pub fn capabilities(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.capabilities = names.into_iter().map(Into::into).collect();
        self
    }

    /// The same agent with a schema for its input.
    #[must_use]
    pub fn input_schema(mut self, schema: Value) -> Self {
        self.input_schema = Some(schema);
        self
    }

    /// The same agent with a schema for its output.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// The same agent with a budget.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The same agent with other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl AgentSpec {
    /// An agent of this name, with everything else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The canonical form: what is stored and hashed.
    ///
    /// # Errors
    /// `invalid_input` when a number has no JSON form (a temperature that is no number).
    pub fn canonical(&self) -> Result<String> {
        let bytes = canonical::to_bytes(self)?;
        String::from_utf8(bytes).map_err(|error| Error::internal("JSON is not UTF-8").with_source(error))
    }

    /// The hash that names this version.
    ///
    /// # Errors
    /// As [`AgentSpec::canonical`].
    pub fn version(&self) -> Result<VersionHash> {
        Ok(VersionHash::of(&self.canonical()?))
    }
}

/// The name of a version: SHA-256 of its canonical form, as 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionHash([u8; 32]);

impl VersionHash {
    /// The hash of a canonical form.
    pub fn of(canonical: &str) -> Self {
        Self(canonical::sha256(&[canonical.as_bytes()]))
    }

    /// The hash over these bytes, as read from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for VersionHash {
    type Err = Error;

    /// # Errors
    /// `invalid_input` unless the text is 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| Error::invalid(format!("`{}` is not a version", crate::money::clip(text))))?;
        Ok(Self(bytes))
    }
}

crate::schema::text_schema!(VersionHash, "VersionHash", "sha256", "64 hexadecimal digits.");

impl Serialize for VersionHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
