//! `parity`: lets promesh and a real Prometheus server scrape the same targets, and compares
//! what both store.
//!
//! ```text
//!             ┌──▶ Prometheus ─────────────────────────┐
//! proxy ──────┤                                        ├─ remote read ─▶ compare
//!             └──▶ receiver ─▶ exporter ─▶ Prometheus ─┘
//! ```
//!
//! The proxy gives the same response to the n-th scrape of each scraper. Samples are
//! compared by the index of their scrape, since the timestamps of the scrapers differ.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use mesh_model::flags;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use harness::{
    process::Processes,
    prometheus::{Program, Prometheus},
    topology::Topology,
};
use stand_ins::amp::Series;

mod backend;
mod compare;
mod config;
mod jobs;
mod known;
mod proxy;
mod recording;
mod script;
mod setting;

use self::{
    backend::Backend,
    config::ScrapeFile,
    proxy::{LiveOptions, ReplayProxy},
};
pub use self::{
    compare::{Comparison, EXCLUDED},
    recording::{Capture, Recording},
    setting::Setting,
};

/// Time between two checks of the progress.
const POLL: Duration = Duration::from_millis(100);
/// Time that the scrapers may take to start. On a busy machine, the run may take
/// [`PATIENCE`] times longer than it should.
const START_TIME: Duration = Duration::from_secs(60);
const PATIENCE: u32 = 4;

/// Flags of `parity`.
#[derive(Args, Clone, Debug)]
pub struct ParityArgs {
    /// Folders with recorded bodies: `<source>/<number>.<kind>.body`.
    #[arg(
        long,
        default_value = "../shared/suites/bodies",
        conflicts_with = "config"
    )]
    pub bodies: Vec<PathBuf>,

    /// Scrape the live targets of this Prometheus configuration file instead.
    #[arg(long)]
    pub config: Option<PathBuf>,

    /// Path of the Prometheus server. The default is the newest one in Debian.
    #[arg(long)]
    pub prometheus: Option<PathBuf>,

    /// Cortex that promesh writes to instead of a second Prometheus server.
    #[arg(long)]
    pub cortex: Option<PathBuf>,

    /// Scrape interval. A number without a unit counts milliseconds.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = flags::milliseconds,
        default_value = "2s"
    )]
    pub interval: Duration,

    /// Number of scrapes of each live target.
    #[arg(long, default_value_t = 8)]
    pub scrapes: usize,

    /// Remote-write message that the exporter sends.
    #[arg(long, default_value = "prometheus.WriteRequest")]
    pub protobuf_message: String,
}

/// Compares recorded or live targets and prints every difference.
///
/// # Errors
/// Returns an error if there is a difference.
pub async fn run(args: ParityArgs, program: PathBuf) -> anyhow::Result<()> {
    let prometheus = match &args.prometheus {
        Some(path) => Program::at(path).await?,
        None => Program::find().await?,
    };
    println!(
        "Prometheus {} at {}",
        prometheus.version,
        prometheus.path.display()
    );
    let setting = Setting {
        prometheus,
        cortex: args.cortex,
        program,
        interval: args.interval,
        protobuf_message: args.protobuf_message,
    };
    let comparison = match &args.config {
        Some(file) => live(&setting, file, args.scrapes).await?,
        None => {
            let recordings = args.bodies.iter().map(|folder| recording::load(folder));
            let recordings: Vec<_> = recordings.collect::<anyhow::Result<_>>()?;
            recorded(&setting, &recordings.concat()).await?
        }
    };
    println!("{comparison}");
    match comparison.differences.len() {
        0 => Ok(()),
        differences => bail!("{differences} differences"),
    }
}

/// Compares what both store of recorded bodies.
///
/// # Errors
/// Returns an error if a process does not start, or if the scrapes take too long.
pub async fn recorded(setting: &Setting, recordings: &[Recording]) -> anyhow::Result<Comparison> {
    let (mut jobs, mut scripts) = (Vec::new(), HashMap::new());
    for job in jobs::all(recordings, setting.prometheus.version) {
        scripts.insert(job.name.clone(), job.script(setting.prometheus.version));
        jobs.push(job.config());
    }
    let scrapes: HashMap<_, _> = scripts
        .iter()
        .map(|(job, s)| (job.clone(), s.len()))
        .collect();
    let proxy = ReplayProxy::start(jobs.len(), scripts, LiveOptions::default()).await?;
    let folder = tempfile::tempdir()?;
    let targets = jobs.len();
    let [prometheus, promesh] = scrape(
        setting,
        ScrapeFile::of(jobs),
        &proxy,
        folder.path(),
        targets,
    )
    .await?;
    let scrapes = |job: &str| scrapes.get(job).copied().unwrap_or(usize::MAX);
    Ok(compare::compare(&prometheus, &promesh, &scrapes))
}

