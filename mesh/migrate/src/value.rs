//! Readers for untyped YAML values.

use serde_json::{Map, Value};

/// Returns the value at a path of keys, or null.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| &value[*key])
}

/// Returns a scalar as text. `{X}` without quotes is a map with the key X, from a template.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Object(map) if map.len() == 1 => {
            let (key, value) = map.iter().next()?;
            value.is_null().then(|| format!("{{{key}}}"))
        }
        _ => None,
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Returns the entries of a list as text, or the only text.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// Applies `change` to every text of a value.
pub(crate) fn map_texts(value: &mut Value, change: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| map_texts(item, change)),
        Value::Object(map) => map.values_mut().for_each(|item| map_texts(item, change)),
        _ => {}
    }
}

/// Moves a key of one map into another, under another name.
pub(crate) fn copy(from: &Value, key: &str, to: &mut Map<String, Value>, name: &str) {
    if !from[key].is_null() {
        to.insert(name.to_owned(), from[key].clone());
    }
}

/// Writes `camelCase` as `snake_case`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, c) in name.char_indices() {
        if c.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
