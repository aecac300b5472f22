//! Metrics of the log of spilled batches.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Metrics of the log of spilled batches.
#[derive(Debug, Default)]
pub(crate) struct SpillStats {
    /// Bytes of all segments.
    pub(super) bytes: AtomicU64,
    /// Maximum bytes of all segments.
    pub(super) limit: AtomicU64,
    /// Number of segments.
    pub(super) segments: AtomicU64,
    /// Number of segments with corrupt bytes.
    pub(super) corrupt: AtomicU64,
    /// Number of segments that end within a record.
    pub(super) torn: AtomicU64,
    /// Samples replayed from an earlier process.
    pub(super) replayed: AtomicU64,
    errors: [AtomicU64; SpillError::ALL.len()],
}

/// Reason why a batch could not be written or read. Used as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpillError {
    /// The log has reached its maximum size.
    LogFull,
    /// The disk has no free space.
    DiskFull,
    /// Writing failed for another reason.
    Write,
    /// A sync failed. Nothing is written any more.
    Sync,
    /// The directory cannot be opened.
    Open,
    /// A file cannot be read.
    Read,
}

// === impl SpillError ===

impl SpillError {
    const ALL: [Self; 6] = [
        Self::LogFull,
        Self::DiskFull,
        Self::Write,
        Self::Sync,
        Self::Open,
        Self::Read,
    ];

    /// Classifies a failed write.
    pub(super) fn of_write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Write,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LogFull => "full",
            Self::DiskFull => "disk_full",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Open => "open",
            Self::Read => "read",
        }
    }
}

// === impl SpillStats ===

impl SpillStats {
    pub(crate) fn count(&self, reason: SpillError) {
        self.errors[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn counted(&self, reason: SpillError) -> u64 {
        self.errors[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = [
            (
                "outbox_spilled_bytes",
                "Bytes of batches on disk",
                &self.bytes,
            ),
            (
                "outbox_spilled_bytes_limit",
                "Maximum bytes of batches on disk",
                &self.limit,
            ),
            (
                "outbox_spilled_segments",
                "Files of batches on disk",
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
                "Spill files with damaged records, the rest of which was skipped",
                &self.corrupt,
            ),
            (
                "outbox_spill_torn",
                "Spill files that ended within a record",
                &self.torn,
            ),
            (
                "outbox_replayed_samples",
                "Samples replayed from the disk after a start",
                &self.replayed,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let (name, help) = (
            "outbox_spill_errors",
            "Failures to write or read spilled batches",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for reason in SpillError::ALL {
            let errors = self.errors[reason as usize].load(Ordering::Relaxed);
            let labels = [("reason", reason.as_str())];
            ConstCounter::new(errors).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
