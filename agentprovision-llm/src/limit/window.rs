//! The windows budgets begin anew in.

use std::fmt;
use std::time::Duration;

use agentprovision_core::usage::Period;
use agentprovision_core::{Error, Result, Timestamp};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{RoundMode, Span, Unit, ZonedRound};

use crate::clip;

/// How often a budget begins anew, by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Window {
    /// Every minute, on the minute.
    Minute,
    /// Every day at midnight.
    Day,
    /// Every month, at midnight of its first day.
    Month,
}

impl Window {
    /// Every window.
    pub const ALL: &'static [Self] = &[Self::Minute, Self::Day, Self::Month];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|window| window.name() == name)
    }

    /// The window that `now` is in. A day is as long as the calendar says, where clocks are changed too.
    pub fn period(self, now: Timestamp, zone: &Zone) -> Period {
        // Beyond the calendar, 300 thousand years from now, time is one window.
        self.calendar(now, &zone.0).unwrap_or(Period::ALL)
    }

    fn calendar(self, now: Timestamp, zone: &TimeZone) -> Option<Period> {
        let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
        let of = |time: &jiff::Zoned| Timestamp::from_micros(time.timestamp().as_microsecond());
        let local = now.to_zoned(zone.clone());
        Some(match self {
            Self::Minute => {
                let start =
                    local.round(ZonedRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc)).ok()?;
                let start = of(&start);
                Period { start, end: start.after(Duration::from_secs(60)) }
            }
            Self::Day => {
                let start = local.start_of_day().ok()?;
                let end = local.date().tomorrow().ok()?.to_zoned(zone.clone()).ok()?;
                Period { start: of(&start), end: of(&end) }
            }
            Self::Month => {
                let first = local.date().first_of_month();
                let next = first.checked_add(Span::new().months(1)).ok()?;
                Period {
                    start: of(&first.to_zoned(zone.clone()).ok()?),
                    end: of(&next.to_zoned(zone.clone()).ok()?),
                }
            }
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A time zone. Its rules are those of the table this library was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone with this name of the IANA database, such as `Europe/Lisbon`.
    ///
    /// # Errors
    /// `invalid_input` when there is none.
    pub fn named(name: &str) -> Result<Self> {
        TimeZoneDatabase::bundled().get(name).map(Self).map_err(|error| {
            Error::invalid(format!("there is no time zone `{}`", clip(name))).with_source(error)
        })
    }
}
