//! Selectors with equality matchers: `name{label="value",other!="value"}`.

use anyhow::{Context, bail};
use mesh_model::labels::{Labels, METRIC_NAME};

/// Matches series by their labels.
#[derive(Debug)]
pub(super) struct Selector {
    matchers: Vec<Matcher>,
}

// === impl Selector ===

impl Selector {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        let mut matchers = Vec::new();
        if !name.is_empty() {
            matchers.push((METRIC_NAME.to_owned(), true, name.to_owned()));
        }
        if !rest.is_empty() {
            let mut inner = rest[1..].trim();
            while !inner.starts_with('}') {
                let (matcher, after) =
                    matcher(inner).with_context(|| format!("selector {text:?}"))?;
                matchers.push(matcher);
                inner = after.trim_start_matches([',', ' ']);
            }
        }
        if matchers.is_empty() {
            bail!("selector {text:?}: expected a metric name or a label matcher");
        }
        Ok(Self { matchers })
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.matchers
            .iter()
            .all(|(name, equal, value)| (labels.get(name).unwrap_or_default() == value) == *equal)
    }
}

/// Label name, `true` for `=` and `false` for `!=`, and value.
type Matcher = (String, bool, String);

fn matcher(text: &str) -> anyhow::Result<(Matcher, &str)> {
    let (name, rest) = text.split_once('=').context("expected LABEL=\"VALUE\"")?;
    let (name, equal) = match name.strip_suffix('!') {
        Some(name) => (name, false),
        None => (name, true),
    };
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let value = values.next().context("expected a quoted value")??;
    let after = &rest[values.byte_offset()..];
    Ok(((name.trim().to_owned(), equal, value), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_names_and_labels() {
        let labels = Labels::from_iter([(METRIC_NAME, "up"), ("job", "a"), ("x", "1,2}")]);
        for (selector, expected) in [
            ("up", true),
            ("down", false),
            (r#"up{job="a"}"#, true),
            (r#"up{job="a", x="1,2}"}"#, true),
            (r#"{job!="a"}"#, false),
            (r#"up{none=""}"#, true),
        ] {
            assert_eq!(
                Selector::parse(selector).unwrap().matches(&labels),
                expected,
                "{selector}"
            );
        }
        assert!(Selector::parse("up{job=a}").is_err());
        assert!(Selector::parse("").is_err());
    }
}
