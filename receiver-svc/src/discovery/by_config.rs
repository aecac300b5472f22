//! Finds mechanisms by their settings.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use mesh_model::config::discovery::DiscoveryConfig;

use super::Mechanism;

/// Positions of mechanisms in a list, by a hash of their settings. A configuration can have
/// tens of thousands.
#[derive(Debug, Default)]
pub(super) struct ByConfig(HashMap<u64, Vec<usize>>);

// === impl ByConfig ===

impl ByConfig {
    pub(super) fn of(mechanisms: &[Mechanism]) -> Self {
        let mut by_config = Self::default();
        for (i, mechanism) in mechanisms.iter().enumerate() {
            by_config.insert(&mechanism.config, i);
        }
        by_config
    }

    pub(super) fn insert(&mut self, config: &DiscoveryConfig, position: usize) {
        self.0.entry(hash(config)).or_default().push(position);
    }

    /// Returns the position of the mechanism with these settings.
    pub(super) fn find(&self, mechanisms: &[Mechanism], config: &DiscoveryConfig) -> Option<usize> {
        let candidates = self.0.get(&hash(config))?;
        let is_equal = |i: &&usize| mechanisms[**i].config == *config;
        candidates.iter().find(is_equal).copied()
    }
}

/// Hashes the settings without their secrets.
fn hash(config: &DiscoveryConfig) -> u64 {
    let mut hasher = DefaultHasher::new();
    match config {
        // A static list can have a million targets, and its text would be large.
        DiscoveryConfig::Static(groups) => {
            for group in groups {
                group.targets.hash(&mut hasher);
                group.labels.hash(&mut hasher);
            }
        }
        other => format!("{other:?}").hash(&mut hasher),
    }
    hasher.finish()
}
