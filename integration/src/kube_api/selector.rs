//! Label and field selectors.

use serde_json::Value;

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) namespace: Option<String>,
    labels: Vec<Term>,
    fields: Vec<Term>,
}

/// One requirement: a key that has, or has not, a value; without one, that there
/// is the key or not.
#[derive(Clone, Debug)]
struct Term {
    key: String,
    value: Option<String>,
    wanted: bool,
}

// === impl Selection ===

impl Selection {
    /// # Errors
    /// Where a selector is none.
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

    pub(super) fn has(&self, object: &Value) -> bool {
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
            && self.labels.iter().all(|term| term.holds(label(&term.key)))
            && self.fields.iter().all(|term| {
                // A field that is not set is empty.
                term.holds(Some(field(&term.key).unwrap_or_default()))
            })
    }
}

// === impl Term ===

impl Term {
    fn parse(text: &str) -> Result<Self, String> {
        let term = |key: &str, value: Option<&str>, wanted| Self {
            key: key.trim().to_owned(),
            value: value.map(|value| value.trim().to_owned()),
            wanted,
        };
        if text.contains(['(', ' ']) {
            return Err(format!("{text:?}: set-based selectors are not known here"));
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

    fn holds(&self, found: Option<String>) -> bool {
        let is = match &self.value {
            Some(value) => found.as_ref() == Some(value),
            None => found.is_some(),
        };
        is == self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_terms_have_to_hold() {
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
            let selection = Selection::parse(None, Some(labels), Some(fields)).unwrap();
            assert_eq!(selection.has(&object), expected, "{labels} {fields}");
        }
        let other = Selection::parse(Some("m".to_owned()), None, None).unwrap();
        assert!(!other.has(&object));
        Selection::parse(None, Some("app in (a)"), None).unwrap_err();
    }
}
