//! What the URL of a store says.

use std::str::FromStr;
use std::time::Duration;

use agentprovision_core::{Env, Error, Result};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

/// The settings of a store.
#[derive(Clone, Debug)]
pub(in crate::store) struct Settings {
    pub(super) options: PgConnectOptions,
    pub(super) env: Env,
    /// Connections at once.
    pub(super) max_connections: usize,
    /// The longest somebody waits for a connection.
    pub(super) acquire_timeout: Duration,
    /// The longest it is tried to reach the server.
    pub(super) connect_timeout: Duration,
    /// A connection that nobody used for so long is closed.
    pub(super) idle_timeout: Duration,
    /// The longest a connection is used.
    pub(super) max_lifetime: Duration,
    /// How often a transaction is tried that others were in the way of.
    pub(in crate::store::sql) attempts: u32,
    /// Whether statements stay prepared. Not behind a pooler that gives each transaction another connection.
    pub(super) prepared: bool,
    /// What a connection is told once; empty where each transaction may be on another.
    pub(super) setup: String,
    /// What follows `BEGIN`, in one message with it.
    pub(super) preamble: String,
}

/// The options of a URL that are ours, their defaults, and what they mean.
pub(in crate::store) const OPTIONS: &[(&str, &str, &str)] = &[
    ("max_connections", "10", "connections at once"),
    ("acquire_timeout_ms", "30000", "the longest somebody waits for one"),
    ("connect_timeout_ms", "10000", "the longest it is tried to reach the server, with growing pauses"),
    ("idle_timeout_ms", "600000", "an idle connection is closed after this time"),
    ("max_lifetime_ms", "1800000", "a connection is replaced after this time"),
    ("statement_timeout_ms", "30000", "the longest a statement may take"),
    ("lock_timeout_ms", "10000", "the longest a statement waits for a lock"),
    (
        "idle_in_transaction_timeout_ms",
        "60000",
        "the longest a transaction waits for its next statement; what a process that stands still has locked is free then",
    ),
    ("attempts", "8", "how often a transaction is tried that others are in the way of"),
    (
        "pooler",
        "none",
        "`transaction` behind a pooler like PgBouncer that gives each transaction another connection",
    ),
];

impl Settings {
    /// Reads a URL.
    ///
    /// # Errors
    /// `invalid_input` for one that is no URL, and for an option that is unknown or no number.
    pub(in crate::store) fn parse(url: &str, env: Env) -> Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut values: Vec<(&str, String)> =
            OPTIONS.iter().map(|(name, default, _)| (*name, (*default).to_owned())).collect();
        let mut theirs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match values.iter_mut().find(|(known, _)| *known == name) {
                Some((_, slot)) => *slot = value.to_owned(),
                None if DRIVER.contains(&name) => theirs.push(pair),
                None => {
                    let known: Vec<&str> =
                        OPTIONS.iter().map(|(name, ..)| *name).chain(DRIVER.iter().copied()).collect();
                    let message = format!(
                        "a store URL has no option `{}`; known are {}",
                        name.chars().take(80).collect::<String>(),
                        known.join(", ")
                    );
                    return Err(Error::invalid(message));
                }
            }
        }
        let text = |name: &str| {
            values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
        };
        let number = |name: &str| -> Result<u64> {
            let number = text(name).parse::<u64>().ok().filter(|number| (1..=1_000_000_000).contains(number));
            number.ok_or_else(|| {
                Error::invalid(format!("the option `{name}` of a store URL is a number from 1"))
            })
        };
        let millis = |name: &str| number(name).map(Duration::from_millis);
        let prepared = match text("pooler") {
            "none" => true,
            "transaction" => false,
            _ => return Err(Error::invalid("the option `pooler` of a store URL is `none` or `transaction`")),
        };
        let plain = if theirs.is_empty() { base.to_owned() } else { format!("{base}?{}", theirs.join("&")) };
        let options = PgConnectOptions::from_str(&plain)
            // The source would show the URL, and with it the password.
            .map_err(|_| Error::invalid("the URL of the database cannot be read"))?
            .application_name("agentprovision")
            .statement_cache_capacity(if prepared { 512 } else { 0 })
            .extra_float_digits(None)
            .disable_statement_logging();
        let (statement, lock) = (number("statement_timeout_ms")?, number("lock_timeout_ms")?);
        let idle = number("idle_in_transaction_timeout_ms")?;
        let set = |how: &str| {
            let path = super::SCHEMA;
            format!(
                ";{how} search_path={path},public,pg_temp;{how} statement_timeout={statement};\
                 {how} idle_in_transaction_session_timeout={idle};{how} lock_timeout={lock}"
            )
        };
        // What a connection was told once does not hold behind a pooler.
        let (setup, preamble) =
            if prepared { (set("SET"), String::new()) } else { (String::new(), set("SET LOCAL")) };
        Ok(Self {
            options,
            env,
            max_connections: usize::try_from(number("max_connections")?).unwrap_or(usize::MAX).min(10_000),
            acquire_timeout: millis("acquire_timeout_ms")?,
            connect_timeout: millis("connect_timeout_ms")?,
            idle_timeout: millis("idle_timeout_ms")?,
            max_lifetime: millis("max_lifetime_ms")?,
            attempts: u32::try_from(number("attempts")?).unwrap_or(u32::MAX),
            prepared,
            setup,
            preamble,
        })
    }
}

