//! Budgets: no request is sent that the budgets it is under cannot pay for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{ChatModel, EmbeddingModel, ModelInfo, RerankModel, RouteHints};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::metered::{Ask, Gate, Metered, Ticket};
use crate::clip;
use crate::limit::{
    Amounts, Balance, Dimension, Hold, Ledger, Limit, Named, Rules, Selector, Subject, Window, Zone,
};
use crate::route::{Problems, nearest};

/// Which budgets there are. Without limits nothing is counted.
///
/// ```
/// use agentprovision_llm::layers::BudgetConfig;
///
/// let config: BudgetConfig = serde_json::from_str(r#"{
///     "limits": [
///         {"of": {"scope": "tenant"}, "per": "month", "cost_usd": "500"},
///         {"of": {"scope": "user"}, "per": "day", "cost_usd": "2.50", "requests": 1000}
///     ],
///     "time_zone": "Europe/Lisbon"
/// }"#)?;
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// The limits. A request must fit all it is under.
    pub limits: Vec<BudgetLimit>,
    /// Where days and months begin, by a name of the IANA database; default `UTC`.
    pub time_zone: String,
    /// The time zones of tenants with another one, by the tenant's id.
    pub tenant_time_zones: BTreeMap<String, String>,
    /// What becomes of a request under a limit of cost to a model without a price; refused by default.
    pub unknown_price: UnknownPrice,
    /// The longest answer in tokens, which requests are lowered to; no limit where absent. Where nobody limits it, a
    /// request holds room for the longest answer the model can give, or for 4096 tokens where that is unknown.
    pub max_output_tokens: Option<u64>,
    /// How long room is held for work that nobody hears of, in milliseconds; default ten minutes. Work that goes on
    /// extends it.
    pub hold_ms: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            time_zone: "UTC".to_owned(),
            tenant_time_zones: BTreeMap::new(),
            unknown_price: UnknownPrice::default(),
            max_output_tokens: None,
            hold_ms: 600_000,
        }
    }
}

/// Limits of one scope in one window; what is absent is not limited. Each has an account of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetLimit {
    /// What it is about.
    pub of: Selector,
    /// `minute`, `day` or `month`, by the calendar.
    pub per: String,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Completion tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Prompt and completion tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost in US dollars, as decimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<NanoUsd>,
}

/// What becomes of a request under a limit of cost when the price of a model that may answer is unknown. An event is
/// written (`tracing`, a warning with the counter `monotonic_counter.llm_price_unknown`) whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownPrice {
    /// It is refused as `price_unknown`.
    #[default]
    Deny,
    /// It is let through, and costs the budget nothing.
    Allow,
    /// Each attempt is taken to cost this much, in US dollars as decimal text.
    Reserve(NanoUsd),
}

type Slot = (Dimension, Window);

/// A configuration that was read.
#[derive(Debug)]
struct Policy {
    rules: Rules<Slot, u64>,
    zone: Zone,
    zones: HashMap<TenantId, Zone>,
    unknown_price: UnknownPrice,
    max_output: Option<u64>,
    hold: Duration,
}

