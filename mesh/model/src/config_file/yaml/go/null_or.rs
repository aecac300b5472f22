//! Values that can be null, which stands for the empty value of their type.

use std::{fmt, iter::empty};

use serde::de::{
    Deserializer, Error, Visitor,
    value::{MapDeserializer, SeqDeserializer},
};

/// Type of a value that can be null.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    List,
    Mapping,
}

/// Visits an optional value. Replaces a null with an empty value.
#[derive(Debug)]
pub(super) struct NullOr<V> {
    kind: Kind,
    visitor: V,
}

// === impl NullOr ===

impl<V> NullOr<V> {
    pub(super) fn new(kind: Kind, visitor: V) -> Self {
        Self { kind, visitor }
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for NullOr<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        match self.kind {
            Kind::Text => self.visitor.visit_borrowed_str(""),
            Kind::List => {
                let list = SeqDeserializer::<_, E>::new(empty::<()>());
                self.visitor.visit_seq(list)
            }
            Kind::Mapping => {
                let map = MapDeserializer::<_, E>::new(empty::<((), ())>());
                self.visitor.visit_map(map)
            }
        }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        match self.kind {
            Kind::Text => value.deserialize_string(self.visitor),
            Kind::List => value.deserialize_seq(self.visitor),
            Kind::Mapping => value.deserialize_map(self.visitor),
        }
    }

    // Keys that the YAML library makes up are plain texts.

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.visitor.visit_string(value)
    }
}
