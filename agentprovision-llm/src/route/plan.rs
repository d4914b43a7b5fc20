//! Turns a request into the targets that may answer it, in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::model::{ModelInfo, RouteHints, Usage};
use agentprovision_core::{Error, ErrorKind, Result};

use super::config::{RouteTarget, RoutingConfig, Strategy};
use super::decision::{Candidate, DropReason, Dropped, RouteDecision, RouteRequest, Selector};
use super::strategy;
use super::target::{Served, Target};
use crate::catalog::Catalog;
use crate::clip;

/// Deeper than this no name is followed; the configuration was checked for circles.
const DEPTH: u32 = 8;

/// A capability: its name in messages, and whether a model has it, as far as that is known.
pub(crate) type Capability = (&'static str, fn(&ModelInfo) -> Option<bool>);

/// What a request needs of whoever answers it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) capabilities: Vec<Capability>,
    /// The prompt in tokens, from above.
    pub(crate) input_tokens: u64,
    /// What must fit the window at once, in tokens, from above.
    pub(crate) at_once: u64,
    /// The longest answer that is asked for; absent where the request does not say.
    pub(crate) max_tokens: Option<u64>,
    /// The longest answer that is reckoned with where the request does not say.
    pub(crate) usual_output: u64,
}

impl Needs {
    fn output(&self, info: &ModelInfo) -> u64 {
        let wanted = self.max_tokens.unwrap_or(self.usual_output);
        wanted.min(info.max_output_tokens.unwrap_or(u64::MAX))
    }
}

/// What a plan is made from.
pub(crate) struct Ground<'a, M: Served + ?Sized> {
    pub(crate) config: &'a RoutingConfig,
    pub(crate) selectors: &'a dyn Fn(&str) -> Option<Arc<dyn Selector>>,
    pub(crate) lookup: &'a dyn Fn(&str) -> Result<Arc<Target<M>>>,
    /// The prices.
    pub(crate) catalog: &'a Catalog,
    /// The target that answered the last request with the same affinity key.
    pub(crate) warm: Option<Arc<str>>,
    pub(crate) now: agentprovision_core::Timestamp,
}

/// Targets in order, and why.
#[derive(Debug)]
pub(crate) struct Plan<M: Served + ?Sized> {
    pub(crate) decision: RouteDecision,
    /// In the order of the decision's candidates.
    pub(crate) targets: Vec<(Arc<Target<M>>, Arc<ModelInfo>)>,
}

/// Names of one group that are tried before the next group.
struct Group<'a> {
    strategy: Option<&'a str>,
    targets: Vec<RouteTarget>,
}

type Found<M> = (Candidate, Arc<Target<M>>, Arc<ModelInfo>);

