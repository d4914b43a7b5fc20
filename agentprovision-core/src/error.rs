//! The one error type of the crate family.
//!
//! Every fallible public operation returns [`Error`]. Its [`ErrorKind`] is a closed, stable vocabulary that maps to an
//! HTTP status and to one exception class per language; [`Retry`] says whether calling again can help. `Display` is
//! safe to show a tenant: internals live in the source chain and in `Debug`.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every fallible operation of the crate family.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $code:literal $http:literal,)*) => {
        /// What went wrong, as a stable vocabulary: match on it, or on [`ErrorKind::code`] across a wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The stable snake_case code of the kind.
            pub const fn code(self) -> &'static str {
                match self { $(ErrorKind::$name => $code,)* }
            }

            /// The HTTP status an API face answers with.
            pub const fn http_status(self) -> u16 {
                match self { $(ErrorKind::$name => $http,)* }
            }
        }
    };
}

kinds! {
    /// The caller's input breaks a documented rule; the message names it.
    InvalidInput "invalid_input" 400,
    /// No credential, or one that is unknown, expired or revoked.
    Unauthenticated "unauthenticated" 401,
    /// A budget has no room for the work.
    BudgetExceeded "budget_exceeded" 402,
    /// The principal may see the resource but not do this to it.
    PermissionDenied "permission_denied" 403,
    /// The tenant is suspended; its data is kept and nothing runs.
    TenantSuspended "tenant_suspended" 403,
    /// The egress policy refuses the destination.
    Blocked "blocked" 403,
    /// The context was made by another issuer than this platform's.
    ForeignContext "foreign_context" 403,
    /// No such thing in this tenant, or the principal may not know of it.
    NotFound "not_found" 404,
    /// The state of the resource does not allow the change, or it changed since it was read.
    Conflict "conflict" 409,
    /// A unique name, domain or id is taken.
    AlreadyExists "already_exists" 409,
    /// The idempotency key was used with another input.
    IdempotencyMismatch "idempotency_mismatch" 409,
    /// Another worker holds the run now; this one must stop.
    Fenced "fenced" 409,
    /// An unsafe effect may or may not have happened; somebody has to look.
    Uncertain "uncertain" 409,
    /// The input is larger than the documented limit.
    TooLarge "too_large" 413,
    /// A cost budget is set and the model's price is unknown.
    PriceUnknown "price_unknown" 422,
    /// The provider's content policy refused the request or the answer.
    ContentPolicy "content_policy" 422,
    /// The request does not fit the model's context window.
    ContextWindow "context_window" 422,
    /// Too many requests for now; retry after the hint.
    RateLimited "rate_limited" 429,
    /// A quota of the tenant is used up.
    QuotaExceeded "quota_exceeded" 429,
    /// The work was cancelled.
    Cancelled "cancelled" 499,
    /// A defect or an unexpected condition of the platform.
    Internal "internal" 500,
    /// Stored data does not verify.
    Corrupt "corrupt" 500,
    /// Asked for something this build or backend does not do.
    Unsupported "unsupported" 501,
    /// The provider or the external system answered with an error.
    ProviderError "provider_error" 502,
    /// The answer ended before it was complete.
    Incomplete "incomplete" 502,
    /// A dependency cannot be reached for now.
    Unavailable "unavailable" 503,
    /// The store can be read but not written.
    ReadOnly "read_only" 503,
    /// The store was written by a newer version of the platform.
    SchemaTooNew "schema_too_new" 503,
    /// The platform, stream or handle is closed.
    Closed "closed" 503,
    /// The deadline passed first.
    DeadlineExceeded "deadline_exceeded" 504,
}

impl ErrorKind {
    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl schemars::JsonSchema for ErrorKind {
    fn schema_name() -> Cow<'static, str> {
        "ErrorKind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.code()).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

impl serde::Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for ErrorKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let code = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| serde::de::Error::custom(format!("unknown error code `{code}`")))
    }
}

/// Whether calling again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Retry {
    /// The same call fails the same way.
    #[default]
    Never,
    /// The same call may succeed after this time.
    After(Duration),
    /// A retry layer tried and gave up; retrying once more on top of it multiplies the load.
    Exhausted,
}

type Source = Arc<dyn StdError + Send + Sync + 'static>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

/// The one error of the crate family: a kind, retry advice, the operation, context pairs and a source.
///
/// `Display` prints what a tenant may read; `Debug` prints everything, on several lines.
#[derive(Clone)]
pub struct Error(Box<Inner>);

impl Error {
    /// An error of `kind` whose `message` a tenant may read: lower case, no final period, user input in backticks.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: Retry::Never,
            operation: None,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, as a tenant may read it.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether calling again can help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The public operation that failed, as `noun.verb`, where known.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// Facts about the failure, as pairs; safe to show to the tenant.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// The same error with retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The same error with the operation; the innermost one stays.
    #[must_use]
    pub fn with_operation(mut self, operation: impl Into<Cow<'static, str>>) -> Self {
        self.0.operation.get_or_insert(operation.into());
        self
    }

    /// The same error with one more fact.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// The same error with its cause; the cause is shown by `Debug` only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync + 'static>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Whether the kind is one of `kinds`.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.kind() == kind
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident $kind:ident,)*) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    /// An [`ErrorKind::InvalidInput`].
    invalid InvalidInput,
    /// An [`ErrorKind::NotFound`].
    not_found NotFound,
    /// An [`ErrorKind::PermissionDenied`].
    denied PermissionDenied,
    /// An [`ErrorKind::Conflict`].
    conflict Conflict,
    /// An [`ErrorKind::AlreadyExists`].
    already_exists AlreadyExists,
    /// An [`ErrorKind::Corrupt`].
    corrupt Corrupt,
    /// An [`ErrorKind::Unsupported`].
    unsupported Unsupported,
    /// An [`ErrorKind::Internal`].
    internal Internal,
    /// An [`ErrorKind::Fenced`].
    fenced Fenced,
    /// An [`ErrorKind::Closed`].
    closed Closed,
    /// An [`ErrorKind::TooLarge`].
    too_large TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)?;
        if let Some(operation) = &self.0.operation {
            write!(f, " in {operation}")?;
        }
        write!(f, ": {}", self.0.message)?;
        match self.0.retry {
            Retry::Never => {}
            Retry::After(after) => write!(f, " (retry after {after:?})")?,
            Retry::Exhausted => f.write_str(" (retries exhausted)")?,
        }
        for (key, value) in &self.0.context {
            write!(f, "\n  {key}: {value}")?;
        }
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
