//! One binary for a single machine: all services in one process, or each of them alone.

mod all;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_base::shutdown::Shutdown;
use mesh_model::flags;
use mesh_service::descriptors;

use self::all::AllArgs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Scrapes and receives metrics, and sends them to Amazon Managed Service for Prometheus or
/// another remote-write backend.
#[derive(Debug, Parser)]
#[command(name = "promesh", version = mesh_service::VERSION, after_help = flags::NOTATION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a receiver, an exporter and a gateway in one process, on loopback addresses.
    All(AllArgs),
    /// Runs a receiver, as receiver-svc does.
    Receiver(Box<receiver_svc::Args>),
    /// Runs an exporter, as exporter-svc does.
    Exporter(Box<exporter_svc::Args>),
    /// Runs a gateway, as the program gateway does.
    Gateway(Box<gateway::Args>),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("promesh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is already installed.
    let _ = provider.install_default();
    let log = match &command {
        Command::All(args) => &args.log,
        Command::Receiver(args) => &args.log,
        Command::Exporter(args) => &args.log,
        Command::Gateway(args) => &args.log,
    };
    log.init();
    descriptors::raise_limit();
    let shutdown = Shutdown::on_signals()?;
    match command {
        Command::All(args) => all::run(&args, shutdown).await,
        Command::Receiver(args) => Ok(receiver_svc::bind(*args).await?.run(shutdown).await?),
        Command::Exporter(args) => Ok(exporter_svc::bind(*args).await?.run(shutdown).await?),
        Command::Gateway(args) => Ok(gateway::bind(*args).await?.run(shutdown).await?),
    }
}
