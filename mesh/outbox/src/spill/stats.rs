//! What the log of spilled batches counts.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// What the log of spilled batches counts.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Bytes on the disk.
    pub(super) bytes: AtomicU64,
    /// Bytes that may be there.
    pub(super) limit: AtomicU64,
    /// Files they are in.
    pub(super) segments: AtomicU64,
    /// Records whose bytes were not those that were written.
    pub(super) corrupt: AtomicU64,
    /// Segments that end within a record.
    pub(super) torn: AtomicU64,
    /// Samples that an earlier process had left.
    pub(super) replayed: AtomicU64,
    errors: [AtomicU64; Trouble::ALL.len()],
}

/// Why something is not on the disk: a bounded set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The log has as many bytes as it may have.
    Full,
    /// The disk has no room.
    DiskFull,
    /// Writing failed for another reason.
    Write,
    /// Syncing failed: nothing is written any more.
    Sync,
    /// The directory cannot be used.
    Open,
    /// What was written cannot be read.
    Read,
}

// === impl Trouble ===

impl Trouble {
    const ALL: [Self; 6] = [
        Self::Full,
        Self::DiskFull,
        Self::Write,
        Self::Sync,
        Self::Open,
        Self::Read,
    ];

    /// What a failed write means.
    pub(super) fn of_write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Write,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::DiskFull => "disk_full",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Open => "open",
            Self::Read => "read",
        }
    }
}

// === impl Stats ===

impl Stats {
    pub(crate) fn count(&self, trouble: Trouble) {
        self.errors[trouble as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn counted(&self, trouble: Trouble) -> u64 {
        self.errors[trouble as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = [
            (
                "outbox_spilled_bytes",
                "Bytes of batches on the disk",
                &self.bytes,
            ),
            (
                "outbox_spilled_bytes_limit",
                "Bytes of batches that may be on the disk",
                &self.limit,
            ),
            (
                "outbox_spilled_segments",
                "Files of batches on the disk",
                &self.segments,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value.load(Ordering::Relaxed) as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let counters = [
            (
                "outbox_spill_corrupt",
                "Spilled records that were damaged",
                &self.corrupt,
            ),
            (
                "outbox_spill_torn",
                "Spill files that ended within a record",
                &self.torn,
            ),
            (
                "outbox_replayed_samples",
                "Samples that an earlier process had left on the disk",
                &self.replayed,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let (name, help) = ("outbox_spill_errors", "What kept batches off the disk");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for trouble in Trouble::ALL {
            let errors = self.errors[trouble as usize].load(Ordering::Relaxed);
            let labels = [("reason", trouble.as_str())];
            ConstCounter::new(errors).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
