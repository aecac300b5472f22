//! `bench gateway`: measures pushes through a gateway and an exporter that share one core.

use std::{path::Path, time::Duration};

use harness::{
    process::{Process, Processes},
    spec::Role,
    topology::{Config, Mesh, RemoteWrite, Topology},
};
use mesh_model::flags;
use tokio::time::{Instant, sleep};

use super::{sink::Sink, system::pin, writer::Writer};
use crate::cpu;

/// Flags of `bench gateway`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GatewayArgs {
    /// Latencies of the backend, in milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 50, 200])]
    latency: Vec<u64>,

    /// Numbers of clients. Each pushes again as soon as its last push is stored.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    writers: Vec<usize>,

    /// Time of each measurement.
    #[arg(long, value_parser = flags::seconds, default_value = "5s")]
    time: Duration,

    /// Number of points in a push, each of its own series.
    #[arg(long, default_value_t = 100)]
    points: usize,

    /// Core of the gateway and the exporter.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// Result of one measurement.
#[derive(Debug)]
struct Row {
    latency: Duration,
    writers: usize,
    /// Times of the pushes, sorted.
    times: Vec<Duration>,
    refused: u64,
    elapsed: Duration,
    cpu: Duration,
    posts: u64,
}

/// Time before each measurement in which connections are opened.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures all combinations of latencies and numbers of clients, and prints a table.
///
/// # Errors
/// Returns an error if a process does not start or ends.
pub(super) async fn run(args: &GatewayArgs, program: &Path) -> anyhow::Result<()> {
    println!("{}", Row::HEADER);
    for latency in &args.latency {
        for writers in &args.writers {
            let latency = Duration::from_millis(*latency);
            let row = measure(args, program, latency, *writers).await?;
            println!("{}", row.render(args.points));
        }
    }
    Ok(())
}

async fn measure(
    args: &GatewayArgs,
    program: &Path,
    latency: Duration,
    writers: usize,
) -> anyhow::Result<Row> {
    let sink = Sink::start(latency).await?;
    let config = Config::default().remote_write(RemoteWrite::new(&sink.url()));
    let mut plan = Topology::new(config)
        .exporters(1)
        .gateways(1)
        .flags(
            Role::Gateway,
            ["--otlp.max-concurrent-pushes-per-client=4096"],
        )
        .plan::<Processes>()?;
    pin(
        plan.exporters.iter_mut().chain(&mut plan.gateways),
        args.core,
    );
    let mesh = plan.start(&Processes::new(program)).await?;
    let gateway = mesh.gateways[0].addresses.http()?;
    let writers: Vec<_> = (0..writers)
        .map(|number| Writer::start(number, gateway, args.points))
        .collect::<Result<_, _>>()?;
    sleep(WARM_UP).await;
    for writer in &writers {
        writer.reset();
    }
    let (began, cpu, posts) = (Instant::now(), used(&mesh)?, sink.posts());
    sleep(args.time).await;
    let (elapsed, cpu, posts) = (began.elapsed(), used(&mesh)? - cpu, sink.posts() - posts);
    let mut row = Row {
        latency,
        writers: writers.len(),
        times: Vec::new(),
        refused: 0,
        elapsed,
        cpu,
        posts,
    };
    for writer in writers {
        let (times, refused) = writer.stop();
        row.times.extend(times);
        row.refused += refused;
    }
    row.times.sort();
    mesh.stop().await?;
    Ok(row)
}

/// CPU time of all services so far.
fn used(mesh: &Mesh<Process>) -> anyhow::Result<Duration> {
    let services = mesh.all().filter_map(Process::pid);
    services.map(cpu::of_process).sum()
}

// === impl Row ===

impl Row {
    const HEADER: &str = "\
| latency | writers | pushes/s | p50 | p99 | refused | posts/s | CPU s per million points |
|---|---|---|---|---|---|---|---|";

    fn render(&self, points: usize) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let pushes = self.times.len();
        let at = |share: f64| {
            let index = (pushes as f64 * share) as usize;
            self.times.get(index).map_or(0, Duration::as_millis)
        };
        format!(
            "| {} ms | {} | {:.0} | {} ms | {} ms | {} | {:.0} | {:.2} |",
            self.latency.as_millis(),
            self.writers,
            pushes as f64 / seconds,
            at(0.5),
            at(0.99),
            self.refused,
            self.posts as f64 / seconds,
            self.cpu.as_secs_f64() * 1e6 / (pushes.max(1) * points) as f64,
        )
    }
}
