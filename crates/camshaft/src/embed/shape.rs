//! Which fields a type takes from JSON, and which of them it must be given, found by asking its
//! `Deserialize`: a workflow declares its parameters by it.
//!
//! A type is read from nothing but answers. The first reading learns the names of its fields; then, for
//! each field, one in which all others have some value tells whether it is missed.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// What a type takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: it is `()`.
    Nothing,
    /// These fields, and whether each must be there.
    Fields(Vec<(&'static str, bool)>),
    /// Any object, as far as can be told.
    Any,
    /// Something that is no object.
    NoObject,
}

/// The shape of a type.
pub(super) fn shape_of<P: DeserializeOwned>() -> Shape {
    let mut found = Shape::Any;
    // What the type makes of nothing is of no interest, nor why it cannot be made of it.
    let _ = P::deserialize(Names(&mut found));
    let Shape::Fields(fields) = &mut found else {
        return found;
    };
    let names: Vec<&'static str> = fields.iter().map(|(name, _)| *name).collect();
    for (name, is_required) in fields {
        let others = names
            .iter()
            .copied()
            .filter(|other| other != name)
            .collect();
        *is_required = matches!(P::deserialize(Others(others)), Err(Refused::Missing(missing)) if missing == *name);
    }
    found
}

/// Why a type could not be made.
#[derive(Debug)]
enum Refused {
    Missing(&'static str),
    Other,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type cannot be made of nothing")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Other
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// Learns what is asked for, and gives nothing.
struct Names<'a>(&'a mut Shape);

macro_rules! no_object {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            *self.0 = Shape::NoObject;
            Err(Refused::Other)
        })*
    };
}

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused::Other)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Refused> {
        *self.0 = Shape::Fields(fields.iter().map(|name| (*name, false)).collect());
        Err(Refused::Other)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        *self.0 = Shape::Nothing;
        Err(Refused::Other)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Refused> {
        *self.0 = Shape::NoObject;
        Err(Refused::Other)
    }

    no_object! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_seq
    }

    forward_to_deserialize_any! { map enum identifier ignored_any unit_struct tuple_struct }
}

/// An object with some value in each of these fields.
struct Others(Vec<&'static str>);

impl<'de> Deserializer<'de> for Others {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Others {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let Some(name) = self.0.last().copied() else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Refused> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        self.0.pop();
        seed.deserialize(Guess)
    }
}

/// Some value of the type that is asked for.
struct Guess;

macro_rules! guess {
    ($($method:ident $visit:ident $value:expr,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Guess {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    guess! {
        deserialize_bool visit_bool false,
        deserialize_i8 visit_i8 1,
        deserialize_i16 visit_i16 1,
        deserialize_i32 visit_i32 1,
        deserialize_i64 visit_i64 1,
        deserialize_i128 visit_i64 1,
        deserialize_u8 visit_u8 1,
        deserialize_u16 visit_u16 1,
        deserialize_u32 visit_u32 1,
        deserialize_u64 visit_u64 1,
        deserialize_u128 visit_u64 1,
        deserialize_f32 visit_f32 1.0,
        deserialize_f64 visit_f64 1.0,
        deserialize_char visit_char 'a',
        deserialize_str visit_str "a",
        deserialize_string visit_str "a",
        deserialize_identifier visit_str "a",
        deserialize_bytes visit_bytes b"a",
        deserialize_byte_buf visit_bytes b"a",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Row(0))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Row(len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Row(len))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(Others(Vec::new()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_map(Others(fields.to_vec()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(First(variants.first().copied().unwrap_or_default()))
    }
}

/// A list of so many values.
struct Row(usize);

impl<'de> de::SeqAccess<'de> for Row {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        if self.0 == 0 {
            return Ok(None);
        }
        self.0 -= 1;
        seed.deserialize(Guess).map(Some)
    }
}

/// A variant of an enum.
struct First(&'static str);

impl<'de> EnumAccess<'de> for First {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refused> {
        let name: StrDeserializer<'_, Refused> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        seed.deserialize(Guess)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Row(len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_map(Others(fields.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[expect(dead_code, reason = "only its shape matters")]
    #[derive(Deserialize)]
    struct Order {
        id: u64,
        #[serde(rename = "customerName")]
        name: String,
        note: Option<String>,
        #[serde(default)]
        tags: Vec<String>,
        size: Size,
        inner: Inner,
        pair: (i32, String),
        anything: Value,
        address: std::net::IpAddr,
    }

    #[expect(dead_code, reason = "only its shape matters")]
    #[derive(Deserialize)]
    enum Size {
        Of { width: f64 },
        Small,
    }

    #[expect(dead_code, reason = "only its shape matters")]
    #[derive(Deserialize)]
    struct Inner {
        n: Option<Box<Inner>>,
    }

    #[expect(dead_code, reason = "only its shape matters")]
    #[derive(Deserialize)]
    struct Wrapped(Inner);

    #[expect(dead_code, reason = "only its shape matters")]
    #[derive(Deserialize)]
    struct Flat {
        a: u32,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    #[test]
    fn fields_have_their_names_in_json_and_say_whether_they_must_be_there() {
        let Shape::Fields(fields) = shape_of::<Order>() else {
            panic!("a struct has fields");
        };
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let wanted = [
            "id",
            "customerName",
            "note",
            "tags",
            "size",
            "inner",
            "pair",
            "anything",
            "address",
        ];
        assert_eq!(names, wanted);
        // An address is made of no text that could be guessed, so what is missed beside it is not known:
        // nothing is required that may not be.
        assert!(
            fields
                .iter()
                .all(|(name, is_required)| !is_required || *name == "address")
        );
    }

    #[test]
    fn an_option_and_a_default_need_not_be_there() {
        #[expect(dead_code, reason = "only its shape matters")]
        #[derive(Deserialize)]
        struct Order {
            id: u64,
            note: Option<String>,
            #[serde(default)]
            tags: Vec<String>,
            size: Size,
            inner: Inner,
        }
        let wanted = [
            ("id", true),
            ("note", false),
            ("tags", false),
            ("size", true),
            ("inner", true),
        ];
        assert_eq!(shape_of::<Order>(), Shape::Fields(wanted.to_vec()));
        assert_eq!(shape_of::<Wrapped>(), Shape::Fields(vec![("n", false)]));
    }

    #[test]
    fn what_is_no_struct_is_told_apart() {
        assert_eq!(shape_of::<()>(), Shape::Nothing);
        assert_eq!(shape_of::<Value>(), Shape::Any);
        assert_eq!(shape_of::<BTreeMap<String, u8>>(), Shape::Any);
        assert_eq!(shape_of::<Flat>(), Shape::Any);
        assert_eq!(shape_of::<String>(), Shape::NoObject);
        assert_eq!(shape_of::<Vec<u8>>(), Shape::NoObject);
        assert_eq!(shape_of::<(u8, u8)>(), Shape::NoObject);
    }
}
