//! Ids: `Copy` newtypes over UUIDv7 with a type prefix in text and serde form, such as `run_0190…`.
//!
//! An id is a name, not authority: it parses from text, and what may be done with it is decided by the
//! [`Context`](crate::Context) beside it.

use std::fmt;
use std::hash::Hash;

use uuid::Uuid;

/// What every id type can do; implemented by the ids of this module only.
pub trait Id: Copy + fmt::Debug + fmt::Display + Eq + Ord + Hash + Send + Sync + 'static {
    /// The prefix in text form, without the underscore.
    const PREFIX: &'static str;
    /// The UUID behind the id.
    fn uuid(self) -> Uuid;
    /// The id over a UUID that was made by [`Env::id`](crate::Env::id) or read from a store.
    #[doc(hidden)]
    fn from_uuid_unchecked(uuid: Uuid) -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id over a UUID; `None` for the nil UUID, which names nothing.
            pub fn from_uuid(uuid: Uuid) -> Option<Self> {
                (!uuid.is_nil()).then_some(Self(uuid))
            }

            /// The UUID behind the id.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn uuid(self) -> Uuid { self.0 }
            fn from_uuid_unchecked(uuid: Uuid) -> Self { Self(uuid) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::Error;

            /// Reads the prefixed form, or a bare UUID.
            ///
            /// # Errors
            /// `invalid_input` for anything else, the nil UUID and the prefix of another type included.
            fn from_str(text: &str) -> crate::Result<Self> {
                let digits = text.strip_prefix(concat!($prefix, "_")).unwrap_or(text);
                Uuid::try_parse(digits).ok().and_then(Self::from_uuid).ok_or_else(|| {
                    crate::Error::invalid(format!(
                        concat!("`{}` is not an id of the form `", $prefix, "_<uuid>`"),
                        crate::money::clip(text),
                    ))
                })
            }
        }

        crate::schema::text_schema!($name, stringify!($name), "id", concat!("An id of the form `", $prefix, "_<uuid>`."));

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    TenantId "ten",
    /// A user of a tenant.
    UserId "usr",
    /// A project of a tenant.
    ProjectId "prj",
    /// An API key.
    ApiKeyId "key",
    /// An agent.
    AgentId "agt",
    /// A run of an agent.
    RunId "run",
    /// A conversation with an agent.
    SessionId "ses",
    /// A signal sent to a run.
    SignalId "sig",
    /// An approval a run waits for.
    ApprovalId "apv",
    /// A record of the audit log.
    AuditId "aud",
    /// A platform event.
    EventId "evt",
    /// An integration of a tenant.
    IntegrationId "int",
    /// An endpoint for webhooks.
    EndpointId "hok",
    /// A delivery of a webhook.
    DeliveryId "dlv",
    /// A usage event.
    UsageId "use",
    /// A budget reservation.
    ReservationId "rsv",
    /// A backup of a tenant.
    BackupId "bkp",
    /// One request into the platform, for correlation.
    RequestId "req",
    /// A process that drives runs.
    WorkerId "wrk",
    /// The issuer of contexts.
    IssuerId "iss",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_bare_uuids_are_accepted() {
        let id: RunId = crate::Env::default().id();
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
        assert_eq!(id.uuid().to_string().parse::<RunId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<RunId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        assert!(id.to_string().starts_with("run_0"));
    }

    #[test]
    fn malformed_ids_are_refused_by_kind() {
        let other = crate::Env::default().id::<AgentId>().to_string();
        let long = "x".repeat(10_000_000);
        for text in
            ["", "run_", "run_0", "ru", "00000000-0000-0000-0000-000000000000", &other, "run_\u{0}", &long]
        {
            let error = text.parse::<RunId>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            assert!(error.message().len() < 400);
        }
    }
}
