//! The demo: a whole mesh between a sample app and a stand-in for AMP.
//!
//! It prints a table of the samples in each service, and compares what the backend has
//! stored with what the app served.

pub mod mesh;
mod output;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep};

use harness::{arrivals::JOB, topology::CLUSTER};
use mesh::{DemoMesh, MeshOptions};
use stand_ins::{
    amp::{Outcome, Value},
    otel::{self, Pusher},
    sample_app::{SCRAPES, SampleApp, SampleAppArgs},
    validator::Report,
};

/// Flags of the demo.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop after `--scrapes` scrapes. Succeeds if every sample arrived exactly once with
    /// the right labels; otherwise prints the differences and fails.
    #[arg(long)]
    once: bool,

    /// Number of stored scrapes before the verdict.
    #[arg(long, default_value_t = 6)]
    scrapes: usize,

    /// Kill one exporter (SIGKILL) after half of the scrapes.
    #[arg(long)]
    kill_exporter: bool,

    /// Time between two scrapes of the sample app.
    #[arg(long, default_value = "2s")]
    scrape_interval: String,

    /// Send to the backend over HTTPS.
    #[arg(long)]
    https: bool,

    #[command(flatten)]
    sample_app: SampleAppArgs,
}

/// Time between two tables.
const TABLE_INTERVAL: Duration = Duration::from_secs(2);
/// Number of small apps beside the sample app. With 8 targets, sharing gives each of two
/// receivers at least 3.
const OTHER_APPS: usize = 7;
/// Maximum time until enough scrapes are stored.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the demo. `program` is the executable whose subcommands run the services.
///
/// # Errors
/// Returns an error if a service fails, or if the validator finds a difference.
pub async fn run(args: DemoArgs, program: PathBuf) -> anyhow::Result<()> {
    let (_other_apps, other_job) = start_other_apps().await?;
    let mut mesh = DemoMesh::start(MeshOptions {
        program,
        more_jobs: other_job,
        scrape_interval: args.scrape_interval.clone(),
        sample_app: args.sample_app.clone(),
        https: args.https,
        ..MeshOptions::default()
    })
    .await?;
    output::print_addresses(&mesh);
    let gateway = mesh.gateway()?;
    let mut pusher = tokio::task::spawn_blocking(move || Pusher::new(&gateway)).await??;
    let started = Instant::now();
    let mut killed = !args.kill_exporter;
    loop {
        let (back, pushed) = pusher.push().await?;
        pusher = back;
        if let Err(error) = pushed {
            println!("The SDK's push failed: {error:#}");
        }
        output::print_table(&mesh).await;
        let scrapes = stored_scrapes(&mesh)?;
        if !killed && scrapes * 2 >= args.scrapes {
            let exporter = &mut mesh.services.exporters[0];
            let pid = exporter.pid().unwrap_or_default();
            println!("\nKilling {} (SIGKILL to pid {pid})", exporter.name);
            exporter.kill().await?;
            killed = true;
        }
        if scrapes >= args.scrapes && args.once {
            break;
        }
        if scrapes >= args.scrapes {
            let report = validate(&mesh, &pusher)?;
            output::print_report(&report);
        }
        if args.once && started.elapsed() > TIMEOUT {
            let logs = mesh.logs().display();
            bail!(
                "only {scrapes} of {} scrapes are stored after {TIMEOUT:?}; see the logs in {logs}",
                args.scrapes
            );
        }
        tokio::select! {
            () = sleep(TABLE_INTERVAL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
    mesh.services.stop_senders().await?;
    let mut report = validate(&mesh, &pusher)?;
    for (scrape, arrivals) in mesh.lost_or_repeated() {
        report.differs(format!("scrape {scrape} arrived {arrivals} times"));
    }
    output::print_report(&report);
    if !report.is_good() {
        bail!(
            "the validator found {} differences",
            report.differences.len()
        );
    }
    Ok(())
}

/// Starts small apps, so that each receiver owns targets. Also returns the job that scrapes
/// them.
async fn start_other_apps() -> anyhow::Result<(Vec<SampleApp>, String)> {
    let small = SampleAppArgs {
        load: 1,
        change_interval: Duration::from_secs(1),
    };
    let mut apps = Vec::new();
    for _ in 0..OTHER_APPS {
        apps.push(SampleApp::start(&small).await?);
    }
    let targets: Vec<_> = apps.iter().map(|app| app.address().to_string()).collect();
    let job = format!(
        "- job_name: other-apps\n  static_configs:\n  - targets: ['{}']\n",
        targets.join("', '")
    );
    Ok((apps, job))
}

/// Compares the stored series with the bodies the sample app served and with the metrics
/// the SDK pushed.
///
/// # Errors
/// Returns an error if a selector cannot be parsed.
pub fn validate(mesh: &DemoMesh, pusher: &Pusher) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let stored = mesh.amp.backend().select(&format!("{{job=\"{JOB}\"}}"))?;
    let instance = mesh.sample_app.address().to_string();
    let added = [
        ("job", JOB),
        ("instance", instance.as_str()),
        ("env", "demo"),
        ("cluster", CLUSTER),
    ];
    let body = |n| mesh.sample_app.body(n).map(|body| relabeled(&body).into());
    report.compare(&stored, &added, SCRAPES, body);
    let totals = mesh.amp.backend().totals();
    for bad in [
        Outcome::Conflict,
        Outcome::OutOfOrder,
        Outcome::TooOld,
        Outcome::Refused,
    ] {
        let samples = totals.of(bad);
        if samples > 0 {
            report.differs(format!("{samples} samples were {}", bad.as_str()));
        }
    }
    if totals.of(Outcome::Deduplicated) == 0 {
        report.differs("no sample was deduplicated: only one replica group sends".to_owned());
    }
    let orders = mesh.amp.backend().select(&format!(
        "{}{{job=\"{}\",instance=\"{}\",kind=\"book\"}}",
        otel::COUNTER,
        otel::SERVICE,
        otel::INSTANCE
    ))?;
    let newest = orders.first().and_then(|series| series.samples.last());
    let expected = Value::Float((pusher.orders() as f64).to_bits());
    match newest {
        Some(sample) if sample.value == expected => {}
        found => report.differs(format!(
            "{} is {found:?}, expected {}",
            otel::COUNTER,
            pusher.orders()
        )),
    }
    Ok(report)
}

/// Applies the effect of the demo's `metric_relabel_configs` to a body.
fn relabeled(body: &str) -> String {
    body.replace("code=\"500\"", "code=\"500\",failed=\"yes\"")
}

/// Number of the sample app's scrapes that the backend has stored.
fn stored_scrapes(mesh: &DemoMesh) -> anyhow::Result<usize> {
    let series = mesh
        .amp
        .backend()
        .select(&format!("{SCRAPES}{{job=\"{JOB}\"}}"))?;
    Ok(series.iter().map(|series| series.samples.len()).sum())
}
