//! How requests are routed, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::id::TenantId;
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::HealthOptions;
use super::decision::DropReason;
use crate::clip;
use crate::registry::check_name;

/// Puts the targets of a route in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// As they are listed.
    #[default]
    Ordered,
    /// The one whose answer is expected first.
    Performance,
    /// The one whose answer is expected to cost least; what has no price comes last.
    Cost,
    /// Cost, speed, reliability and quality together, a quarter each.
    Balanced,
    /// The one with the highest quality; the cheapest of those that are within the tolerance of it.
    Quality,
    /// By chance, in proportion to the weights.
    Weighted,
    /// The same one for requests with the same affinity key.
    Sticky,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] = &[
        Self::Ordered,
        Self::Performance,
        Self::Cost,
        Self::Balanced,
        Self::Quality,
        Self::Weighted,
        Self::Sticky,
    ];

    /// The name in configurations and decisions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Performance => "performance",
            Self::Cost => "cost",
            Self::Balanced => "balanced",
            Self::Quality => "quality",
            Self::Weighted => "weighted",
            Self::Sticky => "sticky",
        }
    }

    /// The strategy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|strategy| strategy.name() == name)
    }
}

/// One target of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RouteTarget {
    /// The model, as `provider/model`, a registered model, or another route.
    pub model: String,
    /// Its share, for the strategies that weigh; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it goes before all others, as a model of one's own that was made for the task.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub custom: bool,
}

/// A model alone, or one with more about it.
#[derive(Deserialize)]
#[serde(untagged)]
enum TargetForm {
    Name(String),
    Whole(serde_json::Value),
}

fn targets<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<RouteTarget>, D::Error> {
    let forms = Vec::<TargetForm>::deserialize(deserializer)?;
    let read = |form| match form {
        TargetForm::Name(model) => Ok(RouteTarget { model, ..RouteTarget::default() }),
        TargetForm::Whole(value) => RouteTarget::deserialize(value).map_err(serde::de::Error::custom),
    };
    forms.into_iter().map(read).collect()
}

/// A name of the host's own that stands for several targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RouteConfig {
    /// The targets; a text alone is one with its defaults.
    #[serde(deserialize_with = "targets")]
    pub targets: Vec<RouteTarget>,
    /// How they are put in order: a [`Strategy`], or a selector of the host's own; the router's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Models or routes that are tried when none of the targets can answer, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
}

/// What a tenant may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TenantRouting {
    /// Models, as `provider/model`, a registered name, or a prefix before `*`; all where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Regions; all where empty. A model without a region is in none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

/// The highest prices a target may have, in pico-USD per token; what has no price is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PriceCap {
    /// Of prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<i64>,
    /// Of completion tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<i64>,
}

/// When a second request runs beside a slow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HedgeConfig {
    /// The most requests that get a second one, in per cent; default 5.
    pub per_cent: u32,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { per_cent: 5 }
    }
}

/// When a target is left alone after failures; the fields of [`HealthOptions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// How far back outcomes count, in milliseconds; default 30000.
    pub window_ms: Option<u64>,
    /// Fewer outcomes than this say nothing; default 10.
    pub min_samples: Option<u32>,
    /// Failures that open it, in per cent; default 50.
    pub failure_per_cent: Option<u32>,
    /// Failures in a row that open it; default 5.
    pub consecutive: Option<u32>,
    /// How long it is open at first, in milliseconds; default 5000.
    pub open_ms: Option<u64>,
    /// The longest it is open, in milliseconds; default 120000.
    pub open_max_ms: Option<u64>,
}

impl BreakerConfig {
    /// The longest time of a breaker: a day.
    const LONGEST_MS: u64 = 86_400_000;

    fn check(&self, problems: &mut Problems) {
        let counts = [("min_samples", self.min_samples), ("consecutive", self.consecutive)];
        for (name, _) in counts.iter().filter(|(_, count)| *count == Some(0)) {
            problems.add(format!("breaker.{name}"), "must not be 0");
        }
        if self.failure_per_cent.is_some_and(|share| !(1..=100).contains(&share)) {
            problems.add("breaker.failure_per_cent", "is not between 1 and 100");
        }
        for (name, time) in
            [("window_ms", self.window_ms), ("open_ms", self.open_ms), ("open_max_ms", self.open_max_ms)]
        {
            if time.is_some_and(|time| !(1..=Self::LONGEST_MS).contains(&time)) {
                problems.add(format!("breaker.{name}"), format!("is not between 1 and {}", Self::LONGEST_MS));
            }
        }
        let options = self.options();
        if options.open_max < options.open {
            problems.add("breaker.open_max_ms", "is less than `open_ms`");
        }
    }

