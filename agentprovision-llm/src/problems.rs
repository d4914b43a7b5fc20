//! What is wrong with a configuration: everything at once, each with its place.

use std::fmt::{self, Write};

use crate::clip;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Something is wrong at `path`, such as `limits[2].per`.
    pub(crate) fn at(&mut self, path: impl fmt::Display, what: impl fmt::Display) {
        self.0.push(format!("`{path}`: {what}"));
    }

    /// A name at `path` is none of those that are known; `what` is what it should name.
    pub(crate) fn unknown<'a>(
        &mut self,
        path: impl fmt::Display,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let mut text = format!("there is no {what} `{}`", clip(name));
        let written = match nearest(name, known.iter().copied()) {
            Some(near) => write!(text, "; did you mean `{near}`?"),
            None if known.len() <= 12 => write!(text, "; there are {}", known.join(", ")),
            None => Ok(()),
        };
        // Writing into a text does not fail.
        let _ = written;
        self.at(path, text);
    }

    /// The value where nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Vec<String>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// The one of `known` that `name` is probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // More than this is no name, and the comparison takes time in the square of it.
    if name.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .min()
        .map(|(_, known)| known)
}
