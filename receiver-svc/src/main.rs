//! The receiver's process.

use std::process::ExitCode;

use clap::Parser;
use mesh::shutdown::Shutdown;
use receiver_svc::{Args, bind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receiver-svc: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only where one is installed already.
    let _ = provider.install_default();
    args.log.init()?;
    let shutdown = Shutdown::on_signals()?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
