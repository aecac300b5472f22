//! Where an older Prometheus server is known to differ from the newest, which
//! promesh follows.

use bytes::Bytes;
use mesh_model::labels::{BUCKET, Labels, QUANTILE};
use mesh_wire::float;

use super::value::{self, Comparable};
use stand_ins::amp::{Series, Value};
use harness::prometheus::Version;

/// A known difference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its name in the output.
    pub(super) name: &'static str,
    /// What differs, and what is done about it.
    pub(super) reason: &'static str,
    /// The first version without it.
    until: Version,
}

/// `_created` series are lost.
pub(super) const CREATED: Known = Known {
    name: "created-beside-nhcb",
    reason: "converting a classic histogram loses all _created series behind it; OpenMetrics \
             bodies are played without them where histograms are converted",
    until: Version {
        major: 3,
        minor: 15,
    },
};

/// Staleness markers for what was never stored.
pub(super) const MARKERS: Known = Known {
    name: "markers-beyond-limit",
    reason: "series that a sample_limit kept out get staleness markers; series of markers alone \
             are left out",
    until: Version { major: 3, minor: 6 },
};

/// Bounds are stored as they are written.
pub(super) const BOUNDS: Known = Known {
    name: "bounds-as-written",
    reason: "le and quantile are stored as the target writes them (1, not 1.0); they are \
             compared as Prometheus 3 stores them",
    until: Version { major: 3, minor: 0 },
};

/// Bounds of native histograms with custom ones are not read back.
pub(super) const UNREAD: Known = Known {
    name: "custom-bounds-unread",
    reason: "remote read leaves the bounds of native histograms with custom ones away; they are \
             compared without",
    until: Version { major: 3, minor: 6 },
};

/// Names in quotes fail the scrape.
pub(super) const NAMES: Known = Known {
    name: "quoted-names",
    reason: "names that are written in quotes, as those beyond [a-zA-Z0-9_:] are, fail the scrape; \
             recordings with them are left out",
    until: Version { major: 3, minor: 0 },
};

/// All of them.
pub(super) const ALL: [Known; 5] = [CREATED, MARKERS, BOUNDS, UNREAD, NAMES];

// === impl Known ===

impl Known {
    /// Whether a server of this version has it.
    pub(super) fn applies_to(&self, version: Version) -> bool {
        version < self.until
    }
}

/// A body without `_created` samples.
pub(super) fn without_created(body: &Bytes) -> Bytes {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let others = lines.filter(|line| {
        let end = line.iter().position(|byte| matches!(byte, b'{' | b' '));
        !end.is_some_and(|end| line[..end].ends_with(b"_created"))
    });
    others.collect::<Vec<_>>().concat().into()
}

/// Whether names of metrics or labels in a body of text are in quotes.
pub(super) fn has_quoted_names(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n');
    // Within a label's value the quote would be escaped.
    lines.any(|line| !line.starts_with(b"#") && line.windows(2).any(|pair| pair == b"{\""))
}

/// Whether a series has more than markers.
pub(super) fn is_stored(series: &Series) -> bool {
    let mut samples = series.samples.iter();
    samples.any(|sample| value::comparable(&sample.value) != Comparable::Stale)
}

/// Drops the custom bounds of native histograms.
pub(super) fn without_bounds(series: &mut Series) {
    for sample in &mut series.samples {
        if let Value::Histogram(histogram) = &mut sample.value {
            histogram.custom_values.clear();
        }
    }
}

/// Labels with their bounds as Prometheus 3 stores them.
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
    fn created_samples_are_left_out() {
        let body = Bytes::from(
            "# TYPE a counter\na_total{x=\"b_created\"} 1\na_created{x=\"1\"} 2\nb_created 3\n",
        );
        assert_eq!(
            without_created(&body),
            "# TYPE a counter\na_total{x=\"b_created\"} 1\n"
        );
    }

    #[test]
    fn quoted_names_are_found() {
        let quoted = [&b"a 1\n{\"b.c\",x=\"1\"} 2\n"[..], b"a{\"b.c\"=\"1\"} 2\n"];
        assert!(quoted.iter().all(|body| has_quoted_names(body)));
        let plain = b"# HELP a {\"b\"}\na{x=\"{\\\"y\\\":1}\"} 1\n";
        assert!(!has_quoted_names(plain));
    }

    #[test]
    fn bounds_are_those_of_prometheus_3() {
        let labels: Labels = [("a", "1"), ("le", "1"), ("quantile", "0.50")]
            .into_iter()
            .collect();
        let expected = [("a", "1"), ("le", "1.0"), ("quantile", "0.5")];
        assert_eq!(with_bounds(&labels), expected.into_iter().collect());
    }
}
