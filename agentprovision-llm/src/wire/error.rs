//! What went wrong at a provider, as a closed set of categories with one policy each.

use std::fmt;
use std::time::Duration;

use agentprovision_core::model::Usage;
use agentprovision_core::{Error, ErrorKind, Retry};
use serde_json::Value;

use super::hint::RetryHint;

/// What may be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the same request to the same target can succeed later.
    pub retry_same_target: bool,
    /// Whether another target may succeed with the same request.
    pub failover_to_other_target: bool,
    /// Whether the error says something about the health of the target, not of the request.
    pub counts_against_target_health: bool,
}

macro_rules! categories {
    ($($(#[$doc:meta])* $name:ident $code:literal $kind:ident [$retry:literal $failover:literal $health:literal] $message:literal,)*) => {
        /// What kind of failure it was. One row of a table each: the kind of [`Error`] it becomes, its [`Policy`] and
        /// the message a tenant may read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Category { $($(#[$doc])* $name,)* }

        impl Category {
            /// Every category.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable snake_case name.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The kind of [`Error`] it becomes.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$name => ErrorKind::$kind,)* }
            }

            /// What may be done about it.
            pub const fn policy(self) -> Policy {
                match self { $(Self::$name => Policy {
                    retry_same_target: $retry == 1,
                    failover_to_other_target: $failover == 1,
                    counts_against_target_health: $health == 1,
                },)* }
            }

            /// What a tenant may read about it; never the provider's own words.
            const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

categories! {
    // The three digits: retry the same target, fail over to another, count against the target's health.
    /// The request breaks a rule of the provider; it fails everywhere.
    InvalidRequest "invalid_request" InvalidInput [0 0 0] "the model provider refused the request as invalid",
    /// The provider's content policy refused the request.
    ContentPolicy "content_policy" ContentPolicy [0 0 0] "the model provider's content policy refused the request",
    /// The request does not fit the model's context window; a model with a larger one may take it.
    ContextWindow "context_window_exceeded" ContextWindow [0 1 0] "the request does not fit the model's context window",
    /// The credential is missing, wrong or revoked.
    Authentication "authentication" ProviderError [0 1 1] "the model provider refused the platform's credential",
    /// The credential may not do this.
    Permission "permission" ProviderError [0 1 0] "the model provider does not allow the platform to do this",
    /// The account has no credit left; waiting does not help.
    QuotaExhausted "quota_exhausted" ProviderError [0 1 1] "the platform's quota at the model provider is used up",
    /// No such model, or a wrong address.
    NotFound "not_found" ProviderError [0 1 0] "the model provider does not have this model",
    /// The provider does not do this at all.
    Unsupported "unsupported" ProviderError [0 1 0] "the model provider does not support this",
    /// Too many requests or tokens for now.
    RateLimit "rate_limit" RateLimited [1 1 1] "the model provider takes no more requests for now",
    /// The one request is larger than the account's whole limit; waiting does not help.
    RequestExceedsLimit "request_exceeds_limit" TooLarge [0 1 0] "the request is larger than the model provider's limit",
    /// The provider has no capacity for now.
    Overloaded "overloaded" Unavailable [1 1 1] "the model provider is overloaded",
    /// The provider failed.
    ServerError "server_error" ProviderError [1 1 1] "the model provider failed to answer",
    /// The provider gave up waiting for itself.
    Timeout "timeout" DeadlineExceeded [1 1 1] "the model provider did not answer in time",
    /// The exchange broke off.
    Transport "transport" Unavailable [1 1 1] "the model provider could not be reached",
    /// The answer is no answer: not the format, or a success status without content.
    Malformed "malformed" ProviderError [0 1 1] "the model provider's answer could not be understood",
    /// The answer ended before the event that says why it ended.
    Incomplete "incomplete" Incomplete [1 1 1] "the model's answer ended before it was complete",
    /// The answer is larger than this library accepts.
    AnswerTooLarge "answer_too_large" TooLarge [0 1 0] "the model provider's answer is larger than the limit",
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An error as a provider reported it.
///
/// It carries the provider's own words, which may quote the prompt or a credential, so it never reaches a tenant:
/// converted into an [`Error`] it becomes the source, and the error's message is a fixed sentence per category. Get it
/// back by downcasting [`std::error::Error::source`].
#[derive(Clone, PartialEq, thiserror::Error)]
#[error("{category}{}{}{}: {message}", show("status", status.as_ref()), show("code", provider_code.as_ref()), show("type", provider_type.as_ref()))]
#[non_exhaustive]
pub struct ProviderError {
    /// What kind of failure it was.
    pub category: Category,
    /// The HTTP status, or the one an error within a successful answer names.
    pub status: Option<u16>,
    /// The provider's code, numbers as text.
    pub provider_code: Option<String>,
    /// The provider's type of error.
    pub provider_type: Option<String>,
    /// The provider's words, at most 2000 characters.
    pub message: String,
    /// The provider's error object, unchanged; it may quote the conversation.
    pub details: Option<Box<Value>>,
    /// Every hint about when to retry, the most trustworthy first.
    pub hints: Vec<RetryHint>,
    /// Token counts that came with the failure in one body: the provider may bill them. A stream gives those it has
    /// seen before its error.
    pub usage: Option<Box<Usage>>,
}

fn show<T: fmt::Display>(name: &str, value: Option<&T>) -> String {
    value.map(|value| format!(" ({name} {value})")).unwrap_or_default()
}

impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the details: they are the part most likely to quote the conversation.
        f.debug_struct("ProviderError")
            .field("category", &self.category)
            .field("status", &self.status)
            .field("provider_code", &self.provider_code)
            .field("provider_type", &self.provider_type)
            .field("message", &self.message)
            .field("hints", &self.hints)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

impl ProviderError {
    /// The longest message that is kept, in characters.
    const MESSAGE: usize = 2000;

    /// An error of a category with the provider's (or the decoder's) words.
    pub fn new(category: Category, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(Self::MESSAGE) {
            message.truncate(end);
        }
        Self {
            category,
            status: None,
            provider_code: None,
            provider_type: None,
            message,
            details: None,
            hints: Vec::new(),
            usage: None,
        }
    }

    /// What may be done about it.
    pub fn policy(&self) -> Policy {
        self.category.policy()
    }

    /// Whether it is about an answer that came, with a success status, and that nobody could use: the provider did the
    /// work and may bill it.
    pub(crate) fn is_of_an_answer(&self) -> bool {
        matches!(self.category, Category::Malformed | Category::AnswerTooLarge | Category::Incomplete)
            && self.status.is_none_or(|status| (200..300).contains(&status))
    }

    /// How long to wait before a retry: the longest of the hints, because they are lower bounds of different limits.
    pub fn retry_after(&self) -> Option<Duration> {
        self.hints.iter().map(|hint| hint.after).max()
    }

    /// The same error with every occurrence of `secret` taken out of the provider's words.
    #[must_use]
    pub fn redacted(mut self, secret: &str) -> Self {
        if secret.is_empty() {
            return self;
        }
        for text in [Some(&mut self.message), self.provider_code.as_mut(), self.provider_type.as_mut()] {
            if let Some(text) = text.filter(|text| text.contains(secret)) {
                *text = text.replace(secret, "[redacted]");
            }
        }
        if self.details.as_ref().is_some_and(|details| mentions(details, secret)) {
            self.details = None;
        }
        self
    }
}

fn mentions(value: &Value, secret: &str) -> bool {
    match value {
        Value::String(text) => text.contains(secret),
        Value::Array(items) => items.iter().any(|item| mentions(item, secret)),
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.contains(secret) || mentions(value, secret))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The kind and the message are those of the category. A retry is advised where the policy allows it on the same target,
/// after the longest hint, or after zero (the caller's own backoff) where the provider gave none.
impl From<ProviderError> for Error {
    fn from(error: ProviderError) -> Self {
        let retry = if error.policy().retry_same_target {
            Retry::After(error.retry_after().unwrap_or_default())
        } else {
            Retry::Never
        };
        let mut out = Error::new(error.category.kind(), error.category.message())
            .with_retry(retry)
            .with_context("category", error.category);
        if let Some(status) = error.status {
            out = out.with_context("status", status);
        }
        out.with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::wire::hint::HintSource;

    #[test]
    fn the_providers_words_stay_in_the_source() {
        let mut error = ProviderError::new(Category::Authentication, "incorrect API key provided: sk-secret");
        error.status = Some(401);
        error.provider_code = Some("code-sk-secret".into());
        error.details =
            Some(Box::new(serde_json::json!({"message": "incorrect API key provided: sk-secret"})));
        let out = Error::from(error.clone());
        assert_eq!(out.kind(), ErrorKind::ProviderError);
        assert_eq!(out.to_string(), "the model provider refused the platform's credential");
        assert!(!format!("{:?}", out.context()).contains("sk-secret"));
        let source = out.source().and_then(|source| source.downcast_ref::<ProviderError>()).unwrap();
        assert_eq!(source, &error);
        let redacted = Error::from(error.redacted("sk-secret"));
        assert!(!format!("{redacted:?}").contains("sk-secret"), "{redacted:?}");
        assert!(format!("{redacted:?}").contains("incorrect API key provided: [redacted]"));
        let source = redacted.source().and_then(|source| source.downcast_ref::<ProviderError>()).unwrap();
        assert_eq!(source.details, None);
    }

    #[test]
    fn retry_advice_follows_the_policy_and_the_longest_hint() {
        let hint = |ms, source| RetryHint { after: Duration::from_millis(ms), source };
        for category in Category::ALL {
            let mut error = ProviderError::new(*category, "x");
            error.hints = vec![hint(0, HintSource::RetryAfterMs), hint(1000, HintSource::RetryAfter)];
            let expected = if category.policy().retry_same_target {
                Retry::After(Duration::from_secs(1))
            } else {
                Retry::Never
            };
            assert_eq!(Error::from(error).retry(), expected, "{category}");
        }
    }

    #[test]
    fn messages_follow_the_rules_and_are_cut_at_a_character() {
        for category in Category::ALL {
            let message = category.message();
            assert!(message.starts_with(char::is_lowercase) && !message.ends_with('.'), "{message}");
        }
        let long = "é".repeat(5000);
        assert_eq!(ProviderError::new(Category::Malformed, long).message.chars().count(), 2000);
    }
}
