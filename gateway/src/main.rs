//! Process of the gateway.

use std::process::ExitCode;

use clap::Parser;
use gateway::{Args, bind};
use mesh_base::shutdown::Shutdown;
use mesh_service::descriptors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is installed already.
    let _ = provider.install_default();
    args.log.init();
    descriptors::raise_limit();
    let shutdown = Shutdown::on_signals()?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
