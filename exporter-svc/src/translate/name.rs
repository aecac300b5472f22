//! Converts OTLP names, units and attribute keys to Prometheus names.
//!
//! The rules are those of the OpenTelemetry specification's Prometheus compatibility
//! page ("OTLP Metric points to Prometheus"), as Prometheus 3 applies them.

use mesh_model::config::remote_write::{OtlpConfig, TranslationStrategy};

/// Converts OTLP names to Prometheus names.
#[derive(Clone, Copy, Debug)]
pub struct Namer {
    /// Keeps all UTF-8 characters of names.
    utf8: bool,
    /// Appends units and types as suffixes.
    suffixes: bool,
    /// Puts `key` before label names that begin with a single underscore.
    key_before_underscore: bool,
    /// Keeps runs of underscores in label names.
    keep_underscores: bool,
}

/// Metric type, as far as it affects the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Gauge: gets `_ratio` if its unit is 1.
    Gauge,
    /// Monotonic sum: gets `_total`.
    Counter,
    /// Any other type.
    Other,
}

/// Error of a name that has no Prometheus name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name without any legal character.
    #[error("{what} {name:?} has no character that a Prometheus name may have")]
    NoLegalCharacter {
        /// `metric` or `attribute`.
        what: &'static str,
        /// Name in OTLP.
        name: String,
    },
    /// A metric without a name.
    #[error("metric with an empty name")]
    EmptyName,
    /// An attribute without a key.
    #[error("attribute with an empty key")]
    EmptyKey,
}

/// Units of UCUM, and their names in Prometheus.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units after a slash, and their names in Prometheus.
const PER_UNITS: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

// === impl Namer ===

impl Namer {
    /// Creates a namer with the rules of a configuration.
    pub fn new(config: &OtlpConfig) -> Self {
        use TranslationStrategy as Strategy;
        let strategy = config.translation_strategy;
        Self {
            utf8: matches!(
                strategy,
                Strategy::NoUtf8EscapingWithSuffixes | Strategy::NoTranslation
            ),
            suffixes: matches!(
                strategy,
                Strategy::UnderscoreEscapingWithSuffixes | Strategy::NoUtf8EscapingWithSuffixes
            ),
            key_before_underscore: config.label_name_underscore_sanitization,
            keep_underscores: config.label_name_preserve_multiple_underscores,
        }
    }

    /// Returns true if names keep all UTF-8 characters. Different keys then always have
    /// different label names.
    pub fn keeps_utf8(&self) -> bool {
        self.utf8
    }

    /// Name of a metric.
    ///
    /// # Errors
    /// Returns an error if no legal character is left, or if the name is empty and would
    /// consist of suffixes only.
    pub fn metric(&self, name: &str, unit: &str, kind: Kind) -> Result<String, NameError> {
        if self.utf8 {
            if name.is_empty() {
                return Err(NameError::EmptyName);
            }
            return Ok(if self.suffixes {
                utf8_with_suffixes(name, unit, kind)
            } else {
                name.to_owned()
            });
        }
        let made = if self.suffixes {
            with_suffixes(name, unit, kind)
        } else {
            escaped(name)
        };
        if made.is_empty() || (made != name && made.bytes().all(|byte| byte == b'_')) {
            return Err(if name.is_empty() {
                NameError::EmptyName
            } else {
                NameError::illegal("metric", name)
            });
        }
        Ok(made)
    }

    /// Name of the label of a data point's own attribute. Keeps any key but an empty one
    /// if names keep all UTF-8 characters.
    ///
    /// # Errors
    /// Returns an error if no legal character is left.
    pub fn own_label(&self, key: &str) -> Result<String, NameError> {
        if self.utf8 && !key.is_empty() {
            return Ok(key.to_owned());
        }
        self.label(key)
    }

