//! JSON Schemas of the types whose JSON form is a text of their own. Everything else derives its schema.

/// A type that is a JSON string: its name, the `format` readers of the schema tell it by, and what the text looks like.
macro_rules! text_schema {
    ($type:ty, $name:expr, $format:literal, $doc:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "description": $doc })
            }
        }
    };
}

pub(crate) use text_schema;
