//! A whole mesh on loopback: two receivers of group `a` and two of group `b`, two
//! exporters, a gateway, a sample app and the stand-in.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use stand_ins::{amp::{Amp, AmpOptions, Keys}, ports::reserve_ports, sample_app::{SampleApp, SampleAppArgs}};
use crate::child::Service;

/// The job that the sample app is scraped under.
pub const JOB: &str = "sample-app";
/// The value of the `cluster` label.
pub const CLUSTER: &str = "demo";

const DRAIN: Duration = Duration::from_secs(60);

/// How a mesh is built.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// The program with the services' subcommands.
    pub program: PathBuf,
    /// Time between two scrapes, as a configuration has it.
    pub scrape_interval: String,
    /// What the sample app exposes.
    pub sample_app: SampleAppArgs,
    /// More scrape configurations: items of a YAML list.
    pub more_jobs: String,
    /// Use the stand-in's https port.
    pub https: bool,
    /// More options of the stand-in.
    pub amp: AmpOptions,
}

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    /// The backend.
    pub amp: Amp,
    /// What is scraped.
    pub sample_app: SampleApp,
    /// Two of them.
    pub exporters: Vec<Service>,
    /// Two of each group.
    pub receivers: Vec<Service>,
    /// One.
    pub gateway: Service,
    folder: TempDir,
}

// === impl MeshOptions ===

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            program: std::env::current_exe().unwrap_or_default(),
            scrape_interval: "2s".to_owned(),
            sample_app: SampleAppArgs {
                load: 10,
                change_interval: 1,
            },
            more_jobs: String::new(),
            https: false,
            amp: AmpOptions::default(),
        }
    }
}

// === impl Mesh ===

impl Mesh {
    /// Starts everything.
    ///
    /// # Errors
    /// Where a part does not start, with the end of its log.
    pub async fn start(options: MeshOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = options.amp.keys.clone().unwrap_or_else(Keys::example);
        let amp = Amp::start(options.amp.clone()).await?;
        let sample_app = SampleApp::start(&options.sample_app).await?;
        let config = write_config(folder.path(), &options, &amp, &sample_app)?;
        let config_flag = format!("--config.file={}", config.display());
        let start = async |name: &str, arguments: &[String], environment: &[(&str, &str)]| {
            Service::start(
                &options.program,
                name,
                arguments,
                environment,
                folder.path(),
            )
            .await
        };
        let credentials = [
            ("AWS_ACCESS_KEY_ID", keys.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_key.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let mut exporters = Vec::new();
        for i in 0..2 {
            let arguments = [
                "exporter".to_owned(),
                config_flag.clone(),
                "--grpc.listen-address=127.0.0.1:0".to_owned(),
                "--web.listen-address=127.0.0.1:0".to_owned(),
            ];
            exporters.push(start(&format!("exporter-{i}"), &arguments, &credentials).await?);
        }
        let endpoints: Vec<_> = exporters
            .iter()
            .filter_map(|e| e.addresses.grpc.clone())
            .collect();
        let endpoints = format!("--exporter.endpoints={}", endpoints.join(","));
        let mut receivers = Vec::new();
        for group in ["a", "b"] {
            // Members are told to each other before they listen.
            let (_reserved, members) = reserve_ports(2)?;
            for (i, own) in members.iter().enumerate() {
                let arguments = [
                    "receiver".to_owned(),
                    config_flag.clone(),
                    endpoints.clone(),
                    format!("--web.listen-address={own}"),
                    format!("--shard.members={}", members.join(",")),
                    format!("--shard.self={own}"),
                ];
                let environment = [("CLUSTER", CLUSTER), ("REPLICA", group)];
                receivers
                    .push(start(&format!("receiver-{group}-{i}"), &arguments, &environment).await?);
            }
        }
        let arguments = [
            "gateway".to_owned(),
            endpoints,
            "--otlp.grpc.listen-address=127.0.0.1:0".to_owned(),
            "--otlp.http.listen-address=127.0.0.1:0".to_owned(),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let gateway = start("gateway", &arguments, &[]).await?;
        Ok(Self {
            amp,
            sample_app,
            exporters,
            receivers,
            gateway,
            folder,
        })
    }

    /// All services, in the order a sample travels.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        let gateway = std::iter::once(&self.gateway);
        self.receivers.iter().chain(gateway).chain(&self.exporters)
    }

    /// Stops the senders, which deliver what they have first.
    ///
    /// # Errors
    /// Where one does not stop in time.
    pub async fn stop_senders(&mut self) -> anyhow::Result<()> {
        for sender in self.receivers.iter_mut().chain([&mut self.gateway]) {
            sender.stop(DRAIN).await?;
        }
        Ok(())
    }

    /// Where the services' logs are.
    pub fn logs(&self) -> &Path {
        self.folder.path()
    }
}

fn write_config(
    folder: &Path,
    options: &MeshOptions,
    amp: &Amp,
    sample_app: &SampleApp,
) -> anyhow::Result<PathBuf> {
    let (url, tls) = if options.https {
        std::fs::write(folder.join("ca.pem"), amp.ca_pem())?;
        (
            amp.secure_remote_write_url(),
            "\n  tls_config: {ca_file: ca.pem}",
        )
    } else {
        (amp.remote_write_url(), "")
    };
    let sigv4 = match &options.amp.keys {
        Some(keys) => format!("\n  sigv4: {{region: {}}}", keys.region),
        None => String::new(),
    };
    let config = format!(
        "global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
  external_labels:
    cluster: ${{CLUSTER}}
    __replica__: ${{REPLICA}}
scrape_configs:
- job_name: {JOB}
  static_configs:
  - targets: ['{target}']
    labels: {{env: demo}}
  metric_relabel_configs:
  - {{source_labels: [code], regex: '5..', target_label: failed, replacement: 'yes'}}
{more_jobs}remote_write:
- url: {url}{sigv4}{tls}
  send_native_histograms: true
",
        interval = options.scrape_interval,
        target = sample_app.address(),
        more_jobs = options.more_jobs,
    );
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, config)?;
    Ok(path)
}
