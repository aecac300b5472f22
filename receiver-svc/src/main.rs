//! Binary of the receiver.

use std::process::ExitCode;

use mesh_base::shutdown::Shutdown;
use receiver_svc::{
    Args,
    args::CommandLine,
    bind,
    check::{CheckArgs, check},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match CommandLine::parse() {
        CommandLine::Run(args) => run(*args).await.map(|()| true),
        CommandLine::Check(args) => Ok(run_check(args).await),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("receiver-svc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Checks a configuration file. Returns true if a receiver can run with it.
async fn run_check(args: CheckArgs) -> bool {
    install_crypto();
    args.log.init();
    println!("Checking {}", args.file.display());
    let report = check(&args).await;
    print!("{report}");
    report.is_success()
}

fn install_crypto() {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is installed already.
    let _ = provider.install_default();
}

async fn run(args: Args) -> anyhow::Result<()> {
    install_crypto();
    args.log.init();
    let shutdown = Shutdown::on_signals()?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
