//! What templates cannot use, because it builds values that no limit holds: the engine counts steps and the text is
//! bounded, but a value that doubles at every step is gigabytes after thirty.
//!
//! Values are only ever taken from the event or written in the template then, and filters bound what they make.

use agentprovision_core::{Error, Result};

/// The words that can begin a statement.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor"];

/// The filters and tests there are; the engine itself looks for them only when it comes by.
pub(super) const FILTERS: &[&str] = &[
    "default",
    "first",
    "items",
    "join",
    "last",
    "length",
    "lower",
    "map",
    "rejectattr",
    "selectattr",
    "title",
    "tojson",
    "trim",
    "upper",
];
pub(super) const TESTS: &[&str] = &["defined", "undefined", "none", "eq", "in"];

/// Reads the template as the engine does: markers, strings, brackets.
///
/// # Errors
/// `invalid_input` with the line.
pub(super) fn check(source: &str) -> Result<()> {
    let mut rest = source;
    while let Some(begin) = rest.find('{') {
        rest = rest.get(begin..).unwrap_or_default();
        let inside = rest.get(2..).unwrap_or_default();
        rest = match rest.as_bytes().get(1) {
            // Without an end the engine refuses it.
            Some(b'#') => inside.find("#}").and_then(|end| inside.get(end + 2..)).unwrap_or_default(),
            Some(b'{') => code(source, inside, "}}")?,
            Some(b'%') => {
                let statement = inside.trim_start_matches(['-', '+']).trim_start();
                let word: String = statement.chars().take_while(char::is_ascii_alphanumeric).collect();
                if !STATEMENTS.contains(&word.as_str()) {
                    return Err(refused(source, inside, &format!("{{% {word} %}}")));
                }
                code(source, inside, "%}")?
            }
            _ => rest.get(1..).unwrap_or_default(),
        };
    }
    Ok(())
}

/// What comes behind the end of this code.
fn code<'a>(source: &str, inside: &'a str, end: &str) -> Result<&'a str> {
    // A sign behind the opening marker is about white space.
    let mut rest = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let mut open: usize = 0;
    // What stands before, without white space.
    let mut before = "";
    while let Some(first) = rest.chars().next() {
        let closing = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if open == 0 && closing.starts_with(end) {
            return Ok(closing.get(end.len()..).unwrap_or_default());
        }
        let length = match first {
            '"' | '\'' => string(rest, first),
            '(' | '[' | '{' => {
                open += 1;
                1
            }
            ')' | ']' | '}' => {
                open = open.saturating_sub(1);
                1
            }
            '~' | '+' | '*' => return Err(refused(source, rest, &first.to_string())),
            c if c.is_ascii_alphanumeric() || c == '_' => {
                let word =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let name = rest.get(..word).unwrap_or_default();
                let known = match before {
                    "|" => FILTERS.contains(&name),
                    "is" | "is not" => TESTS.contains(&name) || name == "not",
                    _ => name != "recursive",
                };
                if !known {
                    return Err(refused(source, rest, name));
                }
                before = match (before, name) {
                    ("is", "not") => "is not",
                    _ => name,
                };
                rest = rest.get(word..).unwrap_or_default();
                continue;
            }
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            before = rest.get(..length).unwrap_or_default();
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok("")
}

/// The length of the string that begins here.
fn string(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (place, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

fn refused(source: &str, rest: &str, what: &str) -> Error {
    let line = line_at(source, source.len().saturating_sub(rest.len()));
    let what: String = what.chars().take(64).collect();
    Error::invalid(format!("the template cannot use `{what}`: line {line}")).with_context("line", line)
}

fn line_at(source: &str, place: usize) -> usize {
    source.bytes().take(place).filter(|b| *b == b'\n').count() + 1
}

/// The line in which a name is first.
pub(super) fn line_of(source: &str, name: &str) -> usize {
    line_at(source, source.find(name).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Templates of pieces in any order. What is refused stands behind a name that is nowhere else, so if the engine finds
    /// that name in code, the check above has read the template in another way than the engine.
    #[test]
    fn the_check_reads_templates_as_the_engine_does() {
        const PIECES: &[&str] = &[
            "{{",
            "}}",
            "{{",
            "}}",
            "{%",
            "%}",
            "{%",
            "%}",
            "{#",
            "#}",
            "'",
            "\"",
            "\\",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "-",
            " ",
            "\n",
            "if event",
            "endif",
            "else",
            "for a in body",
            "endfor",
            "raw",
            "endraw",
            "event",
            ".",
            ":",
            ",",
            "|",
            "1",
            "ü",
            " zq~zq ",
            " zq~zq ",
            " zq~zq ",
            "{{ event",
            "{% if event %}",
            "{% endif %}",
            "{{ event == zq~zq }}",
            "{{ {'a': {'b': 1}}.a == zq~zq }}",
            "{{ '}}' == zq~zq }}",
            "==",
        ];
        let mut state: u64 = 7;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % bound
        };
        let (mut refused, mut compiled, mut with_name) = (0, 0, 0);
        for _ in 0..60_000 {
            let source: String = (0..1 + next(14)).map(|_| PIECES[next(PIECES.len())]).collect();
            let mut environment = minijinja::Environment::empty();
            if environment.add_template("t", &source).is_err() {
                continue;
            }
            let asked = environment.get_template("t").unwrap().undeclared_variables(false);
            if check(&source).is_err() {
                refused += 1;
                continue;
            }
            compiled += 1;
            with_name += usize::from(source.contains("zq"));
            assert!(!asked.contains("zq"), "{source:?}");
        }
        assert!(refused > 100 && compiled > 1000 && with_name > 1000, "{refused} {compiled} {with_name}");
    }
}
