//! The result of judging one simulation.

use std::fmt;

/// Result of one simulation.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seed of the simulation.
    pub seed: u64,
    /// Destination, the first one after a merge.
    pub(super) destination: String,
    /// Number of scrapes that targets answered.
    pub scrapes: usize,
    /// Number of those that the receiver aborted, since it was killed, stopped or lost the
    /// target meanwhile.
    pub aborted: usize,
    /// Samples that never arrived, since only the memory of killed receivers had them.
    pub lost_in_memory: u64,
    /// Samples that the backend received again.
    pub duplicates: u64,
    /// Samples older than those that the backend has stored from another replica. A replica may
    /// have such samples pending when it is elected.
    pub overtaken: u64,
    /// Longest run of scrape slots that a target missed.
    pub missed: i64,
    /// Number of elections of a replica at the backend.
    pub elections: u64,
    /// Time from the end of the last fault until samples of every target arrive again, less one
    /// scrape interval, in milliseconds.
    pub recovery_ms: i64,
    /// Digest of the run. The same for each run of a seed.
    pub digest: u64,
    /// Descriptions of the broken laws.
    pub violations: Vec<String>,
}

/// Maximum number of violations in the text of a report.
const SHOWN: usize = 10;

// === impl Report ===

impl Report {
    /// Returns true if the simulation broke no law.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// Adds the description of a broken law.
    pub(super) fn violation(&mut self, description: impl Into<String>) {
        self.violations.push(description.into());
    }

    /// Merges the report of another destination of the same run.
    pub(super) fn merge(mut self, other: Self) -> Self {
        let destination = &other.destination;
        let violations = other.violations.into_iter();
        let named = violations.map(|violation| format!("{destination}: {violation}"));
        self.violations.extend(named);
        Self {
            aborted: self.aborted.max(other.aborted),
            lost_in_memory: self.lost_in_memory.max(other.lost_in_memory),
            duplicates: self.duplicates + other.duplicates,
            overtaken: self.overtaken + other.overtaken,
            missed: self.missed.max(other.missed),
            elections: self.elections.max(other.elections),
            recovery_ms: self.recovery_ms.max(other.recovery_ms),
            digest: self.digest ^ other.digest.rotate_left(1),
            ..self
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} scrapes, {} aborted, {} samples lost in memory, {} duplicates, {} \
             overtaken, {} slots missed in a row, {} elections, recovered after {} ms, digest \
             {:016x}",
            self.seed,
            self.scrapes,
            self.aborted,
            self.lost_in_memory,
            self.duplicates,
            self.overtaken,
            self.missed,
            self.elections,
            self.recovery_ms,
            self.digest
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        match self.violations.len() {
            0..=SHOWN => Ok(()),
            n => write!(f, "\n  and {} more", n - SHOWN),
        }
    }
}
