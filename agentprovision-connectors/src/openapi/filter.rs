//! Which operations of a document are imported.

use agentprovision_core::{Error, Result};
use http::Method;

use super::document::short;

/// Which operations of a document are imported; by default all of them.
///
/// ```
/// use agentprovision_connectors::openapi::{Filter, Match};
/// use http::Method;
///
/// let filter = Filter::default()
///     .allow(Match::default().tag("issues"))
///     .allow(Match::default().path("/users").method(Method::GET))
///     .deny(Match::default().operation("issues/lock"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    allow: Vec<Match>,
    deny: Vec<Match>,
    read_only: bool,
}

/// Describes operations: everything that is said must hold. What says nothing describes all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    operation: Option<String>,
    tag: Option<String>,
    path: Option<String>,
    method: Option<Method>,
}

/// An operation, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'d> {
    pub(super) name: &'d str,
    pub(super) id: Option<&'d str>,
    pub(super) tags: &'d [&'d str],
    pub(super) path: &'d str,
    pub(super) method: &'d Method,
}

impl Match {
    /// The operation of this name, the document's `operationId` or ours.
    #[must_use]
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operation = Some(name.into());
        self
    }

    /// Operations with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Operations on this path, and on those under it: `/users` is no part of `/users-of`.
    #[must_use]
    pub fn path(mut self, prefix: impl Into<String>) -> Self {
        self.path = Some(prefix.into());
        self
    }

    /// Operations of this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    fn matches(&self, candidate: &Candidate<'_>) -> bool {
        let named = |name: &String| candidate.id == Some(name.as_str()) || candidate.name == name;
        let under = |prefix: &String| {
            let rest = candidate.path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.operation.as_ref().is_none_or(named)
            && self.tag.as_ref().is_none_or(|tag| candidate.tags.contains(&tag.as_str()))
            && self.path.as_ref().is_none_or(under)
            && self.method.as_ref().is_none_or(|method| method == candidate.method)
    }

    fn words(&self) -> String {
        let parts = [("operation", &self.operation), ("tag", &self.tag), ("path", &self.path)];
        let parts = parts
            .iter()
            .filter_map(|(what, name)| Some(format!("the {what} `{}`", short(name.as_deref()?, 64))));
        parts.collect::<Vec<_>>().join(" and ")
    }
}

impl Filter {
    /// Only what is described so. Where that is said several times, any of them will do.
    #[must_use]
    pub fn allow(mut self, what: Match) -> Self {
        self.allow.push(what);
        self
    }

    /// Not what is described so, whatever else allows it.
    #[must_use]
    pub fn deny(mut self, what: Match) -> Self {
        self.deny.push(what);
        self
    }

    /// Only what looks: `GET` and `HEAD`.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    pub(super) fn lets(&self, candidate: &Candidate<'_>) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|what| what.matches(candidate));
        let looks = [Method::GET, Method::HEAD].contains(candidate.method);
        allowed && !self.deny.iter().any(|what| what.matches(candidate)) && (looks || !self.read_only)
    }

    /// That everything it names is there: what is denied under a wrong name would be let through.
    ///
    /// # Errors
    /// `invalid_input`, saying what is not.
    pub(super) fn check(&self, candidates: &[Candidate<'_>]) -> Result<()> {
        for what in self.allow.iter().chain(&self.deny) {
            let words = what.words();
            if !words.is_empty() && !candidates.iter().any(|candidate| what.matches(candidate)) {
                return Err(Error::invalid(format!(
                    "the filter names what the document does not have: {words}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_denied_and_what_is_allowed_is_all_there_is() {
        let all = [
            ("issues.list", "issues/list", "issues", "/issues", Method::GET),
            ("issues.create", "issues/create", "issues", "/issues", Method::POST),
            ("issues.delete", "issues/delete", "issues", "/issues/{id}", Method::DELETE),
            ("users.me", "users/me", "users", "/users/me", Method::GET),
            ("users_of.list", "usersOf/list", "", "/users-of", Method::GET),
        ];
        let passing = |filter: &Filter| -> Vec<&str> {
            let lets = |(name, id, tag, path, method): &(&'static str, &'static str, &str, &str, Method)| {
                filter.lets(&Candidate { name, id: Some(id), tags: &[tag], path, method }).then_some(*name)
            };
            all.iter().filter_map(lets).collect()
        };
        let any = Match::default;
        assert_eq!(passing(&Filter::default()).len(), 5);
        assert_eq!(passing(&Filter::default().read_only()), ["issues.list", "users.me", "users_of.list"]);
        assert_eq!(passing(&Filter::default().allow(any().path("/users"))), ["users.me"]);
        assert_eq!(passing(&Filter::default().allow(any().path("/"))).len(), 5);
        let filter = Filter::default().allow(any().tag("issues")).deny(any().method(Method::DELETE));
        assert_eq!(passing(&filter), ["issues.list", "issues.create"]);
        let filter =
            Filter::default().allow(any().operation("users/me")).allow(any().operation("issues.list"));
        assert_eq!(passing(&filter), ["issues.list", "users.me"]);
        assert_eq!(passing(&filter.deny(any())), [] as [&str; 0]);
        let both = Filter::default().allow(any().tag("issues").method(Method::POST));
        assert_eq!(passing(&both), ["issues.create"]);
    }
}
