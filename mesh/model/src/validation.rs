//! Validates the names of labels and metrics.
//!
//! Prometheus has two validation schemes: the legacy character set and, since version 3, any
//! UTF-8. A Rust string is always UTF-8, so the second scheme only rejects empty names.

/// Rules for the names of labels and metrics (`validation_scheme` in the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValidationScheme {
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, the same without `:` for labels.
    Legacy,
    /// Any non-empty UTF-8.
    #[default]
    Utf8,
}

/// Returns true if `name` has the form `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_valid_legacy_label_name(name: &str) -> bool {
    is_word(name, |byte| byte == b'_')
}

/// Returns true if `name` has the form `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_valid_legacy_metric_name(name: &str) -> bool {
    is_word(name, |byte| byte == b'_' || byte == b':')
}

/// Replaces every character that is invalid in a legacy label name with an underscore.
///
/// Discovery applies this to names from other systems, such as Kubernetes labels. A leading
/// digit remains, since discovery adds a prefix.
///
/// ```
/// use mesh_model::validation::sanitize_label_name;
///
/// assert_eq!(sanitize_label_name("app.kubernetes.io/name"), "app_kubernetes_io_name");
/// ```
pub fn sanitize_label_name(name: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if legal(c) { c } else { '_' })
        .collect()
}

fn is_word(name: &str, punctuation: impl Fn(u8) -> bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || punctuation(byte);
    match name.as_bytes() {
        [] => false,
        [first, rest @ ..] => {
            letter(*first) && rest.iter().all(|&b| letter(b) || b.is_ascii_digit())
        }
    }
}

// === impl ValidationScheme ===

impl ValidationScheme {
    /// Returns true if `name` is a valid label name in this scheme.
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            Self::Legacy => is_valid_legacy_label_name(name),
            Self::Utf8 => !name.is_empty(),
        }
    }

    /// Returns true if `name` is a valid metric name in this scheme.
    pub fn is_valid_metric_name(self, name: &str) -> bool {
        match self {
            Self::Legacy => is_valid_legacy_metric_name(name),
            Self::Utf8 => !name.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_are_ascii_identifiers() {
        for good in ["a", "_", "Az_09", "__name__"] {
            assert!(is_valid_legacy_label_name(good), "{good}");
            assert!(is_valid_legacy_metric_name(good), "{good}");
        }
        for bad in ["", "0a", "a-b", "a.b", "é", "a b", "a\n"] {
            assert!(!is_valid_legacy_label_name(bad), "{bad}");
            assert!(!is_valid_legacy_metric_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_metric_names_contain_colons() {
        assert!(is_valid_legacy_metric_name(":job:up"));
        assert!(!is_valid_legacy_label_name("job:up"));
    }

    #[test]
    fn utf8_names_must_not_be_empty() {
        for (name, valid) in [("", false), ("a.b", true), ("é", true), (" ", true)] {
            assert_eq!(ValidationScheme::Utf8.is_valid_label_name(name), valid);
            assert_eq!(ValidationScheme::Utf8.is_valid_metric_name(name), valid);
        }
        assert!(!ValidationScheme::Legacy.is_valid_label_name("a.b"));
        assert!(!ValidationScheme::Legacy.is_valid_metric_name("a.b"));
    }

    #[test]
    fn sanitizes_names_of_other_systems() {
        assert_eq!(sanitize_label_name("aws:eks/ä-x_1"), "aws_eks___x_1");
    }
}
