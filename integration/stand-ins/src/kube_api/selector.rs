//! Label and field selectors.

use serde_json::Value;

/// Selects the objects of a request by namespace, labels and fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    pub(super) namespace: Option<String>,
    labels: Vec<Term>,
    fields: Vec<Term>,
}

/// One requirement. With a value, the key must equal it (`key=value`, `key!=value`).
/// Without a value, the key must exist or not (`key`, `!key`).
#[derive(Clone, Debug)]
struct Term {
    key: String,
    value: Option<String>,
    /// `false` negates the requirement.
    positive: bool,
}

// === impl Selector ===

impl Selector {
    /// Parses the selectors of a request. Set-based selectors are not supported.
    ///
    /// # Errors
    /// Returns an error if a selector has a syntax that is not supported.
    pub(super) fn parse(
        namespace: Option<String>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, String> {
        let terms = |selector: Option<&str>| {
            let terms = selector.unwrap_or_default().split(',');
            let given = terms.map(str::trim).filter(|term| !term.is_empty());
            given.map(Term::parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            namespace,
            labels: terms(labels)?,
            fields: terms(fields)?,
        })
    }

    /// Returns `true` if the object meets all requirements.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        let namespace = self.namespace.as_deref();
        let label = |key: &str| meta["labels"][key].as_str().map(str::to_owned);
        let field = |key: &str| {
            let path = format!("/{}", key.replace('.', "/"));
            object
                .pointer(&path)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        namespace.is_none_or(|namespace| meta["namespace"] == namespace)
            && self
                .labels
                .iter()
                .all(|term| term.matches(label(&term.key)))
            && self.fields.iter().all(|term| {
                // A missing field equals the empty string.
                term.matches(Some(field(&term.key).unwrap_or_default()))
            })
    }
}

// === impl Term ===

impl Term {
    fn parse(text: &str) -> Result<Self, String> {
        let term = |key: &str, value: Option<&str>, positive| Self {
            key: key.trim().to_owned(),
            value: value.map(|value| value.trim().to_owned()),
            positive,
        };
        if text.contains(['(', ' ']) {
            return Err(format!("{text:?}: set-based selectors are not supported"));
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Ok(term(key, Some(value), false));
        }
        if let Some((key, value)) = text.split_once("==").or(text.split_once('=')) {
            return Ok(term(key, Some(value), true));
        }
        Ok(match text.strip_prefix('!') {
            Some(key) => term(key, None, false),
            None => term(text, None, true),
        })
    }

    fn matches(&self, found: Option<String>) -> bool {
        let is = match &self.value {
            Some(value) => found.as_ref() == Some(value),
            None => found.is_some(),
        };
        is == self.positive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_must_match_all_terms() {
        let object = serde_json::json!({
            "metadata": {"namespace": "n", "name": "p", "labels": {"app": "a"}},
            "spec": {"nodeName": "node-1"},
        });
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=a", "spec.nodeName=node-1", true),
            ("app==a,app", "metadata.name!=q", true),
            ("app!=a", "", false),
            ("tier!=x,!tier", "", true),
            ("tier", "", false),
            ("", "spec.nodeName=node-2", false),
            ("", "status.phase=", true),
        ] {
            let selector = Selector::parse(None, Some(labels), Some(fields)).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        let other = Selector::parse(Some("m".to_owned()), None, None).unwrap();
        assert!(!other.matches(&object));
        Selector::parse(None, Some("app in (a)"), None).unwrap_err();
    }
}
