//! Command line, environment and configuration file of each service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Context;

use super::{Cluster, GRPC, HTTP, WEB, startup::TO_BACKEND, targets};
use crate::chaos::{
    clock, disk,
    proxy::Proxy,
    shape::{OUTBOX_BYTES, Tier, WORK_BYTES},
    views::NAMESPACE,
};
use harness::{
    arrivals::JOB,
    spec::{Addresses, ServiceSpec},
    topology::{CLUSTER, Config, KeysIn, RemoteWrite},
};
use stand_ins::{
    amp::{Keys, WORKSPACE},
    files::replace,
    sample_app::SCRAPED_BY,
};

const CONFIG: &str = "prometheus.yml";
const CREDENTIALS: &str = "credentials";
/// Time after which senders remove a destination that exporters do not name. Shorter than the
/// default.
const REMOVED_AFTER: &str = "10s";
/// Flag by which pushes wait for the first of two destinations only.
const REQUIRED: &str = "--outbox.required-destination=first";

// === impl Cluster ===

impl Cluster {
    /// Everything that a pod is started with.
    pub(super) fn spec(
        &self,
        tier: Tier,
        name: &str,
        ip: Ipv4Addr,
        folder: &Path,
        kubeconfig: &str,
    ) -> ServiceSpec {
        let at = |port| SocketAddr::from((ip, port));
        let config = folder.join(CONFIG);
        let exporters = format!("k8s:///{NAMESPACE}/exporter:{GRPC}");
        let members = |port| format!("k8s:///{NAMESPACE}/{}:{port}", tier.service());
        let outbox = [
            format!("--outbox.max-bytes={OUTBOX_BYTES}"),
            format!("--outbox.max-age={}", self.shape.max_batch_age.as_secs()),
            format!("--outbox.removed-destination-timeout={REMOVED_AFTER}"),
        ];
        let spec = match tier {
            Tier::Exporter => {
                let addresses = Addresses {
                    grpc: Some(at(GRPC)),
                    ..Addresses::web(at(WEB))
                };
                ServiceSpec::exporter(name, addresses, &config)
                    .flag(format!("--ingest.max-bytes={WORK_BYTES}"))
                    .flag(format!("--remote-write.cache-bytes={OUTBOX_BYTES}"))
            }
            Tier::Gateway => {
                let addresses = Addresses {
                    grpc: Some(at(GRPC)),
                    http: Some(at(HTTP)),
                    web: at(WEB),
                };
                // Otherwise the application waits for the destination that is down.
                let required = self.second.as_ref().map(|_| REQUIRED.to_owned());
                ServiceSpec::gateway(name, addresses, &exporters)
                    .flags(required)
                    .flags(self.shape.gateway_flags.iter().cloned())
                    .member_of(&members(GRPC))
                    .flags(outbox)
                    .flag(format!("--otlp.memory-budget={WORK_BYTES}"))
            }
            Tier::Receiver(_) => {
                let addresses = Addresses {
                    grpc: Some(at(GRPC)),
                    ..Addresses::web(at(WEB))
                };
                let spec = ServiceSpec::receiver(name, addresses, &config, &exporters)
                    .member_of(&members(GRPC))
                    .flags(outbox)
                    .flag(format!("--scrape.memory-budget={WORK_BYTES}"))
                    .flag("--discovery.update-interval=1")
                    .flags(self.shape.receiver_flags.iter().cloned());
                disk::mount(self.shape.disk, spec, folder)
            }
        };
        self.with_environment(spec, tier, folder, kubeconfig)
    }

    fn with_environment(
        &self,
        spec: ServiceSpec,
        tier: Tier,
        folder: &Path,
        kubeconfig: &str,
    ) -> ServiceSpec {
        let credentials = self.folder.path().join(CREDENTIALS);
        let mut spec = spec
            .env("KUBECONFIG", kubeconfig)
            .env("CLUSTER", CLUSTER)
            .env("REPLICA", tier.replica().unwrap_or_default())
            .env(
                "AWS_SHARED_CREDENTIALS_FILE",
                &credentials.display().to_string(),
            )
            .env("AWS_EC2_METADATA_DISABLED", "true");
        if self.shape.own_clocks && tier.replica().is_some() {
            for (name, value) in clock::environment(folder) {
                spec = spec.env(name, &value);
            }
        }
        spec
    }

    /// Gives new credentials to the exporters.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(crate) fn rotate_credentials(&self, keys: &Keys) -> anyhow::Result<()> {
        let text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            keys.access_key, keys.secret_key
        );
        replace(&self.folder.path().join(CREDENTIALS), &text)
    }

    pub(super) fn write_exporter_config(
        &self,
        folder: &Path,
        backend: SocketAddr,
    ) -> anyhow::Result<()> {
        let url = format!("http://{backend}{WORKSPACE}/api/v1/remote_write");
        let remote_write = RemoteWrite::new(&url).signed_with(Keys::example());
        let mut config = Config::default().remote_write(remote_write.setting("name: first"));
        if let Some(second) = &self.second {
            config = config.remote_write(RemoteWrite::to(second).setting("name: second"));
        }
        config.write(&folder.join(CONFIG), KeysIn::Environment)
    }

    /// Removes the second destination from the configuration files of all exporters, which
    /// read them again.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written, or an exporter has ended.
    pub(crate) async fn remove_second(&mut self) -> anyhow::Result<()> {
        self.second = None;
        for exporter in self.running(Tier::Exporter) {
            let pod = &self.pods[exporter];
            let backend = pod.links.get(&TO_BACKEND).map(Proxy::address);
            let backend = backend.context("an exporter has no link to the backend")?;
            let folder = self.folder.path().join(&pod.service.name);
            self.write_exporter_config(&folder, backend)?;
            pod.service.reload().await?;
        }
        Ok(())
    }

    pub(super) fn write_receiver_config(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let targets = self.folder.path().join(targets::FILE);
        let job = format!(
            "- job_name: {JOB}
  http_headers: {{{SCRAPED_BY}: {{values: [{name}]}}}}
  file_sd_configs:
  - {{files: ['{}'], refresh_interval: 1s}}
",
            targets.display()
        );
        let config = Config::default()
            .interval(&format!("{}s", self.shape.interval.as_secs()))
            .replica_labels()
            .jobs(&job);
        config.write(&folder.join(CONFIG), KeysIn::Environment)
    }
}
