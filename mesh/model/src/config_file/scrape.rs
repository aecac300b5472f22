//! The `global` and `scrape_configs` sections.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    aws::{AwsSd, Ec2Sd, EcsSd, MskSd},
    discovery::{DnsSd, FileSd, HttpSd, KubernetesSd, Mechanisms, StaticGroup},
    http::with_http,
    relabel::{self, Rule},
    scalar::{Size, Text, null_is_zero},
    section::{Context, List, Problem, both},
};
use crate::{
    config::{
        duration,
        scrape::{EscapingScheme, ScrapeConfig, ScrapeProtocol},
    },
    validation::ValidationScheme,
};

/// `global`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Global {
    scrape_interval: Option<Text<Duration>>,
    scrape_timeout: Option<Text<Duration>>,
    scrape_protocols: Option<Vec<Text<ScrapeProtocol>>>,
    pub(in crate::config_file) external_labels: Option<BTreeMap<String, Spanned<String>>>,
    body_size_limit: Option<Text<Size>>,
    sample_limit: Option<u64>,
    target_limit: Option<u64>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
    keep_dropped_targets: Option<u64>,
    metric_name_validation_scheme: Option<Text<ValidationScheme>>,
    metric_name_escaping_scheme: Option<Text<EscapingScheme>>,
    scrape_native_histograms: Option<bool>,
    convert_classic_histograms_to_nhcb: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    extra_scrape_metrics: Option<bool>,
    // Settings of Prometheus's rule engine and query log. Accepted and ignored.
    #[serde(rename = "evaluation_interval")]
    _evaluation_interval: Option<Text<Duration>>,
    #[serde(rename = "rule_query_offset")]
    _rule_query_offset: Option<Text<Duration>>,
    #[serde(rename = "query_log_file")]
    _query_log_file: Option<IgnoredAny>,
    scrape_failure_log_file: Option<String>,
}

/// The `global` settings that scrape configurations inherit.
#[derive(Debug)]
pub(in crate::config_file) struct Inherited {
    global: Global,
    interval: Duration,
    timeout: Duration,
    scrape_failure_log_file: Option<PathBuf>,
    pub(in crate::config_file) validation: ValidationScheme,
}

/// Declares [`Scrape`], including the keys of discovery mechanisms that promesh does not
/// implement.
macro_rules! scrape {
    (unsupported { $($mechanism:ident,)* } fields { $($fields:tt)* }) => {
        with_http! {
            /// One entry of `scrape_configs`.
            struct Scrape {
                $($fields)*
                $($mechanism: Option<IgnoredAny>,)*
            }
        }

        impl Scrape {
            fn unsupported(&self) -> Vec<String> {
                let given = [$((stringify!($mechanism), self.$mechanism.is_some()),)*];
                let given = given.into_iter().filter(|(_, given)| *given);
                given.map(|(name, _)| name.to_owned()).collect()
            }
        }
    };
}

scrape! {
    unsupported {
        azure_sd_configs,
        consul_sd_configs,
        digitalocean_sd_configs,
        docker_sd_configs,
        dockerswarm_sd_configs,
        elasticache_sd_configs,
        eureka_sd_configs,
        gce_sd_configs,
        hetzner_sd_configs,
        ionos_sd_configs,
        kuma_sd_configs,
        lightsail_sd_configs,
        linode_sd_configs,
        marathon_sd_configs,
        nerve_sd_configs,
        nomad_sd_configs,
        oci_sd_configs,
        openstack_sd_configs,
        outscale_sd_configs,
        ovhcloud_sd_configs,
        puppetdb_sd_configs,
        rds_sd_configs,
        scaleway_sd_configs,
        serverset_sd_configs,
        stackit_sd_configs,
        triton_sd_configs,
        uyuni_sd_configs,
        vultr_sd_configs,
        xds_sd_configs,
        zookeeper_sd_configs,
    }
    fields {
        job_name: Option<String>,
        scrape_interval: Option<Text<Duration>>,
        scrape_timeout: Option<Text<Duration>>,
        scrape_protocols: Option<Vec<Text<ScrapeProtocol>>>,
        fallback_scrape_protocol: Option<Text<ScrapeProtocol>>,
        scrape_native_histograms: Option<bool>,
        always_scrape_classic_histograms: Option<bool>,
        convert_classic_histograms_to_nhcb: Option<bool>,
        #[serde(default, deserialize_with = "null_is_zero")]
        metrics_path: Option<String>,
        #[serde(default, deserialize_with = "null_is_zero")]
        scheme: Option<String>,
        #[serde(default, deserialize_with = "null_is_zero")]
        enable_compression: Option<bool>,
        body_size_limit: Option<Text<Size>>,
        sample_limit: Option<u64>,
        target_limit: Option<u64>,
        label_limit: Option<u64>,
        label_name_length_limit: Option<u64>,
        label_value_length_limit: Option<u64>,
        native_histogram_bucket_limit: Option<u64>,
        native_histogram_min_bucket_factor: Option<f64>,
        keep_dropped_targets: Option<u64>,
        honor_labels: Option<bool>,
        #[serde(default, deserialize_with = "null_is_zero")]
        honor_timestamps: Option<bool>,
        track_timestamps_staleness: Option<bool>,
        params: Option<BTreeMap<String, Vec<String>>>,
        metric_name_validation_scheme: Option<Text<ValidationScheme>>,
        metric_name_escaping_scheme: Option<Text<EscapingScheme>>,
        extra_scrape_metrics: Option<bool>,
        scrape_failure_log_file: Option<String>,
        relabel_configs: List<Rule>,
        metric_relabel_configs: List<Rule>,
        static_configs: List<StaticGroup>,
        file_sd_configs: List<FileSd>,
        http_sd_configs: List<HttpSd>,
        dns_sd_configs: List<DnsSd>,
        kubernetes_sd_configs: List<KubernetesSd>,
        ec2_sd_configs: List<Ec2Sd>,
        ecs_sd_configs: List<EcsSd>,
        msk_sd_configs: List<MskSd>,
        aws_sd_configs: List<AwsSd>,
    }
}

