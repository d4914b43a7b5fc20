//! Checks that return instead of panicking.

use std::fmt;
use std::panic::Location;

use crate::error::{Error, ErrorKind, Result};

/// Why a trial did not pass: what was expected, what was seen, and the line of the suite that says so.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

/// What a trial returns.
pub type Outcome = std::result::Result<(), Failure>;

/// As [`Outcome`], with a value.
pub(super) type Checked<T> = std::result::Result<T, Failure>;

impl Failure {
    #[track_caller]
    pub(super) fn new(message: impl fmt::Display) -> Self {
        let place = Location::caller();
        Self(format!("{message} ({}:{})", place.file(), place.line()))
    }

    /// An error where none was expected.
    #[track_caller]
    pub(super) fn of(what: &str, error: &Error) -> Self {
        Self::new(format_args!("{what}: unexpected error {}: {error:?}", error.kind()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::of("a call that has to succeed", &error)
    }
}

/// Whether `condition` holds.
#[track_caller]
pub(super) fn holds(what: &str, condition: bool) -> Outcome {
    if condition { Ok(()) } else { Err(Failure::new(what)) }
}

/// Whether what was seen is what was expected.
#[track_caller]
pub(super) fn equal<T: PartialEq + fmt::Debug>(what: &str, seen: &T, expected: &T) -> Outcome {
    if seen == expected {
        return Ok(());
    }
    let (seen, expected) = (clip(format!("{seen:?}")), clip(format!("{expected:?}")));
    Err(Failure::new(format_args!("{what}:\n  expected {expected}\n  saw      {seen}")))
}

/// Whether a call was refused with this kind.
#[track_caller]
pub(super) fn refused<T>(what: &str, result: Result<T>, kind: ErrorKind) -> Checked<Error> {
    match result {
        Err(error) if error.is(kind) => Ok(error),
        Err(error) => {
            Err(Failure::new(format_args!("{what}: expected {kind}, saw {}: {error:?}", error.kind())))
        }
        Ok(_) => Err(Failure::new(format_args!("{what}: expected {kind}, but it succeeded"))),
    }
}

/// The value, which has to be there.
#[track_caller]
pub(super) fn some<T>(what: &str, value: Option<T>) -> Checked<T> {
    value.ok_or_else(|| Failure::new(format_args!("{what}: nothing there")))
}

/// Enough of a long value to see what is wrong.
fn clip(text: String) -> String {
    const MOST: usize = 4000;
    if text.chars().nth(MOST).is_none() {
        text
    } else {
        text.chars().take(MOST).chain("…".chars()).collect()
    }
}
