//! `demo`: the whole mesh against the sample app and the stand-in, with a table of
//! what becomes of the samples and the validator's verdict.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::{
    amp::{Outcome, Value},
    arrivals::lost_or_repeated,
    child::{Metrics, Service},
    mesh::{CLUSTER, JOB, Mesh, MeshOptions},
    otel::{self, Pusher},
    sample_app::{SCRAPES, SampleAppArgs},
    validator::Report,
};

/// Flags of the demo.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End after some scrapes: with success where everything arrived exactly once
    /// and labelled right, otherwise with the differences.
    #[arg(long)]
    once: bool,

    /// Scrapes to be stored before the verdict.
    #[arg(long, default_value_t = 6)]
    scrapes: usize,

    /// Kill an exporter (SIGKILL) after half of the scrapes.
    #[arg(long)]
    kill_exporter: bool,

    /// Time between two scrapes.
    #[arg(long, default_value = "2s")]
    scrape_interval: String,

    /// Use the stand-in's https port.
    #[arg(long)]
    https: bool,

    #[command(flatten)]
    sample_app: SampleAppArgs,
}

const TABLE_INTERVAL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demo with `program` as the services.
///
/// # Errors
/// Where a part fails, or something did not arrive as expected.
pub async fn run(args: DemoArgs, program: PathBuf) -> anyhow::Result<()> {
    let mut mesh = Mesh::start(MeshOptions {
        program,
        scrape_interval: args.scrape_interval.clone(),
        sample_app: args.sample_app.clone(),
        https: args.https,
        ..MeshOptions::default()
    })
    .await?;
    print_urls(&mesh);
    let gateway = mesh
        .gateway
        .addresses
        .grpc
        .clone()
        .context("the gateway has no gRPC port")?;
    let mut pusher = tokio::task::spawn_blocking(move || Pusher::new(&gateway)).await??;
    let started = Instant::now();
    let mut killed = !args.kill_exporter;
    loop {
        let (back, pushed) = pusher.push().await?;
        pusher = back;
        if let Err(error) = pushed {
            println!("push: {error:#}");
        }
        print_table(&mesh).await;
        let scrapes = stored_scrapes(&mesh)?;
        if !killed && scrapes * 2 >= args.scrapes {
            let exporter = &mut mesh.exporters[0];
            println!("\nSIGKILL to {} (pid {:?})", exporter.name, exporter.pid());
            exporter.kill().await?;
            killed = true;
        }
        if scrapes >= args.scrapes && args.once {
            break;
        }
        if scrapes >= args.scrapes {
            let report = validate(&mesh, &pusher)?;
            print_report(&report);
        }
        if args.once && started.elapsed() > PATIENCE {
            let logs = mesh.logs().display();
            bail!(
                "only {scrapes} of {} scrapes are stored after {PATIENCE:?}; logs in {logs}",
                args.scrapes
            );
        }
        tokio::select! {
            () = sleep(TABLE_INTERVAL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
    mesh.stop_senders().await?;
    let mut report = validate(&mesh, &pusher)?;
    for (scrape, arrivals) in lost_or_repeated(&mesh) {
        report.differs(format!("scrape {scrape} arrived {arrivals} times"));
    }
    print_report(&report);
    if !report.is_good() {
        bail!("{} differences", report.differences.len());
    }
    Ok(())
}

/// Compares everything that is stored with everything that was served and pushed.
///
/// # Errors
/// Where a selector is not understood.
pub fn validate(mesh: &Mesh, pusher: &Pusher) -> anyhow::Result<Report> {
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
        let n = totals.of(bad);
        if n > 0 {
            report.differs(format!("{n} samples arrived {}", bad.as_str()));
        }
    }
    if totals.of(Outcome::Deduplicated) == 0 {
        report.differs("no sample was deduplicated: the HA pair is none".to_owned());
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

/// The body as the demo's metric_relabel_configs leave it.
fn relabeled(body: &str) -> String {
    body.replace("code=\"500\"", "code=\"500\",failed=\"yes\"")
}

fn stored_scrapes(mesh: &Mesh) -> anyhow::Result<usize> {
    let series = mesh
        .amp
        .backend()
        .select(&format!("{SCRAPES}{{job=\"{JOB}\"}}"))?;
    Ok(series.iter().map(|series| series.samples.len()).sum())
}

fn print_urls(mesh: &Mesh) {
    println!(
        "sample app     http://{}/metrics",
        mesh.sample_app.address()
    );
    println!("backend        {}/ledger", mesh.amp.url());
    for service in mesh.services() {
        let pid = service.pid().unwrap_or_default();
        println!(
            "{:<14} http://{}/  (pid {pid})",
            service.name, service.addresses.web
        );
    }
    println!("logs           {}", mesh.logs().display());
}

async fn print_table(mesh: &Mesh) {
    println!(
        "\n{:<14} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "service", "pushed", "waiting", "stored", "dedup", "rejected", "expired"
    );
    for service in mesh.services() {
        println!("{}", row(service).await);
    }
    let totals = mesh.amp.backend().totals();
    let outcomes: Vec<_> = totals
        .samples
        .iter()
        .map(|(outcome, n)| format!("{} {n}", outcome.as_str()))
        .collect();
    println!(
        "backend        {} requests: {}",
        totals.requests,
        outcomes.join(", ")
    );
}

async fn row(service: &Service) -> String {
    let Ok(metrics) = service.metrics().await else {
        return format!("{:<14} does not answer", service.name);
    };
    let columns = match service.name.split('-').next() {
        Some("exporter") => exporter_columns(&metrics),
        Some("gateway") => outbox_columns(&metrics, "promesh_gateway"),
        _ => outbox_columns(&metrics, "promesh_receiver"),
    };
    let columns = columns.map(|column| format!("{column:>9}"));
    format!("{:<14} {}", service.name, columns.join(" "))
}

/// What a sender's outbox says: pushed, waiting, stored, deduplicated, rejected,
/// expired.
fn outbox_columns(metrics: &Metrics, prefix: &str) -> [String; 6] {
    [
        "pushed_total",
        "waiting",
        "stored_total",
        "deduplicated_total",
        "rejected_total",
        "expired_total",
    ]
    .map(|name| metrics.sum(&format!("{prefix}_outbox_samples_{name}")))
    .map(|samples| samples.to_string())
}

/// The same of an exporter, which holds nothing: what it received is what its
/// senders pushed to it, and nothing waits or expires there.
fn exporter_columns(metrics: &Metrics) -> [String; 6] {
    let became = |outcome: &str| {
        let of_outcome = format!("outcome=\"{outcome}\"");
        let sum = metrics.sum_where("promesh_exporter_samples_total", &of_outcome);
        sum.to_string()
    };
    [
        metrics
            .sum("promesh_exporter_samples_received_total")
            .to_string(),
        "-".to_owned(),
        became("stored"),
        became("deduplicated"),
        became("rejected"),
        "-".to_owned(),
    ]
}

fn print_report(report: &Report) {
    println!(
        "\nvalidator: {} scrapes, {} samples compared",
        report.scrapes, report.samples
    );
    if report.is_good() {
        println!("validator: everything arrived exactly once, labelled right");
    }
    for difference in report.differences.iter().take(20) {
        println!("validator: {difference}");
    }
}
