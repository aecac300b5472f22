//! Delays of samples from the scrape until they are stored.

/// A histogram of delays with a resolution of one millisecond.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    by_ms: Vec<u64>,
    count: u64,
}

/// Maximum delay. Longer ones are counted as this one.
const MAX_MS: usize = 120_000;

// === impl Delays ===

impl Delays {
    /// Adds samples with the same delay.
    pub(super) fn add(&mut self, delay_ms: i64, samples: u64) {
        let ms = usize::try_from(delay_ms).unwrap_or(0).min(MAX_MS);
        self.by_ms[ms] += samples;
        self.count += samples;
    }

    /// Adds another histogram.
    pub(super) fn merge(&mut self, others: &Self) {
        let both = self.by_ms.iter_mut().zip(&others.by_ms);
        both.for_each(|(mine, others)| *mine += others);
        self.count += others.count;
    }

    /// Quantile of the delays, in milliseconds. `share` is from 0 to 1.
    pub(super) fn quantile(&self, share: f64) -> usize {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.by_ms.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        reached.unwrap_or(MAX_MS)
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            by_ms: vec![0; MAX_MS + 1],
            count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_the_samples() {
        let mut delays = Delays::default();
        delays.add(10, 98);
        delays.add(500, 1);
        delays.add(i64::MAX, 1);
        assert_eq!(
            [0.5, 0.98, 0.99, 1.0].map(|q| delays.quantile(q)),
            [10, 10, 500, MAX_MS]
        );
    }
}
