//! The `ec2_sd_configs`, `ecs_sd_configs`, `msk_sd_configs` and `aws_sd_configs` sections.

use std::time::Duration;

use serde::Deserialize;

use super::{
    discovery::refresh,
    http::with_http,
    scalar::{Text, null_is_zero},
    section::{Context, Problem},
};
use crate::config::{
    Secret,
    discovery::{AwsClustersConfig, AwsConfig, DiscoveryConfig, Ec2Config},
};

/// Declares a section that has the keys of all AWS mechanisms besides its own.
macro_rules! aws_sd {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* }) => {
        with_http! {
            $(#[$meta])*
            struct $name {
                $($field: $type,)*
                region: Option<String>,
                endpoint: Option<String>,
                access_key: Option<String>,
                secret_key: Option<Text<Secret>>,
                profile: Option<String>,
                role_arn: Option<String>,
                external_id: Option<String>,
                #[serde(default, deserialize_with = "null_is_zero")]
                port: Option<u16>,
                refresh_interval: Option<Text<Duration>>,
            }
        }

        impl $name {
            fn take_aws(&mut self, context: Context<'_>) -> Result<AwsConfig, Problem> {
                Ok(AwsConfig {
                    region: self.region.take().filter(|region| !region.is_empty()),
                    endpoint: self.endpoint.take().filter(|endpoint| !endpoint.is_empty()),
                    access_key: self.access_key.take(),
                    secret_key: self.secret_key.take().map(|key| key.0),
                    profile: self.profile.take(),
                    role_arn: self.role_arn.take(),
                    external_id: self.external_id.take(),
                    port: self.port.unwrap_or(80),
                    refresh_interval: refresh(self.refresh_interval.take(), 60)?,
                    http: self.take_http().build(context)?,
                })
            }
        }
    };
}

aws_sd! {
    /// `ec2_sd_configs`.
    struct Ec2Sd {
        filters: Option<Vec<Filter>>,
    }
}

aws_sd! {
    /// `ecs_sd_configs`.
    struct EcsSd {
        clusters: Option<Vec<String>>,
        request_concurrency: Option<usize>,
    }
}

aws_sd! {
    /// `msk_sd_configs`.
    struct MskSd {
        clusters: Option<Vec<String>>,
        request_concurrency: Option<usize>,
    }
}

aws_sd! {
    /// `aws_sd_configs`.
    struct AwsSd {
        role: Option<String>,
        filters: Option<Vec<Filter>>,
        clusters: Option<Vec<String>>,
    }
}

/// One entry of `filters`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Filter {
    #[serde(default)]
    name: String,
    #[serde(default)]
    values: Vec<String>,
}

/// Default of `request_concurrency` for ECS.
const ECS_CONCURRENCY: usize = 20;
/// Default of `request_concurrency` for MSK.
const MSK_CONCURRENCY: usize = 10;
/// Roles of `aws_sd_configs` that promesh does not implement.
const UNSUPPORTED_ROLES: [&str; 3] = ["elasticache", "lightsail", "rds"];

// === impl Ec2Sd ===

impl Ec2Sd {
    pub(in crate::config_file) fn build(
        mut self,
        context: Context<'_>,
    ) -> Result<DiscoveryConfig, Problem> {
        ec2(self.filters.take(), self.take_aws(context)?)
    }
}

fn ec2(filters: Option<Vec<Filter>>, aws: AwsConfig) -> Result<DiscoveryConfig, Problem> {
    let filters = filters.unwrap_or_default();
    if filters.iter().any(|filter| filter.values.is_empty()) {
        return Err(Problem::new(
            "EC2 SD configuration filter values cannot be empty",
        ));
    }
    Ok(DiscoveryConfig::Ec2(Box::new(Ec2Config {
        aws,
        filters: filters.into_iter().map(|f| (f.name, f.values)).collect(),
    })))
}

// === impl EcsSd ===

impl EcsSd {
    pub(in crate::config_file) fn build(
        mut self,
        context: Context<'_>,
    ) -> Result<DiscoveryConfig, Problem> {
        let concurrency = self.request_concurrency.unwrap_or(ECS_CONCURRENCY);
        let aws = self.take_aws(context)?;
        Ok(DiscoveryConfig::Ecs(clusters(
            aws,
            self.clusters,
            concurrency,
        )?))
    }
}

// === impl MskSd ===

impl MskSd {
    pub(in crate::config_file) fn build(
        mut self,
        context: Context<'_>,
    ) -> Result<DiscoveryConfig, Problem> {
        let concurrency = self.request_concurrency.unwrap_or(MSK_CONCURRENCY);
        let aws = self.take_aws(context)?;
        Ok(DiscoveryConfig::Msk(clusters(
            aws,
            self.clusters,
            concurrency,
        )?))
    }
}

fn clusters(
    aws: AwsConfig,
    clusters: Option<Vec<String>>,
    request_concurrency: usize,
) -> Result<Box<AwsClustersConfig>, Problem> {
    if request_concurrency == 0 {
        return Err(Problem::new(
            "request_concurrency is 0, expected at least 1",
        ));
    }
    Ok(Box::new(AwsClustersConfig {
        aws,
        clusters: clusters.unwrap_or_default(),
        request_concurrency,
    }))
}

// === impl AwsSd ===

impl AwsSd {
    pub(in crate::config_file) fn build(
        mut self,
        context: Context<'_>,
    ) -> Result<DiscoveryConfig, Problem> {
        let role = self.role.take().unwrap_or_default();
        let aws = self.take_aws(context)?;
        match role.as_str() {
            "ec2" => ec2(self.filters, aws),
            "ecs" => Ok(DiscoveryConfig::Ecs(clusters(
                aws,
                self.clusters,
                ECS_CONCURRENCY,
            )?)),
            "msk" => Ok(DiscoveryConfig::Msk(clusters(
                aws,
                self.clusters,
                MSK_CONCURRENCY,
            )?)),
            role if UNSUPPORTED_ROLES.contains(&role) => Ok(DiscoveryConfig::Unsupported(format!(
                "aws_sd_configs of the role {role}"
            ))),
            role => Err(Problem::new(format!(
                "unknown AWS SD role {role:?}, expected one of ec2, ecs, msk"
            ))),
        }
    }
}
