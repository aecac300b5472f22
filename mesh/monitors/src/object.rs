//! Reads the fields of an object and reports wrong values with their path.
//!
//! `null` counts as absent, as in Go.

use std::{collections::BTreeMap, fmt::Display};

use mesh_model::config::{duration, size};
use serde_json::{Map, Value};
use url::Url;

use crate::{Invalid, Reason};

/// The values of an enumeration that several fields share.
pub(crate) const PROTOCOLS: &[&str] = &[
    "PrometheusProto",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];
/// Values of `scheme`.
pub(crate) const SCHEMES: &[&str] = &["http", "https", "HTTP", "HTTPS"];

/// A part of a resource that has fields.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    fields: Option<&'a Map<String, Value>>,
    path: String,
}

/// Result of reading a field that may be absent.
pub(crate) type Field<T> = Result<Option<T>, Invalid>;

// === impl Object ===

impl<'a> Object<'a> {
    /// Wraps a value. `path` is its place for messages.
    pub(crate) fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, Invalid> {
        let path = path.into();
        match value {
            Value::Object(fields) => Ok(Self {
                fields: Some(fields),
                path,
            }),
            Value::Null => Ok(Self { fields: None, path }),
            other => Err(wrong(path, other, "an object")),
        }
    }

    /// Path of a field.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Path of the object itself.
    pub(crate) fn own_path(&self) -> &str {
        &self.path
    }

    /// Error for a field.
    pub(crate) fn invalid(&self, reason: Reason, key: &str, message: impl Display) -> Invalid {
        Invalid::new(reason, self.path(key), message)
    }

