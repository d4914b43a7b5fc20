//! A request as bytes to be hashed. Not JSON, whose strings must be searched for what is to be escaped: every part says
//! what it is and how long, so two requests have the same bytes only when they are the same.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// The bytes of a value.
///
/// # Errors
/// Whatever the value's own form fails with.
pub(super) fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, fmt::Error> {
    let mut out = Plain(Vec::with_capacity(1024));
    value.serialize(&mut out)?;
    Ok(out.0)
}

struct Plain(Vec<u8>);

impl Plain {
    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
    }

    /// A text or bytes: the length goes first.
    fn long(&mut self, tag: u8, bytes: &[u8]) {
        self.put(tag, &(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn integer(&mut self, value: i128) {
        self.put(b'i', &value.to_le_bytes());
    }

    /// Opens what holds other values; [`Plain::close`] ends it.
    fn open(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn variant(&mut self, name: &str) -> &mut Self {
        self.long(b'v', name.as_bytes());
        self
    }

    fn close(&mut self) {
        self.0.push(b'.');
    }
}

type Done = Result<(), fmt::Error>;

impl Serializer for &mut Plain {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_bool(self, value: bool) -> Done {
        self.put(b'b', &[u8::from(value)]);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_i128(self, value: i128) -> Done {
        self.integer(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_u16(self, value: u16) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_u32(self, value: u32) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_u64(self, value: u64) -> Done {
        self.serialize_i128(value.into())
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Done {
        self.put(b'f', &value.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Done {
        self.long(b's', value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.long(b'y', value);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self.open(b'o'))
    }

    fn serialize_unit(self) -> Done {
        self.put(b'n', &[]);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.variant(variant).serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(self.variant(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self.variant(variant).open(b'['))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self.variant(variant).open(b'{'))
    }
}

/// What holds values without names.
macro_rules! list {
    ($($of:ident $add:ident),*) => {$(
        impl ser::$of for &mut Plain {
            type Ok = ();
            type Error = fmt::Error;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                self.close();
                Ok(())
            }
        }
    )*};
}

list!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// What holds values by name.
macro_rules! fields {
    ($($of:ident),*) => {$(
        impl ser::$of for &mut Plain {
            type Ok = ();
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
                self.long(b's', name.as_bytes());
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                self.close();
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Plain {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_has_other_bytes() {
        let all = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(0.0),
            json!(1),
            json!(1.0),
            json!(""),
            json!("a"),
            json!("ab"),
            json!("null"),
            json!([]),
            json!([[]]),
            json!([[], []]),
            json!(["a", "b"]),
            json!(["ab"]),
            json!(["a", ["b"]]),
            json!([["a"], "b"]),
            json!({}),
            json!({"a": "b"}),
            json!({"a": null}),
            json!({"a": {"b": "c"}}),
            json!({"a": {}, "b": "c"}),
            json!([{"a": {}}, "b"]),
        ];
        let seen: HashSet<_> = all.iter().map(|value| bytes(value).unwrap()).collect();
        assert_eq!(seen.len(), all.len());
        assert_eq!(bytes(&Some("a")), bytes(&Some("a".to_owned())));
        assert_ne!(bytes(&Some(())), bytes(&None::<()>));
    }
}
