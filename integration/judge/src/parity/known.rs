//! Known differences between older Prometheus servers and the newest one, which promesh
//! follows.

use bytes::Bytes;
use mesh_model::labels::{BUCKET, Labels, QUANTILE};
use mesh_wire::float;

use crate::comparable::{Comparable, comparable};
use harness::prometheus::Version;
use stand_ins::amp::{Series, Value};

/// A known difference.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownDifference {
    /// Name in the output.
    pub(super) name: &'static str,
    /// Description, and how the comparison takes it into account.
    pub(super) reason: &'static str,
    /// First version without the difference.
    until: Version,
}

/// Missing `_created` series.
pub(super) const CREATED: KnownDifference = KnownDifference {
    name: "created-link_siblings-nhcb",
    reason: "converting a classic histogram loses all _created series after it; jobs that convert \
             get OpenMetrics bodies without them",
    until: Version {
        major: 3,
        minor: 15,
    },
};

/// Staleness markers of series that were never stored.
pub(super) const MARKERS: KnownDifference = KnownDifference {
    name: "markers-beyond-limit",
    reason: "series beyond a sample_limit get staleness markers; series with only markers are not \
             compared",
    until: Version { major: 3, minor: 6 },
};

/// Bounds that are stored as the target writes them.
pub(super) const BOUNDS: KnownDifference = KnownDifference {
    name: "bounds-as-written",
    reason: "le and quantile are stored as the target writes them (1, not 1.0); they are \
             compared as Prometheus 3 stores them",
    until: Version { major: 3, minor: 0 },
};

/// Custom bounds of native histograms that remote read omits.
pub(super) const UNREAD: KnownDifference = KnownDifference {
    name: "custom-bounds-unread",
    reason: "remote read omits custom bounds of native histograms; they are not compared",
    until: Version { major: 3, minor: 6 },
};

/// Quoted names that fail the scrape.
pub(super) const NAMES: KnownDifference = KnownDifference {
    name: "quoted-names",
    reason: "quoted names, which contain other characters than [a-zA-Z0-9_:], fail the scrape; \
             recordings with them are omitted",
    until: Version { major: 3, minor: 0 },
};

/// All known differences.
pub(super) const ALL: [KnownDifference; 5] = [CREATED, MARKERS, BOUNDS, UNREAD, NAMES];

// === impl KnownDifference ===

impl KnownDifference {
    /// Returns `true` if a server of this version differs.
    pub(super) fn applies_to(&self, version: Version) -> bool {
        version < self.until
    }
}

/// Removes the `_created` samples of a body.
pub(super) fn without_created(body: &Bytes) -> Bytes {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let others = lines.filter(|line| {
        let end = line.iter().position(|byte| matches!(byte, b'{' | b' '));
        !end.is_some_and(|end| line[..end].ends_with(b"_created"))
    });
    others.collect::<Vec<_>>().concat().into()
}

/// Returns `true` if a text body contains quoted metric or label names.
pub(super) fn has_quoted_names(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n');
    // Within the value of a label, the quote would be escaped.
    lines.any(|line| !line.starts_with(b"#") && line.windows(2).any(|pair| pair == b"{\""))
}

/// Returns `true` if a series has a sample that is not a staleness marker.
pub(super) fn is_stored(series: &Series) -> bool {
    let mut samples = series.samples.iter();
    samples.any(|sample| comparable(&sample.value) != Comparable::Stale)
}

/// Removes the custom bounds of native histograms.
pub(super) fn without_bounds(series: &mut Series) {
    for sample in &mut series.samples {
        if let Value::Histogram(histogram) = &mut sample.value {
            histogram.custom_values.clear();
        }
    }
}

/// Formats the bounds in labels as Prometheus 3 does.
pub(super) fn with_bounds(labels: &Labels) -> Labels {
    let mut changed = labels.to_builder();
    for name in [BUCKET, QUANTILE] {
        if let Some(bound) = labels.get(name).and_then(|text| text.parse().ok()) {
            changed.set(name, float::openmetrics(bound));
        }
    }
    changed.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_created_samples() {
        let body = Bytes::from(
            "# TYPE a counter\na_total{x=\"b_created\"} 1\na_created{x=\"1\"} 2\nb_created 3\n",
        );
        assert_eq!(
            without_created(&body),
            "# TYPE a counter\na_total{x=\"b_created\"} 1\n"
        );
    }

    #[test]
    fn finds_quoted_names() {
        let quoted = [&b"a 1\n{\"b.c\",x=\"1\"} 2\n"[..], b"a{\"b.c\"=\"1\"} 2\n"];
        assert!(quoted.iter().all(|body| has_quoted_names(body)));
        let plain = b"# HELP a {\"b\"}\na{x=\"{\\\"y\\\":1}\"} 1\n";
        assert!(!has_quoted_names(plain));
    }

    #[test]
    fn formats_bounds_as_prometheus_3_does() {
        let labels: Labels = [("a", "1"), ("le", "1"), ("quantile", "0.50")]
            .into_iter()
            .collect();
        let expected = [("a", "1"), ("le", "1.0"), ("quantile", "0.5")];
        assert_eq!(with_bounds(&labels), expected.into_iter().collect());
    }
}
