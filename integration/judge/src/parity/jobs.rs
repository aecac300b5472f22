//! Jobs that scrape a recording, one for each relevant set of options.

use serde_json::{Value, json};

use super::{
    known,
    recording::Recording,
    script::{self, Reply},
};
use harness::prometheus::Version;

/// A job with one recorded target.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Name of the job and host of its target.
    pub(super) name: String,
    recording: Recording,
    options: &'static [&'static str],
}

/// A set of options.
struct Variant {
    /// Last part of the job's name.
    name: &'static str,
    /// Keys of the scrape configuration that are set to `true`.
    options: &'static [&'static str],
    /// Set if it needs the protobuf format.
    protobuf: bool,
    /// First server version that supports it.
    since: Version,
}

const NATIVE: &str = "scrape_native_histograms";
const CLASSIC: &str = "always_scrape_classic_histograms";
const CONVERT: &str = "convert_classic_histograms_to_nhcb";

const VARIANTS: [Variant; 7] = [
    Variant::new("plain", &[], false, 0),
    Variant::new("nhcb", &[CONVERT], false, 0),
    Variant::new("nhcb_classic", &[CONVERT, CLASSIC], false, 0),
    // A server with a flag for native histograms stores them in all jobs.
    Variant::new("classic", &[], true, 8),
    Variant::new("native", &[NATIVE], true, 0),
    Variant::new("native_classic", &[NATIVE, CLASSIC], true, 0),
    Variant::new("native_nhcb", &[NATIVE, CONVERT], true, 0),
];

/// All jobs that a server of this version supports.
pub(super) fn all(recordings: &[Recording], version: Version) -> Vec<Job> {
    let refused = |recording: &&Recording| {
        let mut captures = recording.captures.iter();
        known::NAMES.applies_to(version)
            && captures.any(|capture| known::has_quoted_names(&capture.body))
    };
    let recordings = recordings.iter().filter(|recording| !refused(recording));
    let jobs = recordings.flat_map(|recording| {
        let protobuf = recording.kind.starts_with("proto");
        let variants = VARIANTS.iter().filter(move |variant| {
            let plain = variant.options.is_empty() && !variant.protobuf;
            variant.protobuf == protobuf && (plain || version >= variant.since)
        });
        variants.map(|variant| Job {
            name: format!("{}.{}.{}", recording.source, recording.kind, variant.name),
            recording: recording.clone(),
            options: variant.options,
        })
    });
    jobs.collect()
}

// === impl Variant ===

impl Variant {
    const fn new(
        name: &'static str,
        options: &'static [&'static str],
        protobuf: bool,
        minor: u32,
    ) -> Self {
        Self {
            name,
            options,
            protobuf,
            since: Version { major: 3, minor },
        }
    }
}

// === impl Job ===

impl Job {
    /// Responses of the target, one for each scrape.
    pub(super) fn script(&self, version: Version) -> Vec<Reply> {
        let mut recording = self.recording.clone();
        if self.options.contains(&CONVERT) && known::CREATED.applies_to(version) {
            for capture in recording.captures.iter_mut().filter(|c| c.is_openmetrics()) {
                capture.body = known::without_created(&capture.body);
            }
        }
        script::of(&recording)
    }

    /// Scrape configuration.
    pub(super) fn config(&self) -> Value {
        let mut config = json!({
            "job_name": self.name,
            "static_configs": [{"targets": [format!("{}:80", self.name)]}],
        });
        for option in self.options {
            config[option] = true.into();
        }
        config
    }
}
