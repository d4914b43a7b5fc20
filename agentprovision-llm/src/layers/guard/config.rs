//! Guards as configuration.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::model::ModelResolver;
use agentprovision_core::{Env, Result};
use serde::{Deserialize, Serialize};

use super::super::refuse;
use super::judge::{Late, LateModels};
use super::{
    Guard, GuardLayer, JudgeConfig, JudgeGuard, LengthGuard, OnFailure, PatternConfig, PatternGuard,
    PiiConfig, PiiGuard, Side, TIMEOUT,
};
use crate::clip;

/// What is done where a guard finds something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GuardAction {
    /// The text does not pass.
    #[default]
    Block,
    /// It passes with this in its place.
    Redact(String),
}

/// What a guard looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GuardCheck {
    /// Words and patterns.
    Patterns(PatternConfig),
    /// Personal data and secrets.
    Pii(PiiConfig),
    /// The most bytes of text of a request, and of an answer.
    MaxBytes(usize),
    /// Whatever a model is told to look for.
    Judge(JudgeConfig),
}

/// One guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// Its name, which callers read in errors.
    pub name: String,
    /// What it looks for.
    pub check: GuardCheck,
    /// Where it looks; on both sides by default.
    #[serde(default = "both")]
    pub on: Vec<Side>,
    /// What becomes of a text when it fails or takes too long; it does not pass by default.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long it may take for one text, in milliseconds; 5000 by default.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn both() -> Vec<Side> {
    vec![Side::Input, Side::Output]
}

fn timeout_ms() -> u64 {
    u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX)
}

/// All guards, in the order they look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardsConfig {
    /// The guards.
    pub guards: Vec<GuardConfig>,
    /// Bytes of a streamed answer from one look to the next; 1024 by default.
    pub window_bytes: usize,
    /// Bytes that are looked at again with what follows, and held back until then; 256 by default. What is longer may
    /// be seen in parts only.
    pub overlap_bytes: usize,
}

impl Default for GuardsConfig {
    fn default() -> Self {
        Self { guards: Vec::new(), window_bytes: 1024, overlap_bytes: 256 }
    }
}

impl GuardsConfig {
    /// The models that judge, each with the path of its name.
    fn judges(&self) -> impl Iterator<Item = (String, &str)> {
        self.guards.iter().enumerate().filter_map(|(place, guard)| match &guard.check {
            GuardCheck::Judge(judge) if !judge.model.trim().is_empty() => {
                Some((format!("guards[{place}].check.judge.model"), judge.model.as_str()))
            }
            _ => None,
        })
    }

    /// Everything that is wrong with it, by the path of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.window_bytes == 0 {
            problems.push("`window_bytes` must be more than 0".to_owned());
        }
        for (place, guard) in self.guards.iter().enumerate() {
            let path = format!("guards[{place}]");
            if guard.name.trim().is_empty() {
                problems.push(format!("`{path}.name` is empty"));
            }
            if self.guards.iter().take(place).any(|other| other.name == guard.name) {
                problems.push(format!("`{path}.name`: there are two guards named `{}`", clip(&guard.name)));
            }
            if guard.on.is_empty() {
                problems.push(format!("`{path}.on` is empty, so that it looks at nothing"));
            }
            if guard.timeout_ms == 0 {
                problems.push(format!("`{path}.timeout_ms` must be more than 0"));
            }
            let (kind, of_check) = match &guard.check {
                GuardCheck::Patterns(config) => ("patterns", config.problems()),
                GuardCheck::Pii(config) if config.kinds.is_empty() => {
                    ("pii", vec!["`kinds` is empty".to_owned()])
                }
                GuardCheck::Pii(_) => ("pii", Vec::new()),
                GuardCheck::MaxBytes(0) => ("max_bytes", vec!["must be more than 0".to_owned()]),
                GuardCheck::MaxBytes(_) => ("max_bytes", Vec::new()),
                GuardCheck::Judge(config) => ("judge", config.problems()),
            };
            let of_check = of_check.into_iter();
            problems.extend(of_check.map(|problem| format!("`{path}.check.{kind}`: {problem}")));
        }
        problems
    }
}

impl GuardLayer {
    /// The guards of a configuration; `models` finds those that judge, each time one is asked.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration, models that are not there included.
    pub fn from_config(config: &GuardsConfig, env: Env, models: Arc<dyn ModelResolver>) -> Result<Self> {
        let unknown = config
            .judges()
            .filter_map(|(path, name)| Some(format!("`{path}`: {}", models.resolve(name).err()?)));
        let unknown = unknown.collect();
        Self::read(config, env, &models, unknown)
    }

    /// The guards of a configuration for a router whose models judge, by way of all its layers but guards.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration but models that are not there.
    pub(crate) fn for_router(config: &GuardsConfig, env: Env) -> Result<Self> {
        let late = Arc::new(LateModels::default());
        let models: Arc<dyn ModelResolver> = late.clone();
        let mut layer = Self::read(config, env, &models, Vec::new())?;
        let named = config.judges().map(|(path, name)| (path, name.to_owned())).collect();
        layer.judges = Some(Arc::new(Late { named, models: late }));
        Ok(layer)
    }

    /// The models of the router are there now.
    ///
    /// # Errors
    /// `invalid_input`, naming every judge that is none of them; or when these guards are around another router.
    pub(crate) fn judged_by(&self, models: &Arc<dyn ModelResolver>) -> Result<()> {
        let Some(late) = &self.judges else { return Ok(()) };
        let unknown = late
            .named
            .iter()
            .filter_map(|(path, name)| Some(format!("`{path}`: {}", models.resolve(name).err()?)));
        refuse("the guards", &unknown.collect::<Vec<_>>())?;
        late.models.set(Arc::clone(models))
    }

    fn read(
        config: &GuardsConfig,
        env: Env,
        models: &Arc<dyn ModelResolver>,
        unknown: Vec<String>,
    ) -> Result<Self> {
        let mut problems = config.problems();
        problems.extend(unknown);
        let mut layer = Self::new(env).windows(config.window_bytes, config.overlap_bytes);
        for (place, guard) in config.guards.iter().enumerate() {
            let name = guard.name.clone();
            let made: Result<Arc<dyn Guard>> = match &guard.check {
                GuardCheck::Patterns(config) => {
                    PatternGuard::new(name, config).map(|guard| Arc::new(guard) as _)
                }
                GuardCheck::Pii(config) => PiiGuard::new(name, config).map(|guard| Arc::new(guard) as _),
                GuardCheck::MaxBytes(max) => Ok(Arc::new(LengthGuard::new(name, *max))),
                GuardCheck::Judge(judge) => {
                    let (model, policy) = (judge.model.clone(), judge.policy.clone());
                    Ok(Arc::new(JudgeGuard::named(name, model, Arc::clone(models), policy)))
                }
            };
            match made {
                Ok(made) => {
                    let timeout = Duration::from_millis(guard.timeout_ms);
                    layer = layer.guard_with(made, &guard.on, timeout, guard.on_failure);
                }
                // Named above already, but for what only making it shows.
                Err(error) if problems.is_empty() => problems.push(format!("`guards[{place}]`: {error}")),
                Err(_) => {}
            }
        }
        refuse("the guards", &problems)?;
        Ok(layer)
    }
}