    /// Name of the label of a promoted attribute.
    ///
    /// # Errors
    /// Returns an error if no legal character is left.
    pub fn label(&self, key: &str) -> Result<String, NameError> {
        if key.is_empty() {
            return Err(NameError::EmptyKey);
        }
        let mut made = if self.utf8 {
            key.to_owned()
        } else {
            sanitized(key, self.keep_underscores)
        };
        if !self.utf8 && made.starts_with(|first: char| first.is_ascii_digit()) {
            made.insert_str(0, "key_");
        }
        let one_underscore = made.starts_with('_') && !made.starts_with("__");
        if !self.utf8 && self.key_before_underscore && one_underscore {
            made.insert_str(0, "key");
        }
        if made.bytes().all(|byte| byte == b'_') {
            return Err(NameError::illegal("attribute", key));
        }
        Ok(made)
    }
}

// === impl NameError ===

impl NameError {
    fn illegal(what: &'static str, name: &str) -> Self {
        let name = name.to_owned();
        Self::NoLegalCharacter { what, name }
    }
}

/// Name of a unit, as in metadata.
pub fn unit(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    let words = [clean(&main), clean(&per)];
    let words: Vec<_> = words
        .iter()
        .filter(|word| !word.is_empty())
        .map(String::as_str)
        .collect();
    let joined = words.join("_");
    joined.strip_suffix('_').unwrap_or(&joined).to_owned()
}

/// Returns true for legal characters of a metric name, except the underscore.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Replaces each run of illegal characters by `_`.
fn escaped(name: &str) -> String {
    let parts = name.split(|c: char| !is_name_char(c) && c != '_');
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    digit_guarded(parts.join("_"))
}

/// Joins the words of a name by underscores and appends the unit and type.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<_> = name
        .split(|c: char| !is_name_char(c))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let (main, per) = unit_words(unit);
    let (mut main, mut per) = (clean(&main), clean(&per));
    if words.contains(&main) {
        main.clear();
    }
    per = per.strip_suffix('_').unwrap_or(&per).to_owned();
    if per == "per" || words.contains(&per) {
        per.clear();
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(&main).to_owned();
    }
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    if let Some(suffix) = suffix(unit, kind) {
        words.retain(|word| word != suffix);
        words.push(suffix.to_owned());
    }
    digit_guarded(words.join("_"))
}

/// Appends the unit and type to an unchanged name, without repeating a suffix.
fn utf8_with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let (main, per) = unit_words(unit);
    let suffix = suffix(unit, kind);
    let name = suffix.map_or(name, |suffix| without(name, suffix));
    let name = if per.is_empty() {
        name
    } else {
        without(name, &per)
    };
    let mut made = name.to_owned();
    let main = (!main.is_empty() && !name.ends_with(&*main)).then_some(&*main);
    let per = (!per.is_empty()).then_some(&*per);
    for part in [main, per, suffix].into_iter().flatten() {
        made.push('_');
        made.push_str(part);
    }
    made
}

/// Suffix of a metric type. Only a gauge with unit 1 is a ratio: counters often have
/// this unit by mistake.
fn suffix(unit: &str, kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Counter => Some("total"),
        Kind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    }
}

/// Removes `suffix` and the character before it from `name`.
fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
    let Some(rest) = name.strip_suffix(suffix) else {
        return name;
    };
    match rest.char_indices().next_back() {
        Some((at, _)) if at > 0 => &rest[..at],
        _ => name,
    }
}

/// Splits a unit into the names of its numerator and its denominator.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    // Text in braces is an annotation, not a unit.
    let plain = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.contains(['{', '}']));
    let word = |text: String, words: &[(&str, &str)]| {
        let known = words.iter().find(|(unit, _)| *unit == text);
        known.map_or(text, |(_, word)| (*word).to_owned())
    };
    let main = plain(main).map_or_else(String::new, |main| word(main, UNITS));
    let per = plain(per).map_or_else(String::new, |per| word(per, PER_UNITS));
    if per.is_empty() {
        (main, per)
    } else {
        (main, format!("per_{per}"))
    }
}

