//! What an integration proves itself with, as its secret keeps it.

use std::collections::BTreeMap;
use std::fmt;

use agentprovision_core::{Error, Result, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::Field;

/// What an integration proves itself with: what somebody has entered, and the tokens that were got with it.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(crate) fields: BTreeMap<String, SecretString>,
    /// Tokens that expire.
    pub tokens: Option<Tokens>,
}

/// Tokens that expire and can be renewed.
#[derive(Clone)]
pub struct Tokens {
    /// What requests carry.
    pub access: SecretString,
    /// What a new one is got with.
    pub refresh: Option<SecretString>,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
    /// What was granted, in the vendor's words.
    pub scopes: Vec<String>,
    /// When they were got.
    pub got_at: Timestamp,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names alone.
        f.debug_struct("Credentials")
            .field("fields", &self.fields.keys())
            .field("tokens", &self.tokens)
            .finish()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("expires_at", &self.expires_at)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The longest value of a field, in bytes.
const LONGEST: usize = 16 * 1024;

impl Credentials {
    /// Credentials of what somebody has entered.
    ///
    /// # Errors
    /// `invalid_input` for a field that is missing, unknown or no text, naming it; `too_large`.
    pub fn entered(fields: &[Field], entered: &Map<String, Value>) -> Result<Self> {
        let names = || fields.iter().map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", ");
        if let Some(unknown) =
            entered.keys().find(|name| !fields.iter().any(|field| field.name == name.as_str()))
        {
            let unknown: String = unknown.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "the credentials have `{unknown}`; they are made of {}",
                names()
            )));
        }
        let mut found = BTreeMap::new();
        for field in fields {
            match entered.get(&*field.name) {
                Some(Value::String(text)) if text.len() > LONGEST => {
                    return Err(Error::too_large(format!(
                        "`{}` of the credentials is longer than {LONGEST} bytes",
                        field.name
                    )));
                }
                Some(Value::String(text)) if !text.is_empty() => {
                    found.insert(field.name.to_string(), SecretString::from(text.clone()));
                }
                None | Some(Value::Null) if field.optional => {}
                Some(Value::String(_) | Value::Null) | None => {
                    return Err(Error::invalid(format!("the credentials lack `{}`", field.name)));
                }
                // Never the value.
                Some(_) => {
                    return Err(Error::invalid(format!("`{}` of the credentials is not a text", field.name)));
                }
            }
        }
        Ok(Self { fields: found, tokens: None })
    }

    /// A field.
    ///
    /// # Errors
    /// `conflict` when there is none.
    pub fn field(&self, name: &str) -> Result<&SecretString> {
        self.optional(name)
            .ok_or_else(|| Error::conflict(format!("the credentials of the integration lack `{name}`")))
    }

    /// A field that can be left out.
    pub fn optional(&self, name: &str) -> Option<&SecretString> {
        self.fields.get(name)
    }

    /// Everything in it that must not be shown.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let tokens =
            self.tokens.iter().flat_map(|tokens| std::iter::once(&tokens.access).chain(&tokens.refresh));
        self.fields.values().chain(tokens).map(ExposeSecret::expose_secret)
    }

    /// The form in which the secret keeps it.
    pub(crate) fn to_secret(&self) -> SecretString {
        let fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.expose_secret())))
            .collect();
        let tokens = self.tokens.as_ref().map(|tokens| {
            json!({
                "access": tokens.access.expose_secret(),
                "refresh": tokens.refresh.as_ref().map(ExposeSecret::expose_secret),
                "expires_at": tokens.expires_at,
                "scopes": tokens.scopes,
                "got_at": tokens.got_at,
            })
        });
        SecretString::from(json!({ "v": 1, "fields": fields, "tokens": tokens }).to_string())
    }

    /// What a secret keeps.
    ///
    /// # Errors
    /// `corrupt` for what is none.
    pub(crate) fn from_secret(secret: &SecretString) -> Result<Self> {
        let bad = || Error::corrupt("the integration's credentials cannot be read");
        let kept: Value = serde_json::from_str(secret.expose_secret()).map_err(|_| bad())?;
        let text = |value: &Value| value.as_str().map(|text| SecretString::from(text.to_owned()));
        let fields = kept.get("fields").and_then(Value::as_object).ok_or_else(bad)?;
        let fields = fields
            .iter()
            .map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let tokens = match kept.get("tokens") {
            None | Some(Value::Null) => None,
            Some(tokens) => {
                let time = |name: &str| {
                    let time = tokens.get(name).and_then(Value::as_str).map(str::parse::<Timestamp>);
                    time.transpose().map_err(|_| bad())
                };
                let scopes = tokens.get("scopes").and_then(Value::as_array);
                let scopes =
                    scopes.map(|scopes| scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect());
                Some(Tokens {
                    access: tokens.get("access").and_then(text).ok_or_else(bad)?,
                    refresh: tokens.get("refresh").and_then(text),
                    expires_at: time("expires_at")?,
                    scopes: scopes.unwrap_or_default(),
                    got_at: time("got_at")?.unwrap_or_default(),
                })
            }
        };
        Ok(Self { fields, tokens })
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn entered(value: Value) -> Result<Credentials> {
        let fields = [Field::new("user", "u"), Field::new("key", "k"), Field::new("realm", "r").optional()];
        Credentials::entered(&fields, value.as_object().unwrap())
    }

    #[test]
    fn what_is_entered_is_checked_by_name_and_never_shown() {
        let good = entered(json!({ "user": "ada", "key": "canary-1234", "realm": null })).unwrap();
        assert_eq!(good.field("key").unwrap().expose_secret(), "canary-1234");
        assert!(good.optional("realm").is_none());
        assert!(!format!("{good:?}").contains("canary"));
        for (bad, kind, named) in [
            (json!({ "user": "ada" }), ErrorKind::InvalidInput, "`key`"),
            (json!({ "user": "ada", "key": "" }), ErrorKind::InvalidInput, "`key`"),
            (json!({ "user": "ada", "key": ["canary"] }), ErrorKind::InvalidInput, "`key`"),
            (json!({ "user": "ada", "key": "k", "kee": "canary" }), ErrorKind::InvalidInput, "`kee`"),
            (json!({ "user": "ada", "key": "canary".repeat(5000) }), ErrorKind::TooLarge, "`key`"),
        ] {
            let error = entered(bad).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.message().contains(named) && !format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn credentials_come_back_from_their_secret() {
        let mut credentials = entered(json!({ "user": "ada", "key": "k" })).unwrap();
        credentials.tokens = Some(Tokens {
            access: SecretString::from("a"),
            refresh: Some(SecretString::from("r")),
            expires_at: Some(Timestamp::from_micros(1_700_000_000_000_000)),
            scopes: vec!["repo".into()],
            got_at: Timestamp::from_micros(1_600_000_000_000_000),
        });
        let back = Credentials::from_secret(&credentials.to_secret()).unwrap();
        assert_eq!(back.to_secret().expose_secret(), credentials.to_secret().expose_secret());
        assert_eq!(back.secrets().collect::<Vec<_>>(), ["k", "ada", "a", "r"]);
        for bad in ["", "{}", r#"{"fields":{"a":1}}"#, r#"{"fields":{},"tokens":{}}"#] {
            let error = Credentials::from_secret(&SecretString::from(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
