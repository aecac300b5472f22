//! What receivers tell each other of themselves and of the others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Life {
    /// A number that every process draws.
    pub(super) number: u64,
    /// For how many milliseconds it has lived.
    pub(super) age_ms: u64,
    /// What it leaves where it is killed now.
    #[serde(flatten)]
    pub(super) legacy: Legacy,
}

/// What a receiver leaves that is killed, and which others wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Legacy {
    /// For how many milliseconds its Exports may be under way.
    pub(super) span_ms: u64,
    /// For how many milliseconds it may be away until it delivers what is on its disk.
    pub(super) away_ms: u64,
}

/// What one receiver knows of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Rumour {
    /// For how many milliseconds it has not answered.
    pub(super) silent_ms: u64,
    /// What it leaves.
    #[serde(flatten)]
    pub(super) legacy: Legacy,
    /// How many milliseconds ago it has said so; nothing where it has not, and that is
    /// presumed.
    #[serde(default)]
    pub(super) said_ms: Option<u64>,
    /// For how many milliseconds more those of an earlier process of it may be.
    pub(super) left_behind_ms: u64,
    /// The number of its process where that has said that nothing of it waits any more.
    #[serde(default)]
    pub(super) drained: Option<u64>,
    /// Its pod is gone, and its disk with it.
    #[serde(default)]
    pub(super) deleted: bool,
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

// === impl Legacy ===

impl Legacy {
    /// For how long others wait in all.
    pub(super) fn lasts(&self) -> Duration {
        self.exports().max(Duration::from_millis(self.away_ms))
    }

    /// For how long its Exports may be under way.
    pub(super) fn exports(&self) -> Duration {
        Duration::from_millis(self.span_ms)
    }

    /// What there is of it where the pod is gone, if it is: nothing on a disk.
    pub(super) fn remains(self, is_deleted: bool) -> Self {
        match is_deleted {
            true => Self { away_ms: 0, ..self },
            false => self,
        }
    }

    /// The most that either says.
    pub(super) fn max(&self, other: &Self) -> Self {
        Self {
            span_ms: self.span_ms.max(other.span_ms),
            away_ms: self.away_ms.max(other.away_ms),
        }
    }
}