    /// The options with these settings.
    pub fn options(&self) -> HealthOptions {
        let mut options = HealthOptions::default();
        let millis = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        options.window = millis(self.window_ms, options.window);
        options.open = millis(self.open_ms, options.open);
        options.open_max = millis(self.open_max_ms, options.open_max);
        options.min_samples = self.min_samples.unwrap_or(options.min_samples);
        options.failure_per_cent = self.failure_per_cent.unwrap_or(options.failure_per_cent);
        options.consecutive = self.consecutive.unwrap_or(options.consecutive);
        options
    }
}

/// How requests are routed. Everything has a default: without a configuration a request goes to the model it names, and
/// then to the fallbacks it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RoutingConfig {
    /// How targets are put in order where a route does not say; default `ordered`.
    pub strategy: String,
    /// Names that stand for several targets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, RouteConfig>,
    /// Models or routes that are tried, in order, after the model that is named, before the fallbacks of no other: by the
    /// name of the model. A request's own fallbacks go before them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// Models that were made for their task: named in a request, they fall back only to what the request lists.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub custom: BTreeSet<String>,
    /// Quality of models by the host's own measure, 0 to 1000; 500 where unknown. A key `tag=value:model` holds for
    /// requests with that tag alone; a value with a colon cannot be named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quality: BTreeMap<String, u32>,
    /// How far below the best quality a model counts as equally good, 0 to 1000; default 10, as measures of quality are
    /// seldom finer.
    pub quality_tolerance: u32,
    /// Where models are served, by provider or by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<String, String>,
    /// What tenants may use, by id; a tenant that is not listed may use everything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, TenantRouting>,
    /// The highest prices a target may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_cap: Option<PriceCap>,
    /// The most requests to providers for one request, everything counted; default 4. Texts for embeddings go in batches
    /// of the size the provider takes, and this holds for each of them.
    pub max_attempts: u32,
    /// How often one target is asked again; default 2.
    pub retries: u32,
    /// The longest a whole answer may take, in milliseconds, where the caller sets no earlier end; default 600000.
    pub timeout_ms: u64,
    /// The longest the first piece of a streamed answer may take, in milliseconds, while others can be asked; default
    /// 60000.
    pub first_event_ms: u64,
    /// The longest an answer in one piece may take, in milliseconds, while others can be asked; default 300000.
    pub attempt_ms: u64,
    /// The longest pause within a streamed answer, in milliseconds; default 120000.
    pub idle_ms: u64,
    /// The pause before a target is asked again, in milliseconds, doubled each time and shortened by chance; default 500.
    pub backoff_ms: u64,
    /// The longest such pause, in milliseconds; default 8000.
    pub backoff_max_ms: u64,
    /// The longest pause a provider asks for that is waited for, in milliseconds; default 60000.
    pub wait_max_ms: u64,
    /// When a target is left alone after failures. Read when the platform starts, not when a configuration is reloaded.
    pub breaker: BreakerConfig,
    /// A second request beside a slow one; none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgeConfig>,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default().name().into(),
            routes: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            custom: BTreeSet::new(),
            quality: BTreeMap::new(),
            quality_tolerance: 10,
            regions: BTreeMap::new(),
            tenants: BTreeMap::new(),
            price_cap: None,
            max_attempts: 4,
            retries: 2,
            timeout_ms: 600_000,
            first_event_ms: 60_000,
            attempt_ms: 300_000,
            idle_ms: 120_000,
            backoff_ms: 500,
            backoff_max_ms: 8_000,
            wait_max_ms: 60_000,
            breaker: BreakerConfig::default(),
            hedge: None,
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn add(&mut self, path: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("`{path}`: {what}"));
    }

    /// # Errors
    /// `invalid_input` with every problem.
    pub(crate) fn into_result(self, what: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("{what} cannot be used: {}", self.0.join("; "))))
    }
}

/// ` (did you mean …?)`, where a known name is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.map(|(_, known)| format!(" (did you mean `{}`?)", clip(known))).unwrap_or_default()
}

