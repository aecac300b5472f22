//! Limits, native histograms and scrape protocols: fields that all kinds have.

use mesh_model::config::size;

use crate::{
    Invalid,
    object::{Field, Object, PROTOCOLS},
    scrape_class::ScrapeClass,
    yaml::Map,
};

/// Fields of limits and their keys.
const LIMITS: [(&str, &str); 6] = [
    ("sampleLimit", "sample_limit"),
    ("targetLimit", "target_limit"),
    ("labelLimit", "label_limit"),
    ("labelNameLengthLimit", "label_name_length_limit"),
    ("labelValueLengthLimit", "label_value_length_limit"),
    ("keepDroppedTargets", "keep_dropped_targets"),
];

/// Limits of a Prometheus object that no monitor may exceed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Enforced {
    counts: [Option<u64>; LIMITS.len()],
    body_size: Option<String>,
}

// === impl Enforced ===

impl Enforced {
    pub(crate) fn read(spec: &Object<'_>) -> Result<Self, Invalid> {
        let mut counts = [None; LIMITS.len()];
        for (count, (field, _)) in counts.iter_mut().zip(LIMITS) {
            let (first, rest) = field.split_at(1);
            let field = format!("enforced{}{rest}", first.to_uppercase());
            *count = spec.count(&field)?.filter(|limit| *limit > 0);
        }
        Ok(Self {
            counts,
            body_size: spec.size("enforcedBodySizeLimit")?.map(str::to_owned),
        })
    }

    /// Adds the limits of `global`, which apply to monitors without limits.
    pub(crate) fn put_global(&self, spec: &Object<'_>, map: &mut Map) -> Result<(), Invalid> {
        for (enforced, (field, key)) in self.counts.iter().zip(LIMITS) {
            let own = spec.count(field)?.filter(|limit| *limit > 0);
            map.put_some(key, lower(own, *enforced).or(*enforced));
        }
        let size = spec.size("bodySizeLimit")?;
        map.put_some("body_size_limit", size.or(self.body_size.as_deref()));
        Ok(())
    }

    /// Adds the limits of a monitor.
    pub(crate) fn put(&self, spec: &Object<'_>, map: &mut Map) -> Result<(), Invalid> {
        for (enforced, (field, key)) in self.counts.iter().zip(LIMITS) {
            map.put_some(key, lower(spec.count(field)?, *enforced));
        }
        Ok(())
    }

    /// Adds `body_size_limit`, which `global` does not enforce.
    pub(crate) fn put_body_size(&self, own: Option<&str>, map: &mut Map) {
        let bytes = |text: &str| size::parse(text).unwrap_or(u64::MAX);
        let enforced = self.body_size.as_deref();
        let limit = match (own, enforced) {
            (Some(own), Some(enforced)) if bytes(own) > bytes(enforced) => Some(enforced),
            (own, enforced) => own.or(enforced),
        };
        map.put_some("body_size_limit", limit);
    }
}

/// Returns the limit to write. A monitor without a limit inherits the enforced one.
fn lower(own: Option<u64>, enforced: Option<u64>) -> Option<u64> {
    match (own, enforced) {
        (own, None) => own,
        (None | Some(0), Some(_)) => None,
        (Some(own), Some(enforced)) => Some(own.min(enforced)),
    }
}

/// Adds the fields of native histograms.
pub(crate) fn put_histograms(spec: &Object<'_>, map: &mut Map) -> Result<(), Invalid> {
    let mut flag = |field: &str, key: &str| -> Result<(), Invalid> {
        map.put_some(key, spec.flag(field)?);
        Ok(())
    };
    flag("scrapeNativeHistograms", "scrape_native_histograms")?;
    flag(
        "scrapeClassicHistograms",
        "always_scrape_classic_histograms",
    )?;
    flag(
        "convertClassicHistogramsToNHCB",
        "convert_classic_histograms_to_nhcb",
    )?;
    map.put_some(
        "native_histogram_bucket_limit",
        spec.count("nativeHistogramBucketLimit")?,
    );
    map.put_some(
        "native_histogram_min_bucket_factor",
        spec.quantity("nativeHistogramMinBucketFactor")?,
    );
    Ok(())
}

/// Adds the scrape protocols.
pub(crate) fn put_protocols(
    spec: &Object<'_>,
    class: &ScrapeClass<'_>,
    map: &mut Map,
) -> Result<(), Invalid> {
    map.put_some("scrape_protocols", spec.protocols("scrapeProtocols")?);
    let own: Field<&str> = spec.one_of("fallbackScrapeProtocol", PROTOCOLS);
    let fallback = own?.or(class.fallback_protocol()?);
    map.put_some("fallback_scrape_protocol", fallback);
    Ok(())
}

/// Adds the schemes of metric names.
pub(crate) fn put_name_schemes(spec: &Object<'_>, map: &mut Map) -> Result<(), Invalid> {
    const ESCAPING: [(&str, &str); 4] = [
        ("AllowUTF8", "allow-utf-8"),
        ("Underscores", "underscores"),
        ("Dots", "dots"),
        ("Values", "values"),
    ];
    let validation = spec.one_of("nameValidationScheme", &["UTF8", "Legacy"])?;
    map.put_some(
        "metric_name_validation_scheme",
        validation.map(str::to_lowercase),
    );
    let known = ESCAPING.map(|(name, _)| name);
    let escaping = spec.one_of("nameEscapingScheme", &known)?;
    let written = escaping.and_then(|name| {
        let mut all = ESCAPING.into_iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, written)| written)
    });
    map.put_some("metric_name_escaping_scheme", written);
    Ok(())
}