/// Compares what both store of live targets.
async fn live(setting: &Setting, file: &Path, scrapes: usize) -> anyhow::Result<Comparison> {
    let config = ScrapeFile::load(file)?;
    let live = LiveOptions {
        scrapes,
        without_created: config.converts_classic()
            && known::CREATED.applies_to(setting.prometheus.version),
    };
    let proxy = ReplayProxy::start(config.len(), HashMap::new(), live).await?;
    let folder = tempfile::tempdir()?;
    link_siblings(file, folder.path())?;
    let [prometheus, promesh] = scrape(setting, config, &proxy, folder.path(), 1).await?;
    Ok(compare::compare(&prometheus, &promesh, &|_| scrapes))
}

/// Links the files beside a configuration file into another folder, so that its relative
/// paths work there.
fn link_siblings(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let file = fs::canonicalize(file)?;
    for entry in fs::read_dir(file.parent().context("no folder")?)? {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// Runs both scrapers until all targets have been scraped to the end. Returns what each has
/// stored.
async fn scrape(
    setting: &Setting,
    mut scrapes: ScrapeFile,
    proxy: &ReplayProxy,
    folder: &Path,
    targets: usize,
) -> anyhow::Result<[Vec<Series>; 2]> {
    let version = setting.prometheus.version;
    for known in known::ALL.iter().filter(|known| known.applies_to(version)) {
        println!(
            "Prometheus {version} differs: {}: {}",
            known.name, known.reason
        );
    }
    for key in scrapes.remove_unknown(version) {
        println!("removed {key}, which Prometheus {version} does not know");
    }
    scrapes.use_proxies(proxy.proxy_urls(), setting.interval);

    let empty = write(folder, "parity-empty.yml", &json!({}))?;
    let flags = config::native_flags(version);
    let backend = Backend::start(setting, &empty, &flags).await?;
    let promesh = scrapes.for_promesh(&backend.remote_write_url(), &setting.protobuf_message);
    let promesh = write(folder, "parity-promesh.yml", &promesh)?;
    let (config, flags) = scrapes.for_prometheus(version);
    let config = write(folder, "parity-prometheus.yml", &config)?;

    let mesh = Topology::with_config_file(&promesh)
        .exporters(1)
        .receivers(1)
        .start(&Processes::new(&setting.program))
        .await?;
    let prometheus = Prometheus::start_with(&setting.prometheus, &config, &flags).await?;
    wait_until_scraped(proxy, setting, targets).await?;
    // A stopping receiver delivers its backlog.
    mesh.stop().await?;
    let mut stored = [prometheus.read_all().await?, backend.read_all().await?];
    if known::MARKERS.applies_to(version) {
        for series in &mut stored {
            series.retain(known::is_stored);
        }
    }
    if known::BOUNDS.applies_to(version) {
        for series in stored.iter_mut().flatten() {
            series.labels = known::with_bounds(&series.labels);
        }
    }
    if known::UNREAD.applies_to(version) {
        stored.iter_mut().flatten().for_each(known::without_bounds);
    }
    Ok(stored)
}

/// Waits until at least `targets` targets are known and all have been scraped to the end.
async fn wait_until_scraped(
    proxy: &ReplayProxy,
    setting: &Setting,
    targets: usize,
) -> anyhow::Result<()> {
    let rounds = u32::try_from(proxy.longest())?;
    let deadline = Instant::now() + START_TIME + setting.interval * rounds * PATIENCE;
    loop {
        let (known, waiting) = proxy.progress();
        if known >= targets && waiting.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {known} of {targets} targets are scraped; not yet to the end: {}",
            waiting.join(", ")
        );
        sleep(POLL).await;
    }
}

fn write(folder: &Path, name: &str, config: &Value) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_vec_pretty(config)?)?;
    Ok(path)
}
