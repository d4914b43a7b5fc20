//! Rust source taken apart just enough to search it: code, string literals, and what of it is test code.

/// A file without comments, in two parts.
pub(super) struct Source {
    /// The code, with string and character literals emptied.
    pub(super) code: String,
    /// The contents of the string literals.
    pub(super) literals: Vec<String>,
}

impl Source {
    /// Takes library code apart: what follows a `#[cfg(test)]` module's head, which ends a file here, is left out.
    pub(super) fn library(text: &str) -> Self {
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        Self::all(&text[..end])
    }

    pub(super) fn all(text: &str) -> Self {
        let mut source = Self { code: String::new(), literals: Vec::new() };
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if rest.starts_with("//") {
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
            } else if rest.starts_with("/*") {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
            } else if let Some(hashes) = source.raw(rest) {
                let open = rest.find('"').unwrap() + 1;
                let close = format!("\"{}", "#".repeat(hashes));
                let end = open + rest[open..].find(&close).unwrap();
                source.literal(&rest[open..end]);
                rest = &rest[end + close.len()..];
            } else if next == '"' {
                let end = ends(rest, '"');
                source.literal(&rest[1..end]);
                rest = &rest[end + 1..];
            } else if next == '\'' && (rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\''))
            {
                rest = &rest[ends(rest, '\'') + 1..];
                source.code.push_str("''");
            } else {
                source.code.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        source
    }

    /// The number of hashes of a raw string that begins here.
    fn raw(&self, rest: &str) -> Option<usize> {
        if self.code.ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            return None;
        }
        let after = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        after[hashes..].starts_with('"').then_some(hashes)
    }

    fn literal(&mut self, text: &str) {
        self.code.push_str("\"\"");
        self.literals.push(text.to_owned());
    }
}

/// Where a literal that begins here ends.
fn ends(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (place, next) in rest.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == quote => return place,
            _ => {}
        }
    }
    panic!("a literal without an end: {rest:.80}");
}

#[test]
fn source_is_taken_apart() {
    let source = Source::all(
        r##"fn a<'a>(b: &'a str) { /* "no" */ let c = "one \" // two"; // "no"
            let d = (r#"raw "three""#, b"four", br"five", '"', '\'', 'x'); }"##,
    );
    assert_eq!(source.literals, [r#"one \" // two"#, r#"raw "three""#, "four", "five"]);
    assert!(source.code.contains("fn a<'a>(b: &'a str)") && !source.code.contains("no"), "{}", source.code);
    let library = Source::library("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
    assert!(library.code.contains("fn a") && !library.code.contains("fn b"));
}