    /// Error for a missing field. `expected` is the description of its value.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> Invalid {
        self.invalid(Reason::Schema, key, format!("missing, expected {expected}"))
    }

    /// Returns the value of a field as written.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.fields?.get(key).filter(|value| !value.is_null())
    }

    /// Returns true if the field is given, even if it is empty.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Returns true if no field is given.
    pub(crate) fn is_empty(&self) -> bool {
        let mut values = self.fields.iter().flat_map(|fields| fields.values());
        values.all(is_zero)
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(wrong(self.path(key), value, expected)),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Field<&'a str> {
        self.read(key, "a text", Value::as_str)
    }

    /// Reads a text for which an empty text means that it is absent.
    pub(crate) fn full_text(&self, key: &str) -> Field<&'a str> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn required_text(&self, key: &str) -> Result<&'a str, Invalid> {
        self.full_text(key)?
            .ok_or_else(|| self.missing(key, "a text"))
    }

    pub(crate) fn flag(&self, key: &str) -> Field<bool> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(crate) fn is_set(&self, key: &str) -> Result<bool, Invalid> {
        Ok(self.flag(key)?.unwrap_or(false))
    }

    /// Reads a whole number of at least 0.
    pub(crate) fn count(&self, key: &str) -> Field<u64> {
        self.read(key, "a whole number of 0 or more", Value::as_u64)
    }

    pub(crate) fn port(&self, key: &str) -> Field<u64> {
        self.read(key, "a port from 0 to 65535", |value| {
            value.as_u64().filter(|port| *port <= 65535)
        })
    }

    /// Reads a duration. An empty text means that it is absent.
    pub(crate) fn duration(&self, key: &str) -> Field<&'a str> {
        let valid = |text: &&str| text.is_empty() || duration::parse(text).is_ok();
        let read = self.read(key, "a duration such as 30s or 1m30s", |value| {
            value.as_str().filter(valid)
        });
        Ok(read?.filter(|text| !text.is_empty()))
    }

    /// Reads a size. An empty text means that it is absent.
    pub(crate) fn size(&self, key: &str) -> Field<&'a str> {
        let valid = |text: &&str| text.is_empty() || size::parse(text).is_ok();
        let read = self.read(key, "a size such as 15MB", |value| {
            value.as_str().filter(valid)
        });
        Ok(read?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn one_of(&self, key: &str, known: &[&str]) -> Field<&'a str> {
        let expected = format!("one of {}", known.join(", "));
        self.read(key, &expected, |value| {
            value.as_str().filter(|text| known.contains(text))
        })
    }

    /// Reads the name of a URL scheme in lower case.
    pub(crate) fn scheme(&self) -> Field<String> {
        Ok(self.one_of("scheme", SCHEMES)?.map(str::to_lowercase))
    }

    /// Reads a list of texts.
    pub(crate) fn texts(&self, key: &str) -> Field<Vec<&'a str>> {
        self.read(key, "a list of texts", texts)
    }

    pub(crate) fn protocols(&self, key: &str) -> Field<Vec<&'a str>> {
        let expected = format!("a list of {}", PROTOCOLS.join(", "));
        let read = self.read(key, &expected, |value| {
            texts(value).filter(|list| list.iter().all(|text| PROTOCOLS.contains(text)))
        });
        Ok(read?.filter(|list| !list.is_empty()))
    }

    /// Reads a map of texts.
    pub(crate) fn text_map(&self, key: &str) -> Field<BTreeMap<&'a str, &'a str>> {
        self.read(key, "a map of texts", |value| {
            let entries = value.as_object()?.iter();
            entries
                .map(|(k, v)| Some((k.as_str(), v.as_str()?)))
                .collect()
        })
    }

    /// Reads a map of lists of texts.
    pub(crate) fn lists_map(&self, key: &str) -> Field<BTreeMap<&'a str, Vec<&'a str>>> {
        self.read(key, "a map of lists of texts", |value| {
            let entries = value.as_object()?.iter();
            entries
                .map(|(k, v)| Some((k.as_str(), texts(v)?)))
                .collect()
        })
    }

    /// Reads a number of Kubernetes, such as `1.5`, `"200m"` or `"1k"`.
    pub(crate) fn quantity(&self, key: &str) -> Field<f64> {
        self.read(key, "a number such as 1.1 or 200m", |value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => quantity(text),
            _ => None,
        })
    }

    /// Reads a field that has fields itself.
    pub(crate) fn object(&self, key: &str) -> Field<Object<'a>> {
        match self.value(key) {
            Some(value) => Object::of(value, self.path(key)).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a field that has fields itself, with no fields if it is absent.
    pub(crate) fn object_or_empty(&self, key: &str) -> Result<Object<'a>, Invalid> {
        Object::of(self.value(key).unwrap_or(&Value::Null), self.path(key))
    }

    pub(crate) fn required_object(&self, key: &str) -> Result<Object<'a>, Invalid> {
        self.object(key)?
            .ok_or_else(|| self.missing(key, "an object"))
    }

    /// Reads a list of objects.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Object<'a>>, Invalid> {
        let list = self.read(key, "a list of objects", Value::as_array)?;
        let path = self.path(key);
        let entries = list.into_iter().flatten().enumerate();
        entries
            .map(|(at, value)| Object::of(value, format!("{path}[{at}]")))
            .collect()
    }

    /// Returns the names and values of all fields.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let fields = self.fields.into_iter().flatten();
        fields.map(|(key, value)| (key.as_str(), value))
    }
}

/// Parses a URL. Rejects the characters in a host that Go rejects too.
pub(crate) fn parse_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let host = url.host_str().unwrap_or_default();
    (!host.contains(['{', '}', '|', '`', '^'])).then_some(url)
}

/// Returns true for values that Go's JSON decoder turns into the zero value of a structure.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        // A pointer to an empty structure is not zero, but no field of these has one.
        Value::Object(fields) => fields.values().all(is_zero),
        _ => false,
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn wrong(path: String, value: &Value, expected: &str) -> Invalid {
    let found = match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        scalar => scalar.to_string(),
    };
    Invalid::new(
        Reason::Schema,
        path,
        format!("found {found}, expected {expected}"),
    )
}

/// Parses the text form of a Kubernetes quantity.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let suffix = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let number = Some(number).filter(|number| number.chars().all(is_number))?;
    // Division keeps 200m equal to 0.2.
    let value = number.parse::<f64>().ok()?;
    Some(if factor < 1.0 {
        value / (1.0 / factor).round()
    } else {
        value * factor
    })
}