// === impl Global ===

impl Global {
    /// Returns the inherited settings, and the problem of settings that contradict each other.
    pub(in crate::config_file) fn inherit(
        mut self,
        context: Context<'_>,
    ) -> (Inherited, Result<(), Problem>) {
        const INTERVAL: Duration = Duration::from_secs(60);
        const TIMEOUT: Duration = Duration::from_secs(10);
        let interval = given(&self.scrape_interval).unwrap_or(INTERVAL);
        let timeout = given(&self.scrape_timeout).unwrap_or(TIMEOUT.min(interval));
        let timing = if timeout > interval {
            Err(Problem::new(format!(
                "global scrape timeout greater than scrape interval: {} > {}",
                duration::format(timeout),
                duration::format(interval)
            )))
        } else {
            Ok(())
        };
        let known = check_protocols(self.scrape_protocols.as_deref());
        let validation = self.metric_name_validation_scheme.take();
        let validation = validation.map_or_else(ValidationScheme::default, |scheme| scheme.0);
        let escaping = escaping(validation, self.metric_name_escaping_scheme.as_ref());
        let log = self.scrape_failure_log_file.take();
        let inherited = Inherited {
            scrape_failure_log_file: path(log, context),
            global: self,
            interval,
            timeout,
            validation,
        };
        let problem = both(both(timing, known), escaping).map(drop);
        (inherited, problem)
    }
}

// === impl Scrape ===

impl Scrape {
    pub(in crate::config_file) fn build(
        self,
        inherited: &Inherited,
        context: Context<'_>,
    ) -> Result<ScrapeConfig, Problem> {
        let job_name = self.job_name.clone().filter(|name| !name.is_empty());
        let job_name = job_name.ok_or_else(|| Problem::new("job_name is empty"))?;
        self.build_named(job_name.clone(), inherited, context)
            .map_err(|problem| problem.of(&format!("scrape config with job name {job_name:?}")))
    }

