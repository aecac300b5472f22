//! Configuration files of both scrapers, derived from one file.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use serde_json::{Map, Value, json};

use harness::prometheus::Version;

/// First version that knows each key of a scrape configuration.
const KEYS: [(&str, Version); 9] = [
    (
        "scrape_protocols",
        Version {
            major: 2,
            minor: 49,
        },
    ),
    ("fallback_scrape_protocol", Version { major: 3, minor: 0 }),
    (
        "metric_name_validation_scheme",
        Version { major: 3, minor: 0 },
    ),
    (
        "always_scrape_classic_histograms",
        Version { major: 3, minor: 0 },
    ),
    (
        "convert_classic_histograms_to_nhcb",
        Version { major: 3, minor: 0 },
    ),
    (
        "metric_name_escaping_scheme",
        Version { major: 3, minor: 4 },
    ),
    (NATIVE, Version { major: 3, minor: 8 }),
    (
        "native_histogram_min_bucket_factor",
        Version {
            major: 2,
            minor: 53,
        },
    ),
    (
        "extra_scrape_metrics",
        Version {
            major: 3,
            minor: 10,
        },
    ),
];
/// Key for native histograms. An older server has a flag instead.
const NATIVE: &str = "scrape_native_histograms";
const CONVERT: &str = "convert_classic_histograms_to_nhcb";
const NATIVE_FLAG: &str = "--enable-feature=native-histograms";
/// Default of `scrape_protocols`, which the flag changes.
const PROTOCOLS: [&str; 4] = [
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
];
/// Sections that are removed for both scrapers. They only scrape, and promesh gets its own
/// `remote_write`.
const DROPPED: [&str; 8] = [
    "rule_files",
    "alerting",
    "remote_write",
    "remote_read",
    "storage",
    "tracing",
    "otlp",
    "runtime",
];

/// A configuration file as data.
#[derive(Clone, Debug)]
pub(super) struct ScrapeFile(Map<String, Value>);

// === impl ScrapeFile ===

impl ScrapeFile {
    /// Creates a file with these jobs.
    pub(super) fn of(jobs: Vec<Value>) -> Self {
        let mut file = Map::new();
        file.insert("scrape_configs".to_owned(), jobs.into());
        Self(file)
    }

