//! promesh and a real Prometheus server scrape the same targets; afterwards the
//! same must be stored.
//!
//! ```text
//!             ┌──▶ Prometheus ─────────────────────────┐
//! stage ──────┤                                        ├─ remote read ─▶ compare
//!             └──▶ receiver ─▶ exporter ─▶ Prometheus ─┘
//! ```
//!
//! The stage answers the n-th scrape of each scraper with the same body, so that
//! samples are compared by the scrape they come from: each scraper has times of its
//! own.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use stand_ins::amp::Series;
use harness::{child::Service, prometheus::{Program, Prometheus}};

mod backend;
mod compare;
mod config;
mod jobs;
mod known;
mod recording;
mod script;
mod stage;
mod value;

pub(crate) use self::value::{Comparable, comparable};
use self::{
    backend::Backend,
    config::Scrapes,
    stage::{Live, Stage},
};
pub use self::{
    compare::{Comparison, EXCLUDED},
    recording::{Capture, Recording},
};

const DRAIN: Duration = Duration::from_secs(60);
/// Time between two looks at the stage.
const STEP: Duration = Duration::from_millis(100);
/// How long the scrapers may take to start, and how many times longer than it
/// should their run may take, on a busy machine.
const GRACE: Duration = Duration::from_secs(60);
const PATIENCE: u32 = 4;

/// What is compared.
#[derive(Args, Clone, Debug)]
pub struct ParityArgs {
    /// Folders of recorded bodies: `<source>/<number>.<kind>.body`.
    #[arg(
        long,
        default_value = "../shared/suites/bodies",
        conflicts_with = "config"
    )]
    pub bodies: Vec<PathBuf>,

    /// A Prometheus configuration file with live targets to scrape instead.
    #[arg(long)]
    pub config: Option<PathBuf>,

    /// The Prometheus server; the newest that Debian has unless given.
    #[arg(long)]
    pub prometheus: Option<PathBuf>,

    /// A Cortex that promesh writes to instead of a second Prometheus server.
    #[arg(long)]
    pub cortex: Option<PathBuf>,

    /// Milliseconds between two scrapes of a target.
    #[arg(long, default_value_t = 2000)]
    pub interval: u64,

    /// Scrapes of each live target.
    #[arg(long, default_value_t = 8)]
    pub scrapes: usize,

    /// The remote-write message that the exporter sends.
    #[arg(long, default_value = "prometheus.WriteRequest")]
    pub protobuf_message: String,
}

/// What is scraped, and by whom.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The server.
    pub prometheus: Program,
    /// The Cortex that promesh writes to, instead of another such server.
    pub cortex: Option<PathBuf>,
    /// The program with the services' subcommands.
    pub program: PathBuf,
    /// Time between two scrapes of a target.
    pub interval: Duration,
    /// The remote-write message that the exporter sends.
    pub protobuf_message: String,
}

/// Compares recorded or live targets and prints every difference.
///
/// # Errors
/// Where there is one.
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
        interval: Duration::from_millis(args.interval),
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

/// Compares what becomes of recorded bodies.
///
/// # Errors
/// Where a part does not start, or the scrapes do not come to their end.
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
    let stage = Stage::start(jobs.len(), scripts, Live::default()).await?;
    let folder = tempfile::tempdir()?;
    let targets = jobs.len();
    let [prometheus, promesh] =
        scrape(setting, Scrapes::of(jobs), &stage, folder.path(), targets).await?;
    let scrapes = |job: &str| scrapes.get(job).copied().unwrap_or(usize::MAX);
    Ok(compare::compare(&prometheus, &promesh, &scrapes))
}

/// Compares what becomes of live targets.
async fn live(setting: &Setting, file: &Path, scrapes: usize) -> anyhow::Result<Comparison> {
    let config = Scrapes::load(file)?;
    let live = Live {
        scrapes,
        without_created: config.convert() && known::CREATED.applies_to(setting.prometheus.version),
    };
    let stage = Stage::start(config.len(), HashMap::new(), live).await?;
    let folder = tempfile::tempdir()?;
    beside(file, folder.path())?;
    let [prometheus, promesh] = scrape(setting, config, &stage, folder.path(), 1).await?;
    Ok(compare::compare(&prometheus, &promesh, &|_| scrapes))
}

/// Files that a configuration names lie where they lay.
fn beside(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let file = fs::canonicalize(file)?;
    for entry in fs::read_dir(file.parent().context("no folder")?)? {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// Lets both scrape to the end, and returns what each has stored.
async fn scrape(
    setting: &Setting,
    mut scrapes: Scrapes,
    stage: &Stage,
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
        println!("left out: {key}, which Prometheus {version} does not know");
    }
    scrapes.stage(stage.proxy_urls(), setting.interval);

    let empty = write(folder, "parity-empty.yml", &json!({}))?;
    let flags = config::native_flags(version);
    let backend = Backend::start(setting, &empty, &flags).await?;
    let promesh = scrapes.for_promesh(&backend.remote_write_url(), &setting.protobuf_message);
    let promesh = write(folder, "parity-promesh.yml", &promesh)?;
    let (config, flags) = scrapes.for_prometheus(version);
    let config = write(folder, "parity-prometheus.yml", &config)?;

    let logs = tempfile::tempdir()?;
    let (mut exporter, mut receiver) = start(setting, &promesh, logs.path()).await?;
    let prometheus = Prometheus::start_with(&setting.prometheus, &config, &flags).await?;
    finish(stage, setting, targets).await?;
    // Stopping delivers what was scraped.
    receiver.stop(DRAIN).await?;
    exporter.stop(DRAIN).await?;
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

/// Starts promesh: an exporter and a receiver.
async fn start(
    setting: &Setting,
    config: &Path,
    logs: &Path,
) -> anyhow::Result<(Service, Service)> {
    let config = format!("--config.file={}", config.display());
    let web = "--web.listen-address=127.0.0.1:0".to_owned();
    let grpc = "--grpc.listen-address=127.0.0.1:0".to_owned();
    let arguments = ["exporter".to_owned(), config.clone(), web.clone(), grpc];
    let exporter = Service::start(&setting.program, "exporter", &arguments, &[], logs).await?;
    let endpoint = exporter.addresses.grpc.as_deref().context("no endpoint")?;
    let endpoints = format!("--exporter.endpoints={endpoint}");
    let arguments = ["receiver".to_owned(), config, web, endpoints];
    let receiver = Service::start(&setting.program, "receiver", &arguments, &[], logs).await?;
    Ok((exporter, receiver))
}

/// Waits until all targets, at least this many, have been scraped to the end.
async fn finish(stage: &Stage, setting: &Setting, targets: usize) -> anyhow::Result<()> {
    let rounds = u32::try_from(stage.longest())?;
    let deadline = Instant::now() + GRACE + setting.interval * rounds * PATIENCE;
    loop {
        let (known, waiting) = stage.progress();
        if known >= targets && waiting.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{known} of {targets} targets are scraped, and not to the end: {}",
            waiting.join(", ")
        );
        sleep(STEP).await;
    }
}

fn write(folder: &Path, name: &str, config: &Value) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_vec_pretty(config)?)?;
    Ok(path)
}