impl RoutingConfig {
    /// Whether a tenant may use a target, by its name and its provider's.
    pub(crate) fn allows(&self, tenant: TenantId, target: &str, provider: &str) -> Result<(), DropReason> {
        if self.tenants.is_empty() {
            return Ok(());
        }
        // The one spelling, by `canonical`.
        let Some(rules) = self.tenants.get(&tenant.to_string()) else { return Ok(()) };
        let matches = |rule: &String| match rule.strip_suffix('*') {
            Some(prefix) => target.starts_with(prefix),
            None => rule == target,
        };
        if !rules.allow.is_empty() && !rules.allow.iter().any(matches) {
            return Err(DropReason::NotAllowed);
        }
        let region = self.regions.get(target).or_else(|| self.regions.get(provider));
        if !rules.regions.is_empty() && region.is_none_or(|region| !rules.regions.contains(region)) {
            return Err(DropReason::Region);
        }
        Ok(())
    }

    /// Checks everything, given the selectors of the host's own, the full name of the model a name resolves to, the names
    /// that are known and the providers.
    ///
    /// # Errors
    /// `invalid_input` with every problem.
    pub(crate) fn check(
        &self,
        selectors: &[&str],
        model: &dyn Fn(&str) -> Result<Arc<str>>,
        known: &[String],
        providers: &[String],
    ) -> Result<()> {
        let mut problems = Problems::default();
        let names = || known.iter().map(String::as_str).chain(self.routes.keys().map(String::as_str));
        let strategy = |problems: &mut Problems, path: &str, name: &str| {
            if Strategy::from_name(name).is_none() && !selectors.contains(&name) {
                let all =
                    Strategy::ALL.iter().map(|strategy| strategy.name()).chain(selectors.iter().copied());
                let near = nearest(name, all);
                problems.add(path, format!("there is no strategy `{}`{near}", clip(name)));
            }
        };
        let resolves = |problems: &mut Problems, path: &str, name: &str| {
            if !self.routes.contains_key(name)
                && let Err(error) = model(name)
            {
                problems.add(path, format!("{}{}", error.message(), nearest(name, names())));
            }
        };
        // What is looked up by the full name would never be found under another one.
        let in_full = |problems: &mut Problems, path: &str, name: &str| {
            if self.routes.contains_key(name) {
                return;
            }
            match model(name) {
                Ok(full) if *full != *name => {
                    problems.add(path, format!("write `{}` for `{}`", clip(&full), clip(name)));
                }
                _ => resolves(problems, path, name),
            }
        };
        strategy(&mut problems, "strategy", &self.strategy);
        for (name, route) in &self.routes {
            let at = format!("routes.{}", clip(name));
            if name.is_empty() {
                problems.add(&at, "the name of a route must not be empty");
            }
            if let Err(error) = check_name(name) {
                problems.add(&at, error.message());
            }
            if known.contains(name) {
                problems.add(&at, "there is a model of this name");
            }
            if route.targets.is_empty() {
                problems.add(format!("{at}.targets"), "a route needs at least one target");
            }
            if let Some(name) = &route.strategy {
                strategy(&mut problems, &format!("{at}.strategy"), name);
            }
            for (n, target) in route.targets.iter().enumerate() {
                resolves(&mut problems, &format!("{at}.targets[{n}]"), &target.model);
            }
            if !route.targets.is_empty() && route.targets.iter().all(|target| target.weight == Some(0)) {
                problems.add(format!("{at}.targets"), "every weight is 0");
            }
            for (n, fallback) in route.fallbacks.iter().enumerate() {
                resolves(&mut problems, &format!("{at}.fallbacks[{n}]"), fallback);
            }
        }
        for (name, fallbacks) in &self.fallbacks {
            let at = format!("fallbacks.{}", clip(name));
            resolves(&mut problems, &at, name);
            for (n, fallback) in fallbacks.iter().enumerate() {
                resolves(&mut problems, &format!("{at}[{n}]"), fallback);
            }
            let full = model(name).ok().filter(|_| !self.routes.contains_key(name));
            if self.custom.contains(name) || full.is_some_and(|full| self.custom.contains(&*full)) {
                problems.add(&at, "a custom model falls back only to what a request lists");
            }
        }
        for name in &self.custom {
            in_full(&mut problems, "custom", name);
        }
        if self.quality_tolerance > 1000 {
            problems.add("quality_tolerance", "quality is at most 1000");
        }
        for (name, quality) in &self.quality {
            if *quality > 1000 {
                problems.add(format!("quality.{}", clip(name)), "quality is at most 1000");
            }
            // Names of models may have colons, and names of tags may not.
            let tagged = name.split_once('=').and_then(|(_, rest)| rest.split_once(':'));
            let model = tagged.map_or(&**name, |(_, model)| model);
            in_full(&mut problems, &format!("quality.{}", clip(name)), model);
        }
        for name in self.regions.keys().filter(|name| !providers.contains(*name)) {
            let at = format!("regions.{}", clip(name));
            if model(name).is_err() {
                let near = nearest(name, providers.iter().map(String::as_str).chain(names()));
                problems.add(at, format!("there is no provider or model `{}`{near}", clip(name)));
            } else {
                in_full(&mut problems, &at, name);
            }
        }
        let mut tenants: BTreeMap<TenantId, &str> = BTreeMap::new();
        for (id, rules) in &self.tenants {
            for (n, rule) in rules.allow.iter().enumerate().filter(|(_, rule)| !rule.ends_with('*')) {
                in_full(&mut problems, &format!("tenants.{}.allow[{n}]", clip(id)), rule);
            }
            let at = format!("tenants.{}", clip(id));
            match id.parse().map(|tenant| tenants.insert(tenant, id)) {
                Ok(None) => {}
                Ok(Some(other)) => problems.add(at, format!("is the same tenant as `{}`", clip(other))),
                Err(_) => problems.add(at, "this is no id of a tenant"),
            }
        }
        for (name, value) in [
            ("max_attempts", u64::from(self.max_attempts)),
            ("timeout_ms", self.timeout_ms),
            ("first_event_ms", self.first_event_ms),
            ("attempt_ms", self.attempt_ms),
            ("idle_ms", self.idle_ms),
        ] {
            if value == 0 {
                problems.add(name, "must not be 0");
            }
        }
        if self.max_attempts > 32 {
            problems.add("max_attempts", "is more than 32");
        }
        self.breaker.check(&mut problems);
        if self.hedge.is_some_and(|hedge| hedge.per_cent > 100) {
            problems.add("hedge.per_cent", "is more than 100");
        }
        if let Some(cap) = self.price_cap
            && [cap.input, cap.output].iter().flatten().any(|price| *price < 0)
        {
            problems.add("price_cap", "a price must not be negative");
        }
        for cycle in self.cycles() {
            problems.add("routes", format!("the fallbacks go in a circle: {cycle}"));
        }
        problems.into_result("the routing")
    }

