//! Checks the files that a configuration references.
//!
//! Follows `promtool check config`: a missing credentials or certificate file is a
//! failure, a missing target file is a warning. Certificates and keys must be usable too.

use std::path::Path;

use mesh_model::{
    config::{
        Config,
        discovery::{DiscoveryConfig, FileConfig, TargetGroup},
        http::{Auth, HttpClientConfig, PemSource, SecretSource, TlsConfig},
        scrape::ScrapeConfig,
    },
    config_file::{ignored_document, parse_target_groups},
};

use super::{Problems, place_of_job, prefix};
use crate::{
    discovery,
    scrape::{TargetError, populate},
};

/// Checks all files that a configuration references.
pub(super) fn check(config: &Config) -> Problems {
    let mut problems = Problems::default();
    for scrape in &config.scrape_configs {
        let job = &scrape.job_name;
        let context = format!("{}job {job:?}", place_of_job(config, job));
        problems.http(&context, &scrape.http);
        for mechanism in &scrape.discovery {
            problems.discovery(&context, scrape, mechanism);
        }
    }
    for destination in &config.remote_write {
        let name = &destination.name;
        let place = prefix(config.places.destinations.get(name));
        let context = format!("{place}remote write {name:?}");
        problems.http(&context, &destination.http);
    }
    problems
}

// === impl Problems ===

impl Problems {
    fn discovery(&mut self, context: &str, scrape: &ScrapeConfig, mechanism: &DiscoveryConfig) {
        match mechanism {
            DiscoveryConfig::Static(groups) => self.groups(context, scrape, groups),
            DiscoveryConfig::File(config) => self.targets(context, scrape, config),
            DiscoveryConfig::Http(config) => {
                self.http(&format!("{context}: http_sd_configs"), &config.http);
            }
            DiscoveryConfig::Kubernetes(config) => {
                let context = format!("{context}: kubernetes_sd_configs");
                self.http(&context, &config.http);
                if let Some(path) = &config.kubeconfig_file {
                    self.require(&context, "kubeconfig_file", path);
                }
            }
            DiscoveryConfig::Ec2(config) => {
                self.http(&format!("{context}: ec2_sd_configs"), &config.aws.http);
            }
            DiscoveryConfig::Ecs(config) => {
                self.http(&format!("{context}: ecs_sd_configs"), &config.aws.http);
            }
            DiscoveryConfig::Msk(config) => {
                self.http(&format!("{context}: msk_sd_configs"), &config.aws.http);
            }
            DiscoveryConfig::Dns(_) | DiscoveryConfig::Unsupported(_) => {}
        }
    }

    fn targets(&mut self, context: &str, scrape: &ScrapeConfig, config: &FileConfig) {
        for pattern in &config.files {
            let paths = discovery::target_files(std::slice::from_ref(pattern));
            if paths.is_empty() {
                let pattern = pattern.display();
                self.warnings
                    .push(format!("{context}: file_sd file {pattern} does not exist"));
            }
            for path in paths {
                let content = std::fs::read(&path);
                let content = content.map_err(|error| format!("{}: {error}", path.display()));
                let groups = content.and_then(|content| {
                    let ignored = ignored_document(&content, &path);
                    self.warnings
                        .extend(ignored.map(|warning| format!("{context}: file_sd: {warning}")));
                    parse_target_groups(content, &path).map_err(|error| error.to_string())
                });
                match groups {
                    Ok(groups) => self.groups(context, scrape, &groups),
                    Err(error) => self.failures.push(format!("{context}: file_sd: {error}")),
                }
            }
        }
    }

    fn groups(&mut self, context: &str, scrape: &ScrapeConfig, groups: &[TargetGroup]) {
        for group in groups {
            for target in &group.targets {
                let failure: Option<TargetError> = populate(scrape, group, target).err();
                if let Some(error) = failure {
                    self.failures
                        .push(format!("{context}: target {target}: {error}"));
                }
            }
        }
    }

    fn http(&mut self, context: &str, http: &HttpClientConfig) {
        self.tls(context, &http.tls);
        match &http.auth {
            Some(Auth::Authorization { credentials, .. }) => {
                self.secret(context, "credentials_file", credentials);
            }
            Some(Auth::Basic { username, password }) => {
                self.secret(context, "username_file", username);
                if let Some(password) = password {
                    self.secret(context, "password_file", password);
                }
            }
            Some(Auth::OAuth2(oauth2)) => {
                self.secret(context, "client_secret_file", &oauth2.client_secret);
                self.tls(&format!("{context}: oauth2"), &oauth2.tls);
            }
            None => {}
        }
        for (name, values) in &http.http_headers {
            for value in values {
                self.secret(context, &format!("http_headers of {name}"), value);
            }
        }
    }

    fn tls(&mut self, context: &str, tls: &TlsConfig) {
        let pems = [
            ("ca_file", &tls.ca),
            ("cert_file", &tls.cert),
            ("key_file", &tls.key),
        ];
        let found = self.failures.len();
        for (key, pem) in pems {
            if let Some(PemSource::File(path)) = pem {
                self.require(context, key, path);
            }
        }
        if self.failures.len() == found {
            let unusable = mesh_net::tls::check(tls).into_iter();
            self.failures
                .extend(unusable.map(|error| format!("{context}: tls_config: {error}")));
        }
        let unsupported = mesh_net::tls::unsupported(tls).into_iter();
        self.warnings
            .extend(unsupported.map(|warning| format!("{context}: tls_config: {warning}")));
    }

    fn secret(&mut self, context: &str, key: &str, secret: &SecretSource) {
        if let SecretSource::File(path) = secret {
            self.require(context, key, path);
        }
    }

    fn require(&mut self, context: &str, key: &str, path: &Path) {
        if let Err(error) = std::fs::metadata(path) {
            let path = path.display();
            self.failures
                .push(format!("{context}: {key} {path}: {error}"));
        }
    }
}
