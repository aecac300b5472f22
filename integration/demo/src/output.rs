//! The demo's printed output.

use harness::{metrics::Metrics, process::Process};
use stand_ins::validator::Report;

use crate::mesh::DemoMesh;

/// Maximum number of differences that are printed.
const MAX_DIFFERENCES: usize = 20;

/// Prints the address of each part of the mesh, and a legend for the tables.
pub(crate) fn print_addresses(mesh: &DemoMesh) {
    println!("The mesh is running:");
    let line = |name: &str, address: String| println!("  {name:<14} {address}");
    line(
        "sample app",
        format!("http://{}/metrics", mesh.sample_app.address()),
    );
    line("AMP stand-in", format!("{}/ledger", mesh.amp.url()));
    for service in mesh.services.all() {
        let pid = service.pid().unwrap_or_default();
        let address = &service.addresses.web;
        line(&service.name, format!("http://{address}/  (pid {pid})"));
    }
    line("logs", mesh.logs().display().to_string());
    println!(
        "\nThe tables count samples. A receiver or gateway pushes samples to an exporter, and each\n\
         one waits until the backend has answered. The backend stores the samples of one replica\n\
         group and deduplicates those of the other. A histogram from the SDK counts as one sample\n\
         until the exporter has translated it into its series."
    );
}

/// Prints the number of samples in each service, by outcome.
pub(crate) async fn print_table(mesh: &DemoMesh) {
    let header = [
        "pushed",
        "waiting",
        "stored",
        "deduplicated",
        "rejected",
        "expired",
    ];
    println!("\n{}", row("service", header.map(str::to_owned)));
    for service in mesh.services.all() {
        match service.metrics().await {
            Ok(metrics) => println!("{}", row(&service.name, columns(service, &metrics))),
            Err(_) => println!("{:<14} does not answer", service.name),
        }
    }
    let totals = mesh.amp.backend().totals();
    let outcomes = totals.samples.iter();
    let outcomes: Vec<_> = outcomes
        .map(|(outcome, samples)| format!("{samples} {}", outcome.as_str()))
        .collect();
    let samples = if outcomes.is_empty() {
        "none yet".to_owned()
    } else {
        outcomes.join(", ")
    };
    println!(
        "AMP stand-in   {} requests; samples: {samples}",
        totals.requests
    );
}

fn row(
    name: &str,
    [pushed, waiting, stored, deduplicated, rejected, expired]: [String; 6],
) -> String {
    format!(
        "{name:<14} {pushed:>8} {waiting:>8} {stored:>8} {deduplicated:>13} {rejected:>9} {expired:>8}"
    )
}

fn columns(service: &Process, metrics: &Metrics) -> [String; 6] {
    if service.name.starts_with("exporter") {
        exporter_columns(metrics)
    } else if service.name.starts_with("gateway") {
        outbox_columns(metrics, "promesh_gateway")
    } else {
        outbox_columns(metrics, "promesh_receiver")
    }
}

/// Columns of a service that sends to exporters, from the metrics of its outbox.
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
    .map(count)
}

/// Columns of an exporter. It stores no samples, so none wait or expire there. `pushed` are
/// the samples that it received.
fn exporter_columns(metrics: &Metrics) -> [String; 6] {
    let with_outcome = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        count(metrics.sum_where("promesh_exporter_samples_total", &label))
    };
    [
        count(metrics.sum("promesh_exporter_samples_received_total")),
        "-".to_owned(),
        with_outcome("stored"),
        with_outcome("deduplicated"),
        with_outcome("rejected"),
        "-".to_owned(),
    ]
}

/// Formats a number of samples.
fn count(samples: f64) -> String {
    (samples as i64).to_string()
}

/// Prints the result of the validator.
pub(crate) fn print_report(report: &Report) {
    println!(
        "\nvalidator: compared {} samples of {} scrapes",
        report.samples, report.scrapes
    );
    if report.is_good() {
        println!("validator: everything arrived exactly once, labelled right");
    }
    for difference in report.differences.iter().take(MAX_DIFFERENCES) {
        println!("validator: {difference}");
    }
    let more = report.differences.len().saturating_sub(MAX_DIFFERENCES);
    if more > 0 {
        println!("validator: {more} more differences");
    }
}
