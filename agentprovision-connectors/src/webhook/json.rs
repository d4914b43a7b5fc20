//! Objects of which some fields are typed and everything is kept as it came.
//!
//! What is not typed stays text, so numbers of any size and form are written as they were read. So is a typed field that
//! was sent with a value of another type: the field is then absent, and [`Fields`] has what came.

use std::collections::BTreeMap;
use std::fmt;

use agentprovision_core::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A JSON value as it was written.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value as a type, where it has its form and fits.
    pub fn to<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }

    /// The text of what is here in an object or array, by names and indexes joined with dots: strings without their
    /// quotes, numbers and booleans as they were written.
    pub fn text(&self, path: &str) -> Option<String> {
        plain(walk(&self.0, path.split('.'))?)
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }

    pub(crate) fn from_raw(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Json").field(&self.as_str()).finish()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// The fields of an object that have no type of their own, by name. Of a name that was sent twice the last one is kept, as
/// readers of JSON do.
#[derive(Clone, PartialEq, Default)]
pub struct Fields(BTreeMap<String, Json>);

impl Fields {
    /// The field with this name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// The fields, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Takes a field that is there and of this type.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.0.get(name)?.to()?;
        self.0.remove(name);
        Some(value)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}

/// Declares objects: `needs` are fields without which it is not one, `has` are those that may be missing. A name in JSON
/// that is no Rust name follows the field as a literal.
macro_rules! object {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            needs { $($(#[$nmeta:meta])* $need:ident $($nkey:literal)? : $nty:ty,)* }
            has { $($(#[$hmeta:meta])* $have:ident $($hkey:literal)? : $hty:ty,)* }
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$nmeta])* pub $need: $nty,)*
            $($(#[$hmeta])* pub $have: Option<$hty>,)*
            /// Everything else that was sent.
            pub extra: $crate::webhook::json::Fields,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(unused_mut, reason = "some objects have no typed fields")]
                let mut extra = $crate::webhook::json::Fields::deserialize(deserializer)?;
                $(let $need = extra.take($crate::webhook::json::key!($need $($nkey)?)).ok_or_else(|| {
                    serde::de::Error::custom(concat!("`", $crate::webhook::json::key!($need $($nkey)?), "` is missing"))
                })?;)*
                $(let $have = extra.take($crate::webhook::json::key!($have $($hkey)?));)*
                Ok(Self { $($need,)* $($have,)* extra })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry($crate::webhook::json::key!($need $($nkey)?), &self.$need)?;)*
                $(if let Some(value) = &self.$have {
                    map.serialize_entry($crate::webhook::json::key!($have $($hkey)?), value)?;
                })*
                for (name, value) in self.extra.iter() {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    )*};
}

/// The name of a field in JSON.
macro_rules! key {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $key:literal) => {
        $key
    };
}

/// Declares the bodies of a vendor, told by a kind. A body that is not in the form of its kind is what is said
/// under `otherwise`, which asks for nothing.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $name:ident {
            otherwise { $(#[$ometa:meta])* $other:ident($oty:ty) }
            $($(#[$vmeta:meta])* $variant:ident($ty:ty) = $($kind:literal)|+,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vmeta])* $variant(Box<$ty>),)*
            $(#[$ometa])* $other(Box<$oty>),
        }

        impl $name {
            /// Reads a body of this kind; nothing when it is no object.
            pub(crate) fn read(kind: &str, raw: &serde_json::value::RawValue) -> Option<Self> {
                let typed = match kind {
                    $($($kind)|+ => {
                        serde_json::from_str(raw.get()).ok().map(|body| Self::$variant(Box::new(body)))
                    })*
                    _ => None,
                };
                typed.or_else(|| serde_json::from_str(raw.get()).ok().map(|body| Self::$other(Box::new(body))))
            }

            /// Whether the body has the type of its kind.
            pub fn is_typed(&self) -> bool {
                !matches!(self, Self::$other(_))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(body) => body.serialize(serializer),)*
                    Self::$other(body) => body.serialize(serializer),
                }
            }
        }
    };
}

pub(crate) use {choice, key, object};

/// An object that is looked into by paths.
pub(crate) struct View<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> View<'a> {
    /// Nothing when it is no object.
    pub(crate) fn new(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok().map(Self)
    }

    /// What is here, by names joined with dots.
    pub(crate) fn at(&self, path: &str) -> Option<&'a RawValue> {
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        walk(first, names)
    }

    /// A string, number or boolean as text; nothing when it is empty.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        plain(self.at(path)?).filter(|text| !text.is_empty())
    }

    /// The first of these that is there.
    pub(crate) fn first(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// A time in any of the forms in which vendors write them.
    pub(crate) fn time(&self, path: &str) -> Option<Timestamp> {
        time(&self.text(path)?)
    }

    /// The latest of these.
    pub(crate) fn latest(&self, paths: &[&str]) -> Option<Timestamp> {
        paths.iter().filter_map(|path| self.time(path)).max()
    }

    /// The host of a URL.
    pub(crate) fn host(&self, path: &str) -> Option<String> {
        url::Url::parse(&self.text(path)?).ok()?.host_str().map(str::to_owned)
    }
}