impl BudgetLimit {
    fn amounts(&self) -> [(&'static str, Dimension, Option<u64>); 5] {
        // A negative amount is refused before.
        let cost = self.cost_usd.map(|cost| u64::try_from(cost.nanos()).unwrap_or(0));
        [
            ("requests", Dimension::Requests, self.requests),
            ("input_tokens", Dimension::InputTokens, self.input_tokens),
            ("output_tokens", Dimension::OutputTokens, self.output_tokens),
            ("tokens", Dimension::Tokens, self.tokens),
            ("cost_usd", Dimension::Cost, cost),
        ]
    }
}

impl BudgetConfig {
    /// Whether it can be used.
    ///
    /// # Errors
    /// `invalid_input`, naming everything that is wrong: unknown scopes, windows and time zones, ids that are none,
    /// limits that say nothing or say it twice, negative amounts.
    pub fn check(&self) -> Result<()> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Policy> {
        let mut problems = Problems::default();
        let mut rules = Rules::new();
        for (place, limit) in self.limits.iter().enumerate() {
            let path = format!("limits[{place}]");
            let window = Window::from_name(&limit.per);
            if window.is_none() {
                let near = nearest(&limit.per, Window::ALL.iter().map(|window| window.name()));
                let per = clip(&limit.per);
                problems.add(format_args!("{path}.per"), format_args!("there is no window `{per}`{near}"));
            }
            if limit.cost_usd.is_some_and(|cost| cost < NanoUsd::ZERO) {
                problems.add(format_args!("{path}.cost_usd"), "a limit is zero or more");
            }
            let chosen = limit.of.read(&format_args!("{path}.of"), &mut problems);
            let amounts = limit.amounts();
            if amounts.iter().all(|(_, _, amount)| amount.is_none()) {
                problems.add(&path, "it limits nothing");
            }
            let Some((chosen, window)) = chosen.zip(window) else { continue };
            for (name, dimension, amount) in amounts {
                let Some(amount) = amount else { continue };
                if !rules.add(chosen.clone(), (dimension, window), amount) {
                    problems.add(format_args!("{path}.{name}"), "an earlier limit says this already");
                }
            }
        }
        let zone = read_zone("time_zone", &self.time_zone, &mut problems);
        let mut zones = HashMap::new();
        for (tenant, zone) in &self.tenant_time_zones {
            let path = format!("tenant_time_zones.{}", clip(tenant));
            let zone = read_zone(&path, zone, &mut problems);
            match tenant.parse::<TenantId>() {
                Ok(tenant) => drop(zones.insert(tenant, zone)),
                Err(error) => problems.add(&path, error),
            }
        }
        if matches!(self.unknown_price, UnknownPrice::Reserve(cost) if cost <= NanoUsd::ZERO) {
            problems.add("unknown_price.reserve", "an amount is more than zero");
        }
        if self.max_output_tokens == Some(0) {
            problems.add("max_output_tokens", "an answer has at least one token");
        }
        if self.hold_ms == 0 {
            problems.add("hold_ms", "room is held for at least one millisecond");
        }
        problems.into_result("the configuration of the budgets")?;
        Ok(Policy {
            rules,
            zone,
            zones,
            unknown_price: self.unknown_price,
            max_output: self.max_output_tokens,
            hold: Duration::from_millis(self.hold_ms),
        })
    }
}

fn read_zone(path: &str, name: &str, problems: &mut Problems) -> Zone {
    Zone::named(name).unwrap_or_else(|error| {
        problems.add(path, error);
        Zone::UTC
    })
}

impl Policy {
    fn limits(&self, subject: Subject<'_>) -> Result<Vec<Limit>> {
        let zone = self.zones.get(&subject.ctx.tenant()).unwrap_or(&self.zone);
        let limit =
            |(scope, (dimension, window), most)| Limit { scope, dimension, window, zone: zone.clone(), most };
        Ok(self.rules.of(subject)?.into_iter().map(limit).collect())
    }

    fn unpriced(&self, info: &ModelInfo) -> Result<NanoUsd> {
        tracing::warn!(
            monotonic_counter.llm_price_unknown = 1_u64,
            provider = info.provider,
            model = info.name,
            policy = ?self.unknown_price,
            "a model without a price is under a limit of cost"
        );
        match self.unknown_price {
            UnknownPrice::Deny => Err(Error::new(
                ErrorKind::PriceUnknown,
                format!("the cost is limited, and the price of `{}` is unknown", clip(&info.name)),
            )),
            UnknownPrice::Allow => Ok(NanoUsd::ZERO),
            UnknownPrice::Reserve(cost) => Ok(cost),
        }
    }
}

/// Puts budgets around models: room for what a request may cost at most is held in every budget it is under before it
/// is sent, and what it did cost is settled when it ends, fails or is dropped. Chat, embedding and rerank models count
/// together.
///
/// The estimate is the prompt (see [`input_tokens`](crate::route::input_tokens)) and the longest answer, with the
/// dearest of the models that may answer. What is settled comes from the attempts in the request's log, failed ones
/// included; a model that is no router keeps none, and then the answer's own counts hold. Where a provider sent no
/// counts the answer is counted by its length.
///
/// A refusal is `budget_exceeded`; it names scope, dimension and window, and says when the window ends.
#[derive(Clone, Debug)]
pub struct BudgetLayer {
    gate: Arc<BudgetGate>,
}

#[derive(Debug)]
struct BudgetGate {
    ledger: Arc<dyn Ledger>,
    policy: Mutex<Arc<Policy>>,
    env: Env,
}

impl BudgetLayer {
    /// The budgets of a configuration, kept by a ledger.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: &BudgetConfig, ledger: Arc<dyn Ledger>, env: Env) -> Result<Self> {
        let policy = Mutex::new(Arc::new(config.read()?));
        Ok(Self { gate: Arc::new(BudgetGate { ledger, policy, env }) })
    }

    /// Takes another configuration from now on, in every model this layer is around. What was spent stays spent.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration; the one before then stays.
    pub fn reload(&self, config: &BudgetConfig) -> Result<()> {
        let policy = Arc::new(config.read()?);
        *self.gate.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    /// The budgets a request to `model` would be under, with what is used of each. A model is named in full, as
    /// `openai/gpt-4o`, and a route by its own name.
    ///
    /// # Errors
    /// `invalid_input` for a project's name that is none, and whatever the ledger fails with.
    pub async fn balances(
        &self,
        ctx: &Context,
        model: &str,
        route: &RouteHints,
    ) -> Result<Vec<(Limit, Balance)>> {
        let model = Named::text(model);
        let subject = Subject { ctx, project: route.project.as_deref(), model: &model };
        let mut balances = Vec::new();
        for limit in self.gate.policy().limits(subject)? {
            let balance = self.gate.ledger.balance(ctx, &limit).await?;
            balances.push((limit, balance));
        }
        Ok(balances)
    }
}

impl Layer<Arc<dyn ChatModel>> for BudgetLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Metered::chat(inner, self.gate.clone(), self.gate.env.clone())
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for BudgetLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        Metered::embedding(inner, self.gate.clone(), self.gate.env.clone())
    }
}

