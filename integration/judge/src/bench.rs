//! `bench`: measures CPU time, memory and delays of services, and of other agents, between
//! generated load and a backend of a given latency.

mod bodies;
mod figures;
mod gateway;
mod peer;
mod scrape;
mod sink;
mod system;
mod targets;
mod workload;
mod writer;

use std::path::Path;

use self::{gateway::GatewayArgs, scrape::ScrapeArgs, workload::Workload};

/// Flags of `bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    target: Target,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Target {
    /// Measures 10 targets of 1,000 series every second.
    #[command(name = "W1", alias = "w1")]
    W1(ScrapeArgs),
    /// Measures 100 targets of 5,000 series every 5 seconds.
    #[command(name = "W2", alias = "w2")]
    W2(ScrapeArgs),
    /// Measures 1,000 targets of 100 series every second.
    #[command(name = "S", alias = "s")]
    S(ScrapeArgs),
    /// Measures 1,500 targets with recorded bodies every 15 seconds.
    #[command(name = "R", alias = "r")]
    R(ScrapeArgs),
    /// Measures memory with 500,000 and 1,000,000 series after ten scrapes.
    Memory(ScrapeArgs),
    /// Measures the first scrapes of 100 targets of 5,000 series.
    Cold(ScrapeArgs),
    /// Measures 1,000, 5,000 and 10,000 samples per second.
    Table(ScrapeArgs),
    /// Measures pushes through a gateway and an exporter that share one core.
    Gateway(GatewayArgs),
}

/// Runs a measurement and prints a table.
///
/// # Errors
/// Returns an error if a process does not start or ends.
pub async fn run(args: &BenchArgs, program: &Path) -> anyhow::Result<()> {
    let (workloads, args) = match &args.target {
        Target::Gateway(args) => return gateway::run(args, program).await,
        Target::W1(args) => (vec![Workload::W1], args),
        Target::W2(args) => (vec![Workload::W2], args),
        Target::S(args) => (vec![Workload::S], args),
        Target::R(args) => (vec![Workload::R], args),
        Target::Memory(args) => (Workload::MEMORY.to_vec(), args),
        Target::Cold(args) => (vec![Workload::COLD], args),
        Target::Table(args) => (Workload::TABLE.to_vec(), args),
    };
    scrape::run(args, &workloads, program).await
}
