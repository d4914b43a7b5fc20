//! JSON as it is sent: the same bytes as `serde_json` writes, and much faster where texts are long, as prompts are.

use std::io::Write as _;

use serde_json::{Map, Value};

/// The body of a request as bytes.
pub(super) fn to_bytes(body: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    object(&mut out, body);
    out
}

fn object(out: &mut Vec<u8>, fields: &Map<String, Value>) {
    list(out, *b"{}", fields, |out, (name, field)| {
        text(out, name);
        out.push(b':');
        value(out, field);
    });
}

fn value(out: &mut Vec<u8>, what: &Value) {
    match what {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        // Writing into memory does not fail.
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::String(string) => text(out, string),
        Value::Array(items) => list(out, *b"[]", items, value),
        Value::Object(fields) => object(out, fields),
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: impl IntoIterator<Item = T>,
    each: impl Fn(&mut Vec<u8>, T),
) {
    out.push(open);
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(close);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        escape(out, *byte);
        rest = after;
    }
    out.push(b'"');
}

/// Whether a byte cannot stand in a string as it is (RFC 8259, section 7).
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether a text can stand in a string as it is.
#[cfg(feature = "openai")]
pub(super) fn is_plain(text: &str) -> bool {
    plain(text.as_bytes()) == text.len()
}

/// How many bytes can stand as they are. A piece is looked at without a branch, which is done for many bytes at once.
fn plain(bytes: &[u8]) -> usize {
    let mut count = 0;
    for piece in bytes.chunks(64) {
        if piece.iter().fold(false, |any, byte| any | is_special(*byte)) {
            return count + piece.iter().take_while(|byte| !is_special(**byte)).count();
        }
        count += piece.len();
    }
    count
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => return drop(write!(out, "\\u{byte:04x}")),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_serde_json() {
        let characters: String = (0..0x180).filter_map(char::from_u32).collect();
        let long = "plain text, and then a line\n".repeat(100);
        let at_borders: Vec<String> = (60..70).map(|count| format!("{}\"{0}", "x".repeat(count))).collect();
        let fields = json!({
            "every": characters, "twice": characters.repeat(2), "long": long, "borders": at_borders,
            "\"name\"\n": {"": [], "empty": {}, "none": null, "yes": true, "no": false},
            "numbers": [0, -1, u64::MAX, i64::MIN, 0.1, 1.0, -1e300, 5e-324, 0.7000000000000001],
            "emoji": "\u{1f600}\u{7f}\u{2028}",
        });
        let fields = fields.as_object().unwrap();
        assert_eq!(to_bytes(fields), serde_json::to_vec(fields).unwrap());
        assert_eq!(to_bytes(&Map::new()), b"{}");
    }
}
