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
    /// The number of its process where that has said that nothing of it waits any more.
    #[serde(default)]
    pub(super) drained: Option<u64>,
}

/// What a receiver says that stops, in the order in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Parting {
    /// It scrapes nothing any more.
    Stopped,
    /// Nor does anything wait in its outbox.
    Drained,
}
