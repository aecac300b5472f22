//! Accepts messages as JSON objects only.
//!
//! A derived `Deserialize` also accepts an array for a struct, field by field:
//! `"gauge": []` would be an empty gauge. [`only_objects`] prevents that.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A message that can be read from the fields of an object.
pub(super) trait Fields: Sized {
    /// Reads the fields of an object.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Deserializes a message from a JSON object. Any other value is an error.
pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Fields,
{
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// Implements `Deserialize` for types that derive it with `#[serde(remote = "Self")]`, so
/// that they accept objects only.
macro_rules! only_objects {
    ($($name:ident)*) => {$(
        impl crate::json::object::Fields for $name {
            fn read<'de, D: serde::Deserializer<'de>>(fields: D) -> Result<Self, D::Error> {
                $name::deserialize(fields)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                crate::json::object::deserialize(json)
            }
        }
    )*};
}
pub(super) use only_objects;

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(MapAccessDeserializer::new(map))
    }
}