/// Replaces each run of illegal characters in a unit by `_`, and drops leading ones.
fn clean(unit: &str) -> String {
    let mut made = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_name_char(c) {
            made.push(c);
        } else if !made.is_empty() && !made.ends_with('_') {
            made.push('_');
        }
    }
    made
}

fn digit_guarded(mut name: String) -> String {
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Replaces illegal characters in a label name by `_`. Merges runs of underscores
/// unless they are kept, except the two at each end of a reserved name.
fn sanitized(key: &str, keep_underscores: bool) -> String {
    let reserved = key
        .strip_prefix("__")
        .and_then(|key| key.strip_suffix("__"));
    let reserved = reserved.filter(|inner| !keep_underscores && !inner.is_empty());
    let mut made = String::with_capacity(key.len());
    for c in reserved.unwrap_or(key).chars() {
        if c.is_ascii_alphanumeric() {
            made.push(c);
        } else if keep_underscores || !made.ends_with('_') {
            made.push('_');
        }
    }
    match reserved {
        Some(_) => format!("__{made}__"),
        None => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namer(translation_strategy: TranslationStrategy) -> Namer {
        Namer::new(&OtlpConfig {
            translation_strategy,
            ..Default::default()
        })
    }

    #[test]
    fn names_follow_the_translation_strategy() {
        let name = |strategy| {
            namer(strategy)
                .metric("http.server.duration", "ms", Kind::Counter)
                .unwrap()
        };
        use TranslationStrategy as Strategy;
        assert_eq!(
            name(Strategy::UnderscoreEscapingWithSuffixes),
            "http_server_duration_milliseconds_total"
        );
        assert_eq!(
            name(Strategy::UnderscoreEscapingWithoutSuffixes),
            "http_server_duration"
        );
        assert_eq!(
            name(Strategy::NoUtf8EscapingWithSuffixes),
            "http.server.duration_milliseconds_total"
        );
        assert_eq!(name(Strategy::NoTranslation), "http.server.duration");
    }

    #[test]
    fn suffixes_are_not_repeated() {
        let default = namer(TranslationStrategy::default());
        let is = |name, unit, kind, want: &str| {
            assert_eq!(default.metric(name, unit, kind).unwrap(), want);
        };
        is("requests.total", "", Kind::Counter, "requests_total");
        is("duration.seconds", "s", Kind::Other, "duration_seconds");
        is("speed", "m/s", Kind::Gauge, "speed_meters_per_second");
        is("hit.ratio", "1", Kind::Gauge, "hit_ratio");
        is("cpus", "{cpu}", Kind::Gauge, "cpus");
    }

    #[test]
    fn rejects_names_without_legal_characters() {
        let default = namer(TranslationStrategy::default());
        let error = default.metric("@@", "", Kind::Gauge).unwrap_err();
        let problem = "metric \"@@\" has no character that a Prometheus name may have";
        assert_eq!(error.to_string(), problem);
        assert!(default.label("").is_err());
        assert!(default.label("--").is_err());
    }

    #[test]
    fn rejects_empty_names_under_every_strategy() {
        use TranslationStrategy as Strategy;
        for strategy in [
            Strategy::UnderscoreEscapingWithSuffixes,
            Strategy::UnderscoreEscapingWithoutSuffixes,
            Strategy::NoUtf8EscapingWithSuffixes,
            Strategy::NoTranslation,
        ] {
            let namer = namer(strategy);
            let name = namer.metric("", "", Kind::Other);
            assert_eq!(name, Err(NameError::EmptyName));
            for label in [namer.own_label(""), namer.label("")] {
                assert_eq!(label, Err(NameError::EmptyKey));
            }
        }
        // A suffix alone is no name.
        for (unit, kind) in [("s", Kind::Other), ("1", Kind::Gauge), ("", Kind::Counter)] {
            assert!(
                namer(Strategy::NoUtf8EscapingWithSuffixes)
                    .metric("", unit, kind)
                    .is_err()
            );
        }
    }
}
