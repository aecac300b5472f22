//! The `tls_config` section.

use serde::{Deserialize, de::IgnoredAny};

use super::secret::{at_most_one, refuse_references, secret};
use crate::{
    config::{
        Secret,
        http::{PemSource, SecretSource, TlsConfig, TlsVersion},
    },
    config_file::{
        scalar::Text,
        section::{Context, Problem},
    },
};

/// `tls_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Tls {
    ca: Option<Text<Secret>>,
    ca_file: Option<String>,
    cert: Option<Text<Secret>>,
    cert_file: Option<String>,
    key: Option<Text<Secret>>,
    key_file: Option<String>,
    server_name: Option<String>,
    insecure_skip_verify: Option<bool>,
    min_version: Option<Text<TlsVersion>>,
    max_version: Option<Text<TlsVersion>>,
    ca_ref: Option<IgnoredAny>,
    cert_ref: Option<IgnoredAny>,
    key_ref: Option<IgnoredAny>,
}

// === impl Tls ===

impl Tls {
    pub(super) fn build(self, context: Context<'_>) -> Result<TlsConfig, Problem> {
        refuse_references([
            ("ca_ref", self.ca_ref.is_some()),
            ("cert_ref", self.cert_ref.is_some()),
            ("key_ref", self.key_ref.is_some()),
        ])?;
        at_most_one(&self.ca, &self.ca_file, "tls_config: ca & ca_file")?;
        at_most_one(&self.cert, &self.cert_file, "tls_config: cert & cert_file")?;
        at_most_one(&self.key, &self.key_file, "tls_config: key & key_file")?;
        let config = TlsConfig {
            ca: pem(self.ca, self.ca_file, context),
            cert: pem(self.cert, self.cert_file, context),
            key: pem(self.key, self.key_file, context),
            server_name: self.server_name.filter(|name| !name.is_empty()),
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or(false),
            min_version: self.min_version.map(|v| v.0),
            max_version: self.max_version.map(|v| v.0),
        };
        if config.cert.is_some() != config.key.is_some() {
            return Err(Problem::new(
                "tls_config: cert and key must be configured together",
            ));
        }
        if let (Some(min), Some(max)) = (config.min_version, config.max_version)
            && min > max
        {
            return Err(Problem::new(
                "tls_config: max_version is older than min_version",
            ));
        }
        Ok(config)
    }
}

fn pem(
    inline: Option<Text<Secret>>,
    file: Option<String>,
    context: Context<'_>,
) -> Option<PemSource> {
    match secret(inline, file, context)? {
        SecretSource::Inline(pem) if pem.expose().is_empty() => None,
        SecretSource::Inline(pem) => Some(PemSource::Inline(pem)),
        SecretSource::File(path) => Some(PemSource::File(path)),
    }
}
