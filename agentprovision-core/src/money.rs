//! Money as integers: prices in pico-USD per token, costs in nano-USD.
//!
//! No floating point comes near money. A price times a token count is summed exactly in `i128` pico-USD and rounded
//! half up once per request; decimal strings are made and read at the edges.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An amount of US dollars in nano-USD (10⁻⁹ USD). Shown and serialised as a decimal string such as `0.000105`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(i64);

impl NanoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// An amount from a count of nano-USD.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The count of nano-USD.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Rounds exact pico-USD half up to nano-USD; saturates at the range of `i64`.
    pub fn from_picos(picos: i128) -> Self {
        let nanos = picos.saturating_add(500).div_euclid(1000);
        Self(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The sum, saturating at the range of `i64`.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        let total: i128 = iter.map(|amount| i128::from(amount.0)).sum();
        Self(i64::try_from(total).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Decimal::new(self.0, 9).normalize())
    }
}

impl FromStr for NanoUsd {
    type Err = Error;

    /// Reads a decimal number of dollars with at most nine fractional digits, such as `0.05`.
    ///
    /// # Errors
    /// `invalid_input` when the text is no decimal number, has more than nine fractional digits or is out of range.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("`{}` is not an amount of dollars with at most nine decimals", clip(text)))
        };
        let value = Decimal::from_str_exact(text).map_err(|_| bad())?;
        let nanos = value.checked_mul(Decimal::from(1_000_000_000_i64)).ok_or_else(bad)?;
        if !nanos.fract().is_zero() {
            return Err(bad());
        }
        nanos.to_i64().map(Self).ok_or_else(bad)
    }
}

crate::schema::text_schema!(
    NanoUsd,
    "NanoUsd",
    "decimal",
    "US dollars as decimal text, at most nine decimals."
);

impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A price in pico-USD (10⁻¹² USD) per token: `2_500_000` is 2.50 USD per million tokens.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct PicoUsd(pub i64);

impl PicoUsd {
    /// The exact price of `tokens` tokens, in pico-USD.
    pub fn times(self, tokens: u64) -> i128 {
        i128::from(self.0) * i128::from(tokens)
    }
}

/// What something cost: an amount, or unknown because no price is known. Unknown is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The cost is known.
    Known(NanoUsd),
    /// There is no price for the model, so there is no cost either.
    Unknown,
}

impl Cost {
    /// The amount where it is known.
    pub const fn known(self) -> Option<NanoUsd> {
        match self {
            Cost::Known(amount) => Some(amount),
            Cost::Unknown => None,
        }
    }

    /// The sum; unknown when either part is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Cost::Known(a), Cost::Known(b)) => Cost::Known(a + b),
            _ => Cost::Unknown,
        }
    }
}

impl From<Option<NanoUsd>> for Cost {
    fn from(amount: Option<NanoUsd>) -> Self {
        amount.map_or(Cost::Unknown, Cost::Known)
    }
}

/// The first 64 characters of user input, for error messages.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_round_trips_and_bad_text_is_refused() {
        for (text, nanos) in [("0.05", 50_000_000), ("0", 0), ("1", 1_000_000_000), ("-0.000000001", -1)] {
            let amount: NanoUsd = text.parse().unwrap();
            assert_eq!(amount.nanos(), nanos);
            assert_eq!(amount.to_string(), text);
        }
        for text in ["", "a", "1e3", "0.0000000001", "99999999999999", "0x1", "1,5"] {
            assert!(text.parse::<NanoUsd>().is_err(), "{text}");
        }
    }

    #[test]
    fn picos_round_half_up_once() {
        for (picos, nanos) in [(499, 0), (500, 1), (1499, 1), (1500, 2), (-500, 0), (-501, -1)] {
            assert_eq!(NanoUsd::from_picos(picos).nanos(), nanos);
        }
        assert_eq!(NanoUsd::from_picos(i128::MAX).nanos(), i64::MAX);
        assert_eq!(NanoUsd::from_picos(i128::MIN).nanos(), i64::MIN);
    }

    #[test]
    fn a_sum_of_a_million_settlements_is_exact() {
        let total: NanoUsd = std::iter::repeat_n(NanoUsd::from_nanos(887), 1_000_000).sum();
        assert_eq!(total.to_string(), "0.887");
    }
}
