//! Which limits a request is under.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::ModelInfo;
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::clip;
use crate::route::{Problems, nearest};

/// What a configured limit is about. For every slot, such as the tokens per day, the most specific limit of a scope
/// counts and the others do not: of this id before of this tenant before of everybody. So `{"scope": "user"}` limits
/// every user there is and will be, each on their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// `tenant`, `project`, `user`, `agent`, `key` or `model`.
    pub scope: String,
    /// In this tenant only, by its id; in every tenant where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only this one: the name of a project or model, the id of a user, agent or key; each one where absent. A model is
    /// named as it is asked for: `openai/gpt-4o`, the name of a route or of a model of the host's own; `gpt-4o` is each
    /// provider's model of that name, each on its own. A route is limited by its own name, whoever answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

const KINDS: [&str; 6] = ["tenant", "project", "user", "agent", "key", "model"];

/// The longest name of a project, in bytes: it comes from requests, and each has accounts of its own.
const LONGEST_NAME: usize = 256;

/// A selector that was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chosen {
    kind: usize,
    tenant: Option<TenantId>,
    id: Option<Scope>,
}

impl Selector {
    /// Reads it; problems are named with the place of the selector, `path`.
    pub(crate) fn read(&self, path: &dyn fmt::Display, problems: &mut Problems) -> Option<Chosen> {
        let Some(kind) = KINDS.iter().position(|kind| *kind == self.scope) else {
            let near = nearest(&self.scope, KINDS);
            let scope = clip(&self.scope);
            problems.add(format_args!("{path}.scope"), format_args!("there is no scope `{scope}`{near}"));
            return None;
        };
        let tenant = match self.tenant.as_deref().map(str::parse).transpose() {
            Ok(tenant) => tenant,
            Err(error) => {
                problems.add(format_args!("{path}.tenant"), error);
                return None;
            }
        };
        let id = match self.id.as_deref().map(|id| self.id(id)).transpose() {
            Ok(id) => id,
            Err(error) => {
                problems.add(format_args!("{path}.id"), error);
                return None;
            }
        };
        Some(Chosen { kind, tenant, id })
    }

    fn id(&self, text: &str) -> Result<Scope> {
        fn read<T: FromStr<Err = Error>>(text: &str, scope: fn(T) -> Scope) -> Result<Scope> {
            text.parse().map(scope)
        }
        match self.scope.as_str() {
            "user" => read(text, Scope::User),
            "agent" => read(text, Scope::Agent),
            "key" => read(text, Scope::Key),
            "tenant" => Err(Error::invalid("a tenant is chosen by `tenant`")),
            _ if text.is_empty() || text.len() > LONGEST_NAME => {
                Err(Error::invalid(format!("a name has 1 to {LONGEST_NAME} bytes")))
            }
            "project" => Ok(Scope::Project(text.into())),
            _ => Ok(Scope::Model(text.into())),
        }
    }
}

/// Who a request is from and about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) project: Option<&'a str>,
    pub(crate) model: &'a Named<'a>,
}

/// A model that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Named<'a> {
    /// What it has accounts under.
    account: Arc<str>,
    /// Its other names, by which limits choose it too, those that are surest first.
    others: [&'a str; 2],
}

impl<'a> Named<'a> {
    /// A model that was asked for as `asked`; `answerers` are those that may answer in its place.
    pub(crate) fn of(info: &'a ModelInfo, answerers: &[Arc<ModelInfo>], asked: &'a str) -> Self {
        let ModelInfo { provider, name, .. } = info;
        // A route has a name, and the provider of its first target.
        let is_model = answerers.iter().any(|one| one.name == *name && one.provider == *provider);
        let account = if is_model { format!("{provider}/{name}").into() } else { Arc::from(name.as_str()) };
        Self { account, others: [name, asked] }
    }

    /// The same of a name alone.
    pub(crate) fn text(name: &'a str) -> Self {
        let short = name.split_once('/').map_or(name, |(_, short)| short);
        Self { account: Arc::from(name), others: [short, name] }
    }
}

/// Limits by what they are about: `S` names the slot, of which the most specific limit of a scope counts.
#[derive(Debug)]
pub(crate) struct Rules<S, V> {
    limits: HashMap<Chosen, Vec<(S, V)>>,
    /// Which kinds of scope have any.
    used: [bool; KINDS.len()],
}

impl<S: Copy + Eq, V: Clone> Rules<S, V> {
    pub(crate) fn new() -> Self {
        Self { limits: HashMap::new(), used: [false; KINDS.len()] }
    }

    /// Adds a limit; false when there is one for this slot already.
    pub(crate) fn add(&mut self, chosen: Chosen, slot: S, value: V) -> bool {
        if let Some(used) = self.used.get_mut(chosen.kind) {
            *used = true;
        }
        let limits = self.limits.entry(chosen).or_default();
        let new = limits.iter().all(|(taken, _)| *taken != slot);
        if new {
            limits.push((slot, value));
        }
        new
    }

    /// The limits a request is under, scopes in a fixed order.
    ///
    /// # Errors
    /// `invalid_input` when the name of its project is empty or too long.
    pub(crate) fn of(&self, subject: Subject<'_>) -> Result<Vec<(Scope, S, V)>> {
        let mut found: Vec<(Scope, S, V)> = Vec::new();
        for (kind, used) in self.used.iter().enumerate() {
            if !*used {
                continue;
            }
            let Some(scope) = subject.scope(kind)? else { continue };
            let start = found.len();
            let tenant = Some(subject.ctx.tenant());
            let ids = match &scope {
                Scope::Tenant => Vec::new(),
                Scope::Model(_) => {
                    let others = subject.model.others.map(|name| Scope::Model(Arc::from(name)));
                    [scope.clone()].into_iter().chain(others).collect()
                }
                one => vec![one.clone()],
            };
            for id in ids.into_iter().map(Some).chain([None]) {
                for tenant in [tenant, None] {
                    let chosen = Chosen { kind, tenant, id: id.clone() };
                    for (slot, value) in self.limits.get(&chosen).into_iter().flatten() {
                        let taken = found.get(start..).unwrap_or_default();
                        if taken.iter().all(|(_, taken, _)| taken != slot) {
                            found.push((scope.clone(), *slot, value.clone()));
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Subject<'_> {
    fn scope(&self, kind: usize) -> Result<Option<Scope>> {
        Ok(match KINDS.get(kind).copied() {
            Some("tenant") => Some(Scope::Tenant),
            Some("project") => match self.project {
                Some(name) if name.is_empty() || name.len() > LONGEST_NAME => {
                    return Err(Error::invalid(format!(
                        "the name of a project has 1 to {LONGEST_NAME} bytes"
                    )));
                }
                project => project.map(|name| Scope::Project(Arc::from(name))),
            },
            Some("user") => Some(Scope::User(self.ctx.principal().user())),
            Some("agent") => self.ctx.agent().map(Scope::Agent),
            Some("key") => self.ctx.key().map(Scope::Key),
            _ => Some(Scope::Model(Arc::clone(&self.model.account))),
        })
    }
}