impl<M: Served + ?Sized> Ground<'_, M> {
    /// The plan of a request.
    ///
    /// # Errors
    /// `invalid_input` for a strategy nobody knows; what keeps the request from every target where there is none.
    pub(crate) fn plan(
        &self,
        ctx: &Context,
        request: &RouteRequest,
        hints: &RouteHints,
        needs: &Needs,
    ) -> Result<Plan<M>> {
        if let Some(name) = &hints.strategy
            && Strategy::from_name(name).is_none()
            && (self.selectors)(name).is_none()
        {
            return Err(Error::invalid(format!("there is no strategy `{}`", clip(name))));
        }
        let mut dropped = Vec::new();
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut ordered: Vec<Found<M>> = Vec::new();
        let mut first_strategy = None;
        for (number, group) in self.groups(&request.model, hints).into_iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let mut found = Vec::new();
            for target in &group.targets {
                match self.candidate(ctx, request, needs, target, number) {
                    Ok((candidate, held, info)) => {
                        if seen.insert(Arc::clone(&held.name)) {
                            found.push((candidate, held, info));
                        }
                    }
                    Err(reason) => {
                        let drop = Dropped { target: target.model.clone(), reason };
                        if !dropped.contains(&drop) {
                            dropped.push(drop);
                        }
                    }
                }
            }
            let name = hints.strategy.as_deref().or(group.strategy).unwrap_or(&self.config.strategy);
            first_strategy.get_or_insert_with(|| name.to_owned());
            self.order(name, request, found, &mut ordered, &mut dropped);
        }
        let mut decision = RouteDecision {
            requested: request.model.clone(),
            strategy: first_strategy.unwrap_or_default(),
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
            candidates: Vec::with_capacity(ordered.len()),
            dropped,
        };
        let mut targets = Vec::with_capacity(ordered.len());
        for (candidate, target, info) in ordered {
            decision.candidates.push(candidate);
            targets.push((target, info));
        }
        if targets.is_empty() {
            return Err(nobody(&decision));
        }
        Ok(Plan { decision, targets })
    }

    /// What was asked for, then each fallback. A model that was made for its task falls back only to what the request
    /// lists.
    fn groups<'s>(&'s self, name: &'s str, hints: &'s RouteHints) -> Vec<Group<'s>> {
        let mut groups = Vec::new();
        let mut later = Vec::new();
        self.expand(name, &mut groups, &mut later, 0);
        for fallback in &hints.fallbacks {
            // Where the request says what comes next, the fallbacks of a fallback are not its business.
            self.expand(fallback, &mut groups, &mut Vec::new(), 0);
        }
        let custom = &self.config.custom;
        if custom.is_empty() || !self.names(name).any(|name| custom.contains(&*name)) {
            for fallback in later {
                self.follow(fallback, &mut groups, 0);
            }
        }
        groups
    }

    fn follow<'s>(&'s self, name: &'s str, groups: &mut Vec<Group<'s>>, depth: u32) {
        let mut later = Vec::new();
        self.expand(name, groups, &mut later, depth);
        if depth < DEPTH {
            later.into_iter().for_each(|name| self.follow(name, groups, depth + 1));
        }
    }

    /// The group a name stands for, and the names of its fallbacks.
    fn expand<'s>(
        &'s self,
        name: &'s str,
        groups: &mut Vec<Group<'s>>,
        later: &mut Vec<&'s str>,
        depth: u32,
    ) {
        match self.config.routes.get(name) {
            Some(route) => {
                let mut targets = Vec::new();
                for target in &route.targets {
                    self.flatten(target, &mut targets, depth);
                }
                groups.push(Group { strategy: route.strategy.as_deref(), targets });
                later.extend(route.fallbacks.iter().map(String::as_str));
            }
            None => {
                let target = RouteTarget { model: name.to_owned(), ..RouteTarget::default() };
                groups.push(Group { strategy: None, targets: vec![target] });
            }
        }
        let fallbacks = &self.config.fallbacks;
        if !fallbacks.is_empty() {
            let own = self.names(name).find_map(|name| fallbacks.get(&*name));
            later.extend(own.into_iter().flatten().map(String::as_str));
        }
    }

    /// A name, and the full name of the model it stands for.
    fn names(&self, name: &str) -> impl Iterator<Item = Arc<str>> + use<M> {
        let full = (self.lookup)(name).ok().map(|target| Arc::clone(&target.name));
        std::iter::once(Arc::from(name)).chain(full)
    }

    /// The targets of a route within a route are targets of the outer one.
    fn flatten(&self, target: &RouteTarget, out: &mut Vec<RouteTarget>, depth: u32) {
        match self.config.routes.get(&target.model).filter(|_| depth < DEPTH) {
            Some(inner) => inner.targets.iter().for_each(|inner| self.flatten(inner, out, depth + 1)),
            None => out.push(target.clone()),
        }
    }

    fn candidate(
        &self,
        ctx: &Context,
        request: &RouteRequest,
        needs: &Needs,
        named: &RouteTarget,
        group: u32,
    ) -> Result<Found<M>, DropReason> {
        let target = (self.lookup)(&named.model).map_err(|_| DropReason::Unknown)?;
        self.config.allows(ctx.tenant(), &target.name, &target.info.provider)?;
        let info = target.priced(self.catalog, ctx.tenant(), self.now);
        for (name, has) in &needs.capabilities {
            if has(&info) == Some(false) {
                return Err(DropReason::Capability(name));
            }
        }
        let output = needs.output(&info);
        // The estimate is from above; what is left out must be certain not to fit.
        if info.context_window.is_some_and(|window| needs.at_once / 2 > window) {
            return Err(DropReason::ContextWindow);
        }
        if self.is_too_dear(&info, needs.input_tokens) {
            return Err(DropReason::Price);
        }
        let warm = self.warm.as_ref().is_some_and(|warm| *warm == target.name);
        let usage = Usage {
            input_tokens: Some(needs.input_tokens),
            cache_read_tokens: warm.then_some(needs.input_tokens),
            output_tokens: Some(output),
            ..Usage::default()
        };
        let blocked = target.seats.iter().map(|seat| seat.health.check().err());
        let blocked = blocked.min_by_key(|blocked| blocked.map(|blocked| blocked.retry_at)).flatten();
        let candidate = Candidate {
            target: target.name.to_string(),
            provider: info.provider.clone(),
            custom: named.custom || self.config.custom.contains(&*target.name),
            group,
            weight: named.weight.unwrap_or(1),
            warm,
            cost: info.cost(&usage, self.now),
            expected_ms: target.vitals.pulse.expected(output),
            failing: target.vitals.pulse.failing(),
            quality: self.quality(request, &target.name),
            blocked: blocked.map(|blocked| blocked.reason),
            score: None,
        };
        Ok((candidate, target, info))
    }

    fn is_too_dear(&self, info: &ModelInfo, input_tokens: u64) -> bool {
        let Some(cap) = &self.config.price_cap else { return false };
        let Some(price) = &info.price else { return true };
        let above = |cap: Option<i64>, price: i64| cap.is_some_and(|cap| price > cap);
        let column = price.dearest(input_tokens, None);
        above(cap.input, column.input.0) || above(cap.output, column.output.0)
    }

    /// Who may answer for a name, whatever the request is, with what they cost the tenant now.
    pub(crate) fn answerers(&self, ctx: &Context, name: &str, hints: &RouteHints) -> Vec<Arc<ModelInfo>> {
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut all = Vec::new();
        for named in self.groups(name, hints).iter().flat_map(|group| &group.targets) {
            let Ok(target) = (self.lookup)(&named.model) else { continue };
            if self.config.allows(ctx.tenant(), &target.name, &target.info.provider).is_err()
                || !seen.insert(Arc::clone(&target.name))
            {
                continue;
            }
            let info = target.priced(self.catalog, ctx.tenant(), self.now);
            if !self.is_too_dear(&info, 0) {
                all.push(info);
            }
        }
        all
    }

    fn quality(&self, request: &RouteRequest, target: &str) -> u32 {
        let quality = &self.config.quality;
        if quality.is_empty() {
            return 500;
        }
        let tagged =
            request.tags.iter().find_map(|(tag, value)| quality.get(&format!("{tag}={value}:{target}")));
        tagged.or_else(|| quality.get(target)).copied().unwrap_or(500)
    }

    fn order(
        &self,
        name: &str,
        request: &RouteRequest,
        found: Vec<Found<M>>,
        ordered: &mut Vec<Found<M>>,
        dropped: &mut Vec<Dropped>,
    ) {
        let found = found.into_iter().map(|(candidate, target, info)| (candidate, (target, info)));
        let (mut candidates, held): (Vec<Candidate>, Vec<_>) = found.unzip();
        match Strategy::from_name(name) {
            Some(known) => strategy::rank(known, request, self.config.quality_tolerance, &mut candidates),
            None => {
                let picked =
                    (self.selectors)(name).map_or_else(Vec::new, |own| own.rank(request, &candidates));
                let mut chosen: Vec<Candidate> = Vec::with_capacity(candidates.len());
                for at in picked {
                    if let Some(candidate) = candidates.get(at)
                        && !chosen.iter().any(|other| other.target == candidate.target)
                    {
                        chosen.push(candidate.clone());
                    }
                }
                let left_out = candidates.iter().filter(|one| !chosen.iter().any(|c| c.target == one.target));
                dropped.extend(
                    left_out.map(|one| Dropped { target: one.target.clone(), reason: DropReason::Selector }),
                );
                candidates = chosen;
            }
        }
        for candidate in candidates {
            if let Some((target, info)) = held.iter().find(|(target, _)| *target.name == *candidate.target) {
                ordered.push((candidate, Arc::clone(target), Arc::clone(info)));
            }
        }
    }
}

/// Why nobody is left, by what kept the first one out.
fn nobody(decision: &RouteDecision) -> Error {
    let name = clip(&decision.requested);
    let (kind, why) = match decision.dropped.first().map(|dropped| &dropped.reason) {
        Some(DropReason::NotAllowed) => (ErrorKind::PermissionDenied, "the tenant may not use it".to_owned()),
        Some(DropReason::Region) => {
            (ErrorKind::PermissionDenied, "it is in none of the tenant's regions".to_owned())
        }
        Some(DropReason::Capability(what)) => (ErrorKind::Unsupported, format!("the model has no {what}")),
        Some(DropReason::ContextWindow) => {
            (ErrorKind::ContextWindow, "the request does not fit the model's context window".to_owned())
        }
        Some(DropReason::Price) => {
            (ErrorKind::PriceUnknown, "the price is unknown or above the cap".to_owned())
        }
        Some(DropReason::Selector) => (ErrorKind::Unavailable, "the selector chose no target".to_owned()),
        Some(DropReason::Unknown) | None => (ErrorKind::NotFound, "there is no such model".to_owned()),
    };
    Error::new(kind, format!("no model can answer for `{name}`: {why}"))
}
