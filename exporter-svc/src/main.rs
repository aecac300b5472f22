//! The exporter's process.

use anyhow::Context;
use clap::Parser;
use exporter_svc::{Args, bind};
use mesh::shutdown::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only where one is installed already.
    let _ = provider.install_default();
    let args = Args::parse();
    args.log.init()?;
    let shutdown = Shutdown::on_signals().context("signal handlers")?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