    fn build_named(
        mut self,
        job_name: String,
        inherited: &Inherited,
        context: Context<'_>,
    ) -> Result<ScrapeConfig, Problem> {
        let global = &inherited.global;
        let relabeled = self
            .relabel_configs
            .as_ref()
            .is_some_and(|rules| !rules.is_empty());
        let scrape_interval = given(&self.scrape_interval).unwrap_or(inherited.interval);
        let scrape_timeout =
            given(&self.scrape_timeout).unwrap_or(inherited.timeout.min(scrape_interval));
        let timing = if scrape_timeout > scrape_interval {
            Err(Problem::new("scrape timeout greater than scrape interval"))
        } else {
            Ok(())
        };
        let validation = self.metric_name_validation_scheme.as_ref();
        let validation = validation.map_or(inherited.validation, |scheme| scheme.0);
        let escaping_scheme = self
            .metric_name_escaping_scheme
            .as_ref()
            .or(global.metric_name_escaping_scheme.as_ref());
        let escaping = escaping(validation, escaping_scheme);
        let native = self
            .scrape_native_histograms
            .or(global.scrape_native_histograms)
            .unwrap_or(false);
        let known = check_protocols(self.scrape_protocols.as_deref());
        let protocols = self
            .scrape_protocols
            .as_ref()
            .or(global.scrape_protocols.as_ref())
            .map(|list| list.iter().map(|protocol| protocol.0).collect());
        let (http, unsupported) = (self.take_http().build(context), self.unsupported());
        let relabel = relabel::build(self.relabel_configs, "target relabeling rule", validation);
        let metric_relabel = relabel::build(
            self.metric_relabel_configs,
            "metric relabeling rule",
            validation,
        );
        let discovery = Mechanisms {
            relabeled,
            static_configs: self.static_configs,
            file: self.file_sd_configs,
            http: self.http_sd_configs,
            dns: self.dns_sd_configs,
            kubernetes: self.kubernetes_sd_configs,
            ec2: self.ec2_sd_configs,
            ecs: self.ecs_sd_configs,
            msk: self.msk_sd_configs,
            aws: self.aws_sd_configs,
            unsupported,
        }
        .build(context);
        let settings = both(both(timing, known), both(escaping, http));
        let lists = both(both(relabel, metric_relabel), discovery);
        let ((_, (metric_name_escaping_scheme, http)), lists) = both(settings, lists)?;
        let ((relabel_configs, metric_relabel_configs), discovery) = lists;
        let scrape_failure_log_file = path(self.scrape_failure_log_file, context)
            .or_else(|| inherited.scrape_failure_log_file.clone());
        let size = |size: &Option<Text<Size>>| size.as_ref().map_or(0, |size| size.0.0);
        let either = |own: Option<u64>, global: Option<u64>| {
            own.filter(|limit| *limit > 0).or(global).unwrap_or(0)
        };
        Ok(ScrapeConfig {
            scrape_interval,
            scrape_timeout,
            scrape_protocols: protocols.unwrap_or_else(|| default_protocols(native)),
            fallback_scrape_protocol: self.fallback_scrape_protocol.map(|p| p.0),
            scrape_native_histograms: native,
            always_scrape_classic_histograms: self
                .always_scrape_classic_histograms
                .or(global.always_scrape_classic_histograms)
                .unwrap_or(false),
            convert_classic_histograms_to_nhcb: self
                .convert_classic_histograms_to_nhcb
                .or(global.convert_classic_histograms_to_nhcb)
                .unwrap_or(false),
            metrics_path: self.metrics_path.unwrap_or_else(|| "/metrics".to_owned()),
            scheme: self.scheme.unwrap_or_else(|| "http".to_owned()),
            enable_compression: self.enable_compression.unwrap_or(true),
            body_size_limit: match size(&self.body_size_limit) {
                0 => size(&global.body_size_limit),
                own => own,
            },
            sample_limit: either(self.sample_limit, global.sample_limit),
            target_limit: either(self.target_limit, global.target_limit),
            label_limit: either(self.label_limit, global.label_limit),
            label_name_length_limit: either(
                self.label_name_length_limit,
                global.label_name_length_limit,
            ),
            label_value_length_limit: either(
                self.label_value_length_limit,
                global.label_value_length_limit,
            ),
            native_histogram_bucket_limit: self.native_histogram_bucket_limit.unwrap_or(0),
            native_histogram_min_bucket_factor: self
                .native_histogram_min_bucket_factor
                .unwrap_or(0.0),
            keep_dropped_targets: either(self.keep_dropped_targets, global.keep_dropped_targets),
            honor_labels: self.honor_labels.unwrap_or(false),
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: self.track_timestamps_staleness.unwrap_or(false),
            params: self.params.unwrap_or_default(),
            metric_name_validation_scheme: validation,
            metric_name_escaping_scheme,
            extra_scrape_metrics: self
                .extra_scrape_metrics
                .or(global.extra_scrape_metrics)
                .unwrap_or(false),
            scrape_failure_log_file,
            relabel_configs,
            metric_relabel_configs,
            discovery,
            http,
            job_name,
        })
    }
}

/// Resolves a path that is given and not empty.
fn path(given: Option<String>, context: Context<'_>) -> Option<PathBuf> {
    let given = given.filter(|path| !path.is_empty())?;
    Some(context.path(given))
}

/// Returns a duration that is given and not zero. Zero means the default, as in Go.
fn given(duration: &Option<Text<Duration>>) -> Option<Duration> {
    duration.as_ref().map(|d| d.0).filter(|d| !d.is_zero())
}

fn default_protocols(native_histograms: bool) -> Vec<ScrapeProtocol> {
    let text = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
    let proto = native_histograms.then_some(ScrapeProtocol::PrometheusProto);
    proto.into_iter().chain(text).collect()
}

/// Returns an error if the list is empty or a protocol occurs twice.
fn check_protocols(protocols: Option<&[Text<ScrapeProtocol>]>) -> Result<(), Problem> {
    let Some(protocols) = protocols else {
        return Ok(());
    };
    if protocols.is_empty() {
        return Err(Problem::new(
            "scrape_protocols is an empty list, name a protocol or remove the key",
        ));
    }
    for (i, protocol) in protocols.iter().enumerate() {
        if protocols[..i].contains(protocol) {
            return Err(Problem::new(format!(
                "duplicated protocol in scrape_protocols: {:?}",
                protocol.0
            )));
        }
    }
    Ok(())
}

/// Returns the escaping scheme to request from targets. The default depends on the
/// validation scheme.
fn escaping(
    validation: ValidationScheme,
    given: Option<&Text<EscapingScheme>>,
) -> Result<EscapingScheme, Problem> {
    match (validation, given.map(|scheme| scheme.0)) {
        (ValidationScheme::Legacy, Some(EscapingScheme::AllowUtf8)) => Err(Problem::new(
            "utf8 metric names requested but validation scheme is not set to UTF8",
        )),
        (_, Some(scheme)) => Ok(scheme),
        (ValidationScheme::Utf8, None) => Ok(EscapingScheme::AllowUtf8),
        (ValidationScheme::Legacy, None) => Ok(EscapingScheme::Underscores),
    }
}
