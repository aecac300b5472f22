//! The command line of the demo, the simulation and the judges.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use harness::process::announce;
use judge::{
    backends, bench, chaos, conformance, cortex, load, parity, sender,
    starvation::{self, Void},
};
use mesh_base::shutdown::Shutdown;
use mesh_service::descriptors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shows and proves that promesh works.
#[derive(Parser)]
#[command(name = "integration", version = mesh_service::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole mesh between a sample app and a stand-in for AMP.
    Demo(demo::DemoArgs),
    /// Runs the conformance suites of other projects and prints a table.
    Conformance(conformance::ConformanceArgs),
    /// Injects failures into a mesh of processes and checks that no sample is lost.
    Chaos(chaos::ChaosArgs),
    /// Runs a mesh under load, kills services, and measures loss and cost.
    Load(load::LoadArgs),
    /// Runs a mesh against a real Cortex and compares what Cortex stores.
    Cortex(cortex::CortexArgs),
    /// Measures services between generated load and a backend of a given latency.
    Bench(bench::BenchArgs),
    /// Writes good and bad samples to real servers and compares what they store.
    Backends(backends::BackendsArgs),
    /// Compares what Prometheus and promesh store of the same targets.
    Parity(parity::ParityArgs),
    /// Runs a receiver and an exporter between a target and a backend until SIGINT, for
    /// remote-write test suites.
    Sender(sender::SenderArgs),
    /// Runs a mesh in simulated time. A seed selects the failures.
    Simulate(simulate::SimulateArgs),
    /// Serves targets, as a child of `load`.
    #[command(hide = true)]
    LoadTargets(load::targets::TargetsArgs),
    /// Runs a receiver, as a child of another subcommand.
    #[command(hide = true)]
    Receiver(Box<receiver_svc::Args>),
    /// Runs an exporter, as a child of another subcommand.
    #[command(hide = true)]
    Exporter(Box<exporter_svc::Args>),
    /// Runs a gateway, as a child of another subcommand.
    #[command(hide = true)]
    Gateway(Box<gateway::Args>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is installed already.
    let _ = provider.install_default();
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            if error.is::<Void>() {
                ExitCode::from(starvation::EXIT_STATUS)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, std::env::current_exe()?).await,
        Command::Conformance(args) => conformance::run(&args),
        Command::Chaos(args) => chaos::run(&args, &std::env::current_exe()?).await,
        Command::Load(args) => load::run(&args, &std::env::current_exe()?).await,
        Command::LoadTargets(args) => load::targets::run(&args).await,
        Command::Cortex(args) => cortex::run(&args, &std::env::current_exe()?).await,
        Command::Bench(args) => bench::run(&args, &std::env::current_exe()?).await,
        Command::Backends(args) => backends::run(&args).await,
        Command::Parity(args) => parity::run(args, std::env::current_exe()?).await,
        Command::Sender(args) => sender::run(&args).await,
        Command::Simulate(args) => {
            args.log.init_with(simulate::Time);
            simulate::run(&args)
        }
        Command::Receiver(args) => {
            args.log.init();
            descriptors::raise_limit();
            let shutdown = Shutdown::on_signals()?;
            let receiver = receiver_svc::bind(*args).await?;
            announce(receiver.addresses);
            Ok(receiver.run(shutdown).await?)
        }
        Command::Exporter(args) => {
            args.log.init();
            descriptors::raise_limit();
            let shutdown = Shutdown::on_signals()?;
            let exporter = exporter_svc::bind(*args).await?;
            announce(exporter.addresses);
            Ok(exporter.run(shutdown).await?)
        }
        Command::Gateway(args) => {
            args.log.init();
            descriptors::raise_limit();
            let shutdown = Shutdown::on_signals()?;
            let gateway = gateway::bind(*args).await?;
            announce(gateway.addresses);
            Ok(gateway.run(shutdown).await?)
        }
    }
}
