//! Reads YAML values as Go's YAML library does.
//!
//! - A null is the zero of its type: an empty text, `false`, 0, an empty list or mapping. An
//!   `Option` distinguishes the two.
//! - A number with a fraction or an exponent is a valid whole number. Its fraction is cut.
//! - A quoted number or boolean is a text.

mod null_or;
mod scalar;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

use self::{
    null_or::{Kind, NullOr},
    scalar::{Scalar, ScalarSeed},
};
use super::budget::Budget;

/// Wraps a deserializer, and all visitors, seeds and accesses below it.
#[derive(Debug)]
pub(super) struct Go<'b, T> {
    inner: T,
    budget: &'b Budget,
}

/// Bytes that a value takes besides its text.
const VALUE_BYTES: usize = 16;

const BOOLEAN: &str = "true or false";
const WHOLE: &str = "a whole number";
const NUMBER: &str = "a number";

// === impl Go ===

impl<'b, T> Go<'b, T> {
    pub(super) fn new(inner: T, budget: &'b Budget) -> Self {
        Self { inner, budget }
    }

    fn around<U>(&self, inner: U) -> Go<'b, U> {
        Go::new(inner, self.budget)
    }

    fn charge<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.budget.take(VALUE_BYTES + bytes).map_err(E::custom)
    }
}

/// Implements methods of a deserializer that pass on a wrapped visitor.
macro_rules! pass {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.around(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

/// Implements methods of a deserializer by another one.
macro_rules! same {
    ($($method:ident => $other:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.$other(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Go<'_, D> {
    type Error = D::Error;

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        match ScalarSeed(BOOLEAN).deserialize(self.inner)? {
            Scalar::Null => visitor.visit_bool(false),
            Scalar::Bool(value) => visitor.visit_bool(value),
            other => Err(other.is_not(BOOLEAN)),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        const END: f64 = u64::MAX as f64;
        match ScalarSeed(WHOLE).deserialize(self.inner)? {
            Scalar::Null => visitor.visit_u64(0),
            Scalar::Unsigned(value) => visitor.visit_u64(value),
            Scalar::Float(value) if (0.0..END).contains(&value) => visitor.visit_u64(value as u64),
            other => Err(other.is_not("a whole number, 0 or more")),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        const END: f64 = i64::MAX as f64;
        match ScalarSeed(WHOLE).deserialize(self.inner)? {
            Scalar::Null => visitor.visit_i64(0),
            Scalar::Unsigned(value) => visitor.visit_u64(value),
            Scalar::Negative(value) => visitor.visit_i64(value),
            Scalar::Float(value) if (-END..END).contains(&value) => visitor.visit_i64(value as i64),
            other => Err(other.is_not(WHOLE)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        match ScalarSeed(NUMBER).deserialize(self.inner)? {
            Scalar::Null => visitor.visit_f64(0.0),
            Scalar::Unsigned(value) => visitor.visit_f64(value as f64),
            Scalar::Negative(value) => visitor.visit_f64(value as f64),
            Scalar::Float(value) => visitor.visit_f64(value),
            other => Err(other.is_not(NUMBER)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = NullOr::new(Kind::Text, self.around(visitor));
        self.inner.deserialize_option(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = NullOr::new(Kind::List, self.around(visitor));
        self.inner.deserialize_option(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = NullOr::new(Kind::Mapping, self.around(visitor));
        self.inner.deserialize_option(visitor)
    }

    same! {
        deserialize_u8 => deserialize_u64;
        deserialize_u16 => deserialize_u64;
        deserialize_u32 => deserialize_u64;
        deserialize_i8 => deserialize_i64;
        deserialize_i16 => deserialize_i64;
        deserialize_i32 => deserialize_i64;
        deserialize_f32 => deserialize_f64;
        deserialize_char => deserialize_string;
        deserialize_str => deserialize_string;
    }

    pass! {
        deserialize_any();
        deserialize_option();
        deserialize_identifier();
        deserialize_ignored_any();
        deserialize_unit();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Go<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.charge(value.len())?;
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.charge(value.len())?;
        self.inner.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.charge(value.len())?;
        self.inner.visit_string(value)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.around(value);
        self.inner.visit_some(value)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.around(value);
        self.inner.visit_newtype_struct(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.charge(0)?;
        let list = self.around(list);
        self.inner.visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.charge(0)?;
        let map = self.around(map);
        self.inner.visit_map(map)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(data)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Go<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Go<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Go<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}
