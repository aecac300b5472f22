//! What receivers tell each other of themselves and of the others.

use serde::{Deserialize, Serialize};

/// A process of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Life {
    /// A number that every process draws.
    pub(super) number: u64,
    /// For how many milliseconds it has lived.
    pub(super) age_ms: u64,
    /// How many milliseconds its Exports may take at present.
    #[serde(default)]
    pub(super) span_ms: u64,
}

/// What one receiver knows of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Rumour {
    /// For how many milliseconds it has not answered.
    pub(super) silent_ms: u64,
    /// For how many milliseconds its Exports may be under way once it does not.
    pub(super) span_ms: u64,
    /// For how many milliseconds more those of an earlier process of it may be.
    pub(super) left_behind_ms: u64,
}

/// What a receiver says that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Parting {
    /// It scrapes nothing any more.
    Stopped,
    /// Nor does anything wait in its outbox.
    Drained,
}

// === impl Rumour ===

impl Rumour {
    /// The most that either says.
    pub(super) fn max(&self, other: &Self) -> Self {
        Self {
            silent_ms: self.silent_ms.max(other.silent_ms),
            span_ms: self.span_ms.max(other.span_ms),
            left_behind_ms: self.left_behind_ms.max(other.left_behind_ms),
        }
    }
}
