//! The files that a configuration names: whether they are there, and what is in
//! those with targets. As `promtool check config` has it, missing credentials and
//! client certificates are failures and a missing file of targets is a warning.

use std::path::Path;

use mesh::config::{
    Config,
    discovery::{DiscoveryConfig, FileConfig, TargetGroup, parse_target_groups},
    http::{Auth, HttpClientConfig, PemSource, SecretSource, TlsConfig},
    scrape::ScrapeConfig,
};

use crate::{
    discovery,
    scrape::{TargetError, populate},
};

/// What is wrong with the files.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) failures: Vec<String>,
    pub(super) warnings: Vec<String>,
}

// === impl Files ===

impl Files {
    /// Looks at all files that a configuration names.
    pub(super) fn of(config: &Config) -> Self {
        let mut files = Self::default();
        for scrape in &config.scrape_configs {
            let whose = format!("job {:?}", scrape.job_name);
            files.http(&whose, &scrape.http);
            for mechanism in &scrape.discovery {
                files.discovery(&whose, scrape, mechanism);
            }
        }
        for destination in &config.remote_write {
            let whose = format!("remote write {:?}", destination.name);
            files.http(&whose, &destination.http);
        }
        files
    }

    fn discovery(&mut self, whose: &str, scrape: &ScrapeConfig, mechanism: &DiscoveryConfig) {
        match mechanism {
            DiscoveryConfig::Static(groups) => self.groups(whose, scrape, groups),
            DiscoveryConfig::File(config) => self.targets(whose, scrape, config),
            DiscoveryConfig::Http(config) => {
                self.http(&format!("{whose}: http_sd_configs"), &config.http);
            }
            DiscoveryConfig::Kubernetes(config) => {
                let whose = format!("{whose}: kubernetes_sd_configs");
                self.http(&whose, &config.http);
                if let Some(path) = &config.kubeconfig_file {
                    self.needed(&whose, "kubeconfig_file", path);
                }
            }
            DiscoveryConfig::Ec2(config) => {
                self.http(&format!("{whose}: ec2_sd_configs"), &config.http);
            }
            DiscoveryConfig::Dns(_) | DiscoveryConfig::Unsupported(_) => {}
        }
    }

    fn targets(&mut self, whose: &str, scrape: &ScrapeConfig, config: &FileConfig) {
        for pattern in &config.files {
            let paths = discovery::target_files(std::slice::from_ref(pattern));
            if paths.is_empty() {
                let pattern = pattern.display();
                self.warnings
                    .push(format!("{whose}: file_sd file {pattern} does not exist"));
            }
            for path in paths {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()));
                let groups = text.and_then(|text| {
                    parse_target_groups(&text, &path).map_err(|error| error.to_string())
                });
                match groups {
                    Ok(groups) => self.groups(whose, scrape, &groups),
                    Err(error) => self.failures.push(format!("{whose}: file_sd: {error}")),
                }
            }
        }
    }

    fn groups(&mut self, whose: &str, scrape: &ScrapeConfig, groups: &[TargetGroup]) {
        for group in groups {
            for target in &group.targets {
                let failure: Option<TargetError> = populate(scrape, group, target).err();
                if let Some(error) = failure {
                    self.failures
                        .push(format!("{whose}: target {target}: {error}"));
                }
            }
        }
    }

    fn http(&mut self, whose: &str, http: &HttpClientConfig) {
        self.tls(whose, &http.tls);
        match &http.auth {
            Some(Auth::Authorization { credentials, .. }) => {
                self.secret(whose, "credentials_file", credentials);
            }
            Some(Auth::Basic { username, password }) => {
                self.secret(whose, "username_file", username);
                if let Some(password) = password {
                    self.secret(whose, "password_file", password);
                }
            }
            Some(Auth::OAuth2(oauth2)) => {
                self.secret(whose, "client_secret_file", &oauth2.client_secret);
                self.tls(&format!("{whose}: oauth2"), &oauth2.tls);
            }
            None => {}
        }
        for (name, values) in &http.http_headers {
            for value in values {
                self.secret(whose, &format!("http_headers of {name}"), value);
            }
        }
    }

    fn tls(&mut self, whose: &str, tls: &TlsConfig) {
        let pems = [
            ("ca_file", &tls.ca),
            ("cert_file", &tls.cert),
            ("key_file", &tls.key),
        ];
        for (key, pem) in pems {
            if let Some(PemSource::File(path)) = pem {
                self.needed(whose, key, path);
            }
        }
    }

    fn secret(&mut self, whose: &str, key: &str, secret: &SecretSource) {
        if let SecretSource::File(path) = secret {
            self.needed(whose, key, path);
        }
    }

    fn needed(&mut self, whose: &str, key: &str, path: &Path) {
        if let Err(error) = std::fs::metadata(path) {
            let path = path.display();
            self.failures
                .push(format!("{whose}: {key} {path}: {error}"));
        }
    }
}