/// What is at the end of these names and indexes.
pub(crate) fn walk<'a, 'p>(
    mut raw: &'a RawValue,
    names: impl Iterator<Item = &'p str>,
) -> Option<&'a RawValue> {
    for name in names {
        raw = match raw.get().as_bytes().first()? {
            b'{' => *serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()).ok()?.get(name)?,
            b'[' => {
                *serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.get(name.parse::<usize>().ok()?)?
            }
            _ => return None,
        };
    }
    Some(raw)
}

/// A string, number or boolean as text.
pub(crate) fn plain(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

/// Reads a time: RFC 3339, the same with a space or with `UTC` (GitLab), with an offset without a colon (Jira), and
/// seconds or milliseconds since 1970, with or without a fraction (Slack, Stripe).
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.is_empty() && [whole, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
        let number: i64 = whole.parse().ok()?;
        // Seconds have eleven digits until the year 5138, milliseconds have twelve from 1973 on.
        if number >= 100_000_000_000 {
            return number.checked_mul(1_000).map(Timestamp::from_micros);
        }
        let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
        let micros = number.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)?;
        return Some(Timestamp::from_micros(micros));
    }
    let text = match text.strip_suffix(" UTC") {
        Some(time) => format!("{time}Z"),
        None => match text.rsplit_once(' ') {
            Some((time, offset)) if offset.starts_with(['+', '-']) => format!("{time}{offset}"),
            _ => text.to_owned(),
        },
    };
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(unreachable_pub, reason = "the macro is for bodies that others see")]

    use super::*;

    object! {
        /// For the tests.
        Thing {
            needs {
                /// Its id.
                id: u64,
            }
            has {
                /// Its name.
                name: String,
                /// Its type.
                kind "type": String,
                /// Others.
                parts: Vec<Thing>,
            }
        }
    }

    #[test]
    fn everything_is_written_as_it_was_read() {
        let text = r#"{"id":18446744073709551615,"name":null,"type":"x","parts":[{"id":1,"n":1e2}],
            "big":123456789012345678901234567890,"small":0.10,"e":1E400,"lone":"\ud800","minus":-0}"#;
        let thing: Thing = serde_json::from_str(text).unwrap();
        assert_eq!((thing.id, thing.name.as_deref(), thing.kind.as_deref()), (u64::MAX, None, Some("x")));
        assert_eq!(thing.parts.as_ref().unwrap()[0].extra.get("n").unwrap().as_str(), "1e2");
        assert_eq!(
            serde_json::to_string(&thing).unwrap(),
            r#"{"id":18446744073709551615,"type":"x","parts":[{"id":1,"n":1e2}],"big":123456789012345678901234567890,"#
                .to_owned()
                + r#""e":1E400,"lone":"\ud800","minus":-0,"name":null,"small":0.10}"#
        );
    }

    #[test]
    fn a_field_of_another_type_is_kept_and_a_needed_one_refuses() {
        let thing: Thing = serde_json::from_str(r#"{"id":1,"name":7,"parts":[{"id":"x"}]}"#).unwrap();
        assert_eq!((thing.name.clone(), thing.parts.clone()), (None, None));
        assert_eq!(serde_json::to_string(&thing).unwrap(), r#"{"id":1,"name":7,"parts":[{"id":"x"}]}"#);
        assert!(serde_json::from_str::<Thing>(r#"{"id":-1}"#).is_err());
        assert!(serde_json::from_str::<Thing>("[]").is_err());
        // The last of two wins, as with other readers.
        let twice: Thing = serde_json::from_str(r#"{"id":1,"id":2,"x":1,"x":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&twice).unwrap(), r#"{"id":2,"x":2}"#);
    }

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let raw: &RawValue =
            serde_json::from_str(r#"{"a":{"b":[{"c":"x\u001b"},12,true,null]},"e":""}"#).unwrap();
        let view = View::new(raw).unwrap();
        assert_eq!(view.text("a.b.0.c").unwrap(), "x\u{1b}");
        assert_eq!(view.text("a.b.1").unwrap(), "12");
        assert_eq!(view.text("a.b.2").unwrap(), "true");
        for nothing in ["a.b.3", "a.b.4", "a.b.x", "a", "e", "e.f", "z"] {
            assert_eq!(view.text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (text, expected) in [
            ("2019-05-15T15:20:18Z", "2019-05-15T15:20:18.000000Z"),
            ("2015-05-17 18:08:09 UTC", "2015-05-17T18:08:09.000000Z"),
            ("2021-04-28 21:50:00 +0200", "2021-04-28T19:50:00.000000Z"),
            ("2019-02-15T19:11:18.321-0800", "2019-02-16T03:11:18.321000Z"),
            ("2016-09-19T13:03:26.4285528Z", "2016-09-19T13:03:26.428552Z"),
            ("1557933565", "2019-05-15T15:19:25.000000Z"),
            ("1550286678321", "2019-02-16T03:11:18.321000Z"),
            ("1355517523.000005", "2012-12-14T20:38:43.000005Z"),
            ("1355517523.5", "2012-12-14T20:38:43.500000Z"),
        ] {
            assert_eq!(time(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
        for bad in ["", "x", ".", "-1", "99999999999999999999", "2019-05-15", "1e9", "12.x"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
