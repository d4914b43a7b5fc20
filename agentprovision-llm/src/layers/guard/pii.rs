//! What says who somebody is, and what opens a door.

use std::ops::Range;

use agentprovision_core::context::Context;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::builtin::apart;
use super::{Guard, GuardVerdict, Inspected, Redaction};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PiiKind {
    /// An e-mail address.
    Email,
    /// The number of a payment card: 13 to 19 digits whose check digit holds (ISO/IEC 7812-1, annex B).
    CreditCard,
    /// A bank account number whose check digits hold (ISO 13616-1).
    Iban,
    /// A private key, a JSON web token, or a key in the form a well-known service gives out.
    Key,
}

impl PiiKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Email, Self::CreditCard, Self::Iban, Self::Key];

    fn pattern(self) -> &'static str {
        match self {
            Self::Email => {
                r"(?i)\b[a-z0-9._%+-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}\b"
            }
            // Groups of digits; which of them make a number is decided by the check digit.
            Self::CreditCard => r"\b[0-9](?:[ -]?[0-9]){12,}\b",
            Self::Iban => r"(?i)\b[a-z]{2}[0-9]{2}(?:[ -]?[a-z0-9]){11,40}\b",
            Self::Key => concat!(
                r"-{5}BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
                r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
                r"|\bsk-[A-Za-z0-9_-]{20,}",
                r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
                r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}",
                r"|\bglpat-[A-Za-z0-9_-]{20,}",
                r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
                r"|\bAIza[A-Za-z0-9_-]{35}",
            ),
        }
    }

    /// What stands where one was.
    pub const fn replacement(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::CreditCard => "[card]",
            Self::Iban => "[iban]",
            Self::Key => "[key]",
        }
    }

    /// The code of the reason when one is blocked.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::CreditCard => "credit_card",
            Self::Iban => "iban",
            Self::Key => "key",
        }
    }
}

/// What is looked for, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PiiConfig {
    /// What is looked for; everything by default.
    pub kinds: Vec<PiiKind>,
    /// Whether a text with one is blocked; by default what is found is replaced by its kind, such as `[email]`.
    pub block: bool,
}

impl Default for PiiConfig {
    fn default() -> Self {
        Self { kinds: PiiKind::ALL.to_vec(), block: false }
    }
}

/// Looks for personal data and secrets by their form, so it finds what has a form and nothing else: no names and no
/// addresses of houses.
#[derive(Debug)]
pub struct PiiGuard {
    name: String,
    patterns: Vec<(PiiKind, Regex)>,
    block: bool,
}

impl PiiGuard {
    /// A guard of this name.
    ///
    /// # Errors
    /// `invalid_input` when there is nothing to look for.
    pub fn new(name: impl Into<String>, config: &PiiConfig) -> Result<Self> {
        if config.kinds.is_empty() {
            return Err(Error::invalid("a guard for personal data has no kind to look for"));
        }
        let patterns = config.kinds.iter().map(|kind| Ok((*kind, Regex::new(kind.pattern())?)));
        let patterns = patterns.collect::<Result<_, regex::Error>>();
        let patterns =
            patterns.map_err(|error| Error::internal("a built-in pattern is none").with_source(error))?;
        Ok(Self { name: name.into(), patterns, block: config.block })
    }
}

#[async_trait]
impl Guard for PiiGuard {
    fn name(&self) -> &str {
        &self.name
    }

    async fn inspect(&self, _: &Context, what: &Inspected<'_>) -> Result<GuardVerdict> {
        let mut found = Vec::new();
        for (kind, pattern) in &self.patterns {
            for hit in pattern.find_iter(what.text) {
                let ranges = match kind {
                    PiiKind::CreditCard => numbers(what.text, hit.range(), is_card),
                    PiiKind::Iban => numbers(what.text, hit.range(), is_iban),
                    _ => vec![hit.range()],
                };
                if self.block && !ranges.is_empty() {
                    return Ok(GuardVerdict::Block(kind.code().into()));
                }
                let replacement = || kind.replacement().to_owned();
                found.extend(ranges.into_iter().map(|range| Redaction { range, replacement: replacement() }));
            }
        }
        Ok(if found.is_empty() { GuardVerdict::Allow } else { GuardVerdict::Redact(apart(found)) })
    }
}

/// The most groups that are taken for one number.
const GROUPS: usize = 12;

/// The numbers that hold in a row of groups of letters and digits. One begins and ends where a group does, so that not
/// every long row of digits has one somewhere within.
fn numbers(text: &str, row: Range<usize>, holds: fn(&[u8]) -> bool) -> Vec<Range<usize>> {
    let bytes = text.get(row.clone()).unwrap_or_default().as_bytes();
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for end in 0..=bytes.len() {
        if bytes.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric()) {
            groups.push(start..end);
            start = end + 1;
        }
    }
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        // The longest one that begins here.
        let mut number = Vec::new();
        let mut longest = None;
        for (place, group) in groups.iter().enumerate().skip(first).take(GROUPS) {
            number.extend_from_slice(bytes.get(group.clone()).unwrap_or_default());
            if holds(&number) {
                longest = Some((place, group.end));
            }
        }
        let begins = groups.get(first).map_or(0, |group| group.start);
        first = match longest {
            Some((place, end)) => {
                found.push(row.start + begins..row.start + end);
                place + 1
            }
            None => first + 1,
        };
    }
    found
}

/// The formula of Luhn over a number of the length and first digit that cards have.
fn is_card(number: &[u8]) -> bool {
    if !(13..=19).contains(&number.len())
        || !number.first().is_some_and(|first| (b'2'..=b'6').contains(first))
    {
        return false;
    }
    let sum: u32 = number.iter().rev().enumerate().map(|(place, byte)| luhn(place, *byte)).sum();
    number.iter().all(u8::is_ascii_digit) && sum.is_multiple_of(10)
}

fn luhn(place: usize, byte: u8) -> u32 {
    let digit = u32::from(byte.wrapping_sub(b'0'));
    match (place % 2, digit) {
        (0, digit) => digit,
        (_, digit) if digit > 4 => 2 * digit - 9,
        (_, digit) => 2 * digit,
    }
}

/// The first four characters moved to the end, letters as numbers from 10 on: the rest of a division by 97 is 1.
fn is_iban(number: &[u8]) -> bool {
    let Some((head, tail)) = number.split_at_checked(4) else { return false };
    let formed = matches!(head, [a, b, c, d] if [a, b].iter().all(|c| c.is_ascii_alphabetic())
        && [c, d].iter().all(|c| c.is_ascii_digit()));
    if !formed || !(15..=34).contains(&number.len()) {
        return false;
    }
    let rest = tail.iter().chain(head).try_fold(0_u32, |rest, byte| {
        let value = char::from(*byte).to_digit(36)?;
        Some((rest * if value > 9 { 100 } else { 10 } + value) % 97)
    });
    rest == Some(1)
}