/// Options of a URL that are the driver's, about encryption and where the server is.
const DRIVER: &[&str] =
    &["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user", "password", "dbname"];

/// Growing pauses that fill a time: 10 ms, then twice the last, up to a second.
pub(super) fn waits(total: Duration) -> impl Iterator<Item = Duration> {
    let mut left = total;
    let mut next = Duration::from_millis(10);
    std::iter::from_fn(move || {
        let wait = next.min(left);
        left = left.saturating_sub(wait);
        next = (next * 2).min(Duration::from_secs(1));
        (!wait.is_zero()).then_some(wait)
    })
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn parse(query: &str) -> Result<Settings> {
        Settings::parse(&format!("postgres://me:secret@db.example/app{query}"), Env::default())
    }

    #[test]
    fn a_url_without_options_has_the_defaults() {
        let settings = parse("").unwrap();
        assert_eq!(settings.max_connections, 10);
        assert_eq!(settings.connect_timeout, Duration::from_secs(10));
        assert!(settings.prepared);
        assert!(settings.setup.contains("statement_timeout=30000") && settings.preamble.is_empty());
    }

    #[test]
    fn options_are_read_and_those_of_the_driver_passed_on() {
        let settings =
            parse("?max_connections=3&sslmode=disable&pooler=transaction&lock_timeout_ms=7").unwrap();
        assert_eq!((settings.max_connections, settings.prepared), (3, false));
        assert!(settings.preamble.ends_with("lock_timeout=7") && settings.setup.is_empty());
        assert!(matches!(settings.options.get_ssl_mode(), sqlx::postgres::PgSslMode::Disable));
    }

    #[test]
    fn what_is_wrong_is_named_and_a_password_is_not_shown() {
        for query in [
            "?max_conections=3",
            "?max_connections=0",
            "?max_connections=-1",
            "?attempts=many",
            "?pooler=session",
            "?sslmode=perhaps",
        ] {
            let error = parse(query).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{query}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        assert!(parse("?max_conections=3").unwrap_err().message().contains("max_connections"));
    }

    #[test]
    fn pauses_grow_and_end_in_time() {
        let waits: Vec<_> = waits(Duration::from_secs(3)).collect();
        assert_eq!(waits.iter().sum::<Duration>(), Duration::from_secs(3));
        assert!(waits.windows(2).take(5).all(|pair| pair[1] > pair[0]));
    }
}
