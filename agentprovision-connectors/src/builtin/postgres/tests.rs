//! Values and statements by themselves. What a server does with them is in `tests/calls/postgres.rs`.

use agentprovision_core::ErrorKind;
use serde_json::{Value, json};
use tokio_postgres::types::Type;

use super::rows::{Parameter, first_word, parameter, row};

#[test]
fn values_are_texts_that_the_server_reads() {
    let text = |text: &str| Some(text.to_owned());
    for (value, kind, expected) in [
        (Value::Null, Type::INT4, None),
        (json!(7), Type::INT4, text("7")),
        (json!(-1.5), Type::NUMERIC, text("-1.5")),
        (json!(true), Type::BOOL, text("true")),
        (json!("2026-01-02"), Type::DATE, text("2026-01-02")),
        (json!("a"), Type::JSONB, text("\"a\"")),
        (json!({ "a": [1] }), Type::JSON, text("{\"a\":[1]}")),
        (json!([1, 2]), Type::JSONB, text("[1,2]")),
        (json!([]), Type::INT4_ARRAY, text("{}")),
        (json!([1, null]), Type::INT4_ARRAY, text("{\"1\",NULL}")),
        (json!([[1], [2]]), Type::INT4_ARRAY, text("{{\"1\"},{\"2\"}}")),
        (json!(["a\"b\\c", "NULL", "", "{,}"]), Type::TEXT_ARRAY, text(r#"{"a\"b\\c","NULL","","{,}"}"#)),
        (json!([{ "a": "b" }]), Type::JSONB_ARRAY, text(r#"{"{\"a\":\"b\"}"}"#)),
        (json!("{1,2}"), Type::INT4_ARRAY, text("{1,2}")),
    ] {
        assert_eq!(parameter(&value, &kind).unwrap(), Parameter(expected), "{value} as {kind}");
    }
    for (value, kind) in [(json!([1]), Type::INT4), (json!({}), Type::TEXT), (json!([{}]), Type::INT4_ARRAY)]
    {
        assert_eq!(parameter(&value, &kind).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_statement_begins_behind_its_comments() {
    for (sql, word) in [
        ("select 1", "SELECT"),
        (" \n\t-- one\n--two\nWith x as (select 1) table x", "WITH"),
        ("/* a /* b */ c */ /**/(((values (1))))", "VALUES"),
        ("((/* ( */ Select 1))", "SELECT"),
        ("/* open", ""),
        ("-- only", ""),
        ("", ""),
        ("'x'", ""),
        ("copy t to program 'x'", "COPY"),
    ] {
        assert_eq!(first_word(sql), word, "{sql:?}");
    }
}

#[test]
fn rows_are_lists_in_the_order_of_their_columns() {
    let json = r#"{"c1":"b","c0":1,"c10":true,"c2":null}"#;
    let mut expected = vec![Value::Null; 11];
    (expected[0], expected[1], expected[10]) = (json!(1), json!("b"), json!(true));
    assert_eq!(row(json, 11).unwrap(), expected);
    assert_eq!(row("[]", 1).unwrap_err().kind(), ErrorKind::Internal);
}
