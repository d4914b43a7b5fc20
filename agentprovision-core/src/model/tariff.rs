//! What a price may depend on beside the counts: the service tier of an answer, and the time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// How fast a provider promised to answer, which has its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceTier {
    /// As everybody is served.
    Standard,
    /// Within hours.
    Batch,
    /// When there is room.
    Flex,
    /// Before the others.
    Priority,
    /// Faster than that.
    Ultrafast,
    /// One this version does not know; it has the prices of the standard one.
    Other,
}

impl ServiceTier {
    /// The tier by a provider's word for it, in an answer or in a request: OpenAI, Anthropic, Groq, Bedrock and Google
    /// have words of their own. `None` where the word leaves the choice to the provider.
    pub fn from_wire(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "" | "auto" => return None,
            "default" | "standard" | "standard_only" | "on_demand" => Self::Standard,
            "batch" => Self::Batch,
            "flex" | "on_demand_flex" => Self::Flex,
            "priority" | "on_demand_priority" => Self::Priority,
            "ultrafast" => Self::Ultrafast,
            _ => Self::Other,
        })
    }
}

const DAY: i64 = 24 * 60;

/// A time of day in UTC, to the minute; written as `16:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = Error;

    /// Reads `HH:MM`, from `00:00` to `23:59`.
    ///
    /// # Errors
    /// `invalid_input` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str, limit: u16| {
            let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|number| two && *number < limit)
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Some(Self(number(hour, 24)? * 60 + number(minute, 60)?)))
            .ok_or_else(|| {
                Error::invalid(format!("`{}` is not a time of day such as `16:30`", crate::money::clip(text)))
            })
    }
}

crate::schema::text_schema!(TimeOfDay, "TimeOfDay", "time-of-day", "A time of day in UTC, such as `16:30`.");

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// Monday first.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// The day so many days after 1970-01-01, which was a Thursday.
    fn of(days: i64) -> Self {
        let index = usize::try_from((days + 3).rem_euclid(7)).unwrap_or(0);
        Self::ALL.get(index).copied().unwrap_or(Self::Mon)
    }
}

/// Times of day in UTC, on some days of the week or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceWindow {
    /// The first minute.
    pub from: TimeOfDay,
    /// The minute after the last. One that is not later than `from` is on the next day, so the same time is a whole day.
    pub until: TimeOfDay,
    /// The days on which the window begins; every day where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
}

impl PriceWindow {
    /// Whether `at` is within the window.
    pub fn contains(&self, at: Timestamp) -> bool {
        let minutes = at.micros().div_euclid(60_000_000);
        let (day, minute) = (minutes.div_euclid(DAY), minutes.rem_euclid(DAY));
        let (from, until) = (i64::from(self.from.0), i64::from(self.until.0));
        let begins = |day| self.days.is_empty() || self.days.contains(&Weekday::of(day));
        if from < until {
            return begins(day) && (from..until).contains(&minute);
        }
        (minute >= from && begins(day)) || (minute < until && begins(day - 1))
    }
}
