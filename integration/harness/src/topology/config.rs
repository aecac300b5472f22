//! The Prometheus configuration file of a mesh.

use std::{fmt::Write, path::Path};

use stand_ins::amp::{Amp, Keys};

/// File that holds the certificate authority of the backend, beside the configuration file.
const CA_FILE: &str = "ca.pem";

/// Contents of a configuration file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    interval: Option<String>,
    external_labels: Option<String>,
    jobs: String,
    remote_write: Vec<RemoteWrite>,
}

/// One destination in the section `remote_write`.
#[derive(Clone, Debug)]
pub struct RemoteWrite {
    url: String,
    keys: Option<Keys>,
    /// Certificate authority of an HTTPS destination, in PEM.
    ca: Option<String>,
    /// Further settings, one line each.
    settings: Vec<String>,
}

/// Place that exporters take the backend's keys from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysIn {
    /// The configuration file.
    File,
    /// The environment, which also may name a credentials file.
    Environment,
}

// === impl Config ===

impl Config {
    /// Sets the interval and the timeout of all scrapes, such as `1s`.
    #[must_use]
    pub fn interval(mut self, interval: &str) -> Self {
        self.interval = Some(interval.to_owned());
        self
    }

    /// Sets the external labels: entries of a YAML flow mapping, such as `cluster: c`.
    #[must_use]
    pub fn external_labels(mut self, labels: &str) -> Self {
        self.external_labels = Some(labels.to_owned());
        self
    }

    /// Takes the external labels `cluster` and `__replica__` from the environment variables
    /// `CLUSTER` and `REPLICA`.
    #[must_use]
    pub fn replica_labels(self) -> Self {
        self.external_labels("cluster: '${CLUSTER}', __replica__: '${REPLICA}'")
    }

    /// Adds scrape configurations: items of a YAML list.
    #[must_use]
    pub fn jobs(mut self, jobs: &str) -> Self {
        self.jobs.push_str(jobs);
        self
    }

    /// Adds a destination of remote write.
    #[must_use]
    pub fn remote_write(mut self, remote_write: RemoteWrite) -> Self {
        self.remote_write.push(remote_write);
        self
    }

    /// Writes the file, and the certificate authority beside it.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn write(&self, path: &Path, keys_in: KeysIn) -> anyhow::Result<()> {
        if let Some(ca) = self.remote_write.iter().find_map(|it| it.ca.as_ref()) {
            std::fs::write(path.with_file_name(CA_FILE), ca)?;
        }
        Ok(std::fs::write(path, self.render(keys_in))?)
    }

    /// Keys of the destination, if it needs any.
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.remote_write.iter().find_map(|it| it.keys.as_ref())
    }

    fn render(&self, keys_in: KeysIn) -> String {
        let mut file = String::new();
        if self.interval.is_some() || self.external_labels.is_some() {
            file.push_str("global:\n");
        }
        // Writing to a string cannot fail.
        if let Some(interval) = &self.interval {
            let _ = writeln!(file, "  scrape_interval: {interval}");
            let _ = writeln!(file, "  scrape_timeout: {interval}");
        }
        if let Some(labels) = &self.external_labels {
            let _ = writeln!(file, "  external_labels: {{{labels}}}");
        }
        if !self.jobs.is_empty() {
            let _ = write!(file, "scrape_configs:\n{}", self.jobs);
        }
        if !self.remote_write.is_empty() {
            file.push_str("remote_write:\n");
        }
        for remote_write in &self.remote_write {
            file.push_str(&remote_write.render(keys_in));
        }
        file
    }
}

// === impl RemoteWrite ===

impl RemoteWrite {
    /// Returns a destination that needs no signature.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            keys: None,
            ca: None,
            settings: Vec::new(),
        }
    }

    /// Returns the stand-in as the destination, over plain HTTP.
    pub fn to(amp: &Amp) -> Self {
        Self::new(&amp.remote_write_url()).signed_with(Keys::example())
    }

    /// Returns the stand-in as the destination, over HTTPS.
    pub fn to_https(amp: &Amp) -> Self {
        Self {
            ca: Some(amp.ca_pem().to_owned()),
            ..Self::new(&amp.secure_remote_write_url()).signed_with(Keys::example())
        }
    }

    /// Signs requests (AWS Signature Version 4) with these keys.
    #[must_use]
    pub fn signed_with(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Adds a setting, such as `send_native_histograms: true`.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    fn render(&self, keys_in: KeysIn) -> String {
        let mut section = format!("- url: '{}'\n", self.url);
        let mut setting = |line: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(section, "  {line}");
        };
        if let Some(keys) = &self.keys {
            let Keys {
                region,
                access_key,
                secret_key,
                ..
            } = keys;
            setting(&match keys_in {
                KeysIn::Environment => format!("sigv4: {{region: {region}}}"),
                KeysIn::File => format!(
                    "sigv4: {{region: {region}, access_key: {access_key}, secret_key: {secret_key}}}"
                ),
            });
        }
        if self.ca.is_some() {
            setting(&format!("tls_config: {{ca_file: {CA_FILE}}}"));
        }
        for line in &self.settings {
            setting(line);
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_only_the_sections_that_are_set() {
        assert_eq!(Config::default().render(KeysIn::File), "");
        let config = Config::default()
            .interval("1s")
            .external_labels("cluster: c")
            .jobs("- job_name: a\n");
        let expected = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
                        external_labels: {cluster: c}\nscrape_configs:\n- job_name: a\n";
        assert_eq!(config.render(KeysIn::File), expected);
    }

    #[test]
    fn writes_keys_to_the_file_only_if_the_environment_has_none() {
        let remote_write = RemoteWrite::new("http://a").signed_with(Keys::example());
        let config = Config::default().remote_write(remote_write.setting("a: b"));
        let region = Keys::example().region;
        assert_eq!(
            config.render(KeysIn::Environment),
            format!("remote_write:\n- url: 'http://a'\n  sigv4: {{region: {region}}}\n  a: b\n")
        );
        assert!(config.render(KeysIn::File).contains("secret_key: "));
    }
}