impl Layer<Arc<dyn RerankModel>> for BudgetLayer {
    type Service = Arc<dyn RerankModel>;

    fn layer(&self, inner: Arc<dyn RerankModel>) -> Self::Service {
        Metered::rerank(inner, self.gate.clone(), self.gate.env.clone())
    }
}

impl BudgetGate {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Gate for BudgetGate {
    fn max_output(&self) -> Option<u64> {
        self.policy().max_output
    }

    async fn enter(&self, ask: Ask<'_>) -> Result<Option<Box<dyn Ticket>>> {
        let policy = self.policy();
        let project = ask.route.project.as_deref();
        let limits = policy.limits(Subject { ctx: ask.ctx, project, model: &ask.model })?;
        if limits.is_empty() {
            return Ok(None);
        }
        let cost = if limits.iter().any(|limit| limit.dimension == Dimension::Cost) {
            ask.cost(|info| policy.unpriced(info))?
        } else {
            NanoUsd::ZERO
        };
        let estimate =
            Amounts { requests: 1, input_tokens: ask.size.input, output_tokens: ask.output(), cost };
        let held = Hold::reserve(self.ledger.clone(), ask.ctx, &limits, estimate, policy.hold).await?;
        Ok(Some(Box::new(Held { held: Some(held), cost, policy })))
    }
}

struct Held {
    held: Option<Hold>,
    /// The estimate of the cost.
    cost: NanoUsd,
    policy: Arc<Policy>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Ticket for Held {
    fn beat(&self) -> Option<Duration> {
        Some((self.policy.hold / 3).max(Duration::from_millis(1)))
    }

    fn extend(&self) {
        if let Some(held) = &self.held {
            held.extend(self.policy.hold);
        }
    }

    fn settle(&mut self, mut actual: Amounts, unpriced: u32) {
        let each = match self.policy.unknown_price {
            UnknownPrice::Allow => NanoUsd::ZERO,
            UnknownPrice::Reserve(cost) => cost,
            // It was let through, so it had a price then: it came to what was reckoned with.
            UnknownPrice::Deny => self.cost,
        };
        let more = each.nanos().saturating_mul(i64::from(unpriced));
        actual.cost = NanoUsd::from_nanos(actual.cost.nanos().saturating_add(more));
        if let Some(held) = self.held.take() {
            held.settle(actual);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_configuration_is_said_at_once() {
        let config = r#"{
            "limits": [
                {"of": {"scope": "usr"}, "per": "dya", "requests": 1},
                {"of": {"scope": "user", "id": "ten_x"}, "per": "day", "requests": 1},
                {"of": {"scope": "tenant", "id": "x"}, "per": "day", "requests": 1},
                {"of": {"scope": "tenant", "tenant": "acme"}, "per": "day", "cost_usd": "-1"},
                {"of": {"scope": "model", "id": ""}, "per": "month", "tokens": 1},
                {"of": {"scope": "key"}, "per": "month"},
                {"of": {"scope": "agent"}, "per": "month", "tokens": 1},
                {"of": {"scope": "agent"}, "per": "month", "tokens": 2, "requests": 1}
            ],
            "time_zone": "Mars/Olympus",
            "tenant_time_zones": {"acme": "UTC"},
            "unknown_price": {"reserve": "0"},
            "max_output_tokens": 0,
            "hold_ms": 0
        }"#;
        let config: BudgetConfig = serde_json::from_str(config).unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.message().matches("; ").count(), 13, "{error}");
        for part in [
            "`limits[0].of.scope`: there is no scope `usr` (did you mean `user`?)",
            "`limits[0].per`: there is no window `dya` (did you mean `day`?)",
            "`limits[1].of.id`: `ten_x` is not an id",
            "`limits[2].of.id`: a tenant is chosen by `tenant`",
            "`limits[3].cost_usd`: a limit is zero or more",
            "`limits[3].of.tenant`: `acme` is not an id",
            "`limits[4].of.id`: a name has",
            "`limits[5]`: it limits nothing",
            "`limits[7].tokens`: an earlier limit says this already",
            "`time_zone`: there is no time zone `Mars/Olympus`",
            "`tenant_time_zones.acme`: `acme` is not an id",
            "`unknown_price.reserve`",
            "`max_output_tokens`",
            "`hold_ms`",
        ] {
            assert!(error.message().contains(part), "{part} is not in: {error}");
        }
        assert!(serde_json::from_str::<BudgetConfig>(r#"{"limit": []}"#).is_err());
        BudgetConfig::default().check().unwrap();
    }
}
