//! `backends`: drives real remote-write servers with good and bad samples mixed, in both
//! protocols, and compares what each server holds with what was sent.
//!
//! ```text
//! writers ─OTLP─▶ gateway ─▶ exporter ─remote write─▶ Prometheus, VictoriaMetrics, Cortex
//! ```
//!
//! The servers come from Debian packages, as far as they can be downloaded. Of each server,
//! the installed or packaged versions run, a 1.x receiver of Prometheus included. Every good
//! sample has to be stored. `docs/backends.md` shows the results.

mod ledger;
mod server;
mod writer;

use std::path::PathBuf;

use anyhow::{Context, bail};
use harness::{in_process::InProcess, metrics::Metrics, spec::Role, topology::Topology};

use self::{
    ledger::{Judgement, Ledger},
    server::Server,
    writer::Writer,
};

/// Flags of `backends`.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendsArgs {
    /// Path of Cortex. Without it, Cortex does not run.
    #[arg(long)]
    cortex: Option<PathBuf>,

    /// Number of rounds. In each, every writer pushes once.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
}

/// Result of one server and protocol.
#[derive(Debug)]
struct Row {
    server: String,
    protocol: &'static str,
    judgement: Judgement,
    /// Samples that the gateway's clients were told to be rejected.
    rejected: u64,
    requests: f64,
    splits: f64,
    fell_back: bool,
}

const PROTOCOLS: [(&str, &str); 2] = [
    ("1.0", "prometheus.WriteRequest"),
    ("2.0", "io.prometheus.write.v2.Request"),
];

/// Runs all servers in both protocols and prints a table.
///
/// # Errors
/// Returns an error if a process does not start, or if a server lacks a good sample.
pub async fn run(args: &BackendsArgs) -> anyhow::Result<()> {
    let servers = Server::find(args.cortex.as_deref()).await;
    anyhow::ensure!(!servers.is_empty(), "no server can be found or downloaded");
    println!("{}", Row::HEADER);
    let mut failed = Vec::new();
    for server in servers {
        for (protocol, message) in PROTOCOLS {
            let row = run_one(&server, protocol, message, args.rounds).await;
            let row = row.with_context(|| format!("{}, {protocol}", server.name()))?;
            println!("{}", row.render());
            for violation in row.judgement.violations.iter().take(10) {
                println!("  {violation}");
            }
            if !row.judgement.violations.is_empty() {
                failed.push(format!("{}, {protocol}", row.server));
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

async fn run_one(
    server: &Server,
    protocol: &'static str,
    message: &str,
    rounds: u32,
) -> anyhow::Result<Row> {
    let running = server.start().await?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("prometheus.yml");
    // All names of labels reach the server.
    let text = format!(
        "otlp: {{translation_strategy: NoUTF8EscapingWithSuffixes}}\n\
         remote_write: [{{url: '{}', protobuf_message: {message}}}]\n",
        running.remote_write_url()
    );
    std::fs::write(&config, text)?;
    let mut mesh = Topology::with_config_file(&config)
        .exporters(1)
        .gateways(1)
        // The server decides about samples in the future.
        .flags(Role::Gateway, ["--otlp.max-future=2h"])
        .start(&InProcess)
        .await?;
    let gateway = mesh.gateways[0].addresses.http()?;
    let (mut ledger, mut rejected) = (Ledger::default(), 0);
    let writers = Writer::all(gateway, rounds)?;
    for round in 0..rounds {
        let pushes = writers.iter().map(|writer| writer.push(round));
        for pushed in futures::future::join_all(pushes).await {
            let pushed = pushed?;
            rejected += pushed.rejected;
            ledger.extend(pushed.sent);
        }
    }
    mesh.stop_senders().await?;
    let metrics = Metrics::fetch(mesh.exporters[0].addresses.web).await?;
    mesh.stop().await?;
    Ok(Row {
        server: server.name(),
        protocol,
        judgement: ledger.judge(&running.read_all().await?, &running),
        rejected,
        requests: metrics.sum("promesh_exporter_requests_total"),
        splits: metrics.sum("promesh_exporter_requests_split_total"),
        fell_back: metrics.sum("promesh_exporter_protocol_fallback") > 0.0,
    })
}

// === impl Row ===

impl Row {
    const HEADER: &str = "\
| server | protocol | used | good samples sent | of them missing | bad samples sent | of them stored \
| refused by the server's rules | counted as rejected | posts | requests split |
|---|---|---|---|---|---|---|---|---|---|---|";

    fn render(&self) -> String {
        let judgement = &self.judgement;
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.server,
            self.protocol,
            if self.fell_back { "1.0" } else { self.protocol },
            judgement.good,
            judgement.missing,
            judgement.bad,
            judgement.bad_stored,
            judgement.refusable,
            self.rejected,
            self.requests,
            self.splits,
        )
    }
}
