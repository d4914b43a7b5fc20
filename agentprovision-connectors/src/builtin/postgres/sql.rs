//! The statements of the connector's own. What is written into one is a number, a name that was quoted, or the whole of a
//! statement that the server has read as one.

use std::fmt::Write as _;

/// How statements that look begin, and can be a part of another one.
pub(super) const LOOK: [&str; 4] = ["SELECT", "WITH", "VALUES", "TABLE"];
/// How statements that tell something begin.
pub(super) const TELL: [&str; 2] = ["EXPLAIN", "SHOW"];
/// How statements that change something begin, and whose rows can be read.
pub(super) const CHANGE: [&str; 6] = ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE"];
/// How statements begin that change something and have no rows.
pub(super) const DEFINE: [&str; 12] = [
    "CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REFRESH", "ANALYZE", "CALL", "DO",
    "REINDEX",
];

/// What begins a transaction: how long a statement may take, and that the server looks whether somebody still waits, where it can.
pub(super) fn begin(writes: bool, millis: u128) -> String {
    let mode = if writes { "READ WRITE" } else { "READ ONLY" };
    format!(
        "BEGIN TRANSACTION {mode}; \
         SET LOCAL statement_timeout = {millis}; \
         SELECT pg_catalog.set_config(name, '1s', true) FROM pg_catalog.pg_settings \
         WHERE name = 'client_connection_check_interval'"
    )
}

/// Keeps what was changed.
pub(super) const COMMIT: &str = "COMMIT";

/// Whether the account reaches beyond the database: by being, or being able to become, somebody who runs programs on the server
/// or reads and writes its files.
pub(super) const REACHES: &str = "SELECT pg_catalog.bool_or(pg_catalog.pg_has_role(oid, 'MEMBER')) IS TRUE \
     FROM pg_catalog.pg_roles WHERE rolsuper OR rolname IN \
     ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')";

/// Who is connected to what.
pub(super) const WHO: &str = "SELECT current_user::text, current_database()::text, \
     pg_catalog.current_setting('server_version')";

/// Tables and views that the account may read, of a schema or of all that are no system's.
pub(super) const TABLES: &str = "SELECT n.nspname::text, c.relname::text, \
     CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized_view' WHEN 'f' THEN 'foreign_table' ELSE 'table' END, \
     pg_catalog.obj_description(c.oid, 'pg_class'), \
     CASE WHEN c.relkind IN ('r', 'm') AND c.reltuples >= 0 THEN c.reltuples::int8 END \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
     AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
     AND CASE WHEN $1::text IS NULL THEN n.nspname !~ '^(pg_|information_schema$)' ELSE n.nspname = $1 END \
     ORDER BY 1, 2 LIMIT $2::int8";

/// The columns of a table.
pub(super) const COLUMNS: &str = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
     pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.col_description(c.oid, a.attnum) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
     WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
     AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
     ORDER BY a.attnum";

/// The keys of a table and its other constraints.
pub(super) const KEYS: &str = "SELECT k.conname::text, \
     CASE k.contype WHEN 'p' THEN 'primary' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign' WHEN 'c' THEN 'check' ELSE 'other' END, \
     ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(number, place) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place), \
     pg_catalog.pg_get_constraintdef(k.oid) \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1::text AND c.relname = $2::text AND k.contype IN ('p', 'u', 'f', 'c', 'x') \
     ORDER BY k.contype = 'p' DESC, k.conname";

/// How a statement's rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// As a part of a query that looks.
    From,
    /// As what a change returns, which may stand at the top only.
    With,
}

/// A statement around another one: each row as JSON, so that the server itself says what a value is in it. Columns are numbered,
/// because two of them can have one name. Numbers that JSON readers round are texts: `texts` says for each column whether and as
/// what. A row of more than `longest` bytes is null.
pub(super) fn as_json(
    within: Within,
    sql: &str,
    texts: &[Option<&str>],
    rows: usize,
    longest: usize,
) -> String {
    let (mut names, mut columns) = (String::new(), String::new());
    for (number, text) in texts.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let cast = text.map(|text| format!("::pg_catalog.{text}")).unwrap_or_default();
        // Of a column that is to be renamed by its place.
        let _ = write!(names, "{comma}c{number}");
        let _ = write!(columns, "{comma}q.c{number}{cast} AS c{number}");
    }
    // On lines of their own: the statement may end in a comment.
    let (before, from) = match within {
        Within::From => (String::new(), format!("(\n{sql}\n) AS q({names})")),
        Within::With => (format!("WITH q({names}) AS (\n{sql}\n) "), "q".to_owned()),
    };
    let limit = match within {
        Within::From => format!(" LIMIT {rows}"),
        Within::With => String::new(),
    };
    format!(
        "{before}SELECT CASE WHEN pg_catalog.octet_length(j) <= {longest} THEN j END FROM \
         (SELECT pg_catalog.row_to_json(r)::pg_catalog.text AS j FROM (SELECT {columns} FROM {from}) AS r) AS s{limit}"
    )
}
