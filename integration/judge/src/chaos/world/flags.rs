//! What each service is started with.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{GRPC, HTTP, WEB, World, targets};
use stand_ins::{amp::{Keys, WORKSPACE}, files::replace, sample_app::SCRAPED_BY};
use crate::chaos::{ clock, disk, shape::{OUTBOX_BYTES, Tier, WORK_BYTES}, views::NAMESPACE, };
use harness::mesh::{CLUSTER, JOB};

const CONFIG: &str = "prometheus.yml";
const CREDENTIALS: &str = "credentials";

// === impl World ===

impl World {
    /// The command line of a pod.
    pub(super) fn command(
        &self,
        tier: Tier,
        ip: Ipv4Addr,
        folder: &Path,
    ) -> (PathBuf, Vec<String>) {
        let at = |port| SocketAddr::from((ip, port));
        let config = format!("--config.file={}", folder.join(CONFIG).display());
        let web = format!("--web.listen-address={}", at(WEB));
        let exporters = format!("--exporter.endpoints=k8s:///{NAMESPACE}/exporter:{GRPC}");
        let outbox = format!("--outbox.max-bytes={OUTBOX_BYTES}");
        let age = format!("--outbox.max-age={}", self.shape.max_batch_age.as_secs());
        let members = |port| format!("k8s:///{NAMESPACE}/{}:{port}", tier.service());
        let mut arguments = match tier {
            Tier::Exporter => vec![
                "exporter".to_owned(),
                config,
                web,
                format!("--grpc.listen-address={}", at(GRPC)),
                format!("--ingest.max-bytes={WORK_BYTES}"),
                format!("--remote-write.cache-bytes={OUTBOX_BYTES}"),
            ],
            Tier::Gateway => vec![
                "gateway".to_owned(),
                web,
                exporters,
                outbox,
                age,
                format!("--otlp.grpc.listen-address={}", at(GRPC)),
                format!("--otlp.http.listen-address={}", at(HTTP)),
                format!("--otlp.memory-budget={WORK_BYTES}"),
                format!("--gateway.members={}", members(GRPC)),
                format!("--gateway.self={}", at(GRPC)),
            ],
            Tier::Receiver(_) => vec![
                "receiver".to_owned(),
                config,
                web,
                exporters,
                outbox,
                age,
                format!("--scrape.memory-budget={WORK_BYTES}"),
                "--discovery.update-interval=1".to_owned(),
                format!("--shard.members={}", members(WEB)),
                format!("--shard.self={}", at(WEB)),
            ],
        };
        if let Tier::Receiver(_) = tier {
            arguments.extend(self.shape.receiver_flags.iter().cloned());
            return disk::wrap(self.shape.disk, &self.program, arguments, folder);
        }
        (self.program.clone(), arguments)
    }

    /// The environment of a pod.
    pub(super) fn environment(
        &self,
        tier: Tier,
        kubeconfig: &str,
        folder: &Path,
    ) -> Vec<(&'static str, String)> {
        let credentials = self.folder.path().join(CREDENTIALS);
        let mut environment = vec![
            ("KUBECONFIG", kubeconfig.to_owned()),
            ("CLUSTER", CLUSTER.to_owned()),
            ("REPLICA", tier.replica().unwrap_or_default().to_owned()),
            (
                "AWS_SHARED_CREDENTIALS_FILE",
                credentials.display().to_string(),
            ),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        if self.shape.own_clocks && tier.replica().is_some() {
            environment.extend(clock::environment(folder));
        }
        environment
    }

    /// Gives exporters these credentials.
    ///
    /// # Errors
    /// Where they cannot be written.
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
        let region = Keys::example().region;
        let config = format!(
            "remote_write:\n- url: http://{backend}{WORKSPACE}/api/v1/remote_write\n  sigv4: {{region: {region}}}\n"
        );
        Ok(std::fs::write(folder.join(CONFIG), config)?)
    }

    pub(super) fn write_receiver_config(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let interval = self.shape.interval.as_secs();
        let targets = self.folder.path().join(targets::FILE);
        let config = format!(
            "global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
  external_labels:
    cluster: ${{CLUSTER}}
    __replica__: ${{REPLICA}}
scrape_configs:
- job_name: {JOB}
  http_headers: {{{SCRAPED_BY}: {{values: [{name}]}}}}
  file_sd_configs:
  - {{files: ['{}'], refresh_interval: 1s}}
",
            targets.display()
        );
        Ok(std::fs::write(folder.join(CONFIG), config)?)
    }
}
