//! Which label and metric names are legal.
//!
//! Prometheus knows two schemes: the legacy character set and, since version 3,
//! any UTF-8. A Rust string is UTF-8 already, so the second only asks for a name
//! that is not empty.

/// Rules for the names of labels and metrics (`validation_scheme` in the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValidationScheme {
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, the same without `:` for labels.
    Legacy,
    /// Any non-empty UTF-8.
    #[default]
    Utf8,
}

/// Whether `name` has the form `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_valid_legacy_label_name(name: &str) -> bool {
    is_word(name, |byte| byte == b'_')
}

/// Whether `name` has the form `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_valid_legacy_metric_name(name: &str) -> bool {
    is_word(name, |byte| byte == b'_' || byte == b':')
}

/// The name with an underscore for every character that a legacy label name cannot
/// have anywhere: what discovery makes of names that are not Prometheus' own.
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
    /// Whether a label may have this name.
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            Self::Legacy => is_valid_legacy_label_name(name),
            Self::Utf8 => !name.is_empty(),
        }
    }

    /// Whether a metric may have this name.
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
    fn legacy_names_are_ascii_words() {
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
    fn only_metric_names_may_have_colons() {
        assert!(is_valid_legacy_metric_name(":job:up"));
        assert!(!is_valid_legacy_label_name("job:up"));
    }

    #[test]
    fn utf8_names_are_anything_but_empty() {
        for (name, valid) in [("", false), ("a.b", true), ("é", true), (" ", true)] {
            assert_eq!(ValidationScheme::Utf8.is_valid_label_name(name), valid);
            assert_eq!(ValidationScheme::Utf8.is_valid_metric_name(name), valid);
        }
        assert!(!ValidationScheme::Legacy.is_valid_label_name("a.b"));
        assert!(!ValidationScheme::Legacy.is_valid_metric_name("a.b"));
    }

    #[test]
    fn foreign_names_become_label_names() {
        assert_eq!(sanitize_label_name("aws:eks/ä-x_1"), "aws_eks___x_1");
    }
}
