//! Binary of the receiver.

use std::{fmt::Display, process::ExitCode};

use mesh_base::shutdown::Shutdown;
use mesh_service::descriptors;
use receiver_svc::{
    Args,
    args::CommandLine,
    bind,
    check::{CheckArgs, MonitorReport, check},
    migrate::MigrateArgs,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match CommandLine::parse() {
        CommandLine::Run(args) => run(*args).await.map(|()| true),
        CommandLine::Check(args) => Ok(run_check(*args).await),
        CommandLine::Migrate(args) => run_migrate(&args),
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

/// Checks a configuration file, monitors of a folder and monitors of a cluster, as asked.
/// Returns true if a receiver can run with them.
async fn run_check(args: CheckArgs) -> bool {
    install_crypto();
    args.log.init();
    let mut is_success = true;
    if let Some(file) = &args.file {
        println!("Checking {}", file.display());
        let report = check(file, &args).await;
        print!("{report}");
        is_success = report.is_success();
    }
    if let Some(folder) = &args.monitors_dir {
        println!("Checking monitors in {}", folder.display());
        is_success &= print_monitors(MonitorReport::of_folder(folder));
    }
    if args.monitors.cluster {
        println!("Checking monitors of the cluster");
        let report = MonitorReport::of_cluster(&args.monitors, args.discovery_timeout);
        is_success &= print_monitors(report.await);
    }
    is_success
}

/// Prints a report, or the error that prevents one. Returns true if all monitors are valid.
fn print_monitors(report: Result<MonitorReport, impl Display>) -> bool {
    match report {
        Ok(report) => {
            print!("{report}");
            report.is_success()
        }
        Err(error) => {
            println!("  FAILED: {error}");
            false
        }
    }
}

/// Translates files and prints the notes.
fn run_migrate(args: &MigrateArgs) -> anyhow::Result<bool> {
    print!("{}", args.run()?);
    Ok(true)
}

fn install_crypto() {
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if a provider is installed already.
    let _ = provider.install_default();
}

async fn run(args: Args) -> anyhow::Result<()> {
    install_crypto();
    args.log.init();
    descriptors::raise_limit();
    let shutdown = Shutdown::on_signals()?;
    bind(args).await?.run(shutdown).await?;
    Ok(())
}