    /// The same with every tenant under the one spelling it is looked up by. Ids are read in others too.
    pub(crate) fn canonical(mut self) -> Self {
        let spelled = |id: String| id.parse::<TenantId>().map_or(id, |tenant| tenant.to_string());
        self.tenants = self.tenants.into_iter().map(|(id, rules)| (spelled(id), rules)).collect();
        self
    }

    /// Whether this holds of a target that a name stands for; fallbacks are none. Routes were checked for circles.
    pub(crate) fn any_target(&self, name: &str, holds: &dyn Fn(&str) -> bool) -> bool {
        match self.routes.get(name) {
            Some(route) => route.targets.iter().any(|target| self.any_target(&target.model, holds)),
            None => holds(name),
        }
    }

    /// Every way from a name back to itself.
    fn cycles(&self) -> Vec<String> {
        let next = |name: &str| -> Vec<&str> {
            let route = self.routes.get(name);
            let targets = route.into_iter().flat_map(|route| route.targets.iter().map(|t| t.model.as_str()));
            let fallbacks = route.into_iter().flat_map(|route| route.fallbacks.iter().map(String::as_str));
            let own = self.fallbacks.get(name).into_iter().flatten().map(String::as_str);
            targets.chain(fallbacks).chain(own).collect()
        };
        let mut found = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for start in self.routes.keys().chain(self.fallbacks.keys()) {
            let mut path: Vec<(&str, Vec<&str>)> = vec![(start, next(start))];
            while let Some((name, rest)) = path.last_mut() {
                let name = *name;
                let Some(step) = rest.pop() else {
                    done.insert(name);
                    path.pop();
                    continue;
                };
                if let Some(from) = path.iter().position(|(seen, _)| *seen == step) {
                    let names = path.iter().skip(from).map(|(name, _)| clip(name));
                    found.push(names.chain([clip(step)]).collect::<Vec<_>>().join(" → "));
                } else if !done.contains(step) {
                    path.push((step, next(step)));
                }
            }
        }
        found
    }
}
