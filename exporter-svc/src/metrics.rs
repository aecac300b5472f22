//! Metric labels that several modules share.

use prometheus_client::encoding::EncodeLabelSet;

/// Label set of metrics that exist once per destination.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DestinationLabels {
    /// Name of the `remote_write` entry.
    pub destination: String,
}
