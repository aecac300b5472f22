//! Result of a scenario.

/// Cost of a scenario, and the laws that it broke.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    pub(super) scrapes: usize,
    pub(super) samples: u64,
    pub(super) deduplicated: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) elections: u64,
    pub(super) violations: Vec<String>,
}
