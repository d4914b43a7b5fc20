//! What a tool may run inside the transaction of its step.

use agentprovision_core::{Error, Result};

/// Statements that read and write tables. Nothing else: what begins or ends a transaction, attaches files or changes
/// settings is the platform's.
const ALLOWED: &[&str] =
    &["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "CREATE", "ALTER", "DROP"];

/// Checks the text of a statement.
///
/// # Errors
/// `invalid_input` unless it is exactly one statement, of an allowed kind, whose parameters are `$1`, `$2`, ….
pub(super) fn check(sql: &str) -> Result<()> {
    let code = code(sql)?;
    let first = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|word| !word.is_empty());
    let first = first.unwrap_or_default().to_ascii_uppercase();
    if !ALLOWED.contains(&&*first) {
        return Err(Error::invalid(format!("a step runs {}, not `{first}`", ALLOWED.join(", "))));
    }
    if let Some((_, rest)) = code.split_once(';')
        && rest.contains(|c: char| !c.is_whitespace() && c != ';')
    {
        return Err(Error::invalid("one statement at a time"));
    }
    let numbered = |rest: &str| rest.starts_with(|c: char| matches!(c, '1'..='9'));
    if code.contains(['?', '\0']) || !code.split('$').skip(1).all(numbered) {
        return Err(Error::invalid("the parameters of a statement are `$1` (the tenant), `$2`, …"));
    }
    Ok(())
}

/// The statement without its comments, and with everything that is quoted emptied.
fn code(sql: &str) -> Result<String> {
    let mut code = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        let end = match (c, chars.peek()) {
            ('-', Some('-')) => {
                chars.by_ref().find(|c| *c == '\n');
                code.push(' ');
                continue;
            }
            ('/', Some('*')) => {
                chars.next();
                let mut last = ' ';
                while let Some(c) = chars.next()
                    && (last, c) != ('*', '/')
                {
                    last = c;
                }
                code.push(' ');
                continue;
            }
            ('\'' | '"' | '`', _) => c,
            ('[', _) => ']',
            _ => {
                code.push(c);
                continue;
            }
        };
        // A doubled quote reads as two quoted parts side by side, which is as good here.
        if !chars.by_ref().any(|c| c == end) {
            return Err(Error::invalid("a quote in the statement is not closed"));
        }
        code.push('_');
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_on_tables_is_accepted() {
        for sql in [
            "SELECT 1",
            " \n-- COMMIT\n/* ; COMMIT */ insert into notes (tenant_id, text) values ($1, $2);",
            "UPDATE notes SET text = 'a;''b; COMMIT $0 ?' WHERE tenant_id = $1 ; ; -- done",
            "with x as (select $1) select \"a;b\", [c;d], `e;f` from x",
            "CREATE TABLE IF NOT EXISTS notes (tenant_id BLOB)",
        ] {
            check(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    #[test]
    fn what_is_the_platforms_is_refused() {
        for sql in [
            "",
            ";",
            "-- nothing",
            "COMMIT",
            "commit;",
            "/* x */ COMMIT",
            "/**/COMMIT",
            "END",
            "BEGIN",
            "ROLLBACK",
            "SAVEPOINT a",
            "RELEASE a",
            "ATTACH 'x' AS y",
            "DETACH y",
            "PRAGMA foreign_keys = OFF",
            "VACUUM",
            "EXPLAIN SELECT 1",
            "SELECT 1; COMMIT",
            "SELECT ';'; COMMIT",
            "SELECT 1;/*;*/COMMIT",
            "SELECT $0",
            "SELECT $name",
            "SELECT ?",
            "SELECT 'open",
            "SELECT 1\0",
        ] {
            assert!(
                check(sql).is_err_and(|error| error.kind() == agentprovision_core::ErrorKind::InvalidInput),
                "{sql}"
            );
        }
    }
}