    /// Reads the scrape configurations of a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or has jobs whose targets cannot be
    /// recorded.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut file: Map<String, Value> = serde_saphyr::from_str(&text)?;
        for section in DROPPED {
            file.remove(section);
        }
        anyhow::ensure!(
            !file.contains_key("scrape_config_files"),
            "scrape_config_files: expected all jobs in one file"
        );
        let scrapes = Self(file);
        for job in scrapes.jobs() {
            anyhow::ensure!(
                job["scheme"] != "https",
                "job {}: scheme https cannot be recorded; expected http",
                job["job_name"]
            );
        }
        Ok(scrapes)
    }

    /// Makes each job scrape through its own proxy, all at one interval.
    pub(super) fn use_proxies(
        &mut self,
        proxies: impl Iterator<Item = String>,
        interval: Duration,
    ) {
        let interval = format!("{}ms", interval.as_millis());
        for (job, proxy) in self.jobs_mut().zip(proxies) {
            for key in ["no_proxy", "proxy_from_environment", "proxy_connect_header"] {
                job.remove(key);
            }
            for (key, value) in [
                ("proxy_url", &proxy),
                ("scrape_interval", &interval),
                ("scrape_timeout", &interval),
            ] {
                job.insert(key.to_owned(), value.as_str().into());
            }
        }
        // The global interval has to match, too: jobs inherit its timeout.
        self.global()
            .insert("scrape_interval".into(), interval.as_str().into());
        self.global()
            .insert("scrape_timeout".into(), interval.into());
    }

    /// Removes the keys that a version does not know, and returns them. Their features
    /// cannot be compared.
    pub(super) fn remove_unknown(&mut self, version: Version) -> Vec<&'static str> {
        let mut removed = Vec::new();
        let unknown = KEYS
            .iter()
            .filter(|(key, since)| version < *since && *key != NATIVE);
        for (key, _) in unknown {
            let mut found = self.global().remove(*key).is_some();
            for job in self.jobs_mut() {
                found |= job.remove(*key).is_some();
            }
            removed.extend(found.then_some(*key));
        }
        removed
    }

    /// File for a Prometheus server of this version, with its flags.
    pub(super) fn for_prometheus(&self, version: Version) -> (Value, Vec<String>) {
        let mut file = self.clone();
        let knows_native = KEYS
            .iter()
            .all(|(key, since)| *key != NATIVE || version >= *since);
        if knows_native {
            return (file.0.into(), Vec::new());
        }
        let global = file.global().remove(NATIVE) == Some(json!(true));
        let mut wanted = false;
        for job in file.jobs_mut() {
            let native = job.remove(NATIVE).map_or(global, |native| native == true);
            let converted = job.get(CONVERT) == Some(&json!(true));
            wanted |= native || converted;
            // With the flag, all jobs would prefer the protobuf format.
            if !native && version >= KEYS[0].1 {
                job.entry("scrape_protocols").or_insert(json!(PROTOCOLS));
            }
        }
        let flags = wanted.then(|| NATIVE_FLAG.to_owned());
        (file.0.into(), flags.into_iter().collect())
    }

    /// File for promesh, which writes to `url`.
    pub(super) fn for_promesh(&self, url: &str, protobuf_message: &str) -> Value {
        let mut file = self.clone();
        let remote_write = json!([{
            "url": url,
            "protobuf_message": protobuf_message,
            "send_native_histograms": true,
        }]);
        file.0.insert("remote_write".to_owned(), remote_write);
        file.0.into()
    }

    /// Returns `true` if a job converts classic histograms.
    pub(super) fn converts_classic(&self) -> bool {
        let global = self.0.get("global").into_iter();
        let mut all = global.chain(self.jobs());
        all.any(|keys| keys[CONVERT] == true)
    }

    /// Number of jobs.
    pub(super) fn len(&self) -> usize {
        self.jobs().count()
    }

    /// All jobs.
    fn jobs(&self) -> impl Iterator<Item = &Value> {
        let jobs = self.0.get("scrape_configs").and_then(Value::as_array);
        jobs.into_iter().flatten()
    }

    fn jobs_mut(&mut self) -> impl Iterator<Item = &mut Map<String, Value>> {
        let jobs = self
            .0
            .get_mut("scrape_configs")
            .and_then(Value::as_array_mut);
        jobs.into_iter().flatten().filter_map(Value::as_object_mut)
    }

    fn global(&mut self) -> &mut Map<String, Value> {
        let global = self.0.entry("global").or_insert_with(|| json!({}));
        if !global.is_object() {
            *global = json!({});
        }
        match global {
            Value::Object(keys) => keys,
            _ => unreachable!("the line above made it an object"),
        }
    }
}

/// Flags with which a server of this version accepts native histograms.
pub(super) fn native_flags(version: Version) -> Vec<String> {
    let file = ScrapeFile::of(vec![json!({NATIVE: true})]);
    file.for_prometheus(version).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_a_flag_for_native_histograms_of_older_servers() {
        let file = ScrapeFile::of(vec![
            json!({"job_name": "a", "scrape_native_histograms": true}),
            json!({"job_name": "b"}),
        ]);
        let (config, flags) = file.for_prometheus(Version { major: 3, minor: 5 });
        assert_eq!(flags, [NATIVE_FLAG]);
        assert_eq!(config["scrape_configs"][0], json!({"job_name": "a"}));
        assert_eq!(
            config["scrape_configs"][1]["scrape_protocols"],
            json!(PROTOCOLS)
        );
        let (config, flags) = file.for_prometheus(Version { major: 3, minor: 8 });
        assert!(flags.is_empty());
        assert_eq!(
            config["scrape_configs"][0]["scrape_native_histograms"],
            true
        );
    }

    #[test]
    fn removes_unknown_keys_for_both() {
        let mut file = ScrapeFile::of(vec![json!({"extra_scrape_metrics": true})]);
        let removed = file.remove_unknown(Version { major: 3, minor: 5 });
        assert_eq!(removed, ["extra_scrape_metrics"]);
        assert_eq!(file.jobs().next(), Some(&json!({})));
    }
}
