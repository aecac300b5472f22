//! Delay of samples: from the scrape or the push until a destination has stored them.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge, histogram::Histogram},
};

/// Delay of the batches of one destination. Clones share the histogram.
#[derive(Clone, Debug)]
pub(crate) struct Delay {
    /// Seconds from the time of a batch to the verdict that its samples are stored.
    stored: Histogram,
    /// Time of the newest stored batch, in milliseconds since the Unix epoch; 0 before the first.
    highest_ms: i64,
    /// Age of the oldest pending batch in milliseconds; 0 if none is pending.
    oldest_age_ms: i64,
}

/// Buckets of the delay in seconds: up to ten seconds while all is well, hours after an outage.
const BUCKETS: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0,
];

/// Encodes the delays of all destinations.
pub(crate) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    delays: &BTreeMap<String, Delay>,
) -> Result<(), fmt::Error> {
    type Value = fn(&Delay) -> i64;
    let gauges: [(&str, &str, Value); 2] = [
        (
            "outbox_oldest_sample_age_seconds",
            "Age of the oldest sample that waits for the destination, 0 if none waits",
            |delay| delay.oldest_age_ms,
        ),
        (
            "outbox_highest_stored_timestamp_seconds",
            "Time of the newest scrape or push that the destination has stored, 0 before the first",
            |delay| delay.highest_ms,
        ),
    ];
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (destination, delay) in delays {
            let gauge = ConstGauge::new(value(delay) as f64 / 1000.0);
            let labels = [("destination", destination.as_str())];
            gauge.encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = (
        "outbox_delivery_delay_seconds",
        "Time from a scrape or push until the destination has stored it",
    );
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (destination, delay) in delays {
        let labels = [("destination", destination.as_str())];
        delay.stored.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

// === impl Delay ===

impl Delay {
    /// Records that the destination has stored samples of a batch.
    pub(crate) fn record_stored(&mut self, time_ms: i64, now_ms: i64) {
        // The clock may have been set back since the scrape.
        self.stored
            .observe((now_ms - time_ms).max(0) as f64 / 1000.0);
        self.highest_ms = self.highest_ms.max(time_ms);
    }

    /// Returns the delay with the age of the oldest pending batch.
    pub(crate) fn with_oldest(&self, age_ms: i64) -> Self {
        Self {
            oldest_age_ms: age_ms.max(0),
            ..self.clone()
        }
    }
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            stored: Histogram::new(BUCKETS),
            highest_ms: 0,
            oldest_age_ms: 0,
        }
    }
}
