//! Target for the translation from OTLP to remote write in the exporter.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use exporter_svc::{
    remote_write::part::RequestLimits,
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{Capabilities, NativeHistograms, Translated},
    },
};
use mesh_contract::batch::{BatchContext, Origin};
use mesh_model::{config::Config, labels::Labels};
use prost::Message;
use proto::v1::{TimeSeries, WriteRequest};

/// Reads the first byte as settings and the rest as encoded `ResourceMetrics`.
/// Translates them once as scraped and once as pushed.
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
        let context = batch_context(origin);
        let resources = [Bytes::copy_from_slice(body)];
        // The second translation runs with warm caches.
        let translated = translator.translate(&context, &resources);
        let again = translator.translate(&context, &resources);
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

/// Creates a translator that drops nothing.
pub(crate) fn translator(native_histograms: NativeHistograms) -> Translator {
    static RULES: LazyLock<Config> = LazyLock::new(|| {
        let path = "prometheus.yml".as_ref();
        Config::parse("{}", path, &|_| None).expect("an empty file is valid")
    });
    let capabilities = Capabilities {
        native_histograms,
        inconsistent_histograms: false,
        exemplars: true,
        families: true,
        limits: RequestLimits {
            series: 100,
            bytes: 64 << 10,
        },
        max_age: None,
    };
    let rules = OtlpRules::new(RULES.otlp.clone());
    Translator::new(capabilities, Arc::new([]), rules, 1 << 20)
}

/// Creates a batch context that adds no labels.
pub(crate) fn batch_context(origin: Origin) -> Arc<BatchContext> {
    Arc::new(BatchContext {
        origin,
        ha: None,
        external_labels: Labels::default(),
    })
}

/// Decodes the series of all request parts.
pub(crate) fn series(translated: &Translated) -> Vec<TimeSeries> {
    let decode = |bytes: &Vec<u8>| {
        let request = WriteRequest::decode(bytes.as_slice());
        request
            .expect("a request part decodes as a request")
            .timeseries
    };
    let parts = translated.parts.iter();
    parts.flat_map(|part| decode(&part.bytes)).collect()
}

/// Checks the rules that a backend enforces for every series.
fn check(series: &TimeSeries) {
    assert!(series.samples.len() + series.histograms.len() <= 1);
    let names: Vec<_> = series.labels.iter().map(|label| &label.name).collect();
    assert!(names.is_sorted(), "labels out of order: {names:?}");
    let empty = series.labels.iter().find(|label| label.value.is_empty());
    assert_eq!(empty, None, "a label without a value");
}
