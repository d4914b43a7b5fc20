//! Guards by words, patterns and length.

use agentprovision_core::context::Context;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{Guard, GuardAction, GuardVerdict, Inspected, Redaction};
use crate::clip;

/// The most memory a compiled pattern takes, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// Words and patterns that are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatternConfig {
    /// Words or phrases; whole, in upper or lower case.
    pub words: Vec<String>,
    /// Regular expressions in the syntax of the crate `regex`, which takes time in proportion to the text.
    pub patterns: Vec<String>,
    /// What is done where one is found; blocked by default.
    pub action: GuardAction,
}

impl PatternConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.words.is_empty() && self.patterns.is_empty() {
            problems.push("there is neither a word nor a pattern".to_owned());
        }
        for (place, _) in self.words.iter().enumerate().filter(|(_, word)| word.trim().is_empty()) {
            problems.push(format!("`words[{place}]` is empty"));
        }
        for (place, pattern) in self.patterns.iter().enumerate() {
            match compile(pattern) {
                Err(_) => problems.push(format!("`patterns[{place}]`, `{}`, is no pattern", clip(pattern))),
                Ok(pattern) if pattern.is_match("") => {
                    problems.push(format!("`patterns[{place}]` finds something in every text"));
                }
                Ok(_) => {}
            }
        }
        problems
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build()
}

/// Looks for words and patterns. The reasons are `word` and `pattern`.
#[derive(Debug)]
pub struct PatternGuard {
    name: String,
    words: Option<Regex>,
    patterns: Vec<Regex>,
    action: GuardAction,
}

impl PatternGuard {
    /// A guard of this name.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(name: impl Into<String>, config: &PatternConfig) -> Result<Self> {
        super::super::refuse("a guard", &config.problems())?;
        let bad = |error| Error::invalid("a pattern of a guard is too large").with_source(error);
        let words: Vec<String> = config.words.iter().map(|word| whole_word(word.trim())).collect();
        let words = (!words.is_empty()).then(|| compile(&format!("(?i:{})", words.join("|"))));
        let patterns = config.patterns.iter().map(|pattern| compile(pattern));
        Ok(Self {
            name: name.into(),
            words: words.transpose().map_err(bad)?,
            patterns: patterns.collect::<Result<_, _>>().map_err(bad)?,
            action: config.action.clone(),
        })
    }
}

/// A pattern for the word where nothing that belongs to a word is beside it.
fn whole_word(word: &str) -> String {
    let edge = |c: Option<char>| if c.is_some_and(|c| c.is_alphanumeric() || c == '_') { r"\b" } else { "" };
    format!("{}{}{}", edge(word.chars().next()), regex::escape(word), edge(word.chars().next_back()))
}

#[async_trait]
impl Guard for PatternGuard {
    fn name(&self) -> &str {
        &self.name
    }

    async fn inspect(&self, _: &Context, what: &Inspected<'_>) -> Result<GuardVerdict> {
        let all = self.words.iter().map(|words| ("word", words));
        let all = all.chain(self.patterns.iter().map(|pattern| ("pattern", pattern)));
        let mut found = Vec::new();
        for (reason, pattern) in all {
            for hit in pattern.find_iter(what.text).filter(|hit| !hit.is_empty()) {
                match &self.action {
                    GuardAction::Block => return Ok(GuardVerdict::Block(reason.into())),
                    GuardAction::Redact(replacement) => {
                        found.push(Redaction { range: hit.range(), replacement: replacement.clone() });
                    }
                }
            }
        }
        Ok(if found.is_empty() { GuardVerdict::Allow } else { GuardVerdict::Redact(apart(found)) })
    }
}

/// The same places without those that begin within another.
pub(super) fn apart(mut found: Vec<Redaction>) -> Vec<Redaction> {
    found.sort_by_key(|span| (span.range.start, usize::MAX - span.range.end));
    let mut end = 0;
    found.retain(|span| {
        let first = span.range.start >= end;
        if first {
            end = span.range.end;
        }
        first
    });
    found
}

/// Blocks what is longer than so many bytes of text altogether, requests and answers each. The reason is `too_long`.
#[derive(Debug)]
pub struct LengthGuard {
    name: String,
    max_bytes: usize,
}

impl LengthGuard {
    /// A guard of this name.
    pub fn new(name: impl Into<String>, max_bytes: usize) -> Self {
        Self { name: name.into(), max_bytes }
    }
}

#[async_trait]
impl Guard for LengthGuard {
    fn name(&self) -> &str {
        &self.name
    }

    async fn inspect(&self, _: &Context, what: &Inspected<'_>) -> Result<GuardVerdict> {
        let length = what.before.saturating_add(what.text.len());
        Ok(if length > self.max_bytes { GuardVerdict::Block("too_long".into()) } else { GuardVerdict::Allow })
    }
}
