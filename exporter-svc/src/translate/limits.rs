//! Limits of the labels of a pushed series.
//!
//! One long label of a resource would be a part of each of its series, so a small push could
//! become gigabytes of series. A backend such as AMP refuses such series anyway.

use mesh_model::labels::METRIC_NAME;

/// Maximum number and lengths of the labels of a pushed series.
#[derive(Clone, Copy, Debug)]
pub struct LabelLimits {
    /// Maximum number of labels, including the name and the labels that the exporter adds.
    pub labels: usize,
    /// Maximum length of a label name in bytes.
    pub name_bytes: usize,
    /// Maximum length of a label value in bytes, and of a metric name.
    pub value_bytes: usize,
}

/// Longest part of a name in an error message, in characters.
const SHOWN_CHARS: usize = 40;

// === impl LabelLimits ===

impl LabelLimits {
    /// No limits.
    pub const NONE: Self = Self {
        labels: usize::MAX,
        name_bytes: usize::MAX,
        value_bytes: usize::MAX,
    };

    /// Limits of labels that write relabeling has yet to see. It may drop or shorten them.
    pub fn before_relabeling(self) -> Self {
        const FACTOR: usize = 16;
        Self {
            labels: self.labels.saturating_mul(FACTOR),
            name_bytes: self.name_bytes.saturating_mul(FACTOR),
            value_bytes: self.value_bytes.saturating_mul(FACTOR),
        }
    }

    /// Checks the labels of a series.
    ///
    /// # Errors
    /// Returns a description of the first limit that is exceeded.
    pub fn check<'a>(
        &self,
        labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), String> {
        self.check_count(labels.len())?;
        for (name, value) in labels {
            self.check_one(name, value)?;
        }
        Ok(())
    }

    /// Checks the number of labels.
    ///
    /// # Errors
    /// Returns a description if there are too many.
    pub fn check_count(&self, count: usize) -> Result<(), String> {
        if count > self.labels {
            return Err(format!(
                "{count} labels, expected at most {} (--ingest.max-labels)",
                self.labels
            ));
        }
        Ok(())
    }

    /// Checks one label.
    ///
    /// # Errors
    /// Returns a description if its name or its value is too long.
    pub fn check_one(&self, name: &str, value: &str) -> Result<(), String> {
        if name.len() > self.name_bytes {
            return Err(format!(
                "label name {:?} of {} bytes, expected at most {} (--ingest.max-label-name-bytes)",
                shown(name),
                name.len(),
                self.name_bytes
            ));
        }
        if value.len() > self.value_bytes {
            let what = match name {
                METRIC_NAME => "metric name".to_owned(),
                name => format!("value of label {:?}", shown(name)),
            };
            return Err(format!(
                "{what} of {} bytes, expected at most {} (--ingest.max-label-value-bytes)",
                value.len(),
                self.value_bytes
            ));
        }
        Ok(())
    }
}

impl Default for LabelLimits {
    /// Limits of AMP, and the defaults of Cortex for lengths.
    fn default() -> Self {
        Self {
            labels: 150,
            name_bytes: 1024,
            value_bytes: 2048,
        }
    }
}

fn shown(name: &str) -> String {
    let mut chars = name.chars();
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
