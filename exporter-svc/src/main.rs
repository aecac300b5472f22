//! Entry point of the exporter process.

use std::process::ExitCode;

use clap::Parser;
use exporter_svc::{Args, bind};
use mesh_base::shutdown::Shutdown;
use mesh_service::descriptors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exporter-svc: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is already installed.
    let _ = provider.install_default();
    args.log.init();
    descriptors::raise_limit();
    let shutdown = Shutdown::on_signals()?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
