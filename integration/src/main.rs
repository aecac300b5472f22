//! The judge's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use integration::{chaos, child, conformance, cortex, demo, load, parity, sender, simulate};
use mesh::shutdown::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shows and proves that promesh works.
#[derive(Parser)]
#[command(name = "integration", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole mesh against a sample app and a stand-in for AMP.
    Demo(demo::DemoArgs),
    /// Runs the test cases of others and prints a table.
    Conformance(conformance::ConformanceArgs),
    /// Breaks parts of a mesh of processes and judges what that lost.
    Chaos(chaos::ChaosArgs),
    /// Runs the mesh under load, kills parts of it and judges what that cost.
    Load(load::LoadArgs),
    /// Runs the mesh before a real Cortex and compares what that holds.
    Cortex(cortex::CortexArgs),
    /// Compares what a real Prometheus and promesh store of the same targets.
    Parity(parity::ParityArgs),
    /// Runs a receiver and an exporter between a target and a backend, for the test
    /// suites of others, until SIGINT.
    Sender(sender::SenderArgs),
    /// Runs the mesh in simulated time, with what goes wrong following from a seed.
    Simulate(simulate::SimulateArgs),
    /// Serves the targets, as a child of the load.
    #[command(hide = true)]
    LoadTargets(load::targets::TargetsArgs),
    /// Runs a receiver, as a child of the demo.
    #[command(hide = true)]
    Receiver(Box<receiver_svc::Args>),
    /// Runs an exporter, as a child of the demo.
    #[command(hide = true)]
    Exporter(Box<exporter_svc::Args>),
    /// Runs a gateway, as a child of the demo.
    #[command(hide = true)]
    Gateway(Box<gateway::Args>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only where one is installed already.
    let _ = provider.install_default();
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
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
        Command::Parity(args) => parity::run(args, std::env::current_exe()?).await,
        Command::Sender(args) => sender::run(&args).await,
        Command::Simulate(args) => {
            args.log.init_with(simulate::Time)?;
            simulate::run(&args)
        }
        Command::Receiver(args) => {
            args.log.init()?;
            let shutdown = Shutdown::on_signals()?;
            let receiver = receiver_svc::bind(*args).await?;
            child::announce(&child::Addresses {
                web: receiver.addresses.web.to_string(),
                ..Default::default()
            });
            Ok(receiver.run(shutdown).await?)
        }
        Command::Exporter(args) => {
            args.log.init()?;
            let shutdown = Shutdown::on_signals()?;
            let exporter = exporter_svc::bind(*args).await?;
            child::announce(&child::Addresses {
                grpc: Some(exporter.addresses.grpc.to_string()),
                web: exporter.addresses.web.to_string(),
                ..Default::default()
            });
            Ok(exporter.run(shutdown).await?)
        }
        Command::Gateway(args) => {
            args.log.init()?;
            let shutdown = Shutdown::on_signals()?;
            let gateway = gateway::bind(*args).await?;
            child::announce(&child::Addresses {
                grpc: Some(gateway.addresses.grpc.to_string()),
                http: Some(gateway.addresses.http.to_string()),
                web: gateway.addresses.web.to_string(),
            });
            Ok(gateway.run(shutdown).await?)
        }
    }
}
