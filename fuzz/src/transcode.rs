//! What exporters make of an Export's bytes.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use exporter_svc::{
    remote_write::piece::RequestLimits,
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{NativeHistograms, Translated, Wants},
    },
};
use mesh::{
    batch::{Facts, Origin},
    config::Config,
    labels::Labels,
};
use prost::Message;
use proto::v1::{TimeSeries, WriteRequest};

/// Takes the first byte for settings and the rest as encoded `ResourceMetrics`,
/// once as scraped and once as pushed.
pub fn run(data: &[u8]) {
    let Some((&bits, body)) = data.split_first() else {
        return;
    };
    let native_histograms = match bits % 3 {
        0 => NativeHistograms::None,
        1 => NativeHistograms::Exponential,
        _ => NativeHistograms::All,
    };
    let translator = translator(native_histograms);
    for origin in [Origin::Scrape, Origin::Otlp] {
        let facts = facts(origin);
        let resources = [Bytes::copy_from_slice(body)];
        // Twice, as the second time the caches are warm.
        let translated = translator.translate(&facts, &resources);
        let again = translator.translate(&facts, &resources);
        match (translated, again) {
            (Ok(one), Ok(other)) => {
                let (one, other) = (series(&one), series(&other));
                assert_eq!(format!("{one:?}"), format!("{other:?}"));
                one.iter().for_each(check);
            }
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            (one, other) => panic!("{one:?} and then {other:?}"),
        }
    }
}

/// A translator that drops nothing.
pub(crate) fn translator(native_histograms: NativeHistograms) -> Translator {
    static RULES: LazyLock<Config> = LazyLock::new(|| {
        let path = "prometheus.yml".as_ref();
        Config::parse("{}", path, &|_| None).expect("an empty file is one")
    });
    let wants = Wants {
        native_histograms,
        exemplars: true,
        families: true,
        limits: RequestLimits {
            series: 100,
            bytes: 64 << 10,
        },
        max_age: None,
    };
    let rules = OtlpRules::new(RULES.otlp.clone());
    Translator::new(wants, Arc::new([]), rules, 1 << 20)
}

/// Facts that add no labels.
pub(crate) fn facts(origin: Origin) -> Arc<Facts> {
    Arc::new(Facts {
        origin,
        ha: None,
        external_labels: Labels::default(),
    })
}

/// The series of all pieces.
pub(crate) fn series(translated: &Translated) -> Vec<TimeSeries> {
    let decode = |bytes: &Vec<u8>| {
        let request = WriteRequest::decode(bytes.as_slice());
        request.expect("a piece is part of a request").timeseries
    };
    let pieces = translated.pieces.iter();
    pieces.flat_map(|piece| decode(&piece.bytes)).collect()
}

/// What a backend asks of every series.
fn check(series: &TimeSeries) {
    assert!(series.samples.len() + series.histograms.len() <= 1);
    let names: Vec<_> = series.labels.iter().map(|label| &label.name).collect();
    assert!(names.is_sorted(), "labels out of order: {names:?}");
    let empty = series.labels.iter().find(|label| label.value.is_empty());
    assert_eq!(empty, None, "a label without a value");
}
