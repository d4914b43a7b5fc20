//! Fields of an input that are written into a request in a form of their own: what OpenAPI calls `in`, `style` and `explode`
//! (OpenAPI 3.1.1, section 4.8.12; RFC 6570 underneath).

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};

use crate::operation::Text;
use crate::request::{PLAIN, plain, push_form};

/// The part of a request that a field goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum In {
    /// The path.
    Path,
    /// The query.
    Query,
    /// A header.
    Header,
    /// A body that is a form (`application/x-www-form-urlencoded`).
    Form,
}

/// How lists and objects are written; a text or number is written as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Style {
    /// With commas: `a,b`, and objects as `k,v,k,v` or, exploded, `k=v,k=v`.
    Simple,
    /// `name=a,b`, and exploded `name=a&name=b`; objects as `name=k,v` and `k=v&k=v`.
    Form,
    /// As `Form`, with spaces in the place of commas.
    Space,
    /// As `Form`, with bars in the place of commas.
    Pipe,
    /// With brackets: `name[k]=v`, `name[0]=a`.
    Deep,
    /// All of it as JSON.
    Json,
}

/// A field of the input, and how it is written where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param {
    /// The field.
    pub field: Text,
    /// Its name in the request.
    pub name: Text,
    /// Where it goes.
    pub place: In,
    /// How it is written.
    pub style: Style,
    /// Whether parts of lists and objects stand each for itself.
    pub explode: bool,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Names and values of an object, one after the other.
fn flat(fields: &Map<String, Value>, write: &dyn Fn(&str) -> String) -> Vec<String> {
    fields.iter().flat_map(|(name, value)| [write(name), write(&plain(value))]).collect()
}

impl Param {
    /// A field that goes somewhere under a name.
    pub fn new(
        field: impl Into<Text>,
        name: impl Into<Text>,
        place: In,
        style: Style,
        explode: bool,
    ) -> Self {
        Self { field: field.into(), name: name.into(), place, style, explode }
    }

    /// Its pairs in a query or a form, encoded.
    pub(crate) fn pairs(&self, value: &Value) -> Vec<(String, String)> {
        let name = encoded(&self.name);
        let joined = |parts: Vec<String>| {
            let between = match self.style {
                Style::Space => "%20",
                Style::Pipe => "%7C",
                _ => ",",
            };
            if parts.is_empty() { Vec::new() } else { vec![(name.clone(), parts.join(between))] }
        };
        match (value, self.style) {
            (Value::Null, _) => Vec::new(),
            (value, Style::Json) => vec![(name, encoded(&value.to_string()))],
            (Value::Array(_) | Value::Object(_), Style::Deep) => {
                let mut form = Vec::new();
                push_form(&mut form, &self.name, value);
                form.iter().map(|(name, value)| (encoded(name), encoded(value))).collect()
            }
            (Value::Array(items), _) if self.explode => {
                items.iter().map(|item| (name.clone(), encoded(&plain(item)))).collect()
            }
            (Value::Array(items), _) => joined(items.iter().map(|item| encoded(&plain(item))).collect()),
            (Value::Object(fields), _) if self.explode => {
                fields.iter().map(|(name, value)| (encoded(name), encoded(&plain(value)))).collect()
            }
            (Value::Object(fields), _) => joined(flat(fields, &encoded)),
            (value, _) => vec![(name, encoded(&plain(value)))],
        }
    }

    /// What it is in a path or a header, before anything is encoded: `write` encodes the parts.
    pub(crate) fn text(&self, value: &Value, write: &dyn Fn(&str) -> String) -> String {
        match value {
            value if self.style == Style::Json => write(&value.to_string()),
            Value::Array(items) => items.iter().map(|item| write(&plain(item))).collect::<Vec<_>>().join(","),
            Value::Object(fields) if self.explode => {
                let pair =
                    |(name, value): (&String, &Value)| format!("{}={}", write(name), write(&plain(value)));
                fields.iter().map(pair).collect::<Vec<_>>().join(",")
            }
            Value::Object(fields) => flat(fields, write).join(","),
            value => write(&plain(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::request::{Body, HttpTemplate};

    /// The examples of OpenAPI's own table, and what is not in it.
    #[test]
    fn lists_and_objects_are_written_by_style() {
        let (list, object) = (json!(["blue", "bl,ack"]), json!({ "G": 2, "R": "1&" }));
        for (style, explode, of_list, of_object) in [
            (Style::Form, true, "color=blue&color=bl%2Cack", "G=2&R=1%26"),
            (Style::Form, false, "color=blue,bl%2Cack", "color=G,2,R,1%26"),
            (Style::Space, false, "color=blue%20bl%2Cack", "color=G%202%20R%201%26"),
            (Style::Pipe, false, "color=blue%7Cbl%2Cack", "color=G%7C2%7CR%7C1%26"),
            (
                Style::Deep,
                true,
                "color%5B0%5D=blue&color%5B1%5D=bl%2Cack",
                "color%5BG%5D=2&color%5BR%5D=1%26",
            ),
            (
                Style::Json,
                false,
                "color=%5B%22blue%22%2C%22bl%2Cack%22%5D",
                "color=%7B%22G%22%3A2%2C%22R%22%3A%221%26%22%7D",
            ),
        ] {
            let param = Param::new("c", "color", In::Query, style, explode);
            let written = |value: &Value| {
                let pairs = param.pairs(value).into_iter().map(|(name, value)| format!("{name}={value}"));
                pairs.collect::<Vec<_>>().join("&")
            };
            assert_eq!(written(&list), of_list, "{style:?}");
            assert_eq!(written(&object), of_object, "{style:?}");
            assert_eq!(written(&json!(null)), "");
        }
        for (explode, of_object) in [(false, "G,2,R,1&"), (true, "G=2,R=1&")] {
            let param = Param::new("c", "c", In::Header, Style::Simple, explode);
            assert_eq!(param.text(&list, &str::to_owned), "blue,bl,ack");
            assert_eq!(param.text(&object, &str::to_owned), of_object);
        }
    }

    #[test]
    fn fields_go_to_their_places_under_their_names() {
        let mut template = HttpTemplate::new(Method::POST, "/a/{id}/b/{ids}");
        template.params = vec![
            Param::new("ids", "ids", In::Path, Style::Simple, false),
            Param::new("id_query", "id", In::Query, Style::Form, true),
            Param::new("trace", "x-trace", In::Header, Style::Simple, false),
            Param::new("name", "na me", In::Form, Style::Form, true),
        ];
        template.body = Body::Form;
        let input =
            json!({ "id": "a/b", "ids": ["x/y", "z"], "id_query": [1, 2], "trace": ["t", 1], "name": "n&" });
        let request = template.request("https://x.example", input.as_object().unwrap(), &[]).unwrap();
        assert_eq!(request.uri(), "https://x.example/a/a%2Fb/b/x%2Fy,z?id=1&id=2");
        assert_eq!(request.headers()["x-trace"], "t,1");
        assert_eq!(&request.body()[..], b"na%20me=n%26");
        for bad in [json!([]), json!([".."]), json!("..")] {
            let mut input = input.as_object().unwrap().clone();
            input.insert("ids".into(), bad);
            assert!(template.request("https://x.example", &input, &[]).is_err());
        }
        template.optional_body = true;
        let input = json!({ "id": 1, "ids": [1] });
        let request = template.request("https://x.example", input.as_object().unwrap(), &[]).unwrap();
        assert!(request.body().is_empty() && !request.headers().contains_key("content-type"));
    }
}
