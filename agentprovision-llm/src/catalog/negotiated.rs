//! What a tenant pays where that is not what everybody pays.

use std::fmt;
use std::str::FromStr;

use agentprovision_core::model::{ModelPrice, PriceSheet};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::{Error, Result};

use super::{CatalogEntry, decimal};
use crate::clip;

/// A factor on prices, in steps of a ten-thousandth: `0.85` is fifteen per cent off. From 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier(u32);

const WHOLE: i128 = 10_000;

impl Multiplier {
    fn of(self, price: PicoUsd) -> PicoUsd {
        // Half a pico-USD is rounded up; the result of a valid price is one.
        let picos = (i128::from(price.0) * i128::from(self.0) + WHOLE / 2).div_euclid(WHOLE);
        PicoUsd(i64::try_from(picos).unwrap_or(i64::MAX))
    }

    fn column(self, column: ModelPrice) -> ModelPrice {
        let part = |price: Option<PicoUsd>| price.map(|price| self.of(price));
        ModelPrice {
            cache_read: part(column.cache_read),
            cache_write: part(column.cache_write),
            cache_write_1h: part(column.cache_write_1h),
            reasoning: part(column.reasoning),
            ..ModelPrice::new(self.of(column.input), self.of(column.output))
        }
    }

    /// The sheet with every price of it times the factor, each rounded half up to a pico-USD.
    #[must_use]
    pub fn sheet(self, mut sheet: PriceSheet) -> PriceSheet {
        sheet.base = self.column(sheet.base);
        for variant in &mut sheet.variants {
            variant.price = self.column(variant.price);
        }
        sheet.per_request = sheet.per_request.map(|fee| self.of(fee));
        sheet.per_search = sheet.per_search.map(|fee| self.of(fee));
        sheet
    }
}

impl FromStr for Multiplier {
    type Err = Error;

    /// Reads decimal text with at most four decimals.
    ///
    /// # Errors
    /// `invalid_input` for anything else, and below 0 or above 100.
    fn from_str(text: &str) -> Result<Self> {
        decimal::read(text, 4)
            .filter(|amount| amount.exact && (0..=1_000_000).contains(&amount.units))
            .and_then(|amount| u32::try_from(amount.units).ok())
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is no factor from 0 to 100 with at most four decimals",
                    clip(text)
                ))
            })
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal::show(self.0.into(), 4))
    }
}

/// The terms of one tenant: prices of single models, and a factor on all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// The factor on prices that are not in `entries`; 1 where absent.
    pub multiplier: Option<Multiplier>,
    /// Models with prices of their own. Only names, validity and prices of these are used.
    pub entries: Vec<CatalogEntry>,
}
