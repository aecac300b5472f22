//! The demo's mesh: two receivers of group `a` and two of group `b`, two exporters and a
//! gateway, between a sample app and the stand-in for AMP.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    arrivals::JOB,
    process::{Process, Processes},
    topology::{Config, Mesh, RemoteWrite, Topology},
};
use stand_ins::{
    amp::{Amp, AmpOptions},
    sample_app::{SampleApp, SampleAppArgs},
};

/// Options of the demo's mesh.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// Program whose hidden subcommands run the services.
    pub program: PathBuf,
    /// Time between two scrapes, such as `2s`.
    pub scrape_interval: String,
    /// Options of the sample app.
    pub sample_app: SampleAppArgs,
    /// Further scrape configurations: items of a YAML list.
    pub more_jobs: String,
    /// Makes exporters use the HTTPS port of the stand-in.
    pub https: bool,
    /// Options of the stand-in.
    pub amp: AmpOptions,
}

/// The demo's mesh, while it runs.
#[derive(Debug)]
pub struct DemoMesh {
    /// The backend.
    pub amp: Amp,
    /// The target.
    pub sample_app: SampleApp,
    /// All services.
    pub services: Mesh<Process>,
}

// === impl MeshOptions ===

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            program: std::env::current_exe().unwrap_or_default(),
            scrape_interval: "2s".to_owned(),
            sample_app: SampleAppArgs {
                load: 10,
                change_interval: Duration::from_secs(1),
            },
            more_jobs: String::new(),
            https: false,
            amp: AmpOptions::default(),
        }
    }
}

// === impl DemoMesh ===

impl DemoMesh {
    /// Starts the backend, the sample app and all services.
    ///
    /// # Errors
    /// Returns an error if a part does not start.
    pub async fn start(options: MeshOptions) -> anyhow::Result<Self> {
        let amp = Amp::start(options.amp.clone()).await?;
        let sample_app = SampleApp::start(&options.sample_app).await?;
        let job = format!(
            "- job_name: {JOB}
  static_configs:
  - targets: ['{}']
    labels: {{env: demo}}
  metric_relabel_configs:
  - {{source_labels: [code], regex: '5..', target_label: failed, replacement: 'yes'}}
",
            sample_app.address()
        );
        let remote_write = if options.https {
            RemoteWrite::to_https(&amp)
        } else {
            RemoteWrite::to(&amp)
        };
        let config = Config::default()
            .interval(&options.scrape_interval)
            .replica_labels()
            .jobs(&job)
            .jobs(&options.more_jobs)
            .remote_write(remote_write.setting("send_native_histograms: true"));
        let services = Topology::new(config)
            .group("a", 2)
            .group("b", 2)
            .exporters(2)
            .gateways(1)
            .start(&Processes::new(&options.program))
            .await?;
        Ok(Self {
            amp,
            sample_app,
            services,
        })
    }

    /// Address of the gateway's OTLP/gRPC port.
    ///
    /// # Errors
    /// Returns an error if the mesh has no gateway.
    pub fn gateway(&self) -> anyhow::Result<String> {
        let gateway = self.services.gateways.first();
        let gateway = gateway.ok_or_else(|| anyhow::anyhow!("the mesh has no gateway"))?;
        Ok(gateway.addresses.grpc()?.to_string())
    }

    /// Scrapes of the sample app that did not arrive exactly once, with the number of their
    /// arrivals (see [`harness::arrivals::lost_or_repeated`]).
    pub fn lost_or_repeated(&self) -> std::collections::BTreeMap<usize, usize> {
        let served = self.sample_app.scrapes();
        let backend = self.amp.backend();
        backend.read(|arrivals| harness::arrivals::lost_or_repeated(arrivals, served))
    }

    /// Folder of the services' logs.
    pub fn logs(&self) -> &Path {
        self.services.folder()
    }
}
