//! Values of a generated configuration, with marked secrets.

use std::collections::BTreeMap;

use mesh_model::config::Secret;
use serde_json::{Value, json};

/// A value of a generated configuration. `Debug` does not print secrets.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// A text, number or boolean.
    Scalar(Value),
    /// A text that must not be shown.
    Secret(Secret),
    /// A list.
    List(Vec<Yaml>),
    /// Keys and values.
    Map(Map),
}

/// Keys of a configuration section and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(BTreeMap<String, Yaml>);

/// Form in which secrets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The secret itself, for the parser of configurations.
    WithSecrets,
    /// The text `<secret>`, for people.
    WithoutSecrets,
}

// === impl Yaml ===

impl Yaml {
    /// Returns the value as JSON, which is also YAML.
    pub fn to_json(&self, shown: Shown) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::Secret(secret) => match shown {
                Shown::WithSecrets => json!(secret.expose()),
                Shown::WithoutSecrets => json!("<secret>"),
            },
            Self::List(list) => list.iter().map(|item| item.to_json(shown)).collect(),
            Self::Map(map) => map.to_json(shown),
        }
    }
}

impl From<Secret> for Yaml {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<Map> for Yaml {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<T: Into<Yaml>> From<Vec<T>> for Yaml {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, T: Into<Yaml>> From<BTreeMap<K, T>> for Yaml {
    fn from(map: BTreeMap<K, T>) -> Self {
        Self::Map(map.into_iter().collect())
    }
}

/// Conversions of the types that [`Value`] converts from.
macro_rules! scalar {
    ($($type:ty),*) => {
        $(impl From<$type> for Yaml {
            fn from(value: $type) -> Self {
                Self::Scalar(value.into())
            }
        })*
    };
}

scalar!(&str, String, bool, u64, f64, Value);

// === impl Map ===

impl Map {
    /// Sets a key.
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Yaml>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Sets a key unless the value is `None`.
    pub(crate) fn put_some(&mut self, key: &str, value: Option<impl Into<Yaml>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Sets all keys of `other`.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the map as a JSON object.
    pub fn to_json(&self, shown: Shown) -> Value {
        let entries = self.0.iter();
        let entries = entries.map(|(key, value)| (key.clone(), value.to_json(shown)));
        Value::Object(entries.collect())
    }
}

impl<K: Into<String>, V: Into<Yaml>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        Self(entries.map(|(k, v)| (k.into(), v.into())).collect())
    }
}
